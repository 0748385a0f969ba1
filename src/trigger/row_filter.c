/*
 * Rows that a limit may leave out or mark: on_block skip and mark.
 *
 * Such a row has to be judged before it goes in, when nobody knows the rows to
 * come. Between its BEFORE and AFTER STATEMENT triggers a statement has a frame,
 * which remembers for each account what its rows would use; the first row that is
 * let in locks the account's counters. These locks are taken in the order of the
 * rows. A row that mark_when does not mark goes in unjudged, and counts for those
 * after it: the statement's end charges it, or fails, as with raise.
 *
 * Memory: a frame has a context below TopTransactionContext. A frame whose
 * statement fails goes with its subtransaction or transaction.
 */
#include "postgres.h"

#include "trigger/row_filter.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/partition.h"
#include "catalog/pg_trigger.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "charge/consume.h"
#include "charge/lock_order.h"
#include "guc.h"

/* What one statement does to one account. */
typedef struct Account
{
	int64 n;                       /* units of the rows let in, also of those of its members */
	int64 own;                     /* of its own rows only */
	int64 most;                    /* what n may come to without another decision; below 0: each row needs one */
	QuotaEntitlement *entitlement; /* NULL until its counters are locked; no longer than its windows */
	int64 *used;                   /* in each window, before the statement */
	TimestampTz now;               /* and when */
	uint64 read_at;                /* quota_consume_writes of then */
	QuotaAccountBytes pool;        /* the name of its pool; nothing: it has none */
	bool pool_known;               /* whether that has been looked for */
} Account;

/* Hash table entry: account by name. */
typedef struct AccountEntry
{
	QuotaAccountBytes bytes;
	uint32 hash;
	char status;
	Account *account;
} AccountEntry;

#include "trigger/account_map.h"

/* A statement whose rows are judged one by one. */
typedef struct Frame
{
	struct Frame *outer;
	MemoryContext context;
	SubTransactionId subid;
	Oid table; /* that the statement names */
	const char *feature;
	accounts_hash *accounts; /* by name, as text */
	accounts_hash *columns;  /* the same, by what the rows' column has */
	int64 let_in;            /* rows, also such as are not counted */
	int64 skipped;
	bool as_judged; /* a row that goes in does so as it was judged */
} Frame;

/* What judge_row knows of a statement and table, from its first row on. */
typedef struct JudgeState
{
	QuotaAttachment attachment;
	Frame *frame;            /* NULL: an UPDATE moves rows here from another partition */
	QuotaAttachment *others; /* of the table, by which a row is charged as well */
	int nothers;
} JudgeState;

/* What a row is charged by another attachment. */
typedef struct Other
{
	Datum account;
	const char *feature;
} Other;

static Frame *frames = NULL;

static void end_transaction(XactEvent event, void *arg);
static void end_subtransaction(SubXactEvent event, SubTransactionId subid, SubTransactionId parent, void *arg);
static JudgeState *begin_judging(TriggerData *trigdata, MemoryContext context);
static Frame *find_frame(Relation rel, const char *feature);
static void check_moved(Relation rel, const char *feature);
static void cannot_charge(Relation rel) pg_attribute_noreturn();
static void drop_frame(Frame *frame);
static bool goes_in_as_judged(const Frame *frame, TriggerData *trigdata);
static bool judge_row(const JudgeState *state, const QuotaRow *row, char **message);
static void find_pool(const Frame *frame, Account *account, Datum name);
static Account *account_of_row(const JudgeState *state, const QuotaRow *row);
static Account *account_named(Frame *frame, QuotaAccountBytes bytes);
static void read_others(Relation rel, JudgeState *state);
static List *others_of_row(const JudgeState *state, TupleTableSlot *slot);
static bool decide_row(const Frame *frame, Account *account, Datum name, int64 n, List *others, char **message);
static QuotaDecision decide(const Frame *frame, const QuotaAccount *account, QuotaAccountBytes pool,
							const QuotaEntitlement *entitlement, const int64 *read, int64 n);
