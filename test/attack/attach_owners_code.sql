/*
 * The owner of an attached table has code of its own in expressions, domains and
 * casts. Whoever makes it run, it runs as that owner: never as the superuser who
 * inserts, reconciles or attaches, and never as the role that inserts.
 */
BEGIN;
SELECT no_plan();
\ir ../pgtap/_helpers.sql
SET LOCAL client_min_messages = error;

INSERT INTO quota.plans (plan, is_default) VALUES ('free', true);
INSERT INTO quota.features (feature, kind) VALUES ('storage', 'gauge'), ('report', 'counter');
INSERT INTO quota.plan_limits (plan, feature, period, usage_limit) VALUES ('free', 'storage', 'lifetime', 100), ('free', 'report', 'month', 2);
CREATE ROLE quota_attack_owner;
CREATE ROLE quota_attack_app;
SELECT quota_grant('quota_attack_owner', 'admin') \g /dev/null
CREATE SCHEMA attack;
GRANT ALL ON SCHEMA attack TO quota_attack_owner;
GRANT USAGE ON SCHEMA attack TO quota_attack_app;

/*
 * Who has run the owner's code since the last call. Sequences tell, which
 * neither an aborted subtransaction nor the end of a function takes back.
 */
CREATE SEQUENCE attack.quota_attack_owner;
CREATE SEQUENCE attack.quota_attack_app;
CREATE SEQUENCE attack.quota_attack_heir;
CREATE SEQUENCE attack.another;
CREATE SEQUENCE attack.session;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA attack TO PUBLIC;
CREATE FUNCTION ran_as() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	who text := (SELECT string_agg(sequencename, ',' ORDER BY sequencename) FROM pg_sequences WHERE schemaname = 'attack' AND last_value IS NOT NULL);
BEGIN
	PERFORM setval(format('attack.%I', sequencename), 1, false) FROM pg_sequences WHERE schemaname = 'attack';
	RETURN who;
END $$;

