/*
 * guc.c
 *		The settings of the extension.
 *
 * What can weaken enforcement or hide it is PGC_SUSET; quota.user and quota.reason are
 * anybody's. The clock and the time zone are parsed when they are set: the settings
 * machinery owns what check hooks return in `extra`.
 *
 * Parallel workers get the strings of the leader's settings, and parse them under their
 * own. So a string must not depend on other settings: the clock is stored with its offset.
 *
 * Memory: static. Locks: none.
 */
#include "postgres.h"

#include "guc.h"

#include <limits.h>

#include "access/xact.h"
#include "catalog/pg_collation_d.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

#include "argument.h"
#include "compat.h"

/* as quota.account_users has it, in bytes */
#define MAX_USER 255
#define MAX_REASON 1024
/* of a token, which comes in a header of HTTP */
#define MAX_CLAIMS 65536

int quota_guc_enforcement = QUOTA_ENFORCEMENT_ON;
int quota_guc_log_decisions = QUOTA_LOG_NONE;
char *quota_guc_notify_channel;
int quota_guc_stripe_tolerance = 300;

static char *now_string;
static char *timezone_string;
static char *user_string;
static char *reason_string;
static bool now_is_set;
static TimestampTz fixed_now;
static pg_tz *default_timezone;

static const struct config_enum_entry enforcement_options[] = {
	{"on", QUOTA_ENFORCEMENT_ON, false},
	{"shadow", QUOTA_ENFORCEMENT_SHADOW, false},
	{"off", QUOTA_ENFORCEMENT_OFF, false},
	{NULL, 0, false}};

static const struct config_enum_entry log_decisions_options[] = {
	{"none", QUOTA_LOG_NONE, false},
	{"block", QUOTA_LOG_BLOCK, false},
	{"warn", QUOTA_LOG_WARN, false},
	{"all", QUOTA_LOG_ALL, false},
	{NULL, 0, false}};

static bool check_now(char **newval, void **extra, GucSource source);
static void assign_now(const char *newval, void *extra);
static bool check_timezone(char **newval, void **extra, GucSource source);
static void assign_timezone(const char *newval, void *extra);
static bool check_notify_channel(char **newval, void **extra, GucSource source);
static bool check_user(char **newval, void **extra, GucSource source);
static bool check_reason(char **newval, void **extra, GucSource source);
static bool check_length(const char *value, Size most);
static void refuse_parallel(void);

/*
 * Errors: invalid_transaction_state where settings that were made before cannot
 * be taken over.
 */
