/*
 * An attachment on one table, the attached one or a partition of it: what a row
 * takes, whose it is, when it was charged, and what tells it from other rows.
 *
 * What quota.attached, the table's definition and the expressions say is bound
 * together once a backend and table, and dropped when one of them changes. A
 * trigger is checked against it before anything else: it must be the one that
 * quota_attach made, on this table, for this attachment.
 *
 * Expressions, and the input of values of a column's type, run as the attached
 * table's owner (src/owner.c): between quota_attachment_begin and _end.
 *
 * Memory: bindings in contexts of their own below CacheMemoryContext; an
 * attachment, with copies of what it uses, in the context in which it was read;
 * what a row needs, in the per-tuple memory of its expression context, which is
 * reset with the next row. Locks: none that last.
 */
#include "postgres.h"

#include "trigger/attachment.h"

#include "access/genam.h"
#include "access/relation.h"
#include "access/transam.h"
#include "catalog/partition.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "lib/stringinfo.h"
#include "nodes/nodeFuncs.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/datum.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "argument.h"
#include "compat.h"
#include "entitlement/plan.h"
#include "tables/relations.h"
#include "trigger/expression.h"

/* once in how many new bindings those are freed that are invalid */
#define QUOTA_BINDINGS_SWEEP 64

typedef struct BindingKey
{
	Oid table;
	int32 id;
} BindingKey;

/* An attachment bound to a table. */
typedef struct Binding
{
	BindingKey key;
	uint64 serial;         /* unique number of this binding */
	bool verified;         /* the table is the attached one, or a partition of it */
	bool loaded;           /* model and expressions are known */
	uint64 changes;        /* invalidations so far */
	MemoryContext context; /* NULL: nothing has been kept yet */
	QuotaAttached *attached;
	QuotaAttachment model; /* without what a statement makes of it */
	Expr *expressions[QUOTA_EXPRESSIONS];
} Binding;

static HTAB *bindings = NULL;

static void relation_changed(Oid relid);
static void definition_changed(Datum arg, int cacheid, uint32 hash);
static bool trigger_number(const Trigger *trigger, int32 *id);
static bool has_our_name(TriggerData *trigdata, const char *feature);
static Binding *verify(Relation rel, int32 id);
static Binding *find_binding(Relation rel, int32 id);
static void forget_invalid(void);
static void keep(Binding *binding, const QuotaAttached *attached);
static bool is_part_of(Relation rel, Oid root);
static Binding *load(Binding *binding, Relation rel);
static void load_columns(const QuotaAttached *attached, Relation rel, QuotaAttachment *model);
static void load_expressions(const QuotaAttached *attached, Relation rel, QuotaAttachment *model, Expr **expressions);
static QuotaAttached *copy_attached(const QuotaAttached *attached);
static char *copy_string(const char *string);
static void read_binding(const Binding *binding, Relation rel, bool for_row, QuotaAttachment *attachment);
static QuotaKind kind_of(const char *feature);
static ExprState *init_expression(Expr *expression, QuotaExpression which, Oid type);
static QuotaColumn column_named(Relation rel, const char *name);
static QuotaColumn column_of(Form_pg_attribute attribute);
static bool is_counted(const QuotaAttachment *attachment, TupleTableSlot *slot);
static bool amount_of(const QuotaAttachment *attachment, TupleTableSlot *slot, int64 *n);
static int64 integer_of(Oid type, Datum value);
static void refuse_null(const QuotaAttachment *attachment, const char *what, const QuotaColumn *column) pg_attribute_noreturn();
static bool read_account(const QuotaAttachment *attachment, QuotaRow *row);
static bool read_valid_account(const QuotaAttachment *attachment, QuotaRow *row);
static bool same_value(const QuotaColumn *column, TupleTableSlot *a, TupleTableSlot *b);
static void append_key(StringInfo key, Oid type, Datum value, bool isnull);

