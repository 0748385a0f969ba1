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
 * Locks, beside those of rows: the counter's LWLock, for the write of a slot, and
 * for a look at all of them before it, unless one from before the lock still
 * serves. Nobody waits for a row or a transaction with it held.
 * Rows are locked in the order in which callers charge counters; of one counter a
 * transaction charges one slot, the same again where it charges again.
 */
#include "postgres.h"

#include "counter.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/multixact.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/catalog.h"
#include "catalog/index.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "storage/procarray.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "shared.h"
#include "store_private.h"

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

/* The columns of fixed width, as they stand at the beginning of every row. */
typedef struct UsageRow
{
	int64 used;
	TimestampTz period_start;
	Oid period;
	int16 slot;
	int16 slots;
	int32 holds;
	int16 alerted;
} UsageRow;

StaticAssertDecl(sizeof(UsageRow) <= QUOTA_VERSION_DATA, "a version that is looked at has all of it");

#define USAGE_ROW(tuple) ((UsageRow *) GETSTRUCT(tuple))

/* What is found of one slot. */
typedef struct Slot
{
	bool exists;
	bool own;           /* made by this transaction */
	TransactionId busy; /* another transaction that has changed it; invalid: none */
	bool locked;        /* by another transaction that has not changed it */
	bool own_lock;      /* by this one, and by no other */
	int64 used;         /* without that change */
	int64 least;
	int64 most;    /* with or without it */
	int32 holds;   /* without it */
	int16 alerted; /* with it */
	int16 slots;
	int16 slots_changed; /* 0: the slot is deleted */
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
	TransactionId busy;      /* one of the others, invalid: there is none */
	TransactionId raising;   /* one whose charges may come on top of what is used */
	TransactionId lowering;  /* one whose refunds may */
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

static bool is_text(const char **at, const QuotaKey *key, int column);
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
static void survey_slots(QuotaStore *store, const QuotaKey *key, Survey *survey);
static void look_at_slot(QuotaStore *store, const QuotaKey *key, Slot *slot);
static TransactionId updater_of(QuotaStore *store, HeapTupleHeader version);
static void look_at_locks(HeapTupleHeader version, Slot *slot);
static int free_slot(const Survey *survey);
static TM_Result write_slot(QuotaStore *store, const Slot *slot, int number, const QuotaCounterChange *change, int slots);
static bool gather(QuotaStore *store, QuotaCounter *counter, Survey *survey, const QuotaCounterChange *change);
static bool lock_slot(QuotaStore *store, const Slot *slot);
static HeapTuple version_at(QuotaStore *store, const ItemPointerData *tid);
static TM_Result write_version(QuotaStore *store, HeapTuple version, bool wait);
static bool overwrite(QuotaStore *store, HeapTuple version);
static bool insert_counter(QuotaStore *store, QuotaCounter *counter, const QuotaCounterChange *change);
static void insert_slots(QuotaStore *store, const QuotaCounter *counter, int from, int to);
static HeapTuple form_row(QuotaStore *store, const QuotaCounterKey *key, int slot, const QuotaCounterChange *change);
static void insert_index_entries(QuotaStore *store, HeapTuple version);
static bool lock_newest(QuotaStore *store, ItemPointer tid);
static void open_indexes(QuotaStore *store);

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
	if (store->usage.rel == NULL)
		quota_store_open_usage(store);
	counter_key(store, &counter->key, &key);
	for (int i = 0; i < counter->slots; i++)
	{
		slot_key(&key, i, &slot);
		if (i == 0)
			counter->hash = slot.hash;
		if (quota_probe_row(&store->usage, &slot, store->as_of))
		{
			HeapTuple version = &store->usage.tuple;

			counter->used = quota_decide_sum(counter->used, USAGE_ROW(version)->used);
			counter->holds += USAGE_ROW(version)->holds;
			counter->alerted = Max(counter->alerted, USAGE_ROW(version)->alerted);
			if (i == 0)
			{
				counter->slots = abs(USAGE_ROW(version)->slots);
				if (store->write)
					counter->version = heap_copytuple(version);
			}
			quota_probe_done(&store->usage);
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
	quota_probe_done(&store->usage);
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

/* Whether a row has the key of a slot: by where its columns stand, as the look at many slots costs what this does. */
bool
quota_counter_has_key(HeapTuple tuple, const QuotaKey *key)
{
	const UsageRow *row = USAGE_ROW(tuple);
	const char *at = (const char *) &row->alerted + sizeof(row->alerted);

	return DatumGetTimestampTz(key->columns[3].value) == row->period_start &&
		   DatumGetObjectId(key->columns[2].value) == row->period &&
		   DatumGetInt16(key->columns[4].value) == row->slot &&
		   is_text(&at, key, 0) && is_text(&at, key, 1);
}

/* Whether a text of a row is that of a key; on to its end. It is too short to be compressed. */
static bool
is_text(const char **at, const QuotaKey *key, int column)
{
	const char *text;
	Size length = key->columns[column].length;

	if (!VARATT_IS_1B(*at))
		*at = (const char *) INTALIGN(*at);
	text = *at;
	*at += VARSIZE_ANY(text);
	return VARSIZE_ANY_EXHDR(text) == length && memcmp(VARDATA_ANY(text), key->columns[column].bytes, length) == 0;
}

/* The key of a counter; that of one of its slots has a column more. */
static void
counter_key(QuotaStore *store, const QuotaCounterKey *counter, QuotaKey *key)
{
	quota_probe_key(key, &store->usage);
	quota_probe_key_text(key, counter->account);
	quota_probe_key_text(key, CStringGetTextDatum(counter->feature));
	quota_probe_key_value(key, F_ENUM_EQ, ObjectIdGetDatum(quota_store_oids()->periods[counter->period]));
	quota_probe_key_value(key, F_TIMESTAMPTZ_EQ, TimestampTzGetDatum(counter->period_start));
}

static void
slot_key(const QuotaKey *counter, int slot, QuotaKey *key)
{
	*key = *counter;
	quota_probe_key_value(key, F_INT2EQ, Int16GetDatum(slot));
}

/* Add to a counter that is one row. */
static bool
add_to_row(QuotaStore *store, QuotaCounter *counter, const QuotaCounterChange *change)
{
	HeapTuple version = counter->version;
	int64 used = quota_decide_sum(counter->used, change->used);
	bool split = change->used > 0 && counter->conflicts >= CONTENDED && !is_near(counter->used, change->used, change->most) &&
				 quota_shared_lock(counter->hash) != NULL;

	Assert(used >= 0);
	USAGE_ROW(version)->used = used;
	USAGE_ROW(version)->holds += change->holds;
	USAGE_ROW(version)->alerted = change->alerted;
	if (split)
		USAGE_ROW(version)->slots = FIRST_SLOTS;
	switch (write_version(store, version, true))
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
	counter->used = used;
	if (split)
	{
		counter->slots = FIRST_SLOTS;
		insert_slots(store, counter, 1, FIRST_SLOTS);
		return true;
	}
	/* not of a row with slots: others need its committed version meanwhile, and from there come to this one, but not back */
	quota_shared_remember(counter->hash, &version->t_self);
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
	{
		/* without shared memory the slots are gathered, under their row locks, and the counter is read again */
		gather_slots(store, counter);
		return false;
	}

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

/* Whether somebody else has to end before a slot can be charged: one that the charge depends on, since another may be waiting for this one. */
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

	/* without it the row locks have to do: what has changed since the look cannot be locked */
	if (lock != NULL)
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
	if (lock != NULL)
	{
		quota_shared_changed(lock);
		LWLockRelease(&lock->lock);
	}

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
 * Look at all slots of a counter. What is found holds for as long as the
 * counter's lock is held, and so long as the lock's numbers do not change.
 *
 * Errors: serialization_failure where a slot has changed since the transaction's
 * snapshot, at the higher isolation levels.
 */
static void
survey_slots(QuotaStore *store, const QuotaKey *key, Survey *survey)
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
		quota_probe_expect(&store->usage, &buffers[i]);
		look_at_slot(store, &columns, slot);
		if (!slot->exists)
		{
			if (i == 0)
				survey->slots = 0;
			continue;
		}
		if (i == 0)
			survey->slots = Min(abs(slot->slots), MAX_SLOTS);
		survey->used = quota_decide_sum(survey->used, slot->used);
		survey->least = quota_decide_sum(survey->least, slot->least);
		survey->most = quota_decide_sum(survey->most, slot->most);
		survey->holds += slot->holds;
		survey->alerted = Max(survey->alerted, slot->alerted);
		if (slot->own && survey->own < 0)
			survey->own = i;
		if (slot->locked)
			survey->locked = i;
		if (TransactionIdIsValid(slot->busy))
		{
			survey->busy = slot->busy;
			if (slot->most > slot->used)
				survey->raising = slot->busy;
			if (slot->least < slot->used)
				survey->lowering = slot->busy;
			if (i == 0 && slot->slots_changed <= 0)
				survey->gathering = slot->busy;
			/* when it has committed others can use the slots that it has made, which the snapshot does not see */
			if (i == 0 && !TransactionIdIsInProgress(slot->busy))
			{
				quota_store_new_snapshots(store);
				survey_slots(store, key, survey);
				return;
			}
		}
	}
	quota_probe_done(&store->usage);
}

/*
 * Look at one slot: at the version that the snapshot sees, and at those after
 * it, of transactions that had not committed when it was taken.
 */
static void
look_at_slot(QuotaStore *store, const QuotaKey *key, Slot *slot)
{
	HeapTuple version;
	ItemPointerData next;
	TransactionId updater;

	memset(slot, 0, sizeof(Slot));
	if (!quota_probe_row(&store->usage, key, store->as_of))
		return;
	version = &store->usage.tuple;
	slot->exists = true;
	slot->own = TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(version->t_data));
	look_at_locks(version->t_data, slot);
	slot->tid = version->t_self;
	slot->used = slot->least = slot->most = USAGE_ROW(version)->used;
	slot->holds = USAGE_ROW(version)->holds;
	slot->alerted = USAGE_ROW(version)->alerted;
	slot->slots = slot->slots_changed = USAGE_ROW(version)->slots;
	slot->busy = updater = updater_of(store, version->t_data);
	next = version->t_data->t_ctid;

	for (ItemPointerData tid = slot->tid; TransactionIdIsValid(updater);)
	{
		QuotaVersion *later = ItemPointerEquals(&next, &tid) ? NULL : quota_probe_version(&store->usage, next);
		UsageRow row = {0};

		/* where no version follows the slot is being deleted: nothing is used then */
		if (later != NULL && TransactionIdEquals(HeapTupleHeaderGetXmin(&later->header), updater))
			memcpy(&row, later->data, sizeof(row));
		slot->least = Min(slot->least, row.used);
		slot->most = Max(slot->most, row.used);
		slot->alerted = Max(slot->alerted, row.alerted);
		slot->slots_changed = row.slots;
		if (row.slots == 0)
			break;
		tid = next;
		next = later->header.t_ctid;
		updater = updater_of(store, &later->header);
	}
	quota_probe_next(&store->usage);
}

/*
 * Who has changed a version that a snapshot sees, or one after it, and had not
 * committed when the snapshot was taken; invalid: nobody.
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
	/* what it had done when the snapshot was taken, and is not to be seen, it has rolled back */
	if (TransactionIdIsCurrentTransactionId(updater) || !XidInMVCCSnapshot(updater, store->as_of))
		return InvalidTransactionId;
	if (IsolationUsesXactSnapshot() && !TransactionIdIsInProgress(updater))
	{
		if (TransactionIdDidCommit(updater))
			quota_store_changed();
		return InvalidTransactionId;
	}
	return updater;
}