void
quota_guc_init(void)
{
	refuse_parallel();
	DefineCustomEnumVariable("quota.enforcement",
							 "Whether limits are enforced.",
							 "on: denials deny; shadow: would-be denials are allowed, counted and logged; off: nothing is denied or charged.",
							 &quota_guc_enforcement, QUOTA_ENFORCEMENT_ON, enforcement_options, PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomEnumVariable("quota.log_decisions",
							 "Which decisions are written to the server log.",
							 NULL,
							 &quota_guc_log_decisions, QUOTA_LOG_NONE, log_decisions_options, PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("quota.now",
							   "A fixed clock, for tests.",
							   "Empty: the start of the transaction, for rates the time of the call.",
							   &now_string, "", PGC_SUSET, 0, check_now, assign_now, NULL);
	DefineCustomStringVariable("quota.timezone",
							   "Time zone of the calendar windows of accounts that have none of their own.",
							   NULL,
							   &timezone_string, "UTC", PGC_SUSET, 0, check_timezone, assign_timezone, NULL);
	DefineCustomStringVariable("quota.notify_channel",
							   "The channel on which NOTIFY tells of thresholds that are reached.",
							   "Empty: none.",
							   &quota_guc_notify_channel, "", PGC_SUSET, 0, check_notify_channel, NULL, NULL);
	DefineCustomIntVariable("quota.stripe_tolerance",
							"How old the signature of a Stripe webhook may be, or how far ahead.",
							NULL,
							&quota_guc_stripe_tolerance, 300, 1, INT_MAX, PGC_SUSET, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomStringVariable("quota.user",
							   "The application's user on whose behalf the session acts.",
							   "Row-level security and the audit log go by it.",
							   &user_string, "", PGC_USERSET, 0, check_user, NULL, NULL);
	DefineCustomStringVariable("quota.reason",
							   "Why the next changes are made, for the audit log.",
							   NULL,
							   &reason_string, "", PGC_USERSET, 0, check_reason, NULL, NULL);
	MarkGUCPrefixReserved("quota");
}

/* Return the time of decisions. */
TimestampTz
quota_guc_now(void)
{
	return now_is_set ? fixed_now : GetCurrentTransactionStartTimestamp();
}

/* Return the time that advances within a transaction, for rates. */
TimestampTz
quota_guc_clock(void)
{
	return now_is_set ? fixed_now : GetCurrentTimestamp();
}

/* Return the time zone of accounts that have none of their own. */
pg_tz *
quota_guc_timezone(void)
{
	return default_timezone;
}

/*
 * The application's user on whose behalf the session acts, or NULL: setting
 * quota.user, else the sub of request.jwt.claims, as PostgREST sets it.
 *
 * Errors: invalid_text_representation for claims that are not JSON;
 * invalid_parameter_value for claims, or a sub, that are too long.
 */
char *
quota_guc_user(void)
{
	const char *claims;
	LOCAL_FCINFO(fcinfo, 2);
	Datum sub;
	char *user;

	if (user_string[0] != '\0')
		return pstrdup(user_string);
	claims = GetConfigOption("request.jwt.claims", true, false);
	if (claims == NULL || claims[0] == '\0')
		return NULL;
	quota_argument_check_length("setting \"request.jwt.claims\"", strlen(claims), MAX_CLAIMS);
	InitFunctionCallInfoData(*fcinfo, NULL, 2, DEFAULT_COLLATION_OID, NULL, NULL);
	fcinfo->args[0].value = DirectFunctionCall1(jsonb_in, CStringGetDatum(claims));
	fcinfo->args[0].isnull = false;
	fcinfo->args[1].value = CStringGetTextDatum("sub");
	fcinfo->args[1].isnull = false;
	sub = jsonb_object_field_text(fcinfo);
	if (fcinfo->isnull)
		return NULL;
	user = TextDatumGetCString(sub);
	quota_argument_check_length("user of setting \"request.jwt.claims\"", strlen(user), MAX_USER);
	return user;
}

/*
 * Refuse to be loaded in a parallel operation where a setting has been made
 * before: the server refuses to change settings then, and the session would go on
 * without it. The leader has the library when a plan begins that calls its
 * functions; a function in another language that calls them may be too late.
 */
static void
refuse_parallel(void)
{
	static const char *const names[] = {"quota.enforcement", "quota.log_decisions", "quota.now", "quota.timezone", "quota.notify_channel",
										"quota.stripe_tolerance", "quota.user", "quota.reason"};

	for (size_t i = 0; IsInParallelMode() && i < lengthof(names); i++)
		if (GetConfigOption(names[i], true, false) != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_TRANSACTION_STATE),
					 errmsg("library \"quota\" cannot be loaded during a parallel operation, as \"%s\" is set", names[i]),
					 errhint("Name it in session_preload_libraries, or label the function that calls it PARALLEL UNSAFE.")));
}

/*
 * Read the time as recovery_target_time is read. Store it with its offset: under another
 * TimeZone it would be another time.
 */
static bool
check_now(char **newval, void **extra, GucSource source pg_attribute_unused())
{
	char *field[MAXDATEFIELDS];
	int ftype[MAXDATEFIELDS];
	char text[MAXDATELEN + MAXDATEFIELDS];
	struct pg_tm tm;
	fsec_t fsec;
	int tz;
	int nf;
	int dtype;
	TimestampTz now;
	char *kept;

	if ((*newval)[0] == '\0')
		return true;
	if (ParseDateTime(*newval, text, sizeof(text), field, ftype,
					  MAXDATEFIELDS, &nf) != 0 ||
		quota_compat_decode_time(field, ftype, nf, &dtype, &tm, &fsec, &tz) != 0 ||
		dtype != DTK_DATE)
	{
		GUC_check_errdetail("It must be a finite time with a date.");
		return false;
	}
	if (tm2timestamp(&tm, fsec, &tz, &now) != 0 || timestamp2tm(now, &tz, &tm, &fsec, NULL, pg_tzset("GMT")) != 0)
	{
		GUC_check_errdetail("The time is out of range.");
		return false;
	}
	EncodeDateTime(&tm, fsec, true, tz, NULL, USE_ISO_DATES, text);
	kept = quota_compat_guc_alloc(strlen(text) + 1);
	*extra = quota_compat_guc_alloc(sizeof(TimestampTz));
	if (kept == NULL || *extra == NULL)
	{
		quota_compat_guc_free(kept);
		return false;
	}
	*(TimestampTz *) *extra = now;
	strcpy(kept, text);
	quota_compat_guc_free(*newval);
	*newval = kept;
	return true;
}

static void
assign_now(const char *newval pg_attribute_unused(), void *extra)
{
	now_is_set = (extra != NULL);
	if (now_is_set)
		fixed_now = *(TimestampTz *) extra;
}

static bool
check_timezone(char **newval, void **extra, GucSource source pg_attribute_unused())
{
	pg_tz *tz = pg_tzset(*newval);
	pg_tz **parsed;

	if (tz == NULL || !pg_tz_acceptable(tz))
	{
		GUC_check_errdetail("Time zone \"%s\" is not known.", *newval);
		return false;
	}
	parsed = quota_compat_guc_alloc(sizeof(pg_tz *));
	if (parsed == NULL)
		return false;
	*parsed = tz;
	*extra = parsed;
	return true;
}

static void
assign_timezone(const char *newval pg_attribute_unused(), void *extra)
{
	default_timezone = *(pg_tz **) extra;
}

/* NOTIFY would refuse a longer name, and the charge would fail with it. */
static bool
check_notify_channel(char **newval, void **extra pg_attribute_unused(), GucSource source pg_attribute_unused())
{
	if (strlen(*newval) < NAMEDATALEN)
		return true;
	GUC_check_errdetail("A channel's name has at most %d bytes.", NAMEDATALEN - 1);
	return false;
}

/* A longer one is nobody's. */
static bool
check_user(char **newval, void **extra pg_attribute_unused(), GucSource source pg_attribute_unused())
{
	return check_length(*newval, MAX_USER);
}

static bool
check_reason(char **newval, void **extra pg_attribute_unused(), GucSource source pg_attribute_unused())
{
	return check_length(*newval, MAX_REASON);
}

static bool
check_length(const char *value, Size most)
{
	if (strlen(value) <= most)
		return true;
	GUC_check_errdetail("It has %zu bytes, the most is %zu.", strlen(value), most);
	return false;
}
