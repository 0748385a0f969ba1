/*
 * Rows that a limit may leave out or mark.
 */
#ifndef QUOTA_JUDGE_H
#define QUOTA_JUDGE_H

#include "tally.h"

extern void quota_judge_init(void);
extern bool quota_judge_tally(Relation rel, const char *feature, int64 rows, QuotaTally *tally);
extern void quota_judge_end(Relation rel, const char *feature);

#endif
