/*
 * What accounts amount to, remembered in shared memory: with it a call need not
 * look at quota.accounts and quota.limit_overrides.
 *
 * A change that has committed is never missed. Triggers on both tables call
 * quota_entitlement_cache_forget in the transaction that changes an account: what was
 * remembered of it goes at once, and the set in which it was notes the
 * transaction. Nothing is remembered in a set again unless it was read with a
 * snapshot older than which no transaction runs that the set has noted. So what
 * is found was read after the end of every change there has been, and of the
 * changes that have not ended none has been made visible. It does not matter how
 * they end: a rollback, also of a savepoint, a prepared transaction and a crash
 * only leave less remembered.
 *
 * What else could change the tables has another generation (src/tables/store.c), under
 * which nothing is found that was remembered before: triggers that were disabled
 * and enabled again, a table that was written anew. A standby remembers nothing.
 * The memory of a server that has started notes all transactions before; it is
 * not made in recovery, when others come whose triggers ran elsewhere.
 *
 * An account is remembered with its key, so that none is taken for another. A
 * set has nine places; a new one takes that of any other when all are in use.
 *
 * Locks: a set belongs to one of 64 LWLocks, held while a few words are written.
 * Readers take none: they look at the set's number of changes before and after.
 *
 * Memory: a segment of its own of 16 MB (src/memory/shared.h), made by the first call.
 * Without it all accounts are looked up. Who chooses accounts with equal hashes
 * only has them looked up more often.
 */
#include "postgres.h"

#include "memory/entitlement_cache.h"

#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "common/hashfn.h"
#include "fmgr.h"
#include "miscadmin.h"

#include "compat.h"
#include "memory/shared.h"

#define WAYS 9
#define SETS (1 << 14)
#define LOCKS 64
/* longer ones are not remembered */
#define MAX_ACCOUNT 47

#define TAG(hash) ((uint32) ((hash) >> 32))

typedef struct Place
{
	uint64 generation;
	QuotaEntitlementEntry standing;
	uint8 length; /* 0: an empty place */
	char account[MAX_ACCOUNT];
} Place;

/* What is looked at first is one line of the processor's cache. */
typedef struct Set
{
	pg_atomic_uint64 changes; /* odd while one is made */
	uint64 changed_by;        /* the latest transaction, by its full number */
	uint32 tags[WAYS];        /* of the accounts' hashes */
	char unused[12];
	Place places[WAYS];
	char rest[24];
} Set;

StaticAssertDecl(sizeof(Set) == 1024, "sets fit to lines of the processor's cache");

typedef struct Table
{
	union
	{
		LWLock lock;
		char pad[LWLOCK_PADDED_SIZE];
	} locks[LOCKS];
	Set sets[SETS];
} Table;

static Table *table = NULL;

static bool attach(void);
static bool attach_to_change(void);
static void fill(void *memory, int tranche);
static uint64 hash_of(Datum account);
static Set *begin_change(uint64 hash);
static void end_change(Set *set, uint64 hash);
static LWLock *lock_of(uint64 hash);
static int way_for(const Set *set, const text *account, uint64 hash);
static bool is_of(const Place *place, const text *account);

/*
 * Have what is remembered of an account brought to the processor, for a
 * quota_entitlement_cache_find to come: in a large memory it is far away.
 */
void
quota_entitlement_cache_expect(Datum account)
{
	uint64 hash;
	const Set *set;
	const char *place;

	/* it is not made here: a standby, which asks as well, must not */
	if (table == NULL)
		return;
	hash = hash_of(account);
	set = &table->sets[hash % SETS];
	place = (const char *) &set->places[TAG(hash) % WAYS];
	__builtin_prefetch(set);
	/* two lines, at most three */
	__builtin_prefetch(place);
	__builtin_prefetch(place + sizeof(Place) - 1);
}

/* What an account amounts to at a time; false: it is not known. */
bool
quota_entitlement_cache_find(Datum account, uint64 generation, TimestampTz at, QuotaEntitlementEntry *standing)
{
	const text *key = (text *) DatumGetPointer(account);
	uint64 hash = hash_of(account);
	const Set *set;
	uint64 changes;
	bool found = false;

	if (!attach())
		return false;
	set = &table->sets[hash % SETS];
	changes = pg_atomic_read_u64(unconstify(pg_atomic_uint64 *, &set->changes));
	pg_read_barrier();
	for (int i = 0; i < WAYS && !found; i++)
		if (set->tags[i] == TAG(hash) && set->places[i].generation == generation && is_of(&set->places[i], key))
		{
			*standing = set->places[i].standing;
			found = true;
		}
	pg_read_barrier();
	return found && changes % 2 == 0 && changes == pg_atomic_read_u64(unconstify(pg_atomic_uint64 *, &set->changes)) &&
		   standing->from <= at && at < standing->until;
}

/*
 * Remember what an account amounts to.
 *
 * oldest: the full number of the oldest transaction that ran when the snapshot
 * was taken with which it was read.
 */
