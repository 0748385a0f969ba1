/*
 * What a charge tells of itself beside its decision: an event in the ledger,
 * where the feature has one, and alerts when a counter reaches a threshold of its
 * limit, as rows and by NOTIFY.
 *
 * All of it is part of the charge's transaction and goes with it. That a
 * threshold has been told of stands in the counter's row, written by the very
 * update that reaches it: so it is told once, and again if it is rolled back.
 *
 * Locks nothing of its own; allocates in the caller's context.
 */
#include "postgres.h"

#include "charge/event.h"

#include "catalog/pg_type.h"
#include "commands/async.h"
#include "common/int.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "guc.h"

/* thresholds, as `alerted` of a counter has them */
enum
{
	THRESHOLD_NONE,
	THRESHOLD_WARN,
	THRESHOLD_LIMIT
};

static const char *const threshold_names[] = {NULL, "warn", "limit"};

static bool has_ledger(const QuotaCharge *charge);
static void write_event(QuotaStore *store, const QuotaCharge *charge, int64 amount);
static const char *kind_of(const QuotaCharge *charge);
static bool is_denial(const char *kind);
static void tell_thresholds(QuotaStore *store, const QuotaCharge *charge, int window);
static void notify(const QuotaAlertRow *alert);

/*
 * The threshold that a counter will have told of when units are added: that which
 * it reaches, and none it has told of before. A gauge that falls below all of them
 * tells anew.
 */
int16
quota_event_alerted(const QuotaCharge *charge, int window, int64 units)
{
	const QuotaLimit *limit = &charge->entitlement.windows[window].limit;
	int16 alerted = charge->counters[window].alerted;
	int64 used;

	/* that it cannot be counted is for others to tell */
	if (pg_add_s64_overflow(charge->counters[window].used, units, &used))
		used = PG_INT64_MAX;
	if (limit->unlimited || charge->entitlement.bypass)
		return alerted;
	if (units > 0 && used >= limit->usage_limit)
		return THRESHOLD_LIMIT;
	if (units > 0 && used >= limit->warn_at)
		return Max(alerted, THRESHOLD_WARN);
	if (charge->entitlement.feature.kind == QUOTA_GAUGE && used < limit->warn_at)
		return THRESHOLD_NONE;
	return alerted;
}

/*
 * Tell of what was decided: of what was charged, or of a denial that stays.
 *
 * Errors: invalid_parameter_value where the ledger cannot hold the kind or the
 * user that it is to name.
 */
void
quota_event_charge(QuotaStore *store, const QuotaCharge *charge, bool charged)
{
	bool denied = charge->decision.verdict == QUOTA_BLOCK && charge->occasion.keeps_denial;

	for (int i = 0; charged && charge->entitlement.feature.kind != QUOTA_RATE && i < charge->entitlement.count; i++)
		if (charge->changes[i].alerted > charge->counters[i].alerted)
			tell_thresholds(store, charge, i);
	if (has_ledger(charge) && (charged || denied))
		write_event(store, charge, charge->n);
}

/* Tell of a reservation that is settled: of what is used more than was reserved, or less. */
void
quota_event_settled(QuotaStore *store, const QuotaCharge *charge, int64 amount)
{
	if (has_ledger(charge))
		write_event(store, charge, amount);
}

/* Tell of a refund: of what the window that got most of it got back. */
void
quota_event_refunded(QuotaStore *store, const QuotaCharge *charge)
{
	int64 amount = 0;

	for (int i = 0; i < charge->entitlement.count; i++)
		amount = Min(amount, charge->changes[i].used);
	if (has_ledger(charge) && amount < 0)
		write_event(store, charge, amount);
}

/* A rate writes nothing: it is to cost no write, and is taken where nothing may be written. */
static bool
has_ledger(const QuotaCharge *charge)
{
	return charge->entitlement.feature.ledger && charge->entitlement.feature.kind != QUOTA_RATE;
}

