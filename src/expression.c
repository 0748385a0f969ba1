/*
 * Expressions on a row of the application's table: amounts, counted_when and
 * mark_when.
 *
 * They are kept as text in the triggers' arguments, so that dump and restore
 * keep them, and parsed against the table with a fixed search_path: who inserts
 * cannot give their names another meaning. They run as whoever inserts.
 *
 * Memory: planned expressions are cached in the backend, each in a context below
 * CacheMemoryContext, until the table's or any function's definition changes.
 * Callers get copies, so that what is in use outlives the cache.
 */
#include "postgres.h"

#include "expression.h"

#include "access/htup_details.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "funcapi.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "optimizer/optimizer.h"
#include "parser/parse_collate.h"
#include "parser/parse_expr.h"
#include "parser/parse_node.h"
#include "parser/parse_relation.h"
#include "parser/parser.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "argument.h"
#include "compat.h"

typedef struct CacheKey
{
	Oid trigger;
	int argument;
} CacheKey;

typedef struct CacheEntry
{
	CacheKey key;
	Oid table;
	bool valid;
	MemoryContext context;
	Expr *planned;
} CacheEntry;

static HTAB *cache = NULL;

static void relation_changed(Datum arg, Oid relid);
static void function_changed(Datum arg, int cacheid, uint32 hash);
static Node *parse(Relation rel, const char *expression);
static Node *only_expression(const char *expression);
static void check_parsed(Relation rel, Node *node);
static void explain_error(void *expression);

void
quota_expression_init(void)
{
	CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
	/* a function may be inlined, and its volatility may change */
	CacheRegisterSyscacheCallback(PROCOID, function_changed, (Datum) 0);
}

/*
 * The expression in an argument of a trigger, ready to be executed; NULL: there
 * is none.
 *
 * Errors: those of parsing it, such as undefined_column where a column has been
 * dropped or renamed since.
 */
Expr *
quota_expression_plan(TriggerData *trigdata, int argument)
{
	const char *expression = trigdata->tg_trigger->tgargs[argument];
	CacheKey key = {trigdata->tg_trigger->tgoid, argument};
	CacheEntry *entry;
	bool found;

	if (expression[0] == '\0')
		return NULL;
	if (cache == NULL)
	{
		HASHCTL control = {.keysize = sizeof(CacheKey), .entrysize = sizeof(CacheEntry)};

		cache = hash_create("quota expressions", 16, &control, HASH_ELEM | HASH_BLOBS);
	}
	entry = hash_search(cache, &key, HASH_ENTER, &found);
	if (!found)
	{
		entry->table = InvalidOid;
		entry->valid = false;
		entry->context = NULL;
	}
	if (!entry->valid)
	{
		MemoryContext old = CurrentMemoryContext;
		Node *parsed = parse(trigdata->tg_relation, expression);

		if (entry->context != NULL)
			MemoryContextDelete(entry->context);
		entry->context = AllocSetContextCreate(CacheMemoryContext, "quota expression", ALLOCSET_SMALL_SIZES);
		entry->table = RelationGetRelid(trigdata->tg_relation);
		/* what changes while it is planned makes it invalid again */
		entry->valid = true;
		parsed = (Node *) expression_planner((Expr *) parsed);
		MemoryContextSwitchTo(entry->context);
		entry->planned = copyObject((Expr *) parsed);
		MemoryContextSwitchTo(old);
	}
	return copyObject(entry->planned);
}

/*
 * quota.row_expression(table, expression): the type of an expression on a row,
 * and the columns that it reads.
 *
 * Errors: those of parsing it; feature_not_supported for what a row alone does
 * not tell.
 */
PG_FUNCTION_INFO_V1(quota_row_expression);

