/*
 * gate.c
 *		The gate: who may call what, for which accounts.
 *
 * Levels. quota_grant records the levels of roles in quota.levels. A caller,
 * GetUserId(), has the levels of all roles whose privileges it has; the owner of the
 * extension and superusers have all. In a SECURITY DEFINER function of the application
 * the caller is the owner of that function.
 *
 * Rules. One table says which levels may call a public function for any account (or
 * without an account), and which only for the accounts of their user. EXECUTE is granted
 * by the same table (quota.level_functions). A function without a rule is refused.
 *
 * Accounts of a user. Charging needs membership; reading also covers accounts that one of
 * the user's accounts sponsors. The error is the same whether or not the account exists.
 *
 * Frames. While a twin runs, a frame on the C stack says which public function was called,
 * with which levels, for whose accounts. Twins read it through quota.sees_all() and the
 * like, the audit log through quota.current_act(). It is a variable of the backend, so its
 * readers are PARALLEL RESTRICTED.
 *
 * Memory: static; the levels of the last two callers, until a role, a membership or
 * quota.levels changes. Locks: none.
 */
#include "postgres.h"

#include "rights/gate.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "commands/trigger.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/tuplestore.h"

#include "argument.h"
#include "compat.h"
#include "guc.h"
#include "owner.h"
#include "tables/accounts.h"
#include "tables/relations.h"

#define MAX_FUNCTIONS 32

enum
{
	USER = 1 << 0,
	READER = 1 << 1,
	MONITOR = 1 << 2,
	APP = 1 << 3,
	ADMIN = 1 << 4,
	OWNER = 1 << 5,
	EVERY_LEVEL = USER | READER | MONITOR | APP | ADMIN
};

static const char *const level_names[] = {"user", "reader", "monitor", "app", "admin"};

/* What the first argument means for a caller that may only use its user's accounts. */
typedef enum GateScope
{
	NO_ACCOUNT, /* no account; a set omits the rows of others */
	CHARGES,    /* an account that the user must be a member of */
	LOOKS       /* or an account that one of the user's sponsors */
} GateScope;

/* Who may call some functions. */
typedef struct GateRule
{
	int all; /* levels that may call them for any account, besides the owner */
	int own; /* levels that may call them for the accounts of their user */
	GateScope scope;
	const char *functions[MAX_FUNCTIONS]; /* NULL after the last */
} GateRule;

static const GateRule rules[] = {
	[QUOTA_GATE_CONSUME] = {APP | ADMIN, USER, CHARGES, {"quota_consume", "quota_enforce"}},
	[QUOTA_GATE_CHARGE] = {APP | ADMIN, 0, NO_ACCOUNT, {"quota_record", "quota_refund", "quota_consume_many", "quota_reserve", "quota_commit", "quota_release", "quota_stripe_event", "quota_stripe_checkout", "quota_stripe_portal"}},
	[QUOTA_GATE_LOOK] = {MONITOR | APP | ADMIN, USER | READER, LOOKS, {"quota_evaluate", "quota_has_feature", "quota_feature", "quota_require_feature", "quota_usage", "quota_status", "quota_history"}},
	[QUOTA_GATE_REPORT] = {MONITOR | APP | ADMIN, READER, LOOKS, {"quota_rates", "quota_forecast", "quota_sponsored", "quota_events", "quota_invoices"}},
	[QUOTA_GATE_TOTALS] = {MONITOR | ADMIN, 0, NO_ACCOUNT, {"quota_rate_stats", "quota_totals", "quota_stats", "quota_plan_stats", "quota_metrics"}},
	{MONITOR | APP | ADMIN, READER, NO_ACCOUNT, {"quota_events_of"}},
	{MONITOR | ADMIN, READER, LOOKS, {"quota_preview"}},
	{MONITOR | ADMIN, READER, NO_ACCOUNT, {"quota_near_limit", "quota_top", "quota_search"}},
	{APP | ADMIN, USER | READER, NO_ACCOUNT, {"quota_accounts_of"}},
	{EVERY_LEVEL, 0, NO_ACCOUNT, {"quota_plan_with"}},
	{READER | MONITOR | ADMIN, 0, NO_ACCOUNT, {"quota_export", "quota_preset"}},
	{ADMIN, 0, NO_ACCOUNT, {"quota_apply", "quota_set_plan", "quota_start_trial", "quota_cancel", "quota_suspend", "quota_activate", "quota_set_override", "quota_clear_override", "quota_reset", "quota_rate_clear", "quota_sponsor", "quota_unsponsor", "quota_set_pool", "quota_add_user", "quota_remove_user", "quota_attach", "quota_detach", "quota_reconcile", "quota_adopt", "quota_unadopt", "quota_invoice_overage", "quota_stripe_price", "quota_maintain"}},
	{0, 0, NO_ACCOUNT, {"quota_grant", "quota_revoke"}},
};

