/*
 * Charge, record and refund units.
 */
#ifndef QUOTA_CONSUME_H
#define QUOTA_CONSUME_H

#include "charge/charge.h"

extern void quota_consume_prepare(QuotaCharge *charge, const char *feature, int64 n);
extern bool quota_consume_charge(QuotaStore *store, Datum account, QuotaCharge *charges, int count, QuotaChargeMode mode);
extern void quota_consume_refund(QuotaStore *store, Datum account, QuotaCharge *charge, TimestampTz at);
extern void quota_consume_read(QuotaStore *store, const QuotaAccount *account, QuotaCharge *charge, TimestampTz at);
extern void quota_consume_close_overage(QuotaCharge *charge);
extern void quota_consume_lock_counter(QuotaStore *store, const QuotaCounterKey *key);
extern uint64 quota_consume_generation(void);
extern void quota_consume_next_generation(void);

#endif