void
quota_attachment_init(void)
{
	quota_relations_on_change(relation_changed);
	/* a function may be inlined, and its volatility may change; a value may be of an enum or a domain */
	CacheRegisterSyscacheCallback(PROCOID, definition_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(TYPEOID, definition_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(ENUMOID, definition_changed, (Datum) 0);
}

/*
 * Make sure that a function was called by a trigger that quota_attach made: of
 * the expected kind, with the number of an attachment to this table, or one that
 * this is a partition of, and with the name that it has for that.
 *
 * name: the function's own. when: TRIGGER_EVENT_BEFORE or _AFTER, with
 * TRIGGER_EVENT_ROW unless it is for statements. events: of QUOTA_EVENT.
 * Errors: trigger_protocol_violated.
 */
TriggerData *
quota_attachment_check(FunctionCallInfo fcinfo, const char *name, TriggerEvent when, int events)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	Binding *binding;
	int32 id;

	if (!CALLED_AS_TRIGGER(fcinfo) ||
		(trigdata->tg_event & (TRIGGER_EVENT_TIMINGMASK | TRIGGER_EVENT_ROW)) != when ||
		!((1 << (trigdata->tg_event & TRIGGER_EVENT_OPMASK)) & events) ||
		!trigger_number(trigdata->tg_trigger, &id) ||
		(binding = verify(trigdata->tg_relation, id)) == NULL ||
		!has_our_name(trigdata, binding->attached->feature))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function quota.%s was not called by a trigger that quota_attach made", name),
				 errhint("Call quota_attach, which makes the triggers anew.")));
	return trigdata;
}

/* The feature of a trigger that has been checked. Good as long as the trigger runs. */
const char *
quota_attachment_feature(TriggerData *trigdata)
{
	int32 id;

	if (!trigger_number(trigdata->tg_trigger, &id))
		elog(ERROR, "trigger has no attachment");
	return pstrdup(find_binding(trigdata->tg_relation, id)->attached->feature);
}

/*
 * The attachment of a trigger that has been checked.
 *
 * Errors: undefined_column where a column has been dropped or renamed since;
 * datatype_mismatch for a time column that has another type now; undefined_object
 * for a feature that is gone, wrong_object_type for one that is a rate now; those
 * of quota_expression_plan.
 */
void
quota_attachment_read(TriggerData *trigdata, QuotaAttachment *attachment)
{
	Binding *binding;
	int32 id;

	if (!trigger_number(trigdata->tg_trigger, &id))
		elog(ERROR, "trigger has no attachment");
	binding = find_binding(trigdata->tg_relation, id);
	binding = load(binding, trigdata->tg_relation);
	read_binding(binding, trigdata->tg_relation, TRIGGER_FIRED_FOR_ROW(trigdata->tg_event), attachment);
	if (attachment->tracked)
	{
		/* elsewhere the time is looked at only when rows are counted again */
		quota_attachment_read_time(attachment, binding->attached->time_column);
		quota_attachment_read_key(attachment);
	}
}

/*
 * An attachment, to count the rows of the attached table or of one that it
 * consists of. Errors: as quota_attachment_read.
 */
void
quota_attachment_open(Relation rel, const QuotaAttached *attached, QuotaAttachment *attachment)
{
	Binding *binding = find_binding(rel, attached->id);

	/* children by INHERITS are counted, but have no triggers */
	if (!binding->verified)
		keep(binding, attached);
	binding = load(binding, rel);
	read_binding(binding, rel, false, attachment);
}

/* Begin to read rows. */
void
quota_attachment_begin(const QuotaAttachment *attachment, QuotaOwner *saved)
{
	if (attachment->guarded)
		quota_owner_begin(saved, attachment->owner, attachment->code);
}

/* Done with it. */
void
quota_attachment_end(const QuotaAttachment *attachment, const QuotaOwner *saved)
{
	if (attachment->guarded)
		quota_owner_end(saved);
}

/*
 * What a row comes to that goes into the table.
 *
 * Errors: null_value_not_allowed, invalid_parameter_value and
 * numeric_value_out_of_range for an account or amount that cannot be charged;
 * whatever the expressions say.
 */
void
quota_attachment_row(QuotaAttachment *attachment, TupleTableSlot *slot, QuotaRow *row)
{
	MemoryContext old = MemoryContextSwitchTo(attachment->econtext->ecxt_per_tuple_memory);

	MemoryContextReset(attachment->econtext->ecxt_per_tuple_memory);
	row->slot = slot;
	row->n = 0;
	if (is_counted(attachment, slot))
	{
		if (!amount_of(attachment, slot, &row->n))
			refuse_null(attachment, "amount", &attachment->amount);
		if (row->n < 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("amount must not be negative, as %lld is", (long long) row->n)));
		if (!read_account(attachment, row))
			refuse_null(attachment, "account", &attachment->account);
	}
	MemoryContextSwitchTo(old);
}

