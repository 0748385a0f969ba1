/*
 * consume.c
 *		Charge and refund units: consume, enforce, record, consume_many, refund.
 *
 * A charge reads the account's entitlement and counters, decides, and updates
 * the counters. If an update finds that another transaction has changed a
 * counter, which it waits for, everything is read and decided again. So no
 * limit is exceeded, and a denial locks and writes nothing but its event in the
 * ledger; unless it lost a race before, which may leave a counter locked, or
 * inserted with a use of 0.
 *
 * Rates are taken last, after all counters are written, since they do not roll
 * back. If another transaction has taken the room of a rate, the counters are
 * changed back and all is decided again.
 *
 * Lock				Protects			Order								While held
 * row of counter	use, until commit	pool before member, then feature,	other counters are
 *									period								written, rates taken
 *
 * Memory: the caller's context.
 */
#include "postgres.h"

#include "charge/consume.h"

#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "argument.h"
#include "charge/event.h"
#include "charge/hold.h"
#include "charge/idempotency.h"
#include "guc.h"
#include "rights/gate.h"
#include "tables/relations.h"

/* features in one call of quota_consume_many */
#define MAX_AMOUNTS 1000

/* Does something with the counter of a window; false: it has changed since it was read. */
typedef bool (*CounterAct)(QuotaStore *store, QuotaCharge *charge, int window);

/* bumped by each write of a counter in this backend, also by one that is rolled back */
static uint64 generation = 0;

static QuotaChargeMode mode_of_caller(FunctionCallInfo fcinfo, Datum account);
static Datum charge_one(FunctionCallInfo fcinfo, Datum account, QuotaChargeOrigin origin, QuotaChargeMode mode);
static void check_user_max(const QuotaCharge *charge);
static QuotaStore *begin_store(const QuotaCharge *charges, int count);
static int64 used_in(const QuotaCharge *charge, int window);
static bool decide(QuotaStore *store, const QuotaAccount *account, QuotaCharge *charges, int count, QuotaChargeMode mode, bool *expired);
static bool each_counter(QuotaStore *store, QuotaCharge *charges, int count, CounterAct act);
static bool must_return(const QuotaCharge *charge, int window);
static bool lock_counter(QuotaStore *store, QuotaCharge *charge, int window);
static bool return_expired(QuotaStore *store, QuotaCharge *charge, int window);
static bool write_charges(QuotaStore *store, QuotaCharge *charges, int count);
static bool write_counter(QuotaStore *store, QuotaCharge *charge, int window);
static bool write_rates(QuotaCharge *charges, int count);
static QuotaCounterChange make_change(const QuotaCharge *charge, int window, int64 units, bool limited);
static void undo_changes(QuotaStore *store, QuotaCharge *charges, int count);
static bool is_rate(const QuotaCharge *charge);
static QuotaCharge *charges_of_jsonb(Jsonb *amounts, int *count);
static int64 amount_of_json(const char *feature, const JsonbValue *value);
static int compare_charges(const void *a, const void *b);

/* quota_consume(account, feature, n, key, metadata) */
QUOTA_ACCOUNT_FUNCTION(quota_consume)
{
	return charge_one(fcinfo, account, (QuotaChargeOrigin){.what = "consume", .returns_denial = true}, mode_of_caller(fcinfo, account));
}

/* quota_enforce(account, feature, n, key, metadata): raise a denial. */
QUOTA_ACCOUNT_FUNCTION(quota_enforce)
{
	return charge_one(fcinfo, account, (QuotaChargeOrigin){.what = "enforce"}, mode_of_caller(fcinfo, account));
}

/* quota_record(account, feature, n, key, metadata): charge whatever the limits say. */
QUOTA_ACCOUNT_FUNCTION(quota_record)
{
	quota_gate_require(fcinfo, QUOTA_GATE_CHARGE);
	return charge_one(fcinfo, account, (QuotaChargeOrigin){.what = "record"}, QUOTA_CHARGE_ALWAYS);
}