/*
 * Who has locked a version without changing it. Where that is this transaction
 * alone, to write the version is to wait for nobody.
 */
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
		else if (TransactionIdIsCurrentTransactionId(holders[i].xid))
			slot->own_lock = true;
		else if (TransactionIdIsInProgress(holders[i].xid))
			slot->locked = true;
	slot->own_lock &= !slot->locked;
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
	HeapTuple version = version_at(store, &slot->tid);

	if (version == NULL)
		return TM_Invisible;
	USAGE_ROW(version)->used = slot->used + change->used;
	USAGE_ROW(version)->holds += change->holds;
	USAGE_ROW(version)->alerted = change->alerted;
	if (number == 0)
		USAGE_ROW(version)->slots = slots;
	/* Nobody is waited for where the lock is this transaction's own, or the version is: none that others can have of that keeps from writing. */
	return write_version(store, version, slot->own || slot->own_lock);
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
	HeapTuple version = version_at(store, &survey->slot[0].tid);
	TM_FailureData failure;
	TM_Result result;

	for (int i = 0; i < survey->slots; i++)
		if (survey->slot[i].exists && !lock_slot(store, &survey->slot[i]))
			return false;
	USAGE_ROW(version)->used = survey->used + change->used;
	USAGE_ROW(version)->holds = survey->holds + change->holds;
	USAGE_ROW(version)->alerted = change->alerted;
	USAGE_ROW(version)->slots = 1;
	result = write_version(store, version, true);
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

