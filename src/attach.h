/*
 * The triggers on the application's tables.
 */
#ifndef QUOTA_ATTACH_H
#define QUOTA_ATTACH_H

extern void quota_attach_init(void);

#endif
