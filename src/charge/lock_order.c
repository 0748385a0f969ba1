/*
 * lock_order.c
 *		The order in which counters are locked.
 *
 * A pool comes before its members, and these before the next account. Counters
 * of an account are ordered by feature, period and window. The charges of one
 * call keep this order by themselves (src/charge/consume.c), and so do most
 * statements on attached tables. Where the changes of a statement, made one
 * after another, would not, it first locks here all counters that they can use.
 *
 * Locks: each counter whole, until the end of the transaction. Memory: the
 * caller's context.
 */
#include "postgres.h"

#include "charge/lock_order.h"

#include "charge/account_bytes.h"
#include "charge/consume.h"

/* A counter and its place in the order. */
typedef struct OrderedKey
{
	QuotaCounterKey key;
	Datum group;    /* the pool, or the account itself */
	bool of_member; /* of a member of that pool */
} OrderedKey;

static int compare_keys(const ListCell *a, const ListCell *b);

/*
 * Add the counters that a charge or refund of a feature can use, in the windows
 * that contain `at`.
 *
 * account: loaded; it and the feature's name must outlive the list.
 * Errors: those of quota_account_entitle.
 */
List *
quota_lock_order_add(List *keys, const QuotaAccount *account, const char *feature, TimestampTz at)
{
	QuotaEntitlement entitlement;

	quota_account_entitle(account, feature, at, &entitlement);
	for (int i = 0; i < entitlement.count; i++)
	{
		OrderedKey *key = palloc(sizeof(OrderedKey));
		bool pooled = entitlement.windows[i].pooled;

		Assert(!pooled || account->pool != NULL);
		key->group = account->pool != NULL ? account->pool->account : account->account;
		key->of_member = account->pool != NULL && !pooled;
		key->key.account = pooled ? account->pool->account : account->account;
		key->key.feature = feature;
		key->key.period = entitlement.windows[i].period;
		key->key.period_start = entitlement.windows[i].window.start;
		keys = lappend(keys, key);
	}
	return keys;
}

/* Lock the counters of a list, each once, and refresh the store. */
void
quota_lock_order_lock(QuotaStore *store, List *keys)
{
	const ListCell *last = NULL;
	ListCell *cell;

	list_sort(keys, compare_keys);
	foreach (cell, keys)
	{
		if (last == NULL || compare_keys(last, cell) != 0)
			quota_consume_lock_counter(store, &((const OrderedKey *) lfirst(cell))->key);
		last = cell;
	}
	quota_store_refresh(store);
}

static int
compare_keys(const ListCell *a, const ListCell *b)
{
	const OrderedKey *left = lfirst(a);
	const OrderedKey *right = lfirst(b);
	int order = quota_account_bytes_compare(quota_account_bytes(left->group), quota_account_bytes(right->group));

	if (order == 0)
		order = left->of_member - right->of_member;
	if (order == 0)
		order = quota_account_bytes_compare(quota_account_bytes(left->key.account), quota_account_bytes(right->key.account));
	if (order == 0)
		order = strcmp(left->key.feature, right->key.feature);
	if (order == 0)
		order = (int) left->key.period - (int) right->key.period;
	if (order == 0)
		order = (left->key.period_start > right->key.period_start) - (left->key.period_start < right->key.period_start);
	return order;
}