/*
 * What a row came to that was in the table. One that could not be charged came
 * in without it, and stands in the way of nobody.
 */
void
quota_attachment_old_row(QuotaAttachment *attachment, TupleTableSlot *slot, QuotaRow *row)
{
	MemoryContext old = MemoryContextSwitchTo(attachment->econtext->ecxt_per_tuple_memory);

	MemoryContextReset(attachment->econtext->ecxt_per_tuple_memory);
	row->slot = slot;
	row->n = 0;
	if (is_counted(attachment, slot) &&
		(!amount_of(attachment, slot, &row->n) || row->n < 0 || !read_valid_account(attachment, row)))
		row->n = 0;
	MemoryContextSwitchTo(old);
}

/*
 * Whether a row for which there is no room is not marked, and so makes its
 * statement fail: where mark_when is false, or does not know.
 */
bool
quota_attachment_raises(const QuotaAttachment *attachment, TupleTableSlot *slot)
{
	QuotaOwner saved;
	bool isnull;
	Datum marked;

	if (attachment->mark_when == NULL)
		return false;
	attachment->econtext->ecxt_scantuple = slot;
	quota_attachment_begin(attachment, &saved);
	marked = ExecEvalExprSwitchContext(attachment->mark_when, attachment->econtext, &isnull);
	quota_attachment_end(attachment, &saved);
	return isnull || !DatumGetBool(marked);
}

/* The time in a row's time column; false: it is not known. */
bool
quota_attachment_time(const QuotaAttachment *attachment, TupleTableSlot *slot, TimestampTz *at)
{
	bool isnull;

	if (attachment->time.number == 0)
		return false;
	*at = DatumGetTimestampTz(slot_getattr(slot, attachment->time.number, &isnull));
	return !isnull && !TIMESTAMP_NOT_FINITE(*at);
}

/* Whether two versions of a row have the same primary key and the same time. */
bool
quota_attachment_same_row(const QuotaAttachment *attachment, TupleTableSlot *a, TupleTableSlot *b)
{
	if (attachment->time.number != 0 && !same_value(&attachment->time, a, b))
		return false;
	for (int i = 0; i < attachment->nkeys; i++)
		if (!same_value(&attachment->keys[i], a, b))
			return false;
	return true;
}

/* The primary key of a row as a JSON array of text, the same whatever the settings of the session are. */
char *
quota_attachment_key(const QuotaAttachment *attachment, TupleTableSlot *slot)
{
	StringInfoData key;

	initStringInfo(&key);
	for (int i = 0; i < attachment->nkeys; i++)
	{
		bool isnull;
		Datum value = slot_getattr(slot, attachment->keys[i].number, &isnull);

		append_key(&key, attachment->keys[i].base_type, value, isnull);
	}
	appendStringInfoChar(&key, ']');
	return key.data;
}

/* The name of the account of a row that has been read, be it counted or not; 0: it has none that could be charged. */
Datum
quota_attachment_row_account(const QuotaAttachment *attachment, QuotaRow *row)
{
	MemoryContext old = MemoryContextSwitchTo(attachment->econtext->ecxt_per_tuple_memory);
	Datum account = (Datum) 0;

	if (read_valid_account(attachment, row))
		account = quota_attachment_account(attachment, row->account);
	MemoryContextSwitchTo(old);
	return account;
}

/* The name of an account from its bytes, as text. */
Datum
quota_attachment_account(const QuotaAttachment *attachment, QuotaAccountBytes bytes)
{
	Datum account;

	switch (attachment->account.base_type)
	{
		case INT2OID:
		case INT4OID:
		case INT8OID:
		{
			int64 number;

			memcpy(&number, bytes.data, sizeof(number));
			return CStringGetTextDatum(psprintf("%lld", (long long) number));
		}
		case UUIDOID:
			return CStringGetTextDatum(DatumGetCString(DirectFunctionCall1(uuid_out, PointerGetDatum(bytes.data))));
		default:
			account = PointerGetDatum(cstring_to_text_with_len(bytes.data, bytes.length));
			quota_argument_check_account(account);
			return account;
	}
}

