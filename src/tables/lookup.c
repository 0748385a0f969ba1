/*
 * lookup.c
 *		Find a row of a table by its primary key, again and again.
 *
 * An index scan costs several times what reading a row does. While an old
 * snapshot keeps dead versions from being removed, the index leads to all
 * versions of a row, and a contended counter has very many. So a row is looked for
 *		1. where this transaction wrote its newest version (newest.c)
 *		2. at its row place, in shared memory (memory/row_places.h)
 *		3. by the primary key.
 * A row place is only a hint: what is found there is checked for visibility and
 * for the key, since another row may have taken the place.
 *
 * Lock				Protects				Order		While held
 * share lock of page	header of a version		-			no wait; copy the header
 *
 * A page stays pinned until quota_lookup_release. Memory: the context in which
 * the lookup was opened.
 */
#include "postgres.h"

#include "tables/lookup.h"

#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/smgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"

#include "compat.h"
#include "memory/row_places.h"
#include "tables/newest.h"
#include "tables/scan.h"

static uint64 mix_value(uint64 value);
static bool find_at_place(QuotaLookup *lookup, const QuotaKey *key, Snapshot snapshot);
static bool find_from(QuotaLookup *lookup, const QuotaKey *key, ItemPointer tid, Snapshot snapshot);
static bool find_by_index(QuotaLookup *lookup, const QuotaKey *key, Snapshot snapshot);
static bool follow_versions(QuotaLookup *lookup, ItemPointer tid, Snapshot snapshot);
static void remember_place(QuotaLookup *lookup, const QuotaKey *key);
static void note_header(QuotaLookup *lookup);
static void copy_next(QuotaLookup *lookup, Buffer buffer, ItemPointerData tid, const QuotaKey *key);
static void copy_version(QuotaVersion *copy, HeapTuple version);
static Buffer pin_page(QuotaLookup *lookup, BlockNumber block);
static bool read_tuple(Buffer buffer, HeapTuple tuple);
static bool has_block(Relation rel, BlockNumber block);

/* Close a lookup and its table, and keep the table's lock until the end of the transaction. */
void
quota_lookup_close(QuotaLookup *lookup)
{
	if (lookup->rel == NULL)
		return;
	quota_lookup_release(lookup);
	if (lookup->index != NULL)
	{
		ExecDropSingleTupleTableSlot(lookup->slot);
		index_endscan(lookup->scan);
		index_close(lookup->index, NoLock);
	}
	table_close(lookup->rel, NoLock);
	lookup->rel = NULL;
}

/* Begin a key; add its columns in the order of the primary key. */
void
quota_lookup_key(QuotaKey *key, const QuotaLookup *lookup)
{
	key->count = 0;
	key->hash = hash_combine64(MyDatabaseId, RelationGetRelid(lookup->rel));
}

/* Add a column of type text. The value must live as long as the key. */
void
quota_lookup_key_text(QuotaKey *key, Datum value)
{
	text *string = DatumGetTextPP(value);

	quota_lookup_key_column(key, F_TEXTEQ, PointerGetDatum(string), VARDATA_ANY(string), VARSIZE_ANY_EXHDR(string));
}

/* Add a column of type text from a string. The key stores one short string itself. */
void
quota_lookup_key_string(QuotaKey *key, const char *value)
{
	Size length = strlen(value);

	if (length > QUOTA_MAX_KEY_STRING)
	{
		quota_lookup_key_text(key, CStringGetTextDatum(value));
		return;
	}
	SET_VARSIZE(key->string, VARHDRSZ + length);
	memcpy(key->string + VARHDRSZ, value, length);
	quota_lookup_key_column(key, F_TEXTEQ, PointerGetDatum(key->string), key->string + VARHDRSZ, length);
}

