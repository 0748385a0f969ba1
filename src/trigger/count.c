/*
 * count.c
 *		Count the rows of attached tables, as their triggers do.
 *
 * All rows are read as the owner of the table (src/owner.c), whatever row-level
 * security hides. Errors name the table and the row, since the rows of a
 * feature may be in tables that the caller did not name.
 *
 * Lock					Protects				Order					While held
 * AccessShareLock		tables while counted	parent before children	expressions run
 * ShareRowExclusiveLock	tables against writes	as the caller lists		-
 *
 * All are held until the end of the transaction. Memory: rows go into a
 * tuplestore.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "argument.h"
#include "guc.h"
#include "trigger/charged_rows.h"

/* The tables of one attachment while they are counted. */
typedef struct Count
{
	const QuotaAttached *attached;
	ReturnSetInfo *result;
	QuotaChargedRows *charged; /* entries of quota.charged_rows; NULL: none */
	TupleTableSlot *slot;
} Count;

static void count_table(Count *count, Oid relid);
static void count_row(Count *count, QuotaAttachment *attachment);
static bool row_time(Count *count, QuotaAttachment *attachment, TimestampTz *at);
static void name_row(void *arg);

/*
 * quota.count_rows(table, feature): return the account, time of charge (NULL:
 * unknown) and units of each row of an attached table.
 *
 * Errors: undefined_object where it is not attached; feature_not_supported for
 * a temporary table of another session; null_value_not_allowed,
 * invalid_parameter_value and datetime_value_out_of_range for a row that cannot
 * be counted; those of the expressions.
 */
PG_FUNCTION_INFO_V1(quota_count_rows);

Datum
quota_count_rows(PG_FUNCTION_ARGS)
{
	Count count = {0};
	char *feature;
	ListCell *cell;

	quota_argument_check_not_null(fcinfo, 0, "table");
	quota_argument_check_not_null(fcinfo, 1, "feature");
	feature = text_to_cstring(PG_GETARG_TEXT_PP(1));
	InitMaterializedSRF(fcinfo, 0);
	count.result = (ReturnSetInfo *) fcinfo->resultinfo;
	LockRelationOid(PG_GETARG_OID(0), AccessShareLock);
	count.attached = quota_attached_find(PG_GETARG_OID(0), feature);
	if (count.attached == NULL || get_rel_name(PG_GETARG_OID(0)) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("feature \"%s\" is not attached to the table with OID %u", feature, PG_GETARG_OID(0))));
	foreach (cell, find_all_inheritors(PG_GETARG_OID(0), AccessShareLock, NULL))
		count_table(&count, lfirst_oid(cell));
	return (Datum) 0;
}

/*
 * quota.lock_tables(tables): lock tables and their partitions against writes, in
 * the given order.
 *
 * Errors: undefined_table.
 */
PG_FUNCTION_INFO_V1(quota_lock_tables);

Datum
quota_lock_tables(PG_FUNCTION_ARGS)
{
	Datum *tables;
	int count;

	quota_argument_check_not_null(fcinfo, 0, "tables");
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), REGCLASSOID, sizeof(Oid), true, TYPALIGN_INT, &tables, NULL, &count);
	for (int i = 0; i < count; i++)
	{
		LockRelationOid(DatumGetObjectId(tables[i]), ShareRowExclusiveLock);
		if (!SearchSysCacheExists1(RELOID, tables[i]))
			quota_table_raise_missing(DatumGetObjectId(tables[i]));
		(void) find_all_inheritors(DatumGetObjectId(tables[i]), ShareRowExclusiveLock, NULL);
	}
	PG_RETURN_VOID();
}

