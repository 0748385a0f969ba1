/*
 * Taking a counter for oneself, for functions in SQL that set counters back.
 *
 * Locks: the counter, as of src/counter.c, until the end of the transaction; one
 * with slots becomes one row.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "argument.h"
#include "clock.h"
#include "counter.h"

/* quota.lock_counter(owner, feature, period, period_start): makes its row where there is none */
PG_FUNCTION_INFO_V1(quota_lock_counter);

Datum
quota_lock_counter(PG_FUNCTION_ARGS)
{
	QuotaStore *store;
	QuotaCounter counter = {0};

	quota_argument_check_not_null(fcinfo, 0, "owner");
	quota_argument_check_not_null(fcinfo, 1, "feature");
	quota_argument_check_not_null(fcinfo, 2, "period");
	quota_argument_check_not_null(fcinfo, 3, "period_start");
	counter.key.account = PG_GETARG_DATUM(0);
	counter.key.feature = text_to_cstring(PG_GETARG_TEXT_PP(1));
	counter.key.period = quota_clock_period(PG_GETARG_OID(2));
	counter.key.period_start = PG_GETARG_TIMESTAMPTZ(3);

	store = quota_store_begin_write();
	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		quota_counter_read(store, &counter);
		if (quota_counter_lock(store, &counter))
			break;
		quota_store_refresh(store);
	}
	quota_store_end(store);
	PG_RETURN_VOID();
}
