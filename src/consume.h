/*
 * Charging.
 */
#ifndef QUOTA_CONSUME_H
#define QUOTA_CONSUME_H

#include "decision.h"

typedef enum QuotaChargeMode
{
	QUOTA_CHARGE_JUDGED,  /* as the limits allow */
	QUOTA_CHARGE_AS_USER, /* the same for level user: overage is closed */
	QUOTA_CHARGE_ALWAYS   /* whatever they say */
} QuotaChargeMode;

/* What a charge is part of, for the ledger. */
typedef struct QuotaOccasion
{
	const char *what;  /* was called */
	const char *key;   /* NULL: none */
	Datum metadata;    /* jsonb, 0: none */
	bool keeps_denial; /* and not undoes it by an error */
} QuotaOccasion;

/* Units of one feature: what is asked for, and what came of it. */
typedef struct QuotaCharge
{
	char feature[QUOTA_MAX_FEATURE + 1];
	int64 n;
	int32 holds; /* to be added to each counter: 1 where the units are reserved */
	QuotaOccasion occasion;
	QuotaEntitlement entitlement;
	QuotaCounter counters[QUOTA_MAX_WINDOWS];      /* one a window of the entitlement */
	QuotaCounterChange changes[QUOTA_MAX_WINDOWS]; /* what is to be done to each */
	bool changed[QUOTA_MAX_WINDOWS];               /* what has been done */
	QuotaDecision decision;
} QuotaCharge;

extern void quota_consume_ask(QuotaCharge *charge, const char *feature, int64 n);
extern bool quota_consume_charge(QuotaStore *store, Datum account, QuotaCharge *charges, int count, QuotaChargeMode mode);
extern void quota_consume_give_back(QuotaStore *store, Datum account, QuotaCharge *charge, TimestampTz at);
extern void quota_consume_look(QuotaStore *store, const QuotaAccount *account, QuotaCharge *charge, TimestampTz at);
extern void quota_consume_close_overage(QuotaCharge *charge);
extern void quota_consume_lock(QuotaStore *store, const QuotaCounterKey *key);
extern uint64 quota_consume_writes(void);
extern void quota_consume_wrote(void);

#endif
