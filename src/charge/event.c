/*
 * event.c
 *		Events in the ledger, and alerts when a counter reaches a threshold.
 *
 * Both are part of the charge's transaction. The row of the counter stores the
 * highest threshold reported, in the very update that reaches it. So a
 * threshold is reported once, and again if that was rolled back. An alert is a
 * row, and a NOTIFY if setting quota.notify_channel is set.
 *
 * Locks: none of its own. Memory: the caller's context.
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

/* values of `alerted` of a counter */
enum
{
	THRESHOLD_NONE,
	THRESHOLD_WARN,
	THRESHOLD_LIMIT
};

static const char *const threshold_names[] = {NULL, "warn", "limit"};

static const char *event_kind(const QuotaCharge *charge);
static void report_thresholds(QuotaStore *store, const QuotaCharge *charge, int window);
static void notify(const QuotaAlertRow *alert);

/*
 * Return the threshold to store in a counter to which units are added: the
 * highest one reported or reached. A gauge that falls below all of them starts
 * again.
 */
int16
quota_event_threshold(const QuotaCharge *charge, int window, int64 units)
{
	const QuotaLimit *limit = &charge->entitlement.windows[window].limit;
	int16 alerted = charge->counters[window].alerted;
	int64 used;

	/* quota_counter_add reports the overflow */
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
 * Report a decision: what was charged, or a denial that is returned.
 *
 * Errors: invalid_parameter_value where the ledger cannot hold the kind or the
 * user.
 */
void
quota_event_report_charge(QuotaStore *store, const QuotaCharge *charge, bool charged)
{
	for (int i = 0; charged && charge->entitlement.feature.kind != QUOTA_RATE && i < charge->entitlement.count; i++)
		if (charge->changes[i].alerted > charge->counters[i].alerted)
			report_thresholds(store, charge, i);
	if (charge->entitlement.feature.ledger && (charged || (charge->decision.verdict == QUOTA_BLOCK && charge->origin.returns_denial)))
		quota_event_insert(store, charge, charge->n);
}

/*
 * Insert the event of a decision, if the feature has a ledger. Rates have none, as they
 * are charged in read-only transactions too.
 *
 * amount: units charged; below 0: refunded.
 */
void
quota_event_insert(QuotaStore *store, const QuotaCharge *charge, int64 amount)
{
	QuotaEventRow event;

	if (!charge->entitlement.feature.ledger || charge->entitlement.feature.kind == QUOTA_RATE)
		return;
	event = quota_decision_event(&charge->decision);
	event.user_id = quota_guc_user();
	event.what = charge->origin.what;
	event.kind = event_kind(charge);
	event.amount = amount;
	event.key = charge->origin.key == 0 ? NULL : TextDatumGetCString(charge->origin.key);
	event.metadata = charge->origin.metadata;
	quota_ledger_insert_event(store, &event);
}

/* Return the kind of an event. The metadata may name what was charged, but not a denial. */
static const char *
event_kind(const QuotaCharge *charge)
{
	JsonbValue kind;
	Jsonb *metadata;
	char *name;

	if (charge->decision.verdict == QUOTA_BLOCK)
		return quota_decision_error(&charge->decision);
	if (charge->origin.metadata == (Datum) 0)
		return charge->origin.what;
	metadata = DatumGetJsonbP(charge->origin.metadata);
	if (!JB_ROOT_IS_OBJECT(metadata) ||
		getKeyJsonValueFromContainer(&metadata->root, "kind", strlen("kind"), &kind) == NULL ||
		kind.type != jbvString)
		return charge->origin.what;
	if (kind.val.string.len < 1 || kind.val.string.len > QUOTA_MAX_KIND)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("kind in the metadata must have 1 to %d bytes", QUOTA_MAX_KIND)));
	name = pnstrdup(kind.val.string.val, kind.val.string.len);
	if (quota_decision_is_error(name))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("kind in the metadata must not be \"%s\"", name),
				 errdetail("It is the kind of a denial.")));
	return name;
}

static void
report_thresholds(QuotaStore *store, const QuotaCharge *charge, int window)
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

/* Notify with the row as JSON: at most some 3,000 of the 8,000 bytes of a payload. */
static void
notify(const QuotaAlertRow *alert)
{
	static const int utc = 0;
	StringInfoData json;
	char period_start[MAXDATELEN + 1];

	initStringInfo(&json);
	JsonEncodeDateTime(period_start, TimestampTzGetDatum(alert->period_start), TIMESTAMPTZOID, &utc);
	quota_decision_append_json(&json, "account", TextDatumGetCString(alert->account));
	quota_decision_append_json(&json, "feature", alert->feature);
	quota_decision_append_json(&json, "plan", alert->plan);
	quota_decision_append_json(&json, "period", quota_period_names[alert->period]);
	quota_decision_append_json(&json, "period_start", period_start);
	quota_decision_append_json(&json, "threshold", alert->threshold);
	appendStringInfo(&json, ",\"used\":%lld,\"limit\":%lld}", (long long) alert->used, (long long) alert->usage_limit);
	Async_Notify(quota_guc_notify_channel, json.data);
}
