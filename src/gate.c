/*
 * Who may call what. So far: whether the caller manages.
 */
#include "postgres.h"

#include "gate.h"

#include "miscadmin.h"
#include "utils/acl.h"

#include "store_private.h"

/*
 * Errors: insufficient_privilege unless the caller may change accounts, as level
 * admin may, or owns the extension's tables.
 *
 * function: the name of what is called, for the message.
 */
void
quota_gate_require_admin(const char *function)
{
	if (pg_class_aclcheck(quota_store_oids()->tables[ACCOUNTS], GetUserId(), ACL_UPDATE) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for function %s", function)));
}
