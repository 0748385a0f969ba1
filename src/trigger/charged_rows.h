/*
 * When rows were charged whose own time does not tell.
 */
#ifndef QUOTA_CHARGED_ROWS_H
#define QUOTA_CHARGED_ROWS_H

#include "trigger/attachment.h"

/* The entries of one attachment, in memory. */
typedef struct QuotaCharged QuotaCharged;

extern QuotaCharged *quota_charged_rows_load(const QuotaAttachment *attachment);
extern int quota_charged_rows_count(const QuotaCharged *charged);
extern bool quota_charged_rows_find(const QuotaCharged *charged, const char *key, TimestampTz *at);
extern bool quota_charged_rows_any(const QuotaAttachment *attachment);
extern bool quota_charged_rows_take(const QuotaAttachment *attachment, const char *key, TimestampTz *at);
extern void quota_charged_rows_put(const QuotaAttachment *attachment, const char *key, TimestampTz at);

#endif
