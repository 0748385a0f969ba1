/*
 * binding.c
 *		An attachment bound to a table, with its columns and expressions.
 *
 * A backend binds a row of quota.attached to each table whose triggers it runs:
 * the attached table or a partition of it. A binding holds a copy of the row, a
 * model of QuotaAttachment and the planned expressions.
 *
 * Life. A binding is verified once the table is known to be the attached one or
 * a partition of it, until the table, its root or quota.attached changes. It is
 * loaded once columns and expressions are known, until any of these, of another
 * binding too, or any function, type or enum changes, since expressions may use
 * it. Bindings that are not verified are freed once in BINDINGS_SWEEP new ones.
 *
 * Memory: each binding has a child context of CacheMemoryContext. Locks: none.
 */
#include "postgres.h"

#include "trigger/binding.h"

#include "catalog/partition.h"
#include "utils/datum.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "owner.h"
#include "tables/relations.h"
#include "trigger/expression.h"

#define BINDINGS_SWEEP 64

static HTAB *bindings = NULL;

/* Generation number of all that bindings are loaded from; bumped by every change of it. */
static uint64 generation = 1;

static void relation_changed(Oid relid);
static void definition_changed(Datum arg, int cacheid, uint32 hash);
static void forget_unverified(void);
static QuotaAttached *copy_attached(const QuotaAttached *attached);
static bool is_part_of(Relation rel, Oid root);
static void load_columns(const QuotaAttached *attached, Relation rel, QuotaAttachment *model);
static void load_expressions(const QuotaAttached *attached, Relation rel, QuotaAttachment *model, Expr **expressions);

