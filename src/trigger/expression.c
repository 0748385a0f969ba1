/*
 * expression.c
 *		Expressions on rows of attached tables: amount, counted_when and mark_when.
 *
 * quota_attach parses an expression once, as the owner of the table and with
 * fixed settings, and stores the parsed tree as the body of a function of
 * schema quota whose parameters are the columns. So the expression means the
 * same in every session, and is dumped. The tree is stored and not text, so
 * nothing in the text can end the expression. quota.attached has the names of
 * the columns, in the order of the parameters; src/trigger/follow_ddl.c updates
 * them when columns are renamed.
 *
 * A parameter of the row type would do without the names, but PostgreSQL
 * refuses to add columns to a table, or to change their types, while a
 * function's body reads its row type.
 *
 * Triggers do not call the function: they evaluate the tree of its body on the
 * columns of the row. src/trigger/binding.c caches the planned tree; it runs as
 * the owner of the table.
 *
 * Memory: the caller's context. Locks: those that the parser takes.
 */
#include "postgres.h"

#include "trigger/expression.h"

#include "access/htup_details.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
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
#include "utils/acl.h"
#include "utils/catcache.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "argument.h"
#include "compat.h"
#include "owner.h"
#include "trigger/table.h"

/* The columns that an expression reads, in the order of its parameters. */
typedef struct Columns
{
	Relation rel;
	QuotaExpression which;
	List *names;
	AttrNumber numbers[FUNC_MAX_ARGS];
	Oid types[FUNC_MAX_ARGS];
} Columns;

const char *const quota_expression_names[QUOTA_EXPRESSIONS] = {"amount", "counted_when", "mark_when"};

static Node *parse_argument(FunctionCallInfo fcinfo, Columns *columns);
static Node *parse_expression(Relation rel, const char *expression);
static Node *transform(Relation rel, const char *expression);
static Node *only_expression(const char *expression);
static bool refuse_raw(Node *node, void *context);
static void check_parsed(Node *node, const ParseState *pstate);
static void check_immutable(Node *node);
static void refuse(int code, const char *what, const char *detail, const char *hint);
static bool is_xml(Node *node, void *context);
static void explain_error(void *expression);
static Query *body_of(const QuotaAttached *attached, QuotaExpression which);
static Node *vars_to_params(Node *node, void *columns);
static Node *params_to_vars(Node *node, void *columns);
static Var *column_var(const Columns *columns, const Param *param);
static void create_function(int32 id, QuotaExpression which, Oid owner, Query *body, const Oid *types, List *names);
static Datum names_array(List *names);
static Query *make_body(Node *expression);

/*
 * Plan an expression of an attachment for a table, the attached one or a
 * partition of it. Call it as the owner of the table.
 *
 * Errors: undefined_column and datatype_mismatch where a column was dropped or
 * has another type; object_not_in_prerequisite_state where the function was
 * dropped or altered; feature_not_supported where it is no longer immutable.
 */
Expr *
quota_expression_plan(const QuotaAttached *attached, QuotaExpression which, Relation rel)
{
	Columns columns = {.rel = rel, .which = which, .names = attached->columns[which]};
	Query *body = body_of(attached, which);
	Node *node = params_to_vars((Node *) linitial_node(TargetEntry, body->targetList)->expr, &columns);

	node = (Node *) expression_planner((Expr *) quota_compat_expand_generated(node, rel));
	check_immutable(node);
	return (Expr *) node;
}

/* Copy an expression to attachment id, whose table has another owner. */
void
quota_expression_copy(const QuotaAttached *attached, QuotaExpression which, Oid owner, int32 id)
{
	Oid function = quota_expression_function(attached->id, which);
	Query *body = body_of(attached, which);
	Oid *types;
	int nargs;

	(void) get_func_signature(function, &types, &nargs);
	create_function(id, which, owner, body, types, attached->columns[which]);
}

