/*
 * The triggers on the application's tables, as objects: they are made and dropped
 * by OID, so that nobody can put another table in place of the one that is meant.
 *
 * Statement triggers fire for the table that a statement names, so each partition
 * has its own. An event trigger looks at DDL that makes, attaches or detaches a
 * partition, makes a table inherit, renames a column or gives a table to another
 * owner; at all else it does nothing but look at the kind of the statement. It takes
 * the tables from what the statement did and never looks up a name, which code that
 * the statement ran can have made another's. It locks no table but the one that the
 * statement has locked already, so DDL on two partitions of a table do not wait for
 * each other.
 *
 * A restored dump has no rows in quota.attached while it makes its tables, so it
 * brings the triggers of its partitions itself.
 *
 * Locks: a table that gets triggers, ShareRowExclusiveLock; a table that loses
 * them, AccessExclusiveLock.
 */
#include "postgres.h"

#include "trigger/trigger_ddl.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/alter.h"
#include "commands/event_trigger.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/parsenodes.h"
#include "parser/parse_func.h"
#include "storage/lmgr.h"
#include "tcop/deparse_utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "argument.h"
#include "compat.h"
#include "owner.h"
#include "trigger/expression.h"

/* A trigger to be made, by QuotaTrigger. */
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
	{"begin_rows", false, TRIGGER_TYPE_BEFORE, TRIGGER_TYPE_INSERT, NULL, NULL},
	{"judge_row", true, TRIGGER_TYPE_BEFORE, TRIGGER_TYPE_INSERT, NULL, NULL}};

/* A trigger that charges the rows of a table. */
typedef struct Charging
{
	Oid relid;
	int32 id; /* of the attachment */
} Charging;

static List *tables_of(Oid relid, LOCKMODE lock);
static void make_statement_triggers(Oid relid, const QuotaAttached *attached);
static void make_trigger(Oid relid, const QuotaAttached *attached, QuotaTrigger kind);
static bool drop_triggers(Oid relid, const char *feature, bool partitions);
static List *triggers_of(Oid relid, const char *feature);
static Oid trigger_function(const char *name);
static void follow_command(Node *parsetree);
static void follow_alter_table(AlterTableStmt *statement);
static bool is_followed(AlterTableType type);
static void follow_subcommand(Oid relid, AlterTableType type);
static void follow_new_partitions(Oid parent);
static bool makes_children(List *elements);
static void follow_created(void);
static Oid relation_of(const CollectedCommand *command);
static List *collected_commands(void);
static void follow_table(Oid relid);
static void check_inheritance(Oid relid);
static void follow_partition(Oid relid);
static void join_parent(Oid relid, List *ancestors);
static void give_triggers(Oid relid, const QuotaAttached *attached);
static void refuse_foreign(Oid relid, const QuotaAttached *attached);
static bool has_trigger(Oid relid, const QuotaAttached *attached);
static void follow_old_partitions(Oid parent);
static List *charging(Oid relid);
static bool is_locked(Oid relid);
static void detach_from(Oid relid, const QuotaAttached *attached);
static void refuse_foreign_code(Oid relid, const QuotaAttached *attached);
static void follow_owner(Oid relid);
static void follow_renamed_column(RenameStmt *statement);
static List *tables_with_column_of(Oid relid);
static List *tables_of_type(Oid type);
static void rename_column(const QuotaAttached *attached, char *old_name, char *new_name);

/* Whether a table has triggers of a feature. */
bool
quota_trigger_ddl_any(Oid relid, const char *feature)
{
	return triggers_of(relid, feature) != NIL;
}

/*
 * quota.make_triggers(attachment): make the triggers of an attachment on its
 * table and the partitions of that.
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
		refuse_foreign(lfirst_oid(cell), attached);
		make_statement_triggers(lfirst_oid(cell), attached);
	}
	/* partitions get this one by themselves */
	if (strcmp(attached->on_block, "raise") != 0)
		make_trigger(attached->relation, attached, QUOTA_TRIGGER_JUDGE);
	PG_RETURN_VOID();
}

