/*
 * Expressions on rows of attached tables.
 */
#ifndef QUOTA_EXPRESSION_H
#define QUOTA_EXPRESSION_H

#include "nodes/primnodes.h"
#include "utils/relcache.h"

#include "tables/attached.h"

extern const char *const quota_expression_names[QUOTA_EXPRESSIONS];

extern Expr *quota_expression_plan(const QuotaAttached *attached, QuotaExpression which, Relation rel);
extern void quota_expression_copy(const QuotaAttached *attached, QuotaExpression which, Oid owner, int32 id);
extern void quota_expression_rename(const QuotaAttached *attached);
extern Oid quota_expression_function(int32 id, QuotaExpression which);
extern void quota_expression_drop(int32 id);

#endif
