/*
 * segment.c
 *		Shared memory, by kind and database. There may be none to be had.
 *
 * A small struct, found by its name, has the counter locks and the handles of the
 * segments of dynamic shared memory: one of each kind, and of rates one a database.
 * The databases after the first OWN_RATES share one.
 *
 * Life. The first backend that asks makes and fills what it asks for. Where the
 * library is preloaded, the struct is made when the server starts, before others
 * can take its room; from PostgreSQL 17 on it is a named segment. A mapping stays
 * until the backend ends, and its caller keeps the address.
 *
 * None to be had. Others may have taken all, /dev/shm may be too small, or another
 * version of the library may have made the struct, as its layout stamp says. Then
 * callers get NULL and go on without; the log says so once a backend, with the
 * remedy. A backend asks again after RETRY_US.
 *
 * Lock					Protects						Order	While held
 * AddinShmemInitLock	the struct until it is made,	alone	memory is made, filled
 *						handles							and mapped
 */
#include "postgres.h"

#include "memory/segment.h"

#include <sys/stat.h>

#include "access/transam.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/dsm.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/resowner.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "compat.h"

#if QUOTA_COMPAT_NAMED_SEGMENTS
#include "storage/dsm_registry.h"
#endif

#define COUNTER_LOCKS 64
/* databases that have a segment of rates for themselves */
#define OWN_RATES 16
#define RETRY_US (10 * USECS_PER_SEC)

/* as pg_stat_activity shows them: the segments' LWLocks, by kind, and the counter locks */
static const char *const tranche_names[] = {"quota_place", "quota_entitlement", "quota_rate", "quota_counter"};

StaticAssertDecl(lengthof(tranche_names) == QUOTA_SEGMENTS + 1, "each kind has a tranche");

typedef struct Segment
{
	dsm_handle handle; /* DSM_HANDLE_INVALID: not made */
	Oid database;      /* of an own one of rates; invalid: nobody's */
} Segment;

typedef struct Shared
{
	uint64 layout; /* first in every version */
	int tranches[lengthof(tranche_names)];
	TimestampTz refused_at[QUOTA_SEGMENTS]; /* when there was last none to be had; a hint, without a lock */
	Segment segments[QUOTA_SEGMENTS];       /* of rates that which several databases share */
	Segment own_rates[OWN_RATES];
	QuotaCounterLock counter_locks[COUNTER_LOCKS];
} Shared;

/* The same in every version: the server refuses another size. */
#define SHARED_SIZE 16384

StaticAssertDecl(sizeof(Shared) <= SHARED_SIZE, "there is room for the struct");

/* "quota", the number of the layout, the size of the struct */
#define LAYOUT (UINT64CONST(0x71756F7461000000) | (uint64) QUOTA_LAYOUT << 16 | sizeof(Shared))

static const char remedy_of_struct[] = "Name quota in shared_preload_libraries and restart the server: its memory is then reserved.";
static const char remedy_of_layout[] = "Restart the server: its memory is that of another version of the library.";
static const char remedy_of_segment[] = "Give the server more dynamic shared memory (/dev/shm, for a container --shm-size); "
										"where its slots are all taken, there are more with a higher max_connections.";

static Shared *shared = NULL;
static const char *remedy = remedy_of_segment; /* of the last refusal */

static bool attach(bool at_once);
static void *find_struct(void);
static void create(void *memory);
static void *find_segment(QuotaSegment kind, Size size);
static Segment *segment_of(QuotaSegment kind);
static void free_dropped_databases(void);
static void *try_to_find(QuotaSegment kind, Size size);
static bool refused_lately(TimestampTz refused_at);
static void report_once(const ErrorData *error);

#if !QUOTA_COMPAT_NAMED_SEGMENTS
static shmem_request_hook_type next_request_hook;
static shmem_startup_hook_type next_startup_hook;

static void
reserve(void)
{
	if (next_request_hook != NULL)
		next_request_hook();
	RequestAddinShmemSpace(SHARED_SIZE);
}

/* Use what is reserved: nobody else can take it then. */
static void
make_reserved(void)
{
	if (next_startup_hook != NULL)
		next_startup_hook();
	shared = find_struct();
}
#endif

/* Reserve and make the struct when the server starts, where the library is preloaded. */
void
quota_segment_init(void)
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

/* Return the lock of the counter of a hash; NULL: there is no memory, and the caller has to go by row locks. */
QuotaCounterLock *
quota_segment_counter_lock(uint64 hash)
{
	return attach(false) ? &shared->counter_locks[hash % COUNTER_LOCKS] : NULL;
}

