/*
 * Rules that every object of the extension keeps, also those that are yet to
 * come: comments, rights, volatility, search_path, dump, collations, overloads.
 */
BEGIN;
SELECT no_plan();

CREATE TEMP VIEW members AS
	SELECT classid, objid, deptype
	FROM pg_depend
	WHERE deptype = 'e' AND refclassid = 'pg_extension'::regclass
		AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'quota');
CREATE TEMP VIEW functions AS
	SELECT p.*, p.oid::regprocedure::text AS signature,
		n.nspname AS schema,
		(SELECT lanname FROM pg_language l WHERE l.oid = p.prolang) AS language
	FROM members m
		JOIN pg_proc p ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid
		JOIN pg_namespace n ON n.oid = p.pronamespace;
CREATE TEMP VIEW tables AS
	SELECT c.*, c.oid::regclass::text AS name
	FROM members m JOIN pg_class c ON m.classid = 'pg_class'::regclass AND m.objid = c.oid
	WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S');
/* From 17 on types of arrays, and of the rows of tables, are members as well: their rights are those of what they are made of. */
CREATE TEMP VIEW types AS
	SELECT t.*
	FROM members m JOIN pg_type t ON m.classid = 'pg_type'::regclass AND m.objid = t.oid
		LEFT JOIN pg_class c ON c.oid = t.typrelid
	WHERE t.typcategory <> 'A' AND COALESCE(c.relkind = 'c', true);

/* The views above find what they are meant to find. */
SELECT cmp_ok((SELECT count(*) FROM functions), '>=', 43::bigint, 'functions are members');
SELECT bag_has($$SELECT name FROM tables$$,
	$$VALUES ('quota.plans'), ('quota.features'), ('quota.plan_limits'), ('quota.plan_features'), ('quota.accounts'),
		('quota.account_users'), ('quota.limit_overrides'), ('quota.usage'), ('quota.keys'), ('quota.reservations'), ('quota.holds'), ('quota.invoices'), ('quota.invoice_lines')$$, 'tables are members');
SELECT bag_has($$SELECT oid::regtype::text FROM types$$,
	$$VALUES ('quota_period'), ('quota_verdict'), ('quota_decision'), ('quota_reservation')$$, 'types are members');
SELECT is((SELECT extrelocatable FROM pg_extension WHERE extname = 'quota'), false, 'not relocatable');

/* Membership and names. */
SELECT is_empty($$
	SELECT oid::regclass FROM pg_class
	WHERE relnamespace = 'quota'::regnamespace AND relkind NOT IN ('i', 'I', 'c', 't')
		AND oid NOT IN (SELECT objid FROM members WHERE classid = 'pg_class'::regclass)
	$$, 'every table in schema quota is a member');
SELECT is_empty($$
	SELECT oid::regprocedure FROM pg_proc
	WHERE (pronamespace = 'quota'::regnamespace OR proname LIKE 'quota\_%')
		AND oid NOT IN (SELECT objid FROM members WHERE classid = 'pg_proc'::regclass)
	$$, 'every function of ours is a member');
SELECT is_empty($$SELECT signature FROM functions WHERE schema <> 'quota' AND proname NOT LIKE 'quota\_%'$$,
	'functions of the API are called quota_*');
SELECT is_empty($$SELECT name FROM tables WHERE relnamespace <> 'quota'::regnamespace$$,
	'tables stand in schema quota');

/* Comments. */
SELECT is_empty($$SELECT signature FROM functions f WHERE COALESCE(obj_description(f.oid, 'pg_proc'), '') = ''$$,
	'every function has a comment');
SELECT is_empty($$SELECT name FROM tables t WHERE COALESCE(obj_description(t.oid, 'pg_class'), '') = ''$$,
	'every table has a comment');
SELECT is_empty($$
	SELECT polrelid::regclass, polname FROM pg_policy
	WHERE polrelid IN (SELECT oid FROM tables) AND COALESCE(obj_description(oid, 'pg_policy'), '') = ''
	$$, 'every policy has a comment');
