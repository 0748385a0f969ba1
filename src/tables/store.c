/*
 * Access to the tables of schema quota. With counter.c, which has the rows of
 * quota.usage, rows.c, which has those of keys and reservations, ledger.c, which
 * has the tables that are only added to, and probe.c, the only module that knows
 * of heap, index, OIDs and column numbers.
 *
 * Snapshots. What an account is entitled to is always read as it is now: a
 * limit that has been lowered holds for a transaction that began before. Use
 * is read with the transaction's snapshot when charging, so that READ COMMITTED
 * sees the newest version and the higher levels fail as any UPDATE would, and
 * with the query's snapshot when only looking.
 *
 * Locks. A charge is an update of a row of quota.usage and holds its row lock
 * until the end of the transaction; nothing else is locked. The order is the
 * callers': src/charge/consume.c.
 *
 * Memory. Everything is allocated in the caller's context. OIDs are kept for
 * the life of the backend in static variables and dropped by the relcache
 * callback, which also counts the versions that src/entitlement/plan.c caches by.
 */
#include "postgres.h"

#include "tables/store_private.h"
#include "tables/usage_row.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_collation_d.h"
#include "catalog/pg_enum.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "common/hashfn.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "memory/entitlement_cache.h"
#include "memory/shared.h"
#include "owner.h"
#include "tables/citus.h"

enum
{
	PLANS_PLAN = 1,
	PLANS_IS_DEFAULT = 7,
	PLANS_RATE_MULTIPLIER = 10,

	FEATURES_FEATURE = 1,
	FEATURES_KIND = 2,
	FEATURES_UNIT = 3,
	FEATURES_LEDGER = 5,
	FEATURES_USER_MAX = 6,
	FEATURES_USER_OVERAGE = 7,

	PLAN_LIMITS_PLAN = 1,
	PLAN_LIMITS_FEATURE = 2,
	PLAN_LIMITS_PERIOD = 3,
	PLAN_LIMITS_USAGE_LIMIT = 4,
	PLAN_LIMITS_ON_LIMIT = 5,
	PLAN_LIMITS_WARN_RATIO = 6,
	PLAN_LIMITS_BLOCK_RATIO = 7,
	PLAN_LIMITS_OVERAGE_CAP = 9,
	PLAN_LIMITS_BURST = 10,

	PLAN_FEATURES_PLAN = 1,
	PLAN_FEATURES_FEATURE = 2,
	PLAN_FEATURES_VALUE = 3,

	ACCOUNTS_ACCOUNT = 1,
	ACCOUNTS_PLAN = 4,
	ACCOUNTS_STATUS = 5,
	ACCOUNTS_TRIAL_ENDS_AT = 6,
	ACCOUNTS_PLAN_ENDS_AT = 7,
	ACCOUNTS_NEXT_PLAN = 8,
	ACCOUNTS_CYCLE_ANCHOR = 9,
	ACCOUNTS_TIMEZONE = 10,
	ACCOUNTS_POOL = 12,
	ACCOUNTS_BYPASS = 13,

	LIMIT_OVERRIDES_ACCOUNT = 1,
	LIMIT_OVERRIDES_FEATURE = 2,
	LIMIT_OVERRIDES_PERIOD = 3,
	LIMIT_OVERRIDES_USAGE_LIMIT = 4,
	LIMIT_OVERRIDES_EXPIRES_AT = 5,

	EVENTS_METADATA = 17,
	ALERTS_USAGE_LIMIT = 10,
};

static const char *const table_names[TABLES] = {
	"plans", "features", "plan_limits", "plan_features", "accounts", "limit_overrides", "usage",
	"keys", "reservations", "reservations_id_seq", "holds", "holds_reservation", "events", "alerts"};

/* the last column that this module reads of each table, to notice a table that is not ours */
static const struct
{
	AttrNumber number;
	const char *name;
} last_columns[TABLES] = {
	{PLANS_RATE_MULTIPLIER, "rate_multiplier"},
	{FEATURES_USER_OVERAGE, "user_overage"},
	{PLAN_LIMITS_BURST, "burst"},
	{PLAN_FEATURES_VALUE, "value"},
	{ACCOUNTS_BYPASS, "bypass"},
	{LIMIT_OVERRIDES_EXPIRES_AT, "expires_at"},
	{USAGE_FEATURE, "feature"},
	{KEYS_AT, "at"},
	{RESERVATIONS_EXPIRES_AT, "expires_at"},
	{1, "last_value"},
	{HOLDS_AMOUNT, "amount"},
	{1, "reservation"},
	{EVENTS_METADATA, "metadata"},
	{ALERTS_USAGE_LIMIT, "usage_limit"}};

