/*
 * A charge: units of one feature, and the decision on them.
 */
#ifndef QUOTA_CHARGE_H
#define QUOTA_CHARGE_H

#include "charge/decision.h"
#include "tables/counter.h"

typedef enum QuotaChargeMode
{
	QUOTA_CHARGE_LIMITED, /* as far as the limits allow */
	QUOTA_CHARGE_AS_USER, /* the same for level user, with overage closed */
	QUOTA_CHARGE_ALWAYS   /* whatever the limits say */
} QuotaChargeMode;

/* The call that a charge is part of, for the ledger. */
typedef struct QuotaChargeOrigin
{
	const char *what;    /* name of the function called */
	Datum key;           /* the idempotency key, text; 0: none */
	Datum metadata;      /* jsonb, 0: none */
	bool returns_denial; /* a denial is returned, not raised, so its event stays */
} QuotaChargeOrigin;

/* Units of one feature, and the decision on them. */
typedef struct QuotaCharge
{
	char feature[QUOTA_MAX_FEATURE + 1];
	int64 n;
	int32 holds; /* to add to each counter: 1 for a reservation */
	QuotaChargeOrigin origin;
	QuotaEntitlement entitlement;
	int64 used[QUOTA_MAX_WINDOWS];                 /* in each window of the entitlement, without expired holds */
	QuotaCounter counters[QUOTA_MAX_WINDOWS];      /* one a window */
	QuotaRate rates[QUOTA_MAX_WINDOWS];            /* the same for a rate */
	QuotaCounterChange changes[QUOTA_MAX_WINDOWS]; /* to make to each */
	bool changed[QUOTA_MAX_WINDOWS];               /* the change has been made */
	QuotaDecision decision;
} QuotaCharge;

#endif
