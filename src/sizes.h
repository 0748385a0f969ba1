/*
 * The most bytes that names and values may have, as the CHECK constraints of the
 * tables have it.
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
/* of a name that is too long, what a message shows whole */
#define QUOTA_MAX_SHOWN 8192

#endif