/* Add a column. bytes: of a text; NULL: its type is passed by value. */
void
quota_lookup_key_column(QuotaKey *key, RegProcedure equals, Datum value, const void *bytes, Size length)
{
	Assert(key->count < QUOTA_MAX_KEY_COLUMNS);
	key->hash = hash_combine64(key->hash, bytes == NULL ? mix_value(value) : hash_bytes_extended(bytes, length, 0));
	key->columns[key->count].equals = equals;
	key->columns[key->count].value = value;
	key->columns[key->count].bytes = bytes;
	key->columns[key->count].length = length;
	key->count++;
}

/*
 * Find the version of a row that a snapshot sees.
 *
 * Returns false if there is none. lookup->tuple is valid until
 * quota_lookup_release or quota_lookup_release_row.
 */
bool
quota_lookup_find(QuotaLookup *lookup, const QuotaKey *key, Snapshot snapshot)
{
	ItemPointerData tid;

	ItemPointerSetInvalid(&lookup->next.tid);
	/* SERIALIZABLE needs no index scan of an own version: one was made before it was written */
	if ((quota_newest_find_own(key->hash, &tid) && find_from(lookup, key, &tid, snapshot)) ||
		find_at_place(lookup, key, snapshot) || find_by_index(lookup, key, snapshot))
		return true;
	quota_lookup_release(lookup);
	return false;
}

/* Find the row at its row place. */
static bool
find_at_place(QuotaLookup *lookup, const QuotaKey *key, Snapshot snapshot)
{
	ItemPointerData place;
	ItemPointerData tid;

	/* SERIALIZABLE needs the predicate locks of an index scan */
	if (IsolationIsSerializable() || !quota_row_places_find(key->hash, &place) || !ItemPointerIsValid(&place))
		return false;
	tid = place;
	if (!find_from(lookup, key, &tid, snapshot))
		return false;
	if (!ItemPointerEquals(&tid, &place))
		remember_place(lookup, key);
	return true;
}

/* Find the row at a place or in a later version; set *tid to where it is. */
static bool
find_from(QuotaLookup *lookup, const QuotaKey *key, ItemPointer tid, Snapshot snapshot)
{
	if (!follow_versions(lookup, tid, snapshot))
		return false;
	if (lookup->has_key(&lookup->tuple, key))
		return true;
	lookup->tuple.t_data = NULL;
	return false;
}

/* Find the row by the primary key. */
static bool
find_by_index(QuotaLookup *lookup, const QuotaKey *key, Snapshot snapshot)
{
	MemoryContext old = MemoryContextSwitchTo(lookup->context);
	ScanKeyData keys[QUOTA_MAX_KEY_COLUMNS];
	bool found;

	/* ScanKeyInit uses the C collation, which our key columns have */
	for (int i = 0; i < key->count; i++)
		ScanKeyInit(&keys[i], i + 1, BTEqualStrategyNumber, key->columns[i].equals, key->columns[i].value);
	if (lookup->index == NULL)
	{
		lookup->index = index_open(quota_scan_primary_key(lookup->rel), AccessShareLock);
		lookup->scan = quota_compat_index_beginscan(lookup->rel, lookup->index, snapshot, key->count);
		lookup->slot = table_slot_create(lookup->rel, NULL);
	}
	lookup->scan->xs_snapshot = snapshot;
	index_rescan(lookup->scan, keys, key->count, NULL, 0);
	/* in the lookup's context, since scans keep what they allocate */
	found = index_getnext_slot(lookup->scan, ForwardScanDirection, lookup->slot);
	MemoryContextSwitchTo(old);
	if (found)
	{
		Buffer buffer = ((BufferHeapTupleTableSlot *) lookup->slot)->buffer;

		lookup->tuple = *ExecFetchSlotHeapTuple(lookup->slot, false, NULL);
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		note_header(lookup);
		LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
		remember_place(lookup, key);
	}
	return found;
}

/*
 * Read the version at a place, whoever wrote it; with a key, only if it is of that row.
 *
 * Returns NULL if there is none; valid until the next read. Costs nothing for the
 * version after the one found, if on the same page, and little on the page read last.
 */