SELECT is_empty($$
	SELECT oid::regtype FROM types WHERE COALESCE(obj_description(oid, 'pg_type'), '') = ''
	$$, 'every type has a comment');
SELECT isnt(obj_description('quota'::regnamespace, 'pg_namespace'), NULL, 'schema quota has a comment');

/* Rights. */
SELECT is_empty($$
	SELECT signature FROM functions, aclexplode(COALESCE(proacl, acldefault('f', proowner))) WHERE grantee = 0
	$$, 'no function is for PUBLIC');
SELECT is_empty($$
	SELECT oid::regtype
	FROM types, aclexplode(COALESCE(typacl, acldefault('T', typowner)))
	WHERE grantee = 0
	$$, 'no type is for PUBLIC');
SELECT is_empty($$
	SELECT name, privilege_type
	FROM tables, aclexplode(COALESCE(relacl, acldefault((CASE relkind WHEN 'S' THEN 's' ELSE 'r' END)::"char", relowner)))
	WHERE grantee <> relowner
	$$, 'no table is for anybody but its owner');
SELECT is_empty($$
	SELECT name, attname FROM tables t JOIN pg_attribute ON attrelid = t.oid WHERE attacl IS NOT NULL
	$$, 'no column has rights of its own');
SELECT is_empty($$
	SELECT nspname FROM pg_namespace, aclexplode(COALESCE(nspacl, acldefault('n', nspowner)))
	WHERE nspname = 'quota' AND grantee <> nspowner
	$$, 'schema quota is for nobody but its owner');
CREATE ROLE quota_test_nobody;
SELECT is_empty($$SELECT signature FROM functions f WHERE has_function_privilege('quota_test_nobody', f.oid, 'EXECUTE')$$,
	'a new role may call nothing');

/* How functions are declared. */
SELECT is_empty($$SELECT signature FROM functions WHERE proisstrict$$,
	'no function is strict: a NULL result could be taken for a yes');
SELECT is_empty($$
	SELECT signature FROM functions
	WHERE (provolatile = 'v' OR proname IN ('row_expression', 'check_value', 'count_rows', 'recount', 'drift')) <> (proparallel = 'u')
		OR schema <> 'quota' AND provolatile <> 'v' AND proparallel <> 'r'
	$$, 'what is volatile, or runs code of a table''s owner, is parallel unsafe, of the rest what is public parallel restricted');
SELECT set_eq($$SELECT DISTINCT proname::text FROM functions WHERE language = 'c' AND schema = 'quota' AND proparallel = 's'$$,
	$$VALUES ('account_key'), ('default_plan'), ('level_functions'), ('percent_encode')$$, 'what in C reads no setting, and asks not who calls, is parallel safe');
SELECT is_empty($$
	SELECT f.signature, r.signature
	FROM functions f, functions r
	WHERE f.proparallel = 's' AND r.proparallel = 'r' AND (
		f.language = 'plpgsql' AND f.prosrc LIKE '%quota.' || r.proname || '(%'
		OR EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = f.oid AND d.refclassid = 'pg_proc'::regclass AND d.refobjid = r.oid))
	$$, 'nothing that is parallel safe calls what is restricted');
SELECT set_eq($$
	SELECT DISTINCT proname::text, provolatile, proparallel FROM functions
	WHERE proname IN ('quota_consume', 'quota_enforce', 'quota_record', 'quota_refund', 'quota_consume_many', 'quota_reserve', 'quota_commit', 'quota_release',
		'quota_apply', 'quota_attach', 'quota_detach', 'quota_adopt', 'quota_unadopt', 'quota_grant', 'quota_revoke', 'quota_maintain', 'quota_invoice_overage',
		'quota_stripe_event', 'quota_stripe_price')
	$$, $$
	SELECT f, 'v'::"char" AS volatile, 'u'::"char" AS parallel
	FROM unnest('{quota_consume,quota_enforce,quota_record,quota_refund,quota_consume_many,quota_reserve,quota_commit,quota_release,quota_apply,quota_attach,quota_detach,quota_adopt,quota_unadopt,quota_grant,quota_revoke,quota_maintain,quota_invoice_overage,quota_stripe_event,quota_stripe_price}'::text[]) f
	$$, 'what writes is volatile');
