/*
 * Gauges that follow the rows of a table: every way in which a row comes, changes
 * and goes, and what the limit refuses.
 */
BEGIN;
SELECT no_plan();
\ir _helpers.sql
SET LOCAL client_min_messages = warning;

INSERT INTO quota.plans (plan, is_default) VALUES ('free', true), ('big', false);
INSERT INTO quota.features (feature, kind, unit) VALUES ('mb', 'gauge', 'MB'), ('seat', 'gauge', NULL);
INSERT INTO quota.plan_limits (plan, feature, period, usage_limit) VALUES ('free', 'mb', 'lifetime', 100), ('free', 'seat', 'lifetime', 3), ('big', 'mb', 'lifetime', NULL);
INSERT INTO quota.accounts (account, plan) VALUES ('big', 'big');

CREATE FUNCTION levels(feature text DEFAULT 'mb') RETURNS text LANGUAGE sql AS $$
	SELECT COALESCE(string_agg(account || '=' || used, ' ' ORDER BY account), '') FROM quota.usage u WHERE u.feature = $1 AND used <> 0
$$;
/* what the rows come to, without anything of ours */
CREATE FUNCTION truth(tables regclass[], amount text DEFAULT 'mb') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
BEGIN
	EXECUTE format('SELECT COALESCE(string_agg(account || ''='' || n, '' '' ORDER BY account COLLATE "C"), '''') FROM (SELECT account, sum(n) n FROM (%s) r GROUP BY 1) s WHERE n <> 0',
		(SELECT string_agg(format('SELECT account, (%s) AS n FROM %s', amount, t), ' UNION ALL ') FROM unnest(tables) t)) INTO result;
	RETURN result;
END $$;
CREATE TEMP TABLE written AS SELECT 0::bigint AS n;
CREATE FUNCTION writes() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	before bigint := (SELECT n FROM written);
BEGIN
	UPDATE written SET n = (SELECT n_tup_ins + n_tup_upd FROM pg_stat_xact_user_tables WHERE relid = 'quota.usage'::regclass);
	RETURN (SELECT n FROM written) - before;
END $$;

CREATE TABLE f (id int PRIMARY KEY, account text, mb int DEFAULT 1, note text UNIQUE);
INSERT INTO f VALUES (1, 'a', 10), (2, 'a', 5), (3, 'b', 7), (4, 'c', 0);
SELECT is(quota_attach('f', 'mb', 'account', 'mb')::text, '', 'attached');
SELECT is(levels(), 'a=15 b=7', 'rows that are there are counted');
SELECT is((SELECT string_agg(tgname, ' ' ORDER BY tgname) FROM pg_trigger WHERE tgrelid = 'f'::regclass AND NOT tgisinternal),
	'quota_charge_mb quota_delete_mb quota_truncate_mb quota_update_mb', 'by four triggers');
SELECT quota_attach('f', 'mb', 'account', 'mb') \g /dev/null
SELECT is(levels(), 'a=15 b=7', 'attached again: nothing doubles');

/* INSERT, UPDATE, DELETE. */
INSERT INTO f VALUES (5, 'a', 20), (6, 'c', 3), (7, 'a', 0);
SELECT is(levels(), 'a=35 b=7 c=3', 'INSERT');
UPDATE f SET mb = mb + 1;
SELECT is(levels(), 'a=39 b=8 c=5', 'UPDATE of the amount');
UPDATE f SET account = 'd' WHERE id IN (5, 6);
SELECT is(levels(), 'a=18 b=8 c=1 d=25', 'UPDATE of the account moves the amount');
UPDATE f SET account = CASE account WHEN 'a' THEN 'b' WHEN 'b' THEN 'a' ELSE account END, mb = mb * 2;
SELECT is(levels(), 'a=16 b=36 c=2 d=50', 'UPDATE of both');
DELETE FROM f WHERE id IN (1, 4);
SELECT is(levels(), 'a=16 b=14 d=50', 'DELETE');
SELECT is(levels(), truth('{f}'), 'as the rows say');
SAVEPOINT before;
SELECT writes() IS NULL \g /dev/null
UPDATE f SET note = id::text;
UPDATE f SET mb = mb, account = account;
UPDATE f SET id = id + 100;
UPDATE f SET mb = 0 WHERE false;
DELETE FROM f WHERE false;
INSERT INTO f SELECT 1, 'x' WHERE false;
SELECT is(writes(), 0::bigint, 'what changes no level writes nothing');
RELEASE before;
SELECT writes() IS NULL \g /dev/null
SAVEPOINT before;
UPDATE f SET mb = mb + 1 WHERE account IN ('a', 'b');
SELECT is(writes(), 2::bigint, 'one write an account and statement');
UPDATE f SET mb = mb - 1 WHERE account IN ('a', 'b');
SELECT is(levels(), 'a=16 b=14 d=50', 'there and back');
RELEASE before;

/* The limit. */
SELECT throws_ok($$UPDATE f SET mb = 101 WHERE id = 103$$, 'PT429', NULL, 'a row that grows over the limit is refused');
SELECT lives_ok($$UPDATE f SET mb = 100 WHERE id = 103$$, 'up to it is not');
SELECT throws_ok($$UPDATE f SET account = 'a' WHERE id = 105$$, 'PT429', NULL, 'a row that moves to an account without room');
SELECT throws_ok($$INSERT INTO f VALUES (8, 'a', 1)$$, 'PT429', NULL, 'an INSERT');
SELECT lives_ok($$INSERT INTO f VALUES (8, 'a', 0)$$, 'one of nothing goes in');
SELECT is(levels(), 'a=100 b=14 d=50', 'and the levels are as they were');
UPDATE f SET mb = 50 WHERE id = 103;
SELECT lives_ok($$UPDATE f SET account = CASE account WHEN 'a' THEN 'd' ELSE 'a' END WHERE id IN (103, 105)$$, 'two full ones that change places: the net counts');
SELECT is(levels(), truth('{f}'), 'exactly');
INSERT INTO f VALUES (9, 'big', 5000);
UPDATE f SET mb = 4000 WHERE id = 9;
SELECT throws_ok($$UPDATE f SET account = 'b' WHERE id = 9$$, 'PT429', NULL, 'from a large plan to a small one');
SELECT is(levels(), truth('{f}'), 'the old account keeps it');
UPDATE quota.plan_limits SET usage_limit = 1 WHERE plan = 'free' AND feature = 'mb';
SELECT lives_ok($$UPDATE f SET mb = mb / 2$$, 'over a limit that was lowered: less is never refused');
SELECT lives_ok($$DELETE FROM f WHERE id = 103$$, 'nor is DELETE');
INSERT INTO quota.accounts (account, status) VALUES ('a', 'suspended');
SELECT lives_ok($$UPDATE f SET mb = mb - 1 WHERE account = 'a' AND mb > 0$$, 'of a suspended account neither');
SELECT throws_ok($$UPDATE f SET mb = mb + 1 WHERE account = 'a'$$, 'PT403', NULL, 'more is');
SELECT is(levels(), truth('{f}'), 'exactly');
UPDATE quota.accounts SET status = 'active' WHERE account = 'a';
UPDATE quota.plan_limits SET usage_limit = 100 WHERE plan = 'free' AND feature = 'mb';
UPDATE quota.usage SET used = 1 WHERE account = 'big';
SELECT lives_ok($$DELETE FROM f WHERE account = 'big'$$, 'a level that is too low already');
SELECT is((SELECT used FROM quota.usage WHERE account = 'big'), 0::bigint, 'goes to 0 and not below');

/* Ways in and out. */
TRUNCATE f;
SELECT is(levels(), '', 'TRUNCATE');
COPY f (id, account, mb, note) FROM stdin;
1	a	10	one
2	b	20	two
\.
SELECT is(levels(), 'a=10 b=20', 'COPY');
SELECT throws_ok($$COPY f (id, account, mb) FROM PROGRAM 'printf "3\ta\t50\n4\ta\t41\n"'$$, 'PT429', NULL, 'COPY over the limit');
INSERT INTO f VALUES (1, 'a', 1), (3, 'a', 5) ON CONFLICT (id) DO UPDATE SET mb = f.mb + 30, account = 'c';
SELECT is(levels(), 'a=5 b=20 c=40', 'ON CONFLICT DO UPDATE');
SELECT throws_ok($$INSERT INTO f VALUES (1, 'a', 1) ON CONFLICT (id) DO UPDATE SET mb = 101$$, 'PT429', NULL, 'ON CONFLICT DO UPDATE over the limit');
INSERT INTO f VALUES (1, 'a', 9), (2, 'a', 9) ON CONFLICT DO NOTHING;
SELECT is(levels(), 'a=5 b=20 c=40', 'ON CONFLICT DO NOTHING');
MERGE INTO f USING (VALUES (1, 7), (2, 8), (3, 0), (10, 4), (11, 5)) v (id, mb) ON f.id = v.id
	WHEN MATCHED AND v.mb = 0 THEN DELETE WHEN MATCHED THEN UPDATE SET mb = v.mb WHEN NOT MATCHED THEN INSERT (id, account, mb) VALUES (v.id, 'm', v.mb);
SELECT is(levels(), 'b=8 c=7 m=9', 'MERGE');
SELECT is(levels(), truth('{f}'), 'exactly');
WITH gone AS (DELETE FROM f WHERE id = 10 RETURNING id, mb), more AS (UPDATE f SET mb = mb + 1 WHERE id = 11)
	INSERT INTO f SELECT id + 10, 'cte', mb FROM gone;
SELECT is(levels(), 'b=8 c=7 cte=4 m=6', 'writable CTEs');
CREATE VIEW fv AS SELECT * FROM f;
UPDATE fv SET mb = mb + 1 WHERE account = 'm';
SELECT is(levels(), 'b=8 c=7 cte=4 m=7', 'through a view');
SAVEPOINT s;
DELETE FROM f;
ROLLBACK TO s;
SELECT is(levels(), 'b=8 c=7 cte=4 m=7', 'ROLLBACK TO');
SAVEPOINT s;
TRUNCATE f;
ROLLBACK TO s;
SELECT is(levels(), 'b=8 c=7 cte=4 m=7', 'also of TRUNCATE');
CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.mb := NEW.mb * 10; RETURN NEW; END$$;
CREATE TRIGGER shout BEFORE UPDATE ON f FOR EACH ROW EXECUTE FUNCTION shout();
UPDATE f SET mb = mb WHERE account = 'cte';
SELECT is(levels(), 'b=8 c=7 cte=40 m=7', 'what a BEFORE trigger makes of a row counts');
DROP TRIGGER shout ON f;
SET LOCAL quota.enforcement = 'shadow';
UPDATE f SET mb = 200 WHERE account = 'b';
SELECT is(levels(), truth('{f}'), 'shadow: counted');
SET LOCAL quota.enforcement = 'on';
UPDATE f SET mb = 1 WHERE account = 'b';

/* Foreign keys. */
CREATE TABLE owner (id text PRIMARY KEY);
CREATE TABLE doc (id int PRIMARY KEY, account text REFERENCES owner ON DELETE CASCADE ON UPDATE CASCADE, note int);
SELECT quota_attach('doc', 'seat', 'account') \g /dev/null
INSERT INTO owner VALUES ('x'), ('y'), ('z'), ('zz');
INSERT INTO doc VALUES (1, 'x'), (2, 'x'), (3, 'y'), (4, 'z');
UPDATE owner SET id = 'w' WHERE id = 'x';
SELECT is(levels('seat'), 'w=2 y=1 z=1', 'ON UPDATE CASCADE');
DELETE FROM owner WHERE id IN ('w', 'y');
SELECT is(levels('seat'), 'z=1', 'ON DELETE CASCADE');
UPDATE doc SET account = 'zz';
TRUNCATE owner CASCADE;
SELECT is(levels('seat'), '', 'TRUNCATE ... CASCADE');

/* Old rows that cannot be charged stand in nobody's way; new ones are errors. */
CREATE TABLE old (account text, mb int);
INSERT INTO old VALUES (NULL, 5), ('', 5), (repeat('x', 256), 5), ('o', NULL), ('o', -5);
SELECT isnt(error_of($$SELECT quota_attach('old', 'mb', 'account', 'mb')$$), NULL, 'rows that cannot be counted are an error');
SELECT quota_attach('old', 'mb', 'account', 'mb', backfill => false) \g /dev/null
SELECT lives_ok($$DELETE FROM old WHERE ctid IN (SELECT ctid FROM old LIMIT 2)$$, 'but can be deleted');
SELECT lives_ok($$UPDATE old SET account = 'o', mb = 2$$, 'repaired');
SELECT is((SELECT used FROM quota.usage WHERE account = 'o'), 6::bigint, 'and are counted then');
SELECT throws_ok($$UPDATE old SET mb = NULL$$, '22004', 'amount in column "mb" must not be null', 'UPDATE to NULL');
SELECT throws_ok($$UPDATE old SET mb = -1$$, '22023', 'amount must not be negative, as -1 is', 'UPDATE to less than 0');
SELECT throws_ok($$UPDATE old SET account = NULL$$, '22004', 'account in column "account" must not be null', 'UPDATE to no account');
DROP TABLE old;
DELETE FROM quota.usage;

/* Expressions. */
CREATE SCHEMA app;
CREATE FUNCTION app.size(t text) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$SELECT octet_length(t)::bigint$$;
CREATE FUNCTION app.dice() RETURNS int LANGUAGE sql VOLATILE AS $$SELECT 1$$;
CREATE TABLE body (id int PRIMARY KEY, account text, body text, draft boolean, "Od""d" int DEFAULT 1);
INSERT INTO body VALUES (1, 'e', 'hello', NULL), (2, 'e', 'ééé', true);
SELECT quota_attach('body', 'mb', 'account', 'octet_length(body)', counted_when => 'NOT draft') \g /dev/null
SELECT is(levels(), '', 'counted_when NULL is not counted');
UPDATE body SET draft = false;
SELECT is(levels(), 'e=11', 'bytes');
UPDATE body SET body = body || '!' WHERE id = 1;
INSERT INTO body VALUES (3, 'e', repeat('x', 50), true);
UPDATE body SET draft = NULL WHERE id = 2;
SELECT is(levels(), 'e=6', 'counted or not');
DELETE FROM body WHERE id = 3;
SELECT is(levels(), 'e=6', 'what does not count goes without a trace');
SELECT throws_ok($$UPDATE body SET body = NULL WHERE id = 1$$, '22004', 'amount must not be null', 'an expression that is NULL');
SELECT quota_attach('body', 'mb', 'account', 'app.size(body) + "Od""d" -- both') \g /dev/null
INSERT INTO body VALUES (4, 'q', 'four');
SELECT is(levels(), 'e=6 q=5', 'qualified functions, names that need quotes, comments');
SELECT throws_ok($$SELECT quota_attach('body', 'mb', 'account', 'num_nulls(quota_row.*)')$$, '0A000', 'the row as a whole cannot be used on a row that is counted', 'the whole row');
ALTER TABLE body ADD more int DEFAULT 22, ADD made timestamptz DEFAULT clock_timestamp();
INSERT INTO body VALUES (6, 'w2', 'w');
SELECT is((SELECT used FROM quota.usage WHERE account = 'w2'), 2::bigint, 'the table can be changed');
CREATE OR REPLACE FUNCTION app.size(t text) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$SELECT 2 * octet_length(t)::bigint$$;
SELECT quota_attach('body', 'mb', 'account', 'app.size(body)') \g /dev/null
INSERT INTO body VALUES (7, 'v', '1234');
CREATE OR REPLACE FUNCTION app.size(t text) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$SELECT 3 * octet_length(t)::bigint$$;
INSERT INTO body VALUES (8, 'v2', '1234');
SELECT is((SELECT array_agg(used ORDER BY account) FROM quota.usage WHERE account IN ('v', 'v2')), '{8,12}', 'a function that is replaced counts at once');
ALTER TABLE body RENAME COLUMN body TO content;
INSERT INTO body VALUES (9, 'v3', 'x');
SELECT is((SELECT used FROM quota.usage WHERE account = 'v3'), 3::bigint, 'a column that was renamed is followed');
ALTER TABLE body RENAME COLUMN content TO body;
SELECT lives_ok($$INSERT INTO body VALUES (9, 'e', 'x') ON CONFLICT DO NOTHING$$, 'and back');
ALTER TABLE body ALTER body TYPE bytea USING body::bytea;
SELECT throws_ok($$INSERT INTO body VALUES (10, 'e', 'x')$$, '42804', 'column "body" of table "body" is of type bytea, and not of type text', 'one of another type: an error, never a free row');
ALTER TABLE body DROP COLUMN body;
SELECT throws_ok($$INSERT INTO body VALUES (10, 'e')$$, '42703', 'column "body" of table "body" does not exist', 'nor one that was dropped');
ALTER TABLE body ADD body text;
SELECT throws_ok(format('SELECT quota_attach(''body'', ''mb'', ''account'', %L)', e), s, m, 'amount: ' || e)
FROM (VALUES ('count(*)', '42803', NULL), ('(SELECT 1)', '0A000', NULL), ('generate_series(1, 2)', '0A000', NULL), ('app.dice()', '0A000', 'volatile functions cannot be used on a row that is counted'),
	('size(body)', '42883', 'function size(text) does not exist'), ('body', '42804', 'column "body" cannot be an amount'), ('nobody', '42703', 'column "nobody" of table public.body does not exist'),
	('nobody + 1', '42703', 'column "nobody" does not exist'), ('id::numeric * 1.5', '42804', 'expression "id::numeric * 1.5" cannot be an amount'), ('id +', '42601', 'syntax error at end of input'),
	('id) + (id', '42601', NULL), ('id, id', '42601', '"id, id" is not one expression'), ('id AS x', '42601', NULL), ('id FROM body', '42601', NULL), ('1 ORDER BY 1', '42601', NULL), ('DISTINCT id', '42601', NULL),
	('1; DROP TABLE body', '42601', NULL), ('', '42601', NULL), ('$1', '42P02', NULL), ('body.id * 1', '42P01', NULL), ('ctid::text::int', '0A000', 'system columns cannot be used on a row that is counted'),
	('rank() OVER ()', '42P20', NULL), ('''1''', '42804', NULL), ('id::app.nothing', '42704', NULL)) v (e, s, m);
SELECT is(error_of($$SELECT quota_attach('body', 'mb', 'account', 'size(body)')$$)->>'hint',
	'Name columns alone; qualify functions, types and operators that are not in pg_catalog with their schema.', 'and what to do');
SELECT throws_ok($$SELECT quota_attach('body', 'mb', 'account', time_column => 'account')$$, '22023', 'time_column is for counters only', 'a gauge has no time');

/* Partitions. */
DELETE FROM quota.usage;
CREATE TABLE p (id int, account text, mb int, PRIMARY KEY (id)) PARTITION BY RANGE (id);
CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (100);
CREATE TABLE p2 (mb int, gone int, account text, id int NOT NULL);
ALTER TABLE p2 DROP COLUMN gone;
ALTER TABLE p ATTACH PARTITION p2 FOR VALUES FROM (100) TO (200);
INSERT INTO p VALUES (1, 'p', 1), (101, 'p', 2);
SELECT quota_attach('p', 'mb', 'account', 'mb * 1') \g /dev/null
SELECT is(levels(), 'p=3', 'partitions: rows that are there');
INSERT INTO p VALUES (2, 'p', 3), (102, 'p', 4);
INSERT INTO p2 (id, account, mb) VALUES (103, 'p', 5);
UPDATE p SET mb = mb + 1;
UPDATE p2 SET mb = mb + 1 WHERE id = 103;
SELECT is(levels(), truth('{p}'), 'partitions: by way of the parent and by themselves');
UPDATE p SET id = id + 150, mb = mb + 10, account = 'moved' WHERE id < 100;
SELECT is(levels(), truth('{p}'), 'partitions: rows that move');
DELETE FROM p2 WHERE id = 103;
CREATE TABLE p3 PARTITION OF p FOR VALUES FROM (200) TO (300);
INSERT INTO p3 VALUES (201, 'later', 7);
UPDATE p3 SET mb = 8;
INSERT INTO p VALUES (202, 'later', 1), (3, 'p', 1);
UPDATE p SET id = 104 WHERE id = 202;
SELECT is(levels(), truth('{p}'), 'partitions: one that was made later');
TRUNCATE p2;
SELECT is(levels(), truth('{p}'), 'partitions: TRUNCATE of one');
SELECT isnt(levels(), '', 'leaves the others');
TRUNCATE p;
SELECT is(levels(), '', 'partitions: TRUNCATE of all');
SET LOCAL row_security = off;
CREATE TABLE p4 PARTITION OF p FOR VALUES FROM (300) TO (400);
RESET row_security;
SELECT is((SELECT count(*) FROM pg_trigger WHERE tgrelid = 'p4'::regclass), 4::bigint, 'partitions: whatever row_security is');
SELECT throws_ok($$INSERT INTO p VALUES (4, 'p', 60), (105, 'p', 41)$$, 'PT429', NULL, 'partitions: one limit for all');
SELECT quota_detach('p', 'mb') \g /dev/null
SELECT is((SELECT count(*) FROM pg_trigger WHERE tgname LIKE '%quota%' AND tgrelid IN ('p'::regclass, 'p1'::regclass, 'p2'::regclass, 'p3'::regclass)), 0::bigint, 'partitions: detached');

/* skip and mark judge what comes in. */
CREATE TABLE sk (id int PRIMARY KEY, account text, mb int);
CREATE TABLE mk (id int PRIMARY KEY, account text, mb int, state text DEFAULT 'new', why text);
SELECT quota_attach('sk', 'mb', 'account', 'mb', on_block => 'skip') \g /dev/null
SELECT quota_attach('mk', 'mb', 'account', 'mb', on_block => 'mark', status_column => 'state', blocked_status => 'full', message_column => 'why') \g /dev/null
INSERT INTO sk SELECT i, 's', 30 FROM generate_series(1, 5) i;
SELECT is((SELECT count(*) FROM sk), 3::bigint, 'skip: what fits goes in');
SELECT throws_ok($$UPDATE sk SET mb = 50$$, 'PT429', NULL, 'skip: an UPDATE is refused');
DELETE FROM sk WHERE id = 1;
INSERT INTO sk VALUES (6, 's', 40), (7, 's', 1);
SELECT is(levels(), 's=100', 'skip: what was deleted is room');
CREATE TABLE regen (account text, counted boolean);
SELECT quota_attach('regen', 'seat', 'account', counted_when => 'counted', on_block => 'skip') \g /dev/null
ALTER TABLE regen DROP COLUMN counted, ADD counted boolean GENERATED ALWAYS AS (account <> 'uncounted') STORED;
INSERT INTO regen VALUES ('g1'), ('uncounted'), ('g2');
SELECT is(levels('seat'), 'g1=1 g2=1', 'skip: a column that has become generated since is known at the end');
DROP TABLE regen;
INSERT INTO mk SELECT i, 'm', 40 FROM generate_series(1, 3) i;
SELECT is((SELECT string_agg(state, ' ' ORDER BY id) FROM mk), 'new new full', 'mark: what does not fit is marked');
DELETE FROM mk WHERE id = 3;
SELECT is(levels(), 'm=80 s=100', 'mark: a marked row takes nothing, and gives nothing back');
INSERT INTO mk VALUES (4, 'm', 30);
SELECT throws_ok($$UPDATE mk SET state = 'new' WHERE id = 4$$, 'PT429', NULL, 'mark: a marked row that is made an ordinary one is judged');
UPDATE mk SET state = 'new', mb = 20 WHERE id = 4;
SELECT is(levels(), 'm=100 s=100', 'mark: and charged');
UPDATE mk SET state = 'full' WHERE id = 1;
SELECT is(levels(), 'm=60 s=100', 'mark: and the other way');

/* Whoever writes the rows. */
CREATE ROLE quota_test_gauge;
CREATE TABLE mine (id int PRIMARY KEY, account text, mb int);
SELECT quota_attach('mine', 'mb', 'account', 'mb + 0', counted_when => 'mb > 0') \g /dev/null
GRANT INSERT, UPDATE, DELETE, TRUNCATE, SELECT ON mine TO quota_test_gauge;
SELECT is(array_agg(try_as('quota_test_gauge', s) ORDER BY n), '{ok,ok,PT429,ok,ok,ok}', 'holds no right of ours')
FROM unnest(ARRAY['INSERT INTO mine VALUES (1, ''r'', 40), (2, ''r'', 50)', 'UPDATE mine SET mb = 45 WHERE id = 2', 'UPDATE mine SET mb = 145 WHERE id = 2',
	'DELETE FROM mine WHERE id = 1', 'UPDATE mine SET account = ''r2''', 'TRUNCATE mine']) WITH ORDINALITY u (s, n);