static int64 pending_units(const Frame *frame, QuotaAccountBytes owner);
static int64 most_of(const Account *account);
static QuotaDecision lock_counters(const Frame *frame, Account *account, Datum name, int64 n, List *others, QuotaCharge *charge);
static void lock_all(QuotaStore *store, const QuotaAccount *account, const char *feature, List *others);
static QuotaAccountBytes copy_bytes(const Frame *frame, QuotaAccountBytes bytes);
static void *copy(const Frame *frame, const void *from, Size size);
static HeapTuple mark_row(const QuotaAttachment *attachment, HeapTuple tuple, const char *message);

void
quota_row_filter_init(void)
{
	RegisterXactCallback(end_transaction, NULL);
	RegisterSubXactCallback(end_subtransaction, NULL);
}

/* BEFORE INSERT STATEMENT trigger, for skip and mark: opens the statement's frame. */
PG_FUNCTION_INFO_V1(quota_begin_rows);

Datum
quota_begin_rows(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = quota_attachment_check(fcinfo, "begin_rows", TRIGGER_EVENT_BEFORE, QUOTA_EVENT(INSERT));
	MemoryContext context = AllocSetContextCreate(TopTransactionContext, "quota statement", ALLOCSET_START_SMALL_SIZES);
	Frame *frame = MemoryContextAllocZero(context, sizeof(Frame));

	frame->context = context;
	frame->subid = GetCurrentSubTransactionId();
	frame->table = RelationGetRelid(trigdata->tg_relation);
	frame->feature = MemoryContextStrdup(context, quota_attachment_feature(trigdata));
	frame->accounts = accounts_create(context, 16, NULL);
	frame->columns = accounts_create(context, 16, NULL);
	frame->as_judged = true;
	frame->outer = frames;
	frames = frame;
	return PointerGetDatum(NULL);
}

/*
 * BEFORE INSERT ROW trigger, for skip and mark: leaves the row out or marks it
 * where the limit has no room for it.
 *
 * Errors: those of quota_attachment_read and quota_attachment_row; whatever
 * mark_when says.
 * Locks: the counters of each account that has a row let in, in the order of
 * the rows.
 */
PG_FUNCTION_INFO_V1(quota_judge_row);

Datum
quota_judge_row(PG_FUNCTION_ARGS)
{
	JudgeState *state = fcinfo->flinfo->fn_extra;
	/* what has been found right for a statement and table is so for all of its rows */
	TriggerData *trigdata = state != NULL && CALLED_AS_TRIGGER(fcinfo)
								? (TriggerData *) fcinfo->context
								: quota_attachment_check(fcinfo, "judge_row", TRIGGER_EVENT_BEFORE | TRIGGER_EVENT_ROW, QUOTA_EVENT(INSERT));
	HeapTuple tuple = trigdata->tg_trigtuple;
	QuotaOwner saved;
	QuotaRow row;
	char *message;

	if (state == NULL)
		state = fcinfo->flinfo->fn_extra = begin_judging(trigdata, fcinfo->flinfo->fn_mcxt);
	quota_attachment_begin(&state->attachment, &saved);
	quota_attachment_row(&state->attachment, trigdata->tg_trigslot, &row);
	quota_attachment_end(&state->attachment, &saved);
	if (state->frame == NULL)
		return PointerGetDatum(tuple);
	if (row.n > 0 && !judge_row(state, &row, &message))
	{
		if (!state->attachment.mark)
		{
			state->frame->skipped++;
			return PointerGetDatum(NULL);
		}
		tuple = mark_row(&state->attachment, tuple, message);
	}
	state->frame->let_in++;
	return PointerGetDatum(tuple);
}

/*
 * Add to a tally what the rows of a statement come to, of which so many are in
 * the table; false, with nothing added, where they have to be looked at for that,
 * since others have left rows out or may have changed them.
 */
