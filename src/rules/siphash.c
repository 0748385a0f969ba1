/*
 * siphash.c
 *		SipHash-1-3: a hash with a secret key. No database access.
 *
 * J.-P. Aumasson, D. J. Bernstein, SipHash: a fast short-input PRF (INDOCRYPT 2012), with
 * a result of 128 bits. Without the key nobody can choose inputs that collide; the hash
 * functions of PostgreSQL do not promise that, even with a seed. One round a word and
 * three at the end are what hash tables use elsewhere.
 */
#include "postgres.h"

#include "rules/siphash.h"

#include "port/pg_bitutils.h"

typedef struct SipHashState
{
	uint64 v[4];
} SipHashState;

static inline uint64
rotate_left(uint64 word, int n)
{
	return word << n | word >> (64 - n);
}

static inline void
mix(SipHashState *state)
{
	uint64 *v = state->v;

	v[0] += v[1];
	v[2] += v[3];
	v[1] = rotate_left(v[1], 13) ^ v[0];
	v[3] = rotate_left(v[3], 16) ^ v[2];
	v[0] = rotate_left(v[0], 32);
	v[2] += v[1];
	v[0] += v[3];
	v[1] = rotate_left(v[1], 17) ^ v[2];
	v[3] = rotate_left(v[3], 21) ^ v[0];
	v[2] = rotate_left(v[2], 32);
}

static inline void
absorb(SipHashState *state, uint64 word)
{
	state->v[3] ^= word;
	mix(state);
	state->v[0] ^= word;
}

static inline uint64
finish(SipHashState *state)
{
	for (int i = 0; i < 3; i++)
		mix(state);
	return state->v[0] ^ state->v[1] ^ state->v[2] ^ state->v[3];
}

/* Hash bytes to two words. */
void
quota_siphash(const QuotaSecret *secret, const void *bytes, Size length, uint64 *hash)
{
	const unsigned char *at = bytes;
	uint64 last = 0;
	SipHashState state = {{secret->key[0] ^ UINT64CONST(0x736f6d6570736575), secret->key[1] ^ UINT64CONST(0x646f72616e646f6d) ^ 0xee,
						   secret->key[0] ^ UINT64CONST(0x6c7967656e657261), secret->key[1] ^ UINT64CONST(0x7465646279746573)}};

	for (Size left = length; left >= 8; left -= 8, at += 8)
	{
		uint64 word;

		memcpy(&word, at, 8);
		absorb(&state, word);
	}
	memcpy(&last, at, length % 8);
	/* the result depends on the byte order, which is harmless: no hash leaves the server */
	absorb(&state, last ^ (uint64) length << 56);
	state.v[2] ^= 0xee;
	hash[0] = finish(&state);
	state.v[1] ^= 0xdd;
	hash[1] = finish(&state);
}
