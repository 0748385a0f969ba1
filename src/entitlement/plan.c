/*
 * The catalogue: features, plans and what each plan allows, cached.
 *
 * The cache holds what committed transactions (and this one) have written to
 * the catalogue, whatever snapshot the transaction uses: entries are loaded
 * with a fresh one. It is dropped by quota_plan_begin when the store tells of
 * another catalogue version, and never in between, so that pointers stay valid
 * from one quota_plan_begin to the next.
 *
 * Memory: one context below CacheMemoryContext, reset when the cache is
 * dropped. No locks.
 */
#include "postgres.h"

#include "entitlement/plan.h"

#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "tables/accounts.h"
#include "tables/changes.h"

static MemoryContext cache = NULL;
static uint64 cached_version = 0;
static HTAB *features;
static QuotaFeatureRow *last_feature; /* found last: a call asks for one several times */
static HTAB *plans;
static QuotaPlan *last_plan; /* the same of plans */
static bool default_known;
static bool default_exists;
static char default_plan[QUOTA_MAX_PLAN + 1];
static uint64 pools_version = 0;
static bool pools_exist;

static QuotaFeatureRow *find_feature(const char *feature);
static void load_plan(QuotaPlan *plan);
static void *cache_alloc(const void *from, Size size);
static Datum cache_datum(Datum value);
static void multiply(QuotaLimitRow *row, Datum rate_multiplier);
static QuotaOffer *add_offer(QuotaPlan *plan, const char *feature);
static int compare_limits(const void *a, const void *b);
static int compare_offers(const void *a, const void *b);
static HTAB *create_hash(const char *name, Size keysize, Size entrysize);

/* Begin an operation: what has been committed before is seen from here on. */
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
	/* the tables lived in the context: NULL until there are new ones */
	features = plans = NULL;
	last_feature = NULL;
	last_plan = NULL;
	cached_version = 0;
	default_known = false;
	features = create_hash("quota features", QUOTA_MAX_FEATURE + 1, sizeof(QuotaFeatureRow));
	plans = create_hash("quota plans", QUOTA_MAX_PLAN + 1, sizeof(QuotaPlan));
	/* the version from before any loading: a change while loading drops the cache again */
	cached_version = version;
}

/* True if the catalogue has changed since quota_plan_begin. */
bool
quota_plan_is_stale(void)
{
	return cached_version != quota_changes_catalogue_version();
}

/*
 * A feature.
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

/* The default plan's key, or NULL. */
const char *
quota_plan_default(void)
{
	if (!default_known)
	{
		default_exists = quota_catalogue_default_plan(default_plan);
		default_known = true;
	}
	return default_exists ? default_plan : NULL;
}

/* A plan, which a foreign key promises to exist, with all that it allows. */
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

/* What a plan says of a feature; NULL: nothing. */
const QuotaOffer *
quota_plan_offer(const QuotaPlan *plan, const char *feature)
{
	/* an offer begins with its feature */
	return plan->count == 0 ? NULL : bsearch(feature, plan->offers, plan->count, sizeof(QuotaOffer), compare_offers);
}

/* A row of a limit made ready to be judged, as its feature's kind is. */
QuotaLimit
quota_plan_limit(const QuotaLimitRow *row, QuotaKind kind)
{
	const int64 *usage_limit = row->unlimited ? NULL : &row->usage_limit;
	const int64 *cap = row->capped ? &row->overage_cap : NULL;

	if (kind == QUOTA_RATE)
		return quota_decide_rate(usage_limit, row->has_burst ? &row->burst : NULL,
								 row->on_limit, row->warn_ratio, row->block_ratio, cap);
	return quota_decide_limit(usage_limit, row->on_limit, row->warn_ratio, row->block_ratio, cap);
}

/* Whether any account at all draws on another one's counters. */
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

/* A feature; NULL: there is none of that name. */
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

/* Reading takes much memory for a short time: it is the caller's, and the cache gets a copy. */
static void
load_plan(QuotaPlan *plan)
{
	int nlimits;
	int nvalues;
	QuotaLimitRow *limits = quota_catalogue_limits(plan->plan, &nlimits);
	QuotaValueRow *values = quota_catalogue_values(plan->plan, &nvalues);
	Datum rate_multiplier = quota_catalogue_rate_multiplier(plan->plan);
	QuotaLimitRow *rows = cache_alloc(NULL, nlimits * sizeof(QuotaLimitRow));
	QuotaLimit *ready = cache_alloc(NULL, nlimits * sizeof(QuotaLimit));

	plan->count = 0;
	plan->offers = cache_alloc(NULL, (nlimits + nvalues) * sizeof(QuotaOffer));
	qsort(limits, nlimits, sizeof(QuotaLimitRow), compare_limits);
	for (int i = 0; i < nlimits; i++)
	{
		QuotaOffer *offer = add_offer(plan, limits[i].feature);
		/* a feature that has been dropped since its limit was read: the cache is dropped with it */
		const QuotaFeatureRow *feature = find_feature(limits[i].feature);
		QuotaKind kind = feature == NULL ? QUOTA_COUNTER : feature->kind;

		if (offer->count++ == 0)
		{
			offer->rows = &rows[i];
			offer->limits = &ready[i];
		}
		if (kind == QUOTA_RATE)
			multiply(&limits[i], rate_multiplier);
		ready[i] = quota_plan_limit(&limits[i], kind);
		rows[i] = limits[i];
		rows[i].warn_ratio = cache_datum(limits[i].warn_ratio);
		rows[i].block_ratio = cache_datum(limits[i].block_ratio);
	}
	for (int i = 0; i < nvalues; i++)
	{
		QuotaOffer *offer = add_offer(plan, values[i].feature);

		offer->has_value = true;
		offer->value = cache_datum(values[i].value);
	}
	qsort(plan->offers, plan->count, sizeof(QuotaOffer), compare_offers);
	plan->loaded = true;
}

/* Memory in the cache, with a copy of `from` or, for NULL, zeroes; NULL for none. */
static void *
cache_alloc(const void *from, Size size)
{
	void *copy;

	if (size == 0)
		return NULL;
	copy = MemoryContextAllocZero(cache, size);
	if (from != NULL)
		memcpy(copy, from, size);
	return copy;
}

/* A copy in the cache of a value that is not toasted. */
static Datum
cache_datum(Datum value)
{
	return PointerGetDatum(cache_alloc(DatumGetPointer(value), VARSIZE_ANY(DatumGetPointer(value))));
}

/* A rate's limit and burst, with the plan's multiplier; 0: the plan is gone. */
static void
multiply(QuotaLimitRow *row, Datum rate_multiplier)
{
	if (rate_multiplier == (Datum) 0)
		return;
	row->usage_limit = quota_decide_multiply(row->usage_limit, rate_multiplier);
	row->burst = quota_decide_multiply(row->burst, rate_multiplier);
}

/* limits come in order and values are of other features (flags): the last offer or a new one */
static QuotaOffer *
add_offer(QuotaPlan *plan, const char *feature)
{
	QuotaOffer *last = plan->offers + plan->count - 1;

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
	HASHCTL control = {0};

	control.keysize = keysize;
	control.entrysize = entrysize;
	control.hcxt = cache;
	return hash_create(name, 16, &control, HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
}