/*
 * quota.drop_triggers(table, feature): drop the triggers of a feature from a
 * table and its partitions; false: there were none.
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
 * Event trigger: gives partitions the triggers of what they have become a part
 * of, and refuses what cannot be followed.
 *
 * Errors: wrong_object_type for foreign tables that become partitions of an
 * attached table, for attached tables that become partitions of one that is not,
 * and for inheritance where rows are followed.
 */
PG_FUNCTION_INFO_V1(quota_follow_partitions);

Datum
quota_follow_partitions(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_EVENT_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function quota.follow_partitions was not called by an event trigger")));
	follow_command(((EventTriggerData *) fcinfo->context)->parsetree);
	PG_RETURN_NULL();
}

/* A table and its partitions, locked. */
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
		make_trigger(relid, attached, QUOTA_TRIGGER_BEGIN);
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

/* Whether there were any. */
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

/* The triggers of a feature on a table, by name; not those that partitions have from their parent. */
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

static void
follow_command(Node *parsetree)
{
	switch (nodeTag(parsetree))
	{
		case T_CreateStmt:
		case T_CreateForeignTableStmt:
			if (makes_children(list_make1(parsetree)))
				follow_created();
			break;
		case T_CreateSchemaStmt:
			if (makes_children(((CreateSchemaStmt *) parsetree)->schemaElts))
				follow_created();
			break;
		case T_ImportForeignSchemaStmt:
			follow_created();
			break;
		case T_AlterTableStmt:
			follow_alter_table((AlterTableStmt *) parsetree);
			break;
		case T_RenameStmt:
			/* ALTER VIEW and others rename columns of tables too, and ALTER TYPE does by the row type */
			if (((RenameStmt *) parsetree)->renameType == OBJECT_COLUMN || ((RenameStmt *) parsetree)->renameType == OBJECT_ATTRIBUTE)
				follow_renamed_column((RenameStmt *) parsetree);
			break;
		default:
			break;
	}
}

/* What was altered is told by OID: names can mean another table by now. */
static void
follow_alter_table(AlterTableStmt *statement)
{
	bool any = false;
	ListCell *cell;
	ListCell *part;

	foreach (cell, statement->cmds)
		any |= is_followed(lfirst_node(AlterTableCmd, cell)->subtype);
	if (!any)
		return;
	foreach (cell, collected_commands())
	{
		CollectedCommand *command = lfirst(cell);

		if (command->type == SCT_AlterTable && command->d.alterTable.classId == RelationRelationId)
			foreach (part, command->d.alterTable.subcmds)
				follow_subcommand(command->d.alterTable.objectId, castNode(AlterTableCmd, ((CollectedATSubcmd *) lfirst(part))->parsetree)->subtype);
	}
}

static bool
is_followed(AlterTableType type)
{
	return type == AT_AttachPartition || type == AT_DetachPartition || type == AT_DetachPartitionFinalize ||
		   type == AT_AddInherit || type == AT_ChangeOwner;
}

/* A part of ALTER TABLE. Of those about partitions the table is the parent. */
static void
follow_subcommand(Oid relid, AlterTableType type)
{
	switch (type)
	{
		case AT_AttachPartition:
			follow_new_partitions(relid);
			break;
		case AT_DetachPartition:
		case AT_DetachPartitionFinalize:
			follow_old_partitions(relid);
			break;
		case AT_AddInherit:
			follow_table(relid);
			break;
		case AT_ChangeOwner:
			follow_owner(relid);
			break;
		default:
			break;
	}
}

/* Whether any of these statements makes a table that is a partition or inherits. */
static bool
makes_children(List *elements)
{
	ListCell *cell;

	foreach (cell, elements)
	{
		Node *element = lfirst(cell);

		if ((IsA(element, CreateStmt) || IsA(element, CreateForeignTableStmt)) && ((CreateStmt *) element)->inhRelations != NIL)
			return true;
	}
	return false;
}

