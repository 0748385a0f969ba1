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

/* A table that has become a partition, or a child. */
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

/* The partitions of a table that this transaction has given it: of earlier statements too, which have their triggers. */
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
 * A table that is no partition any more keeps its triggers, and is attached by
 * itself: it is counted as before. Rows over the limit are not filtered one by one
 * then, but refused, since that takes a trigger which it would have to lose to
 * become a partition again.
 *
 * Nothing but its triggers tells which table a parent has lost, and the lock that
 * the statement has taken.
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
		foreach (cell, quota_attached_on(lfirst_oid(ancestor)))
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
		foreach (cell, quota_attached_on(lfirst_oid(table)))
			if (((QuotaAttached *) lfirst(cell))->follows_rows)
				ereport(ERROR,
						(errcode(ERRCODE_WRONG_OBJECT_TYPE),
						 errmsg("rows of table %s cannot be followed, since it inherits or is inherited from",
								quota_table_name(lfirst_oid(table))),
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

	merge_into_parent(relid, ancestors);
	foreach (ancestor, ancestors)
		foreach (cell, quota_attached_on(lfirst_oid(ancestor)))
			if (!has_trigger(relid, lfirst(cell)))
				quota_trigger_ddl_add(relid, lfirst(cell));
}

/* Whether a table has the triggers of an attachment. */
static bool
has_trigger(Oid relid, const QuotaAttached *attached)
{
	bool found = false;
	ListCell *cell;

	foreach (cell, quota_trigger_ddl_list_charging(relid))
		found |= ((QuotaChargeTrigger *) lfirst(cell))->id == attached->id;
	return found;
}

/* What was attached to a partition by itself gives way to what is attached to its parent. */
static void
merge_into_parent(Oid relid, List *ancestors)
{
	static const Oid types[3] = {OIDOID, INT4OID, OIDOID};
	ListCell *cell;
	ListCell *ancestor;

	foreach (cell, quota_attached_on(relid))
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
		(void) quota_attached_write("UPDATE quota.charged_rows c SET relation = $1 FROM quota.attached a"
									" WHERE a.id OPERATOR(pg_catalog.=) $2 AND c.relation OPERATOR(pg_catalog.=) a.relation"
									" AND c.feature OPERATOR(pg_catalog.=) a.feature AND NOT EXISTS (SELECT FROM quota.charged_rows o"
									" WHERE o.relation OPERATOR(pg_catalog.=) $1 AND o.feature OPERATOR(pg_catalog.=) c.feature"
									" AND o.row_key OPERATOR(pg_catalog.=) c.row_key)",
									2, types, (Datum[]){ObjectIdGetDatum(parent), Int32GetDatum(own->id)});
		(void) quota_attached_write("DELETE FROM quota.attached WHERE id OPERATOR(pg_catalog.=) $1",
									1, &types[1], (Datum[]){Int32GetDatum(own->id)});
		quota_expression_drop(own->id);
	}
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
	id = (int32) quota_attached_write("INSERT INTO quota.attached (relation, feature, account_column, amount_column, on_block, status_column, blocked_status,"
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