/* A call of a twin, cached in fn_extra of the public function. */
typedef struct TwinCall
{
	const GateRule *rule; /* NULL: the C function has checked its caller */
	char *function;
	bool changes; /* the twin is VOLATILE */
	FmgrInfo twin;
} TwinCall;

/* The levels of the last two callers; InvalidOid: unused. */
static struct
{
	Oid user;
	int levels;
} cached_levels[2];
static uint64 invalidations = 0;

static QuotaGateFrame *frame = NULL;

static void role_changed(Datum arg, int cacheid, uint32 hash);
static void relation_changed(Oid relid);
static inline int levels_of(Oid user);
static int levels_of_uncached(Oid user);
static int look_up_levels(Oid user);
static const GateRule *rule_of(const char *name);
static void require_own(const GateRule *rule, Datum account);
static bool is_own(GateScope scope, Datum account);
static bool frame_acts_as_user(void);
pg_noreturn static void deny(const char *function);
static const char *name_of(FunctionCallInfo fcinfo);
pg_noreturn static void refuse_operation(const char *function);
static TwinCall *twin_call(FunctionCallInfo fcinfo);
static Oid find_twin(HeapTuple tuple, const char *name);
static Datum run_twin(TwinCall *call, FunctionCallInfo fcinfo, bool all_accounts);
static Datum call_in_frame(FunctionCallInfo fcinfo, FmgrInfo *function, QuotaGateFrame *own);

void
quota_gate_init(void)
{
	CacheRegisterSyscacheCallback(AUTHOID, role_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHMEMROLEMEM, role_changed, (Datum) 0);
	quota_relations_on_change(relation_changed);
}

/*
 * Require level admin.
 *
 * function: the name of what is called, for the message.
 * Errors: insufficient_privilege.
 */
void
quota_gate_require_admin(const char *function)
{
	if ((levels_of(GetUserId()) & (ADMIN | OWNER)) == 0)
		deny(function);
	if (InSecurityRestrictedOperation())
		refuse_operation(function);
}

/*
 * Require that the caller may call the running function, one of a rule, for any account.
 *
 * Errors: insufficient_privilege.
 */
void
quota_gate_require(FunctionCallInfo fcinfo, QuotaGateRule rule)
{
	if (unlikely((levels_of(GetUserId()) & (rules[rule].all | OWNER)) == 0))
		deny(name_of(fcinfo));
	if (rule <= QUOTA_GATE_CHARGE && unlikely(InSecurityRestrictedOperation()))
		refuse_operation(name_of(fcinfo));
}

/*
 * Require that the caller may call the running function, one of a rule, for an account.
 *
 * Returns true if it acts at level user, whose charges are limited.
 * Errors: insufficient_privilege.
 */
bool
quota_gate_require_account(FunctionCallInfo fcinfo, QuotaGateRule rule, Datum account)
{
	int levels = levels_of(GetUserId());

	if (rule <= QUOTA_GATE_CHARGE && unlikely(InSecurityRestrictedOperation()))
		refuse_operation(name_of(fcinfo));
	if (likely((levels & (rules[rule].all | OWNER)) != 0))
		return frame != NULL && frame_acts_as_user();
	if ((levels & rules[rule].own) == 0)
		deny(name_of(fcinfo));
	require_own(&rules[rule], account);
	return (levels & rules[rule].own & USER) != 0;
}

