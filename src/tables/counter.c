/*
 * counter.c
 *		Counters: the use of a feature in a window.
 *
 * A counter is one row of quota.usage, and a charge is an update of it that holds the
 * row's lock until commit, so its charges run one after the other. A charge that has
 * lost the row to others CONTENDED times splits the counter into slots
 * (usage_slots.c).
 *
 * Lock						Protects				Order			While held
 * row, or row of a slot	its use, until commit	see consume.c	-
 *
 * Memory: the caller's context.
 */
#include "postgres.h"

#include "tables/counter.h"

#include "access/heapam.h"
#include "access/xact.h"
#include "utils/fmgroids.h"

#include "memory/segment.h"
#include "tables/scan.h"
#include "tables/usage_slots.h"

/* lost races before a charge splits the counter into slots */
#define CONTENDED 4

static bool add_to_row(QuotaStore *store, QuotaCounter *counter, const QuotaCounterChange *change);
static bool insert_counter(QuotaStore *store, QuotaCounter *counter, const QuotaCounterChange *change);

/* Read a counter: the use in the window that its key names, 0 if it has no row. */
void
quota_counter_read(QuotaStore *store, QuotaCounter *counter)
{
	QuotaKey key;
	QuotaKey slot;

	*counter = (QuotaCounter){.key = counter->key, .conflicts = counter->conflicts, .slots = 1};
	quota_store_open_usage(store);
	quota_usage_row_key(store, &counter->key, &key);
	for (int i = 0; i < counter->slots; i++)
	{
		quota_usage_row_slot_key(&key, i, &slot);
		if (i == 0)
			counter->hash = slot.hash;
		if (quota_lookup_find(&store->usage, &slot, store->usage_snapshot))
		{
			HeapTuple version = &store->usage.tuple;

			counter->used = quota_decide_sum(counter->used, QUOTA_USAGE_ROW(version)->used);
			counter->holds += QUOTA_USAGE_ROW(version)->holds;
			counter->alerted = Max(counter->alerted, QUOTA_USAGE_ROW(version)->alerted);
			if (i == 0)
			{
				counter->slots = abs(QUOTA_USAGE_ROW(version)->slots);
				if (store->write)
					counter->version = heap_copytuple(version);
			}
			quota_lookup_release(&store->usage);
		}
		if (counter->slots > 1 && store->write && !IsolationUsesXactSnapshot())
		{
			/* scan them as a charge does, which can then use this scan */
			counter->scan = palloc(sizeof(QuotaSlotScan));
			quota_usage_slots_scan(store, &key, counter->scan);
			counter->used = counter->scan->used;
			counter->holds = counter->scan->holds;
			counter->alerted = counter->scan->alerted;
			return;
		}
	}
}

/*
 * True if a feature has a counter now. Charges lock the table before they read the
 * catalogue, so dropping the feature after this leaves no counter behind.
 *
 * Locks: quota.usage in SHARE ROW EXCLUSIVE mode, until the end of the transaction.
 */
bool
quota_counter_exists_for(const char *feature)
{
	Relation rel = quota_relations_open(USAGE, ShareRowExclusiveLock);
	QuotaScan scan;
	ScanKeyData key;

	ScanKeyInit(&key, USAGE_FEATURE, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(feature));
	quota_scan_begin(&scan, rel, InvalidOid, NULL, 1, &key);
	if (!quota_scan_next(&scan))
		return false;
	quota_scan_end(&scan);
	return true;
}

/*
 * Add a change to a counter that was read; insert its row if it has none. An empty
 * change writes nothing.
 *
 * change: within least and most, as far as the counter was read.
 * Returns false, with nothing written, after a concurrent change: refresh, read and
 * judge again. Refresh also before the counter is read or written again.
 * Errors: serialization_failure instead of that at the higher isolation levels;
 * numeric_value_out_of_range where the use is no bigint.
 * Locks: the row, or one of the slots, until commit; waits for other lockers.
 */
