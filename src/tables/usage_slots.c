/*
 * usage_slots.c
 *		Counters that many transactions charge at once.
 *
 * A contended counter is stored as several rows of quota.usage, its slots. Each
 * transaction charges one slot, so charges do not wait for each other. The use of
 * the counter is the sum of its slots.
 *
 * Uncommitted charges (escrow method: P. E. O'Neil, The Escrow Transactional Method,
 * ACM TODS 11(4), 1986). O'Neil keeps a log of what is in escrow; here it is read
 * from the rows: the newest committed version of each slot, and the uncommitted one
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
 * A transaction that charges one counter many times finds its newest version by
 * newest.c, and so do scans of others: nobody walks its versions.
 *
 * Lock				Protects					Order			While held
 * row of a slot	its use, until commit		by counter key	-
 * counter LWLock	scan and write of slots		after rows		no wait for a row or a transaction
 *
 * A transaction charges one slot of a counter, the same again where it charges again.
 * Without shared memory there is no LWLock: a counter gets no slots, and one that has
 * some is merged under the locks of all its rows before it is charged.
 */
#include "postgres.h"

#include "tables/usage_slots.h"

#include "access/heapam.h"
#include "access/multixact.h"
#include "access/subtrans.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "storage/procarray.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "memory/shared.h"
#include "tables/newest.h"

/* charges of a backend that meet nobody at a counter with slots before it merges them */
#define QUIET_CHARGES 64
/* Near its limit a counter has no slots: within a share of the limit, or as many charges of the same size. */
#define NEAR_SHARE 16
#define NEAR_CHARGES 64
/* the greatest charge that is summed up for others who have scanned before it */
#define MAX_RAISED (INT64CONST(1) << 32)

/* What is in the way of a charge, if anything. */
typedef struct SlotConflict
{
	TransactionId transaction; /* that has to end first */
	int locked;                /* a slot that is locked without a change, -1: none */
} SlotConflict;

static bool scan_is_current(QuotaSlotScan *scan, QuotaSharedLock *lock, const QuotaCounter *counter, const QuotaCounterChange *change);
static bool charge_slot(QuotaStore *store, QuotaSharedLock *lock, QuotaCounter *counter, QuotaSlotScan *scan,
						const QuotaCounterChange *change, SlotConflict *conflict);
static bool must_wait(const QuotaSlotScan *scan, const QuotaCounterChange *change, TransactionId *transaction);
static bool merge_by_row_locks(QuotaStore *store, QuotaCounter *counter, const QuotaKey *key);
static bool scan_once(QuotaStore *store, const QuotaKey *key, QuotaSlotScan *scan);
static void add_slot(QuotaSlotScan *scan, int number);
static void read_slot(QuotaStore *store, const QuotaKey *key, QuotaSlot *slot);
static void read_later_versions(QuotaStore *store, const QuotaKey *key, QuotaSlot *slot, ItemPointerData next);
static bool is_superseded(HeapTupleHeader version);
static QuotaVersion *newest_published(QuotaStore *store, const QuotaKey *key, TransactionId updater);
static TransactionId open_updater(QuotaStore *store, HeapTupleHeader version);
static void read_row_locks(HeapTupleHeader version, QuotaSlot *slot);
static int find_free_slot(const QuotaSlotScan *scan);
static TM_Result write_slot(QuotaStore *store, const QuotaSlot *slot, int number, const QuotaCounterChange *change, int slots);
static bool merge(QuotaStore *store, QuotaCounter *counter, QuotaSlotScan *scan, const QuotaCounterChange *change);
static HeapTuple lock_slot(QuotaStore *store, const QuotaSlot *slot, LockTupleMode mode);