SELECT set_eq($$
	SELECT DISTINCT proname::text, provolatile, proparallel FROM functions
	WHERE proname IN ('quota_evaluate', 'quota_has_feature', 'quota_feature', 'quota_require_feature',
		'quota_plan_with', 'quota_export', 'quota_usage', 'quota_status', 'quota_history', 'quota_forecast', 'quota_sponsored',
		'quota_near_limit', 'quota_top', 'quota_totals', 'quota_stats', 'quota_plan_stats', 'quota_search', 'quota_metrics',
		'quota_events', 'quota_events_of', 'quota_invoices', 'quota_stripe_checkout', 'quota_stripe_portal')
	$$, $$
	SELECT f, 's'::"char" AS volatile, 'r'::"char" AS parallel
	FROM unnest('{quota_evaluate,quota_has_feature,quota_feature,quota_require_feature,quota_plan_with,quota_export,
		quota_usage,quota_status,quota_history,quota_forecast,quota_sponsored,quota_near_limit,quota_top,quota_totals,
		quota_stats,quota_plan_stats,quota_search,quota_metrics,quota_events,quota_events_of,quota_invoices,quota_stripe_checkout,quota_stripe_portal}'::text[]) f
	$$, 'what looks is stable');
SELECT is_empty($$SELECT signature FROM functions WHERE prorettype = 'trigger'::regtype AND provolatile <> 'v'$$,
	'trigger functions are volatile');
SELECT is_empty($$SELECT signature FROM functions WHERE language NOT IN ('c', 'plpgsql', 'sql')$$,
	'functions are in C, PL/pgSQL or SQL');
SELECT is_empty($$
	SELECT signature FROM functions
	WHERE (language = 'plpgsql' OR prosecdef) AND NOT COALESCE('search_path=pg_catalog, pg_temp' = ANY (proconfig), false)
	$$, 'every function in PL/pgSQL or with the owner''s rights sets search_path');
SELECT is_empty($$SELECT signature FROM functions WHERE language = 'sql' AND prosqlbody IS NULL$$,
	'functions in SQL have a parsed body, whose names are bound');
SELECT set_eq($$SELECT signature FROM functions WHERE prosecdef AND NOT (schema = 'quota' AND proname LIKE 'quota\_%')$$, $$VALUES
	('quota.forget_tables()'), ('quota.check_feature()'), ('quota.audit()'), ('quota.audit_usage()'), ('quota.check_publications()'),
	('quota.visible_accounts()'), ('quota.make_ledger_months()'), ('quota.drop_ledger_months(interval)')$$,
	'no others are SECURITY DEFINER than the twins');

/* The gate: each function of the API asks it, or is a twin's, or an overload. */
SELECT is_empty($$SELECT signature FROM functions WHERE schema <> 'quota' AND prosecdef$$, 'no public function has the rights of its owner');
SELECT is_empty($$
	SELECT signature FROM functions f
	WHERE schema <> 'quota' AND language = 'c' AND prosrc = 'quota_gate'
		AND NOT EXISTS (SELECT FROM functions t WHERE t.schema = 'quota' AND t.proname = f.proname AND t.proargtypes = f.proargtypes
			AND t.proretset = f.proretset AND t.prorettype = f.prorettype)
	$$, 'what the generic gate serves has a twin');
SELECT is_empty($$SELECT signature FROM functions WHERE schema <> 'quota' AND language <> 'c' AND NOT (language = 'sql' AND proargnames[1] ~ '_(uuid|id)$')$$,
	'public functions are C, or overloads of them');
SELECT set_eq($$SELECT DISTINCT proname::text FROM functions WHERE schema <> 'quota'$$,
	$$SELECT function FROM quota.level_functions() UNION VALUES ('quota_grant'), ('quota_revoke')$$, 'the gate has a rule for each public function, and for no others');
