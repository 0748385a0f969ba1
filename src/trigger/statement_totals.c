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
	QuotaAccountBytes group; /* of the pool's name, or of its own */
	bool in_pool;
	const char *feature;
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
static uint64 run_of(const TotalsAccount *accounts, uint64 count, bool same_name);
static bool needs_locks(const TotalsAccount *group, uint64 count);
static void lock_group(QuotaStore *store, const TotalsAccount *group, uint64 count);
static void charge_account(QuotaStore *store, const TotalsAccount *accounts, int features);
static bool change_account(QuotaStore *store, const TotalsAccount *account, int64 n, TimestampTz at, bool changed);
static void prepare(QuotaCharge *charge, const TotalsAccount *account, int64 n);

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
	uint64 group = 0; /* its end */

	for (int i = 0; i < count; i++)
		naccounts += list[i]->entries->members;
	if (naccounts == 0)
		return;
	store = quota_store_begin_write();
	accounts = list_accounts(store, list, count, &naccounts);
	sort_accounts(accounts, naccounts);

	context = AllocSetContextCreate(CurrentMemoryContext, "quota charge", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(context);
	for (uint64 i = 0, features; i < naccounts; i += features)
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
			uint64 members = run_of(&accounts[i], naccounts - i, false);

			if (needs_locks(&accounts[i], members))
				lock_group(store, &accounts[i], members);
			group = i + members;
		}
		features = run_of(&accounts[i], group - i, true);
		charge_account(store, &accounts[i], (int) features);
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
				QuotaAccountBytes bytes = quota_account_bytes(name);

				accounts[(*naccounts)++] = (TotalsAccount){
					.name = name,
					.bytes = bytes,
					.group = pool != 0 ? quota_account_bytes(pool) : bytes,
					.in_pool = pool != 0,
					.feature = totals->attachment->feature,
					.entry = entry};
			}
	}
	return accounts;
}

/*
 * Return how many entries at the start are of one group, an account without a
 * pool or a pool and its members; or with same_name of one account.
 */
static uint64
run_of(const TotalsAccount *accounts, uint64 count, bool same_name)
{
	uint64 run = 1;

	while (run < count &&
		   quota_account_bytes_equal(accounts[run].group, accounts->group) &&
		   (!same_name || quota_account_bytes_equal(accounts[run].bytes, accounts->bytes)))
		run++;
	return run;
}

/*
 * Return whether a group's counters must be locked first, because its changes
 * one after another would not lock them in order.
 */
static bool
needs_locks(const TotalsAccount *group, uint64 count)
{
	bool one_feature = true;
	bool one_sign = true;
	bool only_charges = true;

	for (uint64 i = 0; i < count; i++)
	{
		const AccountEntry *entry = group[i].entry;

		/* windows of the past and of now are not locked in order */
		if (entry->nspans + (entry->n != 0) > 1)
			return true;
		one_feature &= group[i].feature == group->feature;
		one_sign &= (entry->n > 0) == (group->entry->n > 0);
		only_charges &= entry->n > 0 && entry->moved == 0;
	}
	/* quota_consume_charge locks several features of an account in order */
	return !(one_feature && one_sign) && !(only_charges && run_of(group, count, true) == count);
}

/* Lock every counter that the changes of a group can use: of now, and of refunded windows. */
static void
lock_group(QuotaStore *store, const TotalsAccount *group, uint64 count)
{
	List *keys = NIL;

	for (uint64 i = 0; i < count; i++)
	{
		const AccountEntry *entry = group[i].entry;
		QuotaAccount *loaded = palloc(sizeof(QuotaAccount));

		quota_account_load(store, group[i].name, loaded);
		if (entry->n != 0)
			keys = quota_lock_order_add(keys, loaded, group[i].feature, loaded->now);
		for (int j = 0; j < entry->nspans; j++)
			if (entry->spans[j].refund > 0)
				keys = quota_lock_order_add(keys, loaded, group[i].feature, entry->spans[j].at);
	}
	quota_lock_order_lock(store, keys);
}

