/*
 * Events and alerts of a charge.
 */
#ifndef QUOTA_EVENT_H
#define QUOTA_EVENT_H

#include "charge/charge.h"

extern int16 quota_event_threshold(const QuotaCharge *charge, int window, int64 units);
extern void quota_event_report_charge(QuotaStore *store, const QuotaCharge *charge, bool charged);
extern void quota_event_insert(QuotaStore *store, const QuotaCharge *charge, int64 amount);

#endif
