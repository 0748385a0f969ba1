/*
 * A hash table by account. Before including this, define AccountEntry with
 * members bytes, hash and status.
 */
#define SH_PREFIX accounts
#define SH_ELEMENT_TYPE AccountEntry
#define SH_KEY_TYPE QuotaAccountBytes
#define SH_KEY bytes
#define SH_HASH_KEY(table, key) quota_account_bytes_hash(key)
#define SH_EQUAL(table, a, b) quota_account_bytes_equal(a, b)
#define SH_STORE_HASH
#define SH_GET_HASH(table, entry) (entry)->hash
#define SH_SCOPE static inline
#define SH_DEFINE
#define SH_DECLARE
#include "lib/simplehash.h"
