/*
 * Calls with a key, which are answered once.
 */
#ifndef QUOTA_IDEMPOTENCY_H
#define QUOTA_IDEMPOTENCY_H

#include "tables/store.h"

typedef struct QuotaRequest
{
	Datum account;
	Datum key;            /* text; 0: none */
	const char *function; /* the name in SQL */
	const char *feature;
	int64 n;
	bool as_user; /* at level user, which is told nothing of another call */
} QuotaRequest;

typedef struct QuotaAnswer
{
	Datum decision;    /* quota_decision */
	int64 reservation; /* 0: none */
} QuotaAnswer;

extern bool quota_idempotency_recall(QuotaStore *store, const QuotaRequest *request, QuotaAnswer *answer);
extern void quota_idempotency_remember(QuotaStore *store, const QuotaRequest *request, const QuotaAnswer *answer);

#endif
