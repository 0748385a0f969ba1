/*
 * Whether a trigger was fired by a row that a dump brings. The audit log does
 * not record those: the dump brings the log with it.
 *
 * The answer comes from what runs, not from settings, which a session can make
 * as it likes: a dump's script and pg_restore bring rows by COPY statements of
 * their own, as the owner of the tables. Locks nothing.
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
 * quota.is_restored(relation): whether the trigger that asks was fired by a
 * COPY of the session itself into the relation, not by anything within it,
 * and the role of the session has the rights of the relation's owner.
 */
PG_FUNCTION_INFO_V1(quota_is_restored);

Datum
quota_is_restored(PG_FUNCTION_ARGS)
{
	Oid relid;

	quota_argument_check_not_null(fcinfo, 0, "relation");
	relid = PG_GETARG_OID(0);
	/* not GetUserId(): the trigger function runs with the owner's rights, whoever fired it */
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
