/*
 * statement_totals.c
 *		What one statement charges and refunds to accounts.
 *
 * Units are summed up row by row in a hash table by account, and charged at the
 * end of the statement, each account once, in lock order. That is linear in the
 * rows; charging row by row would make each update follow all versions of the
 * counter that the transaction has written.
 *
 * Lock		Protects				Order				While held
 * counters	use, until commit		charge/lock_order.c	next accounts are charged
 *
 * Memory: the context in which the totals were begun holds an entry an account,
 * and in it one for each set of windows that rows are refunded to. Nothing
 * grows with the number of rows.
 */
#include "postgres.h"

#include "trigger/statement_totals.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

/* Times that are in the same windows of an account. */
typedef struct Span
{
	TimestampTz at; /* any of them */
	TimestampTz from;
	TimestampTz to; /* the first time after them */
	int64 refund;   /* units to refund */
} Span;

typedef struct AccountEntry
{
	QuotaAccountBytes bytes;
	uint32 hash;
	char status;
	int64 n;     /* units to charge; below 0: to refund */
	int64 moved; /* part of n that is moved from a former key: charged without a decision */
	Span *spans;
	int nspans;
	int last; /* index of the span that was used last */
} AccountEntry;

#include "trigger/account_map.h"

struct QuotaStatementTotals
{
	QuotaAttachment *attachment;
	accounts_hash *entries;
	AccountEntry *last;
};

/* What a statement does to one account by one attachment. */
typedef struct TotalsAccount
{
	Datum name;
	QuotaAccountBytes bytes; /* of the name */
	QuotaAccountBytes pool;  /* of the pool's name; empty: none */
	QuotaStatementTotals *totals;
	AccountEntry *entry;
} TotalsAccount;

static inline int compare_accounts(const TotalsAccount *left, const TotalsAccount *right);

#define ST_SORT sort_accounts
#define ST_ELEMENT_TYPE TotalsAccount
#define ST_COMPARE(a, b) compare_accounts(a, b)
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

#include "charge/consume.h"
#include "charge/lock_order.h"
#include "guc.h"
#include "memory/entitlement_cache.h"

static AccountEntry *entry_of(QuotaStatementTotals *totals, const QuotaRow *row);
static Span *span_of(QuotaStatementTotals *totals, AccountEntry *entry, TimestampTz at);
static Span load_span(QuotaStatementTotals *totals, AccountEntry *entry, TimestampTz at);
static TotalsAccount *list_accounts(QuotaStore *store, QuotaStatementTotals **list, int count, uint64 *naccounts);
static uint64 group_end(const TotalsAccount *accounts, uint64 from, uint64 count);
static uint64 account_end(const TotalsAccount *accounts, uint64 from, uint64 end);
static bool only_charges(const TotalsAccount *account);
static bool needs_locks(const TotalsAccount *accounts, uint64 from, uint64 end);
static void lock_group(QuotaStore *store, const TotalsAccount *accounts, uint64 from, uint64 end);
static List *add_keys(QuotaStore *store, const TotalsAccount *account, List *keys);
static void charge_account(QuotaStore *store, const TotalsAccount *accounts, int features);
static void charge_attachment(QuotaStore *store, const TotalsAccount *account);
static inline QuotaAccountBytes group_of(const TotalsAccount *account);
static int compare_spans(const void *a, const void *b);

/* Begin the totals of an attachment, in the current memory context. */
QuotaStatementTotals *
quota_statement_totals_begin(QuotaAttachment *attachment)
{
	QuotaStatementTotals *totals = palloc0(sizeof(QuotaStatementTotals));

	totals->attachment = attachment;
	totals->entries = accounts_create(CurrentMemoryContext, 16, NULL);
	return totals;
}

/* Add a row to be charged; with sign -1 one whose units are given back. */
void
quota_statement_totals_add(QuotaStatementTotals *totals, const QuotaRow *row, int sign)
{
	AccountEntry *entry;

	if (row->n == 0)
		return;
	entry = entry_of(totals, row);
	entry->n = quota_decide_sum(entry->n, sign * row->n);
}

/* Mark n of the units added for a row as those of a renamed account: charge them without a decision. */
void
quota_statement_totals_move(QuotaStatementTotals *totals, const QuotaRow *row, int64 n)
{
	AccountEntry *entry = entry_of(totals, row);

	entry->moved = quota_decide_sum(entry->moved, n);
}

