/*
 * When rows were charged whose own time does not tell.
 */
#ifndef QUOTA_CHARGED_H
#define QUOTA_CHARGED_H

#include "attachment.h"

/* The entries of one attachment, in memory. */
typedef struct QuotaCharged QuotaCharged;

extern QuotaCharged *quota_charged_load(const QuotaAttachment *attachment);
extern int quota_charged_count(const QuotaCharged *charged);
extern bool quota_charged_find(const QuotaCharged *charged, const char *key, TimestampTz *at);
extern bool quota_charged_any(const QuotaAttachment *attachment);
extern bool quota_charged_take(const QuotaAttachment *attachment, const char *key, TimestampTz *at);
extern void quota_charged_put(const QuotaAttachment *attachment, const char *key, TimestampTz at);

#endif
