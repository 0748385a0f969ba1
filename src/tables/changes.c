/*
 * changes.c
 *		Changes of plans and accounts, as every backend hears of them.
 *
 * Relcache callbacks do not run for changes of rows. So our tables have AFTER
 * triggers, ENABLE ALWAYS, which send a relcache invalidation of their table: it
 * reaches every backend when the change has committed, and the own one at the end
 * of the command. Here the callbacks count generation numbers, by which caches
 * know what is old.
 *
 * Locks: none. Memory: static variables.
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
#include "memory/shared.h"
#include "owner.h"
#include "tables/relations.h"

static uint64 catalogue_version = 1;
static uint64 pool_version = 1;
static uint64 generation;
static bool generation_known = false;
static uint64 invalidations = 0;

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
	invalidations++;
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

/*
 * Numbers that change when somebody's change of the catalogue, or of who is in a
 * pool, has committed. What was read under one number holds until the
 * number is another.
 */
uint64
quota_changes_catalogue_version(void)
{
	return catalogue_version;
}

uint64
quota_changes_pool_version(void)
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

/*
 * Under what accounts may be remembered (src/memory/entitlement_cache.h): a number that is
 * another once they can have changed without the triggers that tell of it. 0:
 * they may not be, as nothing tells of changes, or as the rows have to be looked at.
 */
uint64
quota_changes_generation(void)
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
	static const QuotaTable followed[] = {ACCOUNTS, LIMIT_OVERRIDES};
	/* another database, also one that has come after it with its OID, has other accounts in the same tables */
	uint64 hash = quota_shared_database();

	for (size_t i = 0; i < lengthof(followed); i++)
	{
		Relation rel = quota_relations_open(followed[i], AccessShareLock);
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
