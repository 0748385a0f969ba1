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

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "nodes/parsenodes.h"
#include "parser/parse_func.h"
#include "parser/parser.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "argument.h"
#include "tables/scan.h"
#include "trigger/expression.h"

/* How each kind of trigger is made: its function, when it fires, and for what. */
static const struct
{
	const char *function;
	TriggerEvent event;
	const char *when;
	const char *what;
} kinds[QUOTA_TRIGGERS] = {
	{"charge_rows", TRIGGER_EVENT_AFTER | TRIGGER_EVENT_INSERT, "AFTER INSERT", "REFERENCING NEW TABLE AS quota_rows"},
	{"charge_rows", TRIGGER_EVENT_AFTER | TRIGGER_EVENT_UPDATE, "AFTER UPDATE", "REFERENCING NEW TABLE AS quota_rows OLD TABLE AS quota_old_rows"},
	{"charge_rows", TRIGGER_EVENT_AFTER | TRIGGER_EVENT_DELETE, "AFTER DELETE", "REFERENCING OLD TABLE AS quota_old_rows"},
	{"truncate_rows", TRIGGER_EVENT_BEFORE | TRIGGER_EVENT_TRUNCATE, "BEFORE TRUNCATE", ""},
	{"begin_filter", TRIGGER_EVENT_BEFORE | TRIGGER_EVENT_INSERT, "BEFORE INSERT", ""},
	{"filter_row", TRIGGER_EVENT_BEFORE | TRIGGER_EVENT_ROW | TRIGGER_EVENT_INSERT, "BEFORE INSERT", "FOR EACH ROW"}};

static List *tables_of(Oid relid);
static void make_trigger(Oid relid, const QuotaAttached *attached, QuotaTrigger kind);
static bool drop_triggers(Oid relid, const char *feature);
static bool is_named(const Trigger *trigger, QuotaTrigger kind, const char *feature);
static Oid trigger_function(QuotaTrigger kind);

/* Return whether a table has a trigger with the name of the one that charges a feature. */
bool
quota_trigger_ddl_exists(Oid relid, const char *feature)
{
	return OidIsValid(get_trigger_oid(relid, psprintf("%s%s", quota_attached_triggers[QUOTA_TRIGGER_CHARGE], feature), true));
}

/* Return whether a trigger of a function has the name, timing, level and event that it is made with for a feature. */
bool
quota_trigger_ddl_is_made(const TriggerData *trigdata, const char *function, const char *feature)
{
	TriggerEvent event = trigdata->tg_event & (TRIGGER_EVENT_TIMINGMASK | TRIGGER_EVENT_ROW | TRIGGER_EVENT_OPMASK);

	for (int kind = 0; kind < QUOTA_TRIGGERS; kind++)
		if (strcmp(kinds[kind].function, function) == 0 && kinds[kind].event == event && is_named(trigdata->tg_trigger, kind, feature))
			return true;
	return false;
}

/* Return a trigger's only argument, the number of an attachment or adoption; -1: it is none. */
int64
quota_trigger_ddl_number(const Trigger *trigger, int64 max)
{
	char *end;
	int64 number;

	if (trigger->tgnargs != 1 || trigger->tgargs[0][0] < '0' || trigger->tgargs[0][0] > '9')
		return -1;
	errno = 0;
	number = strtoi64(trigger->tgargs[0], &end, 10);
	return errno == 0 && *end == '\0' && number <= max ? number : -1;
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

	quota_argument_check_not_null(fcinfo, 0, "attachment");
	attached = quota_attached_get(PG_GETARG_INT32(0));
	if (attached == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("attachment %d does not exist", PG_GETARG_INT32(0))));
	quota_trigger_ddl_add(attached->relation, attached);
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
	bool dropped = false;
	ListCell *cell;

	quota_argument_check_not_null(fcinfo, 0, "table");
	quota_argument_check_not_null(fcinfo, 1, "feature");
	foreach (cell, tables_of(PG_GETARG_OID(0)))
		dropped |= drop_triggers(lfirst_oid(cell), text_to_cstring(PG_GETARG_TEXT_PP(1)));
	PG_RETURN_BOOL(dropped);
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
 * attachment. Call it as the extension's owner.
 *
 * Errors: wrong_object_type for a foreign partition.
 */
