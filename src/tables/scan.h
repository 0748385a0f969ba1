/* Scan tables of schema quota. */
#ifndef QUOTA_SCAN_H
#define QUOTA_SCAN_H

#include "access/genam.h"
#include "datatype/timestamp.h"
#include "utils/relcache.h"

/* A scan, and the columns of its current row. */
typedef struct QuotaScan
{
	Relation rel;
	SysScanDesc desc;
	HeapTuple tuple;
	Datum *values;
	bool *nulls;
} QuotaScan;

extern Oid quota_scan_primary_key(Relation rel);
extern void quota_scan_begin(QuotaScan *scan, Relation rel, Oid index, Snapshot snapshot, int nkeys, ScanKey keys);
extern bool quota_scan_next(QuotaScan *scan);
extern void quota_scan_end(QuotaScan *scan);
extern void quota_scan_tuple(QuotaScan *scan, Relation rel, HeapTuple tuple);
extern void quota_scan_key_text(ScanKey key, AttrNumber column, const char *name);
extern void *quota_scan_room(void *rows, int count, Size size);

extern bool quota_scan_isnull(const QuotaScan *scan, AttrNumber column);
extern Datum quota_scan_value(const QuotaScan *scan, AttrNumber column);
extern Datum quota_scan_copy(const QuotaScan *scan, AttrNumber column);
extern int64 quota_scan_int64(const QuotaScan *scan, AttrNumber column);
extern bool quota_scan_bool(const QuotaScan *scan, AttrNumber column);
extern TimestampTz quota_scan_time(const QuotaScan *scan, AttrNumber column, TimestampTz none);
extern char *quota_scan_string(const QuotaScan *scan, AttrNumber column);
extern void quota_scan_text(const QuotaScan *scan, AttrNumber column, char *to, Size size);
extern int quota_scan_enum(const QuotaScan *scan, AttrNumber column, const char *const *names);

#endif