/*
 * quota_gate(): the body of public functions with a twin. Checks the caller's levels and
 * the account, then calls the twin.
 *
 * Errors: insufficient_privilege, and the twin's.
 */
QUOTA_FUNCTION(quota_gate)
{
	TwinCall *call = fcinfo->flinfo->fn_extra;
	const GateRule *rule = call == NULL ? rule_of(name_of(fcinfo)) : call->rule;
	int levels = levels_of(GetUserId());
	bool all_accounts;

	if (rule == NULL || (levels & (rule->all | rule->own | OWNER)) == 0)
		deny(name_of(fcinfo));
	call = twin_call(fcinfo);
	call->rule = rule;
	all_accounts = (levels & (rule->all | OWNER)) != 0;
	if (!all_accounts && rule->scope != NO_ACCOUNT)
		require_own(rule, quota_argument_account(fcinfo));
	return run_twin(call, fcinfo, all_accounts);
}

/*
 * Call the twin of the running C function, which has checked its caller, with its
 * arguments and for all accounts.
 */
Datum
quota_gate_call(FunctionCallInfo fcinfo)
{
	return run_twin(twin_call(fcinfo), fcinfo, true);
}

/* Begin a frame for all accounts. */
void
quota_gate_enter(QuotaGateFrame *entered, const char *act)
{
	*entered = (QuotaGateFrame){.function = act, .levels = EVERY_LEVEL | OWNER, .all_accounts = true, .outer = frame};
	frame = entered;
}

/* End it. */
void
quota_gate_leave(const QuotaGateFrame *left)
{
	frame = left->outer;
}

/*
 * quota.current_act(): the public function that is running; NULL: none.
 *
 * Refused in code of a table's owner, which runs in statements of others: the audit log
 * would record its changes as theirs.
 * Errors: insufficient_privilege.
 */
QUOTA_FUNCTION(quota_current_act)
{
	if (InSecurityRestrictedOperation())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("tables of quota cannot be changed within a security-restricted operation"),
				 errdetail("It would be on record as done by whoever runs it.")));
	if (frame == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(frame->function));
}

/* quota.sees_all(): true if the caller may see the rows of all accounts */
QUOTA_FUNCTION(quota_sees_all)
{
	int levels = levels_of(GetUserId());

	/* a twin runs as the owner: use the scope of its caller */
	if ((levels & OWNER) && frame != NULL)
		PG_RETURN_BOOL(frame->all_accounts);
	PG_RETURN_BOOL((levels & (MONITOR | ADMIN | OWNER)) != 0);
}

/* quota.manages(): true if the caller may change the rows of all accounts */
QUOTA_FUNCTION(quota_manages)
{
	PG_RETURN_BOOL((levels_of(GetUserId()) & (ADMIN | OWNER)) != 0);
}

/* quota.acts_as_user(): true if the twin was called at level user */
QUOTA_FUNCTION(quota_acts_as_user)
{
	PG_RETURN_BOOL(frame != NULL && frame_acts_as_user());
}

/* quota.sees_metadata(of_account): true if a twin may show the metadata of events */
QUOTA_FUNCTION(quota_sees_metadata)
{
	int levels = frame == NULL ? levels_of(GetUserId()) : frame->levels;

	if (levels & (APP | ADMIN | OWNER))
		PG_RETURN_BOOL(true);
	PG_RETURN_BOOL((levels & READER) && !PG_ARGISNULL(0) && is_own(LOOKS, PG_GETARG_DATUM(0)));
}

