/*
 * reserve.c
 *		Reserve, commit and release units.
 *
 * For work whose cost is known only when it is done. A reservation is a charge
 * whose counters are listed in quota.holds. Settling it replaces the held units
 * by the used ones on just these counters, whatever the month or plan is by
 * then. What nobody settles expires (src/charge/hold.c).
 *
 * Lock					Protects				Order						While held
 * row of reservation	settling, once			first						counters are written
 * counter				use, until commit		as for charges				-
 * row of a hold			return, once			after its counter			-
 *
 * Memory: the caller's context.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_collation.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

#include "argument.h"
#include "charge/consume.h"
#include "charge/event.h"
#include "charge/idempotency.h"
#include "compat.h"
#include "guc.h"
#include "rights/gate.h"
#include "tables/reservations.h"

/* as the amount used: all that was reserved */
#define ALL_HELD (-1)

static TimestampTz expiry_of_argument(FunctionCallInfo fcinfo, int number);
static int64 insert_reservation(QuotaStore *store, const QuotaCharge *charge, int counters, TimestampTz expires_at);
static Datum reservation_datum(FunctionCallInfo fcinfo, const QuotaRememberedAnswer *answer);
static Datum settle(FunctionCallInfo fcinfo, const char *what, int64 actual);
static void settle_hold(QuotaStore *store, const QuotaHoldRow *hold, int64 actual);
pg_noreturn static void raise_expired(int64 id);
static int compare_periods(const void *a, const void *b);

/* quota_reserve(account, feature, n, ttl, key) */
QUOTA_ACCOUNT_FUNCTION(quota_reserve)
{
	QuotaCharge *charge = palloc(sizeof(QuotaCharge));
	Datum key = quota_argument_key(fcinfo, 4);
	QuotaRememberedAnswer answer = {0};
	TimestampTz expires_at;
	QuotaStore *store;
	QuotaKind kind;

	quota_gate_require(fcinfo, QUOTA_GATE_CHARGE);
	quota_consume_prepare(charge, quota_argument_feature(fcinfo, 1), quota_argument_amount(fcinfo, 2));
	charge->holds = 1;
	charge->origin = (QuotaChargeOrigin){.what = "reserve", .key = key, .returns_denial = true};
	expires_at = expiry_of_argument(fcinfo, 3);
	store = quota_store_begin_write();
	quota_plan_begin();
	kind = quota_plan_feature(charge->feature)->kind;
	if (kind != QUOTA_COUNTER && kind != QUOTA_GAUGE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("feature \"%s\" is a %s and cannot be reserved", charge->feature, kind == QUOTA_RATE ? "rate" : "flag")));
	if (!quota_idempotency_find(store, account, charge, false, &answer))
	{
		bool charged = quota_consume_charge(store, account, charge, 1, QUOTA_CHARGE_LIMITED);

		/* with quota.enforcement = off it is on no counter, and can be settled all the same */
		if (charge->decision.verdict != QUOTA_BLOCK)
			answer.reservation = insert_reservation(store, charge, charged ? charge->entitlement.count : 0, expires_at);
		answer.decision = quota_decision_datum(&charge->decision);
		quota_idempotency_remember(store, charge, &answer);
	}
	quota_store_end(store);
	return reservation_datum(fcinfo, &answer);
}

/* quota_commit(id, actual) */
QUOTA_FUNCTION(quota_commit)
{
	int64 actual = PG_ARGISNULL(1) ? ALL_HELD : PG_GETARG_INT64(1);

	quota_gate_require(fcinfo, QUOTA_GATE_CHARGE);
	if (!PG_ARGISNULL(1) && actual < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("actual amount must not be negative, as %lld is", (long long) actual)));
	return settle(fcinfo, "commit", actual);
}

/* quota_release(id) */
QUOTA_FUNCTION(quota_release)
{
	quota_gate_require(fcinfo, QUOTA_GATE_CHARGE);
	return settle(fcinfo, "release", 0);
}

/*
 * Compute when a reservation expires. Errors: invalid_parameter_value for a ttl
 * that is not positive and finite.
 */
static TimestampTz
expiry_of_argument(FunctionCallInfo fcinfo, int number)
{
	TimestampTz now = quota_guc_now();
	TimestampTz expires_at;

	quota_argument_check_not_null(fcinfo, number, "ttl");
	expires_at = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval, TimestampTzGetDatum(now), PG_GETARG_DATUM(number)));
	if (expires_at <= now)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("ttl must be positive")));
	if (TIMESTAMP_NOT_FINITE(expires_at))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("ttl must be finite")));
	return expires_at;
}

/*
 * Insert the reservation of a charge, with a hold on each of its first
 * counters.
 *
 * Returns its id.
 */