/* Register the callbacks that invalidate bindings. */
void
quota_binding_init(void)
{
	quota_relations_on_change(relation_changed);
	/* a planned expression may contain an inlined function, an enum's value or a domain's check */
	CacheRegisterSyscacheCallback(PROCOID, definition_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(TYPEOID, definition_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(ENUMOID, definition_changed, (Datum) 0);
}

/*
 * Return the binding of an attachment to a table, verified.
 *
 * Returns NULL if there is no such attachment, or if the table is neither the
 * attached one nor a partition of it.
 */
QuotaBinding *
quota_binding_verify(Relation rel, int32 id)
{
	QuotaBinding *binding = quota_binding_find(rel, id);
	QuotaAttached *attached;

	if (binding->verified)
		return binding;
	attached = quota_attached_get(id);
	if (attached == NULL || !is_part_of(rel, attached->relation))
		return NULL;
	quota_binding_store(binding, attached);
	binding->verified = true;
	return binding;
}

/* Find the binding of an attachment to a table, or make an empty one. */
QuotaBinding *
quota_binding_find(Relation rel, int32 id)
{
	static uint64 made = 0;
	QuotaBindingKey key = {RelationGetRelid(rel), id};
	QuotaBinding *binding;

	if (bindings == NULL)
	{
		HASHCTL control = {.keysize = sizeof(QuotaBindingKey), .entrysize = sizeof(QuotaBinding)};

		bindings = hash_create("quota attachments", 16, &control, HASH_ELEM | HASH_BLOBS);
	}
	binding = hash_search(bindings, &key, HASH_FIND, NULL);
	if (binding != NULL)
		return binding;
	if (++made % BINDINGS_SWEEP == 0)
		forget_unverified();
	binding = hash_search(bindings, &key, HASH_ENTER, NULL);
	memset((char *) binding + sizeof(QuotaBindingKey), 0, sizeof(QuotaBinding) - sizeof(QuotaBindingKey));
	return binding;
}

/*
 * Load the columns and expressions of a binding.
 *
 * This runs code of the table's owner, which may fire triggers that bind the
 * same attachment, or may change what is bound. So everything is prepared apart
 * and stored at the end, in a binding that is looked up again.
 *
 * Returns the binding, which may be another entry than before. Errors:
 * undefined_table, undefined_column, and those of quota_expression_plan.
 */
QuotaBinding *
quota_binding_load(QuotaBinding *binding, Relation rel)
{
	QuotaAttached *attached;
	QuotaAttachment model = {0};
	Expr *expressions[QUOTA_EXPRESSIONS];
	uint64 before = generation;
	MemoryContext old;

	if (binding->loaded == generation)
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

	binding = quota_binding_find(rel, attached->id);
	quota_binding_store(binding, attached);
	old = MemoryContextSwitchTo(binding->context);
	if (model.mark)
		model.blocked_status = datumCopy(model.blocked_status, model.status.typbyval, model.status.typlen);
	for (int which = 0; which < QUOTA_EXPRESSIONS; which++)
		binding->expressions[which] = copyObject(expressions[which]);
	MemoryContextSwitchTo(old);
	binding->model = model;
	/* if anything has changed meanwhile, what is stored serves this statement only */
	binding->verified &= generation == before;
	binding->loaded = before;
	return binding;
}

/* Store a copy of a row of quota.attached in a binding, and free what it held. */
void
quota_binding_store(QuotaBinding *binding, const QuotaAttached *attached)
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
	binding->loaded = 0;
}

/* Relcache callback: invalidate the bindings of a table and of its partitions; all for quota.attached. */
static void
relation_changed(Oid relid)
{
	HASH_SEQ_STATUS status;
	QuotaBinding *binding;

	if (bindings == NULL)
		return;
	hash_seq_init(&status, bindings);
	while ((binding = hash_seq_search(&status)) != NULL)
		if (quota_relations_may_be(ATTACHED, relid) || binding->key.table == relid || binding->model.root == relid)
		{
			binding->verified = false;
			generation++;
		}
}

static void
definition_changed(Datum arg pg_attribute_unused(), int cacheid pg_attribute_unused(), uint32 hash pg_attribute_unused())
{
	generation++;
}

/* Free the bindings that are not verified. */
static void
forget_unverified(void)
{
	HASH_SEQ_STATUS status;
	QuotaBinding *binding;

	/* one of them may be being loaded */
	generation++;
	hash_seq_init(&status, bindings);
	while ((binding = hash_seq_search(&status)) != NULL)
	{
		QuotaBindingKey key = binding->key;

		if (binding->verified)
			continue;
		if (binding->context != NULL)
			MemoryContextDelete(binding->context);
		(void) hash_search(bindings, &key, HASH_REMOVE, NULL);
	}
}

static QuotaAttached *
copy_attached(const QuotaAttached *attached)
{
	QuotaAttached *copy = palloc(sizeof(QuotaAttached));
	char **texts[] = {&copy->feature, &copy->account_column, &copy->amount_column, &copy->on_block,
					  &copy->status_column, &copy->blocked_status, &copy->message_column, &copy->time_column};

	*copy = *attached;
	for (size_t i = 0; i < lengthof(texts); i++)
		if (*texts[i] != NULL)
			*texts[i] = pstrdup(*texts[i]);
	for (int which = 0; which < QUOTA_EXPRESSIONS; which++)
	{
		ListCell *cell;

		copy->columns[which] = NIL;
		foreach (cell, attached->columns[which])
			copy->columns[which] = lappend(copy->columns[which], pstrdup(lfirst(cell)));
	}
	return copy;
}

static bool
is_part_of(Relation rel, Oid root)
{
	return RelationGetRelid(rel) == root ||
		   (rel->rd_rel->relispartition && list_member_oid(get_partition_ancestors(RelationGetRelid(rel)), root));
}

static void
load_columns(const QuotaAttached *attached, Relation rel, QuotaAttachment *model)
{
	model->id = attached->id;
	model->filtered = strcmp(attached->on_block, "raise") != 0;
	model->mark = strcmp(attached->on_block, "mark") == 0;
	model->account = quota_table_column_named(rel, attached->account_column);
	model->amount = quota_table_column_named(rel, attached->amount_column);
	model->status = quota_table_column_named(rel, attached->status_column);
	model->message = quota_table_column_named(rel, attached->message_column);
	if (model->mark)
		model->blocked_status = quota_table_input(&model->status, model->owner, attached->blocked_status);
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
