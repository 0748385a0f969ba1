/*
 * Counters: the rows of quota.usage.
 *
 * A counter is one row, and a charge an update of it, which holds the row's lock
 * until the end of the transaction. Where charges of several transactions meet,
 * that is one charge for each commit, however many clients there are. Such a
 * counter gets slots: further rows, whose sum is what is used, so that each
 * transaction charges a row of its own.
 *
 * What is used then depends on transactions that have not ended. This is the
 * escrow method (P. E. O'Neil, The Escrow Transactional Method, ACM TODS 11(4),
 * 1986): a charge is made if it keeps to the limit however those end, refused if
 * it cannot keep to it, and otherwise waits for one of them to end. O'Neil keeps
 * a log of what is in escrow; here it is read from the rows themselves. Of every
 * slot the newest committed version and the uncommitted one after it tell what
 * the slot comes to if its transaction commits, and if it does not.
 *
 * Slots come when a charge has lost its row to others several times; their
 * number doubles when all are taken. They go when charges have been alone for a
 * while, and near the limit. There many would have to wait for the outcome of
 * others, also such as have charged before and would wait for one another; and
 * what is used is worth knowing to the unit. Slot 0 is the row of a counter that
 * has no others; `slots` in it says how many there are, with a minus while a
 * transaction gathers them into one. It is changed only by whoever has slot 0.
 *
 * Each charge writes a new version with heap_update. A transaction that charges
 * one counter many times finds its newest version by src/tables/newest.h, and so do
 * those who scan the slots meanwhile: nobody walks its versions.
 *
 * Locks, beside those of rows: the counter's LWLock, for the write of a slot, and
 * for a look at all of them before it, unless one from before the lock still
 * serves. Nobody waits for a row or a transaction with it held. Where there is no
 * shared memory for it a counter gets no slots, and one that has some is merged
 * under the locks of all its rows before it is charged.
 * Rows are locked in the order in which callers charge counters; of one counter a
 * transaction charges one slot, the same again where it charges again.
 */
#include "postgres.h"

#include "tables/counter.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/multixact.h"
#include "access/subtrans.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "storage/procarray.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "memory/shared.h"
#include "tables/newest.h"
#include "tables/store_private.h"
#include "tables/usage_row.h"

/* times that a charge loses a counter to others before it gives it slots */
#define CONTENDED 4
#define FIRST_SLOTS 4
#define MAX_SLOTS 32
/* charges of a backend that meet nobody at a counter with slots before it gathers them */
#define QUIET_CHARGES 64
/* Near its limit a counter has no slots: within a share of the limit, or as many charges of the same size. */
#define NEAR_SHARE 16
#define NEAR_CHARGES 64
/* the greatest charge that is summed up for others who have looked before it */
#define MAX_RAISED (INT64CONST(1) << 32)

/* What is found of one slot. */
typedef struct Slot
{
	bool exists;
	bool own;           /* made by this transaction */
	TransactionId busy; /* another transaction that has changed it; invalid: none */
	bool locked;        /* by another transaction that has not changed it */
	int64 used;         /* without that change */
	int64 least;
	int64 most;    /* with or without it */
	int32 holds;   /* without it */
	int16 alerted; /* with it */
	int16 slots;
	int16 slots_changed; /* 0: the slot is deleted */
	uint64 hash;         /* of its key */
	ItemPointerData tid;
} Slot;

/* What is found of all slots of a counter. */
typedef struct Survey
{
	uint64 changes; /* the lock's, before looking */
	uint64 raised;
	bool old;   /* others have charged since, which `most` allows for */
	int slots;  /* 0: the counter is gone */
	int64 used; /* by this transaction and those that have committed */
	int64 least;
	int64 most; /* whatever becomes of the others */
	int32 holds;
	int16 alerted;
	TransactionId busy;     /* one of the others, invalid: there is none */
	TransactionId raising;  /* the one whose charges may add the most to what is used */
	TransactionId lowering; /* the one whose refunds may take the most from it */
	uint64 raises;          /* how much */
	uint64 lowers;
	TransactionId gathering; /* that which gathers the slots, or deletes them */
	int own;                 /* the slot that is this transaction's own, -1: none */
	int locked;              /* a slot that is locked without a change, -1: none */
	Slot slot[MAX_SLOTS];
} Survey;

/* What is in the way of a charge, if anything. */
typedef struct Obstacle
{
	TransactionId transaction; /* that has to end first */
	int locked;                /* a slot that is locked without a change, -1: none */
} Obstacle;