QuotaVersion *
quota_lookup_read_version(QuotaLookup *lookup, ItemPointerData tid, const QuotaKey *key)
{
	if (key != NULL || !ItemPointerIsValid(&lookup->next.tid) || !ItemPointerEquals(&lookup->next.tid, &tid))
	{
		Buffer buffer;

		/* without a key, tid is that of a version of a row that has been found */
		if (key != NULL && !has_block(lookup->rel, ItemPointerGetBlockNumber(&tid)))
			return NULL;
		buffer = pin_page(lookup, ItemPointerGetBlockNumber(&tid));
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		copy_next(lookup, buffer, tid, key);
		LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	}
	return ItemPointerIsValid(&lookup->next.tid) ? &lookup->next : NULL;
}

/* Copy what the header of the version found tells. The page is locked. */
static void
note_header(QuotaLookup *lookup)
{
	lookup->own = TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(lookup->tuple.t_data));
	if (lookup->write)
		copy_version(&lookup->found, &lookup->tuple);
}

/* Copy the version at a place of a locked page to lookup->next; with a key, if it has that. */
static void
copy_next(QuotaLookup *lookup, Buffer buffer, ItemPointerData tid, const QuotaKey *key)
{
	HeapTupleData tuple = {.t_self = tid};

	ItemPointerSetInvalid(&lookup->next.tid);
	if (!read_tuple(buffer, &tuple))
		return;
	/* a place that has been redirected is not that of the version any more */
	if (key == NULL || (ItemPointerEquals(&tuple.t_self, &tid) && lookup->has_key(&tuple, key)))
	{
		tuple.t_self = tid;
		copy_version(&lookup->next, &tuple);
	}
}

static void
copy_version(QuotaVersion *copy, HeapTuple version)
{
	HeapTupleHeader header = version->t_data;

	copy->tid = version->t_self;
	memcpy(&copy->header, header, SizeofHeapTupleHeader);
	memcpy(copy->data, (char *) header + header->t_hoff, Min(version->t_len - header->t_hoff, QUOTA_VERSION_DATA));
}

/* Release the row, but keep its page pinned for the next one. */
void
quota_lookup_release_row(QuotaLookup *lookup)
{
	lookup->tuple.t_data = NULL;
	if (lookup->index != NULL)
		ExecClearTuple(lookup->slot);
}

/* Release the row and its page: a pinned page cannot be pruned. */
void
quota_lookup_release(QuotaLookup *lookup)
{
	quota_lookup_release_row(lookup);
	if (BufferIsValid(lookup->page))
		ReleaseBuffer(lookup->page);
	lookup->page = InvalidBuffer;
	lookup->expected = NULL;
	if (lookup->index != NULL)
		table_index_fetch_reset(lookup->scan->xs_heapfetch);
}

/* The finalizer of MurmurHash3 (A. Appleby), which is in the public domain. */
static uint64
mix_value(uint64 value)
{
	value ^= value >> 33;
	value *= UINT64CONST(0xff51afd7ed558ccd);
	value ^= value >> 33;
	value *= UINT64CONST(0xc4ceb9fe1a85ec53);
	return value ^ value >> 33;
}

/*
 * Follow the versions from a place on to the one that a snapshot sees; set *tid
 * to its place. Returns false if there is none.
 */
