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

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation_d.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/value.h"
#include "parser/parse_func.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "argument.h"
#include "compat.h"
#include "owner.h"
#include "rights/gate.h"
#include "sizes.h"
#include "tables/accounts.h"
#include "trigger/table.h"

/* A column of the application's table; number 0: none. */
typedef struct AdoptColumn
{
	AttrNumber number;
	Oid base_type;
	bool is_enum;
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

static void lock_own_table(Oid table);
static void check_columns(Oid table, FunctionCallInfo fcinfo);
static const AdoptTrigger *check_trigger(FunctionCallInfo fcinfo, QuotaAdopted *adoption);
static bool same_event(const AdoptTrigger *kind, const TriggerData *trigdata);
static bool read_number(const char *text, int64 *number);
static bool has_rows(const TriggerData *trigdata);
static void read_columns(Relation rel, char *const *names, AdoptColumn *columns);
static AdoptColumn column_named(Relation rel, int which, const char *name);
static void check_type(Relation rel, int which, const char *name, const AdoptColumn *column);
pg_noreturn static void refuse_type(Relation rel, int which, const char *name, Oid type);
static void put_trigger_rows(Output *output, const TriggerData *trigdata);
static void put_tuples(Output *output, Relation rel, Tuplestorestate *tuples);
static void put_table(Output *output, Relation rel);
static void put_row(Output *output, TupleTableSlot *slot);
static Datum value_of(const AdoptColumn *column, TupleTableSlot *slot, bool *isnull);
static bool names_account(Datum key, bool isnull);
static Datum call_as_owner(const char *act, const char *name, int nargs, const Oid *types, const NullableDatum *args);
static Datum call(const char *name, int nargs, const Oid *types, const NullableDatum *args);

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
	static const Oid types[] = {REGCLASSOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID};
	quota_gate_require_admin("quota_adopt");
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("table and key_column must not be null")));
	lock_own_table(PG_GETARG_OID(0));
	check_columns(PG_GETARG_OID(0), fcinfo);
	return call_as_owner("quota_adopt", "quota_adopt", lengthof(types), types, fcinfo->args);
}

/* quota_unadopt(table). Errors: as quota_adopt's; undefined_object for a table that is not adopted. */
PG_FUNCTION_INFO_V1(quota_unadopt);

Datum
quota_unadopt(PG_FUNCTION_ARGS)
{
	static const Oid types[] = {REGCLASSOID};

	quota_gate_require_admin("quota_unadopt");
	quota_argument_check_not_null(fcinfo, 0, "table");
	lock_own_table(PG_GETARG_OID(0));
	call_as_owner("quota_unadopt", "quota_unadopt", lengthof(types), types, fcinfo->args);
	PG_RETURN_VOID();
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
	static const Oid types[] = {INT8OID, BOOLOID, BOOLOID, BOOLOID};
	const Firing *outer = current;
	QuotaAdopted adoption;
	const AdoptTrigger *kind = check_trigger(fcinfo, &adoption);
	Firing firing = {&adoption, (TriggerData *) fcinfo->context};
	NullableDatum args[lengthof(types)] = {
		{Int64GetDatum(adoption.id), false},
		{BoolGetDatum(adoption.columns[QUOTA_ADOPTED_NAME] != NULL), false},
		{BoolGetDatum(adoption.columns[QUOTA_ADOPTED_TYPE] != NULL), false},
		{BoolGetDatum(adoption.columns[QUOTA_ADOPTED_OWNER] != NULL), false}};

	if (!has_rows(firing.trigdata))
		return PointerGetDatum(NULL);
	PG_TRY();
	{
		current = &firing;
		call_as_owner("quota_adopt", kind->function, lengthof(types), types, args);
	}
	PG_FINALLY();
	{
		current = outer;
	}
	PG_END_TRY();
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

/*
 * Lock a table that the caller owns, by its OID, since its name may change
 * while this waits. Check again after the wait, since the owner may change too.
 */
static void
lock_own_table(Oid table)
{
	quota_table_check_owner(table);
	LockRelationOid(table, ShareRowExclusiveLock);
	quota_table_check_owner(table);
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
		if (names[i] != NULL && names[i][0] == '\0')
			names[i] = NULL;
	}
	if (names[QUOTA_ADOPTED_KEY] == NULL)
		names[QUOTA_ADOPTED_KEY] = pstrdup("");
	read_columns(rel, names, columns);
	if (columns[QUOTA_ADOPTED_KEY].is_enum)
		refuse_type(rel, QUOTA_ADOPTED_KEY, names[QUOTA_ADOPTED_KEY], columns[QUOTA_ADOPTED_KEY].base_type);
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
				trigdata->tg_trigger->tgnargs == 1 &&
				read_number(trigdata->tg_trigger->tgargs[0], &id) &&
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

/* Read a number as quota_adopt writes it; false if the text is none. */
static bool
read_number(const char *text, int64 *number)
{
	char *end;

	errno = 0;
	*number = strtoi64(text, &end, 10);
	return errno == 0 && end != text && *end == '\0';
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
	AdoptColumn column;

	if (attribute == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" of table %s does not exist", quota_argument_shown(name), quota_table_name(RelationGetRelid(rel))),
				 errhint("Call quota_adopt with the columns that the table has, or quota_unadopt.")));
	column.number = attribute->attnum;
	column.base_type = getBaseType(attribute->atttypid);
	column.is_enum = get_typtype(column.base_type) == TYPTYPE_ENUM;
	check_type(rel, which, name, &column);
	/* triggers do not see its value */
	if (attribute->attgenerated == ATTRIBUTE_GENERATED_VIRTUAL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("column \"%s\" of table %s cannot be adopted", name, quota_table_name(RelationGetRelid(rel))),
				 errdetail("It is a virtual generated column.")));
	return column;
}

