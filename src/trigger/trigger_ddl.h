/*
 * The triggers on the application's tables, as objects: made, dropped, and given
 * to partitions.
 */
#ifndef QUOTA_TRIGGER_DDL_H
#define QUOTA_TRIGGER_DDL_H

extern bool quota_trigger_ddl_exists(Oid relid, const char *feature);

#endif
