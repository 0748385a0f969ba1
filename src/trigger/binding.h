/*
 * An attachment bound to a table.
 */
#ifndef QUOTA_BINDING_H
#define QUOTA_BINDING_H

#include "nodes/execnodes.h"

#include "tables/attached.h"
#include "trigger/table.h"

typedef struct QuotaAttachment
{
	Relation rel;
	int32 id;
	const char *feature;
	bool gauge;
	bool tracked;  /* a counter with counted_when: rows are refunded, so the time of their charge is kept */
	bool filtered; /* on_block skip or mark: rows are checked before they are inserted */
	bool mark;
	QuotaColumn account;
	QuotaColumn amount;
	QuotaColumn status;
	QuotaColumn message;
	QuotaColumn time;
	Datum blocked_status;
	ExprState *amount_expression;
	ExprState *counted_when;
	ExprState *mark_when; /* in row triggers only */
	Oid amount_type;      /* of the expression */
	ExprContext *econtext;
	Oid root;     /* the attached table; rel is it or a partition of it */
	Oid owner;    /* of root; expressions and types run as this role */
	bool guarded; /* there are expressions, so rows are read as the owner */
	int code;     /* QUOTA_CODE_... bits of the expressions */
	int nkeys;    /* columns of the primary key, of a tracked attachment */
	QuotaColumn *keys;
} QuotaAttachment;

typedef struct QuotaBindingKey
{
	Oid table;
	int32 id;
} QuotaBindingKey;

typedef struct QuotaBinding
{
	QuotaBindingKey key;
	bool verified;         /* the table is the attached one, or a partition of it */
	uint64 loaded;         /* generation of model and expressions; 0: they are not loaded */
	MemoryContext context; /* NULL: nothing is stored yet */
	QuotaAttached *attached;
	QuotaAttachment model; /* without what each statement adds */
	Expr *expressions[QUOTA_EXPRESSIONS];
} QuotaBinding;

extern void quota_binding_init(void);
extern QuotaBinding *quota_binding_verify(Relation rel, int32 id);
extern QuotaBinding *quota_binding_find(Relation rel, int32 id);
extern QuotaBinding *quota_binding_load(QuotaBinding *binding, Relation rel);
extern void quota_binding_store(QuotaBinding *binding, const QuotaAttached *attached);

#endif
