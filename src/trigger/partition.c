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
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"

#include "compat.h"
#include "owner.h"
#include "tables/scan.h"
#include "trigger/expression.h"
#include "trigger/trigger_ddl.h"

static Oid root_of(Oid relid);
static void check_inheritance(Oid relid);
static void merge_into_root(Oid relid, Oid root);
static void detach_from(Oid relid, const QuotaAttached *attached, Oid user);
static void refuse_foreign_code(Oid relid, const QuotaAttached *attached, Oid user);

/*
 * Act on a table that may have become a partition, which gets the triggers of
 * its ancestors, or a child. Call it as the extension's owner.
 *
 * Errors: wrong_object_type for a foreign table that becomes a partition, for a
 * table with an attachment of its own that the parent does not have, and for a
 * child or parent whose rows are followed.
 */
void
quota_partition_follow_table(Oid relid)
{
	char kind = get_rel_relkind(relid);
	Oid root;
	ListCell *cell;

	if (kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE && kind != RELKIND_FOREIGN_TABLE)
		return;
	if (!get_rel_relispartition(relid))
	{
		check_inheritance(relid);
		return;
	}
	root = root_of(relid);
	merge_into_root(relid, root);
	foreach (cell, quota_attached_on_table(root))
		if (quota_trigger_ddl_charged(relid, lfirst(cell)) == NIL)
			quota_trigger_ddl_add(relid, lfirst(cell));
}

/*
 * Act on the partitions that this transaction has attached to a table. Those
 * attached by earlier statements have their triggers already.
 */
void
quota_partition_follow_attach(Oid parent)
{
	List *partitions = NIL;
	QuotaScan scan;
	ScanKeyData key;
	ListCell *cell;

	ScanKeyInit(&key, Anum_pg_inherits_inhparent, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(parent));
	quota_scan_begin(&scan, table_open(InheritsRelationId, AccessShareLock), InheritsParentIndexId, NULL, 1, &key);
	while (quota_scan_next(&scan))
		if (TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(scan.tuple->t_data)))
			partitions = lappend_oid(partitions, DatumGetObjectId(quota_scan_value(&scan, Anum_pg_inherits_inhrelid)));
	foreach (cell, partitions)
		quota_partition_follow_table(lfirst_oid(cell));
}

/*
 * Give the partitions that a table has lost an attachment of their own. Call it
 * as the extension's owner.
 *
 * A detached partition is counted as before. Rows over its limit are refused,
 * even where they were skipped or marked: that would take a row trigger, which
 * the table would have to lose to become a partition again.
 *
 * Nothing says which table the parent has lost, so this looks for tables that
 * have the triggers and that this statement has locked as DETACH PARTITION
 * does.
 *
 * user: who detaches them. Errors: insufficient_privilege.
 */
void
quota_partition_follow_detach(Oid parent, Oid user)
{
	ListCell *cell;
	ListCell *table;

	foreach (cell, quota_attached_on_table(root_of(parent)))
	{
		const QuotaAttached *attached = lfirst(cell);

		foreach (table, quota_trigger_ddl_charged(InvalidOid, attached))
		{
			LOCKTAG tag;

			SET_LOCKTAG_RELATION(tag, MyDatabaseId, lfirst_oid(table));
			if (lfirst_oid(table) != attached->relation && !get_rel_relispartition(lfirst_oid(table)) &&
				quota_compat_lock_held(&tag, AccessExclusiveLock))
				detach_from(lfirst_oid(table), attached, user);
		}
	}
}

/* Return the topmost parent of a partition, the only one that can have attachments. */
static Oid
root_of(Oid relid)
{
	List *ancestors = get_partition_ancestors(relid);

	return ancestors == NIL ? relid : llast_oid(ancestors);
}

/* Refuse inheritance where rows are followed: their triggers must see every change. */
static void
check_inheritance(Oid relid)
{
	static const Oid types[1] = {OIDOID};

	(void) quota_attached_execute("SELECT quota.check_inheritance(a.relation) FROM quota.attached a"
								  " WHERE a.follows_rows AND (a.relation OPERATOR(pg_catalog.=) $1 OR EXISTS (SELECT FROM pg_catalog.pg_inherits i"
								  " WHERE i.inhrelid OPERATOR(pg_catalog.=) $1 AND i.inhparent OPERATOR(pg_catalog.=) a.relation))",
								  1, types, (Datum[]){ObjectIdGetDatum(relid)});
}

/* Replace a partition's own attachments by those of its root. */
static void
merge_into_root(Oid relid, Oid root)
{
	static const Oid types[2] = {OIDOID, INT4OID};
	ListCell *cell;

	foreach (cell, quota_attached_on_table(relid))
	{
		QuotaAttached *own = lfirst(cell);

		if (quota_attached_find(root, own->feature) == NULL)
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
									  2, types, (Datum[]){ObjectIdGetDatum(root), Int32GetDatum(own->id)});
		(void) quota_attached_execute("DELETE FROM quota.attached WHERE id OPERATOR(pg_catalog.=) $1",
									  1, &types[1], (Datum[]){Int32GetDatum(own->id)});
		quota_expression_drop(own->id);
	}
}

/* Copy an attachment to a table that was a partition. */
static void
detach_from(Oid relid, const QuotaAttached *attached, Oid user)
{
	static const Oid types[2] = {OIDOID, INT4OID};
	int32 id;

	refuse_foreign_code(relid, attached, user);
	id = (int32) quota_attached_execute("INSERT INTO quota.attached (relation, feature, account_column, amount_column, on_block, status_column, blocked_status,"
										" message_column, time_column, amount_reads, counted_when_reads, mark_when_reads, follows_rows)"
										" SELECT $1, feature, account_column, amount_column, on_block, status_column, blocked_status,"
										" message_column, time_column, amount_reads, counted_when_reads, mark_when_reads, follows_rows"
										" FROM quota.attached WHERE id OPERATOR(pg_catalog.=) $2 RETURNING id",
										2, types, (Datum[]){ObjectIdGetDatum(relid), Int32GetDatum(attached->id)});
	for (int which = 0; which < QUOTA_EXPRESSIONS; which++)
		if (attached->has[which])
			quota_expression_copy(attached, which, quota_owner_of_relation(relid), id);
	quota_trigger_ddl_add(relid, quota_attached_get(id));
}

/* Refuse a detach by which the expressions of one owner would run as another. */
static void
refuse_foreign_code(Oid relid, const QuotaAttached *attached, Oid user)
{
	bool any = false;

	for (int which = 0; which < QUOTA_EXPRESSIONS; which++)
		any |= attached->has[which];
	if (any && quota_owner_of_relation(relid) != quota_owner_of_relation(attached->relation) &&
		!quota_compat_owns_table(relid, user))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of table \"%s\" to detach it", get_rel_name(relid)),
				 errdetail("The expressions of feature \"%s\" would run as the owner of the table.", attached->feature)));
}
