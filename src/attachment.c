/*
 * An attachment: what quota_attach wrote into the arguments of a trigger, and
 * what a row of the table comes to by it: whose it is, how many units it takes,
 * when it was charged, and what tells it from other rows.
 *
 * Reads the table's definition and rows; locks nothing. Memory: an attachment
 * lives in the context in which it was read; what a row needs, in the per-tuple
 * memory of its expression context, which is reset with the next row.
 */
#include "postgres.h"

#include "attachment.h"

#include "access/genam.h"
#include "catalog/partition.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "lib/stringinfo.h"
#include "nodes/nodeFuncs.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/datum.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "argument.h"
#include "compat.h"
#include "expression.h"
#include "plan.h"

static QuotaKind kind_of(const char *feature);
static void read_expressions(TriggerData *trigdata, QuotaAttachment *attachment);
static ExprState *read_condition(TriggerData *trigdata, int argument, const char *name);
static void read_key(QuotaAttachment *attachment);
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

/*
 * Make sure that a function was called by a trigger that quota_attach made.
 *
 * name: the function's own. when: TRIGGER_EVENT_BEFORE or _AFTER, with
 * TRIGGER_EVENT_ROW unless it is for statements. events: of QUOTA_EVENT.
 * Errors: trigger_protocol_violated.
 */
TriggerData *
quota_attachment_check(FunctionCallInfo fcinfo, const char *name, TriggerEvent when, int events)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) ||
		(trigdata->tg_event & (TRIGGER_EVENT_TIMINGMASK | TRIGGER_EVENT_ROW)) != when ||
		!((1 << (trigdata->tg_event & TRIGGER_EVENT_OPMASK)) & events) ||
		trigdata->tg_trigger->tgnargs != QUOTA_ARGS)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function quota.%s was not called by a trigger that quota_attach made", name)));
	return trigdata;
}

/*
 * Read the arguments of a trigger.
 *
 * Errors: undefined_column where a column has been dropped or renamed since;
 * datatype_mismatch for a time column that has another type now; undefined_object for a feature that is gone, wrong_object_type for one that is
 * a rate now; those of quota_expression_plan.
 */
void
quota_attachment_read(TriggerData *trigdata, QuotaAttachment *attachment)
{
	Relation rel = trigdata->tg_relation;
	char **args = trigdata->tg_trigger->tgargs;

	memset(attachment, 0, sizeof(QuotaAttachment));
	attachment->rel = rel;
	attachment->feature = args[QUOTA_ARG_FEATURE];
	attachment->gauge = kind_of(attachment->feature) == QUOTA_GAUGE;
	attachment->tracked = !attachment->gauge && args[QUOTA_ARG_COUNTED_WHEN][0] != '\0';
	attachment->account = column_named(rel, args[QUOTA_ARG_ACCOUNT]);
	attachment->amount = column_named(rel, args[QUOTA_ARG_AMOUNT]);
	attachment->mark = strcmp(args[QUOTA_ARG_ON_BLOCK], "mark") == 0;
	attachment->status = column_named(rel, args[QUOTA_ARG_STATUS]);
	attachment->message = column_named(rel, args[QUOTA_ARG_MESSAGE]);
	if (attachment->status.number != 0)
		attachment->blocked_status = quota_attachment_input(&attachment->status, args[QUOTA_ARG_BLOCKED_STATUS]);
	attachment->econtext = CreateStandaloneExprContext();
	read_expressions(trigdata, attachment);
	if (attachment->tracked)
	{
		/* elsewhere the time is looked at only when rows are counted again */
		attachment->time = column_named(rel, args[QUOTA_ARG_TIME]);
		if (attachment->time.number != 0 && attachment->time.base_type != TIMESTAMPTZOID)
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("type %s cannot tell when a row was made", format_type_be(attachment->time.type))));
		read_key(attachment);
	}
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
	bool isnull;
	Datum marked;

	if (attachment->mark_when == NULL)
		return false;
	attachment->econtext->ecxt_scantuple = slot;
	marked = ExecEvalExprSwitchContext(attachment->mark_when, attachment->econtext, &isnull);
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

/* The primary key of a row, as quota.row_key writes it. */
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

/* quota.row_key(columns): a primary key as text, the same whatever the settings of the session */
PG_FUNCTION_INFO_V1(quota_row_key);

Datum
quota_row_key(PG_FUNCTION_ARGS)
{
	StringInfoData key;

	initStringInfo(&key);
	for (int i = 0; i < PG_NARGS(); i++)
		append_key(&key, getBaseType(get_fn_expr_argtype(fcinfo->flinfo, i)), PG_GETARG_DATUM(i), PG_ARGISNULL(i));
	appendStringInfoChar(&key, ']');
	PG_RETURN_TEXT_P(cstring_to_text(key.data));
}

/* quota.row_units(n): the units of a row, which are refused where a row cannot take them */
PG_FUNCTION_INFO_V1(quota_row_units);

Datum
quota_row_units(PG_FUNCTION_ARGS)
{
	quota_argument_check_not_null(fcinfo, 0, "amount");
	if (PG_GETARG_INT64(0) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("amount must not be negative, as %lld is", (long long) PG_GETARG_INT64(0))));
	PG_RETURN_INT64(PG_GETARG_INT64(0));
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

/* A value of a column's type. */
Datum
quota_attachment_input(const QuotaColumn *column, const char *value)
{
	Oid function;
	Oid parameter;

	getTypeInputInfo(column->type, &function, &parameter);
	return OidInputFunctionCall(function, unconstify(char *, value), parameter, column->typmod);
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

static void
read_expressions(TriggerData *trigdata, QuotaAttachment *attachment)
{
	Expr *amount = quota_expression_plan(trigdata, QUOTA_ARG_AMOUNT_EXPRESSION);

	if (amount != NULL)
	{
		attachment->amount_expression = ExecInitExpr(amount, NULL);
		attachment->amount_type = getBaseType(exprType((Node *) amount));
	}
	attachment->counted_when = read_condition(trigdata, QUOTA_ARG_COUNTED_WHEN, "counted_when");
	if (TRIGGER_FIRED_FOR_ROW(trigdata->tg_event))
		attachment->mark_when = read_condition(trigdata, QUOTA_ARG_MARK_WHEN, "mark_when");
}

/* NULL: there is none */
static ExprState *
read_condition(TriggerData *trigdata, int argument, const char *name)
{
	Expr *condition = quota_expression_plan(trigdata, argument);

	if (condition == NULL)
		return NULL;
	if (getBaseType(exprType((Node *) condition)) != BOOLOID)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("%s must be boolean, not %s", name, format_type_be(exprType((Node *) condition)))));
	return ExecInitExpr(condition, NULL);
}

/* What tells a row from others, in the order of the key, which partitions share. */
static void
read_key(QuotaAttachment *attachment)
{
	Relation rel = attachment->rel;
	Oid primary_key = quota_compat_primary_key(rel);
	Relation index;

	attachment->root = RelationGetRelid(rel);
	if (rel->rd_rel->relispartition)
		attachment->root = llast_oid(get_partition_ancestors(attachment->root));
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

	if (name[0] == '\0')
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
