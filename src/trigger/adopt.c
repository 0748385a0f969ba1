/*
 * adopt.c
 *		Tables of accounts that quota_adopt made quota follow.
 *
 * quota.adopted names the adopted tables and their columns. A trigger on such a
 * table has one argument, the number of the adoption. The trigger function
 * trusts nothing that the owner of the table could make up: before it reads a
 * row it compares its trigger with those that quota_adopt makes.
 *
 * Rights. quota_adopt and quota_unadopt check as the caller that it is an admin
 * and owns the table. All else runs as the owner of quota.adopted, in functions
 * of schema quota that use only schemas quota and pg_catalog.
 * quota_adopted_rows reads the application's rows and converts them to text by
 * built-in functions of the base types: it evaluates no expression, cast,
 * domain check or policy of the table's owner, and looks up no name.
 *
 * Lock						Protects			Order				While held
 * SHARE ROW EXCLUSIVE		adopted table		first, by its OID	SQL of schema quota
 * those of the triggers		see doc/locking.md
 *
 * Memory: the caller's context; a row's values are in a context that the next
 * row resets. `current` points to the caller's stack while a trigger runs.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "parser/parse_func.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/tuplestore.h"

#include "argument.h"
#include "compat.h"
#include "owner.h"
#include "rights/gate.h"
#include "sizes.h"
#include "tables/accounts.h"
#include "trigger/table.h"
#include "trigger/trigger_ddl.h"

/* A column of the application's table; number 0: none. */
typedef struct AdoptColumn
{
	AttrNumber number;
	Oid base_type;
	Oid output; /* function of the type */
} AdoptColumn;

/* How rows of an adopted table become rows of quota.adopted_rows. */
typedef struct Output
{
	AdoptColumn columns[QUOTA_ADOPTED_COLUMNS];
	bool old; /* old rows need not name an account */
	ReturnSetInfo *result;
	MemoryContext row;
} Output;

/* A trigger that quota_adopt makes, and the function that follows its rows. */
typedef struct AdoptTrigger
{
	const char *trigger;
	TriggerEvent event;
	bool new_table;
	bool old_table;
	const char *function;
} AdoptTrigger;

static const AdoptTrigger adopt_triggers[] = {
	{"quota_adopt_insert", TRIGGER_EVENT_AFTER | TRIGGER_EVENT_INSERT, true, false, "follow_insert"},
	{"quota_adopt_update", TRIGGER_EVENT_AFTER | TRIGGER_EVENT_ROW | TRIGGER_EVENT_UPDATE, false, false, "follow_update"},
	{"quota_adopt_delete", TRIGGER_EVENT_AFTER | TRIGGER_EVENT_DELETE, false, true, "follow_delete"},
	{"quota_adopt_truncate", TRIGGER_EVENT_BEFORE | TRIGGER_EVENT_TRUNCATE, false, false, "follow_delete"}};

/* The trigger whose rows quota.adopted_rows returns; NULL: none is running. */
typedef struct Firing
{
	const QuotaAdopted *adoption;
	TriggerData *trigdata;
} Firing;

static const Firing *current = NULL;

static void check_columns(Oid table, FunctionCallInfo fcinfo);
static const AdoptTrigger *check_trigger(FunctionCallInfo fcinfo, QuotaAdopted *adoption);
static bool same_event(const AdoptTrigger *kind, const TriggerData *trigdata);
static void follow(const char *function, const QuotaAdopted *adoption);
static bool has_rows(const TriggerData *trigdata);
static void read_columns(Relation rel, char *const *names, AdoptColumn *columns);
static AdoptColumn column_named(Relation rel, int which, const char *name);
static bool is_readable(int which, const AdoptColumn *column);
static void refuse_type(int which, const char *name, const char *table, Oid type);
static void put_trigger_rows(Output *output, const TriggerData *trigdata);
static void put_tuples(Output *output, Relation rel, Tuplestorestate *tuples);
static void put_table(Output *output, Relation rel);
static void put_row(Output *output, TupleTableSlot *slot);
static Datum value_of(const AdoptColumn *column, TupleTableSlot *slot, bool *isnull);
static bool names_account(Datum key, bool isnull);

/*
 * quota_adopt(table, key_column, name_column, plan_column, type_column,
 * owner_column, created_column)
 *
 * Errors: insufficient_privilege unless the caller is an admin and owns the
 * table; those of check_columns and quota.quota_adopt.
 */
PG_FUNCTION_INFO_V1(quota_adopt);

Datum
quota_adopt(PG_FUNCTION_ARGS)
{
	quota_gate_require_admin("quota_adopt");
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("table and key_column must not be null")));
	quota_table_lock_own(PG_GETARG_OID(0), ShareRowExclusiveLock);
	check_columns(PG_GETARG_OID(0), fcinfo);
	return quota_gate_call(fcinfo);
}

