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
#include "utils/memutils.h"
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

/* The two versions of an updated row. */
typedef struct RowUpdate
{
	QuotaRow before;
	QuotaRow after;
} RowUpdate;

/* What one attachment does for a statement. */
typedef struct Work
{
	TriggerData trigdata; /* of its own trigger */
	QuotaAttachment attachment;
	QuotaStatementTotals *totals;
} Work;

static bool is_last(TriggerData *trigdata);
static bool fires_together(const TriggerData *trigdata, const Trigger *trigger);
static Work *read_all(TriggerData *trigdata, int *count);
static void add_statement(Work *work);
static void charge_all(const Work *works, int count);
static bool was_filtered(const Work *work);
static void add_rows(QuotaStatementTotals *totals, QuotaAttachment *attachment, Tuplestorestate *rows, int sign);
static void move_renamed_rows(QuotaStatementTotals *totals, QuotaAttachment *attachment, TriggerData *trigdata);
static void update_tracked_rows(QuotaStatementTotals *totals, QuotaAttachment *attachment, TriggerData *trigdata);
static bool follows_rename(const QuotaAttachment *attachment, const QuotaAttachment *after, RowUpdate *update);
static List *update_tracked_row(QuotaStatementTotals *totals, QuotaAttachment *attachment, RowUpdate *update, bool any_entries, List *entries);
static bool charged_at(QuotaAttachment *attachment, const QuotaRow *row, bool any_entries, TimestampTz *at, bool *had_entry);
static bool needs_entry(QuotaStatementTotals *totals, QuotaAttachment *attachment, const QuotaRow *row, TimestampTz at);
static void delete_entries(QuotaAttachment *attachment, Tuplestorestate *rows);
static void delete_entry(QuotaAttachment *attachment, TupleTableSlot *slot);
static void truncate_rows(QuotaStatementTotals *totals, QuotaAttachment *attachment);
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
	Work *works;
	int count;

	if ((trigdata->tg_newtable == NULL && !TRIGGER_FIRED_BY_DELETE(trigdata->tg_event)) ||
		(trigdata->tg_oldtable == NULL && !TRIGGER_FIRED_BY_INSERT(trigdata->tg_event)))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("quota.charge_rows needs a transition table")));
	if (!is_last(trigdata))
		return PointerGetDatum(NULL);
	works = read_all(trigdata, &count);
	for (int i = 0; i < count; i++)
		add_statement(&works[i]);
	charge_all(works, count);

	for (int i = 0; i < count; i++)
		if (was_filtered(&works[i]))
			quota_row_filter_end(trigdata->tg_relation, works[i].attachment.feature);
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
	Work *works;
	int count;

	if (!RELKIND_HAS_STORAGE(trigdata->tg_relation->rd_rel->relkind) || !is_last(trigdata))
		return PointerGetDatum(NULL);
	works = read_all(trigdata, &count);
	for (int i = 0; i < count; i++)
		truncate_rows(works[i].totals, &works[i].attachment);
	charge_all(works, count);
	return PointerGetDatum(NULL);
}

/*
 * Return whether this is the last trigger of the statement that calls this
 * function for this event. Triggers fire in the order of their names, and the
 * relation lists them so. The earlier ones have been checked by their own
 * calls.
 */
static bool
is_last(TriggerData *trigdata)
{
	const TriggerDesc *triggers = trigdata->tg_relation->trigdesc;

	for (int i = triggers->numtriggers - 1; i >= 0; i--)
		if (fires_together(trigdata, &triggers->triggers[i]))
			return triggers->triggers[i].tgoid == trigdata->tg_trigger->tgoid;
	return true;
}

/* Return whether a trigger fires with the running one and calls the same function. */
static bool
fires_together(const TriggerData *trigdata, const Trigger *trigger)
{
	char disabled = SessionReplicationRole == SESSION_REPLICATION_ROLE_REPLICA ? TRIGGER_FIRES_ON_ORIGIN : TRIGGER_FIRES_ON_REPLICA;

	return trigger->tgfoid == trigdata->tg_trigger->tgfoid && trigger->tgtype == trigdata->tg_trigger->tgtype &&
		   trigger->tgenabled != TRIGGER_DISABLED && trigger->tgenabled != disabled;
}

