/* Counters: the use of a feature in a window. */
#ifndef QUOTA_COUNTER_H
#define QUOTA_COUNTER_H

#include "tables/store.h"
#include "tables/usage.h"

extern void quota_counter_read(QuotaStore *store, QuotaCounter *counter);
extern bool quota_counter_exists_for(const char *feature);
extern bool quota_counter_add(QuotaStore *store, QuotaCounter *counter, const QuotaCounterChange *change);
extern void quota_counter_take_back(QuotaStore *store, QuotaCounter *counter, const QuotaCounterChange *change);
extern bool quota_counter_lock(QuotaStore *store, QuotaCounter *counter);
extern bool quota_counter_has_slot(const QuotaCounter *counter);

#endif
