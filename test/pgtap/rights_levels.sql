/*
 * The levels: every public function, by every level, for an account of the user,
 * one that it sponsors, another's, and one that does not exist; and every function
 * of schema quota. The calls are made from the catalogue: a function that has no
 * line in `expected` fails the test, and so does a line without a function.
 */
BEGIN;
SELECT no_plan();
\ir _helpers.sql
SET LOCAL quota.now = '2026-03-10 12:00+00';
SET LOCAL client_min_messages = warning;

SELECT quota_apply('{
	"features": {"report": {"kind": "counter", "ledger": true}, "call": {"kind": "rate"}, "export": {"kind": "flag"}},
	"plans": {
		"free": {"default": true, "limits": {"report": {"month": {"limit": 1000000}}, "call": {"day": {"limit": 1000000}}}, "features": {"export": true}},
		"pro": {"price": 9, "limits": {"report": {"month": {"limit": 1000000, "on_limit": "charge"}}}, "features": {"export": true}}}}') \g /dev/null

/* ann is a member of 1, which sponsors 2; bob of 3; nobody has heard of 4. As uuid they end in the same digit. */
CREATE FUNCTION uuid_of(n int) RETURNS uuid LANGUAGE sql AS $$SELECT ('6f1c0a9e-8f4e-4e0f-9d5a-0c2b9a7d3e0' || n)::uuid$$;
CREATE FUNCTION prepare(own text, sponsored text, others text) RETURNS void LANGUAGE sql AS $$
	SELECT quota_add_user(own, 'ann'), quota_sponsor(own, sponsored, 'free'), quota_add_user(others, 'bob');
	SELECT quota_set_override(a, 'report', 'month', 900000), quota_consume(a, 'report') FROM unnest(ARRAY[own, sponsored, others]) a;
$$;
SELECT prepare('1', '2', '3'), prepare(uuid_of(1)::text, uuid_of(2)::text, uuid_of(3)::text) \g /dev/null
CREATE TABLE mine (account text);
GRANT ALL ON mine TO PUBLIC;

CREATE ROLE quota_test_none;
DO $$
DECLARE
	level text;
BEGIN
	FOREACH level IN ARRAY '{user,reader,monitor,app,admin}'::text[] LOOP
		EXECUTE 'CREATE ROLE quota_test_' || level;
		PERFORM quota_grant('quota_test_' || level, level);
	END LOOP;
END $$;
GRANT USAGE ON SCHEMA quota, public TO quota_test_none, quota_test_user, quota_test_app;

/*
 * What each level gets: all: for any account; member: for accounts that its user
 * is a member of; visible: for those that they sponsor too; rows: a set, without
 * the rows of others (for levels after "all": of everybody); ok: no account is
 * concerned. The levels that are not named are refused.
 */
