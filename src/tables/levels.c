/*
 * levels.c
 *		The levels of roles: rows of quota.levels.
 *
 * Memory: the caller's context. Locks: AccessShareLock on the table.
 */
#include "postgres.h"

#include "tables/levels.h"

#include "tables/relations.h"
#include "tables/scan.h"

enum
{
	LEVELS_ROLE = 1
};

/* Read all rows, with the newest snapshot, in any order. */
QuotaLevelRow *
quota_levels_read(int *count)
{
	QuotaLevelRow *rows = NULL;
	QuotaScan scan;

	quota_scan_begin(&scan, quota_relations_open(LEVELS, AccessShareLock), InvalidOid, NULL, 0, NULL);
	for (*count = 0; quota_scan_next(&scan); (*count)++)
	{
		rows = quota_scan_room(rows, *count, sizeof(QuotaLevelRow));
		rows[*count].role = DatumGetObjectId(quota_scan_value(&scan, LEVELS_ROLE));
		rows[*count].level = quota_scan_string(&scan, LEVELS_LEVEL);
	}
	quota_scan_end(&scan);
	return rows;
}