void
quota_entitlement_cache_keep(Datum account, uint64 generation, const QuotaEntitlementEntry *standing, uint64 oldest)
{
	const text *key = (text *) DatumGetPointer(account);
	uint64 hash = hash_of(account);
	Set *set;

	if (VARSIZE_ANY_EXHDR(key) > MAX_ACCOUNT || !attach())
		return;
	set = begin_change(hash);
	if (set->changed_by < oldest)
	{
		int way = way_for(set, key, hash);
		Place *place = &set->places[way];

		set->tags[way] = TAG(hash);
		place->generation = generation;
		place->standing = *standing;
		place->length = VARSIZE_ANY_EXHDR(key);
		memcpy(place->account, VARDATA_ANY(key), place->length);
	}
	end_change(set, hash);
}

/* Forget an account, whose rows the transaction has changed. */
void
quota_entitlement_cache_forget(Datum account)
{
	const text *key = DatumGetTextPP(account);
	uint64 hash = hash_of(PointerGetDatum(key));
	uint64 changer = U64FromFullTransactionId(GetTopFullTransactionId());
	Set *set;

	if (!attach_to_change())
		return;
	set = begin_change(hash);
	set->changed_by = Max(set->changed_by, changer);
	for (int i = 0; i < WAYS; i++)
		if (is_of(&set->places[i], key))
			set->places[i].length = 0;
	end_change(set, hash);
}

/* Forget all accounts, as the transaction may have changed any. */
void
quota_entitlement_cache_forget_all(void)
{
	uint64 changer = U64FromFullTransactionId(GetTopFullTransactionId());

	if (!attach_to_change())
		return;
	for (uint64 i = 0; i < SETS; i++)
	{
		Set *set = begin_change(i);

		set->changed_by = Max(set->changed_by, changer);
		for (int way = 0; way < WAYS; way++)
			set->places[way].length = 0;
		end_change(set, i);
	}
}

/* Whether there is memory. */
static bool
attach(void)
{
	Assert(!RecoveryInProgress());
	if (unlikely(table == NULL))
		table = quota_shared_segment(QUOTA_SEGMENT_STANDINGS, sizeof(Table), fill);
	return table != NULL;
}

/*
 * Whether there is memory in which something has to be forgotten. Where nobody has
 * any, nothing is remembered; that of later notes this transaction, which has a
 * number by now.
 *
 * Errors: out_of_memory where others have memory and this backend cannot get at
 * it: they would go on with what has changed.
 */
static bool
attach_to_change(void)
{
	if (table == NULL && quota_shared_is_made(QUOTA_SEGMENT_STANDINGS) && !attach())
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("could not get the shared memory in which other sessions remember accounts"),
				 errhint("%s", quota_shared_remedy())));
	return table != NULL;
}

static void
fill(void *memory, int tranche)
{
	Table *made = memory;
	uint64 next = U64FromFullTransactionId(ReadNextFullTransactionId());

	memset(made, 0, sizeof(Table));
	for (int i = 0; i < LOCKS; i++)
		LWLockInitialize(&made->locks[i].lock, tranche);
	for (int i = 0; i < SETS; i++)
	{
		pg_atomic_init_u64(&made->sets[i].changes, 0);
		made->sets[i].changed_by = next - 1;
	}
}

static uint64
hash_of(Datum account)
{
	const text *key = (text *) DatumGetPointer(account);

	return hash_bytes_extended((const unsigned char *) VARDATA_ANY(key), VARSIZE_ANY_EXHDR(key), MyDatabaseId);
}

static Set *
begin_change(uint64 hash)
{
	Set *set = &table->sets[hash % SETS];

	LWLockAcquire(lock_of(hash), LW_EXCLUSIVE);
	pg_atomic_write_u64(&set->changes, pg_atomic_read_u64(&set->changes) + 1);
	pg_write_barrier();
	return set;
}

static void
end_change(Set *set, uint64 hash)
{
	pg_write_barrier();
	pg_atomic_write_u64(&set->changes, pg_atomic_read_u64(&set->changes) + 1);
	LWLockRelease(lock_of(hash));
}

static LWLock *
lock_of(uint64 hash)
{
	return &table->locks[hash % LOCKS].lock;
}

/* The place that an account has, or else the one where it is expected, unless another is empty. */
static int
way_for(const Set *set, const text *account, uint64 hash)
{
	int expected = TAG(hash) % WAYS;
	int way = expected;

	for (int i = 0; i < WAYS; i++)
	{
		if (is_of(&set->places[i], account))
			return i;
		if (set->places[i].length == 0 && set->places[expected].length != 0)
			way = i;
	}
	return way;
}

static bool
is_of(const Place *place, const text *account)
{
	return place->length == VARSIZE_ANY_EXHDR(account) && memcmp(place->account, VARDATA_ANY(account), place->length) == 0;
}