/* quota_consume_many(account, amounts): charge all or nothing, and return a row a feature. */
QUOTA_ACCOUNT_FUNCTION(quota_consume_many)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	QuotaStore *store;
	QuotaCharge *charges;
	int count;

	quota_gate_require(fcinfo, QUOTA_GATE_CHARGE);
	quota_argument_check_not_null(fcinfo, 1, "amounts");
	charges = charges_of_jsonb(PG_GETARG_JSONB_P(1), &count);
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	store = begin_store(charges, count);
	quota_consume_charge(store, account, charges, count, QUOTA_CHARGE_LIMITED);
	quota_store_end(store);
	for (int i = 0; i < count; i++)
		quota_decision_put(&charges[i].decision, rsinfo->setResult);
	return (Datum) 0;
}

/*
 * quota_refund(account, feature, n, at): refund to the windows that contain
 * `at`, to none of them more than is used. A rate has only its present window.
 */
QUOTA_ACCOUNT_FUNCTION(quota_refund)
{
	QuotaCharge *charge = palloc(sizeof(QuotaCharge));
	QuotaStore *store;
	TimestampTz at = PG_ARGISNULL(3) ? quota_guc_now() : PG_GETARG_TIMESTAMPTZ(3);

	quota_gate_require(fcinfo, QUOTA_GATE_CHARGE);
	quota_consume_prepare(charge, quota_argument_feature(fcinfo, 1), quota_argument_amount(fcinfo, 2));
	charge->origin.what = "refund";
	if (TIMESTAMP_NOT_FINITE(at))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("time of a refund must be finite")));
	store = begin_store(charge, 1);
	quota_consume_refund(store, account, charge, at);
	quota_store_end(store);
	return quota_decision_datum(&charge->decision);
}

/*
 * Prepare to charge n units, at least 1, of a feature. The caller sets the
 * origin.
 *
 * Errors: undefined_object for a name that is longer than any feature.
 */
void
quota_consume_prepare(QuotaCharge *charge, const char *feature, int64 n)
{
	if (strlen(feature) > QUOTA_MAX_FEATURE)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("feature \"%s\" does not exist", feature)));
	strcpy(charge->feature, feature);
	charge->n = n;
	charge->holds = 0;
	charge->origin = (QuotaChargeOrigin){0};
	for (int i = 0; i < QUOTA_MAX_WINDOWS; i++)
		charge->counters[i].conflicts = 0;
}

/*
 * Charge an account, all or nothing.
 *
 * store: begun, or refreshed since its last use. account: text of 1 to 255
 * bytes. charges: prepared, no feature twice. They are sorted into lock order,
 * and each gets its decision, whose figures include this call if it was
 * charged.
 *
 * Returns true if the account was charged.
 * Errors: undefined_object for an unknown feature; wrong_object_type for a
 * flag; numeric_value_out_of_range where the use exceeds bigint;
 * read_only_sql_transaction; serialization_failure at the higher isolation
 * levels.
 * Locks: the counters' rows, until the end of the transaction; rollback undoes
 * the charge. A denial that lost no race locks nothing.
 */
bool
quota_consume_charge(QuotaStore *store, Datum account, QuotaCharge *charges, int count, QuotaChargeMode mode)
{
	QuotaAccount loaded;
	bool charged;
	bool expired;

	qsort(charges, count, sizeof(QuotaCharge), compare_charges);
	for (;; quota_store_retry(store))
	{
		quota_account_load(store, account, &loaded);
		charged = decide(store, &loaded, charges, count, mode, &expired) && quota_guc_enforcement != QUOTA_ENFORCEMENT_OFF;
		if (!charged || (!expired && write_charges(store, charges, count)))
			break;
		if (!expired)
			continue;
		/*
		 * Lock all counters before any hold is returned. If that waited, return none
		 * yet, so that a charge that is denied in the end has returned none.
		 */
		quota_consume_next_generation();
		if (each_counter(store, charges, count, lock_counter))
			each_counter(store, charges, count, return_expired);
	}
	for (int i = 0; i < count; i++)
	{
		QuotaDecision *decision = &charges[i].decision;

		if (charged)
			decision->used = charges[i].used[decision->window - charges[i].entitlement.windows];
		quota_decision_log(decision);
		quota_event_report_charge(store, &charges[i], charged);
	}
	return charged;
}

