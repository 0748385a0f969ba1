/*
 * The settings, and what they determine: the enforcement mode, the clock, the time zone.
 */
#ifndef QUOTA_GUC_H
#define QUOTA_GUC_H

#include "datatype/timestamp.h"
#include "pgtime.h"

typedef enum QuotaEnforcement
{
	QUOTA_ENFORCEMENT_ON,
	QUOTA_ENFORCEMENT_SHADOW,
	QUOTA_ENFORCEMENT_OFF
} QuotaEnforcement;

typedef enum QuotaLogDecisions
{
	QUOTA_LOG_NONE,
	QUOTA_LOG_BLOCK,
	QUOTA_LOG_WARN,
	QUOTA_LOG_ALL
} QuotaLogDecisions;

extern int quota_guc_enforcement;
extern int quota_guc_log_decisions;
extern char *quota_guc_notify_channel; /* empty: none */
extern int quota_guc_stripe_tolerance; /* seconds */

extern void quota_guc_init(void);
extern TimestampTz quota_guc_now(void);
extern TimestampTz quota_guc_clock(void);
extern pg_tz *quota_guc_timezone(void);
extern char *quota_guc_user(void);

#endif