/* A value of a column's type, made of text as the table's owner, whose domain it may be. */
Datum
quota_attachment_input(const QuotaAttachment *attachment, const QuotaColumn *column, const char *value)
{
	QuotaOwner saved;
	Oid function;
	Oid parameter;
	Datum result;

	getTypeInputInfo(column->type, &function, &parameter);
	quota_owner_begin(&saved, attachment->owner, column->type >= FirstUnpinnedObjectId ? QUOTA_CODE_OWN : 0);
	result = OidInputFunctionCall(function, unconstify(char *, value), parameter, column->typmod);
	quota_owner_end(&saved);
	return result;
}

/*
 * quota.check_value(table, column, value): refuse what a column cannot hold.
 *
 * Errors: undefined_table, undefined_column; whatever the column's type says.
 */
PG_FUNCTION_INFO_V1(quota_check_value);

Datum
quota_check_value(PG_FUNCTION_ARGS)
{
	QuotaAttachment attachment = {0};
	QuotaColumn column;
	Relation rel;

	for (int i = 0; i < 3; i++)
		quota_argument_check_not_null(fcinfo, i, "argument");
	rel = try_relation_open(PG_GETARG_OID(0), AccessShareLock);
	if (rel == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", PG_GETARG_OID(0))));
	attachment.owner = rel->rd_rel->relowner;
	column = column_named(rel, text_to_cstring(PG_GETARG_TEXT_PP(1)));
	(void) quota_attachment_input(&attachment, &column, text_to_cstring(PG_GETARG_TEXT_PP(2)));
	relation_close(rel, AccessShareLock);
	PG_RETURN_VOID();
}

/* What is bound to a table goes when it changes, or the table that it is a partition of, or quota.attached. */
static void
relation_changed(Oid relid)
{
	HASH_SEQ_STATUS status;
	Binding *binding;

	if (bindings == NULL)
		return;
	hash_seq_init(&status, bindings);
	while ((binding = hash_seq_search(&status)) != NULL)
		if (quota_relations_may_be(ATTACHED, relid) || binding->key.table == relid || binding->model.root == relid)
		{
			binding->verified = binding->loaded = false;
			binding->changes++;
		}
}

static void
definition_changed(Datum arg, int cacheid pg_attribute_unused(), uint32 hash pg_attribute_unused())
{
	HASH_SEQ_STATUS status;
	Binding *binding;

	if (bindings == NULL)
		return;
	hash_seq_init(&status, bindings);
	while ((binding = hash_seq_search(&status)) != NULL)
	{
		binding->loaded = false;
		binding->changes++;
	}
}

/* The argument of a trigger; false: it is not one of ours. */
static bool
trigger_number(const Trigger *trigger, int32 *id)
{
	char *end;
	long number;

	if (trigger->tgnargs != 1 || trigger->tgargs[0][0] < '0' || trigger->tgargs[0][0] > '9')
		return false;
	errno = 0;
	number = strtol(trigger->tgargs[0], &end, 10);
	if (errno != 0 || *end != '\0' || number > PG_INT32_MAX)
		return false;
	*id = (int32) number;
	return true;
}

static bool
has_our_name(TriggerData *trigdata, const char *feature)
{
	QuotaTrigger kind;
	Size length;

	if (TRIGGER_FIRED_FOR_ROW(trigdata->tg_event))
		kind = QUOTA_TRIGGER_JUDGE;
	else if (TRIGGER_FIRED_BY_TRUNCATE(trigdata->tg_event))
		kind = QUOTA_TRIGGER_TRUNCATE;
	else if (TRIGGER_FIRED_BEFORE(trigdata->tg_event))
		kind = QUOTA_TRIGGER_BEGIN;
	else if (TRIGGER_FIRED_BY_INSERT(trigdata->tg_event))
		kind = QUOTA_TRIGGER_CHARGE;
	else
		kind = TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event) ? QUOTA_TRIGGER_UPDATE : QUOTA_TRIGGER_DELETE;
	length = strlen(quota_attached_triggers[kind]);
	return strncmp(trigdata->tg_trigger->tgname, quota_attached_triggers[kind], length) == 0 &&
		   strcmp(trigdata->tg_trigger->tgname + length, feature) == 0;
}

