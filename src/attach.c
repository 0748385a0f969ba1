/*
 * The triggers on the application's tables, which quota_attach makes.
 *
 * Rows are charged at the end of the statement that inserted them, each account
 * once, in the order of accounts: only rows that really went in cost anything,
 * and statements cannot deadlock one another through quota.
 *
 * For on_block skip and mark a row has to be judged before it goes in, when
 * nobody knows the rows to come. Between its BEFORE and AFTER STATEMENT triggers
 * such a statement has a frame, which remembers for each account what its rows
 * would use; the first row that is let in locks the account's counters. These
 * locks are taken in the order of the rows.
 *
 * Memory: a frame has a context below TopTransactionContext. A frame whose
 * statement fails goes with its subtransaction or transaction.
 */
#include "postgres.h"

#include "attach.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/partition.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "common/hashfn.h"
#include "executor/executor.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/uuid.h"

#include "argument.h"
#include "consume.h"
#include "guc.h"

/* the triggers' arguments, as quota_attach writes them */
enum
{
	ARG_FEATURE,
	ARG_ACCOUNT,
	ARG_AMOUNT,
	ARG_ON_BLOCK,
	ARG_STATUS,
	ARG_BLOCKED_STATUS,
	ARG_MESSAGE,
	ARGS
};

/* A column of the table, none where its number is 0. */
typedef struct Column
{
	AttrNumber number;
	Oid type;      /* as declared */
	Oid base_type; /* of a domain */
	int32 typmod;
	int16 typlen;
	bool typbyval;
} Column;

typedef struct Attachment
{
	Relation rel;
	const char *feature;
	bool mark;
	Column account;
	Column amount;
	Column status;
	Column message;
	Datum blocked_status;
} Attachment;

/* The bytes that name an account in a column of its type. */
typedef struct AccountBytes
{
	const char *data;
	uint32 length;
} AccountBytes;

/* What one statement does to one account. */
typedef struct AccountEntry
{
	AccountBytes bytes; /* of the column; in a frame: of the account as text */
	uint32 hash;
	char status;
	int64 n; /* units of its rows */

	/* of a frame: */
	QuotaCharge *charge; /* the locked counters; NULL until then */
	uint64 read_at;      /* quota_consume_writes when they were read */
} AccountEntry;

static uint32
hash_bytes_of(AccountBytes bytes)
{
	return hash_bytes((const unsigned char *) bytes.data, bytes.length);
}

static bool
same_bytes(AccountBytes a, AccountBytes b)
{
	return a.length == b.length && memcmp(a.data, b.data, a.length) == 0;
}

#define SH_PREFIX accounts
#define SH_ELEMENT_TYPE AccountEntry
#define SH_KEY_TYPE AccountBytes
#define SH_KEY bytes
#define SH_HASH_KEY(table, key) hash_bytes_of(key)
#define SH_EQUAL(table, a, b) same_bytes(a, b)
#define SH_STORE_HASH
#define SH_GET_HASH(table, entry) (entry)->hash
#define SH_SCOPE static inline
#define SH_DEFINE
#define SH_DECLARE
#include "lib/simplehash.h"

/* What a statement takes for one account. */
typedef struct Sum
{
	Datum account; /* text */
	Datum pool;    /* text; 0: none */
	int64 n;
} Sum;

/* A statement whose rows are judged one by one. */
typedef struct Frame
{
	struct Frame *outer;
	MemoryContext context;
	SubTransactionId subid;
	Oid table; /* that the statement names */
	const char *feature;
	accounts_hash *accounts;
	int64 skipped;
} Frame;

/* What judge_row knows of a statement and table, from its first row on. */
typedef struct JudgeState
{
	Attachment attachment;
	Frame *frame; /* NULL: an UPDATE moves rows here from another partition */
} JudgeState;

static Frame *frames = NULL;

