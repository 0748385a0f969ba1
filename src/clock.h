/*
 * Values of SQL types for functions that SQL calls.
 */
#ifndef QUOTA_CLOCK_H
#define QUOTA_CLOCK_H

#include "period.h"

extern QuotaPeriod quota_clock_period(Oid oid);

#endif
