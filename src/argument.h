/*
 * Arguments of the SQL functions, checked.
 */
#ifndef QUOTA_ARGUMENT_H
#define QUOTA_ARGUMENT_H

#include "fmgr.h"

/*
 * The three SQL-callable functions behind a name, for accounts named by text,
 * uuid and bigint: each calls static Datum name_of(fcinfo, account).
 */
#define QUOTA_ACCOUNT_FUNCTION(name) \
	PG_FUNCTION_INFO_V1(name); \
	PG_FUNCTION_INFO_V1(name##_uuid); \
	PG_FUNCTION_INFO_V1(name##_bigint); \
	static Datum name##_of(FunctionCallInfo fcinfo, Datum account); \
	Datum name(PG_FUNCTION_ARGS) \
	{ \
		return name##_of(fcinfo, quota_argument_account(fcinfo)); \
	} \
	Datum name##_uuid(PG_FUNCTION_ARGS) \
	{ \
		return name##_of(fcinfo, quota_argument_account_uuid(fcinfo)); \
	} \
	Datum name##_bigint(PG_FUNCTION_ARGS) \
	{ \
		return name##_of(fcinfo, quota_argument_account_bigint(fcinfo)); \
	} \
	static Datum name##_of(FunctionCallInfo fcinfo, Datum account)

extern Datum quota_argument_account(FunctionCallInfo fcinfo);
extern Datum quota_argument_account_uuid(FunctionCallInfo fcinfo);
extern Datum quota_argument_account_bigint(FunctionCallInfo fcinfo);
extern void quota_argument_check_account(Datum account);
extern char *quota_argument_feature(FunctionCallInfo fcinfo, int number);
extern int64 quota_argument_amount(FunctionCallInfo fcinfo, int number);
extern Datum quota_argument_key(FunctionCallInfo fcinfo, int number);
extern Datum quota_argument_metadata(FunctionCallInfo fcinfo, int number);
extern const char *quota_argument_shown(const char *name);
extern void quota_argument_check_amount(int64 n);
extern void quota_argument_check_not_null(FunctionCallInfo fcinfo, int number, const char *name);

#endif
