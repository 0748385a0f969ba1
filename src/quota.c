/*
 * Module magic and initialization, nothing else.
 */
#include "postgres.h"

#include "fmgr.h"

#include "attachment.h"
#include "citus.h"
#include "gate.h"
#include "guc.h"
#include "judge.h"
#include "ledger.h"
#include "newest.h"
#include "renamed.h"
#include "shared.h"
#include "store.h"

PG_MODULE_MAGIC;

extern void _PG_init(void);

void
_PG_init(void)
{
	quota_guc_init();
	quota_shared_init();
	quota_store_init();
	quota_citus_init();
	quota_ledger_init();
	quota_newest_init();
	quota_gate_init();
	quota_attachment_init();
	quota_judge_init();
	quota_renamed_init();
}
