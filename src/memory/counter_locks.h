/*
 * counter_locks.h
 *		The LWLocks of contended counters.
 *
 * A counter with slots is scanned and written under one of 64 striped locks, which
 * its hash chooses. Two numbers beside the lock tell a session that scanned before
 * it had the lock what was charged since, and whether anything else was written.
 *
 * Life: in the struct of segment.c, so that no dynamic shared memory is needed.
 *
 * Lock				Protects				Order						While held
 * counter LWLock	scan and write of the	one at a time, after rows	no wait for a row or
 *					slots of its counters								a transaction
 */
#ifndef QUOTA_COUNTER_LOCKS_H
#define QUOTA_COUNTER_LOCKS_H

#include "port/atomics.h"
#include "storage/lwlock.h"

/* raised: units charged under this lock. changes: bumped by every other write. */
typedef struct QuotaCounterLock
{
	LWLock lock;
	pg_atomic_uint64 raised;
	pg_atomic_uint64 changes;
	char unused[LWLOCK_PADDED_SIZE - sizeof(LWLock) - 2 * sizeof(pg_atomic_uint64)];
} QuotaCounterLock;

/* Add to a number of a lock that is held. */
static inline void
quota_counter_locks_add(pg_atomic_uint64 *number, int64 n)
{
	pg_atomic_write_u64(number, pg_atomic_read_u64(number) + n);
}

#endif
