/*
 * What one statement does to accounts: units are summed up row by row, in a hash
 * table by account, and settled at the statement's end, each account once, in
 * the order of accounts. That is linear in the rows; charges of single rows
 * would make each update walk all the versions that the transaction has made.
 *
 * Locks: as charges, account after account. Memory: the context in which the
 * sum was begun; an entry an account, and within it one for each set of windows
 * that rows are refunded to. Nothing grows with the number of rows.
 */
#include "postgres.h"

#include "trigger/statement_sum.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

/* Times that fall into the same windows of an account. */
typedef struct Span
{
	TimestampTz at; /* one of them */
	TimestampTz from;
	TimestampTz to; /* the first after them */
	int64 refund;   /* units of rows that were charged then */
} Span;

typedef struct AccountEntry
{
	QuotaAccountBytes bytes;
	uint32 hash;
	char status;
	int64 n;     /* to be charged; below 0: to be given back */
	int64 moved; /* of that, what is not judged */
	Span *spans;
	int nspans;
	int last; /* the one that was looked for last */
} AccountEntry;

#include "trigger/account_map.h"

struct QuotaStatementSum
{
	QuotaAttachment *attachment;
	accounts_hash *entries;
	AccountEntry *last;
};

/* What a statement does to one account by one attachment, and the names as text. */
typedef struct Account
{
	Datum name;
	QuotaAccountBytes bytes; /* of the name */
	QuotaAccountBytes pool;  /* of the pool's name; nothing: it has none */
	QuotaStatementSum *sum;
	AccountEntry *entry;
} Account;

static inline int compare_accounts(const Account *left, const Account *right);

#define ST_SORT sort_accounts
#define ST_ELEMENT_TYPE Account
#define ST_COMPARE(a, b) compare_accounts(a, b)
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

#include "charge/consume.h"
#include "charge/lock_order.h"
#include "guc.h"
#include "memory/entitlement_cache.h"

static AccountEntry *entry_of(QuotaStatementSum *sum, const QuotaRow *row);
static Span *span_of(QuotaStatementSum *sum, AccountEntry *entry, TimestampTz at);
static Span load_span(QuotaStatementSum *sum, AccountEntry *entry, TimestampTz at);
static Account *collect(QuotaStore *store, QuotaStatementSum **sums, int count, uint64 *found);
static uint64 group_end(const Account *accounts, uint64 from, uint64 count);
static uint64 account_end(const Account *accounts, uint64 from, uint64 end);
static bool is_charge(const Account *account);
static bool needs_locks(const Account *accounts, uint64 from, uint64 end);
static void lock_group(QuotaStore *store, const Account *accounts, uint64 from, uint64 end);
static List *add_keys(QuotaStore *store, const Account *account, List *keys);
static void settle_account(QuotaStore *store, const Account *accounts, int features);
static void settle(QuotaStore *store, const Account *account);
static inline QuotaAccountBytes head_of(const Account *account);
static inline int compare_bytes(QuotaAccountBytes left, QuotaAccountBytes right);
static int compare_spans(const void *a, const void *b);

QuotaStatementSum *
quota_statement_sum_begin(QuotaAttachment *attachment)
{
	QuotaStatementSum *sum = palloc0(sizeof(QuotaStatementSum));

	sum->attachment = attachment;
	sum->entries = accounts_create(CurrentMemoryContext, 16, NULL);
	return sum;
}

/* A row that is to be charged; with sign -1 one that gives back what it takes. */
void
quota_statement_sum_add(QuotaStatementSum *sum, const QuotaRow *row, int sign)
{
	AccountEntry *entry;

	if (row->n == 0)
		return;
	entry = entry_of(sum, row);
	entry->n = quota_decide_sum(entry->n, sign * row->n);
}

/* Of what has been added for a row, n units that the account had before, under another name: they are not judged. */
void
quota_statement_sum_move(QuotaStatementSum *sum, const QuotaRow *row, int64 n)
{
	AccountEntry *entry = entry_of(sum, row);

	entry->moved = quota_decide_sum(entry->moved, n);
}

/* A row that was charged at some time, and is to be refunded to the windows of then. */
void
quota_statement_sum_refund(QuotaStatementSum *sum, const QuotaRow *row, TimestampTz at)
{
	Span *span = span_of(sum, entry_of(sum, row), at);

	span->refund = quota_decide_sum(span->refund, row->n);
}

