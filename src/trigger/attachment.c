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

static bool trigger_number(const Trigger *trigger, int32 *id);
static bool has_our_name(TriggerData *trigdata, const char *feature);
static void read_binding(const QuotaBinding *binding, Relation rel, bool for_row, QuotaAttachment *attachment);
static ExprState *init_expression(Expr *expression, QuotaExpression which, Oid type);
static QuotaKind kind_of(const char *feature);

/*
 * Check that a trigger function was called by a trigger that quota_attach made.
 *
 * The trigger must be of the expected kind, have the name of that kind, and
 * have the number of an attachment of its table, or of a table that this is a
 * partition of.
 *
 * name: of the function, for the message. when: TRIGGER_EVENT_BEFORE or _AFTER,
 * with TRIGGER_EVENT_ROW unless it is a statement trigger. events: of
 * QUOTA_EVENT. Returns the trigger's data. Errors: trigger_protocol_violated.
 */
TriggerData *
quota_attachment_check(FunctionCallInfo fcinfo, const char *name, TriggerEvent when, int events)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	QuotaBinding *binding;
	int32 id;

	if (!CALLED_AS_TRIGGER(fcinfo) ||
		(trigdata->tg_event & (TRIGGER_EVENT_TIMINGMASK | TRIGGER_EVENT_ROW)) != when ||
		!((1 << (trigdata->tg_event & TRIGGER_EVENT_OPMASK)) & events) ||
		!trigger_number(trigdata->tg_trigger, &id) ||
		(binding = quota_binding_verify(trigdata->tg_relation, id)) == NULL ||
		!has_our_name(trigdata, binding->attached->feature))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function quota.%s was not called by a trigger that quota_attach made", name),
				 errhint("Call quota_attach, which makes the triggers anew.")));
	return trigdata;
}

/* Return the feature of a checked trigger, a copy. */
const char *
quota_attachment_feature(TriggerData *trigdata)
{
	int32 id;

	if (!trigger_number(trigdata->tg_trigger, &id))
		elog(ERROR, "trigger has no attachment");
	return pstrdup(quota_binding_find(trigdata->tg_relation, id)->attached->feature);
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
	QuotaBinding *binding;
	int32 id;

	if (!trigger_number(trigdata->tg_trigger, &id))
		elog(ERROR, "trigger has no attachment");
	binding = quota_binding_find(trigdata->tg_relation, id);
	binding = quota_binding_load(binding, trigdata->tg_relation);
	read_binding(binding, trigdata->tg_relation, TRIGGER_FIRED_FOR_ROW(trigdata->tg_event), attachment);
	if (attachment->tracked)
	{
		/* other attachments need time and key only to count rows again */
		quota_attachment_read_time(attachment, binding->attached->time_column);
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

/* Read a trigger's argument, the number of an attachment; false if it is not one. */
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
		kind = QUOTA_TRIGGER_FILTER;
	else if (TRIGGER_FIRED_BY_TRUNCATE(trigdata->tg_event))
		kind = QUOTA_TRIGGER_TRUNCATE;
	else if (TRIGGER_FIRED_BEFORE(trigdata->tg_event))
		kind = QUOTA_TRIGGER_BEGIN_FILTER;
	else if (TRIGGER_FIRED_BY_INSERT(trigdata->tg_event))
		kind = QUOTA_TRIGGER_CHARGE;
	else
		kind = TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event) ? QUOTA_TRIGGER_UPDATE : QUOTA_TRIGGER_DELETE;
	length = strlen(quota_attached_triggers[kind]);
	return strncmp(trigdata->tg_trigger->tgname, quota_attached_triggers[kind], length) == 0 &&
		   strcmp(trigdata->tg_trigger->tgname + length, feature) == 0;
}

/*
 * Fill in an attachment for a statement. It gets copies, since the binding may
 * be freed while the statement runs.
 */
static void
read_binding(const QuotaBinding *binding, Relation rel, bool for_row, QuotaAttachment *attachment)
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
	/* ExecInitExpr checks the right to execute functions */
	quota_attachment_begin(attachment, &saved);
	attachment->amount_expression = init_expression(expressions[QUOTA_EXPRESSION_AMOUNT], QUOTA_EXPRESSION_AMOUNT, InvalidOid);
	if (attachment->amount_expression != NULL)
		attachment->amount_type = getBaseType(exprType((Node *) expressions[QUOTA_EXPRESSION_AMOUNT]));
	attachment->counted_when = init_expression(expressions[QUOTA_EXPRESSION_COUNTED_WHEN], QUOTA_EXPRESSION_COUNTED_WHEN, BOOLOID);
	if (for_row)
		attachment->mark_when = init_expression(expressions[QUOTA_EXPRESSION_MARK_WHEN], QUOTA_EXPRESSION_MARK_WHEN, BOOLOID);
	quota_attachment_end(attachment, &saved);
}

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

/*
 * Return the kind of a feature; refuse a rate, which an attached feature may
 * have become: rates do not roll back.
 */
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
