/*
 * set_cache.h
 *		A set-associative cache in shared memory: row places, entitlements, rates.
 *
 * A template, as lib/simplehash.h is, so that sizes are constants where an entry is
 * found. Before it is included, a file defines
 *		CACHE_SEGMENT	its QuotaSegment
 *		CACHE_SETS		number of sets, a multiple of QUOTA_SEGMENT_LOCKS
 *		CACHE_WAYS		entries of a set
 *		CACHE_SET		type of a set; all zero: empty
 *		CACHE_KEY		type of a key, which begins with its hash, a uint64
 * and the functions has_key(set, way, key) and worth(set, way, now), which is finite;
 * 0: the entry is empty. The hash chooses the set. A new entry replaces the one worth least.
 *
 * If the hash is quota_siphash with the secret, nobody can choose names that share a
 * set. Only rates use it: in the other caches such names are only slower to find, and
 * hash_bytes_extended takes a third of the time.
 *
 * Life: a segment (memory/segment.h), made by the first attach_cache that finds none.
 *
 * Lock			Protects						Order		While held
 * set LWLock	every 64th set, its entries		by number	no wait, no allocation, no error
 *
 * Row places take none, and the entitlement cache none to read.
 */
#include <float.h>

#include "memory/segment.h"

StaticAssertDecl(CACHE_SETS % QUOTA_SEGMENT_LOCKS == 0, "a set has one lock");
StaticAssertDecl(sizeof(CACHE_SET) % 64 == 0, "sets fit to lines of the processor's cache");

typedef struct Cache
{
	QuotaSegmentHead head;
	CACHE_SET sets[CACHE_SETS];
} Cache;

static Cache *cache = NULL; /* not attached */

/* Return whether there is memory. */
static inline bool
attach_cache(void)
{
	if (unlikely(cache == NULL))
		cache = (Cache *) quota_segment_get(CACHE_SEGMENT, sizeof(Cache));
	return cache != NULL;
}

static inline CACHE_SET *
set_of(uint64 hash)
{
	return &cache->sets[hash % CACHE_SETS];
}

static inline LWLock *
lock_of(uint64 hash)
{
	return &cache->head.locks[hash % QUOTA_SEGMENT_LOCKS].lock;
}

/* Return the way in which an entry is looked for first. */
static inline int
first_way(uint64 hash)
{
	return (uint32) (hash >> 32) % CACHE_WAYS;
}

static inline int
next_way(int way)
{
	return way + 1 < CACHE_WAYS ? way + 1 : 0;
}

/* Find the way of a key; CACHE_WAYS: none has it. */
static inline int
find_way(const CACHE_KEY *key)
{
	uint64 hash = *(const uint64 *) key;
	CACHE_SET *set = set_of(hash);
	int way = first_way(hash);

	for (int i = 0; i < CACHE_WAYS; i++, way = next_way(way))
		if (has_key(set, way, key))
			return way;
	return CACHE_WAYS;
}

/* Find the way of a key, or else the one worth least. */
static inline int
find_way_to_write(const CACHE_KEY *key, TimestampTz now)
{
	uint64 hash = *(const uint64 *) key;
	int to = find_way(key);
	double least = DBL_MAX;

	if (to < CACHE_WAYS)
		return to;
	for (int i = 0, way = first_way(hash); i < CACHE_WAYS && least > 0; i++, way = next_way(way))
	{
		double its_worth = worth(set_of(hash), way, now);

		if (its_worth < least)
		{
			least = its_worth;
			to = way;
		}
	}
	Assert(to < CACHE_WAYS);
	/* of the others nobody asks, and all would write to one counter */
	if (least > 0 && CACHE_SEGMENT == QUOTA_SEGMENT_RATES)
		pg_atomic_fetch_add_u64(&cache->head.evictions, 1);
	return to;
}
