/*
 * A domain's check is code of a table's owner that runs when an expression is
 * prepared, not when it is planned, if a constraint anywhere has changed since. What
 * it does there must not take away what the trigger has read before: it makes the
 * attachment of the very table be read anew, and fires as many other triggers as it
 * takes to have unused ones freed.
 */
BEGIN;
SELECT no_plan();
\ir ../pgtap/_helpers.sql
SET LOCAL client_min_messages = error;

INSERT INTO quota.plans (plan, is_default) VALUES ('free', true);
INSERT INTO quota.features (feature, kind) VALUES ('report', 'counter'), ('part', 'counter');
INSERT INTO quota.plan_limits (plan, feature, period, usage_limit) VALUES ('free', 'report', 'month', 1000), ('free', 'part', 'month', 1000);
CREATE ROLE quota_attack_owner;
SELECT quota_grant('quota_attack_owner', 'admin') \g /dev/null
CREATE SCHEMA attack;
GRANT ALL ON SCHEMA attack TO quota_attack_owner;

SET ROLE quota_attack_owner;
CREATE TABLE attack.armed (yes boolean);
INSERT INTO attack.armed VALUES (false);
CREATE TABLE attack.other (n integer);
CREATE TABLE attack.many (n integer, account text) PARTITION BY LIST (n);
SELECT format('CREATE TABLE attack.many_%1$s PARTITION OF attack.many FOR VALUES IN (%1$s)', n) FROM generate_series(1, 140) n \gexec
SELECT quota_attach('attack.many', 'part', 'account') \g /dev/null
CREATE FUNCTION attack.run() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	IF (SELECT yes FROM attack.armed) THEN
		UPDATE attack.armed SET yes = false;
		GRANT SELECT ON attack.rows TO PUBLIC;
		FOR n IN 1..140 LOOP
			EXECUTE format('INSERT INTO attack.many_%1$s VALUES (%1$s, ''a'')', n);
		END LOOP;
	END IF;
	RETURN true;
END $$;
CREATE FUNCTION attack.check_value(integer) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS $$
DECLARE
	result boolean;
BEGIN
	EXECUTE 'SELECT attack.run()' INTO result;
	RETURN result;
END $$;
CREATE DOMAIN attack.value AS integer CHECK (VALUE > 0 OR attack.check_value(1));
CREATE TABLE attack.rows (id integer PRIMARY KEY, account text, n integer, at timestamptz DEFAULT now());
SELECT quota_attach('attack.rows', 'report', 'account', counted_when => 'n::attack.value IS NOT NULL') \g /dev/null

INSERT INTO attack.rows VALUES (1, 'a', 1);
UPDATE attack.armed SET yes = true;
ALTER TABLE attack.other ADD CHECK (n > 0);
INSERT INTO attack.rows VALUES (2, 'a', 1);
SELECT is((SELECT yes FROM attack.armed), false, 'the check has run');
INSERT INTO attack.rows VALUES (3, 'a', 1);
RESET ROLE;

SELECT is((SELECT string_agg(feature || ' ' || used, ', ' ORDER BY feature) FROM quota.counters), 'part 140, report 3', 'all rows are charged');
SELECT is_empty('SELECT FROM quota.charged_rows', 'the time column was not lost: no row needs an entry');

SELECT * FROM finish();
ROLLBACK;
