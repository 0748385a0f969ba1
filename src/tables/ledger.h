/* Insert rows into quota.events and quota.alerts. */
#ifndef QUOTA_LEDGER_H
#define QUOTA_LEDGER_H

#include "rules/decide.h"
#include "rules/period.h"
#include "tables/store.h"

/* Fields may be NULL where the column may be. */
typedef struct QuotaEventRow
{
	TimestampTz at;
	Datum account; /* text */
	const char *user_id;
	const char *feature;
	const char *plan;
	const char *what;
	const char *kind;
	int64 amount;
	QuotaVerdict verdict;
	const char *reason;
	int64 used;
	bool unlimited;
	int64 usage_limit;
	bool has_period;
	QuotaPeriod period;
	TimestampTz period_start;
	const char *key;
	Datum metadata; /* jsonb, 0: none */
} QuotaEventRow;

typedef struct QuotaAlertRow
{
	TimestampTz at;
	Datum account; /* text */
	const char *feature;
	const char *plan;
	QuotaPeriod period;
	TimestampTz period_start;
	const char *threshold;
	int64 used;
	int64 usage_limit;
} QuotaAlertRow;

extern void quota_ledger_init(void);
extern void quota_ledger_insert_event(QuotaStore *store, const QuotaEventRow *row);
extern void quota_ledger_insert_alert(QuotaStore *store, const QuotaAlertRow *row);

#endif
