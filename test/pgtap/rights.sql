/*
 * Who may do what: quota_grant and quota_revoke, the tables, the settings, and whether a
 * hostile search_path or hostile objects fool anything.
 */
BEGIN;
SELECT no_plan();
\ir _helpers.sql
SET LOCAL quota.now = '2026-03-10 12:00+00';
SET LOCAL client_min_messages = warning;

SELECT quota_apply('{
	"features": {"report": {"kind": "counter", "unit": "report"}, "page": {"kind": "counter"}, "export": {"kind": "flag"}},
	"plans": {
		"free": {"default": true, "price": 0, "limits": {"report": {"month": {"limit": 5}}}, "features": {"export": false}},
		"pro": {"price": 9, "limits": {"report": {"month": {"limit": 50}}, "page": {"day": {"limit": 1}}}, "features": {"export": true}}}}') \g /dev/null
CREATE ROLE quota_test_none;
CREATE ROLE quota_test_app;
CREATE ROLE quota_test_user;
CREATE ROLE quota_test_reader;
CREATE ROLE quota_test_monitor;
CREATE ROLE quota_test_admin;
CREATE SCHEMA app;
GRANT ALL ON SCHEMA app TO PUBLIC;
CREATE TABLE app.admins (account text);
ALTER TABLE app.admins OWNER TO quota_test_admin;

SELECT is(quota_grant('quota_test_' || level, level)::text, '', level) FROM unnest('{user,reader,monitor,app,admin}'::text[]) level;
SELECT lives_ok($$SELECT quota_grant('quota_test_app', 'app')$$, 'twice is fine');

/* ann's accounts are those that the deeds name; others are in levels.sql. */
SELECT quota_add_user(a, 'ann') FROM unnest('{a,42,6f1c0a9e-8f4e-4e0f-9d5a-0c2b9a7d3e11}'::text[]) a \g /dev/null
SET LOCAL "quota.user" = 'ann';

/* What each level can do. */
CREATE TEMP TABLE deeds (n serial, deed text, levels text);
COPY deeds (levels, deed) FROM stdin;
user app reader monitor admin	SELECT quota_evaluate('a', 'report')
user app reader monitor admin	SELECT quota_evaluate(uuid '6f1c0a9e-8f4e-4e0f-9d5a-0c2b9a7d3e11', 'report')
user app reader monitor admin	SELECT quota_evaluate(42, 'report')
user app reader monitor admin	SELECT * FROM quota_evaluate('a')
user app reader monitor admin	SELECT quota_has_feature('a', 'export')
user app reader monitor admin	SELECT quota_feature(42, 'export')
user app reader monitor admin	SELECT quota_require_feature('a', 'report')
user app reader monitor admin	SELECT quota_plan_with('export')
user app reader admin	SELECT * FROM quota_accounts_of('ann')
user app reader monitor admin	SELECT quota_usage('a')
user app reader monitor admin	SELECT quota_usage(42), quota_usage(uuid '6f1c0a9e-8f4e-4e0f-9d5a-0c2b9a7d3e11')
user app reader monitor admin	SELECT quota_status('a'), quota_status(42, 'report')
user app reader monitor admin	SELECT * FROM quota_history('a', 'report') a, quota_history(42) b
app reader monitor admin	SELECT * FROM quota_forecast('a', 'report') a, quota_forecast(42, 'report') b
app reader monitor admin	SELECT * FROM quota_sponsored('a') a, quota_sponsored(42) b
app reader monitor admin	SELECT * FROM quota_events('a') a, quota_events(42) b, quota_events_of('ann') c
app reader monitor admin	SELECT * FROM quota_invoices('a') a, quota_invoices(42) b
reader monitor admin	SELECT * FROM quota.invoices, quota.invoice_lines
reader monitor admin	SELECT * FROM quota_top('report')
reader monitor admin	SELECT * FROM quota_near_limit() a, quota_near_limit(0.5, 'report') b
monitor admin	SELECT * FROM quota_totals(), quota_stats(), quota_plan_stats(), quota_rate_stats()
reader monitor admin	SELECT * FROM quota_search('a')
monitor admin	SELECT quota_metrics()
reader monitor admin	SELECT * FROM quota.account_plans, quota.current_usage, quota.counters
user app admin	SELECT quota_consume('a', 'report')
user app admin	SELECT quota_consume(uuid '6f1c0a9e-8f4e-4e0f-9d5a-0c2b9a7d3e11', 'report')
user app admin	SELECT quota_consume(42, 'report')
app admin	SELECT quota_refund('a', 'report', 3)
user app admin	SELECT (d).decision, (d).used + 1 FROM (SELECT quota_enforce('a', 'report') AS d) d
app admin	SELECT * FROM quota_consume_many('a', '{"report": 1}')
app admin	SELECT quota_record('a', 'report')
app admin	SELECT quota_refund('a', 'report', 4)
reader monitor admin	SELECT quota_export()
reader monitor admin	SELECT quota_preset('reports')
reader monitor admin	SELECT * FROM quota_preview('a', 'pro')
reader monitor admin	SELECT * FROM quota_preview(42, 'pro')
reader admin	SELECT * FROM quota.audit_log
reader admin	SELECT * FROM quota.events, quota.alerts
	SELECT * FROM quota.events_default
