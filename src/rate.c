/*
 * Rates: limits over a short window, held in shared memory.
 *
 * A rate of an account is a bucket (src/bucket.h), found by a hash of 128 bits of
 * database, account, feature and period, in one of the eight places that the hash
 * can be in. A bucket that has run empty is the same as none, so its place is
 * free. Where all eight are in use, the one that is next to run empty is given
 * up, and counted: memory is bounded, and an account that loses its bucket finds
 * a new one, empty. Nothing is written to disk or undone: what has been taken
 * stays taken when the transaction rolls back, and a restart forgets all.
 *
 * Locks: a place belongs to one of 64 LWLocks. Several are taken in the order of
 * their numbers and held while a few words are read or written; nothing else is
 * waited for, allocated or raised with one of them held. The clock is read under the lock,
 * so that time goes forward for whoever comes next.
 *
 * Memory: a segment of its own (src/shared.h), made by the first rate.
 */
#include "postgres.h"

#include "rate.h"

#include "access/htup_details.h"
#include "common/hashfn.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "argument.h"
#include "gate.h"
#include "guc.h"
#include "shared.h"

#define WAYS 8
#define SETS (1 << 15)
#define LOCKS 64

typedef struct Bucket
{
	uint64 key; /* the second half */
	QuotaLevel level;
	TimestampTz empty_at; /* -infinity: nobody's */
} Bucket;

/* What is looked at first is one line of the processor's cache. */
typedef struct Set
{
	uint64 keys[WAYS]; /* the first halves */
	Bucket buckets[WAYS];
} Set;

typedef struct Table
{
	union
	{
		LWLock lock;
		char pad[LWLOCK_PADDED_SIZE];
	} locks[LOCKS];
	union
	{
		pg_atomic_uint64 number;
		char pad[PG_CACHE_LINE_SIZE];
	} evictions;
	Set sets[SETS];
} Table;

/* the periods that a rate can have, up to the day; 0: it cannot */
static const int64 period_us[QUOTA_PERIODS] = {
	[QUOTA_SECOND] = USECS_PER_SEC,
	[QUOTA_MINUTE] = USECS_PER_MINUTE,
	[QUOTA_HOUR] = USECS_PER_HOUR,
	[QUOTA_DAY] = USECS_PER_DAY};

static Table *table = NULL;

static void make_key(const QuotaCounterKey *key, uint64 *hash);
static Table *attach(void);
static void fill(void *memory, int tranche);
static uint64 lock_all(const QuotaRateChange *changes, int count);
static void unlock_all(uint64 locked);
static int lock_number(const uint64 *key);
static QuotaLevel level_now(const QuotaCounter *rate, TimestampTz now);
static Bucket *find(const uint64 *key);
static Bucket *find_or_make(const uint64 *key, TimestampTz now);
static void forget(Bucket *bucket);

/*
 * Read a rate: the units that are in the bucket which its key names. One without
 * a limit, or with a limit of 0, has no bucket, and nothing used.
 *
 * Errors: check_violation for a period that no rate has; out_of_memory where there
 * is no room for rates at all.
 * Locks: the bucket's, shared, while it is read.
 */
void
quota_rate_read(QuotaCounter *rate, const QuotaLimit *limit)
{
	const QuotaCounterKey key = rate->key;

	memset(rate, 0, sizeof(QuotaCounter));
	rate->key = key;
	/* a feature that is not in the plan has the window lifetime, unlimited */
	if (limit->unlimited || limit->per_window == 0)
	{
		rate->level.at = quota_guc_clock();
		return;
	}
	/* the triggers of the tables refuse such a limit, unless they are disabled or the kind changes meanwhile */
	if (period_us[key.period] == 0)
		ereport(ERROR,
				(errcode(ERRCODE_CHECK_VIOLATION),
				 errmsg("feature \"%s\" of kind rate cannot have a limit for period %s",
						key.feature, quota_period_names[key.period])));
	rate->pace = (QuotaPace){limit->per_window, period_us[key.period]};
	make_key(&key, rate->bucket);

	LWLockAcquire(&attach()->locks[lock_number(rate->bucket)].lock, LW_SHARED);
	rate->level = level_now(rate, quota_guc_clock());
	LWLockRelease(&table->locks[lock_number(rate->bucket)].lock);
	rate->used = quota_bucket_used(&rate->level);
}