/* Lock a slot that nobody has; false: somebody has locked it nevertheless. Nobody else sees one that is this transaction's own. */
static bool
lock_slot(QuotaStore *store, const Slot *slot)
{
	TupleTableSlot *version;
	ItemPointerData tid = slot->tid;
	TM_FailureData failure;
	TM_Result result;

	if (slot->own || slot->own_lock)
		return true;
	version = table_slot_create(store->usage.rel, NULL);
	result = table_tuple_lock(store->usage.rel, &tid, store->as_of, version, GetCurrentCommandId(true),
							  LockTupleExclusive, LockWaitSkip, 0, &failure);
	ExecDropSingleTupleTableSlot(version);
	return result == TM_Ok;
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
	copy = heap_copytuple(&tuple);
	ReleaseBuffer(buffer);
	return copy;
}

/*
 * Write a changed copy of a version in place of that version. The copy then is
 * the new one.
 */
static TM_Result
write_version(QuotaStore *store, HeapTuple version, bool wait)
{
	ItemPointerData tid = version->t_self;
	TM_FailureData failure;
	LockTupleMode lock_mode;
	TM_Result result;

	if (overwrite(store, version))
		return TM_Ok;
	result = heap_update(store->usage.rel, &tid, version, GetCurrentCommandId(true),
						 InvalidSnapshot, wait, &failure, &lock_mode);
	if (result != TM_Ok)
		return result;
	if (!HeapTupleIsHeapOnly(version))
		insert_index_entries(store, version);
	store->written = true;
	return TM_Ok;
}

