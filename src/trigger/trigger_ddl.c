/*
 * trigger_ddl.c
 *		Make and drop the triggers of an attachment.
 *
 * Tables and triggers are named by OID: while a statement waits for a lock,
 * somebody may give the name to another table. Statement triggers fire only for
 * the table that a statement names, so each partition has its own.
 *
 * Lock						Protects				Order
 * ShareRowExclusiveLock	table that gets triggers	parent before partitions
 * AccessExclusiveLock		table that loses them		parent before partitions
 */
#include "postgres.h"

#include "trigger/trigger_ddl.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "nodes/makefuncs.h"
#include "nodes/parsenodes.h"
#include "parser/parse_func.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "argument.h"
#include "compat.h"
#include "owner.h"
#include "trigger/expression.h"

/* How each kind of trigger is made. */
static const struct
{
	const char *function;
	bool row;
	int16 timing;
	int16 event;
	const char *new_table;
	const char *old_table;
} kinds[QUOTA_TRIGGERS] = {
	{"charge_rows", false, TRIGGER_TYPE_AFTER, TRIGGER_TYPE_INSERT, "quota_rows", NULL},
	{"charge_rows", false, TRIGGER_TYPE_AFTER, TRIGGER_TYPE_UPDATE, "quota_rows", "quota_old_rows"},
	{"charge_rows", false, TRIGGER_TYPE_AFTER, TRIGGER_TYPE_DELETE, NULL, "quota_old_rows"},
	{"truncate_rows", false, TRIGGER_TYPE_BEFORE, TRIGGER_TYPE_TRUNCATE, NULL, NULL},
	{"begin_filter", false, TRIGGER_TYPE_BEFORE, TRIGGER_TYPE_INSERT, NULL, NULL},
	{"filter_row", true, TRIGGER_TYPE_BEFORE, TRIGGER_TYPE_INSERT, NULL, NULL}};

static void refuse_foreign_table(Oid relid, const QuotaAttached *attached);
static List *tables_of(Oid relid, LOCKMODE lock);
static void make_statement_triggers(Oid relid, const QuotaAttached *attached);
static void make_trigger(Oid relid, const QuotaAttached *attached, QuotaTrigger kind);
static bool drop_triggers(Oid relid, const char *feature, bool partitions);
static List *triggers_of(Oid relid, const char *feature);
static Oid trigger_function(const char *name);

/* Return whether a table has triggers of a feature. */
bool
quota_trigger_ddl_exists(Oid relid, const char *feature)
{
	return triggers_of(relid, feature) != NIL;
}

/*
 * quota.make_triggers(attachment): make the triggers of an attachment on its
 * table and the partitions of that.
 *
 * Errors: undefined_object; wrong_object_type for a foreign partition.
 * Locks: ShareRowExclusiveLock on these tables.
 */
PG_FUNCTION_INFO_V1(quota_make_triggers);

Datum
quota_make_triggers(PG_FUNCTION_ARGS)
{
	QuotaAttached *attached;
	ListCell *cell;

	quota_argument_check_not_null(fcinfo, 0, "attachment");
	attached = quota_attached_get(PG_GETARG_INT32(0));
	if (attached == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("attachment %d does not exist", PG_GETARG_INT32(0))));
	foreach (cell, tables_of(attached->relation, ShareRowExclusiveLock))
	{
		refuse_foreign_table(lfirst_oid(cell), attached);
		make_statement_triggers(lfirst_oid(cell), attached);
	}
	/* PostgreSQL clones row triggers to the partitions */
	if (strcmp(attached->on_block, "raise") != 0)
		make_trigger(attached->relation, attached, QUOTA_TRIGGER_FILTER);
	PG_RETURN_VOID();
}

/*
 * quota.drop_triggers(table, feature): drop the triggers of a feature from a
 * table and its partitions.
 *
 * Returns false if there were none.
 */
PG_FUNCTION_INFO_V1(quota_drop_triggers);

Datum
quota_drop_triggers(PG_FUNCTION_ARGS)
{
	quota_argument_check_not_null(fcinfo, 0, "table");
	quota_argument_check_not_null(fcinfo, 1, "feature");
	PG_RETURN_BOOL(drop_triggers(PG_GETARG_OID(0), text_to_cstring(PG_GETARG_TEXT_PP(1)), true));
}

/* quota.drop_expressions(attachment): drop the functions that hold its expressions. */
PG_FUNCTION_INFO_V1(quota_drop_expressions);

Datum
quota_drop_expressions(PG_FUNCTION_ARGS)
{
	quota_argument_check_not_null(fcinfo, 0, "attachment");
	quota_expression_drop(PG_GETARG_INT32(0));
	PG_RETURN_VOID();
}

/*
 * Replace the statement triggers of a table and its partitions by those of an
 * attachment, as the extension's owner.
 *
 * Errors: wrong_object_type for a foreign partition.
 */
void
quota_trigger_ddl_add(Oid relid, const QuotaAttached *attached)
{
	ListCell *cell;
	QuotaOwner saved;

	quota_owner_begin_extension(&saved);
	/* the statement holds these locks already, so this does not wait */
	foreach (cell, tables_of(relid, ShareRowExclusiveLock))
	{
		refuse_foreign_table(lfirst_oid(cell), attached);
		(void) drop_triggers(lfirst_oid(cell), attached->feature, false);
		make_statement_triggers(lfirst_oid(cell), attached);
	}
	quota_owner_end(&saved);
}

/*
 * List the triggers that charge the rows of a table as QuotaChargeTrigger.
 *
 * relid: InvalidOid lists those of all tables.
 */
