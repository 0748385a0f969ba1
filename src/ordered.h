/*
 * The order in which counters are locked.
 */
#ifndef QUOTA_ORDERED_H
#define QUOTA_ORDERED_H

#include "nodes/pg_list.h"

#include "account.h"

extern List *quota_ordered_add(List *keys, const QuotaAccount *account, const char *feature, TimestampTz at);
extern void quota_ordered_lock(QuotaStore *store, List *keys);

#endif