static bool
follow_versions(QuotaLookup *lookup, ItemPointer tid, Snapshot snapshot)
{
	HeapTuple tuple = &lookup->tuple;
	TransactionId updater = InvalidTransactionId;
	bool found = false;
	bool more = true;

	tuple->t_tableOid = RelationGetRelid(lookup->rel);
	/* others have rarely written more than one or two since */
	while (more && !found && has_block(lookup->rel, ItemPointerGetBlockNumber(tid)))
	{
		Buffer buffer = pin_page(lookup, ItemPointerGetBlockNumber(tid));

		CHECK_FOR_INTERRUPTS();
		more = false;
		tuple->t_self = *tid;
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		if (!read_tuple(buffer, tuple) ||
			(TransactionIdIsValid(updater) && !TransactionIdEquals(updater, HeapTupleHeaderGetXmin(tuple->t_data))))
			/* pruned since, and perhaps reused for another row */
			;
		else if (HeapTupleSatisfiesVisibility(tuple, snapshot, buffer))
		{
			found = true;
			note_header(lookup);
			if (QUOTA_IS_UPDATED(tuple->t_data) && ItemPointerGetBlockNumber(&tuple->t_data->t_ctid) == ItemPointerGetBlockNumber(tid))
				copy_next(lookup, buffer, tuple->t_data->t_ctid, NULL);
		}
		else if (QUOTA_IS_UPDATED(tuple->t_data) && !ItemPointerEquals(&tuple->t_self, &tuple->t_data->t_ctid))
		{
			updater = HeapTupleHeaderGetUpdateXid(tuple->t_data);
			more = true;
		}
		*tid = more ? tuple->t_data->t_ctid : tuple->t_self;
		LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	}
	/* t_data points into the page, which stays pinned */
	if (!found)
		tuple->t_data = NULL;
	return found;
}

/* Pin a page, after unpinning the one read before. */
static Buffer
pin_page(QuotaLookup *lookup, BlockNumber block)
{
	if (BufferIsValid(lookup->page) && BufferGetBlockNumber(lookup->page) == block)
		return lookup->page;
	if (BufferIsValid(lookup->page))
		ReleaseBuffer(lookup->page);
	/* ReadBuffer may raise an error */
	lookup->page = InvalidBuffer;
	if (lookup->expected != NULL && BufferIsValid(*lookup->expected) &&
		ReadRecentBuffer(quota_compat_locator(lookup->rel), MAIN_FORKNUM, block, *lookup->expected))
		lookup->page = *lookup->expected;
	else
	{
		lookup->page = ReadBuffer(lookup->rel, block);
		if (lookup->expected != NULL)
			*lookup->expected = lookup->page;
	}
	if (lookup->write)
		/* as index scans do: HOT updates need room on the page */
		heap_page_prune_opt(lookup->rel, lookup->page);
	return lookup->page;
}

/*
 * Remember the row place of a committed version. An uncommitted one would hide the
 * committed version from others: t_ctid only leads forward.
 */
static void
remember_place(QuotaLookup *lookup, const QuotaKey *key)
{
	if (!lookup->own)
		quota_row_places_remember(key->hash, &lookup->tuple.t_self);
}

/* Read the version at tuple->t_self, which is set to where it was redirected; false: there is none. */
static bool
read_tuple(Buffer buffer, HeapTuple tuple)
{
	Page page = BufferGetPage(buffer);
	ItemId item;

	if (ItemPointerGetOffsetNumber(&tuple->t_self) > PageGetMaxOffsetNumber(page))
		return false;
	item = PageGetItemId(page, ItemPointerGetOffsetNumber(&tuple->t_self));
	if (ItemIdIsRedirected(item))
	{
		ItemPointerSetOffsetNumber(&tuple->t_self, ItemIdGetRedirect(item));
		item = PageGetItemId(page, ItemPointerGetOffsetNumber(&tuple->t_self));
	}
	if (!ItemIdIsNormal(item))
		return false;
	tuple->t_data = (HeapTupleHeader) PageGetItem(page, item);
	tuple->t_len = ItemIdGetLength(item);
	return true;
}

/* True if a table has a block: it may have been truncated or rewritten since. */
static bool
has_block(Relation rel, BlockNumber block)
{
	SMgrRelation smgr = RelationGetSmgr(rel);
	BlockNumber known = smgr->smgr_cached_nblocks[MAIN_FORKNUM];

	/* the cached size is safe: a table does not shrink under our lock, and locking it processed invalidations */
	return (known != InvalidBlockNumber && block < known) || block < smgrnblocks(smgr, MAIN_FORKNUM);
}
