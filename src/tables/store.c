/*
 * store.c
 *		A look at the tables, or a charge, from its begin to its end.
 *
 * Snapshots. What an account is entitled to is read as it is now: a limit that has
 * been lowered holds for a transaction that began before. Use is read with the
 * transaction's snapshot when charging, so that READ COMMITTED sees the newest
 * version and the higher levels fail as any UPDATE would, and with the query's
 * snapshot when only looking.
 *
 * Locks: a charge is an update of a row of quota.usage and holds its row lock until
 * the end of the transaction; nothing else is locked. The order is the callers':
 * src/charge/consume.c.
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

#include "tables/citus.h"
#include "tables/usage_layout.h"

static QuotaStore *begin_store(bool write, LOCKMODE usage_lock);
static void take_snapshots(QuotaStore *store);
static void drop_snapshots(QuotaStore *store);
static void open_lookup(QuotaStore *store, QuotaLookup *lookup, QuotaTable table, LOCKMODE lock);
static void make_visible(QuotaStore *store);

/*
 * Begin to look, or to charge; to be ended by quota_store_end.
 *
 * Errors: read_only_sql_transaction when charging where nothing may be written.
 * Locks: quota.usage as SELECT, or as UPDATE does.
 */
QuotaStore *
quota_store_begin_read(void)
{
	return begin_store(false, AccessShareLock);
}

QuotaStore *
quota_store_begin_write(void)
{
	PreventCommandIfReadOnly("a charge");
	PreventCommandIfParallelMode("a charge");
	return begin_store(true, RowExclusiveLock);
}

/*
 * Begin to take rates, which are in no table: only accounts are looked at, and
 * that may be done where nothing may be written. quota.usage is opened all the
 * same if a counter comes up.
 */
QuotaStore *
quota_store_begin_rates(void)
{
	return begin_store(false, NoLock);
}

/*
 * For a counter that comes up in spite of quota_store_begin_rates: a feature can
 * turn into one meanwhile. Returns whether quota.usage had to be opened: others
 * may have been waited for, so the catalogue is to be looked at again.
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

/* Look at what has committed since, and at what this transaction wrote. */
void
quota_store_refresh(QuotaStore *store)
{
	make_visible(store);
	quota_store_refresh_committed(store);
}

/*
 * Refresh for another attempt, where others have changed what was read:
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

/* Look at what has committed since. */
void
quota_store_refresh_committed(QuotaStore *store)
{
	/* locks that are held already do not tell of changes: ask */
	AcceptInvalidationMessages();
	quota_store_renew_snapshots(store);
}

/* The same without a look at the catalogue. */
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
	for (int i = USAGE; store->has_appenders && i < TABLES; i++)
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
	/* a lock that was held already does not tell of changes: ask */
	AcceptInvalidationMessages();
	if (!quota_citus_checked)
		quota_citus_check();
	take_snapshots(store);
	return store;
}

/* A charge goes by one snapshot, unless that is an old one; who only looks takes those that it needs. */
static void
take_snapshots(QuotaStore *store)
{
	store->entitlement_snapshot = NULL;
	if (!store->write)
	{
		/* stays the active one meanwhile */
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

/* The snapshot of what accounts are entitled to. */
Snapshot
quota_store_entitlement_snapshot(QuotaStore *store)
{
	if (store->entitlement_snapshot == NULL)
		store->entitlement_snapshot = RegisterSnapshot(GetCatalogSnapshot(quota_relations_oids()->tables[ACCOUNTS]));
	return store->entitlement_snapshot;
}

/*
 * The oldest transaction that may not have ended for that snapshot, by its full
 * number, which is that of the next one less the difference.
 */
uint64
quota_store_oldest_running(QuotaStore *store)
{
	FullTransactionId next = ReadNextFullTransactionId();

	return U64FromFullTransactionId(next) - (uint32) (XidFromFullTransactionId(next) - quota_store_entitlement_snapshot(store)->xmin);
}

/* The accounts, opened when one is first looked for. */
QuotaLookup *
quota_store_accounts(QuotaStore *store)
{
	if (store->accounts.rel == NULL)
		open_lookup(store, &store->accounts, ACCOUNTS, AccessShareLock);
	return &store->accounts;
}

/* What rows of a table are written with; opened when it is first asked for. */
QuotaAppender *
quota_store_appender(QuotaStore *store, QuotaTable table)
{
	if (store->appenders[table] == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(store->context);

		store->appenders[table] = quota_appender_open(quota_relations_open_to_write(table), table == USAGE);
		store->has_appenders = true;
		MemoryContextSwitchTo(old);
	}
	return store->appenders[table];
}

static void
open_lookup(QuotaStore *store, QuotaLookup *lookup, QuotaTable table, LOCKMODE lock)
{
	static const AttrNumber accounts_key[] = {ACCOUNTS_ACCOUNT};
	static const AttrNumber usage_key[] = {USAGE_ACCOUNT, USAGE_FEATURE, USAGE_PERIOD, USAGE_PERIOD_START, USAGE_SLOT};
	MemoryContext old = MemoryContextSwitchTo(store->context);
	Relation rel = lock > AccessShareLock ? quota_relations_open_to_write(table) : quota_relations_open(table, lock);

	quota_lookup_open(lookup, rel, lock > AccessShareLock,
					  table == USAGE ? usage_key : accounts_key, table == USAGE ? quota_usage_layout_has_key : NULL);
	MemoryContextSwitchTo(old);
}

/* Insert a row; columns that somebody has added stay NULL. */
void
quota_store_insert(QuotaStore *store, QuotaTable table, int columns, const Datum *values, const bool *nulls)
{
	quota_appender_insert(quota_store_appender(store, table), NULL, columns, values, nulls);
	store->written = true;
}

/* What has been written can be seen, and written again, by what comes after. */
static void
make_visible(QuotaStore *store)
{
	if (store->written)
		CommandCounterIncrement();
	store->written = false;
}

/*
 * A row is not what was read: false, to be read again, or an error where the
 * transaction's snapshot does not let it be.
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