bool
quota_counter_add(QuotaStore *store, QuotaCounter *counter, const QuotaCounterChange *change)
{
	Assert(store->write);
	if (change->used == 0 && change->holds == 0 && change->alerted == counter->alerted)
		return true;
	if (counter->version == NULL)
		return insert_counter(store, counter, change);
	if (counter->slots == 1)
		return add_to_row(store, counter, change);
	return quota_usage_slots_add(store, counter, change);
}

/* Take back a change that was added. The store has been refreshed since. */
void
quota_counter_take_back(QuotaStore *store, QuotaCounter *counter, const QuotaCounterChange *change)
{
	QuotaCounterChange back = {
		.used = -change->used, .least = PG_INT64_MIN, .most = PG_INT64_MAX, .holds = -change->holds, .alerted = counter->alerted};

	counter->alerted = change->alerted;
	if (!quota_counter_add(store, counter, &back) && !quota_usage_slots_take_back(store, counter, &back))
		elog(ERROR, "counter changed under its lock");
}

/*
 * Lock a counter that was read; insert its row if it has none, merge its slots if it has any.
 *
 * Result, errors and locks as for quota_counter_add; where it returns false, some of
 * the slots may be locked already.
 */
bool
quota_counter_lock(QuotaStore *store, QuotaCounter *counter)
{
	Assert(store->write);
	if (counter->version == NULL)
		return insert_counter(store, counter, &(QuotaCounterChange){0});
	if (counter->slots == 1)
		return quota_usage_row_lock_newest(store, counter->version->t_self);
	return quota_usage_slots_merge(store, counter);
}

/*
 * True if this transaction has a slot of a counter that was read, and is not merging
 * the slots. Locking the counter as a whole could then deadlock with others that
 * have a slot.
 */
bool
quota_counter_has_slot(const QuotaCounter *counter)
{
	const QuotaSlotScan *scan = counter->scan;

	return scan != NULL && scan->slots > 1 && scan->own >= 0 &&
		   !(scan->slot[0].own && scan->slot[0].slots < 0);
}

/* Add a change to a counter that is one row; split it if it is contended. */
static bool
add_to_row(QuotaStore *store, QuotaCounter *counter, const QuotaCounterChange *change)
{
	HeapTuple version = counter->version;
	QuotaUsageRow row = *QUOTA_USAGE_ROW(version);
	bool split = change->used > 0 && counter->conflicts >= CONTENDED && !quota_usage_slots_near_limit(counter->used, change->used, change->most) &&
				 quota_segment_counter_lock(counter->hash) != NULL;
	TM_Result result;

	row.used = quota_decide_sum(counter->used, change->used);
	row.holds += change->holds;
	row.alerted = change->alerted;
	if (split)
		row.slots = QUOTA_FIRST_SLOTS;
	Assert(row.used >= 0);
	result = quota_usage_row_write(store, counter->hash, version, &row, false, true);
	counter->conflicts += result == TM_Updated;
	if (result == TM_Updated || result == TM_Deleted)
		return quota_store_retry_or_raise();
	if (result != TM_Ok)
		elog(ERROR, "unexpected result of updating a counter");
	counter->used = row.used;
	if (split)
	{
		counter->slots = QUOTA_FIRST_SLOTS;
		quota_usage_slots_insert(store, counter, 1, QUOTA_FIRST_SLOTS);
	}
	return true;
}

/* Insert a counter's row, unless another transaction has. */
static bool
insert_counter(QuotaStore *store, QuotaCounter *counter, const QuotaCounterChange *change)
{
	HeapTuple version = quota_usage_row_form(store, &counter->key, 0, change);

	if (!quota_appender_insert_unless_there(quota_store_appender(store, USAGE), version))
	{
		counter->conflicts++;
		return quota_store_retry_or_raise();
	}
	quota_usage_row_record_insert(counter->hash, version, false);
	store->written = true;
	counter->used = change->used;
	counter->version = version;
	return true;
}
