/* Remember the newest version that this transaction has written of each row. */
#ifndef QUOTA_NEWEST_H
#define QUOTA_NEWEST_H

#include "access/transam.h"
#include "storage/itemptr.h"

/* A new version of a row. Of used_change and alerted_change only the sign counts. */
typedef struct QuotaNewVersion
{
	uint64 hash;
	ItemPointerData old_tid; /* the version before; invalid: the row was inserted */
	ItemPointerData new_tid;
	bool is_slot; /* the counter has slots, which others scan */
	bool own_old; /* this transaction wrote the version before, too */
	int64 used_change;
	int alerted_change;
} QuotaNewVersion;

/* versions of a slot that a scan reads before it looks for the published one */
#define QUOTA_WALKED_VERSIONS 8

extern void quota_newest_init(void);
extern void quota_newest_record(QuotaNewVersion *version);
extern bool quota_newest_find_own(uint64 hash, ItemPointer tid);
extern bool quota_newest_find_published(uint64 hash, TransactionId writer, ItemPointer tid);

#endif
