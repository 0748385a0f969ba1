/*
 * newest.c
 *		Remember the newest version that this transaction has written of each row.
 *
 * A transaction that charges one counter 100,000 times leaves 100,000 versions of
 * its row. Nobody walks them:
 *
 * - This transaction finds its newest version here. ROLLBACK TO a savepoint
 *   restores the place from before it; RELEASE hands the places to the outer level.
 * - Others start from the committed version: its row place stays in shared memory
 *   (memory/row_places.h) until commit, and is then set to the newest version.
 * - A scan of slots needs the range that an open transaction can leave. The writer
 *   publishes its newest version, under a hash of the row and the transaction, if
 *   `used` and `alerted` are monotonic up to it: whatever is rolled back, the
 *   result lies between the committed version and this one. A scan checks that the
 *   version exists, has the key, was written by that transaction, and is not rolled
 *   back. Only the writer's backend publishes under that hash, and replaces what it
 *   has published on rollback, so no older version is ever found.
 *
 * Life: a row is remembered until the end of the transaction, at most MAX_ROWS of
 * them. The row places of further rows are set at once, without waiting for commit.
 *
 * Memory: TopTransactionContext, some 60 bytes a row. Locks: none.
 */
#include "postgres.h"

#include "tables/newest.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "utils/memutils.h"

#include "memory/row_places.h"

/* rows that are searched one by one, without buckets */
#define INITIAL_ROWS 16
#define MAX_ROWS 8192
#define BUCKETS (2 * MAX_ROWS)

/* properties of all versions from the committed one on */
#define USED_RISES 0x1
#define USED_FALLS 0x2
#define ALERTED_RISES 0x4
#define ALERTED_FALLS 0x8
#define IS_MONOTONIC(direction) (((direction) & (USED_RISES | USED_FALLS)) != 0 && ((direction) & (ALERTED_RISES | ALERTED_FALLS)) != 0)

typedef struct NewestRow
{
	uint64 hash;
	ItemPointerData tid; /* invalid: this transaction has no version of it any more */
	uint8 direction;
	bool is_slot;
	bool published; /* for scans of slots */
	int32 versions;
	SubTransactionId writer;
} NewestRow;

/* The state of a row before a subtransaction first wrote it. */
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
static uint16 *buckets = NULL; /* index of a row + 1, 0: empty; NULL: few rows */

/* a stack: subtransactions after the ones around them */
static SavedRow *saved = NULL;
static int nsaved = 0;
static int allocated_saved = 0;

static void transaction_ended(XactEvent event, void *arg);
static void subtransaction_ended(SubXactEvent event, SubTransactionId id, SubTransactionId parent, void *arg);
static NewestRow *find_row(uint64 hash);
static NewestRow *add_row(uint64 hash);
static void make_buckets(void);
static void add_to_bucket(int index);
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

/* Record a new version. It must be the newest one of its row. */
void
quota_newest_record(QuotaNewVersion *version)
{
	SubTransactionId writer = GetCurrentSubTransactionId();
	NewestRow *row = find_row(version->hash);

	if (row == NULL && nrows == MAX_ROWS)
	{
		/* do not publish an uncommitted version of a slot: scans must start from the committed one, and t_ctid only leads forward */
		if (!version->is_slot)
			quota_row_places_remember(version->hash, &version->new_tid);
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
		/* deleted and inserted again, or versions in between were written by SQL */
		row->direction = 0;
	row->direction &= (version->used_change >= 0 ? USED_RISES : 0) | (version->used_change <= 0 ? USED_FALLS : 0) |
					  (version->alerted_change >= 0 ? ALERTED_RISES : 0) | (version->alerted_change <= 0 ? ALERTED_FALLS : 0);
	row->versions++;
	row->tid = version->new_tid;
	/* also after this transaction has merged the slots: others still scan them */
	row->is_slot |= version->is_slot;
	if (row->is_slot && (row->published || row->versions >= QUOTA_WALKED_VERSIONS))
		publish_row(row);
}

/* Find this transaction's newest version of a row; false: not known. */
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
 * Find the version of a slot that another transaction has published. It is a hint:
 * the caller has to check the version. Returns false if there is none.
 */
bool
quota_newest_find_published(uint64 hash, TransactionId writer, ItemPointer tid)
{
	return quota_row_places_find(published_hash(hash, writer), tid) && ItemPointerIsValid(tid);
}

static void
transaction_ended(XactEvent event, void *arg pg_attribute_unused())
{
	if (event == XACT_EVENT_PRE_COMMIT || event == XACT_EVENT_PARALLEL_PRE_COMMIT || event == XACT_EVENT_PRE_PREPARE)
		return;
	for (int i = 0; i < nrows && event == XACT_EVENT_COMMIT; i++)
		if (ItemPointerIsValid(&rows[i].tid))
			quota_row_places_remember(rows[i].hash, &rows[i].tid);
	/* the transaction's memory context is reset anyway */
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
			/* keep the older state if the parent has one */
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
		add_to_bucket(nrows);
	return &rows[nrows++];
}

static void
make_buckets(void)
{
	buckets = MemoryContextAllocZero(TopTransactionContext, BUCKETS * sizeof(uint16));
	for (int i = 0; i < nrows; i++)
		add_to_bucket(i);
}

static void
add_to_bucket(int index)
{
	uint32 at = bucket_of(rows[index].hash);

	while (buckets[at] != 0)
		at = (at + 1) % BUCKETS;
	buckets[at] = index + 1;
}
static uint32
bucket_of(uint64 hash)
{
	return (uint32) (hash >> 20) % BUCKETS;
}

/* Save the state of a row before a subtransaction first writes it. */
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

/* Publish the newest version, or withdraw it where only walking the versions tells the range. */
static void
publish_row(NewestRow *row)
{
	uint64 hash = published_hash(row->hash, GetTopTransactionIdIfAny());
	ItemPointerData none;

	ItemPointerSetInvalid(&none);
	quota_row_places_remember(hash, ItemPointerIsValid(&row->tid) && IS_MONOTONIC(row->direction) ? &row->tid : &none);
	row->published = true;
}

/* Return the hash under which a transaction publishes a row. */
static uint64
published_hash(uint64 hash, TransactionId writer)
{
	return hash_combine64(hash, hash_bytes_uint32_extended(writer, 0));
}
