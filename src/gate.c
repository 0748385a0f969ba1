/*
 * Who may call what. So far: whether the caller manages.
 */
#include "postgres.h"

#include "gate.h"

#include "miscadmin.h"
#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "funcapi.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

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

/* Call the function of the same name and arguments in schema quota, which is SECURITY DEFINER. */
Datum
quota_gate_call(FunctionCallInfo fcinfo)
{
	LOCAL_FCINFO(inner, FUNC_MAX_ARGS);
	HeapTuple tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(fcinfo->flinfo->fn_oid));
	Form_pg_proc self;
	FmgrInfo twin;
	Datum result;
	Oid function;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", fcinfo->flinfo->fn_oid);
	self = (Form_pg_proc) GETSTRUCT(tuple);
	function = GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid, NameGetDatum(&self->proname),
							   PointerGetDatum(&self->proargtypes), ObjectIdGetDatum(get_namespace_oid("quota", false)));
	if (!OidIsValid(function))
		elog(ERROR, "function quota.%s does not exist", NameStr(self->proname));
	ReleaseSysCache(tuple);
	fmgr_info(function, &twin);
	fmgr_info_set_expr(fcinfo->flinfo->fn_expr, &twin);
	InitFunctionCallInfoData(*inner, &twin, fcinfo->nargs, fcinfo->fncollation, NULL, fcinfo->resultinfo);
	if (fcinfo->resultinfo != NULL && IsA(fcinfo->resultinfo, ReturnSetInfo))
		((ReturnSetInfo *) fcinfo->resultinfo)->allowedModes |= SFRM_Materialize;
	memcpy(inner->args, fcinfo->args, fcinfo->nargs * sizeof(NullableDatum));
	result = FunctionCallInvoke(inner);
	fcinfo->isnull = inner->isnull;
	return result;
}
