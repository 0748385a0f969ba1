/*
 * Shared memory: where rows were last seen, the locks of contended counters, and
 * segments for other modules. It needs no preloading: the first backend that asks
 * makes it, the others find it by name.
 *
 * It is a hint. None may be to be had: somebody has taken all, /dev/shm is too
 * small, or another version of the library made what is there. Every function
 * then says so (NULL, or false), and its caller goes on without; the log tells
 * once a backend, and what to do. It is asked for again after RETRY_US.
 * Where the library is preloaded the struct is made when the server starts,
 * before anybody can take its room.
 *
 * Places. A table of words remembers for the hash of a row's key the tuple id of
 * one of its versions. It is a hint: two rows may share a word's tag, versions
 * go, tables are rewritten, so whoever uses a place checks what is there. So it
 * needs no locks, and nothing has to be kept right at a crash, on a standby or
 * when it overflows, when the least lucky place is overwritten. Who chooses
 * keys with equal hashes makes his own rows slower to find, and no more.
 *
 * Segments. Each is made, and filled by its owner, when it is asked for first.
 * Those of rates are each of one database; the databases after the first
 * OWN_RATES have one together. One that has it keeps it, so that no two backends
 * of a database look at different ones.
 *
 * Lock					Protects				While held
 * AddinShmemInitLock	making and finding		memory is asked for; no other lock
 *						the struct, segments	of ours is held
 * counter LWLock		scan and write of the	no wait, one at a time
 *						slots of a counter
 */
#include "postgres.h"

#include "memory/shared.h"

#include <sys/stat.h>

#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/dsm.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "utils/resowner.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "compat.h"

#if QUOTA_COMPAT_NAMED_SEGMENTS
#include "storage/dsm_registry.h"
#endif

/* a line of the processor's cache: the words that a hash can be in */
#define WAYS 8
#define SETS (1 << 17)
#define LOCKS 64
/* databases that have a segment of rates for themselves */
#define OWN_RATES 16
#define RETRY_US (10 * USECS_PER_SEC)

/* 16 bits of the hash, the block, the offset; 0: empty, as no tuple has offset 0 */
#define WORD_TAG(hash) ((hash) &UINT64CONST(0xFFFF000000000000))

typedef struct Set
{
	pg_atomic_uint64 words[WAYS];
} Set;

typedef struct Segment
{
	dsm_handle handle; /* DSM_HANDLE_INVALID: not made */
	Oid database;      /* of an own one of rates: whose it is, invalid: nobody's */
	uint64 identity;   /* of that database */
} Segment;

typedef struct Shared
{
	uint64 layout; /* first in every version */
	int tranche;
	int tranches[QUOTA_SEGMENTS];
	pg_atomic_uint64 refused_at[QUOTA_SEGMENTS]; /* when there was last none to be had */
	Segment segments[QUOTA_SEGMENTS];            /* of rates that which several databases have */
	Segment own_rates[OWN_RATES];
	union
	{
		QuotaSharedLock lock;
		char pad[LWLOCK_PADDED_SIZE];
	} locks[LOCKS];
} Shared;

/* Its size is the same in every version: the server raises an error where it finds another. */
#define SHARED_SIZE 16384

StaticAssertDecl(sizeof(Shared) <= SHARED_SIZE, "there is room for the struct");

/* "quota", the number of the layout, the size of the struct */
#define LAYOUT (UINT64CONST(0x71756F7461000000) | (uint64) QUOTA_LAYOUT << 16 | sizeof(Shared))

/* What is asked for, and what comes of it. */
typedef struct Request
{
	QuotaSegment segment;
	Size size;
	void (*fill)(void *memory, int tranche);
	void *memory; /* NULL: there is none */
	bool failed;  /* an error was raised */
	int sqlstate;
	char message[256];
} Request;

/* of the LWLocks in them, as pg_stat_activity has them */
static const char *const tranche_names[QUOTA_SEGMENTS] = {"quota_place", "quota_standing", "quota_rate"};

