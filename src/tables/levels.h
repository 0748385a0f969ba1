/* The levels of roles: rows of quota.levels. */
#ifndef QUOTA_LEVELS_H
#define QUOTA_LEVELS_H

typedef struct QuotaLevelRow
{
	Oid role;
	char *level;
} QuotaLevelRow;

extern QuotaLevelRow *quota_levels_read(int *count);

#endif