static void end_transaction(XactEvent event, void *arg);
static void end_subtransaction(SubXactEvent event, SubTransactionId subid, SubTransactionId parent, void *arg);
static TriggerData *check_trigger(FunctionCallInfo fcinfo, const char *name, TriggerEvent when, TriggerEvent level);
static void read_attachment(TriggerData *trigdata, Attachment *attachment);
static JudgeState *begin_judging(TriggerData *trigdata, MemoryContext context);
static Column column_named(Relation rel, const char *name);
static Datum input(const Column *column, const char *value);
static accounts_hash *sum_rows(const Attachment *attachment, Tuplestorestate *rows);
static bool is_blocked_row(const Attachment *attachment, TupleTableSlot *slot);
static int64 amount_of(const Attachment *attachment, TupleTableSlot *slot);
static AccountBytes account_bytes(const Attachment *attachment, TupleTableSlot *slot, int64 *scratch);
static AccountEntry *account_entry(accounts_hash *accounts, AccountBytes bytes);
static Datum account_text(const Attachment *attachment, AccountBytes bytes);
static void charge_accounts(const Attachment *attachment, accounts_hash *accounts);
static QuotaStore *begin_charge(const char *feature);
static Frame *find_frame(Relation rel, const char *feature);
static void check_moved(Relation rel, const char *feature);
static void cannot_charge(Relation rel) pg_attribute_noreturn();
static void drop_frame(Frame *frame);
static bool judge_row(Frame *frame, Datum account, int64 n, char **message);
static int64 pending_units(const Frame *frame, const AccountEntry *entry);
static void lock_counters(Frame *frame, AccountEntry *entry, Datum account, int64 n, QuotaDecision *decision);
static AccountBytes bytes_of_text(Datum account);
static HeapTuple mark_row(const Attachment *attachment, HeapTuple tuple, const char *message);
static int compare_sums(const void *a, const void *b);
static int compare_texts(Datum a, Datum b);

void
quota_attach_init(void)
{
	RegisterXactCallback(end_transaction, NULL);
	RegisterSubXactCallback(end_subtransaction, NULL);
}

/*
 * AFTER INSERT STATEMENT trigger with the new rows as a transition table:
 * charges each account once.
 *
 * Errors: PT429, PT402, PT403 for what the limits refuse; undefined_column
 * where a column has been dropped or renamed since; and those of
 * quota_consume_charge.
 */
PG_FUNCTION_INFO_V1(quota_charge_rows);

Datum
quota_charge_rows(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = check_trigger(fcinfo, "charge_rows", TRIGGER_EVENT_AFTER, 0);
	Attachment attachment;

	if (trigdata->tg_newtable == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("quota.charge_rows needs a transition table")));
	read_attachment(trigdata, &attachment);
	charge_accounts(&attachment, sum_rows(&attachment, trigdata->tg_newtable));

	if (strcmp(trigdata->tg_trigger->tgargs[ARG_ON_BLOCK], "raise") != 0)
	{
		Frame *frame = find_frame(trigdata->tg_relation, attachment.feature);

		if (frame == NULL)
			cannot_charge(trigdata->tg_relation);
		if (frame->skipped > 0)
			ereport(NOTICE,
					(errmsg_plural("%lld row was left out because of the limit of feature \"%s\"",
								   "%lld rows were left out because of the limit of feature \"%s\"",
								   (unsigned long) frame->skipped, (long long) frame->skipped, attachment.feature)));
		drop_frame(frame);
	}
	return PointerGetDatum(NULL);
}

/* BEFORE INSERT STATEMENT trigger, for skip and mark: opens the statement's frame. */
PG_FUNCTION_INFO_V1(quota_begin_rows);

Datum
quota_begin_rows(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = check_trigger(fcinfo, "begin_rows", TRIGGER_EVENT_BEFORE, 0);
	MemoryContext context = AllocSetContextCreate(TopTransactionContext, "quota statement", ALLOCSET_SMALL_SIZES);
	Frame *frame = MemoryContextAllocZero(context, sizeof(Frame));

	frame->context = context;
	frame->subid = GetCurrentSubTransactionId();
	frame->table = RelationGetRelid(trigdata->tg_relation);
	frame->feature = MemoryContextStrdup(context, trigdata->tg_trigger->tgargs[ARG_FEATURE]);
	frame->accounts = accounts_create(context, 16, NULL);
	frame->outer = frames;
	frames = frame;
	return PointerGetDatum(NULL);
}

