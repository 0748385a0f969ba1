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
#include "catalog/pg_type.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"

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
 * Begin a scan. It ends after its last row, or with quota_scan_end.
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

/*
 * Open a table, and begin a scan of the rows whose first columns have these values.
 * The primary key begins with them; they are texts or bigints.
 */
void
quota_scan_begin_by_key(QuotaScan *scan, QuotaTable table, Snapshot snapshot, int count, const Datum *values)
{
	Relation rel = quota_relations_open(table, AccessShareLock);
	ScanKeyData keys[2];

	Assert(count <= (int) lengthof(keys));
	/* ScanKeyInit uses the C collation, which our key columns have */
	for (int i = 0; i < count; i++)
		ScanKeyInit(&keys[i], i + 1, BTEqualStrategyNumber,
					TupleDescAttr(RelationGetDescr(rel), i)->atttypid == TEXTOID ? F_TEXTEQ : F_INT8EQ, values[i]);
	quota_scan_begin(scan, rel, quota_scan_primary_key(rel), snapshot, count, keys);
}

/* Find the row with these values; false: there is none, and the scan has ended. */
bool
quota_scan_find(QuotaScan *scan, QuotaTable table, Snapshot snapshot, int count, const Datum *values)
{
	quota_scan_begin_by_key(scan, table, snapshot, count, values);
	return quota_scan_next(scan);
}

/* Read the next row; false: there is none, and the scan has ended. */
bool
quota_scan_next(QuotaScan *scan)
{
	scan->tuple = systable_getnext(scan->desc);
	if (HeapTupleIsValid(scan->tuple))
		heap_deform_tuple(scan->tuple, RelationGetDescr(scan->rel), scan->values, scan->nulls);
	else
		quota_scan_end(scan);
	return HeapTupleIsValid(scan->tuple);
}

/*
 * Read the next row, and return a zeroed struct for it, the last one of the array
 * scan->rows; NULL: there is none, and the scan has ended.
 */
void *
quota_scan_next_row(QuotaScan *scan, Size size)
{
	const int first = 4;

	if (!quota_scan_next(scan))
		return NULL;
	if (scan->count == 0)
		scan->rows = palloc(first * size);
	else if (scan->count >= first && (scan->count & (scan->count - 1)) == 0)
		/* full at each power of two */
		scan->rows = repalloc(scan->rows, 2 * scan->count * size);
	return memset((char *) scan->rows + scan->count++ * size, 0, size);
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
	scan->rows = NULL;
	scan->count = 0;
	scan->values = palloc(natts * (sizeof(Datum) + sizeof(bool)));
	scan->nulls = (bool *) (scan->values + natts);
	if (tuple != NULL)
		heap_deform_tuple(tuple, RelationGetDescr(rel), scan->values, scan->nulls);
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
