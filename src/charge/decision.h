/*
 * A decision on a charge, and its forms: row, message, log line, event, error.
 */
#ifndef QUOTA_DECISION_H
#define QUOTA_DECISION_H

#include "lib/stringinfo.h"
#include "utils/tuplestore.h"

#include "compat.h"
#include "entitlement/account.h"
#include "memory/rates.h"
#include "tables/ledger.h"

typedef struct QuotaDecision
{
	Datum account; /* text */
	TimestampTz now;
	const QuotaEntitlement *entitlement;
	int64 n;
	const QuotaWindowLimit *window; /* whose figures these are; NULL: the feature is not in the plan */
	int64 used;
	QuotaVerdict verdict;
	QuotaReason reason;
	TimestampTz lasts_until; /* of a denial by a limit: the end of the window, or when the rate has room */
} QuotaDecision;

extern QuotaDecision quota_decision_make(const QuotaAccount *account, const QuotaEntitlement *entitlement,
										 const int64 *used, const QuotaRate *rates, int64 n);
extern QuotaDecision quota_decision_of_window(const QuotaAccount *account, const QuotaEntitlement *entitlement,
											  const int64 *used, const QuotaRate *rates, int window, int64 n);
extern void quota_decision_allow(QuotaDecision *decision);
extern void quota_decision_enforce(QuotaDecision *decision);
extern Datum quota_decision_datum(const QuotaDecision *decision);
extern void quota_decision_put(const QuotaDecision *decision, Tuplestorestate *result);
extern char *quota_decision_message(const QuotaDecision *decision);
extern void quota_decision_log(const QuotaDecision *decision);
extern const char *quota_decision_error(const QuotaDecision *decision);
extern bool quota_decision_is_error(const char *name);
extern void quota_decision_append_json(StringInfo json, const char *key, const char *value);
extern QuotaEventRow quota_decision_event(const QuotaDecision *decision);
pg_noreturn extern void quota_decision_raise(const QuotaDecision *decision);

#endif
