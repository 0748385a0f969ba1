/*
 * usage_slots.c
 *		Counters that many transactions charge at once.
 *
 * A contended counter is stored as several rows of quota.usage, its slots. Each
 * transaction charges one slot, the same one again if it charges again, so charges
 * do not wait for each other. The use of the counter is the sum of its slots.
 *
 * Uncommitted charges (escrow method: P. E. O'Neil, The Escrow Transactional Method,
 * ACM TODS 11(4), 1986). O'Neil keeps a log of what is in escrow; here it is read
 * from the rows: the newest committed version of each slot, and the uncommitted ones
 * after it. A scan of the slots gives
 *		used	use by committed transactions and this one
 *		most	use if every open charge commits
 *		least	use if every open charge rolls back
 * A charge of n is made if most + n <= limit, denied if used + n > limit. Otherwise
 * it waits for one transaction that decides it, and scans again.
 *
 * Life. A counter is split into QUOTA_FIRST_SLOTS slots after CONTENDED lost races
 * (counter.c); the number doubles, up to QUOTA_MAX_SLOTS, when all are taken. Slots
 * are merged into slot 0 near the limit, where many charges would wait for the
 * outcome of others, and after QUIET_CHARGES charges that met nobody. Column `slots`
 * of slot 0 has their number, negative while a transaction merges them; only the
 * owner of slot 0 changes it.
 *
 * Lock				Protects					Order			While held
 * row of a slot	its use, until commit		by counter key	-
 * counter LWLock	scan and write of slots		after rows		no wait for a row or a transaction
 *
 * Without shared memory there is no LWLock: a counter gets no slots, and one that has
 * some is merged under the locks of all its rows before it is charged.
 *
 * Memory: the caller's context.
 */
#include "postgres.h"

#include "tables/usage_slots.h"

#include "access/heapam.h"
#include "access/multixact.h"
#include "access/subtrans.h"
#include "access/transam.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "storage/procarray.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "memory/segment.h"
#include "tables/newest.h"

/* a backend merges slots after so many charges that met no open change */
#define QUIET_CHARGES 64
/* a counter has no slots in the last 1/NEAR_SHARE of its limit, or with room for fewer than NEAR_CHARGES equal charges */
#define NEAR_SHARE 16
#define NEAR_CHARGES 64
/* the greatest charge that is added to the lock's `raised` */
#define MAX_RAISED (INT64CONST(1) << 32)

static bool scan_is_current(QuotaSlotScan *scan, QuotaCounterLock *lock, const QuotaCounter *counter, const QuotaCounterChange *change);
static bool charge_slot(QuotaStore *store, QuotaCounterLock *lock, QuotaCounter *counter, QuotaSlotScan *scan,
						const QuotaCounterChange *change);
static bool must_wait(QuotaSlotScan *scan, const QuotaCounterChange *change);
static bool wait_for(QuotaStore *store, const QuotaCounter *counter, const QuotaSlotScan *scan);
static bool merge_by_row_locks(QuotaStore *store, QuotaCounter *counter, const QuotaKey *key);
static bool scan_once(QuotaStore *store, const QuotaKey *key, QuotaSlotScan *scan);
static void add_slot(QuotaSlotScan *scan, int number);
static void read_slot(QuotaStore *store, const QuotaKey *counter, int number, QuotaSlot *slot);
static void read_later_versions(QuotaStore *store, const QuotaKey *key, QuotaSlot *slot, ItemPointerData next);
static QuotaVersion *newest_published(QuotaStore *store, const QuotaKey *key, TransactionId updater);
static TransactionId open_updater(QuotaStore *store, HeapTupleHeader version);
static void read_row_locks(HeapTupleHeader version, QuotaSlot *slot);
static int find_free_slot(const QuotaSlotScan *scan);
static TM_Result write_slot(QuotaStore *store, const QuotaSlot *slot, int number, const QuotaCounterChange *change, int slots);
static bool merge(QuotaStore *store, QuotaCounter *counter, QuotaSlotScan *scan, const QuotaCounterChange *change);
static HeapTuple lock_slot(QuotaStore *store, const QuotaSlot *slot, LockTupleMode mode);

