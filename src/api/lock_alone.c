/*
 * Acts of which one may go on at a time: quota.lock_alone().
 *
 * Not LOCK TABLE: whoever may use schema quota takes ROW EXCLUSIVE on any table
 * of it without a right to write, by PREPARE of a DELETE, and would keep such an
 * act waiting until the end of its transaction.
 *
 * Locks: one of the lock manager's, of the database and the name of the act,
 * until the transaction ends. SQL can make none of this class.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/builtins.h"

#include "argument.h"
#include "compat.h"

/* in the fourth field of an advisory lock, where the application's own have 1 or 2, and keys 0x7175 */
#define LOCK_OF_ACTS 0x7176

/* quota.lock_alone(act, shared): wait for others that do the same; shared: only for those that do it alone */
PG_FUNCTION_INFO_V1(quota_lock_alone);

Datum
quota_lock_alone(PG_FUNCTION_ARGS)
{
	LOCKTAG lock;
	text *act;

	quota_argument_check_not_null(fcinfo, 0, "act");
	quota_argument_check_not_null(fcinfo, 1, "shared");
	act = PG_GETARG_TEXT_PP(0);
	SET_LOCKTAG_ADVISORY(lock, MyDatabaseId, 0,
						 hash_bytes((unsigned char *) VARDATA_ANY(act), VARSIZE_ANY_EXHDR(act)), LOCK_OF_ACTS);
	(void) LockAcquire(&lock, PG_GETARG_BOOL(1) ? ShareLock : ExclusiveLock, false, false);
	PG_RETURN_VOID();
}