/*
 * Refund units to the windows that contain `at`, to none of them more than is
 * used and not held. It is never denied.
 *
 * store, account, errors and locks: as for quota_consume_charge. charge:
 * prepared; its decision gets the figures after the refund.
 */
void
quota_consume_refund(QuotaStore *store, Datum account, QuotaCharge *charge, TimestampTz at)
{
	QuotaAccount loaded;
	int64 amount;

	for (;; quota_store_retry(store))
	{
		quota_account_load(store, account, &loaded);
		quota_consume_read(store, &loaded, charge, at);
		amount = 0;
		for (int i = 0; i < charge->entitlement.count; i++)
		{
			/* held units are given back by their reservation only */
			int64 held = is_rate(charge) ? 0 : quota_hold_sum(store, &charge->counters[i], DT_NOEND);
			int64 used = is_rate(charge) ? charge->rates[i].used : charge->counters[i].used;

			charge->changes[i] = make_change(charge, i, -Min(charge->n, used - held), false);
			charge->changes[i].least = held;
			amount = Min(amount, charge->changes[i].used);
		}
		if (quota_guc_enforcement == QUOTA_ENFORCEMENT_OFF || write_charges(store, charge, 1))
			break;
	}
	charge->decision = quota_decision_make(&loaded, &charge->entitlement, charge->used, charge->rates, 0);
	quota_decision_allow(&charge->decision);
	/* the most that a window got back */
	if (quota_guc_enforcement != QUOTA_ENFORCEMENT_OFF && amount < 0)
		quota_event_insert(store, charge, amount);
}

/*
 * Read an account's entitlement to a feature, and its use in the windows that
 * contain `at`.
 *
 * Errors: undefined_object; wrong_object_type for a flag.
 */
void
quota_consume_read(QuotaStore *store, const QuotaAccount *account, QuotaCharge *charge, TimestampTz at)
{
	const QuotaFeatureRow *feature = quota_plan_feature(charge->feature);

	/* opening quota.usage may wait for a change of the catalogue, which may have made a rate a counter */
	if (feature->kind != QUOTA_RATE && feature->kind != QUOTA_FLAG && quota_store_open_usage(store))
	{
		quota_plan_begin();
		feature = quota_plan_feature(charge->feature);
	}
	if (feature->kind == QUOTA_FLAG)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("feature \"%s\" is a flag and cannot be counted", charge->feature),
				 errhint("Ask quota_has_feature or quota_feature.")));
	quota_account_entitle(account, charge->feature, at, &charge->entitlement);
	for (int i = 0; i < charge->entitlement.count; i++)
	{
		const QuotaWindowLimit *window = &charge->entitlement.windows[i];
		Datum owner = window->pooled ? account->pool->account : account->account;
		QuotaCounter *counter = &charge->counters[i];

		if (feature->kind == QUOTA_RATE)
		{
			QuotaRateKey key = {quota_relations_extension(), owner, charge->feature, window->period};

			quota_rates_read(&charge->rates[i], &key, &window->limit);
		}
		else
		{
			counter->key = (QuotaCounterKey){owner, charge->feature, window->period, window->window.start};
			quota_counter_read(store, counter);
			counter->expired = quota_hold_sum(store, counter, account->now);
		}
		charge->used[i] = used_in(charge, i);
	}
}

/*
 * Make limits with on_limit charge deny overage, unless the feature allows it
 * to level user. Call it after quota_consume_read.
 */
void
quota_consume_close_overage(QuotaCharge *charge)
{
	if (charge->entitlement.feature.user_overage)
		return;
	for (int i = 0; i < charge->entitlement.count; i++)
	{
		QuotaLimit *limit = &charge->entitlement.windows[i].limit;

		if (!limit->unlimited && limit->on_limit == QUOTA_ON_LIMIT_CHARGE)
			limit->block_at = Min(limit->block_at, limit->usage_limit);
	}
}

