/*
 * relations.c
 *		The tables of schema quota: their OIDs, and what tells that they have changed.
 *
 * OIDs of tables, types and enum values are looked up once a backend, and again
 * after an invalidation of one of the tables, so that dropping and creating the
 * extension works in a running session.
 *
 * One relcache callback serves all files: PostgreSQL has room for ten in a
 * process. Files that keep something of a relation ask for it with
 * quota_relations_on_change.
 *
 * Memory: static variables. Locks: those that the caller asks for, until the end of
 * the transaction.
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

/* the last column that is read of each table, to notice a table that is not ours */
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
 * Call a function whenever the definition of a relation has changed, for the life of
 * the backend. InvalidOid: any may have. It must not look anything up. Callbacks
 * run before OIDs are forgotten.
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

/* True if an invalidation, InvalidOid: of any relation, may be of a table of ours. Looks nothing up. */
bool
quota_relations_may_be(QuotaTable table, Oid relid)
{
	return relid == InvalidOid || relid == oids.tables[table];
}

/* Errors: undefined_table and the like where the extension is not there as it was made. */
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
			/* another extension of the same name, or the first look: nothing that was kept is of its tables */
			for (int i = 0; i < ncallbacks; i++)
				callbacks[i](InvalidOid);
			oids = found;
		}
		/* if anything changed while looking, look again */
		oids_valid = before == invalidations;
	}
	return &oids;
}

/* A table of the extension, which no other installation of it has had. */
Oid
quota_relations_extension(void)
{
	return quota_relations_oids()->tables[FEATURES];
}

/*
 * Open a table.
 *
 * Errors: undefined_table where the extension has been dropped. Somebody may drop
 * it, and make it again, between the look for the table and the lock.
 */
Relation
quota_relations_open(QuotaTable table, LOCKMODE lock)
{
	for (;;)
	{
		Oid oid = quota_relations_oids()->tables[table];

		LockRelationOid(oid, lock);
		/* to get the lock is to hear of what has been dropped before; a look in pg_class would cost more than all else here */
		if (oids_valid || quota_relations_oids()->tables[table] == oid)
			return table_open(oid, NoLock);
		UnlockRelationOid(oid, lock);
		CHECK_FOR_INTERRUPTS();
	}
}

/* Open a table whose rows C writes. */
Relation
quota_relations_open_to_write(QuotaTable table)
{
	Relation rel = quota_relations_open(table, RowExclusiveLock);

	quota_relations_check_triggers(rel);
	return rel;
}

/*
 * Refuse a table whose rows have triggers: what C writes fires none, so whoever
 * made them would miss it.
 */
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

/* The period of a value of the SQL type quota_period. */
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