/* The binding of an attachment to its table or a partition of that; NULL: it is of another table, or there is none. */
static Binding *
verify(Relation rel, int32 id)
{
	Binding *binding = find_binding(rel, id);
	QuotaAttached *attached;

	if (binding->verified)
		return binding;
	attached = quota_attached_get(id);
	if (attached == NULL || !is_part_of(rel, attached->relation))
		return NULL;
	keep(binding, attached);
	binding->verified = true;
	return binding;
}

static Binding *
find_binding(Relation rel, int32 id)
{
	static uint64 made = 0;
	BindingKey key = {RelationGetRelid(rel), id};
	Binding *binding;
	bool found;

	if (bindings == NULL)
	{
		HASHCTL control = {.keysize = sizeof(BindingKey), .entrysize = sizeof(Binding)};

		bindings = hash_create("quota attachments", 16, &control, HASH_ELEM | HASH_BLOBS);
	}
	binding = hash_search(bindings, &key, HASH_FIND, NULL);
	if (binding != NULL)
		return binding;
	if (++made % QUOTA_BINDINGS_SWEEP == 0)
		forget_invalid();
	binding = hash_search(bindings, &key, HASH_ENTER, &found);
	memset((char *) binding + sizeof(BindingKey), 0, sizeof(Binding) - sizeof(BindingKey));
	binding->serial = made;
	return binding;
}

/* Free what is bound to tables that are gone or have changed. */
static void
forget_invalid(void)
{
	HASH_SEQ_STATUS status;
	Binding *binding;

	hash_seq_init(&status, bindings);
	while ((binding = hash_seq_search(&status)) != NULL)
	{
		BindingKey key = binding->key;

		if (binding->verified || binding->loaded)
			continue;
		if (binding->context != NULL)
			MemoryContextDelete(binding->context);
		(void) hash_search(bindings, &key, HASH_REMOVE, NULL);
	}
}

/* Keep a copy of what quota.attached says; what was kept goes, which may be what is copied. */
static void
keep(Binding *binding, const QuotaAttached *attached)
{
	MemoryContext context = AllocSetContextCreate(CacheMemoryContext, "quota attachment", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	QuotaAttached *kept = copy_attached(attached);

	MemoryContextSwitchTo(old);
	if (binding->context != NULL)
		MemoryContextDelete(binding->context);
	binding->context = context;
	binding->attached = kept;
	binding->model.root = kept->relation;
	binding->loaded = false;
}

static QuotaAttached *
copy_attached(const QuotaAttached *attached)
{
	QuotaAttached *copy = palloc(sizeof(QuotaAttached));

	*copy = *attached;
	copy->feature = copy_string(attached->feature);
	copy->account_column = copy_string(attached->account_column);
	copy->amount_column = copy_string(attached->amount_column);
	copy->on_block = copy_string(attached->on_block);
	copy->status_column = copy_string(attached->status_column);
	copy->blocked_status = copy_string(attached->blocked_status);
	copy->message_column = copy_string(attached->message_column);
	copy->time_column = copy_string(attached->time_column);
	for (int which = 0; which < QUOTA_EXPRESSIONS; which++)
	{
		ListCell *cell;

		copy->columns[which] = NIL;
		foreach (cell, attached->columns[which])
			copy->columns[which] = lappend(copy->columns[which], pstrdup(lfirst(cell)));
	}
	return copy;
}

static char *
copy_string(const char *string)
{
	return string == NULL ? NULL : pstrdup(string);
}

static bool
is_part_of(Relation rel, Oid root)
{
	return RelationGetRelid(rel) == root ||
		   (rel->rd_rel->relispartition && list_member_oid(get_partition_ancestors(RelationGetRelid(rel)), root));
}

/*
 * Make the rest of a binding: columns and expressions. That runs code of the
 * table's owner, which may fire triggers that bind the same, or change what is
 * bound: so it is made apart, and kept at the end. Returns the binding, which may
 * have been forgotten meanwhile and made anew.
 */
static Binding *
load(Binding *binding, Relation rel)
{
	QuotaAttached *attached;
	QuotaAttachment model = {0};
	Expr *expressions[QUOTA_EXPRESSIONS];
	uint64 changes = binding->changes;
	uint64 serial = binding->serial;
	MemoryContext old;

	if (binding->loaded)
		return binding;
	attached = copy_attached(binding->attached);
	model.root = attached->relation;
	model.owner = quota_owner_of_relation(model.root);
	if (!OidIsValid(model.owner))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the table that feature \"%s\" was attached to does not exist", attached->feature)));
	load_columns(attached, rel, &model);
	load_expressions(attached, rel, &model, expressions);

	binding = find_binding(rel, attached->id);
	if (binding->context == NULL)
		keep(binding, attached);
	else if (OidIsValid(binding->model.owner)) /* loaded before: what was made then goes */
		keep(binding, binding->attached);
	old = MemoryContextSwitchTo(binding->context);
	if (model.mark)
		model.blocked_status = datumCopy(model.blocked_status, model.status.typbyval, model.status.typlen);
	for (int which = 0; which < QUOTA_EXPRESSIONS; which++)
		binding->expressions[which] = copyObject(expressions[which]);
	MemoryContextSwitchTo(old);
	binding->model = model;
	/* otherwise it serves this statement, and not the next */
	binding->loaded = binding->serial == serial && binding->changes == changes;
	return binding;
}

