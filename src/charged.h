/*
 * When rows were charged whose own time does not tell.
 */
#ifndef QUOTA_CHARGED_H
#define QUOTA_CHARGED_H

#include "attachment.h"

extern bool quota_charged_any(const QuotaAttachment *attachment);
extern bool quota_charged_take(const QuotaAttachment *attachment, const char *key, TimestampTz *at);
extern void quota_charged_put(const QuotaAttachment *attachment, const char *key, TimestampTz at);

#endif
