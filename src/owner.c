/*
 * owner.c
 *		Run code of a table's owner as that owner, and work of the extension's owner.
 *
 * Expressions on rows, casts, checks of domains and output functions are the table
 * owner's code. Whoever makes them run, they run as the table's owner in a
 * security-restricted operation, as index expressions do in VACUUM.
 *
 * They must mean the same in every session. Immutable built-in functions still depend on
 * a few settings (bytea::text on bytea_output, age() of two times on TimeZone): these are
 * compared with their usual values, and set if they differ. Functions and types of users
 * get all settings that such code tends to depend on, search_path among them.
 *
 * After an error the abort of the transaction or subtransaction restores user and
 * settings, without quota_owner_end. Memory: the caller's context. Locks: none.
 */
#include "postgres.h"

#include "owner.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "utils/builtins.h"
#include "utils/bytea.h"
#include "utils/float.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/xml.h"

static const struct
{
	const char *name;
	const char *value;
} usual_settings[] = {
	{"search_path", "pg_catalog, pg_temp"},
	{"bytea_output", "hex"},
	{"extra_float_digits", "1"},
	{"DateStyle", "ISO, MDY"},
	{"IntervalStyle", "postgres"},
	{"TimeZone", "UTC"},
	{"timezone_abbreviations", "Default"},
	{"xmlbinary", "base64"},
	{"xmloption", "content"},
	{"quote_all_identifiers", "off"},
	{"standard_conforming_strings", "on"},
	{"backslash_quote", "safe_encoding"},
	{"transform_null_equals", "off"},
	{"array_nulls", "on"},
	{"default_text_search_config", "pg_catalog.simple"},
	{"lc_monetary", "C"},
	{"lc_numeric", "C"},
	{"lc_time", "C"}};

static bool settings_are_usual(int code);
static bool is_usual(const char *name, const char *value);
static bool code_walker(Node *node, void *context);
static bool add_function(Oid function, void *context);
static int code_of_type(Oid type);

/*
 * Become the owner of a table, in a security-restricted operation.
 *
 * code: what the code that will run depends on, from quota_owner_code.
 */
void
quota_owner_begin(QuotaOwner *saved, Oid owner, int code)
{
	GetUserIdAndSecContext(&saved->user, &saved->context);
	SetUserIdAndSecContext(owner, saved->context | SECURITY_RESTRICTED_OPERATION);
	saved->guc_level = 0;
	if (!(code & QUOTA_CODE_OWN) && settings_are_usual(code))
		return;
	saved->guc_level = NewGUCNestLevel();
	for (Size i = 0; i < lengthof(usual_settings); i++)
		if (!is_usual(usual_settings[i].name, usual_settings[i].value))
			(void) set_config_option(usual_settings[i].name, usual_settings[i].value, PGC_USERSET, PGC_S_SESSION,
									 GUC_ACTION_SAVE, true, 0, false);
}

/* Become the owner of the extension. */
void
quota_owner_begin_extension(QuotaOwner *saved)
{
	GetUserIdAndSecContext(&saved->user, &saved->context);
	SetUserIdAndSecContext(quota_owner_of_extension(), saved->context | SECURITY_LOCAL_USERID_CHANGE | SECURITY_NOFORCE_RLS);
	saved->guc_level = 0;
}

/* Restore the user and the settings. */
void
quota_owner_end(const QuotaOwner *saved)
{
	/* settings that the code has made are restored as well */
	if (saved->guc_level > 0)
		AtEOXact_GUC(false, saved->guc_level);
	SetUserIdAndSecContext(saved->user, saved->context);
}

/* Return what an expression may call or depend on. */
int
quota_owner_code(Node *expression)
{
	int code = 0;

	(void) code_walker(expression, &code);
	return code;
}

/* Return the owner of a relation; InvalidOid: it does not exist. */
Oid
quota_owner_of_relation(Oid relid)
{
	HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Oid owner = InvalidOid;

	if (HeapTupleIsValid(tuple))
	{
		owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
		ReleaseSysCache(tuple);
	}
	return owner;
}

/* Return the owner of the extension. Errors: undefined_table where it is not installed. */
Oid
quota_owner_of_extension(void)
{
	Oid schema = get_namespace_oid("quota", true);
	Oid owner = OidIsValid(schema) ? quota_owner_of_relation(get_relname_relid("attached", schema)) : InvalidOid;

	if (!OidIsValid(owner))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table quota.attached does not exist"),
				 errhint("Install the extension with CREATE EXTENSION quota.")));
	return owner;
}

/* True if a relation is one of the extension's tables in a list of names that ends with NULL. */
bool
quota_owner_is_table(Oid relid, const char *const *names)
{
	Oid schema = get_namespace_oid("quota", true);

	for (; OidIsValid(schema) && *names != NULL; names++)
		if (get_relname_relid(*names, schema) == relid)
			return true;
	return false;
}

/* True if the settings that immutable built-in functions depend on have their usual values. */
static bool
settings_are_usual(int code)
{
	return bytea_output == BYTEA_OUTPUT_HEX && extra_float_digits == 1 && IntervalStyle == INTSTYLE_POSTGRES &&
		   xmlbinary == XMLBINARY_BASE64 && !quote_all_identifiers &&
		   (!(code & QUOTA_CODE_TIMES) || (is_usual("TimeZone", "UTC") && is_usual("timezone_abbreviations", "Default")));
}

static bool
is_usual(const char *name, const char *value)
{
	const char *current = GetConfigOption(name, true, false);

	return current != NULL && strcmp(current, value) == 0;
}

/* Add what an expression may call or depend on to a set of bits. */
static bool
code_walker(Node *node, void *context)
{
	int *code = context;

	if (node == NULL)
		return false;
	(void) check_functions_in_node(node, add_function, context);
	switch (nodeTag(node))
	{
		case T_CoerceToDomain:
			*code |= QUOTA_CODE_OWN;
			break;
		case T_Var:
		case T_Const:
		case T_Param:
		case T_FuncExpr:
		case T_OpExpr:
		case T_SubscriptingRef:
		case T_FieldSelect:
		case T_RelabelType:
		case T_CoerceViaIO:
		case T_ArrayCoerceExpr:
		case T_ConvertRowtypeExpr:
		case T_CaseExpr:
		case T_RowExpr:
		case T_ArrayExpr:
			*code |= code_of_type(exprType(node));
			break;
		default:
			break;
	}
	return expression_tree_walker(node, code_walker, context);
}

/* AT TIME ZONE takes names, which may be abbreviations. */
static bool
add_function(Oid function, void *context)
{
	int *code = context;

	if (function >= FirstUnpinnedObjectId)
		*code |= QUOTA_CODE_OWN;
	if (function == F_TIMEZONE_TEXT_TIMESTAMP || function == F_TIMEZONE_TEXT_TIMESTAMPTZ || function == F_TIMEZONE_TEXT_TIMETZ)
		*code |= QUOTA_CODE_TIMES;
	return false;
}

/* Types of users may call functions of users, as domains and types made of them do; enums do not. */
static int
code_of_type(Oid type)
{
	if (type == TIMESTAMPTZOID || type == TIMETZOID || type == TIMESTAMPTZARRAYOID || type == TIMETZARRAYOID ||
		type == TSTZRANGEOID || type == TSTZMULTIRANGEOID)
		return QUOTA_CODE_TIMES;
	return type >= FirstUnpinnedObjectId && get_typtype(type) != TYPTYPE_ENUM ? QUOTA_CODE_OWN : 0;
}
