/*
 * rates.c
 *		SQL functions that manage the memory of rates.
 *
 * Locks: those of src/memory/rates.c. Memory: the caller's context.
 */
#include "postgres.h"

#include "funcapi.h"

#include "argument.h"
#include "memory/rates.h"
#include "rights/gate.h"
#include "tables/relations.h"

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

/* quota_rate_stats(): return how full the memory of rates is. */
QUOTA_FUNCTION(quota_rate_stats)
{
	QuotaRateStats stats;
	TupleDesc desc;
	Datum values[4];
	bool nulls[4] = {false};

	quota_gate_require(fcinfo, QUOTA_GATE_TOTALS);
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "quota_rate_stats does not return a row");
	stats = quota_rates_stats();
	values[0] = Int64GetDatum(stats.in_use);
	values[1] = Int64GetDatum(stats.places);
	values[2] = Int64GetDatum(stats.evictions);
	values[3] = Int64GetDatum(stats.bytes);
	return HeapTupleGetDatum(heap_form_tuple(desc, values, nulls));
}