/* Begin the work of all triggers that fire with the running one. */
static Work *
read_all(TriggerData *trigdata, int *count)
{
	const TriggerDesc *triggers = trigdata->tg_relation->trigdesc;
	Work *works = palloc(triggers->numtriggers * sizeof(Work));
	int found = 0;

	/* to read an attachment can rebuild the relation, and free its triggers; the executor's own is a copy */
	for (int i = 0; i < triggers->numtriggers; i++)
		found += fires_together(trigdata, &triggers->triggers[i]);
	if (found > 1)
		triggers = CopyTriggerDesc(trigdata->tg_relation->trigdesc);
	*count = 0;
	for (int i = 0; *count < found; i++)
	{
		Work *work = &works[*count];

		if (found > 1 && !fires_together(trigdata, &triggers->triggers[i]))
			continue;
		work->trigdata = *trigdata;
		if (found > 1)
			work->trigdata.tg_trigger = &triggers->triggers[i];
		quota_attachment_read(&work->trigdata, &work->attachment);
		work->totals = quota_statement_totals_begin(&work->attachment);
		(*count)++;
	}
	return works;
}

/* Add the rows of a statement to the totals of one attachment. */
static void
add_statement(Work *work)
{
	TriggerData *trigdata = &work->trigdata;
	QuotaAttachment *attachment = &work->attachment;
	QuotaStatementTotals *totals = work->totals;

	if (TRIGGER_FIRED_BY_INSERT(trigdata->tg_event))
	{
		/* tracked rows are read in any case, for the time of each */
		if (!was_filtered(work) || attachment->tracked ||
			!quota_row_filter_add_totals(trigdata->tg_relation, attachment->feature, tuplestore_tuple_count(trigdata->tg_newtable), totals))
			add_rows(totals, attachment, trigdata->tg_newtable, 1);
	}
	else if (attachment->gauge)
	{
		add_rows(totals, attachment, trigdata->tg_oldtable, -1);
		if (TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event))
			add_rows(totals, attachment, trigdata->tg_newtable, 1);
		if (TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event) && quota_renamed_any())
			move_renamed_rows(totals, attachment, trigdata);
	}
	else if (attachment->tracked && TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event))
		update_tracked_rows(totals, attachment, trigdata);
	else if (attachment->tracked)
		delete_entries(attachment, trigdata->tg_oldtable);
}

static void
charge_all(const Work *works, int count)
{
	QuotaStatementTotals **totals = palloc(count * sizeof(QuotaStatementTotals *));

	for (int i = 0; i < count; i++)
		totals[i] = works[i].totals;
	quota_statement_totals_charge(totals, count);
}

/* Return whether the rows of a statement were checked before they were inserted. */
static bool
was_filtered(const Work *work)
{
	return TRIGGER_FIRED_BY_INSERT(work->trigdata.tg_event) && work->attachment.filtered;
}

/* Add the rows of a transition table to the totals, with sign -1 as old rows. */
static void
add_rows(QuotaStatementTotals *totals, QuotaAttachment *attachment, Tuplestorestate *rows, int sign)
{
	TupleTableSlot *slot = slot_for(attachment, rows);
	TimestampTz now = quota_guc_now();
	QuotaOwner saved;
	QuotaRow row;

	quota_attachment_begin(attachment, &saved);
	while (tuplestore_gettupleslot(rows, true, false, slot))
	{
		CHECK_FOR_INTERRUPTS();
		if (sign > 0)
			quota_row_read(attachment, slot, &row);
		else
			quota_row_read_old(attachment, slot, &row);
		quota_statement_totals_add(totals, &row, sign);
		if (attachment->tracked && row.n > 0 && needs_entry(totals, attachment, &row, now))
		{
			char *key = quota_row_key(attachment, slot);

			quota_charged_rows_insert(attachment, key, now);
			pfree(key);
		}
	}
	quota_attachment_end(attachment, &saved);
	ExecDropSingleTupleTableSlot(slot);
}