/* Rename the parameters of an attachment's expressions to the present names of their columns. */
void
quota_expression_rename(const QuotaAttached *attached)
{
	Relation rel = table_open(ProcedureRelationId, RowExclusiveLock);

	for (int which = 0; which < QUOTA_EXPRESSIONS; which++)
	{
		HeapTuple tuple = SearchSysCacheCopy1(PROCOID, ObjectIdGetDatum(quota_expression_function(attached->id, which)));
		int column = Anum_pg_proc_proargnames;
		Datum names = names_array(attached->columns[which]);
		bool isnull = names == (Datum) 0;

		/* the owner may have dropped it: then its rows are refused, but not the rename */
		if (!HeapTupleIsValid(tuple))
			continue;
		tuple = heap_modify_tuple_by_cols(tuple, RelationGetDescr(rel), 1, &column, &names, &isnull);
		CatalogTupleUpdate(rel, &tuple->t_self, tuple);
	}
	table_close(rel, RowExclusiveLock);
	CommandCounterIncrement();
}

/* Find the function of an expression; InvalidOid if there is none. */
Oid
quota_expression_function(int32 id, QuotaExpression which)
{
	Oid schema = get_namespace_oid("quota", false);
	char name[NAMEDATALEN];
	CatCList *list;
	Oid function = InvalidOid;

	snprintf(name, sizeof(name), "attached_%d_%s", id, quota_expression_names[which]);
	list = SearchSysCacheList1(PROCNAMEARGSNSP, CStringGetDatum(name));
	for (int i = 0; i < list->n_members; i++)
	{
		Form_pg_proc proc = (Form_pg_proc) GETSTRUCT(&list->members[i]->tuple);

		if (proc->pronamespace == schema)
			function = proc->oid;
	}
	ReleaseSysCacheList(list);
	return function;
}

/* Drop the functions of an attachment and everything that depends on them. */
void
quota_expression_drop(int32 id)
{
	for (int which = 0; which < QUOTA_EXPRESSIONS; which++)
	{
		ObjectAddress function = {.classId = ProcedureRelationId, .objectId = quota_expression_function(id, which)};

		if (OidIsValid(function.objectId))
			performDeletion(&function, DROP_CASCADE, 0);
	}
}

/*
 * quota.row_expression(table, expression): return the type of an expression and
 * the columns that it reads.
 *
 * Errors: those of the parser; feature_not_supported for an expression that
 * needs more than the row.
 */
PG_FUNCTION_INFO_V1(quota_row_expression);

