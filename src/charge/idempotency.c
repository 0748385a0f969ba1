/*
 * Calls with a key: the first is answered, and those after it get its answer.
 *
 * The answer is a row of quota.keys, written in the transaction of the call: it
 * commits with what was charged, or vanishes with it. A call looks for the row
 * whatever its snapshot; where a transaction that has not ended has written it,
 * it waits for its end. From the look to the write of its own row it holds a
 * lock of the key, so that of two calls at once one is the first.
 *
 * Locks: that lock, one of the lock manager's, by hash of account and key. It is
 * taken before any counter and given back with the row, or by a rollback: a
 * transaction with any number of keys does not fill the lock table.
 */
#include "postgres.h"

#include "charge/idempotency.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/builtins.h"

#include "guc.h"
#include "tables/keys.h"

/* in the fourth field of an advisory lock, where the application's own have 1 or 2 */
#define LOCK_OF_KEYS 0x7175

static bool has_key(const QuotaRequest *request);
static LOCKTAG lock_of(const QuotaRequest *request);
static uint64 hash_of(Datum value, uint64 seed);
static void check_same(const QuotaRequest *request, const QuotaKeyRow *row);

/*
 * The answer that a call with the same account and key has got; false: there is
 * none, or no key. Where there is a key it is to be remembered then.
 *
 * Errors: invalid_parameter_value where that call asked for something else.
 * Locks: waits for whoever is answering the same.
 */
bool
quota_idempotency_recall(QuotaStore *store, const QuotaRequest *request, QuotaAnswer *answer)
{
	QuotaKeyRow row = {.account = request->account, .key = request->key};
	LOCKTAG lock;
	TransactionId writer;

	if (!has_key(request))
		return false;
	lock = lock_of(request);
	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		LockAcquire(&lock, ExclusiveLock, false, false);
		if (!quota_keys_find(&row, &writer))
		{
			/* others may have been waited for */
			quota_store_refresh_committed(store);
			return false;
		}
		LockRelease(&lock, ExclusiveLock, false);
		if (!TransactionIdIsValid(writer))
			break;
		XactLockTableWait(writer, NULL, NULL, XLTW_None);
	}
	check_same(request, &row);
	answer->decision = row.decision;
	answer->reservation = row.reservation;
	return true;
}

/* Remember the answer of a call that quota_idempotency_recall did not know; without a key nothing. */
void
quota_idempotency_remember(QuotaStore *store, const QuotaRequest *request, const QuotaAnswer *answer)
{
	QuotaKeyRow row = {
		.account = request->account,
		.key = request->key,
		.function = request->function,
		.feature = request->feature,
		.n = request->n,
		.reservation = answer->reservation,
		.decision = answer->decision,
		.at = quota_guc_now()};
	LOCKTAG lock;

	if (!has_key(request))
		return;
	lock = lock_of(request);
	quota_keys_insert(store, &row);
	LockRelease(&lock, ExclusiveLock, false);
}

/* While nothing is enforced nothing is charged: there is nothing to repeat. */
static bool
has_key(const QuotaRequest *request)
{
	return request->key != 0 && quota_guc_enforcement != QUOTA_ENFORCEMENT_OFF;
}

static LOCKTAG
lock_of(const QuotaRequest *request)
{
	uint64 hash = hash_of(request->key, hash_of(request->account, 0));
	LOCKTAG lock;

	SET_LOCKTAG_ADVISORY(lock, MyDatabaseId, (uint32) (hash >> 32), (uint32) hash, LOCK_OF_KEYS);
	return lock;
}

static uint64
hash_of(Datum value, uint64 seed)
{
	text *string = DatumGetTextPP(value);

	return hash_bytes_extended((unsigned char *) VARDATA_ANY(string), VARSIZE_ANY_EXHDR(string), seed);
}

static void
check_same(const QuotaRequest *request, const QuotaKeyRow *row)
{
	if (strcmp(request->function, row->function) != 0 || strcmp(request->feature, row->feature) != 0 || request->n != row->n)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("key \"%s\" stands for another call", TextDatumGetCString(request->key)),
				 request->as_user ? 0 : errdetail("It was first used to call %s for %lld of feature \"%s\".", row->function, (long long) row->n, row->feature),
				 errhint("Repeat a call with all of its arguments, and give each other call a key of its own.")));
}