static void
write_event(QuotaStore *store, const QuotaCharge *charge, int64 amount)
{
	QuotaEventRow event = quota_decision_event(&charge->decision);

	event.user_id = quota_guc_user();
	event.what = charge->occasion.what;
	event.kind = kind_of(charge);
	event.amount = amount;
	event.key = charge->occasion.key;
	event.metadata = charge->occasion.metadata;
	quota_ledger_insert_event(store, &event);
}

/* What kind of event it is: the caller may name what was done, but not what was refused. */
static const char *
kind_of(const QuotaCharge *charge)
{
	JsonbValue kind;
	Jsonb *metadata;
	char *name;

	if (charge->decision.verdict == QUOTA_BLOCK)
		return quota_decision_error(&charge->decision);
	if (charge->occasion.metadata == (Datum) 0)
		return charge->occasion.what;
	metadata = DatumGetJsonbP(charge->occasion.metadata);
	if (!JB_ROOT_IS_OBJECT(metadata) ||
		getKeyJsonValueFromContainer(&metadata->root, "kind", strlen("kind"), &kind) == NULL ||
		kind.type != jbvString)
		return charge->occasion.what;
	if (kind.val.string.len < 1 || kind.val.string.len > QUOTA_MAX_KIND)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("kind in the metadata must have 1 to %d bytes", QUOTA_MAX_KIND)));
	name = pnstrdup(kind.val.string.val, kind.val.string.len);
	if (is_denial(name))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("kind in the metadata must not be \"%s\"", name),
				 errdetail("It is the kind of a denial.")));
	return name;
}

/* Whether quota_decision_error() gives the name to some denial. */
static bool
is_denial(const char *kind)
{
	return strcmp(kind, "quota_exceeded") == 0 || strcmp(kind, "feature_not_in_plan") == 0 || strcmp(kind, "account_suspended") == 0;
}

/* Tell of the thresholds that a charge has reached in a window. */
static void
tell_thresholds(QuotaStore *store, const QuotaCharge *charge, int window)
{
	const QuotaCounter *counter = &charge->counters[window];
	QuotaAlertRow alert = {
		.at = charge->decision.now,
		.account = counter->key.account,
		.feature = charge->feature,
		.plan = charge->entitlement.plan[0] == '\0' ? NULL : charge->entitlement.plan,
		.period = counter->key.period,
		.period_start = counter->key.period_start,
		.used = counter->used,
		.usage_limit = charge->entitlement.windows[window].limit.usage_limit};

	for (int i = counter->alerted + 1; i <= charge->changes[window].alerted; i++)
	{
		alert.threshold = threshold_names[i];
		quota_ledger_insert_alert(store, &alert);
		if (quota_guc_notify_channel[0] != '\0')
			notify(&alert);
	}
}

/* The row as JSON, at most some 3,000 bytes of the 8,000 that a payload may have. */
static void
notify(const QuotaAlertRow *alert)
{
	static const int utc = 0;
	StringInfoData json;
	char period_start[MAXDATELEN + 1];

	initStringInfo(&json);
	appendStringInfoString(&json, "{\"account\":");
	escape_json(&json, TextDatumGetCString(alert->account));
	appendStringInfoString(&json, ",\"feature\":");
	escape_json(&json, alert->feature);
	appendStringInfoString(&json, ",\"plan\":");
	if (alert->plan == NULL)
		appendStringInfoString(&json, "null");
	else
		escape_json(&json, alert->plan);
	appendStringInfo(&json, ",\"period\":\"%s\",\"period_start\":\"%s\",\"threshold\":\"%s\",\"used\":%lld,\"limit\":%lld}",
					 quota_period_names[alert->period],
					 JsonEncodeDateTime(period_start, TimestampTzGetDatum(alert->period_start), TIMESTAMPTZOID, &utc),
					 alert->threshold, (long long) alert->used, (long long) alert->usage_limit);
	Async_Notify(quota_guc_notify_channel, json.data);
}
