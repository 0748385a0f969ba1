/*
 * row_filter.c
 *		Rows that a limit may leave out or mark: on_block skip and mark.
 *
 * Such a row is checked before it is inserted, when the rows to come are
 * unknown. A statement has a frame, which sums up what its rows will use for
 * each account. The first row of an account that is admitted locks the
 * account's counters. A row over the limit that mark_when does not mark is
 * admitted unchecked and added; the end of the statement charges it or fails,
 * as with raise.
 *
 * Life. The BEFORE STATEMENT trigger opens the frame, the AFTER STATEMENT
 * trigger charges the rows and closes it. A frame whose statement fails ends
 * with its subtransaction or transaction, which frees its memory.
 *
 * Lock				Protects					Order					While held
 * counter, whole	room for the rows admitted	of the rows; one row's	reads and rows, until
 *								counters in lock order	the transaction ends
 *
 * Memory: a frame has a child context of CurTransactionContext.
 */
#include "postgres.h"

#include "trigger/row_filter.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/partition.h"
#include "catalog/pg_trigger.h"
#include "mb/pg_wchar.h"
#include "utils/memutils.h"

#include "charge/consume.h"
#include "charge/lock_order.h"
#include "compat.h"
#include "guc.h"

/* What the rows of a statement use of one account. */
typedef struct FilterAccount
{
	int64 n;                       /* units of the rows admitted, of the account and its members */
	int64 own;                     /* of its own rows only */
	int64 max_n;                   /* n up to which no decision is needed; below 0: each row needs one */
	QuotaEntitlement *entitlement; /* NULL until the counters are locked; allocated for its windows only */
	int64 *used;                   /* in each window, before the statement */
	TimestampTz now;               /* when that was read */
	uint64 read_at;                /* quota_consume_generation when it was read */
	QuotaAccountBytes pool;        /* name of its pool; empty: none */
	bool pool_known;               /* pool has been read */
} FilterAccount;

/* Hash table entry: account by name. */
typedef struct AccountEntry
{
	QuotaAccountBytes bytes;
	uint32 hash;
	char status;
	FilterAccount *account;
} AccountEntry;

#include "trigger/account_map.h"

/* A statement whose rows are checked one by one. */
typedef struct Frame
{
	struct Frame *outer;
	MemoryContext context;
	MemoryContextCallback callback; /* takes it off the list */
	Oid table;                      /* the one that the statement names */
	const char *feature;
	accounts_hash *accounts; /* by name, as text */
	accounts_hash *columns;  /* the same, by the value of the rows' column */
	int64 admitted;          /* rows, also those that are not counted */
	int64 skipped;
	bool rows_final; /* no row can change after it was checked */
} Frame;

/* What filter_row reads once for a statement and table. */
typedef struct FilterState
{
	QuotaAttachment attachment;
	Frame *frame;            /* NULL: an UPDATE moves rows here from another partition */
	QuotaAttachment *others; /* other attachments of the table, which charge the row too */
	int nothers;
} FilterState;

static Frame *frames = NULL;

static void end_subtransaction(SubXactEvent event, SubTransactionId subid, SubTransactionId parent, void *arg);
static FilterState *begin_table(TriggerData *trigdata, MemoryContext context);
static Frame *find_frame(Relation rel, const char *feature);
static void check_moved(Relation rel, const char *feature);
pg_noreturn static void raise_missing_trigger(Relation rel);
static void unlink_frame(void *frame);
static bool is_final(const Frame *frame, TriggerData *trigdata);
static bool admit_row(const FilterState *state, const QuotaRow *row, char **message);
static void find_pool(const Frame *frame, FilterAccount *account, Datum name);
static FilterAccount *account_of_row(const FilterState *state, const QuotaRow *row);
static FilterAccount *account_named(Frame *frame, QuotaAccountBytes bytes);
static void open_others(Relation rel, FilterState *state);
static bool decide_row(const FilterState *state, FilterAccount *account, Datum name, const QuotaRow *row, char **message);
static QuotaDecision decide(const Frame *frame, const QuotaAccount *account, QuotaAccountBytes pool,
							const QuotaEntitlement *entitlement, const int64 *read, int64 n);
