/*
 * period.c
 *		Windows of time: which one contains an instant. No database access.
 *
 * Calendar windows begin at a local instant (midnight, Monday, the first of the month,
 * ...) in a time zone. If clocks are set back over it the later instant counts, if they
 * are set forward over it the offset before (see DetermineTimeZoneOffset). A window ends
 * where the next one starts, so the windows of a period partition time. Hours and
 * shorter periods are lengths of time from a whole local hour, minute or second.
 *
 * Memory: static, for the windows found last.
 */
#include "postgres.h"

#include "rules/period.h"

#include "utils/datetime.h"
#include "utils/timestamp.h"

#include "compat.h"

const char *const quota_period_names[QUOTA_PERIODS] = {
	"second", "minute", "hour", "day", "week", "month", "year", "lifetime", "cycle"};

static QuotaWindow find_window(QuotaPeriod period, TimestampTz at, pg_tz *tz, const TimestampTz *anchor);
static TimestampTz unit_start(QuotaPeriod period, int unit, const struct pg_tm *origin, fsec_t fsec, pg_tz *tz);
static int unit_of(QuotaPeriod period, const struct pg_tm *local, const struct pg_tm *origin);
static void to_local(TimestampTz at, pg_tz *tz, struct pg_tm *local, fsec_t *fsec, int *offset);
pg_noreturn static void out_of_range(void);

/*
 * Return the window of a period that contains an instant.
 *
 * tz: zone of the calendar. anchor: where the windows of cycle begin; NULL: with the
 * calendar month.
 * Errors: datetime_value_out_of_range where a timestamp cannot hold the window.
 */
QuotaWindow
quota_period_window(QuotaPeriod period, TimestampTz at, pg_tz *tz, const TimestampTz *anchor)
{
	/* the windows found last: most accounts ask for the same */
	static struct
	{
		pg_tz *tz;
		QuotaWindow window;
	} last[QUOTA_PERIODS];

	/* hours may overlap where clocks change; a cycle is the account's own */
	if (period < QUOTA_DAY || period > QUOTA_YEAR)
		return find_window(period, at, tz, anchor);
	if (last[period].tz != tz || at < last[period].window.start || at >= last[period].window.end)
	{
		last[period].window = find_window(period, at, tz, anchor);
		last[period].tz = tz;
	}
	return last[period].window;
}

static QuotaWindow
find_window(QuotaPeriod period, TimestampTz at, pg_tz *tz, const TimestampTz *anchor)
{
	QuotaWindow window = {DT_NOBEGIN, DT_NOEND};
	struct pg_tm local;
	struct pg_tm origin;
	fsec_t fsec;
	fsec_t origin_fsec = 0;
	int offset;
	int unit;

	if (period == QUOTA_LIFETIME)
		return window;
	if (TIMESTAMP_NOT_FINITE(at))
		out_of_range();

	to_local(at, tz, &local, &fsec, &offset);
	if (period <= QUOTA_HOUR)
	{
		static const int64 lengths_us[] = {USECS_PER_SEC, USECS_PER_MINUTE, USECS_PER_HOUR};
		int64 elapsed_us = (local.tm_min * USECS_PER_MINUTE + local.tm_sec * USECS_PER_SEC + fsec) % lengths_us[period];

		window.start = at - elapsed_us;
		window.end = window.start + lengths_us[period];
		if (!IS_VALID_TIMESTAMP(window.start) || !IS_VALID_TIMESTAMP(window.end))
			out_of_range();
		return window;
	}

	if (period == QUOTA_CYCLE && anchor != NULL)
		to_local(*anchor, tz, &origin, &origin_fsec, &offset);
	else
		/* a Monday and the first of a year */
		origin = (struct pg_tm){.tm_year = 2001, .tm_mon = 1, .tm_mday = 1};

	unit = unit_of(period, &local, &origin);
	window.start = unit_start(period, unit, &origin, origin_fsec, tz);
	while (window.start > at)
		window.start = unit_start(period, --unit, &origin, origin_fsec, tz);
	window.end = unit_start(period, unit + 1, &origin, origin_fsec, tz);
	while (window.end <= at)
	{
		window.start = window.end;
		window.end = unit_start(period, ++unit + 1, &origin, origin_fsec, tz);
	}
	return window;
}

/*
 * Return the start of a unit. Each is computed from the origin and not from the one
 * before, so that the 31st, clamped to the last day of a short month, returns in the
 * next.
 */
static TimestampTz
unit_start(QuotaPeriod period, int unit, const struct pg_tm *origin, fsec_t fsec, pg_tz *tz)
{
	struct pg_tm tm = *origin;
	TimestampTz start;
	int offset;

	if (period == QUOTA_DAY || period == QUOTA_WEEK)
	{
		int day = date2j(tm.tm_year, tm.tm_mon, tm.tm_mday) + unit * (period == QUOTA_WEEK ? 7 : 1);

		/* j2date is not defined outside of these, and no timestamp is */
		if (day < 0 || day >= TIMESTAMP_END_JULIAN)
			out_of_range();
		j2date(day, &tm.tm_year, &tm.tm_mon, &tm.tm_mday);
	}
	else
	{
		int month0 = tm.tm_mon - 1 + unit * (period == QUOTA_YEAR ? MONTHS_PER_YEAR : 1);

		tm.tm_year += month0 / MONTHS_PER_YEAR;
		month0 %= MONTHS_PER_YEAR;
		if (month0 < 0)
		{
			month0 += MONTHS_PER_YEAR;
			tm.tm_year--;
		}
		tm.tm_mon = month0 + 1;
		tm.tm_mday = Min(tm.tm_mday, day_tab[isleap(tm.tm_year)][month0]);
	}
	if (!IS_VALID_JULIAN(tm.tm_year, tm.tm_mon, tm.tm_mday))
		out_of_range();
	offset = DetermineTimeZoneOffset(&tm, tz);
	if (tm2timestamp(&tm, fsec, &offset, &start) != 0)
		out_of_range();
	return start;
}

/* Return the unit of a local date, at most one off at the edge of a unit. */
static int
unit_of(QuotaPeriod period, const struct pg_tm *local, const struct pg_tm *origin)
{
	int days;

	switch (period)
	{
		case QUOTA_DAY:
		case QUOTA_WEEK:
			days = date2j(local->tm_year, local->tm_mon, local->tm_mday) -
				   date2j(origin->tm_year, origin->tm_mon, origin->tm_mday);
			if (period == QUOTA_DAY)
				return days;
			/* round down, also before the origin */
			return days >= 0 ? days / 7 : -((6 - days) / 7);
		case QUOTA_YEAR:
			return local->tm_year - origin->tm_year;
		default:
			return (local->tm_year - origin->tm_year) * MONTHS_PER_YEAR + local->tm_mon - origin->tm_mon;
	}
}

static void
to_local(TimestampTz at, pg_tz *tz, struct pg_tm *local, fsec_t *fsec, int *offset)
{
	if (timestamp2tm(at, offset, local, fsec, NULL, tz) != 0)
		out_of_range();
}

static void
out_of_range(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
			 errmsg("window of time out of range")));
}
