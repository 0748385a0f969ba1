/*
 * statement_trigger.c
 *		The statement triggers on the application's tables.
 *
 * Rows are charged at the end of the statement that inserted, updated or
 * deleted them, so only rows that are in the table are charged. Several
 * features may be attached to a table, each with triggers of its own; the one
 * that fires last does the work of all, so that the statement locks its
 * counters in one order (src/charge/lock_order.c).
 *
 * A gauge follows the sum of its rows. A counter is charged for inserted rows,
 * and deleting rows refunds nothing. With counted_when it is tracked: a row
 * that stops to be counted is refunded to the windows in which it was charged.
 *
 * Locks: those of src/trigger/statement_totals.c and
 * src/trigger/charged_rows.c.
 * Memory: the trigger's context, which ends with the call.
 */
#include "postgres.h"

#include "access/tableam.h"
#include "miscadmin.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/tuplestore.h"

#include "guc.h"
#include "trigger/charged_rows.h"
#include "trigger/renamed.h"
#include "trigger/row_filter.h"

/* An entry to insert into quota.charged_rows. */
typedef struct RowEntry
{
	char *key;
	TimestampTz at;
} RowEntry;

/* What one attachment does for a statement. */
typedef struct Work
{
	TriggerData trigdata; /* of its own trigger */
	QuotaAttachment attachment;
	QuotaStatementTotals *totals;
	bool any_entries; /* rows of a tracked counter have entries in quota.charged_rows */
	List *entries;    /* to insert there */
} Work;

static void charge_statement(TriggerData *trigdata);
static Work *begin_all(TriggerData *trigdata, int *count);
static bool fires_together(const TriggerData *trigdata, const Trigger *trigger);
static void add_statement(Work *work);
static void add_rows(Work *work);
static void update_rows(Work *work);
static bool follows_rename(const QuotaAttachment *attachment, QuotaRow *before, const QuotaAttachment *new_attachment, QuotaRow *after);
static void update_tracked_row(Work *work, const QuotaRow *before, const QuotaRow *after);
static bool needs_entry(Work *work, const QuotaRow *row, TimestampTz at);
static void remove_rows(Work *work);
static TupleTableSlot *slot_for(QuotaAttachment *attachment, Tuplestorestate *rows);

/*
 * quota.charge_rows(): AFTER INSERT, UPDATE or DELETE STATEMENT trigger with
 * transition tables that charges each account once.
 *
 * Errors: PT429, PT402, PT403 where a limit refuses; those of
 * quota_attachment_read and quota_row_read.
 */
PG_FUNCTION_INFO_V1(quota_charge_rows);

Datum
quota_charge_rows(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = quota_attachment_check(fcinfo, "charge_rows");

	if ((trigdata->tg_newtable == NULL && !TRIGGER_FIRED_BY_DELETE(trigdata->tg_event)) ||
		(trigdata->tg_oldtable == NULL && !TRIGGER_FIRED_BY_INSERT(trigdata->tg_event)))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("quota.charge_rows needs a transition table")));
	charge_statement(trigdata);
	return PointerGetDatum(NULL);
}

/*
 * quota.truncate_rows(): BEFORE TRUNCATE STATEMENT trigger that refunds the
 * rows of this table, without its partitions. TRUNCATE has locked out all
 * writers.
 */
PG_FUNCTION_INFO_V1(quota_truncate_rows);

Datum
quota_truncate_rows(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = quota_attachment_check(fcinfo, "truncate_rows");

	if (RELKIND_HAS_STORAGE(trigdata->tg_relation->rd_rel->relkind))
		charge_statement(trigdata);
	return PointerGetDatum(NULL);
}

/* Charge what the running statement does, if its last trigger calls. */
static void
charge_statement(TriggerData *trigdata)
{
	int count;
	Work *works = begin_all(trigdata, &count);
	QuotaStatementTotals **totals = palloc(count * sizeof(QuotaStatementTotals *));

	for (int i = 0; i < count; i++)
	{
		add_statement(&works[i]);
		totals[i] = works[i].totals;
	}
	quota_statement_totals_charge(totals, count);
	for (int i = 0; i < count; i++)
		if (works[i].attachment.filtered)
			quota_row_filter_end(trigdata->tg_relation, works[i].attachment.feature);
}

/*
 * Begin the work of all triggers that fire with the running one and call the
 * same function; none if it is not the last of them. Triggers fire in the order
 * of their names, and the relation lists them so. The earlier ones have been
 * checked by their own calls.
 */