static void
load_columns(const QuotaAttached *attached, Relation rel, QuotaAttachment *model)
{
	model->id = attached->id;
	model->judged = strcmp(attached->on_block, "raise") != 0;
	model->mark = strcmp(attached->on_block, "mark") == 0;
	model->account = column_named(rel, attached->account_column);
	model->amount = column_named(rel, attached->amount_column);
	model->status = column_named(rel, attached->status_column);
	model->message = column_named(rel, attached->message_column);
	if (model->mark)
		model->blocked_status = quota_attachment_input(model, &model->status, attached->blocked_status);
}

static void
load_expressions(const QuotaAttached *attached, Relation rel, QuotaAttachment *model, Expr **expressions)
{
	QuotaOwner saved;

	for (int which = 0; which < QUOTA_EXPRESSIONS; which++)
	{
		expressions[which] = NULL;
		if (!attached->has[which])
			continue;
		quota_owner_begin(&saved, model->owner, QUOTA_CODE_OWN);
		expressions[which] = quota_expression_plan(attached, which, rel);
		quota_owner_end(&saved);
		model->guarded = true;
		model->code |= quota_owner_code((Node *) expressions[which]);
	}
}

/* What a statement works with: copies, since the binding may go while it runs. */
static void
read_binding(const Binding *binding, Relation rel, bool for_row, QuotaAttachment *attachment)
{
	Expr *expressions[QUOTA_EXPRESSIONS];
	QuotaOwner saved;

	*attachment = binding->model;
	attachment->rel = rel;
	attachment->feature = pstrdup(binding->attached->feature);
	if (attachment->mark)
		attachment->blocked_status = datumCopy(attachment->blocked_status, attachment->status.typbyval, attachment->status.typlen);
	if (attachment->guarded)
		for (int which = 0; which < QUOTA_EXPRESSIONS; which++)
			expressions[which] = copyObject(binding->expressions[which]);
	attachment->gauge = kind_of(attachment->feature) == QUOTA_GAUGE;
	attachment->econtext = CreateStandaloneExprContext();
	if (!attachment->guarded)
		return;
	attachment->tracked = !attachment->gauge && expressions[QUOTA_EXPRESSION_COUNTED_WHEN] != NULL;
	/* whether functions may be executed is checked here */
	quota_attachment_begin(attachment, &saved);
	attachment->amount_expression = init_expression(expressions[QUOTA_EXPRESSION_AMOUNT], QUOTA_EXPRESSION_AMOUNT, InvalidOid);
	if (attachment->amount_expression != NULL)
		attachment->amount_type = getBaseType(exprType((Node *) expressions[QUOTA_EXPRESSION_AMOUNT]));
	attachment->counted_when = init_expression(expressions[QUOTA_EXPRESSION_COUNTED_WHEN], QUOTA_EXPRESSION_COUNTED_WHEN, BOOLOID);
	if (for_row)
		attachment->mark_when = init_expression(expressions[QUOTA_EXPRESSION_MARK_WHEN], QUOTA_EXPRESSION_MARK_WHEN, BOOLOID);
	quota_attachment_end(attachment, &saved);
}

