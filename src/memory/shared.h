/*
 * Shared memory: where rows were last seen, the locks of contended counters, and
 * segments for other modules. There may be none to be had.
 */
#ifndef QUOTA_SHARED_H
#define QUOTA_SHARED_H

#include "port/atomics.h"
#include "storage/itemptr.h"
#include "storage/lwlock.h"

/*
 * To be raised with every change of what stands in shared memory, of whichever
 * module: a library that is loaded before the server has been restarted then
 * leaves alone what another has made.
 */
#ifndef QUOTA_LAYOUT
#define QUOTA_LAYOUT 2
#endif

/*
 * The lock of the counters of some hashes, and two numbers that are written with
 * it held: what charges have added to any of them, and one that is another after
 * each other change.
 */
typedef struct QuotaSharedLock
{
	LWLock lock;
	pg_atomic_uint64 raised;
	pg_atomic_uint64 changes;
} QuotaSharedLock;

typedef enum QuotaSegment
{
	QUOTA_SEGMENT_PLACES,
	QUOTA_SEGMENT_STANDINGS,
	QUOTA_SEGMENT_RATES /* one a database */
} QuotaSegment;

#define QUOTA_SEGMENTS (QUOTA_SEGMENT_RATES + 1)

extern void quota_shared_init(void);
extern bool quota_shared_find(uint64 hash, ItemPointer tid);
extern void quota_shared_remember(uint64 hash, const ItemPointerData *tid);
extern QuotaSharedLock *quota_shared_lock(uint64 hash);
extern void quota_shared_raised(QuotaSharedLock *lock, int64 units);
extern void quota_shared_changed(QuotaSharedLock *lock);
extern void *quota_shared_segment(QuotaSegment segment, Size size, void (*fill)(void *memory, int tranche));
extern bool quota_shared_is_made(QuotaSegment segment);
extern const char *quota_shared_remedy(void);
extern uint64 quota_shared_database(void);

#endif