CREATE TEMP TABLE expected (function text PRIMARY KEY, how text, restricted text[], unrestricted text[]);
COPY expected FROM stdin;
quota_consume	member	{user}	{app,admin}
quota_enforce	member	{user}	{app,admin}
quota_record	member	{}	{app,admin}
quota_refund	member	{}	{app,admin}
quota_consume_many	member	{}	{app,admin}
quota_reserve	member	{}	{app,admin}
quota_commit	ok	{}	{app,admin}
quota_release	ok	{}	{app,admin}
quota_evaluate	visible	{user,reader}	{monitor,app,admin}
quota_has_feature	visible	{user,reader}	{monitor,app,admin}
quota_feature	visible	{user,reader}	{monitor,app,admin}
quota_require_feature	visible	{user,reader}	{monitor,app,admin}
quota_usage	visible	{user,reader}	{monitor,app,admin}
quota_status	visible	{user,reader}	{monitor,app,admin}
quota_history	visible	{user,reader}	{monitor,app,admin}
quota_rates	visible	{reader}	{monitor,app,admin}
quota_forecast	visible	{reader}	{monitor,app,admin}
quota_sponsored	visible	{reader}	{monitor,app,admin}
quota_events	visible	{reader}	{monitor,app,admin}
quota_invoices	visible	{reader}	{monitor,app,admin}
quota_preview	visible	{reader}	{monitor,admin}
quota_accounts_of	ok	{user,reader}	{app,admin}
quota_events_of	ok	{reader}	{monitor,app,admin}
quota_near_limit	ok	{reader}	{monitor,admin}
quota_top	ok	{reader}	{monitor,admin}
quota_search	ok	{reader}	{monitor,admin}
quota_plan_with	ok	{}	{user,reader,monitor,app,admin}
quota_export	ok	{}	{reader,monitor,admin}
quota_preset	ok	{}	{reader,monitor,admin}
quota_totals	ok	{}	{monitor,admin}
quota_stats	ok	{}	{monitor,admin}
quota_plan_stats	ok	{}	{monitor,admin}
quota_metrics	ok	{}	{monitor,admin}
quota_rate_stats	ok	{}	{monitor,admin}
quota_stripe_event	ok	{}	{app,admin}
quota_stripe_checkout	visible	{}	{app,admin}
quota_stripe_portal	visible	{}	{app,admin}
quota_stripe_price	ok	{}	{admin}
quota_apply	ok	{}	{admin}
quota_set_plan	visible	{}	{admin}
quota_start_trial	visible	{}	{admin}
quota_cancel	visible	{}	{admin}
quota_suspend	visible	{}	{admin}
quota_activate	visible	{}	{admin}
quota_set_override	visible	{}	{admin}
quota_clear_override	visible	{}	{admin}
quota_reset	visible	{}	{admin}
quota_rate_clear	visible	{}	{admin}
quota_sponsor	visible	{}	{admin}
quota_unsponsor	visible	{}	{admin}
quota_set_pool	visible	{}	{admin}
quota_add_user	visible	{}	{admin}
quota_remove_user	visible	{}	{admin}
quota_invoice_overage	ok	{}	{admin}
quota_maintain	ok	{}	{admin}
quota_attach	ok	{}	{admin}
quota_detach	ok	{}	{admin}
quota_reconcile	ok	{}	{admin}
quota_adopt	ok	{}	{admin}
quota_unadopt	ok	{}	{admin}
quota_grant	ok	{}	{}
quota_revoke	ok	{}	{}
\.

CREATE TEMP VIEW functions AS
	SELECT p.oid, p.proname::text AS name, p.pronargs, p.proargtypes::oid[] AS types, p.proargnames AS names, n.nspname AS schema, p.prorettype, p.prokind
	FROM pg_depend d JOIN pg_proc p ON p.oid = d.objid JOIN pg_namespace n ON n.oid = p.pronamespace
	WHERE d.classid = 'pg_proc'::regclass AND d.deptype = 'e' AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'quota');
SELECT set_eq($$SELECT DISTINCT name FROM functions WHERE schema = 'public'$$, $$SELECT function FROM expected$$,
	'the test expects something of each public function');
SELECT set_eq($$SELECT function, level FROM quota.level_functions()$$, $$SELECT function, level FROM expected, unnest(restricted || unrestricted) level$$,
	'EXECUTE is granted accordingly');