/* Add to one of a counter's slots. */
bool
quota_usage_slots_add(QuotaStore *store, QuotaCounter *counter, const QuotaCounterChange *change)
{
	QuotaSharedLock *lock;
	QuotaSlotScan *scan = counter->scan != NULL ? counter->scan : palloc(sizeof(QuotaSlotScan));
	SlotConflict conflict;
	QuotaKey key;
	bool charged;

	/* what is not to happen under the lock */
	GetCurrentTransactionId();
	quota_usage_row_key(store, &counter->key, &key);
	lock = quota_shared_lock(key.hash);
	if (lock == NULL)
		return merge_by_row_locks(store, counter, &key);

	LWLockAcquire(&lock->lock, LW_EXCLUSIVE);
	charged = counter->scan != NULL && scan_is_current(scan, lock, counter, change) &&
			  charge_slot(store, lock, counter, scan, change, &conflict);
	if (!charged)
	{
		/* who has committed while the lock was waited for has a slot to spare */
		quota_store_renew_snapshots(store);
		quota_usage_slots_scan(store, &key, scan);
		charged = charge_slot(store, lock, counter, scan, change, &conflict);
	}
	LWLockRelease(&lock->lock);

	if (!charged)
	{
		if (TransactionIdIsValid(conflict.transaction))
			XactLockTableWait(conflict.transaction, store->usage.rel, &counter->version->t_self, XLTW_Update);
		else if (conflict.locked >= 0)
			/* nothing but locks in the way, such as those of SELECT FOR UPDATE */
			quota_usage_row_lock_newest(store, &scan->slot[conflict.locked].tid);
		return scan->slots == 0 ? quota_store_retry_or_raise() : false;
	}
	if (counter->slots > scan->slots)
		quota_usage_slots_insert(store, counter, scan->slots, counter->slots);
	return true;
}

/*
 * Whether a charge can go by a scan from before the lock was had: nothing has
 * happened since but charges, and there is room for all of them. Two looks at all
 * slots would cost more than all else of a charge.
 */
static bool
scan_is_current(QuotaSlotScan *scan, QuotaSharedLock *lock, const QuotaCounter *counter, const QuotaCounterChange *change)
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
 * Charge one of the slots, or the counter as one row, by what a scan tells,
 * with the counter's lock held. Returns whether that was done; otherwise nothing
 * was, and obstacle is what is in the way.
 */
static bool
charge_slot(QuotaStore *store, QuotaSharedLock *lock, QuotaCounter *counter, QuotaSlotScan *scan,
			const QuotaCounterChange *change, SlotConflict *conflict)
{
	static int quiet = 0;
	QuotaCounterChange own_change = *change;
	bool alone = !scan->stale && !TransactionIdIsValid(scan->busy) && scan->locked < 0;
	int16 alerted = counter->alerted;
	int slots = scan->slots;
	int number = 0;

	*conflict = (SlotConflict){InvalidTransactionId, -1};
	/* what another has told of meanwhile, this one need not */
	if (change->alerted > alerted)
		alerted = Min(change->alerted, Max(alerted, scan->alerted));
	if (slots <= 1 || must_wait(scan, change, &conflict->transaction))
		return false;
	if (alone && (quota_usage_slots_near_limit(scan->most, change->used, change->most) || ++quiet % QUIET_CHARGES == 0))
	{
		/* the slots may know of more than this one was judged by */
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
			*conflict = (SlotConflict){scan->busy, scan->locked};
			return false;
		}
		/* what the others have told of is theirs to take back */
		if (change->alerted == alerted)
			own_change.alerted = scan->slot[number].alerted;
		/* slot 0 is the last that is taken: there are too few */
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
		quota_shared_raised(lock, change->used);
	else
		quota_shared_changed(lock);
	return true;
}

/*
 * Whether somebody else has to end before a slot can be charged: one that the
 * charge depends on, since another may be waiting for this one. Of several the
 * one that has charged the most, whose end most likely decides it.
 */