void
quota_trigger_ddl_add(Oid relid, const QuotaAttached *attached)
{
	ListCell *cell;

	/* a statement that makes a partition holds these locks already */
	foreach (cell, tables_of(relid))
	{
		Oid table = lfirst_oid(cell);

		if (get_rel_relkind(table) == RELKIND_FOREIGN_TABLE)
			ereport(ERROR,
					(errcode(ERRCODE_WRONG_OBJECT_TYPE),
					 errmsg("foreign table \"%s\" cannot be a partition of table \"%s\"", get_rel_name(table), get_rel_name(attached->relation)),
					 errdetail("Feature \"%s\" is attached to the table, and rows of foreign tables cannot be counted.", attached->feature)));
		(void) drop_triggers(table, attached->feature);
		make_trigger(table, attached, QUOTA_TRIGGER_CHARGE);
		if (attached->follows_rows)
		{
			make_trigger(table, attached, QUOTA_TRIGGER_UPDATE);
			make_trigger(table, attached, QUOTA_TRIGGER_DELETE);
			make_trigger(table, attached, QUOTA_TRIGGER_TRUNCATE);
		}
		if (strcmp(attached->on_block, "raise") != 0)
			make_trigger(table, attached, QUOTA_TRIGGER_BEGIN_FILTER);
	}
}

/*
 * List the tables with the trigger that charges the rows of an attachment.
 *
 * relid: look at this table only; InvalidOid: at all.
 */
List *
quota_trigger_ddl_charged(Oid relid, const QuotaAttached *attached)
{
	Oid function = trigger_function(QUOTA_TRIGGER_CHARGE);
	bool one = OidIsValid(relid);
	List *tables = NIL;
	QuotaScan scan;
	ScanKeyData key;

	ScanKeyInit(&key, Anum_pg_trigger_tgrelid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	quota_scan_begin(&scan, table_open(TriggerRelationId, AccessShareLock), one ? TriggerRelidNameIndexId : InvalidOid, NULL, one ? 1 : 0, &key);
	while (quota_scan_next(&scan))
	{
		Form_pg_trigger trigger = (Form_pg_trigger) GETSTRUCT(scan.tuple);
		const char *arguments = VARDATA_ANY(DatumGetByteaPP(quota_scan_value(&scan, Anum_pg_trigger_tgargs)));

		if (trigger->tgfoid == function && trigger->tgnargs == 1 && TRIGGER_FOR_INSERT(trigger->tgtype) && atoi(arguments) == attached->id)
			tables = lappend_oid(tables, trigger->tgrelid);
	}
	return tables;
}

/* Lock a table and its partitions, and list them. */
static List *
tables_of(Oid relid)
{
	LockRelationOid(relid, ShareRowExclusiveLock);
	if (get_rel_relkind(relid) == RELKIND_PARTITIONED_TABLE)
		return find_all_inheritors(relid, ShareRowExclusiveLock, NULL);
	return list_make1_oid(relid);
}

/* Make a trigger. Its statement is given the table by OID, and the name in it is not looked up. */
static void
make_trigger(Oid relid, const QuotaAttached *attached, QuotaTrigger kind)
{
	char *name = psprintf("%s%s", quota_attached_triggers[kind], attached->feature);
	char *text = psprintf("CREATE TRIGGER %s %s ON by_oid %s EXECUTE FUNCTION quota.%s(%d)", quote_identifier(name),
						  kinds[kind].when, kinds[kind].what, kinds[kind].function, attached->id);
	RawStmt *statement = linitial_node(RawStmt, raw_parser(text, RAW_PARSE_DEFAULT));

	CreateTrigger(castNode(CreateTrigStmt, statement->stmt), NULL, relid, InvalidOid, InvalidOid, InvalidOid,
				  trigger_function(kind), InvalidOid, NULL, false, false);
	CommandCounterIncrement();
}

/* Drop the triggers of a feature from a table, without those cloned from a parent. Returns false if there were none. */
static bool
drop_triggers(Oid relid, const char *feature)
{
	Relation rel = try_relation_open(relid, NoLock);
	ObjectAddresses *found = new_object_addresses();
	bool any = false;

	if (rel == NULL)
		return false;
	for (int i = 0; rel->trigdesc != NULL && i < rel->trigdesc->numtriggers; i++)
	{
		const Trigger *trigger = &rel->trigdesc->triggers[i];

		for (int kind = 0; kind < QUOTA_TRIGGERS; kind++)
			if (!trigger->tgisclone && is_named(trigger, kind, feature) && trigger->tgfoid == trigger_function(kind))
			{
				add_exact_object_address(&(ObjectAddress){.classId = TriggerRelationId, .objectId = trigger->tgoid}, found);
				any = true;
			}
	}
	relation_close(rel, NoLock);
	performMultipleDeletions(found, DROP_RESTRICT, 0);
	return any;
}

static bool
is_named(const Trigger *trigger, QuotaTrigger kind, const char *feature)
{
	Size length = strlen(quota_attached_triggers[kind]);

	return strncmp(trigger->tgname, quota_attached_triggers[kind], length) == 0 && strcmp(trigger->tgname + length, feature) == 0;
}

static Oid
trigger_function(QuotaTrigger kind)
{
	return LookupFuncName(list_make2(makeString("quota"), makeString(pstrdup(kinds[kind].function))), 0, NULL, false);
}
