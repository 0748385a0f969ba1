/*
 * relations.c
 *		The tables of schema quota: OIDs, opening, relcache callback.
 *
 * OIDs of tables, types and enum values are looked up once in a backend, and again
 * after an invalidation of one of the tables, so DROP EXTENSION and CREATE EXTENSION
 * work in a running session.
 *
 * One relcache callback serves all files, since PostgreSQL has room for ten in a
 * process. Files that cache something of a relation register with
 * quota_relations_on_change.
 *
 * Memory: static. Locks: what the caller asks for, until the end of the transaction.
 */
#include "postgres.h"

#include "tables/relations.h"

#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_enum.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#define MAX_CALLBACKS 8

static const char *const table_names[TABLES] = {
	"plans", "features", "plan_limits", "plan_features", "accounts", "limit_overrides", "usage",
	"keys", "reservations", "reservations_id_seq", "holds", "holds_reservation", "events", "alerts",
	"account_users", "levels", "attached", "adopted"};

/* the last column that is read of each table, to detect a table that the extension has not made */
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
	{ALERTS_USAGE_LIMIT, "usage_limit"},
	{ACCOUNT_USERS_USER_ID, "user_id"},
	{LEVELS_LEVEL, "level"},
	{ATTACHED_FOLLOWS_ROWS, "follows_rows"},
	{ADOPTED_CREATED, "created_column"}};

static QuotaOids oids;
static bool oids_valid = false;
static uint64 invalidations = 0;
static QuotaRelationChanged callbacks[MAX_CALLBACKS];
static int ncallbacks = 0;

static void relation_changed(Datum arg, Oid relid);
static void look_up_oids(QuotaOids *found);
static Oid sequence(const char *name, Oid schema);

void
quota_relations_init(void)
{
	CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
}

/*
 * Register a function to be called when a relation has changed, for the life of the
 * backend, before OIDs are dropped. It gets InvalidOid if any relation may have
 * changed, and must not access the catalog.
 */
void
quota_relations_on_change(QuotaRelationChanged changed)
{
	Assert(ncallbacks < MAX_CALLBACKS);
	callbacks[ncallbacks++] = changed;
}

static void
relation_changed(Datum arg pg_attribute_unused(), Oid relid)
{
	invalidations++;
	for (int i = 0; i < ncallbacks; i++)
		callbacks[i](relid);
	for (int i = 0; i < TABLES && oids_valid; i++)
		if (relid == InvalidOid || relid == oids.tables[i])
			oids_valid = false;
}

/* True if an invalidation may be of a table of ours. Accesses no catalog. */
bool
quota_relations_may_be(QuotaTable table, Oid relid)
{
	return relid == InvalidOid || relid == oids.tables[table];
}

/*
 * Return the OIDs, looked up if needed.
 *
 * Errors: undefined_table and the like where the extension is not installed as made.
 */
const QuotaOids *
quota_relations_oids(void)
{
	while (!oids_valid)
	{
		uint64 before = invalidations;
		QuotaOids found = {0};

		look_up_oids(&found);
		if (memcmp(&found, &oids, sizeof(QuotaOids)) != 0)
		{
			/* first look-up, or the extension was made anew: nothing that is cached belongs to it */
			for (int i = 0; i < ncallbacks; i++)
				callbacks[i](InvalidOid);
			oids = found;
		}
		/* an invalidation was processed meanwhile: look up again */
		oids_valid = before == invalidations;
	}
	return &oids;
}

/* Return the OID of a table as an identity of this installation of the extension. */
Oid
quota_relations_extension(void)
{
	return quota_relations_oids()->tables[FEATURES];
}

/*
 * Open a table. Retries if the extension is dropped and made anew before the lock is acquired.
 *
 * Errors: undefined_table where the extension has been dropped.
 */
Relation
quota_relations_open(QuotaTable table, LOCKMODE lock)
{
	for (;;)
	{
		Oid oid = quota_relations_oids()->tables[table];

		LockRelationOid(oid, lock);
		/* taking the lock processed invalidations; a lookup in pg_class would cost more than the rest */
		if (oids_valid || quota_relations_oids()->tables[table] == oid)
			return table_open(oid, NoLock);
		UnlockRelationOid(oid, lock);
		CHECK_FOR_INTERRUPTS();
	}
}

/* Open a table to write its rows. */
Relation
quota_relations_open_to_write(QuotaTable table)
{
	Relation rel = quota_relations_open(table, RowExclusiveLock);

	quota_relations_check_triggers(rel);
	return rel;
}

/* Refuse a table with row triggers: C writes its rows without firing them. */
void
quota_relations_check_triggers(Relation rel)
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

/* Return the period of a value of type quota_period. */
QuotaPeriod
quota_relations_period(Oid period)
{
	for (int i = 0; i < QUOTA_PERIODS; i++)
		if (quota_relations_oids()->periods[i] == period)
			return i;
	elog(ERROR, "unexpected value %u of type quota_period", period);
	return 0; /* not reached */
}

Oid
quota_relations_period_oid(QuotaPeriod period)
{
	return quota_relations_oids()->periods[period];
}

static void
look_up_oids(QuotaOids *found)
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

	/* the API is in the schema of the type of usage.period */
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