/*
 * Lock a whole counter until the end of the transaction, and insert it if it
 * has no row. Waits for all transactions that have charged it.
 *
 * Errors: undefined_object where it would insert a counter of no feature.
 */
void
quota_consume_lock_counter(QuotaStore *store, const QuotaCounterKey *key)
{
	QuotaCounter counter = {.key = *key};

	for (;; quota_store_retry(store))
	{
		quota_counter_read(store, &counter);
		quota_plan_begin();
		if (counter.version == NULL)
			quota_plan_feature(key->feature);
		if (quota_counter_lock(store, &counter))
			break;
	}
}

/*
 * Return the generation number, bumped by every counter write in this backend;
 * callers that cache a counter compare it.
 */
uint64
quota_consume_generation(void)
{
	return generation;
}

/* Bump the generation number. Call it before a counter is written, and after a rollback. */
void
quota_consume_next_generation(void)
{
	generation++;
}

/* Return the use of a window as last read or written. */
static int64
used_in(const QuotaCharge *charge, int window)
{
	if (is_rate(charge))
		return charge->rates[window].used;
	return charge->counters[window].used - charge->counters[window].expired;
}

/* Return how the caller may charge an account. Errors: insufficient_privilege. */
static QuotaChargeMode
mode_of_caller(FunctionCallInfo fcinfo, Datum account)
{
	return quota_gate_require_account(fcinfo, QUOTA_GATE_CONSUME, account) ? QUOTA_CHARGE_AS_USER : QUOTA_CHARGE_LIMITED;
}

static Datum
charge_one(FunctionCallInfo fcinfo, Datum account, QuotaChargeOrigin origin, QuotaChargeMode mode)
{
	QuotaCharge charge;
	QuotaRememberedAnswer answer = {0};
	QuotaStore *store;

	origin.key = quota_argument_key(fcinfo, 3);
	quota_consume_prepare(&charge, quota_argument_feature(fcinfo, 1), quota_argument_amount(fcinfo, 2));
	if (unlikely(mode == QUOTA_CHARGE_AS_USER))
		check_user_max(&charge);
	origin.metadata = quota_argument_metadata(fcinfo, 4);
	charge.origin = origin;
	/* a remembered answer is written even if nothing is charged */
	store = origin.key != 0 ? quota_store_begin_write() : begin_store(&charge, 1);
	if (!quota_idempotency_find(store, account, &charge, mode == QUOTA_CHARGE_AS_USER, &answer))
	{
		quota_consume_charge(store, account, &charge, 1, mode);
		if (charge.decision.verdict == QUOTA_BLOCK && !origin.returns_denial)
			quota_decision_raise(&charge.decision);
		answer.decision = quota_decision_datum(&charge.decision);
		quota_idempotency_remember(store, &charge, &answer);
	}
	quota_store_end(store);
	return answer.decision;
}

/* Refuse more units than level user may charge in a call. Errors: insufficient_privilege. */
static void
check_user_max(const QuotaCharge *charge)
{
	int64 most;

	quota_plan_begin();
	most = quota_plan_feature(charge->feature)->user_max;
	if (charge->n > most)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("level user may charge at most %lld of feature \"%s\" in one call", (long long) most, charge->feature),
				 errdetail("The call asked for %lld.", (long long) charge->n),
				 errhint("\"user_max\" of the feature in the plan document allows more.")));
}

/* Begin the store. Rates alone write nothing, so they can be charged in read-only transactions. */
static QuotaStore *
begin_store(const QuotaCharge *charges, int count)
{
	bool rates = count > 0;

	quota_plan_begin();
	for (int i = 0; i < count && rates; i++)
		rates = quota_plan_feature(charges[i].feature)->kind == QUOTA_RATE;
	return rates ? quota_store_begin_rates() : quota_store_begin_write();
}

/*
 * Decide on every charge; true if all are allowed.
 *
 * expired: set to whether a counter has expired holds that must be returned first.
 */
