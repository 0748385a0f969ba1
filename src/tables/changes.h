/* Generation numbers of the catalogue, of pools and of accounts. */
#ifndef QUOTA_CHANGES_H
#define QUOTA_CHANGES_H

extern void quota_changes_init(void);
extern uint64 quota_changes_catalogue_version(void);
extern uint64 quota_changes_pool_version(void);
extern uint64 quota_changes_generation(void);

#endif
