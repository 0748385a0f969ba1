/*
 * Whether Citus has moved the tables of schema quota elsewhere.
 *
 * Charges use the tables of this node directly. Where Citus has distributed one
 * of them, or the node is a worker, that is not where its rows are: a charge
 * would count on the wrong node, silently. So it is refused.
 *
 * The answer comes from Citus's catalogues: pg_dist_partition has a row for each
 * table that Citus manages, and pg_dist_local_group holds 0 on the coordinator.
 * Citus invalidates the relcache entries of the tables concerned whenever either
 * changes, and a catalogue that appears has an entry of its own. So the answer is
 * kept until the next invalidation of any relation: without Citus, to look again
 * is two lookups in the system cache.
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

bool quota_citus_checked = false;

static uint64 invalidations = 0;

static void relation_changed(Oid relid);
static void check_tables(const Oid *tables);
static void check_node(void);
static Relation open_catalogue(const char *name, const char *column, Oid type, AttrNumber *number);

void
quota_citus_init(void)
{
	quota_relations_on_change(relation_changed);
}

/*
 * Errors: object_not_in_prerequisite_state where Citus manages one of the tables,
 * or this node is not the coordinator.
 */
void
quota_citus_check(void)
{
	uint64 before = invalidations;

	check_tables(quota_relations_oids()->tables);
	check_node();
	/* if anything changed while looking, look again the next time */
	quota_citus_checked = before == invalidations;
}

static void
relation_changed(Oid relid pg_attribute_unused())
{
	invalidations++;
	quota_citus_checked = false;
}

static void
check_tables(const Oid *tables)
{
	AttrNumber column;
	Relation rel = open_catalogue("pg_dist_partition", "logicalrelid", REGCLASSOID, &column);
	SysScanDesc scan;
	HeapTuple tuple;
	Oid managed = InvalidOid;

	if (rel == NULL)
		return;
	scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	while (!OidIsValid(managed) && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool isnull;
		Oid relid = DatumGetObjectId(heap_getattr(tuple, column, RelationGetDescr(rel), &isnull));

		for (int i = 0; i < TABLES; i++)
			if (!isnull && relid == tables[i])
				managed = relid;
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	if (OidIsValid(managed))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table quota.%s is managed by Citus", get_rel_name(managed)),
				 errdetail("Charges use the table of this node, where its rows are not."),
				 errhint("Keep the tables of schema quota local: undistribute_table turns one back.")));
}

static void
check_node(void)
{
	AttrNumber column;
	Relation rel = open_catalogue("pg_dist_local_group", "groupid", INT4OID, &column);
	SysScanDesc scan;
	HeapTuple tuple;
	int32 group = 0;

	if (rel == NULL)
		return;
	scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool isnull;
		Datum value = heap_getattr(tuple, column, RelationGetDescr(rel), &isnull);

		if (!isnull && DatumGetInt32(value) != 0)
			group = DatumGetInt32(value);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	if (group != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this node is not the coordinator of its Citus cluster"),
				 errdetail("It has the group %d; accounts are counted on the coordinator, which has the group 0.", group),
				 errhint("Call quota's functions on the coordinator.")));
}

/* A catalogue of Citus, and the number of its column; NULL: there is none. */
static Relation
open_catalogue(const char *name, const char *column, Oid type, AttrNumber *number)
{
	Oid relid = get_relname_relid(name, PG_CATALOG_NAMESPACE);
	Relation rel;

	if (!OidIsValid(relid) || get_rel_relkind(relid) != RELKIND_RELATION)
		return NULL;
	*number = get_attnum(relid, column);
	if (*number == InvalidAttrNumber || get_atttype(relid, *number) != type)
		return NULL;
	/* it may be dropped meanwhile */
	rel = try_table_open(relid, AccessShareLock);
	return rel;
}