static bool
decide(QuotaStore *store, const QuotaAccount *account, QuotaCharge *charges, int count, QuotaChargeMode mode, bool *expired)
{
	bool allowed = true;

	*expired = false;
	for (int i = 0; i < count; i++)
	{
		QuotaCharge *charge = &charges[i];
		QuotaDecision *decision = &charge->decision;
		bool limited;

		quota_consume_read(store, account, charge, account->now);
		if (unlikely(mode == QUOTA_CHARGE_AS_USER))
			quota_consume_close_overage(charge);
		*decision = quota_decision_make(account, &charge->entitlement, charge->used, charge->rates, charge->n);
		if (mode == QUOTA_CHARGE_ALWAYS)
			quota_decision_allow(decision);
		quota_decision_enforce(decision);
		limited = mode != QUOTA_CHARGE_ALWAYS && !charge->entitlement.bypass && decision->reason != QUOTA_REASON_SHADOW;
		for (int j = 0; j < charge->entitlement.count; j++)
		{
			charge->changes[j] = make_change(charge, j, charge->n, limited);
			charge->changes[j].holds = charge->holds;
			if (!is_rate(charge) && unlikely(charge->counters[j].expired > 0))
				*expired |= must_return(charge, j);
		}
		allowed &= decision->verdict != QUOTA_BLOCK;
	}
	return allowed;
}

/*
 * Act on the counters of the charges in lock order, until one returns false: all of a
 * pool's come before all of its member's.
 */
static bool
each_counter(QuotaStore *store, QuotaCharge *charges, int count, CounterAct act)
{
	for (int pooled = true; pooled >= false; pooled--)
		for (int i = 0; i < count; i++)
			for (int j = 0; !is_rate(&charges[i]) && j < charges[i].entitlement.count; j++)
				if (charges[i].entitlement.windows[j].pooled == pooled && !act(store, &charges[i], j))
					return false;
	return true;
}

/*
 * Return whether the charge must return expired holds. A transaction that has a
 * slot of the counter does so only if its charge does not fit otherwise.
 */
static bool
must_return(const QuotaCharge *charge, int window)
{
	const QuotaCounter *counter = &charge->counters[window];
	const QuotaCounterChange *change = &charge->changes[window];

	return counter->expired > 0 &&
		   (!quota_counter_has_slot(counter) || quota_decide_sum(counter->used, change->used) > change->most);
}

/* Lock a counter whole, unless this transaction has a slot of it and need not return holds. */
static bool
lock_counter(QuotaStore *store, QuotaCharge *charge, int window)
{
	QuotaCounter *counter = &charge->counters[window];

	return (quota_counter_has_slot(counter) && !must_return(charge, window)) || quota_counter_lock(store, counter);
}

/* Return the expired holds of a locked counter. The caller then reads and decides again. */
static bool
return_expired(QuotaStore *store, QuotaCharge *charge, int window)
{
	if (!must_return(charge, window))
		return true;
	quota_store_refresh(store);
	quota_counter_read(store, &charge->counters[window]);
	if (!quota_hold_return_expired(store, &charge->counters[window], charge->decision.now))
		elog(ERROR, "counter changed under its lock");
	return true;
}

/*
 * Write all counters and rates of all charges; false, with all changes undone,
 * if one has changed since it was read.
 */
static bool
write_charges(QuotaStore *store, QuotaCharge *charges, int count)
{
	quota_consume_next_generation();
	for (int i = 0; i < count; i++)
		memset(charges[i].changed, false, sizeof(charges[i].changed));
	if (!each_counter(store, charges, count, write_counter) || !write_rates(charges, count))
	{
		undo_changes(store, charges, count);
		return false;
	}
	for (int i = 0; i < count; i++)
		for (int j = 0; j < charges[i].entitlement.count; j++)
			charges[i].used[j] = used_in(&charges[i], j);
	return true;
}

static bool
write_counter(QuotaStore *store, QuotaCharge *charge, int window)
{
	return charge->changed[window] = quota_counter_add(store, &charge->counters[window], &charge->changes[window]);
}

