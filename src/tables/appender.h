/*
 * How rows go into a table and its indexes. For the modules of the store.
 */
#ifndef QUOTA_APPENDER_H
#define QUOTA_APPENDER_H

#include "access/htup.h"
#include "nodes/execnodes.h"
#include "utils/relcache.h"

/* A table that rows are written to; it has the table open for itself. */
typedef struct QuotaAppender
{
	Relation rel;
	EState *estate;
	ResultRelInfo *result;
	TupleTableSlot *slot;
	List *keys;   /* the primary key's OID */
	Relation key; /* that index, the last of the result's; NULL: none */
	IndexInfo *key_info;
} QuotaAppender;

extern QuotaAppender *quota_appender_open(Relation rel, bool speculative);
extern void quota_appender_close(QuotaAppender *appender);
extern void quota_appender_insert(QuotaAppender *appender, const AttrNumber *columns, int count, const Datum *values, const bool *nulls);
extern void quota_appender_insert_tuple(QuotaAppender *appender, HeapTuple tuple);
extern bool quota_appender_insert_unless_there(QuotaAppender *appender, HeapTuple tuple);
extern void quota_appender_index_version(QuotaAppender *appender, HeapTuple version, bool only_summarizing);

#endif