SELECT is((SELECT string_agg(account || '=' || used, ' ' ORDER BY account) FROM quota.usage WHERE account IN ('r', 'r2')), 'r=0 r2=0', 'and is counted');

/* Children by INHERITS: a statement on the parent would change their rows, which nobody has counted. */
CREATE TABLE parent (id int PRIMARY KEY, account text, mb int);
CREATE TABLE child () INHERITS (parent);
SELECT throws_ok(format('SELECT quota_attach(%L, ''mb'', ''account'', ''mb'')', t), '42809', format('rows of table public.%s cannot be followed, since it inherits or is inherited from', t), t || ': not followed')
FROM unnest('{parent,child}'::text[]) t;
ALTER TABLE child NO INHERIT parent;
SELECT lives_ok($$SELECT quota_attach('parent', 'mb', 'account', 'mb')$$, 'alone it is followed');
SELECT throws_ok('ALTER TABLE child INHERIT parent', '42809', NULL, 'and gets no children');
SELECT throws_ok('CREATE TABLE other () INHERITS (parent)', '42809', NULL, 'also no new ones');
CREATE TABLE above (id int, account text, mb int);
SELECT throws_ok('ALTER TABLE parent INHERIT above', '42809', NULL, 'and becomes none');
SELECT quota_detach('parent', 'mb') \g /dev/null
SELECT lives_ok('ALTER TABLE child INHERIT parent', 'detached it may');
CREATE FOREIGN DATA WRAPPER nowhere;
CREATE SERVER nowhere FOREIGN DATA WRAPPER nowhere;
CREATE FOREIGN TABLE afar (id int, account text, mb int) SERVER nowhere;
CREATE TABLE near (id int, account text, mb int) INHERITS (afar);
SELECT throws_ok($$SELECT quota_attach('near', 'mb', 'account', 'mb')$$, '42809', NULL, 'a child of a foreign table: not followed');
ALTER TABLE near NO INHERIT afar;
SELECT quota_attach('near', 'mb', 'account', 'mb') \g /dev/null
SELECT throws_ok('ALTER TABLE near INHERIT afar', '42809', NULL, 'and becomes none while it is followed');
SELECT quota_detach('near', 'mb') \g /dev/null