static int64 pending_units(const Frame *frame, QuotaAccountBytes owner);
static int64 max_n_of(const FilterAccount *account);
static QuotaDecision lock_counters(const FilterState *state, FilterAccount *account, Datum name, const QuotaRow *row, QuotaCharge *charge);
static bool lock_all_counters(QuotaStore *store, const FilterState *state, const QuotaAccount *account, TupleTableSlot *slot);
static QuotaAccountBytes copy_bytes(const Frame *frame, QuotaAccountBytes bytes);
static void *copy_to_frame(const Frame *frame, const void *from, Size size);
static HeapTuple mark_row(const QuotaAttachment *attachment, HeapTuple tuple, const char *message);

/* Register the callback for rollbacks to a savepoint. */
void
quota_row_filter_init(void)
{
	RegisterSubXactCallback(end_subtransaction, NULL);
}

/* quota.begin_filter(): BEFORE INSERT STATEMENT trigger that opens the statement's frame. */
PG_FUNCTION_INFO_V1(quota_begin_filter);

Datum
quota_begin_filter(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = quota_attachment_check(fcinfo, "begin_filter");
	MemoryContext context = AllocSetContextCreate(CurTransactionContext, "quota statement", ALLOCSET_START_SMALL_SIZES);
	Frame *frame = MemoryContextAllocZero(context, sizeof(Frame));

	frame->context = context;
	frame->table = RelationGetRelid(trigdata->tg_relation);
	frame->feature = MemoryContextStrdup(context, quota_attachment_feature(trigdata));
	frame->accounts = accounts_create(context, 16, NULL);
	frame->columns = accounts_create(context, 16, NULL);
	frame->rows_final = true;
	frame->outer = frames;
	frames = frame;
	frame->callback = (MemoryContextCallback){.func = unlink_frame, .arg = frame};
	MemoryContextRegisterResetCallback(context, &frame->callback);
	return PointerGetDatum(NULL);
}

/*
 * quota.filter_row(): BEFORE INSERT ROW trigger that leaves out or marks a row
 * over the limit.
 *
 * Errors: those of quota_attachment_read and quota_row_read, and of mark_when.
 * Locks: the counters of each account that has a row admitted, in the order of
 * the rows.
 */
PG_FUNCTION_INFO_V1(quota_filter_row);

Datum
quota_filter_row(PG_FUNCTION_ARGS)
{
	FilterState *state = fcinfo->flinfo->fn_extra;
	/* a trigger that was checked once for a statement and table need not be checked for each row */
	TriggerData *trigdata = state != NULL && CALLED_AS_TRIGGER(fcinfo)
								? (TriggerData *) fcinfo->context
								: quota_attachment_check(fcinfo, "filter_row");
	HeapTuple tuple = trigdata->tg_trigtuple;
	QuotaOwner saved;
	QuotaRow row;
	char *message;

	if (state == NULL)
		state = fcinfo->flinfo->fn_extra = begin_table(trigdata, fcinfo->flinfo->fn_mcxt);
	quota_attachment_begin(&state->attachment, &saved);
	quota_row_read(&state->attachment, trigdata->tg_trigslot, false, &row);
	quota_attachment_end(&state->attachment, &saved);
	if (state->frame == NULL)
		return PointerGetDatum(tuple);
	if (row.n > 0 && !admit_row(state, &row, &message))
	{
		if (!state->attachment.mark)
		{
			state->frame->skipped++;
			return PointerGetDatum(NULL);
		}
		tuple = mark_row(&state->attachment, tuple, message);
	}
	state->frame->admitted++;
	return PointerGetDatum(tuple);
}

/*
 * Add what the rows of a statement use to its totals.
 *
 * rows: how many are in the table.
 * Returns false, with nothing added, if the rows must be read: other triggers
 * have left some out or may have changed them.
 */
