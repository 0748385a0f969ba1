/*
 * decision.c
 *		Make decisions, and show them as row, message, log line, event or error.
 *
 * Locks: none. Memory: the caller's context; the header of the row type is
 * cached in TopMemoryContext.
 */
#include "postgres.h"

#include "charge/decision.h"

#include "access/htup_details.h"
#include "catalog/pg_collation.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/timestamp.h"

#include "charge/composite.h"
#include "errors.h"
#include "guc.h"
#include "tables/relations.h"

/* account, feature, plan, period, decision, allowed, used, usage_limit, remaining, ratio, overage, period_start, period_end, retry_after, reason, message */
static const int16 lengths[] = {-1, -1, -1, 4, 4, 1, 8, 8, 8, 8, 8, 8, 8, 16, -1, -1};
static QuotaCompositeType decision_type = {.lengths = lengths, .columns = lengthof(lengths)};

/* two names, some words and numbers */
#define MAX_MESSAGE (QUOTA_MAX_PLAN + QUOTA_MAX_FEATURE + 128)
/* the most bytes of the columns without the account */
#define COLUMNS_SIZE (QUOTA_MAX_FEATURE + QUOTA_MAX_PLAN + 128 + MAX_MESSAGE)

/* What is said of a decision, by its reason. */
static const struct
{
	const char *name;
	const char *start; /* of a message with figures */
	const char *error; /* name of a denial, for programs */
	int sqlstate;
} reasons[QUOTA_REASONS] = {
	[QUOTA_REASON_OK] = {"ok", "Within limit: "},
	[QUOTA_REASON_NEAR_LIMIT] = {"near_limit", "Approaching limit: "},
	[QUOTA_REASON_OVERAGE] = {"overage", "Approaching limit: "},
	[QUOTA_REASON_SOFT_LIMIT] = {"soft_limit", "Approaching limit: "},
	[QUOTA_REASON_LIMIT_REACHED] = {"limit_reached", NULL, "quota_exceeded", ERRCODE_QUOTA_EXCEEDED},
	[QUOTA_REASON_RATE_LIMITED] = {"rate_limited", NULL, "quota_exceeded", ERRCODE_QUOTA_EXCEEDED},
	[QUOTA_REASON_NOT_IN_PLAN] = {"not_in_plan", NULL, "feature_not_in_plan", ERRCODE_QUOTA_NOT_IN_PLAN},
	[QUOTA_REASON_SUSPENDED] = {"suspended", NULL, "account_suspended", ERRCODE_QUOTA_SUSPENDED},
	[QUOTA_REASON_UNLIMITED] = {"unlimited", "Unlimited: "},
	[QUOTA_REASON_BYPASS] = {"bypass", "Not limited: "},
	[QUOTA_REASON_SHADOW] = {"shadow", "Would be refused: "}};

/* the verdict from which on a decision is logged */
static const int logged_from[] = {
	[QUOTA_LOG_NONE] = QUOTA_VERDICTS,
	[QUOTA_LOG_BLOCK] = QUOTA_BLOCK,
	[QUOTA_LOG_WARN] = QUOTA_WARN,
	[QUOTA_LOG_ALL] = QUOTA_ALLOW};

static const char *const period_adjectives[QUOTA_PERIODS] = {
	"Per-second ", "Per-minute ", "Hourly ", "Daily ", "Weekly ", "Monthly ", "Yearly ", "", "Monthly "};

static bool is_tighter(const QuotaDecision *a, const QuotaDecision *b);
static const QuotaWindowLimit *window_of(const QuotaDecision *decision);
static const QuotaLimit *limit_of(const QuotaDecision *decision);
static int64 used_of(const QuotaDecision *decision);
static bool is_rate(const QuotaDecision *decision);
static bool limit_refuses(const QuotaDecision *decision);
static bool waiting_helps(const QuotaDecision *decision);
static void write_string(QuotaComposite *record, const char *string);
static void write_int8(QuotaComposite *record, bool known, int64 value);
static char *write_message(char *to, const QuotaDecision *decision);
static char *write_limit(char *to, const QuotaDecision *decision);
static char *write_figures(char *to, const QuotaDecision *decision);
static char *detail(const QuotaDecision *decision);
static const char *hint(const QuotaDecision *decision);
static const char *plan_with(const char *feature);

/*
 * Decide on n more units, with the figures of the tightest window.
 *
 * used: use of each window of the entitlement. rates: of a rate, as read. n: 0
 * or more. The entitlement must outlive the decision.
 * Errors: numeric_value_out_of_range where used + n exceeds bigint.
 */
