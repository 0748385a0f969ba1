/* What an account is entitled to. */
#ifndef QUOTA_ACCOUNT_H
#define QUOTA_ACCOUNT_H

#include "entitlement/plan.h"

/* An account at one moment. */
typedef struct QuotaAccount
{
	Datum account; /* text, the caller's */
	TimestampTz now;
	struct QuotaAccount *pool;     /* whose counters it charges as well; NULL: none */
	char plan[QUOTA_MAX_PLAN + 1]; /* the plan in effect; empty: none at all */
	bool own_plan;                 /* the plan is not the pool's */
	bool suspended;
	bool bypass;
	bool has_anchor;
	TimestampTz cycle_anchor;
	pg_tz *tz;
	int noverrides;
	QuotaLimitRow *overrides; /* those in force */
} QuotaAccount;

/* those of the pool and its own */
#define QUOTA_MAX_WINDOWS (2 * QUOTA_PERIODS)

/* One window of a feature, and its limit. */
typedef struct QuotaWindowLimit
{
	QuotaPeriod period;
	bool pooled; /* the counter is the pool's */
	QuotaWindow window;
	QuotaLimit limit;
} QuotaWindowLimit;

/* The entitlement of an account to one feature. Has no pointers into the plan cache. */
typedef struct QuotaEntitlement
{
	QuotaFeatureRow feature;
	char plan[QUOTA_MAX_PLAN + 1];
	bool suspended;
	bool bypass;
	bool in_plan; /* otherwise the one window is lifetime, unlimited, for what is counted nevertheless */
	int count;
	QuotaWindowLimit windows[QUOTA_MAX_WINDOWS]; /* the pool's first, each part in the order of period */
} QuotaEntitlement;

extern Datum quota_account_pool(QuotaStore *store, Datum account);
extern void quota_account_load(QuotaStore *store, Datum account, QuotaAccount *loaded);
extern void quota_account_entitle(const QuotaAccount *account, const char *feature, TimestampTz at, QuotaEntitlement *entitlement);
extern bool quota_account_value(const QuotaAccount *account, const char *feature, Datum *value);
extern pg_tz *quota_account_timezone(const char *name);

#endif
