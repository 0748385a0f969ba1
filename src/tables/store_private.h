/*
 * What is open for a look or a charge, for the files of this folder.
 */
#ifndef QUOTA_STORE_PRIVATE_H
#define QUOTA_STORE_PRIVATE_H

#include "tables/appender.h"
#include "tables/lookup.h"
#include "tables/relations.h"
#include "tables/store.h"

struct QuotaStore
{
	MemoryContext context;
	bool write;                    /* quota.usage, as soon as it is open */
	bool written;                  /* since the last CommandCounterIncrement */
	Snapshot entitlement_snapshot; /* of what accounts are entitled to; NULL until quota_store_entitlement_snapshot */
	Snapshot usage_snapshot;       /* of use */
	QuotaLookup accounts;
	QuotaLookup usage;
	bool has_appenders;               /* there is one of the following */
	QuotaAppender *appenders[TABLES]; /* each NULL until a row is written; of EVENTS that of a partition */
};

extern void quota_store_renew_snapshots(QuotaStore *store);
extern Snapshot quota_store_entitlement_snapshot(QuotaStore *store);
extern QuotaLookup *quota_store_accounts(QuotaStore *store);
extern QuotaAppender *quota_store_appender(QuotaStore *store, QuotaTable table);
extern void quota_store_insert(QuotaStore *store, QuotaTable table, int columns, const Datum *values, const bool *nulls);
extern bool quota_store_retry_or_raise(void);

#endif