/*
 * Add a change to one of a counter's slots.
 *
 * Returns true if it was made. Otherwise nothing was written: read the counter again.
 * Errors: serialization_failure at the higher isolation levels.
 * Locks: the slot's row, until commit; the counter's LWLock. Waits for transactions
 * only after that is released.
 */
bool
quota_usage_slots_add(QuotaStore *store, QuotaCounter *counter, const QuotaCounterChange *change)
{
	QuotaCounterLock *lock;
	QuotaSlotScan *scan = counter->scan != NULL ? counter->scan : palloc(sizeof(QuotaSlotScan));
	QuotaKey key;
	bool charged;

	/* assign the transaction id now: it may allocate and fail, which is not allowed under the LWLock */
	GetCurrentTransactionId();
	quota_usage_row_key(store, &counter->key, &key);
	lock = quota_segment_counter_lock(key.hash);
	if (lock == NULL)
		return merge_by_row_locks(store, counter, &key);

	LWLockAcquire(&lock->lock, LW_EXCLUSIVE);
	charged = counter->scan != NULL && scan_is_current(scan, lock, counter, change) &&
			  charge_slot(store, lock, counter, scan, change);
	if (!charged)
	{
		/* whoever committed while we waited for the lock has left a free slot */
		quota_store_renew_snapshots(store);
		quota_usage_slots_scan(store, &key, scan);
		charged = charge_slot(store, lock, counter, scan, change);
	}
	LWLockRelease(&lock->lock);

	if (!charged)
		return wait_for(store, counter, scan);
	if (counter->slots > scan->slots)
		quota_usage_slots_insert(store, counter, scan->slots, counter->slots);
	return true;
}

/*
 * True if a charge can use a scan made before the lock was acquired: since then there
 * were only charges, and there is room for all of them. A second scan would cost more
 * than the rest of the charge.
 */
static bool
scan_is_current(QuotaSlotScan *scan, QuotaCounterLock *lock, const QuotaCounter *counter, const QuotaCounterChange *change)
{
	uint64 raised = pg_atomic_read_u64(&lock->raised) - scan->raised;

	if (pg_atomic_read_u64(&lock->changes) != scan->changes)
		return false;
	if (raised == 0)
		return true;
	if (change->used <= 0 || change->alerted > counter->alerted || raised > (uint64) (PG_INT64_MAX - scan->most))
		return false;
	scan->stale = true;
	scan->most += raised;
	return !quota_usage_slots_near_limit(scan->most, change->used, change->most);
}

/*
 * Charge a slot as the scan allows, or merge the slots and charge slot 0. The
 * counter's lock is held.
 *
 * Returns false, with nothing written, if that has to wait; the scan says for what.
 */
static bool
charge_slot(QuotaStore *store, QuotaCounterLock *lock, QuotaCounter *counter, QuotaSlotScan *scan,
			const QuotaCounterChange *change)
{
	static int quiet = 0;
	QuotaCounterChange own_change = *change;
	bool alone = !scan->stale && !TransactionIdIsValid(scan->busy) && !TransactionIdIsValid(scan->locked);
	int16 alerted = counter->alerted;
	int slots = scan->slots;
	int number = 0;

	/* do not report a threshold again that another transaction has reported since */
	if (change->alerted > alerted)
		alerted = Min(change->alerted, Max(alerted, scan->alerted));
	if (slots <= 1 || must_wait(scan, change))
		return false;
	if (alone && (quota_usage_slots_near_limit(scan->most, change->used, change->most) || ++quiet % QUIET_CHARGES == 0))
	{
		/* keep the highest threshold reported on any slot */
		if (change->alerted >= alerted || scan->alerted > alerted)
			own_change.alerted = Max(change->alerted, scan->alerted);
		if (!merge(store, counter, scan, &own_change))
			return false;
		slots = 1;
	}
	else
	{
		number = scan->own >= 0 ? scan->own : find_free_slot(scan);
		if (number < 0)
		{
			scan->wait_for = TransactionIdIsValid(scan->busy) ? scan->busy : scan->locked;
			return false;
		}
		/* keep the slot's own value: what other slots report may roll back with them */
		if (change->alerted == alerted)
			own_change.alerted = scan->slot[number].alerted;
		/* slot 0 is taken last: there are too few slots */
		if (number == 0 && scan->own < 0)
			slots = Min(2 * slots, QUOTA_MAX_SLOTS);
		if (write_slot(store, &scan->slot[number], number, &own_change, slots) != TM_Ok)
			return false;
	}
	counter->used = scan->used + change->used;
	counter->alerted = alerted;
	counter->slots = slots;
	counter->slot = number;
	if (slots == scan->slots && change->used > 0 && change->used <= MAX_RAISED && change->alerted == alerted)
		quota_counter_locks_add(&lock->raised, change->used);
	else
		quota_counter_locks_add(&lock->changes, 1);
	return true;
}

