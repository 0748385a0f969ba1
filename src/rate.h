/*
 * Rates: limits over a short window, held in shared memory.
 */
#ifndef QUOTA_RATE_H
#define QUOTA_RATE_H

#include "counter.h"

/* A rate as it was read, and what is to be done to it. */
typedef struct QuotaRateChange
{
	QuotaCounter *rate;
	const QuotaCounterChange *change;
} QuotaRateChange;

extern void quota_rate_read(QuotaCounter *rate, const QuotaLimit *limit);
extern bool quota_rate_add(const QuotaRateChange *changes, int count);
extern TimestampTz quota_rate_admits(const QuotaCounter *rate, const QuotaLimit *limit, int64 n);

#endif