static const char remedy_of_struct[] = "Name quota in shared_preload_libraries and restart the server: its memory is then reserved.";
static const char remedy_of_layout[] = "Restart the server: its memory is that of another version of the library.";
static const char remedy_of_segment[] = "Give the server more dynamic shared memory (/dev/shm, for a container --shm-size); "
										"where its slots are all taken, there are more with a higher max_connections.";

static Shared *shared = NULL;
static bool is_foreign = false; /* it was made by another version of the library */
static const char *remedy = remedy_of_segment;

#if !QUOTA_COMPAT_NAMED_SEGMENTS
static shmem_request_hook_type next_request_hook;
static shmem_startup_hook_type next_startup_hook;
static void reserve(void);
static void make_reserved(void);
#endif
static bool attach(void);
static void find_struct(Request *request);
static void create(void *memory);
static void find_segment(Request *request);
static Segment *segment_for(QuotaSegment kind);
static void free_dropped_databases(void);
static void get(void (*find)(Request *request), Request *request);
static bool refused_lately(TimestampTz refused_at, TimestampTz now);
static void tell(const Request *request, const char *what_to_do);
static Set *set_of(uint64 hash);
static void clear(void *memory, int tranche);

/* Have the memory reserved and made when the server starts, where the library is preloaded. */
void
quota_shared_init(void)
{
#if !QUOTA_COMPAT_NAMED_SEGMENTS
	if (!process_shared_preload_libraries_in_progress)
		return;
	next_request_hook = shmem_request_hook;
	shmem_request_hook = reserve;
	next_startup_hook = shmem_startup_hook;
	shmem_startup_hook = make_reserved;
#endif
}

#if !QUOTA_COMPAT_NAMED_SEGMENTS
static void
reserve(void)
{
	if (next_request_hook != NULL)
		next_request_hook();
	RequestAddinShmemSpace(SHARED_SIZE);
}

/* Nobody else can take what is reserved once it is in use. */
static void
make_reserved(void)
{
	Request request = {0};

	if (next_startup_hook != NULL)
		next_startup_hook();
	shared = NULL;
	find_struct(&request);
	shared = request.memory;
}
#endif

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