static void
follow_created(void)
{
	ListCell *cell;

	foreach (cell, collected_commands())
		follow_table(relation_of(lfirst(cell)));
}

/* The relation that a command has made or altered, other than ALTER TABLE; InvalidOid: it was about something else. */
static Oid
relation_of(const CollectedCommand *command)
{
	if (command->type != SCT_Simple || command->d.simple.address.classId != RelationRelationId)
		return InvalidOid;
	return command->d.simple.address.objectId;
}

/* What the statement has done, as CollectedCommand. */
static List *
collected_commands(void)
{
	MemoryContext context = CurrentMemoryContext;
	List *commands = NIL;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute("SELECT command FROM pg_catalog.pg_event_trigger_ddl_commands()", true, 0) != SPI_OK_SELECT)
		elog(ERROR, "SPI_execute failed");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(context);
		bool isnull;

		commands = lappend(commands, DatumGetPointer(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull)));
		MemoryContextSwitchTo(old);
	}
	SPI_finish();
	return commands;
}

/* The partitions of a table that this transaction has given it: of earlier statements too, which have their triggers. */
static void
follow_new_partitions(Oid parent)
{
	Relation inherits = table_open(InheritsRelationId, AccessShareLock);
	List *partitions = NIL;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;
	ListCell *cell;

	ScanKeyInit(&key, Anum_pg_inherits_inhparent, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(parent));
	scan = systable_beginscan(inherits, InheritsParentIndexId, true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		if (TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(tuple->t_data)))
			partitions = lappend_oid(partitions, ((Form_pg_inherits) GETSTRUCT(tuple))->inhrelid);
	systable_endscan(scan);
	table_close(inherits, AccessShareLock);
	foreach (cell, partitions)
		follow_table(lfirst_oid(cell));
}

/* A table that has become a partition, or a child. */
static void
follow_table(Oid relid)
{
	char kind = get_rel_relkind(relid);

	if (kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE && kind != RELKIND_FOREIGN_TABLE)
		return;
	if (get_rel_relispartition(relid))
		follow_partition(relid);
	else
		check_inheritance(relid);
}