SELECT is_empty($$SELECT signature FROM functions WHERE language = 'plpgsql' AND prosrc ~ '(?<!quota\.)\mquota_\w+\('$$, 'no body names a function outside schema quota');
SELECT is_empty($$SELECT signature FROM functions, regexp_matches(prosrc, '\m(public|"[^"]*")\.', 'g') m WHERE language = 'plpgsql'$$, 'nor any object of the API''s schema');
SELECT is_empty($$SELECT signature FROM functions WHERE language IN ('plpgsql', 'sql')
	AND regexp_replace(prosrc, '\mE''([^''\\]|\\.)*''', '', 'g') LIKE '%\\%'$$, 'no body has a backslash that standard_conforming_strings of the caller could change');
SELECT is_empty($$SELECT signature FROM functions WHERE '' = ANY (proargnames) OR pronargs > 0 AND proargnames IS NULL$$,
	'every argument has a name');

/* Dump and restore. */
SELECT set_eq(
	$$SELECT unnest(extconfig)::regclass::text AS name, regexp_replace(unnest(extcondition), '^WHERE EXISTS .*c.relpersistence OPERATOR\(pg_catalog.<>\) ''t''\)$', 'but of temporary tables') AS condition
	FROM pg_extension WHERE extname = 'quota'$$,
	$$SELECT name, CASE WHEN name IN ('quota.attached', 'quota.charged_rows') THEN 'but of temporary tables'
		WHEN name = 'quota.levels' THEN 'WHERE role::oid IN (SELECT r.oid FROM pg_catalog.pg_roles r)' ELSE '' END AS condition
	FROM tables WHERE relkind <> 'v' AND relkind <> 'm'$$,
	'all rows of every table and sequence are dumped, but those of temporary tables and levels of roles that are gone');

/* Keys. */
SELECT is_empty($$SELECT name FROM tables t WHERE relkind = 'r'
	AND NOT EXISTS (SELECT FROM pg_index WHERE indrelid = t.oid AND indisprimary)$$, 'every table has a primary key');
SELECT is_empty($$SELECT name FROM tables t WHERE relkind = 'p' AND EXISTS (SELECT FROM pg_index WHERE indrelid = t.oid)$$,
	'the whole of a partitioned table has no index, which could not be restored with its partitions');
SELECT is_empty($$
	SELECT name, attname
	FROM tables t JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND atttypid = 'text'::regtype
	WHERE attcollation <> '"C"'::regcollation
		AND (EXISTS (SELECT FROM pg_index WHERE indrelid = t.oid AND attnum = ANY (indkey))
			OR EXISTS (SELECT FROM pg_constraint WHERE conrelid = t.oid AND contype IN ('p', 'u', 'f') AND attnum = ANY (conkey)))
	$$, 'every key column is COLLATE "C"');
SELECT is_empty($$
	SELECT name, attname
	FROM tables t JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0
	WHERE attname IN ('account', 'plan', 'next_plan', 'feature', 'sponsor', 'pool', 'user_id')
		AND (atttypid <> 'text'::regtype OR attcollation <> '"C"'::regcollation)
	$$, 'accounts, plans and features are text COLLATE "C" wherever they stand');

SELECT is_empty($$
	SELECT r, l.privilege FROM unnest('{user,reader,monitor,app,admin}'::text[]) r, quota.grants(r) l (privilege) WHERE l.privilege LIKE '%stripe_secrets%' OR l.privilege LIKE '%ALL TABLES%'
	$$, 'the secrets are for no level');

/* Every function whose first argument is an account, three times. */
CREATE TEMP VIEW overloads AS
	SELECT proname::text AS name, pronargs,
		array_agg(proargnames[1] || ' ' || proargtypes[0]::regtype ORDER BY proargnames[1]) AS first_arguments,
		count(DISTINCT (proargnames[2:], (proargtypes::oid[])[1:], pronargdefaults, prorettype, proretset, provolatile, proparallel)) AS ways
	FROM functions
	WHERE schema <> 'quota' AND (proargnames[1] IN ('account', 'account_uuid', 'account_id')
		OR proname IN ('quota_evaluate', 'quota_consume', 'quota_enforce', 'quota_consume_many', 'quota_record',
			'quota_refund', 'quota_reserve', 'quota_has_feature', 'quota_feature', 'quota_require_feature',
			'quota_usage', 'quota_status', 'quota_history', 'quota_forecast'))
	GROUP BY proname, pronargs;
