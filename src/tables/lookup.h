/* Find a row of a table by its primary key, again and again. */
#ifndef QUOTA_LOOKUP_H
#define QUOTA_LOOKUP_H

#include "access/genam.h"
#include "access/htup_details.h"
#include "executor/tuptable.h"
#include "storage/buf.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"

#define QUOTA_MAX_KEY_COLUMNS 5
#define QUOTA_MAX_KEY_STRING 64

struct QuotaKey;

/* Compare a row with a key. */
typedef bool (*QuotaHasKey)(HeapTuple tuple, const struct QuotaKey *key);

/* bytes of a version that are copied: the columns of fixed width that quota.usage begins with */
#define QUOTA_VERSION_DATA 32

/* True if xmax is set and is not just a row lock. Says nothing about whether xmax committed. */
#define QUOTA_IS_UPDATED(header) \
	(!((header)->t_infomask & HEAP_XMAX_INVALID) && !HEAP_XMAX_IS_LOCKED_ONLY((header)->t_infomask))

typedef struct QuotaVersion
{
	ItemPointerData tid; /* invalid: no version */
	HeapTupleHeaderData header;
	char data[QUOTA_VERSION_DATA];
} QuotaVersion;

/* An open table, and the row that was found last. The first four fields are set to open it; the others are 0 then. */
typedef struct QuotaLookup
{
	Relation rel; /* NULL: not open */
	QuotaHasKey has_key;
	MemoryContext context;
	bool write;          /* prune its pages, and copy the version that is found */
	HeapTupleData tuple; /* the row; t_data is NULL where none was found */
	bool own;            /* this transaction wrote that version */
	QuotaVersion found;  /* copy of it, if `write` */
	Buffer page;         /* the page read last, pinned until quota_lookup_release */
	Buffer *expected;    /* where to expect the page of the next row, to save a search; is set to where it is. NULL: unknown */
	QuotaVersion next;   /* copy of the version after `found`, if on the same page */
	Relation index;      /* primary key; NULL: not open yet, nor are scan and slot */
	IndexScanDesc scan;
	TupleTableSlot *slot;
} QuotaLookup;

/* A key: the values of the primary key's columns, and their hash. */
typedef struct QuotaKey
{
	int count;
	uint64 hash;
	struct
	{
		RegProcedure equals;
		Datum value;
		const void *bytes; /* of a text; NULL: passed by value */
		Size length;
	} columns[QUOTA_MAX_KEY_COLUMNS];
	char string[VARHDRSZ + QUOTA_MAX_KEY_STRING]; /* of quota_lookup_key_string; last, so that copies can leave it out */
} QuotaKey;

extern void quota_lookup_close(QuotaLookup *lookup);

extern void quota_lookup_key(QuotaKey *key, const QuotaLookup *lookup);
extern void quota_lookup_key_text(QuotaKey *key, Datum value);
extern void quota_lookup_key_string(QuotaKey *key, const char *value);
extern void quota_lookup_key_column(QuotaKey *key, RegProcedure equals, Datum value, const void *bytes, Size length);

extern bool quota_lookup_find(QuotaLookup *lookup, const QuotaKey *key, Snapshot snapshot);
extern QuotaVersion *quota_lookup_read_version(QuotaLookup *lookup, ItemPointerData tid, const QuotaKey *key);
extern void quota_lookup_release_row(QuotaLookup *lookup);
extern void quota_lookup_release(QuotaLookup *lookup);

#endif
