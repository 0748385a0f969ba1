/*
 * evaluate.c
 *		Decisions without a charge: evaluate, rates, rate_stats, has_feature, feature, require_feature.
 *
 * Works on a standby and in read-only transactions. Locks: none. Memory: the
 * caller's context.
 */
#include "postgres.h"

#include "funcapi.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "argument.h"
#include "charge/consume.h"
#include "rights/gate.h"
#include "tables/relations.h"

/* Add the row of one window of a feature to a result. */
typedef void (*PutWindow)(const QuotaAccount *account, const QuotaCharge *charge, int window, ReturnSetInfo *rsinfo);

static void put_features(FunctionCallInfo fcinfo, Datum account, bool as_user, PutWindow put);
static List *limited_features(const QuotaAccount *account, List *names);
static void put_decision(const QuotaAccount *account, const QuotaCharge *charge, int window, ReturnSetInfo *rsinfo);
static void put_rate(const QuotaAccount *account, const QuotaCharge *charge, int window, ReturnSetInfo *rsinfo);
static bool has_feature(const QuotaAccount *account, const QuotaEntitlement *entitlement);
static void load_feature(FunctionCallInfo fcinfo, Datum account, QuotaAccount *loaded, QuotaEntitlement *entitlement);
static bool is_true(Datum jsonb);
static Datum limits_as_jsonb(const QuotaEntitlement *entitlement);
static int compare_names(const ListCell *a, const ListCell *b);

/* quota_evaluate(account, feature, n): decide on n more units. */
QUOTA_ACCOUNT_FUNCTION(quota_evaluate)
{
	QuotaCharge charge;
	QuotaStore *store;
	QuotaAccount loaded;
	bool as_user = quota_gate_require_account(fcinfo, QUOTA_GATE_LOOK, account);

	quota_consume_prepare(&charge, quota_argument_feature(fcinfo, 1), quota_argument_amount(fcinfo, 2));
	store = quota_store_begin_read();
	quota_account_load(store, account, &loaded);
	quota_consume_read(store, &loaded, &charge, loaded.now);
	quota_store_end(store);
	if (unlikely(as_user))
		quota_consume_close_overage(&charge);
	charge.decision = quota_decision_make(&loaded, &charge.entitlement, charge.used, charge.rates, charge.n);
	quota_decision_enforce(&charge.decision);
	return quota_decision_datum(&charge.decision);
}

/* quota_evaluate(account): decide on one more unit of each countable feature, a row a window. */
QUOTA_ACCOUNT_FUNCTION(quota_evaluate_all)
{
	put_features(fcinfo, account, quota_gate_require_account(fcinfo, QUOTA_GATE_LOOK, account), put_decision);
	return (Datum) 0;
}

/* quota_rates(account): return a row for each rate and window. */
QUOTA_ACCOUNT_FUNCTION(quota_rates)
{
	quota_gate_require_account(fcinfo, QUOTA_GATE_REPORT, account);
	put_features(fcinfo, account, false, put_rate);
	return (Datum) 0;
}

/* quota_rate_stats(): return how full the memory of rates is. */
QUOTA_FUNCTION(quota_rate_stats)
{
	QuotaRateStats stats;
	Datum values[4];
	bool nulls[lengthof(values)] = {false};
	TupleDesc desc;

	quota_gate_require(fcinfo, QUOTA_GATE_TOTALS);
	stats = quota_rates_stats();
	values[0] = Int64GetDatum(stats.in_use);
	values[1] = Int64GetDatum(stats.places);
	values[2] = Int64GetDatum(stats.evictions);
	values[3] = Int64GetDatum(stats.bytes);
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "quota_rate_stats does not return a row");
	return HeapTupleGetDatum(heap_form_tuple(desc, values, nulls));
}

/* quota_has_feature(account, feature) */
QUOTA_ACCOUNT_FUNCTION(quota_has_feature)
{
	QuotaAccount loaded;
	QuotaEntitlement entitlement;

	load_feature(fcinfo, account, &loaded, &entitlement);
	PG_RETURN_BOOL(has_feature(&loaded, &entitlement));
}

/* quota_feature(account, feature): return the flag's value, or the limits in force. */
QUOTA_ACCOUNT_FUNCTION(quota_feature)
{
	QuotaAccount loaded;
	QuotaEntitlement entitlement;
	Datum value;

	load_feature(fcinfo, account, &loaded, &entitlement);
	if (loaded.suspended)
		PG_RETURN_NULL();
	if (quota_account_value(&loaded, entitlement.feature.feature, &value))
		/* a copy, since the cache may free its own */
		PG_RETURN_DATUM(PointerGetDatum(PG_DETOAST_DATUM_COPY(value)));
	if (!entitlement.in_plan)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(limits_as_jsonb(&entitlement));
}

/* quota_require_feature(account, feature): raise unless the account has the feature. */
QUOTA_ACCOUNT_FUNCTION(quota_require_feature)
{
	QuotaAccount loaded;
	QuotaEntitlement entitlement;

	load_feature(fcinfo, account, &loaded, &entitlement);
	if (!has_feature(&loaded, &entitlement))
	{
		QuotaDecision decision = {
			.account = account,
			.now = loaded.now,
			.entitlement = &entitlement,
			.verdict = QUOTA_BLOCK,
			.reason = loaded.suspended ? QUOTA_REASON_SUSPENDED : QUOTA_REASON_NOT_IN_PLAN};

		quota_decision_enforce(&decision);
		quota_decision_log(&decision);
		if (decision.verdict == QUOTA_BLOCK)
			quota_decision_raise(&decision);
	}
	PG_RETURN_VOID();
}

