/*
 * What one statement does to accounts.
 */
#ifndef QUOTA_TALLY_H
#define QUOTA_TALLY_H

#include "attachment.h"

typedef struct QuotaTally QuotaTally;

extern QuotaTally *quota_tally_begin(QuotaAttachment *attachment);
extern void quota_tally_add(QuotaTally *tally, const QuotaRow *row, int sign);
extern void quota_tally_move(QuotaTally *tally, const QuotaRow *row, int64 n);
extern void quota_tally_refund(QuotaTally *tally, const QuotaRow *row, TimestampTz at);
extern bool quota_tally_same_windows(QuotaTally *tally, const QuotaRow *row, TimestampTz a, TimestampTz b);
extern void quota_tally_settle(QuotaTally **tallies, int count);

#endif