SELECT is_empty($$SELECT name, first_arguments FROM overloads
	WHERE first_arguments <> '{"account text","account_id bigint","account_uuid uuid"}'$$,
	'every function of an account takes text, uuid and bigint');
SELECT is_empty($$SELECT name, pronargs FROM overloads WHERE ways <> 1 AND name <> 'quota_set_pool'$$,
	'the three do not differ in anything else');
SELECT set_eq($$SELECT DISTINCT name FROM overloads$$,
	$$VALUES ('quota_evaluate'), ('quota_consume'), ('quota_enforce'), ('quota_consume_many'), ('quota_record'),
		('quota_refund'), ('quota_reserve'), ('quota_has_feature'), ('quota_feature'), ('quota_require_feature'), ('quota_set_plan'),
		('quota_start_trial'), ('quota_cancel'), ('quota_suspend'), ('quota_activate'), ('quota_preview'), ('quota_set_override'),
		('quota_clear_override'), ('quota_reset'), ('quota_unsponsor'), ('quota_set_pool'), ('quota_add_user'), ('quota_remove_user'),
		('quota_usage'), ('quota_status'), ('quota_history'), ('quota_forecast'), ('quota_rates'), ('quota_rate_clear'), ('quota_events'), ('quota_invoices'),
		('quota_stripe_checkout'), ('quota_stripe_portal')$$,
	'those are the functions of an account');
SELECT set_eq($$
	SELECT DISTINCT proname::text, pg_get_function_arguments(f.oid) FROM functions f
	WHERE schema <> 'quota' AND proargnames[1] = 'account' AND NOT (proname = 'quota_evaluate' AND pronargs = 1)
	$$, $$VALUES
	('quota_evaluate', 'account text, feature text, n bigint DEFAULT 1'),
	('quota_consume', 'account text, feature text, n bigint DEFAULT 1, key text DEFAULT NULL::text, metadata jsonb DEFAULT NULL::jsonb'),
	('quota_enforce', 'account text, feature text, n bigint DEFAULT 1, key text DEFAULT NULL::text, metadata jsonb DEFAULT NULL::jsonb'),
	('quota_record', 'account text, feature text, n bigint DEFAULT 1, key text DEFAULT NULL::text, metadata jsonb DEFAULT NULL::jsonb'),
	('quota_refund', 'account text, feature text, n bigint DEFAULT 1, at timestamp with time zone DEFAULT NULL::timestamp with time zone'),
	('quota_consume_many', 'account text, amounts jsonb'),
	('quota_reserve', 'account text, feature text, n bigint, ttl interval DEFAULT ''00:05:00''::interval, key text DEFAULT NULL::text'),
	('quota_has_feature', 'account text, feature text'),
	('quota_feature', 'account text, feature text'),
	('quota_require_feature', 'account text, feature text'),
	('quota_set_plan', 'account text, plan text, duration interval DEFAULT NULL::interval, at_period_end boolean DEFAULT false'),
	('quota_start_trial', 'account text, plan text, duration interval'),
	('quota_cancel', 'account text, at_period_end boolean DEFAULT false'),
	('quota_suspend', 'account text, reason text DEFAULT NULL::text'),
	('quota_activate', 'account text'),
	('quota_preview', 'account text, plan text'),
	('quota_set_override', 'account text, feature text, period quota_period, usage_limit bigint, expires_at timestamp with time zone DEFAULT NULL::timestamp with time zone, reason text DEFAULT NULL::text'),
	('quota_clear_override', 'account text, feature text, period quota_period DEFAULT NULL::quota_period'),
	('quota_reset', 'account text, feature text DEFAULT NULL::text'),
	('quota_unsponsor', 'account text'),
	('quota_set_pool', 'account text, pool text'),
	('quota_add_user', 'account text, user_id text, role text DEFAULT ''MEMBER''::text'),
	('quota_remove_user', 'account text, user_id text'),
	('quota_usage', 'account text'),
	('quota_status', 'account text, feature text DEFAULT NULL::text'),
	('quota_history', 'account text, feature text DEFAULT NULL::text, period quota_period DEFAULT NULL::quota_period, '
		'since timestamp with time zone DEFAULT NULL::timestamp with time zone, until timestamp with time zone DEFAULT NULL::timestamp with time zone'),
	('quota_forecast', 'account text, feature text'),
	('quota_rates', 'account text'),
	('quota_rate_clear', 'account text, feature text DEFAULT NULL::text'),
	('quota_events', 'account text, since timestamp with time zone DEFAULT NULL::timestamp with time zone, until timestamp with time zone DEFAULT NULL::timestamp with time zone, '
		'kind text DEFAULT NULL::text, n integer DEFAULT 100'),
	('quota_invoices', 'account text, since timestamp with time zone DEFAULT NULL::timestamp with time zone, until timestamp with time zone DEFAULT NULL::timestamp with time zone'),
	('quota_stripe_checkout', 'account text, plan text, success_url text, cancel_url text DEFAULT NULL::text, billing_interval text DEFAULT NULL::text, options jsonb DEFAULT NULL::jsonb'),
	('quota_stripe_portal', 'account text, return_url text, options jsonb DEFAULT NULL::jsonb')
	$$, 'their arguments are those of the contract');
