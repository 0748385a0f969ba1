/*
 * accounts.c
 *		Accounts, their overrides and users.
 *
 * Read with the newest snapshot, whatever the transaction's.
 *
 * Memory: the caller's context. Locks: AccessShareLock on the table that is read.
 */
#include "postgres.h"

#include "tables/accounts.h"

#include "access/stratnum.h"
#include "utils/fmgroids.h"

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

	LIMIT_OVERRIDES_ACCOUNT = 1,
	LIMIT_OVERRIDES_FEATURE = 2,
	LIMIT_OVERRIDES_PERIOD = 3,
	LIMIT_OVERRIDES_USAGE_LIMIT = 4,

	ACCOUNT_USERS_ACCOUNT = 1
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
	Relation rel = quota_relations_open(LIMIT_OVERRIDES, AccessShareLock);
	QuotaLimitRow *rows = NULL;
	QuotaScan scan;
	ScanKeyData key;

	ScanKeyInit(&key, LIMIT_OVERRIDES_ACCOUNT, BTEqualStrategyNumber, F_TEXTEQ, account);
	quota_scan_begin(&scan, rel, quota_scan_primary_key(rel), quota_store_entitlement_snapshot(store), 1, &key);
	for (*count = 0; quota_scan_next(&scan); (*count)++)
	{
		QuotaLimitRow *row;

		rows = quota_scan_room(rows, *count, sizeof(QuotaLimitRow));
		row = memset(&rows[*count], 0, sizeof(QuotaLimitRow));
		quota_scan_text(&scan, LIMIT_OVERRIDES_FEATURE, row->feature, sizeof(row->feature));
		row->period = quota_relations_period(DatumGetObjectId(quota_scan_value(&scan, LIMIT_OVERRIDES_PERIOD)));
		row->unlimited = quota_scan_isnull(&scan, LIMIT_OVERRIDES_USAGE_LIMIT);
		row->usage_limit = quota_scan_int64(&scan, LIMIT_OVERRIDES_USAGE_LIMIT);
		row->expires_at = quota_scan_time(&scan, LIMIT_OVERRIDES_EXPIRES_AT, DT_NOEND);
	}
	quota_scan_end(&scan);
	return rows;
}

/* True if any account is in a pool. */
bool
quota_accounts_any_in_pool(void)
{
	QuotaScan scan;
	bool found;

	quota_scan_begin(&scan, quota_relations_open(ACCOUNTS, AccessShareLock), quota_relations_oids()->pool_members, NULL, 0, NULL);
	found = quota_scan_next(&scan);
	quota_scan_end(&scan);
	return found;
}

/* True if a user, text, is a member of an account. */
bool
quota_accounts_has_member(Datum account, Datum user)
{
	Relation rel = quota_relations_open(ACCOUNT_USERS, AccessShareLock);
	QuotaScan scan;
	ScanKeyData keys[2];
	bool found;

	ScanKeyInit(&keys[0], ACCOUNT_USERS_ACCOUNT, BTEqualStrategyNumber, F_TEXTEQ, account);
	ScanKeyInit(&keys[1], ACCOUNT_USERS_USER_ID, BTEqualStrategyNumber, F_TEXTEQ, user);
	quota_scan_begin(&scan, rel, quota_scan_primary_key(rel), NULL, 2, keys);
	found = quota_scan_next(&scan);
	quota_scan_end(&scan);
	return found;
}

/* Return a copy of the sponsor of an account; 0: none. */
Datum
quota_accounts_sponsor(Datum account)
{
	Relation rel = quota_relations_open(ACCOUNTS, AccessShareLock);
	QuotaScan scan;
	ScanKeyData key;
	Datum sponsor = (Datum) 0;

	ScanKeyInit(&key, ACCOUNTS_ACCOUNT, BTEqualStrategyNumber, F_TEXTEQ, account);
	quota_scan_begin(&scan, rel, quota_scan_primary_key(rel), NULL, 1, &key);
	if (quota_scan_next(&scan))
		sponsor = quota_scan_copy(&scan, ACCOUNTS_SPONSOR);
	quota_scan_end(&scan);
	return sponsor;
}
