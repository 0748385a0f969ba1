/*
 * Shared memory: where rows were last seen, and the locks of contended counters.
 */
#ifndef QUOTA_SHARED_H
#define QUOTA_SHARED_H

#include "storage/itemptr.h"
#include "storage/lwlock.h"

extern bool quota_shared_find(uint64 hash, ItemPointer tid);
extern void quota_shared_remember(uint64 hash, const ItemPointerData *tid);
extern LWLock *quota_shared_lock(uint64 hash);

#endif
