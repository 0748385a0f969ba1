/*
 * renamed.c
 *		Accounts that were renamed in this transaction.
 *
 * A rename moves what an account was charged to its new key. Rows of the
 * application that follow, by ON UPDATE CASCADE or another statement, look like
 * rows that move between accounts. Their triggers look here: a counter then
 * moves nothing, and a gauge moves without a decision.
 *
 * Memory: a list in TopTransactionContext, oldest first. The end of the
 * transaction drops it; the abort of a subtransaction removes its own entries.
 * Locks: none.
 */
#include "postgres.h"

#include "trigger/renamed.h"

#include "access/xact.h"
#include "fmgr.h"
#include "utils/datum.h"
#include "utils/memutils.h"

#include "argument.h"
#include "charge/account_bytes.h"

typedef struct Rename
{
	SubTransactionId subid;
	Datum old_key;
	Datum new_key;
} Rename;

static List *renames = NIL;

static void end_transaction(XactEvent event, void *arg);
static void end_subtransaction(SubXactEvent event, SubTransactionId subid, SubTransactionId parent, void *arg);
static bool same_key(Datum a, Datum b);
static Datum key_of_argument(FunctionCallInfo fcinfo, int number, const char *name);

/* Register the callbacks that drop renames that ended or failed. */
void
quota_renamed_init(void)
{
	RegisterXactCallback(end_transaction, NULL);
	RegisterSubXactCallback(end_subtransaction, NULL);
}

/* quota.note_rename(old_key, new_key): record a rename until the transaction ends. */
PG_FUNCTION_INFO_V1(quota_note_rename);

Datum
quota_note_rename(PG_FUNCTION_ARGS)
{
	Datum old_key = key_of_argument(fcinfo, 0, "old_key");
	Datum new_key = key_of_argument(fcinfo, 1, "new_key");
	MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);
	Rename *rename = palloc(sizeof(Rename));

	rename->subid = GetCurrentSubTransactionId();
	rename->old_key = datumCopy(old_key, false, -1);
	rename->new_key = datumCopy(new_key, false, -1);
	renames = lappend(renames, rename);
	MemoryContextSwitchTo(old);
	PG_RETURN_VOID();
}

/* Return whether any account was renamed. */
bool
quota_renamed_any(void)
{
	return renames != NIL;
}

/* Return whether an account was renamed to another key, directly or by several renames. */
bool
quota_renamed_to(Datum old_key, Datum new_key)
{
	ListCell *cell;

	foreach (cell, renames)
	{
		const Rename *rename = lfirst(cell);

		if (!same_key(rename->old_key, old_key))
			continue;
		if (same_key(rename->new_key, new_key))
			return true;
		old_key = rename->new_key;
	}
	return false;
}

/* Read a key argument, decompressed. */
static Datum
key_of_argument(FunctionCallInfo fcinfo, int number, const char *name)
{
	Datum key;

	quota_argument_check_not_null(fcinfo, number, name);
	key = PointerGetDatum(PG_GETARG_TEXT_PP(number));
	quota_argument_check_account(key);
	return key;
}

static void
end_transaction(XactEvent event, void *arg pg_attribute_unused())
{
	/* TopTransactionContext frees its memory */
	if (event != XACT_EVENT_PRE_COMMIT && event != XACT_EVENT_PARALLEL_PRE_COMMIT && event != XACT_EVENT_PRE_PREPARE)
		renames = NIL;
}

static void
end_subtransaction(SubXactEvent event, SubTransactionId subid,
				   SubTransactionId parent pg_attribute_unused(), void *arg pg_attribute_unused())
{
	if (event != SUBXACT_EVENT_ABORT_SUB)
		return;
	/* nested subtransactions have greater ids */
	while (renames != NIL && ((const Rename *) llast(renames))->subid >= subid)
		renames = list_delete_last(renames);
}

static bool
same_key(Datum a, Datum b)
{
	return quota_account_bytes_equal(quota_account_bytes(a), quota_account_bytes(b));
}
