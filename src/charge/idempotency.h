/*
 * Calls with a key, which are answered once.
 */
#ifndef QUOTA_IDEMPOTENCY_H
#define QUOTA_IDEMPOTENCY_H

#include "tables/store.h"

typedef struct QuotaKeyedCall
{
	Datum account;
	Datum key;            /* text; 0: none */
	const char *function; /* the name in SQL */
	const char *feature;
	int64 n;
	bool as_user; /* at level user, which is told nothing of another call */
} QuotaKeyedCall;

typedef struct QuotaRememberedAnswer
{
	Datum decision;    /* quota_decision */
	int64 reservation; /* 0: none */
} QuotaRememberedAnswer;

extern bool quota_idempotency_find(QuotaStore *store, const QuotaKeyedCall *call, QuotaRememberedAnswer *answer);
extern void quota_idempotency_remember(QuotaStore *store, const QuotaKeyedCall *call, const QuotaRememberedAnswer *answer);

#endif