Datum
quota_row_expression(PG_FUNCTION_ARGS)
{
	Columns columns = {0};
	Node *parsed = parse_argument(fcinfo, &columns);
	Datum values[2] = {ObjectIdGetDatum(getBaseType(exprType(parsed))), PointerGetDatum(strlist_to_textarray(columns.names))};
	bool nulls[2] = {false, false};
	TupleDesc desc;

	table_close(columns.rel, AccessShareLock);
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

/*
 * quota.make_expression(table, expression, attachment, name): store an
 * expression of an attachment. Its parameters are the columns that
 * quota.row_expression returns.
 *
 * name: `amount`, `counted_when` or `mark_when`.
 * Errors: those of quota.row_expression; too_many_columns.
 */
PG_FUNCTION_INFO_V1(quota_make_expression);

Datum
quota_make_expression(PG_FUNCTION_ARGS)
{
	Columns columns = {0};
	Query *body;
	char *name;

	quota_argument_check_not_null(fcinfo, 2, "attachment");
	quota_argument_check_not_null(fcinfo, 3, "name");
	body = make_body(vars_to_params(parse_argument(fcinfo, &columns), &columns));
	name = text_to_cstring(PG_GETARG_TEXT_PP(3));
	for (int which = 0; which < QUOTA_EXPRESSIONS; which++)
		if (strcmp(quota_expression_names[which], name) == 0)
			create_function(PG_GETARG_INT32(2), which, columns.rel->rd_rel->relowner, body, columns.types, columns.names);
	table_close(columns.rel, AccessShareLock);
	PG_RETURN_VOID();
}

/* Open the table in argument 0, parse the expression in argument 1, and list the columns that it reads. */
static Node *
parse_argument(FunctionCallInfo fcinfo, Columns *columns)
{
	Bitmapset *attributes = NULL;
	int attribute = -1;
	Relation rel;
	Node *parsed;

	quota_argument_check_not_null(fcinfo, 0, "table");
	quota_argument_check_not_null(fcinfo, 1, "expression");
	rel = columns->rel = quota_table_open(PG_GETARG_OID(0));
	if (rel->rd_rel->relkind != RELKIND_RELATION && rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a table", RelationGetRelationName(rel))));
	parsed = parse_expression(rel, text_to_cstring(PG_GETARG_TEXT_PP(1)));
	pull_varattnos(parsed, 1, &attributes);
	while ((attribute = bms_next_member(attributes, attribute)) >= 0)
	{
		Form_pg_attribute column = TupleDescAttr(RelationGetDescr(rel), attribute + FirstLowInvalidHeapAttributeNumber - 1);
		int count = list_length(columns->names);

		if (count == FUNC_MAX_ARGS)
			ereport(ERROR,
					(errcode(ERRCODE_TOO_MANY_COLUMNS),
					 errmsg("an expression cannot read more than %d columns", FUNC_MAX_ARGS)));
		columns->numbers[count] = column->attnum;
		columns->types[count] = column->atttypid;
		columns->names = lappend(columns->names, pstrdup(NameStr(column->attname)));
	}
	return parsed;
}

/* Parse and check an expression as the owner of the table. */
static Node *
parse_expression(Relation rel, const char *expression)
{
	ErrorContextCallback callback = {.callback = explain_error, .arg = unconstify(char *, expression)};
	QuotaOwner saved;
	Node *node;

	callback.previous = error_context_stack;
	error_context_stack = &callback;
	quota_owner_begin(&saved, rel->rd_rel->relowner, QUOTA_CODE_OWN);
	node = transform(rel, expression);
	check_immutable(node);
	/* inlining and default arguments may bring in other functions */
	check_immutable((Node *) expression_planner((Expr *) copyObject(node)));
	quota_owner_end(&saved);
	error_context_stack = callback.previous;
	return node;
}

static Node *
transform(Relation rel, const char *expression)
{
	ParseState *pstate = make_parsestate(NULL);
	ParseNamespaceItem *item;
	Node *node;

	pstate->p_sourcetext = expression;
	/* an alias, since a partition has another name than its parent */
	item = addRangeTableEntryForRelation(pstate, rel, AccessShareLock, makeAlias("quota_row", NIL), false, true);
	addNSItemToQuery(pstate, item, false, true, true);
	/* check_parsed refuses with clear messages what a select list allows and a row does not */
	node = transformExpr(pstate, only_expression(expression), EXPR_KIND_SELECT_TARGET);
	assign_expr_collations(pstate, node);
	check_parsed(node, pstate);
	free_parsestate(pstate);
	return node;
}

/* Parse the text, which must be one expression without a name and nothing else. */
static Node *
only_expression(const char *expression)
{
	RawStmt *statement = linitial_node(RawStmt, raw_parser(expression, RAW_PARSE_PLPGSQL_EXPR));
	SelectStmt *select = castNode(SelectStmt, statement->stmt);
	SelectStmt *bare = makeNode(SelectStmt);
	ResTarget *target;

	bare->targetList = select->targetList;
	if (!equal(select, bare) || list_length(select->targetList) != 1 ||
		(target = (ResTarget *) linitial(select->targetList))->name != NULL || target->indirection != NIL ||
		/* "*" and "quota_row.*" are lists of columns */
		(IsA(target->val, ColumnRef) && IsA(llast(((ColumnRef *) target->val)->fields), A_Star)))
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("\"%s\" is not one expression", quota_argument_shown(expression))));
	(void) refuse_raw(target->val, NULL);
	return target->val;
}

/* Refuse subqueries and window functions before their names are looked up. */
static bool
refuse_raw(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, SubLink))
		refuse(ERRCODE_FEATURE_NOT_SUPPORTED, "subqueries", NULL, NULL);
	if (IsA(node, FuncCall) && ((FuncCall *) node)->over != NULL)
		refuse(ERRCODE_WINDOWING_ERROR, "window functions", NULL, NULL);
	return raw_expression_tree_walker(node, refuse_raw, context);
}

