/* SipHash-1-3: a hash with a secret key. */
#ifndef QUOTA_SIPHASH_H
#define QUOTA_SIPHASH_H

typedef struct QuotaSecret
{
	uint64 key[2];
} QuotaSecret;

extern void quota_siphash(const QuotaSecret *secret, const void *bytes, Size length, uint64 *hash);

#endif
