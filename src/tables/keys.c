/*
 * keys.c
 *		Idempotency keys: rows of quota.keys.
 *
 * charge/idempotency.c says what they mean.
 *
 * Memory: the caller's context. Locks: the table as SELECT and INSERT do.
 */
#include "postgres.h"

#include "tables/keys.h"

#include "utils/snapmgr.h"

#include "tables/scan.h"
#include "tables/store_private.h"

/*
 * Find the row of an account and key, also one that is not committed.
 *
 * row: account and key are set; the rest is filled in.
 * writer: the open transaction that inserted it; invalid: committed, or this one.
 * Returns false if there is none.
 */
bool
quota_keys_find(QuotaKeyRow *row, TransactionId *writer)
{
	SnapshotData dirty;
	QuotaScan scan;

	InitDirtySnapshot(dirty);
	if (!quota_scan_find(&scan, KEYS, &dirty, 2, (Datum[]){row->account, row->key}))
		return false;
	*writer = dirty.xmin;
	row->function = quota_scan_string(&scan, KEYS_FUNCTION);
	row->feature = quota_scan_string(&scan, KEYS_FEATURE);
	row->n = quota_scan_int64(&scan, KEYS_N);
	row->reservation = quota_scan_int64(&scan, KEYS_RESERVATION);
	row->decision = quota_scan_copy(&scan, KEYS_DECISION);
	quota_scan_end(&scan);
	return true;
}

void
quota_keys_insert(QuotaStore *store, const QuotaKeyRow *row)
{
	Datum values[KEYS_AT];
	bool nulls[KEYS_AT] = {false};

	values[KEYS_ACCOUNT - 1] = row->account;
	values[KEYS_KEY - 1] = row->key;
	values[KEYS_FUNCTION - 1] = CStringGetTextDatum(row->function);
	values[KEYS_FEATURE - 1] = CStringGetTextDatum(row->feature);
	values[KEYS_N - 1] = Int64GetDatum(row->n);
	values[KEYS_RESERVATION - 1] = Int64GetDatum(row->reservation);
	nulls[KEYS_RESERVATION - 1] = row->reservation == 0;
	values[KEYS_DECISION - 1] = row->decision;
	values[KEYS_AT - 1] = TimestampTzGetDatum(row->at);
	quota_store_insert(store, KEYS, KEYS_AT, values, nulls);
}
