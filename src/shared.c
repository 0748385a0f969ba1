/*
 * Shared memory: where rows were last seen, the locks of contended counters, and
 * room for rates. It needs no preloading: the first backend that asks makes it,
 * the others find it by name.
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
 * Rates. A segment that src/rate.c fills, made when the first rate is asked for.
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
	int rate_tranche;
	dsm_handle places;
	dsm_handle rates;
	union
	{
		QuotaSharedLock lock;
		char pad[LWLOCK_PADDED_SIZE];
	} locks[LOCKS];
} Shared;

static Shared *shared = NULL;
static Set *sets = NULL; /* NULL: no memory to be had, nothing is remembered */

static void attach(void);
static void create(void);
static Set *set_of(uint64 hash);

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

/*
 * The memory of rates, mapped to this backend; NULL: none is to be had now.
 * To be called once in a backend, which keeps what it gets.
 *
 * size: bytes. fill: fills the memory where nobody has yet, with locks of the
 * tranche.
 */
void *
quota_shared_rates(Size size, void (*fill)(void *memory, int tranche))
{
	dsm_segment *segment;

	attach();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	if (shared->rates != DSM_HANDLE_INVALID)
		segment = dsm_attach(shared->rates);
	else
	{
		segment = dsm_create(size, DSM_CREATE_NULL_IF_MAXSEGMENTS);
		if (segment != NULL)
		{
			fill(dsm_segment_address(segment), shared->rate_tranche);
			dsm_pin_segment(segment);
			shared->rates = dsm_segment_handle(segment);
		}
	}
	LWLockRelease(AddinShmemInitLock);
	LWLockRegisterTranche(shared->rate_tranche, "quota_rate");
	if (segment == NULL)
		return NULL;
	dsm_pin_mapping(segment);
	return dsm_segment_address(segment);
}

static Set *
set_of(uint64 hash)
{
	attach();
	return sets == NULL ? NULL : &sets[(hash >> 8) % SETS];
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
	if (sets == NULL && shared->places != DSM_HANDLE_INVALID)
	{
		dsm_segment *segment = dsm_attach(shared->places);

		if (segment != NULL)
		{
			dsm_pin_mapping(segment);
			sets = dsm_segment_address(segment);
		}
	}
}

static void
create(void)
{
	dsm_segment *segment;

	shared->tranche = LWLockNewTrancheId();
	shared->rate_tranche = LWLockNewTrancheId();
	shared->places = shared->rates = DSM_HANDLE_INVALID;
	for (int i = 0; i < LOCKS; i++)
	{
		LWLockInitialize(&shared->locks[i].lock.lock, shared->tranche);
		pg_atomic_init_u64(&shared->locks[i].lock.changes, 0);
	}

	segment = dsm_create(SETS * sizeof(Set), DSM_CREATE_NULL_IF_MAXSEGMENTS);
	if (segment == NULL)
		return;
	dsm_pin_segment(segment);
	dsm_pin_mapping(segment);
	sets = dsm_segment_address(segment);
	memset(sets, 0, SETS * sizeof(Set));
	shared->places = dsm_segment_handle(segment);
}