bool
quota_row_filter_tally(Relation rel, const char *feature, int64 rows, QuotaStatementSum *tally)
{
	Frame *frame = find_frame(rel, feature);
	accounts_iterator iterator;
	AccountEntry *entry;

	if (frame == NULL || !frame->as_judged || frame->let_in != rows)
		return false;
	accounts_start_iterate(frame->columns, &iterator);
	while ((entry = accounts_iterate(frame->columns, &iterator)) != NULL)
		quota_statement_sum_add(tally, &(QuotaRow){.n = entry->account->own, .account = entry->bytes}, 1);
	return true;
}

/*
 * At the end of a statement that inserted into a table, when what was let in has
 * been charged: tell what was left out.
 *
 * Errors: object_not_in_prerequisite_state where nobody began.
 */
void
quota_row_filter_end(Relation rel, const char *feature)
{
	Frame *frame = find_frame(rel, feature);

	if (frame == NULL)
		cannot_charge(rel);
	if (frame->skipped > 0)
		ereport(NOTICE,
				(errmsg_plural("%lld row was left out because of the limit of feature \"%s\"",
							   "%lld rows were left out because of the limit of feature \"%s\"",
							   (unsigned long) frame->skipped, (long long) frame->skipped, feature)));
	drop_frame(frame);
}

/* Frames of statements that failed go with what failed. */
static void
end_transaction(XactEvent event, void *arg pg_attribute_unused())
{
	/* their memory goes with TopTransactionContext */
	if (event != XACT_EVENT_PRE_COMMIT && event != XACT_EVENT_PARALLEL_PRE_COMMIT && event != XACT_EVENT_PRE_PREPARE)
		frames = NULL;
}

static void
end_subtransaction(SubXactEvent event, SubTransactionId subid,
				   SubTransactionId parent pg_attribute_unused(), void *arg pg_attribute_unused())
{
	if (event != SUBXACT_EVENT_ABORT_SUB)
		return;
	while (frames != NULL && frames->subid >= subid)
		drop_frame(frames);
	quota_consume_wrote();
}

static JudgeState *
begin_judging(TriggerData *trigdata, MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	JudgeState *state = palloc(sizeof(JudgeState));

	quota_attachment_read(trigdata, &state->attachment);
	state->frame = find_frame(trigdata->tg_relation, state->attachment.feature);
	if (state->frame == NULL)
		/* rows that are moved were charged when they came */
		check_moved(trigdata->tg_relation, state->attachment.feature);
	else
		state->frame->as_judged &= goes_in_as_judged(state->frame, trigdata);
	read_others(trigdata->tg_relation, state);
	MemoryContextSwitchTo(old);
	return state;
}

/* Read the other attachments of a table that judges rows. Most have none. */
static void
read_others(Relation rel, JudgeState *state)
{
	const char *prefix = quota_attached_triggers[QUOTA_TRIGGER_CHARGE];
	List *attached;
	ListCell *cell;
	int charging = 0;

	state->nothers = 0;
	for (int i = 0; i < rel->trigdesc->numtriggers; i++)
		charging += strncmp(rel->trigdesc->triggers[i].tgname, prefix, strlen(prefix)) == 0;
	if (charging <= 1 || state->frame == NULL)
		return;
	attached = quota_attached_on_table(state->attachment.root);
	state->others = palloc(Max(list_length(attached), 1) * sizeof(QuotaAttachment));
	foreach (cell, attached)
	{
		const QuotaAttached *other = lfirst(cell);

		if (other->id != state->attachment.id)
			quota_attachment_open(rel, other, &state->others[state->nothers++]);
	}
}

/* What a row is charged by the other attachments of its table, as far as it can be. */
static List *
others_of_row(const JudgeState *state, TupleTableSlot *slot)
{
	List *others = NIL;

	for (int i = 0; i < state->nothers; i++)
	{
		QuotaAttachment *attachment = &state->others[i];
		QuotaOwner saved;
		QuotaRow row;

		quota_attachment_begin(attachment, &saved);
		quota_attachment_old_row(attachment, slot, &row);
		quota_attachment_end(attachment, &saved);
		if (row.n > 0)
		{
			Other *other = palloc(sizeof(Other));

			other->account = quota_attachment_account(attachment, row.account);
			other->feature = attachment->feature;
			others = lappend(others, other);
		}
	}
	return others;
}

