/* The decision: limit + use + units -> verdict. */
#ifndef QUOTA_DECIDE_H
#define QUOTA_DECIDE_H

#include "rules/period.h"
#include "sizes.h"

/* in the order of the SQL type quota_verdict */
typedef enum QuotaVerdict
{
	QUOTA_ALLOW,
	QUOTA_WARN,
	QUOTA_BLOCK
} QuotaVerdict;

#define QUOTA_VERDICTS (QUOTA_BLOCK + 1)

extern const char *const quota_verdict_names[QUOTA_VERDICTS];

typedef enum QuotaReason
{
	QUOTA_REASON_OK,
	QUOTA_REASON_NEAR_LIMIT,
	QUOTA_REASON_OVERAGE,
	QUOTA_REASON_SOFT_LIMIT,
	QUOTA_REASON_LIMIT_REACHED,
	QUOTA_REASON_RATE_LIMITED,
	QUOTA_REASON_NOT_IN_PLAN,
	QUOTA_REASON_SUSPENDED,
	QUOTA_REASON_UNLIMITED,
	QUOTA_REASON_BYPASS,
	QUOTA_REASON_SHADOW
} QuotaReason;

#define QUOTA_REASONS (QUOTA_REASON_SHADOW + 1)

typedef enum QuotaOnLimit
{
	QUOTA_ON_LIMIT_BLOCK,
	QUOTA_ON_LIMIT_WARN,
	QUOTA_ON_LIMIT_CHARGE
} QuotaOnLimit;

/* A row of plan_limits, or of limit_overrides (feature, period, usage_limit, expires_at). */
typedef struct QuotaLimitRow
{
	char feature[QUOTA_MAX_FEATURE + 1];
	QuotaPeriod period;
	bool unlimited;
	int64 usage_limit;
	QuotaOnLimit on_limit;
	Datum warn_ratio;  /* numeric */
	Datum block_ratio; /* numeric */
	bool capped;
	int64 overage_cap;
	bool has_burst;
	int64 burst;            /* for rates */
	TimestampTz expires_at; /* infinity: never */
} QuotaLimitRow;

/* A limit as it is judged, with its ratios applied. */
typedef struct QuotaLimit
{
	bool unlimited;
	QuotaOnLimit on_limit;
	int64 usage_limit; /* for rates: the burst */
	int64 per_window;  /* units a window, as reported */
	int64 warn_at;     /* use from which on it warns */
	int64 block_at;    /* use that is never exceeded; INT64_MAX: none */
} QuotaLimit;

typedef struct QuotaJudgement
{
	QuotaVerdict verdict;
	QuotaReason reason;
} QuotaJudgement;

extern QuotaLimit quota_decide_limit(const QuotaLimitRow *row, bool rate);
extern int64 quota_decide_multiply(int64 units, Datum multiplier);
extern QuotaJudgement quota_decide(const QuotaLimit *limit, int64 used, int64 n);
extern int64 quota_decide_remaining(const QuotaLimit *limit, int64 used);
extern int64 quota_decide_overage(const QuotaLimit *limit, int64 used);
extern double quota_decide_ratio(const QuotaLimit *limit, int64 used);
extern int64 quota_decide_sum(int64 used, int64 n);

#endif