static bool
must_wait(const QuotaSlotScan *scan, const QuotaCounterChange *change, TransactionId *transaction)
{
	/* there is no such one where the charge is to be judged again */
	if (quota_decide_sum(scan->most, change->used) > change->most)
		*transaction = scan->raising;
	else if (quota_decide_sum(scan->least, change->used) < change->least)
		*transaction = scan->lowering;
	else if (scan->own < 0 && TransactionIdIsValid(scan->merging))
		*transaction = scan->merging;
	else if (scan->own < 0 && TransactionIdIsValid(scan->busy) && quota_usage_slots_near_limit(scan->most, change->used, change->most))
		*transaction = scan->busy;
	else
		return false;
	return true;
}

/* Whether a charge is near the most that a counter may come to. */
bool
quota_usage_slots_near_limit(int64 used, int64 delta, int64 most)
{
	/* most - used: no overflow, as whoever charges keeps to the limit */
	return delta > 0 && (most - used < most / NEAR_SHARE || (most - used) / NEAR_CHARGES < delta);
}

/*
 * Make one row of a counter that has slots, and lock it: first slot 0, so that
 * nobody takes another, then whatever is still taken.
 */
bool
quota_usage_slots_merge(QuotaStore *store, QuotaCounter *counter)
{
	QuotaSharedLock *lock;
	QuotaSlotScan scan;
	QuotaKey key;
	bool merged = false;
	TransactionId wait_for = InvalidTransactionId;

	GetCurrentTransactionId();
	quota_usage_row_key(store, &counter->key, &key);
	lock = quota_shared_lock(key.hash);
	if (lock == NULL)
		return merge_by_row_locks(store, counter, &key);

	LWLockAcquire(&lock->lock, LW_EXCLUSIVE);
	quota_store_renew_snapshots(store);
	quota_usage_slots_scan(store, &key, &scan);
	if (scan.slots <= 1)
		;
	else if (!TransactionIdIsValid(scan.busy) && scan.locked < 0)
		merged = merge(store, counter, &scan, &(QuotaCounterChange){.alerted = scan.alerted});
	else if (!TransactionIdIsValid(scan.busy))
		;
	else if (TransactionIdIsValid(scan.slot[0].busy))
		wait_for = scan.slot[0].busy;
	else
	{
		wait_for = scan.busy;
		if (scan.slot[0].slots > 0)
			write_slot(store, &scan.slot[0], 0, &(QuotaCounterChange){.alerted = scan.slot[0].alerted}, -scan.slots);
	}
	quota_shared_changed(lock);
	LWLockRelease(&lock->lock);

	if (TransactionIdIsValid(wait_for))
		XactLockTableWait(wait_for, store->usage.rel, &counter->version->t_self, XLTW_Lock);
	else if (!merged && scan.locked >= 0)
		quota_usage_row_lock_newest(store, &scan.slot[scan.locked].tid);
	if (!merged)
		return scan.slots == 0 ? quota_store_retry_or_raise() : false;
	counter->slots = 1;
	return scan.used == counter->used;
}

/*
 * Make one row of a counter that has slots, where there is no lock of the
 * counter: under the locks of all its rows, each of which is waited for. QuotaSlot 0 is
 * locked first, so that no slots come or go meanwhile. Returns false, as the
 * counter is not what was read any more: to be read, and judged, again.
 *
 * Two transactions that have slots of the counter can wait for one another here.
 */
static bool
merge_by_row_locks(QuotaStore *store, QuotaCounter *counter, const QuotaKey *key)
{
	QuotaSlotScan *scan = palloc(sizeof(QuotaSlotScan));
	int slots = 1;

	for (int i = 0; i < slots; i++)
	{
		QuotaKey columns;
		QuotaSlot slot;

		quota_usage_row_slot_key(key, i, &columns);
		read_slot(store, &columns, &slot);
		quota_lookup_release(&store->usage);
		if (slot.exists && !slot.own)
		{
			quota_usage_row_lock_newest(store, &slot.tid);
			quota_store_renew_snapshots(store);
			read_slot(store, &columns, &slot);
			quota_lookup_release(&store->usage);
		}
		if (i == 0 && !slot.exists)
			return quota_store_retry_or_raise();
		if (i == 0)
			slots = Min(abs(slot.slots), QUOTA_MAX_SLOTS);
	}
	quota_usage_slots_scan(store, key, scan);
	if (scan->slots > 1 && !TransactionIdIsValid(scan->busy) && scan->locked < 0)
		merge(store, counter, scan, &(QuotaCounterChange){.alerted = scan->alerted});
	return false;
}