/* NULL: there is none */
static ExprState *
init_expression(Expr *expression, QuotaExpression which, Oid type)
{
	if (expression == NULL)
		return NULL;
	if (OidIsValid(type) && getBaseType(exprType((Node *) expression)) != type)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("%s must be boolean, not %s", quota_expression_names[which], format_type_be(exprType((Node *) expression)))));
	return ExecInitExpr(expression, NULL);
}

/* A feature that was attached may have been made a rate since: rates do not roll back, rows do. */
static QuotaKind
kind_of(const char *feature)
{
	QuotaKind kind;

	quota_plan_begin();
	kind = quota_plan_feature(feature)->kind;
	if (kind == QUOTA_RATE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("feature \"%s\" of kind rate cannot be attached to a table", feature)));
	return kind;
}

/* Errors: undefined_column, datatype_mismatch. */
void
quota_attachment_read_time(QuotaAttachment *attachment, const char *column)
{
	attachment->time = column_named(attachment->rel, column);
	if (attachment->time.number != 0 && attachment->time.base_type != TIMESTAMPTZOID)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("type %s cannot tell when a row was made", format_type_be(attachment->time.type))));
}

/* What tells a row from others, in the order of the key, which partitions share. */
void
quota_attachment_read_key(QuotaAttachment *attachment)
{
	Relation rel = attachment->rel;
	Oid primary_key = quota_compat_primary_key(rel);
	Relation index;

	if (!OidIsValid(primary_key))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" has no primary key", RelationGetRelationName(rel)),
				 errdetail("A trigger of quota needs it, to tell the rows of feature \"%s\" apart.", attachment->feature),
				 errhint("Add one, or call quota_detach.")));
	index = index_open(primary_key, AccessShareLock);
	attachment->nkeys = index->rd_index->indnkeyatts;
	attachment->keys = palloc(attachment->nkeys * sizeof(QuotaColumn));
	for (int i = 0; i < attachment->nkeys; i++)
		attachment->keys[i] = column_of(TupleDescAttr(RelationGetDescr(rel), index->rd_index->indkey.values[i] - 1));
	index_close(index, AccessShareLock);
}

static QuotaColumn
column_named(Relation rel, const char *name)
{
	TupleDesc desc = RelationGetDescr(rel);

	if (name == NULL)
		return (QuotaColumn){0};
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);

		if (!attribute->attisdropped && strcmp(NameStr(attribute->attname), name) == 0)
			return column_of(attribute);
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("column \"%s\" of table \"%s\" does not exist", name, RelationGetRelationName(rel)),
			 errdetail("A trigger of quota reads it."),
			 errhint("Call quota_attach with the column's new name, or quota_detach.")));
}

static QuotaColumn
column_of(Form_pg_attribute attribute)
{
	return (QuotaColumn){
		.number = attribute->attnum,
		.type = attribute->atttypid,
		.base_type = getBaseType(attribute->atttypid),
		.typmod = attribute->atttypmod,
		.typlen = attribute->attlen,
		.typbyval = attribute->attbyval};
}

/* Whether a row costs anything: not where it says of itself that it was refused, nor where counted_when is not true. */
static bool
is_counted(const QuotaAttachment *attachment, TupleTableSlot *slot)
{
	bool isnull;

	if (attachment->mark)
	{
		Datum status = slot_getattr(slot, attachment->status.number, &isnull);

		if (!isnull && datum_image_eq(status, attachment->blocked_status,
									  attachment->status.typbyval, attachment->status.typlen))
			return false;
	}
	if (attachment->counted_when != NULL)
	{
		Datum counted;

		attachment->econtext->ecxt_scantuple = slot;
		counted = ExecEvalExpr(attachment->counted_when, attachment->econtext, &isnull);
		return !isnull && DatumGetBool(counted);
	}
	return true;
}

