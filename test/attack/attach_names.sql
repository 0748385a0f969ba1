/*
 * Code that DDL runs, as a function in a partition key, can change what names
 * mean before the event trigger fires. It follows the tables that the statement
 * was about, and leaves those of others alone.
 */
BEGIN;
SELECT no_plan();
\ir ../pgtap/_helpers.sql
SET LOCAL client_min_messages = error;

INSERT INTO quota.plans (plan, is_default) VALUES ('free', true);
INSERT INTO quota.features (feature, kind) VALUES ('report', 'counter'), ('storage', 'gauge');
INSERT INTO quota.plan_limits (plan, feature, period, usage_limit) VALUES ('free', 'report', 'month', 3), ('free', 'storage', 'lifetime', 3);
CREATE ROLE quota_attack_owner;
CREATE ROLE quota_attack_nobody;
SELECT quota_grant('quota_attack_owner', 'admin') \g /dev/null
SELECT quota_grant('quota_attack_nobody', 'admin') \g /dev/null
CREATE SCHEMA attack_app AUTHORIZATION quota_attack_owner;
CREATE SCHEMA attack_nobody AUTHORIZATION quota_attack_nobody;
GRANT USAGE ON SCHEMA attack_app TO quota_attack_nobody;

SET ROLE quota_attack_owner;
CREATE TABLE attack_app.ev (k int, account text) PARTITION BY LIST (k);
CREATE TABLE attack_app.ev1 PARTITION OF attack_app.ev FOR VALUES IN (1);
CREATE TABLE attack_app.kid (k int, account text);
SELECT quota_attach('attack_app.ev', 'report', 'account') \g /dev/null

SET ROLE quota_attack_nobody;
CREATE FUNCTION attack_nobody.path(k int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
	PERFORM set_config('search_path', 'attack_app', true);
	RETURN k;
END $$;
CREATE TEMP TABLE before AS SELECT oid, tgname FROM pg_trigger WHERE tgrelid = 'attack_app.ev1'::regclass;

SET search_path = attack_nobody, public;
CREATE TABLE p (k int, account text) PARTITION BY LIST (attack_nobody.path(k));
SELECT quota_attach('p', 'report', 'account') \g /dev/null
CREATE TABLE ev1 (k int, account text);
INSERT INTO ev1 VALUES (1, 'a');
ALTER TABLE p ATTACH PARTITION ev1 FOR VALUES IN (1);
SELECT current_setting('search_path') AS path \gset
RESET search_path;
SELECT is(:'path'::text, 'attack_app', 'names meant something else');
SELECT results_eq($$SELECT oid, tgname FROM pg_trigger WHERE tgrelid = 'attack_app.ev1'::regclass$$, 'SELECT oid, tgname FROM before',
	'the triggers of another''s partition are the same');
SELECT is((SELECT string_agg(tgname, ' ') FROM pg_trigger WHERE tgrelid = 'attack_nobody.ev1'::regclass), 'quota_charge_report',
	'the partition that was attached has its own');

/* INHERIT, refused for what is followed */
CREATE TABLE attack_nobody.parent (k int, account text);
CREATE TABLE attack_nobody.kid (k int, account text);
SELECT quota_attach('attack_nobody.kid', 'storage', 'account') \g /dev/null
SET search_path = attack_nobody, public;
SELECT is(error_of('ALTER TABLE kid ADD c int DEFAULT attack_nobody.path(1), INHERIT attack_nobody.parent')->>'state', '42809', 'INHERIT');

/* OWNER TO, which the functions of expressions follow */
RESET search_path;
RESET ROLE;
GRANT quota_attack_owner TO quota_attack_nobody;
GRANT CREATE ON SCHEMA attack_nobody TO quota_attack_owner;
SET ROLE quota_attack_nobody;
SELECT quota_attach('attack_nobody.kid', 'storage', 'account', 'k + 1') \g /dev/null
SET search_path = attack_nobody, public;
ALTER TABLE kid ADD c int DEFAULT attack_nobody.path(1), OWNER TO quota_attack_owner;
RESET search_path;
RESET ROLE;
SELECT is((SELECT string_agg(DISTINCT proowner::regrole::text, ' ') FROM pg_proc WHERE proname ~ '^attached_\d+_amount$'), 'quota_attack_owner', 'OWNER TO');
REVOKE quota_attack_owner FROM quota_attack_nobody;

/* A partition of another role does not get the expressions of the parent's owner as its own. */
CREATE TABLE attack_nobody.q (k int, account text) PARTITION BY LIST (k);
CREATE TABLE attack_nobody.q1 PARTITION OF attack_nobody.q FOR VALUES IN (1);
ALTER TABLE attack_nobody.q OWNER TO quota_attack_nobody;
ALTER TABLE attack_nobody.q1 OWNER TO quota_attack_owner;
SET ROLE quota_attack_nobody;
SELECT quota_attach('attack_nobody.q', 'report', 'account', 'attack_nobody.path(k)') \g /dev/null
SELECT is(error_of('ALTER TABLE attack_nobody.q DETACH PARTITION attack_nobody.q1')->>'state', '42501', 'a partition of another role');
RESET ROLE;
SELECT is(error_of('ALTER TABLE attack_nobody.q DETACH PARTITION attack_nobody.q1'), NULL, 'a superuser may');

SELECT * FROM finish();
ROLLBACK;
