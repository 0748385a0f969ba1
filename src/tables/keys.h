/* Idempotency keys: rows of quota.keys. */
#ifndef QUOTA_KEYS_H
#define QUOTA_KEYS_H

#include "datatype/timestamp.h"

#include "tables/store.h"

/* A call and its remembered answer. */
typedef struct QuotaKeyRow
{
	Datum account; /* text, as is key */
	Datum key;
	const char *function;
	const char *feature;
	int64 n;
	int64 reservation; /* 0: none */
	Datum decision;    /* quota_decision */
	TimestampTz at;
} QuotaKeyRow;

extern bool quota_keys_find(QuotaKeyRow *row, TransactionId *writer);
extern void quota_keys_insert(QuotaStore *store, const QuotaKeyRow *row);

#endif
