/*
 * When rows were charged, if their own time does not tell.
 */
#ifndef QUOTA_CHARGED_ROWS_H
#define QUOTA_CHARGED_ROWS_H

#include "trigger/row.h"

/* The entries of one attachment, in memory. */
typedef struct QuotaChargedRows QuotaChargedRows;

extern QuotaChargedRows *quota_charged_rows_load(const QuotaAttachment *attachment);
extern bool quota_charged_rows_find(const QuotaChargedRows *charged, const char *key, TimestampTz *at);
extern bool quota_charged_rows_exist(const QuotaAttachment *attachment);
extern bool quota_charged_rows_delete(const QuotaAttachment *attachment, TupleTableSlot *slot, TimestampTz *at);
extern void quota_charged_rows_insert(const QuotaAttachment *attachment, const char *key, TimestampTz at);

#endif
