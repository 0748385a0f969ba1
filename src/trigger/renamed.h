/*
 * Accounts that were renamed in this transaction.
 */
#ifndef QUOTA_RENAMED_H
#define QUOTA_RENAMED_H

extern bool quota_renamed_any(void);
extern bool quota_renamed_to(Datum old_key, Datum new_key);

#endif