reader monitor admin	SELECT * FROM quota.plans, quota.features, quota.plan_limits, quota.plan_features
reader admin	SELECT * FROM quota.accounts, quota.account_users, quota.usage
reader monitor admin	SELECT account, feature, period, usage_limit, expires_at FROM quota.limit_overrides
admin	SELECT * FROM quota.limit_overrides
admin	SELECT quota_set_plan('acme', 'pro'), quota_set_plan(42, 'pro', '1 day'), quota_set_plan('acme', 'free', at_period_end => true)
admin	SELECT quota_start_trial('acme', 'pro', '1 day')
admin	SELECT quota_cancel('acme'), quota_cancel(42, true)
admin	SELECT quota_suspend('acme', 'why')
admin	SELECT quota_activate('acme')
admin	SELECT quota_sponsor('boss', 'acme', 'pro')
admin	SELECT quota_sponsor(1, 2, 'pro')
admin	SELECT quota_unsponsor('acme')
admin	SELECT quota_set_pool('acme', 'team'), quota_set_pool(42, 43), quota_set_pool('acme', NULL)
admin	SELECT quota_add_user('acme', 'ann')
admin	SELECT quota_remove_user('acme', 'ann')
admin	SELECT quota_set_override('acme', 'report', 'month', 1)
admin	SELECT quota_clear_override('acme', 'report')
admin	SELECT quota_reset('a')
admin	DELETE FROM quota.accounts
admin	INSERT INTO quota.accounts (account, plan, timezone) VALUES ('acme', 'pro', 'Asia/Tokyo')
admin	UPDATE quota.accounts SET status = 'suspended'
admin	INSERT INTO quota.limit_overrides (account, feature, period, usage_limit) VALUES ('acme', 'report', 'month', 7)
admin	INSERT INTO quota.account_users VALUES ('acme', 'user', 'OWNER')
admin	UPDATE quota.plan_limits SET usage_limit = 60 WHERE plan = 'pro' AND feature = 'report'
admin	UPDATE quota.plans SET plan = 'gold' WHERE plan = 'pro'
admin	INSERT INTO quota.features (feature, kind) VALUES ('token', 'counter')
admin	DELETE FROM quota.features WHERE feature = 'token'
admin	UPDATE quota.usage SET used = 0
admin	DELETE FROM quota.usage
admin	SELECT quota_apply(quota_export())
admin	SELECT quota_maintain('1 year')
admin	SELECT quota_invoice_overage(), quota_invoice_overage('2026-01-01')
admin	SELECT quota_attach('app.admins', 'report', 'account')
admin	SELECT quota_detach('app.admins', 'report')
	TRUNCATE quota.usage
	DROP TABLE quota.usage
	ALTER TABLE quota.plans DISABLE TRIGGER ALL
	CREATE TABLE quota.mine (x int)
	SELECT quota_grant('quota_test_none', 'app')
	SELECT quota_revoke('quota_test_app')
	SELECT quota.grants('app')
	SELECT quota.write_audit('x', 'x', 'x', '{}', '{}')
	INSERT INTO quota.audit_log (act, table_name, role, session_role) VALUES ('x', 'x', 'x', 'x')
	DELETE FROM quota.audit_log
	INSERT INTO quota.events (id, at, account, feature, what, kind, amount, decision, reason, used) VALUES (1, now(), 'a', 'report', 'x', 'x', 1, 'ALLOW', 'ok', 1)
	UPDATE quota.events SET amount = 0
	DELETE FROM quota.events
	DELETE FROM quota.events_default
	TRUNCATE quota.events
	DROP TABLE quota.events_default
	SELECT nextval('quota.events_id_seq')
	SELECT quota.make_ledger_months(), quota.drop_ledger_months('1 year')
	SET LOCAL quota.notify_channel = 'mine'
	ALTER TABLE quota.accounts DISABLE ROW LEVEL SECURITY
	SET LOCAL quota.enforcement = 'off'
	SET LOCAL quota.now = '2030-01-01'
	SET LOCAL quota.timezone = 'Asia/Tokyo'
	SET LOCAL quota.log_decisions = 'none'
	RESET quota.enforcement
	SELECT set_config('quota.now', '2030-01-01', true)
	ALTER ROLE CURRENT_USER SET quota.enforcement = 'off'
	CREATE FUNCTION app.f() RETURNS void LANGUAGE sql SET quota.enforcement = 'off' AS ''
