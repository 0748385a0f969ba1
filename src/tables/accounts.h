/* Accounts, their overrides and users, the tables that they follow; the levels of roles. */
#ifndef QUOTA_ACCOUNTS_H
#define QUOTA_ACCOUNTS_H

#include "tables/catalogue.h"
#include "tables/store.h"

typedef enum QuotaStatus
{
	QUOTA_ACTIVE,
	QUOTA_TRIALING,
	QUOTA_PAST_DUE,
	QUOTA_SUSPENDED,
	QUOTA_CANCELED
} QuotaStatus;

typedef struct QuotaAccountRow
{
	char plan[QUOTA_MAX_PLAN + 1];      /* empty: none */
	char next_plan[QUOTA_MAX_PLAN + 1]; /* empty: none */
	QuotaStatus status;
	bool bypass;
	bool has_anchor;
	TimestampTz trial_ends_at; /* infinity: none */
	TimestampTz plan_ends_at;  /* infinity: none */
	TimestampTz cycle_anchor;
	char *timezone; /* NULL: none */
	char *pool;     /* NULL: none */
} QuotaAccountRow;

/* The columns of a table that accounts follow, in the order of quota_adopt's arguments. */
typedef enum QuotaAdoptedColumn
{
	QUOTA_ADOPTED_KEY,
	QUOTA_ADOPTED_NAME,
	QUOTA_ADOPTED_PLAN,
	QUOTA_ADOPTED_TYPE,
	QUOTA_ADOPTED_OWNER,
	QUOTA_ADOPTED_CREATED,
	QUOTA_ADOPTED_COLUMNS
} QuotaAdoptedColumn;

/* A row of quota.adopted. */
typedef struct QuotaAdopted
{
	int64 id;
	Oid relation;
	char *columns[QUOTA_ADOPTED_COLUMNS]; /* NULL: none */
} QuotaAdopted;

typedef struct QuotaLevelRow
{
	Oid role;
	char *level;
} QuotaLevelRow;

extern bool quota_accounts_read(QuotaStore *store, Datum account, QuotaAccountRow *row);
extern QuotaLimitRow *quota_accounts_read_overrides(QuotaStore *store, Datum account, int *count);
extern bool quota_accounts_any_in_pool(void);
extern bool quota_accounts_has_member(Datum account, Datum user);
extern Datum quota_accounts_sponsor(Datum account);
extern bool quota_adopted_get(int64 id, QuotaAdopted *row);
extern QuotaLevelRow *quota_levels_read(int *count);

#endif