static void counter_key(QuotaStore *store, const QuotaCounterKey *key, QuotaKey *columns);
static void slot_key(const QuotaKey *counter, int slot, QuotaKey *key);
static bool add_to_row(QuotaStore *store, QuotaCounter *counter, const QuotaCounterChange *change);
static bool is_near(int64 used, int64 delta, int64 most);
static bool add_to_slot(QuotaStore *store, QuotaCounter *counter, const QuotaCounterChange *change);
static bool still_serves(Survey *survey, QuotaSharedLock *lock, const QuotaCounter *counter, const QuotaCounterChange *change);
static bool charge_slot(QuotaStore *store, QuotaSharedLock *lock, QuotaCounter *counter, Survey *survey,
						const QuotaCounterChange *change, Obstacle *obstacle);
static bool has_to_wait(const Survey *survey, const QuotaCounterChange *change, TransactionId *transaction);
static bool gather_slots(QuotaStore *store, QuotaCounter *counter);
static bool gather_by_row_locks(QuotaStore *store, QuotaCounter *counter, const QuotaKey *key);
static void survey_slots(QuotaStore *store, const QuotaKey *key, Survey *survey);
static bool look_at_slots(QuotaStore *store, const QuotaKey *key, Survey *survey);
static void add_slot(Survey *survey, int number);
static void look_at_slot(QuotaStore *store, const QuotaKey *key, Slot *slot);
static void look_at_later_versions(QuotaStore *store, const QuotaKey *key, Slot *slot, ItemPointerData next);
static bool is_superseded(HeapTupleHeader version);
static QuotaVersion *newest_of(QuotaStore *store, const QuotaKey *key, TransactionId updater);
static TransactionId updater_of(QuotaStore *store, HeapTupleHeader version);
static void look_at_locks(HeapTupleHeader version, Slot *slot);
static int free_slot(const Survey *survey);
static TM_Result write_slot(QuotaStore *store, const Slot *slot, int number, const QuotaCounterChange *change, int slots);
static bool gather(QuotaStore *store, QuotaCounter *counter, Survey *survey, const QuotaCounterChange *change);
static HeapTuple lock_slot(QuotaStore *store, const Slot *slot, LockTupleMode mode);
static HeapTuple version_at(QuotaStore *store, const ItemPointerData *tid);
static TM_Result write_version(QuotaStore *store, uint64 hash, HeapTuple version, const QuotaUsageRow *row, bool of_slot);
static void wrote_first_version(uint64 hash, HeapTuple version, bool of_slot);
static bool insert_counter(QuotaStore *store, QuotaCounter *counter, const QuotaCounterChange *change);
static void insert_slots(QuotaStore *store, const QuotaCounter *counter, int from, int to);
static HeapTuple form_row(QuotaStore *store, const QuotaCounterKey *key, int slot, const QuotaCounterChange *change);
static bool lock_newest(QuotaStore *store, ItemPointer tid);

/* Read a counter: what is used in the window that its key names, nothing where it has no row. */
void
quota_counter_read(QuotaStore *store, QuotaCounter *counter)
{
	QuotaKey key;
	QuotaKey slot;

	counter->used = 0;
	counter->holds = 0;
	counter->expired = 0;
	counter->alerted = 0;
	counter->slots = 1;
	counter->slot = 0;
	counter->version = NULL;
	counter->survey = NULL;
	quota_store_open_usage(store);
	counter_key(store, &counter->key, &key);
	for (int i = 0; i < counter->slots; i++)
	{
		slot_key(&key, i, &slot);
		if (i == 0)
			counter->hash = slot.hash;
		if (quota_lookup_row(&store->usage, &slot, store->as_of))
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
			quota_lookup_done(&store->usage);
		}
		if (counter->slots > 1 && store->write && !IsolationUsesXactSnapshot())
		{
			/* see them as a charge does, which then need not look again */
			counter->survey = palloc(sizeof(Survey));
			survey_slots(store, &key, counter->survey);
			counter->used = counter->survey->used;
			counter->holds = counter->survey->holds;
			counter->alerted = counter->survey->alerted;
			return;
		}
	}
}

/*
 * Whether anything of a feature has been counted, as it is now. Charges hold the
 * table's lock until they end, and look at the catalogue after they have it: so
 * who then drops the feature leaves no counter of it behind.
 *
 * Locks: quota.usage in SHARE ROW EXCLUSIVE mode, until the end of the transaction.
 */
bool
quota_counter_any_of(const char *feature)
{
	Relation rel = quota_store_table(USAGE, ShareRowExclusiveLock);
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	ScanKeyData key;
	TableScanDesc scan;
	bool found;

	ScanKeyInit(&key, USAGE_FEATURE, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(feature));
	scan = table_beginscan(rel, snapshot, 1, &key);
	found = heap_getnext(scan, ForwardScanDirection) != NULL;
	table_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, NoLock);
	return found;
}