/* The amount of a row: 1, or that in its column, or what the expression comes to; false: NULL. */
static bool
amount_of(const QuotaAttachment *attachment, TupleTableSlot *slot, int64 *n)
{
	Datum value;
	bool isnull;

	if (attachment->amount_expression != NULL)
	{
		attachment->econtext->ecxt_scantuple = slot;
		value = ExecEvalExpr(attachment->amount_expression, attachment->econtext, &isnull);
		if (!isnull)
			*n = integer_of(attachment->amount_type, value);
		return !isnull;
	}
	*n = 1;
	if (attachment->amount.number == 0)
		return true;
	value = slot_getattr(slot, attachment->amount.number, &isnull);
	if (!isnull)
		*n = integer_of(attachment->amount.base_type, value);
	return !isnull;
}

static int64
integer_of(Oid type, Datum value)
{
	switch (type)
	{
		case INT2OID:
			return DatumGetInt16(value);
		case INT4OID:
			return DatumGetInt32(value);
		case INT8OID:
			return DatumGetInt64(value);
		default:
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("type %s cannot be an amount", format_type_be(type))));
	}
}

static void
refuse_null(const QuotaAttachment *attachment, const char *what, const QuotaColumn *column)
{
	if (column->number == 0)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", what)));
	ereport(ERROR,
			(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
			 errmsg("%s in column \"%s\" must not be null", what,
					NameStr(TupleDescAttr(RelationGetDescr(attachment->rel), column->number - 1)->attname))));
}

/* The bytes that name a row's account, those of the row or of its scratch; false: NULL. */
static bool
read_account(const QuotaAttachment *attachment, QuotaRow *row)
{
	bool isnull;
	Datum value = slot_getattr(row->slot, attachment->account.number, &isnull);

	if (isnull)
		return false;
	row->account.data = (const char *) &row->scratch;
	row->account.length = sizeof(int64);
	switch (attachment->account.base_type)
	{
		case INT2OID:
			row->scratch = DatumGetInt16(value);
			break;
		case INT4OID:
			row->scratch = DatumGetInt32(value);
			break;
		case INT8OID:
			row->scratch = DatumGetInt64(value);
			break;
		case UUIDOID:
			row->account.data = (const char *) DatumGetUUIDP(value)->data;
			row->account.length = UUID_LEN;
			break;
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
		{
			text *string = DatumGetTextPP(value);

			row->account.data = VARDATA_ANY(string);
			row->account.length = VARSIZE_ANY_EXHDR(string);
			/* blanks at the end of a char(n) mean nothing */
			if (attachment->account.base_type == BPCHAROID)
				row->account.length = bpchartruelen(unconstify(char *, row->account.data), row->account.length);
			break;
		}
		default:
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("type %s cannot name an account", format_type_be(attachment->account.type))));
	}
	return true;
}

/* The same; false also: what cannot be charged. */
static bool
read_valid_account(const QuotaAttachment *attachment, QuotaRow *row)
{
	return read_account(attachment, row) && row->account.length > 0 && row->account.length <= QUOTA_MAX_ACCOUNT;
}

static bool
same_value(const QuotaColumn *column, TupleTableSlot *a, TupleTableSlot *b)
{
	bool a_is_null;
	bool b_is_null;
	Datum a_value = slot_getattr(a, column->number, &a_is_null);
	Datum b_value = slot_getattr(b, column->number, &b_is_null);

	if (a_is_null || b_is_null)
		return a_is_null && b_is_null;
	return datum_image_eq(a_value, b_value, column->typbyval, column->typlen);
}

/* One column more: a JSON string in an array that has yet to be closed. */
static void
append_key(StringInfo key, Oid type, Datum value, bool isnull)
{
	Oid function;
	bool is_varlena;
	char buffer[MAXDATELEN + 1];
	int utc = 0;

	appendStringInfoChar(key, key->len == 0 ? '[' : ',');
	if (isnull)
		appendStringInfoString(key, "null");
	else if (type == DATEOID || type == TIMESTAMPOID || type == TIMESTAMPTZOID)
		/* whatever DateStyle and TimeZone are */
		escape_json(key, JsonEncodeDateTime(buffer, value, type, &utc));
	else
	{
		getTypeOutputInfo(type, &function, &is_varlena);
		escape_json(key, OidOutputFunctionCall(function, value));
	}
}