/* Whether two times are in the same windows of a row's account. */
bool
quota_statement_sum_same_windows(QuotaStatementSum *sum, const QuotaRow *row, TimestampTz a, TimestampTz b)
{
	Span *span;

	/* no look at the account for rows that are made now */
	if (a == b)
		return true;
	span = span_of(sum, entry_of(sum, row), a);
	return span->from <= b && b < span->to;
}

/*
 * Give back and charge what a statement has added to its sums, one for each
 * attachment of the table, or raise.
 *
 * Errors: PT429, PT402, PT403 for what the limits refuse, and those of
 * quota_consume_charge.
 * Locks: the counters of all sums in the one order that doc/locking.md gives.
 */
void
quota_statement_sum_settle(QuotaStatementSum **sums, int count)
{
	QuotaStore *store;
	MemoryContext context;
	MemoryContext old;
	Account *accounts;
	uint64 found = 0;
	uint64 group = 0; /* the end of the one that has been looked at */

	for (int i = 0; i < count; i++)
		found += sums[i]->entries->members;
	if (found == 0)
		return;
	store = quota_store_begin_write();
	accounts = collect(store, sums, count, &found);
	sort_accounts(accounts, found);

	context = AllocSetContextCreate(CurrentMemoryContext, "quota charge", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(context);
	for (uint64 i = 0, end; i < found; i = end)
	{
		const Account *later = &accounts[Min(i + 2, found - 1)];

		/* their memory is in any order: have it brought here meanwhile */
		__builtin_prefetch(later->entry);
		__builtin_prefetch(DatumGetPointer(accounts[Min(i + 4, found - 1)].name));
		quota_entitlement_cache_expect(later->name);
		/* the one before may have waited for long; what it has written is a pool's where this one reads it */
		if (i > 0 && quota_plan_pools_exist())
			quota_store_refresh(store);
		else if (i > 0)
			quota_store_refresh_committed(store);
		if (i == group)
		{
			group = group_end(accounts, i, found);
			if (needs_locks(accounts, i, group))
				lock_group(store, accounts, i, group);
		}
		end = account_end(accounts, i, group);
		settle_account(store, &accounts[i], (int) (end - i));
		MemoryContextReset(context);
	}
	MemoryContextSwitchTo(old);
	quota_store_end(store);
	MemoryContextDelete(context);
}

/* List the accounts that the sums do anything to. */
static Account *
collect(QuotaStore *store, QuotaStatementSum **sums, int count, uint64 *found)
{
	Account *accounts = MemoryContextAllocHuge(CurrentMemoryContext, *found * sizeof(Account));

	*found = 0;
	for (int i = 0; i < count; i++)
	{
		QuotaStatementSum *sum = sums[i];
		accounts_iterator iterator;
		AccountEntry *entry;

		accounts_start_iterate(sum->entries, &iterator);
		while ((entry = accounts_iterate(sum->entries, &iterator)) != NULL)
			if (entry->n != 0 || entry->nspans > 0)
			{
				Datum name = quota_attachment_account(sum->attachment, entry->bytes);
				Datum pool = quota_account_pool(store, name);

				accounts[(*found)++] = (Account){
					.name = name,
					.bytes = quota_account_bytes(name),
					.pool = pool != 0 ? quota_account_bytes(pool) : (QuotaAccountBytes){0},
					.sum = sum,
					.entry = entry};
			}
	}
	return accounts;
}

/* The end of a group: an account that is a pool or in none, and its members. */
static uint64
group_end(const Account *accounts, uint64 from, uint64 count)
{
	uint64 end = from + 1;

	while (end < count && compare_bytes(head_of(&accounts[end]), head_of(&accounts[from])) == 0)
		end++;
	return end;
}

/* The end of what is done to one account. */
static uint64
account_end(const Account *accounts, uint64 from, uint64 end)
{
	uint64 next = from + 1;

	while (next < end && compare_bytes(accounts[next].bytes, accounts[from].bytes) == 0)
		next++;
	return next;
}

/* True if one call can charge all that an attachment does to an account. */
static bool
is_charge(const Account *account)
{
	return account->entry->n > 0 && account->entry->nspans == 0 && account->entry->moved == 0;
}

/*
 * True if a group's counters have to be locked before any is changed, because
 * its changes, made one after another, would not lock them in order.
 */
static bool
needs_locks(const Account *accounts, uint64 from, uint64 end)
{
	bool one_feature = true;
	bool all_charge = true;
	bool one_sign = true;

	if (end - from == 1)
		return accounts[from].entry->nspans + (accounts[from].entry->n != 0) > 1;
	for (uint64 i = from; i < end; i++)
	{
		const AccountEntry *entry = accounts[i].entry;

		/* several windows of the past, or the past and now */
		if (entry->nspans + (entry->n != 0) > 1)
			return true;
		one_feature &= accounts[i].sum == accounts[from].sum;
		all_charge &= is_charge(&accounts[i]);
		one_sign &= (entry->n > 0) == (accounts[from].entry->n > 0);
	}
	/* one call charges several features of an account in order */
	if (account_end(accounts, from, end) == end)
		return !all_charge;
	return !(one_feature && one_sign);
}

/* Lock every counter that a group's changes can meet. */
static void
lock_group(QuotaStore *store, const Account *accounts, uint64 from, uint64 end)
{
	List *keys = NIL;

	for (uint64 i = from; i < end; i++)
		keys = add_keys(store, &accounts[i], keys);
	quota_lock_order_lock(store, keys);
}

/* Add the counters of one account and attachment, of now and of what is refunded. */
static List *
add_keys(QuotaStore *store, const Account *account, List *keys)
{
	const char *feature = account->sum->attachment->feature;
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

/* The entry of a row's account, made where there is none. Good until the next is made. */
static AccountEntry *
entry_of(QuotaStatementSum *sum, const QuotaRow *row)
{
	QuotaAccountBytes bytes = row->account;
	AccountEntry *entry;
	bool found;

	/* rows of one account often stand together */
	if (sum->last != NULL && quota_account_bytes_equal(sum->last->bytes, bytes))
		return sum->last;
	entry = accounts_insert(sum->entries, bytes, &found);
	if (!found)
	{
		entry->bytes.data = memcpy(MemoryContextAlloc(sum->entries->ctx, Max(bytes.length, 1)), bytes.data, bytes.length);
		entry->n = 0;
		entry->moved = 0;
		entry->spans = NULL;
		entry->nspans = 0;
		entry->last = 0;
	}
	return sum->last = entry;
}

/* The span of an account that holds a time. */
static Span *
span_of(QuotaStatementSum *sum, AccountEntry *entry, TimestampTz at)
{
	/* the last one first, then all */
	for (int i = entry->last, left = entry->nspans; left > 0; left--, i = (i + 1) % entry->nspans)
		if (entry->spans[i].from <= at && at < entry->spans[i].to)
		{
			entry->last = i;
			return &entry->spans[i];
		}
	/* as many as the next power of two have been allocated */
	if (entry->spans == NULL)
		entry->spans = MemoryContextAlloc(sum->entries->ctx, sizeof(Span));
	else if ((entry->nspans & (entry->nspans - 1)) == 0)
		entry->spans = repalloc(entry->spans, 2 * entry->nspans * sizeof(Span));
	entry->spans[entry->nspans] = load_span(sum, entry, at);
	entry->last = entry->nspans++;
	return &entry->spans[entry->last];
}

static Span
load_span(QuotaStatementSum *sum, AccountEntry *entry, TimestampTz at)
{
	Span span = {.at = at, .from = DT_NOBEGIN, .to = DT_NOEND};
	QuotaStore *store = quota_store_begin_read();
	QuotaEntitlement entitlement;
	QuotaAccount account;

	quota_account_load(store, quota_attachment_account(sum->attachment, entry->bytes), &account);
	quota_account_entitle(&account, sum->attachment->feature, at, &entitlement);
	quota_store_end(store);
	for (int i = 0; i < entitlement.count; i++)
	{
		span.from = Max(span.from, entitlement.windows[i].window.start);
		span.to = Min(span.to, entitlement.windows[i].window.end);
	}
	return span;
}

/* Do to an account what all attachments of the statement's table do to it, or raise. */
static void
settle_account(QuotaStore *store, const Account *accounts, int features)
{
	QuotaCharge *charges;
	bool all_charge = features > 1;

	for (int i = 0; i < features && all_charge; i++)
		all_charge = is_charge(&accounts[i]);
	if (!all_charge)
	{
		for (int i = 0; i < features; i++)
		{
			if (i > 0)
				quota_store_refresh(store);
			settle(store, &accounts[i]);
		}
		return;
	}
	charges = palloc(features * sizeof(QuotaCharge));
	for (int i = 0; i < features; i++)
	{
		quota_consume_ask(&charges[i], accounts[i].sum->attachment->feature, accounts[i].entry->n);
		charges[i].occasion.what = "trigger";
	}
	if (!quota_consume_charge(store, accounts[0].name, charges, features, QUOTA_CHARGE_JUDGED))
		for (int i = 0; i < features; i++)
			if (charges[i].decision.verdict == QUOTA_BLOCK)
				quota_decision_raise(&charges[i].decision);
}

/*
 * Do to an account what one attachment does to it: first what is given back,
 * since it may make room. A gauge has one window, of whatever time.
 */
static void
settle(QuotaStore *store, const Account *account)
{
	const char *feature = account->sum->attachment->feature;
	AccountEntry *entry = account->entry;
	QuotaCharge charge;
	int64 moved;

	qsort(entry->spans, entry->nspans, sizeof(Span), compare_spans);
	for (int i = 0; i < entry->nspans; i++)
		if (entry->spans[i].refund > 0)
		{
			CHECK_FOR_INTERRUPTS();
			quota_consume_ask(&charge, feature, entry->spans[i].refund);
			charge.occasion.what = "trigger";
			quota_consume_give_back(store, account->name, &charge, entry->spans[i].at);
			/* what was written is written again, or read, only after a refresh */
			quota_store_refresh(store);
		}
	moved = Min(entry->moved, entry->n);
	if (moved > 0)
	{
		quota_consume_ask(&charge, feature, moved);
		charge.occasion.what = "trigger";
		quota_consume_charge(store, account->name, &charge, 1, QUOTA_CHARGE_ALWAYS);
		entry->n -= moved;
		quota_store_refresh(store);
	}
	if (entry->n > 0)
	{
		quota_consume_ask(&charge, feature, entry->n);
		charge.occasion.what = "trigger";
		quota_consume_charge(store, account->name, &charge, 1, QUOTA_CHARGE_JUDGED);
		if (charge.decision.verdict == QUOTA_BLOCK)
			quota_decision_raise(&charge.decision);
	}
	else if (entry->n < 0)
	{
		quota_consume_ask(&charge, feature, -entry->n);
		charge.occasion.what = "trigger";
		quota_consume_give_back(store, account->name, &charge, quota_guc_now());
	}
}

/* The account whose group an account belongs to: its pool, or itself. */
static inline QuotaAccountBytes
head_of(const Account *account)
{
	return account->pool.length > 0 ? account->pool : account->bytes;
}

/*
 * The order in which counters are locked: a pool comes before its members, and
 * they before what is after the pool. Of the members those come first that only
 * give back, since what they have used is room for the others.
 */
static inline int
compare_accounts(const Account *left, const Account *right)
{
	int order = compare_bytes(head_of(left), head_of(right));

	if (order == 0)
		order = (left->pool.length > 0) - (right->pool.length > 0);
	if (order == 0)
		order = (left->entry->n > 0) - (right->entry->n > 0);
	if (order == 0)
		order = compare_bytes(left->bytes, right->bytes);
	return order != 0 ? order : strcmp(left->sum->attachment->feature, right->sum->attachment->feature);
}

/* as text COLLATE "C" */
static inline int
compare_bytes(QuotaAccountBytes left, QuotaAccountBytes right)
{
	int order = memcmp(left.data, right.data, Min(left.length, right.length));

	return order != 0 ? order : (left.length > right.length) - (left.length < right.length);
}

/* they do not overlap */
static int
compare_spans(const void *a, const void *b)
{
	TimestampTz left = ((const Span *) a)->from;
	TimestampTz right = ((const Span *) b)->from;

	return (left > right) - (left < right);
}
