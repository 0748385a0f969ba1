/*
 * Owner, name and columns of the application's tables.
 */
#ifndef QUOTA_TABLE_H
#define QUOTA_TABLE_H

#include "compat.h"
#include "catalog/pg_attribute.h"
#include "storage/lockdefs.h"
#include "utils/relcache.h"

/* A column of a table; number 0: none. */
typedef struct QuotaColumn
{
	AttrNumber number;
	Oid type;      /* as declared */
	Oid base_type; /* of a domain */
	int32 typmod;
	int16 typlen;
	bool typbyval;
} QuotaColumn;

extern void quota_table_check_owner(Oid relid);
extern void quota_table_lock_own(Oid relid, LOCKMODE lock);
extern Relation quota_table_open(Oid relid);
pg_noreturn extern void quota_table_raise_missing(Oid relid);
extern char *quota_table_name(Oid relid);
extern Form_pg_attribute quota_table_attribute(Relation rel, const char *name);
extern QuotaColumn quota_table_column(Form_pg_attribute attribute);
extern QuotaColumn quota_table_column_named(Relation rel, const char *name);
extern Datum quota_table_input(const QuotaColumn *column, Oid owner, const char *value);

#endif
