/*
 * Who belongs to an account, and which role has which level.
 */
#ifndef QUOTA_MEMBER_H
#define QUOTA_MEMBER_H

#include "postgres_ext.h"

/* a row of quota.levels */
typedef struct QuotaLevelRow
{
	Oid role;
	char *level;
} QuotaLevelRow;

extern bool quota_member_is(Datum account, Datum user);
extern Datum quota_member_sponsor(Datum account);
extern Oid quota_member_levels_table(void);
extern QuotaLevelRow *quota_member_levels(int *count);

#endif