/* quota.level_functions(): what each level may call, and for whose accounts */
QUOTA_FUNCTION(quota_level_functions)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	for (const GateRule *rule = rules; rule < rules + lengthof(rules); rule++)
		for (const char *const *function = rule->functions; *function != NULL; function++)
			for (size_t i = 0; i < lengthof(level_names); i++)
			{
				const char *own = rule->scope == CHARGES ? "member" : "visible";
				Datum values[] = {CStringGetTextDatum(*function), CStringGetTextDatum(level_names[i]), CStringGetTextDatum(rule->all & 1 << i ? "all" : own)};
				bool nulls[lengthof(values)] = {false};

				if ((rule->all | rule->own) & 1 << i)
					tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
			}
	return (Datum) 0;
}

/* quota.levels_changed(): AFTER row and TRUNCATE trigger of quota.levels. Makes all backends drop cached levels. */
QUOTA_FUNCTION(quota_levels_changed)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_AFTER(trigdata->tg_event) ||
		RelationGetRelid(trigdata->tg_relation) != quota_relations_oids()->tables[LEVELS])
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("quota.levels_changed must be an AFTER trigger of quota.levels")));
	CacheInvalidateRelcacheByRelid(RelationGetRelid(trigdata->tg_relation));
	return PointerGetDatum(NULL);
}

static void
relation_changed(Oid relid)
{
	if (quota_relations_may_be(LEVELS, relid))
		role_changed((Datum) 0, 0, 0);
}

/* Drop the cached levels. */
static void
role_changed(Datum arg pg_attribute_unused(), int cacheid pg_attribute_unused(), uint32 hash pg_attribute_unused())
{
	invalidations++;
	cached_levels[0].user = cached_levels[1].user = InvalidOid;
}

/* Return the levels of a role, with OWNER for the extension's owner and superusers. */
static inline int
levels_of(Oid user)
{
	return likely(cached_levels[0].user == user) ? cached_levels[0].levels : levels_of_uncached(user);
}

/* Return the levels of a role that is not the last caller. */
static pg_noinline int
levels_of_uncached(Oid user)
{
	uint64 before;
	int levels;

	if (cached_levels[1].user == user)
		return cached_levels[1].levels;
	do
	{
		before = invalidations;
		levels = look_up_levels(user);
		/* an invalidation was processed meanwhile: look up again */
	} while (before != invalidations);
	cached_levels[1] = cached_levels[0];
	cached_levels[0].user = user;
	cached_levels[0].levels = levels;
	return levels;
}

static int
look_up_levels(Oid user)
{
	Oid owner = quota_owner_of_relation(quota_relations_oids()->tables[LEVELS]);
	QuotaLevelRow *rows;
	int levels = 0;
	int count;

	if (!OidIsValid(owner))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table quota.levels does not exist")));
	/* true for superusers too */
	if (has_privs_of_role(user, owner))
		return EVERY_LEVEL | OWNER;
	rows = quota_levels_read(&count);
	for (int i = 0; i < count; i++)
		for (size_t j = 0; j < lengthof(level_names); j++)
			if (strcmp(level_names[j], rows[i].level) == 0 && has_privs_of_role(user, rows[i].role))
				levels |= 1 << j;
	return levels;
}

/* Return the rule that names a function; NULL: none. */
static const GateRule *
rule_of(const char *name)
{
	for (const GateRule *rule = rules; name != NULL && rule < rules + lengthof(rules); rule++)
		for (const char *const *function = rule->functions; *function != NULL; function++)
			if (strcmp(*function, name) == 0)
				return rule;
	return NULL;
}

/* Require an account of the user. The error does not show whether the account exists. */
static void
require_own(const GateRule *rule, Datum account)
{
	if (!is_own(rule->scope, account))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for account \"%s\"", TextDatumGetCString(account)),
				 rule->scope == CHARGES
					 ? errdetail("The session's user is not a member of it.")
					 : errdetail("The session's user is not a member of it, or of its sponsor.")));
}

static bool
is_own(GateScope scope, Datum account)
{
	char *name = quota_guc_user();
	Datum user;
	Datum sponsor;

	if (name == NULL)
		return false;
	user = CStringGetTextDatum(name);
	if (quota_accounts_has_member(account, user))
		return true;
	if (scope == CHARGES)
		return false;
	sponsor = quota_accounts_sponsor(account);
	return sponsor != (Datum) 0 && quota_accounts_has_member(sponsor, user);
}

