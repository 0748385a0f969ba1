/*
 * rates.h
 *		Rates: limits over a short window, held in shared memory.
 */
#ifndef QUOTA_RATES_H
#define QUOTA_RATES_H

#include "rules/bucket.h"
#include "rules/decide.h"
#include "rules/period.h"
#include "sizes.h"

typedef struct QuotaRateKey
{
	Oid extension; /* a table of it, which no other has had */
	Datum account; /* text */
	const char *feature;
	QuotaPeriod period;
} QuotaRateKey;

/* A rate as it was read or filled. */
typedef struct QuotaRate
{
	uint64 bucket[2]; /* the hash of its key */
	QuotaPace pace;   /* limit 0: it has no bucket */
	int64 full;       /* units that it can hold */
	QuotaLevel level;
	int64 used;
} QuotaRate;

/* What is to be added to a rate. */
typedef struct QuotaRateChange
{
	QuotaRate *rate;
	int64 units;
	int64 most; /* that it may hold then */
} QuotaRateChange;

typedef struct QuotaRateStats
{
	int64 in_use;
	int64 places;
	int64 evictions;
	int64 bytes;
} QuotaRateStats;

extern void quota_rates_read(QuotaRate *rate, const QuotaRateKey *key, const QuotaLimit *limit);
extern bool quota_rates_add(const QuotaRateChange *changes, int count);
extern TimestampTz quota_rates_admits(const QuotaRate *rate, const QuotaLimit *limit, int64 n);
extern void quota_rates_forget(const QuotaRateKey *key);
extern QuotaRateStats quota_rates_stats(void);

#endif
