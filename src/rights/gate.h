/*
 * The gate: who may call what, for which accounts.
 *
 * A public function is C that asks the gate itself (charging, deciding), or quota_gate,
 * which calls its twin: the function of the same name and arguments in schema quota, the
 * owner's alone. A C function that has more to check first calls its twin in the end:
 *
 *	quota_gate_require_admin("quota_attach");
 *	... checks of its own, as the caller ...
 *	return quota_gate_call(fcinfo);
 *
 * It must not use fcinfo->flinfo->fn_extra, which the call keeps. A twin is SECURITY
 * DEFINER with a pinned search_path.
 */
#ifndef QUOTA_GATE_H
#define QUOTA_GATE_H

#include "fmgr.h"

/* Rules of the functions that ask the gate themselves; gate.c has all rules. Those up to CHARGE change data. */
typedef enum QuotaGateRule
{
	QUOTA_GATE_CONSUME, /* of the account of a user as well */
	QUOTA_GATE_CHARGE,
	QUOTA_GATE_LOOK,
	QUOTA_GATE_REPORT,
	QUOTA_GATE_TOTALS
} QuotaGateRule;

/* What is done while a twin runs. On the caller's stack. */
typedef struct QuotaGateFrame
{
	const char *function; /* the public function, which the audit log names */
	int levels;           /* of its caller */
	bool all_accounts;    /* or those that the user may see */
	struct QuotaGateFrame *outer;
} QuotaGateFrame;

extern void quota_gate_init(void);

/* Checks: errors of insufficient_privilege. */
extern void quota_gate_require_admin(const char *function);
extern void quota_gate_require(FunctionCallInfo fcinfo, QuotaGateRule rule);
extern bool quota_gate_require_account(FunctionCallInfo fcinfo, QuotaGateRule rule, Datum account);

/* Calls of what is the owner's alone, in a frame. */
extern Datum quota_gate_call(FunctionCallInfo fcinfo);

/*
 * A frame by hand, for work in C: changes made in it are audited as `act`, for
 * all accounts. Leave it on error too (PG_TRY, PG_FINALLY).
 */
extern void quota_gate_enter(QuotaGateFrame *frame, const char *act);
extern void quota_gate_leave(const QuotaGateFrame *frame);

#endif