/*
 * BEFORE INSERT ROW trigger, for skip and mark: leaves the row out or marks it
 * where the limit has no room for it.
 *
 * Locks: the counters of each account that has a row let in, in the order of
 * the rows.
 */
PG_FUNCTION_INFO_V1(quota_judge_row);

Datum
quota_judge_row(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = check_trigger(fcinfo, "judge_row", TRIGGER_EVENT_BEFORE, TRIGGER_EVENT_ROW);
	HeapTuple tuple = trigdata->tg_trigtuple;
	JudgeState *state = fcinfo->flinfo->fn_extra;
	int64 n;
	int64 scratch;
	AccountBytes bytes;
	Datum account;
	char *message;

	if (state == NULL)
		state = fcinfo->flinfo->fn_extra = begin_judging(trigdata, fcinfo->flinfo->fn_mcxt);
	if (is_blocked_row(&state->attachment, trigdata->tg_trigslot))
		return PointerGetDatum(tuple);
	n = amount_of(&state->attachment, trigdata->tg_trigslot);
	bytes = account_bytes(&state->attachment, trigdata->tg_trigslot, &scratch);
	if (n == 0 || state->frame == NULL)
		return PointerGetDatum(tuple);
	account = account_text(&state->attachment, bytes);
	if (judge_row(state->frame, account, n, &message))
		return PointerGetDatum(tuple);
	if (state->attachment.mark)
		return PointerGetDatum(mark_row(&state->attachment, tuple, message));
	state->frame->skipped++;
	return PointerGetDatum(NULL);
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

static TriggerData *
check_trigger(FunctionCallInfo fcinfo, const char *name, TriggerEvent when, TriggerEvent level)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) ||
		!TRIGGER_FIRED_BY_INSERT(trigdata->tg_event) ||
		(trigdata->tg_event & TRIGGER_EVENT_TIMINGMASK) != when ||
		(trigdata->tg_event & TRIGGER_EVENT_ROW) != level ||
		trigdata->tg_trigger->tgnargs != ARGS)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function quota.%s was not called by a trigger that quota_attach made", name)));
	return trigdata;
}

static void
read_attachment(TriggerData *trigdata, Attachment *attachment)
{
	Relation rel = trigdata->tg_relation;
	char **args = trigdata->tg_trigger->tgargs;

	memset(attachment, 0, sizeof(Attachment));
	attachment->rel = rel;
	attachment->feature = args[ARG_FEATURE];
	attachment->account = column_named(rel, args[ARG_ACCOUNT]);
	attachment->amount = column_named(rel, args[ARG_AMOUNT]);
	attachment->mark = strcmp(args[ARG_ON_BLOCK], "mark") == 0;
	attachment->status = column_named(rel, args[ARG_STATUS]);
	attachment->message = column_named(rel, args[ARG_MESSAGE]);
	if (attachment->status.number != 0)
		attachment->blocked_status = input(&attachment->status, args[ARG_BLOCKED_STATUS]);
}

static JudgeState *
begin_judging(TriggerData *trigdata, MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	JudgeState *state = palloc(sizeof(JudgeState));

	read_attachment(trigdata, &state->attachment);
	state->frame = find_frame(trigdata->tg_relation, state->attachment.feature);
	if (state->frame == NULL)
		/* rows that are moved were charged when they came */
		check_moved(trigdata->tg_relation, state->attachment.feature);
	MemoryContextSwitchTo(old);
	return state;
}

static Column
column_named(Relation rel, const char *name)
{
	TupleDesc desc = RelationGetDescr(rel);
	Column column = {0};

	if (name[0] == '\0')
		return column;
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);

		if (!attribute->attisdropped && strcmp(NameStr(attribute->attname), name) == 0)
		{
			column.number = attribute->attnum;
			column.type = attribute->atttypid;
			column.base_type = getBaseType(attribute->atttypid);
			column.typmod = attribute->atttypmod;
			column.typlen = attribute->attlen;
			column.typbyval = attribute->attbyval;
			return column;
		}
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("column \"%s\" of table \"%s\" does not exist", name, RelationGetRelationName(rel)),
			 errdetail("A trigger of quota reads it."),
			 errhint("Call quota_attach with the column's new name, or quota_detach.")));
}

