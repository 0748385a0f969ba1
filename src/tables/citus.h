/* Refuse to charge where Citus manages the tables of schema quota. */
#ifndef QUOTA_CITUS_H
#define QUOTA_CITUS_H

extern void quota_citus_check(void);

#endif
