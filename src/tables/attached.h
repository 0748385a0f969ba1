/* Attachments: rows of quota.attached. */
#ifndef QUOTA_ATTACHED_H
#define QUOTA_ATTACHED_H

#include "access/attnum.h"
#include "nodes/pg_list.h"

/* The expressions of an attachment. */
typedef enum QuotaExpression
{
	QUOTA_EXPRESSION_AMOUNT,
	QUOTA_EXPRESSION_COUNTED_WHEN,
	QUOTA_EXPRESSION_MARK_WHEN,
	QUOTA_EXPRESSIONS
} QuotaExpression;

/* Strings are NULL where there is none. */
typedef struct QuotaAttached
{
	int32 id;
	Oid relation;
	char *feature;
	char *account_column;
	char *amount_column;
	char *on_block;
	char *status_column;
	char *blocked_status;
	char *message_column;
	char *time_column;
	bool has[QUOTA_EXPRESSIONS];
	List *columns[QUOTA_EXPRESSIONS]; /* that the expression reads */
	bool follows_rows;                /* charges updates and deletes, too */
} QuotaAttached;

/* The kinds of triggers, each with its function. */
typedef enum QuotaTrigger
{
	QUOTA_TRIGGER_CHARGE,
	QUOTA_TRIGGER_UPDATE,
	QUOTA_TRIGGER_DELETE,
	QUOTA_TRIGGER_TRUNCATE,
	QUOTA_TRIGGER_BEGIN_FILTER,
	QUOTA_TRIGGER_FILTER,
	QUOTA_TRIGGERS
} QuotaTrigger;

extern const char *const quota_attached_triggers[QUOTA_TRIGGERS];

extern QuotaAttached *quota_attached_get(int32 id);
extern QuotaAttached *quota_attached_find(Oid relation, const char *feature);
extern List *quota_attached_on_table(Oid relation);
extern int64 quota_attached_execute(const char *statement, int nargs, const Oid *types, Datum *values);

#endif