static const char *const kind_names[] = {"counter", "gauge", "rate", "flag", NULL};
static const char *const status_names[] = {"active", "trialing", "past_due", "suspended", "canceled", NULL};
static const char *const on_limit_names[] = {"block", "warn", "charge", NULL};

static QuotaOids oids;
static bool oids_valid = false;
static uint64 invalidations = 0;
static uint64 catalog_version = 1;
static uint64 pool_version = 1;
static uint64 generation;
static bool generation_known = false;

static void relation_changed(Datum arg, Oid relid);
static void resolve(QuotaOids *found);
static void open_probe(QuotaStore *store, QuotaLookup *probe, Table table, LOCKMODE lock);
static void make_visible(QuotaStore *store);
static Oid primary_key(Relation rel);
static void text_key(ScanKey key, AttrNumber column, const char *value);
static uint64 look_up_generation(void);
static bool hash_trigger(Oid relid, const char *name, uint64 *hash);
static QuotaStore *begin(bool write, LOCKMODE usage_lock);
static void take_snapshots(QuotaStore *store);
static void drop_snapshots(QuotaStore *store);
static void make_plural(QuotaFeatureRow *row);
static void deform(HeapTuple tuple, Relation rel, Datum **values, bool **nulls);
static void copy_text(char *to, Size size, Datum from, bool isnull);
static int name_number(const char *const *names, Datum name);
static bool is_catalogue(Oid relid);
static Oid sequence(const char *name, Oid schema);

void
quota_store_init(void)
{
	CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
}

/*
 * Numbers that change when somebody's change of the catalogue, or of who is in a
 * pool, has committed. What was read under one number holds until the
 * number is another.
 */
uint64
quota_store_catalog_version(void)
{
	return catalog_version;
}

uint64
quota_store_pool_version(void)
{
	return pool_version;
}

/*
 * AFTER row and TRUNCATE trigger of the catalogue tables, and of accounts that
 * come into a pool.
 *
 * Data changes do not reach relcache callbacks by themselves.
 */
PG_FUNCTION_INFO_V1(quota_catalog_changed);

Datum
quota_catalog_changed(PG_FUNCTION_ARGS)
{
	static const char *const tables[] = {"plans", "features", "plan_limits", "plan_features", "accounts", "attached", NULL};
	TriggerData *trigdata = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_AFTER(trigdata->tg_event) ||
		!quota_owner_is_table(RelationGetRelid(trigdata->tg_relation), tables))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("quota.catalog_changed must be an AFTER trigger of a table that it is for")));
	CacheInvalidateRelcacheByRelid(RelationGetRelid(trigdata->tg_relation));
	return PointerGetDatum(NULL);
}

/*
 * AFTER row and TRUNCATE trigger of the tables that say what an account is
 * entitled to, whose first column is its key: what is remembered of it goes.
 */
PG_FUNCTION_INFO_V1(quota_standing_changed);

Datum
quota_standing_changed(PG_FUNCTION_ARGS)
{
	static const char *const tables[] = {"accounts", "limit_overrides", NULL};
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	TupleDesc desc;
	bool isnull;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_AFTER(trigdata->tg_event) ||
		!quota_owner_is_table(RelationGetRelid(trigdata->tg_relation), tables))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("quota.standing_changed must be an AFTER trigger of quota.accounts or quota.limit_overrides")));
	if (!TRIGGER_FIRED_FOR_ROW(trigdata->tg_event))
	{
		quota_entitlement_cache_forget_all();
		return PointerGetDatum(NULL);
	}
	desc = RelationGetDescr(trigdata->tg_relation);
	quota_entitlement_cache_forget(fastgetattr(trigdata->tg_trigtuple, ACCOUNTS_ACCOUNT, desc, &isnull));
	if (TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event))
		quota_entitlement_cache_forget(fastgetattr(trigdata->tg_newtuple, ACCOUNTS_ACCOUNT, desc, &isnull));
	return PointerGetDatum(NULL);
}

