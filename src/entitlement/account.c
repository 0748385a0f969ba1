/*
 * account.c
 *		What an account is entitled to: its plan in effect, overrides and windows.
 *
 * Read from the entitlement cache (memory/entitlement_cache.h), or else from the rows.
 *
 * Memory: the caller's context. Locks: none but those of reading the tables.
 */
#include "postgres.h"

#include "entitlement/account.h"

#include "commands/trigger.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "argument.h"
#include "guc.h"
#include "memory/entitlement_cache.h"
#include "owner.h"
#include "tables/accounts.h"
#include "tables/changes.h"

static char *load_without_pool(QuotaStore *store, Datum account, QuotaAccount *loaded);
static char *load_from_rows(QuotaStore *store, uint64 generation, QuotaAccount *loaded);
static const char *entry_from_row(const QuotaAccountRow *row, TimestampTz now, QuotaEntitlementEntry *entry);
static void apply_entry(QuotaAccount *loaded, const QuotaEntitlementEntry *entry, const char *plan);
static bool load_overrides(QuotaStore *store, QuotaAccount *account);
static const QuotaOffer *plan_offer(const QuotaAccount *account, const char *feature);
static void add_windows(const QuotaAccount *account, const char *feature, QuotaEntitlement *entitlement);
static void add_pool(const QuotaAccount *pool, const char *feature, QuotaEntitlement *entitlement);
static void apply_overrides(const QuotaAccount *account, const QuotaOffer *offer, QuotaEntitlement *entitlement);
static QuotaWindowLimit *get_window(QuotaEntitlement *entitlement, QuotaPeriod period);

/*
 * Load an account with the newest snapshot, and the pool that it is in. Without a row
 * it has the default plan. The pool of a pool does not count.
 *
 * account: text, of 1 to 255 bytes.
 * Calls quota_plan_begin, which invalidates pointers into the plan cache.
 */
void
quota_account_load(QuotaStore *store, Datum account, QuotaAccount *loaded)
{
	char *pool;

	/* waiting for a lock may let us read a feature from before a change and its limits from after it */
	do
	{
		quota_plan_begin();
		pool = load_without_pool(store, account, loaded);
	} while (quota_plan_is_stale());
	if (pool == NULL)
		return;
	loaded->pool = palloc(sizeof(QuotaAccount));
	load_without_pool(store, CStringGetTextDatum(pool), loaded->pool);
	loaded->suspended |= loaded->pool->suspended;
	loaded->bypass |= loaded->pool->bypass;
	if (!loaded->own_plan)
		strcpy(loaded->plan, loaded->pool->plan);
}

/* Return the pool of an account; 0: none. */
Datum
quota_account_pool(QuotaStore *store, Datum account)
{
	QuotaAccountRow row;

	if (!quota_plan_pools_exist() || !quota_accounts_read(store, account, &row) || row.pool == NULL)
		return (Datum) 0;
	return CStringGetTextDatum(row.pool);
}

/*
 * Compute the entitlement of a loaded account to a feature, in the windows that contain
 * `at`: the limits of its pool, and its own from its overrides and its own plan.
 *
 * Errors: undefined_object for an unknown feature; datetime_value_out_of_range where a
 * timestamp cannot hold a window.
 */
void
quota_account_entitle(const QuotaAccount *account, const char *feature, TimestampTz at, QuotaEntitlement *entitlement)
{
	entitlement->feature = *quota_plan_feature(feature);
	strcpy(entitlement->plan, account->plan);
	entitlement->suspended = account->suspended;
	entitlement->bypass = account->bypass;
	entitlement->count = 0;

	add_windows(account, feature, entitlement);
	if (account->pool != NULL)
		add_pool(account->pool, feature, entitlement);
	entitlement->in_plan = entitlement->count > 0;
	if (!entitlement->in_plan)
		get_window(entitlement, QUOTA_LIFETIME)->limit.unlimited = true;
	for (int i = 0; i < entitlement->count; i++)
	{
		QuotaWindowLimit *window = &entitlement->windows[i];
		const QuotaAccount *owner = window->pooled ? account->pool : account;
		/* a rate has no windows */
		QuotaPeriod period = entitlement->feature.kind == QUOTA_RATE ? QUOTA_LIFETIME : window->period;

		Assert(owner != NULL);
		window->window = quota_period_window(period, at, owner->tz, owner->has_anchor ? &owner->cycle_anchor : NULL);
	}
}

