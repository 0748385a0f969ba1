/*
 * How one row of a table is found, time and again: where it was last seen, or
 * by its primary key. For the modules of the store.
 */
#ifndef QUOTA_LOOKUP_H
#define QUOTA_LOOKUP_H

#include "access/genam.h"
#include "access/htup.h"
#include "executor/tuptable.h"
#include "storage/buf.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"

#define QUOTA_MAX_KEY_COLUMNS 5
#define QUOTA_MAX_KEY_STRING 64

struct QuotaKey;

/* Whether a row of a table has a key. */
typedef bool (*QuotaHasKey)(HeapTuple tuple, const struct QuotaKey *key);

/* The header of a version, and the columns of fixed width that quota.usage begins with. */
#define QUOTA_VERSION_DATA 32

typedef struct QuotaVersion
{
	ItemPointerData tid; /* invalid: there is none */
	HeapTupleHeaderData header;
	char data[QUOTA_VERSION_DATA];
} QuotaVersion;

/* A table that is looked into. */
typedef struct QuotaLookup
{
	Relation rel;              /* NULL: not open */
	QuotaHasKey has_key;       /* NULL: to be seen by the table's description */
	bool write;                /* its pages are cleaned up on the way */
	const AttrNumber *columns; /* of the primary key */
	HeapTupleData tuple;       /* what was found; its data is NULL where nothing was */
	bool own;                  /* it is a version of this transaction */
	QuotaVersion found;        /* of it, as it was when it was found, where it may be written */
	Buffer page;               /* the one looked at last, until quota_lookup_release */
	Buffer *expected;          /* where the next one is, NULL: not known */
	QuotaVersion next;         /* of what was found, if it stands on the same page */
	Relation index;            /* NULL: not needed yet, nor are the two that follow */
	IndexScanDesc scan;
	TupleTableSlot *slot;
	MemoryContext context;
} QuotaLookup;

/* What is looked for: the values of the primary key's columns, and their hash. */
typedef struct QuotaKey
{
	int count;
	uint64 hash;
	struct
	{
		RegProcedure equals;
		Datum value;
		const void *bytes; /* of a text; NULL: the type is passed by value */
		Size length;
	} columns[QUOTA_MAX_KEY_COLUMNS];
	char string[VARHDRSZ + QUOTA_MAX_KEY_STRING]; /* of quota_lookup_key_string; last, as not all keys have it */
} QuotaKey;

extern void quota_lookup_open(QuotaLookup *lookup, Relation rel, bool write, const AttrNumber *columns, QuotaHasKey has_key);
extern void quota_lookup_close(QuotaLookup *lookup);

extern void quota_lookup_key(QuotaKey *key, const QuotaLookup *lookup);
extern void quota_lookup_key_text(QuotaKey *key, Datum value);
extern void quota_lookup_key_string(QuotaKey *key, const char *value);
extern void quota_lookup_key_value(QuotaKey *key, RegProcedure equals, Datum value);

extern bool quota_lookup_find(QuotaLookup *lookup, const QuotaKey *key, Snapshot snapshot);
extern void quota_lookup_expect_page(QuotaLookup *lookup, Buffer *buffer);
extern QuotaVersion *quota_lookup_read_version(QuotaLookup *lookup, ItemPointerData tid);
extern QuotaVersion *quota_lookup_read_version_of(QuotaLookup *lookup, ItemPointerData tid, const QuotaKey *key);
extern void quota_lookup_release_row(QuotaLookup *lookup);
extern void quota_lookup_release(QuotaLookup *lookup);

#endif
