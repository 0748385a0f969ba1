/*
 * Access to the tables of schema quota. The only module that knows of heap,
 * index, OIDs and column numbers; all others see structs.
 */
#ifndef QUOTA_STORE_H
#define QUOTA_STORE_H

#include "datatype/timestamp.h"

#include "sizes.h"

#include "rules/decide.h"
#include "rules/period.h"

typedef enum QuotaKind
{
	QUOTA_COUNTER,
	QUOTA_GAUGE,
	QUOTA_RATE,
	QUOTA_FLAG
} QuotaKind;

typedef enum QuotaStatus
{
	QUOTA_ACTIVE,
	QUOTA_TRIALING,
	QUOTA_PAST_DUE,
	QUOTA_SUSPENDED,
	QUOTA_CANCELED
} QuotaStatus;

/* Rows as the other modules see them; a NULL is an empty string or has a flag. */
typedef struct QuotaAccountRow
{
	char plan[QUOTA_MAX_PLAN + 1];
	char next_plan[QUOTA_MAX_PLAN + 1];
	QuotaStatus status;
	bool bypass;
	bool has_anchor;
	TimestampTz trial_ends_at; /* infinity: none */
	TimestampTz plan_ends_at;  /* infinity: none */
	TimestampTz cycle_anchor;
	char *timezone; /* NULL: none */
	char *pool;     /* NULL: none */
} QuotaAccountRow;

typedef struct QuotaFeatureRow
{
	char feature[QUOTA_MAX_FEATURE + 1];                        /* first, as the key of the cache's hash table */
	char units[Max(QUOTA_MAX_UNIT + 1, QUOTA_MAX_FEATURE) + 1]; /* several of them, as a message has it */
	QuotaKind kind;
	bool ledger;       /* whether what is done to it is written down */
	bool user_overage; /* whether level user may go past a limit that charges */
	int64 user_max;    /* units that level user may charge in one call */
} QuotaFeatureRow;

/* a row of plan_limits, or of limit_overrides (feature, period, usage_limit, expires_at) */
typedef struct QuotaLimitRow
{
	char feature[QUOTA_MAX_FEATURE + 1];
	QuotaPeriod period;
	bool unlimited;
	int64 usage_limit;
	QuotaOnLimit on_limit;
	Datum warn_ratio;  /* numeric */
	Datum block_ratio; /* numeric */
	bool capped;
	int64 overage_cap;
	bool has_burst;
	int64 burst;            /* of a rate */
	TimestampTz expires_at; /* infinity: does not */
} QuotaLimitRow;

/* a row of plan_features */
typedef struct QuotaValueRow
{
	char feature[QUOTA_MAX_FEATURE + 1];
	Datum value; /* jsonb */
} QuotaValueRow;

typedef struct QuotaStore QuotaStore;

extern void quota_store_init(void);
extern uint64 quota_store_catalog_version(void);
extern uint64 quota_store_pool_version(void);
extern uint64 quota_store_generation(void);

extern bool quota_store_default_plan(char *plan);
extern bool quota_store_feature(const char *feature, QuotaFeatureRow *row);
extern Datum quota_store_rate_multiplier(const char *plan);
extern QuotaLimitRow *quota_store_plan_limits(const char *plan, int *count);
extern QuotaValueRow *quota_store_plan_values(const char *plan, int *count);
extern bool quota_store_has_pools(void);

extern QuotaStore *quota_store_begin_read(void);
extern QuotaStore *quota_store_begin_write(void);
extern QuotaStore *quota_store_begin_rates(void);
extern bool quota_store_open_usage(QuotaStore *store);
extern void quota_store_end(QuotaStore *store);
extern bool quota_store_account(QuotaStore *store, Datum account, QuotaAccountRow *row);
extern uint64 quota_store_oldest(QuotaStore *store);
extern QuotaLimitRow *quota_store_overrides(QuotaStore *store, Datum account, int *count);
extern void quota_store_refresh(QuotaStore *store);
extern void quota_store_look_anew(QuotaStore *store);

extern Oid quota_store_extension(void);
extern Oid quota_store_decision_type(void);
extern Oid quota_store_period_oid(QuotaPeriod period);
extern QuotaPeriod quota_store_period(Oid period);
extern Oid quota_store_verdict_oid(QuotaVerdict verdict);
extern Oid quota_store_plan_with_function(void);

#endif
