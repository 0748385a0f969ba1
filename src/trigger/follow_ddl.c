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

#include "access/table.h"
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
#include "tables/scan.h"
#include "trigger/expression.h"
#include "trigger/partition.h"

static bool is_followed(Node *parsetree);
static void follow_command(const CollectedCommand *command, Node *parsetree, Oid user);
static void follow_subcommand(Oid relid, AlterTableType type, Oid user);
static List *collected_commands(void);
static void follow_owner(Oid relid);
static void follow_renamed_column(Oid relid, const RenameStmt *statement);
static List *tables_with_column_of(Oid relid);
static List *tables_of_type(Oid type);
static void rename_column(int32 id, const RenameStmt *statement);

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
	Node *parsetree;
	QuotaOwner saved;
	ListCell *cell;

	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_EVENT_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function quota.follow_partitions was not called by an event trigger")));
	parsetree = ((EventTriggerData *) fcinfo->context)->parsetree;
	if (!is_followed(parsetree))
		PG_RETURN_NULL();
	quota_owner_begin_extension(&saved);
	foreach (cell, collected_commands())
		follow_command(lfirst(cell), parsetree, saved.user);
	quota_owner_end(&saved);
	PG_RETURN_NULL();
}

/* Return whether a statement is of a kind that may change what attachments depend on. */
static bool
is_followed(Node *parsetree)
{
	bool any = false;
	ListCell *cell;

	switch (nodeTag(parsetree))
	{
		case T_CreateStmt:
		case T_CreateForeignTableStmt:
			return ((CreateStmt *) parsetree)->inhRelations != NIL;
		case T_CreateSchemaStmt:
			foreach (cell, ((CreateSchemaStmt *) parsetree)->schemaElts)
				any |= is_followed(lfirst(cell));
			return any;
		case T_ImportForeignSchemaStmt:
			return true;
		case T_AlterTableStmt:
			foreach (cell, ((AlterTableStmt *) parsetree)->cmds)
			{
				AlterTableType type = lfirst_node(AlterTableCmd, cell)->subtype;

				any |= type == AT_AttachPartition || type == AT_DetachPartition || type == AT_DetachPartitionFinalize ||
					   type == AT_AddInherit || type == AT_ChangeOwner;
			}
			return any;
		case T_RenameStmt:
			/* ALTER VIEW and others rename columns of tables as well, and ALTER TYPE those of typed tables */
			return ((RenameStmt *) parsetree)->renameType == OBJECT_COLUMN || ((RenameStmt *) parsetree)->renameType == OBJECT_ATTRIBUTE;
		default:
			return false;
	}
}

/* Act on what a statement has done, by the OIDs: names may mean other tables by now. */
static void
follow_command(const CollectedCommand *command, Node *parsetree, Oid user)
{
	ListCell *cell;

	if (command->type == SCT_AlterTable)
		foreach (cell, command->d.alterTable.subcmds)
			follow_subcommand(command->d.alterTable.objectId, castNode(AlterTableCmd, ((CollectedATSubcmd *) lfirst(cell))->parsetree)->subtype, user);
	else if (command->type != SCT_Simple || command->d.simple.address.classId != RelationRelationId)
		return;
	else if (IsA(parsetree, RenameStmt))
		follow_renamed_column(command->d.simple.address.objectId, (RenameStmt *) parsetree);
	else
		quota_partition_follow_table(command->d.simple.address.objectId);
}

/* Act on one subcommand of ALTER TABLE. For partitions relid is the parent. */
static void
follow_subcommand(Oid relid, AlterTableType type, Oid user)
{
	switch (type)
	{
		case AT_AttachPartition:
			quota_partition_follow_attach(relid);
			break;
		case AT_DetachPartition:
		case AT_DetachPartitionFinalize:
			quota_partition_follow_detach(relid, user);
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
	Relation rel = table_open(ProcedureRelationId, RowExclusiveLock);
	ListCell *cell;

	foreach (cell, quota_attached_on_table(relid))
		for (int which = 0; which < QUOTA_EXPRESSIONS; which++)
		{
			Oid function = quota_expression_function(((QuotaAttached *) lfirst(cell))->id, which);

			if (OidIsValid(function))
				quota_compat_alter_owner(rel, function, quota_owner_of_relation(relid));
		}
	table_close(rel, RowExclusiveLock);
}

/* Follow ALTER TABLE RENAME COLUMN, since quota.attached has columns by name. */
static void
follow_renamed_column(Oid relid, const RenameStmt *statement)
{
	ListCell *table;
	ListCell *cell;

	foreach (table, tables_with_column_of(relid))
		foreach (cell, quota_attached_on_table(lfirst_oid(table)))
			rename_column(((QuotaAttached *) lfirst(cell))->id, statement);
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
	List *tables = NIL;
	QuotaScan scan;
	ScanKeyData key;

	ScanKeyInit(&key, Anum_pg_class_reloftype, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(type));
	quota_scan_begin(&scan, table_open(RelationRelationId, AccessShareLock), InvalidOid, NULL, 1, &key);
	while (quota_scan_next(&scan))
		tables = lappend_oid(tables, DatumGetObjectId(quota_scan_value(&scan, Anum_pg_class_oid)));
	return tables;
}

static void
rename_column(int32 id, const RenameStmt *statement)
{
	static const Oid types[3] = {INT4OID, TEXTOID, TEXTOID};

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
								  3, types, (Datum[]){Int32GetDatum(id), CStringGetTextDatum(statement->subname), CStringGetTextDatum(statement->newname)});
	quota_expression_rename(quota_attached_get(id));
}