static Work *
begin_all(TriggerData *trigdata, int *count)
{
	const TriggerDesc *triggers = trigdata->tg_relation->trigdesc;
	Oid last = InvalidOid;
	Work *works;

	*count = 0;
	for (int i = 0; i < triggers->numtriggers; i++)
		if (fires_together(trigdata, &triggers->triggers[i]))
		{
			last = triggers->triggers[i].tgoid;
			(*count)++;
		}
	if (last != trigdata->tg_trigger->tgoid)
		*count = 0;
	works = palloc(*count * sizeof(Work));
	/* to read an attachment can rebuild the relation, and free its triggers; the executor's own is a copy */
	if (*count > 1)
		triggers = CopyTriggerDesc(trigdata->tg_relation->trigdesc);
	for (int i = 0, begun = 0; begun < *count; i++)
		if (*count == 1 || fires_together(trigdata, &triggers->triggers[i]))
		{
			Work *work = &works[begun++];

			work->trigdata = *trigdata;
			if (*count > 1)
				work->trigdata.tg_trigger = &triggers->triggers[i];
			quota_attachment_read(&work->trigdata, &work->attachment);
			/* rows are checked when they are inserted */
			work->attachment.filtered &= TRIGGER_FIRED_BY_INSERT(trigdata->tg_event);
			work->totals = quota_statement_totals_begin(&work->attachment);
			work->entries = NIL;
		}
	return works;
}

/* Return whether a trigger fires with the running one and calls the same function. */
static bool
fires_together(const TriggerData *trigdata, const Trigger *trigger)
{
	char disabled = SessionReplicationRole == SESSION_REPLICATION_ROLE_REPLICA ? TRIGGER_FIRES_ON_ORIGIN : TRIGGER_FIRES_ON_REPLICA;

	return trigger->tgfoid == trigdata->tg_trigger->tgfoid && trigger->tgtype == trigdata->tg_trigger->tgtype &&
		   trigger->tgenabled != TRIGGER_DISABLED && trigger->tgenabled != disabled;
}

/* Add the rows of a statement to the totals of one attachment. */
static void
add_statement(Work *work)
{
	const TriggerData *trigdata = &work->trigdata;
	const QuotaAttachment *attachment = &work->attachment;
	bool updates = TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event);

	if (TRIGGER_FIRED_BY_INSERT(trigdata->tg_event))
	{
		/* tracked rows are read in any case, for the time of each */
		if (!attachment->filtered || attachment->tracked ||
			!quota_row_filter_add_totals(trigdata->tg_relation, attachment->feature, tuplestore_tuple_count(trigdata->tg_newtable), work->totals))
			add_rows(work);
		return;
	}
	work->any_entries = attachment->tracked && quota_charged_rows_exist(attachment);
	if (attachment->gauge || (work->any_entries && !updates))
		remove_rows(work);
	if (attachment->gauge && updates)
		add_rows(work);
	if (updates && (attachment->tracked || (attachment->gauge && quota_renamed_any())))
		update_rows(work);
}

/* Add the inserted rows, or the new versions of the updated rows of a gauge. */
static void
add_rows(Work *work)
{
	QuotaAttachment *attachment = &work->attachment;
	Tuplestorestate *rows = work->trigdata.tg_newtable;
	TupleTableSlot *slot = slot_for(attachment, rows);
	TimestampTz now = quota_guc_now();
	QuotaOwner saved;
	QuotaRow row;

	quota_attachment_begin(attachment, &saved);
	while (tuplestore_gettupleslot(rows, true, false, slot))
	{
		CHECK_FOR_INTERRUPTS();
		quota_row_read(attachment, slot, false, &row);
		quota_statement_totals_add(work->totals, &row, 1);
		if (attachment->tracked && row.n > 0 && needs_entry(work, &row, now))
		{
			char *key = quota_row_key(attachment, slot);

			quota_charged_rows_insert(attachment, key, now);
			pfree(key);
		}
	}
	quota_attachment_end(attachment, &saved);
	ExecDropSingleTupleTableSlot(slot);
}

/*
 * Add the updated rows of a tracked counter; of a gauge, whose rows have been
 * added, mark those that followed a renamed account.
 *
 * PostgreSQL stores the old and the new version at the same place of their
 * transition tables, also of a row that moves to another partition, unless a
 * trigger there leaves it out.
 */
static void
update_rows(Work *work)
{
	QuotaAttachment *attachment = &work->attachment;
	/* an attachment holds one row at a time, so the new version needs another */
	QuotaAttachment new_attachment;
	Tuplestorestate *old_rows = work->trigdata.tg_oldtable;
	Tuplestorestate *new_rows = work->trigdata.tg_newtable;
	TupleTableSlot *old_slot = slot_for(attachment, old_rows);
	TupleTableSlot *new_slot = slot_for(attachment, new_rows);
	bool paired = tuplestore_tuple_count(old_rows) == tuplestore_tuple_count(new_rows);
	QuotaOwner saved;
	QuotaRow before;
	QuotaRow after;
	ListCell *cell;

	quota_attachment_read(&work->trigdata, &new_attachment);
	if (attachment->tracked && !paired)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("rows of table \"%s\" cannot be charged", RelationGetRelationName(attachment->rel)),
				 errdetail("A trigger has left out a row that was to move to another partition.")));
	quota_attachment_begin(attachment, &saved);
	while (paired && tuplestore_gettupleslot(old_rows, true, false, old_slot) && tuplestore_gettupleslot(new_rows, true, false, new_slot))
	{
		bool renamed;

		CHECK_FOR_INTERRUPTS();
		quota_row_read(attachment, old_slot, true, &before);
		quota_row_read(&new_attachment, new_slot, false, &after);
		renamed = follows_rename(attachment, &before, &new_attachment, &after);
		if (renamed && attachment->gauge)
			quota_statement_totals_move(work->totals, &after, Min(before.n, after.n));
		else if (renamed) /* the rename has moved its charge already */
			before.account = after.account;
		if (attachment->tracked)
			update_tracked_row(work, &before, &after);
	}
	quota_attachment_end(attachment, &saved);
	/* only now, since a row may get a key that another row had before */
	foreach (cell, work->entries)
		quota_charged_rows_insert(attachment, ((RowEntry *) lfirst(cell))->key, ((RowEntry *) lfirst(cell))->at);
	ExecDropSingleTupleTableSlot(old_slot);
	ExecDropSingleTupleTableSlot(new_slot);
}

