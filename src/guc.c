/*
 * Every setting of the extension.
 *
 * What can weaken enforcement or hide it is PGC_SUSET. Who acts and why is for
 * everybody to say. The clock and the time zone are parsed when they are set:
 * what check hooks return in `extra` is malloc'ed and owned by the settings
 * machinery.
 */
#include "postgres.h"

#include "guc.h"

#include <limits.h>

#include "access/xact.h"
#include "catalog/pg_collation_d.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

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

void
quota_guc_init(void)
{
	DefineCustomEnumVariable("quota.enforcement",
							 "Whether limits are enforced.",
							 "on: denials deny; shadow: would-be denials are allowed, counted and logged; off: nothing is denied or charged.",
							 &quota_guc_enforcement,
							 QUOTA_ENFORCEMENT_ON,
							 enforcement_options,
							 PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomEnumVariable("quota.log_decisions",
							 "Which decisions are written to the server log.",
							 NULL,
							 &quota_guc_log_decisions,
							 QUOTA_LOG_NONE,
							 log_decisions_options,
							 PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("quota.now",
							   "A fixed clock, for tests.",
							   "Empty: the start of the transaction, for rates the time of the call.",
							   &now_string,
							   "",
							   PGC_SUSET, 0, check_now, assign_now, NULL);
	DefineCustomStringVariable("quota.timezone",
							   "Time zone of the calendar windows of accounts that have none of their own.",
							   NULL,
							   &timezone_string,
							   "UTC",
							   PGC_SUSET, 0, check_timezone, assign_timezone, NULL);
	DefineCustomStringVariable("quota.notify_channel",
							   "The channel on which NOTIFY tells of thresholds that are reached.",
							   "Empty: none.",
							   &quota_guc_notify_channel,
							   "",
							   PGC_SUSET, 0, check_notify_channel, NULL, NULL);
	DefineCustomIntVariable("quota.stripe_tolerance",
							"How old the signature of a Stripe webhook may be, or how far ahead.",
							NULL,
							&quota_guc_stripe_tolerance,
							300, 1, INT_MAX,
							PGC_SUSET, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomStringVariable("quota.user",
							   "The application's user on whose behalf the session acts.",
							   "Row-level security and the audit log go by it.",
							   &user_string,
							   "",
							   PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("quota.reason",
							   "Why the next changes are made, for the audit log.",
							   NULL,
							   &reason_string,
							   "",
							   PGC_USERSET, 0, NULL, NULL, NULL);
	MarkGUCPrefixReserved("quota");
}

/* The time that decisions are made for. */
TimestampTz
quota_guc_now(void)
{
	return now_is_set ? fixed_now : GetCurrentTransactionStartTimestamp();
}

/* The time that goes on within a transaction, for rates. */
TimestampTz
quota_guc_clock(void)
{
	return now_is_set ? fixed_now : GetCurrentTimestamp();
}

/* The time zone of accounts that have none of their own. */
pg_tz *
quota_guc_timezone(void)
{
	return default_timezone;
}

/*
 * The application's user on whose behalf the session acts, or NULL: setting
 * quota.user, else the sub of request.jwt.claims, as PostgREST sets it.
 *
 * Errors: invalid_text_representation for claims that are not JSON.
 */
char *
quota_guc_user(void)
{
	const char *claims;
	LOCAL_FCINFO(fcinfo, 2);
	Datum sub;

	if (user_string[0] != '\0')
		return pstrdup(user_string);
	claims = GetConfigOption("request.jwt.claims", true, false);
	if (claims == NULL || claims[0] == '\0')
		return NULL;
	InitFunctionCallInfoData(*fcinfo, NULL, 2, DEFAULT_COLLATION_OID, NULL, NULL);
	fcinfo->args[0].value = DirectFunctionCall1(jsonb_in, CStringGetDatum(claims));
	fcinfo->args[0].isnull = false;
	fcinfo->args[1].value = CStringGetTextDatum("sub");
	fcinfo->args[1].isnull = false;
	sub = jsonb_object_field_text(fcinfo);
	return fcinfo->isnull ? NULL : TextDatumGetCString(sub);
}

/*
 * Reads the time as the server does for recovery_target_time.
 */
static bool
check_now(char **newval, void **extra, GucSource source pg_attribute_unused())
{
	char *field[MAXDATEFIELDS];
	int ftype[MAXDATEFIELDS];
	char workbuf[MAXDATELEN + MAXDATEFIELDS];
	struct pg_tm tm;
	fsec_t fsec;
	int tz;
	int nf;
	int dtype;
	TimestampTz *parsed;

	if ((*newval)[0] == '\0')
		return true;
	if (ParseDateTime(*newval, workbuf, sizeof(workbuf), field, ftype,
					  MAXDATEFIELDS, &nf) != 0 ||
		DecodeDateTime(field, ftype, nf, &dtype, &tm, &fsec, &tz) != 0 ||
		dtype != DTK_DATE)
	{
		GUC_check_errdetail("It must be a finite time with a date.");
		return false;
	}
	parsed = malloc(sizeof(TimestampTz));
	if (parsed == NULL)
		return false;
	if (tm2timestamp(&tm, fsec, &tz, parsed) != 0)
	{
		free(parsed);
		GUC_check_errdetail("The time is out of range.");
		return false;
	}
	*extra = parsed;
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
	parsed = malloc(sizeof(pg_tz *));
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

/* A longer name is no channel: NOTIFY would fail, and the charge with it. */
static bool
check_notify_channel(char **newval, void **extra pg_attribute_unused(), GucSource source pg_attribute_unused())
{
	if (strlen(*newval) < NAMEDATALEN)
		return true;
	GUC_check_errdetail("A channel's name has at most %d bytes.", NAMEDATALEN - 1);
	return false;
}
