/*
 * reset.c
 *		Single counters and rates, for the SQL functions that reset them.
 *
 * Locks: the whole counter (src/tables/counter.c), until the end of the
 * transaction; slots are merged. Memory: the caller's context.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "argument.h"
#include "charge/consume.h"
#include "charge/hold.h"
#include "guc.h"
#include "memory/rates.h"
#include "tables/relations.h"

static QuotaCounter counter_of_arguments(FunctionCallInfo fcinfo);

/*
 * quota.lock_counter(owner, feature, period, period_start): lock a counter, and
 * insert it if it has no row.
 */
QUOTA_FUNCTION(quota_lock_counter)
{
	QuotaCounter counter = counter_of_arguments(fcinfo);
	QuotaStore *store = quota_store_begin_write();

	quota_consume_lock_counter(store, &counter.key);
	quota_store_end(store);
	PG_RETURN_VOID();
}

/*
 * quota.has_use(feature): return whether a feature has counters. None can be
 * added until the transaction ends.
 */
QUOTA_FUNCTION(quota_has_use)
{
	PG_RETURN_BOOL(quota_counter_exists_for(text_to_cstring(quota_argument_text(fcinfo, 0, "feature"))));
}

/* quota.return_expired(owner, feature, period, period_start): return the expired holds of a counter. */
QUOTA_FUNCTION(quota_return_expired)
{
	QuotaCounter counter = counter_of_arguments(fcinfo);
	QuotaStore *store = quota_store_begin_write();

	quota_consume_next_generation();
	for (;; quota_store_retry(store))
	{
		quota_counter_read(store, &counter);
		if (quota_hold_return_expired(store, &counter, quota_guc_now()))
			break;
	}
	quota_store_end(store);
	PG_RETURN_VOID();
}

/* quota.forget_rate(owner, feature): empty the buckets of a rate. */
QUOTA_FUNCTION(quota_forget_rate)
{
	QuotaRateKey key = {
		.extension = quota_relations_extension(),
		.account = quota_argument_account(fcinfo),
		.feature = quota_argument_feature(fcinfo, 1)};

	/* a longer name is no feature's, and does not fit a key */
	if (strlen(key.feature) <= QUOTA_MAX_FEATURE)
		for (key.period = 0; key.period <= QUOTA_DAY; key.period++)
			quota_rates_forget(&key);
	PG_RETURN_VOID();
}

static QuotaCounter
counter_of_arguments(FunctionCallInfo fcinfo)
{
	QuotaCounter counter = {0};

	counter.key.account = PointerGetDatum(quota_argument_text(fcinfo, 0, "owner"));
	counter.key.feature = quota_argument_feature(fcinfo, 1);
	quota_argument_check_not_null(fcinfo, 2, "period");
	quota_argument_check_not_null(fcinfo, 3, "period_start");
	counter.key.period = quota_relations_period(PG_GETARG_OID(2));
	counter.key.period_start = PG_GETARG_TIMESTAMPTZ(3);
	/* as the constraints of quota.usage, which do not apply below the executor */
	quota_argument_check_account(counter.key.account);
	if (counter.key.feature[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("feature must not be empty")));
	if (counter.key.period == QUOTA_LIFETIME ? !TIMESTAMP_IS_NOBEGIN(counter.key.period_start) : TIMESTAMP_NOT_FINITE(counter.key.period_start))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("period_start must be -infinity for lifetime, and else finite")));
	return counter;
}
