/*
 * partition.c
 *		Partitions and children of attached tables, as DDL makes and ends them.
 *
 * A new partition gets the triggers of each attachment of its ancestors. A
 * detached one keeps its triggers and gets an attachment of its own. A table
 * whose rows are followed must not inherit or be inherited from, since a
 * statement on the parent would change rows without firing its triggers.
 *
 * A restored dump has no rows in quota.attached while it makes its tables, so it
 * brings the triggers of its partitions itself.
 *
 * Locks: none but those that the DDL has taken, so that DDL on two partitions of
 * a table do not wait for each other. Memory: the caller's context.
 */
#include "postgres.h"

#include "trigger/partition.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "compat.h"
#include "owner.h"
#include "trigger/expression.h"
#include "trigger/table.h"
#include "trigger/trigger_ddl.h"

static void check_inheritance(Oid relid);
static void follow_partition(Oid relid);
static bool has_trigger(Oid relid, const QuotaAttached *attached);
static void merge_into_parent(Oid relid, List *ancestors);
static bool is_locked(Oid relid);
static void detach_from(Oid relid, const QuotaAttached *attached);
static void refuse_foreign_code(Oid relid, const QuotaAttached *attached);

/*
 * Act on a table that may have become a partition or a child.
 *
 * Errors: those of a partition, as quota_partition_follow_attach;
 * wrong_object_type for a child or parent whose rows are followed.
 */
void
quota_partition_follow_table(Oid relid)
{
	char kind = get_rel_relkind(relid);

	if (kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE && kind != RELKIND_FOREIGN_TABLE)
		return;
	if (get_rel_relispartition(relid))
		follow_partition(relid);
	else
		check_inheritance(relid);
}

/*
 * Give triggers to the partitions that this transaction has attached to a
 * table. Partitions attached by earlier statements have theirs already.
 *
 * Errors: wrong_object_type for a foreign table, and for a table with an
 * attachment of its own that the parent does not have.
 */
void
quota_partition_follow_attach(Oid parent)
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
		quota_partition_follow_table(lfirst_oid(cell));
}

/*
 * Give the partitions that a table has lost an attachment of their own.
 *
 * A detached partition is counted as before. Rows over its limit are refused,
 * even where they were skipped or marked: that would take a row trigger, which
 * the table would have to lose to become a partition again.
 *
 * Nothing says which table the parent has lost, so this looks for tables that
 * have the triggers and that this statement has locked as DETACH PARTITION
 * does.
 */
void
quota_partition_follow_detach(Oid parent)
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
				triggers = quota_trigger_ddl_list_charging(InvalidOid);
			foreach (trigger, triggers)
			{
				QuotaChargeTrigger *found_trigger = lfirst(trigger);

				if (found_trigger->id == attached->id && found_trigger->relid != attached->relation &&
					!get_rel_relispartition(found_trigger->relid) && is_locked(found_trigger->relid))
					detach_from(found_trigger->relid, attached);
			}
		}
}

/* Refuse inheritance where rows are followed: their triggers must see every change. */
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
								quota_table_name(lfirst_oid(table))),
						 errdetail("A statement that names the parent changes rows of its children as well, without their triggers."),
						 errhint("Use a partitioned table.")));
}

/* Give a partition and its own partitions the triggers of its ancestors. */
static void
follow_partition(Oid relid)
{
	List *ancestors = get_partition_ancestors(relid);
	ListCell *ancestor;
	ListCell *cell;

	merge_into_parent(relid, ancestors);
	foreach (ancestor, ancestors)
		foreach (cell, quota_attached_on_table(lfirst_oid(ancestor)))
			if (!has_trigger(relid, lfirst(cell)))
				quota_trigger_ddl_add(relid, lfirst(cell));
}

static bool
has_trigger(Oid relid, const QuotaAttached *attached)
{
	bool found = false;
	ListCell *cell;

	foreach (cell, quota_trigger_ddl_list_charging(relid))
		found |= ((QuotaChargeTrigger *) lfirst(cell))->id == attached->id;
	return found;
}

/* Replace a partition's own attachments by those of its parent. */
static void
merge_into_parent(Oid relid, List *ancestors)
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

static bool
is_locked(Oid relid)
{
	LOCKTAG tag;

	SET_LOCKTAG_RELATION(tag, MyDatabaseId, relid);
	return quota_compat_lock_held(&tag, AccessExclusiveLock);
}

/* Copy an attachment to a table that was a partition. */
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
	quota_trigger_ddl_add(relid, quota_attached_get(id));
	quota_owner_end(&saved);
}

/* Refuse a detach by which the expressions of one owner would run as another. */
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
