/*
 * attachment.c
 *		An attachment, as a trigger uses it.
 *
 * Every trigger function first checks its trigger: quota_attach must have made
 * it, on this table, for this attachment. Nothing else that the owner of the
 * table could make up is believed.
 *
 * Expressions, and the input of values of a column's type, run as the owner of
 * the attached table (src/owner.c): between quota_attachment_begin and _end.
 *
 * Memory: an attachment is a copy of its binding (src/trigger/binding.c) in the
 * context in which it was read; what a row needs is in the per-tuple memory of
 * its expression context, which the next row resets. Locks: none.
 */
#include "postgres.h"

#include "trigger/attachment.h"

#include "access/genam.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "nodes/nodeFuncs.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"

#include "compat.h"
#include "entitlement/plan.h"
#include "trigger/expression.h"
#include "trigger/trigger_ddl.h"

static QuotaBinding *binding_of(const TriggerData *trigdata);
static void read_binding(const QuotaBinding *binding, Relation rel, bool for_row, QuotaAttachment *attachment);
static ExprState *init_expression(Expr *const *expressions, QuotaExpression which);

/*
 * Check that a trigger function was called by a trigger that quota_attach made.
 *
 * The trigger must have the number of an attachment of its table, or of a table
 * that this is a partition of, and be as quota_attach makes it for that.
 *
 * name: of the function. Returns the trigger's data.
 * Errors: trigger_protocol_violated.
 */
TriggerData *
quota_attachment_check(FunctionCallInfo fcinfo, const char *name)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	QuotaBinding *binding = NULL;

	if (CALLED_AS_TRIGGER(fcinfo))
	{
		int64 id = quota_trigger_ddl_number(trigdata->tg_trigger, PG_INT32_MAX);

		binding = id < 0 ? NULL : quota_binding_verify(trigdata->tg_relation, (int32) id);
	}
	if (binding == NULL || !quota_trigger_ddl_is_made(trigdata, name, binding->attached->feature))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function quota.%s was not called by a trigger that quota_attach made", name),
				 errhint("Call quota_attach, which makes the triggers anew.")));
	return trigdata;
}

/* Return the feature of a checked trigger, a copy. */
const char *
quota_attachment_feature(const TriggerData *trigdata)
{
	return pstrdup(binding_of(trigdata)->attached->feature);
}

/*
 * Read the attachment of a checked trigger.
 *
 * Errors: undefined_column where a column has been dropped or renamed since;
 * datatype_mismatch for a time column of another type; undefined_object for a
 * feature that has been dropped, wrong_object_type for one that is a rate now;
 * those of quota_expression_plan.
 */
void
quota_attachment_read(TriggerData *trigdata, QuotaAttachment *attachment)
{
	const QuotaBinding *binding = quota_binding_load(binding_of(trigdata), trigdata->tg_relation);
	const char *time_column = binding->attached->time_column;

	if (binding->model.guarded && time_column != NULL)
		time_column = pstrdup(time_column);
	/* this may run code of the table's owner, in the checks of domains, and the binding may be freed meanwhile */
	read_binding(binding, trigdata->tg_relation, TRIGGER_FIRED_FOR_ROW(trigdata->tg_event), attachment);
	if (attachment->tracked)
	{
		/* other attachments need time and key only to count rows again */
		quota_attachment_read_time(attachment, time_column);
		quota_attachment_read_key(attachment);
	}
}

/*
 * Read an attachment to count the rows of a table, the attached one or a
 * partition or child of it.
 *
 * Errors: as quota_attachment_read.
 */
void
quota_attachment_open(Relation rel, const QuotaAttached *attached, QuotaAttachment *attachment)
{
	QuotaBinding *binding = quota_binding_find(rel, attached->id);

	/* children by INHERITS are counted, but have no triggers that verify them */
	if (!binding->verified)
		quota_binding_store(binding, attached);
	binding = quota_binding_load(binding, rel);
	read_binding(binding, rel, false, attachment);
}

