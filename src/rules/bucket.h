/* The arithmetic of rates: a leaky bucket. */
#ifndef QUOTA_BUCKET_H
#define QUOTA_BUCKET_H

#include "datatype/timestamp.h"

/* How fast a bucket drains. */
typedef struct QuotaPace
{
	int64 limit;     /* units a period; 0: it does not drain */
	int64 period_us; /* length of the period */
} QuotaPace;

/* How full a bucket is: whole units, and parts of one more; a unit has period_us parts. */
typedef struct QuotaLevel
{
	TimestampTz at; /* when it had that level */
	int64 units;
	int64 parts;
} QuotaLevel;

extern void quota_bucket_drain(QuotaLevel *level, const QuotaPace *pace, TimestampTz now);
extern int64 quota_bucket_used(const QuotaLevel *level);
extern bool quota_bucket_add(QuotaLevel *level, int64 units, int64 most);
extern TimestampTz quota_bucket_falls_to(const QuotaLevel *level, const QuotaPace *pace, int64 units);

#endif