/* quota_unadopt(table). Errors: as quota_adopt's; undefined_object for a table that is not adopted. */
PG_FUNCTION_INFO_V1(quota_unadopt);

Datum
quota_unadopt(PG_FUNCTION_ARGS)
{
	quota_gate_require_admin("quota_unadopt");
	quota_argument_check_not_null(fcinfo, 0, "table");
	quota_table_lock_own(PG_GETARG_OID(0), ShareRowExclusiveLock);
	return quota_gate_call(fcinfo);
}

/*
 * quota.follow_accounts(): trigger that makes quota.accounts follow an adopted
 * table.
 *
 * Errors: trigger_protocol_violated unless a trigger that quota_adopt made
 * calls it; those of read_columns and of the SQL functions in sql/adoption.
 */
PG_FUNCTION_INFO_V1(quota_follow_accounts);

Datum
quota_follow_accounts(PG_FUNCTION_ARGS)
{
	const Firing *outer = current;
	QuotaAdopted adoption;
	const AdoptTrigger *kind = check_trigger(fcinfo, &adoption);
	Firing firing = {&adoption, (TriggerData *) fcinfo->context};
	QuotaGateFrame frame;
	QuotaOwner saved;

	if (!has_rows(firing.trigdata))
		return PointerGetDatum(NULL);
	quota_owner_begin_extension(&saved);
	quota_gate_enter(&frame, "quota_adopt");
	PG_TRY();
	{
		current = &firing;
		follow(kind->function, &adoption);
	}
	PG_FINALLY();
	{
		current = outer;
		quota_gate_leave(&frame);
	}
	PG_END_TRY();
	quota_owner_end(&saved);
	return PointerGetDatum(NULL);
}

/*
 * quota.adopted_rows(adoption, old): return the accounts that rows of an
 * adopted table name: in a trigger the new or old rows of the statement;
 * elsewhere, and for TRUNCATE, all rows of the table, also those that the
 * snapshot does not see.
 *
 * Errors: insufficient_privilege unless called as the extension's owner, since
 * it reads the table without checking rights on it.
 */
PG_FUNCTION_INFO_V1(quota_adopted_rows);