/*
 * Add to a counter that was read, making its row where there is none. Adding
 * nothing writes nothing.
 *
 * The caller has seen to it that the use keeps within least and most as far as
 * the counter was read.
 * Returns false, with nothing written, where somebody else has changed the
 * counter since: refresh, read and judge it again. What was added is written
 * again, or read, only after a refresh.
 * Errors: serialization_failure for that at the higher isolation levels;
 * numeric_value_out_of_range where the use cannot be counted.
 * Locks: the row, or one of the counter's slots, until the end of the
 * transaction; waits for whoever holds what is needed.
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
	return add_to_slot(store, counter, change);
}

/*
 * Take back what was added to a counter. The store has been refreshed since.
 *
 * Where somebody has deleted slot 0 by hand meanwhile, what was added is taken
 * out of the slot that it is in, which is left behind: it would count again with
 * further slots.
 */
void
quota_counter_take_back(QuotaStore *store, QuotaCounter *counter, const QuotaCounterChange *change)
{
	QuotaCounterChange back = {
		.used = -change->used, .least = PG_INT64_MIN, .most = PG_INT64_MAX, .holds = -change->holds, .alerted = counter->alerted};
	QuotaKey key;
	QuotaKey columns;
	Slot slot;

	counter->alerted = change->alerted;
	if (quota_counter_add(store, counter, &back))
		return;
	counter_key(store, &counter->key, &key);
	slot_key(&key, counter->slot, &columns);
	look_at_slot(store, &columns, &slot);
	quota_lookup_done(&store->usage);
	if (!slot.own || write_slot(store, &slot, counter->slot, &back, 1) != TM_Ok)
		elog(ERROR, "counter changed under its lock");
}

/*
 * Lock a counter that was read, making its row where there is none. One that has
 * slots has them no more then.
 *
 * Result, errors and locks as of quota_counter_add; where it returns false some
 * of the counter may be locked already.
 */
bool
quota_counter_lock(QuotaStore *store, QuotaCounter *counter)
{
	Assert(store->write);
	if (counter->version == NULL)
		return insert_counter(store, counter, &(QuotaCounterChange){0});
	if (counter->slots == 1)
		return lock_newest(store, &counter->version->t_self);
	return gather_slots(store, counter);
}

/*
 * Whether this transaction has one of the slots of a counter that was read, and
 * is not gathering them. If it then locked the counter whole, it would wait for
 * others that may do the same.
 */
bool
quota_counter_has_slot(const QuotaCounter *counter)
{
	const Survey *survey = counter->survey;

	return survey != NULL && survey->slots > 1 && survey->own >= 0 &&
		   !(survey->slot[0].own && survey->slot[0].slots < 0);
}

/* The key of a counter; that of one of its slots has a column more, and is good for as long as this one. */
static void
counter_key(QuotaStore *store, const QuotaCounterKey *counter, QuotaKey *key)
{
	quota_lookup_key(key, &store->usage);
	quota_lookup_key_text(key, counter->account);
	quota_lookup_key_string(key, counter->feature);
	quota_lookup_key_value(key, F_ENUM_EQ, ObjectIdGetDatum(quota_store_oids()->periods[counter->period]));
	quota_lookup_key_value(key, F_TIMESTAMPTZ_EQ, TimestampTzGetDatum(counter->period_start));
}

static void
slot_key(const QuotaKey *counter, int slot, QuotaKey *key)
{
	memcpy(key, counter, offsetof(QuotaKey, string));
	quota_lookup_key_value(key, F_INT2EQ, Int16GetDatum(slot));
}

/* Add to a counter that is one row. */
static bool
add_to_row(QuotaStore *store, QuotaCounter *counter, const QuotaCounterChange *change)
{
	HeapTuple version = counter->version;
	QuotaUsageRow row = *QUOTA_USAGE_ROW(version);
	bool split = change->used > 0 && counter->conflicts >= CONTENDED && !is_near(counter->used, change->used, change->most) &&
				 quota_shared_lock(counter->hash) != NULL;

	row.used = quota_decide_sum(counter->used, change->used);
	row.holds += change->holds;
	row.alerted = change->alerted;
	if (split)
		row.slots = FIRST_SLOTS;
	Assert(row.used >= 0);
	switch (write_version(store, counter->hash, version, &row, false))
	{
		case TM_Ok:
			break;
		case TM_Updated:
			counter->conflicts++;
			return quota_store_changed();
		case TM_Deleted:
			return quota_store_changed();
		default:
			elog(ERROR, "unexpected result of updating a counter");
	}
	counter->used = row.used;
	if (split)
	{
		counter->slots = FIRST_SLOTS;
		insert_slots(store, counter, 1, FIRST_SLOTS);
	}
	return true;
}

