/*
 * The gate: who may call what, for which accounts.
 *
 * A public function is either C that asks the gate itself (charging, deciding),
 * or the generic quota_gate, which calls its twin: the function of the same name
 * and arguments in schema quota, the owner's alone, which does the work.
 *
 * A C function that has to check more first, such as who owns a table:
 *
 *	quota_gate_require_admin("quota_attach");
 *	... checks of its own, as the caller ...
 *	return quota_gate_call(fcinfo);
 *
 * Its twin quota.quota_attach(same arguments) is SECURITY DEFINER with a pinned
 * search_path. It must not use fcinfo->flinfo->fn_extra, which the call keeps.
 */
#ifndef QUOTA_GATE_H
#define QUOTA_GATE_H

#include "fmgr.h"

/* The functions that ask the gate themselves, and all others; gate.c has the rules. */
typedef enum QuotaGateFunction
{
	QUOTA_GATE_CONSUME,
	QUOTA_GATE_ENFORCE,
	QUOTA_GATE_RECORD,
	QUOTA_GATE_REFUND,
	QUOTA_GATE_CONSUME_MANY,
	QUOTA_GATE_RESERVE,
	QUOTA_GATE_COMMIT,
	QUOTA_GATE_RELEASE,
	QUOTA_GATE_EVALUATE,
	QUOTA_GATE_HAS_FEATURE,
	QUOTA_GATE_FEATURE,
	QUOTA_GATE_REQUIRE_FEATURE,
	QUOTA_GATE_RATES,
	QUOTA_GATE_RATE_STATS,
	QUOTA_GATE_OTHERS
} QuotaGateFunction;

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
extern void quota_gate_require(QuotaGateFunction function);
extern bool quota_gate_require_account(QuotaGateFunction function, Datum account);

/* Calls of what is the owner's alone, in a frame. */
extern Datum quota_gate_call(FunctionCallInfo fcinfo);

/*
 * A frame by hand, for work in C: changes made in it are audited as `act`, for
 * all accounts. Leave it on error too (PG_TRY, PG_FINALLY).
 */
extern void quota_gate_enter(QuotaGateFrame *frame, const char *act);
extern void quota_gate_leave(const QuotaGateFrame *frame);

#endif
