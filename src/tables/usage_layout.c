/*
 * usage_layout.c
 *		The layout of a row of quota.usage.
 *
 * Memory: none. Locks: none.
 */
#include "postgres.h"

#include "tables/usage_layout.h"

#include "utils/timestamp.h"

static bool is_text(const char **at, const QuotaKey *key, int column);

/*
 * Compare a row with the key of a slot in place, without deforming it: the cost of
 * a scan of many slots is mostly this.
 */
bool
quota_usage_layout_has_key(HeapTuple tuple, const QuotaKey *key)
{
	const QuotaUsageRow *row = QUOTA_USAGE_ROW(tuple);
	const char *at = (const char *) &row->alerted + sizeof(row->alerted);

	return DatumGetTimestampTz(key->columns[3].value) == row->period_start &&
		   DatumGetObjectId(key->columns[2].value) == row->period &&
		   DatumGetInt16(key->columns[4].value) == row->slot &&
		   is_text(&at, key, 0) && is_text(&at, key, 1);
}

/*
 * Compare the text at *at with a column of a key, and move *at to its end. It is
 * too short to be compressed.
 */
static bool
is_text(const char **at, const QuotaKey *key, int column)
{
	const char *text;
	Size length = key->columns[column].length;

	if (!VARATT_IS_1B(*at))
		*at = (const char *) INTALIGN(*at);
	text = *at;
	*at += VARSIZE_ANY(text);
	return VARSIZE_ANY_EXHDR(text) == length && memcmp(VARDATA_ANY(text), key->columns[column].bytes, length) == 0;
}
