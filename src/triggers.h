/*
 * The triggers on the application's tables, as objects: made, dropped, and given
 * to partitions.
 */
#ifndef QUOTA_TRIGGERS_H
#define QUOTA_TRIGGERS_H

extern bool quota_triggers_any(Oid relid, const char *feature);

#endif
