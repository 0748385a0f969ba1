/*
 * hold.c
 *		The part of a counter's use that reservations hold.
 *
 * A hold counts as used until it expires. Then every reader of the counter
 * subtracts it, and the next charge returns it: it deletes the row of
 * quota.holds and lowers the counter. So no job is needed. A counter stores how
 * many holds it has, so that one without holds is read without a look at
 * quota.holds.
 *
 * Lock				Protects		Order				While held
 * counter, whole	its holds		-					holds are read
 * row of a hold		return, once	after its counter	-
 *
 * A session that settles a reservation and one that returns its expired holds
 * meet at the counter. The one that deletes the row lowers the counter. Memory:
 * the caller's context.
 */
#include "postgres.h"

#include "charge/hold.h"

#include "rules/decide.h"
#include "tables/reservations.h"

/* Sum up the holds of a counter that expire at or before a time; infinity: all. */
int64
quota_hold_sum(QuotaStore *store, const QuotaCounter *counter, TimestampTz until)
{
	QuotaHoldRow *holds;
	int64 sum = 0;
	int count;

	if (counter->holds <= 0)
		return 0;
	holds = quota_reservations_holds_of_counter(store, &counter->key, until, &count);
	for (int i = 0; i < count; i++)
		sum = quota_decide_sum(sum, holds[i].amount);
	/* somebody may have updated the counter by hand */
	return Min(sum, counter->used);
}

/*
 * Return the expired holds of a counter: delete them and lower the counter.
 *
 * Returns false, with nothing done, if another transaction has changed the
 * counter since it was read. In any case refresh the store, read and decide
 * again.
 * Locks: the whole counter, until the end of the transaction; then the rows of
 * quota.holds that are deleted.
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
