/*
 * entitlement_cache.c
 *		The entitlement cache: what accounts are entitled to, in shared memory.
 *
 * With it a call need not read quota.accounts and quota.limit_overrides. A change
 * that has committed is never missed:
 *
 * - Triggers on both tables call quota_entitlement_cache_forget in the transaction
 *   that changes an account. The entry goes at once, and its set records the
 *   transaction in changed_by. An entry is stored only if snapshot.xmin >
 *   set.changed_by: every recorded writer had finished before the snapshot.
 * - So an entry was read after the end of every change before it, and none is
 *   stored while a change is open. How a change ends does not matter: rollback,
 *   also of a savepoint, PREPARE and a crash only leave fewer entries.
 * - What else could change the tables (triggers disabled and enabled again, a
 *   table written anew) makes another generation (tables/changes.c), under which
 *   no earlier entry is found.
 * - A standby, where no trigger fires, does not use the cache. A new cache counts
 *   all earlier transactions as writers.
 *
 * Life: a cache of 16 MB (memory/set_cache.h), made by the first call. An entry has
 * its account's name, so none is taken for another's. Where all nine ways of a set are
 * in use, a new entry replaces any. Without memory all accounts are looked up.
 *
 * Lock			Protects			Order	While held
 * set LWLock	writes of a set		alone	no wait, no allocation, no error
 *
 * Readers take none: they compare the set's number of changes before and after.
 */
#include "postgres.h"

#include "memory/entitlement_cache.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "common/hashfn.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "port/atomics.h"

#include "compat.h"

#define CACHE_SEGMENT QUOTA_SEGMENT_ENTITLEMENTS
#define CACHE_SETS (1 << 14)
#define CACHE_WAYS 9
#define CACHE_SET EntitlementSet
#define CACHE_KEY AccountKey

/* accounts with longer names are looked up */
#define MAX_NAME 47

#define TAG(hash) ((uint32) ((hash) >> 32))

typedef struct AccountKey
{
	uint64 hash; /* of the name and the database */
	const char *name;
	Size length;
} AccountKey;

typedef struct NamedEntry
{
	uint64 generation;
	QuotaEntitlementEntry entry;
	uint8 length; /* 0: empty */
	char name[MAX_NAME];
} NamedEntry;

/* What is looked at first is one line of the processor's cache. */
typedef struct EntitlementSet
{
	pg_atomic_uint64 changes; /* odd while one is made */
	uint64 changed_by;        /* the latest transaction, by its full number */
	uint32 tags[CACHE_WAYS];  /* of the accounts' hashes */
	char unused[12];
	NamedEntry entries[CACHE_WAYS];
	char unused2[24];
} EntitlementSet;

static inline bool
has_key(const EntitlementSet *set, int way, const AccountKey *key)
{
	const NamedEntry *named = &set->entries[way];

	return set->tags[way] == TAG(key->hash) && named->length == key->length && memcmp(named->name, key->name, key->length) == 0;
}

static inline double
worth(const EntitlementSet *set, int way, TimestampTz now pg_attribute_unused())
{
	return set->entries[way].length == 0 ? 0 : 1;
}

#include "memory/set_cache.h"

static inline AccountKey key_of(const void *account);
static void forget(const AccountKey *key, uint64 first, int sets);
static EntitlementSet *begin_change(uint64 hash);
static void end_change(EntitlementSet *set, uint64 hash);

/*
 * Have an account's entry brought to the processor, for a
 * quota_entitlement_cache_find to come: in a large memory it is far away.
 */
void
quota_entitlement_cache_expect(Datum account)
{
	uint64 hash;
	const EntitlementSet *set;
	const char *first;

	/* do not make it here: a standby, which asks as well, must not */
	if (cache == NULL)
		return;
	hash = key_of(DatumGetPointer(account)).hash;
	set = set_of(hash);
	first = (const char *) &set->entries[first_way(hash)];
	__builtin_prefetch(set);
	/* two lines, at most three */
	__builtin_prefetch(first);
	__builtin_prefetch(first + sizeof(NamedEntry) - 1);
}

