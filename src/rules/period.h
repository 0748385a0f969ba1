/* Windows of time. */
#ifndef QUOTA_PERIOD_H
#define QUOTA_PERIOD_H

#include "datatype/timestamp.h"
#include "pgtime.h"

/* in the order of the SQL type quota_period */
typedef enum QuotaPeriod
{
	QUOTA_SECOND,
	QUOTA_MINUTE,
	QUOTA_HOUR,
	QUOTA_DAY,
	QUOTA_WEEK,
	QUOTA_MONTH,
	QUOTA_YEAR,
	QUOTA_LIFETIME,
	QUOTA_CYCLE
} QuotaPeriod;

#define QUOTA_PERIODS (QUOTA_CYCLE + 1)

/* start <= t < end; -infinity and infinity for lifetime */
typedef struct QuotaWindow
{
	TimestampTz start;
	TimestampTz end;
} QuotaWindow;

extern const char *const quota_period_names[QUOTA_PERIODS];

extern QuotaWindow quota_period_window(QuotaPeriod period, TimestampTz at, pg_tz *tz, const TimestampTz *anchor);

#endif
