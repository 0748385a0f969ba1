/*
 * The part of a counter's use that reservations hold.
 */
#ifndef QUOTA_HOLD_H
#define QUOTA_HOLD_H

#include "tables/counter.h"

extern int64 quota_hold_sum(QuotaStore *store, const QuotaCounter *counter, TimestampTz until);
extern bool quota_hold_return_expired(QuotaStore *store, QuotaCounter *counter, TimestampTz now);

#endif
