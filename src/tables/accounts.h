/* Accounts, their overrides and users. */
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

extern bool quota_accounts_read(QuotaStore *store, Datum account, QuotaAccountRow *row);
extern QuotaLimitRow *quota_accounts_read_overrides(QuotaStore *store, Datum account, int *count);
extern bool quota_accounts_any_in_pool(void);
extern bool quota_accounts_has_member(Datum account, Datum user);
extern Datum quota_accounts_sponsor(Datum account);

#endif