bool
quota_row_filter_add_totals(Relation rel, const char *feature, int64 rows, QuotaStatementTotals *totals)
{
	Frame *frame = find_frame(rel, feature);
	accounts_iterator iterator;
	AccountEntry *entry;

	if (frame == NULL || !frame->rows_final || frame->admitted != rows)
		return false;
	accounts_start_iterate(frame->columns, &iterator);
	while ((entry = accounts_iterate(frame->columns, &iterator)) != NULL)
		quota_statement_totals_add(totals, &(QuotaRow){.n = entry->account->own, .account = entry->bytes}, 1);
	return true;
}

/*
 * Close the frame of a statement whose rows have been charged, and report how
 * many were left out.
 *
 * Errors: object_not_in_prerequisite_state where no frame was opened.
 */
void
quota_row_filter_end(Relation rel, const char *feature)
{
	Frame *frame = find_frame(rel, feature);

	if (frame == NULL)
		raise_missing_trigger(rel);
	if (frame->skipped > 0)
		ereport(NOTICE,
				(errmsg_plural("%lld row was left out because of the limit of feature \"%s\"",
							   "%lld rows were left out because of the limit of feature \"%s\"",
							   (unsigned long) frame->skipped, (long long) frame->skipped, feature)));
	MemoryContextDelete(frame->context);
}

static void
end_subtransaction(SubXactEvent event, SubTransactionId subid pg_attribute_unused(),
				   SubTransactionId parent pg_attribute_unused(), void *arg pg_attribute_unused())
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
		quota_consume_next_generation();
}

static FilterState *
begin_table(TriggerData *trigdata, MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	FilterState *state = palloc(sizeof(FilterState));

	quota_attachment_read(trigdata, &state->attachment);
	state->frame = find_frame(trigdata->tg_relation, state->attachment.feature);
	if (state->frame == NULL)
		/* rows that an UPDATE moves were charged when they were inserted */
		check_moved(trigdata->tg_relation, state->attachment.feature);
	else
		state->frame->rows_final &= is_final(state->frame, trigdata);
	open_others(trigdata->tg_relation, state);
	MemoryContextSwitchTo(old);
	return state;
}

/* Open the other attachments of a table, if it has more than one. */
static void
open_others(Relation rel, FilterState *state)
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

/* Find the frame of the running statement that inserts into a table or an ancestor; NULL: none. */
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
 * Refuse a row without a frame unless an UPDATE moves it here from another
 * partition. A partition, or an ancestor, that lacks the trigger to open a
 * frame would let inserted rows get here as well.
 */
static void
check_moved(Relation rel, const char *feature)
{
	List *tables = lcons_oid(RelationGetRelid(rel), get_partition_ancestors(RelationGetRelid(rel)));
	char *filter = psprintf("zz_quota_row_%s", feature);
	char *begin = psprintf("quota_begin_%s", feature);
	ListCell *cell;

	foreach (cell, tables)
		if (OidIsValid(get_trigger_oid(lfirst_oid(cell), filter, true)) &&
			!OidIsValid(get_trigger_oid(lfirst_oid(cell), begin, true)))
			raise_missing_trigger(rel);
}

static void
raise_missing_trigger(Relation rel)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("rows of table \"%s\" cannot be charged", RelationGetRelationName(rel)),
			 errdetail("It lacks a trigger of quota, which the other tables of its partition tree have."),
			 errhint("Call quota_attach again.")));
}

/* Memory context callback: take a frame off the list. */
static void
unlink_frame(void *frame)
{
	Frame **link = &frames;

	while (*link != frame)
		link = &(*link)->outer;
	*link = (*link)->outer;
}

/*
 * Return whether a row cannot change after it is checked: no trigger and no
 * stored generated column comes later. Not if rows come by way of a partitioned
 * table, since other partitions may have no filter.
 */
static bool
is_final(const Frame *frame, TriggerData *trigdata)
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

