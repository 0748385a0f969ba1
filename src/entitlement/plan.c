/*
 * plan.c
 *		The catalogue: features, plans and what each plan offers, cached.
 *
 * Entries are read with the newest snapshot, whatever the transaction's. The cache is
 * dropped by quota_plan_begin when the catalogue's generation number has changed, and
 * never in between: pointers are valid until the next quota_plan_begin.
 *
 * Memory: one child of CacheMemoryContext, reset when the cache is dropped, with a child
 * for each plan. Locks: none.
 */
#include "postgres.h"

#include "entitlement/plan.h"

#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "compat.h"
#include "tables/accounts.h"
#include "tables/changes.h"

static MemoryContext cache = NULL;
static uint64 cached_version = 0;
static HTAB *features;
static QuotaFeatureRow *last_feature; /* found last: a call needs the same one several times */
static HTAB *plans;
static QuotaPlan *last_plan; /* found last */
static bool default_known;
static char default_plan[QUOTA_MAX_PLAN + 1];
static uint64 pools_version = 0;
static bool pools_exist;

static QuotaFeatureRow *find_feature(const char *feature);
static void load_plan(QuotaPlan *plan);
static QuotaOffer *add_offer(QuotaPlan *plan, const char *feature);
static int compare_limits(const void *a, const void *b);
static int compare_offers(const void *a, const void *b);
static HTAB *create_hash(const char *name, Size keysize, Size entrysize);

/* Begin an operation: drop the cache if the catalogue has changed. */
void
quota_plan_begin(void)
{
	uint64 version = quota_changes_catalogue_version();

	if (cache != NULL && cached_version == version)
		return;
	if (cache == NULL)
		cache = AllocSetContextCreate(CacheMemoryContext, "quota catalogue", ALLOCSET_DEFAULT_SIZES);
	else
		MemoryContextReset(cache);
	/* the hash tables were in the context */
	features = plans = NULL;
	last_feature = NULL;
	last_plan = NULL;
	cached_version = 0;
	default_known = false;
	features = create_hash("quota features", QUOTA_MAX_FEATURE + 1, sizeof(QuotaFeatureRow));
	plans = create_hash("quota plans", QUOTA_MAX_PLAN + 1, sizeof(QuotaPlan));
	/* read before anything is loaded, so that a change while loading drops the cache again */
	cached_version = version;
}

/* True if the catalogue has changed since quota_plan_begin. */
bool
quota_plan_is_stale(void)
{
	return cached_version != quota_changes_catalogue_version();
}

/*
 * Return a feature.
 *
 * Errors: undefined_object where there is none of that name.
 */
const QuotaFeatureRow *
quota_plan_feature(const char *feature)
{
	QuotaFeatureRow *entry = find_feature(feature);

	if (entry == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("feature \"%s\" does not exist", feature)));
	return entry;
}

/* Return the key of the default plan; empty: none. */
const char *
quota_plan_default(void)
{
	if (!default_known && !quota_catalogue_default_plan(default_plan))
		default_plan[0] = '\0';
	default_known = true;
	return default_plan;
}

/* Return a plan with its offers. A foreign key guarantees that it exists. */
const QuotaPlan *
quota_plan_get(const char *plan)
{
	bool found;
	QuotaPlan *entry;

	if (last_plan != NULL && strcmp(last_plan->plan, plan) == 0)
		return last_plan;
	entry = hash_search(plans, plan, HASH_ENTER, &found);
	if (!found)
		entry->loaded = false;
	if (!entry->loaded)
		load_plan(entry);
	return last_plan = entry;
}

/* Return what a plan offers of a feature; NULL: nothing. */
const QuotaOffer *
quota_plan_offer(const QuotaPlan *plan, const char *feature)
{
	/* an offer begins with its feature */
	return plan->count == 0 ? NULL : bsearch(feature, plan->offers, plan->count, sizeof(QuotaOffer), compare_offers);
}

/* True if any account is in a pool. */
bool
quota_plan_pools_exist(void)
{
	uint64 version = quota_changes_pool_version();

	if (pools_version != version)
	{
		pools_version = 0;
		pools_exist = quota_accounts_any_in_pool();
		pools_version = version;
	}
	return pools_exist;
}

