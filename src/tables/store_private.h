/* Inside of a QuotaStore, for the files of this folder. */
#ifndef QUOTA_STORE_PRIVATE_H
#define QUOTA_STORE_PRIVATE_H

#include "access/htup_details.h"
#include "datatype/timestamp.h"

#include "tables/appender.h"
#include "tables/lookup.h"
#include "tables/relations.h"
#include "tables/store.h"

/* The columns of fixed width, which begin every row of quota.usage. */
typedef struct QuotaUsageRow
{
	int64 used;
	TimestampTz period_start;
	Oid period;
	int16 slot;
	int16 slots;
	int32 holds;
	int16 alerted;
} QuotaUsageRow;

StaticAssertDecl(sizeof(QuotaUsageRow) <= QUOTA_VERSION_DATA, "a version that is looked at has all of it");

#define QUOTA_USAGE_ROW(tuple) ((QuotaUsageRow *) GETSTRUCT(tuple))
#define QUOTA_USAGE_ROW_SIZE (offsetof(QuotaUsageRow, alerted) + sizeof(int16))

struct QuotaStore
{
	MemoryContext context;
	bool write;                    /* may charge; quota.usage is then locked for writing */
	bool written;                  /* something, since the last CommandCounterIncrement */
	Snapshot entitlement_snapshot; /* for what accounts are entitled to; NULL: not taken yet */
	Snapshot usage_snapshot;       /* for counters */
	QuotaLookup accounts;
	QuotaLookup usage;
	bool has_appenders;                   /* any of the appenders is open */
	QuotaAppender *appenders[ALERTS + 1]; /* opened by the first insert; for EVENTS that of a partition */
};

extern void quota_store_renew_snapshots(QuotaStore *store);
extern Snapshot quota_store_entitlement_snapshot(QuotaStore *store);
extern QuotaLookup *quota_store_accounts(QuotaStore *store);
extern QuotaAppender *quota_store_appender(QuotaStore *store, QuotaTable table);
extern void quota_store_open_appender(QuotaStore *store, QuotaTable table, Relation rel);
extern void quota_store_insert(QuotaStore *store, QuotaTable table, int columns, const Datum *values, const bool *nulls);
extern bool quota_store_retry_or_raise(void);

#endif
