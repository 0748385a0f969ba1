/* Begin, refresh and end an access to the tables. */
#ifndef QUOTA_STORE_H
#define QUOTA_STORE_H

typedef struct QuotaStore QuotaStore;

extern QuotaStore *quota_store_begin_read(void);
extern QuotaStore *quota_store_begin_write(void);
extern QuotaStore *quota_store_begin_rates(void);
extern bool quota_store_open_usage(QuotaStore *store);
extern void quota_store_refresh(QuotaStore *store);
extern void quota_store_retry(QuotaStore *store);
extern void quota_store_refresh_committed(QuotaStore *store);
extern uint64 quota_store_oldest_running(QuotaStore *store);
extern void quota_store_end(QuotaStore *store);

#endif