\.
SELECT is(try_as('quota_test_' || level, deed),
	CASE WHEN level = ANY (string_to_array(levels, ' ')) THEN 'ok' ELSE '42501' END, level || ': ' || deed)
FROM deeds, unnest('{none,user,app,reader,monitor,admin}'::text[]) WITH ORDINALITY l (level, i) ORDER BY n, i;
SELECT quota_add_user('a', 'ann') \g /dev/null
SELECT is(try_as('quota_test_' || level, format('CREATE TABLE app.of_%s AS SELECT * FROM quota_evaluate(''a'')', level)), 'ok', level || ' can keep decisions in a table')
FROM unnest('{user,app,reader,monitor,admin}'::text[]) level;
SELECT is(try_as('quota_test_app', $$INSERT INTO app.admins VALUES ('x')$$), '42501', 'rights on quota are none on other tables');

/* Roles of roles; roles with strange names. */
CREATE ROLE quota_test_member IN ROLE quota_test_app;
SELECT is(try_as('quota_test_member', $$SELECT quota_consume('m', 'report')$$), 'ok', 'a member of a role');
CREATE ROLE "quota test ""Ö";
SELECT lives_ok($$SELECT quota_grant('quota test "Ö', 'app')$$, 'a name that needs quotes');
SELECT is(try_as('quota test "Ö', $$SELECT quota_consume('m', 'report')$$), 'ok', 'may charge');
SELECT lives_ok($$SELECT quota_revoke('quota test "Ö')$$, 'and is refused again');
SELECT is(try_as('quota test "Ö', $$SELECT quota_consume('m', 'report')$$), '42501', 'may not charge');