/* Whether a charge is near the most that a counter may come to. */
static bool
is_near(int64 used, int64 delta, int64 most)
{
	/* most - used: no overflow, as whoever charges keeps to the limit */
	return delta > 0 && (most - used < most / NEAR_SHARE || (most - used) / NEAR_CHARGES < delta);
}

/* Add to one of a counter's slots. */
static bool
add_to_slot(QuotaStore *store, QuotaCounter *counter, const QuotaCounterChange *change)
{
	QuotaSharedLock *lock;
	Survey *survey = counter->survey != NULL ? counter->survey : palloc(sizeof(Survey));
	Obstacle obstacle;
	QuotaKey key;
	bool charged;

	/* what is not to happen under the lock */
	GetCurrentTransactionId();
	counter_key(store, &counter->key, &key);
	lock = quota_shared_lock(key.hash);
	if (lock == NULL)
		return gather_by_row_locks(store, counter, &key);

	LWLockAcquire(&lock->lock, LW_EXCLUSIVE);
	charged = counter->survey != NULL && still_serves(survey, lock, counter, change) &&
			  charge_slot(store, lock, counter, survey, change, &obstacle);
	if (!charged)
	{
		/* who has committed while the lock was waited for has a slot to spare */
		quota_store_new_snapshots(store);
		survey_slots(store, &key, survey);
		charged = charge_slot(store, lock, counter, survey, change, &obstacle);
	}
	LWLockRelease(&lock->lock);

	if (!charged)
	{
		if (TransactionIdIsValid(obstacle.transaction))
			XactLockTableWait(obstacle.transaction, store->usage.rel, &counter->version->t_self, XLTW_Update);
		else if (obstacle.locked >= 0)
			/* nothing but locks in the way, such as those of SELECT FOR UPDATE */
			lock_newest(store, &survey->slot[obstacle.locked].tid);
		return survey->slots == 0 ? quota_store_changed() : false;
	}
	if (counter->slots > survey->slots)
		insert_slots(store, counter, survey->slots, counter->slots);
	return true;
}

/*
 * Whether a charge can go by a survey from before the lock was had: nothing has
 * happened since but charges, and there is room for all of them. Two looks at all
 * slots would cost more than all else of a charge.
 */
static bool
still_serves(Survey *survey, QuotaSharedLock *lock, const QuotaCounter *counter, const QuotaCounterChange *change)
{
	uint64 raised = pg_atomic_read_u64(&lock->raised) - survey->raised;

	if (pg_atomic_read_u64(&lock->changes) != survey->changes)
		return false;
	if (raised == 0)
		return true;
	if (change->used <= 0 || change->alerted > counter->alerted || raised > (uint64) (PG_INT64_MAX - survey->most))
		return false;
	survey->old = true;
	survey->most += raised;
	return !is_near(survey->most, change->used, change->most);
}

/*
 * Charge one of the slots, or the counter as one row, by what a survey tells,
 * with the counter's lock held. Returns whether that was done; otherwise nothing
 * was, and obstacle is what is in the way.
 */
