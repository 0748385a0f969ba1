/*
 * The triggers of an attachment, made and dropped.
 */
#ifndef QUOTA_TRIGGER_DDL_H
#define QUOTA_TRIGGER_DDL_H

#include "tables/attached.h"

/* A trigger that charges the rows of a table. */
typedef struct QuotaChargeTrigger
{
	Oid relid;
	int32 id; /* of the attachment */
} QuotaChargeTrigger;

extern bool quota_trigger_ddl_exists(Oid relid, const char *feature);
extern void quota_trigger_ddl_add(Oid relid, const QuotaAttached *attached);
extern List *quota_trigger_ddl_list_charging(Oid relid);

#endif
