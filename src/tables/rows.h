/*
 * The rows that keys and reservations write.
 */
#ifndef QUOTA_ROWS_H
#define QUOTA_ROWS_H

#include "storage/itemptr.h"

#include "tables/counter.h"

/* Of quota.keys: a call, and its answer. */
typedef struct QuotaKeyRow
{
	Datum account; /* text, as all Datums here but the decision */
	Datum key;
	const char *function;
	const char *feature;
	int64 n;
	int64 reservation; /* 0: none */
	Datum decision;    /* quota_decision */
	TimestampTz at;
} QuotaKeyRow;

typedef struct QuotaReservationRow
{
	int64 id;
	Datum account;
	const char *feature;
	int64 amount;
	int16 counters;
	TimestampTz reserved_at;
	TimestampTz expires_at;
} QuotaReservationRow;

/* What a reservation holds of one counter. */
typedef struct QuotaHoldRow
{
	QuotaCounterKey key;
	TimestampTz expires_at;
	int64 reservation;
	int64 amount;
	ItemPointerData tid;
} QuotaHoldRow;

extern bool quota_rows_find_key(QuotaKeyRow *row, TransactionId *writer);
extern void quota_rows_insert_key(QuotaStore *store, const QuotaKeyRow *row);
extern void quota_rows_insert_reservation(QuotaStore *store, QuotaReservationRow *row);
extern bool quota_rows_take_reservation(QuotaStore *store, int64 id, QuotaReservationRow *row);
extern void quota_rows_insert_hold(QuotaStore *store, const QuotaHoldRow *row);
extern QuotaHoldRow *quota_rows_holds_of_counter(QuotaStore *store, const QuotaCounterKey *key, TimestampTz until, int *count);
extern QuotaHoldRow *quota_rows_holds_of_reservation(QuotaStore *store, int64 reservation, int *count);
extern bool quota_rows_delete_hold(QuotaStore *store, const QuotaHoldRow *row);

#endif