/*
 * Get the memory of a kind, mapped to this backend; NULL: none is to be had now.
 * Do not call again once it has been had: keep it.
 *
 * size: bytes, with the head. Locks: AddinShmemInitLock while it is found or made.
 */
QuotaSegmentHead *
quota_segment_get(QuotaSegment kind, Size size)
{
	QuotaSegmentHead *head;

	/* not while a lock is held: those that wait for it would wait for the memory as well */
	if (InterruptHoldoffCount > 0 || !attach(false))
		return NULL;
	remedy = remedy_of_segment;
	/* no lock for this look: what is made meanwhile is found the next time */
	if (segment_of(kind)->handle == DSM_HANDLE_INVALID && refused_lately(shared->refused_at[kind]))
	{
		report_once(NULL);
		return NULL;
	}
	if (kind == QUOTA_SEGMENT_RATES)
		free_dropped_databases();
	head = try_to_find(kind, size);
	if (head == NULL)
		shared->refused_at[kind] = GetCurrentTimestamp();
	return head;
}

/*
 * Return whether there may be a segment that other backends use: no is certain; yes
 * is not, where another version of the library has made the struct.
 */
bool
quota_segment_is_made(QuotaSegment kind)
{
	bool made;

	if (!attach(true))
		return remedy == remedy_of_layout;
	LWLockAcquire(AddinShmemInitLock, LW_SHARED);
	made = segment_of(kind)->handle != DSM_HANDLE_INVALID;
	LWLockRelease(AddinShmemInitLock);
	return made;
}

/* Raise an error where there was no memory to be had. */
void
quota_segment_raise(const char *message)
{
	ereport(ERROR,
			(errcode(ERRCODE_OUT_OF_MEMORY),
			 errmsg("%s", message),
			 errhint("%s", remedy)));
}

/*
 * Identify this database among all that the server has had, also one that had
 * its OID before: by the file that is made with its directory. What is in the
 * database does not do, since its template may have the same.
 */
uint64
quota_segment_database(void)
{
	static uint64 identity = 0; /* not known */
	char path[MAXPGPATH];
	struct stat file = {0};

	if (likely(identity != 0))
		return identity;
	snprintf(path, sizeof(path), "%s/PG_VERSION", DatabasePath);
	/* where it cannot be read, the OID has to do */
	(void) stat(path, &file);
	identity = hash_combine64(hash_combine64(file.st_ino, file.st_mtime), quota_compat_mtime_ns(file));
	identity = hash_combine64(MyDatabaseId, identity);
	return identity;
}

/* Find the struct, or make it. at_once: also if there was lately none to be had. Return whether there is one. */
static bool
attach(bool at_once)
{
	static TimestampTz refused_at = 0;

	if (likely(shared != NULL))
		return true;
	if (InterruptHoldoffCount > 0 || (!at_once && refused_lately(refused_at)))
		return false;
	remedy = remedy_of_struct;
	shared = try_to_find(0, 0);
	if (shared == NULL)
		refused_at = GetCurrentTimestamp();
	return shared != NULL;
}

static void *
find_struct(void)
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
	if (found->layout != LAYOUT)
	{
		remedy = remedy_of_layout;
		return NULL;
	}
	for (size_t i = 0; i < lengthof(tranche_names); i++)
		LWLockRegisterTranche(found->tranches[i], tranche_names[i]);
	return found;
}

static void
create(void *memory)
{
	Shared *made = memory;

	memset(made, 0, sizeof(Shared));
	made->layout = LAYOUT;
	for (size_t i = 0; i < lengthof(tranche_names); i++)
		made->tranches[i] = LWLockNewTrancheId();
	for (int i = 0; i < COUNTER_LOCKS; i++)
	{
		QuotaCounterLock *lock = &made->counter_locks[i];

		LWLockInitialize(&lock->lock, made->tranches[QUOTA_SEGMENTS]);
		pg_atomic_init_u64(&lock->raised, 0);
		pg_atomic_init_u64(&lock->changes, 0);
	}
}

