/*
 * adopted.c
 *		Tables of accounts that are followed: rows of quota.adopted.
 *
 * Memory: the caller's context. Locks: AccessShareLock on the table.
 */
#include "postgres.h"

#include "tables/adopted.h"

#include "access/stratnum.h"
#include "utils/fmgroids.h"

#include "tables/relations.h"
#include "tables/scan.h"

enum
{
	ADOPTED_ID = 1,
	ADOPTED_RELATION = 2,
	ADOPTED_KEY = 3 /* the other columns follow */
};

/*
 * Read a row with the newest snapshot: its trigger also fires in transactions with an
 * older snapshot. Returns false if there is none.
 */
bool
quota_adopted_get(int64 id, QuotaAdopted *row)
{
	Relation rel = quota_relations_open(ADOPTED, AccessShareLock);
	QuotaScan scan;
	ScanKeyData key;
	bool found;

	ScanKeyInit(&key, ADOPTED_ID, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(id));
	quota_scan_begin(&scan, rel, quota_scan_primary_key(rel), NULL, 1, &key);
	found = quota_scan_next(&scan);
	if (found)
	{
		row->id = id;
		row->relation = DatumGetObjectId(quota_scan_value(&scan, ADOPTED_RELATION));
		for (int i = 0; i < QUOTA_ADOPTED_COLUMNS; i++)
			row->columns[i] = quota_scan_string(&scan, ADOPTED_KEY + i);
	}
	quota_scan_end(&scan);
	return found;
}