/* Add a row to be refunded to the windows in which it was charged. */
void
quota_statement_totals_refund(QuotaStatementTotals *totals, const QuotaRow *row, TimestampTz at)
{
	Span *span = span_of(totals, entry_of(totals, row), at);

	span->refund = quota_decide_sum(span->refund, row->n);
}

/* Return whether two times are in the same windows of a row's account. */
bool
quota_statement_totals_same_windows(QuotaStatementTotals *totals, const QuotaRow *row, TimestampTz a, TimestampTz b)
{
	Span *span;

	/* do not load the account for rows whose time is now */
	if (a == b)
		return true;
	span = span_of(totals, entry_of(totals, row), a);
	return span->from <= b && b < span->to;
}

/*
 * Refund and charge what a statement has added to its totals, one for each
 * attachment of the table.
 *
 * Errors: PT429, PT402, PT403 where a limit refuses; those of
 * quota_consume_charge.
 * Locks: the counters of all totals, in the order of charge/lock_order.c.
 */
void
quota_statement_totals_charge(QuotaStatementTotals **list, int count)
{
	QuotaStore *store;
	MemoryContext context;
	MemoryContext old;
	TotalsAccount *accounts;
	uint64 naccounts = 0;
	uint64 group = 0; /* end of the current group */

	for (int i = 0; i < count; i++)
		naccounts += list[i]->entries->members;
	if (naccounts == 0)
		return;
	store = quota_store_begin_write();
	accounts = list_accounts(store, list, count, &naccounts);
	sort_accounts(accounts, naccounts);

	context = AllocSetContextCreate(CurrentMemoryContext, "quota charge", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(context);
	for (uint64 i = 0, end; i < naccounts; i = end)
	{
		const TotalsAccount *later = &accounts[Min(i + 2, naccounts - 1)];

		/* entries lie scattered in memory: prefetch the next ones */
		__builtin_prefetch(later->entry);
		__builtin_prefetch(DatumGetPointer(accounts[Min(i + 4, naccounts - 1)].name));
		quota_entitlement_cache_expect(later->name);
		/*
		 * the account before may have waited; and what was written to a pool
		 * must be read by its members
		 */
		if (i > 0 && quota_plan_pools_exist())
			quota_store_refresh(store);
		else if (i > 0)
			quota_store_refresh_committed(store);
		if (i == group)
		{
			group = group_end(accounts, i, naccounts);
			if (needs_locks(accounts, i, group))
				lock_group(store, accounts, i, group);
		}
		end = account_end(accounts, i, group);
		charge_account(store, &accounts[i], (int) (end - i));
		MemoryContextReset(context);
	}
	MemoryContextSwitchTo(old);
	quota_store_end(store);
	MemoryContextDelete(context);
}

static TotalsAccount *
list_accounts(QuotaStore *store, QuotaStatementTotals **list, int count, uint64 *naccounts)
{
	TotalsAccount *accounts = MemoryContextAllocHuge(CurrentMemoryContext, *naccounts * sizeof(TotalsAccount));

	*naccounts = 0;
	for (int i = 0; i < count; i++)
	{
		QuotaStatementTotals *totals = list[i];
		accounts_iterator iterator;
		AccountEntry *entry;

		accounts_start_iterate(totals->entries, &iterator);
		while ((entry = accounts_iterate(totals->entries, &iterator)) != NULL)
			if (entry->n != 0 || entry->nspans > 0)
			{
				Datum name = quota_row_account_name(totals->attachment, entry->bytes);
				Datum pool = quota_account_pool(store, name);

				accounts[(*naccounts)++] = (TotalsAccount){
					.name = name,
					.bytes = quota_account_bytes(name),
					.pool = pool != 0 ? quota_account_bytes(pool) : (QuotaAccountBytes){0},
					.totals = totals,
					.entry = entry};
			}
	}
	return accounts;
}

/* Return the end of a group: an account without a pool, or a pool and its members. */
static uint64
group_end(const TotalsAccount *accounts, uint64 from, uint64 count)
{
	uint64 end = from + 1;

	while (end < count && quota_account_bytes_compare(group_of(&accounts[end]), group_of(&accounts[from])) == 0)
		end++;
	return end;
}

static uint64
account_end(const TotalsAccount *accounts, uint64 from, uint64 end)
{
	uint64 next = from + 1;

	while (next < end && quota_account_bytes_compare(accounts[next].bytes, accounts[from].bytes) == 0)
		next++;
	return next;
}

static bool
only_charges(const TotalsAccount *account)
{
	return account->entry->n > 0 && account->entry->nspans == 0 && account->entry->moved == 0;
}

/*
 * Return whether a group's counters must be locked first, because its changes
 * one after another would not lock them in order.
 */
static bool
needs_locks(const TotalsAccount *accounts, uint64 from, uint64 end)
{
	bool one_feature = true;
	bool all_charge = true;
	bool one_sign = true;

	if (end - from == 1)
		return accounts[from].entry->nspans + (accounts[from].entry->n != 0) > 1;
	for (uint64 i = from; i < end; i++)
	{
		const AccountEntry *entry = accounts[i].entry;

		/* windows of the past and of now are not locked in order */
		if (entry->nspans + (entry->n != 0) > 1)
			return true;
		one_feature &= accounts[i].totals == accounts[from].totals;
		all_charge &= only_charges(&accounts[i]);
		one_sign &= (entry->n > 0) == (accounts[from].entry->n > 0);
	}
	/* quota_consume_charge locks several features of an account in order */
	if (account_end(accounts, from, end) == end)
		return !all_charge;
	return !(one_feature && one_sign);
}

/* Lock every counter that the changes of a group can use. */
static void
lock_group(QuotaStore *store, const TotalsAccount *accounts, uint64 from, uint64 end)
{
	List *keys = NIL;

	for (uint64 i = from; i < end; i++)
		keys = add_keys(store, &accounts[i], keys);
	quota_lock_order_lock(store, keys);
}

/* Add the counters of one account and attachment: now and in refunded windows. */
static List *
add_keys(QuotaStore *store, const TotalsAccount *account, List *keys)
{
	const char *feature = account->totals->attachment->feature;
	const AccountEntry *entry = account->entry;
	QuotaAccount *loaded = palloc(sizeof(QuotaAccount));

	quota_account_load(store, account->name, loaded);
	if (entry->n != 0)
		keys = quota_lock_order_add(keys, loaded, feature, loaded->now);
	for (int i = 0; i < entry->nspans; i++)
		if (entry->spans[i].refund > 0)
			keys = quota_lock_order_add(keys, loaded, feature, entry->spans[i].at);
	return keys;
}

/* Find the entry of a row's account, or add it. It may move when the next is added. */
static AccountEntry *
entry_of(QuotaStatementTotals *totals, const QuotaRow *row)
{
	QuotaAccountBytes bytes = row->account;
	AccountEntry *entry;
	bool naccounts;

	/* rows of one account often follow each other */
	if (totals->last != NULL && quota_account_bytes_equal(totals->last->bytes, bytes))
		return totals->last;
	entry = accounts_insert(totals->entries, bytes, &naccounts);
	if (!naccounts)
	{
		entry->bytes.data = memcpy(MemoryContextAlloc(totals->entries->ctx, Max(bytes.length, 1)), bytes.data, bytes.length);
		entry->n = 0;
		entry->moved = 0;
		entry->spans = NULL;
		entry->nspans = 0;
		entry->last = 0;
	}
	return totals->last = entry;
}

/* Find the span that holds a time, or add it. */
static Span *
span_of(QuotaStatementTotals *totals, AccountEntry *entry, TimestampTz at)
{
	/* try the last one first */
	for (int i = entry->last, left = entry->nspans; left > 0; left--, i = (i + 1) % entry->nspans)
		if (entry->spans[i].from <= at && at < entry->spans[i].to)
		{
			entry->last = i;
			return &entry->spans[i];
		}
	/* the array is allocated for the next power of two */
	if (entry->spans == NULL)
		entry->spans = MemoryContextAlloc(totals->entries->ctx, sizeof(Span));
	else if ((entry->nspans & (entry->nspans - 1)) == 0)
		entry->spans = repalloc(entry->spans, 2 * entry->nspans * sizeof(Span));
	entry->spans[entry->nspans] = load_span(totals, entry, at);
	entry->last = entry->nspans++;
	return &entry->spans[entry->last];
}

static Span
load_span(QuotaStatementTotals *totals, AccountEntry *entry, TimestampTz at)
{
	Span span = {.at = at, .from = DT_NOBEGIN, .to = DT_NOEND};
	QuotaStore *store = quota_store_begin_read();
	QuotaEntitlement entitlement;
	QuotaAccount account;

	quota_account_load(store, quota_row_account_name(totals->attachment, entry->bytes), &account);
	quota_account_entitle(&account, totals->attachment->feature, at, &entitlement);
	quota_store_end(store);
	for (int i = 0; i < entitlement.count; i++)
	{
		span.from = Max(span.from, entitlement.windows[i].window.start);
		span.to = Min(span.to, entitlement.windows[i].window.end);
	}
	return span;
}

/* Charge and refund an account by all attachments of the table, or raise. */
static void
charge_account(QuotaStore *store, const TotalsAccount *accounts, int features)
{
	QuotaCharge *charges;
	bool all_charge = features > 1;

	for (int i = 0; i < features && all_charge; i++)
		all_charge = only_charges(&accounts[i]);
	if (!all_charge)
	{
		for (int i = 0; i < features; i++)
		{
			if (i > 0)
				quota_store_refresh(store);
			charge_attachment(store, &accounts[i]);
		}
		return;
	}
	charges = palloc(features * sizeof(QuotaCharge));
	for (int i = 0; i < features; i++)
	{
		quota_consume_prepare(&charges[i], accounts[i].totals->attachment->feature, accounts[i].entry->n);
		charges[i].origin.what = "trigger";
	}
	if (!quota_consume_charge(store, accounts[0].name, charges, features, QUOTA_CHARGE_LIMITED))
		for (int i = 0; i < features; i++)
			if (charges[i].decision.verdict == QUOTA_BLOCK)
				quota_decision_raise(&charges[i].decision);
}

/*
 * Refund and charge an account by one attachment, or raise. Refunds come first,
 * since they may make room. A gauge has one window, whatever the time.
 */
static void
charge_attachment(QuotaStore *store, const TotalsAccount *account)
{
	const char *feature = account->totals->attachment->feature;
	AccountEntry *entry = account->entry;
	QuotaCharge charge;
	int64 moved;

	qsort(entry->spans, entry->nspans, sizeof(Span), compare_spans);
	for (int i = 0; i < entry->nspans; i++)
		if (entry->spans[i].refund > 0)
		{
			CHECK_FOR_INTERRUPTS();
			quota_consume_prepare(&charge, feature, entry->spans[i].refund);
			charge.origin.what = "trigger";
			quota_consume_refund(store, account->name, &charge, entry->spans[i].at);
			/* the store must be refreshed before the same counter is read again */
			quota_store_refresh(store);
		}
	moved = Min(entry->moved, entry->n);
	if (moved > 0)
	{
		quota_consume_prepare(&charge, feature, moved);
		charge.origin.what = "trigger";
		quota_consume_charge(store, account->name, &charge, 1, QUOTA_CHARGE_ALWAYS);
		entry->n -= moved;
		quota_store_refresh(store);
	}
	if (entry->n > 0)
	{
		quota_consume_prepare(&charge, feature, entry->n);
		charge.origin.what = "trigger";
		quota_consume_charge(store, account->name, &charge, 1, QUOTA_CHARGE_LIMITED);
		if (charge.decision.verdict == QUOTA_BLOCK)
			quota_decision_raise(&charge.decision);
	}
	else if (entry->n < 0)
	{
		quota_consume_prepare(&charge, feature, -entry->n);
		charge.origin.what = "trigger";
		quota_consume_refund(store, account->name, &charge, quota_guc_now());
	}
}

/* Return the account that leads a group: the pool, or the account itself. */
static inline QuotaAccountBytes
group_of(const TotalsAccount *account)
{
	return account->pool.length > 0 ? account->pool : account->bytes;
}

/*
 * Compare in lock order: a pool before its members, these before the next
 * account. Members that are only refunded come first, since that is room for
 * the others.
 */
static inline int
compare_accounts(const TotalsAccount *left, const TotalsAccount *right)
{
	int order = quota_account_bytes_compare(group_of(left), group_of(right));

	if (order == 0)
		order = (left->pool.length > 0) - (right->pool.length > 0);
	if (order == 0)
		order = (left->entry->n > 0) - (right->entry->n > 0);
	if (order == 0)
		order = quota_account_bytes_compare(left->bytes, right->bytes);
	return order != 0 ? order : strcmp(left->totals->attachment->feature, right->totals->attachment->feature);
}

/* Compare spans, which do not overlap. */
static int
compare_spans(const void *a, const void *b)
{
	TimestampTz left = ((const Span *) a)->from;
	TimestampTz right = ((const Span *) b)->from;

	return (left > right) - (left < right);
}