/* The lock of the counter of this hash; NULL: there is no memory, and none for the others of the counter either. */
QuotaSharedLock *
quota_shared_lock(uint64 hash)
{
	return attach() ? &shared->locks[hash % LOCKS].lock : NULL;
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
 * tranche; may raise errors.
 */
void *
quota_shared_segment(QuotaSegment segment, Size size, void (*fill)(void *memory, int tranche))
{
	Request request = {.segment = segment, .size = size, .fill = fill};
	TimestampTz now;

	/* not while a lock is held: those that wait for it would wait for the memory as well */
	if (InterruptHoldoffCount > 0 || !attach())
		return NULL;
	now = GetCurrentTimestamp();
	/* a look without the lock: what is made meanwhile is found the next time */
	if (segment_for(segment)->handle == DSM_HANDLE_INVALID &&
		refused_lately((TimestampTz) pg_atomic_read_u64(&shared->refused_at[segment]), now))
	{
		tell(&request, remedy_of_segment);
		return NULL;
	}
	if (segment == QUOTA_SEGMENT_RATES)
		free_dropped_databases();
	get(find_segment, &request);
	if (request.memory == NULL)
	{
		pg_atomic_write_u64(&shared->refused_at[segment], (uint64) now);
		tell(&request, remedy_of_segment);
		return NULL;
	}
	LWLockRegisterTranche(shared->tranches[segment], tranche_names[segment]);
	return request.memory;
}

/*
 * Whether there may be a segment that other backends use: no is certain, yes is
 * not, where another version of the library has made the memory.
 */
bool
quota_shared_is_made(QuotaSegment segment)
{
	bool made;

	if (!attach())
		return is_foreign;
	LWLockAcquire(AddinShmemInitLock, LW_SHARED);
	made = segment_for(segment)->handle != DSM_HANDLE_INVALID;
	LWLockRelease(AddinShmemInitLock);
	return made;
}

/* What helps where there was no memory to be had, for a hint. */
const char *
quota_shared_remedy(void)
{
	return remedy;
}

/*
 * What tells this database from all others that the server has had, also from
 * one that had its OID before: the file that is made with its directory. What
 * is in the database does not, since a template may have it as well.
 */
uint64
quota_shared_database(void)
{
	static uint64 identity = 0;

	if (unlikely(identity == 0))
	{
		char path[MAXPGPATH];
		struct stat file = {0};

		snprintf(path, sizeof(path), "%s/PG_VERSION", DatabasePath);
		/* where it cannot be read the OID has to do */
		if (stat(path, &file) == 0)
			identity = hash_combine64(hash_combine64(file.st_ino, file.st_mtime), quota_compat_mtime_ns(file));
		/* 0 has a meaning */
		identity = Max(hash_combine64(MyDatabaseId, identity), 1);
	}
	return identity;
}

/* NULL: there is no memory, nothing is remembered. */
static Set *
set_of(uint64 hash)
{
	static Set *sets = NULL;

	if (unlikely(sets == NULL))
		sets = quota_shared_segment(QUOTA_SEGMENT_PLACES, SETS * sizeof(Set), clear);
	return sets == NULL ? NULL : &sets[(hash >> 8) % SETS];
}

static void
clear(void *memory, int tranche pg_attribute_unused())
{
	memset(memory, 0, SETS * sizeof(Set));
}

/* Find the struct, or make it. Returns whether there is one. */
static bool
attach(void)
{
	static TimestampTz refused_at = DT_NOBEGIN;
	Request request = {0};
	TimestampTz now;

	if (likely(shared != NULL))
		return true;
	if (InterruptHoldoffCount > 0)
		return false;
	now = GetCurrentTimestamp();
	if (refused_lately(refused_at, now))
		return false;
	get(find_struct, &request);
	/* of another size: the error is an internal one, and not that there is no room */
	is_foreign = request.failed ? request.sqlstate == ERRCODE_INTERNAL_ERROR : request.memory == NULL;
	if (request.memory == NULL)
	{
		refused_at = now;
		tell(&request, is_foreign ? remedy_of_layout : remedy_of_struct);
		return false;
	}
	shared = request.memory;
	LWLockRegisterTranche(shared->tranche, "quota_counter");
	return true;
}

static void
find_struct(Request *request)
{
	Shared *found;
	bool is_there;

#if QUOTA_COMPAT_NAMED_SEGMENTS
	found = GetNamedDSMSegment("quota", SHARED_SIZE, create, &is_there);
#else
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	found = ShmemInitStruct("quota", SHARED_SIZE, &is_there);
	if (!is_there)
		create(found);
	LWLockRelease(AddinShmemInitLock);
#endif
	if (found->layout == LAYOUT)
		request->memory = found;
}

static void
create(void *memory)
{
	Shared *made = memory;

	made->layout = LAYOUT;
	made->tranche = LWLockNewTrancheId();
	for (int i = 0; i < QUOTA_SEGMENTS; i++)
	{
		made->segments[i] = (Segment){.handle = DSM_HANDLE_INVALID};
		made->tranches[i] = LWLockNewTrancheId();
		pg_atomic_init_u64(&made->refused_at[i], (uint64) DT_NOBEGIN);
	}
	for (int i = 0; i < OWN_RATES; i++)
		made->own_rates[i] = (Segment){.handle = DSM_HANDLE_INVALID};
	for (int i = 0; i < LOCKS; i++)
	{
		LWLockInitialize(&made->locks[i].lock.lock, made->tranche);
		pg_atomic_init_u64(&made->locks[i].lock.raised, 0);
		pg_atomic_init_u64(&made->locks[i].lock.changes, 0);
	}
}

/* Map a segment, which is made where it is not there. */
static void
find_segment(Request *request)
{
	dsm_segment *mapped;
	Segment *segment;

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	segment = segment_for(request->segment);
	if (segment->handle != DSM_HANDLE_INVALID)
		mapped = dsm_attach(segment->handle);
	else
	{
		mapped = dsm_create(request->size, DSM_CREATE_NULL_IF_MAXSEGMENTS);
		if (mapped != NULL)
		{
			request->fill(dsm_segment_address(mapped), shared->tranches[request->segment]);
			dsm_pin_segment(mapped);
			segment->handle = dsm_segment_handle(mapped);
		}
	}
	if (mapped != NULL && segment != &shared->segments[request->segment])
	{
		segment->database = MyDatabaseId;
		segment->identity = quota_shared_database();
	}
	LWLockRelease(AddinShmemInitLock);
	if (mapped == NULL)
		return;
	dsm_pin_mapping(mapped);
	request->memory = dsm_segment_address(mapped);
}

/* Which segment it is. Once databases share one of rates, none gets another of its own: some of its backends might use the shared one. */
static Segment *
segment_for(QuotaSegment kind)
{
	Segment *common = &shared->segments[kind];
	Segment *unused = NULL;

	if (kind != QUOTA_SEGMENT_RATES)
		return common;
	for (int i = OWN_RATES - 1; i >= 0; i--)
	{
		Segment *own = &shared->own_rates[i];

		if (own->identity == quota_shared_database())
			return own;
		if (!OidIsValid(own->database))
			unused = own;
	}
	return unused == NULL || common->handle != DSM_HANDLE_INVALID ? common : unused;
}

/* Let others have the segments of databases that are there no more. What is in them nobody finds: it is of another database. */
static void
free_dropped_databases(void)
{
	Segment of_before[OWN_RATES];

	LWLockAcquire(AddinShmemInitLock, LW_SHARED);
	memcpy(of_before, shared->own_rates, sizeof(of_before));
	LWLockRelease(AddinShmemInitLock);
	for (int i = 0; i < OWN_RATES; i++)
	{
		const Segment *before = &of_before[i];
		Segment *own = &shared->own_rates[i];

		if (!OidIsValid(before->database) || before->identity == quota_shared_database() ||
			(before->database != MyDatabaseId && SearchSysCacheExists1(DATABASEOID, ObjectIdGetDatum(before->database))))
			continue;
		LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
		if (own->identity == before->identity)
			*own = (Segment){.handle = before->handle};
		LWLockRelease(AddinShmemInitLock);
	}
}

/*
 * Find memory. An error is caught, and what is half made undone, so that the
 * transaction goes on: nothing but locks, mapped segments and the state of the
 * error can be left, as no catalogue is looked at and no lock was held before.
 */
static void
get(void (*find)(Request *request), Request *request)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ResourceOwner of_request = ResourceOwnerCreate(owner, "shared memory of quota");

	Assert(InterruptHoldoffCount == 0);
	CurrentResourceOwner = of_request;
	PG_TRY();
	{
		find(request);
	}
	PG_CATCH();
	{
		ErrorData *error;

		LWLockReleaseAll();
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		request->memory = NULL;
		request->failed = true;
		request->sqlstate = error->sqlerrcode;
		strlcpy(request->message, error->message, sizeof(request->message));
		FreeErrorData(error);
	}
	PG_END_TRY();
	CurrentResourceOwner = owner;
	/* not as at a commit, which would warn of what is left */
	ResourceOwnerRelease(of_request, RESOURCE_RELEASE_BEFORE_LOCKS, false, false);
	ResourceOwnerRelease(of_request, RESOURCE_RELEASE_LOCKS, false, false);
	ResourceOwnerRelease(of_request, RESOURCE_RELEASE_AFTER_LOCKS, false, false);
	ResourceOwnerDelete(of_request);
}

/* A clock that goes back does not keep from asking again. */
static bool
refused_lately(TimestampTz refused_at, TimestampTz now)
{
	return refused_at <= now && now - RETRY_US < refused_at;
}

/* Tell the log, once a backend, that there was no memory to be had. */
static void
tell(const Request *request, const char *what_to_do)
{
	static bool told = false;

	remedy = what_to_do;
	if (told)
		return;
	told = true;
	ereport(LOG_SERVER_ONLY,
			(errmsg("quota goes on without shared memory: charges are slower, rates are refused"),
			 request->failed ? errdetail("It was not to be had: %s.", request->message) : 0,
			 errhint("%s", what_to_do)));
}
