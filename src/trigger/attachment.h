/*
 * An attachment, as a trigger uses it.
 */
#ifndef QUOTA_ATTACHMENT_H
#define QUOTA_ATTACHMENT_H

#include "commands/trigger.h"

#include "owner.h"
#include "trigger/binding.h"

extern TriggerData *quota_attachment_check(FunctionCallInfo fcinfo, const char *name);
extern const char *quota_attachment_feature(const TriggerData *trigdata);
extern void quota_attachment_read(TriggerData *trigdata, QuotaAttachment *attachment);
extern void quota_attachment_open(Relation rel, const QuotaAttached *attached, QuotaAttachment *attachment);
extern void quota_attachment_read_time(QuotaAttachment *attachment, const char *column);
extern void quota_attachment_read_key(QuotaAttachment *attachment);
extern void quota_attachment_begin(const QuotaAttachment *attachment, QuotaOwner *saved);
extern void quota_attachment_end(const QuotaAttachment *attachment, const QuotaOwner *saved);

#endif
