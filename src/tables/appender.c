/*
 * appender.c
 *		Insert rows and index entries into a table.
 *
 * Only this file inserts rows and index entries. It serves any index that an operator
 * has added: on expressions, partial, of any access method, unique, for exclusion
 * constraints. It fires no row triggers, so a table that has some is refused
 * (quota_relations_check_triggers).
 *
 * Life: from quota_appender_open to quota_appender_close, in the context of the
 * former. Locks: those of the table and its indexes stay until the end of the
 * transaction.
 */
#include "postgres.h"

#include "tables/appender.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "executor/executor.h"
#include "storage/lmgr.h"
#include "utils/rel.h"

#include "compat.h"

static void move_key_to_end(QuotaAppender *appender);
static List *same_keys(ResultRelInfo *result, Relation key);

/*
 * Make an appender of a table, and close the table with it.
 *
 * speculative: prepare for quota_appender_insert_unless_there.
 */
QuotaAppender *
quota_appender_open(Relation rel, bool speculative)
{
	QuotaAppender *appender = palloc0(sizeof(QuotaAppender));

	appender->rel = rel;
	appender->estate = CreateExecutorState();
	appender->result = makeNode(ResultRelInfo);
	/* range table index 0: there is no query */
	InitResultRelInfo(appender->result, rel, 0, NULL, 0);
	ExecOpenIndices(appender->result, speculative);
	appender->slot = ExecInitExtraTupleSlot(appender->estate, RelationGetDescr(rel), &TTSOpsHeapTuple);
	move_key_to_end(appender);
	return appender;
}

void
quota_appender_close(QuotaAppender *appender)
{
	ExecCloseIndices(appender->result);
	table_close(appender->rel, NoLock);
	ExecResetTupleTable(appender->estate->es_tupleTable, false);
	FreeExecutorState(appender->estate);
	list_free(appender->keys);
	pfree(appender);
}

/*
 * Insert a row.
 *
 * columns: the column number of each value; NULL: the first ones. Other columns are NULL.
 */
void
quota_appender_insert(QuotaAppender *appender, const AttrNumber *columns, int count, const Datum *values, const bool *nulls)
{
	TupleDesc desc = RelationGetDescr(appender->rel);
	Datum all_values[MaxHeapAttributeNumber];
	bool all_nulls[MaxHeapAttributeNumber];
	HeapTuple tuple;

	memset(all_nulls, true, desc->natts * sizeof(bool));
	for (int i = 0; i < count; i++)
	{
		int column = columns == NULL ? i : columns[i] - 1;

		all_values[column] = values[i];
		all_nulls[column] = nulls[i];
	}
	tuple = heap_form_tuple(desc, all_values, all_nulls);
	quota_appender_insert_tuple(appender, tuple);
	heap_freetuple(tuple);
}

/* Insert a row; tuple->t_self is set to its place. */
void
quota_appender_insert_tuple(QuotaAppender *appender, HeapTuple tuple)
{
	ExecStoreHeapTuple(tuple, appender->slot, false);
	table_tuple_insert(appender->rel, appender->slot, GetCurrentCommandId(true), 0, NULL);
	quota_compat_insert_index_tuples(appender->result, appender->slot, appender->estate, false, false, NULL, NIL, false);
	tuple->t_self = appender->slot->tts_tid;
	HeapTupleHeaderSetXmin(tuple->t_data, GetCurrentTransactionId());
	ExecClearTuple(appender->slot);
	ResetPerTupleExprContext(appender->estate);
}

/*
 * Insert a row unless its primary key exists, by speculative insertion as ON CONFLICT
 * does. Waits for a transaction that inserts the same key.
 *
 * Returns true if it was inserted; tuple->t_self is then set.
 */
