/*
 * newest.c
 *		Where the newest version of each row is that this transaction has written.
 *
 * A transaction that charges one counter 100,000 times leaves 100,000 versions
 * of its row. Nobody walks them:
 *
 * - This transaction finds its newest version here, in the backend's memory.
 *   A rollback to a savepoint brings back the place from before it, and a
 *   savepoint that is released hands its places to the transaction around it.
 * - Others start at the committed version, whose place stays in shared memory
 *   (src/memory/shared.h) until the commit; then the newest one takes its place.
 * - Who scans the slots of a counter has to know what open transactions may make
 *   of each. So the writer publishes the place of its newest version, under a
 *   hash of the row and the transaction, if the versions up to it only rise or
 *   only fall: whatever is rolled back, what is left lies between the committed
 *   version and this one. Who finds the place checks that the version is there,
 *   has the key, was written by that transaction, and has not been rolled back.
 *   Only the writer's backend publishes under that hash, and it replaces what it
 *   has published when that is rolled back, so no older place is ever found.
 *
 * Memory: a row takes some 60 bytes until the end of the transaction. Of
 * MAX_ROWS rows it is known; those after them are published at once, as if they
 * were committed. Locks: none.
 */
#include "postgres.h"

#include "tables/newest.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "utils/memutils.h"

#include "memory/shared.h"

/* as many are looked through one by one */
#define INITIAL_ROWS 16
#define MAX_ROWS 8192
#define BUCKETS (2 * MAX_ROWS)

/* what all versions from the committed one on have in common */
#define USED_RISES 0x1
#define USED_FALLS 0x2
#define ALERTED_RISES 0x4
#define ALERTED_FALLS 0x8
#define IS_MONOTONIC(direction) (((direction) & (USED_RISES | USED_FALLS)) != 0 && ((direction) & (ALERTED_RISES | ALERTED_FALLS)) != 0)

typedef struct NewestRow
{
	uint64 hash;
	ItemPointerData tid; /* invalid: the row has no version of this transaction any more */
	uint8 direction;
	bool is_slot;
	bool published; /* to those who scan slots */
	int32 versions;
	SubTransactionId writer;
} NewestRow;

/* What a row was before a subtransaction wrote it first. */
typedef struct SavedRow
{
	SubTransactionId writer;
	int index;
	NewestRow row;
} SavedRow;

static NewestRow initial_rows[INITIAL_ROWS];
static NewestRow *rows = initial_rows;
static int nrows = 0;
static int allocated_rows = INITIAL_ROWS;
static uint16 *buckets = NULL; /* numbers of rows and 1, 0: none; NULL: there are few */

/* those of an inner subtransaction after those of the one around it */
static SavedRow *saved = NULL;
static int nsaved = 0;
static int allocated_saved = 0;

static void transaction_ended(XactEvent event, void *arg);
static void subtransaction_ended(SubXactEvent event, SubTransactionId id, SubTransactionId parent, void *arg);
static NewestRow *find_row(uint64 hash);
static NewestRow *add_row(uint64 hash);
static void make_buckets(void);
static uint32 bucket_of(uint64 hash);
static void save_row(NewestRow *row, SubTransactionId writer);
static void publish_row(NewestRow *row);
static uint64 published_hash(uint64 hash, TransactionId writer);

void
quota_newest_init(void)
{
	RegisterXactCallback(transaction_ended, NULL);
	RegisterSubXactCallback(subtransaction_ended, NULL);
}

/* Remember a version that has been written. */
void
quota_newest_record(QuotaNewVersion *version)
{
	SubTransactionId writer = GetCurrentSubTransactionId();
	NewestRow *row = find_row(version->hash);

	if (row == NULL && nrows == MAX_ROWS)
	{
		/* others need the committed version of a slot: they come from there to this one, but not back */
		if (!version->is_slot)
			quota_shared_remember(version->hash, &version->new_tid);
		return;
	}
	if (row == NULL)
		row = add_row(version->hash);
	if (row->writer != writer)
		save_row(row, writer);
	if (!ItemPointerIsValid(&row->tid))
	{
		row->versions = 0;
		row->is_slot = false;
		row->direction = USED_RISES | USED_FALLS | ALERTED_RISES | ALERTED_FALLS;
		if (version->own_old || !ItemPointerIsValid(&version->old_tid))
			row->direction = 0;
	}
	else if (!ItemPointerIsValid(&version->old_tid) || !ItemPointerEquals(&row->tid, &version->old_tid))
		/* the row was deleted and made again, or other versions are in between, written by hand */
		row->direction = 0;
	row->direction &= (version->used_change >= 0 ? USED_RISES : 0) | (version->used_change <= 0 ? USED_FALLS : 0) |
					  (version->alerted_change >= 0 ? ALERTED_RISES : 0) | (version->alerted_change <= 0 ? ALERTED_FALLS : 0);
	row->versions++;
	row->tid = version->new_tid;
	/* also where this transaction has merged the slots: others still see them */
	row->is_slot |= version->is_slot;
	if (row->is_slot && (row->published || row->versions >= QUOTA_WALKED_VERSIONS))
		publish_row(row);
}

/* Where this transaction's newest version of a row is, as far as it is known. */
bool
quota_newest_find_own(uint64 hash, ItemPointer tid)
{
	NewestRow *row = nrows == 0 ? NULL : find_row(hash);

	if (row == NULL || !ItemPointerIsValid(&row->tid))
		return false;
	*tid = row->tid;
	return true;
}

