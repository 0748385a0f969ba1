/*
 * The audit log: every management act, by function or by hand, once, with who,
 * before and after; nobody writes it; charging is not in it.
 */
BEGIN;
SELECT no_plan();
\ir _helpers.sql
SET LOCAL timezone = 'UTC';
SET LOCAL quota.now = '2026-03-10 12:00+00';
SELECT quota_apply('{"features": {"report": {"kind": "counter"}, "page": {"kind": "counter"}, "export": {"kind": "flag"}},
	"plans": {"free": {"default": true, "limits": {"report": {"month": {"limit": 5}}}, "features": {"export": false}}, "pro": {}}}') \g /dev/null

/* Rows since last asked, without what is always the same. */
CREATE FUNCTION audited() RETURNS TABLE (act text, table_name text, account text) LANGUAGE plpgsql AS $$
DECLARE
	seen bigint := COALESCE(NULLIF(current_setting('audited.seen', true), ''), '0');
BEGIN
	PERFORM set_config('audited.seen', (SELECT max(id)::text FROM quota.audit_log), true);
	RETURN QUERY SELECT l.act COLLATE "default", l.table_name, l.account COLLATE "default" FROM quota.audit_log l WHERE id > seen ORDER BY id;
END $$;

/* The catalogue. */
SELECT results_eq('SELECT act, table_name, account, count(*) FROM audited() GROUP BY 1, 2, 3 ORDER BY 2', $$VALUES
	('quota_apply'::text, 'features'::text, NULL::text, 3::bigint), ('quota_apply', 'plan_features', NULL, 1),
	('quota_apply', 'plan_limits', NULL, 1), ('quota_apply', 'plans', NULL, 2)$$, 'a document: a row for each row of it');
SELECT quota_apply(quota_export()) \g /dev/null
SELECT is_empty('SELECT * FROM audited()', 'a document that changes nothing');
SELECT quota_apply(jsonb_set(quota_export(), '{plans,free,limits,report,month,limit}', '6')) \g /dev/null
SELECT results_eq($$SELECT act, table_name, before->>'usage_limit', after->>'usage_limit', before - 'usage_limit' = after - 'usage_limit'
	FROM quota.audit_log ORDER BY id DESC LIMIT 1$$, $$VALUES ('quota_apply' COLLATE "C", 'plan_limits'::text, '5'::text, '6'::text, true)$$, 'before and after');
SELECT results_eq('SELECT count(*) FROM audited()', 'VALUES (1::bigint)', 'of one row');

/* By hand. */
INSERT INTO quota.plans (plan) VALUES ('hand');
UPDATE quota.plans SET price = 5 WHERE plan = 'hand';
DELETE FROM quota.plans WHERE plan = 'hand';
UPDATE quota.features SET description = 'x' WHERE feature = 'page';
INSERT INTO quota.plan_limits (plan, feature, period) VALUES ('pro', 'report', 'day'), ('pro', 'page', 'day');
INSERT INTO quota.plan_features (plan, feature) VALUES ('pro', 'export');
INSERT INTO quota.accounts (account, plan) VALUES ('a', 'pro');
UPDATE quota.accounts SET account = 'b' WHERE account = 'a';
INSERT INTO quota.account_users VALUES ('b', 'u', 'OWNER');
INSERT INTO quota.limit_overrides VALUES ('z', 'report', 'month', 1);
UPDATE quota.accounts SET bypass = true WHERE account = 'nobody';
DELETE FROM quota.limit_overrides;
DELETE FROM quota.accounts;
SELECT results_eq('SELECT * FROM audited()', $$VALUES
	('insert'::text, 'plans'::text, NULL::text), ('update', 'plans', NULL), ('delete', 'plans', NULL), ('update', 'features', NULL),
	('insert', 'plan_limits', NULL), ('insert', 'plan_limits', NULL), ('insert', 'plan_features', NULL),
	('insert', 'accounts', 'a'), ('update', 'accounts', 'b'), ('insert', 'account_users', 'b'), ('insert', 'limit_overrides', 'z'),
	('delete', 'limit_overrides', 'z'), ('delete', 'accounts', 'b'), ('delete', 'account_users', 'b')$$, 'statements by hand, and what cascades');
SELECT results_eq($$SELECT before->>'account', after->>'account' FROM quota.audit_log WHERE act = 'update' AND table_name = 'accounts'$$,
	$$VALUES ('a'::text, 'b'::text)$$, 'before and after of an UPDATE');
SELECT results_eq($$SELECT before, after->>'plan' FROM quota.audit_log WHERE act = 'insert' AND table_name = 'accounts'$$,
	$$VALUES (NULL::jsonb, 'pro'::text)$$, 'there is nothing before an INSERT');
