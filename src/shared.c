/*
 * Shared memory: where rows were last seen, the locks of contended counters, and
 * segments for other modules. It needs no preloading: the first backend that asks
 * makes it, the others find it by name.
 *
 * Places. A table of words remembers for the hash of a row's key the tuple id of
 * one of its versions. It is a hint: two rows may share a word's tag, versions
 * go, tables are rewritten, so whoever uses a place checks what is there. So it
 * needs no locks, and nothing has to be kept right at a crash, on a standby or
 * when it overflows, when the least lucky place is overwritten.
 *
 * Locks. LWLocks, held for microseconds while a charge of a counter with several
 * slots looks at all of them and writes one. One at a time is held, and nothing
 * is waited for meanwhile.
 *
 * Segments. Each is made, and filled by its owner, when it is asked for first.
 */
#include "postgres.h"

#include "shared.h"

#include "storage/dsm.h"
#include "storage/shmem.h"

/* a line of the processor's cache: the words that a hash can be in */
#define WAYS 8
#define SETS (1 << 17)
#define LOCKS 64

/* 16 bits of the hash, the block, the offset; 0: empty, as no tuple has offset 0 */
#define WORD_TAG(hash) ((hash) &UINT64CONST(0xFFFF000000000000))

typedef struct Set
{
	pg_atomic_uint64 words[WAYS];
} Set;

typedef struct Shared
{
	int tranche;
	struct
	{
		dsm_handle handle;
		int tranche;
	} segments[QUOTA_SEGMENTS];
	union
	{
		QuotaSharedLock lock;
		char pad[LWLOCK_PADDED_SIZE];
	} locks[LOCKS];
} Shared;

/* of the LWLocks in them, as pg_stat_activity has them */
static const char *const tranche_names[QUOTA_SEGMENTS] = {"quota_place", "quota_standing", "quota_rate"};

static Shared *shared = NULL;

static void attach(void);
static void create(void);
static Set *set_of(uint64 hash);
static void clear(void *memory, int tranche);

/* Where the row of this hash was last seen; false: not known. */
bool
quota_shared_find(uint64 hash, ItemPointer tid)
{
	Set *set = set_of(hash);

	for (int i = 0; set != NULL && i < WAYS; i++)
	{
		uint64 word = pg_atomic_read_u64(&set->words[i]);

		if (word != 0 && WORD_TAG(word) == WORD_TAG(hash))
		{
			ItemPointerSet(tid, (BlockNumber) (word >> 16), (OffsetNumber) word);
			return true;
		}
	}
	return false;
}

void
quota_shared_remember(uint64 hash, const ItemPointerData *tid)
{
	Set *set = set_of(hash);
	uint64 word = WORD_TAG(hash) | (uint64) ItemPointerGetBlockNumberNoCheck(tid) << 16 | ItemPointerGetOffsetNumberNoCheck(tid);
	int to = (hash >> 40) % WAYS;

	if (set == NULL)
		return;
	for (int i = 0; i < WAYS; i++)
	{
		uint64 old = pg_atomic_read_u64(&set->words[i]);

		if (old == word)
			return;
		if (old == 0)
			to = i;
		else if (WORD_TAG(old) == WORD_TAG(hash))
		{
			to = i;
			break;
		}
	}
	pg_atomic_write_u64(&set->words[to], word);
}

/* The lock of the counter of this hash. */
QuotaSharedLock *
quota_shared_lock(uint64 hash)
{
	attach();
	return &shared->locks[hash % LOCKS].lock;
}

/* To be told by who has charged a counter, with its lock held, and has changed nothing else. */
void
quota_shared_raised(QuotaSharedLock *lock, int64 units)
{
	pg_atomic_write_u64(&lock->raised, pg_atomic_read_u64(&lock->raised) + units);
}

/* The same of any other change. */
void
quota_shared_changed(QuotaSharedLock *lock)
{
	pg_atomic_write_u64(&lock->changes, pg_atomic_read_u64(&lock->changes) + 1);
}

/*
 * The memory of a segment, mapped to this backend; NULL: none is to be had now.
 * Not to be called again once it has been had: the caller keeps it.
 *
 * size: bytes. fill: fills the memory where nobody has yet, with locks of the
 * tranche.
 */
void *
quota_shared_segment(QuotaSegment segment, Size size, void (*fill)(void *memory, int tranche))
{
	dsm_segment *mapped;

	attach();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	if (shared->segments[segment].handle != DSM_HANDLE_INVALID)
		mapped = dsm_attach(shared->segments[segment].handle);
	else
	{
		mapped = dsm_create(size, DSM_CREATE_NULL_IF_MAXSEGMENTS);
		if (mapped != NULL)
		{
			fill(dsm_segment_address(mapped), shared->segments[segment].tranche);
			dsm_pin_segment(mapped);
			shared->segments[segment].handle = dsm_segment_handle(mapped);
		}
	}
	LWLockRelease(AddinShmemInitLock);
	if (mapped == NULL)
		return NULL;
	LWLockRegisterTranche(shared->segments[segment].tranche, tranche_names[segment]);
	dsm_pin_mapping(mapped);
	return dsm_segment_address(mapped);
}

/* NULL: there was no memory to be had, nothing is remembered. */
static Set *
set_of(uint64 hash)
{
	static Set *sets = NULL;
	static bool asked = false;

	if (unlikely(!asked))
		sets = quota_shared_segment(QUOTA_SEGMENT_PLACES, SETS * sizeof(Set), clear);
	asked = true;
	return sets == NULL ? NULL : &sets[(hash >> 8) % SETS];
}

static void
clear(void *memory, int tranche pg_attribute_unused())
{
	memset(memory, 0, SETS * sizeof(Set));
}

static void
attach(void)
{
	bool found;

	if (likely(shared != NULL))
		return;
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shared = ShmemInitStruct("quota", sizeof(Shared), &found);
	if (!found)
		create();
	LWLockRelease(AddinShmemInitLock);
	LWLockRegisterTranche(shared->tranche, "quota_counter");
}

static void
create(void)
{
	shared->tranche = LWLockNewTrancheId();
	for (int i = 0; i < QUOTA_SEGMENTS; i++)
	{
		shared->segments[i].handle = DSM_HANDLE_INVALID;
		shared->segments[i].tranche = LWLockNewTrancheId();
	}
	for (int i = 0; i < LOCKS; i++)
	{
		LWLockInitialize(&shared->locks[i].lock.lock, shared->tranche);
		pg_atomic_init_u64(&shared->locks[i].lock.raised, 0);
		pg_atomic_init_u64(&shared->locks[i].lock.changes, 0);
	}
}
