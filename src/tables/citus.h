/* Refuse to charge where Citus manages the tables of schema quota. */
#ifndef QUOTA_CITUS_H
#define QUOTA_CITUS_H

/* false: call quota_citus_check before using the tables */
extern bool quota_citus_checked;

extern void quota_citus_init(void);
extern void quota_citus_check(void);

#endif
