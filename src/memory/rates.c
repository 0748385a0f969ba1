/*
 * rates.c
 *		Rates: limits over a short window, held in shared memory.
 *
 * A rate of an account is a bucket (rules/bucket.h), an entry of a cache
 * (memory/set_cache.h). Its key is a secret hash of 128 bits of the database's
 * identity, the extension, feature, period and account: neither a database with
 * the OID of a dropped one nor an extension that is made again finds old buckets.
 *
 * Life: a segment of 12 MB a database, made by the first rate; without it no rate is
 * admitted. A bucket that has run empty is the same as none. Where all eight of a set
 * are in use, the one that is emptiest, as a share of what it can hold, is evicted
 * and counted. To have a full bucket evicted, one has to fill eight others of its set
 * more than that, which by chance takes as many buckets as there are places. Nothing
 * is written to disk or undone: what was taken stays taken when the transaction rolls
 * back, and a restart forgets all.
 *
 * Lock			Protects	Order		While held
 * set LWLock	buckets		by number	the clock is read, so that time goes forward for
 *									the next session; no wait, no allocation, no error
 */
#include "postgres.h"

#include "memory/rates.h"

#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "guc.h"

#define CACHE_SEGMENT QUOTA_SEGMENT_RATES
#define CACHE_SETS (1 << 15)
#define CACHE_WAYS 8
#define CACHE_SET BucketSet
#define CACHE_KEY uint64 /* two of them */

/* the greatest share that is told apart */
#define FULL ((1 << 24) - 1)

typedef struct Bucket
{
	uint64 key;     /* the second half */
	TimestampTz at; /* a QuotaLevel, whose parts are fewer than a day has microseconds */
	int64 units;
	uint64 parts : 40;
	uint64 share : 24; /* of what it can hold, from 1 to FULL; 0: empty */
	TimestampTz empty_at;
} Bucket;

/* What is looked at first is one line of the processor's cache. */
typedef struct BucketSet
{
	uint64 keys[CACHE_WAYS]; /* the first halves */
	Bucket buckets[CACHE_WAYS];
} BucketSet;

static inline bool
has_key(const BucketSet *set, int way, const uint64 *key)
{
	return set->keys[way] == key[0] && set->buckets[way].key == key[1];
}

/* Return how much of what it can hold is in a bucket, as a share to be compared with that of others. */
static inline double
worth(const BucketSet *set, int way, TimestampTz now)
{
	const Bucket *bucket = &set->buckets[way];

	/* one that is empty already has its own time there, which is to come if the clock has gone back */
	if (bucket->share == 0 || bucket->empty_at <= now || bucket->empty_at <= bucket->at)
		return 0;
	if (bucket->empty_at == DT_NOEND)
		return bucket->share;
	return bucket->share * ((double) (bucket->empty_at - now) / (double) (bucket->empty_at - bucket->at));
}

#include "memory/set_cache.h"

/* the periods that a rate can have, up to the day; 0: it cannot */
static const int64 period_us[QUOTA_PERIODS] = {
	[QUOTA_SECOND] = USECS_PER_SEC,
	[QUOTA_MINUTE] = USECS_PER_MINUTE,
	[QUOTA_HOUR] = USECS_PER_HOUR,
	[QUOTA_DAY] = USECS_PER_DAY};

static void make_key(const QuotaRateKey *key, uint64 *hash);
static void attach(void);
static uint64 lock_all(const QuotaRateChange *changes, int count);
static QuotaLevel level_now(const QuotaRate *rate, TimestampTz now);
static void write_bucket(const QuotaRate *rate, TimestampTz now);