/* Map a segment; make and fill it if it is not there. */
static void *
find_segment(QuotaSegment kind, Size size)
{
	Segment *segment;
	dsm_segment *mapped;

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	segment = segment_of(kind);
	if (segment->handle != DSM_HANDLE_INVALID)
		mapped = dsm_attach(segment->handle);
	else
		mapped = dsm_create(size, DSM_CREATE_NULL_IF_MAXSEGMENTS);
	if (mapped != NULL && segment->handle == DSM_HANDLE_INVALID)
	{
		QuotaSegmentHead *head = memset(dsm_segment_address(mapped), 0, size);

		for (int i = 0; i < QUOTA_SEGMENT_LOCKS; i++)
			LWLockInitialize(&head->locks[i].lock, shared->tranches[kind]);
		if (!pg_strong_random(&head->secret, sizeof(QuotaSecret)))
			ereport(ERROR,
					(errcode(ERRCODE_INTERNAL_ERROR),
					 errmsg("could not generate random values")));
		head->next_xid = U64FromFullTransactionId(ReadNextFullTransactionId());
		pg_atomic_init_u64(&head->evictions, 0);
		dsm_pin_segment(mapped);
		segment->handle = dsm_segment_handle(mapped);
	}
	if (mapped != NULL && segment != &shared->segments[kind])
		segment->database = MyDatabaseId;
	LWLockRelease(AddinShmemInitLock);
	if (mapped == NULL)
		return NULL;
	dsm_pin_mapping(mapped);
	return dsm_segment_address(mapped);
}

/* Pick the segment of a kind. Once databases share one of rates, none gets its own: some of its backends might use the shared one. */
static Segment *
segment_of(QuotaSegment kind)
{
	Segment *common = &shared->segments[kind];
	Segment *unused = NULL;

	if (kind != QUOTA_SEGMENT_RATES)
		return common;
	for (int i = OWN_RATES - 1; i >= 0; i--)
	{
		Segment *own = &shared->own_rates[i];

		if (own->database == MyDatabaseId)
			return own;
		if (!OidIsValid(own->database))
			unused = own;
	}
	return unused == NULL || common->handle != DSM_HANDLE_INVALID ? common : unused;
}

/* Let others have the segments of dropped databases. Nobody finds what is in them: its keys are of another database. */
static void
free_dropped_databases(void)
{
	for (int i = 0; i < OWN_RATES; i++)
	{
		Segment *own = &shared->own_rates[i];
		/* no lock for this look: it is compared under the lock */
		Oid database = own->database;

		if (!OidIsValid(database) || SearchSysCacheExists1(DATABASEOID, ObjectIdGetDatum(database)))
			continue;
		LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
		if (own->database == database)
			own->database = InvalidOid;
		LWLockRelease(AddinShmemInitLock);
	}
}

/*
 * Find the struct, or a segment once there is a struct; NULL: there is none. Catch
 * an error and undo what is half made, so that the transaction goes on: nothing but
 * LWLocks, mapped segments and the state of the error can be left, as no catalogue is
 * read and no lock was held before.
 */
static void *
try_to_find(QuotaSegment kind, Size size)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ResourceOwner of_request = ResourceOwnerCreate(owner, "shared memory of quota");
	ErrorData *volatile error = NULL;
	void *volatile memory = NULL;

	Assert(InterruptHoldoffCount == 0);
	CurrentResourceOwner = of_request;
	PG_TRY();
	{
		memory = shared == NULL ? find_struct() : find_segment(kind, size);
	}
	PG_CATCH();
	{
		LWLockReleaseAll();
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
	}
	PG_END_TRY();
	CurrentResourceOwner = owner;
	/* not as at a commit, which would warn of what is left */
	for (int phase = RESOURCE_RELEASE_BEFORE_LOCKS; phase <= RESOURCE_RELEASE_AFTER_LOCKS; phase++)
		ResourceOwnerRelease(of_request, phase, false, false);
	ResourceOwnerDelete(of_request);
	if (memory == NULL)
		report_once(error);
	return memory;
}

/* Return true for RETRY_US. A clock that goes back does not keep from asking again. */
static bool
refused_lately(TimestampTz refused_at)
{
	TimestampTz now = GetCurrentTimestamp();

	return refused_at <= now && now - RETRY_US < refused_at;
}

/* Log, once a backend, that there was no memory to be had. error: may be NULL. */
static void
report_once(const ErrorData *error)
{
	static bool reported = false;

	if (reported)
		return;
	reported = true;
	ereport(LOG_SERVER_ONLY,
			(errmsg("quota goes on without shared memory: charges are slower, rates are refused"),
			 error != NULL ? errdetail("It was not to be had: %s.", error->message) : 0,
			 errhint("%s", remedy)));
}