/*
 * Add to rates that were read, to all or to none. Giving back stops at nothing
 * used.
 *
 * Returns false where one of them has no room, or more used than a bigint holds:
 * read and judge them again. Otherwise the rates tell what is used then.
 * Locks: those of the buckets, while they are looked at and written.
 */
bool
quota_rate_add(const QuotaRateChange *changes, int count)
{
	uint64 locked = lock_all(changes, count);
	TimestampTz now = quota_guc_clock();
	bool admitted = true;

	for (int i = 0; i < count && admitted; i++)
	{
		QuotaCounter *rate = changes[i].rate;

		rate->level = level_now(rate, now);
		if (rate->pace.limit > 0)
			admitted = quota_bucket_add(&rate->level, changes[i].change->used, changes[i].change->most);
	}
	for (int i = 0; i < count && admitted; i++)
	{
		QuotaCounter *rate = changes[i].rate;
		Bucket *bucket;

		if (rate->pace.limit == 0)
			continue;
		bucket = find_or_make(rate->bucket, now);
		bucket->level = rate->level;
		bucket->empty_at = quota_bucket_falls_to(&rate->level, &rate->pace, 0);
		rate->used = quota_bucket_used(&rate->level);
	}
	unlock_all(locked);
	return admitted;
}

/* When n units will be admitted, if nobody else takes any, to the millisecond above; infinity: never. */
TimestampTz
quota_rate_admits(const QuotaCounter *rate, const QuotaLimit *limit, int64 n)
{
	TimestampTz at = DT_NOEND;
	int64 wait_us;

	if (n <= limit->block_at)
		at = quota_bucket_falls_to(&rate->level, &rate->pace, limit->block_at - n);
	if (at == DT_NOEND)
		return at;
	wait_us = at - rate->level.at;
	return rate->level.at + (wait_us + 999) / 1000 * 1000;
}

/* quota.forget_rate(owner, feature): its buckets are empty again */
PG_FUNCTION_INFO_V1(quota_forget_rate);

Datum
quota_forget_rate(PG_FUNCTION_ARGS)
{
	QuotaCounterKey key;

	quota_argument_check_not_null(fcinfo, 0, "owner");
	quota_argument_check_not_null(fcinfo, 1, "feature");
	key.account = PG_GETARG_DATUM(0);
	key.feature = text_to_cstring(PG_GETARG_TEXT_PP(1));
	attach();
	for (key.period = 0; key.period <= QUOTA_DAY; key.period++)
	{
		uint64 hash[2];
		LWLock *lock;
		Bucket *bucket;

		make_key(&key, hash);
		lock = &table->locks[lock_number(hash)].lock;
		LWLockAcquire(lock, LW_EXCLUSIVE);
		bucket = find(hash);
		if (bucket != NULL)
			forget(bucket);
		LWLockRelease(lock);
	}
	PG_RETURN_VOID();
}

/* quota_rate_stats(): how full the memory of rates is */
PG_FUNCTION_INFO_V1(quota_rate_stats);

Datum
quota_rate_stats(PG_FUNCTION_ARGS)
{
	TimestampTz now = quota_guc_clock();
	int64 in_use = 0;
	TupleDesc desc;
	Datum values[4];
	bool nulls[4] = {false};

	quota_gate_require(QUOTA_GATE_RATE_STATS);
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "quota_rate_stats does not return a row");
	attach();
	for (int i = 0; i < LOCKS; i++)
	{
		CHECK_FOR_INTERRUPTS();
		LWLockAcquire(&table->locks[i].lock, LW_SHARED);
		for (int set = i; set < SETS; set += LOCKS)
			for (int way = 0; way < WAYS; way++)
				in_use += table->sets[set].buckets[way].empty_at > now;
		LWLockRelease(&table->locks[i].lock);
	}
	values[0] = Int64GetDatum(in_use);
	values[1] = Int64GetDatum((int64) SETS * WAYS);
	values[2] = Int64GetDatum((int64) pg_atomic_read_u64(&table->evictions.number));
	values[3] = Int64GetDatum((int64) sizeof(Table));
	return HeapTupleGetDatum(heap_form_tuple(desc, values, nulls));
}