/*
 * Pick the transaction to wait for, if any. Wait only for one whose outcome decides
 * this charge, of several the one that changes the most; waiting for any other could
 * deadlock.
 */
static bool
must_wait(QuotaSlotScan *scan, const QuotaCounterChange *change)
{
	/* invalid if committed use alone decides it: the caller then judges the charge again */
	if (quota_decide_sum(scan->most, change->used) > change->most)
		scan->wait_for = scan->raising;
	else if (quota_decide_sum(scan->least, change->used) < change->least)
		scan->wait_for = scan->lowering;
	else if (scan->own < 0 && TransactionIdIsValid(scan->merging))
		scan->wait_for = scan->merging;
	else if (scan->own < 0 && TransactionIdIsValid(scan->busy) && quota_usage_slots_near_limit(scan->most, change->used, change->most))
		scan->wait_for = scan->busy;
	else
		return false;
	return true;
}

/*
 * True if a charge is so near the limit that the counter should have no slots.
 *
 * used, delta: units; most: the limit.
 */
bool
quota_usage_slots_near_limit(int64 used, int64 delta, int64 most)
{
	/* most - used cannot overflow: the use is within the limit */
	return delta > 0 && (most - used < most / NEAR_SHARE || (most - used) / NEAR_CHARGES < delta);
}

/*
 * Merge the slots of a counter into slot 0, and lock it.
 *
 * Slot 0 is marked first, so that no new transaction takes a slot; then waits for
 * the transactions that have one. Returns true if the counter is merged and its use
 * is as it was read; false: read it again.
 * Errors: serialization_failure at the higher isolation levels.
 */
bool
quota_usage_slots_merge(QuotaStore *store, QuotaCounter *counter)
{
	QuotaCounterLock *lock;
	QuotaSlotScan scan;
	QuotaKey key;
	bool merged = false;

	GetCurrentTransactionId();
	quota_usage_row_key(store, &counter->key, &key);
	lock = quota_segment_counter_lock(key.hash);
	if (lock == NULL)
		return merge_by_row_locks(store, counter, &key);

	LWLockAcquire(&lock->lock, LW_EXCLUSIVE);
	quota_store_renew_snapshots(store);
	quota_usage_slots_scan(store, &key, &scan);
	if (scan.slots > 1 && TransactionIdIsValid(scan.busy))
	{
		scan.wait_for = TransactionIdIsValid(scan.slot[0].busy) ? scan.slot[0].busy : scan.busy;
		if (!TransactionIdIsValid(scan.slot[0].busy) && scan.slot[0].slots > 0)
			write_slot(store, &scan.slot[0], 0, &(QuotaCounterChange){.alerted = scan.slot[0].alerted}, -scan.slots);
	}
	else if (TransactionIdIsValid(scan.locked))
		scan.wait_for = scan.locked;
	else if (scan.slots > 1)
		merged = merge(store, counter, &scan, &(QuotaCounterChange){.alerted = scan.alerted});
	quota_counter_locks_add(&lock->changes, 1);
	LWLockRelease(&lock->lock);

	if (!merged)
		return wait_for(store, counter, &scan);
	counter->slots = 1;
	return scan.used == counter->used;
}

/*
 * Wait as a scan says, and return false: the counter has to be read again. For a
 * transaction and not for a row lock, which would then be held: two that merge, each
 * with the lock of a slot, would deadlock.
 */