/* Whoever may set a parameter may. */
GRANT SET ON PARAMETER quota.now TO quota_test_app;
SELECT is(try_as('quota_test_app', $$SET LOCAL quota.now = '2026-03-10 12:00+00'$$), 'ok', 'GRANT SET ON PARAMETER hands a setting on');
SELECT is(try_as('quota_test_app', $$SET LOCAL quota.enforcement = 'off'$$), '42501', 'that one alone');
REVOKE SET ON PARAMETER quota.now FROM quota_test_app;
SELECT throws_ok($$SET quota.nothing = 1$$, '42602', NULL, 'there are no other settings');

/* Revoked. */
SELECT is(quota_revoke('quota_test_' || level)::text, '', 'revoked: ' || level) FROM unnest('{user,app,reader,monitor,admin,none}'::text[]) level;
SELECT is(try_as('quota_test_' || level, deed), '42501', format('revoked: %s: %s', level, deed))
FROM unnest('{user,app,reader,monitor,admin}'::text[]) level,
	unnest('{"SELECT quota_evaluate(''a'', ''report'')","SELECT quota_consume(''a'', ''report'')","SELECT quota_export()","SELECT quota_apply(''{}'')","SELECT * FROM quota.plans","DELETE FROM quota.usage"}'::text[]) deed;
SELECT is((SELECT count(*) FROM pg_class WHERE relnamespace = 'quota'::regnamespace AND relacl::text LIKE '%quota_test%'), 0::bigint, 'revoked: nothing on tables');
SELECT is((SELECT count(*) FROM pg_proc WHERE proacl::text LIKE '%quota_test%'), 0::bigint, 'revoked: nothing on functions');
SELECT is((SELECT count(*) FROM pg_namespace WHERE nspacl::text LIKE '%quota_test%' AND nspname IN ('quota', 'public')), 0::bigint, 'revoked: nothing on the schemas');
SELECT is((SELECT count(*) FROM quota.levels), 0::bigint, 'revoked: no level is recorded');

/* A right on the schema of the functions is taken back if quota_grant gave it, whatever PUBLIC has. */
CREATE FUNCTION usage_of(role text) RETURNS bigint LANGUAGE sql AS $$
	SELECT count(*) FROM pg_namespace, aclexplode(nspacl) WHERE nspname = 'public' AND grantee = role::regrole AND privilege_type = 'USAGE'
$$;
SELECT quota_grant('quota_test_app', 'app'), quota_grant('quota_test_app', 'reader') \g /dev/null
SELECT is(usage_of('quota_test_app'), 1::bigint, 'USAGE is granted though PUBLIC has it');
REVOKE USAGE ON SCHEMA public FROM PUBLIC;
SELECT is(try_as('quota_test_app', $$SELECT public.quota_consume('a', 'report')$$), 'ok', 'and is there when it has it no more');
SELECT quota_revoke('quota_test_app') \g /dev/null
SELECT is(usage_of('quota_test_app'), 0::bigint, 'it is taken back');
GRANT USAGE ON SCHEMA public TO quota_test_app;
SELECT quota_grant('quota_test_app', 'app'), quota_grant('quota_test_app', 'user'), quota_revoke('quota_test_app') \g /dev/null
SELECT is(usage_of('quota_test_app'), 1::bigint, 'what the role had before stays');
REVOKE USAGE ON SCHEMA public FROM quota_test_app;
GRANT USAGE ON SCHEMA public TO PUBLIC;

