/*
 * Whatever the owner of an attached table sets, a partition is charged, and so is
 * one that comes as part of another statement.
 */
BEGIN;
SELECT no_plan();
\ir ../pgtap/_helpers.sql
SET LOCAL client_min_messages = error;

INSERT INTO quota.plans (plan, is_default) VALUES ('free', true);
INSERT INTO quota.features (feature, kind) VALUES ('report', 'counter');
INSERT INTO quota.plan_limits (plan, feature, period, usage_limit) VALUES ('free', 'report', 'month', 3);
CREATE ROLE quota_attack_owner;
SELECT quota_grant('quota_attack_owner', 'admin') \g /dev/null
CREATE SCHEMA attack;
GRANT ALL ON SCHEMA attack TO quota_attack_owner;
GRANT CREATE ON DATABASE :"DBNAME" TO quota_attack_owner;
SET ROLE quota_attack_owner;
CREATE TABLE attack.p (id int, account text) PARTITION BY RANGE (id);
SELECT quota_attach('attack.p', 'report', 'account') \g /dev/null
SET row_security = off;
CREATE TABLE attack.p1 PARTITION OF attack.p FOR VALUES FROM (0) TO (100);
CREATE TABLE attack.p2 (id int, account text);
ALTER TABLE attack.p ATTACH PARTITION attack.p2 FOR VALUES FROM (100) TO (200);
CREATE SCHEMA attack_more
	CREATE TABLE p3 PARTITION OF attack.p FOR VALUES FROM (200) TO (300);
CREATE TABLE attack.p4 (id int, account text) PARTITION BY RANGE (id);
CREATE TABLE attack.p41 PARTITION OF attack.p4 FOR VALUES FROM (300) TO (350);
ALTER TABLE attack.p ATTACH PARTITION attack.p4 FOR VALUES FROM (300) TO (400);
CREATE TABLE attack.p42 PARTITION OF attack.p4 FOR VALUES FROM (350) TO (400);
SELECT is(error_of(format('INSERT INTO %s SELECT %s, %L FROM generate_series(1, 10)', t, id, t))->>'state', 'PT429', t || ' refuses')
FROM (VALUES ('attack.p1', 1), ('attack.p2', 101), ('attack_more.p3', 201), ('attack.p4', 301), ('attack.p41', 301), ('attack.p42', 351)) v (t, id);
SELECT lives_ok(format('INSERT INTO %s SELECT %s, %L FROM generate_series(1, 3)', t, id, t), t || ' charges')
FROM (VALUES ('attack.p1', 1), ('attack.p2', 101), ('attack_more.p3', 201), ('attack.p4', 301), ('attack.p41', 301), ('attack.p42', 351)) v (t, id);
ALTER TABLE attack.p DETACH PARTITION attack.p1;
SELECT is(error_of($$INSERT INTO attack.p1 VALUES (1, 'attack.p1')$$)->>'state', 'PT429', 'a partition that is detached refuses as before');
ALTER TABLE attack.p DETACH PARTITION attack.p4;
SELECT is(error_of($$INSERT INTO attack.p41 VALUES (301, 'attack.p41')$$)->>'state', 'PT429', 'and so does what it consists of');
RESET row_security;
RESET ROLE;
SELECT is((SELECT string_agg(account || '=' || used, ' ' ORDER BY account) FROM quota.usage),
	'attack.p1=3 attack.p2=3 attack.p4=3 attack.p41=3 attack.p42=3 attack_more.p3=3', 'each has its own');

/* What a backend keeps of partitions that come and go does not grow without end. */
CREATE TABLE fleeting (id int, account text) PARTITION BY RANGE (id);
SELECT quota_attach('fleeting', 'report', 'account') \g /dev/null
DO $$
BEGIN
	FOR i IN 1..300 LOOP
		CREATE TABLE fleeting1 PARTITION OF fleeting FOR VALUES FROM (0) TO (100);
		EXECUTE format('INSERT INTO fleeting1 VALUES (1, ''f%s'')', i);
		DROP TABLE fleeting1;
	END LOOP;
END $$;
SELECT cmp_ok((SELECT count(*) FROM pg_backend_memory_contexts WHERE name = 'quota attachment'), '<', 100::bigint, 'bindings of dropped partitions are freed');

/* Nor does what it keeps of one table, whose expressions are planned again after any function was made. */
CREATE TABLE planned (id int, account text);
SELECT quota_attach('planned', 'report', 'account', 'CASE id WHEN 1 THEN 0 WHEN 2 THEN 0 WHEN 3 THEN 0 ELSE 0 END') \g /dev/null
DO $$
BEGIN
	FOR i IN 1..300 LOOP
		CREATE OR REPLACE FUNCTION nothing() RETURNS int LANGUAGE sql AS 'SELECT 1';
		INSERT INTO planned VALUES (4, 'p');
	END LOOP;
END $$;
SELECT cmp_ok((SELECT max(total_bytes) FROM pg_backend_memory_contexts WHERE name = 'quota attachment'), '<', 20000::bigint, 'expressions that were planned before are freed');

SELECT * FROM finish();
ROLLBACK;