static bool
frame_acts_as_user(void)
{
	return !frame->all_accounts && (frame->levels & USER) != 0;
}

static void
deny(const char *function)
{
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied for function %s", function)));
}

/* Return the name of the running function. */
static const char *
name_of(FunctionCallInfo fcinfo)
{
	return get_func_name(fcinfo->flinfo->fn_oid);
}

/* Return the twin of the running function, looked up once. */
static TwinCall *
twin_call(FunctionCallInfo fcinfo)
{
	FmgrInfo *function = fcinfo->flinfo;
	TwinCall *call = function->fn_extra;
	HeapTuple tuple;
	Oid oid;

	if (call != NULL)
		return call;
	call = MemoryContextAllocZero(function->fn_mcxt, sizeof(TwinCall));
	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function->fn_oid));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", function->fn_oid);
	call->function = MemoryContextStrdup(function->fn_mcxt, NameStr(((Form_pg_proc) GETSTRUCT(tuple))->proname));
	oid = find_twin(tuple, call->function);
	ReleaseSysCache(tuple);
	fmgr_info_cxt(oid, &call->twin, function->fn_mcxt);
	call->changes = func_volatile(oid) == PROVOLATILE_VOLATILE;
	function->fn_extra = call;
	return call;
}

/* Return the function of a name in schema quota with the arguments of another. */
static Oid
find_twin(HeapTuple tuple, const char *name)
{
	Form_pg_proc form = (Form_pg_proc) GETSTRUCT(tuple);
	Oid schema = get_namespace_oid("quota", false);
	Oid twin = GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid, CStringGetDatum(name),
							   PointerGetDatum(&form->proargtypes), ObjectIdGetDatum(schema));

	if (!OidIsValid(twin) || twin == form->oid)
		elog(ERROR, "function quota.%s with these arguments does not exist", name);
	return twin;
}

/*
 * Refuse a change in code that the owner of a table makes others run, such as an
 * expression of an attached table or an index.
 */
static void
refuse_operation(const char *function)
{
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("cannot execute function %s within security-restricted operation", function),
			 errdetail("It was called by an expression of a table, or by a materialized view.")));
}

/* Call a twin in a frame. A set is materialized: value-per-call would leave the frame between rows. */
static Datum
run_twin(TwinCall *call, FunctionCallInfo fcinfo, bool all_accounts)
{
	ReturnSetInfo *rsinfo = call->twin.fn_retset ? (ReturnSetInfo *) fcinfo->resultinfo : NULL;
	int allowed_modes = rsinfo != NULL && IsA(rsinfo, ReturnSetInfo) ? rsinfo->allowedModes : 0;
	QuotaGateFrame own = {.function = call->function,
						  .levels = levels_of(GetUserId()),
						  .all_accounts = all_accounts,
						  .outer = frame};
	Datum result;

	if (call->changes && InSecurityRestrictedOperation())
		refuse_operation(call->function);
	if (call->twin.fn_retset && !(allowed_modes & SFRM_Materialize))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("set-valued function called in context that cannot accept a set")));
	if (rsinfo != NULL)
		rsinfo->allowedModes |= SFRM_ValuePerCall | SFRM_Materialize_Preferred;
	result = call_in_frame(fcinfo, &call->twin, &own);
	if (rsinfo != NULL)
		rsinfo->allowedModes = allowed_modes;
	return result;
}

/* Call a function with the arguments of another. The frame ends with the call, also by an error. */
static Datum
call_in_frame(FunctionCallInfo fcinfo, FmgrInfo *function, QuotaGateFrame *own)
{
	FmgrInfo *caller = fcinfo->flinfo;
	Datum result;

	frame = own;
	fcinfo->flinfo = function;
	PG_TRY();
	{
		result = FunctionCallInvoke(fcinfo);
	}
	PG_FINALLY();
	{
		fcinfo->flinfo = caller;
		frame = own->outer;
	}
	PG_END_TRY();
	return result;
}
