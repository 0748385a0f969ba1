/* Write versions of a row of quota.usage. */
#ifndef QUOTA_USAGE_ROW_H
#define QUOTA_USAGE_ROW_H

#include "access/tableam.h"

#include "tables/store_private.h"
#include "tables/usage.h"

extern void quota_usage_row_key(QuotaStore *store, const QuotaCounterKey *counter, QuotaKey *key);
extern void quota_usage_row_slot_key(const QuotaKey *counter, int slot, QuotaKey *key);
extern HeapTuple quota_usage_row_form(QuotaStore *store, const QuotaCounterKey *key, int slot, const QuotaCounterChange *change);
extern TM_Result quota_usage_row_write(QuotaStore *store, uint64 hash, HeapTuple version, const QuotaUsageRow *row, bool is_slot, bool wait);
extern void quota_usage_row_record_insert(uint64 hash, HeapTuple version, bool is_slot);
extern HeapTuple quota_usage_row_fetch_version(QuotaStore *store, ItemPointerData tid);
extern bool quota_usage_row_lock_newest(QuotaStore *store, ItemPointerData tid);

#endif
