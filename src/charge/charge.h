/*
 * A charge: units of one feature, and what came of them.
 */
#ifndef QUOTA_CHARGE_H
#define QUOTA_CHARGE_H

#include "charge/decision.h"
#include "tables/counter.h"

typedef enum QuotaChargeMode
{
	QUOTA_CHARGE_LIMITED,  /* as the limits allow */
	QUOTA_CHARGE_AS_USER, /* the same for level user: overage is closed */
	QUOTA_CHARGE_ALWAYS   /* whatever they say */
} QuotaChargeMode;

/* What a charge is part of, for the ledger. */
typedef struct QuotaChargeOrigin
{
	const char *what;  /* was called */
	const char *key;   /* NULL: none */
	Datum metadata;    /* jsonb, 0: none */
	bool returns_denial; /* and not undoes it by an error */
} QuotaChargeOrigin;

/* Units of one feature: what is asked for, and what came of it. */
typedef struct QuotaCharge
{
	char feature[QUOTA_MAX_FEATURE + 1];
	int64 n;
	int32 holds; /* to be added to each counter: 1 where the units are reserved */
	QuotaChargeOrigin origin;
	QuotaEntitlement entitlement;
	int64 used[QUOTA_MAX_WINDOWS];                 /* in each window of the entitlement, less expired holds */
	QuotaCounter counters[QUOTA_MAX_WINDOWS];      /* one a window, */
	QuotaRate rates[QUOTA_MAX_WINDOWS];            /* or of a rate these */
	QuotaCounterChange changes[QUOTA_MAX_WINDOWS]; /* what is to be done to each */
	bool changed[QUOTA_MAX_WINDOWS];               /* what has been done */
	QuotaDecision decision;
} QuotaCharge;

#endif
