/*
 * lock_alone.c
 *		Let one session at a time do an act, by quota.lock_alone.
 *
 * Not by LOCK TABLE: a role with USAGE on schema quota can take ROW EXCLUSIVE
 * on any of its tables without a right to write, by PREPARE of a DELETE, and
 * could so block an act until the end of its transaction.
 *
 * Lock									Protects	Order			While held
 * advisory, database and hash of the act	the act		by the caller	the transaction
 *
 * SQL cannot take advisory locks of this class. Memory: none.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/builtins.h"

#include "argument.h"
#include "compat.h"

/* class of the advisory locks; the application's own have 1 or 2, idempotency keys 0x7175 */
#define LOCK_OF_ACTS 0x7176

/*
 * quota.lock_alone(act, shared): lock an act until the transaction ends; shared
 * locks do not exclude each other.
 */
QUOTA_FUNCTION(quota_lock_alone)
{
	LOCKTAG lock;
	text *act = quota_argument_text(fcinfo, 0, "act");

	quota_argument_check_not_null(fcinfo, 1, "shared");
	SET_LOCKTAG_ADVISORY(lock, MyDatabaseId, 0,
						 hash_bytes((unsigned char *) VARDATA_ANY(act), VARSIZE_ANY_EXHDR(act)), LOCK_OF_ACTS);
	(void) LockAcquire(&lock, PG_GETARG_BOOL(1) ? ShareLock : ExclusiveLock, false, false);
	PG_RETURN_VOID();
}
