/*
 * composite.c
 *		Values of composite types, written column by column.
 *
 * heap_form_tuple reads the type's descriptor and passes over the columns three
 * times, which cost more than a decision. Here the columns are known at compile
 * time. They are written in the format of heap tuples; the header is a copy of
 * one that heap_form_tuple made, which is made anew when the type changes.
 *
 * Memory: a value is in the caller's context, the header in TopMemoryContext.
 * Locks: none.
 */
#include "postgres.h"

#include "charge/composite.h"

#include "access/htup_details.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

#include "compat.h"

static void look_up(QuotaCompositeType *type, Oid oid);
static void *place(QuotaComposite *record, Size alignment, Size length);

/*
 * Begin a value. The caller then writes all columns in their order.
 *
 * size: the most bytes that the columns take, without alignment.
 */
void
quota_composite_begin(QuotaComposite *record, QuotaCompositeType *type, Oid oid, Size size)
{
	Size start;

	/* the type cache never frees an entry, but may drop its descriptor */
	if (type->entry == NULL || type->entry->type_id != oid ||
		type->entry->tupDesc == NULL || type->entry->tupDesc_identifier != type->version)
		look_up(type, oid);
	start = type->header->t_hoff;
	record->header = palloc(start + size + type->columns * MAXIMUM_ALIGNOF);
	memcpy(record->header, type->header, start);
	record->end = (char *) record->header + start;
	record->column = 0;
}

void
quota_composite_null(QuotaComposite *record)
{
	record->column++;
}

void
quota_composite_bool(QuotaComposite *record, bool value)
{
	*(bool *) place(record, 1, sizeof(value)) = value;
}

void
quota_composite_oid(QuotaComposite *record, Oid value)
{
	*(Oid *) place(record, ALIGNOF_INT, sizeof(value)) = value;
}

/* Write a bigint or timestamptz. */
void
quota_composite_int8(QuotaComposite *record, int64 value)
{
	*(int64 *) place(record, ALIGNOF_DOUBLE, sizeof(value)) = value;
}

void
quota_composite_float8(QuotaComposite *record, float8 value)
{
	*(float8 *) place(record, ALIGNOF_DOUBLE, sizeof(value)) = value;
}

void
quota_composite_interval(QuotaComposite *record, const Interval *value)
{
	*(Interval *) place(record, ALIGNOF_DOUBLE, sizeof(Interval)) = *value;
}

/* Write a text. A short one has a header of one byte and is not aligned. */
void
quota_composite_text(QuotaComposite *record, const char *bytes, Size length)
{
	char *value;

	if (length + VARHDRSZ_SHORT <= VARATT_SHORT_MAX)
	{
		value = place(record, 1, length + VARHDRSZ_SHORT);
		SET_VARSIZE_SHORT(value, length + VARHDRSZ_SHORT);
	}
	else
	{
		value = place(record, ALIGNOF_INT, length + VARHDRSZ);
		SET_VARSIZE(value, length + VARHDRSZ);
	}
	memcpy(VARDATA_ANY(value), bytes, length);
}

/* End a value whose columns are all written, and return it. */
Datum
quota_composite_end(QuotaComposite *record)
{
	Assert(record->column == HeapTupleHeaderGetNatts(record->header));
	HeapTupleHeaderSetDatumLength(record->header, record->end - (char *) record->header);
	return HeapTupleHeaderGetDatum(record->header);
}

/* Make the header from a value with a text in the first column and nulls in the others. */
static void
look_up(QuotaCompositeType *type, Oid oid)
{
	TypeCacheEntry *entry = lookup_type_cache(oid, TYPECACHE_TUPDESC);
	TupleDesc desc = entry->tupDesc;
	Datum *values;
	bool *nulls;
	HeapTuple tuple;
	HeapTupleHeader header;

	if (desc == NULL || desc->natts != type->columns)
		elog(ERROR, "type %u does not have %d columns", oid, type->columns);
	values = palloc0(desc->natts * sizeof(Datum));
	nulls = palloc(desc->natts * sizeof(bool));
	for (int i = 0; i < desc->natts; i++)
	{
		if (TupleDescAttr(desc, i)->attlen != type->lengths[i])
			elog(ERROR, "column %d of type %u is not as the extension made it", i + 1, oid);
		nulls[i] = i > 0;
	}
	Assert(type->lengths[0] == -1);
	values[0] = PointerGetDatum(cstring_to_text(""));
	tuple = heap_form_tuple(desc, values, nulls);
	header = MemoryContextAlloc(TopMemoryContext, tuple->t_data->t_hoff);
	memcpy(header, tuple->t_data, tuple->t_data->t_hoff);
	memset(header->t_bits, 0, BITMAPLEN(desc->natts));
	heap_freetuple(tuple);

	if (type->header != NULL)
		pfree(type->header);
	type->header = header;
	type->entry = entry;
	type->version = entry->tupDesc_identifier;
}

/* Reserve the place of the next column. */
static void *
place(QuotaComposite *record, Size alignment, Size length)
{
	char *at = (char *) TYPEALIGN(alignment, record->end);

	/* padding must be 0: readers take another byte for a text's short header */
	while (record->end < at)
		*record->end++ = 0;
	record->end += length;
	record->header->t_bits[record->column / 8] |= 1 << record->column % 8;
	record->column++;
	return at;
}
