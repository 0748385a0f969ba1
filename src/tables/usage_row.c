/*
 * usage_row.c
 *		Write versions of a row of quota.usage.
 *
 * A counter is one row, or several, its slots. A charge writes a new version of one
 * of them with heap_update.
 *
 * Lock				Protects				Order				While held
 * row of quota.usage	its use, until commit	see consume.c		-
 *
 * Memory: the caller's context.
 */
#include "postgres.h"

#include "tables/usage_row.h"

#include "access/heapam.h"
#include "access/xact.h"
#include "storage/bufmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "tables/newest.h"

/*
 * Make the key of a counter without its slot. Keys of slots are made from it, and
 * live as long as it does.
 */
void
quota_usage_row_key(QuotaStore *store, const QuotaCounterKey *counter, QuotaKey *key)
{
	quota_lookup_key(key, &store->usage);
	quota_lookup_key_text(key, counter->account);
	quota_lookup_key_string(key, counter->feature);
	quota_lookup_key_column(key, F_ENUM_EQ, ObjectIdGetDatum(quota_relations_oids()->periods[counter->period]), NULL, 0);
	quota_lookup_key_column(key, F_TIMESTAMPTZ_EQ, TimestampTzGetDatum(counter->period_start), NULL, 0);
}

/* Make the key of a slot. */
void
quota_usage_row_slot_key(const QuotaKey *counter, int slot, QuotaKey *key)
{
	memcpy(key, counter, offsetof(QuotaKey, string));
	quota_lookup_key_column(key, F_INT2EQ, Int16GetDatum(slot), NULL, 0);
}

/* Form the tuple of a new row. */
HeapTuple
quota_usage_row_form(QuotaStore *store, const QuotaCounterKey *key, int slot, const QuotaCounterChange *change)
{
	TupleDesc desc = RelationGetDescr(store->usage.rel);
	Datum values[MaxHeapAttributeNumber];
	bool nulls[MaxHeapAttributeNumber];

	memset(nulls, true, desc->natts * sizeof(bool));
	memset(nulls, false, USAGE_COLUMNS * sizeof(bool));
	values[USAGE_USED - 1] = Int64GetDatum(change->used);
	values[USAGE_PERIOD_START - 1] = TimestampTzGetDatum(key->period_start);
	values[USAGE_PERIOD - 1] = ObjectIdGetDatum(quota_relations_oids()->periods[key->period]);
	values[USAGE_SLOT - 1] = Int16GetDatum(slot);
	values[USAGE_SLOTS - 1] = Int16GetDatum(1);
	values[USAGE_HOLDS - 1] = Int32GetDatum(change->holds);
	values[USAGE_ALERTED - 1] = Int16GetDatum(change->alerted);
	values[USAGE_ACCOUNT - 1] = key->account;
	values[USAGE_FEATURE - 1] = CStringGetTextDatum(key->feature);
	return heap_form_tuple(desc, values, nulls);
}

/*
 * Write a new version of a row.
 *
 * version: a copy of the version before; becomes a copy of the new one.
 * is_slot: the counter has slots, or had when this transaction began.
 * wait: for transactions that have locked the row, or changed it; else the result is TM_BeingModified.
 * Returns the result of heap_update, TM_Ok where it was written.
 */
TM_Result
quota_usage_row_write(QuotaStore *store, uint64 hash, HeapTuple version, const QuotaUsageRow *row, bool is_slot, bool wait)
{
	const QuotaUsageRow *before = QUOTA_USAGE_ROW(version);
	QuotaNewVersion recorded = {
		.hash = hash,
		.old_tid = version->t_self,
		.is_slot = is_slot,
		.own_old = TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(version->t_data)),
		.used_change = (row->used > before->used) - (row->used < before->used),
		.alerted_change = row->alerted - before->alerted};
	ItemPointerData tid = version->t_self;
	TM_FailureData failure;
	LockTupleMode lock_mode;
	TU_UpdateIndexes indexes;
	TM_Result result;

	memcpy(QUOTA_USAGE_ROW(version), row, QUOTA_USAGE_ROW_SIZE);
	result = quota_compat_heap_update(store->usage.rel, &tid, version, GetCurrentCommandId(true), wait,
									  &failure, &lock_mode, &indexes);
	if (result != TM_Ok)
		return result;
	if (indexes != TU_None)
		quota_appender_index_version(quota_store_appender(store, USAGE), version, indexes == TU_Summarizing);
	recorded.new_tid = version->t_self;
	quota_newest_record(&recorded);
	store->written = true;
	return TM_Ok;
}

/* Record an inserted row as the newest version. */
void
quota_usage_row_record_insert(uint64 hash, HeapTuple version, bool is_slot)
{
	quota_newest_record(&(QuotaNewVersion){.hash = hash, .new_tid = version->t_self, .is_slot = is_slot});
}

/* Return a copy of the version at a place; NULL: there is none. */
HeapTuple
quota_usage_row_fetch_version(QuotaStore *store, ItemPointerData tid)
{
	HeapTupleData tuple = {.t_self = tid};
	Buffer buffer;
	HeapTuple copy;

	if (!heap_fetch(store->usage.rel, SnapshotAny, &tuple, &buffer, false))
		return NULL;
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	copy = heap_copytuple(&tuple);
	LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	ReleaseBuffer(buffer);
	return copy;
}

/*
 * Lock the newest version of a row, waiting for other lockers.
 *
 * Returns true if that is the version at tid, false if it is to be read again.
 */
bool
quota_usage_row_lock_newest(QuotaStore *store, ItemPointerData tid)
{
	Relation rel = store->usage.rel;
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	ItemPointerData newest = tid;
	TM_FailureData failure;
	TM_Result result = table_tuple_lock(rel, &newest, store->usage_snapshot, slot,
										GetCurrentCommandId(true), LockTupleExclusive, LockWaitBlock,
										IsolationUsesXactSnapshot() ? 0 : TUPLE_LOCK_FLAG_FIND_LAST_VERSION,
										&failure);

	newest = slot->tts_tid;
	ExecDropSingleTupleTableSlot(slot);
	return result == TM_Ok ? ItemPointerEquals(&newest, &tid) : quota_store_retry_or_raise();
}
