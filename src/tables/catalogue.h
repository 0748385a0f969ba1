/* The catalogue: rows of plans, features and limits. */
#ifndef QUOTA_CATALOGUE_H
#define QUOTA_CATALOGUE_H

#include "rules/decide.h"

typedef enum QuotaKind
{
	QUOTA_COUNTER,
	QUOTA_GAUGE,
	QUOTA_RATE,
	QUOTA_FLAG
} QuotaKind;

typedef struct QuotaFeatureRow
{
	char feature[QUOTA_MAX_FEATURE + 1];                        /* first: the key of the cache's hash table */
	char units[Max(QUOTA_MAX_UNIT + 1, QUOTA_MAX_FEATURE) + 1]; /* plural, for messages */
	QuotaKind kind;
	bool ledger;       /* charges are written to quota.events */
	bool user_overage; /* level user may charge overage */
	int64 user_max;    /* units that level user may charge at once */
} QuotaFeatureRow;

/* A row of plan_features. */
typedef struct QuotaValueRow
{
	char feature[QUOTA_MAX_FEATURE + 1];
	Datum value; /* jsonb */
} QuotaValueRow;

extern bool quota_catalogue_default_plan(char *plan);
extern bool quota_catalogue_feature(const char *feature, QuotaFeatureRow *row);
extern Datum quota_catalogue_rate_multiplier(const char *plan);
extern QuotaLimitRow *quota_catalogue_limits(const char *plan, int *count);
extern QuotaValueRow *quota_catalogue_values(const char *plan, int *count);

#endif
