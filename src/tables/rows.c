/*
 * The rows that keys and reservations write: quota.keys, quota.reservations and
 * quota.holds. A module of the store; what the rows mean, others know.
 *
 * Locks: a row that is deleted, until the end of the transaction; the table as
 * SELECT, INSERT and DELETE do. Memory: the caller's context.
 */
#include "postgres.h"

#include "tables/rows.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "commands/sequence.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "tables/store_private.h"

static QuotaHoldRow *read_holds(Relation rel, SysScanDesc scan, int *count);
static void insert_row(QuotaStore *store, Table table, int columns, const Datum *values, const bool *nulls);
static Relation open_to_delete(Table table);
static bool delete_row(QuotaStore *store, Relation rel, const ItemPointerData *tid);
static Datum copy_text(Datum value);

/*
 * Look for the row of an account and key, as it is now, whoever has written it:
 * writer is the transaction that has and has not ended, invalid where it has
 * committed or is this one.
 */
bool
quota_rows_find_key(QuotaKeyRow *row, TransactionId *writer)
{
	Relation rel = quota_store_table(KEYS, AccessShareLock);
	SnapshotData dirty;
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple tuple;

	InitDirtySnapshot(dirty);
	ScanKeyInit(&keys[0], KEYS_ACCOUNT, BTEqualStrategyNumber, F_TEXTEQ, row->account);
	ScanKeyInit(&keys[1], KEYS_KEY, BTEqualStrategyNumber, F_TEXTEQ, row->key);
	scan = quota_store_scan(rel, &dirty, 2, keys);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		Datum values[MaxHeapAttributeNumber];
		bool nulls[MaxHeapAttributeNumber];

		*writer = dirty.xmin;
		heap_deform_tuple(tuple, RelationGetDescr(rel), values, nulls);
		row->function = TextDatumGetCString(values[KEYS_FUNCTION - 1]);
		row->feature = TextDatumGetCString(values[KEYS_FEATURE - 1]);
		row->n = DatumGetInt64(values[KEYS_N - 1]);
		row->reservation = nulls[KEYS_RESERVATION - 1] ? 0 : DatumGetInt64(values[KEYS_RESERVATION - 1]);
		row->decision = PointerGetDatum(PG_DETOAST_DATUM_COPY(values[KEYS_DECISION - 1]));
	}
	systable_endscan(scan);
	table_close(rel, NoLock);
	return HeapTupleIsValid(tuple);
}

void
quota_rows_insert_key(QuotaStore *store, const QuotaKeyRow *row)
{
	Datum values[KEYS_AT];
	bool nulls[KEYS_AT] = {false};

	values[KEYS_ACCOUNT - 1] = row->account;
	values[KEYS_KEY - 1] = row->key;
	values[KEYS_FUNCTION - 1] = CStringGetTextDatum(row->function);
	values[KEYS_FEATURE - 1] = CStringGetTextDatum(row->feature);
	values[KEYS_N - 1] = Int64GetDatum(row->n);
	values[KEYS_RESERVATION - 1] = Int64GetDatum(row->reservation);
	nulls[KEYS_RESERVATION - 1] = row->reservation == 0;
	values[KEYS_DECISION - 1] = row->decision;
	values[KEYS_AT - 1] = TimestampTzGetDatum(row->at);
	insert_row(store, KEYS, KEYS_AT, values, nulls);
}

/* Insert a reservation, and give it its id. */
void
quota_rows_insert_reservation(QuotaStore *store, QuotaReservationRow *row)
{
	Datum values[RESERVATIONS_EXPIRES_AT];
	bool nulls[RESERVATIONS_EXPIRES_AT] = {false};

	row->id = nextval_internal(quota_store_oids()->tables[RESERVATION_IDS], false);
	values[RESERVATIONS_ID - 1] = Int64GetDatum(row->id);
	values[RESERVATIONS_ACCOUNT - 1] = row->account;
	values[RESERVATIONS_FEATURE - 1] = CStringGetTextDatum(row->feature);
	values[RESERVATIONS_AMOUNT - 1] = Int64GetDatum(row->amount);
	values[RESERVATIONS_COUNTERS - 1] = Int16GetDatum(row->counters);
	values[RESERVATIONS_RESERVED_AT - 1] = TimestampTzGetDatum(row->reserved_at);
	values[RESERVATIONS_EXPIRES_AT - 1] = TimestampTzGetDatum(row->expires_at);
	insert_row(store, RESERVATIONS, RESERVATIONS_EXPIRES_AT, values, nulls);
}

