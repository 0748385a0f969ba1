/*
 * Counters: what is used in a window, as rows of quota.usage hold it.
 */
#ifndef QUOTA_USAGE_H
#define QUOTA_USAGE_H

#include "datatype/timestamp.h"

#include "rules/period.h"

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
	int32 holds;   /* reservations, of which some may have expired */
	int64 expired; /* units of those that have: used without being used (src/charge/hold.c) */
	int16 alerted; /* the highest threshold that has been told of */
	int conflicts; /* how often others have changed it while this charge was at it */
	int16 slots;
	int16 slot;                    /* the one that was charged */
	struct HeapTupleData *version; /* of slot 0; NULL: the counter has no row yet */
	struct QuotaSlotScan *scan;    /* of all slots, where there are several */
	uint64 hash;                   /* of the key of slot 0 */
} QuotaCounter;

/* A change of a counter. */
typedef struct QuotaCounterChange
{
	int64 used; /* to be added */
	int64 least;
	int64 most;    /* what the use must not go below, nor above, whatever becomes of charges that are not committed */
	int32 holds;   /* to be added */
	int16 alerted; /* from here on */
} QuotaCounterChange;

#endif
