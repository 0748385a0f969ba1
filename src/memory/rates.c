/*
 * Rates: limits over a short window, held in shared memory.
 *
 * A rate of an account is a bucket (src/rules/bucket.h), found by a keyed hash of 128
 * bits of the extension, feature, period and account, in one of the eight places
 * that the hash can be in. A bucket that has run empty is the same as none, so its
 * place is free. Where all eight are in use, the one that is emptiest, as a share
 * of what it can hold, is given up, and counted: memory is bounded, and an account
 * that loses its bucket finds a new one, empty. Nothing is written to disk or undone:
 * what has been taken stays taken when the transaction rolls back, and a restart
 * forgets all.
 *
 * Whoever may choose names cannot know which are in one set: the key of the hash
 * is a random secret, made with the memory. To have a bucket that is full given
 * up, he has to fill eight others of the set more than that, which by chance takes as many
 * buckets as there are places.
 *
 * What is hashed has the identity of the database, as the server knows it, and of
 * the extension in it: neither a database with the OID of one that is gone nor
 * an extension that is made again finds buckets of before.
 *
 * Locks: a place belongs to one of 64 LWLocks. Several are taken in the order of
 * their numbers and held while a few words are read or written; nothing else is
 * waited for, allocated or raised with one of them held. The clock is read under the lock,
 * so that time goes forward for whoever comes next.
 *
 * Memory: a segment a database (src/memory/shared.h), made by the first rate. Without it
 * no rate is admitted.
 */
#include "postgres.h"

#include "memory/rates.h"

#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "guc.h"
#include "memory/shared.h"
#include "rules/siphash.h"

#define WAYS 8
#define SETS (1 << 15)
#define LOCKS 64

/* the greatest share that is told apart */
#define FULL ((1 << 24) - 1)

typedef struct Bucket
{
	uint64 key;     /* the second half */
	TimestampTz at; /* a QuotaLevel, whose parts are fewer than a day has microseconds */
	int64 units;
	uint64 parts : 40;
	uint64 share : 24;    /* of what it can hold, from 1 to FULL */
	TimestampTz empty_at; /* -infinity: nobody's */
} Bucket;

/* What is looked at first is one line of the processor's cache. */
typedef struct Set
{
	uint64 keys[WAYS]; /* the first halves */
	Bucket buckets[WAYS];
} Set;

typedef struct RateTable
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
	QuotaSecret secret;
	char unused[PG_CACHE_LINE_SIZE - sizeof(QuotaSecret)];
	Set sets[SETS];
} RateTable;

/* the periods that a rate can have, up to the day; 0: it cannot */
static const int64 period_us[QUOTA_PERIODS] = {
	[QUOTA_SECOND] = USECS_PER_SEC,
	[QUOTA_MINUTE] = USECS_PER_MINUTE,
	[QUOTA_HOUR] = USECS_PER_HOUR,
	[QUOTA_DAY] = USECS_PER_DAY};

static RateTable *table = NULL;

