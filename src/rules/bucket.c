/*
 * The arithmetic of rates: a bucket that fills by what is used and runs empty
 * with time. No database access.
 *
 * This is the Generic Cell Rate Algorithm (ITU-T Recommendation I.371; ATM
 * Forum, Traffic Management 4.0). Of its two forms, which decide alike, it is
 * the leaky bucket and not virtual scheduling: a level goes on to mean something
 * when the limit changes, a theoretical arrival time does not. An account that
 * has used 60 of 60 and gets 300 has used 60 of 300.
 *
 * Everything is exact. Of a limit of L units in P microseconds a unit has P
 * parts, and L of them run out each microsecond, so nothing is ever rounded:
 * a bucket takes its burst at once and L units in each P from then on, also
 * where P / L is no whole number of microseconds. Levels and times are bigints,
 * their products need 128 bits.
 */
#include "postgres.h"

#include "rules/bucket.h"

#include "common/int.h"
#include "utils/timestamp.h"

#ifndef HAVE_INT128
#error "quota needs a compiler with 128-bit integers"
#endif

/* the part of a clock's going back that may be a correction, and not another clock */
#define MAX_CORRECTION_US USECS_PER_SEC

static int128 parts_above_units(const QuotaLevel *level, const QuotaPace *pace, int64 units);

/*
 * Let the bucket run until a time.
 *
 * Where the clock has gone back, nothing runs out until it is where it was: a
 * clock that is corrected to and fro must not count time twice. If it has gone
 * back for more than that, the bucket goes by the new time from here on.
 */
void
quota_bucket_drain(QuotaLevel *level, const QuotaPace *pace, TimestampTz now)
{
	int128 elapsed_us = (int128) now - level->at;
	int128 left;

	if (elapsed_us <= 0)
	{
		if (elapsed_us < -MAX_CORRECTION_US)
			level->at = now;
		return;
	}
	left = parts_above_units(level, pace, 0) - elapsed_us * pace->limit;
	level->at = now;
	level->units = left <= 0 ? 0 : (int64) (left / pace->period_us);
	level->parts = left <= 0 ? 0 : (int64) (left % pace->period_us);
}

/* Units in use: a unit that has begun to run out is in use until it has run out. */
int64
quota_bucket_used(const QuotaLevel *level)
{
	return level->units + (level->parts > 0);
}

/*
 * Put units in, or take them out where they are negative, of which no more are
 * taken than there are. False, with nothing done, where the use would be more
 * than `most`, or than a bigint holds.
 */
bool
quota_bucket_add(QuotaLevel *level, int64 units, int64 most)
{
	int64 used;

	if (units > 0 && (pg_add_s64_overflow(quota_bucket_used(level), units, &used) || used > most))
		return false;
	level->units += units;
	if (level->units < 0)
		level->units = level->parts = 0;
	return true;
}

/* When there will be so many units in the bucket, or fewer, to the microsecond above; infinity: never. */
TimestampTz
quota_bucket_falls_to(const QuotaLevel *level, const QuotaPace *pace, int64 units)
{
	int128 parts = parts_above_units(level, pace, units);
	int128 at;

	if (parts <= 0)
		return level->at;
	if (units < 0 || pace->limit == 0)
		return DT_NOEND;
	at = level->at + (parts + pace->limit - 1) / pace->limit;
	return at < END_TIMESTAMP ? (TimestampTz) at : DT_NOEND;
}

static int128
parts_above_units(const QuotaLevel *level, const QuotaPace *pace, int64 units)
{
	return ((int128) level->units - units) * pace->period_us + level->parts;
}