/* Add the windows of all features that an account has limits of, in the order of features. */
static void
put_features(FunctionCallInfo fcinfo, Datum account, bool as_user, PutWindow put)
{
	QuotaStore *store;
	QuotaAccount loaded;
	List *names;
	const char *last = NULL;
	ListCell *cell;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	store = quota_store_begin_read();
	quota_account_load(store, account, &loaded);
	names = limited_features(&loaded, NIL);
	if (loaded.pool != NULL)
		names = limited_features(loaded.pool, names);
	list_sort(names, compare_names);
	foreach (cell, names)
	{
		QuotaCharge charge;
		const char *feature = lfirst(cell);
		QuotaKind kind = quota_plan_feature(feature)->kind;
		bool repeated = last != NULL && strcmp(feature, last) == 0;

		last = feature;
		if (repeated || kind == QUOTA_FLAG || (put == put_rate && kind != QUOTA_RATE))
			continue;
		quota_consume_prepare(&charge, feature, 1);
		quota_consume_read(store, &loaded, &charge, loaded.now);
		if (as_user)
			quota_consume_close_overage(&charge);
		for (int window = 0; window < charge.entitlement.count; window++)
			put(&loaded, &charge, window, (ReturnSetInfo *) fcinfo->resultinfo);
	}
	quota_store_end(store);
}

/* Append the features of which an account has limits; some more than once. */
static List *
limited_features(const QuotaAccount *account, List *names)
{
	const QuotaPlan *plan = account->plan[0] == '\0' ? NULL : quota_plan_get(account->plan);

	for (int i = 0; plan != NULL && i < plan->count; i++)
		if (plan->offers[i].count > 0)
			names = lappend(names, plan->offers[i].feature);
	for (int i = 0; i < account->noverrides; i++)
		names = lappend(names, account->overrides[i].feature);
	return names;
}

/*
 * Judge each window for one more unit. If its use is already INT64_MAX, ask for
 * 0, so that the call does not fail for the other windows.
 */
static void
put_decision(const QuotaAccount *account, const QuotaCharge *charge, int window, ReturnSetInfo *rsinfo)
{
	int64 n = charge->used[window] == PG_INT64_MAX ? 0 : 1;
	QuotaDecision decision = quota_decision_of_window(account, &charge->entitlement, charge->used, charge->rates, window, n);

	quota_decision_enforce(&decision);
	quota_decision_put(&decision, rsinfo->setResult);
}

/* feature, period, used, usage_limit, burst, remaining, resets_in */
static void
put_rate(const QuotaAccount *account pg_attribute_unused(), const QuotaCharge *charge, int window, ReturnSetInfo *rsinfo)
{
	const QuotaRate *rate = &charge->rates[window];
	const QuotaLimit *limit = &charge->entitlement.windows[window].limit;
	TimestampTz empty_at = quota_bucket_falls_to(&rate->level, &rate->pace, 0);
	bool nulls[] = {false, false, false, limit->unlimited, limit->unlimited, limit->unlimited, empty_at == DT_NOEND};
	Datum values[] = {
		CStringGetTextDatum(charge->feature),
		ObjectIdGetDatum(quota_relations_period_oid(charge->entitlement.windows[window].period)),
		Int64GetDatum(rate->used),
		Int64GetDatum(limit->per_window),
		Int64GetDatum(limit->usage_limit),
		Int64GetDatum(quota_decide_remaining(limit, rate->used)),
		nulls[6] ? (Datum) 0 : DirectFunctionCall2(timestamp_mi, TimestampTzGetDatum(empty_at), TimestampTzGetDatum(rate->level.at))};

	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

static void
load_feature(FunctionCallInfo fcinfo, Datum account, QuotaAccount *loaded, QuotaEntitlement *entitlement)
{
	char *feature;
	QuotaStore *store;

	quota_gate_require_account(fcinfo, QUOTA_GATE_LOOK, account);
	feature = quota_argument_feature(fcinfo, 1);
	store = quota_store_begin_read();
	quota_account_load(store, account, loaded);
	quota_store_end(store);
	quota_account_entitle(loaded, feature, loaded->now, entitlement);
}

/*
 * Return whether an account has a feature: a flag unless its value is false or
 * null; any other if the plan or an override allows at least one unit.
 */
static bool
has_feature(const QuotaAccount *account, const QuotaEntitlement *entitlement)
{
	Datum value;

	if (account->suspended)
		return false;
	if (account->bypass)
		return true;
	if (quota_account_value(account, entitlement->feature.feature, &value))
		return is_true(value);
	for (int i = 0; i < entitlement->count; i++)
		if (quota_decide(&entitlement->windows[i].limit, 0, 1).verdict == QUOTA_BLOCK)
			return false;
	return entitlement->in_plan;
}

static bool
is_true(Datum jsonb)
{
	Jsonb *value = DatumGetJsonbP(jsonb);
	JsonbValue scalar;

	if (!JB_ROOT_IS_SCALAR(value) || !JsonbExtractScalar(&value->root, &scalar))
		return true;
	return !(scalar.type == jbvNull || (scalar.type == jbvBool && !scalar.val.boolean));
}

/* {"month": 150, "day": 5}; null: unlimited */
static Datum
limits_as_jsonb(const QuotaEntitlement *entitlement)
{
	StringInfoData json;

	initStringInfo(&json);
	for (int i = 0; i < entitlement->count; i++)
	{
		const QuotaWindowLimit *window = &entitlement->windows[i];

		appendStringInfo(&json, "%c\"%s\":", i == 0 ? '{' : ',', quota_period_names[window->period]);
		appendStringInfoString(&json, window->limit.unlimited ? "null" : psprintf("%lld", (long long) window->limit.per_window));
	}
	appendStringInfoChar(&json, '}');
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data));
}

static int
compare_names(const ListCell *a, const ListCell *b)
{
	return strcmp(lfirst(a), lfirst(b));
}
