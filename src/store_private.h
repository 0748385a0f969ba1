/*
 * What the modules of the store share: store.c, counter.c for the rows of
 * quota.usage, and ledger.c for the tables that are only added to.
 */
#ifndef QUOTA_STORE_PRIVATE_H
#define QUOTA_STORE_PRIVATE_H

#include "executor/executor.h"
#include "nodes/execnodes.h"

#include "probe.h"
#include "store.h"

typedef enum Table
{
	PLANS,
	FEATURES,
	PLAN_LIMITS,
	PLAN_FEATURES,
	ACCOUNTS,
	LIMIT_OVERRIDES,
	USAGE,
	EVENTS,
	ALERTS,
	TABLES
} Table;

enum
{
	USAGE_USED = 1,
	USAGE_PERIOD_START = 2,
	USAGE_PERIOD = 3,
	USAGE_SLOT = 4,
	USAGE_SLOTS = 5,
	USAGE_HOLDS = 6,
	USAGE_ALERTED = 7,
	USAGE_ACCOUNT = 8,
	USAGE_FEATURE = 9,
	USAGE_COLUMNS = 9
};

typedef struct QuotaOids
{
	Oid tables[TABLES];
	Oid pool_members; /* the index of accounts by pool */
	Oid periods[QUOTA_PERIODS];
	Oid verdicts[QUOTA_VERDICTS];
	Oid decision_type;
	Oid plan_with;
	Oid events_id; /* sequences */
	Oid alerts_id;
} QuotaOids;

struct QuotaStore
{
	MemoryContext context;
	bool write;     /* quota.usage, as soon as it is open */
	bool written;   /* since the last CommandCounterIncrement */
	Snapshot now;   /* of what accounts are entitled to */
	uint64 state;   /* a number that is another if `now` sees anything else; 0: not known */
	Snapshot as_of; /* of use */
	QuotaProbe accounts;
	QuotaProbe usage;
	EState *estate; /* NULL until a row needs index entries */
	ResultRelInfo *result;
	TupleTableSlot *new_row;
	struct QuotaAppender *events; /* NULL until an event is written */
};

extern const QuotaOids *quota_store_oids(void);
extern void quota_store_open_usage(QuotaStore *store);
extern void quota_store_new_snapshots(QuotaStore *store);

#endif
