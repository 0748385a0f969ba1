/*
 * Check and read the arguments of SQL functions.
 */
#ifndef QUOTA_ARGUMENT_H
#define QUOTA_ARGUMENT_H

#include "fmgr.h"
#include "utils/fmgrprotos.h"

/*
 * Define the three SQL-callable functions of a name, for an account given as text, uuid
 * and bigint. Each calls the body that follows with the account as text.
 */
#define QUOTA_ACCOUNT_FUNCTION(name) \
	static Datum name##_of(FunctionCallInfo fcinfo, Datum account); \
	QUOTA_FUNCTION(name) \
	{ \
		return name##_of(fcinfo, quota_argument_account(fcinfo)); \
	} \
	QUOTA_FUNCTION(name##_uuid) \
	{ \
		return name##_of(fcinfo, quota_argument_account_by(fcinfo, uuid_out)); \
	} \
	QUOTA_FUNCTION(name##_bigint) \
	{ \
		return name##_of(fcinfo, quota_argument_account_by(fcinfo, int8out)); \
	} \
	static Datum name##_of(FunctionCallInfo fcinfo, Datum account)

/* Define an SQL-callable function; its body follows. */
#define QUOTA_FUNCTION(name) \
	PG_FUNCTION_INFO_V1(name); \
	Datum name(PG_FUNCTION_ARGS)

extern Datum quota_argument_account(FunctionCallInfo fcinfo);
extern Datum quota_argument_account_by(FunctionCallInfo fcinfo, PGFunction out);
extern char *quota_argument_feature(FunctionCallInfo fcinfo, int number);
extern int64 quota_argument_amount(FunctionCallInfo fcinfo, int number);
extern Datum quota_argument_key(FunctionCallInfo fcinfo, int number);
extern Datum quota_argument_metadata(FunctionCallInfo fcinfo, int number);
extern text *quota_argument_text(FunctionCallInfo fcinfo, int number, const char *name);
extern const char *quota_argument_shown(const char *name);
extern void quota_argument_check_account(Datum account);
extern void quota_argument_check_amount(int64 n);
extern void quota_argument_check_not_null(FunctionCallInfo fcinfo, int number, const char *name);
extern void quota_argument_check_length(const char *name, Size length, Size most);

#endif