/*
 * Change a counter, and make slot 0 all of it, none of whose slots is another transaction's.
 * Returns false, with nothing changed, where somebody has locked a slot since it
 * was looked at.
 * Locks: all slots, before one is changed.
 */
static bool
merge(QuotaStore *store, QuotaCounter *counter, QuotaSlotScan *scan, const QuotaCounterChange *change)
{
	HeapTuple version = NULL;
	TM_FailureData failure;
	TM_Result result;
	QuotaUsageRow row;

	for (int i = scan->slots - 1; i >= 0; i--)
		if (scan->slot[i].exists && (version = lock_slot(store, &scan->slot[i], LockTupleExclusive)) == NULL)
			return false;
	row = *QUOTA_USAGE_ROW(version);
	row.used = scan->used + change->used;
	row.holds = scan->holds + change->holds;
	row.alerted = change->alerted;
	row.slots = 1;
	result = quota_usage_row_write(store, scan->slot[0].hash, version, &row, true);
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
 * Take what was added to a counter out of the slot that it is in, where somebody
 * has deleted slot 0 by hand meanwhile: the slot is left behind, and would count
 * again with further slots. False: it is not this transaction's any more.
 */
bool
quota_usage_slots_take_back(QuotaStore *store, const QuotaCounter *counter, const QuotaCounterChange *change)
{
	QuotaKey key;
	QuotaKey columns;
	QuotaSlot slot;

	quota_usage_row_key(store, &counter->key, &key);
	quota_usage_row_slot_key(&key, counter->slot, &columns);
	read_slot(store, &columns, &slot);
	quota_lookup_release(&store->usage);
	return slot.own && write_slot(store, &slot, counter->slot, change, 1) == TM_Ok;
}

/* Insert empty slots, numbered up to but not including `to`, as which nobody knows them before this transaction commits. */
void
quota_usage_slots_insert(QuotaStore *store, const QuotaCounter *counter, int from, int to)
{
	QuotaKey key;

	quota_usage_row_key(store, &counter->key, &key);
	for (int i = from; i < to; i++)
	{
		HeapTuple version = quota_usage_row_form(store, &counter->key, i, &(QuotaCounterChange){0});
		QuotaKey columns;
		QuotaSlot leftover;

		quota_usage_row_slot_key(&key, i, &columns);
		read_slot(store, &columns, &leftover);
		quota_lookup_release(&store->usage);
		if (leftover.exists)
			/* left behind when somebody deleted the others: what it holds counts again */
			continue;
		quota_appender_insert_tuple(quota_store_appender(store, USAGE), version);
		quota_usage_row_record_insert(columns.hash, version, true);
	}
	store->written = true;
}

/*
 * Look at all slots of a counter. What is found holds for as long as the
 * counter's lock is held, and so long as the lock's numbers do not change.
 *
 * Errors: serialization_failure where a slot has changed since the transaction's
 * snapshot, at the higher isolation levels.
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
 * Look at all slots as a snapshot has them. Returns false where that is too old:
 * the transaction that has changed slot 0 has ended since. If it has committed,
 * others can use slots that it has made, which the snapshot does not see.
 */
static bool
scan_once(QuotaStore *store, const QuotaKey *key, QuotaSlotScan *scan)
{
	/* where this backend found them last: each is on a page of its own, as soon as they are busy */
	static Buffer buffers[QUOTA_MAX_SLOTS];
	QuotaSharedLock *lock = quota_shared_lock(key->hash);

	memset(scan, 0, offsetof(QuotaSlotScan, slot));
	if (lock != NULL)
	{
		scan->changes = pg_atomic_read_u64(&lock->changes);
		scan->raised = pg_atomic_read_u64(&lock->raised);
		pg_memory_barrier();
	}
	scan->own = scan->locked = -1;
	scan->slots = 1;
	for (int i = 0; i < scan->slots; i++)
	{
		QuotaSlot *slot = &scan->slot[i];
		QuotaKey columns;

		quota_usage_row_slot_key(key, i, &columns);
		quota_lookup_expect_page(&store->usage, &buffers[i]);
		read_slot(store, &columns, slot);
		if (i == 0)
			scan->slots = slot->exists ? Min(abs(slot->slots), QUOTA_MAX_SLOTS) : 0;
		if (i == 0 && TransactionIdIsValid(slot->busy) && !TransactionIdIsInProgress(slot->busy))
			return false;
		if (slot->exists)
			add_slot(scan, i);
	}
	return true;
}

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
	if (slot->locked)
		scan->locked = number;
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

/*
 * Look at one slot: at the version that the snapshot sees, and at those after
 * it, of transactions that had not committed when it was taken.
 */
static void
read_slot(QuotaStore *store, const QuotaKey *key, QuotaSlot *slot)
{
	QuotaVersion *version = &store->usage.found;
	QuotaUsageRow row;

	memset(slot, 0, sizeof(QuotaSlot));
	if (!quota_lookup_find(&store->usage, key, store->usage_snapshot))
		return;
	memcpy(&row, version->data, sizeof(row));
	slot->exists = true;
	slot->own = store->usage.own;
	read_row_locks(&version->header, slot);
	slot->hash = key->hash;
	slot->tid = version->tid;
	slot->used = slot->least = slot->most = row.used;
	slot->holds = row.holds;
	slot->alerted = row.alerted;
	slot->slots = slot->slots_changed = row.slots;
	slot->busy = open_updater(store, &version->header);
	if (TransactionIdIsValid(slot->busy))
		read_later_versions(store, key, slot, version->header.t_ctid);
	quota_lookup_release_row(&store->usage);
}

/*
 * Look at the versions after one that its updater may yet take back, and what
 * they make of the slot at most and at least. Of a transaction that has written
 * many the newest says that.
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
			later = quota_lookup_read_version(&store->usage, next);
			if (later != NULL && !TransactionIdEquals(HeapTupleHeaderGetXmin(&later->header), updater))
				later = NULL;
		}
		/* where no version follows the slot is being deleted: nothing is used then */
		if (later != NULL)
			memcpy(&row, later->data, sizeof(row));
		if (later == NULL || !is_superseded(&later->header))
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
 * Whether a version was written over by the subtransaction that had made it:
 * however that ends, the version is never what is left.
 */
static bool
is_superseded(HeapTupleHeader version)
{
	return !(version->t_infomask & HEAP_XMAX_INVALID) && !HEAP_XMAX_IS_LOCKED_ONLY(version->t_infomask) &&
		   TransactionIdEquals(HeapTupleHeaderGetXmin(version), HeapTupleHeaderGetUpdateXid(version));
}

/*
 * The newest version of a slot that an updater's transaction has published
 * (src/tables/newest.h), if it is still one of that transaction, and not rolled back to
 * a savepoint; NULL: it is not known. Whatever the transaction takes back of
 * its versions up to this one, what is left lies between this and the committed one.
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
	newest = quota_lookup_read_version_of(&store->usage, tid, key);
	if (newest == NULL)
		return NULL;
	writer = HeapTupleHeaderGetXmin(&newest->header);
	if (!TransactionIdIsNormal(writer) || TransactionIdPrecedes(writer, TransactionXmin) ||
		!TransactionIdEquals(SubTransGetTopmostTransaction(writer), transaction))
		return NULL;
	return TransactionIdIsInProgress(writer) || TransactionIdDidCommit(writer) ? newest : NULL;
}

/*
 * Who has changed a version that a snapshot sees, or one after it, and had not
 * committed when the snapshot was taken; invalid: nobody.
 *
 * A transaction that is not in the snapshot, and whose change is not to be seen,
 * has been rolled back. One that is in it may have been, too: a subtransaction, if
 * the snapshot has too many of them to tell, or one that has ended since. So the
 * order is that of PostgreSQL's visibility rules: own, in progress, committed, else
 * rolled back. At READ COMMITTED a snapshot that tells all of them is enough: what
 * has been rolled back since then is seen to be by the next one.
 *
 * Errors: serialization_failure where somebody has committed that since, at the
 * higher isolation levels.
 */
static TransactionId
open_updater(QuotaStore *store, HeapTupleHeader version)
{
	TransactionId updater;

	if ((version->t_infomask & HEAP_XMAX_INVALID) || HEAP_XMAX_IS_LOCKED_ONLY(version->t_infomask))
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

/* Whether another transaction has locked a version without changing it. */
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
		if (ISUPDATE_from_mxstatus(holders[i].status))
			/* which updater_of tells of; one that has been rolled back leaves the others' locks */
			continue;
		else if (!TransactionIdIsCurrentTransactionId(holders[i].xid) && TransactionIdIsInProgress(holders[i].xid))
			slot->locked = true;
	if (count > 0 && holders != &single)
		pfree(holders);
}

/* A slot that nobody has, -1: none. Backends begin to look at different ones, and take slot 0 last. */
static int
find_free_slot(const QuotaSlotScan *scan)
{
	for (int i = 0; i < scan->slots; i++)
	{
		int number = i == scan->slots - 1 ? 0 : 1 + (MyProcPid + i) % (scan->slots - 1);
		const QuotaSlot *slot = &scan->slot[number];

		if (slot->exists && !TransactionIdIsValid(slot->busy) && !slot->locked)
			return number;
	}
	return -1;
}

/* Write a slot that nobody has. TM_BeingModified: somebody has locked it nevertheless. */
static TM_Result
write_slot(QuotaStore *store, const QuotaSlot *slot, int number, const QuotaCounterChange *change, int slots)
{
	/* of a version that is this transaction's own others can have no lock that keeps from writing */
	HeapTuple version = slot->own ? quota_usage_row_fetch_version(store, &slot->tid) : lock_slot(store, slot, LockTupleNoKeyExclusive);
	QuotaUsageRow row;

	if (version == NULL)
		return TM_BeingModified;
	row = *QUOTA_USAGE_ROW(version);
	row.used = slot->used + change->used;
	row.holds += change->holds;
	row.alerted = change->alerted;
	if (number == 0)
		row.slots = slots;
	return quota_usage_row_write(store, slot->hash, version, &row, true);
}

/*
 * Lock a slot that nobody has, so that to write it is to wait for nobody; NULL:
 * somebody has locked it nevertheless. Otherwise a copy of its version.
 */
static HeapTuple
lock_slot(QuotaStore *store, const QuotaSlot *slot, LockTupleMode mode)
{
	HeapTupleData tuple = {.t_self = slot->tid};
	HeapTuple copy = NULL;
	TM_FailureData failure;
	Buffer buffer;

	/* the version is there, as long as there is the snapshot that saw it */
	if (heap_lock_tuple(store->usage.rel, &tuple, GetCurrentCommandId(true), mode, LockWaitSkip, false, &buffer, &failure) == TM_Ok)
	{
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		copy = heap_copytuple(&tuple);
		LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	}
	ReleaseBuffer(buffer);
	return copy;
}
