/*
 * entitlement_cache.h
 *		The entitlement cache: what accounts are entitled to, in shared memory.
 */
#ifndef QUOTA_ENTITLEMENT_CACHE_H
#define QUOTA_ENTITLEMENT_CACHE_H

#include "datatype/timestamp.h"

/* The entitlement of an account, valid from one time until another. */
typedef struct QuotaEntitlementEntry
{
	TimestampTz from;
	TimestampTz until; /* not included */
	TimestampTz cycle_anchor;
	bool has_anchor;
	bool suspended;
	bool bypass;
	char plan[21]; /* its own plan; empty: it has none */
} QuotaEntitlementEntry;

extern void quota_entitlement_cache_expect(Datum account);
extern bool quota_entitlement_cache_find(Datum account, uint64 generation, TimestampTz at, QuotaEntitlementEntry *entry);
extern void quota_entitlement_cache_keep(Datum account, uint64 generation, const QuotaEntitlementEntry *entry, uint64 oldest);
extern void quota_entitlement_cache_forget(Datum account);
extern void quota_entitlement_cache_forget_all(void);

#endif