/* A value for an argument, in SQL; that of an account is put in for %s. */
CREATE FUNCTION argument(name text, type oid) RETURNS text LANGUAGE sql AS $$
	SELECT CASE
		WHEN name IN ('account', 'account_uuid', 'account_id', 'sponsor', 'sponsor_uuid', 'sponsor_id') AND type IN ('text'::regtype, 'uuid'::regtype, 'bigint'::regtype)
			THEN '%s'
		WHEN name IN ('pool', 'pool_uuid', 'pool_id') THEN 'NULL::' || type::regtype
		WHEN name = 'feature' THEN quote_literal('report')
		WHEN name = 'plan' THEN quote_literal('pro')
		WHEN name = 'user_id' THEN quote_literal('ann')
		WHEN name = 'period' THEN quote_literal('month') || '::quota_period'
		WHEN name = 'amounts' THEN quote_literal('{"report": 1}')
		WHEN name = 'document' THEN 'public.quota_export()'
		WHEN name = 'role' THEN quote_literal('MEMBER')
		WHEN name = 'level' THEN quote_literal('app')
		WHEN name = 'name' THEN quote_literal('jobs')
		WHEN name = 'table' THEN quote_literal('mine') || '::regclass'
		WHEN name IN ('success_url', 'return_url', 'cancel_url') THEN quote_literal('https://x.example')
		WHEN type = 'bigint'::regtype THEN '1::bigint'
		WHEN type = 'integer'::regtype THEN '1'
		WHEN type = 'text'::regtype THEN 'NULL::text'
		WHEN type = 'boolean'::regtype THEN 'false'
		WHEN type = 'interval'::regtype THEN quote_literal('1 day') || '::interval'
		WHEN type = 'float8'::regtype THEN '0.5::float8'
		ELSE 'NULL::' || type::regtype
	END
$$;

/*
 * What comes of a call at a level: "ok", also where an error says that the work
 * was begun, or 42501. All is undone.
 */
CREATE FUNCTION outcome(level text, call text, OUT state text, OUT message text) LANGUAGE plpgsql AS $$
BEGIN
	BEGIN
		/* so that the level alone decides */
		IF call ~ '''mine''' THEN
			EXECUTE format('ALTER TABLE mine OWNER TO %I', 'quota_test_' || level);
		END IF;
		PERFORM set_config('role', 'quota_test_' || level, true);
		EXECUTE call;
		RAISE EXCEPTION SQLSTATE 'XXYYZ';
	EXCEPTION WHEN OTHERS THEN
		state := CASE SQLSTATE WHEN '42501' THEN '42501' ELSE 'ok' END;
		message := CASE SQLSTATE WHEN 'XXYYZ' THEN '' ELSE SQLERRM END;
	END;
END $$;

CREATE TEMP TABLE calls AS
	SELECT f.oid::regprocedure::text AS signature, f.name, f.names[1] IN ('account', 'account_uuid', 'account_id', 'sponsor', 'sponsor_uuid', 'sponsor_id') AS of_account,
		f.types[0] AS key_type,
		format('SELECT * FROM public.%I(%s)', f.name, COALESCE((
			SELECT string_agg(argument(f.names[i + 1], f.types[i]), ', ' ORDER BY i) FROM generate_series(0, f.pronargs - 1) i), '')) AS call
	FROM functions f
	WHERE f.schema = 'public';
CREATE FUNCTION key(n int, type oid) RETURNS text LANGUAGE sql AS $$
	SELECT CASE type WHEN 'uuid'::regtype THEN quote_literal(uuid_of(n)) || '::uuid' WHEN 'bigint'::regtype THEN n || '::bigint' ELSE quote_literal(n) END
$$;

SET LOCAL "quota.user" = 'ann';
CREATE TEMP TABLE matrix AS
	SELECT c.signature, c.name, l.level, a.n, whose, c.of_account, e.how, e.restricted, e.unrestricted, o.state, o.message
	FROM calls c
		JOIN expected e ON e.function = c.name
		CROSS JOIN unnest('{none,user,reader,monitor,app,admin}'::text[]) l (level)
		JOIN (VALUES (1, 'own'), (2, 'sponsored'), (3, 'foreign'), (4, 'unknown')) a (n, whose) ON c.of_account OR a.n = 1
		/* the second account of quota_sponsor and quota_sponsor_id is another one */
		CROSS JOIN LATERAL outcome(l.level, regexp_replace(replace(regexp_replace(c.call, '%s', key(a.n, c.key_type)), '%s', key(4, c.key_type)), '\mquota_sponsor\(''4''', 'quota_sponsor(''5''')) o;