SELECT results_eq($$SELECT before->>'plan', after FROM quota.audit_log WHERE act = 'delete' AND table_name = 'accounts'$$,
	$$VALUES ('pro'::text, NULL::jsonb)$$, 'nor after a DELETE');
TRUNCATE quota.limit_overrides;
SELECT results_eq('SELECT * FROM audited()', $$VALUES ('truncate'::text, 'limit_overrides'::text, NULL::text)$$, 'TRUNCATE');

/* Levels. */
CREATE ROLE quota_test_audited;
SELECT quota_grant('quota_test_audited', 'app'), quota_grant('quota_test_audited', 'app') \g /dev/null
SELECT is((SELECT array_agg(after - 'schema_usage') FROM quota.audit_log WHERE table_name = 'levels'), '{"{\"role\": \"quota_test_audited\", \"level\": \"app\"}"}'::jsonb[], 'who has got which level');
SELECT quota_revoke('quota_test_audited'), quota_revoke('quota_test_audited') \g /dev/null
SELECT results_eq('SELECT * FROM audited()', $$VALUES ('quota_grant'::text, 'levels'::text, NULL::text), ('quota_revoke', 'levels', NULL)$$, 'and lost it');

/* Each function, one row an act, though it changes nothing. */
CREATE FUNCTION act(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM audited();
	EXECUTE statement;
	RETURN (SELECT string_agg(concat_ws(' ', a.act, a.table_name, a.account), ', ') FROM audited() a);
END $$;
SELECT is(act(format('SELECT %s%s', f, arguments)), format('%s %s acme', f, t), f || arguments)
FROM (VALUES
	('quota_set_plan', '(''acme'', ''pro'')', 'accounts'), ('quota_set_plan', '(''acme'', ''pro'', at_period_end => true)', 'accounts'),
	('quota_start_trial', '(''acme'', ''pro'', ''1 day'')', 'accounts'), ('quota_cancel', '(''acme'')', 'accounts'), ('quota_cancel', '(''acme'', true)', 'accounts'),
	('quota_suspend', '(''acme'')', 'accounts'), ('quota_suspend', '(''acme'', ''fraud'')', 'accounts'), ('quota_activate', '(''acme'')', 'accounts'),
	('quota_activate', '(''acme'')', 'accounts'), ('quota_sponsor', '(''s'', ''acme'', ''pro'')', 'accounts'), ('quota_unsponsor', '(''acme'')', 'accounts'),
	('quota_set_pool', '(''acme'', ''team'')', 'accounts'), ('quota_set_pool', '(''acme'', NULL)', 'accounts'),
	('quota_add_user', '(''acme'', ''ann'')', 'account_users'), ('quota_add_user', '(''acme'', ''ann'', ''OWNER'')', 'account_users'), ('quota_remove_user', '(''acme'', ''ann'')', 'account_users'),
	('quota_set_override', '(''acme'', ''report'', ''month'', 100, reason => ''fair'')', 'limit_overrides'), ('quota_set_override', '(''acme'', ''report'', ''month'', 9)', 'limit_overrides'),
	('quota_clear_override', '(''acme'', ''report'')', 'limit_overrides')) v (f, arguments, t);
SELECT is(act('SELECT quota_stripe_price(''price_1'', ''pro'')'), 'quota_stripe_price stripe_prices', 'a price of Stripe');
SELECT is(act('INSERT INTO quota.stripe_customers VALUES (''acme'', ''cus_1'')'), 'insert stripe_customers acme', 'a customer of Stripe');
SELECT is(act('INSERT INTO quota.stripe_secrets VALUES (''live'', ''whsec_1'')'), NULL, 'but never a secret');
SELECT is(act('SELECT quota_set_plan(42, ''pro'')'), 'quota_set_plan accounts 42', 'through an overload');
SELECT is(act('SELECT quota_add_user(''new'', ''ann'')'), 'quota_add_user accounts new, quota_add_user account_users new', 'the account''s row is another');
SELECT is(act('SELECT quota_preview(''acme'', ''pro''), quota_accounts_of(''ann''), quota_evaluate(''acme'', ''report''), quota_has_feature(''acme'', ''export'')'), NULL, 'looking');
SELECT is(act('SELECT quota_consume(''acme'', ''report'', 3), quota_record(''acme'', ''page''), quota_refund(''acme'', ''report''), quota_consume(''acme'', ''page'', 5), quota_enforce(''ann'', ''report'')'),
	NULL, 'charging');
SELECT is(act('SELECT quota_reset(''acme'')'), 'quota_reset usage acme', 'a reset');
SELECT is((SELECT string_agg(concat_ws(' ', b->>'feature', b->>'period', b->>'used'), ', ') FROM quota.audit_log, jsonb_array_elements(before) b WHERE act = 'quota_reset'),
	'page lifetime 1, report month 2', 'what was reset');
SELECT is(act('SELECT quota_reset(''nobody'')'), 'quota_reset usage nobody', 'a reset of nothing');
SELECT is(quota.current_act(), NULL, 'the name of the function goes with it');
SELECT is(error_of('SELECT quota_clear_override(''acme'', ''report'')')->>'state', '42704', 'an act that fails');
SELECT is(quota.current_act(), NULL, 'its name goes as well');
SELECT throws_ok($$SET quota.act = 'quota_stripe_event'$$, '42602', NULL, 'no setting can tell another name');

/* Counters by hand: an entry an account and statement. */
SELECT quota_consume('x', 'report', 2), quota_consume('y', 'report', 3) \g /dev/null
SELECT is(act('UPDATE quota.usage SET used = 1 WHERE account = ''x'''), 'update usage x', 'a counter set by hand');
SELECT results_eq('SELECT before->0->>''used'', after->0->>''used'' FROM quota.audit_log ORDER BY id DESC LIMIT 1', $$VALUES ('2'::text, '1'::text)$$, 'from what, to what');
SELECT is(act('DELETE FROM quota.usage WHERE account IN (''x'', ''y'')'), 'delete usage x, delete usage y', 'counters of several accounts');
SELECT results_eq('SELECT account, before->0->>''used'', after FROM quota.audit_log ORDER BY id DESC LIMIT 2', $$VALUES ('y' COLLATE "C", '3'::text, NULL::jsonb), ('x', '1', NULL)$$, 'with what each had');
SELECT is(act('DELETE FROM quota.usage WHERE account = ''x'''), NULL, 'no counter at all');
SELECT is(act('INSERT INTO quota.usage (account, feature, period, period_start, used) VALUES (''x'', ''report'', ''lifetime'', ''-infinity'', 4)'), 'insert usage x', 'a counter made by hand');
SELECT results_eq('SELECT before, after->0->>''used'' FROM quota.audit_log ORDER BY id DESC LIMIT 1', $$VALUES (NULL::jsonb, '4'::text)$$, 'as what');
SELECT is(act('INSERT INTO quota.usage (account, feature, period, period_start, used) VALUES (''y'', ''report'', ''lifetime'', ''-infinity'', 4), (''z'', ''report'', ''lifetime'', ''-infinity'', 5)'),
	'insert usage y, insert usage z', 'counters of several accounts made by hand');
SELECT is(act('UPDATE quota.usage SET used = CASE account WHEN ''y'' THEN 0 ELSE used END WHERE account IN (''y'', ''z'')'), 'update usage y, update usage z', 'one account changed under cover of another');
SELECT results_eq('SELECT account, before->0->>''used'', after->0->>''used'' FROM quota.audit_log ORDER BY id DESC LIMIT 2', $$VALUES ('z' COLLATE "C", '5'::text, '5'::text), ('y', '4', '0')$$, 'is told');
SELECT is(act('UPDATE quota.usage SET account = ''w'' WHERE account = ''z'''), 'update usage w, update usage z', 'a counter moved to another account');
SELECT is(act('INSERT INTO quota.usage SELECT * FROM quota.usage WHERE false'), NULL, 'no counter at all');
SELECT is(act('INSERT INTO quota.usage AS u (account, feature, period, period_start, used) VALUES (''x'', ''report'', ''lifetime'', ''-infinity'', 9)
	ON CONFLICT (account, feature, period, period_start, slot) DO UPDATE SET used = excluded.used'), 'update usage x', 'an INSERT that updates');

/* Who and why. */
SELECT results_eq('SELECT user_id, role, session_role, reason, at FROM quota.audit_log ORDER BY id DESC LIMIT 1',
	'SELECT NULL COLLATE "C", session_user::text COLLATE "default", session_user::text COLLATE "default", NULL::text, now()', 'who: the session, if nothing else is known');
CREATE ROLE quota_test_admin;
SELECT quota_grant('quota_test_admin', 'admin') \g /dev/null
SET LOCAL "quota.user" = 'user-7';
SET LOCAL quota.reason = 'ticket 42';
SET LOCAL ROLE quota_test_admin;
UPDATE quota.accounts SET name = 'Acme' WHERE account = 'acme';
SELECT quota_suspend('acme', 'fraud'), quota_activate('acme'), quota_set_override('acme', 'report', 'day', 1, reason => 'fair'), quota_clear_override('acme', 'report') \g /dev/null
RESET ROLE;
SET LOCAL "quota.user" = '';
SET LOCAL quota.reason = '';
SET LOCAL request.jwt.claims = '{"sub": "jwt-9", "role": "x"}';
SELECT quota_activate('acme') \g /dev/null
SET LOCAL "quota.user" = 'user-8';
SELECT quota_activate('acme') \g /dev/null
SET LOCAL "quota.user" = '';
SET LOCAL request.jwt.claims = '{"role": "x"}';
SELECT quota_activate('acme') \g /dev/null
SELECT results_eq('SELECT act, user_id, role, session_role, reason FROM (SELECT * FROM quota.audit_log ORDER BY id DESC LIMIT 8) l ORDER BY id', $$
	SELECT act COLLATE "C", user_id COLLATE "C", COALESCE(role, session_user) COLLATE "default", session_user::text COLLATE "default", reason FROM (VALUES
	('update', 'user-7', 'quota_test_admin', 'ticket 42'), ('quota_suspend', 'user-7', 'quota_test_admin', 'fraud'),
	('quota_activate', 'user-7', 'quota_test_admin', 'ticket 42'), ('quota_set_override', 'user-7', 'quota_test_admin', 'fair'),
	('quota_clear_override', 'user-7', 'quota_test_admin', 'ticket 42'), ('quota_activate', 'jwt-9', NULL, NULL),
	('quota_activate', 'user-8', NULL, NULL), ('quota_activate', NULL, NULL, NULL)) v (act, user_id, role, reason)$$, 'who and why');

/* What fails or is rolled back is not in it. */
SELECT audited() \g /dev/null
SAVEPOINT s;
SELECT quota_set_plan('acme', 'free') \g /dev/null
ROLLBACK TO s;
SELECT throws_ok($$SELECT quota_set_plan('acme', 'gold')$$, '42704', NULL, 'an act that fails');
SELECT throws_ok($$SELECT quota_set_plan('acme', 'free'), 1 / (SELECT 0)$$, '22012', NULL, 'an act in a statement that fails');
SELECT is_empty('SELECT * FROM audited()', 'leaves no row, nor does one that is rolled back');

/* Nobody can write it, go round it, or make others do it. */
CREATE TABLE mine (account text);
ALTER TABLE mine OWNER TO quota_test_admin;
SELECT is(try_as('quota_test_admin', statement), '42501', statement)
FROM unnest(ARRAY['INSERT INTO quota.audit_log (act, table_name, role, session_role) VALUES (''x'', ''x'', ''x'', ''x'')', 'UPDATE quota.audit_log SET role = ''x''',
	'DELETE FROM quota.audit_log', 'TRUNCATE quota.audit_log', 'SELECT nextval(''quota.audit_log_id_seq'')', 'SELECT quota.write_audit(''x'', ''x'', ''x'', ''{}'', ''{}'')',
	'CREATE TRIGGER t AFTER INSERT ON mine FOR EACH ROW EXECUTE FUNCTION quota.audit()', 'CREATE TRIGGER t AFTER INSERT ON mine FOR EACH ROW EXECUTE FUNCTION quota.audit_usage()',
	'ALTER TABLE quota.accounts DISABLE TRIGGER audit', 'SET session_replication_role = replica',
	'SET LOCAL row_security = off; UPDATE quota.accounts SET name = NULL']) statement;
SELECT is(try_as('quota_test_admin', 'SELECT * FROM quota.audit_log'), 'ok', 'an admin reads it');
SELECT audited() \g /dev/null
SELECT is(try_as('quota_test_admin', 'SET LOCAL row_security = off; UPDATE quota.plans SET price = 1'), 'ok', 'row_security off');
SELECT results_eq('SELECT act, table_name FROM audited()', $$VALUES ('update'::text, 'plans'::text), ('update', 'plans')$$, 'hides nothing of an admin');
SET LOCAL row_security = off;
UPDATE quota.plans SET price = 2;
SELECT results_eq('SELECT act, table_name FROM audited()', $$VALUES ('update'::text, 'plans'::text), ('update', 'plans')$$, 'nor of a superuser');

/* What cascades. */
INSERT INTO quota.accounts (account, plan, next_plan) VALUES ('cascade', 'pro', 'pro');
INSERT INTO quota.account_users VALUES ('cascade', 'ann', 'OWNER');
SELECT audited() \g /dev/null
SELECT is(try_as('quota_test_admin', 'SET LOCAL row_security = off; UPDATE quota.plans SET plan = ''pro2'' WHERE plan = ''pro'''), 'ok', 'a plan that limits, values and accounts refer to');
SELECT results_eq('SELECT act, table_name, count(*) FROM audited() WHERE account IS NULL OR account = ''cascade'' GROUP BY 1, 2 ORDER BY 2', $$VALUES
	('update'::text, 'accounts'::text, 2::bigint), ('update', 'plan_features', 1), ('update', 'plan_limits', 2), ('update', 'plans', 1), ('update', 'stripe_prices', 1)$$,
	'which follow, once a column');
SET LOCAL row_security = on;
SELECT is(try_as('quota_test_admin', 'UPDATE quota.accounts SET account = ''cascaded'' WHERE account = ''cascade'''), 'ok', 'a key that members refer to');
SELECT results_eq('SELECT * FROM audited()', $$VALUES ('update'::text, 'accounts'::text, 'cascaded'::text), ('update', 'account_users', 'cascaded')$$, 'and its members follow');
SELECT is(try_as('quota_test_admin', 'DELETE FROM quota.accounts WHERE account = ''cascaded'''), 'ok', 'an account is deleted');
SELECT results_eq('SELECT * FROM audited()', $$VALUES ('delete'::text, 'accounts'::text, 'cascaded'::text), ('delete', 'account_users', 'cascaded')$$, 'its members with it');

/* Only what the owner copies in is a restore: rows, and nothing else. */
COPY quota.plans (plan, name) FROM stdin;
copied	Copied
\.
SELECT is_empty('SELECT * FROM audited()', 'rows of a restore');
SET LOCAL ROLE quota_test_admin;
COPY quota.plans (plan, name) FROM stdin;
mine	Mine
\.
RESET ROLE;
SELECT results_eq('SELECT * FROM audited()', $$VALUES ('insert'::text, 'plans'::text, NULL::text)$$, 'not those of an admin');
CREATE FUNCTION public.renames(plan text) RETURNS boolean LANGUAGE sql SECURITY DEFINER AS
	$$UPDATE quota.plans SET name = 'renamed' WHERE plans.plan = renames.plan RETURNING true$$;
SET LOCAL ROLE quota_test_admin;
COPY quota.plans (plan, name) FROM stdin WHERE public.renames('copied');
other	Other
\.
RESET ROLE;
SELECT results_eq('SELECT act, count(*) FROM audited() GROUP BY act', $$VALUES ('insert'::text, 1::bigint), ('update', 1)$$, 'nor what a function of the owner does in it');
CREATE TABLE copied (plan text, name text);
CREATE FUNCTION public.renames() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN UPDATE quota.plans SET name = NEW.name WHERE plan = NEW.plan; RETURN NEW; END$$;
CREATE TRIGGER renames BEFORE INSERT ON copied FOR EACH ROW EXECUTE FUNCTION public.renames();
COPY copied FROM stdin;
copied	Copied again
\.
SELECT results_eq('SELECT * FROM audited()', $$VALUES ('update'::text, 'plans'::text, NULL::text)$$, 'nor what triggers of another table do');
COPY quota.usage (account, feature, period, period_start, used) FROM stdin;
copied	report	lifetime	-infinity	1
\.
SELECT is_empty('SELECT * FROM audited()', 'counters of a restore');

/* A function of the application runs as its owner: the log has who called it. */
CREATE ROLE quota_test_worker;
CREATE FUNCTION public.promote(plan text) RETURNS void LANGUAGE sql SECURITY DEFINER AS $$UPDATE quota.plans SET price = 7 WHERE plans.plan = promote.plan$$;
SELECT is(try_as('quota_test_worker', 'SELECT public.promote(''pro2'')'), 'ok', 'a function with its owner''s rights');
SELECT results_eq('SELECT act, role, session_role FROM quota.audit_log ORDER BY id DESC LIMIT 1',
	$$SELECT 'update' COLLATE "C", 'quota_test_worker'::text, session_user::text COLLATE "default"$$, 'is recorded as its caller''s');

/* A role that holds rights by hand is recorded like any other. */
CREATE ROLE quota_test_hand;
SET LOCAL row_security = on;
GRANT USAGE ON SCHEMA quota TO quota_test_hand;
GRANT SELECT, UPDATE ON quota.plans TO quota_test_hand;
SELECT is(try_as('quota_test_hand', 'UPDATE quota.plans SET price = 3 WHERE plan = ''pro2'''), 'ok', 'rights by hand');
SELECT results_eq('SELECT role, act FROM quota.audit_log ORDER BY id DESC LIMIT 1', $$VALUES ('quota_test_hand'::text, 'update' COLLATE "C")$$, 'are recorded');

SELECT * FROM finish();
ROLLBACK;
