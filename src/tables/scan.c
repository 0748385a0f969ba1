/*
 * scan.c
 *		Rows of our tables, read by an index one after the other.
 *
 * For what is read seldom, or kept: plans, overrides, levels, attachments, keys,
 * reservations, holds. Rows of every charge are found by lookup.c.
 *
 * Memory: the caller's context. Locks: those with which the caller opened the
 * table, which quota_scan_end closes without giving them back.
 */
#include "postgres.h"

#include "tables/scan.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "compat.h"

/* Errors: internal_error where somebody has dropped it. */
Oid
quota_scan_primary_key(Relation rel)
{
	Oid index = quota_compat_primary_key(rel);

	if (!OidIsValid(index))
		elog(ERROR, "table quota.%s has lost its primary key", RelationGetRelationName(rel));
	return index;
}

/*
 * Begin to read rows.
 *
 * index: whose first columns the keys are; InvalidOid: read the whole table.
 * snapshot: NULL: read rows as they are now.
 */
void
quota_scan_begin(QuotaScan *scan, Relation rel, Oid index, Snapshot snapshot, int nkeys, ScanKey keys)
{
	quota_scan_tuple(scan, rel, NULL);
	scan->desc = systable_beginscan(rel, index, OidIsValid(index), snapshot, nkeys, keys);
}

/* Read the next row; false: there is none. */
bool
quota_scan_next(QuotaScan *scan)
{
	scan->tuple = systable_getnext(scan->desc);
	if (HeapTupleIsValid(scan->tuple))
		heap_deform_tuple(scan->tuple, RelationGetDescr(scan->rel), scan->values, scan->nulls);
	return HeapTupleIsValid(scan->tuple);
}

/* End the scan, and close its table. */
void
quota_scan_end(QuotaScan *scan)
{
	systable_endscan(scan->desc);
	table_close(scan->rel, NoLock);
}

/* Read the columns of a row that was found otherwise. */
void
quota_scan_tuple(QuotaScan *scan, Relation rel, HeapTuple tuple)
{
	int natts = RelationGetNumberOfAttributes(rel);

	scan->rel = rel;
	scan->desc = NULL;
	scan->tuple = tuple;
	scan->values = palloc(natts * (sizeof(Datum) + sizeof(bool)));
	scan->nulls = (bool *) (scan->values + natts);
	if (tuple != NULL)
		heap_deform_tuple(tuple, RelationGetDescr(rel), scan->values, scan->nulls);
}

/* Make a key of a column of text. */
void
quota_scan_key_text(ScanKey key, AttrNumber column, const char *name)
{
	/* ScanKeyInit compares in the C collation, which our key columns have */
	ScanKeyInit(key, column, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(name));
}

/* Make room for one more row in an array that has so many, NULL at first. */
void *
quota_scan_room(void *rows, int count, Size size)
{
	const int first = 4;

	if (count == 0)
		return palloc(first * size);
	/* full at each power of two */
	return count >= first && (count & (count - 1)) == 0 ? repalloc(rows, 2 * count * size) : rows;
}

bool
quota_scan_isnull(const QuotaScan *scan, AttrNumber column)
{
	return scan->nulls[column - 1];
}

/* A value that is not NULL, good until the next row is read. */
Datum
quota_scan_value(const QuotaScan *scan, AttrNumber column)
{
	return scan->values[column - 1];
}

/* A copy of a value of variable length; 0 for NULL. */
Datum
quota_scan_copy(const QuotaScan *scan, AttrNumber column)
{
	return scan->nulls[column - 1] ? (Datum) 0 : PointerGetDatum(PG_DETOAST_DATUM_COPY(scan->values[column - 1]));
}

/* 0 for NULL. */
int64
quota_scan_int64(const QuotaScan *scan, AttrNumber column)
{
	return scan->nulls[column - 1] ? 0 : DatumGetInt64(scan->values[column - 1]);
}

bool
quota_scan_bool(const QuotaScan *scan, AttrNumber column)
{
	return DatumGetBool(scan->values[column - 1]);
}

/* none: what NULL stands for. */
TimestampTz
quota_scan_time(const QuotaScan *scan, AttrNumber column, TimestampTz none)
{
	return scan->nulls[column - 1] ? none : DatumGetTimestampTz(scan->values[column - 1]);
}

/* A copy of a text; NULL for NULL. */
char *
quota_scan_string(const QuotaScan *scan, AttrNumber column)
{
	return scan->nulls[column - 1] ? NULL : TextDatumGetCString(scan->values[column - 1]);
}

/* Copy a text. NULL becomes an empty string, which our constraints allow in none of these columns. */
void
quota_scan_text(const QuotaScan *scan, AttrNumber column, char *to, Size size)
{
	to[0] = '\0';
	if (!scan->nulls[column - 1])
	{
		text *value = DatumGetTextPP(scan->values[column - 1]);

		if (VARSIZE_ANY_EXHDR(value) >= size)
			elog(ERROR, "value too long in a table of schema quota");
		text_to_cstring_buffer(value, to, size);
	}
}

/* The number of a text in a list of names that ends with NULL. */
int
quota_scan_enum(const QuotaScan *scan, AttrNumber column, const char *const *names)
{
	text *value = DatumGetTextPP(scan->values[column - 1]);
	Size length = VARSIZE_ANY_EXHDR(value);

	for (int i = 0; names[i] != NULL; i++)
		if (strlen(names[i]) == length && memcmp(names[i], VARDATA_ANY(value), length) == 0)
			return i;
	elog(ERROR, "unexpected value in a table of schema quota");
	return 0; /* not reached */
}
