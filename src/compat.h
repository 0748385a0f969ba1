/*
 * Differences between the versions of PostgreSQL.
 *
 * Where an older version lacks a name, it is defined as in the newest; calls with other
 * arguments are quota_compat_*.
 */
#ifndef QUOTA_COMPAT_H
#define QUOTA_COMPAT_H

#include "access/heapam.h"
#include "access/htup_details.h"
#include "catalog/pg_attribute.h"
#include "utils/guc.h"

/*
 * 16: heap_update returns which indexes need an entry for the new version, and only
 * summarizing ones (BRIN) get one for a heap-only version. Check hooks of settings use
 * guc_malloc. DecodeDateTime explains its errors. A relation has a locator in place of a node.
 */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#define quota_compat_guc_alloc(size) guc_malloc(LOG, size)
#define quota_compat_guc_free(pointer) guc_free(pointer)
#define quota_compat_decode_time(field, ftype, nf, dtype, tm, fsec, tz) \
	DecodeDateTime(field, ftype, nf, dtype, tm, fsec, tz, &(DateTimeErrorExtra){0})
#define quota_compat_heap_update(rel, tid, tuple, cid, wait, failure, mode, indexes) \
	heap_update(rel, tid, tuple, cid, InvalidSnapshot, wait, failure, mode, indexes)
#define quota_compat_insert_index_tuples(result, slot, estate, update, speculative, lost, keys, only_summarizing) \
	ExecInsertIndexTuples(result, slot, estate, update, speculative, lost, keys, only_summarizing)
#define quota_compat_owns_table(relid, role) object_ownercheck(RelationRelationId, relid, role)
#define quota_compat_locator(rel) ((rel)->rd_locator)
#else
#define quota_compat_locator(rel) ((rel)->rd_node)
#define quota_compat_guc_alloc(size) malloc(size)
#define quota_compat_guc_free(pointer) free(pointer)
#define quota_compat_decode_time(field, ftype, nf, dtype, tm, fsec, tz) \
	DecodeDateTime(field, ftype, nf, dtype, tm, fsec, tz)
#define quota_compat_insert_index_tuples(result, slot, estate, update, speculative, lost, keys, only_summarizing) \
	ExecInsertIndexTuples(result, slot, estate, update, speculative, lost, keys)
#define quota_compat_owns_table(relid, role) pg_class_ownercheck(relid, role)

typedef enum TU_UpdateIndexes
{
	TU_None,
	TU_All,
	TU_Summarizing
} TU_UpdateIndexes;

static inline TM_Result
quota_compat_heap_update(Relation rel, ItemPointer tid, HeapTuple tuple, CommandId cid, bool wait,
						 TM_FailureData *failure, LockTupleMode *mode, TU_UpdateIndexes *indexes)
{
	TM_Result result = heap_update(rel, tid, tuple, cid, InvalidSnapshot, wait, failure, mode);

	*indexes = HeapTupleIsHeapOnly(tuple) ? TU_None : TU_All;
	return result;
}
#endif

/* 17: named shared memory without a request at server start (GetNamedDSMSegment). */
#if PG_VERSION_NUM >= 170000
#define QUOTA_COMPAT_NAMED_SEGMENTS 1
/* True if this backend holds a lock in exactly this mode. */
#define quota_compat_lock_held(tag, mode) LockHeldByMe(tag, mode, false)
#define quota_compat_alter_owner(rel, object, owner) AlterObjectOwner_internal(RelationGetRelid(rel), object, owner)
#else
#define QUOTA_COMPAT_NAMED_SEGMENTS 0
#define quota_compat_lock_held(tag, mode) LockHeldByMe(tag, mode)
#define quota_compat_alter_owner(rel, object, owner) AlterObjectOwner_internal(rel, object, owner)
#endif

/*
 * 18: virtual generated columns. Index scans count their searches. ExecCheckIndexConstraints
 * can leave out a row. ProcedureCreate takes the transforms as a list of types too.
 */
#if PG_VERSION_NUM >= 180000
#include "rewrite/rewriteHandler.h"
#define quota_compat_expand_generated(node, rel) expand_generated_columns_in_expr(node, rel, 1)
#define quota_compat_index_beginscan(rel, index, snapshot, columns) index_beginscan(rel, index, snapshot, NULL, columns, 0)
#define quota_compat_check_constraints(result, slot, estate, conflict, keys) \
	ExecCheckIndexConstraints(result, slot, estate, conflict, &(ItemPointerData){.ip_posid = InvalidOffsetNumber}, keys)
#define quota_compat_primary_key(rel) RelationGetPrimaryKeyIndex(rel, false)
#define QUOTA_COMPAT_NO_TRANSFORMS PointerGetDatum(NULL), NIL
#else
#define pg_noreturn pg_attribute_noreturn()
#define ATTRIBUTE_GENERATED_VIRTUAL 'v'
#define quota_compat_expand_generated(node, rel) (node)
#define quota_compat_index_beginscan(rel, index, snapshot, columns) index_beginscan(rel, index, snapshot, columns, 0)
#define quota_compat_check_constraints(result, slot, estate, conflict, keys) \
	ExecCheckIndexConstraints(result, slot, estate, conflict, keys)
#define quota_compat_primary_key(rel) RelationGetPrimaryKeyIndex(rel)
#define QUOTA_COMPAT_NO_TRANSFORMS PointerGetDatum(NULL)
#endif

/*
 * True if heap_update may be called with wait = false. With assertions it requires that
 * such a caller never meets a locked row.
 */
#ifdef USE_ASSERT_CHECKING
#define QUOTA_COMPAT_UPDATES_NOWAIT false
#else
#define QUOTA_COMPAT_UPDATES_NOWAIT true
#endif

/* Nanoseconds of a file's modification time. */
#if defined(__APPLE__)
#define quota_compat_mtime_ns(stat) ((stat).st_mtimespec.tv_nsec)
#elif defined(WIN32)
#define quota_compat_mtime_ns(stat) 0
#else
#define quota_compat_mtime_ns(stat) ((stat).st_mtim.tv_nsec)
#endif

#endif
