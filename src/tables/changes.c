/*
 * changes.c
 *		Generation numbers of the catalogue, of pools and of accounts.
 *
 * Caches compare them to find out whether they are stale. Changes of rows do not run
 * relcache callbacks. So the tables have AFTER triggers, ENABLE ALWAYS, that send a
 * relcache invalidation of their table: other backends process it after the commit,
 * this one at the end of the command. The callback here bumps the numbers.
 *
 * Memory: static. Locks: AccessShareLock on the tables whose generation is computed.
 */
#include "postgres.h"

#include "tables/changes.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "common/hashfn.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/rel.h"

#include "compat.h"
#include "memory/entitlement_cache.h"
#include "memory/segment.h"
#include "owner.h"
#include "tables/relations.h"

static uint64 catalogue_version = 1;
static uint64 pool_version = 1;
static uint64 generation;
static bool generation_known = false;

static void relation_changed(Oid relid);
static uint64 look_up_generation(void);
static bool hash_trigger(Oid relid, const char *name, uint64 *hash);

void
quota_changes_init(void)
{
	quota_relations_on_change(relation_changed);
}

static void
relation_changed(Oid relid)
{
	if (quota_relations_may_be(ACCOUNTS, relid))
		pool_version++;
	if (quota_relations_may_be(ACCOUNTS, relid) || quota_relations_may_be(LIMIT_OVERRIDES, relid))
		generation_known = false;
	/* the tables that entitlement/plan.c caches */
	for (QuotaTable table = PLANS; table <= PLAN_FEATURES; table++)
		if (quota_relations_may_be(table, relid))
		{
			catalogue_version++;
			break;
		}
}

/* Return the generation number of the catalogue. It changes when a change of it has committed. */
uint64
quota_changes_catalogue_version(void)
{
	return catalogue_version;
}

/* Return the generation number of pools. It changes when a change of who is in one has committed. */
uint64
quota_changes_pool_version(void)
{
	return pool_version;
}

/*
 * quota.catalog_changed(): AFTER row and TRUNCATE trigger of the catalogue tables, of
 * quota.attached, and of accounts that join a pool. Sends the relcache invalidation.
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
 * quota.entitlement_changed(): AFTER row and TRUNCATE trigger of tables whose first column
 * is an account. Removes the account from the entitlement cache.
 */
PG_FUNCTION_INFO_V1(quota_entitlement_changed);

Datum
quota_entitlement_changed(PG_FUNCTION_ARGS)
{
	static const char *const tables[] = {"accounts", "limit_overrides", NULL};
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	TupleDesc desc;
	bool isnull;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_AFTER(trigdata->tg_event) ||
		!quota_owner_is_table(RelationGetRelid(trigdata->tg_relation), tables))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("quota.entitlement_changed must be an AFTER trigger of quota.accounts or quota.limit_overrides")));
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

/*
 * Return the generation of the entries of the entitlement cache. It changes when
 * accounts may have changed without the triggers that remove them from the cache.
 * 0: do not use the cache.
 */
uint64
quota_changes_generation(void)
{
	/* a standby fires no triggers; SERIALIZABLE needs the predicate locks of reading the rows */
	if (RecoveryInProgress() || IsolationIsSerializable())
		return 0;
	while (!generation_known)
	{
		uint64 before = quota_relations_invalidations;

		generation = look_up_generation();
		/* an invalidation was processed meanwhile: compute it again */
		generation_known = before == quota_relations_invalidations;
	}
	return generation;
}

static uint64
look_up_generation(void)
{
	static const QuotaTable followed[] = {ACCOUNTS, LIMIT_OVERRIDES};
	/* tables of another database, also one that has taken its OID since, have other rows */
	uint64 hash = quota_segment_database();

	for (size_t i = 0; i < lengthof(followed); i++)
	{
		Relation rel = quota_relations_open(followed[i], AccessShareLock);
		Oid relid = RelationGetRelid(rel);

		hash = hash_combine64(hash, hash_combine64(relid, rel->rd_rel->relfilenode));
		table_close(rel, NoLock);
		if (!hash_trigger(relid, "entitlement_changed", &hash) || !hash_trigger(relid, "entitlement_emptied", &hash))
			return 0;
	}
	/* 0 is taken */
	return Max(hash, 1);
}

/* Add the version of a trigger to a hash; false: it is missing, or not ENABLE ALWAYS. */
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
		/* every change of the trigger writes a new version of its row */
		*hash = hash_combine64(*hash, HeapTupleHeaderGetRawXmin(tuple->t_data));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return enabled;
}
