/* Counters that many transactions charge at once. */
#ifndef QUOTA_USAGE_SLOTS_H
#define QUOTA_USAGE_SLOTS_H

#include "tables/usage_row.h"

#define QUOTA_FIRST_SLOTS 4
#define QUOTA_MAX_SLOTS 32

/* The state of one slot. An open change is one by another transaction that may still roll back. */
typedef struct QuotaSlot
{
	bool exists;
	bool own;             /* the version was written by this transaction */
	TransactionId busy;   /* the transaction of the open change; invalid: none */
	TransactionId locked; /* a transaction that locked it without changing it; invalid: none */
	int64 used;           /* without the open change */
	int64 least;
	int64 most;          /* with or without it */
	int32 holds;         /* without the open change */
	int16 alerted;       /* with the open change */
	int16 slots;         /* column `slots` */
	int16 slots_changed; /* after the open change; 0: it deletes the slot */
	uint64 hash;         /* of its key */
	ItemPointerData tid;
} QuotaSlot;

/* The state of all slots of a counter. */
typedef struct QuotaSlotScan
{
	uint64 changes; /* the numbers of the counter's lock, before the scan */
	uint64 raised;
	bool stale; /* others have charged since; `most` includes that */
	int slots;  /* 0: the counter was deleted */
	int64 used; /* by committed transactions and this one */
	int64 least;
	int64 most; /* with or without the open changes */
	int32 holds;
	int16 alerted;
	TransactionId busy;     /* one transaction with an open change; invalid: none */
	TransactionId raising;  /* the one that adds the most */
	TransactionId lowering; /* the one that takes the most away */
	uint64 raised_by;       /* units */
	uint64 lowered_by;
	TransactionId merging;  /* the one that merges or deletes the slots */
	int own;                /* this transaction's slot; -1: none */
	TransactionId locked;   /* one that has locked a slot without changing it */
	TransactionId wait_for; /* the one that a charge has to wait for; invalid: none */
	QuotaSlot slot[QUOTA_MAX_SLOTS];
} QuotaSlotScan;

extern bool quota_usage_slots_near_limit(int64 used, int64 delta, int64 most);
extern void quota_usage_slots_scan(QuotaStore *store, const QuotaKey *key, QuotaSlotScan *scan);
extern bool quota_usage_slots_add(QuotaStore *store, QuotaCounter *counter, const QuotaCounterChange *change);
extern bool quota_usage_slots_merge(QuotaStore *store, QuotaCounter *counter);
extern void quota_usage_slots_insert(QuotaStore *store, const QuotaCounter *counter, int from, int to);
extern bool quota_usage_slots_take_back(QuotaStore *store, const QuotaCounter *counter, const QuotaCounterChange *change);

#endif
