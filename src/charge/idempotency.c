/*
 * idempotency.c
 *		Repeat the remembered answer to a call with the same idempotency key.
 *
 * The answer is a row of quota.keys, inserted in the transaction of the call:
 * it commits with the charge or vanishes with it. A call looks for the row
 * whatever its snapshot, and waits for a transaction in progress that has
 * inserted it.
 *
 * Lock										Protects					Order					While held
 * advisory, hash of account and key	look-up and insert of a row	before any counter	the call is charged
 *
 * The lock is released when the row is inserted, or by rollback, so that a
 * transaction with any number of keys does not fill the lock table.
 */
#include "postgres.h"

#include "charge/idempotency.h"

#include "access/transam.h"
#include "catalog/pg_collation.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/builtins.h"

#include "guc.h"
#include "tables/keys.h"

/* class of the advisory locks; the application's own have 1 or 2 */
#define LOCK_OF_KEYS 0x7175

static bool has_key(const QuotaCharge *charge);
static LOCKTAG lock_tag(const QuotaKeyRow *row);
static void check_same_call(const QuotaCharge *charge, bool as_user, const QuotaKeyRow *row);

/*
 * Find the remembered answer of a call with the same account and key.
 *
 * charge: prepared. as_user: the caller has level user, to which an error shows
 * nothing of another call.
 * Returns false if there is none, or if the call has no key. Remember an answer
 * then.
 * Errors: invalid_parameter_value where the first call had other arguments.
 * Locks: the key, if there is no answer. Waits for a session that is answering
 * it.
 */
bool
quota_idempotency_find(QuotaStore *store, Datum account, const QuotaCharge *charge, bool as_user, QuotaRememberedAnswer *answer)
{
	QuotaKeyRow row = {.account = account, .key = charge->origin.key};
	LOCKTAG lock;
	TransactionId writer;

	if (!has_key(charge))
		return false;
	lock = lock_tag(&row);
	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		LockAcquire(&lock, ExclusiveLock, false, false);
		if (!quota_keys_find(&row, &writer))
		{
			/* the lock may have waited */
			quota_store_refresh_committed(store);
			return false;
		}
		LockRelease(&lock, ExclusiveLock, false);
		if (!TransactionIdIsValid(writer))
			break;
		XactLockTableWait(writer, NULL, NULL, XLTW_None);
	}
	check_same_call(charge, as_user, &row);
	answer->decision = row.decision;
	answer->reservation = row.reservation;
	return true;
}

/* Remember the answer of a call for which quota_idempotency_find returned false. */
void
quota_idempotency_remember(QuotaStore *store, const QuotaCharge *charge, const QuotaRememberedAnswer *answer)
{
	QuotaKeyRow row = {
		.account = charge->decision.account,
		.key = charge->origin.key,
		.feature = charge->feature,
		.n = charge->n,
		.reservation = answer->reservation,
		.decision = answer->decision,
		.at = quota_guc_now()};
	LOCKTAG lock;

	if (!has_key(charge))
		return;
	row.function = psprintf("quota_%s", charge->origin.what);
	lock = lock_tag(&row);
	quota_keys_insert(store, &row);
	LockRelease(&lock, ExclusiveLock, false);
}

/* With quota.enforcement = off nothing is charged, so there is nothing to repeat. */
static bool
has_key(const QuotaCharge *charge)
{
	return charge->origin.key != 0 && quota_guc_enforcement != QUOTA_ENFORCEMENT_OFF;
}

static LOCKTAG
lock_tag(const QuotaKeyRow *row)
{
	Datum account = DirectFunctionCall2Coll(hashtextextended, C_COLLATION_OID, row->account, Int64GetDatum(0));
	uint64 hash = DatumGetUInt64(DirectFunctionCall2Coll(hashtextextended, C_COLLATION_OID, row->key, account));
	LOCKTAG lock;

	SET_LOCKTAG_ADVISORY(lock, MyDatabaseId, (uint32) (hash >> 32), (uint32) hash, LOCK_OF_KEYS);
	return lock;
}

static void
check_same_call(const QuotaCharge *charge, bool as_user, const QuotaKeyRow *row)
{
	const char *function = psprintf("quota_%s", charge->origin.what);

	if (strcmp(function, row->function) != 0 || strcmp(charge->feature, row->feature) != 0 || charge->n != row->n)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("key \"%s\" stands for another call", TextDatumGetCString(row->key)),
				 as_user ? 0 : errdetail("It was first used to call %s for %lld of feature \"%s\".", row->function, (long long) row->n, row->feature),
				 errhint("Repeat a call with all of its arguments, and give each other call a key of its own.")));
}
