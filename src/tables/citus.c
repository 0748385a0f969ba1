/*
 * citus.c
 *		Refuse to charge where Citus manages the tables of schema quota.
 *
 * Charges use the tables of this node. Where Citus has distributed one of them, or the
 * node is a worker, their rows are elsewhere, and a charge would silently count on the
 * wrong node.
 *
 * Citus's catalogues tell: pg_dist_partition has a row for each table that Citus
 * manages, and pg_dist_local_group holds 0 on the coordinator. Citus invalidates the
 * relcache entries of the tables concerned when either changes, and creating a catalogue
 * sends an invalidation, too. So the answer is kept until the next invalidation of any
 * relation; without Citus, checking again costs four system cache lookups.
 *
 * Memory: static. Locks: AccessShareLock on Citus's catalogues.
 */
#include "postgres.h"

#include "tables/citus.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "tables/relations.h"

static Datum find_value(const char *catalogue, const char *column, Oid type, bool (*wanted)(Datum value));
static bool is_table(Datum relid);
static bool is_worker(Datum group);

/*
 * Check that Citus manages none of the tables, and that this node is the coordinator.
 *
 * Errors: object_not_in_prerequisite_state where not.
 */
void
quota_citus_check(void)
{
	static uint64 checked_at = PG_UINT64_MAX;
	uint64 before = quota_relations_invalidations;
	Datum found;

	if (checked_at == before)
		return;
	found = find_value("pg_dist_partition", "logicalrelid", REGCLASSOID, is_table);
	if (found != (Datum) 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table quota.%s is managed by Citus", get_rel_name(DatumGetObjectId(found))),
				 errdetail("Charges use the table of this node, where its rows are not."),
				 errhint("Keep the tables of schema quota local: undistribute_table turns one back.")));
	found = find_value("pg_dist_local_group", "groupid", INT4OID, is_worker);
	if (found != (Datum) 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this node is not the coordinator of its Citus cluster"),
				 errdetail("It has the group %d; accounts are counted on the coordinator, which has the group 0.", DatumGetInt32(found)),
				 errhint("Call quota's functions on the coordinator.")));
	/* if an invalidation was processed meanwhile, check again next time */
	checked_at = before;
}

/* Find a value that is not 0 in a column of a catalogue of Citus; 0: there is none, or no such catalogue. */
static Datum
find_value(const char *catalogue, const char *column, Oid type, bool (*wanted)(Datum value))
{
	Oid relid = get_relname_relid(catalogue, PG_CATALOG_NAMESPACE);
	AttrNumber number = get_attnum(relid, column);
	Relation rel;
	SysScanDesc scan;
	HeapTuple tuple;
	Datum found = (Datum) 0;

	if (!OidIsValid(relid) || get_rel_relkind(relid) != RELKIND_RELATION || get_atttype(relid, number) != type)
		return (Datum) 0;
	rel = try_table_open(relid, AccessShareLock);
	/* it was dropped meanwhile */
	if (rel == NULL)
		return (Datum) 0;
	scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	while (found == (Datum) 0 && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool isnull;
		Datum value = heap_getattr(tuple, number, RelationGetDescr(rel), &isnull);

		if (!isnull && wanted(value))
			found = value;
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

static bool
is_table(Datum relid)
{
	for (QuotaTable table = 0; table < TABLES; table++)
		if (DatumGetObjectId(relid) == quota_relations_oids()->tables[table])
			return true;
	return false;
}

static bool
is_worker(Datum group)
{
	return DatumGetInt32(group) != 0;
}
