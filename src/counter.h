/*
 * Counters: what is used in a window, a row of quota.usage, or several.
 */
#ifndef QUOTA_COUNTER_H
#define QUOTA_COUNTER_H

#include "store.h"

typedef struct QuotaCounterKey
{
	Datum account; /* text */
	const char *feature;
	QuotaPeriod period;
	TimestampTz period_start;
} QuotaCounterKey;

/* A counter as it was read: how much is used, and where that stands. */
typedef struct QuotaCounter
{
	QuotaCounterKey key;
	int64 used;
	int conflicts; /* how often others have changed it while this charge was at it */
	int16 slots;
	struct HeapTupleData *version; /* of slot 0; NULL: the counter has no row yet */
	struct Survey *survey;         /* of all slots, where there are several */
	uint64 hash;                   /* of the key of slot 0 */
} QuotaCounter;

extern void quota_counter_read(QuotaStore *store, QuotaCounter *counter);
extern bool quota_counter_add(QuotaStore *store, QuotaCounter *counter, int64 delta, int64 least, int64 most);
extern bool quota_counter_lock(QuotaStore *store, QuotaCounter *counter);

#endif
