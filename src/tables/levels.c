/*
 * levels.c
 *		The levels of roles: rows of quota.levels.
 *
 * Memory: the caller's context. Locks: AccessShareLock on the table.
 */
#include "postgres.h"

#include "tables/levels.h"

#include "tables/scan.h"

enum
{
	LEVELS_ROLE = 1
};

/* Read all rows, with the newest snapshot, in any order. */
QuotaLevelRow *
quota_levels_read(int *count)
{
	QuotaScan scan;
	QuotaLevelRow *row;

	quota_scan_begin(&scan, quota_relations_open(LEVELS, AccessShareLock), InvalidOid, NULL, 0, NULL);
	while ((row = quota_scan_next_row(&scan, sizeof(*row))) != NULL)
	{
		row->role = quota_scan_oid(&scan, LEVELS_ROLE);
		row->level = quota_scan_string(&scan, LEVELS_LEVEL);
	}
	*count = scan.count;
	return scan.rows;
}
