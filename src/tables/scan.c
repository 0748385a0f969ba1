/*
 * scan.c
 *		Scan tables of schema quota.
 *
 * For what is read rarely, or cached: plans, overrides, levels, attachments, keys,
 * reservations, holds. What every charge reads is found by lookup.c.
 *
 * Life: quota_scan_end closes the table, and keeps its lock until the end of the
 * transaction. Memory: the caller's context. Locks: the caller's.
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

/* Return the primary key of a table. Errors: internal_error where it has been dropped. */
Oid
quota_scan_primary_key(Relation rel)
{
	Oid index = quota_compat_primary_key(rel);

	if (!OidIsValid(index))
		elog(ERROR, "table quota.%s has lost its primary key", RelationGetRelationName(rel));
	return index;
}

/*
 * Begin a scan.
 *
 * index: its first columns are the keys; InvalidOid: read the whole table.
 * snapshot: NULL: the newest.
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

/* End a scan, and close its table. */
void
quota_scan_end(QuotaScan *scan)
{
	systable_endscan(scan->desc);
	table_close(scan->rel, NoLock);
}

/* Read the columns of a tuple that was found without a scan. */
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

/* Make a scan key of a column of type text. */
void
quota_scan_key_text(ScanKey key, AttrNumber column, const char *name)
{
	/* ScanKeyInit uses the C collation, which our key columns have */
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

/* Return a value that is not NULL, valid until the next row is read. */
Datum
quota_scan_value(const QuotaScan *scan, AttrNumber column)
{
	return scan->values[column - 1];
}

/* Return a copy of a varlena value; 0 for NULL. */
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

/* Return a time, or `none` for NULL. */
TimestampTz
quota_scan_time(const QuotaScan *scan, AttrNumber column, TimestampTz none)
{
	return scan->nulls[column - 1] ? none : DatumGetTimestampTz(scan->values[column - 1]);
}

/* Return a copy of a text as a string; NULL for NULL. */
char *
quota_scan_string(const QuotaScan *scan, AttrNumber column)
{
	return scan->nulls[column - 1] ? NULL : TextDatumGetCString(scan->values[column - 1]);
}

/* Copy a text to a buffer. NULL becomes an empty string, which the CHECK constraints forbid. */
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

/* Return the index of a text in a list of names that ends with NULL. */
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