Datum
quota_row_expression(PG_FUNCTION_ARGS)
{
	Relation rel;
	Node *parsed;
	Bitmapset *columns = NULL;
	Datum *names;
	Datum values[2];
	bool nulls[2] = {false, false};
	int count = 0;
	TupleDesc desc;

	quota_argument_check_not_null(fcinfo, 0, "table");
	quota_argument_check_not_null(fcinfo, 1, "expression");
	rel = table_open(PG_GETARG_OID(0), AccessShareLock);
	parsed = parse(rel, text_to_cstring(PG_GETARG_TEXT_PP(1)));
	names = palloc(RelationGetNumberOfAttributes(rel) * sizeof(Datum));
	pull_varattnos(parsed, 1, &columns);
	for (int i = 0; i < RelationGetNumberOfAttributes(rel); i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(RelationGetDescr(rel), i);

		if (bms_is_member(attribute->attnum - FirstLowInvalidHeapAttributeNumber, columns) ||
			/* the whole row */
			(bms_is_member(-FirstLowInvalidHeapAttributeNumber, columns) && !attribute->attisdropped))
			names[count++] = CStringGetTextDatum(NameStr(attribute->attname));
	}
	values[0] = ObjectIdGetDatum(getBaseType(exprType(parsed)));
	values[1] = PointerGetDatum(construct_array(names, count, TEXTOID, -1, false, TYPALIGN_INT));
	table_close(rel, AccessShareLock);
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

static void
relation_changed(Datum arg pg_attribute_unused(), Oid relid)
{
	HASH_SEQ_STATUS status;
	CacheEntry *entry;

	if (cache == NULL)
		return;
	hash_seq_init(&status, cache);
	while ((entry = hash_seq_search(&status)) != NULL)
		if (relid == InvalidOid || entry->table == relid)
			entry->valid = false;
}

static void
function_changed(Datum arg, int cacheid pg_attribute_unused(), uint32 hash pg_attribute_unused())
{
	relation_changed(arg, InvalidOid);
}

static Node *
parse(Relation rel, const char *expression)
{
	ErrorContextCallback callback = {.callback = explain_error, .arg = unconstify(char *, expression)};
	ParseState *pstate = make_parsestate(NULL);
	int guc_level = NewGUCNestLevel();
	ParseNamespaceItem *item;
	Node *node;

	callback.previous = error_context_stack;
	error_context_stack = &callback;
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	pstate->p_sourcetext = expression;
	/* an alias, since a partition is called otherwise than its parent */
	item = addRangeTableEntryForRelation(pstate, rel, AccessShareLock, makeAlias("quota_row", NIL), false, true);
	addNSItemToQuery(pstate, item, false, true, true);
	node = transformExpr(pstate, only_expression(expression), EXPR_KIND_TRIGGER_WHEN);
	assign_expr_collations(pstate, node);
	check_parsed(rel, node);
	node = quota_compat_expand_generated(node, rel);
	free_parsestate(pstate);
	AtEOXact_GUC(true, guc_level);
	error_context_stack = callback.previous;
	return node;
}

/* An expression as written: one, without a name, and nothing after it. */
static Node *
only_expression(const char *expression)
{
	List *statements = raw_parser(expression, RAW_PARSE_PLPGSQL_EXPR);
	SelectStmt *select = (SelectStmt *) linitial_node(RawStmt, statements)->stmt;
	ResTarget *target;

	if (select->distinctClause != NIL || list_length(select->targetList) != 1 || select->fromClause != NIL ||
		select->whereClause != NULL || select->groupClause != NIL || select->havingClause != NULL ||
		select->windowClause != NIL || select->sortClause != NIL || select->limitOffset != NULL ||
		select->limitCount != NULL || select->lockingClause != NIL ||
		(target = linitial_node(ResTarget, select->targetList))->name != NULL || target->indirection != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("\"%s\" is not one expression", expression)));
	return target->val;
}

static void
check_parsed(Relation rel, Node *node)
{
	Bitmapset *columns = NULL;
	int column = -1;

	if (contain_volatile_functions(node))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("volatile functions cannot be used on a row that is counted"),
				 errdetail("A row must come to the same when it goes as when it came.")));
	pull_varattnos(node, 1, &columns);
	column = bms_next_member(columns, column);
	if (column >= 0 && column + FirstLowInvalidHeapAttributeNumber < 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("system columns cannot be used on a row that is counted")));
}

/* Say where the error is: in the expression, not in the statement that runs. */
static void
explain_error(void *expression)
{
	int position = geterrposition();

	if (position > 0)
	{
		errposition(0);
		internalerrposition(position);
		internalerrquery((const char *) expression);
	}
	switch (geterrcode())
	{
		case ERRCODE_UNDEFINED_FUNCTION:
		case ERRCODE_UNDEFINED_OBJECT:
		case ERRCODE_UNDEFINED_TABLE:
			errhint("Name columns alone; qualify functions, types and operators that are not in pg_catalog with their schema.");
	}
}