/* Find what an account is entitled to at a time; false: not known. */
bool
quota_entitlement_cache_find(Datum account, uint64 generation, TimestampTz at, QuotaEntitlementEntry *entry)
{
	AccountKey key = key_of(DatumGetPointer(account));
	EntitlementSet *set;
	uint64 changes;
	int way;

	Assert(!RecoveryInProgress());
	if (!attach_cache())
		return false;
	set = set_of(key.hash);
	changes = pg_atomic_read_u64(&set->changes);
	pg_read_barrier();
	way = find_way(&key);
	if (way == CACHE_WAYS || set->entries[way].generation != generation)
		return false;
	*entry = set->entries[way].entry;
	pg_read_barrier();
	return changes % 2 == 0 && changes == pg_atomic_read_u64(&set->changes) &&
		   entry->from <= at && at < entry->until;
}

/*
 * Store what an account is entitled to.
 *
 * oldest: the full number of the oldest transaction that ran when the snapshot
 * was taken with which it was read.
 */
void
quota_entitlement_cache_keep(Datum account, uint64 generation, const QuotaEntitlementEntry *entry, uint64 oldest)
{
	AccountKey key = key_of(DatumGetPointer(account));
	EntitlementSet *set;

	Assert(!RecoveryInProgress());
	if (key.length > MAX_NAME || !attach_cache() || oldest < cache->head.next_xid)
		return;
	set = begin_change(key.hash);
	if (set->changed_by < oldest)
	{
		int way = find_way_to_write(&key, 0);
		NamedEntry *named = &set->entries[way];

		set->tags[way] = TAG(key.hash);
		named->generation = generation;
		named->entry = *entry;
		named->length = key.length;
		memcpy(named->name, key.name, key.length);
	}
	end_change(set, key.hash);
}

/* Forget an account, whose rows the transaction has changed. */
void
quota_entitlement_cache_forget(Datum account)
{
	AccountKey key = key_of(DatumGetTextPP(account));

	forget(&key, key.hash, 1);
}

/* Forget all accounts, as the transaction may have changed any. */
void
quota_entitlement_cache_forget_all(void)
{
	forget(NULL, 0, CACHE_SETS);
}

static inline AccountKey
key_of(const void *account)
{
	const char *name = VARDATA_ANY(account);
	Size length = VARSIZE_ANY_EXHDR(account);

	return (AccountKey){hash_bytes_extended((const unsigned char *) name, length, MyDatabaseId), name, length};
}

/*
 * Forget an account in its set, or all accounts in a number of sets.
 *
 * Errors: out_of_memory where other sessions have memory and this backend cannot
 * get at it: they would go on with what has changed.
 */
static void
forget(const AccountKey *key, uint64 first, int sets)
{
	/* before the look at the memory: a cache that is made after it counts this transaction as a writer */
	uint64 changer = U64FromFullTransactionId(GetTopFullTransactionId());

	Assert(!RecoveryInProgress());
	if (cache == NULL && quota_segment_is_made(CACHE_SEGMENT) && !attach_cache())
		quota_segment_raise("could not get the shared memory in which other sessions remember accounts");
	for (int i = 0; cache != NULL && i < sets; i++)
	{
		EntitlementSet *set = begin_change(first + i);

		set->changed_by = Max(set->changed_by, changer);
		for (int way = 0; way < CACHE_WAYS; way++)
			if (key == NULL || has_key(set, way, key))
				set->entries[way].length = 0;
		end_change(set, first + i);
	}
}

static EntitlementSet *
begin_change(uint64 hash)
{
	EntitlementSet *set = set_of(hash);

	LWLockAcquire(lock_of(hash), LW_EXCLUSIVE);
	pg_atomic_write_u64(&set->changes, pg_atomic_read_u64(&set->changes) + 1);
	pg_write_barrier();
	return set;
}

static void
end_change(EntitlementSet *set, uint64 hash)
{
	pg_write_barrier();
	pg_atomic_write_u64(&set->changes, pg_atomic_read_u64(&set->changes) + 1);
	LWLockRelease(lock_of(hash));
}