/* Levels hold at once for sessions that have called before; those of a role that is gone are nobody's. */
SELECT is(try_as('quota_test_app', $$SELECT public.quota_consume('a', 'report')$$), '42501', 'no level');
SELECT quota_grant('quota_test_app', 'app') \g /dev/null
SELECT is(try_as('quota_test_app', $$SELECT public.quota_consume('a', 'report')$$), 'ok', 'a level');
DELETE FROM quota.levels;
SELECT is(try_as('quota_test_app', $$SELECT public.quota_consume('a', 'report')$$), '42501', 'EXECUTE without a level is nothing');
SELECT is(error_of($$SET LOCAL ROLE quota_test_app; SELECT quota_consume('a', 'report')$$)->>'message', 'permission denied for function quota_consume', 'which is said so');
SELECT quota_grant('quota_test_app', 'app') \g /dev/null
REVOKE EXECUTE ON FUNCTION quota_consume(text, text, bigint, text, jsonb) FROM quota_test_app;
SELECT is(try_as('quota_test_app', $$SELECT public.quota_consume('a', 'report')$$), '42501', 'nor is a level without EXECUTE');
SELECT quota_grant('quota_test_app', 'app') \g /dev/null
SELECT is(try_as('quota_test_app', $$SELECT public.quota_consume('a', 'report')$$), 'ok', 'quota_grant again grants what is missing, as after an update');
CREATE FUNCTION public.quota_plan_with(feature text, added integer) RETURNS text LANGUAGE sql AS 'SELECT feature';
REVOKE EXECUTE ON FUNCTION public.quota_plan_with(text, integer) FROM PUBLIC;
ALTER EXTENSION quota ADD FUNCTION public.quota_plan_with(text, integer);
SELECT is(try_as('quota_test_app', $$SELECT public.quota_plan_with('report', 1)$$), '42501', 'a function that an update has added');
SELECT quota_grant('quota_test_app', 'app') \g /dev/null
SELECT is(try_as('quota_test_app', $$SELECT public.quota_plan_with('report', 1)$$), 'ok', 'is granted by quota_grant again');
SELECT quota_revoke('quota_test_app') \g /dev/null
SELECT is((SELECT count(*) FROM pg_proc WHERE proacl::text LIKE '%quota_test_app%'), 0::bigint, 'and taken back with all others');
SELECT quota_grant('quota_test_app', 'app') \g /dev/null
ALTER EXTENSION quota DROP FUNCTION public.quota_plan_with(text, integer);
DROP FUNCTION public.quota_plan_with(text, integer);
CREATE ROLE quota_test_brief;
CREATE ROLE quota_test_member2 IN ROLE quota_test_none;
GRANT quota_test_app TO quota_test_none;
SELECT is(try_as('quota_test_member2', $$SELECT public.quota_consume('a', 'report')$$), 'ok', 'a member of a member');
REVOKE quota_test_app FROM quota_test_none;
SELECT is(try_as('quota_test_member2', $$SELECT public.quota_consume('a', 'report')$$), '42501', 'is none any more');
CREATE ROLE quota_test_stranger NOINHERIT IN ROLE quota_test_app;
SELECT is(try_as('quota_test_stranger', $$SELECT public.quota_consume('a', 'report')$$), '42501', 'a role that does not inherit');
SELECT quota_grant('quota_test_brief', 'user') \g /dev/null
DROP OWNED BY quota_test_brief;
DROP ROLE quota_test_brief;
SELECT is((SELECT count(*) FROM quota.levels WHERE role::oid IN (SELECT oid FROM pg_roles)), 1::bigint, 'the row of a role that is gone would not be dumped');
SELECT quota_grant('quota_test_app', 'app') \g /dev/null
SELECT is((SELECT count(*) FROM quota.levels), 1::bigint, 'and goes with the next grant');
SELECT throws_ok($$INSERT INTO quota.levels VALUES ('quota_test_app', 'root', false)$$, '23514', NULL, 'no other level');

/* Functions of the application with their owner's rights count as their owner. */
SELECT quota_revoke('quota_test_app') \g /dev/null
SELECT quota_grant('quota_test_app', 'app') \g /dev/null
CREATE FUNCTION app.charge() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS $$SELECT (public.quota_consume('other', 'report')).used$$;
ALTER FUNCTION app.charge() OWNER TO quota_test_app;
SELECT is(try_as('quota_test_none', 'SELECT app.charge()'), 'ok', 'a SECURITY DEFINER function');
SELECT quota_revoke('quota_test_app') \g /dev/null
SELECT is(try_as('quota_test_none', 'SELECT app.charge()'), '42501', 'has what its owner has');
SELECT is((SELECT count(*) FROM pg_type WHERE typacl::text LIKE '%quota_test%'), 0::bigint, 'revoked: nothing on types');
SELECT lives_ok('DROP ROLE "quota test ""Ö"', 'revoked: the role can be dropped');