Datum
quota_adopted_rows(PG_FUNCTION_ARGS)
{
	Output output = {.result = (ReturnSetInfo *) fcinfo->resultinfo};
	QuotaAdopted adoption;
	bool firing;
	Relation rel;
	int64 id;

	quota_argument_check_not_null(fcinfo, 0, "adoption");
	quota_argument_check_not_null(fcinfo, 1, "old");
	id = PG_GETARG_INT64(0);
	output.old = PG_GETARG_BOOL(1);
	firing = current != NULL && current->adoption->id == id;
	if (!has_privs_of_role(GetUserId(), quota_owner_of_extension()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for function %s", "adopted_rows")));
	if (firing)
		adoption = *current->adoption;
	else if (!quota_adopted_get(id, &adoption))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("adoption %lld does not exist", (long long) id)));
	InitMaterializedSRF(fcinfo, 0);
	output.row = AllocSetContextCreate(CurrentMemoryContext, "quota adopted row", ALLOCSET_SMALL_SIZES);
	rel = try_table_open(adoption.relation, AccessShareLock);
	if (rel == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the table of adoption %lld does not exist", (long long) id)));
	read_columns(rel, adoption.columns, output.columns);
	if (firing && !TRIGGER_FIRED_BY_TRUNCATE(current->trigdata->tg_event))
		put_trigger_rows(&output, current->trigdata);
	else
		put_table(&output, rel);
	table_close(rel, AccessShareLock);
	MemoryContextDelete(output.row);
	return (Datum) 0;
}

/* Refuse columns that the table does not have, or whose type cannot be read. */
static void
check_columns(Oid table, FunctionCallInfo fcinfo)
{
	Relation rel = relation_open(table, NoLock);
	char *names[QUOTA_ADOPTED_COLUMNS];
	AdoptColumn columns[QUOTA_ADOPTED_COLUMNS];

	for (int i = 0; i < QUOTA_ADOPTED_COLUMNS; i++)
	{
		names[i] = PG_ARGISNULL(i + 1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(i + 1));
		if (names[i] != NULL && names[i][0] == '\0' && i != QUOTA_ADOPTED_KEY)
			names[i] = NULL;
	}
	read_columns(rel, names, columns);
	relation_close(rel, NoLock);
}

/*
 * Return which trigger of quota_adopt calls the function, and read its
 * adoption.
 *
 * Errors: trigger_protocol_violated unless the trigger is exactly as
 * quota_adopt made it, on the adopted table.
 */
static const AdoptTrigger *
check_trigger(FunctionCallInfo fcinfo, QuotaAdopted *adoption)
{
	const TriggerData *trigdata = (const TriggerData *) fcinfo->context;
	int64 id;

	if (CALLED_AS_TRIGGER(fcinfo))
		for (size_t i = 0; i < lengthof(adopt_triggers); i++)
			if (same_event(&adopt_triggers[i], trigdata) &&
				(id = quota_trigger_ddl_number(trigdata->tg_trigger, PG_INT64_MAX)) >= 0 &&
				quota_adopted_get(id, adoption) &&
				adoption->relation == RelationGetRelid(trigdata->tg_relation))
				return &adopt_triggers[i];
	ereport(ERROR,
			(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
			 errmsg("function quota.follow_accounts was not called by a trigger that quota_adopt made")));
}

/* Return whether a trigger has the name, timing, level, event and transition table of its kind. */
static bool
same_event(const AdoptTrigger *kind, const TriggerData *trigdata)
{
	const Trigger *trigger = trigdata->tg_trigger;
	TriggerEvent event = trigdata->tg_event & (TRIGGER_EVENT_TIMINGMASK | TRIGGER_EVENT_ROW | TRIGGER_EVENT_OPMASK);

	return strcmp(trigger->tgname, kind->trigger) == 0 && event == kind->event &&
		   !trigger->tgdeferrable && !trigger->tgisinternal &&
		   (trigdata->tg_newtable != NULL) == kind->new_table &&
		   (trigdata->tg_oldtable != NULL) == kind->old_table;
}

/* Call the function of schema quota that follows rows. */
static void
follow(const char *function, const QuotaAdopted *adoption)
{
	static const Oid types[] = {INT8OID, BOOLOID, BOOLOID, BOOLOID};
	List *name = list_make2(makeString("quota"), makeString(pstrdup(function)));

	(void) OidFunctionCall4(LookupFuncName(name, lengthof(types), types, false), Int64GetDatum(adoption->id),
							BoolGetDatum(adoption->columns[QUOTA_ADOPTED_NAME] != NULL),
							BoolGetDatum(adoption->columns[QUOTA_ADOPTED_TYPE] != NULL),
							BoolGetDatum(adoption->columns[QUOTA_ADOPTED_OWNER] != NULL));
}

/* Return whether a statement may have changed rows, without reading them. */
static bool
has_rows(const TriggerData *trigdata)
{
	Tuplestorestate *rows = trigdata->tg_newtable != NULL ? trigdata->tg_newtable : trigdata->tg_oldtable;

	return rows == NULL || tuplestore_tuple_count(rows) > 0;
}

/*
 * Errors: undefined_column for a column that does not exist, or no longer;
 * datatype_mismatch for one whose type cannot be read.
 */
static void
read_columns(Relation rel, char *const *names, AdoptColumn *columns)
{
	for (int i = 0; i < QUOTA_ADOPTED_COLUMNS; i++)
		columns[i] = names[i] == NULL ? (AdoptColumn){0} : column_named(rel, i, names[i]);
}

static AdoptColumn
column_named(Relation rel, int which, const char *name)
{
	Form_pg_attribute attribute = quota_table_attribute(rel, name);
	const char *table = quota_table_name(RelationGetRelid(rel));
	AdoptColumn column;
	bool is_varlena;

	if (attribute == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" of table %s does not exist", quota_argument_shown(name), table),
				 errhint("Call quota_adopt with the columns that the table has, or quota_unadopt.")));
	column.number = attribute->attnum;
	column.base_type = getBaseType(attribute->atttypid);
	getTypeOutputInfo(column.base_type, &column.output, &is_varlena);
	if (!is_readable(which, &column))
		refuse_type(which, name, table, column.base_type);
	/* triggers do not see its value */
	if (attribute->attgenerated == ATTRIBUTE_GENERATED_VIRTUAL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("column \"%s\" of table %s cannot be adopted", name, table),
				 errdetail("It is a virtual generated column.")));
	return column;
}

/* Return whether a column has a type that a followed column can have; a key cannot be an enum. */
static bool
is_readable(int which, const AdoptColumn *column)
{
	static const Oid texts[] = {TEXTOID, VARCHAROID, BPCHAROID, UUIDOID, INT2OID, INT4OID, INT8OID};
	static const Oid times[] = {TIMESTAMPTZOID, TIMESTAMPOID, DATEOID};
	const Oid *types = which == QUOTA_ADOPTED_CREATED ? times : texts;
	size_t count = which == QUOTA_ADOPTED_CREATED ? lengthof(times) : lengthof(texts);

	for (size_t i = 0; i < count; i++)
		if (types[i] == column->base_type)
			return true;
	return column->output == F_ENUM_OUT && which != QUOTA_ADOPTED_CREATED && which != QUOTA_ADOPTED_KEY;
}