static Datum
input(const Column *column, const char *value)
{
	Oid function;
	Oid parameter;

	getTypeInputInfo(column->type, &function, &parameter);
	return OidInputFunctionCall(function, unconstify(char *, value), parameter, column->typmod);
}

/* The units that the rows of a statement take, an entry an account. */
static accounts_hash *
sum_rows(const Attachment *attachment, Tuplestorestate *rows)
{
	accounts_hash *accounts = accounts_create(CurrentMemoryContext, 16, NULL);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(RelationGetDescr(attachment->rel), &TTSOpsMinimalTuple);
	AccountEntry *last = NULL;

	/* other triggers read the same rows */
	tuplestore_select_read_pointer(rows, 0);
	tuplestore_rescan(rows);
	while (tuplestore_gettupleslot(rows, true, false, slot))
	{
		int64 n;
		int64 scratch;
		AccountBytes bytes;

		CHECK_FOR_INTERRUPTS();
		if (is_blocked_row(attachment, slot))
			continue;
		n = amount_of(attachment, slot);
		bytes = account_bytes(attachment, slot, &scratch);
		if (n == 0)
			continue;
		/* rows of one account often stand together; entries move only when another is made */
		if (last == NULL || !same_bytes(last->bytes, bytes))
			last = account_entry(accounts, bytes);
		last->n = quota_decide_sum(last->n, n);
	}
	ExecDropSingleTupleTableSlot(slot);
	return accounts;
}

/* Whether a row says of itself that it was refused: such rows cost nothing. */
static bool
is_blocked_row(const Attachment *attachment, TupleTableSlot *slot)
{
	Datum status;
	bool isnull;

	if (!attachment->mark)
		return false;
	status = slot_getattr(slot, attachment->status.number, &isnull);
	return !isnull && datum_image_eq(status, attachment->blocked_status,
									 attachment->status.typbyval, attachment->status.typlen);
}

/* The units of a row: 1, or those in its amount column. */
static int64
amount_of(const Attachment *attachment, TupleTableSlot *slot)
{
	Datum value;
	bool isnull;
	int64 n;

	if (attachment->amount.number == 0)
		return 1;
	value = slot_getattr(slot, attachment->amount.number, &isnull);
	if (isnull)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("amount in column \"%s\" must not be null",
						NameStr(TupleDescAttr(slot->tts_tupleDescriptor, attachment->amount.number - 1)->attname))));
	switch (attachment->amount.base_type)
	{
		case INT2OID:
			n = DatumGetInt16(value);
			break;
		case INT4OID:
			n = DatumGetInt32(value);
			break;
		case INT8OID:
			n = DatumGetInt64(value);
			break;
		default:
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("type %s cannot be an amount", format_type_be(attachment->amount.type))));
	}
	if (n < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("amount must not be negative, as %lld is", (long long) n)));
	return n;
}

/*
 * The bytes that name a row's account. They are those of the row, or of
 * `scratch`: good until the next row.
 */
static AccountBytes
account_bytes(const Attachment *attachment, TupleTableSlot *slot, int64 *scratch)
{
	AccountBytes bytes;
	bool isnull;
	Datum value = slot_getattr(slot, attachment->account.number, &isnull);

	if (isnull)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("account in column \"%s\" must not be null",
						NameStr(TupleDescAttr(slot->tts_tupleDescriptor, attachment->account.number - 1)->attname))));
	bytes.data = (const char *) scratch;
	bytes.length = sizeof(int64);
	switch (attachment->account.base_type)
	{
		case INT2OID:
			*scratch = DatumGetInt16(value);
			break;
		case INT4OID:
			*scratch = DatumGetInt32(value);
			break;
		case INT8OID:
			*scratch = DatumGetInt64(value);
			break;
		case UUIDOID:
			bytes.data = (const char *) DatumGetUUIDP(value)->data;
			bytes.length = UUID_LEN;
			break;
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
		{
			text *string = DatumGetTextPP(value);

			bytes.data = VARDATA_ANY(string);
			bytes.length = VARSIZE_ANY_EXHDR(string);
			/* blanks at the end of a char(n) mean nothing */
			if (attachment->account.base_type == BPCHAROID)
				bytes.length = bpchartruelen(unconstify(char *, bytes.data), bytes.length);
			break;
		}
		default:
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("type %s cannot name an account", format_type_be(attachment->account.type))));
	}
	return bytes;
}