static void
check_parsed(Node *node, const ParseState *pstate)
{
	Bitmapset *columns = NULL;
	int column;

	if (pstate->p_hasAggs)
		refuse(ERRCODE_GROUPING_ERROR, "aggregate functions", NULL, NULL);
	if (pstate->p_hasTargetSRFs || expression_returns_set(node))
		refuse(ERRCODE_FEATURE_NOT_SUPPORTED, "set-returning functions", NULL, NULL);
	if (pstate->p_hasSubLinks || pstate->p_hasWindowFuncs)
		refuse(ERRCODE_FEATURE_NOT_SUPPORTED, "subqueries and window functions", NULL, NULL);
	pull_varattnos(node, 1, &columns);
	column = bms_next_member(columns, -1);
	if (column >= 0 && column + FirstLowInvalidHeapAttributeNumber < 0)
		refuse(ERRCODE_FEATURE_NOT_SUPPORTED, "system columns", NULL, NULL);
	if (column >= 0 && column + FirstLowInvalidHeapAttributeNumber == 0)
		refuse(ERRCODE_FEATURE_NOT_SUPPORTED, "the row as a whole", NULL, "Name the columns that count.");
}

/* Refuse what may give another value when the row is updated or deleted. */
static void
check_immutable(Node *node)
{
	if (contain_volatile_functions(node))
		refuse(ERRCODE_FEATURE_NOT_SUPPORTED, "volatile functions",
			   "The expression must have the same value when a row is deleted as when it was inserted.", NULL);
	/* PostgreSQL treats XML as immutable, though its times and binary data depend on settings */
	if (contain_mutable_functions(node) || is_xml(node, NULL))
		refuse(ERRCODE_FEATURE_NOT_SUPPORTED, "stable functions",
			   "The expression must have the same value when a row is deleted as when it was inserted, whatever the time and the settings are.",
			   "Use functions that are IMMUTABLE.");
}

/* Refuse what an expression cannot contain. detail, hint: NULL: none. */
static void
refuse(int code, const char *what, const char *detail, const char *hint)
{
	ereport(ERROR,
			(errcode(code),
			 errmsg("%s cannot be used on a row that is counted", what),
			 detail == NULL ? 0 : errdetail("%s", detail),
			 hint == NULL ? 0 : errhint("%s", hint)));
}

static bool
is_xml(Node *node, void *context)
{
	if (node == NULL)
		return false;
	return IsA(node, XmlExpr) || expression_tree_walker(node, is_xml, context);
}

/* Error callback: point to the expression, not to the statement that runs. */
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

/* Read the body of an expression's function. Its owner may have altered it, so check its shape. */
static Query *
body_of(const QuotaAttached *attached, QuotaExpression which)
{
	HeapTuple tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(quota_expression_function(attached->id, which)));
	Query *query = NULL;

	if (HeapTupleIsValid(tuple))
	{
		Form_pg_proc form = (Form_pg_proc) GETSTRUCT(tuple);
		bool isnull;
		Datum body = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_prosqlbody, &isnull);

		if (!isnull && form->prolang == SQLlanguageId && form->provolatile == PROVOLATILE_IMMUTABLE && !form->prosecdef &&
			!form->proisstrict && !form->proretset && heap_attisnull(tuple, Anum_pg_proc_proconfig, NULL))
			query = stringToNode(TextDatumGetCString(body));
		ReleaseSysCache(tuple);
	}
	if (query == NULL || !IsA(query, Query) || query->commandType != CMD_SELECT || query->rtable != NIL || query->hasSubLinks ||
		query->hasAggs || query->hasWindowFuncs || query->hasTargetSRFs || list_length(query->targetList) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("function quota.attached_%d_%s has been dropped or altered", attached->id, quota_expression_names[which]),
				 errdetail("It holds the %s of feature \"%s\" on table \"%s\".", quota_expression_names[which], attached->feature,
						   get_rel_name(attached->relation)),
				 errhint("Call quota_attach again, or quota_detach.")));
	return query;
}

