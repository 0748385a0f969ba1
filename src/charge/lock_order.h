/*
 * The order in which counters are locked.
 */
#ifndef QUOTA_LOCK_ORDER_H
#define QUOTA_LOCK_ORDER_H

#include "nodes/pg_list.h"

#include "entitlement/account.h"

extern List *quota_lock_order_add(List *keys, const QuotaAccount *account, const char *feature, TimestampTz at);
extern void quota_lock_order_lock(QuotaStore *store, List *keys);

#endif