SELECT cmp_ok((SELECT count(*) FROM matrix), '>', 2000::bigint, 'calls were made');

SELECT is_empty($$
	SELECT signature, level, whose, state, message
	FROM matrix
	WHERE state IS DISTINCT FROM CASE
		WHEN level = ANY (unrestricted) THEN 'ok'
		WHEN level <> ALL (restricted) THEN '42501'
		WHEN NOT of_account OR n = 1 OR n = 2 AND how = 'visible' THEN 'ok'
		ELSE '42501'
	END
	ORDER BY signature, level, n
	$$, 'each level may call what it may, for the accounts that it may');
SELECT is_empty($$
	SELECT a.signature, a.level, a.message, b.message
	FROM matrix a JOIN matrix b ON b.signature = a.signature AND b.level = a.level AND b.n = 4
	WHERE a.n = 3 AND a.state = '42501' AND regexp_replace(a.message, '"[^"]*"', '') <> regexp_replace(b.message, '"[^"]*"', '')
	$$, 'another''s account is refused in the same words as one that does not exist');
SELECT is_empty($$SELECT signature, level, message FROM matrix WHERE level <> 'none' AND state = 'ok' AND message LIKE '%permission denied%'$$, 'no right is missing within');

/* Sets leave out the rows of others. */
CREATE FUNCTION accounts_in(level text, query text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(DISTINCT a, ' ' ORDER BY a) FROM as_role('quota_test_' || level, 'SELECT account FROM ' || query || ' WHERE account !~ ''-''') a
$$;
SELECT is(accounts_in(level, query), CASE level WHEN 'reader' THEN mine WHEN 'user' THEN '42501' ELSE everybodys END, level || ': ' || query)
FROM unnest('{user,reader,monitor,admin}'::text[]) level, (VALUES
	('quota_near_limit(0)', '1 2', '1 2 3'), ('quota_top(''report'', 100)', '1 2', '1 2 3'), ('quota_search('''', 100)', '1 2', '1 2 3'),
	('quota_sponsored(''1'')', '2', '2')) v (query, mine, everybodys);
SELECT quota_sponsor('2', '5', 'free') \g /dev/null
SELECT is(accounts_in('reader', 'quota_sponsored(''2'')'), NULL, 'what a sponsored account sponsors is not the user''s');
SELECT is(accounts_in('monitor', 'quota_sponsored(''2'')'), '5', 'level monitor sees it');
SELECT quota_add_user('3', 'ann'), quota_remove_user('3', 'ann'), quota_add_user('1', 'bob') \g /dev/null
SELECT is(accounts_in(level, 'quota_accounts_of(''bob'')'), want, level || ': the accounts of another user')
FROM (VALUES ('user', NULL), ('reader', '1'), ('app', '1 3'), ('admin', '1 3'), ('monitor', '42501')) v (level, want);
SELECT is(accounts_in(level, 'quota_accounts_of(''ann'')'), '1', level || ': the user''s own') FROM unnest('{user,reader,app,admin}'::text[]) level;

/* Without a user there is no account. */
SET LOCAL "quota.user" = '';
SELECT is(try_as('quota_test_' || level, q), '42501', format('without a user, %s: %s', level, q))
FROM unnest('{user,reader}'::text[]) level, unnest('{"SELECT quota_usage(''1'')","SELECT quota_evaluate(''1'', ''report'')","SELECT quota_consume(''1'', ''report'')"}'::text[]) q;
SELECT is(accounts_in('reader', 'quota_near_limit(0)'), NULL, 'without a user: no rows');
SET LOCAL request.jwt.claims = '{"sub": "ann"}';
SELECT is(try_as('quota_test_user', $$SELECT quota_consume('1', 'report')$$), 'ok', 'the user of a token');
SET LOCAL request.jwt.claims = '';
SET LOCAL "quota.user" = 'ann';

/* The ledger: what the caller gave to a call is not for level monitor. */
SELECT quota_consume('1', 'report', metadata => '{"secret": 1}'), quota_consume('3', 'report', metadata => '{"secret": 3}') \g /dev/null
SELECT is((SELECT string_agg(DISTINCT m, ' ') FROM as_role('quota_test_' || level, format('SELECT metadata FROM %s WHERE metadata IS NOT NULL', query)) m), want, level || ': ' || query)
FROM (VALUES
	('monitor', 'quota_events(''1'')', NULL), ('monitor', 'quota_events_of(''ann'')', NULL), ('monitor', 'quota.events', '42501'),
	('reader', 'quota_events(''1'')', '{"secret": 1}'), ('reader', 'quota_events_of(''ann'')', '{"secret": 1}'), ('reader', 'quota.events', '{"secret": 1}'),
	('app', 'quota_events(''3'')', '{"secret": 3}'), ('admin', 'quota_events_of(''ann'')', '{"secret": 1} {"secret": 3}')) v (level, query, want);
SELECT is((SELECT count(*) FROM as_role('quota_test_monitor', 'SELECT id FROM quota_events(''3'')')), 2::bigint, 'the events themselves are');
SELECT cmp_ok((SELECT count(*) FROM as_role('quota_test_monitor', 'SELECT id, account, amount FROM quota.events')), '>', 5::bigint, 'also in the table');

/* The tables that each level reads. */
CREATE FUNCTION readable(role text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(relname, ' ' ORDER BY relname)
	FROM pg_class
	WHERE relnamespace = 'quota'::regnamespace AND relkind IN ('r', 'p', 'v') AND has_table_privilege(role, oid, 'SELECT')
$$;
SELECT is(readable('quota_test_' || level), NULL, level || ': no table') FROM unnest('{none,user,app}'::text[]) level;
SELECT is((SELECT string_agg(t, ' ') FROM unnest(string_to_array(readable('quota_test_monitor'), ' ')) t
	WHERE t ~ 'stripe|audit_log|account_users|keys|events|levels|charged_rows'), NULL, 'monitor: nothing of people, calls, Stripe');
SELECT is((SELECT string_agg(t, ' ') FROM unnest(string_to_array(readable('quota_test_reader'), ' ')) t WHERE t ~ 'secrets|levels|events_'), NULL, 'reader: no secret');
SELECT is((SELECT count(*) FROM pg_class c, unnest('{none,user,reader,monitor,app}'::text[]) level
	WHERE relnamespace = 'quota'::regnamespace AND relkind IN ('r', 'p', 'v') AND has_table_privilege('quota_test_' || level, c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')), 0::bigint,
	'nobody but an admin writes');
SELECT is((SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class
	WHERE relnamespace = 'quota'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition AND NOT has_table_privilege('quota_test_admin', oid, 'INSERT')),
	'adopted alerts attached audit_log charged_rows events holds keys levels reservations stripe_secrets', 'what an admin does not write');
SELECT is((SELECT string_agg(relname, ' ') FROM pg_class WHERE relnamespace = 'quota'::regnamespace AND relkind IN ('r', 'p', 'v')
	AND has_table_privilege('quota_test_admin', oid, 'TRUNCATE, REFERENCES, TRIGGER')), NULL, 'nor make triggers on');
SELECT is((SELECT string_agg(DISTINCT account, ' ' ORDER BY account) FROM as_role('quota_test_monitor', 'SELECT account FROM quota.usage WHERE account !~ ''-''') account), '1 2 3', 'monitor sees the rows of all accounts');

