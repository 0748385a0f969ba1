/* The catalogue: features, plans and what each plan offers, cached. */
#ifndef QUOTA_PLAN_H
#define QUOTA_PLAN_H

#include "tables/catalogue.h"
#include "tables/store.h"

/* What a plan offers of one feature. */
typedef struct QuotaOffer
{
	char feature[QUOTA_MAX_FEATURE + 1];
	bool has_value;
	Datum value; /* jsonb */
	int count;
	QuotaLimitRow *rows; /* in the order of period; those of a rate with its multiplier */
	QuotaLimit *limits;  /* the same, ready to be judged */
} QuotaOffer;

typedef struct QuotaPlan
{
	char plan[QUOTA_MAX_PLAN + 1];
	bool loaded;
	int count;
	QuotaOffer *offers; /* in the order of feature */
} QuotaPlan;

extern void quota_plan_begin(void);
extern bool quota_plan_is_stale(void);
extern const QuotaFeatureRow *quota_plan_feature(const char *feature);
extern const char *quota_plan_default(void);
extern const QuotaPlan *quota_plan_get(const char *plan);
extern const QuotaOffer *quota_plan_offer(const QuotaPlan *plan, const char *feature);
extern bool quota_plan_pools_exist(void);

#endif