/*
 * Write over a version that this very subtransaction made: nobody else can see
 * it, and it goes if the subtransaction does. Otherwise each of many charges in
 * one transaction would leave a version that cannot be cleaned up before its
 * end, and has to be walked by those after it.
 */
static bool
overwrite(QuotaStore *store, HeapTuple version)
{
	TransactionId xid = GetCurrentTransactionIdIfAny();

	/* those who decode the log would not see it */
	if (!TransactionIdIsValid(xid) || !TransactionIdEquals(HeapTupleHeaderGetRawXmin(version->t_data), xid) ||
		RelationIsLogicallyLogged(store->usage.rel))
		return false;
	heap_inplace_update(store->usage.rel, version);
	return true;
}

/*
 * Insert a counter's row. Somebody else may be doing the same: the row goes in
 * speculatively, as for ON CONFLICT, and of two one stays.
 */
static bool
insert_counter(QuotaStore *store, QuotaCounter *counter, const QuotaCounterChange *change)
{
	Relation rel = store->usage.rel;
	HeapTuple version = form_row(store, &counter->key, 0, change);
	TupleTableSlot *slot;
	ItemPointerData conflict;
	bool lost = false;
	uint32 token;

	open_indexes(store);
	slot = store->new_row;
	ExecStoreHeapTuple(version, slot, false);
	slot->tts_tableOid = RelationGetRelid(rel);

	if (ExecCheckIndexConstraints(store->result, slot, store->estate, &conflict, NIL))
	{
		token = SpeculativeInsertionLockAcquire(GetCurrentTransactionId());
		table_tuple_insert_speculative(rel, slot, GetCurrentCommandId(true), 0, NULL, token);
		ExecInsertIndexTuples(store->result, slot, store->estate, false, true, &lost, NIL);
		table_tuple_complete_speculative(rel, slot, token, !lost);
		SpeculativeInsertionLockRelease(GetCurrentTransactionId());
		store->written = true;
	}
	else
		lost = true;
	if (!lost)
	{
		counter->used = change->used;
		counter->version = ExecCopySlotHeapTuple(slot);
	}
	ExecClearTuple(slot);
	ResetPerTupleExprContext(store->estate);
	counter->conflicts += lost;
	return lost ? quota_store_changed() : true;
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
		quota_probe_done(&store->usage);
		if (left.exists)
			/* left behind when somebody deleted the others: what it holds counts again */
			continue;
		heap_insert(store->usage.rel, version, GetCurrentCommandId(true), 0, NULL);
		insert_index_entries(store, version);
		quota_shared_remember(columns.hash, &version->t_self);
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

/* Tell the indexes of a new version of a row, or of a slot that nobody else can be inserting. */
static void
insert_index_entries(QuotaStore *store, HeapTuple version)
{
	ResultRelInfo *result;
	Datum values[INDEX_MAX_KEYS];
	bool nulls[INDEX_MAX_KEYS];

	open_indexes(store);
	result = store->result;
	ExecStoreHeapTuple(version, store->new_row, false);
	if (result->ri_NumIndices == 1)
	{
		/* the primary key, which is that of the version before: to check it is to walk all versions of the row */
		FormIndexDatum(result->ri_IndexRelationInfo[0], store->new_row, store->estate, values, nulls);
		index_insert(result->ri_IndexRelationDescs[0], values, nulls, &version->t_self, store->usage.rel,
					 UNIQUE_CHECK_NO, true, result->ri_IndexRelationInfo[0]);
	}
	else
		ExecInsertIndexTuples(result, store->new_row, store->estate, true, false, NULL, NIL);
	ExecClearTuple(store->new_row);
	ResetPerTupleExprContext(store->estate);
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

static void
open_indexes(QuotaStore *store)
{
	MemoryContext old;

	if (store->estate != NULL)
		return;
	old = MemoryContextSwitchTo(store->context);
	store->estate = CreateExecutorState();
	store->result = makeNode(ResultRelInfo);
	/* range table index 0: there is no query */
	InitResultRelInfo(store->result, store->usage.rel, 0, NULL, 0);
	ExecOpenIndices(store->result, true);
	store->new_row = ExecInitExtraTupleSlot(store->estate, RelationGetDescr(store->usage.rel), &TTSOpsHeapTuple);
	MemoryContextSwitchTo(old);
}