/* Return whether a row is admitted; otherwise set message to the reason. */
static bool
admit_row(const FilterState *state, const QuotaRow *row, char **message)
{
	FilterAccount *account = account_of_row(state, row);

	/* a nested statement may have charged or refunded */
	if (account->read_at != quota_consume_generation() || row->n > account->max_n || account->n > account->max_n - row->n)
	{
		Datum name = quota_row_account_name(&state->attachment, row->account);

		if (quota_row_fails_when_full(&state->attachment, row->slot))
			find_pool(state->frame, account, name);
		else if (!decide_row(state, account, name, row, message))
			return false;
	}
	account->n = quota_decide_sum(account->n, row->n);
	account->own = quota_decide_sum(account->own, row->n);
	if (account->pool.length > 0)
	{
		FilterAccount *pool = account_named(state->frame, account->pool);

		pool->n = quota_decide_sum(pool->n, row->n);
	}
	return true;
}

/* Read the pool of an account without a decision: its rows count there as well. */
static void
find_pool(const Frame *frame, FilterAccount *account, Datum name)
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

static FilterAccount *
account_of_row(const FilterState *state, const QuotaRow *row)
{
	Frame *frame = state->frame;
	const AccountEntry *entry = accounts_lookup(frame->columns, row->account);
	FilterAccount *account;
	bool found;

	if (entry != NULL)
		return entry->account;
	account = account_named(frame, quota_account_bytes(quota_row_account_name(&state->attachment, row->account)));
	accounts_insert(frame->columns, copy_bytes(frame, row->account), &found)->account = account;
	return account;
}

static FilterAccount *
account_named(Frame *frame, QuotaAccountBytes bytes)
{
	bool found;
	AccountEntry *entry = accounts_insert(frame->accounts, bytes, &found);

	if (!found)
	{
		entry->bytes = copy_bytes(frame, bytes);
		entry->account = MemoryContextAllocZero(frame->context, sizeof(FilterAccount));
		entry->account->max_n = -1;
	}
	return entry->account;
}

/* Decide anew whether a row of an account is admitted; otherwise set message to the reason. */
static bool
decide_row(const FilterState *state, FilterAccount *account, Datum name, const QuotaRow *row, char **message)
{
	QuotaCharge charge;
	QuotaDecision decision;

	if (account->entitlement != NULL && account->read_at == quota_consume_generation())
	{
		QuotaAccount who = {.account = name, .now = account->now};

		decision = decide(state->frame, &who, account->pool, account->entitlement, account->used, row->n);
	}
	else
		decision = lock_counters(state, account, name, row, &charge);
	if (decision.verdict == QUOTA_BLOCK)
	{
		*message = quota_decision_message(&decision);
		quota_decision_log(&decision);
		return false;
	}
	account->max_n = max_n_of(account);
	return true;
}

/* Make the decision on a row, as if the rows before it had been charged. */
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
	/* no rate can be attached, so there are none to pass */
	decision = quota_decision_make(account, entitlement, used, NULL, n);
	quota_decision_enforce(&decision);
	return decision;
}

/* Sum up the units admitted and not yet charged, by this statement and those around it. */
static int64
pending_units(const Frame *frame, QuotaAccountBytes owner)
{
	int64 totals = 0;

	for (const Frame *other = frames; other != NULL; other = other->outer)
	{
		AccountEntry *entry = strcmp(other->feature, frame->feature) == 0 ? accounts_lookup(other->accounts, owner) : NULL;

		if (entry != NULL)
			totals = quota_decide_sum(totals, entry->account->n);
	}
	return totals;
}

/*
 * Return the units up to which an account's rows need no decision: the room of
 * its tightest window. -1 if rows of other accounts count as well, or if
 * something else than room decides.
 */
