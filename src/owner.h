/*
 * Run code as the owner of a table, or as the owner of the extension.
 */
#ifndef QUOTA_OWNER_H
#define QUOTA_OWNER_H

#include "nodes/nodes.h"

/* Bits: what an expression contains that settings can change. */
enum
{
	QUOTA_CODE_TIMES = 1, /* times with a time zone, or time zones by name */
	QUOTA_CODE_OWN = 2    /* functions or types of users */
};

/* State to restore. */
typedef struct QuotaOwner
{
	Oid user;
	int context;
	int guc_level; /* 0: the settings are the session's */
} QuotaOwner;

extern void quota_owner_begin(QuotaOwner *saved, Oid owner, int code);
extern void quota_owner_begin_extension(QuotaOwner *saved);
extern void quota_owner_end(const QuotaOwner *saved);
extern int quota_owner_code(Node *expression);
extern Oid quota_owner_of_relation(Oid relid);
extern Oid quota_owner_of_extension(void);
extern bool quota_owner_is_table(Oid relid, const char *const *names);

#endif