/* The frame of the running statement that inserts into a table, or into what it is a partition of; NULL: none. */
static Frame *
find_frame(Relation rel, const char *feature)
{
	List *ancestors = NIL;

	for (Frame *frame = frames; frame != NULL; frame = frame->outer)
	{
		if (strcmp(frame->feature, feature) != 0)
			continue;
		if (frame->table == RelationGetRelid(rel))
			return frame;
		if (rel->rd_rel->relispartition)
		{
			if (ancestors == NIL)
				ancestors = get_partition_ancestors(RelationGetRelid(rel));
			if (list_member_oid(ancestors, frame->table))
				return frame;
		}
	}
	return NULL;
}

/*
 * Make sure that a row without a frame is one that an UPDATE moves here. It is
 * not if the partition, or what it is a partition of, judges rows but lacks the
 * trigger that opens a frame: then a statement that inserts gets here as well.
 */
static void
check_moved(Relation rel, const char *feature)
{
	List *tables = lcons_oid(RelationGetRelid(rel), get_partition_ancestors(RelationGetRelid(rel)));
	char *judge = psprintf("zz_quota_judge_%s", feature);
	char *begin = psprintf("quota_begin_%s", feature);
	ListCell *cell;

	foreach (cell, tables)
		if (OidIsValid(get_trigger_oid(lfirst_oid(cell), judge, true)) &&
			!OidIsValid(get_trigger_oid(lfirst_oid(cell), begin, true)))
			cannot_charge(rel);
}

static void
cannot_charge(Relation rel)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("rows of table \"%s\" cannot be charged", RelationGetRelationName(rel)),
			 errdetail("It lacks a trigger of quota, which the other tables of its partition tree have."),
			 errhint("Call quota_attach again.")));
}

static void
drop_frame(Frame *frame)
{
	Frame **link = &frames;

	while (*link != frame)
		link = &(*link)->outer;
	*link = frame->outer;
	MemoryContextDelete(frame->context);
}

/*
 * Whether a row of a table goes in as it is judged now, if it does: no trigger
 * comes later, and no column is computed later. Where rows come by way of a
 * partitioned table, nobody knows whether all partitions judge theirs.
 */
static bool
goes_in_as_judged(const Frame *frame, TriggerData *trigdata)
{
	Relation rel = trigdata->tg_relation;
	TupleConstr *constraints = RelationGetDescr(rel)->constr;
	Oid last = InvalidOid;

	for (int i = 0; i < rel->trigdesc->numtriggers; i++)
		if (TRIGGER_TYPE_MATCHES(rel->trigdesc->triggers[i].tgtype, TRIGGER_TYPE_ROW, TRIGGER_TYPE_BEFORE, TRIGGER_TYPE_INSERT))
			last = rel->trigdesc->triggers[i].tgoid;
	return last == trigdata->tg_trigger->tgoid && frame->table == RelationGetRelid(rel) &&
		   (constraints == NULL || !constraints->has_generated_stored);
}

/* Whether a row may go in; otherwise why not. */
static bool
judge_row(const JudgeState *state, const QuotaRow *row, char **message)
{
	Account *account = account_of_row(state, row);

	/* a statement inside of this one may have charged, or given back */
	if (account->read_at != quota_consume_writes() || row->n > account->most || account->n > account->most - row->n)
	{
		Datum name = quota_attachment_account(&state->attachment, row->account);

		if (quota_attachment_raises(&state->attachment, row->slot))
			find_pool(state->frame, account, name);
		else
		{
			List *others = account->entitlement == NULL ? others_of_row(state, row->slot) : NIL;

			if (!decide_row(state->frame, account, name, row->n, others, message))
				return false;
		}
	}
	account->n = quota_decide_sum(account->n, row->n);
	account->own = quota_decide_sum(account->own, row->n);
	if (account->pool.length > 0)
	{
		Account *pool = account_named(state->frame, account->pool);

		pool->n = quota_decide_sum(pool->n, row->n);
	}
	return true;
}

