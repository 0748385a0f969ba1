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
#include "catalog/pg_class.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
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
#include "tables/accounts.h"
#include "tables/relations.h"

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

typedef struct GateRule
{
	const char *function;
	int all; /* levels that may call it for any account, besides the owner */
	int own; /* levels that may call it for the accounts of their user */
	GateScope scope;
} GateRule;

static const GateRule rules[] = {
	[QUOTA_GATE_CONSUME] = {"quota_consume", APP | ADMIN, USER, CHARGES},
	[QUOTA_GATE_ENFORCE] = {"quota_enforce", APP | ADMIN, USER, CHARGES},
	[QUOTA_GATE_RECORD] = {"quota_record", APP | ADMIN, 0, NO_ACCOUNT},
	[QUOTA_GATE_REFUND] = {"quota_refund", APP | ADMIN, 0, NO_ACCOUNT},
	[QUOTA_GATE_CONSUME_MANY] = {"quota_consume_many", APP | ADMIN, 0, NO_ACCOUNT},
	[QUOTA_GATE_RESERVE] = {"quota_reserve", APP | ADMIN, 0, NO_ACCOUNT},
	[QUOTA_GATE_COMMIT] = {"quota_commit", APP | ADMIN, 0, NO_ACCOUNT},
	[QUOTA_GATE_RELEASE] = {"quota_release", APP | ADMIN, 0, NO_ACCOUNT},
	[QUOTA_GATE_EVALUATE] = {"quota_evaluate", MONITOR | APP | ADMIN, USER | READER, LOOKS},
	[QUOTA_GATE_HAS_FEATURE] = {"quota_has_feature", MONITOR | APP | ADMIN, USER | READER, LOOKS},
	[QUOTA_GATE_FEATURE] = {"quota_feature", MONITOR | APP | ADMIN, USER | READER, LOOKS},
	[QUOTA_GATE_REQUIRE_FEATURE] = {"quota_require_feature", MONITOR | APP | ADMIN, USER | READER, LOOKS},
	[QUOTA_GATE_RATES] = {"quota_rates", MONITOR | APP | ADMIN, READER, LOOKS},
	[QUOTA_GATE_RATE_STATS] = {"quota_rate_stats", MONITOR | ADMIN, 0, NO_ACCOUNT},

	/* the catalogue */
	{"quota_plan_with", EVERY_LEVEL, 0, NO_ACCOUNT},
	{"quota_export", READER | MONITOR | ADMIN, 0, NO_ACCOUNT},
	{"quota_preset", READER | MONITOR | ADMIN, 0, NO_ACCOUNT},
	{"quota_apply", ADMIN, 0, NO_ACCOUNT},

	/* reports */
	{"quota_usage", MONITOR | APP | ADMIN, USER | READER, LOOKS},
	{"quota_status", MONITOR | APP | ADMIN, USER | READER, LOOKS},
	{"quota_history", MONITOR | APP | ADMIN, USER | READER, LOOKS},
	{"quota_accounts_of", APP | ADMIN, USER | READER, NO_ACCOUNT},
	{"quota_forecast", MONITOR | APP | ADMIN, READER, LOOKS},
	{"quota_sponsored", MONITOR | APP | ADMIN, READER, LOOKS},
	{"quota_events", MONITOR | APP | ADMIN, READER, LOOKS},
	{"quota_events_of", MONITOR | APP | ADMIN, READER, NO_ACCOUNT},
	{"quota_invoices", MONITOR | APP | ADMIN, READER, LOOKS},
	{"quota_preview", MONITOR | ADMIN, READER, LOOKS},
	{"quota_near_limit", MONITOR | ADMIN, READER, NO_ACCOUNT},
	{"quota_top", MONITOR | ADMIN, READER, NO_ACCOUNT},
	{"quota_search", MONITOR | ADMIN, READER, NO_ACCOUNT},
	{"quota_totals", MONITOR | ADMIN, 0, NO_ACCOUNT},
	{"quota_stats", MONITOR | ADMIN, 0, NO_ACCOUNT},
	{"quota_plan_stats", MONITOR | ADMIN, 0, NO_ACCOUNT},
	{"quota_metrics", MONITOR | ADMIN, 0, NO_ACCOUNT},

	/* management */
	{"quota_set_plan", ADMIN, 0, NO_ACCOUNT},
	{"quota_start_trial", ADMIN, 0, NO_ACCOUNT},
	{"quota_cancel", ADMIN, 0, NO_ACCOUNT},
	{"quota_suspend", ADMIN, 0, NO_ACCOUNT},
	{"quota_activate", ADMIN, 0, NO_ACCOUNT},
	{"quota_set_override", ADMIN, 0, NO_ACCOUNT},
	{"quota_clear_override", ADMIN, 0, NO_ACCOUNT},
	{"quota_reset", ADMIN, 0, NO_ACCOUNT},
	{"quota_rate_clear", ADMIN, 0, NO_ACCOUNT},
	{"quota_sponsor", ADMIN, 0, NO_ACCOUNT},
	{"quota_unsponsor", ADMIN, 0, NO_ACCOUNT},
	{"quota_set_pool", ADMIN, 0, NO_ACCOUNT},
	{"quota_add_user", ADMIN, 0, NO_ACCOUNT},
	{"quota_remove_user", ADMIN, 0, NO_ACCOUNT},
	{"quota_invoice_overage", ADMIN, 0, NO_ACCOUNT},
	{"quota_maintain", ADMIN, 0, NO_ACCOUNT},

	/* Stripe */
	{"quota_stripe_price", ADMIN, 0, NO_ACCOUNT},
	{"quota_stripe_event", APP | ADMIN, 0, NO_ACCOUNT},
	{"quota_stripe_checkout", APP | ADMIN, 0, NO_ACCOUNT},
	{"quota_stripe_portal", APP | ADMIN, 0, NO_ACCOUNT},

	/* tables of the application */
	{"quota_attach", ADMIN, 0, NO_ACCOUNT},
	{"quota_detach", ADMIN, 0, NO_ACCOUNT},
	{"quota_reconcile", ADMIN, 0, NO_ACCOUNT},
	{"quota_adopt", ADMIN, 0, NO_ACCOUNT},
	{"quota_unadopt", ADMIN, 0, NO_ACCOUNT},

	/* the owner alone */
	{"quota_grant", 0, 0, NO_ACCOUNT},
	{"quota_revoke", 0, 0, NO_ACCOUNT},
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
static void forget_levels(void);
static inline int levels_of(Oid user);
static int levels_of_uncached(Oid user);
static int look_up_levels(Oid user);
static int level_bit(const char *name);
static const GateRule *rule_of(const char *function);
static bool may_call(const GateRule *rule, int levels);
static bool require_own_account(const GateRule *rule, int levels, Datum account);
static void require_own(const GateRule *rule, Datum account);
static bool is_own(GateScope scope, Datum account);
static bool frame_acts_as_user(void);
pg_noreturn static void deny(const char *function);
static void check_operation(const char *function);
static TwinCall *prepare_call(FunctionCallInfo fcinfo, const char *name);
static Oid find_twin(HeapTuple tuple, const char *name);
static Datum run_twin(TwinCall *call, FunctionCallInfo fcinfo, bool all_accounts);
static Datum run_twin_in_frame(TwinCall *call, FunctionCallInfo fcinfo, bool all_accounts);
static void put_rule_rows(const GateRule *rule, ReturnSetInfo *rsinfo);

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
	check_operation(function);
}