QuotaDecision
quota_decision_make(const QuotaAccount *account, const QuotaEntitlement *entitlement,
					const int64 *used, const QuotaRate *rates, int64 n)
{
	QuotaDecision tightest = quota_decision_of_window(account, entitlement, used, rates, 0, n);

	for (int i = 1; i < entitlement->count; i++)
	{
		QuotaDecision other = quota_decision_of_window(account, entitlement, used, rates, i, n);

		if (is_tighter(&other, &tightest))
			tightest = other;
	}
	return tightest;
}

/* Decide by one window alone. Parameters and errors as for quota_decision_make. */
QuotaDecision
quota_decision_of_window(const QuotaAccount *account, const QuotaEntitlement *entitlement,
						 const int64 *used, const QuotaRate *rates, int window, int64 n)
{
	QuotaDecision decision = {
		.account = account->account,
		.now = account->now,
		.entitlement = entitlement,
		.n = n,
		.window = &entitlement->windows[window],
		.used = used[window],
		.verdict = QUOTA_BLOCK,
		.lasts_until = entitlement->windows[window].window.end};

	if (entitlement->suspended)
		decision.reason = QUOTA_REASON_SUSPENDED;
	else if (!entitlement->in_plan && !entitlement->bypass)
		decision.reason = QUOTA_REASON_NOT_IN_PLAN;
	else
	{
		QuotaJudgement judgement = quota_decide(&entitlement->windows[window].limit, decision.used, n);

		decision.verdict = entitlement->bypass ? QUOTA_ALLOW : judgement.verdict;
		decision.reason = entitlement->bypass ? QUOTA_REASON_BYPASS : judgement.reason;
		if (decision.reason == QUOTA_REASON_LIMIT_REACHED && is_rate(&decision))
		{
			/* a rate goes by the clock, not by the transaction's time */
			decision.reason = QUOTA_REASON_RATE_LIMITED;
			decision.now = rates[window].level.at;
			decision.lasts_until = quota_rates_admits(&rates[window], &decision.window->limit, n);
		}
	}
	return decision;
}

/* Turn a denial into a warning, for what is counted whatever the limit says. */
void
quota_decision_allow(QuotaDecision *decision)
{
	if (decision->verdict != QUOTA_BLOCK)
		return;
	decision->verdict = QUOTA_WARN;
	if (limit_refuses(decision))
		decision->reason = limit_of(decision)->on_limit == QUOTA_ON_LIMIT_CHARGE ? QUOTA_REASON_OVERAGE : QUOTA_REASON_SOFT_LIMIT;
}

/* Apply setting quota.enforcement to a denial. */
void
quota_decision_enforce(QuotaDecision *decision)
{
	if (decision->verdict != QUOTA_BLOCK || quota_guc_enforcement == QUOTA_ENFORCEMENT_ON)
		return;
	decision->verdict = quota_guc_enforcement == QUOTA_ENFORCEMENT_SHADOW ? QUOTA_WARN : QUOTA_ALLOW;
	decision->reason = quota_guc_enforcement == QUOTA_ENFORCEMENT_SHADOW ? QUOTA_REASON_SHADOW : QUOTA_REASON_OK;
}

/* Return the decision as a value of the SQL type quota_decision, its columns in order. */
Datum
quota_decision_datum(const QuotaDecision *decision)
{
	const QuotaEntitlement *entitlement = decision->entitlement;
	const QuotaWindowLimit *window = window_of(decision);
	const QuotaLimit *limit = limit_of(decision);
	int64 used = used_of(decision);
	bool has_end = window != NULL && !TIMESTAMP_NOT_FINITE(window->window.end);
	const text *account = DatumGetTextPP(decision->account);
	char message[MAX_MESSAGE];
	QuotaComposite record;

	quota_composite_begin(&record, &decision_type, quota_relations_oids()->decision_type, COLUMNS_SIZE + VARSIZE_ANY_EXHDR(account));
	quota_composite_text(&record, VARDATA_ANY(account), VARSIZE_ANY_EXHDR(account));
	write_string(&record, entitlement->feature.feature);
	write_string(&record, entitlement->plan[0] == '\0' ? NULL : entitlement->plan);
	if (window != NULL)
		quota_composite_oid(&record, quota_relations_period_oid(window->period));
	else
		quota_composite_null(&record);
	quota_composite_oid(&record, quota_relations_oids()->verdicts[decision->verdict]);
	quota_composite_bool(&record, decision->verdict != QUOTA_BLOCK);
	quota_composite_int8(&record, used);
	write_int8(&record, !limit->unlimited, limit->per_window);
	write_int8(&record, !limit->unlimited, quota_decide_remaining(limit, used));
	if (limit->unlimited)
		quota_composite_null(&record);
	else
		quota_composite_float8(&record, quota_decide_ratio(limit, used));
	quota_composite_int8(&record, is_rate(decision) ? 0 : quota_decide_overage(limit, used));
	write_int8(&record, has_end, has_end ? window->window.start : 0);
	write_int8(&record, has_end, has_end ? window->window.end : 0);
	if (waiting_helps(decision))
		quota_composite_interval(&record, DatumGetIntervalP(DirectFunctionCall2(timestamp_mi, TimestampTzGetDatum(decision->lasts_until),
																				TimestampTzGetDatum(decision->now))));
	else
		quota_composite_null(&record);
	write_string(&record, reasons[decision->reason].name);
	quota_composite_text(&record, message, write_message(message, decision) - message);
	return quota_composite_end(&record);
}

