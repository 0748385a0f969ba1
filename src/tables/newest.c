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
 * Memory: static, 32 bytes a row; what subtransactions restore in
 * TopTransactionContext. Locks: none.
 */
#include "postgres.h"

#include "tables/newest.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "utils/memutils.h"

#include "memory/row_places.h"

#define MAX_ROWS 8192
#define BUCKET(hash) ((hash) >> 20 & (MAX_ROWS - 1))

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
	uint16 next;         /* row in the same bucket; 0: none */
	int32 versions;
	SubTransactionId writer;
	uint8 direction;
	bool is_slot;
	bool published; /* for scans of slots */
} NewestRow;

/* The state of a row before a subtransaction first wrote it. */
typedef struct SavedRow
{
	struct SavedRow *before; /* of the same subtransaction, or one around it */
	SubTransactionId writer;
	NewestRow *saved;
	NewestRow row;
} SavedRow;

static NewestRow rows[1 + MAX_ROWS]; /* the first one stands for none */
static int nrows = 0;
static uint16 buckets[MAX_ROWS]; /* their first rows */
static SavedRow *last_saved = NULL;

static void transaction_ended(XactEvent event, void *arg);
static void subtransaction_ended(SubXactEvent event, SubTransactionId id, SubTransactionId parent, void *arg);
static NewestRow *find_row(uint64 hash);
static NewestRow *add_row(uint64 hash);
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
	for (NewestRow *row = rows + 1; row <= rows + nrows; row++)
	{
		if (event == XACT_EVENT_COMMIT && ItemPointerIsValid(&row->tid))
			quota_row_places_remember(row->hash, &row->tid);
		buckets[BUCKET(row->hash)] = 0;
	}
	nrows = 0;
	/* the transaction's memory context is reset anyway */
	last_saved = NULL;
}

static void
subtransaction_ended(SubXactEvent event, SubTransactionId id, SubTransactionId parent, void *arg pg_attribute_unused())
{
	SavedRow **at = &last_saved;

	if (event != SUBXACT_EVENT_COMMIT_SUB && event != SUBXACT_EVENT_ABORT_SUB)
		return;
	while (*at != NULL && (*at)->writer == id)
	{
		SavedRow *entry = *at;
		NewestRow *row = entry->saved;

		if (event == SUBXACT_EVENT_ABORT_SUB)
		{
			entry->row.published |= row->published;
			*row = entry->row;
			if (row->published)
				publish_row(row);
		}
		else
			row->writer = parent;
		if (event == SUBXACT_EVENT_COMMIT_SUB && entry->row.writer != parent)
		{
			entry->writer = parent;
			at = &entry->before;
		}
		else
		{
			/* rolled back, or the parent has saved an older state */
			*at = entry->before;
			pfree(entry);
		}
	}
}

static NewestRow *
find_row(uint64 hash)
{
	NewestRow *row = &rows[buckets[BUCKET(hash)]];

	while (row != rows && row->hash != hash)
		row = &rows[row->next];
	return row == rows ? NULL : row;
}

static NewestRow *
add_row(uint64 hash)
{
	uint16 *bucket = &buckets[BUCKET(hash)];
	NewestRow *row = &rows[++nrows];

	*row = (NewestRow){.hash = hash, .next = *bucket, .writer = TopSubTransactionId};
	*bucket = nrows;
	return row;
}

/* Save the state of a row before a subtransaction first writes it. */
static void
save_row(NewestRow *row, SubTransactionId writer)
{
	SavedRow *entry = MemoryContextAlloc(TopTransactionContext, sizeof(SavedRow));

	*entry = (SavedRow){last_saved, writer, row, *row};
	last_saved = entry;
	row->writer = writer;
}

/* Publish the newest version, or withdraw it where only walking the versions tells the range. */
static void
publish_row(NewestRow *row)
{
	uint64 hash = published_hash(row->hash, GetTopTransactionIdIfAny());

	quota_row_places_remember(hash, ItemPointerIsValid(&row->tid) && IS_MONOTONIC(row->direction) ? &row->tid : &(ItemPointerData){0});
	row->published = true;
}

/* Return the hash under which a transaction publishes a row. */
static uint64
published_hash(uint64 hash, TransactionId writer)
{
	return hash_combine64(hash, hash_bytes_uint32_extended(writer, 0));
}