/* The entry of an account, made where there is none. Moves the others. */
static AccountEntry *
account_entry(accounts_hash *accounts, AccountBytes bytes)
{
	bool found;
	AccountEntry *entry = accounts_insert(accounts, bytes, &found);

	if (!found)
	{
		entry->bytes.data = memcpy(MemoryContextAlloc(accounts->ctx, Max(bytes.length, 1)), bytes.data, bytes.length);
		entry->n = 0;
		entry->charge = NULL;
	}
	return entry;
}

static Datum
account_text(const Attachment *attachment, AccountBytes bytes)
{
	Datum account;

	switch (attachment->account.base_type)
	{
		case INT2OID:
		case INT4OID:
		case INT8OID:
			return CStringGetTextDatum(psprintf("%lld", (long long) *(const int64 *) bytes.data));
		case UUIDOID:
			return CStringGetTextDatum(DatumGetCString(DirectFunctionCall1(uuid_out, PointerGetDatum(bytes.data))));
		default:
			account = PointerGetDatum(cstring_to_text_with_len(bytes.data, bytes.length));
			quota_argument_check_account(account);
			return account;
	}
}

/* Charge every account its sum, in the order of charges, or raise. */
static void
charge_accounts(const Attachment *attachment, accounts_hash *accounts)
{
	Sum *sums = MemoryContextAllocHuge(CurrentMemoryContext, Max(accounts->members, 1) * sizeof(Sum));
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "quota charge", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old;
	QuotaStore *store;
	accounts_iterator iterator;
	AccountEntry *entry;
	uint64 count = 0;

	if (accounts->members == 0)
		return;
	store = begin_charge(attachment->feature);
	accounts_start_iterate(accounts, &iterator);
	while ((entry = accounts_iterate(accounts, &iterator)) != NULL)
	{
		Datum account = account_text(attachment, entry->bytes);

		sums[count++] = (Sum){account, quota_account_pool(store, account), entry->n};
	}
	qsort(sums, count, sizeof(Sum), compare_sums);

	old = MemoryContextSwitchTo(context);
	for (uint64 i = 0; i < count; i++)
	{
		QuotaCharge charge;

		/* the one before may have waited for long; what it has written is a pool's where this one reads it */
		if (i > 0 && quota_plan_pools_exist())
			quota_store_refresh(store);
		else if (i > 0)
			quota_store_look_anew(store);
		quota_consume_ask(&charge, attachment->feature, sums[i].n);
		charge.occasion.what = "trigger";
		quota_consume_charge(store, sums[i].account, &charge, 1, QUOTA_CHARGE_JUDGED);
		if (charge.decision.verdict == QUOTA_BLOCK)
			quota_decision_raise(&charge.decision);
		MemoryContextReset(context);
	}
	MemoryContextSwitchTo(old);
	quota_store_end(store);
	MemoryContextDelete(context);
}

/*
 * Begin to charge for rows.
 *
 * Errors: wrong_object_type where the feature has been made a rate since it was
 * attached: rates do not roll back, rows do.
 */
static QuotaStore *
begin_charge(const char *feature)
{
	quota_plan_begin();
	if (quota_plan_feature(feature)->kind == QUOTA_RATE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("feature \"%s\" of kind rate cannot be attached to a table", feature)));
	return quota_store_begin_write();
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

/* Whether a row of n units may go in; otherwise why not. */
static bool
judge_row(Frame *frame, Datum account, int64 n, char **message)
{
	AccountBytes bytes = bytes_of_text(account);
	AccountEntry *entry = account_entry(frame->accounts, bytes);
	int64 pending = pending_units(frame, entry);
	int64 sum = quota_decide_sum(pending, n);
	QuotaDecision decision;

	/* a statement inside of this one may have charged, or given back */
	if (entry->charge != NULL && entry->read_at == quota_consume_writes())
	{
		QuotaCharge *charge = entry->charge;
		QuotaAccount who = {.account = account, .now = charge->decision.now};

		decision = quota_decision_make(&who, &charge->entitlement, charge->counters, sum);
		quota_decision_enforce(&decision);
	}
	else
		lock_counters(frame, entry, account, sum, &decision);
	if (decision.verdict == QUOTA_BLOCK)
	{
		/* told as if the rows before had been charged already */
		decision.used += pending;
		decision.n = n;
		*message = quota_decision_message(&decision);
		quota_decision_log(&decision);
		return false;
	}
	entry->n += n;
	return true;
}

