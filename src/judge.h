/*
 * Rows that a limit may leave out or mark.
 */
#ifndef QUOTA_JUDGE_H
#define QUOTA_JUDGE_H

#include "utils/rel.h"

extern void quota_judge_init(void);
extern void quota_judge_end(Relation rel, const char *feature);

#endif
