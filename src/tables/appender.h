/* Insert rows and index entries into a table. */
#ifndef QUOTA_APPENDER_H
#define QUOTA_APPENDER_H

#include "access/htup.h"
#include "nodes/execnodes.h"
#include "utils/relcache.h"

/* A table that is open for inserts. */
typedef struct QuotaAppender
{
	Relation rel;
	EState *estate;
	ResultRelInfo *result;
	TupleTableSlot *slot;
	List *keys;   /* OIDs of the primary key and its copies */
	Relation key; /* the primary key, last in result; NULL: none */
	IndexInfo *key_info;
} QuotaAppender;

extern QuotaAppender *quota_appender_open(Relation rel, bool speculative);
extern void quota_appender_close(QuotaAppender *appender);
extern void quota_appender_insert(QuotaAppender *appender, const AttrNumber *columns, int count, const Datum *values, const bool *nulls);
extern void quota_appender_insert_tuple(QuotaAppender *appender, HeapTuple tuple);
extern bool quota_appender_insert_unless_there(QuotaAppender *appender, HeapTuple tuple);
extern void quota_appender_index_version(QuotaAppender *appender, HeapTuple version, bool only_summarizing);

#endif