SELECT set_eq($$SELECT pg_get_function_arguments(oid) FROM functions WHERE schema <> 'quota' AND proname = 'quota_sponsor'$$,
	$$VALUES ('sponsor text, account text, plan text'), ('sponsor_uuid uuid, account_uuid uuid, plan text'), ('sponsor_id bigint, account_id bigint, plan text')$$,
	'arguments of quota_sponsor, of two accounts');
SELECT set_eq($$SELECT pg_get_function_arguments(oid) FROM functions WHERE schema <> 'quota' AND proname = 'quota_set_pool'$$,
	$$VALUES ('account text, pool text'), ('account_uuid uuid, pool_uuid uuid'), ('account_id bigint, pool_id bigint')$$,
	'arguments of quota_set_pool');
SELECT is(pg_get_function_arguments('quota_attach'::regproc),
	'"table" regclass, feature text, account_column text, amount_column text DEFAULT NULL::text, '
	'on_block text DEFAULT ''raise''::text, counted_when text DEFAULT NULL::text, status_column text DEFAULT NULL::text, '
	'blocked_status text DEFAULT NULL::text, message_column text DEFAULT NULL::text, backfill boolean DEFAULT true, time_column text DEFAULT NULL::text, mark_when text DEFAULT NULL::text',
	'arguments of quota_attach');
SELECT is(pg_get_function_arguments('quota_reconcile'::regproc), '"table" regclass, feature text, repair boolean DEFAULT false', 'arguments of quota_reconcile');

/* Types. */
SELECT results_eq($$
	SELECT attname::text COLLATE "default", format_type(atttypid, atttypmod) FROM pg_attribute
	WHERE attrelid = 'quota_decision'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum
	$$, $$VALUES
	('account', 'text'), ('feature', 'text'), ('plan', 'text'), ('period', 'quota_period'), ('decision', 'quota_verdict'),
	('allowed', 'boolean'), ('used', 'bigint'), ('usage_limit', 'bigint'), ('remaining', 'bigint'),
	('ratio', 'double precision'), ('overage', 'bigint'), ('period_start', 'timestamp with time zone'),
	('period_end', 'timestamp with time zone'), ('retry_after', 'interval'), ('reason', 'text'), ('message', 'text')
	$$, 'columns of quota_decision');
SELECT results_eq($$
	SELECT attname::text COLLATE "default", format_type(atttypid, atttypmod) FROM pg_attribute
	WHERE attrelid = 'quota_reservation'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum
	$$, $$
	(SELECT 'id' COLLATE "default", 'bigint')
	UNION ALL
	(SELECT attname::text COLLATE "default", format_type(atttypid, atttypmod) FROM pg_attribute
	WHERE attrelid = 'quota_decision'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum)
	$$, 'columns of quota_reservation: the id, and those of quota_decision');