/* Random statements against the sum of the rows. */
SELECT quota_detach(relation, 'mb') FROM quota.attachments WHERE feature = 'mb' AND relation <> 'f'::regclass \g /dev/null
DELETE FROM quota.usage;
TRUNCATE f;
CREATE TABLE g (LIKE f INCLUDING ALL);
SELECT quota_attach('g', 'mb', 'account', 'mb') \g /dev/null
UPDATE quota.plan_limits SET usage_limit = 300 WHERE plan = 'free' AND feature = 'mb';
SELECT setseed(0.4242) \g /dev/null
DO $$
DECLARE
	t text;
	refused int := 0;
	off int := 0;
BEGIN
	FOR i IN 1 .. 400 LOOP
		t := CASE WHEN random() < 0.5 THEN 'f' ELSE 'g' END;
		BEGIN
			EXECUTE format((ARRAY[
				'INSERT INTO %1$s SELECT (random() * 1000)::int, chr(97 + (random() * 5)::int), (random() * 30)::int FROM generate_series(1, 3) ON CONFLICT (id) DO UPDATE SET mb = EXCLUDED.mb, account = EXCLUDED.account',
				'UPDATE %1$s SET mb = (random() * 40)::int WHERE random() < 0.2',
				'UPDATE %1$s SET account = chr(97 + (random() * 5)::int) WHERE random() < 0.2',
				'DELETE FROM %1$s WHERE random() < 0.1',
				'MERGE INTO %1$s t USING (SELECT (random() * 1000)::int AS id, i FROM generate_series(1, 5) i) s ON t.id = s.id
					WHEN MATCHED AND s.i = 1 THEN DELETE WHEN MATCHED THEN UPDATE SET mb = s.i WHEN NOT MATCHED AND s.i = 2 THEN INSERT VALUES (s.id, ''b'', s.i)'])[1 + floor(random() * 5)::int], t);
		EXCEPTION WHEN SQLSTATE 'PT429' THEN
			refused := refused + 1;
		WHEN cardinality_violation OR unique_violation THEN
			NULL;
		END;
		IF levels() <> truth('{f,g}') THEN
			off := off + 1;
		END IF;
	END LOOP;
	PERFORM set_config('test.off', off::text, true), set_config('test.refused', refused::text, true);
END $$;
SELECT is(current_setting('test.off')::int, 0, 'seed 0.4242: the levels are the sums of the rows after each of 400 statements');
SELECT cmp_ok(current_setting('test.refused')::int, '>', 10, 'some of which were refused');
SELECT is_empty($$SELECT * FROM quota_reconcile('f', 'mb')$$, 'and nothing differs');

/* An account that has got another key: what a table keeps compressed is the same key. */
CREATE TABLE keys (account text, filler text);
ALTER TABLE keys ALTER account SET STORAGE EXTENDED, ALTER filler SET STORAGE PLAIN;
INSERT INTO keys VALUES (repeat('k', 250), repeat('x', 2500)), (repeat('k', 5000), repeat('x', 2500));
SELECT is((SELECT min(pg_column_compression(account)) FROM keys), 'pglz', 'a key is compressed');
CREATE TABLE moved (account text);
SELECT quota_attach('moved', 'seat', 'account') \g /dev/null
INSERT INTO moved SELECT repeat('k', 250) FROM generate_series(1, 3);
INSERT INTO moved VALUES ('full'), ('full'), ('full');
SELECT throws_ok($$UPDATE moved SET account = 'full'$$, 'PT429', NULL, 'rows that move to another account are judged');
SELECT quota.note_rename(account, 'full') FROM keys WHERE length(account) = 250 \g /dev/null
SELECT lives_ok($$UPDATE moved SET account = 'full'$$, 'not those that follow their account');
SELECT is(levels('seat'), 'full=6', 'all are counted');
SELECT throws_ok($$SELECT quota.note_rename(account, 'full') FROM keys WHERE length(account) = 5000$$, '22023', 'account is too long', 'no account can have such a key');
SAVEPOINT around;
SAVEPOINT s;
SELECT quota.note_rename('full', 'other') \g /dev/null
RELEASE s;
SELECT lives_ok($$UPDATE moved SET account = 'other'$$, 'a rename outlives its savepoint');
ROLLBACK TO around;
SELECT throws_ok($$UPDATE moved SET account = 'other'$$, 'PT429', NULL, 'not the one around it');

SELECT * FROM finish();
ROLLBACK;