/* Get the static value (jsonb) of a feature in the account's plan, else in its pool's; false: none. */
bool
quota_account_value(const QuotaAccount *account, const char *feature, Datum *value)
{
	const QuotaOffer *offer = plan_offer(account, feature);

	if (offer == NULL || !offer->has_value)
		return account->pool != NULL && quota_account_value(account->pool, feature, value);
	*value = offer->value;
	return true;
}

/*
 * Return the time zone of a name.
 *
 * Errors: invalid_parameter_value where there is none, or one with leap seconds.
 */
pg_tz *
quota_account_timezone(const char *name)
{
	pg_tz *tz = pg_tzset(name);

	if (tz == NULL || !pg_tz_acceptable(tz))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("time zone \"%s\" not recognized", strlen(name) > QUOTA_MAX_SHOWN ? "..." : name)));
	return tz;
}

/*
 * quota.check_account(): BEFORE ROW trigger of quota.accounts. Checks the time zone and
 * sets updated_at.
 */
QUOTA_FUNCTION(quota_check_account)
{
	static const char *const tables[] = {"accounts", NULL};
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	HeapTuple tuple;
	TupleDesc desc;
	char *name;

	if (!CALLED_AS_TRIGGER(fcinfo) ||
		!TRIGGER_FIRED_BEFORE(trigdata->tg_event) || !TRIGGER_FIRED_FOR_ROW(trigdata->tg_event) ||
		TRIGGER_FIRED_BY_DELETE(trigdata->tg_event) ||
		!quota_owner_is_table(RelationGetRelid(trigdata->tg_relation), tables))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("quota.check_account must be a BEFORE INSERT OR UPDATE row trigger of quota.accounts")));
	desc = RelationGetDescr(trigdata->tg_relation);
	tuple = TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event) ? trigdata->tg_newtuple : trigdata->tg_trigtuple;
	name = SPI_getvalue(tuple, desc, SPI_fnumber(desc, "timezone"));
	if (name != NULL)
		quota_account_timezone(name);
	if (TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event))
	{
		int column = SPI_fnumber(desc, "updated_at");
		Datum now = TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());
		bool isnull = false;

		tuple = heap_modify_tuple_by_cols(tuple, desc, 1, &column, &now, &isnull);
	}
	return PointerGetDatum(tuple);
}

/* Load an account without its pool, and return the pool; NULL: none. */
static char *
load_without_pool(QuotaStore *store, Datum account, QuotaAccount *loaded)
{
	uint64 generation = quota_changes_generation();
	QuotaEntitlementEntry entry;

	loaded->account = account;
	loaded->now = quota_guc_now();
	loaded->pool = NULL;
	loaded->tz = quota_guc_timezone();
	loaded->noverrides = 0;
	if (generation == 0 || !quota_entitlement_cache_find(account, generation, loaded->now, &entry))
		return load_from_rows(store, generation, loaded);
	apply_entry(loaded, &entry, entry.plan);
	return NULL;
}

/* Load it from its rows. Store it in the entitlement cache if an entry can hold all of it. */
static char *
load_from_rows(QuotaStore *store, uint64 generation, QuotaAccount *loaded)
{
	QuotaAccountRow row = {0};
	QuotaEntitlementEntry entry = {.from = DT_NOBEGIN, .until = DT_NOEND};
	const char *plan = "";
	bool overridden;

	if (quota_accounts_read(store, loaded->account, &row))
		plan = entry_from_row(&row, loaded->now, &entry);
	apply_entry(loaded, &entry, plan);
	if (row.timezone != NULL)
		loaded->tz = quota_account_timezone(row.timezone);
	overridden = load_overrides(store, loaded);
	if (generation != 0 && row.timezone == NULL && row.pool == NULL && !overridden && strlen(plan) < sizeof(entry.plan))
	{
		strcpy(entry.plan, plan);
		quota_entitlement_cache_keep(loaded->account, generation, &entry, quota_store_oldest_running(store));
	}
	return row.pool;
}

/*
 * Fill an entry from a row and return the plan in effect: next_plan after the end of a
 * trial or plan, none if canceled. Empty: the pool's plan, or the default plan.
 */
static const char *
entry_from_row(const QuotaAccountRow *row, TimestampTz now, QuotaEntitlementEntry *entry)
{
	TimestampTz ends_at = row->status == QUOTA_TRIALING ? Min(row->trial_ends_at, row->plan_ends_at) : row->plan_ends_at;
	bool over = now >= ends_at;

	entry->suspended = row->status == QUOTA_SUSPENDED;
	entry->bypass = row->bypass;
	entry->has_anchor = row->has_anchor;
	entry->cycle_anchor = row->cycle_anchor;
	if (over)
		entry->from = ends_at;
	else
		entry->until = ends_at;
	if (row->status == QUOTA_CANCELED)
		return "";
	return over ? row->next_plan : row->plan;
}

