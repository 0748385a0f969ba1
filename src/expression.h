/*
 * Expressions on a row of the application's table.
 */
#ifndef QUOTA_EXPRESSION_H
#define QUOTA_EXPRESSION_H

#include "commands/trigger.h"
#include "nodes/primnodes.h"

extern void quota_expression_init(void);
extern Expr *quota_expression_plan(TriggerData *trigdata, int argument);

#endif