/* Of rows that are followed the triggers of one table must see every change. */
static void
check_inheritance(Oid relid)
{
	Relation inherits = table_open(InheritsRelationId, AccessShareLock);
	List *tables = list_make1_oid(relid);
	bool any = false;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;
	ListCell *table;
	ListCell *cell;

	ScanKeyInit(&key, Anum_pg_inherits_inhrelid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	scan = systable_beginscan(inherits, InheritsRelidSeqnoIndexId, true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		tables = lappend_oid(tables, ((Form_pg_inherits) GETSTRUCT(tuple))->inhparent);
		any = true;
	}
	systable_endscan(scan);
	table_close(inherits, AccessShareLock);
	if (!any)
		return;
	foreach (table, tables)
		foreach (cell, quota_attached_on_table(lfirst_oid(table)))
			if (((QuotaAttached *) lfirst(cell))->follows_rows)
				ereport(ERROR,
						(errcode(ERRCODE_WRONG_OBJECT_TYPE),
						 errmsg("rows of table %s cannot be followed, since it inherits or is inherited from",
								quote_qualified_identifier(get_namespace_name(get_rel_namespace(lfirst_oid(table))), get_rel_name(lfirst_oid(table)))),
						 errdetail("A statement that names the parent changes rows of its children as well, without their triggers."),
						 errhint("Use a partitioned table.")));
}

/* Give a partition, and what it consists of, the triggers of what it is a part of. */
static void
follow_partition(Oid relid)
{
	List *ancestors = get_partition_ancestors(relid);
	ListCell *ancestor;
	ListCell *cell;

	join_parent(relid, ancestors);
	foreach (ancestor, ancestors)
		foreach (cell, quota_attached_on_table(lfirst_oid(ancestor)))
			if (!has_trigger(relid, lfirst(cell)))
				give_triggers(relid, lfirst(cell));
}

/* Whether a table has the triggers of an attachment. */
static bool
has_trigger(Oid relid, const QuotaAttached *attached)
{
	bool found = false;
	ListCell *cell;

	foreach (cell, charging(relid))
		found |= ((Charging *) lfirst(cell))->id == attached->id;
	return found;
}

/* What was attached to a partition by itself gives way to what is attached to its parent. */
static void
join_parent(Oid relid, List *ancestors)
{
	static const Oid types[3] = {OIDOID, INT4OID, OIDOID};
	ListCell *cell;
	ListCell *ancestor;

	foreach (cell, quota_attached_on_table(relid))
	{
		QuotaAttached *own = lfirst(cell);
		Oid parent = InvalidOid;

		foreach (ancestor, ancestors)
			if (quota_attached_find(lfirst_oid(ancestor), own->feature) != NULL)
				parent = lfirst_oid(ancestor);
		if (!OidIsValid(parent))
			ereport(ERROR,
					(errcode(ERRCODE_WRONG_OBJECT_TYPE),
					 errmsg("table \"%s\", which feature \"%s\" is attached to, cannot become a partition", get_rel_name(relid), own->feature),
					 errdetail("Rows that come by way of its parent would not be charged."),
					 errhint("Attach the feature to the partitioned table, or call quota_detach.")));
		(void) quota_attached_execute("UPDATE quota.charged_rows c SET relation = $1 FROM quota.attached a"
									  " WHERE a.id OPERATOR(pg_catalog.=) $2 AND c.relation OPERATOR(pg_catalog.=) a.relation"
									  " AND c.feature OPERATOR(pg_catalog.=) a.feature AND NOT EXISTS (SELECT FROM quota.charged_rows o"
									  " WHERE o.relation OPERATOR(pg_catalog.=) $1 AND o.feature OPERATOR(pg_catalog.=) c.feature"
									  " AND o.row_key OPERATOR(pg_catalog.=) c.row_key)",
									  2, types, (Datum[]){ObjectIdGetDatum(parent), Int32GetDatum(own->id)});
		(void) quota_attached_execute("DELETE FROM quota.attached WHERE id OPERATOR(pg_catalog.=) $1",
									  1, &types[1], (Datum[]){Int32GetDatum(own->id)});
		quota_expression_drop(own->id);
	}
}

static void
give_triggers(Oid relid, const QuotaAttached *attached)
{
	ListCell *cell;
	QuotaOwner saved;

	quota_owner_begin_extension(&saved);
	/* the statement has locked them: nothing is waited for */
	foreach (cell, tables_of(relid, ShareRowExclusiveLock))
	{
		refuse_foreign(lfirst_oid(cell), attached);
		(void) drop_triggers(lfirst_oid(cell), attached->feature, false);
		make_statement_triggers(lfirst_oid(cell), attached);
	}
	quota_owner_end(&saved);
}

static void
refuse_foreign(Oid relid, const QuotaAttached *attached)
{
	if (get_rel_relkind(relid) == RELKIND_FOREIGN_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("foreign table \"%s\" cannot be a partition of table \"%s\"", get_rel_name(relid), get_rel_name(attached->relation)),
				 errdetail("Feature \"%s\" is attached to the table, and rows of foreign tables cannot be counted.", attached->feature)));
}

/*
 * A table that is no partition any more keeps its triggers, and is attached by
 * itself: it is counted as before. Rows over the limit are not judged one by one
 * then, but refused, since that takes a trigger which it would have to lose to
 * become a partition again.
 *
 * Nothing but its triggers tells which table a parent has lost, and the lock that
 * the statement has taken.
 */
