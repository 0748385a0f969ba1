/*
 * restore.c
 *		Tell rows that a dump restores from others.
 *
 * The audit log does not record restored rows, since the dump restores the log
 * as well. A dump's script and pg_restore insert rows by COPY statements of
 * their own, as the owner of the tables. The answer comes from the running
 * statement, since a session can set any setting. Locks: none.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "nodes/plannodes.h"
#include "tcop/pquery.h"
#include "utils/acl.h"
#include "utils/fmgrprotos.h"

#include "argument.h"
#include "owner.h"

static bool portal_copies_into(Oid relid);

/*
 * quota.is_restored(relation): return whether the calling trigger was fired by
 * a COPY that the session itself runs on the relation, with the rights of its
 * owner.
 */
PG_FUNCTION_INFO_V1(quota_is_restored);

Datum
quota_is_restored(PG_FUNCTION_ARGS)
{
	Oid relid;

	quota_argument_check_not_null(fcinfo, 0, "relation");
	relid = PG_GETARG_OID(0);
	/* not GetUserId(): the trigger function runs with its owner's rights */
	PG_RETURN_BOOL(portal_copies_into(relid) &&
				   DatumGetInt32(DirectFunctionCall1(pg_trigger_depth, (Datum) 0)) == 1 &&
				   has_privs_of_role(GetOuterUserId(), quota_owner_of_relation(relid)));
}

static bool
portal_copies_into(Oid relid)
{
	PlannedStmt *planned;
	CopyStmt *copy;

	if (ActivePortal == NULL || ActivePortal->commandTag != CMDTAG_COPY || list_length(ActivePortal->stmts) != 1)
		return false;
	planned = linitial_node(PlannedStmt, ActivePortal->stmts);
	if (planned->utilityStmt == NULL || !IsA(planned->utilityStmt, CopyStmt))
		return false;
	copy = castNode(CopyStmt, planned->utilityStmt);
	return copy->is_from && copy->relation != NULL && RangeVarGetRelid(copy->relation, NoLock, true) == relid;
}