/* Replace columns by parameters. A column's own collation becomes explicit. */
static Node *
vars_to_params(Node *node, void *context)
{
	const Columns *columns = context;

	if (node == NULL)
		return NULL;
	if (IsA(node, Var))
	{
		Var *var = (Var *) node;
		Param *param = makeNode(Param);
		CollateExpr *collate;

		for (int i = 0; i < list_length(columns->names); i++)
			if (columns->numbers[i] == var->varattno)
				param->paramid = i + 1;
		param->paramkind = PARAM_EXTERN;
		param->paramtype = var->vartype;
		param->paramtypmod = -1;
		param->paramcollid = get_typcollation(var->vartype);
		param->location = -1;
		if (var->varcollid == param->paramcollid)
			return (Node *) param;
		collate = makeNode(CollateExpr);
		collate->arg = (Expr *) param;
		collate->collOid = var->varcollid;
		collate->location = -1;
		return (Node *) collate;
	}
	return expression_tree_mutator(node, vars_to_params, context);
}

/* Replace parameters by columns of the table or of a partition. */
static Node *
params_to_vars(Node *node, void *context)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, Param))
		return (Node *) column_var(context, (Param *) node);
	return expression_tree_mutator(node, params_to_vars, context);
}

static Var *
column_var(const Columns *columns, const Param *param)
{
	bool is_named = param->paramid >= 1 && param->paramid <= list_length(columns->names);
	const char *name = is_named ? list_nth(columns->names, param->paramid - 1) : "";
	Form_pg_attribute attribute = quota_table_attribute(columns->rel, name);

	if (attribute == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" of table \"%s\" does not exist", name, RelationGetRelationName(columns->rel)),
				 errdetail("%s reads it.", quota_expression_names[columns->which]),
				 errhint("Call quota_attach again, or quota_detach.")));
	if (attribute->atttypid != param->paramtype)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" of table \"%s\" is of type %s, and not of type %s", name, RelationGetRelationName(columns->rel),
						format_type_be(attribute->atttypid), format_type_be(param->paramtype)),
				 errdetail("%s reads it.", quota_expression_names[columns->which]),
				 errhint("Call quota_attach again, or quota_detach.")));
	return makeVar(1, attribute->attnum, attribute->atttypid, attribute->atttypmod, attribute->attcollation, 0);
}

/* Store an expression as a function of the table's owner, who alone needs to execute it. */
static void
create_function(int32 id, QuotaExpression which, Oid owner, Query *body, const Oid *types, List *names)
{
	char *name = psprintf("attached_%d_%s", id, quota_expression_names[which]);
	char *revoke = psprintf("REVOKE EXECUTE ON FUNCTION quota.%s FROM PUBLIC", name);
	RawStmt *statement = linitial_node(RawStmt, raw_parser(revoke, RAW_PARSE_DEFAULT));

	(void) ProcedureCreate(name, get_namespace_oid("quota", false), false, false,
						   exprType((Node *) linitial_node(TargetEntry, body->targetList)->expr),
						   owner, SQLlanguageId, F_FMGR_SQL_VALIDATOR, "", NULL, (Node *) body,
						   PROKIND_FUNCTION, false, false, false, PROVOLATILE_IMMUTABLE, PROPARALLEL_UNSAFE,
						   buildoidvector(types, list_length(names)), PointerGetDatum(NULL), PointerGetDatum(NULL),
						   names_array(names),
						   NIL, QUOTA_COMPAT_NO_TRANSFORMS,
						   PointerGetDatum(NULL), InvalidOid, 100, 0);
	CommandCounterIncrement();
	ExecuteGrantStmt(castNode(GrantStmt, statement->stmt));
	CommandCounterIncrement();
}

/* Return the names of parameters as an array; 0: there are none. */
static Datum
names_array(List *names)
{
	return names == NIL ? (Datum) 0 : PointerGetDatum(strlist_to_textarray(names));
}

/* Make the query of RETURN expression, as the parser does. */
static Query *
make_body(Node *expression)
{
	Query *body = makeNode(Query);

	body->commandType = CMD_SELECT;
	body->querySource = QSRC_ORIGINAL;
	body->canSetTag = true;
	body->isReturn = true;
	body->jointree = makeFromExpr(NIL, NULL);
	body->targetList = list_make1(makeTargetEntry((Expr *) expression, 1, NULL, false));
	return body;
}