/* Add the decision to a result set. */
void
quota_decision_put(const QuotaDecision *decision, Tuplestorestate *result)
{
	HeapTupleHeader row = DatumGetHeapTupleHeader(quota_decision_datum(decision));
	HeapTupleData tuple = {.t_len = HeapTupleHeaderGetDatumLength(row), .t_data = row};

	tuplestore_puttuple(result, &tuple);
}

/* Return the message: one English line for a person. */
char *
quota_decision_message(const QuotaDecision *decision)
{
	char message[MAX_MESSAGE];

	write_message(message, decision);
	return pstrdup(message);
}

/* Write a line to the server log, if setting quota.log_decisions asks for it; always in shadow mode. */
void
quota_decision_log(const QuotaDecision *decision)
{
	const QuotaLimit *limit = limit_of(decision);
	StringInfoData line;
	char *account;

	if ((int) decision->verdict < logged_from[quota_guc_log_decisions] && decision->reason != QUOTA_REASON_SHADOW)
		return;
	initStringInfo(&line);
	appendStringInfoString(&line, "[usage] account=");
	account = TextDatumGetCString(decision->account);
	/* quote what could be taken for another field or line */
	if (strspn(account, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_.@:+") == strlen(account))
		appendStringInfoString(&line, account);
	else
		escape_json(&line, account);
	appendStringInfo(&line, " plan=%s decision=%s usage=%lld",
					 decision->entitlement->plan[0] == '\0' ? "-" : decision->entitlement->plan,
					 quota_verdict_names[decision->verdict], (long long) used_of(decision));
	if (limit->unlimited)
		appendStringInfoString(&line, " limit=unlimited ratio=0.00");
	else
		appendStringInfo(&line, " limit=%lld ratio=%.2f",
						 (long long) limit->per_window, quota_decide_ratio(limit, used_of(decision)));
	appendStringInfo(&line, " feature=%s period=%s reason=%s",
					 decision->entitlement->feature.feature,
					 window_of(decision) == NULL ? "-" : quota_period_names[window_of(decision)->period],
					 reasons[decision->reason].name);
	ereport(LOG_SERVER_ONLY,
			(errmsg_internal("%s", line.data), errhidestmt(true), errhidecontext(true)));
}

/* Return the name of a denial, for programs. */
const char *
quota_decision_error(const QuotaDecision *decision)
{
	return reasons[decision->reason].error;
}

/* True if a name is that of a denial. */
bool
quota_decision_is_error(const char *name)
{
	for (int i = 0; i < QUOTA_REASONS; i++)
		if (reasons[i].error != NULL && strcmp(reasons[i].error, name) == 0)
			return true;
	return false;
}

/* Return the decision as an event of the ledger. The caller adds the call and the user. */
QuotaEventRow
quota_decision_event(const QuotaDecision *decision)
{
	const QuotaEntitlement *entitlement = decision->entitlement;
	const QuotaWindowLimit *window = window_of(decision);
	const QuotaLimit *limit = limit_of(decision);

	return (QuotaEventRow){
		.at = decision->now,
		.account = decision->account,
		.feature = entitlement->feature.feature,
		.plan = entitlement->plan[0] == '\0' ? NULL : entitlement->plan,
		.verdict = decision->verdict,
		.reason = reasons[decision->reason].name,
		.used = used_of(decision),
		.unlimited = limit->unlimited,
		.usage_limit = limit->usage_limit,
		.has_period = window != NULL,
		.period = window == NULL ? QUOTA_LIFETIME : window->period,
		.period_start = window == NULL ? DT_NOBEGIN : window->window.start};
}

/* Raise a denial: PT429, PT402 or PT403. */
void
quota_decision_raise(const QuotaDecision *decision)
{
	ereport(ERROR,
			(errcode(reasons[decision->reason].sqlstate),
			 errmsg_internal("%s", quota_decision_message(decision)),
			 errdetail_internal("%s", detail(decision)),
			 errhint("%s", hint(decision))));
}

/* Append a member to a JSON object, which the first one opens. */
void
quota_decision_append_json(StringInfo json, const char *key, const char *value)
{
	appendStringInfo(json, "%c\"%s\":", json->len == 0 ? '{' : ',', key);
	if (value == NULL)
		appendStringInfoString(json, "null");
	else
		escape_json(json, value);
}

/*
 * Return whether a decision is tighter than another: the worse verdict; of two
 * denials the one that lasts longer; otherwise the one with less left.
 */
static bool
is_tighter(const QuotaDecision *a, const QuotaDecision *b)
{
	const QuotaLimit *left = limit_of(a);
	const QuotaLimit *right = limit_of(b);

	if (a->verdict != b->verdict)
		return a->verdict > b->verdict;
	if (a->verdict == QUOTA_BLOCK && a->window != NULL && b->window != NULL)
		return a->lasts_until > b->lasts_until;
	if (left->unlimited != right->unlimited)
		return right->unlimited;
	return quota_decide_remaining(left, a->used) < quota_decide_remaining(right, b->used);
}

/* A feature that is not in the plan is shown without a window, with a limit of 0 and no use. */
static const QuotaWindowLimit *
window_of(const QuotaDecision *decision)
{
	return decision->verdict == QUOTA_BLOCK && !decision->entitlement->in_plan ? NULL : decision->window;
}

static const QuotaLimit *
limit_of(const QuotaDecision *decision)
{
	static const QuotaLimit nothing = {.unlimited = false};
	const QuotaWindowLimit *window = window_of(decision);

	return window == NULL ? &nothing : &window->limit;
}

static int64
used_of(const QuotaDecision *decision)
{
	return window_of(decision) == NULL ? 0 : decision->used;
}

static bool
is_rate(const QuotaDecision *decision)
{
	return decision->entitlement->feature.kind == QUOTA_RATE;
}

static bool
limit_refuses(const QuotaDecision *decision)
{
	return decision->reason == QUOTA_REASON_LIMIT_REACHED || decision->reason == QUOTA_REASON_RATE_LIMITED;
}

/* Return whether what is denied now will be allowed at a known time. */
static bool
waiting_helps(const QuotaDecision *decision)
{
	return decision->verdict == QUOTA_BLOCK && limit_refuses(decision) &&
		   !TIMESTAMP_NOT_FINITE(decision->lasts_until) && decision->n <= limit_of(decision)->block_at;
}

/* Write a string; NULL: a null. */
static void
write_string(QuotaComposite *record, const char *string)
{
	if (string == NULL)
		quota_composite_null(record);
	else
		quota_composite_text(record, string, strlen(string));
}

static void
write_int8(QuotaComposite *record, bool known, int64 value)
{
	if (known)
		quota_composite_int8(record, value);
	else
		quota_composite_null(record);
}

/*
 * Write the message, of less than MAX_MESSAGE bytes, and return its end.
 * Without printf, since every charge has a message.
 */
static char *
write_message(char *to, const QuotaDecision *decision)
{
	const QuotaEntitlement *entitlement = decision->entitlement;
	const QuotaLimit *limit = limit_of(decision);
	const char *start = reasons[decision->reason].start;
	double percent;

	switch (decision->reason)
	{
		case QUOTA_REASON_LIMIT_REACHED:
		case QUOTA_REASON_RATE_LIMITED:
			return write_limit(to, decision);
		case QUOTA_REASON_NOT_IN_PLAN:
			if (entitlement->plan[0] == '\0')
				return stpcpy(stpcpy(stpcpy(to, "No plan includes "), entitlement->feature.feature), " for this account.");
			to = stpcpy(stpcpy(stpcpy(to, "Plan \""), entitlement->plan), "\" does not include ");
			return stpcpy(stpcpy(to, entitlement->feature.feature), ".");
		case QUOTA_REASON_SUSPENDED:
			return stpcpy(to, "Account is suspended.");
		case QUOTA_REASON_UNLIMITED:
		case QUOTA_REASON_BYPASS:
		case QUOTA_REASON_SHADOW:
			return write_figures(stpcpy(to, start), decision);
		default:
			break;
	}
	/* denied, but with quota.enforcement = off */
	if (limit->unlimited)
		return write_figures(stpcpy(to, reasons[QUOTA_REASON_UNLIMITED].start), decision);
	if (quota_decide_overage(limit, decision->used) > 0)
		start = "Over limit: ";
	percent = 100 * quota_decide_ratio(limit, decision->used) + 0.5;
	to = stpcpy(write_figures(stpcpy(to, start), decision), " (");
	to += pg_ltoa(percent < PG_INT32_MAX ? (int) percent : PG_INT32_MAX, to);
	return stpcpy(to, "%)");
}

/* `Monthly report limit reached (60/50).` */
static char *
write_limit(char *to, const QuotaDecision *decision)
{
	char *end = stpcpy(stpcpy(to, period_adjectives[decision->window->period]), decision->entitlement->feature.feature);
	const QuotaLimit *limit = limit_of(decision);

	*to = pg_toupper((unsigned char) *to);
	if (decision->n > 1 && decision->used < limit->block_at)
	{
		end = stpcpy(end, " limit does not allow ");
		end += pg_lltoa(decision->n, end);
		end = stpcpy(end, " more (");
	}
	else
		end = stpcpy(end, " limit reached (");
	end += pg_lltoa(decision->used, end);
	*end++ = '/';
	end += pg_lltoa(limit->usage_limit, end);
	return stpcpy(end, ").");
}

/* `245/300 reports`, `47 reports` where there is no limit */
static char *
write_figures(char *to, const QuotaDecision *decision)
{
	const QuotaLimit *limit = limit_of(decision);

	to += pg_lltoa(decision->used, to);
	if (!limit->unlimited)
	{
		*to++ = '/';
		to += pg_lltoa(limit->usage_limit, to);
	}
	*to++ = ' ';
	return stpcpy(to, decision->entitlement->feature.units);
}

/* Return the detail: JSON for programs. */
static char *
detail(const QuotaDecision *decision)
{
	const QuotaEntitlement *entitlement = decision->entitlement;
	const QuotaLimit *limit = limit_of(decision);
	StringInfoData json;

	initStringInfo(&json);
	quota_decision_append_json(&json, "error", quota_decision_error(decision));
	quota_decision_append_json(&json, "feature", entitlement->feature.feature);
	quota_decision_append_json(&json, "plan", entitlement->plan[0] == '\0' ? NULL : entitlement->plan);
	if (limit_refuses(decision))
	{
		appendStringInfo(&json, ",\"limit\":%lld,\"used\":%lld,\"remaining\":%lld",
						 (long long) limit->per_window, (long long) decision->used,
						 (long long) quota_decide_remaining(limit, decision->used));
		quota_decision_append_json(&json, "period", quota_period_names[decision->window->period]);
		if (!waiting_helps(decision))
			quota_decision_append_json(&json, "retry_after_s", NULL);
		else
		{
			/* rounded up, for a rate to the millisecond: a client that waits so long is admitted */
			int64 us = decision->lasts_until - decision->now;

			if (is_rate(decision))
				appendStringInfo(&json, ",\"retry_after_s\":%lld.%03d", (long long) (us / USECS_PER_SEC), (int) (us % USECS_PER_SEC / 1000));
			else
				appendStringInfo(&json, ",\"retry_after_s\":%lld", (long long) ((us + USECS_PER_SEC - 1) / USECS_PER_SEC));
		}
	}
	appendStringInfoChar(&json, '}');
	return json.data;
}

/* Return the hint: what the application can do. */
static const char *
hint(const QuotaDecision *decision)
{
	const char *plan;

	if (decision->reason == QUOTA_REASON_SUSPENDED)
		return "Activate the account first.";
	if (decision->reason == QUOTA_REASON_NOT_IN_PLAN)
	{
		plan = plan_with(decision->entitlement->feature.feature);
		return plan == NULL ? "No plan on offer includes it." : psprintf("Plan \"%s\" includes it.", plan);
	}
	if (!waiting_helps(decision))
		return "A larger plan or an override allows more.";
	return psprintf(is_rate(decision) ? "There is room again at %s; a larger plan or an override allows more now."
									  : "The next window begins at %s; a larger plan or an override allows more now.",
					timestamptz_to_str(decision->lasts_until));
}

/* Return the cheapest visible plan that has a feature, or NULL. */
static const char *
plan_with(const char *feature)
{
	LOCAL_FCINFO(fcinfo, 1);
	FmgrInfo function;
	Datum plan;

	fmgr_info(quota_relations_oids()->plan_with, &function);
	InitFunctionCallInfoData(*fcinfo, &function, 1, DEFAULT_COLLATION_OID, NULL, NULL);
	fcinfo->args[0].value = CStringGetTextDatum(feature);
	fcinfo->args[0].isnull = false;
	plan = FunctionCallInvoke(fcinfo);
	return fcinfo->isnull ? NULL : TextDatumGetCString(plan);
}
