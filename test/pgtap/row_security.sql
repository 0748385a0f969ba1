/*
 * Row-level security: what roles that read the tables see, for which user, and
 * that it hides nothing from charging, management and the owner.
 */
BEGIN;
SELECT no_plan();
\ir _helpers.sql
SET LOCAL quota.now = '2026-03-10 12:00+00';
SELECT quota_apply('{"features": {"report": {"kind": "counter"}}, "plans": {"free": {"default": true, "limits": {"report": {"month": {"limit": 5}}}}, "pro": {}}}') \g /dev/null
CREATE ROLE quota_test_reader;
CREATE ROLE quota_test_admin;
CREATE ROLE quota_test_app;
CREATE ROLE quota_test_member IN ROLE quota_test_reader;
CREATE ROLE quota_test_operator BYPASSRLS IN ROLE quota_test_reader;
CREATE ROLE quota_test_hand;
SELECT quota_grant('quota_test_' || level, level) FROM unnest('{reader,admin,app}'::text[]) level \g /dev/null
GRANT USAGE ON SCHEMA quota TO quota_test_hand;
GRANT SELECT ON ALL TABLES IN SCHEMA quota TO quota_test_hand;

/* ann is a member of north and of aff, which sponsors s1 and s2; bob of south; s2 sponsors s3; nobody of lone. */
SELECT quota_add_user('north', 'ann', 'OWNER'), quota_add_user('aff', 'ann', 'AFFILIATE'), quota_add_user('south', 'bob'), quota_add_user('s1', 'carl'),
	quota_sponsor('aff', 's1', 'free'), quota_sponsor('aff', 's2', 'free'), quota_sponsor('s2', 's3', 'free'), quota_set_plan('lone', 'free') \g /dev/null
SELECT quota_consume(a, 'report'), quota_set_override(a, 'report', 'month', 9) FROM unnest('{north,aff,south,s1,s2,s3,lone,unknown}'::text[]) a \g /dev/null

CREATE FUNCTION seen(role text, user_id text) RETURNS TABLE (what text, accounts text) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM set_config('quota.user', user_id, true);
	FOREACH what IN ARRAY '{accounts,account_users,usage,limit_overrides,audit_log}'::text[] LOOP
		accounts := (SELECT string_agg(DISTINCT a, ' ' ORDER BY a) FROM as_role(role, format('SELECT COALESCE(account, ''(none)'') FROM quota.%I', what)) a);
		RETURN NEXT;
	END LOOP;
	PERFORM set_config('quota.user', '', true);
END $$;

SELECT results_eq(format('SELECT * FROM seen(%L, %L)', role, 'ann'), $$VALUES
	('accounts'::text, 'aff north s1 s2'::text), ('account_users', 'aff north s1'), ('usage', 'aff north s1 s2'),
	('limit_overrides', 'aff north s1 s2'), ('audit_log', NULL)$$, role || ': its accounts and those that they sponsor, not what those sponsor; nor who changed them')
FROM unnest('{quota_test_reader,quota_test_member}'::text[]) role;
SELECT results_eq($$SELECT * FROM seen('quota_test_reader', 'bob')$$, $$VALUES
	('accounts'::text, 'south'::text), ('account_users', 'south'), ('usage', 'south'), ('limit_overrides', 'south'), ('audit_log', NULL)$$, 'another user: its own');
SELECT results_eq(format('SELECT * FROM seen(%L, %L)', 'quota_test_reader', who), $$VALUES
	('accounts'::text, NULL::text), ('account_users', NULL), ('usage', NULL), ('limit_overrides', NULL), ('audit_log', NULL)$$, format('user "%s": nothing', who))
FROM unnest('{"",nobody,ANN,north}'::text[]) who;
SELECT is((SELECT string_agg(t, ' ') FROM as_role('quota_test_reader', 'SELECT plan FROM quota.plans ORDER BY plan') t), 'free pro', 'the catalogue is everybody''s');

/* The token of PostgREST. */
SET LOCAL request.jwt.claims = '{"sub": "bob"}';
SELECT is((SELECT accounts FROM seen('quota_test_reader', '') WHERE what = 'accounts'), 'south', 'the sub of the token');
SELECT is((SELECT accounts FROM seen('quota_test_reader', 'ann') WHERE what = 'accounts'), 'aff north s1 s2', 'quota.user comes first');
SET LOCAL request.jwt.claims = '{"role": "bob"}';
SELECT is((SELECT accounts FROM seen('quota_test_reader', '') WHERE what = 'accounts'), NULL, 'a token without sub');
SET LOCAL request.jwt.claims = 'bob';
SELECT is((SELECT accounts FROM seen('quota_test_reader', '') WHERE what = 'accounts'), '22P02', 'a token that is none');
SET LOCAL request.jwt.claims = '';
SELECT is((SELECT accounts FROM seen('quota_test_reader', '') WHERE what = 'accounts'), NULL, 'an empty token');

