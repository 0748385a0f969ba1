/* The layout of a row of quota.usage. */
#ifndef QUOTA_USAGE_LAYOUT_H
#define QUOTA_USAGE_LAYOUT_H

#include "access/htup_details.h"
#include "datatype/timestamp.h"

#include "tables/lookup.h"

/* The columns of fixed width, which begin every row. */
typedef struct QuotaUsageRow
{
	int64 used;
	TimestampTz period_start;
	Oid period;
	int16 slot;
	int16 slots;
	int32 holds;
	int16 alerted;
} QuotaUsageRow;

StaticAssertDecl(sizeof(QuotaUsageRow) <= QUOTA_VERSION_DATA, "a version that is looked at has all of it");

#define QUOTA_USAGE_ROW(tuple) ((QuotaUsageRow *) GETSTRUCT(tuple))
#define QUOTA_USAGE_ROW_SIZE (offsetof(QuotaUsageRow, alerted) + sizeof(int16))

extern bool quota_usage_layout_has_key(HeapTuple tuple, const QuotaKey *key);

#endif