static void
apply_entry(QuotaAccount *loaded, const QuotaEntitlementEntry *entry, const char *plan)
{
	loaded->suspended = entry->suspended;
	loaded->bypass = entry->bypass;
	loaded->has_anchor = entry->has_anchor;
	loaded->cycle_anchor = entry->cycle_anchor;
	loaded->own_plan = plan[0] != '\0';
	strlcpy(loaded->plan, loaded->own_plan ? plan : quota_plan_default(), sizeof(loaded->plan));
}

/* Load the overrides in force. Returns true if there are any, also others. */
static bool
load_overrides(QuotaStore *store, QuotaAccount *account)
{
	int count;
	int in_force = 0;
	QuotaLimitRow *rows = quota_accounts_read_overrides(store, account->account, &count);

	for (int i = 0; i < count; i++)
		if (account->now < rows[i].expires_at)
			rows[in_force++] = rows[i];
	account->noverrides = in_force;
	account->overrides = rows;
	return count > 0;
}

/* Return what the account's plan offers of a feature; NULL: nothing. */
static const QuotaOffer *
plan_offer(const QuotaAccount *account, const char *feature)
{
	return account->plan[0] == '\0' ? NULL : quota_plan_offer(quota_plan_get(account->plan), feature);
}

/* Add the windows of the account's own plan and of its overrides. */
static void
add_windows(const QuotaAccount *account, const char *feature, QuotaEntitlement *entitlement)
{
	const QuotaOffer *offer = plan_offer(account, feature);

	if (account->pool == NULL || account->own_plan)
		for (int i = 0; offer != NULL && i < offer->count; i++)
			get_window(entitlement, offer->rows[i].period)->limit = offer->limits[i];
	if (account->noverrides > 0)
		apply_overrides(account, offer, entitlement);
}

/* Insert the windows of the pool before those of the member. */
static void
add_pool(const QuotaAccount *pool, const char *feature, QuotaEntitlement *entitlement)
{
	QuotaEntitlement whole = {.feature = entitlement->feature};

	add_windows(pool, feature, &whole);
	for (int i = 0; i < whole.count; i++)
		whole.windows[i].pooled = true;
	memmove(&entitlement->windows[whole.count], entitlement->windows, entitlement->count * sizeof(QuotaWindowLimit));
	memcpy(entitlement->windows, whole.windows, whole.count * sizeof(QuotaWindowLimit));
	entitlement->count += whole.count;
}

/*
 * Apply the overrides. One replaces the plan's limit and keeps its terms; without a limit
 * in the plan it has the default terms.
 */
static void
apply_overrides(const QuotaAccount *account, const QuotaOffer *offer, QuotaEntitlement *entitlement)
{
	for (int i = 0; i < account->noverrides; i++)
	{
		const QuotaLimitRow *override = &account->overrides[i];
		QuotaLimitRow terms = {.on_limit = QUOTA_ON_LIMIT_BLOCK};

		if (strcmp(override->feature, entitlement->feature.feature) != 0)
			continue;
		for (int j = 0; offer != NULL && j < offer->count; j++)
			if (offer->rows[j].period == override->period)
				terms = offer->rows[j];
		if (terms.warn_ratio == 0)
		{
			/* as the defaults of quota.plan_limits */
			terms.warn_ratio = DirectFunctionCall3(numeric_in, CStringGetDatum("0.8"), ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
			terms.block_ratio = DirectFunctionCall3(numeric_in, CStringGetDatum("1.0"), ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
		}
		terms.unlimited = override->unlimited;
		terms.usage_limit = override->usage_limit;
		get_window(entitlement, override->period)->limit = quota_decide_limit(&terms, entitlement->feature.kind == QUOTA_RATE);
	}
}

/* Return the window of a period, inserted in order if missing. */
static QuotaWindowLimit *
get_window(QuotaEntitlement *entitlement, QuotaPeriod period)
{
	QuotaWindowLimit *windows = entitlement->windows;
	int i = 0;

	while (i < entitlement->count && windows[i].period < period)
		i++;
	if (i == entitlement->count || windows[i].period != period)
	{
		memmove(&windows[i + 1], &windows[i], (entitlement->count - i) * sizeof(QuotaWindowLimit));
		memset(&windows[i], 0, sizeof(QuotaWindowLimit));
		windows[i].period = period;
		entitlement->count++;
	}
	return &windows[i];
}
