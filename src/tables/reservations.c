/*
 * reservations.c
 *		Reservations and their holds: rows of quota.reservations and quota.holds.
 *
 * charge/reserve.c and charge/hold.c say what they mean.
 *
 * Memory: the caller's context. Locks: a row that is deleted, until the end of the
 * transaction; the tables as SELECT, INSERT and DELETE do.
 */
#include "postgres.h"

#include "tables/reservations.h"

#include "access/heapam.h"
#include "access/table.h"
#include "access/xact.h"
#include "commands/sequence.h"
#include "utils/fmgroids.h"

#include "tables/scan.h"
#include "tables/store_private.h"

static QuotaHoldRow *read_holds(QuotaScan *scan, int *count);
static bool delete_row(QuotaStore *store, QuotaTable table, ItemPointerData tid);

/* Insert a reservation, and set its id. */
void
quota_reservations_insert(QuotaStore *store, QuotaReservationRow *row)
{
	Datum values[RESERVATIONS_EXPIRES_AT];
	bool nulls[RESERVATIONS_EXPIRES_AT] = {false};

	row->id = nextval_internal(quota_relations_oids()->tables[RESERVATION_IDS], false);
	values[RESERVATIONS_ID - 1] = Int64GetDatum(row->id);
	values[RESERVATIONS_ACCOUNT - 1] = row->account;
	values[RESERVATIONS_FEATURE - 1] = CStringGetTextDatum(row->feature);
	values[RESERVATIONS_AMOUNT - 1] = Int64GetDatum(row->amount);
	values[RESERVATIONS_COUNTERS - 1] = Int16GetDatum(row->counters);
	values[RESERVATIONS_RESERVED_AT - 1] = TimestampTzGetDatum(row->reserved_at);
	values[RESERVATIONS_EXPIRES_AT - 1] = TimestampTzGetDatum(row->expires_at);
	quota_store_insert(store, RESERVATIONS, RESERVATIONS_EXPIRES_AT, values, nulls);
}

/*
 * Delete a reservation and return what it was; false: there is none, or another
 * transaction has deleted it.
 *
 * Errors: serialization_failure at the higher isolation levels.
 * Locks: waits for a transaction that is deleting it.
 */
bool
quota_reservations_delete(QuotaStore *store, int64 id, QuotaReservationRow *row)
{
	/* before AccessShareLock, which would be raised otherwise */
	table_close(quota_relations_open_to_write(RESERVATIONS), NoLock);
	for (;; quota_store_retry(store))
	{
		QuotaScan scan;
		ItemPointerData tid;

		if (!quota_scan_find(&scan, RESERVATIONS, quota_store_entitlement_snapshot(store), 1, &(Datum){Int64GetDatum(id)}))
			return false;
		row->id = id;
		row->account = quota_scan_copy(&scan, RESERVATIONS_ACCOUNT);
		row->feature = quota_scan_string(&scan, RESERVATIONS_FEATURE);
		row->amount = quota_scan_int64(&scan, RESERVATIONS_AMOUNT);
		row->counters = DatumGetInt16(quota_scan_value(&scan, RESERVATIONS_COUNTERS));
		row->reserved_at = quota_scan_time(&scan, RESERVATIONS_RESERVED_AT, DT_NOBEGIN);
		row->expires_at = quota_scan_time(&scan, RESERVATIONS_EXPIRES_AT, DT_NOEND);
		tid = scan.tuple->t_self;
		quota_scan_end(&scan);
		if (delete_row(store, RESERVATIONS, tid))
			return true;
	}
}

void
quota_reservations_insert_hold(QuotaStore *store, const QuotaHoldRow *row)
{
	Datum values[HOLDS_AMOUNT];
	bool nulls[HOLDS_AMOUNT] = {false};

	values[HOLDS_ACCOUNT - 1] = row->key.account;
	values[HOLDS_FEATURE - 1] = CStringGetTextDatum(row->key.feature);
	values[HOLDS_PERIOD - 1] = ObjectIdGetDatum(quota_relations_oids()->periods[row->key.period]);
	values[HOLDS_PERIOD_START - 1] = TimestampTzGetDatum(row->key.period_start);
	values[HOLDS_EXPIRES_AT - 1] = TimestampTzGetDatum(row->expires_at);
	values[HOLDS_RESERVATION - 1] = Int64GetDatum(row->reservation);
	values[HOLDS_AMOUNT - 1] = Int64GetDatum(row->amount);
	quota_store_insert(store, HOLDS, HOLDS_AMOUNT, values, nulls);
}

