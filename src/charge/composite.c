/*
 * Values of composite types, written column by column.
 *
 * heap_form_tuple goes by the type's description and passes over the columns
 * three times. Here they are known when this is compiled, and a decision costs
 * less than its row did. Columns are written as they stand in every table; the
 * header, where PostgreSQL keeps more than concerns us, is a copy of one that
 * heap_form_tuple made, and made anew when the type changes.
 *
 * Memory: a value in the caller's context, the header in TopMemoryContext.
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
 * Begin a value, whose columns are to be written in their order, all of them.
 *
 * size: bytes that they take at most, without what aligns them.
 */
void
quota_composite_begin(QuotaComposite *record, QuotaCompositeType *type, Oid oid, Size size)
{
	Size start;

	/* the cache never frees an entry, but it may let go of its description */
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

/* also a timestamptz */
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

/* A short one has a header of one byte and is not aligned. */
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

Datum
quota_composite_end(QuotaComposite *record)
{
	Assert(record->column == HeapTupleHeaderGetNatts(record->header));
	HeapTupleHeaderSetDatumLength(record->header, record->end - (char *) record->header);
	return HeapTupleHeaderGetDatum(record->header);
}

/* Have a header made, of a value that has nulls and, by its columns, texts. */
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

/* Where the next column is written. */
static void *
place(QuotaComposite *record, Size alignment, Size length)
{
	char *at = (char *) TYPEALIGN(alignment, record->end);

	/* a reader takes what is not 0 for the beginning of a text */
	while (record->end < at)
		*record->end++ = 0;
	record->end += length;
	record->header->t_bits[record->column / 8] |= 1 << record->column % 8;
	record->column++;
	return at;
}