/*
 * Require that the caller may call a function for any account.
 *
 * Errors: insufficient_privilege.
 */
void
quota_gate_require(QuotaGateFunction function)
{
	if (unlikely((levels_of(GetUserId()) & (rules[function].all | OWNER)) == 0))
		deny(rules[function].function);
	if (function <= QUOTA_GATE_RELEASE)
		check_operation(rules[function].function);
}

/*
 * Require that the caller may call a function for an account, text.
 *
 * Returns true if it acts at level user, whose charges are limited.
 * Errors: insufficient_privilege.
 */
bool
quota_gate_require_account(QuotaGateFunction function, Datum account)
{
	const GateRule *rule = &rules[function];
	int levels = levels_of(GetUserId());

	if (rule->scope == CHARGES)
		check_operation(rule->function);
	if (unlikely((levels & (rule->all | OWNER)) == 0))
		return require_own_account(rule, levels, account);
	return frame != NULL && frame_acts_as_user();
}

/*
 * quota_gate(): the body of public functions with a twin. Checks the caller's levels and
 * the account, then calls the twin.
 *
 * Errors: insufficient_privilege, and the twin's.
 */
PG_FUNCTION_INFO_V1(quota_gate);

Datum
quota_gate(PG_FUNCTION_ARGS)
{
	TwinCall *call = fcinfo->flinfo->fn_extra;
	int levels = levels_of(GetUserId());
	bool all_accounts;

	if (call == NULL)
	{
		char *name = get_func_name(fcinfo->flinfo->fn_oid);
		const GateRule *rule = rule_of(name);

		if (rule == NULL || !may_call(rule, levels))
			deny(name);
		call = prepare_call(fcinfo, name);
		call->rule = rule;
	}
	else if (!may_call(call->rule, levels))
		deny(call->function);
	all_accounts = (levels & (call->rule->all | OWNER)) != 0;
	if (!all_accounts && call->rule->scope != NO_ACCOUNT)
		require_own(call->rule, quota_argument_account(fcinfo));
	return run_twin(call, fcinfo, all_accounts);
}