static int64
insert_reservation(QuotaStore *store, const QuotaCharge *charge, int counters, TimestampTz expires_at)
{
	QuotaReservationRow reservation = {
		.account = charge->decision.account,
		.feature = charge->feature,
		.amount = charge->n,
		.counters = counters,
		.reserved_at = charge->decision.now,
		.expires_at = expires_at};

	quota_reservations_insert(store, &reservation);
	for (int i = 0; i < counters; i++)
	{
		QuotaHoldRow row = {
			.key = charge->counters[i].key,
			.expires_at = expires_at,
			.reservation = reservation.id,
			.amount = charge->n};

		quota_reservations_insert_hold(store, &row);
	}
	return reservation.id;
}

/* Return a value of the SQL type quota_reservation: the id and the columns of the decision. */
static Datum
reservation_datum(FunctionCallInfo fcinfo, const QuotaRememberedAnswer *answer)
{
	HeapTupleHeader decision = DatumGetHeapTupleHeader(answer->decision);
	HeapTupleData tuple = {.t_len = HeapTupleHeaderGetDatumLength(decision), .t_data = decision};
	TupleDesc from = lookup_rowtype_tupdesc(HeapTupleHeaderGetTypeId(decision), HeapTupleHeaderGetTypMod(decision));
	TupleDesc to;
	Datum values[MaxHeapAttributeNumber];
	bool nulls[MaxHeapAttributeNumber];

	if (get_call_result_type(fcinfo, NULL, &to) != TYPEFUNC_COMPOSITE || to->natts != from->natts + 1)
		elog(ERROR, "type quota_reservation does not fit type quota_decision");
	values[0] = Int64GetDatum(answer->reservation);
	nulls[0] = answer->reservation == 0;
	heap_deform_tuple(&tuple, from, &values[1], &nulls[1]);
	ReleaseTupleDesc(from);
	return HeapTupleGetDatum(heap_form_tuple(to, values, nulls));
}

/* Settle a reservation. actual: units used, or ALL_HELD. */
static Datum
settle(FunctionCallInfo fcinfo, const char *what, int64 actual)
{
	QuotaCharge *charge = palloc(sizeof(QuotaCharge));
	QuotaReservationRow reservation;
	QuotaHoldRow *holds;
	QuotaAccount loaded;
	QuotaStore *store;
	int64 id;
	int count;

	quota_argument_check_not_null(fcinfo, 0, "id");
	id = PG_GETARG_INT64(0);
	store = quota_store_begin_write();
	if (!quota_reservations_delete(store, id, &reservation))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("reservation %lld does not exist", (long long) id),
				 errhint("It has been committed or released already, or expired long ago.")));
	if (quota_guc_now() >= reservation.expires_at)
		raise_expired(id);
	holds = quota_reservations_holds(store, id, &count);
	/* holds were returned by a session whose clock is ahead, or by quota_reset */
	if (count != reservation.counters)
		raise_expired(id);
	qsort(holds, count, sizeof(QuotaHoldRow), compare_periods);
	quota_consume_next_generation();
	/* lock order: counters of the pool that it was in before its own */
	for (int own = false; own <= true; own++)
		for (int i = 0; i < count; i++)
			if (DatumGetBool(DirectFunctionCall2Coll(texteq, C_COLLATION_OID, holds[i].key.account, reservation.account)) == own)
				settle_hold(store, &holds[i], actual == ALL_HELD ? holds[i].amount : actual);
	quota_store_refresh(store);

	/* show the present figures of the windows in which it was reserved */
	quota_consume_prepare(charge, reservation.feature, reservation.amount);
	charge->origin.what = what;
	quota_account_load(store, reservation.account, &loaded);
	quota_consume_read(store, &loaded, charge, reservation.reserved_at);
	charge->decision = quota_decision_make(&loaded, &charge->entitlement, charge->used, charge->rates, 0);
	quota_decision_allow(&charge->decision);
	/* the units used beyond the reserved ones */
	quota_event_insert(store, charge, actual == ALL_HELD ? 0 : actual - reservation.amount);
	quota_store_end(store);
	return quota_decision_datum(&charge->decision);
}

/* Replace the held units of a counter by the used ones. */
static void
settle_hold(QuotaStore *store, const QuotaHoldRow *hold, int64 actual)
{
	QuotaCounter counter = {.key = hold->key};

	for (;; quota_store_retry(store))
	{
		QuotaCounterChange change = {.most = PG_INT64_MAX};

		quota_counter_read(store, &counter);
		/* somebody may have updated the counter by hand */
		change.used = Max(actual - hold->amount, -counter.used);
		change.holds = -Min(1, counter.holds);
		change.alerted = counter.alerted;
		if (quota_counter_add(store, &counter, &change))
			break;
	}
	if (!quota_reservations_delete_hold(store, hold))
		raise_expired(hold->reservation);
}

static void
raise_expired(int64 id)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("reservation %lld has expired", (long long) id),
			 errdetail("What it held has been given back."),
			 errhint("Charge what was used with quota_record.")));
}

/* Compare in lock order, for holds of one account. */
static int
compare_periods(const void *a, const void *b)
{
	return (int) ((const QuotaHoldRow *) a)->key.period - (int) ((const QuotaHoldRow *) b)->key.period;
}