/* Mark rows of a gauge that followed a renamed account, in the totals. */
static void
move_renamed_rows(QuotaStatementTotals *totals, QuotaAttachment *attachment, TriggerData *trigdata)
{
	QuotaAttachment after;
	TupleTableSlot *old_slot = slot_for(attachment, trigdata->tg_oldtable);
	TupleTableSlot *new_slot = slot_for(attachment, trigdata->tg_newtable);
	QuotaOwner saved;

	quota_attachment_read(trigdata, &after);
	quota_attachment_begin(attachment, &saved);
	/* with unequal counts old and new rows cannot be paired */
	if (tuplestore_tuple_count(trigdata->tg_oldtable) == tuplestore_tuple_count(trigdata->tg_newtable))
		while (tuplestore_gettupleslot(trigdata->tg_oldtable, true, false, old_slot) &&
			   tuplestore_gettupleslot(trigdata->tg_newtable, true, false, new_slot))
		{
			RowUpdate update;

			CHECK_FOR_INTERRUPTS();
			quota_row_read_old(attachment, old_slot, &update.before);
			quota_row_read(&after, new_slot, &update.after);
			if (follows_rename(attachment, &after, &update))
				quota_statement_totals_move(totals, &update.after, Min(update.before.n, update.after.n));
		}
	quota_attachment_end(attachment, &saved);
	ExecDropSingleTupleTableSlot(old_slot);
	ExecDropSingleTupleTableSlot(new_slot);
}

/*
 * Add the updated rows of a tracked counter. PostgreSQL stores the old and the
 * new version at the same place of their transition tables, also of a row that
 * moves to another partition, unless a trigger there leaves it out.
 */
static void
update_tracked_rows(QuotaStatementTotals *totals, QuotaAttachment *attachment, TriggerData *trigdata)
{
	/* an attachment holds one row at a time, so the new version needs another */
	QuotaAttachment after;
	TupleTableSlot *old_slot = slot_for(attachment, trigdata->tg_oldtable);
	TupleTableSlot *new_slot = slot_for(attachment, trigdata->tg_newtable);
	bool any_entries = quota_charged_rows_exist(attachment);
	QuotaOwner saved;
	List *entries = NIL;
	ListCell *cell;

	quota_attachment_read(trigdata, &after);
	if (tuplestore_tuple_count(trigdata->tg_oldtable) != tuplestore_tuple_count(trigdata->tg_newtable))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("rows of table \"%s\" cannot be charged", RelationGetRelationName(attachment->rel)),
				 errdetail("A trigger has left out a row that was to move to another partition.")));
	quota_attachment_begin(attachment, &saved);
	while (tuplestore_gettupleslot(trigdata->tg_oldtable, true, false, old_slot) &&
		   tuplestore_gettupleslot(trigdata->tg_newtable, true, false, new_slot))
	{
		RowUpdate update;

		CHECK_FOR_INTERRUPTS();
		quota_row_read_old(attachment, old_slot, &update.before);
		quota_row_read(&after, new_slot, &update.after);
		/* the rename has moved its charge already */
		if (follows_rename(attachment, &after, &update))
			update.before.account = update.after.account;
		entries = update_tracked_row(totals, attachment, &update, any_entries, entries);
	}
	quota_attachment_end(attachment, &saved);
	/* only now, since a row may get a key that another row had before */
	foreach (cell, entries)
		quota_charged_rows_insert(attachment, ((RowEntry *) lfirst(cell))->key, ((RowEntry *) lfirst(cell))->at);
	ExecDropSingleTupleTableSlot(old_slot);
	ExecDropSingleTupleTableSlot(new_slot);
}

/* Return whether a counted row follows an account that was renamed in this transaction. */
static bool
follows_rename(const QuotaAttachment *attachment, const QuotaAttachment *after, RowUpdate *update)
{
	Datum old_key;
	Datum new_key;

	if (!quota_renamed_any() || update->before.n == 0)
		return false;
	old_key = quota_row_account(attachment, &update->before);
	new_key = quota_row_account(after, &update->after);
	return old_key != 0 && new_key != 0 && quota_renamed_to(old_key, new_key);
}

