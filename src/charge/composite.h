/*
 * Values of composite types, written column by column.
 */
#ifndef QUOTA_COMPOSITE_H
#define QUOTA_COMPOSITE_H

#include "access/htup.h"
#include "datatype/timestamp.h"

/* A composite type and its cached header: one static variable each. */
typedef struct QuotaCompositeType
{
	const int16 *lengths; /* of the columns in bytes, -1: a text */
	int columns;
	struct TypeCacheEntry *entry;
	uint64 version;
	HeapTupleHeader header; /* of every value, without its null bits */
} QuotaCompositeType;

/* A value that is being written. */
typedef struct QuotaComposite
{
	HeapTupleHeader header;
	char *end;
	int column; /* number of the next one */
} QuotaComposite;

extern void quota_composite_begin(QuotaComposite *record, QuotaCompositeType *type, Oid oid, Size size);
extern void quota_composite_null(QuotaComposite *record);
extern void quota_composite_bool(QuotaComposite *record, bool value);
extern void quota_composite_oid(QuotaComposite *record, Oid value);
extern void quota_composite_int8(QuotaComposite *record, int64 value);
extern void quota_composite_float8(QuotaComposite *record, float8 value);
extern void quota_composite_interval(QuotaComposite *record, const Interval *value);
extern void quota_composite_text(QuotaComposite *record, const char *bytes, Size length);
extern Datum quota_composite_end(QuotaComposite *record);

#endif