SET ROLE quota_attack_owner;
/* says that it is immutable, and tells who runs it */
CREATE FUNCTION attack.evil(n int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
	PERFORM nextval(COALESCE(to_regclass('attack.' || quote_ident(current_user)), 'attack.another'));
	RETURN n;
END $$;
CREATE FUNCTION attack.evil(t text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
	PERFORM attack.evil(length(t));
	RETURN true;
END $$;
/* and one that tries to stay superuser after it */
CREATE FUNCTION attack.worse(n int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
	PERFORM attack.evil(n);
	PERFORM attack.worst();
	RETURN n;
END $$;
CREATE FUNCTION attack.worst() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	BEGIN
		CREATE TEMP TABLE attack_left ();
		PERFORM nextval('attack.session');
	EXCEPTION WHEN insufficient_privilege THEN
		NULL;
	END;
	BEGIN
		PERFORM set_config('role', 'none', false);
		PERFORM nextval('attack.session');
	EXCEPTION WHEN insufficient_privilege THEN
		NULL;
	END;
	PERFORM set_config('search_path', 'attack', false), set_config('attack.left', 'x', false);
END $$;
CREATE DOMAIN attack.state AS text CHECK (attack.evil(VALUE));
CREATE TABLE attack.files (id int PRIMARY KEY, account text, n int, state text DEFAULT 'new');
CREATE TABLE attack.jobs (id int PRIMARY KEY, account text, n int DEFAULT 1, state attack.state DEFAULT 'new', note attack.state);
GRANT INSERT, UPDATE, DELETE, SELECT ON attack.files, attack.jobs TO quota_attack_app;
SELECT lives_ok($$SELECT quota_attach('attack.files', 'storage', 'account', 'attack.evil(n) + attack.worse(0)', counted_when => 'attack.evil(state)')$$, 'attached by its owner');
RESET ROLE;
SELECT ran_as() \g /dev/null

SELECT lives_ok($$INSERT INTO attack.files VALUES (1, 'a', 5)$$, 'a superuser inserts');
SELECT is(ran_as(), 'quota_attack_owner', 'INSERT: as the owner');
UPDATE attack.files SET n = 6;
SELECT is(ran_as(), 'quota_attack_owner', 'UPDATE: as the owner');
DELETE FROM attack.files WHERE id = 1;
SELECT is(ran_as(), 'quota_attack_owner', 'DELETE: as the owner');
INSERT INTO attack.files VALUES (2, 'a', 5);
TRUNCATE attack.files;
SELECT is(ran_as(), 'quota_attack_owner', 'TRUNCATE: as the owner');
SELECT is(try_as('quota_attack_app', $$INSERT INTO attack.files VALUES (3, 'a', 5)$$), 'ok', 'an application inserts');
SELECT is(ran_as(), 'quota_attack_owner', 'INSERT of an application: as the owner');

SELECT isnt(current_setting('search_path'), 'attack', 'settings that it makes do not stay');
SELECT is(NULLIF(current_setting('attack.left', true), ''), NULL, 'also not of its own');

/* a table of another owner with the same feature */
CREATE TABLE mine (id int PRIMARY KEY, account text, n int);
INSERT INTO mine VALUES (1, 'a', 7);
SELECT lives_ok($$SELECT quota_attach('mine', 'storage', 'account', 'n')$$, 'a superuser attaches a table of its own');
SELECT is(COALESCE(ran_as(), 'quota_attack_owner'), 'quota_attack_owner', 'attach: as the owner, if at all');
SELECT is_empty($$SELECT * FROM quota_reconcile('mine', 'storage')$$, 'and reconciles it');
SELECT is(ran_as(), 'quota_attack_owner', 'reconcile: as the owner');
UPDATE quota.usage SET used = 99;
SELECT isnt_empty($$SELECT * FROM quota_reconcile('mine', 'storage', true)$$, 'and repairs it');
SELECT is(ran_as(), 'quota_attack_owner', 'repair: as the owner');
SELECT is((SELECT used FROM quota.usage WHERE account = 'a'), 12::bigint, 'rightly');

/* casts of the owner's, on the column that names the account */
SET ROLE quota_attack_owner;
CREATE TYPE attack.name AS (name text);
CREATE FUNCTION attack.name_text(n attack.name) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$BEGIN PERFORM attack.evil(length((n).name)); RETURN (n).name; END $$;
CREATE CAST (attack.name AS text) WITH FUNCTION attack.name_text(attack.name);
ALTER TABLE attack.files ALTER account TYPE attack.name USING ROW(account);
RESET ROLE;
SELECT ran_as() \g /dev/null
SELECT is(error_of($$SELECT * FROM quota_reconcile('mine', 'storage')$$)->>'state', '42804', 'a column that names no account any more');
SELECT is(COALESCE(ran_as(), 'quota_attack_owner'), 'quota_attack_owner', 'its cast is not run');

/* domains: values of a status and a message are made by us */
SELECT quota_attach('attack.jobs', 'report', 'account', on_block => 'mark', status_column => 'state', blocked_status => 'skipped', message_column => 'note') \g /dev/null
SELECT is(ran_as(), 'quota_attack_owner', 'a superuser attaches a table of another, whose blocked status is made as the owner');
INSERT INTO mine VALUES (2, 'x', 0);
SELECT ran_as() \g /dev/null
SET ROLE quota_attack_app;
INSERT INTO attack.jobs (id, account, state) SELECT i, 'a', NULL FROM generate_series(1, 3) i;
RESET ROLE;
/* PostgreSQL itself checks the columns' default as whoever inserts */
SELECT is(ran_as() ~ '(another|session)', false, 'a mark: never as a superuser');
SELECT is((SELECT state::text FROM attack.jobs WHERE id = 3), 'skipped', 'it is marked');

/* What the owner hands to others goes on as the others'. */
ALTER TABLE attack.files ALTER account TYPE text USING (account).name;
CREATE ROLE quota_attack_heir;
GRANT USAGE ON SCHEMA attack TO quota_attack_heir;
ALTER TABLE attack.files OWNER TO quota_attack_heir;
SELECT ran_as() \g /dev/null
INSERT INTO attack.files VALUES (9, 'a', 1);
SELECT is(ran_as(), 'quota_attack_heir', 'a table with a new owner: as that one');
SELECT is((SELECT string_agg(DISTINCT proowner::regrole::text, ',') FROM pg_proc WHERE proname LIKE 'attached\_%' AND pronamespace = 'quota'::regnamespace), 'quota_attack_heir',
	'which owns the functions, too');
REVOKE EXECUTE ON FUNCTION attack.evil(int) FROM PUBLIC;
SELECT is(error_of($$INSERT INTO attack.files VALUES (10, 'a', 1)$$)->>'state', '42501', 'and needs the right to execute what they call');

SELECT * FROM finish();
ROLLBACK;
