/*
 * store.c
 *		Begin, refresh and end an access to the tables.
 *
 * A QuotaStore holds the snapshots, the open tables and what writes to them, for
 * one call of a function. It is freed by quota_store_end; after an error the
 * transaction's cleanup closes the tables.
 *
 * Entitlements are read with the newest snapshot: a limit that has been lowered
 * holds for a transaction that began before. Counters are read with the
 * transaction's snapshot when charging, so that READ COMMITTED sees the newest
 * version and the higher levels fail as an UPDATE would, and with the active
 * snapshot when only reading.
 *
 * Lock				Protects				Order				While held
 * quota.usage			its definition			first				all of a charge
 * row of quota.usage	a charge, until commit	see consume.c		-
 *
 * Memory: the context in which the store was begun.
 */
#include "postgres.h"

#include "tables/store_private.h"

#include "access/transam.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "utils/inval.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "tables/citus.h"

static QuotaStore *begin_store(bool write, LOCKMODE usage_lock);
static void take_snapshots(QuotaStore *store);
static void drop_snapshots(QuotaStore *store);
static void open_lookup(QuotaStore *store, QuotaLookup *lookup, QuotaTable table, LOCKMODE lock);
static bool slot_has_key(HeapTuple tuple, const QuotaKey *key);
static bool account_has_key(HeapTuple tuple, const QuotaKey *key);
static bool is_text(const char **at, const QuotaKey *key, int column);
static void make_visible(QuotaStore *store);

/*
 * Begin to read; end with quota_store_end.
 *
 * Locks: quota.usage as SELECT does.
 */
QuotaStore *
quota_store_begin_read(void)
{
	return begin_store(false, AccessShareLock);
}

/*
 * Begin to charge.
 *
 * Errors: read_only_sql_transaction where nothing may be written.
 * Locks: quota.usage as UPDATE does.
 */
QuotaStore *
quota_store_begin_write(void)
{
	PreventCommandIfReadOnly("a charge");
	PreventCommandIfParallelMode("a charge");
	return begin_store(true, RowExclusiveLock);
}

/*
 * Begin to charge rates, which need no table but quota.accounts and work in
 * read-only transactions. quota_store_open_usage opens quota.usage if a counter
 * comes up.
 */
QuotaStore *
quota_store_begin_rates(void)
{
	return begin_store(false, NoLock);
}

/*
 * Open quota.usage after quota_store_begin_rates: a feature can become a counter
 * in between.
 *
 * Returns true if it was not open. Locking may have waited for others, so the
 * caller has to read the catalogue again.
 */
bool
quota_store_open_usage(QuotaStore *store)
{
	if (store->usage.rel != NULL)
		return false;
	PreventCommandIfReadOnly("a charge");
	PreventCommandIfParallelMode("a charge");
	open_lookup(store, &store->usage, USAGE, RowExclusiveLock);
	drop_snapshots(store);
	store->write = true;
	AcceptInvalidationMessages();
	take_snapshots(store);
	return true;
}

/* Take new snapshots, which see what others have committed and what this transaction wrote. */
void
quota_store_refresh(QuotaStore *store)
{
	make_visible(store);
	quota_store_refresh_committed(store);
}

/*
 * Refresh for another attempt after a concurrent update:
 *		for (;; quota_store_retry(store))
 *			if (read, judged and written)
 *				break;
 */
void
quota_store_retry(QuotaStore *store)
{
	CHECK_FOR_INTERRUPTS();
	quota_store_refresh(store);
}

/* Take new snapshots, which see what others have committed. */
void
quota_store_refresh_committed(QuotaStore *store)
{
	/* taking a lock that is held already does not process invalidations */
	AcceptInvalidationMessages();
	quota_store_renew_snapshots(store);
}

/* Take new snapshots, but process no invalidations. */
void
quota_store_renew_snapshots(QuotaStore *store)
{
	drop_snapshots(store);
	take_snapshots(store);
}

void
quota_store_end(QuotaStore *store)
{
	make_visible(store);
	quota_lookup_close(&store->accounts);
	quota_lookup_close(&store->usage);
	for (int i = USAGE; store->has_appenders && i <= ALERTS; i++)
		if (store->appenders[i] != NULL)
			quota_appender_close(store->appenders[i]);
	drop_snapshots(store);
	pfree(store);
}

static QuotaStore *
begin_store(bool write, LOCKMODE usage_lock)
{
	/* palloc0 would clear it word by word */
	QuotaStore *store = memset(palloc(sizeof(QuotaStore)), 0, sizeof(QuotaStore));

	store->context = CurrentMemoryContext;
	store->write = write;
	if (usage_lock != NoLock)
		open_lookup(store, &store->usage, USAGE, usage_lock);
	/* taking a lock that is held already does not process invalidations */
	AcceptInvalidationMessages();
	quota_citus_check();
	take_snapshots(store);
	return store;
}

