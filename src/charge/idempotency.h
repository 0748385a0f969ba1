/*
 * Calls with an idempotency key.
 */
#ifndef QUOTA_IDEMPOTENCY_H
#define QUOTA_IDEMPOTENCY_H

#include "charge/charge.h"

typedef struct QuotaRememberedAnswer
{
	Datum decision;    /* quota_decision */
	int64 reservation; /* 0: none */
} QuotaRememberedAnswer;

extern bool quota_idempotency_find(QuotaStore *store, Datum account, const QuotaCharge *charge, bool as_user, QuotaRememberedAnswer *answer);
extern void quota_idempotency_remember(QuotaStore *store, const QuotaCharge *charge, const QuotaRememberedAnswer *answer);

#endif
