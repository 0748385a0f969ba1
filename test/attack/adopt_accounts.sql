/*
 * Two adopted tables, and accounts that no table has: who may write one table gets
 * nothing by it of accounts that the table does not have.
 */
SELECT no_plan();
BEGIN;
\ir ../pgtap/_helpers.sql
CREATE FUNCTION level_of(role text, level text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM quota_grant(role, level);
END $$;
SET LOCAL quota.now = '2026-03-10 12:00+00';
SELECT quota_apply('{"features": {"report": {"kind": "counter"}},
	"plans": {"free": {"default": true, "limits": {"report": {"month": {"limit": 5}}}}, "pro": {"limits": {"report": {"month": {"limit": 100}}}}}}') \g /dev/null
CREATE TABLE companies (id text PRIMARY KEY, name text, creator text);
CREATE TABLE people (id text PRIMARY KEY, name text, creator text);
CREATE TABLE third (id text PRIMARY KEY);
INSERT INTO companies VALUES ('acme', 'Acme', 'ann'), ('zeta', 'Zeta', 'zoe');
INSERT INTO people VALUES ('paul', 'Paul', 'paul');
SELECT quota_adopt('companies', 'id', 'name', owner_column => 'creator'), quota_adopt('people', 'id', 'name', owner_column => 'creator') \g /dev/null
SELECT quota_set_plan('acme', 'pro'), quota_consume('acme', 'report', 7) \g /dev/null
CREATE ROLE quota_test_mallory;
GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON people TO quota_test_mallory;
CREATE FUNCTION does(statement text) RETURNS text LANGUAGE sql AS $$SELECT try_as('quota_test_mallory', statement)$$;
CREATE TEMP VIEW state AS
	SELECT a.account COLLATE "default" AS account, a.name, a.plan COLLATE "default" AS plan, a.status,
		(SELECT string_agg(u.user_id || ' ' || u.role, ', ' ORDER BY u.user_id) COLLATE "default" FROM quota.account_users u WHERE u.account = a.account) AS users
	FROM quota.accounts a;
CREATE FUNCTION state_of(account text) RETURNS text LANGUAGE sql AS $$
	SELECT format('%s, %s, %s, %s', COALESCE(name, '-'), COALESCE(plan, '-'), status, COALESCE(users, '-')) FROM state s WHERE s.account = $1
$$;

/* A key of another table's account. */
SELECT is(does($$INSERT INTO people VALUES ('acme', 'Mine', 'mallory')$$), '23505', 'INSERT of another table''s key');
SELECT is(does($$INSERT INTO people SELECT * FROM (VALUES ('new', 'New', 'mallory'), ('acme', 'Mine', 'mallory')) v ON CONFLICT (id) DO UPDATE SET name = 'Mine'$$), '23505', 'among others');
SELECT is(does($$INSERT INTO people VALUES ('q', 'Q', 'mallory'); UPDATE people SET id = 'acme' WHERE id = 'q'$$), '23505', 'UPDATE to it');
SELECT is(does($$MERGE INTO people p USING (VALUES ('acme')) v (id) ON p.id = v.id WHEN NOT MATCHED THEN INSERT VALUES (v.id, 'Mine', 'mallory')$$), '23505', 'MERGE');
SELECT is(does($$SET LOCAL row_security = off; INSERT INTO people VALUES ('acme', 'Mine', 'mallory')$$), '23505', 'with row_security off');
RESET row_security;
SELECT is(error_of($$INSERT INTO people VALUES ('acme', 'Mine', 'mallory')$$), '{"state": "23505", "message": "key \"acme\" is taken",
	"detail": "It is that of an account that this table does not have.", "hint": ""}', 'the error tells nothing of the account');
SELECT is(state_of('acme'), 'Acme, pro, active, ann OWNER', 'the account is as it was');
SELECT is_empty($$SELECT FROM people WHERE id IN ('acme', 'new', 'q')$$, 'and no row went in');
SELECT throws_ok($$INSERT INTO third VALUES ('paul'); SELECT quota_adopt('third', 'id')$$, '23505', 'key "paul" is taken', 'adopting a table takes nothing from another either');

/* Rows that went in unseen do not help. */
ALTER TABLE people DISABLE TRIGGER USER;
INSERT INTO people VALUES ('acme', 'Mine', 'mallory'), ('zeta', 'Mine', 'mallory');
ALTER TABLE people ENABLE TRIGGER USER;
SELECT is(does($$UPDATE people SET name = 'Mine too' WHERE id = 'acme'$$), '23505', 'UPDATE of a row that names it');
SELECT is(does($$UPDATE people SET id = 'mine' WHERE id = 'zeta'$$), 'ok', 'a new key for it');
SELECT is(state_of('zeta'), 'Zeta, -, active, zoe OWNER', 'renames nothing');
SELECT is(does($$DELETE FROM people WHERE id = 'acme'$$), 'ok', 'DELETE of it');
SELECT is(state_of('acme'), 'Acme, pro, active, ann OWNER', 'deletes nothing');
ALTER TABLE people DISABLE TRIGGER USER;
INSERT INTO people VALUES ('acme', 'Mine', 'mallory');
ALTER TABLE people ENABLE TRIGGER USER;
SAVEPOINT full_of_it;
SELECT is(does('TRUNCATE people'), 'ok', 'TRUNCATE');
SELECT results_eq('SELECT account FROM state ORDER BY 1', $$VALUES ('acme'), ('zeta')$$, 'takes its own accounts alone');
ROLLBACK TO full_of_it;
DELETE FROM people WHERE id IN ('acme', 'mine');

/* Suspended is suspended. */
SELECT quota_suspend('paul') \g /dev/null
SELECT is(does('DELETE FROM people'), 'ok', 'the row of a suspended account goes');
SELECT is((quota_evaluate('paul', 'report')).reason, 'suspended', 'it is suspended without');
SELECT is(does($$INSERT INTO people VALUES ('paul', 'Paul again', 'mallory')$$), 'ok', 'it comes back');
SELECT is(state_of('paul'), 'Paul again, -, suspended, mallory OWNER', 'and is suspended');
SELECT is(does($$UPDATE people SET id = 'saul' WHERE id = 'paul'$$), 'ok', 'it gets another key');
SELECT is(does($$INSERT INTO people VALUES ('paul', 'Paul', 'paul')$$), 'ok', 'and the old one comes back');
SELECT results_eq($$SELECT account, status FROM state WHERE account IN ('paul', 'saul') ORDER BY 1$$, $$VALUES ('paul', 'suspended'), ('saul', 'suspended')$$, 'both are suspended');
SELECT is(does('TRUNCATE people'), 'ok', 'all rows go');
SELECT is(does($$INSERT INTO people VALUES ('paul', 'Paul', 'paul'), ('saul', 'Saul', 'paul')$$), 'ok', 'and come back');
SELECT results_eq($$SELECT account, status FROM state WHERE account IN ('paul', 'saul') ORDER BY 1$$, $$VALUES ('paul', 'suspended'), ('saul', 'suspended')$$, 'both are suspended still');
SELECT quota_activate('paul') \g /dev/null
SELECT is((quota_evaluate('paul', 'report')).allowed, true, 'until it is activated');
SELECT is(does('DELETE FROM people'), 'ok', 'then it goes');
SELECT is(state_of('paul'), NULL, 'for good');

/* So is what else an operator has taken away. */
INSERT INTO people VALUES ('rita', 'Rita', 'rita'), ('rosa', 'Rosa', 'rosa');
SELECT quota_set_override('rita', 'report', 'month', 1), quota_set_override('rosa', 'report', 'month', 50), quota_set_override('rosa', 'report', 'day', 2),
	quota_set_pool('rosa', 'saul') \g /dev/null
SELECT is(does($$DELETE FROM people; INSERT INTO people VALUES ('rita', 'Rita', 'rita'), ('rosa', 'Rosa', 'rosa')$$), 'ok', 'rows of accounts with overrides go and come');
SELECT is((quota_evaluate('rita', 'report')).usage_limit, 1::bigint, 'less than the plan has: it stays');
SELECT results_eq($$SELECT period::text, usage_limit FROM quota.limit_overrides WHERE account = 'rosa'$$, $$VALUES ('day', 2::bigint)$$, 'more does not');
SELECT is((quota_evaluate('rosa', 'report')).reason, 'suspended', 'nor does a member leave a suspended pool');

/* Accounts that were made otherwise. */
SELECT quota_add_user('hand', 'ann', 'OWNER'), quota_set_plan('hand', 'pro'), quota_set_plan('paid', 'pro') \g /dev/null
SELECT is(does($$INSERT INTO people VALUES ('hand', 'Mine', 'mallory'), ('paid', 'Paid', 'pia')$$), 'ok', 'rows for accounts that no table has');
SELECT results_eq($$SELECT account, plan, users FROM state WHERE account IN ('hand', 'paid') ORDER BY 1$$, $$VALUES
	('hand', 'pro', 'ann OWNER'), ('paid', 'pro', 'pia OWNER')$$, 'nobody becomes the owner of one that has members');
SELECT is(does($$UPDATE people SET creator = 'ann' WHERE id = 'hand'; UPDATE people SET creator = 'mallory' WHERE id = 'hand'$$), 'ok', 'nor later');
SELECT is((SELECT users FROM state WHERE account = 'hand'), 'ann OWNER', 'by way of its owner''s name');
SELECT is(does($$UPDATE people SET id = 'taken', creator = 'mallory' WHERE id = 'hand'$$), 'ok', 'another key');
SELECT results_eq($$SELECT account, plan, users FROM state WHERE account IN ('hand', 'taken') ORDER BY 1$$, $$VALUES
	('hand', 'pro', 'ann OWNER'), ('taken', NULL, 'mallory OWNER')$$, 'does not take it away');
SELECT is(does($$INSERT INTO people VALUES ('hand', 'Mine', 'mallory'); DELETE FROM people WHERE id = 'hand'$$), 'ok', 'a row that comes and goes');
SELECT is((SELECT plan || ' ' || users FROM state WHERE account = 'hand'), 'pro ann OWNER', 'leaves it');
INSERT INTO people VALUES ('hand', 'By its name', 'bob');
SELECT quota_adopt('people', 'id', 'name', owner_column => 'creator') \g /dev/null
SELECT is((SELECT users FROM state WHERE account = 'hand'), 'ann OWNER, bob OWNER', 'adopting it is another matter');
SELECT is(does($$UPDATE people SET id = 'paid' WHERE id = 'taken'$$), '23505', 'a key that another row has');

/* Whose table lets go, or is dropped. */
SELECT quota_unadopt('companies') \g /dev/null
SELECT is(does($$INSERT INTO people VALUES ('zeta', 'Zeta', 'zed')$$), 'ok', 'an account that its table let go');
SELECT is((SELECT users FROM state WHERE account = 'zeta'), 'zoe OWNER', 'keeps its members');
DROP TABLE people;
SELECT is_empty('SELECT FROM quota.accounts WHERE adopted_by IS NOT NULL', 'a table that is dropped has no accounts');
SELECT is_empty('SELECT FROM quota.adopted', 'and is forgotten');
INSERT INTO third VALUES ('hand'), ('zeta');
SELECT is(quota_adopt('third', 'id'), '{"added": 0, "changed": 2, "owners": 0}', 'another table takes them over');

SELECT * FROM finish();
ROLLBACK;
