/*
 * Where the newest version of each row is that this transaction has written.
 */
#ifndef QUOTA_NEWEST_H
#define QUOTA_NEWEST_H

#include "access/transam.h"
#include "storage/itemptr.h"

/* A version that has been written, of a row whose key has a hash. */
typedef struct QuotaNewVersion
{
	uint64 hash;
	ItemPointerData old_tid; /* the version that it follows; invalid: it is the first of the row */
	ItemPointerData new_tid;
	bool is_slot;       /* of a counter whose slots others scan */
	bool own_old;       /* this transaction had written `from` */
	int64 used_change;  /* what was added to that of `from` */
	int alerted_change; /* the same */
} QuotaNewVersion;

/* versions that who scans slots walks before it asks for the newest */
#define QUOTA_WALKED_VERSIONS 8

extern void quota_newest_init(void);
extern void quota_newest_record(QuotaNewVersion *version);
extern bool quota_newest_find_own(uint64 hash, ItemPointer tid);
extern bool quota_newest_find_published(uint64 hash, TransactionId writer, ItemPointer tid);

#endif
