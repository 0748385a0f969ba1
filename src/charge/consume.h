/*
 * Charging.
 */
#ifndef QUOTA_CONSUME_H
#define QUOTA_CONSUME_H

#include "charge/charge.h"

extern void quota_consume_ask(QuotaCharge *charge, const char *feature, int64 n);
extern bool quota_consume_charge(QuotaStore *store, Datum account, QuotaCharge *charges, int count, QuotaChargeMode mode);
extern void quota_consume_give_back(QuotaStore *store, Datum account, QuotaCharge *charge, TimestampTz at);
extern void quota_consume_look(QuotaStore *store, const QuotaAccount *account, QuotaCharge *charge, TimestampTz at);
extern void quota_consume_close_overage(QuotaCharge *charge);
extern void quota_consume_lock(QuotaStore *store, const QuotaCounterKey *key);
extern uint64 quota_consume_writes(void);
extern void quota_consume_wrote(void);

#endif
