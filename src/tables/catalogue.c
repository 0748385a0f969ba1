/*
 * catalogue.c
 *		The catalogue: rows of plans, features and limits.
 *
 * Read with the newest snapshot, whatever the transaction's: a transaction that began
 * before a limit was lowered does not go on under the old one. entitlement/plan.c
 * caches them.
 *
 * Memory: the caller's context. Locks: AccessShareLock on the table that is read.
 */
#include "postgres.h"

#include "tables/catalogue.h"

#include "access/stratnum.h"
#include "utils/fmgroids.h"

#include "tables/scan.h"

enum
{
	PLANS_PLAN = 1,
	PLANS_IS_DEFAULT = 7,

	FEATURES_FEATURE = 1,
	FEATURES_KIND = 2,
	FEATURES_UNIT = 3,
	FEATURES_LEDGER = 5,
	FEATURES_USER_MAX = 6,

	PLAN_LIMITS_FEATURE = 2,
	PLAN_LIMITS_PERIOD = 3,
	PLAN_LIMITS_USAGE_LIMIT = 4,
	PLAN_LIMITS_ON_LIMIT = 5,
	PLAN_LIMITS_WARN_RATIO = 6,
	PLAN_LIMITS_BLOCK_RATIO = 7,
	PLAN_LIMITS_OVERAGE_CAP = 9,

	PLAN_FEATURES_FEATURE = 2
};

static const char *const kind_names[] = {"counter", "gauge", "rate", "flag", NULL};
static const char *const on_limit_names[] = {"block", "warn", "charge", NULL};

static void make_plural(QuotaFeatureRow *row);

/* Read the key of the default plan; false: there is none. */
bool
quota_catalogue_default_plan(char *plan)
{
	QuotaScan scan;
	ScanKeyData key;

	/* no index: a small table, read once */
	ScanKeyInit(&key, PLANS_IS_DEFAULT, BTEqualStrategyNumber, F_BOOLEQ, BoolGetDatum(true));
	quota_scan_begin(&scan, quota_relations_open(PLANS, AccessShareLock), InvalidOid, NULL, 1, &key);
	if (!quota_scan_next(&scan))
		return false;
	quota_scan_text(&scan, PLANS_PLAN, plan, QUOTA_MAX_PLAN + 1);
	quota_scan_end(&scan);
	return true;
}

/* Read a feature; false: there is none. */
bool
quota_catalogue_feature(const char *feature, QuotaFeatureRow *row)
{
	QuotaScan scan;

	if (!quota_scan_find(&scan, FEATURES, NULL, 1, &(Datum){CStringGetTextDatum(feature)}))
		return false;
	quota_scan_text(&scan, FEATURES_FEATURE, row->feature, sizeof(row->feature));
	quota_scan_text(&scan, FEATURES_UNIT, row->units, QUOTA_MAX_UNIT + 1);
	make_plural(row);
	row->kind = quota_scan_enum(&scan, FEATURES_KIND, kind_names);
	row->ledger = quota_scan_bool(&scan, FEATURES_LEDGER);
	row->user_max = quota_scan_int64(&scan, FEATURES_USER_MAX);
	row->user_overage = quota_scan_bool(&scan, FEATURES_USER_OVERAGE);
	quota_scan_end(&scan);
	return true;
}

/* Return the rate multiplier of a plan, a numeric; 0: there is no such plan. */
Datum
quota_catalogue_rate_multiplier(const char *plan)
{
	QuotaScan scan;
	Datum multiplier;

	if (!quota_scan_find(&scan, PLANS, NULL, 1, &(Datum){CStringGetTextDatum(plan)}))
		return (Datum) 0;
	multiplier = quota_scan_copy(&scan, PLANS_RATE_MULTIPLIER);
	quota_scan_end(&scan);
	return multiplier;
}

/* Read the limits of a plan, in any order. */
QuotaLimitRow *
quota_catalogue_limits(const char *plan, int *count)
{
	QuotaScan scan;
	QuotaLimitRow *row;

	quota_scan_begin_by_key(&scan, PLAN_LIMITS, NULL, 1, &(Datum){CStringGetTextDatum(plan)});
	while ((row = quota_scan_next_row(&scan, sizeof(*row))) != NULL)
	{
		quota_scan_text(&scan, PLAN_LIMITS_FEATURE, row->feature, sizeof(row->feature));
		row->period = quota_relations_period(quota_scan_oid(&scan, PLAN_LIMITS_PERIOD));
		row->unlimited = quota_scan_isnull(&scan, PLAN_LIMITS_USAGE_LIMIT);
		row->usage_limit = quota_scan_int64(&scan, PLAN_LIMITS_USAGE_LIMIT);
		row->on_limit = quota_scan_enum(&scan, PLAN_LIMITS_ON_LIMIT, on_limit_names);
		row->warn_ratio = quota_scan_copy(&scan, PLAN_LIMITS_WARN_RATIO);
		row->block_ratio = quota_scan_copy(&scan, PLAN_LIMITS_BLOCK_RATIO);
		row->capped = !quota_scan_isnull(&scan, PLAN_LIMITS_OVERAGE_CAP);
		row->overage_cap = quota_scan_int64(&scan, PLAN_LIMITS_OVERAGE_CAP);
		row->has_burst = !quota_scan_isnull(&scan, PLAN_LIMITS_BURST);
		row->burst = quota_scan_int64(&scan, PLAN_LIMITS_BURST);
		row->expires_at = DT_NOEND;
	}
	*count = scan.count;
	return scan.rows;
}

/* Read the gates and static values of a plan. */
QuotaValueRow *
quota_catalogue_values(const char *plan, int *count)
{
	QuotaScan scan;
	QuotaValueRow *row;

	quota_scan_begin_by_key(&scan, PLAN_FEATURES, NULL, 1, &(Datum){CStringGetTextDatum(plan)});
	while ((row = quota_scan_next_row(&scan, sizeof(*row))) != NULL)
	{
		quota_scan_text(&scan, PLAN_FEATURES_FEATURE, row->feature, sizeof(row->feature));
		row->value = quota_scan_copy(&scan, PLAN_FEATURES_VALUE);
	}
	*count = scan.count;
	return scan.rows;
}

/* Append an s to a unit that is a word; not to symbols such as MB. The default is the feature's name. */
static void
make_plural(QuotaFeatureRow *row)
{
	Size length = strlen(row->units);

	if (length == 0)
		strcpy(row->units, row->feature);
	else if (length >= 3 && row->units[length - 1] != 's' && strspn(row->units, "abcdefghijklmnopqrstuvwxyz ") == length)
		strcpy(row->units + length, "s");
}