bool
quota_appender_insert_unless_there(QuotaAppender *appender, HeapTuple tuple)
{
	TupleTableSlot *slot = appender->slot;
	ItemPointerData conflict;
	bool lost = true;
	uint32 token;

	ExecStoreHeapTuple(tuple, slot, false);
	slot->tts_tableOid = RelationGetRelid(appender->rel);
	if (quota_compat_check_constraints(appender->result, slot, appender->estate, &conflict, appender->keys))
	{
		token = SpeculativeInsertionLockAcquire(GetCurrentTransactionId());
		table_tuple_insert_speculative(appender->rel, slot, GetCurrentCommandId(true), 0, NULL, token);
		lost = false;
		quota_compat_insert_index_tuples(appender->result, slot, appender->estate, false, true, &lost, appender->keys, false);
		table_tuple_complete_speculative(appender->rel, slot, token, !lost);
		SpeculativeInsertionLockRelease(GetCurrentTransactionId());
		tuple->t_self = slot->tts_tid;
		HeapTupleHeaderSetXmin(tuple->t_data, GetCurrentTransactionId());
	}
	ExecClearTuple(slot);
	ResetPerTupleExprContext(appender->estate);
	return !lost;
}

/*
 * Insert the index entries of a new version of a row with the same primary key. The
 * caller has the row's lock, so the key needs no check of uniqueness, which would walk
 * all versions of the row.
 *
 * only_summarizing: the version is heap-only, and only indexes that summarize
 * pages need an entry.
 */
void
quota_appender_index_version(QuotaAppender *appender, HeapTuple version, bool only_summarizing)
{
	ResultRelInfo *result = appender->result;
	Datum values[INDEX_MAX_KEYS];
	bool nulls[INDEX_MAX_KEYS];

	ExecStoreHeapTuple(version, appender->slot, false);
	appender->slot->tts_tableOid = RelationGetRelid(appender->rel);
	if (appender->key != NULL)
	{
		if (!only_summarizing)
		{
			FormIndexDatum(appender->key_info, appender->slot, appender->estate, values, nulls);
			index_insert(appender->key, values, nulls, &version->t_self, appender->rel, UNIQUE_CHECK_NO, true, appender->key_info);
		}
		result->ri_NumIndices--;
	}
	if (result->ri_NumIndices > 0)
		quota_compat_insert_index_tuples(result, appender->slot, appender->estate, true, false, NULL, NIL, only_summarizing);
	if (appender->key != NULL)
		result->ri_NumIndices++;
	ExecClearTuple(appender->slot);
	ResetPerTupleExprContext(appender->estate);
}

/* Move the primary key to the end of the indexes, so that it can be left out. */
static void
move_key_to_end(QuotaAppender *appender)
{
	ResultRelInfo *result = appender->result;
	Oid key = quota_compat_primary_key(appender->rel);
	int last = result->ri_NumIndices - 1;

	for (int i = 0; i <= last; i++)
		if (RelationGetRelid(result->ri_IndexRelationDescs[i]) == key)
		{
			appender->key = result->ri_IndexRelationDescs[i];
			appender->key_info = result->ri_IndexRelationInfo[i];
			appender->keys = same_keys(result, appender->key);
			result->ri_IndexRelationDescs[i] = result->ri_IndexRelationDescs[last];
			result->ri_IndexRelationInfo[i] = result->ri_IndexRelationInfo[last];
			result->ri_IndexRelationDescs[last] = appender->key;
			result->ri_IndexRelationInfo[last] = appender->key_info;
			break;
		}
}

/*
 * List the indexes that are unique as the primary key is: while REINDEX CONCURRENTLY
 * runs there are two, and a row can conflict in either.
 */
static List *
same_keys(ResultRelInfo *result, Relation key)
{
	List *keys = NIL;
	int columns = IndexRelationGetNumberOfKeyAttributes(key);

	for (int i = 0; i < result->ri_NumIndices; i++)
	{
		const IndexInfo *info = result->ri_IndexRelationInfo[i];
		Relation index = result->ri_IndexRelationDescs[i];

		if (info->ii_Unique && index->rd_index->indimmediate && info->ii_Predicate == NIL && info->ii_NumIndexKeyAttrs == columns &&
			memcmp(index->rd_index->indkey.values, key->rd_index->indkey.values, columns * sizeof(int16)) == 0 &&
			memcmp(index->rd_indcollation, key->rd_indcollation, columns * sizeof(Oid)) == 0 &&
			memcmp(index->rd_opfamily, key->rd_opfamily, columns * sizeof(Oid)) == 0)
			keys = lappend_oid(keys, RelationGetRelid(index));
	}
	return keys;
}
