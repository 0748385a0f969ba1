/*
 * argument.c
 *		Check the arguments of SQL functions.
 *
 * The functions are not strict: NULL is an error, since a NULL result could be taken for
 * a yes. Memory: the caller's context. Locks: none.
 */
#include "postgres.h"

#include "argument.h"

#include "access/detoast.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

#include "compat.h"
#include "sizes.h"

static void check_text(const char *name, Size length, Size most);

/* Return argument 0, an account, as text. */
Datum
quota_argument_account(FunctionCallInfo fcinfo)
{
	Datum account = PointerGetDatum(quota_argument_text(fcinfo, 0, "account"));

	quota_argument_check_account(account);
	return account;
}

/* Return argument 0, an account of another type, as text. out: the type's output function. */
Datum
quota_argument_account_by(FunctionCallInfo fcinfo, PGFunction out)
{
	quota_argument_check_not_null(fcinfo, 0, "account");
	return CStringGetTextDatum(DatumGetCString(DirectFunctionCall1(out, PG_GETARG_DATUM(0))));
}

/* Errors: invalid_parameter_value for an account that could not be stored. */
void
quota_argument_check_account(Datum account)
{
	check_text("account", VARSIZE_ANY_EXHDR(DatumGetPointer(account)), QUOTA_MAX_ACCOUNT);
}

/*
 * Return the name of a feature, which need not exist.
 *
 * Errors: undefined_object for one much longer than any can be; the message shows its
 * beginning.
 */
char *
quota_argument_feature(FunctionCallInfo fcinfo, int number)
{
	text *feature = quota_argument_text(fcinfo, number, "feature");

	if (VARSIZE_ANY_EXHDR(feature) > QUOTA_MAX_SHOWN)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("feature \"%.*s...\" does not exist",
						pg_mbcliplen(VARDATA_ANY(feature), VARSIZE_ANY_EXHDR(feature), QUOTA_MAX_FEATURE), VARDATA_ANY(feature))));
	return text_to_cstring(feature);
}

/* Clip a name that the caller gave, for an error message. */
const char *
quota_argument_shown(const char *name)
{
	size_t length = strlen(name);

	if (length <= NAMEDATALEN)
		return name;
	return psprintf("%.*s...", pg_mbcliplen(name, length, NAMEDATALEN), name);
}

/* Return an amount of units, at least 1. */
int64
quota_argument_amount(FunctionCallInfo fcinfo, int number)
{
	quota_argument_check_not_null(fcinfo, number, "n");
	quota_argument_check_amount(PG_GETARG_INT64(number));
	return PG_GETARG_INT64(number);
}

void
quota_argument_check_amount(int64 n)
{
	if (n < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("amount must be at least 1, not %lld", (long long) n)));
}

/* Return the idempotency key, text; 0: none. */
Datum
quota_argument_key(FunctionCallInfo fcinfo, int number)
{
	text *key;

	if (PG_ARGISNULL(number))
		return (Datum) 0;
	key = PG_GETARG_TEXT_PP(number);
	check_text("key", VARSIZE_ANY_EXHDR(key), QUOTA_MAX_KEY);
	return PointerGetDatum(key);
}

/*
 * Return the metadata of a call, any jsonb; 0 for NULL.
 *
 * Errors: invalid_parameter_value for more than QUOTA_MAX_METADATA bytes.
 */
Datum
quota_argument_metadata(FunctionCallInfo fcinfo, int number)
{
	if (PG_ARGISNULL(number))
		return (Datum) 0;
	/* before it is decompressed */
	quota_argument_check_length("metadata", toast_raw_datum_size(PG_GETARG_DATUM(number)) - VARHDRSZ, QUOTA_MAX_METADATA);
	return JsonbPGetDatum(PG_GETARG_JSONB_P(number));
}

/* Return a text. Errors: null_value_not_allowed. */
text *
quota_argument_text(FunctionCallInfo fcinfo, int number, const char *name)
{
	if (unlikely(PG_ARGISNULL(number)))
		quota_argument_check_not_null(fcinfo, number, name);
	return PG_GETARG_TEXT_PP(number);
}

/* Errors: null_value_not_allowed for a NULL. */
void
quota_argument_check_not_null(FunctionCallInfo fcinfo, int number, const char *name)
{
	if (PG_ARGISNULL(number))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", name)));
}

/* Errors: invalid_parameter_value for more than `most` bytes. */
void
quota_argument_check_length(const char *name, Size length, Size most)
{
	if (length > most)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s is too long", name),
				 errdetail("It has %zu bytes, the most is %zu.", length, most)));
}

static void
check_text(const char *name, Size length, Size most)
{
	if (length == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must not be empty", name)));
	if (unlikely(length > most))
		quota_argument_check_length(name, length, most);
}
