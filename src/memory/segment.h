/*
 * segment.h
 *		Shared memory, by kind and database. There may be none to be had.
 */
#ifndef QUOTA_SEGMENT_H
#define QUOTA_SEGMENT_H

#include "compat.h"
#include "memory/counter_locks.h"
#include "rules/siphash.h"

/*
 * Raise it with every change of what a file of src/memory keeps there: a library
 * that is loaded before the server is restarted then leaves alone what another
 * has made.
 */
#define QUOTA_LAYOUT 3

typedef enum QuotaSegment
{
	QUOTA_SEGMENT_ROW_PLACES,
	QUOTA_SEGMENT_ENTITLEMENTS,
	QUOTA_SEGMENT_RATES /* one a database */
} QuotaSegment;

#define QUOTA_SEGMENTS (QUOTA_SEGMENT_RATES + 1)
#define QUOTA_SEGMENT_LOCKS 64

/* The beginning of a segment. The rest is zero at first. */
typedef struct QuotaSegmentHead
{
	LWLockPadded locks[QUOTA_SEGMENT_LOCKS];
	QuotaSecret secret; /* random */
	uint64 next_xid;    /* the next transaction when it was made, by its full number */
	char unused[PG_CACHE_LINE_SIZE - sizeof(QuotaSecret) - sizeof(uint64)];
	pg_atomic_uint64 evictions; /* of rates that were not empty */
	char unused2[PG_CACHE_LINE_SIZE - sizeof(pg_atomic_uint64)];
} QuotaSegmentHead;

extern void quota_segment_init(void);
extern QuotaCounterLock *quota_segment_counter_lock(uint64 hash);
extern QuotaSegmentHead *quota_segment_get(QuotaSegment kind, Size size);
extern bool quota_segment_is_made(QuotaSegment kind);
pg_noreturn extern void quota_segment_raise(const char *message);
extern uint64 quota_segment_database(void);

#endif
