/*
 * What one statement charges and refunds to accounts.
 */
#ifndef QUOTA_STATEMENT_TOTALS_H
#define QUOTA_STATEMENT_TOTALS_H

#include "trigger/row.h"

typedef struct QuotaStatementTotals QuotaStatementTotals;

extern QuotaStatementTotals *quota_statement_totals_begin(QuotaAttachment *attachment);
extern void quota_statement_totals_add(QuotaStatementTotals *totals, const QuotaRow *row, int sign);
extern void quota_statement_totals_move(QuotaStatementTotals *totals, const QuotaRow *row, int64 n);
extern void quota_statement_totals_refund(QuotaStatementTotals *totals, const QuotaRow *row, TimestampTz at);
extern bool quota_statement_totals_same_windows(QuotaStatementTotals *totals, const QuotaRow *row, TimestampTz a, TimestampTz b);
extern void quota_statement_totals_charge(QuotaStatementTotals **list, int count);

#endif