SELECT is(enum_range(NULL::quota_period)::text, '{second,minute,hour,day,week,month,year,lifetime,cycle}', 'periods');
SELECT is(enum_range(NULL::quota_verdict)::text, '{ALLOW,ALLOW_WITH_WARNING,BLOCK}', 'verdicts');

/* Row-level security and the audit log. */
SELECT is_empty($$
	SELECT t.name FROM tables t JOIN pg_attribute a ON a.attrelid = t.oid AND a.attname = 'account' AND t.relkind IN ('r', 'p')
	WHERE NOT (t.relrowsecurity AND (SELECT count(*) FROM pg_policy WHERE polrelid = t.oid) = CASE WHEN relispartition THEN 0
		WHEN t.name = ANY ('{quota.accounts,quota.limit_overrides,quota.usage,quota.reservations,quota.holds,quota.events,quota.alerts,quota.invoices,quota.invoice_lines}') THEN 3 WHEN t.name = 'quota.audit_log' THEN 1 ELSE 2 END)
	$$, 'every table with rows of an account is under row-level security; partitions by themselves show nothing, and the audit log nothing to members');
SELECT set_eq($$
	SELECT tgrelid::regclass::text, tgname::text, tgenabled FROM pg_trigger WHERE tgfoid IN ('quota.audit'::regproc, 'quota.audit_usage'::regproc)
	$$, $$
	SELECT 'quota.' || t AS a, n AS b, 'O'::"char" AS c
	FROM unnest('{plans,features,plan_limits,plan_features,accounts,account_users,limit_overrides,invoices,invoice_lines,stripe_prices,stripe_customers,levels}'::text[]) t, unnest('{audit,audit_truncate}'::text[]) n
	UNION ALL SELECT 'quota.usage', n, 'O' FROM unnest('{audit_insert,audit_update,audit_delete,audit_truncate}'::text[]) n
	$$, 'changes are recorded where they are made, not where they are replayed');

/* What the caches of the backends hang on. */
SELECT set_eq($$
	SELECT tgrelid::regclass::text, tgname::text, tgenabled, pg_get_triggerdef(t.oid) ~ 'AFTER (INSERT OR DELETE OR UPDATE|TRUNCATE)' AS d
	FROM pg_trigger t WHERE tgfoid = 'quota.catalog_changed'::regproc
	$$, $$
	SELECT 'quota.' || t AS a, n AS b, 'A'::"char" AS c, true AS d
	FROM unnest('{plans,features,plan_limits,plan_features}'::text[]) t,
		unnest('{catalog_changed,catalog_emptied}'::text[]) n
	UNION ALL SELECT 'quota.accounts', 'pool_changed', 'A', false
	UNION ALL SELECT 'quota.attached', n, 'A', true FROM unnest('{attached_changed,attached_emptied}'::text[]) n
	$$, 'changes of what is cached are told ALWAYS');
SELECT set_eq($$
	SELECT tgrelid::regclass::text, tgname::text, tgenabled, regexp_replace(pg_get_triggerdef(t.oid), '.* (AFTER .*) ON .* FOR EACH (ROW|STATEMENT) .*', '\1 \2') AS d
	FROM pg_trigger t WHERE tgfoid = 'quota.entitlement_changed'::regproc
	$$, $$
	SELECT 'quota.' || t AS a, n AS b, 'A'::"char" AS c, d
	FROM unnest('{accounts,limit_overrides}'::text[]) t,
		(VALUES ('entitlement_changed', 'AFTER INSERT OR DELETE OR UPDATE ROW'), ('entitlement_emptied', 'AFTER TRUNCATE STATEMENT')) v (n, d)
	$$, 'and so are changes of what accounts amount to');
SELECT is((SELECT amname::text FROM pg_class c JOIN pg_am a ON a.oid = c.relam WHERE c.oid = 'quota.usage'::regclass), 'heap',
	'usage is a heap');
SELECT ok('fillfactor=70' = ANY (reloptions), 'pages of usage keep room for HOT')
FROM pg_class WHERE oid = 'quota.usage'::regclass;

SELECT * FROM finish();
ROLLBACK;
