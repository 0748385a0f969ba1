/*
 * Differences between the versions of PostgreSQL: one name for what each calls
 * otherwise.
 */
#ifndef QUOTA_COMPAT_H
#define QUOTA_COMPAT_H

#include "access/heapam.h"
#include "access/htup_details.h"
#include "catalog/pg_attribute.h"
#include "utils/guc.h"

#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* A function that does not return is marked in front from 18 on. */
#if PG_VERSION_NUM < 180000
#define pg_noreturn pg_attribute_noreturn()
#endif

/* What check hooks return is freed by the server: from 16 on with guc_free. */
#if PG_VERSION_NUM >= 160000
#define quota_compat_guc_alloc(size) guc_malloc(LOG, size)
#define quota_compat_guc_free(pointer) guc_free(pointer)
#else
#define quota_compat_guc_alloc(size) malloc(size)
#define quota_compat_guc_free(pointer) free(pointer)
#endif

/* 16 says more of why a time cannot be read. */
#if PG_VERSION_NUM >= 160000
#define quota_compat_decode_time(field, ftype, nf, dtype, tm, fsec, tz) \
	DecodeDateTime(field, ftype, nf, dtype, tm, fsec, tz, &(DateTimeErrorExtra){0})
#else
#define quota_compat_decode_time(field, ftype, nf, dtype, tm, fsec, tz) \
	DecodeDateTime(field, ftype, nf, dtype, tm, fsec, tz)
#endif

/*
 * True if heap_update can be called with wait = false. A server with assertions
 * asserts that such a caller never meets a locked row.
 */
#ifdef USE_ASSERT_CHECKING
#define QUOTA_COMPAT_UPDATES_NOWAIT false
#else
#define QUOTA_COMPAT_UPDATES_NOWAIT true
#endif

/*
 * Which indexes a new version is inserted in is told by heap_update from 16 on;
 * those that summarize pages, as BRIN does, then also get one that is heap-only.
 */
#if PG_VERSION_NUM >= 160000
#define quota_compat_heap_update(rel, tid, tuple, cid, wait, failure, mode, indexes) \
	heap_update(rel, tid, tuple, cid, InvalidSnapshot, wait, failure, mode, indexes)
#else
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

#if PG_VERSION_NUM >= 160000
#define quota_compat_insert_index_tuples(result, slot, estate, update, speculative, lost, keys, only_summarizing) \
	ExecInsertIndexTuples(result, slot, estate, update, speculative, lost, keys, only_summarizing)
#else
#define quota_compat_insert_index_tuples(result, slot, estate, update, speculative, lost, keys, only_summarizing) \
	ExecInsertIndexTuples(result, slot, estate, update, speculative, lost, keys)
#endif

/* 18 leaves out the row itself where it is given. */
#if PG_VERSION_NUM >= 180000
#define quota_compat_check_constraints(result, slot, estate, conflict, keys) \
	ExecCheckIndexConstraints(result, slot, estate, conflict, &(ItemPointerData){.ip_posid = InvalidOffsetNumber}, keys)
#else
#define quota_compat_check_constraints(result, slot, estate, conflict, keys) \
	ExecCheckIndexConstraints(result, slot, estate, conflict, keys)
#endif

/* 18 counts the searches of a scan for EXPLAIN. */
#if PG_VERSION_NUM >= 180000
#define quota_compat_index_beginscan(rel, index, snapshot, columns) index_beginscan(rel, index, snapshot, NULL, columns, 0)
#else
#define quota_compat_index_beginscan(rel, index, snapshot, columns) index_beginscan(rel, index, snapshot, columns, 0)
#endif

#if PG_VERSION_NUM >= 180000
#define quota_compat_primary_key(rel) RelationGetPrimaryKeyIndex(rel, false)
#else
#define quota_compat_primary_key(rel) RelationGetPrimaryKeyIndex(rel)
#endif

/* Whether a role owns a table. */
#if PG_VERSION_NUM >= 160000
#define quota_compat_owns_table(relid, role) object_ownercheck(RelationRelationId, relid, role)
#else
#define quota_compat_owns_table(relid, role) pg_class_ownercheck(relid, role)
#endif

/* Whether this backend holds a lock, of this mode and no other. */
#if PG_VERSION_NUM >= 170000
#define quota_compat_lock_held(tag, mode) LockHeldByMe(tag, mode, false)
#else
#define quota_compat_lock_held(tag, mode) LockHeldByMe(tag, mode)
#endif

/* The owner of an object, given the catalogue that it is in. */
#if PG_VERSION_NUM >= 170000
#define quota_compat_alter_owner(rel, object, owner) AlterObjectOwner_internal(RelationGetRelid(rel), object, owner)
#else
#define quota_compat_alter_owner(rel, object, owner) AlterObjectOwner_internal(rel, object, owner)
#endif

/* Arguments of ProcedureCreate for a function without transforms. */
#if PG_VERSION_NUM >= 180000
#define QUOTA_COMPAT_NO_TRANSFORMS PointerGetDatum(NULL), NIL
#else
#define QUOTA_COMPAT_NO_TRANSFORMS PointerGetDatum(NULL)
#endif

/* From 18 on there are generated columns that are not stored. */
#ifndef ATTRIBUTE_GENERATED_VIRTUAL
#define ATTRIBUTE_GENERATED_VIRTUAL 'v'
#endif
#if PG_VERSION_NUM >= 180000
#include "rewrite/rewriteHandler.h"
#define quota_compat_expand_generated(node, rel) expand_generated_columns_in_expr(node, rel, 1)
#else
#define quota_compat_expand_generated(node, rel) (node)
#endif

/* Shared memory by name: from 17 on it is had without having been reserved. */
#if PG_VERSION_NUM >= 170000
#define QUOTA_COMPAT_NAMED_SEGMENTS 1
#else
#define QUOTA_COMPAT_NAMED_SEGMENTS 0
#endif

/* Nanoseconds of a file's time of modification. */
#if defined(__APPLE__)
#define quota_compat_mtime_ns(stat) ((stat).st_mtimespec.tv_nsec)
#elif defined(WIN32)
#define quota_compat_mtime_ns(stat) 0
#else
#define quota_compat_mtime_ns(stat) ((stat).st_mtim.tv_nsec)
#endif

#endif