/* The key of the default plan; false: there is none. */
bool
quota_store_default_plan(char *plan)
{
	Relation rel = quota_store_table(PLANS, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;
	bool found;

	/* no index: few rows, and read once */
	ScanKeyInit(&key, PLANS_IS_DEFAULT, BTEqualStrategyNumber, F_BOOLEQ, BoolGetDatum(true));
	scan = systable_beginscan(rel, InvalidOid, false, NULL, 1, &key);
	tuple = systable_getnext(scan);
	found = HeapTupleIsValid(tuple);
	if (found)
	{
		Datum *values;
		bool *nulls;

		deform(tuple, rel, &values, &nulls);
		copy_text(plan, QUOTA_MAX_PLAN + 1, values[PLANS_PLAN - 1], false);
	}
	systable_endscan(scan);
	table_close(rel, NoLock);
	return found;
}

/* A feature; false: there is none of that name. */
bool
quota_store_feature(const char *feature, QuotaFeatureRow *row)
{
	Relation rel = quota_store_table(FEATURES, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;
	bool found;

	text_key(&key, FEATURES_FEATURE, feature);
	scan = quota_store_scan(rel, NULL, 1, &key);
	tuple = systable_getnext(scan);
	found = HeapTupleIsValid(tuple);
	if (found)
	{
		Datum *values;
		bool *nulls;

		deform(tuple, rel, &values, &nulls);
		copy_text(row->feature, sizeof(row->feature), values[FEATURES_FEATURE - 1], false);
		copy_text(row->units, QUOTA_MAX_UNIT + 1, values[FEATURES_UNIT - 1], nulls[FEATURES_UNIT - 1]);
		make_plural(row);
		row->kind = name_number(kind_names, values[FEATURES_KIND - 1]);
		row->ledger = DatumGetBool(values[FEATURES_LEDGER - 1]);
		row->user_max = DatumGetInt64(values[FEATURES_USER_MAX - 1]);
		row->user_overage = DatumGetBool(values[FEATURES_USER_OVERAGE - 1]);
	}
	systable_endscan(scan);
	table_close(rel, NoLock);
	return found;
}

/* The plural as far as English is regular: words get an s, symbols such as MB do not. Without a unit the feature is one. */
static void
make_plural(QuotaFeatureRow *row)
{
	Size length = strlen(row->units);

	if (length == 0)
		strcpy(row->units, row->feature);
	else if (length >= 3 && row->units[length - 1] != 's' && strspn(row->units, "abcdefghijklmnopqrstuvwxyz ") == length)
		strcpy(row->units + length, "s");
}

/* The factor on a plan's rates; 0, which is no datum of numeric: there is no such plan. */
Datum
quota_store_rate_multiplier(const char *plan)
{
	Relation rel = quota_store_table(PLANS, AccessShareLock);
	Datum multiplier = (Datum) 0;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;

	text_key(&key, PLANS_PLAN, plan);
	scan = quota_store_scan(rel, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		Datum *values;
		bool *nulls;

		deform(tuple, rel, &values, &nulls);
		multiplier = PointerGetDatum(PG_DETOAST_DATUM_COPY(values[PLANS_RATE_MULTIPLIER - 1]));
	}
	systable_endscan(scan);
	table_close(rel, NoLock);
	return multiplier;
}

/* The limits of a plan, in any order. */
QuotaLimitRow *
quota_store_plan_limits(const char *plan, int *count)
{
	Relation rel = quota_store_table(PLAN_LIMITS, AccessShareLock);
	int allocated = 8;
	QuotaLimitRow *rows = palloc(allocated * sizeof(QuotaLimitRow));
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;

	*count = 0;
	text_key(&key, PLAN_LIMITS_PLAN, plan);
	scan = quota_store_scan(rel, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		QuotaLimitRow *row;
		Datum *values;
		bool *nulls;

		if (*count == allocated)
			rows = repalloc(rows, (allocated *= 2) * sizeof(QuotaLimitRow));
		row = &rows[(*count)++];
		deform(tuple, rel, &values, &nulls);
		copy_text(row->feature, sizeof(row->feature), values[PLAN_LIMITS_FEATURE - 1], false);
		row->period = quota_store_period(DatumGetObjectId(values[PLAN_LIMITS_PERIOD - 1]));
		row->unlimited = nulls[PLAN_LIMITS_USAGE_LIMIT - 1];
		row->usage_limit = row->unlimited ? 0 : DatumGetInt64(values[PLAN_LIMITS_USAGE_LIMIT - 1]);
		row->on_limit = name_number(on_limit_names, values[PLAN_LIMITS_ON_LIMIT - 1]);
		row->warn_ratio = PointerGetDatum(PG_DETOAST_DATUM_COPY(values[PLAN_LIMITS_WARN_RATIO - 1]));
		row->block_ratio = PointerGetDatum(PG_DETOAST_DATUM_COPY(values[PLAN_LIMITS_BLOCK_RATIO - 1]));
		row->capped = !nulls[PLAN_LIMITS_OVERAGE_CAP - 1];
		row->overage_cap = row->capped ? DatumGetInt64(values[PLAN_LIMITS_OVERAGE_CAP - 1]) : 0;
		row->has_burst = !nulls[PLAN_LIMITS_BURST - 1];
		row->burst = row->has_burst ? DatumGetInt64(values[PLAN_LIMITS_BURST - 1]) : 0;
		row->expires_at = DT_NOEND;
	}
	systable_endscan(scan);
	table_close(rel, NoLock);
	return rows;
}

/* The gates and static values of a plan. */
QuotaValueRow *
quota_store_plan_values(const char *plan, int *count)
{
	Relation rel = quota_store_table(PLAN_FEATURES, AccessShareLock);
	int allocated = 8;
	QuotaValueRow *rows = palloc(allocated * sizeof(QuotaValueRow));
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;

	*count = 0;
	text_key(&key, PLAN_FEATURES_PLAN, plan);
	scan = quota_store_scan(rel, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Datum *values;
		bool *nulls;

		if (*count == allocated)
			rows = repalloc(rows, (allocated *= 2) * sizeof(QuotaValueRow));
		deform(tuple, rel, &values, &nulls);
		copy_text(rows[*count].feature, sizeof(rows->feature), values[PLAN_FEATURES_FEATURE - 1], false);
		rows[*count].value = PointerGetDatum(PG_DETOAST_DATUM_COPY(values[PLAN_FEATURES_VALUE - 1]));
		(*count)++;
	}
	systable_endscan(scan);
	table_close(rel, NoLock);
	return rows;
}

/* Whether any account draws on another one's counters. */
bool
quota_store_has_pools(void)
{
	Relation rel = quota_store_table(ACCOUNTS, AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, quota_store_oids()->pool_members, true, NULL, 0, NULL);
	bool found = HeapTupleIsValid(systable_getnext(scan));

	systable_endscan(scan);
	table_close(rel, NoLock);
	return found;
}

/*
 * Begin to look, or to charge; to be ended by quota_store_end.
 *
 * Errors: read_only_sql_transaction when charging where nothing may be written.
 * Locks: quota.usage as SELECT, or as UPDATE does.
 */
QuotaStore *
quota_store_begin_read(void)
{
	return begin(false, AccessShareLock);
}

QuotaStore *
quota_store_begin_write(void)
{
	PreventCommandIfReadOnly("a charge");
	PreventCommandIfParallelMode("a charge");
	return begin(true, RowExclusiveLock);
}

/*
 * Begin to take rates, which are in no table: only accounts are looked at, and
 * that may be done where nothing may be written. quota.usage is opened all the
 * same if a counter comes up.
 */
QuotaStore *
quota_store_begin_rates(void)
{
	return begin(false, NoLock);
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
	open_probe(store, &store->usage, USAGE, RowExclusiveLock);
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
	quota_store_look_anew(store);
}

/* Look at what has committed since. */
void
quota_store_look_anew(QuotaStore *store)
{
	/* locks that are held already do not tell of changes: ask */
	AcceptInvalidationMessages();
	quota_store_new_snapshots(store);
}

/* The same without a look at the catalogue. */
void
quota_store_new_snapshots(QuotaStore *store)
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
	for (int i = USAGE; store->written_tables && i < TABLES; i++)
		if (store->appenders[i] != NULL)
			quota_appender_close(store->appenders[i]);
	drop_snapshots(store);
	pfree(store);
}

/* An account's row; false: it has none. */
bool
quota_store_account(QuotaStore *store, Datum account, QuotaAccountRow *row)
{
	QuotaKey key;
	Datum *values;
	bool *nulls;

	if (store->accounts.rel == NULL)
		open_probe(store, &store->accounts, ACCOUNTS, AccessShareLock);
	quota_lookup_key(&key, &store->accounts);
	quota_lookup_key_text(&key, account);
	if (!quota_lookup_row(&store->accounts, &key, quota_store_now(store)))
		return false;
	deform(&store->accounts.tuple, store->accounts.rel, &values, &nulls);
	copy_text(row->plan, sizeof(row->plan), values[ACCOUNTS_PLAN - 1], nulls[ACCOUNTS_PLAN - 1]);
	copy_text(row->next_plan, sizeof(row->next_plan), values[ACCOUNTS_NEXT_PLAN - 1], nulls[ACCOUNTS_NEXT_PLAN - 1]);
	row->status = name_number(status_names, values[ACCOUNTS_STATUS - 1]);
	row->bypass = DatumGetBool(values[ACCOUNTS_BYPASS - 1]);
	row->trial_ends_at = nulls[ACCOUNTS_TRIAL_ENDS_AT - 1] ? DT_NOEND : DatumGetTimestampTz(values[ACCOUNTS_TRIAL_ENDS_AT - 1]);
	row->plan_ends_at = nulls[ACCOUNTS_PLAN_ENDS_AT - 1] ? DT_NOEND : DatumGetTimestampTz(values[ACCOUNTS_PLAN_ENDS_AT - 1]);
	row->has_anchor = !nulls[ACCOUNTS_CYCLE_ANCHOR - 1];
	row->cycle_anchor = row->has_anchor ? DatumGetTimestampTz(values[ACCOUNTS_CYCLE_ANCHOR - 1]) : 0;
	row->timezone = nulls[ACCOUNTS_TIMEZONE - 1] ? NULL : TextDatumGetCString(values[ACCOUNTS_TIMEZONE - 1]);
	row->pool = nulls[ACCOUNTS_POOL - 1] ? NULL : TextDatumGetCString(values[ACCOUNTS_POOL - 1]);
	quota_lookup_done(&store->accounts);
	return true;
}

/* The overrides of an account, also those that have expired, in any order. */
QuotaLimitRow *
quota_store_overrides(QuotaStore *store, Datum account, int *count)
{
	Relation rel = quota_store_table(LIMIT_OVERRIDES, AccessShareLock);
	int allocated = 4;
	QuotaLimitRow *rows = palloc0(allocated * sizeof(QuotaLimitRow));
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;

	*count = 0;
	ScanKeyInit(&key, LIMIT_OVERRIDES_ACCOUNT, BTEqualStrategyNumber, F_TEXTEQ, account);
	scan = quota_store_scan(rel, quota_store_now(store), 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		QuotaLimitRow *row;
		Datum *values;
		bool *nulls;

		if (*count == allocated)
			rows = repalloc(rows, (allocated *= 2) * sizeof(QuotaLimitRow));
		row = memset(&rows[(*count)++], 0, sizeof(QuotaLimitRow));
		deform(tuple, rel, &values, &nulls);
		copy_text(row->feature, sizeof(row->feature), values[LIMIT_OVERRIDES_FEATURE - 1], false);
		row->period = quota_store_period(DatumGetObjectId(values[LIMIT_OVERRIDES_PERIOD - 1]));
		row->unlimited = nulls[LIMIT_OVERRIDES_USAGE_LIMIT - 1];
		row->usage_limit = row->unlimited ? 0 : DatumGetInt64(values[LIMIT_OVERRIDES_USAGE_LIMIT - 1]);
		row->expires_at = nulls[LIMIT_OVERRIDES_EXPIRES_AT - 1] ? DT_NOEND : DatumGetTimestampTz(values[LIMIT_OVERRIDES_EXPIRES_AT - 1]);
	}
	systable_endscan(scan);
	table_close(rel, NoLock);
	return rows;
}

/* The SQL type quota_decision, and the values of its enums. */
/* A table of the extension, which no other installation of it has had. */
Oid
quota_store_extension(void)
{
	return quota_store_oids()->tables[FEATURES];
}

Oid
quota_store_decision_type(void)
{
	return quota_store_oids()->decision_type;
}

Oid
quota_store_period_oid(QuotaPeriod period)
{
	return quota_store_oids()->periods[period];
}

Oid
quota_store_verdict_oid(QuotaVerdict verdict)
{
	return quota_store_oids()->verdicts[verdict];
}

/* The SQL function quota.quota_plan_with, for whoever is told of a plan. */
Oid
quota_store_plan_with_function(void)
{
	return quota_store_oids()->plan_with;
}

static QuotaStore *
begin(bool write, LOCKMODE usage_lock)
{
	/* palloc0 would clear it word by word */
	QuotaStore *store = memset(palloc(sizeof(QuotaStore)), 0, sizeof(QuotaStore));

	store->context = CurrentMemoryContext;
	store->write = write;
	if (usage_lock != NoLock)
		open_probe(store, &store->usage, USAGE, usage_lock);
	/* a lock that was held already does not tell of changes: ask */
	AcceptInvalidationMessages();
	if (!quota_citus_checked)
		quota_citus_check(quota_store_oids()->tables, TABLES);
	take_snapshots(store);
	return store;
}

/* A charge goes by one snapshot, unless that is an old one; who only looks takes those that it needs. */
static void
take_snapshots(QuotaStore *store)
{
	store->now = NULL;
	if (!store->write)
	{
		/* stays the active one meanwhile */
		store->as_of = GetActiveSnapshot();
		return;
	}
	store->as_of = RegisterSnapshot(GetTransactionSnapshot());
	if (!IsolationUsesXactSnapshot())
		store->now = store->as_of;
}

static void
drop_snapshots(QuotaStore *store)
{
	if (store->now != NULL && store->now != store->as_of)
		UnregisterSnapshot(store->now);
	if (store->write)
		UnregisterSnapshot(store->as_of);
}

/* The snapshot of what accounts are entitled to. */
Snapshot
quota_store_now(QuotaStore *store)
{
	if (store->now == NULL)
		store->now = RegisterSnapshot(GetCatalogSnapshot(quota_store_oids()->tables[ACCOUNTS]));
	return store->now;
}

/*
 * The oldest transaction that may not have ended for that snapshot, by its full
 * number, which is that of the next one less the difference.
 */
uint64
quota_store_oldest(QuotaStore *store)
{
	FullTransactionId next = ReadNextFullTransactionId();

	return U64FromFullTransactionId(next) - (uint32) (XidFromFullTransactionId(next) - quota_store_now(store)->xmin);
}

/*
 * Under what accounts may be remembered (src/memory/entitlement_cache.h): a number that is
 * another once they can have changed without the triggers that tell of it. 0:
 * they may not be, as nothing tells of changes, or as the rows have to be looked at.
 */
uint64
quota_store_generation(void)
{
	/* SERIALIZABLE has to know what was read */
	if (RecoveryInProgress() || IsolationIsSerializable())
		return 0;
	while (!generation_known)
	{
		uint64 before = invalidations;

		generation = look_up_generation();
		/* as with OIDs: if anything changed while looking, look again */
		generation_known = before == invalidations;
	}
	return generation;
}

static uint64
look_up_generation(void)
{
	static const Table followed[] = {ACCOUNTS, LIMIT_OVERRIDES};
	/* another database, also one that has come after it with its OID, has other accounts in the same tables */
	uint64 hash = quota_shared_database();

	for (size_t i = 0; i < lengthof(followed); i++)
	{
		Relation rel = quota_store_table(followed[i], AccessShareLock);
		Oid relid = RelationGetRelid(rel);

		hash = hash_combine64(hash, hash_combine64(relid, rel->rd_rel->relfilenode));
		table_close(rel, NoLock);
		if (!hash_trigger(relid, "standing_changed", &hash) || !hash_trigger(relid, "standing_emptied", &hash))
			return 0;
	}
	/* 0 has a meaning */
	return Max(hash, 1);
}

/* Add a trigger as it is to a hash; false: it is not there, or not enabled always. */
static bool
hash_trigger(Oid relid, const char *name, uint64 *hash)
{
	Relation rel = table_open(TriggerRelationId, AccessShareLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple tuple;
	bool enabled;

	ScanKeyInit(&keys[0], Anum_pg_trigger_tgrelid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	ScanKeyInit(&keys[1], Anum_pg_trigger_tgname, BTEqualStrategyNumber, F_NAMEEQ, CStringGetDatum(name));
	scan = systable_beginscan(rel, TriggerRelidNameIndexId, true, NULL, 2, keys);
	tuple = systable_getnext(scan);
	enabled = HeapTupleIsValid(tuple) && ((Form_pg_trigger) GETSTRUCT(tuple))->tgenabled == TRIGGER_FIRES_ALWAYS;
	if (enabled)
		/* each change of it makes another version */
		*hash = hash_combine64(*hash, HeapTupleHeaderGetRawXmin(tuple->t_data));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return enabled;
}

/*
 * Open a table.
 *
 * Errors: undefined_table where the extension has been dropped. Somebody may drop
 * it, and make it again, between the look for the table and the lock.
 */
Relation
quota_store_table(Table table, LOCKMODE lock)
{
	for (;;)
	{
		Oid oid = quota_store_oids()->tables[table];

		LockRelationOid(oid, lock);
		/* to get the lock is to hear of what has been dropped before; a look in pg_class would cost more than all else here */
		if (oids_valid || quota_store_oids()->tables[table] == oid)
			return table_open(oid, NoLock);
		UnlockRelationOid(oid, lock);
		CHECK_FOR_INTERRUPTS();
	}
}

/*
 * Refuse a table whose rows have triggers: what C writes fires none, so whoever
 * made them would miss it.
 */
void
quota_store_check_triggers(Relation rel)
{
	const TriggerDesc *triggers = rel->trigdesc;

	if (triggers == NULL ||
		!(triggers->trig_insert_before_row || triggers->trig_insert_after_row ||
		  triggers->trig_update_before_row || triggers->trig_update_after_row ||
		  triggers->trig_delete_before_row || triggers->trig_delete_after_row))
		return;
	for (int i = 0; i < triggers->numtriggers; i++)
	{
		const Trigger *trigger = &triggers->triggers[i];

		if (TRIGGER_FOR_ROW(trigger->tgtype) && trigger->tgenabled != TRIGGER_DISABLED)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("table quota.%s has a row trigger, \"%s\"", RelationGetRelationName(rel), trigger->tgname),
					 errdetail("Charges write this table without firing row triggers."),
					 errhint("Drop the trigger. To follow charges, use the ledger (quota.events) or logical decoding; to rewrite the table, use VACUUM FULL, CLUSTER or REINDEX CONCURRENTLY.")));
	}
}

/* What rows of a table are written with; opened when it is first asked for. */
QuotaAppender *
quota_store_appender(QuotaStore *store, Table table)
{
	if (store->appenders[table] == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(store->context);
		Relation rel = quota_store_table(table, RowExclusiveLock);

		quota_store_check_triggers(rel);
		store->appenders[table] = quota_appender_open(rel, table == USAGE);
		store->written_tables = true;
		MemoryContextSwitchTo(old);
	}
	return store->appenders[table];
}

static void
open_probe(QuotaStore *store, QuotaLookup *probe, Table table, LOCKMODE lock)
{
	static const AttrNumber accounts_key[] = {ACCOUNTS_ACCOUNT};
	static const AttrNumber usage_key[] = {USAGE_ACCOUNT, USAGE_FEATURE, USAGE_PERIOD, USAGE_PERIOD_START, USAGE_SLOT};
	MemoryContext old = MemoryContextSwitchTo(store->context);
	Relation rel;

	rel = quota_store_table(table, lock);
	if (lock > AccessShareLock)
		quota_store_check_triggers(rel);
	quota_lookup_open(probe, rel, lock > AccessShareLock,
					  table == USAGE ? usage_key : accounts_key, table == USAGE ? quota_usage_row_has_key : NULL);
	MemoryContextSwitchTo(old);
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
quota_store_changed(void)
{
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not serialize access due to concurrent update"),
				 errhint("The transaction might succeed if retried.")));
	return false;
}

