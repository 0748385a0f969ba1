/*
 * table.c
 *		Owner, name and columns of the application's tables.
 *
 * Allocates in the caller's context. Locks: AccessShareLock on a table that it
 * opens.
 */
#include "postgres.h"

#include "trigger/table.h"

#include "access/relation.h"
#include "access/transam.h"
#include "catalog/pg_class.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "parser/parse_relation.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "argument.h"
#include "compat.h"
#include "owner.h"

/*
 * Refuse a table that the caller does not own.
 *
 * Errors: undefined_table, insufficient_privilege.
 */
void
quota_table_check_owner(Oid relid)
{
	if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relid)))
		quota_table_raise_missing(relid);
	if (!quota_compat_owns_table(relid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, get_relkind_objtype(get_rel_relkind(relid)), get_rel_name(relid));
}

/*
 * Lock a table that the caller owns, by its OID, since its name may change
 * while this waits. Check again after the wait, since the owner may change too.
 *
 * Errors: undefined_table, insufficient_privilege.
 */
void
quota_table_lock_own(Oid relid, LOCKMODE lock)
{
	quota_table_check_owner(relid);
	LockRelationOid(relid, lock);
	quota_table_check_owner(relid);
}

/* Open a table with AccessShareLock. Errors: undefined_table. */
Relation
quota_table_open(Oid relid)
{
	Relation rel = try_relation_open(relid, AccessShareLock);

	if (rel == NULL)
		quota_table_raise_missing(relid);
	return rel;
}

/* Raise undefined_table. */
void
quota_table_raise_missing(Oid relid)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_TABLE),
			 errmsg("relation with OID %u does not exist", relid)));
}

/* Return the qualified and quoted name of a table. */
char *
quota_table_name(Oid relid)
{
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)), get_rel_name(relid));
}

/* Find a column by name. Returns NULL if there is none. */
Form_pg_attribute
quota_table_attribute(Relation rel, const char *name)
{
	AttrNumber number = attnameAttNum(rel, name, false);

	return number == InvalidAttrNumber ? NULL : TupleDescAttr(RelationGetDescr(rel), number - 1);
}

/* Describe a column. */
QuotaColumn
quota_table_column(Form_pg_attribute attribute)
{
	return (QuotaColumn){
		.number = attribute->attnum,
		.type = attribute->atttypid,
		.base_type = getBaseType(attribute->atttypid),
		.typmod = attribute->atttypmod,
		.typlen = attribute->attlen,
		.typbyval = attribute->attbyval};
}

/*
 * Read a column of an attachment by name.
 *
 * name: NULL gives no column, number 0.
 * Errors: undefined_column.
 */
QuotaColumn
quota_table_column_named(Relation rel, const char *name)
{
	Form_pg_attribute attribute;

	if (name == NULL)
		return (QuotaColumn){0};
	attribute = quota_table_attribute(rel, name);
	if (attribute == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" of table \"%s\" does not exist", name, RelationGetRelationName(rel)),
				 errdetail("A trigger of quota reads it."),
				 errhint("Call quota_attach with the column's new name, or quota_detach.")));
	if (attribute->attgenerated == ATTRIBUTE_GENERATED_VIRTUAL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("column \"%s\" of table \"%s\" is a virtual generated column", name, RelationGetRelationName(rel)),
				 errdetail("A trigger sees no value of it."),
				 errhint("Make the column STORED.")));
	return quota_table_column(attribute);
}

/*
 * Convert text to a value of a column's type.
 *
 * The input function runs as the owner of the table, since it may check a domain
 * of that owner.
 * Errors: those of the type.
 */
Datum
quota_table_input(const QuotaColumn *column, Oid owner, const char *value)
{
	QuotaOwner saved;
	Oid function;
	Oid parameter;
	Datum result;

	getTypeInputInfo(column->type, &function, &parameter);
	quota_owner_begin(&saved, owner, column->type >= FirstUnpinnedObjectId ? QUOTA_CODE_OWN : 0);
	result = OidInputFunctionCall(function, unconstify(char *, value), parameter, column->typmod);
	quota_owner_end(&saved);
	return result;
}

/*
 * quota.check_value(table, column, value): refuse a value that the column cannot
 * hold.
 *
 * Errors: undefined_table, undefined_column, and those of the column's type.
 */
PG_FUNCTION_INFO_V1(quota_check_value);

Datum
quota_check_value(PG_FUNCTION_ARGS)
{
	QuotaColumn column;
	Relation rel;

	for (int i = 0; i < 3; i++)
		quota_argument_check_not_null(fcinfo, i, "argument");
	rel = quota_table_open(PG_GETARG_OID(0));
	column = quota_table_column_named(rel, text_to_cstring(PG_GETARG_TEXT_PP(1)));
	(void) quota_table_input(&column, rel->rd_rel->relowner, text_to_cstring(PG_GETARG_TEXT_PP(2)));
	relation_close(rel, AccessShareLock);
	PG_RETURN_VOID();
}