static bool
wait_for(QuotaStore *store, const QuotaCounter *counter, const QuotaSlotScan *scan)
{
	if (TransactionIdIsValid(scan->wait_for))
		XactLockTableWait(scan->wait_for, store->usage.rel, &counter->version->t_self, XLTW_Update);
	return scan->slots == 0 ? quota_store_retry_or_raise() : false;
}

/*
 * Merge the slots of a counter without its LWLock, where there is no shared memory:
 * lock all its rows, waiting for each. Slot 0 is locked first, so that the number of
 * slots cannot change.
 *
 * Returns false: the counter has to be read and judged again. Two transactions that
 * each have a slot of the counter can deadlock here.
 */
static bool
merge_by_row_locks(QuotaStore *store, QuotaCounter *counter, const QuotaKey *key)
{
	QuotaSlotScan *scan = palloc(sizeof(QuotaSlotScan));

	quota_usage_slots_scan(store, key, scan);
	for (int i = 0; i < scan->slots; i++)
		if (scan->slot[i].exists && !scan->slot[i].own)
		{
			quota_usage_row_lock_newest(store, scan->slot[i].tid);
			quota_store_renew_snapshots(store);
			quota_usage_slots_scan(store, key, scan);
		}
	if (scan->slots == 0)
		return quota_store_retry_or_raise();
	if (scan->slots > 1 && !TransactionIdIsValid(scan->busy) && !TransactionIdIsValid(scan->locked))
		merge(store, counter, scan, &(QuotaCounterChange){.alerted = scan->alerted});
	return false;
}

/*
 * Merge all slots into slot 0 and add a change. No other transaction has a slot.
 *
 * Returns false, with nothing written, if another transaction has locked a slot since the scan.
 * Locks: all slots, before one is written; slot 0 first, so that of two only one goes on.
 */
static bool
merge(QuotaStore *store, QuotaCounter *counter, QuotaSlotScan *scan, const QuotaCounterChange *change)
{
	HeapTuple version = NULL;
	TM_FailureData failure;
	TM_Result result;
	QuotaUsageRow row;

	for (int i = 0; i < scan->slots; i++)
	{
		HeapTuple locked = scan->slot[i].exists ? lock_slot(store, &scan->slot[i], LockTupleExclusive) : NULL;

		if (locked == NULL && scan->slot[i].exists)
			return false;
		if (i == 0)
			version = locked;
	}
	Assert(version != NULL);
	row = *QUOTA_USAGE_ROW(version);
	row.used = scan->used + change->used;
	row.holds = scan->holds + change->holds;
	row.alerted = change->alerted;
	row.slots = 1;
	result = quota_usage_row_write(store, scan->slot[0].hash, version, &row, true, true);
	for (int i = 1; result == TM_Ok && i < scan->slots; i++)
		if (scan->slot[i].exists)
			result = heap_delete(store->usage.rel, &scan->slot[i].tid,
								 GetCurrentCommandId(true), InvalidSnapshot, true, &failure, false);
	if (result != TM_Ok)
		elog(ERROR, "slot changed under its lock");
	store->written = true;
	counter->version = version;
	return true;
}

/*
 * Take back a change from the slot that has it, after slot 0 was deleted by SQL: the
 * slot is left over, and would count again when the counter is split. Returns false
 * if the slot is not this transaction's own.
 */
bool
quota_usage_slots_take_back(QuotaStore *store, const QuotaCounter *counter, const QuotaCounterChange *change)
{
	QuotaKey key;
	QuotaSlot slot;

	quota_usage_row_key(store, &counter->key, &key);
	read_slot(store, &key, counter->slot, &slot);
	quota_lookup_release(&store->usage);
	return slot.own && write_slot(store, &slot, counter->slot, change, 1) == TM_Ok;
}

/* Insert empty slots from..to - 1. Others do not see them before commit. */
void
quota_usage_slots_insert(QuotaStore *store, const QuotaCounter *counter, int from, int to)
{
	QuotaKey key;

	quota_usage_row_key(store, &counter->key, &key);
	for (int i = from; i < to; i++)
	{
		HeapTuple version = quota_usage_row_form(store, &counter->key, i, &(QuotaCounterChange){0});
		QuotaSlot slot;

		read_slot(store, &key, i, &slot);
		quota_lookup_release(&store->usage);
		if (slot.exists)
			/* left over from slots that were deleted by SQL: its use counts again */
			continue;
		quota_appender_insert_tuple(quota_store_appender(store, USAGE), version);
		quota_usage_row_record_insert(slot.hash, version, true);
	}
	store->written = true;
}