static Oid
primary_key(Relation rel)
{
	Oid index = quota_compat_primary_key(rel);

	if (!OidIsValid(index))
		elog(ERROR, "table quota.%s has lost its primary key", RelationGetRelationName(rel));
	return index;
}

/* Scan by the primary key, or a prefix of it; snapshot NULL: as it is now. */
SysScanDesc
quota_store_scan(Relation rel, Snapshot snapshot, int nkeys, ScanKey keys)
{
	return systable_beginscan(rel, primary_key(rel), true, snapshot, nkeys, keys);
}

static void
text_key(ScanKey key, AttrNumber column, const char *value)
{
	/* ScanKeyInit compares in the C collation, which our key columns have */
	ScanKeyInit(key, column, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(value));
}

static void
deform(HeapTuple tuple, Relation rel, Datum **values, bool **nulls)
{
	int natts = RelationGetNumberOfAttributes(rel);

	*values = palloc(natts * sizeof(Datum));
	*nulls = palloc(natts * sizeof(bool));
	heap_deform_tuple(tuple, RelationGetDescr(rel), *values, *nulls);
}

/* NULL becomes an empty string, which our constraints allow in none of these columns. */
static void
copy_text(char *to, Size size, Datum from, bool isnull)
{
	to[0] = '\0';
	if (!isnull)
	{
		text *value = DatumGetTextPP(from);

		if (VARSIZE_ANY_EXHDR(value) >= size)
			elog(ERROR, "value too long in a table of schema quota");
		text_to_cstring_buffer(value, to, size);
	}
}

