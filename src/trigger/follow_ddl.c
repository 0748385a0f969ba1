/*
 * follow_ddl.c
 *		The event trigger that keeps attachments right when DDL changes tables.
 *
 * It acts on DDL that makes, attaches or detaches a partition, makes a table
 * inherit, renames a column or changes the owner of a table. All other DDL costs
 * a look at the kind of the statement.
 *
 * Tables are taken from what the statement did, by OID. No name is looked up:
 * code that the statement ran may have given it to another table.
 *
 * Locks: none but those that the DDL has taken. Memory: the caller's context.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/alter.h"
#include "commands/event_trigger.h"
#include "executor/spi.h"
#include "nodes/parsenodes.h"
#include "tcop/deparse_utility.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "compat.h"
#include "owner.h"
#include "trigger/expression.h"
#include "trigger/partition.h"

static void follow_command(Node *parsetree);
static void follow_alter_table(AlterTableStmt *statement);
static bool is_followed(AlterTableType type);
static void follow_subcommand(Oid relid, AlterTableType type);
static bool makes_children(List *elements);
static void follow_created_tables(void);
static Oid relation_of(const CollectedCommand *command);
static List *collected_commands(void);
static void follow_owner(Oid relid);
static void follow_renamed_column(RenameStmt *statement);
static List *tables_with_column_of(Oid relid);
static List *tables_of_type(Oid type);
static void rename_column(const QuotaAttached *attached, char *old_name, char *new_name);

/*
 * quota.follow_partitions(): event trigger on ddl_command_end.
 *
 * Errors: event_trigger_protocol_violated unless an event trigger calls it;
 * wrong_object_type for foreign tables that become partitions of an attached
 * table, for attached tables that become partitions of one that is not, and for
 * inheritance where rows are followed.
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

static void
follow_command(Node *parsetree)
{
	switch (nodeTag(parsetree))
	{
		case T_CreateStmt:
		case T_CreateForeignTableStmt:
			if (makes_children(list_make1(parsetree)))
				follow_created_tables();
			break;
		case T_CreateSchemaStmt:
			if (makes_children(((CreateSchemaStmt *) parsetree)->schemaElts))
				follow_created_tables();
			break;
		case T_ImportForeignSchemaStmt:
			follow_created_tables();
			break;
		case T_AlterTableStmt:
			follow_alter_table((AlterTableStmt *) parsetree);
			break;
		case T_RenameStmt:
			/*
			 * ALTER VIEW and others rename columns of tables as well, and ALTER
			 * TYPE those of typed tables
			 */
			if (((RenameStmt *) parsetree)->renameType == OBJECT_COLUMN || ((RenameStmt *) parsetree)->renameType == OBJECT_ATTRIBUTE)
				follow_renamed_column((RenameStmt *) parsetree);
			break;
		default:
			break;
	}
}

/* Act on ALTER TABLE, by the OIDs that it has altered: names may mean other tables by now. */
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

/* Act on one subcommand of ALTER TABLE. For partitions relid is the parent. */
static void
follow_subcommand(Oid relid, AlterTableType type)
{
	switch (type)
	{
		case AT_AttachPartition:
			quota_partition_follow_attach(relid);
			break;
		case AT_DetachPartition:
		case AT_DetachPartitionFinalize:
			quota_partition_follow_detach(relid);
			break;
		case AT_AddInherit:
			quota_partition_follow_table(relid);
			break;
		case AT_ChangeOwner:
			follow_owner(relid);
			break;
		default:
			break;
	}
}

/* Return whether a statement makes a table that is a partition or inherits. */
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
follow_created_tables(void)
{
	ListCell *cell;

	foreach (cell, collected_commands())
		quota_partition_follow_table(relation_of(lfirst(cell)));
}

/* Return the relation of a command other than ALTER TABLE; InvalidOid if it is about something else. */
static Oid
relation_of(const CollectedCommand *command)
{
	if (command->type != SCT_Simple || command->d.simple.address.classId != RelationRelationId)
		return InvalidOid;
	return command->d.simple.address.objectId;
}

/* List what the statement has done as CollectedCommand. */
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

/* Make the new owner of a table the owner of the functions of its expressions. */
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

/* Follow ALTER TABLE RENAME COLUMN, since quota.attached has columns by name. */
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

/* List a table and those that inherit its columns; for a composite type its typed tables. */
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

/*
 * List the typed tables of a type. pg_class has no index on reloftype, and
 * PostgreSQL itself has just scanned it.
 */
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
