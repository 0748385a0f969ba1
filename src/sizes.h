/*
 * Maximum lengths of names and values, in bytes.
 *
 * The CHECK constraints of the tables have the same.
 */
#ifndef QUOTA_SIZES_H
#define QUOTA_SIZES_H

#define QUOTA_MAX_PLAN 63
#define QUOTA_MAX_FEATURE 48
#define QUOTA_MAX_UNIT 63
#define QUOTA_MAX_ACCOUNT 255
#define QUOTA_MAX_KEY 255
#define QUOTA_MAX_KIND 63
#define QUOTA_MAX_METADATA 65536
/* a longer name is clipped in error messages */
#define QUOTA_MAX_SHOWN 8192

#endif
