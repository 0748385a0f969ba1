/*
 * A row of an attached table.
 */
#ifndef QUOTA_ROW_H
#define QUOTA_ROW_H

#include "executor/tuptable.h"

#include "charge/account_bytes.h"
#include "trigger/attachment.h"

/* What a row is charged. Good until the next row of the same attachment and struct. */
typedef struct QuotaRow
{
	TupleTableSlot *slot;
	int64 n; /* 0: the row is not counted */
	QuotaAccountBytes account;
	int64 scratch;
} QuotaRow;

extern void quota_row_read(QuotaAttachment *attachment, TupleTableSlot *slot, bool old, QuotaRow *row);
extern bool quota_row_fails_when_full(const QuotaAttachment *attachment, TupleTableSlot *slot);
extern bool quota_row_time(const QuotaAttachment *attachment, TupleTableSlot *slot, TimestampTz *at);
extern bool quota_row_same_key_and_time(const QuotaAttachment *attachment, TupleTableSlot *a, TupleTableSlot *b);
extern char *quota_row_key(const QuotaAttachment *attachment, TupleTableSlot *slot);
extern Datum quota_row_account(const QuotaAttachment *attachment, QuotaRow *row);
extern Datum quota_row_account_name(const QuotaAttachment *attachment, QuotaAccountBytes bytes);

#endif