static void
count_table(Count *count, Oid relid)
{
	Relation rel = table_open(relid, NoLock);
	QuotaAttachment attachment;
	TableScanDesc scan;
	QuotaOwner saved;
	ErrorContextCallback callback = {.previous = error_context_stack, .callback = name_row, .arg = count};

	if (RELATION_IS_OTHER_TEMP(rel))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("rows of table \"%s\" cannot be counted, which is a temporary table of another session", RelationGetRelationName(rel)),
				 errdetail("Feature \"%s\" is attached to it.", count->attached->feature)));
	if (rel->rd_rel->relkind != RELKIND_RELATION)
	{
		table_close(rel, NoLock);
		return;
	}
	quota_attachment_open(rel, count->attached, &attachment);
	if (!attachment.gauge)
	{
		quota_attachment_read_time(&attachment, count->attached->time_column);
		if (count->charged == NULL)
			count->charged = quota_charged_rows_load(&attachment);
		if (count->charged != NULL)
			quota_attachment_read_key(&attachment);
	}
	count->slot = table_slot_create(rel, NULL);
	scan = table_beginscan(rel, GetActiveSnapshot(), 0, NULL);
	error_context_stack = &callback;
	quota_owner_begin(&saved, attachment.owner, QUOTA_CODE_OWN);
	while (table_scan_getnextslot(scan, ForwardScanDirection, count->slot))
	{
		CHECK_FOR_INTERRUPTS();
		count_row(count, &attachment);
	}
	quota_owner_end(&saved);
	error_context_stack = callback.previous;
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(count->slot);
	FreeExprContext(attachment.econtext, true);
	table_close(rel, NoLock);
}

static void
count_row(Count *count, QuotaAttachment *attachment)
{
	Datum values[3];
	bool nulls[3] = {false, false, false};
	TimestampTz at = 0;
	MemoryContext old;
	QuotaRow row;

	quota_row_read(attachment, count->slot, false, &row);
	if (row.n == 0)
		return;
	old = MemoryContextSwitchTo(attachment->econtext->ecxt_per_tuple_memory);
	values[0] = quota_row_account_name(attachment, row.account);
	nulls[1] = !row_time(count, attachment, &at);
	values[1] = TimestampTzGetDatum(at);
	values[2] = Int64GetDatum(row.n);
	MemoryContextSwitchTo(old);
	tuplestore_putvalues(count->result->setResult, count->result->setDesc, values, nulls);
}

/* Return the time at which a row was charged; false if it is unknown. */
static bool
row_time(Count *count, QuotaAttachment *attachment, TimestampTz *at)
{
	/* the years in which every window can be computed */
	static const int first_year = -4711;
	static const int last_year = 294275;

	if (attachment->gauge)
	{
		*at = quota_guc_now();
		return true;
	}
	if (attachment->nkeys > 0 && quota_charged_rows_find(count->charged, quota_row_key(attachment, count->slot), at))
		return true;
	if (!quota_row_time(attachment, count->slot, at))
		return false;
	if (*at < (date2j(first_year, 1, 1) - POSTGRES_EPOCH_JDATE) * USECS_PER_DAY ||
		*at >= (date2j(last_year, 1, 1) - POSTGRES_EPOCH_JDATE) * USECS_PER_DAY)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("time in column \"%s\" is out of range", count->attached->time_column)));
	return true;
}

/* Error callback: name the table and the row. */
static void
name_row(void *arg)
{
	const Count *count = arg;
	const ItemPointerData *tid = &count->slot->tts_tid;
	char *row;

	if (TTS_EMPTY(count->slot))
		return;
	row = psprintf("row with ctid (%u,%u) of table %s", ItemPointerGetBlockNumberNoCheck(tid), ItemPointerGetOffsetNumberNoCheck(tid),
				   quota_table_name(count->slot->tts_tableOid));
	switch (geterrcode())
	{
		case ERRCODE_NULL_VALUE_NOT_ALLOWED:
		case ERRCODE_INVALID_PARAMETER_VALUE:
		case ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE:
		case ERRCODE_DATETIME_VALUE_OUT_OF_RANGE:
			errdetail("The %s cannot be counted for feature \"%s\".", row, count->attached->feature);
			break;
		default:
			errcontext("counting the %s for feature \"%s\"", row, count->attached->feature);
	}
}
