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

/* each with the last column that is read, to detect a table that the extension has not made */
static const struct
{
	const char *name;
	AttrNumber number;
	const char *column;
} tables[TABLES] = {
	[PLANS] = {"plans", PLANS_RATE_MULTIPLIER, "rate_multiplier"},
	[FEATURES] = {"features", FEATURES_USER_OVERAGE, "user_overage"},
	[PLAN_LIMITS] = {"plan_limits", PLAN_LIMITS_BURST, "burst"},
	[PLAN_FEATURES] = {"plan_features", PLAN_FEATURES_VALUE, "value"},
	[ACCOUNTS] = {"accounts", ACCOUNTS_BYPASS, "bypass"},
	[LIMIT_OVERRIDES] = {"limit_overrides", LIMIT_OVERRIDES_EXPIRES_AT, "expires_at"},
	[USAGE] = {"usage", USAGE_FEATURE, "feature"},
	[KEYS] = {"keys", KEYS_AT, "at"},
	[RESERVATIONS] = {"reservations", RESERVATIONS_EXPIRES_AT, "expires_at"},
	[HOLDS] = {"holds", HOLDS_AMOUNT, "amount"},
	[EVENTS] = {"events", EVENTS_METADATA, "metadata"},
	[ALERTS] = {"alerts", ALERTS_USAGE_LIMIT, "usage_limit"},
	[ACCOUNT_USERS] = {"account_users", ACCOUNT_USERS_USER_ID, "user_id"},
	[LEVELS] = {"levels", LEVELS_LEVEL, "level"},
	[ATTACHED] = {"attached", ATTACHED_FOLLOWS_ROWS, "follows_rows"},
	[ADOPTED] = {"adopted", ADOPTED_CREATED, "created_column"},
	[ACCOUNTS_IN_POOL] = {"accounts_pool", 1, "pool"},
	[HOLDS_OF_RESERVATION] = {"holds_reservation", 1, "reservation"},
	[RESERVATION_IDS] = {"reservations_id_seq", 1, "last_value"},
	[EVENT_IDS] = {"events_id_seq", 1, "last_value"},
	[ALERT_IDS] = {"alerts_id_seq", 1, "last_value"}};

uint64 quota_relations_invalidations = 0;

static QuotaOids oids;
static bool oids_valid = false;
static QuotaRelationChanged callbacks[MAX_CALLBACKS];
static int ncallbacks = 0;

static void relation_changed(Datum arg, Oid relid);
static void look_up_oids(QuotaOids *found);

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
	quota_relations_invalidations++;
	for (int i = 0; i < ncallbacks; i++)
		callbacks[i](relid);
	for (QuotaTable table = 0; table < TABLES && oids_valid; table++)
		oids_valid = !quota_relations_may_be(table, relid);
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
		uint64 before = quota_relations_invalidations;
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
		oids_valid = before == quota_relations_invalidations;
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

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
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
	Oid schema = get_namespace_oid("quota", true);
	Oid period_type;
	Oid verdict_type;
	Oid api;

	for (int i = 0; i < TABLES; i++)
	{
		found->tables[i] = OidIsValid(schema) ? get_relname_relid(tables[i].name, schema) : InvalidOid;
		if (!OidIsValid(found->tables[i]))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_TABLE),
					 errmsg("table quota.%s does not exist", tables[i].name),
					 errhint("Install the extension with CREATE EXTENSION quota.")));
		if (strcmp(get_attname(found->tables[i], tables[i].number, false), tables[i].column) != 0)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("table quota.%s is not as the extension made it", tables[i].name)));
	}

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
	found->plan_with = GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid, CStringGetDatum("quota_plan_with"),
									   PointerGetDatum(buildoidvector(&(Oid){TEXTOID}, 1)), ObjectIdGetDatum(schema));
}