List *
quota_trigger_ddl_list_charging(Oid relid)
{
	Relation triggers = table_open(TriggerRelationId, AccessShareLock);
	Oid function = trigger_function("charge_rows");
	List *found = NIL;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;

	ScanKeyInit(&key, Anum_pg_trigger_tgrelid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	scan = systable_beginscan(triggers, TriggerRelidNameIndexId, OidIsValid(relid), NULL, OidIsValid(relid) ? 1 : 0, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_trigger trigger = (Form_pg_trigger) GETSTRUCT(tuple);
		bool isnull;
		Datum arguments = fastgetattr(tuple, Anum_pg_trigger_tgargs, RelationGetDescr(triggers), &isnull);

		if (!isnull && trigger->tgnargs == 1 && trigger->tgfoid == function && TRIGGER_FOR_INSERT(trigger->tgtype))
		{
			QuotaChargeTrigger *found_trigger = palloc(sizeof(QuotaChargeTrigger));

			found_trigger->relid = trigger->tgrelid;
			found_trigger->id = atoi(VARDATA_ANY(DatumGetByteaPP(arguments)));
			found = lappend(found, found_trigger);
		}
	}
	systable_endscan(scan);
	table_close(triggers, AccessShareLock);
	return found;
}

static void
refuse_foreign_table(Oid relid, const QuotaAttached *attached)
{
	if (get_rel_relkind(relid) == RELKIND_FOREIGN_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("foreign table \"%s\" cannot be a partition of table \"%s\"", get_rel_name(relid), get_rel_name(attached->relation)),
				 errdetail("Feature \"%s\" is attached to the table, and rows of foreign tables cannot be counted.", attached->feature)));
}

/* Lock a table and its partitions, and list them. */
static List *
tables_of(Oid relid, LOCKMODE lock)
{
	LockRelationOid(relid, lock);
	if (get_rel_relkind(relid) == RELKIND_PARTITIONED_TABLE)
		return find_all_inheritors(relid, lock, NULL);
	return list_make1_oid(relid);
}

static void
make_statement_triggers(Oid relid, const QuotaAttached *attached)
{
	make_trigger(relid, attached, QUOTA_TRIGGER_CHARGE);
	if (attached->follows_rows)
	{
		make_trigger(relid, attached, QUOTA_TRIGGER_UPDATE);
		make_trigger(relid, attached, QUOTA_TRIGGER_DELETE);
		make_trigger(relid, attached, QUOTA_TRIGGER_TRUNCATE);
	}
	if (strcmp(attached->on_block, "raise") != 0)
		make_trigger(relid, attached, QUOTA_TRIGGER_BEGIN_FILTER);
}

static void
make_trigger(Oid relid, const QuotaAttached *attached, QuotaTrigger kind)
{
	CreateTrigStmt *statement = makeNode(CreateTrigStmt);
	const char *names[2] = {kinds[kind].new_table, kinds[kind].old_table};

	statement->trigname = psprintf("%s%s", quota_attached_triggers[kind], attached->feature);
	statement->funcname = list_make2(makeString("quota"), makeString(pstrdup(kinds[kind].function)));
	statement->args = list_make1(makeString(psprintf("%d", attached->id)));
	statement->row = kinds[kind].row;
	statement->timing = kinds[kind].timing;
	statement->events = kinds[kind].event;
	for (int i = 0; i < 2; i++)
		if (names[i] != NULL)
		{
			TriggerTransition *transition = makeNode(TriggerTransition);

			transition->name = pstrdup(names[i]);
			transition->isNew = i == 0;
			transition->isTable = true;
			statement->transitionRels = lappend(statement->transitionRels, transition);
		}
	CreateTrigger(statement, NULL, relid, InvalidOid, InvalidOid, InvalidOid, trigger_function(kinds[kind].function),
				  InvalidOid, NULL, false, false);
	CommandCounterIncrement();
}

/* Returns false if there were none. */
static bool
drop_triggers(Oid relid, const char *feature, bool partitions)
{
	List *tables = partitions ? tables_of(relid, ShareRowExclusiveLock) : list_make1_oid(relid);
	bool dropped = false;
	ListCell *table;
	ListCell *trigger;

	foreach (table, tables)
		foreach (trigger, triggers_of(lfirst_oid(table), feature))
		{
			ObjectAddress address = {.classId = TriggerRelationId, .objectId = lfirst_oid(trigger)};

			performDeletion(&address, DROP_RESTRICT, 0);
			dropped = true;
		}
	return dropped;
}

/* List the triggers of a feature on a table by name, without those cloned from a parent. */
static List *
triggers_of(Oid relid, const char *feature)
{
	Relation rel = table_open(TriggerRelationId, AccessShareLock);
	List *triggers = NIL;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;

	ScanKeyInit(&key, Anum_pg_trigger_tgrelid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	scan = systable_beginscan(rel, TriggerRelidNameIndexId, true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_trigger trigger = (Form_pg_trigger) GETSTRUCT(tuple);

		if (OidIsValid(trigger->tgparentid))
			continue;
		for (int kind = 0; kind < QUOTA_TRIGGERS; kind++)
		{
			Size length = strlen(quota_attached_triggers[kind]);

			if (strncmp(NameStr(trigger->tgname), quota_attached_triggers[kind], length) == 0 &&
				strcmp(NameStr(trigger->tgname) + length, feature) == 0 &&
				trigger->tgfoid == trigger_function(kinds[kind].function))
				triggers = lappend_oid(triggers, trigger->oid);
		}
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return triggers;
}

static Oid
trigger_function(const char *name)
{
	return LookupFuncName(list_make2(makeString("quota"), makeString(pstrdup(name))), 0, NULL, false);
}
