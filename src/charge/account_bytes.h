/*
 * Bytes that name an account: its key, or the value of a column of another type.
 */
#ifndef QUOTA_ACCOUNT_BYTES_H
#define QUOTA_ACCOUNT_BYTES_H

#include "common/hashfn.h"
#include "utils/builtins.h"

#include "compat.h"

typedef struct QuotaAccountBytes
{
	const char *data;
	uint32 length;
} QuotaAccountBytes;

static inline QuotaAccountBytes
quota_account_bytes(Datum name)
{
	text *string = DatumGetTextPP(name);

	return (QuotaAccountBytes){VARDATA_ANY(string), VARSIZE_ANY_EXHDR(string)};
}

static inline uint32
quota_account_bytes_hash(QuotaAccountBytes bytes)
{
	return hash_bytes((const unsigned char *) bytes.data, bytes.length);
}

static inline bool
quota_account_bytes_equal(QuotaAccountBytes a, QuotaAccountBytes b)
{
	return a.length == b.length && memcmp(a.data, b.data, a.length) == 0;
}

/* Compare two names as text COLLATE "C". */
static inline int
quota_account_bytes_compare(QuotaAccountBytes a, QuotaAccountBytes b)
{
	int order = memcmp(a.data, b.data, Min(a.length, b.length));

	return order != 0 ? order : (a.length > b.length) - (a.length < b.length);
}

#endif
