/*
 * adopted.c
 *		Tables of accounts that are followed: rows of quota.adopted.
 *
 * Memory: the caller's context. Locks: AccessShareLock on the table.
 */
#include "postgres.h"

#include "tables/adopted.h"

#include "tables/scan.h"

enum
{
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
	QuotaScan scan;

	if (!quota_scan_find(&scan, ADOPTED, NULL, 1, &(Datum){Int64GetDatum(id)}))
		return false;
	row->id = id;
	row->relation = quota_scan_oid(&scan, ADOPTED_RELATION);
	for (int i = 0; i < QUOTA_ADOPTED_COLUMNS; i++)
		row->columns[i] = quota_scan_string(&scan, ADOPTED_KEY + i);
	quota_scan_end(&scan);
	return true;
}
