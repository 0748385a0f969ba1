/*
 * Counters that many transactions charge at once.
 */
#ifndef QUOTA_USAGE_SLOTS_H
#define QUOTA_USAGE_SLOTS_H

#include "tables/usage_row.h"

#define QUOTA_FIRST_SLOTS 4
#define QUOTA_MAX_SLOTS 32

/* What is found of one slot. */
typedef struct QuotaSlot
{
	bool exists;
	bool own;           /* made by this transaction */
	TransactionId busy; /* another transaction that has changed it; invalid: none */
	bool locked;        /* by another transaction that has not changed it */
	int64 used;         /* without that change */
	int64 least;
	int64 most;    /* with or without it */
	int32 holds;   /* without it */
	int16 alerted; /* with it */
	int16 slots;
	int16 slots_changed; /* 0: the slot is deleted */
	uint64 hash;         /* of its key */
	ItemPointerData tid;
} QuotaSlot;

/* What is found of all slots of a counter. */
typedef struct QuotaSlotScan
{
	uint64 changes; /* the lock's, before looking */
	uint64 raised;
	bool stale; /* others have charged since, which `most` allows for */
	int slots;  /* 0: the counter is gone */
	int64 used; /* by this transaction and those that have committed */
	int64 least;
	int64 most; /* whatever becomes of the others */
	int32 holds;
	int16 alerted;
	TransactionId busy;     /* one of the others, invalid: there is none */
	TransactionId raising;  /* the one whose charges may add the most to what is used */
	TransactionId lowering; /* the one whose refunds may take the most from it */
	uint64 raised_by;       /* how much */
	uint64 lowered_by;
	TransactionId merging; /* that which merges the slots, or deletes them */
	int own;               /* the slot that is this transaction's own, -1: none */
	int locked;            /* a slot that is locked without a change, -1: none */
	QuotaSlot slot[QUOTA_MAX_SLOTS];
} QuotaSlotScan;

extern bool quota_usage_slots_near_limit(int64 used, int64 delta, int64 most);
extern void quota_usage_slots_scan(QuotaStore *store, const QuotaKey *key, QuotaSlotScan *scan);
extern bool quota_usage_slots_add(QuotaStore *store, QuotaCounter *counter, const QuotaCounterChange *change);
extern bool quota_usage_slots_merge(QuotaStore *store, QuotaCounter *counter);
extern void quota_usage_slots_insert(QuotaStore *store, const QuotaCounter *counter, int from, int to);
extern bool quota_usage_slots_take_back(QuotaStore *store, const QuotaCounter *counter, const QuotaCounterChange *change);

#endif