/*
 * Where the newest version of a slot may be that another transaction has
 * written; false: not known, or to be found only by walking.
 */
bool
quota_newest_find_published(uint64 hash, TransactionId writer, ItemPointer tid)
{
	return quota_shared_find(published_hash(hash, writer), tid) && ItemPointerIsValid(tid);
}

static void
transaction_ended(XactEvent event, void *arg pg_attribute_unused())
{
	if (event == XACT_EVENT_PRE_COMMIT || event == XACT_EVENT_PARALLEL_PRE_COMMIT || event == XACT_EVENT_PRE_PREPARE)
		return;
	for (int i = 0; i < nrows && event == XACT_EVENT_COMMIT; i++)
		if (ItemPointerIsValid(&rows[i].tid))
			quota_shared_remember(rows[i].hash, &rows[i].tid);
	/* what was allocated goes with the transaction's memory */
	rows = initial_rows;
	nrows = 0;
	allocated_rows = INITIAL_ROWS;
	buckets = NULL;
	saved = NULL;
	nsaved = allocated_saved = 0;
}

static void
subtransaction_ended(SubXactEvent event, SubTransactionId id, SubTransactionId parent, void *arg pg_attribute_unused())
{
	int first = nsaved;
	int kept;

	if (event != SUBXACT_EVENT_COMMIT_SUB && event != SUBXACT_EVENT_ABORT_SUB)
		return;
	while (first > 0 && saved[first - 1].writer == id)
		first--;
	kept = first;
	for (int i = first; i < nsaved; i++)
	{
		NewestRow *row = &rows[saved[i].index];

		if (event == SUBXACT_EVENT_ABORT_SUB)
		{
			bool published = row->published;

			*row = saved[i].row;
			row->published |= published;
			if (row->published)
				publish_row(row);
		}
		else
		{
			row->writer = parent;
			/* unless the parent has written it as well, and knows what was before */
			if (saved[i].row.writer != parent)
			{
				saved[kept] = saved[i];
				saved[kept++].writer = parent;
			}
		}
	}
	nsaved = kept;
}

static NewestRow *
find_row(uint64 hash)
{
	if (buckets != NULL)
	{
		for (uint32 at = bucket_of(hash); buckets[at] != 0; at = (at + 1) % BUCKETS)
			if (rows[buckets[at] - 1].hash == hash)
				return &rows[buckets[at] - 1];
		return NULL;
	}
	for (int i = 0; i < nrows; i++)
		if (rows[i].hash == hash)
			return &rows[i];
	return NULL;
}

static NewestRow *
add_row(uint64 hash)
{
	if (nrows == allocated_rows)
	{
		NewestRow *more = MemoryContextAlloc(TopTransactionContext, 2 * allocated_rows * sizeof(NewestRow));

		memcpy(more, rows, nrows * sizeof(NewestRow));
		if (rows != initial_rows)
			pfree(rows);
		rows = more;
		allocated_rows *= 2;
		if (buckets == NULL)
			make_buckets();
	}
	rows[nrows] = (NewestRow){.hash = hash, .writer = TopSubTransactionId};
	ItemPointerSetInvalid(&rows[nrows].tid);
	if (buckets != NULL)
	{
		uint32 at = bucket_of(hash);

		while (buckets[at] != 0)
			at = (at + 1) % BUCKETS;
		buckets[at] = nrows + 1;
	}
	return &rows[nrows++];
}

static void
make_buckets(void)
{
	buckets = MemoryContextAllocZero(TopTransactionContext, BUCKETS * sizeof(uint16));
	for (int i = 0; i < nrows; i++)
	{
		uint32 at = bucket_of(rows[i].hash);

		while (buckets[at] != 0)
			at = (at + 1) % BUCKETS;
		buckets[at] = i + 1;
	}
}

static uint32
bucket_of(uint64 hash)
{
	return (uint32) (hash >> 20) % BUCKETS;
}

/* Keep what a row is for the case that the subtransaction that is about to write it is rolled back. */
static void
save_row(NewestRow *row, SubTransactionId writer)
{
	if (nsaved == allocated_saved)
	{
		int more = Max(2 * allocated_saved, INITIAL_ROWS);

		saved = saved == NULL ? MemoryContextAlloc(TopTransactionContext, more * sizeof(SavedRow))
							  : repalloc_huge(saved, (Size) more * sizeof(SavedRow));
		allocated_saved = more;
	}
	saved[nsaved++] = (SavedRow){writer, row - rows, *row};
	row->writer = writer;
}

/* Tell those who scan slots where the newest version is, or that they have to walk. */
static void
publish_row(NewestRow *row)
{
	uint64 hash = published_hash(row->hash, GetTopTransactionIdIfAny());
	ItemPointerData none;

	ItemPointerSetInvalid(&none);
	quota_shared_remember(hash, ItemPointerIsValid(&row->tid) && IS_MONOTONIC(row->direction) ? &row->tid : &none);
	row->published = true;
}

/* The hash under which a transaction publishes its newest version of a row. */
static uint64
published_hash(uint64 hash, TransactionId writer)
{
	return hash_combine64(hash, hash_bytes_uint32_extended(writer, 0));
}