/* Units that rows of this statement, and of those around it, have been let in with, and not been charged for yet. */
static int64
pending_units(const Frame *frame, const AccountEntry *entry)
{
	int64 sum = entry->n;

	for (const Frame *other = frames; other != NULL; other = other->outer)
		if (other != frame && strcmp(other->feature, frame->feature) == 0)
		{
			AccountEntry *theirs = accounts_lookup(other->accounts, entry->bytes);

			if (theirs != NULL)
				sum = quota_decide_sum(sum, theirs->n);
		}
	return sum;
}

/*
 * Lock the counters of an account for the rest of the transaction, if there is
 * room for n units, and keep them in the frame. An account that has no room is
 * not locked: it may have some again later.
 */
static void
lock_counters(Frame *frame, AccountEntry *entry, Datum account, int64 n, QuotaDecision *decision)
{
	QuotaCharge *charge = palloc(sizeof(QuotaCharge));
	QuotaStore *store = begin_charge(frame->feature);
	QuotaAccount loaded;
	bool locked;

	quota_consume_ask(charge, frame->feature, n);
	do
	{
		CHECK_FOR_INTERRUPTS();
		quota_account_load(store, account, &loaded);
		quota_consume_look(store, &loaded, charge, loaded.now);
		*decision = quota_decision_make(&loaded, &charge->entitlement, charge->counters, n);
		quota_decision_enforce(decision);
		if (decision->verdict == QUOTA_BLOCK || quota_guc_enforcement == QUOTA_ENFORCEMENT_OFF)
			break;
		locked = true;
		for (int i = 0; i < charge->entitlement.count; i++)
			locked &= quota_counter_lock(store, &charge->counters[i]);
		if (!locked)
			quota_store_refresh(store);
	} while (!locked);
	quota_store_end(store);
	if (decision->verdict == QUOTA_BLOCK)
		return;

	if (entry->charge == NULL)
		entry->charge = MemoryContextAlloc(frame->context, sizeof(QuotaCharge));
	*entry->charge = *charge;
	entry->charge->decision.now = loaded.now;
	entry->read_at = quota_consume_writes();
}

static AccountBytes
bytes_of_text(Datum account)
{
	text *string = DatumGetTextPP(account);

	return (AccountBytes){VARDATA_ANY(string), VARSIZE_ANY_EXHDR(string)};
}

static HeapTuple
mark_row(const Attachment *attachment, HeapTuple tuple, const char *message)
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
		values[count++] = input(&attachment->message, message);
	}
	return heap_modify_tuple_by_cols(tuple, RelationGetDescr(attachment->rel), count, columns, values, nulls);
}

/* A pool comes before its members, and they before what is after the pool: the order in which counters are locked. */
static int
compare_sums(const void *a, const void *b)
{
	const Sum *left = a;
	const Sum *right = b;
	int order = compare_texts(left->pool != 0 ? left->pool : left->account, right->pool != 0 ? right->pool : right->account);

	if (order == 0)
		order = (left->pool != 0) - (right->pool != 0);
	return order != 0 ? order : compare_texts(left->account, right->account);
}

/* as text COLLATE "C" */
static int
compare_texts(Datum a, Datum b)
{
	text *left = DatumGetTextPP(a);
	text *right = DatumGetTextPP(b);
	Size left_length = VARSIZE_ANY_EXHDR(left);
	Size right_length = VARSIZE_ANY_EXHDR(right);
	int order = memcmp(VARDATA_ANY(left), VARDATA_ANY(right), Min(left_length, right_length));

	return order != 0 ? order : (left_length > right_length) - (left_length < right_length);
}