/* Return whether a counted row follows an account that was renamed in this transaction. */
static bool
follows_rename(const QuotaAttachment *attachment, QuotaRow *before, const QuotaAttachment *new_attachment, QuotaRow *after)
{
	Datum old_key;
	Datum new_key;

	if (!quota_renamed_any() || before->n == 0)
		return false;
	old_key = quota_row_account(attachment, before);
	new_key = quota_row_account(new_attachment, after);
	return old_key != 0 && new_key != 0 && quota_renamed_to(old_key, new_key);
}

/* Add an updated row of a tracked counter. */
static void
update_tracked_row(Work *work, const QuotaRow *before, const QuotaRow *after)
{
	QuotaAttachment *attachment = &work->attachment;
	bool same = before->n == after->n && (before->n == 0 || quota_account_bytes_equal(before->account, after->account));
	TimestampTz at;
	bool known = false;
	bool had_entry = false;

	if (same && (before->n == 0 || quota_row_same_key_and_time(attachment, before->slot, after->slot)))
		return;
	if (before->n > 0)
	{
		had_entry = work->any_entries && quota_charged_rows_delete(attachment, before->slot, &at);
		known = had_entry || quota_row_time(attachment, before->slot, &at);
	}
	if (!same)
	{
		/* a row whose time is unknown was never charged */
		if (known)
			quota_statement_totals_refund(work->totals, before, at);
		quota_statement_totals_add(work->totals, after, 1);
		at = quota_guc_now();
		known = after->n > 0;
		had_entry = false;
	}
	/* keep an entry that the row had, under its new key */
	if (had_entry || (known && needs_entry(work, after, at)))
	{
		RowEntry *entry = palloc(sizeof(RowEntry));

		*entry = (RowEntry){quota_row_key(attachment, after->slot), at};
		work->entries = lappend(work->entries, entry);
	}
}

/* Return whether a row's own time is in other windows than the time of its charge. */
static bool
needs_entry(Work *work, const QuotaRow *row, TimestampTz at)
{
	TimestampTz own;

	if (quota_guc_enforcement == QUOTA_ENFORCEMENT_OFF)
		return false;
	return !quota_row_time(&work->attachment, row->slot, &own) || !quota_statement_totals_same_windows(work->totals, row, at, own);
}

/*
 * Subtract the rows of a gauge that were in the table; of a tracked counter,
 * delete their entries. Its charge stays, or deleting rows would evade the limit.
 */
static void
remove_rows(Work *work)
{
	QuotaAttachment *attachment = &work->attachment;
	Tuplestorestate *rows = work->trigdata.tg_oldtable;
	/* TRUNCATE has no such table, and removes rows that the transaction's snapshot does not see */
	Snapshot snapshot = rows == NULL ? RegisterSnapshot(GetLatestSnapshot()) : NULL;
	TableScanDesc scan = rows == NULL ? table_beginscan(attachment->rel, snapshot, 0, NULL) : NULL;
	TupleTableSlot *slot = rows == NULL ? table_slot_create(attachment->rel, NULL) : slot_for(attachment, rows);
	TimestampTz at;
	QuotaOwner saved;
	QuotaRow row;

	quota_attachment_begin(attachment, &saved);
	while (rows == NULL ? table_scan_getnextslot(scan, ForwardScanDirection, slot) : tuplestore_gettupleslot(rows, true, false, slot))
	{
		CHECK_FOR_INTERRUPTS();
		if (work->any_entries)
			quota_charged_rows_delete(attachment, slot, &at);
		if (attachment->gauge)
		{
			quota_row_read(attachment, slot, true, &row);
			quota_statement_totals_add(work->totals, &row, -1);
		}
	}
	quota_attachment_end(attachment, &saved);
	ExecDropSingleTupleTableSlot(slot);
	if (rows == NULL)
	{
		table_endscan(scan);
		UnregisterSnapshot(snapshot);
	}
}

/* Make a slot for a transition table, and rewind the table, which other triggers read too. */
static TupleTableSlot *
slot_for(QuotaAttachment *attachment, Tuplestorestate *rows)
{
	tuplestore_select_read_pointer(rows, 0);
	tuplestore_rescan(rows);
	return MakeSingleTupleTableSlot(RelationGetDescr(attachment->rel), &TTSOpsMinimalTuple);
}
