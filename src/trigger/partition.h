/*
 * Partitions and children of attached tables.
 */
#ifndef QUOTA_PARTITION_H
#define QUOTA_PARTITION_H

extern void quota_partition_follow_table(Oid relid);
extern void quota_partition_follow_attach(Oid parent);
extern void quota_partition_follow_detach(Oid parent, Oid user);

#endif
