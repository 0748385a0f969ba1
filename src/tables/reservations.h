/* Reservations and their holds: rows of quota.reservations and quota.holds. */
#ifndef QUOTA_RESERVATIONS_H
#define QUOTA_RESERVATIONS_H

#include "storage/itemptr.h"

#include "tables/counter.h"

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

extern void quota_reservations_insert(QuotaStore *store, QuotaReservationRow *row);
extern bool quota_reservations_delete(QuotaStore *store, int64 id, QuotaReservationRow *row);
extern void quota_reservations_insert_hold(QuotaStore *store, const QuotaHoldRow *row);
extern QuotaHoldRow *quota_reservations_holds_of_counter(QuotaStore *store, const QuotaCounterKey *key, TimestampTz until, int *count);
extern QuotaHoldRow *quota_reservations_holds(QuotaStore *store, int64 reservation, int *count);
extern bool quota_reservations_delete_hold(QuotaStore *store, const QuotaHoldRow *row);

#endif