/*
 * Call the twin of the running C function, which has checked its caller, with its
 * arguments and for all accounts.
 */
Datum
quota_gate_call(FunctionCallInfo fcinfo)
{
	TwinCall *call = fcinfo->flinfo->fn_extra;

	if (call == NULL)
		call = prepare_call(fcinfo, get_func_name(fcinfo->flinfo->fn_oid));
	return run_twin(call, fcinfo, true);
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
PG_FUNCTION_INFO_V1(quota_current_act);

Datum
quota_current_act(PG_FUNCTION_ARGS)
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
PG_FUNCTION_INFO_V1(quota_sees_all);

Datum
quota_sees_all(PG_FUNCTION_ARGS)
{
	int levels = levels_of(GetUserId());

	/* a twin runs as the owner: use the scope of its caller */
	if ((levels & OWNER) && frame != NULL)
		PG_RETURN_BOOL(frame->all_accounts);
	PG_RETURN_BOOL((levels & (MONITOR | ADMIN | OWNER)) != 0);
}

/* quota.manages(): true if the caller may change the rows of all accounts */
PG_FUNCTION_INFO_V1(quota_manages);

Datum
quota_manages(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL((levels_of(GetUserId()) & (ADMIN | OWNER)) != 0);
}

/* quota.acts_as_user(): true if the twin was called at level user */
PG_FUNCTION_INFO_V1(quota_acts_as_user);

Datum
quota_acts_as_user(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(frame != NULL && frame_acts_as_user());
}

/* quota.sees_metadata(of_account): true if a twin may show the metadata of events */
PG_FUNCTION_INFO_V1(quota_sees_metadata);

Datum
quota_sees_metadata(PG_FUNCTION_ARGS)
{
	int levels = frame == NULL ? levels_of(GetUserId()) : frame->levels;

	if (levels & (APP | ADMIN | OWNER))
		PG_RETURN_BOOL(true);
	PG_RETURN_BOOL((levels & READER) && !PG_ARGISNULL(0) && is_own(LOOKS, PG_GETARG_DATUM(0)));
}

/* quota.level_functions(): what each level may call, and for whose accounts */
PG_FUNCTION_INFO_V1(quota_level_functions);

Datum
quota_level_functions(PG_FUNCTION_ARGS)
{
	InitMaterializedSRF(fcinfo, 0);
	for (size_t i = 0; i < lengthof(rules); i++)
		put_rule_rows(&rules[i], (ReturnSetInfo *) fcinfo->resultinfo);
	return (Datum) 0;
}

/* quota.levels_changed(): AFTER row and TRUNCATE trigger of quota.levels. Makes all backends drop cached levels. */
PG_FUNCTION_INFO_V1(quota_levels_changed);

Datum
quota_levels_changed(PG_FUNCTION_ARGS)
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
role_changed(Datum arg pg_attribute_unused(), int cacheid pg_attribute_unused(), uint32 hash pg_attribute_unused())
{
	forget_levels();
}

static void
relation_changed(Oid relid)
{
	if (quota_relations_may_be(LEVELS, relid))
		forget_levels();
}

static void
forget_levels(void)
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
	HeapTuple tuple;
	Oid owner;
	QuotaLevelRow *rows;
	int levels = 0;
	int count;

	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(quota_relations_oids()->tables[LEVELS]));
	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table quota.levels does not exist")));
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	/* true for superusers too */
	if (has_privs_of_role(user, owner))
		return EVERY_LEVEL | OWNER;
	rows = quota_levels_read(&count);
	for (int i = 0; i < count; i++)
		if (has_privs_of_role(user, rows[i].role))
			levels |= level_bit(rows[i].level);
	return levels;
}

