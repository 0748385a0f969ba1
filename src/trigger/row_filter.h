/*
 * Rows that a limit may leave out or mark.
 */
#ifndef QUOTA_ROW_FILTER_H
#define QUOTA_ROW_FILTER_H

#include "trigger/statement_totals.h"

extern void quota_row_filter_init(void);
extern bool quota_row_filter_add_totals(Relation rel, const char *feature, int64 rows, QuotaStatementTotals *totals);
extern void quota_row_filter_end(Relation rel, const char *feature);

#endif