/* Return a feature; NULL: there is none. */
static QuotaFeatureRow *
find_feature(const char *feature)
{
	QuotaFeatureRow *entry;
	QuotaFeatureRow row;
	bool found;

	if (last_feature != NULL && strcmp(last_feature->feature, feature) == 0)
		return last_feature;
	/* longer than a key of the hash table, and than any feature */
	if (strlen(feature) > QUOTA_MAX_FEATURE)
		return NULL;
	entry = hash_search(features, feature, HASH_FIND, NULL);
	if (entry == NULL && quota_catalogue_feature(feature, &row))
	{
		entry = hash_search(features, feature, HASH_ENTER, &found);
		*entry = row;
	}
	return last_feature = entry;
}

/* Load the offers of a plan, in a context that moves to the cache at the end, so that an error leaves nothing there. */
static void
load_plan(QuotaPlan *plan)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "quota plan", ALLOCSET_SMALL_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	int nlimits;
	int nvalues;
	QuotaLimitRow *limits = quota_catalogue_limits(plan->plan, &nlimits);
	QuotaValueRow *values = quota_catalogue_values(plan->plan, &nvalues);
	QuotaLimit *ready = palloc(nlimits * sizeof(QuotaLimit));
	Datum multiplier;

	plan->count = 0;
	plan->offers = palloc0((nlimits + nvalues) * sizeof(QuotaOffer));
	MemoryContextSwitchTo(caller);
	/* 0: the plan has been dropped */
	multiplier = quota_catalogue_rate_multiplier(plan->plan);
	qsort(limits, nlimits, sizeof(QuotaLimitRow), compare_limits);
	for (int i = 0; i < nlimits; i++)
	{
		QuotaOffer *offer = add_offer(plan, limits[i].feature);
		/* NULL if the feature has been dropped since: that drops the cache as well */
		const QuotaFeatureRow *feature = find_feature(limits[i].feature);
		bool rate = feature != NULL && feature->kind == QUOTA_RATE;

		if (offer->count++ == 0)
		{
			offer->rows = &limits[i];
			offer->limits = &ready[i];
		}
		if (rate && multiplier != (Datum) 0)
		{
			limits[i].usage_limit = quota_decide_multiply(limits[i].usage_limit, multiplier);
			limits[i].burst = quota_decide_multiply(limits[i].burst, multiplier);
		}
		ready[i] = quota_decide_limit(&limits[i], rate);
	}
	for (int i = 0; i < nvalues; i++)
	{
		QuotaOffer *offer = add_offer(plan, values[i].feature);

		offer->has_value = true;
		offer->value = values[i].value;
	}
	qsort(plan->offers, plan->count, sizeof(QuotaOffer), compare_offers);
	MemoryContextSetParent(context, cache);
	plan->loaded = true;
}

/* Return the offer of a feature: the last one, or a new one, as rows come ordered by feature. */
static QuotaOffer *
add_offer(QuotaPlan *plan, const char *feature)
{
	QuotaOffer *last = plan->offers + plan->count - 1;

	Assert(plan->offers != NULL);
	if (plan->count == 0 || strcmp(last->feature, feature) != 0)
	{
		last++;
		plan->count++;
		strlcpy(last->feature, feature, sizeof(last->feature));
	}
	return last;
}

static int
compare_limits(const void *a, const void *b)
{
	const QuotaLimitRow *left = a;
	const QuotaLimitRow *right = b;
	int feature = strcmp(left->feature, right->feature);

	return feature != 0 ? feature : (int) left->period - (int) right->period;
}

static int
compare_offers(const void *a, const void *b)
{
	return strcmp(((const QuotaOffer *) a)->feature, ((const QuotaOffer *) b)->feature);
}

static HTAB *
create_hash(const char *name, Size keysize, Size entrysize)
{
	HASHCTL control = {.keysize = keysize, .entrysize = entrysize, .hcxt = cache};

	return hash_create(name, 16, &control, HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
}
