/*
 * Module magic and initialization, nothing else.
 */
#include "postgres.h"

#include "fmgr.h"

#include "attachment.h"
#include "guc.h"
#include "judge.h"
#include "ledger.h"
#include "renamed.h"
#include "store.h"

PG_MODULE_MAGIC;

extern void _PG_init(void);

void
_PG_init(void)
{
	quota_guc_init();
	quota_store_init();
	quota_ledger_init();
	quota_attachment_init();
	quota_judge_init();
	quota_renamed_init();
}
