/*
 * The triggers of an attachment, made and dropped.
 */
#ifndef QUOTA_TRIGGER_DDL_H
#define QUOTA_TRIGGER_DDL_H

#include "commands/trigger.h"

#include "tables/attached.h"

extern bool quota_trigger_ddl_exists(Oid relid, const char *feature);
extern bool quota_trigger_ddl_is_made(const TriggerData *trigdata, const char *function, const char *feature);
extern int64 quota_trigger_ddl_number(const Trigger *trigger, int64 max);
extern void quota_trigger_ddl_add(Oid relid, const QuotaAttached *attached);
extern List *quota_trigger_ddl_charged(Oid relid, const QuotaAttached *attached);

#endif
