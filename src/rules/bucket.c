/*
 * bucket.c
 *		The arithmetic of rates: a leaky bucket. No database access.
 *
 * This is the Generic Cell Rate Algorithm (ITU-T Recommendation I.371; ATM Forum,
 * Traffic Management 4.0). Of its two forms, which decide alike, it is the leaky
 * bucket and not virtual scheduling: when the limit changes a level keeps its meaning, a
 * theoretical arrival time does not. An account that has used 60 of 60 and gets 300
 * has used 60 of 300.
 *
 * Nothing is rounded. With a limit of L units in P microseconds a unit has P parts, and L
 * parts drain each microsecond. So a bucket admits its burst at once and L units in each P
 * from then on, also where P / L is no whole number of microseconds. Levels and times are
 * bigints, their products need 128 bits.
 */
#include "postgres.h"

#include "rules/bucket.h"

#include "common/int.h"
#include "utils/timestamp.h"

#ifndef HAVE_INT128
#error "quota needs a compiler with 128-bit integers"
#endif

/* a clock that goes back by more was set to another time, and not corrected */
#define MAX_CORRECTION_US USECS_PER_SEC

static int128 parts_above_units(const QuotaLevel *level, const QuotaPace *pace, int64 units);

/*
 * Drain a bucket until a time.
 *
 * If the clock has gone back, nothing drains until it is where it was: a clock that is
 * corrected to and fro must not count time twice. If it has gone back by more than
 * MAX_CORRECTION_US, the bucket uses the new time from here on.
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

/* Return the units in use. A unit is in use until all its parts have drained. */
int64
quota_bucket_used(const QuotaLevel *level)
{
	return level->units + (level->parts > 0);
}

/*
 * Add units, or remove them where negative, at most as many as there are.
 *
 * Returns false, with nothing changed, if the use would exceed `most` or a bigint.
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

/* Return when the level will have fallen to some units, rounded up to the microsecond; infinity: never. */
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

/* Return the parts of a level above some units. */
static int128
parts_above_units(const QuotaLevel *level, const QuotaPace *pace, int64 units)
{
	return ((int128) level->units - units) * pace->period_us + level->parts;
}