/* Begin to read rows, as the owner of the table if there are expressions. */
void
quota_attachment_begin(const QuotaAttachment *attachment, QuotaOwner *saved)
{
	if (attachment->guarded)
		quota_owner_begin(saved, attachment->owner, attachment->code);
}

/* End what quota_attachment_begin began. */
void
quota_attachment_end(const QuotaAttachment *attachment, const QuotaOwner *saved)
{
	if (attachment->guarded)
		quota_owner_end(saved);
}

/* Read the time column. Errors: undefined_column, datatype_mismatch. */
void
quota_attachment_read_time(QuotaAttachment *attachment, const char *column)
{
	attachment->time = quota_table_column_named(attachment->rel, column);
	if (attachment->time.number != 0 && attachment->time.base_type != TIMESTAMPTZOID)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("type %s cannot tell when a row was made", format_type_be(attachment->time.type))));
}

/*
 * Read the columns of the primary key, in the order of the key, which
 * partitions share.
 *
 * Errors: object_not_in_prerequisite_state where there is none.
 */
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
		attachment->keys[i] = quota_table_column(TupleDescAttr(RelationGetDescr(rel), index->rd_index->indkey.values[i] - 1));
	index_close(index, AccessShareLock);
}

/* Return the binding of a checked trigger. */
static QuotaBinding *
binding_of(const TriggerData *trigdata)
{
	return quota_binding_find(trigdata->tg_relation, (int32) quota_trigger_ddl_number(trigdata->tg_trigger, PG_INT32_MAX));
}

/*
 * Fill in an attachment for a statement. It gets copies, since the binding may
 * be freed while the statement runs.
 */
static void
read_binding(const QuotaBinding *binding, Relation rel, bool for_row, QuotaAttachment *attachment)
{
	Expr *expressions[QUOTA_EXPRESSIONS];
	QuotaKind kind;
	QuotaOwner saved;

	*attachment = binding->model;
	attachment->rel = rel;
	attachment->feature = pstrdup(binding->attached->feature);
	if (attachment->mark)
		attachment->blocked_status = datumCopy(attachment->blocked_status, attachment->status.typbyval, attachment->status.typlen);
	if (attachment->guarded)
		for (int which = 0; which < QUOTA_EXPRESSIONS; which++)
			expressions[which] = copyObject(binding->expressions[which]);
	quota_plan_begin();
	kind = quota_plan_feature(attachment->feature)->kind;
	/* the feature may have become a rate, and rates do not roll back */
	if (kind == QUOTA_RATE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("feature \"%s\" of kind rate cannot be attached to a table", attachment->feature)));
	attachment->gauge = kind == QUOTA_GAUGE;
	attachment->econtext = CreateStandaloneExprContext();
	if (!attachment->guarded)
		return;
	attachment->tracked = !attachment->gauge && expressions[QUOTA_EXPRESSION_COUNTED_WHEN] != NULL;
	/* ExecInitExpr checks the right to execute functions */
	quota_attachment_begin(attachment, &saved);
	attachment->amount_expression = init_expression(expressions, QUOTA_EXPRESSION_AMOUNT);
	if (attachment->amount_expression != NULL)
		attachment->amount_type = getBaseType(exprType((Node *) expressions[QUOTA_EXPRESSION_AMOUNT]));
	attachment->counted_when = init_expression(expressions, QUOTA_EXPRESSION_COUNTED_WHEN);
	if (for_row)
		attachment->mark_when = init_expression(expressions, QUOTA_EXPRESSION_MARK_WHEN);
	quota_attachment_end(attachment, &saved);
}

/* Prepare an expression; NULL: there is none. All but the amount are conditions. */
static ExprState *
init_expression(Expr *const *expressions, QuotaExpression which)
{
	Oid type = exprType((Node *) expressions[which]);

	if (OidIsValid(type) && which != QUOTA_EXPRESSION_AMOUNT && getBaseType(type) != BOOLOID)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("%s must be boolean, not %s", quota_expression_names[which], format_type_be(type))));
	return ExecInitExpr(expressions[which], NULL);
}