/* Add to the rates among the charges, all or none. */
static bool
write_rates(QuotaCharge *charges, int count)
{
	QuotaRateChange few[QUOTA_MAX_WINDOWS];
	QuotaRateChange *changes = count == 1 ? few : palloc(count * QUOTA_MAX_WINDOWS * sizeof(QuotaRateChange));
	int windows = 0;

	for (int i = 0; i < count; i++)
		for (int j = 0; is_rate(&charges[i]) && j < charges[i].entitlement.count; j++)
			changes[windows++] = (QuotaRateChange){&charges[i].rates[j], charges[i].changes[j].used, charges[i].changes[j].most};
	return windows == 0 || quota_rates_add(changes, windows);
}

static bool
is_rate(const QuotaCharge *charge)
{
	return charge->entitlement.feature.kind == QUOTA_RATE;
}

/* Make the change of a window by some units, up to its limit if limited. */
static QuotaCounterChange
make_change(const QuotaCharge *charge, int window, int64 units, bool limited)
{
	const QuotaLimit *limit = &charge->entitlement.windows[window].limit;
	QuotaCounterChange change = {.used = units, .most = PG_INT64_MAX};

	if (!is_rate(charge))
		change.alerted = quota_event_threshold(charge, window, units);
	if (limited && !limit->unlimited)
		change.most = limit->block_at;
	return change;
}

/* Change the counters back. They stay locked. */
static void
undo_changes(QuotaStore *store, QuotaCharge *charges, int count)
{
	quota_store_refresh(store);
	for (int i = 0; i < count; i++)
		for (int j = 0; j < charges[i].entitlement.count; j++)
			if (charges[i].changed[j])
				quota_counter_take_back(store, &charges[i].counters[j], &charges[i].changes[j]);
}

/* Read {"feature": n, ...}. jsonb has each key once. */
static QuotaCharge *
charges_of_jsonb(Jsonb *amounts, int *count)
{
	QuotaCharge *charges;
	JsonbIterator *iterator;
	JsonbValue value;

	if (!JB_ROOT_IS_OBJECT(amounts))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("amounts must be a JSON object"),
				 errhint("For example {\"report\": 1, \"token\": 200}.")));
	if (JB_ROOT_COUNT(amounts) > MAX_AMOUNTS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("amounts has too many features"),
				 errdetail("It has %d, the most is %d.", (int) JB_ROOT_COUNT(amounts), MAX_AMOUNTS)));
	charges = palloc(Max(JB_ROOT_COUNT(amounts), 1) * sizeof(QuotaCharge));
	*count = 0;
	iterator = JsonbIteratorInit(&amounts->root);
	JsonbIteratorNext(&iterator, &value, true);
	while (JsonbIteratorNext(&iterator, &value, true) == WJB_KEY)
	{
		/* cut to a length that quota_consume_prepare still finds too long for a feature */
		char *feature = pnstrdup(value.val.string.val, pg_mbcliplen(value.val.string.val, value.val.string.len,
																	QUOTA_MAX_SHOWN));

		JsonbIteratorNext(&iterator, &value, true);
		quota_consume_prepare(&charges[*count], feature, amount_of_json(feature, &value));
		charges[(*count)++].origin = (QuotaChargeOrigin){.what = "consume", .returns_denial = true};
	}
	return charges;
}

static int64
amount_of_json(const char *feature, const JsonbValue *value)
{
	Datum number;
	int64 n;

	if (value->type != jbvNumeric)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("amount of feature \"%s\" must be a number", feature)));
	number = NumericGetDatum(value->val.numeric);
	n = DatumGetInt64(DirectFunctionCall1(numeric_int8, number));
	if (!DatumGetBool(DirectFunctionCall2(numeric_eq, number, NumericGetDatum(int64_to_numeric(n)))))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("amount of feature \"%s\" must be a whole number", feature)));
	quota_argument_check_amount(n);
	return n;
}

static int
compare_charges(const void *a, const void *b)
{
	return strcmp(((const QuotaCharge *) a)->feature, ((const QuotaCharge *) b)->feature);
}
