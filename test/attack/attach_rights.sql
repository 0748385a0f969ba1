/*
 * Level admin manages, and owns nothing by that: tables of others are not its to
 * attach, to detach or to look into.
 */
BEGIN;
SELECT no_plan();
\ir ../pgtap/_helpers.sql
SET LOCAL client_min_messages = error;

INSERT INTO quota.plans (plan, is_default) VALUES ('free', true);
INSERT INTO quota.features (feature, kind) VALUES ('report', 'counter'), ('mb', 'gauge');
INSERT INTO quota.plan_limits (plan, feature, period, usage_limit) VALUES ('free', 'report', 'month', 5), ('free', 'mb', 'lifetime', 1000);
CREATE ROLE quota_attack_admin;
CREATE ROLE quota_attack_owner;
SELECT quota_grant(r, 'admin') FROM unnest('{quota_attack_admin,quota_attack_owner}'::text[]) r \g /dev/null
CREATE SCHEMA attack;
GRANT ALL ON SCHEMA attack TO quota_attack_admin, quota_attack_owner;
SET ROLE quota_attack_owner;
CREATE TABLE attack.theirs (id int PRIMARY KEY, account text, n int);
CREATE TABLE attack.parts (id int, account text) PARTITION BY RANGE (id);
SELECT lives_ok($$SELECT quota_attach('attack.theirs', 'mb', 'account', 'n')$$, 'the owner attaches');
SELECT lives_ok($$SELECT quota_attach('attack.parts', 'report', 'account')$$, 'a partitioned one, too');
SET ROLE quota_attack_admin;
CREATE TABLE attack.mine (id int PRIMARY KEY, account text, n int);
SELECT is(error_of(s)->>'state', '42501', s)
FROM unnest(ARRAY[$$SELECT quota_attach('attack.theirs', 'mb', 'account')$$, $$SELECT quota_attach('attack.theirs', 'report', 'account')$$, $$SELECT quota_detach('attack.theirs', 'mb')$$,
	$$SELECT * FROM quota_reconcile('attack.theirs', 'mb')$$, $$SELECT * FROM quota_reconcile('attack.theirs', 'mb', true)$$, $$SELECT quota_attach('quota.usage', 'report', 'account')$$,
	$$SELECT quota_attach('pg_authid', 'report', 'rolname')$$]) s;
SELECT is(error_of(s)->>'state', '42501', s)
FROM unnest(ARRAY[$$INSERT INTO quota.attached (relation, feature, account_column, on_block, follows_rows) VALUES ('attack.mine', 'mb', 'account', 'raise', false)$$,
	$$UPDATE quota.attached SET account_column = 'id'$$, $$DELETE FROM quota.attached$$, $$DELETE FROM quota.charged_rows$$]) s;
RESET ROLE;
GRANT SELECT ON attack.theirs TO quota_attack_admin;
SET ROLE quota_attack_admin;
SELECT is(error_of($$SELECT * FROM quota_reconcile('attack.theirs', 'mb')$$), NULL, 'who may read a table may compare it');
SELECT is(error_of($$SELECT * FROM quota_reconcile('attack.theirs', 'mb', true)$$)->>'state', '42501', 'and not repair by it');
SELECT lives_ok($$SELECT quota_attach('attack.mine', 'mb', 'account', 'n')$$, 'its own it attaches');
SELECT is(current_user::text, 'quota_attack_admin', 'and is who it was');
SELECT error_of($$SELECT quota_attach('attack.mine', 'mb', 'nothing')$$)->>'state' = '42703' AS refused \gset
SELECT is(current_user::text, 'quota_attack_admin', 'after an error, too');
SELECT is(error_of('CREATE TABLE quota.left_behind ()')->>'state', '42501', 'with its own rights');
SELECT lives_ok($$SELECT quota_detach('attack.mine', 'mb')$$, 'and detaches it');
RESET ROLE;

SELECT * FROM finish();
ROLLBACK;