static void
check_type(Relation rel, int which, const char *name, const AdoptColumn *column)
{
	static const Oid texts[] = {TEXTOID, VARCHAROID, BPCHAROID, UUIDOID, INT2OID, INT4OID, INT8OID};
	static const Oid times[] = {TIMESTAMPTZOID, TIMESTAMPOID, DATEOID};
	const Oid *types = which == QUOTA_ADOPTED_CREATED ? times : texts;
	size_t count = which == QUOTA_ADOPTED_CREATED ? lengthof(times) : lengthof(texts);

	if (which != QUOTA_ADOPTED_CREATED && column->is_enum)
		return;
	for (size_t i = 0; i < count; i++)
		if (types[i] == column->base_type)
			return;
	refuse_type(rel, which, name, column->base_type);
}

static void
refuse_type(Relation rel, int which, const char *name, Oid type)
{
	if (which == QUOTA_ADOPTED_KEY)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" cannot name an account", name),
				 errdetail("Its type is %s.", format_type_be(type)),
				 errhint("Accounts are named by text, varchar, char, uuid, smallint, integer or bigint.")));
	if (which == QUOTA_ADOPTED_CREATED)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" of table %s cannot be a time of creation", name, quota_table_name(RelationGetRelid(rel))),
				 errdetail("Its type is %s.", format_type_be(type)),
				 errhint("Times are timestamptz, timestamp or date.")));
	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("column \"%s\" of table %s cannot be adopted", name, quota_table_name(RelationGetRelid(rel))),
			 errdetail("Its type is %s.", format_type_be(type)),
			 errhint("Columns are of text, varchar, char, uuid, smallint, integer, bigint or an enum.")));
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
	if (column->is_enum)
		return CStringGetTextDatum(DatumGetCString(DirectFunctionCall1(enum_out, value)));
	switch (column->base_type)
	{
		case BPCHAROID:
			return DirectFunctionCall1(rtrim1, value);
		case UUIDOID:
			return CStringGetTextDatum(DatumGetCString(DirectFunctionCall1(uuid_out, value)));
		case INT2OID:
			return CStringGetTextDatum(psprintf("%d", DatumGetInt16(value)));
		case INT4OID:
			return CStringGetTextDatum(psprintf("%d", DatumGetInt32(value)));
		case INT8OID:
			return CStringGetTextDatum(psprintf("%lld", (long long) DatumGetInt64(value)));
		case TIMESTAMPOID:
			return DirectFunctionCall1(timestamp_timestamptz, value);
		case DATEOID:
			return DirectFunctionCall1(date_timestamptz, value);
		case TIMESTAMPTZOID:
			return value;
		default:
			return PointerGetDatum(PG_DETOAST_DATUM_PACKED(value));
	}
}

static bool
names_account(Datum key, bool isnull)
{
	Size length = isnull ? 0 : VARSIZE_ANY_EXHDR(DatumGetPointer(key));

	return length > 0 && length <= QUOTA_MAX_ACCOUNT;
}

/*
 * Call a function of schema quota as the extension's owner, in a frame of the
 * gate. The function must not return NULL.
 *
 * act: the name that the audit log records.
 */
static Datum
call_as_owner(const char *act, const char *name, int nargs, const Oid *types, const NullableDatum *args)
{
	QuotaGateFrame frame;
	volatile Datum result;
	QuotaOwner saved;

	quota_owner_begin_extension(&saved);
	quota_gate_enter(&frame, act);
	PG_TRY();
	{
		result = call(name, nargs, types, args);
	}
	PG_FINALLY();
	{
		quota_gate_leave(&frame);
	}
	PG_END_TRY();
	quota_owner_end(&saved);
	return result;
}

static Datum
call(const char *name, int nargs, const Oid *types, const NullableDatum *args)
{
	LOCAL_FCINFO(fcinfo, QUOTA_ADOPTED_COLUMNS + 1);
	FmgrInfo function;

	fmgr_info(LookupFuncName(list_make2(makeString("quota"), makeString(pstrdup(name))), nargs, types, false), &function);
	InitFunctionCallInfoData(*fcinfo, &function, nargs, DEFAULT_COLLATION_OID, NULL, NULL);
	for (int i = 0; i < nargs; i++)
		fcinfo->args[i] = args[i];
	return FunctionCallInvoke(fcinfo);
}