/* Mistakes. */
SELECT throws_ok($$SELECT quota_grant('quota_test_app', 'root')$$, '22023', 'level "root" does not exist', 'an unknown level');
SELECT is(error_of($$SELECT quota_grant('quota_test_app', 'root')$$)->>'hint', 'There are: user, reader, monitor, app, admin.', 'which there are');
SELECT throws_ok($$SELECT quota_grant('quota_test_nobody', 'app')$$, '42704', 'role "quota_test_nobody" does not exist', 'an unknown role');
SELECT throws_ok($$SELECT quota_grant('quota_test_app; DROP TABLE quota.usage', 'app')$$, '42704', NULL, 'an unknown role that is a command');
SELECT throws_ok($$SELECT quota_revoke('quota_test_nobody')$$, '42704', 'role "quota_test_nobody" does not exist', 'revoke: an unknown role');
SELECT throws_ok($$SELECT quota_grant('public', 'app')$$, '22023', 'PUBLIC cannot have a level', 'PUBLIC');
SELECT throws_ok($$SELECT quota_revoke('public')$$, '22023', 'PUBLIC cannot have a level', 'revoke: PUBLIC');
SELECT throws_ok($$SELECT quota_grant(NULL, 'app')$$, '22004', 'role must not be null', 'no role');
SELECT throws_ok($$SELECT quota_revoke(NULL)$$, '22004', 'role must not be null', 'revoke: no role');

/*
 * A hostile search_path: operators, functions, tables and types that are found
 * before those of pg_catalog.
 */