/*
 * Read a rate: the units in the bucket of its key. One without a limit, or with a
 * limit of 0, has no bucket, and nothing used.
 *
 * Errors: check_violation for a period that no rate has; out_of_memory where there
 * is no memory for rates.
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

	LWLockAcquire(lock_of(rate->bucket[0]), LW_SHARED);
	rate->level = level_now(rate, quota_guc_clock());
	LWLockRelease(lock_of(rate->bucket[0]));
	rate->used = quota_bucket_used(&rate->level);
}

/*
 * Add to rates that were read, to all or to none. A refund stops at nothing used.
 *
 * Returns false if one of them has no room, or more used than a bigint holds: read
 * and judge them again. Otherwise the rates have what is used after it.
 * Locks: those of the buckets, while they are read and written.
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

		if (rate->pace.limit == 0)
			continue;
		write_bucket(rate, now);
		rate->used = quota_bucket_used(&rate->level);
	}
	for (; locked != 0; locked &= locked - 1)
		LWLockRelease(lock_of(pg_rightmost_one_pos64(locked)));
	return admitted;
}

/* Return when n units will be admitted, if nobody else takes any, to the millisecond above; infinity: never. */
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
	int way;

	attach();
	make_key(key, hash);
	LWLockAcquire(lock_of(hash[0]), LW_EXCLUSIVE);
	way = find_way(hash);
	if (way < CACHE_WAYS)
		memset(&set_of(hash[0])->buckets[way], 0, sizeof(Bucket));
	LWLockRelease(lock_of(hash[0]));
}

/* Count the buckets in use. Locks: each of the 64 for as long as its buckets are counted. */
QuotaRateStats
quota_rates_stats(void)
{
	TimestampTz now = quota_guc_clock();
	QuotaRateStats stats = {.places = (int64) CACHE_SETS * CACHE_WAYS, .bytes = (int64) sizeof(Cache)};

	attach();
	for (uint32 i = 0; i < QUOTA_SEGMENT_LOCKS; i++)
	{
		CHECK_FOR_INTERRUPTS();
		LWLockAcquire(lock_of(i), LW_SHARED);
		for (uint32 set = i; set < CACHE_SETS; set += QUOTA_SEGMENT_LOCKS)
			for (int way = 0; way < CACHE_WAYS; way++)
				stats.in_use += worth(set_of(set), way, now) > 0;
		LWLockRelease(lock_of(i));
	}
	stats.evictions = (int64) pg_atomic_read_u64(&cache->head.evictions);
	return stats;
}

/* Hash a rate: bytes that no two rates of the server have. */
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
	bytes.database = quota_segment_database();
	bytes.extension = key->extension;
	bytes.period = key->period;
	bytes.length = length;
	memcpy(bytes.names, key->feature, length);
	memcpy(bytes.names + length, VARDATA_ANY(account), VARSIZE_ANY_EXHDR(account));
	quota_siphash(&cache->head.secret, &bytes, bytes.names + length + VARSIZE_ANY_EXHDR(account) - (char *) &bytes, hash);
}

static void
attach(void)
{
	/* never a yes for want of memory */
	if (!attach_cache())
		quota_segment_raise("could not get shared memory for rates");
}

/* Take the locks of all buckets, lowest first. Return their numbers as bits. */
static uint64
lock_all(const QuotaRateChange *changes, int count)
{
	uint64 wanted = 0;

	for (int i = 0; i < count; i++)
		if (changes[i].rate->pace.limit > 0)
			wanted |= UINT64CONST(1) << changes[i].rate->bucket[0] % QUOTA_SEGMENT_LOCKS;
	for (uint64 left = wanted; left != 0; left &= left - 1)
		LWLockAcquire(lock_of(pg_rightmost_one_pos64(left)), LW_EXCLUSIVE);
	return wanted;
}

static QuotaLevel
level_now(const QuotaRate *rate, TimestampTz now)
{
	int way = rate->pace.limit > 0 ? find_way(rate->bucket) : CACHE_WAYS;
	QuotaLevel level = {.at = now};

	if (way < CACHE_WAYS)
	{
		const Bucket *bucket = &set_of(rate->bucket[0])->buckets[way];

		level = (QuotaLevel){bucket->at, bucket->units, bucket->parts};
		quota_bucket_drain(&level, &rate->pace, now);
	}
	return level;
}

/* Write a rate to its bucket, or to a new one. */
static void
write_bucket(const QuotaRate *rate, TimestampTz now)
{
	const QuotaLevel *level = &rate->level;
	BucketSet *set = set_of(rate->bucket[0]);
	int way = find_way_to_write(rate->bucket, now);
	Bucket *bucket = &set->buckets[way];

	set->keys[way] = rate->bucket[0];
	bucket->key = rate->bucket[1];
	bucket->at = level->at;
	bucket->units = level->units;
	bucket->parts = level->parts;
	bucket->share = level->units >= rate->full ? FULL : (uint64) ((double) level->units / rate->full * (FULL - 1)) + 1;
	bucket->empty_at = quota_bucket_falls_to(level, &rate->pace, 0);
}
