/*
 * clock.c
 *		Clock, windows, default plan, account key, user and acts done alone, for functions in SQL.
 *
 * Charges and reports in SQL use the same code for them. Memory: the caller's context.
 *
 * Lock									Protects	Order			While held
 * advisory, database and hash of the act	the act		by the caller	the transaction
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "argument.h"
#include "compat.h"
#include "entitlement/account.h"
#include "guc.h"
#include "tables/relations.h"

/* class of the advisory locks; the application's own have 1 or 2, idempotency keys 0x7175 */
#define LOCK_OF_ACTS 0x7176

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

/*
 * quota.lock_alone(act, shared): lock an act until the transaction ends; shared
 * locks do not exclude each other. SQL cannot take advisory locks of this class.
 *
 * No LOCK TABLE: a role with USAGE on schema quota can take ROW EXCLUSIVE on any of
 * its tables without a right to write, by PREPARE of a DELETE, and could so block
 * an act until the end of its transaction.
 */
QUOTA_FUNCTION(quota_lock_alone)
{
	LOCKTAG lock;
	text *act = quota_argument_text(fcinfo, 0, "act");

	quota_argument_check_not_null(fcinfo, 1, "shared");
	SET_LOCKTAG_ADVISORY(lock, MyDatabaseId, 0,
						 hash_bytes((unsigned char *) VARDATA_ANY(act), VARSIZE_ANY_EXHDR(act)), LOCK_OF_ACTS);
	(void) LockAcquire(&lock, PG_GETARG_BOOL(1) ? ShareLock : ExclusiveLock, false, false);
	PG_RETURN_VOID();
}

/* Return a string; NULL if it is empty. */
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