/* 0 for a level that does not exist */
static int
level_bit(const char *name)
{
	for (size_t i = 0; i < lengthof(level_names); i++)
		if (strcmp(level_names[i], name) == 0)
			return 1 << i;
	return 0;
}

static const GateRule *
rule_of(const char *function)
{
	for (size_t i = 0; i < lengthof(rules); i++)
		if (function != NULL && strcmp(rules[i].function, function) == 0)
			return &rules[i];
	return NULL;
}

static bool
may_call(const GateRule *rule, int levels)
{
	return (levels & (rule->all | rule->own | OWNER)) != 0;
}

/* The slow path of quota_gate_require_account, for levels that act for a user. */
static pg_noinline bool
require_own_account(const GateRule *rule, int levels, Datum account)
{
	if ((levels & rule->own) == 0)
		deny(rule->function);
	require_own(rule, account);
	return (levels & rule->own & USER) != 0;
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

/* Look up a twin, and cache it in fn_extra. */
static TwinCall *
prepare_call(FunctionCallInfo fcinfo, const char *name)
{
	FmgrInfo *function = fcinfo->flinfo;
	TwinCall *call = MemoryContextAllocZero(function->fn_mcxt, sizeof(TwinCall));
	HeapTuple tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function->fn_oid));
	Oid oid;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", function->fn_oid);
	oid = find_twin(tuple, name);
	ReleaseSysCache(tuple);
	fmgr_info_cxt(oid, &call->twin, function->fn_mcxt);
	call->function = MemoryContextStrdup(function->fn_mcxt, name);
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
 *
 * Errors: insufficient_privilege in a security-restricted operation.
 */
static void
check_operation(const char *function)
{
	if (unlikely(InSecurityRestrictedOperation()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("cannot execute function %s within security-restricted operation", function),
				 errdetail("It was called by an expression of a table, or by a materialized view.")));
}

/* Call a twin. A set is materialized: value-per-call would leave the frame between rows. */
static Datum
run_twin(TwinCall *call, FunctionCallInfo fcinfo, bool all_accounts)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	int allowed_modes;
	Datum result;

	if (call->changes)
		check_operation(call->function);
	if (!call->twin.fn_retset)
		return run_twin_in_frame(call, fcinfo, all_accounts);
	if (rsinfo == NULL || !IsA(rsinfo, ReturnSetInfo) || !(rsinfo->allowedModes & SFRM_Materialize))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("set-valued function called in context that cannot accept a set")));
	allowed_modes = rsinfo->allowedModes;
	rsinfo->allowedModes |= SFRM_ValuePerCall | SFRM_Materialize_Preferred;
	result = run_twin_in_frame(call, fcinfo, all_accounts);
	rsinfo->allowedModes = allowed_modes;
	return result;
}

static Datum
run_twin_in_frame(TwinCall *call, FunctionCallInfo fcinfo, bool all_accounts)
{
	FmgrInfo *function = fcinfo->flinfo;
	QuotaGateFrame own = {.function = call->function,
						  .levels = levels_of(GetUserId()),
						  .all_accounts = all_accounts,
						  .outer = frame};
	Datum result;

	frame = &own;
	fcinfo->flinfo = &call->twin;
	PG_TRY();
	{
		result = FunctionCallInvoke(fcinfo);
	}
	PG_FINALLY();
	{
		fcinfo->flinfo = function;
		frame = own.outer;
	}
	PG_END_TRY();
	return result;
}

/* Put a row for each level that a rule names. */
static void
put_rule_rows(const GateRule *rule, ReturnSetInfo *rsinfo)
{
	for (size_t i = 0; i < lengthof(level_names); i++)
	{
		int level = 1 << i;
		const char *accounts = rule->scope == CHARGES ? "member" : "visible";
		Datum values[3] = {CStringGetTextDatum(rule->function), CStringGetTextDatum(level_names[i])};
		bool nulls[3] = {false, false, false};

		if ((rule->all & level) != 0)
			accounts = "all";
		else if ((rule->own & level) == 0)
			continue;
		values[2] = CStringGetTextDatum(accounts);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
}
