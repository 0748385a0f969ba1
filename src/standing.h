/*
 * What accounts amount to, remembered in shared memory.
 */
#ifndef QUOTA_STANDING_H
#define QUOTA_STANDING_H

#include "datatype/timestamp.h"

/* What an account's row, or that it has none, comes to from one time to another. */
typedef struct QuotaStanding
{
	TimestampTz from;
	TimestampTz until; /* not included */
	TimestampTz cycle_anchor;
	bool has_anchor;
	bool suspended;
	bool bypass;
	char plan[21]; /* its own plan; empty: it has none */
} QuotaStanding;

extern void quota_standing_expect(Datum account);
extern bool quota_standing_find(Datum account, uint64 generation, TimestampTz at, QuotaStanding *standing);
extern void quota_standing_keep(Datum account, uint64 generation, const QuotaStanding *standing, uint64 oldest);
extern void quota_standing_forget(Datum account);
extern void quota_standing_forget_all(void);

#endif
