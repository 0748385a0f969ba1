/*
 * row_places.c
 *		Row places: for the hash of a row's key, the tuple id of one of its versions.
 *
 * A place is a hint: two rows may share a word's tag, versions are removed, tables
 * are rewritten, so the caller checks what is there. Nothing has to be kept right
 * at a crash or on a standby. Without memory nothing is found.
 *
 * Life: a cache of 8 MB (memory/set_cache.h), made by the first use.
 *
 * Locks: none; an entry is one word, read and written whole.
 */
#include "postgres.h"

#include "memory/row_places.h"

#include "datatype/timestamp.h"
#include "port/atomics.h"

#define CACHE_SEGMENT QUOTA_SEGMENT_ROW_PLACES
#define CACHE_SETS (1 << 17)
#define CACHE_WAYS 8
#define CACHE_SET PlaceSet
#define CACHE_KEY uint64

/* 16 bits of the hash, the block, the offset; 0: empty, as no tuple has offset 0 */
#define WORD_TAG(hash) ((hash) &UINT64CONST(0xFFFF000000000000))

/* a line of the processor's cache */
typedef struct PlaceSet
{
	pg_atomic_uint64 words[CACHE_WAYS];
} PlaceSet;

static inline bool
has_key(PlaceSet *set, int way, const uint64 *hash)
{
	uint64 word = pg_atomic_read_u64(&set->words[way]);

	return word != 0 && WORD_TAG(word) == WORD_TAG(*hash);
}

static inline double
worth(PlaceSet *set, int way, TimestampTz now pg_attribute_unused())
{
	return pg_atomic_read_u64(&set->words[way]) == 0 ? 0 : 1;
}

#include "memory/set_cache.h"

/* Find the row place of a hash; false: not known. */
bool
quota_row_places_find(uint64 hash, ItemPointer tid)
{
	int way = attach_cache() ? find_way(&hash) : CACHE_WAYS;
	uint64 word;

	if (way == CACHE_WAYS)
		return false;
	word = pg_atomic_read_u64(&set_of(hash)->words[way]);
	ItemPointerSet(tid, (BlockNumber) (word >> 16), (OffsetNumber) word);
	return true;
}

void
quota_row_places_remember(uint64 hash, const ItemPointerData *tid)
{
	uint64 word = WORD_TAG(hash) | (uint64) ItemPointerGetBlockNumberNoCheck(tid) << 16 | ItemPointerGetOffsetNumberNoCheck(tid);
	pg_atomic_uint64 *to;

	if (!attach_cache())
		return;
	to = &set_of(hash)->words[find_way_to_write(&hash, 0)];
	/* do not take the line from other processors for nothing */
	if (pg_atomic_read_u64(to) != word)
		pg_atomic_write_u64(to, word);
}