/*
 * Read and delete a reservation; false: there is none, or somebody else has
 * deleted it.
 *
 * Errors: serialization_failure for that at the higher isolation levels.
 * Locks: waits for whoever is deleting it.
 */
bool
quota_rows_take_reservation(QuotaStore *store, int64 id, QuotaReservationRow *row)
{
	Relation rel = open_to_delete(RESERVATIONS);
	ScanKeyData key;
	bool found;
	bool taken = false;

	ScanKeyInit(&key, RESERVATIONS_ID, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(id));
	do
	{
		SysScanDesc scan = quota_store_scan(rel, quota_store_now(store), 1, &key);
		HeapTuple tuple = systable_getnext(scan);
		ItemPointerData tid;

		found = HeapTupleIsValid(tuple);
		if (found)
		{
			Datum values[MaxHeapAttributeNumber];
			bool nulls[MaxHeapAttributeNumber];

			heap_deform_tuple(tuple, RelationGetDescr(rel), values, nulls);
			row->id = id;
			row->account = copy_text(values[RESERVATIONS_ACCOUNT - 1]);
			row->feature = TextDatumGetCString(values[RESERVATIONS_FEATURE - 1]);
			row->amount = DatumGetInt64(values[RESERVATIONS_AMOUNT - 1]);
			row->counters = DatumGetInt16(values[RESERVATIONS_COUNTERS - 1]);
			row->reserved_at = DatumGetTimestampTz(values[RESERVATIONS_RESERVED_AT - 1]);
			row->expires_at = DatumGetTimestampTz(values[RESERVATIONS_EXPIRES_AT - 1]);
			tid = tuple->t_self;
		}
		systable_endscan(scan);
		if (found && !(taken = delete_row(store, rel, &tid)))
			quota_store_refresh(store);
	} while (found && !taken);
	table_close(rel, NoLock);
	return taken;
}

void
quota_rows_insert_hold(QuotaStore *store, const QuotaHoldRow *row)
{
	Datum values[HOLDS_AMOUNT];
	bool nulls[HOLDS_AMOUNT] = {false};

	values[HOLDS_ACCOUNT - 1] = row->key.account;
	values[HOLDS_FEATURE - 1] = CStringGetTextDatum(row->key.feature);
	values[HOLDS_PERIOD - 1] = ObjectIdGetDatum(quota_store_oids()->periods[row->key.period]);
	values[HOLDS_PERIOD_START - 1] = TimestampTzGetDatum(row->key.period_start);
	values[HOLDS_EXPIRES_AT - 1] = TimestampTzGetDatum(row->expires_at);
	values[HOLDS_RESERVATION - 1] = Int64GetDatum(row->reservation);
	values[HOLDS_AMOUNT - 1] = Int64GetDatum(row->amount);
	insert_row(store, HOLDS, HOLDS_AMOUNT, values, nulls);
}

/* What is held of a counter and expires up to a time, as use is read. */
QuotaHoldRow *
quota_rows_holds_of_counter(QuotaStore *store, const QuotaCounterKey *key, TimestampTz until, int *count)
{
	Relation rel = quota_store_table(HOLDS, AccessShareLock);
	ScanKeyData keys[5];

	ScanKeyInit(&keys[0], HOLDS_ACCOUNT, BTEqualStrategyNumber, F_TEXTEQ, key->account);
	ScanKeyInit(&keys[1], HOLDS_FEATURE, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(key->feature));
	ScanKeyInit(&keys[2], HOLDS_PERIOD, BTEqualStrategyNumber, F_ENUM_EQ,
				ObjectIdGetDatum(quota_store_oids()->periods[key->period]));
	ScanKeyInit(&keys[3], HOLDS_PERIOD_START, BTEqualStrategyNumber, F_TIMESTAMPTZ_EQ, TimestampTzGetDatum(key->period_start));
	ScanKeyInit(&keys[4], HOLDS_EXPIRES_AT, BTLessEqualStrategyNumber, F_TIMESTAMPTZ_LE, TimestampTzGetDatum(until));
	return read_holds(rel, quota_store_scan(rel, store->as_of, 5, keys), count);
}