static void make_key(const QuotaRateKey *key, uint64 *hash);
static RateTable *attach(void);
static void fill(void *memory, int tranche);
static uint64 lock_all(const QuotaRateChange *changes, int count);
static void unlock_all(uint64 locked);
static int lock_number(const uint64 *key);
static QuotaLevel level_now(const QuotaRate *rate, TimestampTz now);
static Bucket *find(const uint64 *key);
static Bucket *find_or_make(const uint64 *key, TimestampTz now);
static void fill_bucket(Bucket *bucket, const QuotaRate *rate);
static double fullness(const Bucket *bucket, TimestampTz now);
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
quota_rates_read(QuotaRate *rate, const QuotaRateKey *key, const QuotaLimit *limit)
{
	memset(rate, 0, sizeof(QuotaRate));
	/* a feature that is not in the plan has the window lifetime, unlimited */
	if (limit->unlimited || limit->per_window == 0)
	{
		rate->level.at = quota_guc_clock();
		return;
	}
	/* the triggers of the tables refuse such a limit, unless they are disabled or the kind changes meanwhile */
	if (period_us[key->period] == 0)
		ereport(ERROR,
				(errcode(ERRCODE_CHECK_VIOLATION),
				 errmsg("feature \"%s\" of kind rate cannot have a limit for period %s",
						key->feature, quota_period_names[key->period])));
	rate->pace = (QuotaPace){limit->per_window, period_us[key->period]};
	rate->full = limit->block_at == PG_INT64_MAX ? limit->usage_limit : limit->block_at;
	attach();
	make_key(key, rate->bucket);

	LWLockAcquire(&table->locks[lock_number(rate->bucket)].lock, LW_SHARED);
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
quota_rates_add(const QuotaRateChange *changes, int count)
{
	uint64 locked = lock_all(changes, count);
	TimestampTz now = quota_guc_clock();
	bool admitted = true;

	for (int i = 0; i < count && admitted; i++)
	{
		QuotaRate *rate = changes[i].rate;

		rate->level = level_now(rate, now);
		if (rate->pace.limit > 0)
			admitted = quota_bucket_add(&rate->level, changes[i].units, changes[i].most);
	}
	for (int i = 0; i < count && admitted; i++)
	{
		QuotaRate *rate = changes[i].rate;
		Bucket *bucket;

		if (rate->pace.limit == 0)
			continue;
		bucket = find_or_make(rate->bucket, now);
		fill_bucket(bucket, rate);
		rate->used = quota_bucket_used(&rate->level);
	}
	unlock_all(locked);
	return admitted;
}

/* When n units will be admitted, if nobody else takes any, to the millisecond above; infinity: never. */
TimestampTz
quota_rates_admits(const QuotaRate *rate, const QuotaLimit *limit, int64 n)
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

/* Empty the bucket of a key, if it has one. Locks: the bucket's, while it is looked for. */
void
quota_rates_forget(const QuotaRateKey *key)
{
	uint64 hash[2];
	LWLock *lock;
	Bucket *bucket;

	attach();
	make_key(key, hash);
	lock = &table->locks[lock_number(hash)].lock;
	LWLockAcquire(lock, LW_EXCLUSIVE);
	bucket = find(hash);
	if (bucket != NULL)
		forget(bucket);
	LWLockRelease(lock);
}

/* Count the buckets in use. Locks: each of the 64 for as long as its buckets are counted. */
QuotaRateStats
quota_rates_stats(void)
{
	TimestampTz now = quota_guc_clock();
	QuotaRateStats stats = {.places = (int64) SETS * WAYS, .bytes = (int64) sizeof(RateTable)};

	attach();
	for (int i = 0; i < LOCKS; i++)
	{
		CHECK_FOR_INTERRUPTS();
		LWLockAcquire(&table->locks[i].lock, LW_SHARED);
		for (int set = i; set < SETS; set += LOCKS)
			for (int way = 0; way < WAYS; way++)
				stats.in_use += table->sets[set].buckets[way].empty_at > now;
		LWLockRelease(&table->locks[i].lock);
	}
	stats.evictions = (int64) pg_atomic_read_u64(&table->evictions.number);
	return stats;
}

/* The hash of a rate: of bytes that no two rates of the server have. */
static void
make_key(const QuotaRateKey *key, uint64 *hash)
{
	text *account = DatumGetTextPP(key->account);
	Size length = strlen(key->feature);
	struct
	{
		uint64 database;
		Oid extension;
		uint8 period;
		uint8 length; /* of the feature, which the account follows */
		char names[QUOTA_MAX_FEATURE + QUOTA_MAX_ACCOUNT];
	} bytes;

	/* as the tables' constraints have it */
	if (length > QUOTA_MAX_FEATURE || VARSIZE_ANY_EXHDR(account) > QUOTA_MAX_ACCOUNT)
		elog(ERROR, "name of a rate is too long");
	bytes.database = quota_shared_database();
	bytes.extension = key->extension;
	bytes.period = key->period;
	bytes.length = length;
	memcpy(bytes.names, key->feature, length);
	memcpy(bytes.names + length, VARDATA_ANY(account), VARSIZE_ANY_EXHDR(account));
	quota_siphash(&table->secret, &bytes, bytes.names + length + VARSIZE_ANY_EXHDR(account) - (char *) &bytes, hash);
}

static RateTable *
attach(void)
{
	if (likely(table != NULL))
		return table;
	table = quota_shared_segment(QUOTA_SEGMENT_RATES, sizeof(RateTable), fill);
	if (table == NULL)
		/* never a yes for want of memory */
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("could not get shared memory for rates"),
				 errhint("%s", quota_shared_remedy())));
	return table;
}

static void
fill(void *memory, int tranche)
{
	RateTable *made = memory;

	if (!pg_strong_random(&made->secret, sizeof(made->secret)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate random values")));
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
level_now(const QuotaRate *rate, TimestampTz now)
{
	const Bucket *bucket = rate->pace.limit > 0 ? find(rate->bucket) : NULL;
	QuotaLevel level = {.at = now};

	if (bucket != NULL)
	{
		level = (QuotaLevel){bucket->at, bucket->units, bucket->parts};
		quota_bucket_drain(&level, &rate->pace, now);
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

/* The same; where there is none, in the place of the one that is emptiest. */
static Bucket *
find_or_make(const uint64 *key, TimestampTz now)
{
	Bucket *bucket = find(key);
	Set *set = &table->sets[key[0] % SETS];
	double least;
	int way = 0;

	if (bucket != NULL)
		return bucket;
	least = fullness(&set->buckets[0], now);
	for (int i = 1; i < WAYS && least > 0; i++)
	{
		double share = fullness(&set->buckets[i], now);

		if (share < least)
		{
			least = share;
			way = i;
		}
	}
	bucket = &set->buckets[way];
	if (bucket->empty_at > now)
		pg_atomic_fetch_add_u64(&table->evictions.number, 1);
	set->keys[way] = key[0];
	bucket->key = key[1];
	return bucket;
}

/* Write a rate to its bucket. */
static void
fill_bucket(Bucket *bucket, const QuotaRate *rate)
{
	const QuotaLevel *level = &rate->level;

	bucket->at = level->at;
	bucket->units = level->units;
	bucket->parts = level->parts;
	bucket->share = level->units >= rate->full ? FULL : (uint64) ((double) level->units / rate->full * (FULL - 1)) + 1;
	bucket->empty_at = quota_bucket_falls_to(level, &rate->pace, 0);
}

/* How much of what it can hold is in a bucket, as a share that is only to be compared with that of others. */
static double
fullness(const Bucket *bucket, TimestampTz now)
{
	if (bucket->empty_at <= now)
		return 0;
	if (bucket->empty_at == DT_NOEND)
		return bucket->share;
	return bucket->share * ((double) (bucket->empty_at - now) / (double) (bucket->empty_at - bucket->at));
}

static void
forget(Bucket *bucket)
{
	memset(bucket, 0, sizeof(Bucket));
	bucket->empty_at = DT_NOBEGIN;
}
