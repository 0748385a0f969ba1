/* Scan tables of schema quota. */
#ifndef QUOTA_SCAN_H
#define QUOTA_SCAN_H

#include "access/genam.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "tables/relations.h"

/* A scan, and the columns of its current row. */
typedef struct QuotaScan
{
	Relation rel;
	SysScanDesc desc;
	HeapTuple tuple;
	Datum *values;
	bool *nulls;
	void *rows; /* of quota_scan_next_row */
	int count;
} QuotaScan;

extern Oid quota_scan_primary_key(Relation rel);
extern void quota_scan_begin(QuotaScan *scan, Relation rel, Oid index, Snapshot snapshot, int nkeys, ScanKey keys);
extern void quota_scan_begin_by_key(QuotaScan *scan, QuotaTable table, Snapshot snapshot, int count, const Datum *values);
extern bool quota_scan_find(QuotaScan *scan, QuotaTable table, Snapshot snapshot, int count, const Datum *values);
extern bool quota_scan_next(QuotaScan *scan);
extern void *quota_scan_next_row(QuotaScan *scan, Size size);
extern void quota_scan_end(QuotaScan *scan);
extern void quota_scan_tuple(QuotaScan *scan, Relation rel, HeapTuple tuple);

/* Columns, valid until the next row is read. */
#define quota_scan_isnull(scan, column) ((scan)->nulls[(column) -1])
#define quota_scan_value(scan, column) ((scan)->values[(column) -1])
#define quota_scan_bool(scan, column) DatumGetBool(quota_scan_value(scan, column))
#define quota_scan_oid(scan, column) DatumGetObjectId(quota_scan_value(scan, column))
#define quota_scan_or(scan, column, get, none) (quota_scan_isnull(scan, column) ? (none) : get(quota_scan_value(scan, column)))

/* Columns that may be NULL, which is 0 or `none`; copies of texts and other varlena values. */
#define quota_scan_int64(scan, column) quota_scan_or(scan, column, DatumGetInt64, 0)
#define quota_scan_time(scan, column, none) quota_scan_or(scan, column, DatumGetTimestampTz, none)
#define quota_scan_string(scan, column) quota_scan_or(scan, column, TextDatumGetCString, NULL)
#define quota_scan_copy(scan, column) quota_scan_or(scan, column, (Datum) PG_DETOAST_DATUM_COPY, (Datum) 0)

extern void quota_scan_text(const QuotaScan *scan, AttrNumber column, char *to, Size size);
extern int quota_scan_enum(const QuotaScan *scan, AttrNumber column, const char *const *names);

#endif
