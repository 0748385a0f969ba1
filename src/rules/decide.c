/*
 * decide.c
 *		The decision: limit + use + units -> verdict. No database access.
 *
 * Thresholds are integers, computed exactly in numeric from the limit and its ratios:
 * since use is an integer, used + n > limit * ratio holds exactly if
 * used + n > floor(limit * ratio), and used >= limit * ratio exactly if
 * used >= ceil(limit * ratio).
 */
#include "postgres.h"

#include "rules/decide.h"

#include "common/int.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/numeric.h"

const char *const quota_verdict_names[QUOTA_VERDICTS] = {"ALLOW", "ALLOW_WITH_WARNING", "BLOCK"};

static int64 threshold(int64 usage_limit, Datum ratio, PGFunction rounding);

/*
 * Prepare a limit.
 *
 * rate: it is judged by the units in its bucket. Its burst are those that may come at
 * once, as many as the limit if there is none.
 */
QuotaLimit
quota_decide_limit(const QuotaLimitRow *row, bool rate)
{
	QuotaLimit limit = {.unlimited = row->unlimited};

	if (row->unlimited)
		return limit;
	limit.on_limit = row->on_limit;
	limit.per_window = row->usage_limit;
	/* a bucket that does not drain has no use for a burst */
	limit.usage_limit = rate && row->has_burst && row->usage_limit != 0 ? row->burst : row->usage_limit;
	limit.warn_at = threshold(limit.usage_limit, row->warn_ratio, numeric_ceil);
	limit.block_at = PG_INT64_MAX;
	if (row->on_limit == QUOTA_ON_LIMIT_BLOCK)
		limit.block_at = threshold(limit.usage_limit, row->block_ratio, numeric_floor);
	else if (row->on_limit == QUOTA_ON_LIMIT_CHARGE && row->capped)
	{
		/* nor for a cap, whose units would never drain */
		int64 cap = rate && row->usage_limit == 0 ? 0 : row->overage_cap;

		if (pg_add_s64_overflow(limit.usage_limit, cap, &limit.block_at))
			limit.block_at = PG_INT64_MAX;
	}
	return limit;
}

/* Multiply units by a positive numeric; round down, but not to 0. */
int64
quota_decide_multiply(int64 units, Datum multiplier)
{
	return Max(threshold(units, multiplier, numeric_floor), Min(units, 1));
}

/*
 * Judge n more units, at least 0, on top of `used`.
 *
 * Errors: numeric_value_out_of_range where used + n is no bigint.
 */
QuotaJudgement
quota_decide(const QuotaLimit *limit, int64 used, int64 n)
{
	int64 after = quota_decide_sum(used, n);

	if (limit->unlimited)
		return (QuotaJudgement){QUOTA_ALLOW, QUOTA_REASON_UNLIMITED};
	if (after > limit->block_at)
		return (QuotaJudgement){QUOTA_BLOCK, QUOTA_REASON_LIMIT_REACHED};
	if (after > limit->usage_limit)
		return (QuotaJudgement){QUOTA_WARN, limit->on_limit == QUOTA_ON_LIMIT_CHARGE
												? QUOTA_REASON_OVERAGE
												: QUOTA_REASON_SOFT_LIMIT};
	if (used >= limit->warn_at)
		return (QuotaJudgement){QUOTA_WARN, QUOTA_REASON_NEAR_LIMIT};
	return (QuotaJudgement){QUOTA_ALLOW, QUOTA_REASON_OK};
}

/* Return the units up to the limit; INT64_MAX for an unlimited one. */
int64
quota_decide_remaining(const QuotaLimit *limit, int64 used)
{
	if (limit->unlimited)
		return PG_INT64_MAX;
	return used < limit->usage_limit ? limit->usage_limit - used : 0;
}

/* Return the units past the limit. */
int64
quota_decide_overage(const QuotaLimit *limit, int64 used)
{
	return !limit->unlimited && used > limit->usage_limit ? used - limit->usage_limit : 0;
}

/* Return used / limit, 1 for a limit of 0. Not for an unlimited one. */
double
quota_decide_ratio(const QuotaLimit *limit, int64 used)
{
	return limit->usage_limit == 0 ? 1.0 : (double) used / (double) limit->usage_limit;
}

/* Return used + n. Errors: numeric_value_out_of_range where that is no bigint. */
int64
quota_decide_sum(int64 used, int64 n)
{
	int64 sum;

	if (pg_add_s64_overflow(used, n, &sum))
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("use out of range"),
				 errdetail("%lld and %lld more are more than a bigint holds.",
						   (long long) used, (long long) n)));
	return sum;
}

/* Round limit * ratio to an integer, at most INT64_MAX. */
static int64
threshold(int64 usage_limit, Datum ratio, PGFunction rounding)
{
	Datum exact = DirectFunctionCall2(numeric_mul,
									  NumericGetDatum(int64_to_numeric(usage_limit)),
									  ratio);
	Datum whole = DirectFunctionCall1(rounding, exact);
	Datum most = NumericGetDatum(int64_to_numeric(PG_INT64_MAX));

	return DatumGetInt64(DirectFunctionCall1(numeric_int8,
											 DirectFunctionCall2(numeric_smaller, whole, most)));
}