static void
follow_old_partitions(Oid parent)
{
	List *ancestors = lcons_oid(parent, get_rel_relispartition(parent) ? get_partition_ancestors(parent) : NIL);
	List *triggers = NIL;
	ListCell *ancestor;
	ListCell *cell;
	ListCell *trigger;

	foreach (ancestor, ancestors)
		foreach (cell, quota_attached_on_table(lfirst_oid(ancestor)))
		{
			QuotaAttached *attached = lfirst(cell);

			if (triggers == NIL)
				triggers = charging(InvalidOid);
			foreach (trigger, triggers)
			{
				Charging *charges = lfirst(trigger);

				if (charges->id == attached->id && charges->relid != attached->relation &&
					!get_rel_relispartition(charges->relid) && is_locked(charges->relid))
					detach_from(charges->relid, attached);
			}
		}
}

/* The triggers that charge the rows of a table; InvalidOid: of all tables. */
static List *
charging(Oid relid)
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
			Charging *charges = palloc(sizeof(Charging));

			charges->relid = trigger->tgrelid;
			charges->id = atoi(VARDATA_ANY(DatumGetByteaPP(arguments)));
			found = lappend(found, charges);
		}
	}
	systable_endscan(scan);
	table_close(triggers, AccessShareLock);
	return found;
}

/* Whether this transaction has locked a table as DETACH PARTITION does. */
static bool
is_locked(Oid relid)
{
	LOCKTAG tag;

	SET_LOCKTAG_RELATION(tag, MyDatabaseId, relid);
	return quota_compat_lock_held(&tag, AccessExclusiveLock);
}

/* Attach a table by itself as what it was a partition of is. */
static void
detach_from(Oid relid, const QuotaAttached *attached)
{
	static const Oid types[2] = {OIDOID, INT4OID};
	QuotaOwner saved;
	int32 id;

	refuse_foreign_code(relid, attached);
	quota_owner_begin_extension(&saved);
	id = (int32) quota_attached_execute("INSERT INTO quota.attached (relation, feature, account_column, amount_column, on_block, status_column, blocked_status,"
										" message_column, time_column, amount_reads, counted_when_reads, mark_when_reads, follows_rows)"
										" SELECT $1, feature, account_column, amount_column, on_block, status_column, blocked_status,"
										" message_column, time_column, amount_reads, counted_when_reads, mark_when_reads, follows_rows"
										" FROM quota.attached WHERE id OPERATOR(pg_catalog.=) $2 RETURNING id",
										2, types, (Datum[]){ObjectIdGetDatum(relid), Int32GetDatum(attached->id)});
	CommandCounterIncrement();
	for (int which = 0; which < QUOTA_EXPRESSIONS; which++)
		if (attached->has[which])
			quota_expression_copy(attached, which, quota_owner_of_relation(relid), id);
	give_triggers(relid, quota_attached_get(id));
	quota_owner_end(&saved);
}

/* Expressions become those of the partition's owner, who may have nothing to do with who wrote them. */
static void
refuse_foreign_code(Oid relid, const QuotaAttached *attached)
{
	bool any = false;

	for (int which = 0; which < QUOTA_EXPRESSIONS; which++)
		any |= attached->has[which];
	if (any && quota_owner_of_relation(relid) != quota_owner_of_relation(attached->relation) &&
		!quota_compat_owns_table(relid, GetUserId()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of table \"%s\" to detach it", get_rel_name(relid)),
				 errdetail("The expressions of feature \"%s\" would run as the owner of the table.", attached->feature)));
}

/* The functions of a table's expressions are its owner's. */
static void
follow_owner(Oid relid)
{
	Oid owner = quota_owner_of_relation(relid);
	QuotaOwner saved;
	ListCell *cell;

	if (!OidIsValid(owner))
		return;
	foreach (cell, quota_attached_on_table(relid))
		for (int which = 0; which < QUOTA_EXPRESSIONS; which++)
		{
			Oid function = quota_expression_function(((QuotaAttached *) lfirst(cell))->id, which);
			Relation rel;

			if (!OidIsValid(function))
				continue;
			quota_owner_begin_extension(&saved);
			rel = table_open(ProcedureRelationId, RowExclusiveLock);
			quota_compat_alter_owner(rel, function, owner);
			table_close(rel, RowExclusiveLock);
			quota_owner_end(&saved);
		}
}

