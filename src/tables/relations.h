/* The tables of schema quota: OIDs, opening, relcache callback. */
#ifndef QUOTA_RELATIONS_H
#define QUOTA_RELATIONS_H

#include "storage/lockdefs.h"
#include "utils/relcache.h"

#include "rules/decide.h"
#include "rules/period.h"

/* the catalogue first: backends cache it */
typedef enum QuotaTable
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
	HOLDS,
	EVENTS,
	ALERTS,
	ACCOUNT_USERS,
	LEVELS,
	ATTACHED,
	ADOPTED,
	ACCOUNTS_IN_POOL, /* indexes */
	HOLDS_OF_RESERVATION,
	RESERVATION_IDS, /* sequences */
	EVENT_IDS,
	ALERT_IDS,
	TABLES
} QuotaTable;

/* columns that several files read, and the last column of each table that is read */
enum
{
	PLANS_RATE_MULTIPLIER = 10,
	FEATURES_USER_OVERAGE = 7,
	PLAN_LIMITS_BURST = 10,
	PLAN_FEATURES_VALUE = 3,
	ACCOUNTS_ACCOUNT = 1,
	ACCOUNTS_BYPASS = 13,
	LIMIT_OVERRIDES_EXPIRES_AT = 5,
	EVENTS_METADATA = 17,
	ALERTS_USAGE_LIMIT = 10,
	ACCOUNT_USERS_USER_ID = 2,
	LEVELS_LEVEL = 2,
	ATTACHED_FOLLOWS_ROWS = 14,
	ADOPTED_CREATED = 8,

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
	Oid periods[QUOTA_PERIODS];
	Oid verdicts[QUOTA_VERDICTS];
	Oid decision_type;
	Oid plan_with; /* function quota.quota_plan_with(text) */
} QuotaOids;

typedef void (*QuotaRelationChanged)(Oid relid);

/* number of relcache invalidations that this backend has processed */
extern uint64 quota_relations_invalidations;

extern void quota_relations_init(void);
extern void quota_relations_on_change(QuotaRelationChanged changed);
extern const QuotaOids *quota_relations_oids(void);
extern bool quota_relations_may_be(QuotaTable table, Oid relid);
extern Oid quota_relations_extension(void);
extern Relation quota_relations_open(QuotaTable table, LOCKMODE lock);
extern Relation quota_relations_open_to_write(QuotaTable table);
extern void quota_relations_check_triggers(Relation rel);
extern QuotaPeriod quota_relations_period(Oid period);
extern Oid quota_relations_period_oid(QuotaPeriod period);

#endif
