/*
 * Holds: what of a counter's use a reservation has charged and not settled.
 *
 * A hold is among what is used until it expires. From then on whoever looks at
 * the counter takes it off, and the next charge writes it down: it deletes the
 * row of quota.holds and lowers the counter. So nothing has to run for a hold to
 * return. The counter says how many holds it has; where it has none nobody
 * looks for them.
 *
 * Locks: a row of quota.holds is deleted only by who has changed its counter, or
 * locked it whole, before. Who settles a reservation and who returns what has
 * expired of it meet at the counter, and of two that come to the row one deletes
 * it: that one lowers the counter.
 */
#include "postgres.h"

#include "charge/hold.h"

#include "utils/timestamp.h"

#include "rules/decide.h"
#include "tables/reservations.h"

static int64 sum_until(QuotaStore *store, const QuotaCounter *counter, TimestampTz until);

/* Of a counter that was read, what has expired. */
void
quota_hold_read_expired(QuotaStore *store, QuotaCounter *counter, TimestampTz now)
{
	counter->expired = sum_until(store, counter, now);
}

/* Of a counter that was read, all that is held, whether or not it has expired. */
int64
quota_hold_sum(QuotaStore *store, const QuotaCounter *counter)
{
	return sum_until(store, counter, DT_NOEND);
}

/*
 * Lower a counter that was read by what has expired of it.
 *
 * Returns false, with nothing returned, where somebody else has changed the
 * counter since. In any case refresh, read and judge it again.
 * Locks: the counter, whole, until the end of the transaction; then the rows of
 * quota.holds that go.
 */
bool
quota_hold_return_expired(QuotaStore *store, QuotaCounter *counter, TimestampTz now)
{
	QuotaCounterChange change = {.most = PG_INT64_MAX};
	QuotaHoldRow *expired;
	int count;

	if (!quota_counter_lock(store, counter))
		return false;
	quota_store_refresh(store);
	quota_counter_read(store, counter);
	expired = quota_reservations_holds_of_counter(store, &counter->key, now, &count);
	for (int i = 0; i < count; i++)
		if (quota_reservations_delete_hold(store, &expired[i]))
		{
			change.used -= Min(expired[i].amount, counter->used + change.used);
			change.holds -= Min(1, counter->holds + change.holds);
		}
	change.alerted = counter->alerted;
	if (!quota_counter_add(store, counter, &change))
		elog(ERROR, "counter changed under its lock");
	return true;
}

/* Units that are held of a counter until a time, or less long. */
static int64
sum_until(QuotaStore *store, const QuotaCounter *counter, TimestampTz until)
{
	QuotaHoldRow *holds;
	int64 sum = 0;
	int count;

	if (counter->holds <= 0)
		return 0;
	holds = quota_reservations_holds_of_counter(store, &counter->key, until, &count);
	for (int i = 0; i < count; i++)
		sum = quota_decide_sum(sum, holds[i].amount);
	/* the counter may have been changed by hand */
	return Min(sum, counter->used);
}
