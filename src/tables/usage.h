/*
 * Structs of a counter: the use of a feature in a window.
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

/* A counter as it was read from its rows. */
typedef struct QuotaCounter
{
	QuotaCounterKey key;
	int64 used;
	int32 holds;   /* open reservations, also expired ones */
	int64 expired; /* units of expired reservations, which `used` includes (charge/hold.c) */
	int16 alerted; /* the highest threshold that was reported */
	int conflicts; /* charges lost to others by this call */
	int16 slots;
	int16 slot;                    /* that was charged last */
	struct HeapTupleData *version; /* of slot 0; NULL: the counter has no row */
	struct QuotaSlotScan *scan;    /* of all slots; NULL: one slot, or not scanned */
	uint64 hash;                   /* of the key of slot 0 */
} QuotaCounter;

/* A change of a counter. The use must stay within least and most, whether other open charges commit or not. */
typedef struct QuotaCounterChange
{
	int64 used; /* to add */
	int64 least;
	int64 most;
	int32 holds;   /* to add */
	int16 alerted; /* new value */
} QuotaCounterChange;

#endif
