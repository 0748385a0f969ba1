/*
 * Calls with an idempotency key.
 */
#ifndef QUOTA_IDEMPOTENCY_H
#define QUOTA_IDEMPOTENCY_H

#include "tables/store.h"

typedef struct QuotaKeyedCall
{
	Datum account;
	Datum key;            /* text; 0: none */
	const char *function; /* its name in SQL */
	const char *feature;
	int64 n;
	bool as_user; /* level user, to which an error shows nothing of another call */
} QuotaKeyedCall;

typedef struct QuotaRememberedAnswer
{
	Datum decision;    /* quota_decision */
	int64 reservation; /* 0: none */
} QuotaRememberedAnswer;

extern bool quota_idempotency_find(QuotaStore *store, const QuotaKeyedCall *call, QuotaRememberedAnswer *answer);
extern void quota_idempotency_remember(QuotaStore *store, const QuotaKeyedCall *call, const QuotaRememberedAnswer *answer);

#endif
