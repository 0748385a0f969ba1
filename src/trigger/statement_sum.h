/*
 * What one statement does to accounts.
 */
#ifndef QUOTA_STATEMENT_SUM_H
#define QUOTA_STATEMENT_SUM_H

#include "trigger/attachment.h"

typedef struct QuotaStatementSum QuotaStatementSum;

extern QuotaStatementSum *quota_statement_sum_begin(QuotaAttachment *attachment);
extern void quota_statement_sum_add(QuotaStatementSum *tally, const QuotaRow *row, int sign);
extern void quota_statement_sum_move(QuotaStatementSum *tally, const QuotaRow *row, int64 n);
extern void quota_statement_sum_refund(QuotaStatementSum *tally, const QuotaRow *row, TimestampTz at);
extern bool quota_statement_sum_same_windows(QuotaStatementSum *tally, const QuotaRow *row, TimestampTz a, TimestampTz b);
extern void quota_statement_sum_settle(QuotaStatementSum **tallies, int count);

#endif
