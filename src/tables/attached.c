/*
 * quota.attached: what quota_attach was told of each table and feature.
 *
 * Rows are read with a catalog snapshot, as they are now: whoever attaches
 * holds a lock of the table that writers of its rows wait for. Memory: the
 * caller's; src/trigger/attachment.c keeps what it makes of them. Locks: AccessShareLock
 * on quota.attached while it is read.
 */
#include "postgres.h"

#include "tables/attached.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "owner.h"

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
	ATTACHED_MARK_WHEN_READS,
	ATTACHED_FOLLOWS_ROWS,
	ATTACHED_COLUMNS = ATTACHED_FOLLOWS_ROWS
};

/* what the names of the triggers begin with; the feature follows */
const char *const quota_attached_triggers[QUOTA_TRIGGERS] = {
	"quota_charge_", "quota_update_", "quota_delete_", "quota_truncate_", "quota_begin_", "zz_quota_judge_"};

static List *read_rows(AttrNumber column, Oid equal, Datum value);
static QuotaAttached *read_row(HeapTuple tuple, TupleDesc desc);
static char *read_text(const Datum *values, const bool *nulls, AttrNumber column);
static List *read_names(Datum array);

/* Errors: undefined_table where the extension is not installed. */
Oid
quota_attached_relid(void)
{
	Oid schema = get_namespace_oid("quota", true);
	Oid relid = OidIsValid(schema) ? get_relname_relid("attached", schema) : InvalidOid;

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table quota.attached does not exist"),
				 errhint("Install the extension with CREATE EXTENSION quota.")));
	return relid;
}

/* The attachment of a number; NULL: there is none. */
QuotaAttached *
quota_attached_get(int32 id)
{
	List *rows = read_rows(ATTACHED_ID, F_INT4EQ, Int32GetDatum(id));

	return rows == NIL ? NULL : linitial(rows);
}

/* The attachment of a feature to a table; NULL: there is none. */
QuotaAttached *
quota_attached_find(Oid relation, const char *feature)
{
	ListCell *cell;

	foreach (cell, quota_attached_on(relation))
		if (strcmp(((QuotaAttached *) lfirst(cell))->feature, feature) == 0)
			return lfirst(cell);
	return NULL;
}

/* The attachments of a table. */
List *
quota_attached_on(Oid relation)
{
	return read_rows(ATTACHED_RELATION, F_OIDEQ, ObjectIdGetDatum(relation));
}

/*
 * Execute a statement on the extension's tables as their owner.
 *
 * values: none of them NULL. Returns the first column of its first row, an
 * integer, or how many rows it is about.
 */
int64
quota_attached_write(const char *statement, int nargs, const Oid *types, Datum *values)
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

/* The rows with a value in a column. There are few: no index is needed. */
static List *
read_rows(AttrNumber column, Oid equal, Datum value)
{
	Relation rel = table_open(quota_attached_relid(), AccessShareLock);
	List *rows = NIL;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;

	if (RelationGetNumberOfAttributes(rel) < ATTACHED_COLUMNS)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table quota.attached is of another version of the extension"),
				 errhint("Run ALTER EXTENSION quota UPDATE.")));
	ScanKeyInit(&key, column, BTEqualStrategyNumber, equal, value);
	scan = systable_beginscan(rel, InvalidOid, false, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		rows = lappend(rows, read_row(tuple, RelationGetDescr(rel)));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return rows;
}

static QuotaAttached *
read_row(HeapTuple tuple, TupleDesc desc)
{
	QuotaAttached *row = palloc(sizeof(QuotaAttached));
	Datum *values = palloc(desc->natts * sizeof(Datum));
	bool *nulls = palloc(desc->natts * sizeof(bool));

	heap_deform_tuple(tuple, desc, values, nulls);
	row->id = DatumGetInt32(values[ATTACHED_ID - 1]);
	row->relation = DatumGetObjectId(values[ATTACHED_RELATION - 1]);
	row->feature = read_text(values, nulls, ATTACHED_FEATURE);
	row->account_column = read_text(values, nulls, ATTACHED_ACCOUNT_COLUMN);
	row->amount_column = read_text(values, nulls, ATTACHED_AMOUNT_COLUMN);
	row->on_block = read_text(values, nulls, ATTACHED_ON_BLOCK);
	row->status_column = read_text(values, nulls, ATTACHED_STATUS_COLUMN);
	row->blocked_status = read_text(values, nulls, ATTACHED_BLOCKED_STATUS);
	row->message_column = read_text(values, nulls, ATTACHED_MESSAGE_COLUMN);
	row->time_column = read_text(values, nulls, ATTACHED_TIME_COLUMN);
	for (int which = 0; which < QUOTA_EXPRESSIONS; which++)
	{
		row->has[which] = !nulls[ATTACHED_AMOUNT_READS - 1 + which];
		row->columns[which] = row->has[which] ? read_names(values[ATTACHED_AMOUNT_READS - 1 + which]) : NIL;
	}
	row->follows_rows = DatumGetBool(values[ATTACHED_FOLLOWS_ROWS - 1]);
	return row;
}

static char *
read_text(const Datum *values, const bool *nulls, AttrNumber column)
{
	return nulls[column - 1] ? NULL : TextDatumGetCString(values[column - 1]);
}

static List *
read_names(Datum array)
{
	List *names = NIL;
	Datum *elements;
	int count;

	deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false, TYPALIGN_INT, &elements, NULL, &count);
	for (int i = 0; i < count; i++)
		names = lappend(names, TextDatumGetCString(elements[i]));
	return names;
}