/* Read the holds of a counter that expire up to a time, as counters are read. */
QuotaHoldRow *
quota_reservations_holds_of_counter(QuotaStore *store, const QuotaCounterKey *key, TimestampTz until, int *count)
{
	Relation rel = quota_relations_open(HOLDS, AccessShareLock);
	QuotaScan scan;
	ScanKeyData keys[5];

	ScanKeyInit(&keys[0], HOLDS_ACCOUNT, BTEqualStrategyNumber, F_TEXTEQ, key->account);
	ScanKeyInit(&keys[1], HOLDS_FEATURE, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(key->feature));
	ScanKeyInit(&keys[2], HOLDS_PERIOD, BTEqualStrategyNumber, F_ENUM_EQ,
				ObjectIdGetDatum(quota_relations_oids()->periods[key->period]));
	ScanKeyInit(&keys[3], HOLDS_PERIOD_START, BTEqualStrategyNumber, F_TIMESTAMPTZ_EQ, TimestampTzGetDatum(key->period_start));
	ScanKeyInit(&keys[4], HOLDS_EXPIRES_AT, BTLessEqualStrategyNumber, F_TIMESTAMPTZ_LE, TimestampTzGetDatum(until));
	quota_scan_begin(&scan, rel, quota_scan_primary_key(rel), store->usage_snapshot, 5, keys);
	return read_holds(&scan, count);
}

/* Read the holds of a reservation, with the newest snapshot. */
QuotaHoldRow *
quota_reservations_holds(QuotaStore *store, int64 reservation, int *count)
{
	Relation rel = quota_relations_open(HOLDS, AccessShareLock);
	QuotaScan scan;
	ScanKeyData key;

	ScanKeyInit(&key, HOLDS_RESERVATION, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(reservation));
	quota_scan_begin(&scan, rel, quota_relations_oids()->tables[HOLDS_OF_RESERVATION], quota_store_entitlement_snapshot(store), 1, &key);
	return read_holds(&scan, count);
}

/*
 * Delete a hold; false: another transaction has.
 *
 * Errors: serialization_failure at the higher isolation levels.
 * Locks: the caller has locked the counter, or a slot of it.
 */
bool
quota_reservations_delete_hold(QuotaStore *store, const QuotaHoldRow *row)
{
	return delete_row(store, HOLDS, row->tid);
}

/* Read all rows of a scan. */
static QuotaHoldRow *
read_holds(QuotaScan *scan, int *count)
{
	QuotaHoldRow *row;

	while ((row = quota_scan_next_row(scan, sizeof(*row))) != NULL)
	{
		row->key.account = quota_scan_copy(scan, HOLDS_ACCOUNT);
		row->key.feature = quota_scan_string(scan, HOLDS_FEATURE);
		row->key.period = quota_relations_period(quota_scan_oid(scan, HOLDS_PERIOD));
		row->key.period_start = quota_scan_time(scan, HOLDS_PERIOD_START, DT_NOBEGIN);
		row->expires_at = quota_scan_time(scan, HOLDS_EXPIRES_AT, DT_NOEND);
		row->reservation = quota_scan_int64(scan, HOLDS_RESERVATION);
		row->amount = quota_scan_int64(scan, HOLDS_AMOUNT);
		row->tid = scan->tuple->t_self;
	}
	*count = scan->count;
	return scan->rows;
}

/* Delete a row; false: another transaction has updated or deleted it. */
static bool
delete_row(QuotaStore *store, QuotaTable table, ItemPointerData tid)
{
	Relation rel = quota_relations_open_to_write(table);
	TM_FailureData failure;
	TM_Result result = heap_delete(rel, &tid, GetCurrentCommandId(true), InvalidSnapshot, true, &failure, false);

	table_close(rel, NoLock);
	if (result == TM_Updated || result == TM_Deleted)
		return quota_store_retry_or_raise();
	if (result != TM_Ok)
		elog(ERROR, "unexpected result of deleting a row of a reservation");
	store->written = true;
	return true;
}
