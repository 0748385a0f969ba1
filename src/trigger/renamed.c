/*
 * renamed.c
 *		Accounts that were renamed in this transaction.
 *
 * A rename moves what an account was charged to its new key. Rows of the
 * application that follow, by ON UPDATE CASCADE or another statement, look like
 * rows that move between accounts. Their triggers look here: a counter then
 * moves nothing, and a gauge moves without a decision.
 *
 * Memory: each rename is in the context of its subtransaction, whose abort, or
 * the end of the transaction, takes it off the list. Locks: none.
 */
#include "postgres.h"

#include "trigger/renamed.h"

#include "fmgr.h"
#include "lib/ilist.h"
#include "utils/memutils.h"

#include "argument.h"
#include "charge/account_bytes.h"

typedef struct Rename
{
	dlist_node node;
	MemoryContextCallback callback;
	Datum old_key;
	Datum new_key;
} Rename;

/* oldest first */
static dlist_head renames = DLIST_STATIC_INIT(renames);

static void forget_rename(void *rename);
static bool same_key(Datum a, Datum b);

/* quota.note_rename(old_key, new_key): record a rename until the transaction ends. */
PG_FUNCTION_INFO_V1(quota_note_rename);

Datum
quota_note_rename(PG_FUNCTION_ARGS)
{
	MemoryContext old = MemoryContextSwitchTo(CurTransactionContext);
	Rename *rename = palloc(sizeof(Rename));

	quota_argument_check_not_null(fcinfo, 0, "old_key");
	quota_argument_check_not_null(fcinfo, 1, "new_key");
	rename->old_key = PointerGetDatum(PG_GETARG_TEXT_P_COPY(0));
	rename->new_key = PointerGetDatum(PG_GETARG_TEXT_P_COPY(1));
	quota_argument_check_account(rename->old_key);
	quota_argument_check_account(rename->new_key);
	dlist_push_tail(&renames, &rename->node);
	rename->callback = (MemoryContextCallback){.func = forget_rename, .arg = rename};
	MemoryContextRegisterResetCallback(CurTransactionContext, &rename->callback);
	MemoryContextSwitchTo(old);
	PG_RETURN_VOID();
}

/* Return whether any account was renamed. */
bool
quota_renamed_any(void)
{
	return !dlist_is_empty(&renames);
}

/* Return whether an account was renamed to another key, directly or by several renames. */
bool
quota_renamed_to(Datum old_key, Datum new_key)
{
	dlist_iter iter;

	dlist_foreach(iter, &renames)
	{
		const Rename *rename = dlist_container(Rename, node, iter.cur);

		if (!same_key(rename->old_key, old_key))
			continue;
		if (same_key(rename->new_key, new_key))
			return true;
		old_key = rename->new_key;
	}
	return false;
}

/* Memory context callback: the transaction or subtransaction of a rename has ended. */
static void
forget_rename(void *rename)
{
	dlist_delete(&((Rename *) rename)->node);
}

static bool
same_key(Datum a, Datum b)
{
	return quota_account_bytes_equal(quota_account_bytes(a), quota_account_bytes(b));
}
