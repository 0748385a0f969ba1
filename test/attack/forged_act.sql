/*
 * Nobody makes the audit log say that a change by hand was a function's.
 */
BEGIN;
SELECT no_plan();
\ir ../pgtap/_helpers.sql
SET LOCAL client_min_messages = warning;
CREATE ROLE quota_test_admin;
SELECT quota_grant('quota_test_admin', 'admin') \g /dev/null
INSERT INTO quota.accounts (account) VALUES ('a'), ('b');
CREATE FUNCTION last_act() RETURNS text LANGUAGE sql AS $$SELECT act FROM quota.audit_log ORDER BY id DESC LIMIT 1$$;

SELECT isnt(try_as('quota_test_admin', $$SET LOCAL quota.act = 'quota_stripe_event'$$), 'ok', 'there is no setting for it');
SELECT isnt(try_as('quota_test_admin', $$SELECT set_config('quota.act', 'quota_stripe_event', true)$$), 'ok', 'by no way');
SELECT is(try_as('quota_test_admin', $$UPDATE quota.accounts SET name = 'x'$$), 'ok', 'a statement by hand');
SELECT is(last_act(), 'update', 'is recorded as one');
SELECT is(try_as('quota_test_admin', attack), '42501', attack)
FROM unnest(ARRAY['SELECT quota.write_audit(''x'', ''x'', ''x'', ''{}'', ''{}'')', 'SELECT quota.quota_suspend(''a'', NULL)', 'SELECT quota.current_act()',
	'INSERT INTO quota.audit_log (effective_at, act, table_name, role, session_role) VALUES (now(), ''x'', ''x'', ''x'', ''x'')']) attack;

/* A function that fails leaves its name nowhere, nor does one whose work was called in between. */
SELECT is(try_as('quota_test_admin', $$SELECT quota_suspend('a'), 1 / 0 FROM quota.accounts$$), '22012', 'a function, and an error');
SELECT is(try_as('quota_test_admin', $$SELECT quota_clear_override('a', 'nothing')$$), '42704', 'an error in a function');
SELECT is(try_as('quota_test_admin', $$UPDATE quota.accounts SET name = 'y'$$), 'ok', 'a statement by hand again');
SELECT is(last_act(), 'update', 'is recorded as one again');
SELECT is(try_as('quota_test_admin', $$WITH s AS MATERIALIZED (SELECT quota_suspend('a')) UPDATE quota.accounts SET name = 'z' FROM s WHERE account = 'b'$$), 'ok', 'both in one');
SELECT is(last_act(), 'update', 'are recorded as what they are');

SELECT * FROM finish();
ROLLBACK;