/* Who sees all. */
SELECT results_eq(format('SELECT * FROM seen(%L, %L)', role, who), $$VALUES
	('accounts'::text, 'aff lone north s1 s2 s3 south'::text), ('account_users', 'aff north s1 south'), ('usage', 'aff lone north s1 s2 s3 south unknown'),
	('limit_overrides', 'aff lone north s1 s2 s3 south unknown'), ('audit_log', '(none) aff lone north s1 s2 s3 south unknown')$$, format('%s for user "%s": everything', role, who))
FROM unnest(ARRAY['quota_test_admin', 'quota_test_operator', current_user]) role, unnest('{"",ann}'::text[]) who;
SELECT results_eq($$SELECT * FROM seen('quota_test_app', 'ann')$$, $$SELECT what, '42501' FROM unnest('{accounts,account_users,usage,limit_overrides,audit_log}'::text[]) what$$,
	'app: not even by right');
SELECT results_eq($$SELECT * FROM seen('quota_test_hand', 'ann')$$, $$SELECT what, '42501' FROM unnest('{accounts,account_users,usage,limit_overrides,audit_log}'::text[]) what$$,
	'a role that quota_grant does not know: nothing');

/* An admin writes everything; a reader, whatever it is granted by hand, nothing. */
SET LOCAL "quota.user" = 'ann';
SELECT is(try_as('quota_test_admin', $$UPDATE quota.accounts SET name = 'x' WHERE account = 'south'$$), 'ok', 'an admin for another''s user');
SELECT is((SELECT name FROM quota.accounts WHERE account = 'south'), 'x', 'has written');
GRANT INSERT, DELETE ON ALL TABLES IN SCHEMA quota TO quota_test_reader;
GRANT UPDATE ON quota.usage, quota.limit_overrides TO quota_test_reader;
SELECT is(try_as('quota_test_reader', $$INSERT INTO quota.accounts (account) VALUES ('mine')$$), '42501', 'a reader cannot insert');
SELECT is(try_as('quota_test_reader', $$INSERT INTO quota.account_users VALUES ('south', 'ann', 'OWNER')$$), '42501', 'nor make itself a member');
SELECT is(try_as('quota_test_reader', $$UPDATE quota.usage SET used = 0$$), 'ok', 'nor update');
SELECT is(try_as('quota_test_reader', $$DELETE FROM quota.usage$$), 'ok', 'nor delete');
SELECT is((SELECT sum(used) FROM quota.usage), 8::numeric, 'what it sees');

/* The functions see what they need, whoever calls. */
SET LOCAL "quota.user" = '';
SELECT is(try_as('quota_test_app', $$SELECT quota_consume('north', 'report')$$), 'ok', 'charging');
SELECT is((SELECT string_agg(l, '') FROM as_role('quota_test_app', $$SELECT used, usage_limit, plan FROM quota_evaluate('s1', 'report')$$) l), '1|9|free', 'deciding');
SELECT is((SELECT string_agg(l, ' ') FROM as_role('quota_test_app', $$SELECT account, role FROM quota_accounts_of('ann')$$) l), 'aff|AFFILIATE north|OWNER', 'the accounts of a user');
SELECT is((SELECT count(*) FROM as_role('quota_test_admin', $$SELECT quota_suspend('south'), quota_reset('south'), quota_preview('south', 'pro')$$)), 1::bigint, 'managing');
SELECT is((SELECT status FROM quota.accounts WHERE account = 'south'), 'suspended', 'has happened');
CREATE TABLE reports (account text);
SELECT quota_attach('reports', 'report', 'account') \g /dev/null
GRANT INSERT ON reports TO quota_test_hand;
SELECT is(try_as('quota_test_hand', $$INSERT INTO reports VALUES ('south')$$), 'PT403', 'a trigger sees the account');
SELECT is(try_as('quota_test_hand', $$INSERT INTO reports VALUES ('north')$$), 'ok', 'and charges it');
SELECT is((quota_evaluate('north', 'report')).used, 3::bigint, 'as it should');
SELECT is(try_as('quota_test_admin', $$DELETE FROM quota.features WHERE feature = 'report'$$), '2BP01', 'rules see the rows that they look for');

/* It is a plan's matter of one look a query. */
SELECT is((SELECT count(*) FROM as_role('quota_test_reader', 'EXPLAIN (COSTS OFF) SELECT used FROM quota.usage') l WHERE l LIKE '%SubPlan%'), 0::bigint, 'policies look once a query');

SELECT * FROM finish();
ROLLBACK;
