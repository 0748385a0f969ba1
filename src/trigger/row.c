/*
 * row.c
 *		Account, amount, time and key of a row of an attached table.
 *
 * Memory: a QuotaRow is good until the next row is read by the same attachment
 * and struct; what it points to is in the per-tuple memory of the attachment.
 * Locks: none.
 */
#include "postgres.h"

#include "trigger/row.h"

#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/datum.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "argument.h"
#include "sizes.h"

static bool is_counted(const QuotaAttachment *attachment, TupleTableSlot *slot);
static bool amount_of(const QuotaAttachment *attachment, TupleTableSlot *slot, int64 *n);
static int64 integer_of(Oid type, Datum value);
pg_noreturn static void refuse_row(const QuotaAttachment *attachment, const QuotaColumn *missing, int64 n);
static bool read_account(const QuotaAttachment *attachment, QuotaRow *row, bool valid);
static bool same_value(const QuotaColumn *column, TupleTableSlot *a, TupleTableSlot *b);

/*
 * Read what a row is charged.
 *
 * old: it was in the table. If it cannot be charged it was inserted while there
 * was no trigger; it counts 0 and can be deleted.
 * Errors: null_value_not_allowed, invalid_parameter_value and
 * numeric_value_out_of_range for an account or amount that cannot be charged;
 * those of the expressions.
 */
void
quota_row_read(QuotaAttachment *attachment, TupleTableSlot *slot, bool old, QuotaRow *row)
{
	MemoryContext caller = MemoryContextSwitchTo(attachment->econtext->ecxt_per_tuple_memory);
	const QuotaColumn *missing = NULL;

	MemoryContextReset(attachment->econtext->ecxt_per_tuple_memory);
	attachment->econtext->ecxt_scantuple = slot;
	row->slot = slot;
	row->n = 0;
	if (is_counted(attachment, slot))
	{
		if (!amount_of(attachment, slot, &row->n))
			missing = &attachment->amount;
		else if (!read_account(attachment, row, old))
			missing = &attachment->account;
		if (missing != NULL || row->n < 0)
		{
			if (!old)
				refuse_row(attachment, missing, row->n);
			row->n = 0;
		}
	}
	MemoryContextSwitchTo(caller);
}

/*
 * Return whether a row over the limit fails its statement, although rows are
 * marked: where mark_when is false or null.
 */
bool
quota_row_fails_when_full(const QuotaAttachment *attachment, TupleTableSlot *slot)
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

/* Read a row's time column; false if the time is not known. */
bool
quota_row_time(const QuotaAttachment *attachment, TupleTableSlot *slot, TimestampTz *at)
{
	bool isnull;

	if (attachment->time.number == 0)
		return false;
	*at = DatumGetTimestampTz(slot_getattr(slot, attachment->time.number, &isnull));
	return !isnull && !TIMESTAMP_NOT_FINITE(*at);
}

/* Return whether two versions of a row have the same primary key and time. */
bool
quota_row_same_key_and_time(const QuotaAttachment *attachment, TupleTableSlot *a, TupleTableSlot *b)
{
	if (attachment->time.number != 0 && !same_value(&attachment->time, a, b))
		return false;
	for (int i = 0; i < attachment->nkeys; i++)
		if (!same_value(&attachment->keys[i], a, b))
			return false;
	return true;
}

/* Return the primary key of a row as a JSON array of text, independent of settings. */
char *
quota_row_key(const QuotaAttachment *attachment, TupleTableSlot *slot)
{
	StringInfoData key;

	initStringInfo(&key);
	for (int i = 0; i < attachment->nkeys; i++)
	{
		Oid type = attachment->keys[i].base_type;
		char buffer[MAXDATELEN + 1];
		int utc = 0;
		Oid output;
		bool ignored;
		Datum value = slot_getattr(slot, attachment->keys[i].number, &ignored);

		appendStringInfoChar(&key, i == 0 ? '[' : ',');
		getTypeOutputInfo(type, &output, &ignored);
		/* independent of DateStyle and TimeZone */
		if (type == DATEOID || type == TIMESTAMPOID || type == TIMESTAMPTZOID)
			escape_json(&key, JsonEncodeDateTime(buffer, value, type, &utc));
		else
			escape_json(&key, OidOutputFunctionCall(output, value));
	}
	appendStringInfoChar(&key, ']');
	return key.data;
}

/*
 * Return the account of a row that has been read, counted or not; 0 if it has
 * none that could be charged.
 */
Datum
quota_row_account(const QuotaAttachment *attachment, QuotaRow *row)
{
	MemoryContext old = MemoryContextSwitchTo(attachment->econtext->ecxt_per_tuple_memory);
	Datum account = (Datum) 0;

	if (read_account(attachment, row, true))
		account = quota_row_account_name(attachment, row->account);
	MemoryContextSwitchTo(old);
	return account;
}

/*
 * Return the name of an account from its bytes, as text. Errors: those of
 * quota_argument_check_account.
 */
Datum
quota_row_account_name(const QuotaAttachment *attachment, QuotaAccountBytes bytes)
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

/* Return whether a row is counted: not if it is marked as refused, nor if counted_when is not true. */
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
		Datum counted = ExecEvalExpr(attachment->counted_when, attachment->econtext, &isnull);

		return !isnull && DatumGetBool(counted);
	}
	return true;
}

/* Read the amount of a row: 1, its column or its expression; false if that is null. */
static bool
amount_of(const QuotaAttachment *attachment, TupleTableSlot *slot, int64 *n)
{
	bool is_column = attachment->amount_expression == NULL;
	Datum value;
	bool isnull;

	*n = 1;
	if (is_column && attachment->amount.number == 0)
		return true;
	if (is_column)
		value = slot_getattr(slot, attachment->amount.number, &isnull);
	else
		value = ExecEvalExpr(attachment->amount_expression, attachment->econtext, &isnull);
	if (!isnull)
		*n = integer_of(is_column ? attachment->amount.base_type : attachment->amount_type, value);
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

/* Raise why a row cannot be charged: its amount n is negative, or what is missing is null. */
static void
refuse_row(const QuotaAttachment *attachment, const QuotaColumn *missing, int64 n)
{
	const char *what = missing == &attachment->amount ? "amount" : "account";

	if (n < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("amount must not be negative, as %lld is", (long long) n)));
	ereport(ERROR,
			(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
			 missing->number == 0
				 ? errmsg("%s must not be null", what)
				 : errmsg("%s in column \"%s\" must not be null", what,
						  NameStr(TupleDescAttr(RelationGetDescr(attachment->rel), missing->number - 1)->attname))));
}

/*
 * Read the bytes that name a row's account, in the row or its scratch; false if
 * null. valid: also false for a name that cannot be charged.
 */
static bool
read_account(const QuotaAttachment *attachment, QuotaRow *row, bool valid)
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
		case INT4OID:
		case INT8OID:
			row->scratch = integer_of(attachment->account.base_type, value);
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
	return !valid || (row->account.length > 0 && row->account.length <= QUOTA_MAX_ACCOUNT);
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