/* Take the snapshots. A charge at READ COMMITTED needs only one. */
static void
take_snapshots(QuotaStore *store)
{
	store->entitlement_snapshot = NULL;
	if (!store->write)
	{
		/* it stays the active one until quota_store_end */
		store->usage_snapshot = GetActiveSnapshot();
		return;
	}
	store->usage_snapshot = RegisterSnapshot(GetTransactionSnapshot());
	if (!IsolationUsesXactSnapshot())
		store->entitlement_snapshot = store->usage_snapshot;
}

static void
drop_snapshots(QuotaStore *store)
{
	if (store->entitlement_snapshot != NULL && store->entitlement_snapshot != store->usage_snapshot)
		UnregisterSnapshot(store->entitlement_snapshot);
	if (store->write)
		UnregisterSnapshot(store->usage_snapshot);
}

/* Return the snapshot for entitlements. */
Snapshot
quota_store_entitlement_snapshot(QuotaStore *store)
{
	if (store->entitlement_snapshot == NULL)
		store->entitlement_snapshot = RegisterSnapshot(GetCatalogSnapshot(quota_relations_oids()->tables[ACCOUNTS]));
	return store->entitlement_snapshot;
}

/*
 * Return the oldest transaction that may still be running for that snapshot, by
 * its full number: that of the next transaction less the difference of the xids.
 */
uint64
quota_store_oldest_running(QuotaStore *store)
{
	FullTransactionId next = ReadNextFullTransactionId();

	return U64FromFullTransactionId(next) - (uint32) (XidFromFullTransactionId(next) - quota_store_entitlement_snapshot(store)->xmin);
}

/* Return quota.accounts, opened by the first call. */
QuotaLookup *
quota_store_accounts(QuotaStore *store)
{
	if (store->accounts.rel == NULL)
		open_lookup(store, &store->accounts, ACCOUNTS, AccessShareLock);
	return &store->accounts;
}

/* Return the appender of a table, opened by the first call. */
QuotaAppender *
quota_store_appender(QuotaStore *store, QuotaTable table)
{
	if (store->appenders[table] == NULL)
		quota_store_open_appender(store, table, quota_relations_open_to_write(table));
	return store->appenders[table];
}

/* Open the appender of a table; rel: the table, or the partition that rows are inserted into. */
void
quota_store_open_appender(QuotaStore *store, QuotaTable table, Relation rel)
{
	MemoryContext old = MemoryContextSwitchTo(store->context);

	store->appenders[table] = quota_appender_open(rel, table == USAGE);
	store->has_appenders = true;
	MemoryContextSwitchTo(old);
}

static void
open_lookup(QuotaStore *store, QuotaLookup *lookup, QuotaTable table, LOCKMODE lock)
{
	lookup->write = lock > AccessShareLock;
	lookup->rel = lookup->write ? quota_relations_open_to_write(table) : quota_relations_open(table, lock);
	lookup->has_key = table == USAGE ? slot_has_key : account_has_key;
	lookup->context = store->context;
}

/*
 * Compare a row of quota.usage with the key of a slot in place, without deforming it:
 * the cost of a scan of many slots is mostly this.
 */
static bool
slot_has_key(HeapTuple tuple, const QuotaKey *key)
{
	const QuotaUsageRow *row = QUOTA_USAGE_ROW(tuple);
	const char *at = (const char *) row + QUOTA_USAGE_ROW_SIZE;

	return DatumGetTimestampTz(key->columns[3].value) == row->period_start &&
		   DatumGetObjectId(key->columns[2].value) == row->period &&
		   DatumGetInt16(key->columns[4].value) == row->slot &&
		   is_text(&at, key, 0) && is_text(&at, key, 1);
}

/* Compare a row of quota.accounts, whose first column is its key. */
static bool
account_has_key(HeapTuple tuple, const QuotaKey *key)
{
	const char *at = (const char *) GETSTRUCT(tuple);

	return is_text(&at, key, 0);
}

/*
 * Compare the text at *at with a column of a key, and move *at to its end. One that
 * is compressed or stored elsewhere is not equal: the row is then found by the index.
 */
static bool
is_text(const char **at, const QuotaKey *key, int column)
{
	const char *text;
	Size length = key->columns[column].length;

	if (!VARATT_IS_1B(*at))
		*at = (const char *) INTALIGN(*at);
	text = *at;
	*at += VARSIZE_ANY(text);
	return VARSIZE_ANY_EXHDR(text) == length && memcmp(VARDATA_ANY(text), key->columns[column].bytes, length) == 0;
}

/* Insert a row; columns that somebody has added stay NULL. */
void
quota_store_insert(QuotaStore *store, QuotaTable table, int columns, const Datum *values, const bool *nulls)
{
	quota_appender_insert(quota_store_appender(store, table), NULL, columns, values, nulls);
	store->written = true;
}

/* Let the commands that follow see what was written, and write it again. */
static void
make_visible(QuotaStore *store)
{
	if (store->written)
		CommandCounterIncrement();
	store->written = false;
}

/*
 * Handle a concurrent update of a row: return false for the caller to retry, or
 * raise serialization_failure where the transaction keeps its snapshot.
 */
bool
quota_store_retry_or_raise(void)
{
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not serialize access due to concurrent update"),
				 errhint("The transaction might succeed if retried.")));
	return false;
}
