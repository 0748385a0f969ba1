/*
 * attached.c
 *		Attachments: rows of quota.attached.
 *
 * Read with a catalog snapshot: attaching locks the table against writers of its rows,
 * so they see the attachment however old their snapshot is.
 *
 * Memory: the caller's context. Locks: AccessShareLock on quota.attached.
 */
#include "postgres.h"

#include "tables/attached.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/fmgroids.h"

#include "owner.h"
#include "tables/scan.h"

enum
{
	ATTACHED_ID = 1,
	ATTACHED_RELATION,
	ATTACHED_FEATURE,
	ATTACHED_ACCOUNT_COLUMN,
	ATTACHED_AMOUNT_COLUMN,
	ATTACHED_ON_BLOCK,
	ATTACHED_STATUS_COLUMN,
	ATTACHED_BLOCKED_STATUS,
	ATTACHED_MESSAGE_COLUMN,
	ATTACHED_TIME_COLUMN,
	ATTACHED_AMOUNT_READS,
	ATTACHED_COUNTED_WHEN_READS,
	ATTACHED_MARK_WHEN_READS
};

/* prefixes of trigger names; the feature follows */
const char *const quota_attached_triggers[QUOTA_TRIGGERS] = {
	"quota_charge_", "quota_update_", "quota_delete_", "quota_truncate_", "quota_begin_", "zz_quota_row_"};

static List *read_rows(AttrNumber column, Oid equal, Datum value);
static List *read_text_array(Datum array);

/* Read an attachment by its id; NULL: there is none. */
QuotaAttached *
quota_attached_get(int32 id)
{
	List *rows = read_rows(ATTACHED_ID, F_INT4EQ, Int32GetDatum(id));

	return rows == NIL ? NULL : linitial(rows);
}

/* Read the attachment of a table and feature; NULL: there is none. */
QuotaAttached *
quota_attached_find(Oid relation, const char *feature)
{
	ListCell *cell;

	foreach (cell, quota_attached_on_table(relation))
		if (strcmp(((QuotaAttached *) lfirst(cell))->feature, feature) == 0)
			return lfirst(cell);
	return NULL;
}

/* Read the attachments of a table. */
List *
quota_attached_on_table(Oid relation)
{
	return read_rows(ATTACHED_RELATION, F_OIDEQ, ObjectIdGetDatum(relation));
}

/*
 * Execute a statement on the extension's tables as their owner.
 *
 * values: not NULL. Returns the first column of its first row, an integer, or else
 * the number of rows processed.
 */
int64
quota_attached_execute(const char *statement, int nargs, const Oid *types, Datum *values)
{
	QuotaOwner saved;
	int64 result;

	quota_owner_begin_extension(&saved);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args(statement, nargs, unconstify(Oid *, types), values, NULL, false, 0) < 0)
		elog(ERROR, "SPI_execute_with_args failed");
	result = SPI_processed;
	if (SPI_processed > 0 && SPI_tuptable != NULL)
	{
		bool isnull;

		result = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	}
	SPI_finish();
	quota_owner_end(&saved);
	return result;
}

/* Read the rows with a value in a column. There are few: no index is needed. */
static List *
read_rows(AttrNumber column, Oid equal, Datum value)
{
	List *rows = NIL;
	QuotaScan scan;
	ScanKeyData key;

	ScanKeyInit(&key, column, BTEqualStrategyNumber, equal, value);
	quota_scan_begin(&scan, quota_relations_open(ATTACHED, AccessShareLock), InvalidOid, NULL, 1, &key);
	while (quota_scan_next(&scan))
	{
		QuotaAttached *row = palloc(sizeof(QuotaAttached));

		row->id = DatumGetInt32(quota_scan_value(&scan, ATTACHED_ID));
		row->relation = quota_scan_oid(&scan, ATTACHED_RELATION);
		row->feature = quota_scan_string(&scan, ATTACHED_FEATURE);
		row->account_column = quota_scan_string(&scan, ATTACHED_ACCOUNT_COLUMN);
		row->amount_column = quota_scan_string(&scan, ATTACHED_AMOUNT_COLUMN);
		row->on_block = quota_scan_string(&scan, ATTACHED_ON_BLOCK);
		row->status_column = quota_scan_string(&scan, ATTACHED_STATUS_COLUMN);
		row->blocked_status = quota_scan_string(&scan, ATTACHED_BLOCKED_STATUS);
		row->message_column = quota_scan_string(&scan, ATTACHED_MESSAGE_COLUMN);
		row->time_column = quota_scan_string(&scan, ATTACHED_TIME_COLUMN);
		for (int which = 0; which < QUOTA_EXPRESSIONS; which++)
		{
			row->has[which] = !quota_scan_isnull(&scan, ATTACHED_AMOUNT_READS + which);
			row->columns[which] = quota_scan_or(&scan, ATTACHED_AMOUNT_READS + which, read_text_array, NIL);
		}
		row->follows_rows = quota_scan_bool(&scan, ATTACHED_FOLLOWS_ROWS);
		rows = lappend(rows, row);
	}
	return rows;
}

static List *
read_text_array(Datum array)
{
	List *names = NIL;
	Datum *elements;
	int count;

	deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false, TYPALIGN_INT, &elements, NULL, &count);
	for (int i = 0; i < count; i++)
		names = lappend(names, TextDatumGetCString(elements[i]));
	return names;
}