static bool
charge_slot(QuotaStore *store, QuotaSharedLock *lock, QuotaCounter *counter, Survey *survey,
			const QuotaCounterChange *change, Obstacle *obstacle)
{
	static int quiet = 0;
	QuotaCounterChange mine = *change;
	bool alone = !survey->old && !TransactionIdIsValid(survey->busy) && survey->locked < 0;
	int16 alerted = counter->alerted;
	int slots = survey->slots;
	int number = 0;

	*obstacle = (Obstacle){InvalidTransactionId, -1};
	/* what another has told of meanwhile, this one need not */
	if (change->alerted > alerted)
		alerted = Min(change->alerted, Max(alerted, survey->alerted));
	if (slots <= 1 || has_to_wait(survey, change, &obstacle->transaction))
		return false;
	if (alone && (is_near(survey->most, change->used, change->most) || ++quiet % QUIET_CHARGES == 0))
	{
		/* the slots may know of more than this one was judged by */
		if (change->alerted >= alerted || survey->alerted > alerted)
			mine.alerted = Max(change->alerted, survey->alerted);
		if (!gather(store, counter, survey, &mine))
			return false;
		slots = 1;
	}
	else
	{
		number = survey->own >= 0 ? survey->own : free_slot(survey);
		if (number < 0)
		{
			*obstacle = (Obstacle){survey->busy, survey->locked};
			return false;
		}
		/* what the others have told of is theirs to take back */
		if (change->alerted == alerted)
			mine.alerted = survey->slot[number].alerted;
		/* slot 0 is the last that is taken: there are too few */
		if (number == 0 && survey->own < 0)
			slots = Min(2 * slots, MAX_SLOTS);
		if (write_slot(store, &survey->slot[number], number, &mine, slots) != TM_Ok)
			return false;
	}
	counter->used = survey->used + change->used;
	counter->alerted = alerted;
	counter->slots = slots;
	counter->slot = number;
	if (slots == survey->slots && change->used > 0 && change->used <= MAX_RAISED && change->alerted == alerted)
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
has_to_wait(const Survey *survey, const QuotaCounterChange *change, TransactionId *transaction)
{
	/* there is no such one where the charge is to be judged again */
	if (quota_decide_sum(survey->most, change->used) > change->most)
		*transaction = survey->raising;
	else if (quota_decide_sum(survey->least, change->used) < change->least)
		*transaction = survey->lowering;
	else if (survey->own < 0 && TransactionIdIsValid(survey->gathering))
		*transaction = survey->gathering;
	else if (survey->own < 0 && TransactionIdIsValid(survey->busy) && is_near(survey->most, change->used, change->most))
		*transaction = survey->busy;
	else
		return false;
	return true;
}

/*
 * Make one row of a counter that has slots, and lock it: first slot 0, so that
 * nobody takes another, then whatever is still taken.
 */
static bool
gather_slots(QuotaStore *store, QuotaCounter *counter)
{
	QuotaSharedLock *lock;
	Survey survey;
	QuotaKey key;
	bool gathered = false;
	TransactionId wait_for = InvalidTransactionId;

	GetCurrentTransactionId();
	counter_key(store, &counter->key, &key);
	lock = quota_shared_lock(key.hash);
	if (lock == NULL)
		return gather_by_row_locks(store, counter, &key);

	LWLockAcquire(&lock->lock, LW_EXCLUSIVE);
	quota_store_new_snapshots(store);
	survey_slots(store, &key, &survey);
	if (survey.slots <= 1)
		;
	else if (!TransactionIdIsValid(survey.busy) && survey.locked < 0)
		gathered = gather(store, counter, &survey, &(QuotaCounterChange){.alerted = survey.alerted});
	else if (!TransactionIdIsValid(survey.busy))
		;
	else if (TransactionIdIsValid(survey.slot[0].busy))
		wait_for = survey.slot[0].busy;
	else
	{
		wait_for = survey.busy;
		if (survey.slot[0].slots > 0)
			write_slot(store, &survey.slot[0], 0, &(QuotaCounterChange){.alerted = survey.slot[0].alerted}, -survey.slots);
	}
	quota_shared_changed(lock);
	LWLockRelease(&lock->lock);

	if (TransactionIdIsValid(wait_for))
		XactLockTableWait(wait_for, store->usage.rel, &counter->version->t_self, XLTW_Lock);
	else if (!gathered && survey.locked >= 0)
		lock_newest(store, &survey.slot[survey.locked].tid);
	if (!gathered)
		return survey.slots == 0 ? quota_store_changed() : false;
	counter->slots = 1;
	return survey.used == counter->used;
}

/*
 * Make one row of a counter that has slots, where there is no lock of the
 * counter: under the locks of all its rows, each of which is waited for. Slot 0 is
 * locked first, so that no slots come or go meanwhile. Returns false, as the
 * counter is not what was read any more: to be read, and judged, again.
 *
 * Two transactions that have slots of the counter can wait for one another here.
 */
static bool
gather_by_row_locks(QuotaStore *store, QuotaCounter *counter, const QuotaKey *key)
{
	Survey *survey = palloc(sizeof(Survey));
	int slots = 1;

	for (int i = 0; i < slots; i++)
	{
		QuotaKey columns;
		Slot slot;

		slot_key(key, i, &columns);
		look_at_slot(store, &columns, &slot);
		quota_lookup_done(&store->usage);
		if (slot.exists && !slot.own)
		{
			lock_newest(store, &slot.tid);
			quota_store_new_snapshots(store);
			look_at_slot(store, &columns, &slot);
			quota_lookup_done(&store->usage);
		}
		if (i == 0 && !slot.exists)
			return quota_store_changed();
		if (i == 0)
			slots = Min(abs(slot.slots), MAX_SLOTS);
	}
	survey_slots(store, key, survey);
	if (survey->slots > 1 && !TransactionIdIsValid(survey->busy) && survey->locked < 0)
		gather(store, counter, survey, &(QuotaCounterChange){.alerted = survey->alerted});
	return false;
}

/*
 * Look at all slots of a counter. What is found holds for as long as the
 * counter's lock is held, and so long as the lock's numbers do not change.
 *
 * Errors: serialization_failure where a slot has changed since the transaction's
 * snapshot, at the higher isolation levels.
 */
static void
survey_slots(QuotaStore *store, const QuotaKey *key, Survey *survey)
{
	while (!look_at_slots(store, key, survey))
	{
		CHECK_FOR_INTERRUPTS();
		quota_store_new_snapshots(store);
	}
	quota_lookup_done(&store->usage);
}

/*
 * Look at all slots as a snapshot has them. Returns false where that is too old:
 * the transaction that has changed slot 0 has ended since. If it has committed,
 * others can use slots that it has made, which the snapshot does not see.
 */
static bool
look_at_slots(QuotaStore *store, const QuotaKey *key, Survey *survey)
{
	/* where this backend found them last: each is on a page of its own, as soon as they are busy */
	static Buffer buffers[MAX_SLOTS];
	QuotaSharedLock *lock = quota_shared_lock(key->hash);

	memset(survey, 0, offsetof(Survey, slot));
	if (lock != NULL)
	{
		survey->changes = pg_atomic_read_u64(&lock->changes);
		survey->raised = pg_atomic_read_u64(&lock->raised);
		pg_memory_barrier();
	}
	survey->own = survey->locked = -1;
	survey->slots = 1;
	for (int i = 0; i < survey->slots; i++)
	{
		Slot *slot = &survey->slot[i];
		QuotaKey columns;

		slot_key(key, i, &columns);
		quota_lookup_expect(&store->usage, &buffers[i]);
		look_at_slot(store, &columns, slot);
		if (i == 0)
			survey->slots = slot->exists ? Min(abs(slot->slots), MAX_SLOTS) : 0;
		if (i == 0 && TransactionIdIsValid(slot->busy) && !TransactionIdIsInProgress(slot->busy))
			return false;
		if (slot->exists)
			add_slot(survey, i);
	}
	return true;
}

static void
add_slot(Survey *survey, int number)
{
	const Slot *slot = &survey->slot[number];

	survey->used = quota_decide_sum(survey->used, slot->used);
	survey->least = quota_decide_sum(survey->least, slot->least);
	survey->most = quota_decide_sum(survey->most, slot->most);
	survey->holds += slot->holds;
	survey->alerted = Max(survey->alerted, slot->alerted);
	if (slot->own && survey->own < 0)
		survey->own = number;
	if (slot->locked)
		survey->locked = number;
	if (!TransactionIdIsValid(slot->busy))
		return;
	survey->busy = slot->busy;
	if ((uint64) slot->most - (uint64) slot->used > survey->raises)
	{
		survey->raises = (uint64) slot->most - (uint64) slot->used;
		survey->raising = slot->busy;
	}
	if ((uint64) slot->used - (uint64) slot->least > survey->lowers)
	{
		survey->lowers = (uint64) slot->used - (uint64) slot->least;
		survey->lowering = slot->busy;
	}
	if (number == 0 && slot->slots_changed <= 0)
		survey->gathering = slot->busy;
}

/*
 * Look at one slot: at the version that the snapshot sees, and at those after
 * it, of transactions that had not committed when it was taken.
 */
static void
look_at_slot(QuotaStore *store, const QuotaKey *key, Slot *slot)
{
	QuotaVersion *version = &store->usage.found;
	QuotaUsageRow row;

	memset(slot, 0, sizeof(Slot));
	if (!quota_lookup_row(&store->usage, key, store->as_of))
		return;
	memcpy(&row, version->data, sizeof(row));
	slot->exists = true;
	slot->own = store->usage.own;
	look_at_locks(&version->header, slot);
	slot->hash = key->hash;
	slot->tid = version->tid;
	slot->used = slot->least = slot->most = row.used;
	slot->holds = row.holds;
	slot->alerted = row.alerted;
	slot->slots = slot->slots_changed = row.slots;
	slot->busy = updater_of(store, &version->header);
	if (TransactionIdIsValid(slot->busy))
		look_at_later_versions(store, key, slot, version->header.t_ctid);
	quota_lookup_next(&store->usage);
}

/*
 * Look at the versions after one that its updater may yet take back, and what
 * they make of the slot at most and at least. Of a transaction that has written
 * many the newest says that.
 */
static void
look_at_later_versions(QuotaStore *store, const QuotaKey *key, Slot *slot, ItemPointerData next)
{
	ItemPointerData tid = slot->tid;
	TransactionId updater = slot->busy;

	for (int walked = 1; TransactionIdIsValid(updater); walked++)
	{
		QuotaVersion *later = walked == QUOTA_WALKED_VERSIONS ? newest_of(store, key, updater) : NULL;
		QuotaUsageRow row = {0};

		CHECK_FOR_INTERRUPTS();
		if (later == NULL && !ItemPointerEquals(&next, &tid))
		{
			later = quota_lookup_version(&store->usage, next);
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
		updater = updater_of(store, &later->header);
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
newest_of(QuotaStore *store, const QuotaKey *key, TransactionId updater)
{
	TransactionId transaction = SubTransGetTopmostTransaction(updater);
	QuotaVersion *newest;
	ItemPointerData tid;
	TransactionId writer;

	if (!quota_newest_of(key->hash, transaction, &tid))
		return NULL;
	newest = quota_lookup_version_of(&store->usage, tid, key);
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
updater_of(QuotaStore *store, HeapTupleHeader version)
{
	TransactionId updater;

	if ((version->t_infomask & HEAP_XMAX_INVALID) || HEAP_XMAX_IS_LOCKED_ONLY(version->t_infomask))
		return InvalidTransactionId;
	updater = HeapTupleHeaderGetUpdateXid(version);
	if (TransactionIdIsCurrentTransactionId(updater) || !XidInMVCCSnapshot(updater, store->as_of))
		return InvalidTransactionId;
	if (!store->as_of->suboverflowed && !IsolationUsesXactSnapshot())
		return updater;
	if (TransactionIdIsInProgress(updater))
		return updater;
	if (!TransactionIdDidCommit(updater))
		return InvalidTransactionId;
	if (IsolationUsesXactSnapshot())
		quota_store_changed();
	return updater;
}

/* Whether another transaction has locked a version without changing it. */
static void
look_at_locks(HeapTupleHeader version, Slot *slot)
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
free_slot(const Survey *survey)
{
	for (int i = 0; i < survey->slots; i++)
	{
		int number = i == survey->slots - 1 ? 0 : 1 + (MyProcPid + i) % (survey->slots - 1);
		const Slot *slot = &survey->slot[number];

		if (slot->exists && !TransactionIdIsValid(slot->busy) && !slot->locked)
			return number;
	}
	return -1;
}

/* Write a slot that nobody has. TM_BeingModified: somebody has locked it nevertheless. */
static TM_Result
write_slot(QuotaStore *store, const Slot *slot, int number, const QuotaCounterChange *change, int slots)
{
	/* of a version that is this transaction's own others can have no lock that keeps from writing */
	HeapTuple version = slot->own ? version_at(store, &slot->tid) : lock_slot(store, slot, LockTupleNoKeyExclusive);
	QuotaUsageRow row;

	if (version == NULL)
		return TM_BeingModified;
	row = *QUOTA_USAGE_ROW(version);
	row.used = slot->used + change->used;
	row.holds += change->holds;
	row.alerted = change->alerted;
	if (number == 0)
		row.slots = slots;
	return write_version(store, slot->hash, version, &row, true);
}

/*
 * Change a counter, and make slot 0 all of it, none of whose slots is another transaction's.
 * Returns false, with nothing changed, where somebody has locked a slot since it
 * was looked at.
 * Locks: all slots, before one is changed.
 */
static bool
gather(QuotaStore *store, QuotaCounter *counter, Survey *survey, const QuotaCounterChange *change)
{
	HeapTuple version = NULL;
	TM_FailureData failure;
	TM_Result result;
	QuotaUsageRow row;

	for (int i = survey->slots - 1; i >= 0; i--)
		if (survey->slot[i].exists && (version = lock_slot(store, &survey->slot[i], LockTupleExclusive)) == NULL)
			return false;
	row = *QUOTA_USAGE_ROW(version);
	row.used = survey->used + change->used;
	row.holds = survey->holds + change->holds;
	row.alerted = change->alerted;
	row.slots = 1;
	result = write_version(store, survey->slot[0].hash, version, &row, true);
	for (int i = 1; result == TM_Ok && i < survey->slots; i++)
		if (survey->slot[i].exists)
			result = heap_delete(store->usage.rel, &survey->slot[i].tid,
								 GetCurrentCommandId(true), InvalidSnapshot, true, &failure, false);
	if (result != TM_Ok)
		elog(ERROR, "slot changed under its lock");
	store->written = true;
	counter->version = version;
	return true;
}

/*
 * Lock a slot that nobody has, so that to write it is to wait for nobody; NULL:
 * somebody has locked it nevertheless. Otherwise a copy of its version.
 */
static HeapTuple
lock_slot(QuotaStore *store, const Slot *slot, LockTupleMode mode)
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

/* A copy of the version at a place; NULL: there is none. */
static HeapTuple
version_at(QuotaStore *store, const ItemPointerData *tid)
{
	HeapTupleData tuple = {.t_self = *tid};
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
 * Write a new version of a row after a copy of its version. The copy then is the
 * new one.
 *
 * of_slot: others scan the slots of the counter, or did when this transaction began.
 */
static TM_Result
write_version(QuotaStore *store, uint64 hash, HeapTuple version, const QuotaUsageRow *row, bool of_slot)
{
	const QuotaUsageRow *before = QUOTA_USAGE_ROW(version);
	QuotaWritten written = {
		.hash = hash,
		.from = version->t_self,
		.of_slot = of_slot,
		.own_base = TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(version->t_data)),
		.used = (row->used > before->used) - (row->used < before->used),
		.alerted = row->alerted - before->alerted};
	ItemPointerData tid = version->t_self;
	TM_FailureData failure;
	LockTupleMode lock_mode;
	TM_Result result;

	memcpy(QUOTA_USAGE_ROW(version), row, QUOTA_USAGE_ROW_SIZE);
	result = heap_update(store->usage.rel, &tid, version, GetCurrentCommandId(true),
						 InvalidSnapshot, true, &failure, &lock_mode);
	if (result != TM_Ok)
		return result;
	if (!HeapTupleIsHeapOnly(version))
		quota_appender_index_version(quota_store_appender(store, USAGE), version);
	written.to = version->t_self;
	quota_newest_wrote(&written);
	store->written = true;
	return TM_Ok;
}

static void
wrote_first_version(uint64 hash, HeapTuple version, bool of_slot)
{
	QuotaWritten written = {.hash = hash, .to = version->t_self, .of_slot = of_slot};

	ItemPointerSetInvalid(&written.from);
	quota_newest_wrote(&written);
}

/* Insert a counter's row, unless somebody else has. */
static bool
insert_counter(QuotaStore *store, QuotaCounter *counter, const QuotaCounterChange *change)
{
	HeapTuple version = form_row(store, &counter->key, 0, change);

	if (!quota_appender_insert_unless_there(quota_store_appender(store, USAGE), version))
	{
		counter->conflicts++;
		return quota_store_changed();
	}
	wrote_first_version(counter->hash, version, false);
	store->written = true;
	counter->used = change->used;
	counter->version = version;
	return true;
}

/* Insert empty slots, numbered up to but not including `to`, as which nobody knows them before this transaction commits. */
static void
insert_slots(QuotaStore *store, const QuotaCounter *counter, int from, int to)
{
	QuotaKey key;

	counter_key(store, &counter->key, &key);
	for (int i = from; i < to; i++)
	{
		HeapTuple version = form_row(store, &counter->key, i, &(QuotaCounterChange){0});
		QuotaKey columns;
		Slot left;

		slot_key(&key, i, &columns);
		look_at_slot(store, &columns, &left);
		quota_lookup_done(&store->usage);
		if (left.exists)
			/* left behind when somebody deleted the others: what it holds counts again */
			continue;
		quota_appender_insert_tuple(quota_store_appender(store, USAGE), version);
		wrote_first_version(columns.hash, version, true);
	}
	store->written = true;
}

static HeapTuple
form_row(QuotaStore *store, const QuotaCounterKey *key, int slot, const QuotaCounterChange *change)
{
	TupleDesc desc = RelationGetDescr(store->usage.rel);
	Datum values[MaxHeapAttributeNumber];
	bool nulls[MaxHeapAttributeNumber];

	memset(nulls, true, desc->natts * sizeof(bool));
	memset(nulls, false, USAGE_COLUMNS * sizeof(bool));
	values[USAGE_USED - 1] = Int64GetDatum(change->used);
	values[USAGE_PERIOD_START - 1] = TimestampTzGetDatum(key->period_start);
	values[USAGE_PERIOD - 1] = ObjectIdGetDatum(quota_store_oids()->periods[key->period]);
	values[USAGE_SLOT - 1] = Int16GetDatum(slot);
	values[USAGE_SLOTS - 1] = Int16GetDatum(1);
	values[USAGE_HOLDS - 1] = Int32GetDatum(change->holds);
	values[USAGE_ALERTED - 1] = Int16GetDatum(change->alerted);
	values[USAGE_ACCOUNT - 1] = key->account;
	values[USAGE_FEATURE - 1] = CStringGetTextDatum(key->feature);
	return heap_form_tuple(desc, values, nulls);
}

/*
 * Lock the newest version of a row, waiting for whoever holds it. Returns
 * whether that is the version at tid.
 */
static bool
lock_newest(QuotaStore *store, ItemPointer tid)
{
	Relation rel = store->usage.rel;
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	ItemPointerData read_at = *tid;
	TM_FailureData failure;
	TM_Result result;
	bool same;

	result = table_tuple_lock(rel, tid, store->as_of, slot,
							  GetCurrentCommandId(true), LockTupleExclusive, LockWaitBlock,
							  IsolationUsesXactSnapshot() ? 0 : TUPLE_LOCK_FLAG_FIND_LAST_VERSION,
							  &failure);
	same = result == TM_Ok && ItemPointerEquals(&read_at, &slot->tts_tid);
	ExecDropSingleTupleTableSlot(slot);
	if (result != TM_Ok)
		return quota_store_changed();
	return same;
}
