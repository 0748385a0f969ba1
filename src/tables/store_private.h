/*
 * What the modules of the store share: store.c, counter.c for the rows of
 * quota.usage, rows.c for those of keys and reservations, and ledger.c for the
 * tables that are only added to. appender.c and probe.c are below them.
 */
#ifndef QUOTA_STORE_PRIVATE_H
#define QUOTA_STORE_PRIVATE_H

#include "access/genam.h"

#include "tables/appender.h"
#include "tables/lookup.h"
#include "tables/store.h"

/* the catalogue first, which backends cache */
typedef enum Table
{
	PLANS,
	FEATURES,
	PLAN_LIMITS,
	PLAN_FEATURES,
	ACCOUNTS,
	LIMIT_OVERRIDES,
	USAGE,
	KEYS,
	RESERVATIONS,
	RESERVATION_IDS,
	HOLDS,
	HOLDS_OF_RESERVATION, /* its index, as the one before its sequence */
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
	USAGE_COLUMNS = 9,

	KEYS_ACCOUNT = 1,
	KEYS_KEY = 2,
	KEYS_FUNCTION = 3,
	KEYS_FEATURE = 4,
	KEYS_N = 5,
	KEYS_RESERVATION = 6,
	KEYS_DECISION = 7,
	KEYS_AT = 8,

	RESERVATIONS_ID = 1,
	RESERVATIONS_ACCOUNT = 2,
	RESERVATIONS_FEATURE = 3,
	RESERVATIONS_AMOUNT = 4,
	RESERVATIONS_COUNTERS = 5,
	RESERVATIONS_RESERVED_AT = 6,
	RESERVATIONS_EXPIRES_AT = 7,

	HOLDS_ACCOUNT = 1,
	HOLDS_FEATURE = 2,
	HOLDS_PERIOD = 3,
	HOLDS_PERIOD_START = 4,
	HOLDS_EXPIRES_AT = 5,
	HOLDS_RESERVATION = 6,
	HOLDS_AMOUNT = 7
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
	Snapshot now;   /* of what accounts are entitled to; NULL until quota_store_now */
	Snapshot as_of; /* of use */
	QuotaLookup accounts;
	QuotaLookup usage;
	bool written_tables;              /* there is one of the following */
	QuotaAppender *appenders[TABLES]; /* each NULL until a row is written; of EVENTS that of a partition */
};

extern const QuotaOids *quota_store_oids(void);
extern void quota_store_new_snapshots(QuotaStore *store);
extern Snapshot quota_store_now(QuotaStore *store);
extern Relation quota_store_table(Table table, LOCKMODE lock);
extern void quota_store_check_triggers(Relation rel);
extern QuotaAppender *quota_store_appender(QuotaStore *store, Table table);
extern SysScanDesc quota_store_scan(Relation rel, Snapshot snapshot, int nkeys, ScanKey keys);
extern bool quota_store_changed(void);

#endif