/* Find the entry of a row's account, or add it. It may move when the next is added. */
static AccountEntry *
entry_of(QuotaStatementTotals *totals, const QuotaRow *row)
{
	QuotaAccountBytes bytes = row->account;
	AccountEntry *entry;
	bool found;

	/* rows of one account often follow each other */
	if (totals->last != NULL && quota_account_bytes_equal(totals->last->bytes, bytes))
		return totals->last;
	entry = accounts_insert(totals->entries, bytes, &found);
	if (!found)
	{
		entry->bytes.data = memcpy(MemoryContextAlloc(totals->entries->ctx, Max(bytes.length, 1)), bytes.data, bytes.length);
		memset(&entry->n, 0, sizeof(AccountEntry) - offsetof(AccountEntry, n));
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

/*
 * Charge and refund an account by all attachments of the table, or raise.
 * Refunds come first, since they may make room. A gauge has one window, whatever
 * the time.
 */
static void
charge_account(QuotaStore *store, const TotalsAccount *accounts, int features)
{
	QuotaCharge one;
	QuotaCharge *charges = features == 1 ? &one : palloc(features * sizeof(QuotaCharge));
	int count = 0;
	bool changed = false;

	for (int i = 0; i < features; i++)
	{
		const AccountEntry *entry = accounts[i].entry;
		int64 moved = Max(Min(entry->moved, entry->n), 0);

		for (int j = 0; j < entry->nspans; j++)
			changed = change_account(store, &accounts[i], -entry->spans[j].refund, entry->spans[j].at, changed);
		changed = change_account(store, &accounts[i], moved, 0, changed);
		if (entry->n < 0)
			changed = change_account(store, &accounts[i], entry->n, quota_guc_now(), changed);
		else if (entry->n > moved)
			prepare(&charges[count++], &accounts[i], entry->n - moved);
	}
	if (count == 0)
		return;
	if (changed)
		quota_store_refresh(store);
	if (!quota_consume_charge(store, accounts->name, charges, count, QUOTA_CHARGE_LIMITED))
		for (int i = 0; i < count; i++)
			if (charges[i].decision.verdict == QUOTA_BLOCK)
				quota_decision_raise(&charges[i].decision);
}

/*
 * Charge n units without a decision, or refund them if below 0.
 *
 * changed: counters of the account have been written, so the store must be
 * refreshed. Returns whether they have now.
 */
static bool
change_account(QuotaStore *store, const TotalsAccount *account, int64 n, TimestampTz at, bool changed)
{
	QuotaCharge charge;

	if (n == 0)
		return changed;
	CHECK_FOR_INTERRUPTS();
	if (changed)
		quota_store_refresh(store);
	prepare(&charge, account, n < 0 ? -n : n);
	if (n < 0)
		quota_consume_refund(store, account->name, &charge, at);
	else
		quota_consume_charge(store, account->name, &charge, 1, QUOTA_CHARGE_ALWAYS);
	return true;
}

static void
prepare(QuotaCharge *charge, const TotalsAccount *account, int64 n)
{
	quota_consume_prepare(charge, account->feature, n);
	charge->origin.what = "trigger";
}

/*
 * Compare in lock order: a pool before its members, these before the next
 * account. Members that are only refunded come first, since that is room for
 * the others.
 */
static inline int
compare_accounts(const TotalsAccount *left, const TotalsAccount *right)
{
	int order = quota_account_bytes_compare(left->group, right->group);

	if (order == 0)
		order = left->in_pool - right->in_pool;
	if (order == 0)
		order = (left->entry->n > 0) - (right->entry->n > 0);
	if (order == 0)
		order = quota_account_bytes_compare(left->bytes, right->bytes);
	return order != 0 ? order : strcmp(left->feature, right->feature);
}