/*
 * Scan all slots of a counter. The result is valid while the counter's lock is held,
 * or while the lock's numbers do not change.
 *
 * Errors: serialization_failure at the higher isolation levels, where a slot was
 * changed after the transaction's snapshot.
 */
void
quota_usage_slots_scan(QuotaStore *store, const QuotaKey *key, QuotaSlotScan *scan)
{
	while (!scan_once(store, key, scan))
	{
		CHECK_FOR_INTERRUPTS();
		quota_store_renew_snapshots(store);
	}
	quota_lookup_release(&store->usage);
}

/*
 * Scan all slots with the current snapshot. Returns false if it is too old: the
 * transaction that has changed slot 0 has ended since, and may have added slots that
 * the snapshot does not see.
 */
static bool
scan_once(QuotaStore *store, const QuotaKey *key, QuotaSlotScan *scan)
{
	/* where this backend read each slot last: busy slots are soon on pages of their own */
	static Buffer buffers[QUOTA_MAX_SLOTS];
	QuotaCounterLock *lock = quota_segment_counter_lock(key->hash);

	memset(scan, 0, offsetof(QuotaSlotScan, slot));
	if (lock != NULL)
	{
		scan->changes = pg_atomic_read_u64(&lock->changes);
		scan->raised = pg_atomic_read_u64(&lock->raised);
		pg_memory_barrier();
	}
	scan->own = -1;
	scan->slots = 1;
	for (int i = 0; i < scan->slots; i++)
	{
		QuotaSlot *slot = &scan->slot[i];

		store->usage.expected = &buffers[i];
		read_slot(store, key, i, slot);
		if (i == 0)
			scan->slots = slot->exists ? Min(abs(slot->slots), QUOTA_MAX_SLOTS) : 0;
		if (i == 0 && TransactionIdIsValid(slot->busy) && !TransactionIdIsInProgress(slot->busy))
			return false;
		if (slot->exists)
			add_slot(scan, i);
	}
	return true;
}

/* Add a slot to the sums of a scan. */
static void
add_slot(QuotaSlotScan *scan, int number)
{
	const QuotaSlot *slot = &scan->slot[number];

	scan->used = quota_decide_sum(scan->used, slot->used);
	scan->least = quota_decide_sum(scan->least, slot->least);
	scan->most = quota_decide_sum(scan->most, slot->most);
	scan->holds += slot->holds;
	scan->alerted = Max(scan->alerted, slot->alerted);
	if (slot->own && scan->own < 0)
		scan->own = number;
	if (TransactionIdIsValid(slot->locked))
		scan->locked = slot->locked;
	if (!TransactionIdIsValid(slot->busy))
		return;
	scan->busy = slot->busy;
	if ((uint64) slot->most - (uint64) slot->used > scan->raised_by)
	{
		scan->raised_by = (uint64) slot->most - (uint64) slot->used;
		scan->raising = slot->busy;
	}
	if ((uint64) slot->used - (uint64) slot->least > scan->lowered_by)
	{
		scan->lowered_by = (uint64) slot->used - (uint64) slot->least;
		scan->lowering = slot->busy;
	}
	if (number == 0 && slot->slots_changed <= 0)
		scan->merging = slot->busy;
}

/* Read one slot: the version that the snapshot sees, and the uncommitted ones after it. */
static void
read_slot(QuotaStore *store, const QuotaKey *counter, int number, QuotaSlot *slot)
{
	QuotaVersion *version = &store->usage.found;
	QuotaUsageRow row;
	QuotaKey key;

	quota_usage_row_slot_key(counter, number, &key);
	memset(slot, 0, sizeof(QuotaSlot));
	slot->hash = key.hash;
	if (!quota_lookup_find(&store->usage, &key, store->usage_snapshot))
		return;
	memcpy(&row, version->data, sizeof(row));
	slot->exists = true;
	slot->own = store->usage.own;
	read_row_locks(&version->header, slot);
	slot->tid = version->tid;
	slot->used = slot->least = slot->most = row.used;
	slot->holds = row.holds;
	slot->alerted = row.alerted;
	slot->slots = slot->slots_changed = row.slots;
	slot->busy = open_updater(store, &version->header);
	if (TransactionIdIsValid(slot->busy))
		read_later_versions(store, &key, slot, version->header.t_ctid);
	quota_lookup_release_row(&store->usage);
}