static void
make_key(const QuotaCounterKey *key, uint64 *hash)
{
	text *account = DatumGetTextPP(key->account);
	uint64 feature = hash_bytes_extended((const unsigned char *) key->feature, strlen(key->feature), key->period);

	for (int i = 0; i < 2; i++)
		hash[i] = hash_combine64(feature, hash_bytes_extended((unsigned char *) VARDATA_ANY(account), VARSIZE_ANY_EXHDR(account),
															  (uint64) MyDatabaseId << 1 | i));
}

static Table *
attach(void)
{
	if (likely(table != NULL))
		return table;
	table = quota_shared_segment(QUOTA_SEGMENT_RATES, sizeof(Table), fill);
	if (table == NULL)
		/* never a yes for want of memory */
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("could not get shared memory for rates"),
				 errhint("All slots for dynamic shared memory are taken; there are more with a higher max_connections.")));
	return table;
}

static void
fill(void *memory, int tranche)
{
	Table *made = memory;

	for (int i = 0; i < LOCKS; i++)
		LWLockInitialize(&made->locks[i].lock, tranche);
	pg_atomic_init_u64(&made->evictions.number, 0);
	for (int i = 0; i < SETS; i++)
	{
		memset(made->sets[i].keys, 0, sizeof(made->sets[i].keys));
		for (int way = 0; way < WAYS; way++)
			forget(&made->sets[i].buckets[way]);
	}
}

/* Take the locks of all buckets, lowest first; the set of their numbers. */
static uint64
lock_all(const QuotaRateChange *changes, int count)
{
	uint64 wanted = 0;

	for (int i = 0; i < count; i++)
		if (changes[i].rate->pace.limit > 0)
			wanted |= UINT64CONST(1) << lock_number(changes[i].rate->bucket);
	for (uint64 left = wanted; left != 0; left &= left - 1)
		LWLockAcquire(&table->locks[pg_rightmost_one_pos64(left)].lock, LW_EXCLUSIVE);
	return wanted;
}

static void
unlock_all(uint64 locked)
{
	for (; locked != 0; locked &= locked - 1)
		LWLockRelease(&table->locks[pg_rightmost_one_pos64(locked)].lock);
}

static int
lock_number(const uint64 *key)
{
	return key[0] % LOCKS;
}

static QuotaLevel
level_now(const QuotaCounter *rate, TimestampTz now)
{
	const Bucket *bucket = rate->pace.limit > 0 ? find(rate->bucket) : NULL;
	QuotaLevel level = {.at = now};

	if (bucket != NULL)
	{
		level = bucket->level;
		quota_bucket_run(&level, &rate->pace, now);
	}
	return level;
}

/* The bucket of a key; NULL: there is none. */
static Bucket *
find(const uint64 *key)
{
	Set *set = &table->sets[key[0] % SETS];

	for (int i = 0; i < WAYS; i++)
		if (set->keys[i] == key[0] && set->buckets[i].key == key[1])
			return &set->buckets[i];
	return NULL;
}

/* The same; where there is none, in the place of the one that is empty first. */
static Bucket *
find_or_make(const uint64 *key, TimestampTz now)
{
	Bucket *bucket = find(key);
	Set *set = &table->sets[key[0] % SETS];
	int way = 0;

	if (bucket != NULL)
		return bucket;
	for (int i = 1; i < WAYS; i++)
		if (set->buckets[i].empty_at < set->buckets[way].empty_at)
			way = i;
	bucket = &set->buckets[way];
	if (bucket->empty_at > now)
		pg_atomic_fetch_add_u64(&table->evictions.number, 1);
	set->keys[way] = key[0];
	bucket->key = key[1];
	return bucket;
}

static void
forget(Bucket *bucket)
{
	memset(bucket, 0, sizeof(Bucket));
	bucket->empty_at = DT_NOBEGIN;
}