static void
refuse_type(int which, const char *name, const char *table, Oid type)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 which == QUOTA_ADOPTED_KEY       ? errmsg("column \"%s\" cannot name an account", name)
			 : which == QUOTA_ADOPTED_CREATED ? errmsg("column \"%s\" of table %s cannot be a time of creation", name, table)
											  : errmsg("column \"%s\" of table %s cannot be adopted", name, table),
			 errdetail("Its type is %s.", format_type_be(type)),
			 which == QUOTA_ADOPTED_KEY       ? errhint("Accounts are named by text, varchar, char, uuid, smallint, integer or bigint.")
			 : which == QUOTA_ADOPTED_CREATED ? errhint("Times are timestamptz, timestamp or date.")
											  : errhint("Columns are of text, varchar, char, uuid, smallint, integer, bigint or an enum.")));
}

/* Put the rows of the statement that fired a trigger, or the row of a row trigger. */
static void
put_trigger_rows(Output *output, const TriggerData *trigdata)
{
	if (TRIGGER_FIRED_FOR_ROW(trigdata->tg_event))
		put_row(output, output->old ? trigdata->tg_trigslot : trigdata->tg_newslot);
	else if ((output->old ? trigdata->tg_oldtable : trigdata->tg_newtable) != NULL)
		put_tuples(output, trigdata->tg_relation, output->old ? trigdata->tg_oldtable : trigdata->tg_newtable);
}

static void
put_tuples(Output *output, Relation rel, Tuplestorestate *tuples)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(RelationGetDescr(rel), &TTSOpsMinimalTuple);

	/* other triggers read this table too */
	tuplestore_select_read_pointer(tuples, 0);
	tuplestore_rescan(tuples);
	while (tuplestore_gettupleslot(tuples, true, false, slot))
		put_row(output, slot);
	ExecDropSingleTupleTableSlot(slot);
}

static void
put_table(Output *output, Relation rel)
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	TableScanDesc scan = table_beginscan(rel, snapshot, 0, NULL);

	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
		put_row(output, slot);
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
}

/*
 * Put one row. An old row whose key cannot name an account is left out.
 *
 * Errors: null_value_not_allowed and invalid_parameter_value for such a new
 * row.
 */
static void
put_row(Output *output, TupleTableSlot *slot)
{
	MemoryContext outer = MemoryContextSwitchTo(output->row);
	Datum values[QUOTA_ADOPTED_COLUMNS];
	bool nulls[QUOTA_ADOPTED_COLUMNS];

	CHECK_FOR_INTERRUPTS();
	for (int i = 0; i < QUOTA_ADOPTED_COLUMNS; i++)
		values[i] = value_of(&output->columns[i], slot, &nulls[i]);
	if (!output->old)
	{
		if (nulls[QUOTA_ADOPTED_KEY])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("account must not be null")));
		quota_argument_check_account(values[QUOTA_ADOPTED_KEY]);
	}
	MemoryContextSwitchTo(outer);
	if (!output->old || names_account(values[QUOTA_ADOPTED_KEY], nulls[QUOTA_ADOPTED_KEY]))
		tuplestore_putvalues(output->result->setResult, output->result->setDesc, values, nulls);
	MemoryContextReset(output->row);
}

/* Return a column as text, or a time as timestamptz, by built-in functions only. */
static Datum
value_of(const AdoptColumn *column, TupleTableSlot *slot, bool *isnull)
{
	Datum value;

	*isnull = true;
	if (column->number == 0)
		return (Datum) 0;
	value = slot_getattr(slot, column->number, isnull);
	if (*isnull)
		return (Datum) 0;
	switch (column->base_type)
	{
		case BPCHAROID:
			return DirectFunctionCall1(rtrim1, value);
		case TIMESTAMPOID:
			return DirectFunctionCall1(timestamp_timestamptz, value);
		case DATEOID:
			return DirectFunctionCall1(date_timestamptz, value);
		case TIMESTAMPTZOID:
			return value;
		default:
			return CStringGetTextDatum(OidOutputFunctionCall(column->output, value));
	}
}

static bool
names_account(Datum key, bool isnull)
{
	Size length = isnull ? 0 : VARSIZE_ANY_EXHDR(DatumGetPointer(key));

	return length > 0 && length <= QUOTA_MAX_ACCOUNT;
}