/*
 * Read the versions after one that was changed by an open transaction, and widen
 * least and most by them. If there are many, the published one gives the range.
 */
static void
read_later_versions(QuotaStore *store, const QuotaKey *key, QuotaSlot *slot, ItemPointerData next)
{
	ItemPointerData tid = slot->tid;
	TransactionId updater = slot->busy;

	for (int walked = 1; TransactionIdIsValid(updater); walked++)
	{
		QuotaVersion *later = walked == QUOTA_WALKED_VERSIONS ? newest_published(store, key, updater) : NULL;
		QuotaUsageRow row = {0};

		CHECK_FOR_INTERRUPTS();
		if (later == NULL && !ItemPointerEquals(&next, &tid))
		{
			later = quota_lookup_read_version(&store->usage, next, NULL);
			if (later != NULL && !TransactionIdEquals(HeapTupleHeaderGetXmin(&later->header), updater))
				later = NULL;
		}
		/* no later version: the open change deletes the slot */
		if (later != NULL)
			memcpy(&row, later->data, sizeof(row));
		/* if one subtransaction wrote and replaced it, both roll back together, and it is never the result */
		if (later == NULL || !QUOTA_IS_UPDATED(&later->header) ||
			!TransactionIdEquals(HeapTupleHeaderGetXmin(&later->header), HeapTupleHeaderGetUpdateXid(&later->header)))
		{
			slot->least = Min(slot->least, row.used);
			slot->most = Max(slot->most, row.used);
			slot->alerted = Max(slot->alerted, row.alerted);
		}
		slot->slots_changed = row.slots;
		if (later == NULL)
			break;
		tid = later->tid;
		next = later->header.t_ctid;
		updater = open_updater(store, &later->header);
	}
}

/*
 * Return the version that the updater's transaction has published (newest.c), if it
 * is still of that transaction and not rolled back to a savepoint; else NULL. The
 * result of the transaction lies between this version and the committed one.
 */
static QuotaVersion *
newest_published(QuotaStore *store, const QuotaKey *key, TransactionId updater)
{
	TransactionId transaction = SubTransGetTopmostTransaction(updater);
	QuotaVersion *newest;
	ItemPointerData tid;
	TransactionId writer;

	if (!quota_newest_find_published(key->hash, transaction, &tid))
		return NULL;
	newest = quota_lookup_read_version(&store->usage, tid, key);
	if (newest == NULL)
		return NULL;
	writer = HeapTupleHeaderGetXmin(&newest->header);
	if (!TransactionIdIsNormal(writer) || TransactionIdPrecedes(writer, TransactionXmin) ||
		!TransactionIdEquals(SubTransGetTopmostTransaction(writer), transaction))
		return NULL;
	return TransactionIdIsInProgress(writer) || TransactionIdDidCommit(writer) ? newest : NULL;
}

/*
 * Return the transaction that has changed a version and may still roll back; invalid: none.
 *
 * xmax that the snapshot sees as finished has rolled back, or the version would not
 * be visible. xmax that was in progress may have ended since, and a subtransaction may
 * have rolled back if the snapshot has too many to list them. So check in the order of
 * PostgreSQL's visibility rules: own, in progress, committed, else rolled back. At READ
 * COMMITTED a snapshot that is not suboverflowed is enough: the next one sees what has
 * rolled back since.
 *
 * Errors: serialization_failure at the higher isolation levels, if it has committed.
 */
