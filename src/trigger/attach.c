/*
 * attach.c
 *		Rights for quota_attach, quota_detach and quota_reconcile.
 *
 * The triggers on a table are made by the extension's owner, so the caller's
 * ownership is checked here first, and again after the table is locked by its
 * OID. The functions of the same names in schema quota then do the work; only
 * the extension's owner may call those.
 *
 * Lock					Protects							While held
 * ShareRowExclusiveLock	table and partitions, to add		SQL of schema quota
 * AccessExclusiveLock	the same, where triggers exist		SQL of schema quota
 */
#include "postgres.h"

#include "catalog/pg_inherits.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "rights/gate.h"
#include "trigger/table.h"
#include "trigger/trigger_ddl.h"

static Datum call_for_own_table(FunctionCallInfo fcinfo, const char *function);

/* quota_attach(table, feature, ...). Errors: insufficient_privilege, those of quota.quota_attach. */
PG_FUNCTION_INFO_V1(quota_attach);

Datum
quota_attach(PG_FUNCTION_ARGS)
{
	return call_for_own_table(fcinfo, "quota_attach");
}

/* quota_detach(table, feature). Errors: insufficient_privilege, those of quota.quota_detach. */
PG_FUNCTION_INFO_V1(quota_detach);

Datum
quota_detach(PG_FUNCTION_ARGS)
{
	return call_for_own_table(fcinfo, "quota_detach");
}

/*
 * quota_reconcile(table, feature, repair): for roles that may read the table;
 * with repair, for its owner.
 *
 * Errors: insufficient_privilege, those of quota.quota_reconcile.
 */
PG_FUNCTION_INFO_V1(quota_reconcile);

Datum
quota_reconcile(PG_FUNCTION_ARGS)
{
	quota_gate_require_admin("quota_reconcile");
	if (!PG_ARGISNULL(0) && !PG_ARGISNULL(2))
	{
		Oid relid = PG_GETARG_OID(0);

		if (PG_GETARG_BOOL(2))
			quota_table_check_owner(relid);
		else
		{
			AclResult result;

			if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relid)))
				quota_table_raise_missing(relid);
			result = pg_class_aclcheck(relid, GetUserId(), ACL_SELECT);
			if (result != ACLCHECK_OK)
				aclcheck_error(result, get_relkind_objtype(get_rel_relkind(relid)), get_rel_name(relid));
		}
	}
	return quota_gate_call(fcinfo);
}

/* Lock the table in the first argument, which the caller must own, and its partitions; then call the twin, which refuses NULL. */
static Datum
call_for_own_table(FunctionCallInfo fcinfo, const char *function)
{
	quota_gate_require_admin(function);
	if (!PG_ARGISNULL(0) && !PG_ARGISNULL(1))
	{
		Oid relid = PG_GETARG_OID(0);
		/* upgrading the lock later could deadlock with a session that has read the table */
		bool exists = quota_trigger_ddl_exists(relid, text_to_cstring(PG_GETARG_TEXT_PP(1)));
		LOCKMODE lock = exists ? AccessExclusiveLock : ShareRowExclusiveLock;

		quota_table_lock_own(relid, lock);
		(void) find_all_inheritors(relid, lock, NULL);
	}
	return quota_gate_call(fcinfo);
}
