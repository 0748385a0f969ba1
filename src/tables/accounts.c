/*
 * accounts.c
 *		Accounts, their overrides and users, the tables that they follow; the levels of roles.
 *
 * Read with the newest snapshot, whatever the transaction's: triggers also fire in
 * transactions with an older one.
 *
 * Memory: the caller's context. Locks: AccessShareLock on the table that is read.
 */
#include "postgres.h"

#include "tables/accounts.h"

#include "tables/scan.h"
#include "tables/store_private.h"

enum
{
	ACCOUNTS_PLAN = 4,
	ACCOUNTS_STATUS = 5,
	ACCOUNTS_TRIAL_ENDS_AT = 6,
	ACCOUNTS_PLAN_ENDS_AT = 7,
	ACCOUNTS_NEXT_PLAN = 8,
	ACCOUNTS_CYCLE_ANCHOR = 9,
	ACCOUNTS_TIMEZONE = 10,
	ACCOUNTS_SPONSOR = 11,
	ACCOUNTS_POOL = 12,

	LIMIT_OVERRIDES_FEATURE = 2,
	LIMIT_OVERRIDES_PERIOD = 3,
	LIMIT_OVERRIDES_USAGE_LIMIT = 4,

	ADOPTED_RELATION = 2,
	ADOPTED_KEY = 3, /* the other columns follow */

	LEVELS_ROLE = 1
};

static const char *const status_names[] = {"active", "trialing", "past_due", "suspended", "canceled", NULL};

/* Read the row of an account; false: it has none. */
bool
quota_accounts_read(QuotaStore *store, Datum account, QuotaAccountRow *row)
{
	QuotaLookup *accounts = quota_store_accounts(store);
	QuotaScan columns;
	QuotaKey key;

	quota_lookup_key(&key, accounts);
	quota_lookup_key_text(&key, account);
	if (!quota_lookup_find(accounts, &key, quota_store_entitlement_snapshot(store)))
		return false;
	quota_scan_tuple(&columns, accounts->rel, &accounts->tuple);
	quota_scan_text(&columns, ACCOUNTS_PLAN, row->plan, sizeof(row->plan));
	quota_scan_text(&columns, ACCOUNTS_NEXT_PLAN, row->next_plan, sizeof(row->next_plan));
	row->status = quota_scan_enum(&columns, ACCOUNTS_STATUS, status_names);
	row->bypass = quota_scan_bool(&columns, ACCOUNTS_BYPASS);
	row->trial_ends_at = quota_scan_time(&columns, ACCOUNTS_TRIAL_ENDS_AT, DT_NOEND);
	row->plan_ends_at = quota_scan_time(&columns, ACCOUNTS_PLAN_ENDS_AT, DT_NOEND);
	row->has_anchor = !quota_scan_isnull(&columns, ACCOUNTS_CYCLE_ANCHOR);
	row->cycle_anchor = quota_scan_time(&columns, ACCOUNTS_CYCLE_ANCHOR, 0);
	row->timezone = quota_scan_string(&columns, ACCOUNTS_TIMEZONE);
	row->pool = quota_scan_string(&columns, ACCOUNTS_POOL);
	quota_lookup_release(accounts);
	return true;
}

/* Read the overrides of an account, also expired ones, in any order. */
QuotaLimitRow *
quota_accounts_read_overrides(QuotaStore *store, Datum account, int *count)
{
	QuotaScan scan;
	QuotaLimitRow *row;

	quota_scan_begin_by_key(&scan, LIMIT_OVERRIDES, quota_store_entitlement_snapshot(store), 1, &account);
	while ((row = quota_scan_next_row(&scan, sizeof(*row))) != NULL)
	{
		quota_scan_text(&scan, LIMIT_OVERRIDES_FEATURE, row->feature, sizeof(row->feature));
		row->period = quota_relations_period(quota_scan_oid(&scan, LIMIT_OVERRIDES_PERIOD));
		row->unlimited = quota_scan_isnull(&scan, LIMIT_OVERRIDES_USAGE_LIMIT);
		row->usage_limit = quota_scan_int64(&scan, LIMIT_OVERRIDES_USAGE_LIMIT);
		row->expires_at = quota_scan_time(&scan, LIMIT_OVERRIDES_EXPIRES_AT, DT_NOEND);
	}
	*count = scan.count;
	return scan.rows;
}

/* True if any account is in a pool. */
bool
quota_accounts_any_in_pool(void)
{
	Relation rel = quota_relations_open(ACCOUNTS, AccessShareLock);
	QuotaScan scan;

	quota_scan_begin(&scan, rel, quota_relations_oids()->tables[ACCOUNTS_IN_POOL], NULL, 0, NULL);
	if (!quota_scan_next(&scan))
		return false;
	quota_scan_end(&scan);
	return true;
}

/* True if a user, text, is a member of an account. */
bool
quota_accounts_has_member(Datum account, Datum user)
{
	QuotaScan scan;

	if (!quota_scan_find(&scan, ACCOUNT_USERS, NULL, 2, (Datum[]){account, user}))
		return false;
	quota_scan_end(&scan);
	return true;
}

/* Return a copy of the sponsor of an account; 0: none. */
Datum
quota_accounts_sponsor(Datum account)
{
	QuotaScan scan;
	Datum sponsor;

	if (!quota_scan_find(&scan, ACCOUNTS, NULL, 1, &account))
		return (Datum) 0;
	sponsor = quota_scan_copy(&scan, ACCOUNTS_SPONSOR);
	quota_scan_end(&scan);
	return sponsor;
}

/* Read a table that accounts follow; false: there is none with that id. */
bool
quota_adopted_get(int64 id, QuotaAdopted *row)
{
	QuotaScan scan;

	if (!quota_scan_find(&scan, ADOPTED, NULL, 1, &(Datum){Int64GetDatum(id)}))
		return false;
	row->id = id;
	row->relation = quota_scan_oid(&scan, ADOPTED_RELATION);
	for (int i = 0; i < QUOTA_ADOPTED_COLUMNS; i++)
		row->columns[i] = quota_scan_string(&scan, ADOPTED_KEY + i);
	quota_scan_end(&scan);
	return true;
}

/* Read the levels of all roles, in any order. */
QuotaLevelRow *
quota_levels_read(int *count)
{
	QuotaScan scan;
	QuotaLevelRow *row;

	quota_scan_begin(&scan, quota_relations_open(LEVELS, AccessShareLock), InvalidOid, NULL, 0, NULL);
	while ((row = quota_scan_next_row(&scan, sizeof(*row))) != NULL)
	{
		row->role = quota_scan_oid(&scan, LEVELS_ROLE);
		row->level = quota_scan_string(&scan, LEVELS_LEVEL);
	}
	*count = scan.count;
	return scan.rows;
}
