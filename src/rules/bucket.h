/*
 * The arithmetic of rates: a bucket that fills by what is used and runs empty
 * with time. No database access.
 */
#ifndef QUOTA_BUCKET_H
#define QUOTA_BUCKET_H

#include "datatype/timestamp.h"

/* How fast a bucket runs empty. */
typedef struct QuotaPace
{
	int64 limit;     /* units a period; 0: not at all */
	int64 period_us; /* of the period */
} QuotaPace;

/* How full a bucket is: whole units, and parts of one more, of which a unit has period_us. */
typedef struct QuotaLevel
{
	TimestampTz at; /* when it was that full */
	int64 units;
	int64 parts;
} QuotaLevel;

extern void quota_bucket_drain(QuotaLevel *level, const QuotaPace *pace, TimestampTz now);
extern int64 quota_bucket_used(const QuotaLevel *level);
extern bool quota_bucket_add(QuotaLevel *level, int64 units, int64 most);
extern TimestampTz quota_bucket_falls_to(const QuotaLevel *level, const QuotaPace *pace, int64 units);

#endif