/* All that a reservation holds, as it is now. */
QuotaHoldRow *
quota_rows_holds_of_reservation(QuotaStore *store, int64 reservation, int *count)
{
	Relation rel = quota_store_table(HOLDS, AccessShareLock);
	ScanKeyData key;

	ScanKeyInit(&key, HOLDS_RESERVATION, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(reservation));
	return read_holds(rel, systable_beginscan(rel, quota_store_oids()->tables[HOLDS_OF_RESERVATION], true, quota_store_now(store), 1, &key), count);
}

/*
 * Delete what is held of a counter; false: somebody else has.
 *
 * Errors: serialization_failure for that at the higher isolation levels.
 * Locks: the caller has the counter, or a slot of it.
 */
bool
quota_rows_delete_hold(QuotaStore *store, const QuotaHoldRow *row)
{
	Relation rel = open_to_delete(HOLDS);
	bool deleted = delete_row(store, rel, &row->tid);

	table_close(rel, NoLock);
	return deleted;
}

/* All rows of a scan, which ends; the table is closed. */
static QuotaHoldRow *
read_holds(Relation rel, SysScanDesc scan, int *count)
{
	int allocated = 4;
	QuotaHoldRow *rows = palloc(allocated * sizeof(QuotaHoldRow));
	HeapTuple tuple;

	*count = 0;
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		QuotaHoldRow *row;
		Datum values[MaxHeapAttributeNumber];
		bool nulls[MaxHeapAttributeNumber];

		if (*count == allocated)
			rows = repalloc(rows, (allocated *= 2) * sizeof(QuotaHoldRow));
		row = &rows[(*count)++];
		heap_deform_tuple(tuple, RelationGetDescr(rel), values, nulls);
		row->key.account = copy_text(values[HOLDS_ACCOUNT - 1]);
		row->key.feature = TextDatumGetCString(values[HOLDS_FEATURE - 1]);
		row->key.period = quota_store_period(DatumGetObjectId(values[HOLDS_PERIOD - 1]));
		row->key.period_start = DatumGetTimestampTz(values[HOLDS_PERIOD_START - 1]);
		row->expires_at = DatumGetTimestampTz(values[HOLDS_EXPIRES_AT - 1]);
		row->reservation = DatumGetInt64(values[HOLDS_RESERVATION - 1]);
		row->amount = DatumGetInt64(values[HOLDS_AMOUNT - 1]);
		row->tid = tuple->t_self;
	}
	systable_endscan(scan);
	table_close(rel, NoLock);
	return rows;
}

/* Insert a row; columns that somebody has added stay NULL. */
static void
insert_row(QuotaStore *store, Table table, int columns, const Datum *values, const bool *nulls)
{
	quota_appender_insert(quota_store_appender(store, table), NULL, columns, values, nulls);
	store->written = true;
}

static Relation
open_to_delete(Table table)
{
	Relation rel = quota_store_table(table, RowExclusiveLock);

	quota_store_check_triggers(rel);
	return rel;
}

/* Delete a row; false: somebody else has changed or deleted it. */
static bool
delete_row(QuotaStore *store, Relation rel, const ItemPointerData *tid)
{
	ItemPointerData at = *tid;
	TM_FailureData failure;
	TM_Result result = heap_delete(rel, &at, GetCurrentCommandId(true), InvalidSnapshot, true, &failure, false);

	if (result == TM_Updated || result == TM_Deleted)
		return quota_store_changed();
	if (result != TM_Ok)
		elog(ERROR, "unexpected result of deleting a row of table quota.%s", RelationGetRelationName(rel));
	store->written = true;
	return true;
}

static Datum
copy_text(Datum value)
{
	return PointerGetDatum(PG_DETOAST_DATUM_COPY(value));
}