/* Columns are named in quota.attached, and get their new names there. */
static void
follow_renamed_column(RenameStmt *statement)
{
	ListCell *command;
	ListCell *table;
	ListCell *cell;

	foreach (command, collected_commands())
	{
		Oid relid = relation_of(lfirst(command));

		if (!OidIsValid(relid))
			continue;
		foreach (table, tables_with_column_of(relid))
			foreach (cell, quota_attached_on_table(lfirst_oid(table)))
				rename_column(lfirst(cell), statement->subname, statement->newname);
	}
}

/* A table and those that inherit its columns; of a composite type, its typed tables. */
static List *
tables_with_column_of(Oid relid)
{
	List *tables = NIL;
	ListCell *cell;

	if (get_rel_relkind(relid) != RELKIND_COMPOSITE_TYPE)
		return find_all_inheritors(relid, NoLock, NULL);
	foreach (cell, tables_of_type(get_rel_type_id(relid)))
		tables = list_concat_unique_oid(tables, find_all_inheritors(lfirst_oid(cell), NoLock, NULL));
	return tables;
}

/* The typed tables of a type. No index finds them, and PostgreSQL itself has just done without. */
static List *
tables_of_type(Oid type)
{
	Relation rel = table_open(RelationRelationId, AccessShareLock);
	List *tables = NIL;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;

	ScanKeyInit(&key, Anum_pg_class_reloftype, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(type));
	scan = systable_beginscan(rel, InvalidOid, false, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		tables = lappend_oid(tables, ((Form_pg_class) GETSTRUCT(tuple))->oid);
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return tables;
}

static void
rename_column(const QuotaAttached *attached, char *old_name, char *new_name)
{
	static const Oid types[3] = {INT4OID, TEXTOID, TEXTOID};
	QuotaOwner saved;

	quota_owner_begin_extension(&saved);
	(void) quota_attached_execute("UPDATE quota.attached SET"
								  " account_column = CASE WHEN account_column OPERATOR(pg_catalog.=) $2 THEN $3 ELSE account_column END,"
								  " amount_column = CASE WHEN amount_column OPERATOR(pg_catalog.=) $2 THEN $3 ELSE amount_column END,"
								  " status_column = CASE WHEN status_column OPERATOR(pg_catalog.=) $2 THEN $3 ELSE status_column END,"
								  " message_column = CASE WHEN message_column OPERATOR(pg_catalog.=) $2 THEN $3 ELSE message_column END,"
								  " time_column = CASE WHEN time_column OPERATOR(pg_catalog.=) $2 THEN $3 ELSE time_column END,"
								  " amount_reads = pg_catalog.array_replace(amount_reads, $2, $3),"
								  " counted_when_reads = pg_catalog.array_replace(counted_when_reads, $2, $3),"
								  " mark_when_reads = pg_catalog.array_replace(mark_when_reads, $2, $3)"
								  " WHERE id OPERATOR(pg_catalog.=) $1",
								  3, types, (Datum[]){Int32GetDatum(attached->id), CStringGetTextDatum(old_name), CStringGetTextDatum(new_name)});
	CommandCounterIncrement();
	attached = quota_attached_get(attached->id);
	for (int which = 0; which < QUOTA_EXPRESSIONS; which++)
	{
		ListCell *cell;
		bool reads = false;

		foreach (cell, attached->columns[which])
			reads |= strcmp(lfirst(cell), new_name) == 0;
		if (reads)
			quota_expression_rename(attached, which);
	}
	quota_owner_end(&saved);
}
