/*
 * Values of composite types, written column by column.
 */
#ifndef QUOTA_RECORD_H
#define QUOTA_RECORD_H

#include "access/htup.h"
#include "datatype/timestamp.h"

/* A composite type, and what is kept of it: one static variable each. */
typedef struct QuotaRecordType
{
	const int16 *lengths; /* of the columns in bytes, -1: a text */
	int columns;
	struct TypeCacheEntry *entry;
	uint64 version;
	HeapTupleHeader header; /* of every value, without its nulls */
} QuotaRecordType;

/* A value while it is written. */
typedef struct QuotaRecord
{
	HeapTupleHeader header;
	char *end;
	int column; /* the next one */
} QuotaRecord;

extern void quota_record_begin(QuotaRecord *record, QuotaRecordType *type, Oid oid, Size size);
extern void quota_record_null(QuotaRecord *record);
extern void quota_record_bool(QuotaRecord *record, bool value);
extern void quota_record_oid(QuotaRecord *record, Oid value);
extern void quota_record_int8(QuotaRecord *record, int64 value);
extern void quota_record_float8(QuotaRecord *record, float8 value);
extern void quota_record_interval(QuotaRecord *record, const Interval *value);
extern void quota_record_text(QuotaRecord *record, const char *bytes, Size length);
extern Datum quota_record_end(QuotaRecord *record);

#endif
