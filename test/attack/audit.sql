/*
 * A level admin tries to change the catalogue and counters without a trace: by
 * row_security, by what foreign keys cascade, by rows of its own.
 */
BEGIN;
SELECT no_plan();
\ir ../pgtap/_helpers.sql
SET LOCAL quota.now = '2026-03-10 12:00+00';
SELECT quota_apply('{"features": {"report": {"kind": "counter"}, "export": {"kind": "flag"}},
	"plans": {"free": {"default": true, "limits": {"report": {"month": {"limit": 5}}}},
		"pro": {"limits": {"report": {"month": {"limit": 50}}}, "features": {"export": true}}}}') \g /dev/null
INSERT INTO quota.accounts (account, plan) VALUES ('acme', 'pro');
CREATE ROLE quota_test_admin;
SELECT quota_grant('quota_test_admin', 'admin') \g /dev/null
SELECT max(id) AS seen FROM quota.audit_log \gset

SELECT is(try_as('quota_test_admin', 'SET LOCAL row_security = off; UPDATE quota.plans SET plan = ''pro2'' WHERE plan = ''pro'''), 'ok', 'a plan is renamed with row_security off');
SELECT results_eq(format('SELECT act, table_name, role FROM quota.audit_log WHERE id > %s ORDER BY table_name', :seen), $$VALUES
	('update' COLLATE "C", 'accounts'::text, 'quota_test_admin'::text), ('update', 'plan_features', 'quota_test_admin'),
	('update', 'plan_limits', 'quota_test_admin'), ('update', 'plans', 'quota_test_admin')$$, 'all that follows is recorded');
SET LOCAL row_security = on;
SELECT max(id) AS seen FROM quota.audit_log \gset
SELECT is(try_as('quota_test_admin', $$INSERT INTO quota.usage (account, feature, period, period_start, used) VALUES ('acme', 'report', 'month', '2026-03-01 00:00+00', 49)$$), 'ok', 'a counter by hand');
SELECT results_eq(format('SELECT act, table_name, account, after->0->>''used'' FROM quota.audit_log WHERE id > %s', :seen),
	$$VALUES ('insert' COLLATE "C", 'usage'::text, 'acme' COLLATE "C", '49'::text)$$, 'is recorded');
SELECT max(id) AS seen FROM quota.audit_log \gset
SET LOCAL ROLE quota_test_admin;
COPY quota.plans (plan, name) FROM stdin;
mine	Mine
\.
RESET ROLE;
SELECT results_eq(format('SELECT act, table_name FROM quota.audit_log WHERE id > %s', :seen), $$VALUES ('insert' COLLATE "C", 'plans'::text)$$, 'COPY by another than the owner is no restore');

/* Code of a table's owner that whoever inserts runs: nothing is changed in their name. */
CREATE SCHEMA attack AUTHORIZATION quota_test_admin;
CREATE ROLE quota_test_app;
GRANT USAGE ON SCHEMA attack TO quota_test_app;
SET LOCAL ROLE quota_test_admin;
CREATE FUNCTION attack.really() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	UPDATE quota.accounts SET plan = 'free' WHERE account = 'acme';
END $$;
CREATE FUNCTION attack.change(n int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
	PERFORM attack.really();
	RETURN n;
END $$;
CREATE TABLE attack.t (n int, account text);
GRANT INSERT ON attack.t TO quota_test_app;
SELECT quota_attach('attack.t', 'report', 'account', 'attack.change(n)') \g /dev/null
RESET ROLE;
SELECT is(try_as('quota_test_app', $$INSERT INTO attack.t VALUES (1, 'acme')$$), '42501', 'an expression changes no account');
SELECT is(try_as('quota_test_admin', $$INSERT INTO attack.t VALUES (1, 'acme')$$), '42501', 'not for its owner either');
SELECT is((SELECT plan FROM quota.accounts WHERE account = 'acme'), 'pro2', 'the plan is as it was');

SELECT * FROM finish();
ROLLBACK;