static TransactionId
open_updater(QuotaStore *store, HeapTupleHeader version)
{
	TransactionId updater;

	if (!QUOTA_IS_UPDATED(version))
		return InvalidTransactionId;
	updater = HeapTupleHeaderGetUpdateXid(version);
	if (TransactionIdIsCurrentTransactionId(updater) || !XidInMVCCSnapshot(updater, store->usage_snapshot))
		return InvalidTransactionId;
	if (!store->usage_snapshot->suboverflowed && !IsolationUsesXactSnapshot())
		return updater;
	if (TransactionIdIsInProgress(updater))
		return updater;
	if (!TransactionIdDidCommit(updater))
		return InvalidTransactionId;
	if (IsolationUsesXactSnapshot())
		quota_store_retry_or_raise();
	return updater;
}

/* Set slot->locked if another transaction has locked a version without changing it. */
static void
read_row_locks(HeapTupleHeader version, QuotaSlot *slot)
{
	TransactionId xmax = HeapTupleHeaderGetRawXmax(version);
	bool locked_only = HEAP_XMAX_IS_LOCKED_ONLY(version->t_infomask);
	MultiXactMember single = {.xid = xmax, .status = locked_only ? MultiXactStatusForUpdate : MultiXactStatusUpdate};
	MultiXactMember *holders = &single;
	int count = 1;

	if (version->t_infomask & HEAP_XMAX_INVALID)
		return;
	if (version->t_infomask & HEAP_XMAX_IS_MULTI)
		count = GetMultiXactIdMembers(xmax, &holders, false, locked_only);
	for (int i = 0; i < count; i++)
		/* open_updater handles an update; after its rollback the other members' locks remain */
		if (!ISUPDATE_from_mxstatus(holders[i].status) &&
			!TransactionIdIsCurrentTransactionId(holders[i].xid) && TransactionIdIsInProgress(holders[i].xid))
			slot->locked = holders[i].xid;
	if (count > 0 && holders != &single)
		pfree(holders);
}

/* Return a free slot, -1: none. Backends start at different slots, and take slot 0 last. */
static int
find_free_slot(const QuotaSlotScan *scan)
{
	for (int i = 0; i < scan->slots; i++)
	{
		int number = i == scan->slots - 1 ? 0 : 1 + (MyProcPid + i) % (scan->slots - 1);
		const QuotaSlot *slot = &scan->slot[number];

		if (slot->exists && !TransactionIdIsValid(slot->busy) && !TransactionIdIsValid(slot->locked))
			return number;
	}
	return -1;
}

/*
 * Write a free or own slot, without waiting. Returns TM_BeingModified if another
 * transaction has locked it.
 *
 * heap_update refuses a version that is locked, even by a lock that does not conflict;
 * only then is the version locked first, which costs a WAL record. No lock that others
 * can have of an own version blocks heap_update.
 */
static TM_Result
write_slot(QuotaStore *store, const QuotaSlot *slot, int number, const QuotaCounterChange *change, int slots)
{
	HeapTuple version = quota_usage_row_fetch_version(store, slot->tid);
	TM_Result result = TM_BeingModified;
	QuotaUsageRow row;

	if (version == NULL)
		return TM_Invisible;
	row = *QUOTA_USAGE_ROW(version);
	row.used = slot->used + change->used;
	row.holds += change->holds;
	row.alerted = change->alerted;
	if (number == 0)
		row.slots = slots;
	if (slot->own || QUOTA_COMPAT_UPDATES_NOWAIT)
		result = quota_usage_row_write(store, slot->hash, version, &row, true, slot->own);
	if (result == TM_BeingModified && (version = lock_slot(store, slot, LockTupleNoKeyExclusive)) != NULL)
		result = quota_usage_row_write(store, slot->hash, version, &row, true, true);
	return result;
}

/*
 * Lock a free slot without waiting, so that writing it cannot block. Returns a copy
 * of its version; NULL: another transaction has locked it.
 */
static HeapTuple
lock_slot(QuotaStore *store, const QuotaSlot *slot, LockTupleMode mode)
{
	HeapTupleData tuple = {.t_self = slot->tid};
	TM_FailureData failure;
	Buffer buffer;
	/* the version cannot be pruned while the snapshot that saw it is registered */
	TM_Result result = heap_lock_tuple(store->usage.rel, &tuple, GetCurrentCommandId(true), mode, LockWaitSkip, false, &buffer, &failure);

	ReleaseBuffer(buffer);
	return result == TM_Ok ? quota_usage_row_fetch_version(store, slot->tid) : NULL;
}