/* The pool of an account that has not been judged yet: its rows count there as well. */
static void
find_pool(const Frame *frame, Account *account, Datum name)
{
	QuotaStore *store;
	Datum pool;

	if (account->pool_known)
		return;
	store = quota_store_begin_read();
	pool = quota_account_pool(store, name);
	if (pool != 0)
		account->pool = copy_bytes(frame, quota_account_bytes(pool));
	account->pool_known = true;
	quota_store_end(store);
}

static Account *
account_of_row(const JudgeState *state, const QuotaRow *row)
{
	Frame *frame = state->frame;
	AccountEntry *entry = accounts_lookup(frame->columns, row->account);
	Account *account;
	bool found;

	if (entry != NULL)
		return entry->account;
	account = account_named(frame, quota_account_bytes(quota_attachment_account(&state->attachment, row->account)));
	entry = accounts_insert(frame->columns, copy_bytes(frame, row->account), &found);
	entry->account = account;
	return account;
}

/* An account, made where there is none. */
static Account *
account_named(Frame *frame, QuotaAccountBytes bytes)
{
	bool found;
	AccountEntry *entry = accounts_insert(frame->accounts, bytes, &found);

	if (!found)
	{
		entry->bytes = copy_bytes(frame, bytes);
		entry->account = MemoryContextAllocZero(frame->context, sizeof(Account));
		entry->account->most = -1;
	}
	return entry->account;
}

/*
 * Whether n units of an account may go in, decided anew; otherwise why not.
 * others: what the row is charged besides.
 */
static bool
decide_row(const Frame *frame, Account *account, Datum name, int64 n, List *others, char **message)
{
	QuotaCharge charge;
	QuotaDecision decision;

	if (account->entitlement != NULL && account->read_at == quota_consume_writes())
	{
		QuotaAccount who = {.account = name, .now = account->now};

		decision = decide(frame, &who, account->pool, account->entitlement, account->used, n);
	}
	else
		decision = lock_counters(frame, account, name, n, others, &charge);
	if (decision.verdict == QUOTA_BLOCK)
	{
		*message = quota_decision_message(&decision);
		quota_decision_log(&decision);
		return false;
	}
	account->most = most_of(account);
	return true;
}

/* The decision on a row of n units, as if the rows before had been charged already. */
static QuotaDecision
decide(const Frame *frame, const QuotaAccount *account, QuotaAccountBytes pool,
	   const QuotaEntitlement *entitlement, const int64 *read, int64 n)
{
	int64 used[QUOTA_MAX_WINDOWS];
	QuotaDecision decision;

	for (int i = 0; i < entitlement->count; i++)
	{
		QuotaAccountBytes owner = entitlement->windows[i].pooled ? pool : quota_account_bytes(account->account);

		used[i] = quota_decide_sum(read[i], pending_units(frame, owner));
	}
	/* no rate is attached to a table */
	decision = quota_decision_make(account, entitlement, used, NULL, n);
	quota_decision_enforce(&decision);
	return decision;
}

/* Units that rows of this statement, and of those around it, have been let in with, and not been charged for yet. */
static int64
pending_units(const Frame *frame, QuotaAccountBytes owner)
{
	int64 sum = 0;

	for (const Frame *other = frames; other != NULL; other = other->outer)
	{
		AccountEntry *entry = strcmp(other->feature, frame->feature) == 0 ? accounts_lookup(other->accounts, owner) : NULL;

		if (entry != NULL)
			sum = quota_decide_sum(sum, entry->account->n);
	}
	return sum;
}

/*
 * What the units of an account's rows may come to without another decision: what
 * all its windows have room for. -1 where others' rows count as well, or room is
 * not what decides.
 */
static int64
most_of(const Account *account)
{
	const QuotaEntitlement *entitlement = account->entitlement;
	int64 most = PG_INT64_MAX;

	if (frames->outer != NULL || account->pool.length > 0 || entitlement->suspended || !entitlement->in_plan)
		return -1;
	for (int i = 0; i < entitlement->count; i++)
	{
		const QuotaLimit *limit = &entitlement->windows[i].limit;

		most = Min(most, (limit->unlimited || entitlement->bypass ? PG_INT64_MAX : limit->block_at) - account->used[i]);
	}
	return most;
}

