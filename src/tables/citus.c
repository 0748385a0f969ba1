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
 * relation; without Citus, checking again costs two system cache lookups.
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
 * Check that Citus manages none of the tables, and that this node is the coordinator.
 *
 * Errors: object_not_in_prerequisite_state where not.
 */
void
quota_citus_check(void)
{
	uint64 before = invalidations;

	check_tables(quota_relations_oids()->tables);
	check_node();
	/* an invalidation was processed meanwhile: check again next time */
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

/* Open a catalogue of Citus, and find the number of a column; NULL: there is none. */
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
	/* returns NULL if it was dropped meanwhile */
	rel = try_table_open(relid, AccessShareLock);
	return rel;
}