CREATE SCHEMA evil;
CREATE FUNCTION evil.no(text, text) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'evil'; END$$;
CREATE FUNCTION evil.no(jsonb, text) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'evil'; END$$;
CREATE FUNCTION evil.no(jsonb, jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'evil'; END$$;
CREATE FUNCTION evil.no(bigint, bigint) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'evil'; END$$;
CREATE FUNCTION evil.get(jsonb, text) RETURNS text LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'evil'; END$$;
CREATE OPERATOR evil.= (FUNCTION = evil.no, LEFTARG = text, RIGHTARG = text);
CREATE OPERATOR evil.<> (FUNCTION = evil.no, LEFTARG = text, RIGHTARG = text);
CREATE OPERATOR evil.= (FUNCTION = evil.no, LEFTARG = bigint, RIGHTARG = bigint);
CREATE OPERATOR evil.>= (FUNCTION = evil.no, LEFTARG = bigint, RIGHTARG = bigint);
CREATE OPERATOR evil.? (FUNCTION = evil.no, LEFTARG = jsonb, RIGHTARG = text);
CREATE OPERATOR evil.|| (FUNCTION = evil.no, LEFTARG = jsonb, RIGHTARG = jsonb);
CREATE OPERATOR evil.->> (FUNCTION = evil.get, LEFTARG = jsonb, RIGHTARG = text);
CREATE FUNCTION evil.now() RETURNS timestamptz LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'evil'; END$$;
CREATE FUNCTION evil.format(text, text) RETURNS text LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'evil'; END$$;
CREATE FUNCTION evil.jsonb_typeof(jsonb) RETURNS text LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'evil'; END$$;
CREATE FUNCTION evil.jsonb_each(jsonb) RETURNS text LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'evil'; END$$;
CREATE FUNCTION evil.quote_literal(text) RETURNS text LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'evil'; END$$;
CREATE FUNCTION evil.unnest(text[]) RETURNS SETOF text LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'evil'; END$$;
CREATE FUNCTION evil.quota_plan_with(text) RETURNS text LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'evil'; END$$;
CREATE FUNCTION evil.quota_export() RETURNS jsonb LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'evil'; END$$;
CREATE FUNCTION evil.quota_detach(regclass, text) RETURNS void LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'evil'; END$$;
CREATE TYPE evil.quota_decision AS (x int);
CREATE TYPE evil.quota_period AS ENUM ('month');
CREATE DOMAIN evil.text AS int;
CREATE DOMAIN evil.regclass AS int;
CREATE TABLE evil.plans (plan text, is_default boolean);
CREATE TABLE evil.usage (used bigint);
CREATE TABLE evil.pg_trigger (tgname text);
CREATE TABLE evil.pg_depend (objid oid);
CREATE TEMP TABLE plans AS SELECT 'evil' AS plan, true AS is_default;
CREATE TEMP TABLE usage AS SELECT 0 AS used;
CREATE TEMP TABLE features AS SELECT 'report' AS feature, 'flag' AS kind;
CREATE TEMP TABLE accounts (account text);
CREATE TEMP TABLE pg_proc (oid oid);
CREATE TEMP TABLE quota (x int);
CREATE TABLE app.t (account text);
SELECT quota_grant('quota_test_app', 'app') \g /dev/null
CREATE TEMP TABLE got (n int, what jsonb);
GRANT ALL ON got, usage, plans TO PUBLIC;
DELETE FROM quota.accounts;
DELETE FROM quota.limit_overrides;
DELETE FROM quota.usage;
UPDATE quota.plans SET plan = 'pro' WHERE plan = 'gold';

SET LOCAL search_path = evil, pg_temp, pg_catalog, public;
INSERT INTO got SELECT 1, pg_catalog.to_jsonb((public.quota_consume('evil', 'report', 4)).used);
INSERT INTO got SELECT 2, pg_catalog.to_jsonb((public.quota_evaluate('evil', 'report')).message);
INSERT INTO got SELECT 3, pg_catalog.to_jsonb(public.quota_plan_with('export'));
INSERT INTO got SELECT 4, public.error_of('SELECT public.quota_require_feature(''evil'', ''export'')');
INSERT INTO got SELECT 5, public.quota_apply(public.quota_export());
INSERT INTO got SELECT 6, public.quota_apply('{"features": {"report": {"kind": "counter"}, "export": {"kind": "flag"}}, "plans": {"free": {"default": true, "limits": {"report": {"month": {"limit": 6}}}}, "pro": {"features": {"export": true}}}}');
SELECT public.quota_attach('app.t', 'report', 'account') \g /dev/null
SELECT public.quota_attach('app.t', 'report', 'account', on_block => 'skip') \g /dev/null
INSERT INTO app.t VALUES ('evil'), ('evil'), ('evil');
INSERT INTO got SELECT 7, pg_catalog.to_jsonb((public.quota_refund('evil', 'report')).used);
SELECT public.quota_detach('app.t', 'report') \g /dev/null
SELECT public.quota_attach('app.t', 'report', 'account') \g /dev/null
INSERT INTO got SELECT 8, public.error_of('INSERT INTO app.t VALUES (''evil''), (''evil'')');
INSERT INTO quota.accounts (account, plan, timezone) VALUES ('hostile', 'pro', 'Asia/Tokyo');
UPDATE quota.plan_limits SET usage_limit = 7;
UPDATE quota.features SET kind = 'counter' WHERE feature OPERATOR(pg_catalog.=) 'export' AND false;
INSERT INTO got SELECT 9, public.error_of('DELETE FROM quota.features');
INSERT INTO got SELECT 10, pg_catalog.to_jsonb(pg_catalog.count(*)) FROM public.quota_consume_many('evil', '{"report": 1}');
SELECT public.quota_grant('quota_test_reader', 'reader') \g /dev/null
SELECT public.quota_revoke('quota_test_reader') \g /dev/null
INSERT INTO got SELECT 11, pg_catalog.to_jsonb(pg_catalog.has_function_privilege('quota_test_reader', 'public.quota_export()', 'EXECUTE'));
SELECT public.quota_set_plan('victim', 'pro'), public.quota_add_user('victim', 'u'), public.quota_set_override('victim', 'report', 'month', 8), public.quota_suspend('victim'),
	public.quota_activate('victim'), public.quota_sponsor('s', 'victim', 'pro'), public.quota_cancel('victim', true), public.quota_set_plan('victim', 'free', at_period_end => true) \g /dev/null
INSERT INTO got SELECT 14, pg_catalog.to_jsonb(a.next_plan) FROM quota.accounts a WHERE a.account OPERATOR(pg_catalog.=) 'victim';
INSERT INTO got SELECT 15, pg_catalog.to_jsonb(limit_then) FROM public.quota_preview('victim', 'free');
INSERT INTO got SELECT 16, pg_catalog.to_jsonb((public.quota_record('victim', 'report', 3)).used);
SELECT public.quota_reset('victim') \g /dev/null
INSERT INTO got SELECT 17, pg_catalog.to_jsonb((public.quota_evaluate('victim', 'report')).used);
INSERT INTO got SELECT 18, pg_catalog.to_jsonb(account) FROM public.quota_accounts_of('u');
INSERT INTO got SELECT 19, pg_catalog.to_jsonb(l.act) FROM quota.audit_log l ORDER BY l.id DESC LIMIT 1;
SET LOCAL ROLE quota_test_app;
INSERT INTO pg_temp.got SELECT 12, pg_catalog.to_jsonb(public.quota_plan_with('export'));
INSERT INTO pg_temp.got SELECT 13, pg_catalog.to_jsonb((public.quota_consume('evil', 'report', 100)).reason);
RESET ROLE;
SET LOCAL search_path = public;

SELECT is((SELECT what FROM got WHERE got.n = v.n), v.want, format('hostile search_path: %s', v.what))
FROM (VALUES
	(1, 'consume', '4'::jsonb), (2, 'evaluate', '"Approaching limit: 4/5 reports (80%)"'), (3, 'plan_with', '"pro"'),
	(4, 'require_feature', '{"state": "PT402", "message": "Plan \"free\" does not include export.", "hint": "Plan \"pro\" includes it.",
		"detail": "{\"error\":\"feature_not_in_plan\",\"feature\":\"export\",\"plan\":\"free\"}"}'),
	(5, 'apply and export', '{}'), (6, 'apply', '{"features": {"changed": ["report"], "removed": ["page"]}, "plans": {"changed": ["free", "pro"]}}'),
	(7, 'attach and refund', '5'), (9, 'trigger of features', '{"state": "2BP01", "message": "feature \"report\" has counted use", "detail": "",
		"hint": "Delete its rows from quota.usage first."}'), (10, 'consume_many', '1'), (11, 'allow and revoke', 'false'),
	(12, 'plan_with of an ordinary user', '"pro"'), (13, 'consume of an ordinary user', '"limit_reached"'),
	(14, 'set_plan and others', '"free"'), (15, 'preview', '8'), (16, 'what is to be reset', '3'), (17, 'reset', '0'), (18, 'accounts_of', '"victim"'), (19, 'audit', '"quota_reset"')
) v (n, what, want) ORDER BY n;
SELECT is((SELECT what->>'message' FROM got WHERE n = 8), 'Monthly report limit does not allow 2 more (5/6).', 'hostile search_path: insert');
SELECT is((SELECT count(*) FROM app.t), 2::bigint, 'hostile search_path: rows');
SELECT is((SELECT sum(used) FROM pg_temp.usage), 0::bigint, 'a temporary table called usage has counted nothing');
SELECT is((SELECT u.used FROM quota.usage u), 6::bigint, 'the counter has');

SELECT * FROM finish();
ROLLBACK;
