/*
 * clock.c
 *		Clock, windows, default plan, account key and user, for functions in SQL.
 *
 * Charges and reports in SQL use the same code for them. Locks: none. Memory:
 * the caller's context.
 */
#include "postgres.h"

#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "argument.h"
#include "entitlement/account.h"
#include "guc.h"
#include "tables/relations.h"

static Datum text_or_null(FunctionCallInfo fcinfo, const char *string);
static QuotaWindow window_of_arguments(FunctionCallInfo fcinfo);

/* quota.now(): return the time that decisions are made for. */
QUOTA_FUNCTION(quota_now)
{
	PG_RETURN_TIMESTAMPTZ(quota_guc_now());
}

/* quota.timezone(): return the time zone of accounts that have none of their own. */
QUOTA_FUNCTION(quota_timezone)
{
	return text_or_null(fcinfo, pg_get_timezone_name(quota_guc_timezone()));
}

/*
 * quota.window_start(period, at, timezone, anchor): return the first instant of
 * the window that contains `at`.
 *
 * timezone: NULL for that of the setting. anchor: NULL for calendar windows.
 */
QUOTA_FUNCTION(quota_window_start)
{
	PG_RETURN_TIMESTAMPTZ(window_of_arguments(fcinfo).start);
}

/* quota.window_end(period, at, timezone, anchor): return the first instant of the next window. */
QUOTA_FUNCTION(quota_window_end)
{
	PG_RETURN_TIMESTAMPTZ(window_of_arguments(fcinfo).end);
}

/* quota.default_plan(): return the plan of accounts that have no other; NULL if there is none. */
QUOTA_FUNCTION(quota_default_plan)
{
	quota_plan_begin();
	return text_or_null(fcinfo, quota_plan_default());
}

/* quota.account_key(key): check and return the key of an account. Errors: invalid_parameter_value. */
QUOTA_FUNCTION(quota_account_key)
{
	PG_RETURN_DATUM(quota_argument_account(fcinfo));
}

/* quota.user_id(): return the application's user that the session acts for; NULL if unknown. */
QUOTA_FUNCTION(quota_user_id)
{
	return text_or_null(fcinfo, quota_guc_user());
}

/*
 * quota.charged_counters(owner, feature): return the owner and period of each
 * counter that a charge of an account uses.
 */
QUOTA_FUNCTION(quota_charged_counters)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	QuotaStore *store;
	QuotaAccount account;
	QuotaEntitlement entitlement;
	Datum owner = PointerGetDatum(quota_argument_text(fcinfo, 0, "owner"));

	quota_argument_check_account(owner);
	InitMaterializedSRF(fcinfo, 0);
	store = quota_store_begin_read();
	quota_account_load(store, owner, &account);
	quota_account_entitle(&account, quota_argument_feature(fcinfo, 1), account.now, &entitlement);
	quota_store_end(store);
	for (int i = 0; i < entitlement.count; i++)
	{
		Datum values[2] = {entitlement.windows[i].pooled ? account.pool->account : account.account,
						   ObjectIdGetDatum(quota_relations_period_oid(entitlement.windows[i].period))};
		bool nulls[2] = {false, false};

		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

static Datum
text_or_null(FunctionCallInfo fcinfo, const char *string)
{
	if (string == NULL || string[0] == '\0')
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(string));
}

static QuotaWindow
window_of_arguments(FunctionCallInfo fcinfo)
{
	TimestampTz anchor = 0;
	pg_tz *tz;

	quota_argument_check_not_null(fcinfo, 0, "period");
	quota_argument_check_not_null(fcinfo, 1, "at");
	tz = PG_ARGISNULL(2) ? quota_guc_timezone() : quota_account_timezone(text_to_cstring(PG_GETARG_TEXT_PP(2)));
	if (!PG_ARGISNULL(3))
		anchor = PG_GETARG_TIMESTAMPTZ(3);
	return quota_period_window(quota_relations_period(PG_GETARG_OID(0)), PG_GETARG_TIMESTAMPTZ(1), tz,
							   PG_ARGISNULL(3) ? NULL : &anchor);
}