static int64
max_n_of(const FilterAccount *account)
{
	const QuotaEntitlement *entitlement = account->entitlement;
	int64 max_n = PG_INT64_MAX;

	if (frames->outer != NULL || account->pool.length > 0 || entitlement->suspended || !entitlement->in_plan)
		return -1;
	for (int i = 0; i < entitlement->count; i++)
	{
		const QuotaLimit *limit = &entitlement->windows[i].limit;

		max_n = Min(max_n, (limit->unlimited || entitlement->bypass ? PG_INT64_MAX : limit->block_at) - account->used[i]);
	}
	return max_n;
}

/*
 * Decide on a row, and if it is admitted lock the counters of the account and
 * keep their figures. An account without room is not locked, since it may get
 * room.
 */
static QuotaDecision
lock_counters(const FilterState *state, FilterAccount *account, Datum name, const QuotaRow *row, QuotaCharge *charge)
{
	const Frame *frame = state->frame;
	QuotaStore *store = quota_store_begin_write();
	QuotaDecision decision;
	QuotaAccountBytes pool;
	QuotaAccount loaded;
	bool others_locked = account->entitlement != NULL;
	bool locked = false;

	quota_consume_prepare(charge, frame->feature, row->n);
	for (;; quota_store_retry(store))
	{
		quota_account_load(store, name, &loaded);
		pool = loaded.pool != NULL ? quota_account_bytes(loaded.pool->account) : (QuotaAccountBytes){0};
		quota_consume_read(store, &loaded, charge, loaded.now);
		decision = decide(frame, &loaded, pool, &charge->entitlement, charge->used, row->n);
		if (decision.verdict == QUOTA_BLOCK || quota_guc_enforcement == QUOTA_ENFORCEMENT_OFF)
			break;
		if (!others_locked && lock_all_counters(store, state, &loaded, row->slot))
		{
			others_locked = true;
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
	account->entitlement = copy_to_frame(frame, &charge->entitlement, offsetof(QuotaEntitlement, windows[charge->entitlement.count]));
	account->used = copy_to_frame(frame, charge->used, charge->entitlement.count * sizeof(int64));
	account->now = loaded.now;
	account->pool = copy_bytes(frame, pool);
	account->pool_known = true;
	account->read_at = quota_consume_generation();
	return decision;
}

/*
 * Lock the counters that all attachments charge for a row, in order, and refresh
 * the store; false if no other attachment charges it. So a statement of one row
 * locks all of them in order.
 */
static bool
lock_all_counters(QuotaStore *store, const FilterState *state, const QuotaAccount *account, TupleTableSlot *slot)
{
	List *keys = NIL;

	for (int i = 0; i < state->nothers; i++)
	{
		QuotaAttachment *other = &state->others[i];
		QuotaOwner saved;
		QuotaRow row;

		quota_attachment_begin(other, &saved);
		quota_row_read(other, slot, true, &row);
		quota_attachment_end(other, &saved);
		if (row.n > 0)
		{
			QuotaAccount *loaded = palloc(sizeof(QuotaAccount));

			quota_account_load(store, quota_row_account_name(other, row.account), loaded);
			keys = quota_lock_order_add(keys, loaded, other->feature, loaded->now);
		}
	}
	if (keys != NIL)
		quota_lock_order_lock(store, quota_lock_order_add(keys, account, state->frame->feature, account->now));
	return keys != NIL;
}

static QuotaAccountBytes
copy_bytes(const Frame *frame, QuotaAccountBytes bytes)
{
	return (QuotaAccountBytes){copy_to_frame(frame, bytes.data, bytes.length), bytes.length};
}

static void *
copy_to_frame(const Frame *frame, const void *from, Size size)
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
		/* cut the message to varchar(n) or char(n), so that it cannot fail the row */
		if (attachment->message.typmod >= (int32) VARHDRSZ)
			message = pnstrdup(message, pg_mbcharcliplen(message, strlen(message), attachment->message.typmod - VARHDRSZ));
		values[count++] = quota_table_input(&attachment->message, attachment->owner, message);
	}
	return heap_modify_tuple_by_cols(tuple, RelationGetDescr(attachment->rel), count, columns, values, nulls);
}
