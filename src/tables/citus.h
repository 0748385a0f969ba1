/*
 * Whether Citus has moved the tables of schema quota elsewhere.
 */
#ifndef QUOTA_CITUS_H
#define QUOTA_CITUS_H

/* false: quota_citus_check has to be called before the tables are used */
extern bool quota_citus_checked;

extern void quota_citus_init(void);
extern void quota_citus_check(void);

#endif