static int
name_number(const char *const *names, Datum name)
{
	text *value = DatumGetTextPP(name);
	Size length = VARSIZE_ANY_EXHDR(value);

	for (int i = 0; names[i] != NULL; i++)
		if (strlen(names[i]) == length && memcmp(names[i], VARDATA_ANY(value), length) == 0)
			return i;
	elog(ERROR, "unexpected value in a table of schema quota");
	return 0; /* not reached */
}

QuotaPeriod
quota_store_period(Oid period)
{
	for (int i = 0; i < QUOTA_PERIODS; i++)
		if (quota_store_oids()->periods[i] == period)
			return i;
	elog(ERROR, "unexpected value %u of type quota_period", period);
	return 0; /* not reached */
}

/* Called on every change of a relation's definition, and by quota.catalog_changed. */
static void
relation_changed(Datum arg pg_attribute_unused(), Oid relid)
{
	bool known = false;

	invalidations++;
	for (int i = 0; i < TABLES; i++)
		known |= oids.tables[i] == relid;
	if (!known && relid != InvalidOid)
		return;
	oids_valid = false;
	if (relid == InvalidOid || relid == oids.tables[ACCOUNTS])
		pool_version++;
	if (relid == InvalidOid || relid == oids.tables[ACCOUNTS] || relid == oids.tables[LIMIT_OVERRIDES])
		generation_known = false;
	if (relid == InvalidOid || is_catalogue(relid))
		catalog_version++;
}

