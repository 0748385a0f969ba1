/*
 * Who may call what.
 */
#ifndef QUOTA_GATE_H
#define QUOTA_GATE_H

#include "fmgr.h"

extern void quota_gate_require_admin(const char *function);
extern Datum quota_gate_call(FunctionCallInfo fcinfo);

#endif