/* Add one updated row. Returns the entries to insert, with that of this row if it needs one. */
static List *
update_tracked_row(QuotaStatementTotals *totals, QuotaAttachment *attachment, RowUpdate *update, bool any_entries, List *entries)
{
	const QuotaRow *before = &update->before;
	const QuotaRow *after = &update->after;
	bool same = before->n == after->n && (before->n == 0 || quota_account_bytes_equal(before->account, after->account));
	TimestampTz at;
	bool known = false;
	bool had_entry = false;

	if (same && (before->n == 0 || quota_row_same_key_and_time(attachment, before->slot, after->slot)))
		return entries;
	if (before->n > 0)
		known = charged_at(attachment, before, any_entries, &at, &had_entry);
	if (!same)
	{
		/* a row whose time is unknown was never charged */
		if (known)
			quota_statement_totals_refund(totals, before, at);
		quota_statement_totals_add(totals, after, 1);
		at = quota_guc_now();
		known = after->n > 0;
		had_entry = false;
	}
	/* keep an entry that the row had, under its new key */
	if (had_entry || (known && needs_entry(totals, attachment, after, at)))
	{
		RowEntry *entry = palloc(sizeof(RowEntry));

		entry->key = quota_row_key(attachment, after->slot);
		entry->at = at;
		entries = lappend(entries, entry);
	}
	return entries;
}

/* Find the time at which a row was charged, and delete its entry; false if unknown. */
static bool
charged_at(QuotaAttachment *attachment, const QuotaRow *row, bool any_entries, TimestampTz *at, bool *had_entry)
{
	if (any_entries)
	{
		char *key = quota_row_key(attachment, row->slot);

		*had_entry = quota_charged_rows_delete(attachment, key, at);
		pfree(key);
		if (*had_entry)
			return true;
	}
	return quota_row_time(attachment, row->slot, at);
}

/* Return whether a row's own time is in other windows than the time of its charge. */
static bool
needs_entry(QuotaStatementTotals *totals, QuotaAttachment *attachment, const QuotaRow *row, TimestampTz at)
{
	TimestampTz own;

	if (quota_guc_enforcement == QUOTA_ENFORCEMENT_OFF)
		return false;
	return !quota_row_time(attachment, row->slot, &own) || !quota_statement_totals_same_windows(totals, row, at, own);
}

/* Delete the entries of deleted rows. Their charge stays, or deleting rows would evade the limit. */
static void
delete_entries(QuotaAttachment *attachment, Tuplestorestate *rows)
{
	TupleTableSlot *slot = slot_for(attachment, rows);
	bool any_entries = quota_charged_rows_exist(attachment);
	QuotaOwner saved;

	quota_attachment_begin(attachment, &saved);
	while (any_entries && tuplestore_gettupleslot(rows, true, false, slot))
		delete_entry(attachment, slot);
	quota_attachment_end(attachment, &saved);
	ExecDropSingleTupleTableSlot(slot);
}

static void
delete_entry(QuotaAttachment *attachment, TupleTableSlot *slot)
{
	char *key = quota_row_key(attachment, slot);
	TimestampTz at;

	CHECK_FOR_INTERRUPTS();
	quota_charged_rows_delete(attachment, key, &at);
	pfree(key);
}

static void
truncate_rows(QuotaStatementTotals *totals, QuotaAttachment *attachment)
{
	/* TRUNCATE removes rows that the transaction's snapshot does not see */
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	TupleTableSlot *slot = table_slot_create(attachment->rel, NULL);
	TableScanDesc scan = table_beginscan(attachment->rel, snapshot, 0, NULL);
	bool any_entries = attachment->tracked && quota_charged_rows_exist(attachment);
	QuotaOwner saved;
	QuotaRow row;

	quota_attachment_begin(attachment, &saved);
	while ((attachment->gauge || any_entries) && table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		CHECK_FOR_INTERRUPTS();
		if (any_entries)
			delete_entry(attachment, slot);
		if (attachment->gauge)
		{
			quota_row_read_old(attachment, slot, &row);
			quota_statement_totals_add(totals, &row, -1);
		}
	}
	quota_attachment_end(attachment, &saved);
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
}

/* Make a slot for a transition table, and rewind the table, which other triggers read too. */
static TupleTableSlot *
slot_for(QuotaAttachment *attachment, Tuplestorestate *rows)
{
	tuplestore_select_read_pointer(rows, 0);
	tuplestore_rescan(rows);
	return MakeSingleTupleTableSlot(RelationGetDescr(attachment->rel), &TTSOpsMinimalTuple);
}
