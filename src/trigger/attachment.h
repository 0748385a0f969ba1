/*
 * An attachment on one table: what a row of it takes, and from whom.
 */
#ifndef QUOTA_ATTACHMENT_H
#define QUOTA_ATTACHMENT_H

#include "commands/trigger.h"
#include "common/hashfn.h"
#include "executor/tuptable.h"
#include "nodes/execnodes.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#include "owner.h"
#include "tables/attached.h"

/* an event, in a set of those that a trigger function is for */
#define QUOTA_EVENT(event) (1 << TRIGGER_EVENT_##event)

/* A column of the table, none where its number is 0. */
typedef struct QuotaColumn
{
	AttrNumber number;
	Oid type;      /* as declared */
	Oid base_type; /* of a domain */
	int32 typmod;
	int16 typlen;
	bool typbyval;
} QuotaColumn;

typedef struct QuotaAttachment
{
	Relation rel;
	int32 id;
	const char *feature;
	bool gauge;
	bool tracked; /* a counter with counted_when: rows are refunded, and so remember when they were charged */
	bool judged;  /* rows are judged before they go in, for skip and mark */
	bool mark;
	QuotaColumn account;
	QuotaColumn amount;
	QuotaColumn status;
	QuotaColumn message;
	QuotaColumn time;
	Datum blocked_status;
	ExprState *amount_expression;
	ExprState *counted_when;
	ExprState *mark_when; /* only where rows are judged */
	Oid amount_type;      /* of the expression */
	ExprContext *econtext;
	Oid root;     /* the table that was attached, of which this one may be a partition */
	Oid owner;    /* its owner, whose code expressions and types are */
	bool guarded; /* whether rows are read as the owner: there are expressions */
	int code;     /* what takes part in these */
	/* of a tracked one: */
	int nkeys;
	QuotaColumn *keys; /* the primary key */
} QuotaAttachment;

/* The bytes that name an account in a column of its type. */
typedef struct QuotaAccountBytes
{
	const char *data;
	uint32 length;
} QuotaAccountBytes;

/* What a row comes to. Good until the next row of the same attachment and struct. */
typedef struct QuotaRow
{
	TupleTableSlot *slot;
	int64 n; /* 0: it is not counted */
	QuotaAccountBytes account;
	int64 scratch;
} QuotaRow;

extern void quota_attachment_init(void);
extern TriggerData *quota_attachment_check(FunctionCallInfo fcinfo, const char *name, TriggerEvent when, int events);
extern const char *quota_attachment_feature(TriggerData *trigdata);
extern void quota_attachment_read(TriggerData *trigdata, QuotaAttachment *attachment);
extern void quota_attachment_open(Relation rel, const QuotaAttached *attached, QuotaAttachment *attachment);
extern void quota_attachment_read_time(QuotaAttachment *attachment, const char *column);
extern void quota_attachment_read_key(QuotaAttachment *attachment);
extern void quota_attachment_begin(const QuotaAttachment *attachment, QuotaOwner *saved);
extern void quota_attachment_end(const QuotaAttachment *attachment, const QuotaOwner *saved);
extern void quota_attachment_row(QuotaAttachment *attachment, TupleTableSlot *slot, QuotaRow *row);
extern void quota_attachment_old_row(QuotaAttachment *attachment, TupleTableSlot *slot, QuotaRow *row);
extern bool quota_attachment_fails_when_full(const QuotaAttachment *attachment, TupleTableSlot *slot);
extern bool quota_attachment_time(const QuotaAttachment *attachment, TupleTableSlot *slot, TimestampTz *at);
extern bool quota_attachment_same_row(const QuotaAttachment *attachment, TupleTableSlot *a, TupleTableSlot *b);
extern char *quota_attachment_key(const QuotaAttachment *attachment, TupleTableSlot *slot);
extern Datum quota_attachment_row_account(const QuotaAttachment *attachment, QuotaRow *row);
extern Datum quota_attachment_account(const QuotaAttachment *attachment, QuotaAccountBytes bytes);
extern Datum quota_attachment_input(const QuotaAttachment *attachment, const QuotaColumn *column, const char *value);

/* Those of its name as text. */
static inline QuotaAccountBytes
quota_account_bytes(Datum name)
{
	text *string = DatumGetTextPP(name);

	return (QuotaAccountBytes){VARDATA_ANY(string), VARSIZE_ANY_EXHDR(string)};
}

static inline uint32
quota_account_bytes_hash(QuotaAccountBytes bytes)
{
	return hash_bytes((const unsigned char *) bytes.data, bytes.length);
}

static inline bool
quota_account_bytes_equal(QuotaAccountBytes a, QuotaAccountBytes b)
{
	return a.length == b.length && memcmp(a.data, b.data, a.length) == 0;
}

#endif