/*
 * Lock the counters of an account for the rest of the transaction, if there is
 * room for n units, and keep what they have. An account that has no room is not
 * locked: it may have some again later.
 *
 * others: what else the row is charged. Its counters are locked as well, so that
 * a statement of one row locks all of them in order.
 */
static QuotaDecision
lock_counters(const Frame *frame, Account *account, Datum name, int64 n, List *others, QuotaCharge *charge)
{
	QuotaStore *store = quota_store_begin_write();
	QuotaDecision decision;
	QuotaAccountBytes pool;
	QuotaAccount loaded;
	bool locked = false;

	quota_consume_ask(charge, frame->feature, n);
	for (;; quota_store_retry(store))
	{
		quota_account_load(store, name, &loaded);
		pool = loaded.pool != NULL ? quota_account_bytes(loaded.pool->account) : (QuotaAccountBytes){0};
		quota_consume_look(store, &loaded, charge, loaded.now);
		decision = decide(frame, &loaded, pool, &charge->entitlement, charge->used, n);
		if (decision.verdict == QUOTA_BLOCK || quota_guc_enforcement == QUOTA_ENFORCEMENT_OFF)
			break;
		if (others != NIL)
		{
			lock_all(store, &loaded, frame->feature, others);
			others = NIL;
			continue;
		}
		locked = true;
		for (int i = 0; i < charge->entitlement.count; i++)
			locked &= quota_counter_lock(store, &charge->counters[i]);
		if (locked)
			break;
	}
	quota_store_end(store);
	if (decision.verdict == QUOTA_BLOCK)
		return decision;

	if (account->entitlement != NULL)
	{
		pfree(account->entitlement);
		pfree(account->used);
	}
	account->entitlement = copy(frame, &charge->entitlement, offsetof(QuotaEntitlement, windows[charge->entitlement.count]));
	account->used = copy(frame, charge->used, charge->entitlement.count * sizeof(int64));
	account->now = loaded.now;
	account->pool = copy_bytes(frame, pool);
	account->pool_known = true;
	account->read_at = quota_consume_writes();
	return decision;
}

/* Lock the counters that a row meets by all attachments, in order. The store is refreshed then. */
static void
lock_all(QuotaStore *store, const QuotaAccount *account, const char *feature, List *others)
{
	List *keys = quota_lock_order_add(NIL, account, feature, account->now);
	ListCell *cell;

	foreach (cell, others)
	{
		const Other *other = lfirst(cell);
		QuotaAccount *loaded = palloc(sizeof(QuotaAccount));

		quota_account_load(store, other->account, loaded);
		keys = quota_lock_order_add(keys, loaded, other->feature, loaded->now);
	}
	quota_lock_order_lock(store, keys);
}

static QuotaAccountBytes
copy_bytes(const Frame *frame, QuotaAccountBytes bytes)
{
	return (QuotaAccountBytes){copy(frame, bytes.data, bytes.length), bytes.length};
}

static void *
copy(const Frame *frame, const void *from, Size size)
{
	return size == 0 ? NULL : memcpy(MemoryContextAlloc(frame->context, size), from, size);
}

static HeapTuple
mark_row(const QuotaAttachment *attachment, HeapTuple tuple, const char *message)
{
	int columns[2] = {attachment->status.number, attachment->message.number};
	Datum values[2] = {attachment->blocked_status, (Datum) 0};
	bool nulls[2] = {false, false};
	int count = 1;

	if (attachment->message.number != 0)
	{
		/* varchar(n) and char(n) take what fits: a message must not be why a row fails */
		if (attachment->message.typmod >= (int32) VARHDRSZ)
			message = pnstrdup(message, pg_mbcharcliplen(message, strlen(message), attachment->message.typmod - VARHDRSZ));
		values[count++] = quota_attachment_input(attachment, &attachment->message, message);
	}
	return heap_modify_tuple_by_cols(tuple, RelationGetDescr(attachment->rel), count, columns, values, nulls);
}