/* What level user charges: so many a call, and not past a limit that charges. */
SELECT quota_apply(jsonb_set(jsonb_set(quota_export(), '{features,token}', '{"kind": "counter", "user_max": 5}'), '{features,extra}', '{"kind": "counter", "user_max": 1000, "user_overage": true}')
	|| '{"plans": {"free": {"default": true, "limits": {"report": {"month": {"limit": 3, "on_limit": "charge", "overage_price": 1}}, "token": {"day": {"limit": 100}},
			"extra": {"day": {"limit": 2, "on_limit": "charge"}}, "call": {"day": {"limit": 3, "on_limit": "charge"}}}}, "pro": {}}}') \g /dev/null
SELECT is(quota_export() #> '{features,token,user_max}', '5', 'user_max is in the document');
SELECT is(quota_export() #> '{features,extra,user_overage}', 'true', 'and so is user_overage');
SELECT is(quota_export() #> '{features,report}' ?| '{user_max,user_overage}', false, 'but not what is the default');
SELECT throws_ok($$INSERT INTO quota.features (feature, kind, user_max) VALUES ('x', 'counter', -1)$$, '23514', NULL, 'user_max is not negative');
SELECT quota_add_user('9', 'ann') \g /dev/null
CREATE FUNCTION charges(level text, feature text, n bigint) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(l, '') FROM as_role('quota_test_' || level, format('SELECT decision, used, reason FROM quota_consume(''9'', %L, %s)', feature, n)) l
$$;
SELECT is(charges('user', 'report', 2), '42501', 'one at a time where the document says nothing');
SELECT is(error_of($$SET LOCAL ROLE quota_test_user; SELECT quota_enforce('9', 'token', 6)$$), '{"state": "42501", "message": "level user may charge at most 5 of feature \"token\" in one call",
	"detail": "The call asked for 6.", "hint": "\"user_max\" of the feature in the plan document allows more."}', 'as an error tells');
SELECT is(charges('user', 'token', 5), 'ALLOW|5|ok', 'up to user_max');
SELECT is(charges('user', 'token', 6), '42501', 'not more');
SELECT is(charges('app', 'token', 50), 'ALLOW|55|ok', 'level app as much as there is');
SELECT is(charges('user', 'report', 1), 'ALLOW|1|ok', 'the first of 3');
SELECT is(charges('user', 'report', 1), 'ALLOW|2|ok', 'the second');
SELECT is(charges('user', 'report', 1), 'ALLOW|3|ok', 'the last');
SELECT is(charges('user', 'report', 1), 'BLOCK|3|limit_reached', 'not into overage');
SELECT is((SELECT string_agg(l, '') FROM as_role('quota_test_user', $$SELECT decision, reason FROM quota_evaluate('9', 'report')$$) l), 'BLOCK|limit_reached', 'quota_evaluate says the same');
SELECT is((SELECT string_agg(l, '') FROM as_role('quota_test_user', $$SELECT decision, reason FROM quota_evaluate('9') WHERE feature = 'report'$$) l), 'BLOCK|limit_reached', 'of all features too');
SELECT is((SELECT string_agg(l, '') FROM as_role('quota_test_user', $$SELECT quota_status('9', 'report')->>'decision'$$) l), 'BLOCK', 'and quota_status');
SELECT is((SELECT string_agg(l, '') FROM as_role('quota_test_reader', $$SELECT decision FROM quota_evaluate('9', 'report')$$) l), 'ALLOW_WITH_WARNING', 'what others are told is the limit of the plan');
SELECT is(try_as('quota_test_user', $$SELECT quota_enforce('9', 'report')$$), 'PT429', 'quota_enforce raises');
SELECT is(charges('app', 'report', 2), 'ALLOW_WITH_WARNING|5|overage', 'level app may');
SELECT is(charges('user', 'report', 1), 'BLOCK|5|limit_reached', 'past it nothing');
SELECT is(charges('user', 'extra', 5), 'ALLOW_WITH_WARNING|5|overage', 'unless the document says so');
SELECT is((SELECT string_agg(charges('user', 'call', 1), ' ') FROM generate_series(1, 4)), 'ALLOW|1|ok ALLOW|2|ok ALLOW|3|ok BLOCK|3|rate_limited', 'a rate that charges');
UPDATE quota.features SET user_max = 0 WHERE feature = 'token';
SELECT is(charges('user', 'token', 1), '42501', 'user_max 0: nothing, from the next call on');
SELECT is((SELECT string_agg(l, '') FROM as_role('quota_test_user', $$SELECT used FROM quota_evaluate('9', 'token')$$) l), '55', 'but looking');
SELECT is(charges('user', 'nothing', 1), '42704', 'an unknown feature');
UPDATE quota.account_users SET role = 'AFFILIATE' WHERE account = '9';
SELECT is(charges('user', 'report', 1), 'BLOCK|5|limit_reached', 'whatever its role in the account');
DELETE FROM quota.account_users WHERE account = '9';
SELECT is(charges('user', 'report', 1), '42501', 'who is no member any more');

/* Several levels: what any of them may. */
CREATE ROLE quota_test_both IN ROLE quota_test_user, quota_test_reader;
SELECT is(try_as('quota_test_both', $$SELECT quota_consume('1', 'report')$$), 'ok', 'user and reader: charges');
SELECT is(try_as('quota_test_both', $$SELECT * FROM quota_rates('1')$$), 'ok', 'and reads');
SELECT is(try_as('quota_test_both', $$SELECT quota_usage('3')$$), '42501', 'no other account');

/* Functions of schema quota are the owner's, but those that views and policies call. */
CREATE TEMP TABLE exceptions AS
	SELECT unnest('{now,window_start,default_plan,plan_has_ended,own_plan,plan_in_effect,visible_accounts,sees_all,manages}'::text[]) AS name;
SELECT is_empty($$
	SELECT f.oid::regprocedure, level
	FROM functions f, unnest('{none,user,reader,monitor,app,admin}'::text[]) level
	WHERE schema = 'quota' AND has_function_privilege('quota_test_' || level, f.oid, 'EXECUTE')
		<> (level IN ('reader', 'monitor', 'admin') AND name IN (SELECT name FROM exceptions))
	$$, 'functions of schema quota');
SELECT is_empty($$SELECT name FROM exceptions EXCEPT SELECT name FROM functions WHERE schema = 'quota'$$, 'the exceptions are there');
SELECT is_empty($$
	SELECT f.oid::regprocedure, level
	FROM functions f, unnest('{none,user,reader,monitor,app}'::text[]) level
	WHERE schema = 'quota' AND name NOT IN (SELECT name FROM exceptions) AND prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype) AND prokind = 'f'
		AND (outcome(level, format('SELECT quota.%I(%s)', name, COALESCE((
			SELECT string_agg('NULL::' || types[i]::regtype, ', ' ORDER BY i) FROM generate_series(0, pronargs - 1) i WHERE types[i] <> '"any"'::regtype), '')))).state <> '42501'
		AND name <> 'row_key'
	$$, 'a call of any of them is refused');
SELECT is(try_as('quota_test_admin', call), '42501', 'an admin: ' || call)
FROM unnest('{"SELECT quota.quota_set_plan(''1'', ''pro'')","SELECT quota.make_ledger_months()","SELECT quota.grants(''app'')","SELECT quota.forget_rate(''1'', ''call'')","SELECT quota.quota_grant(''quota_test_admin'', ''app'')"}'::text[]) call;

/* A function of ours without a rule is refused, even to the owner. */
DO $$
BEGIN
	EXECUTE format('CREATE FUNCTION quota_new(account text) RETURNS void LANGUAGE c AS %L, ''quota_gate''',
		(SELECT probin FROM pg_proc WHERE oid = 'quota_usage(text)'::regprocedure));
END $$;
SELECT throws_ok($$SELECT quota_new('1')$$, '42501', 'permission denied for function quota_new', 'a function that the gate does not know');

SELECT * FROM finish();
ROLLBACK;
