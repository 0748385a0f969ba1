/*
 * quota.c
 *		Module magic and initialization, nothing else.
 */
#include "postgres.h"

#include "fmgr.h"

#include "guc.h"
#include "memory/segment.h"
#include "rights/gate.h"
#include "tables/changes.h"
#include "tables/ledger.h"
#include "tables/newest.h"
#include "tables/relations.h"
#include "trigger/binding.h"
#include "trigger/row_filter.h"

PG_MODULE_MAGIC;

extern void _PG_init(void);

void
_PG_init(void)
{
	quota_guc_init();
	quota_segment_init();
	quota_relations_init();
	quota_changes_init();
	quota_ledger_init();
	quota_newest_init();
	quota_gate_init();
	quota_binding_init();
	quota_row_filter_init();
}