/* Whether it is one of the tables that src/entitlement/plan.c caches. */
static bool
is_catalogue(Oid relid)
{
	for (int i = PLANS; i <= PLAN_FEATURES; i++)
		if (oids.tables[i] == relid)
			return true;
	return false;
}

const QuotaOids *
quota_store_oids(void)
{
	while (!oids_valid)
	{
		uint64 before = invalidations;
		QuotaOids found = {0};

		resolve(&found);
		if (memcmp(&found, &oids, sizeof(QuotaOids)) != 0)
		{
			/* a new extension of the same name, or the first look */
			catalog_version++;
			pool_version++;
			generation_known = false;
			oids = found;
		}
		/* if anything changed while looking, look again */
		oids_valid = before == invalidations;
	}
	return &oids;
}

static void
resolve(QuotaOids *found)
{
	Oid tables = get_namespace_oid("quota", true);
	Oid period_type = InvalidOid;
	Oid verdict_type;
	Oid api;
	oidvector *text_argument;
	Oid textoid = TEXTOID;

	for (int i = 0; i < TABLES; i++)
	{
		found->tables[i] = OidIsValid(tables) ? get_relname_relid(table_names[i], tables) : InvalidOid;
		if (!OidIsValid(found->tables[i]))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_TABLE),
					 errmsg("table quota.%s does not exist", table_names[i]),
					 errhint("Install the extension with CREATE EXTENSION quota.")));
		if (strcmp(get_attname(found->tables[i], last_columns[i].number, false), last_columns[i].name) != 0)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("table quota.%s is not as the extension made it", table_names[i])));
	}

	found->pool_members = get_relname_relid("accounts_pool", tables);
	if (!OidIsValid(found->pool_members))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("index quota.accounts_pool does not exist")));

	/* the schema of the API is wherever the type of usage.period is */
	period_type = get_atttype(found->tables[USAGE], USAGE_PERIOD);
	api = GetSysCacheOid1(TYPEOID, Anum_pg_type_typnamespace, ObjectIdGetDatum(period_type));
	verdict_type = GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid, CStringGetDatum("quota_verdict"), ObjectIdGetDatum(api));
	found->decision_type = GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid, CStringGetDatum("quota_decision"), ObjectIdGetDatum(api));
	for (int i = 0; i < QUOTA_PERIODS; i++)
		found->periods[i] = GetSysCacheOid2(ENUMTYPOIDNAME, Anum_pg_enum_oid,
											ObjectIdGetDatum(period_type), CStringGetDatum(quota_period_names[i]));
	for (int i = 0; i < QUOTA_VERDICTS; i++)
		found->verdicts[i] = GetSysCacheOid2(ENUMTYPOIDNAME, Anum_pg_enum_oid,
											 ObjectIdGetDatum(verdict_type), CStringGetDatum(quota_verdict_names[i]));
	found->events_id = sequence("events_id_seq", tables);
	found->alerts_id = sequence("alerts_id_seq", tables);
	text_argument = buildoidvector(&textoid, 1);
	found->plan_with = GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid, CStringGetDatum("quota_plan_with"),
									   PointerGetDatum(text_argument), ObjectIdGetDatum(tables));
}

static Oid
sequence(const char *name, Oid schema)
{
	Oid found = get_relname_relid(name, schema);

	if (!OidIsValid(found))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("sequence quota.%s does not exist", name)));
	return found;
}
