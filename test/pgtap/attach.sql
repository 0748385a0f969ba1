/*
 * Triggers on the application's tables: what is charged, left out, marked and
 * refused, by every way a row gets into a table.
 */
BEGIN;
SELECT no_plan();
\ir _helpers.sql
SET LOCAL quota.now = '2026-03-10 12:00+00';
SET LOCAL client_min_messages = warning;

INSERT INTO quota.plans (plan, is_default) VALUES ('free', true), ('pro', false);
INSERT INTO quota.features (feature, kind, unit) VALUES
	('report', 'counter', 'report'), ('page', 'counter', 'page'), ('token', 'counter', 'token'), ('other', 'counter', NULL),
	('seat', 'gauge', NULL), ('call', 'rate', NULL), ('gate', 'flag', NULL);
INSERT INTO quota.plan_limits (plan, feature, period, usage_limit) VALUES
	('free', 'report', 'month', 5), ('free', 'page', 'day', 3), ('free', 'page', 'month', 10), ('free', 'token', 'month', NULL),
	('pro', 'report', 'month', 1000000), ('pro', 'page', 'month', 1000000), ('pro', 'token', 'month', NULL), ('pro', 'other', 'month', 1);
INSERT INTO quota.accounts (account, plan) VALUES ('pro', 'pro');

CREATE FUNCTION used(account text, feature text DEFAULT 'report') RETURNS bigint LANGUAGE sql AS $$
	SELECT COALESCE(sum(u.used), 0)::bigint FROM quota.usage u WHERE u.account = $1 AND u.feature = $2 AND u.period = 'month'
$$;
/* writes of counters since the last call */
CREATE TEMP TABLE written AS SELECT 0::bigint AS n;
CREATE FUNCTION writes() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	before bigint := (SELECT n FROM written);
BEGIN
	UPDATE written SET n = (SELECT n_tup_ins + n_tup_upd FROM pg_stat_xact_user_tables WHERE relid = 'quota.usage'::regclass);
	RETURN (SELECT n FROM written) - before;
END $$;
CREATE FUNCTION attached(relation regclass) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT tgname::text FROM pg_trigger WHERE tgrelid = relation AND NOT tgisinternal ORDER BY tgname
$$;

/*
 * raise
 */
CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, account text, note text UNIQUE, n int NOT NULL DEFAULT 1);
SELECT is(quota_attach('t', 'report', 'account')::text, '', 'attached');
SELECT results_eq($$SELECT attached('t')$$, $$VALUES ('quota_charge_report')$$, 'by one trigger');
SELECT lives_ok($$INSERT INTO t (account) VALUES ('a')$$, 'a row');
SELECT is(used('a'), 1::bigint, 'is charged');
SELECT lives_ok($$INSERT INTO t (account) VALUES ('a'), ('a'), ('b'), ('a')$$, 'several rows');
SELECT is(ARRAY[used('a'), used('b')], '{4,1}'::bigint[], 'are charged to each account');
SELECT is(error_of($$INSERT INTO t (account) VALUES ('b'), ('a'), ('a'), ('b')$$), jsonb_build_object('state', 'PT429',
	'message', 'Monthly report limit does not allow 2 more (4/5).',
	'detail', '{"error":"quota_exceeded","feature":"report","plan":"free","limit":5,"used":4,"remaining":1,"period":"month","retry_after_s":1857600}',
	'hint', 'The next window begins at 2026-04-01 00:00:00+00; a larger plan or an override allows more now.'), 'rows over the limit are refused');
SELECT is(ARRAY[used('a'), used('b'), (SELECT count(*) FROM t)], '{4,1,5}'::bigint[], 'with the statement, which charges nothing');
SELECT lives_ok($$INSERT INTO t (account) VALUES ('a')$$, 'the last unit can be used');
SELECT throws_ok($$INSERT INTO t (account) VALUES ('a')$$, 'PT429', 'Monthly report limit reached (5/5).', 'and then no more');
SELECT lives_ok($$UPDATE t SET account = 'a', n = 7$$, 'updates are free');
SELECT lives_ok($$DELETE FROM t WHERE id > 3$$, 'so are deletes');
SELECT is(used('a'), 5::bigint, 'and give nothing back');
SELECT lives_ok($$INSERT INTO t (account) SELECT 'a' WHERE false$$, 'no row costs nothing');
SELECT throws_ok($$INSERT INTO t DEFAULT VALUES$$, '22004', 'account in column "account" must not be null', 'a row without an account');
SELECT throws_ok($$INSERT INTO t (account) VALUES ('')$$, '22023', 'account must not be empty', 'an empty account');
SELECT throws_ok($$INSERT INTO t (account) VALUES (repeat('x', 256))$$, '22023', 'account is too long', 'an account that is too long');
SELECT is((SELECT count(*) FROM t), 3::bigint, 'none of these rows is there');
INSERT INTO quota.accounts (account, status, bypass, plan) VALUES ('susp', 'suspended', false, NULL), ('admin', 'active', true, NULL);
SELECT throws_ok($$INSERT INTO t (account) VALUES ('susp')$$, 'PT403', 'Account is suspended.', 'suspended');
SELECT lives_ok($$INSERT INTO t (account) SELECT 'admin' FROM generate_series(1, 9)$$, 'an administrator');
SELECT is(used('admin'), 9::bigint, 'is counted');

/* One write a counter and statement, in the order of accounts. */
SELECT writes() IS NULL \g /dev/null
INSERT INTO t (account) SELECT 'pro' FROM generate_series(1, 1000);
SELECT is(writes(), 1::bigint, 'a thousand rows of an account are one write');
/* also in a subtransaction */
SAVEPOINT another;
INSERT INTO t (account) SELECT 'pro' FROM generate_series(1, 1000);
SELECT is(writes(), 1::bigint, 'also where the counter is there already');
RELEASE another;
SELECT is(used('pro'), 2000::bigint, 'all are counted');
INSERT INTO t (account) SELECT (ARRAY['z', 'B', 'a1', 'é', 'Z'])[i % 5 + 1] FROM generate_series(0, 24) i;
SELECT is(writes(), 5::bigint, 'rows of five accounts are five');
SELECT results_eq($$SELECT account COLLATE "default", used FROM quota.usage WHERE account IN ('z', 'B', 'a1', 'é', 'Z') ORDER BY ctid$$,
	$$VALUES ('B', 5::bigint), ('Z', 5), ('a1', 5), ('z', 5), ('é', 5)$$, 'in the order of accounts');

/* Ways in. */
SELECT lives_ok($$INSERT INTO t (account) SELECT account FROM t WHERE account = 'pro'$$, 'INSERT ... SELECT from the table itself');
SELECT is(used('pro'), 4000::bigint, 'each row once');
SELECT results_eq($$WITH i AS (INSERT INTO t (account) VALUES ('r'), ('r') RETURNING account) SELECT count(*) FROM i$$, $$VALUES (2::bigint)$$, 'RETURNING');
SELECT is(used('r'), 2::bigint, 'RETURNING: charged');
WITH x AS (INSERT INTO t (account) VALUES ('cte'), ('cte') RETURNING id), y AS (INSERT INTO t (account) VALUES ('cte') RETURNING id)
	INSERT INTO t (account) SELECT 'cte' FROM x;
SELECT is(used('cte'), 5::bigint, 'writable CTEs');
SELECT throws_ok($$WITH x AS (INSERT INTO t (account) VALUES ('cte') RETURNING id) SELECT id FROM x$$, 'PT429', NULL, 'which are refused too');
COPY t (account, note) FROM stdin;
copy	c1
copy	c2
pro	c3
\.
SELECT is(used('copy'), 2::bigint, 'COPY');
SELECT throws_ok($$COPY t (account) FROM PROGRAM 'printf "copy\ncopy\ncopy\ncopy\n"'$$, 'PT429', 'Monthly report limit does not allow 4 more (2/5).', 'COPY over the limit');
SELECT lives_ok($$COPY t (account) FROM PROGRAM 'printf "copy\ncopy\ncopy\n"'$$, 'COPY up to it');
INSERT INTO t (account, note) VALUES ('conf', 'one');
INSERT INTO t (account, note) VALUES ('conf', 'one'), ('conf', 'two'), ('conf', 'c1'), ('conf', 'one') ON CONFLICT DO NOTHING;
SELECT is(used('conf'), 2::bigint, 'ON CONFLICT DO NOTHING: only rows that went in');
INSERT INTO t (account, note) VALUES ('conf', 'one'), ('conf', 'three') ON CONFLICT (note) DO UPDATE SET n = t.n + 1;
SELECT is(used('conf'), 3::bigint, 'ON CONFLICT DO UPDATE: only the row that was inserted');
SELECT throws_ok($$INSERT INTO t (account, note) VALUES ('a', 'one'), ('a', 'four') ON CONFLICT (note) DO UPDATE SET n = t.n + 1$$, 'PT429', NULL, 'ON CONFLICT DO UPDATE over the limit');
SELECT is((SELECT n FROM t WHERE note = 'one'), 2, 'updates nothing either');
SELECT lives_ok($$INSERT INTO t (account, note) VALUES ('a', 'one') ON CONFLICT (note) DO UPDATE SET n = t.n + 1$$, 'an update alone is free');
MERGE INTO t USING (VALUES ('merge', 'one'), ('merge', 'm1'), ('merge', 'm2')) v (account, note) ON t.note = v.note
	WHEN MATCHED THEN UPDATE SET n = 0 WHEN NOT MATCHED THEN INSERT (account, note) VALUES (v.account, v.note);
SELECT is(used('merge'), 2::bigint, 'MERGE');
SELECT throws_ok($$MERGE INTO t USING (SELECT 'merge', 'x' || i FROM generate_series(1, 4) i) v (account, note) ON t.note = v.note
	WHEN NOT MATCHED THEN INSERT (account, note) VALUES (v.account, v.note)$$, 'PT429', NULL, 'MERGE over the limit');
CREATE VIEW tv AS SELECT account, note FROM t;
INSERT INTO tv VALUES ('view', NULL), ('view', NULL);
SELECT is(used('view'), 2::bigint, 'through a view');
PREPARE p (text) AS INSERT INTO t (account) VALUES ($1);
EXECUTE p('prep'); EXECUTE p('prep'); EXECUTE p('prep'); EXECUTE p('prep'); EXECUTE p('prep');
SELECT throws_ok('EXECUTE p(''prep'')', 'PT429', NULL, 'prepared');

/* Savepoints and exceptions. */
SAVEPOINT s;
INSERT INTO t (account) VALUES ('sp'), ('sp'), ('sp');
ROLLBACK TO s;
SELECT is(used('sp'), 0::bigint, 'rolled back with the rows');
SELECT lives_ok($$INSERT INTO t (account) SELECT 'sp' FROM generate_series(1, 5)$$, 'and all there again');
DO $$
BEGIN
	INSERT INTO t (account) VALUES ('exc'), ('exc');
	FOR i IN 1 .. 3 LOOP
		BEGIN
			INSERT INTO t (account) VALUES ('exc'), ('exc'), ('exc');
			RAISE division_by_zero;
		EXCEPTION WHEN division_by_zero THEN
			NULL;
		END;
	END LOOP;
	INSERT INTO t (account) VALUES ('exc');
END $$;
SELECT is(used('exc'), 3::bigint, 'an exception gives back what its block charged');

/* A trigger that changes the account, and one that inserts into the same table. */
CREATE FUNCTION upper_account() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.account := upper(NEW.account); RETURN NEW; END$$;
CREATE TRIGGER upper_account BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION upper_account();
INSERT INTO t (account) VALUES ('mixed'), ('Mixed');
SELECT is(ARRAY[used('mixed'), used('MIXED')], '{0,2}'::bigint[], 'who is charged is who is in the row');
DROP TRIGGER upper_account ON t;
CREATE FUNCTION twin() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.note IS NULL OR NEW.note NOT LIKE 'twin%' THEN
		EXECUTE format('INSERT INTO %s (account, note) VALUES (%L, %L)', TG_RELID::regclass, NEW.account, 'twin of ' || NEW.id);
	END IF;
	RETURN NULL;
END $$;
CREATE TRIGGER twin AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION twin();
INSERT INTO t (account) VALUES ('twins'), ('twins');
SELECT is(used('twins'), 4::bigint, 'nested inserts into the same table');
SELECT throws_ok($$INSERT INTO t (account) VALUES ('twins')$$, 'PT429', NULL, 'nested inserts over the limit');
SELECT is(ARRAY[used('twins'), (SELECT count(*) FROM t WHERE account = 'twins')], '{4,4}'::bigint[], 'leave nothing');
DROP TRIGGER twin ON t;

/* Modes. */
SET LOCAL quota.enforcement = 'shadow';
INSERT INTO t (account) VALUES ('a'), ('a');
SELECT is(used('a'), 7::bigint, 'shadow: let in and counted');
SET LOCAL quota.enforcement = 'off';
INSERT INTO t (account) VALUES ('a'), ('a');
SELECT is(used('a'), 7::bigint, 'off: let in and not counted');
SET LOCAL quota.enforcement = 'on';

/*
 * The amount column
 */
CREATE TABLE am (id serial, account text, small smallint, n int, big bigint);
SELECT quota_attach('am', 'report', 'account', 'n') \g /dev/null
SELECT quota_attach('am', 'token', 'account', amount_column => 'big') \g /dev/null
INSERT INTO am (account, n, big) VALUES ('am', 2, 5000000000), ('am', 0, 0), ('am', 1, 1);
SELECT is(ARRAY[used('am'), used('am', 'token')], '{3,5000000001}'::bigint[], 'amounts are summed');
SELECT throws_ok($$INSERT INTO am (account, n, big) VALUES ('am', 3, 1)$$, 'PT429', 'Monthly report limit does not allow 3 more (3/5).', 'an amount over the limit');
SELECT is(used('am', 'token'), 5000000001, 'of two features both or none');
SELECT lives_ok($$INSERT INTO am (account, n, big) VALUES ('am', 2, 1)$$, 'an amount up to the limit');
SELECT lives_ok($$INSERT INTO am (account, n, big) VALUES ('am', 0, 1)$$, '0 is free, also at the limit');
SELECT throws_ok($$INSERT INTO am (account, big) VALUES ('am', 1)$$, '22004', 'amount in column "n" must not be null', 'a NULL amount');
SELECT throws_ok($$INSERT INTO am (account, n, big) VALUES ('am', -1, 1)$$, '22023', 'amount must not be negative, as -1 is', 'a negative amount');
SELECT throws_ok($$INSERT INTO am (account, n, big) VALUES ('pro', 5, 1), ('pro', -5, 1)$$, '22023', NULL, 'also among others');
SELECT throws_ok($$INSERT INTO am (account, n, big) VALUES ('ov', 1, 9223372036854775807), ('ov', 1, 1)$$, '22003', 'use out of range', 'a sum that overflows');
INSERT INTO am (account, n, big) VALUES ('ov', 1, 9223372036854775807);
SELECT throws_ok($$INSERT INTO am (account, n, big) VALUES ('ov', 1, 1)$$, '22003', 'use out of range', 'a counter that overflows');
SELECT quota_attach('am', 'report', 'account', 'small') \g /dev/null
INSERT INTO am (account, small, big) VALUES ('sm', 4, 0);
SELECT is(used('sm'), 4::bigint, 'a smallint amount');
CREATE DOMAIN amount AS int CHECK (VALUE < 100);
CREATE TABLE gen (account text, a amount, twice int GENERATED ALWAYS AS (a * 2) STORED);
SELECT quota_attach('gen', 'report', 'account', 'a') \g /dev/null
SELECT quota_attach('gen', 'token', 'account', 'twice') \g /dev/null
INSERT INTO gen VALUES ('gen', 3);
SELECT is(ARRAY[used('gen'), used('gen', 'token')], '{3,6}'::bigint[], 'amounts of a domain and of a generated column');

/*
 * Every type of account column
 */
CREATE DOMAIN key AS uuid;
CREATE DOMAIN special_key AS key NOT NULL;
CREATE TABLE types (a text, b varchar(20), c char(10), d uuid, e smallint, f int, g bigint, h special_key, i bpchar, j boolean, k numeric, l name);
CREATE FUNCTION attach_type(account_column text, value text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	DELETE FROM quota.usage;
	PERFORM quota_attach('types', 'report', account_column);
	EXECUTE format('INSERT INTO types (%I, h) VALUES (%L, %L)', account_column, value, '6f1c0a9e-8f4e-4e0f-9d5a-0c2b9a7d3e11');
	RETURN (SELECT string_agg(format('[%s]', account), ',') FROM quota.usage WHERE used = 1);
END $$;
SELECT is(attach_type(c, v), e, format('account column %s', c))
FROM (VALUES ('a', 'Äcme ', '[Äcme ]'), ('b', 'acme ', '[acme ]'), ('c', 'acme  ', '[acme]'),
	('d', '6F1C0A9E-8F4E-4E0F-9D5A-0C2B9A7D3E11', '[6f1c0a9e-8f4e-4e0f-9d5a-0c2b9a7d3e11]'), ('e', '-32768', '[-32768]'), ('f', '2147483647', '[2147483647]'),
	('g', '-9223372036854775808', '[-9223372036854775808]'), ('i', 'acme   ', '[acme]')) v (c, v, e);
SELECT quota_attach('types', 'report', 'h') \g /dev/null
DELETE FROM quota.usage;
INSERT INTO types (h) VALUES ('6F1C0A9E-8F4E-4E0F-9D5A-0C2B9A7D3E11'), ('6F1C0A9E-8F4E-4E0F-9D5A-0C2B9A7D3E11');
SELECT is((SELECT account || ' ' || used FROM quota.usage), '6f1c0a9e-8f4e-4e0f-9d5a-0c2b9a7d3e11 2', 'a domain over a domain');
SELECT quota_attach('types', 'report', 'c') \g /dev/null
SELECT throws_ok($$INSERT INTO types (c, h) VALUES ('  ', gen_random_uuid())$$, '22023', 'account must not be empty', 'a char(n) of blanks is empty');
SELECT throws_ok(format('SELECT quota_attach(''types'', ''report'', %L)', c), '42804', format('column "%s" cannot name an account', c), 'not by column ' || c)
FROM unnest('{j,k,l}'::text[]) c;
SELECT is(error_of($$SELECT quota_attach('types', 'report', 'j')$$)->>'detail', 'Its type is boolean.', 'which type it is');
CREATE TABLE wide (account text);
SELECT quota_attach('wide', 'token', 'account') \g /dev/null
INSERT INTO wide SELECT 'account ' || i % 700 FROM generate_series(1, 7000) i;
SELECT results_eq($$SELECT count(*), min(used), max(used) FROM quota.usage WHERE feature = 'token' AND account LIKE 'account %'$$,
	$$VALUES (700::bigint, 10::bigint, 10::bigint)$$, 'hundreds of accounts in one statement');

/*
 * skip
 */
CREATE TABLE s (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, account text, note text UNIQUE, n int DEFAULT 1);
SELECT quota_attach('s', 'report', 'account', on_block => 'skip') \g /dev/null
SELECT results_eq($$SELECT attached('s')$$, $$VALUES ('quota_begin_report'), ('quota_charge_report'), ('zz_quota_row_report')$$, 'skip: by three triggers');
INSERT INTO s (account, note) SELECT CASE WHEN i % 2 = 0 THEN 'even' ELSE 'odd' END, i::text FROM generate_series(1, 20) i;
SELECT results_eq($$SELECT account, array_agg(note ORDER BY id)::text FROM s GROUP BY 1 ORDER BY 1$$,
	$$VALUES ('even', '{2,4,6,8,10}'), ('odd', '{1,3,5,7,9}')$$, 'skip: the first rows of each account go in');
SELECT is(ARRAY[used('even'), used('odd')], '{5,5}'::bigint[], 'skip: as many are charged');
WITH i AS (INSERT INTO s (account, note) VALUES ('even', '21'), ('one', '22') RETURNING note) SELECT is(array_agg(note), '{22}', 'skip: RETURNING') FROM i;
SELECT writes() IS NULL \g /dev/null
INSERT INTO s (account) SELECT 'pro' FROM generate_series(1, 1000);
SELECT cmp_ok(writes(), '<=', 2::bigint, 'skip: a thousand rows are one write');
SAVEPOINT another;
INSERT INTO s (account) SELECT 'pro' FROM generate_series(1, 1000);
SELECT is(writes(), 1::bigint, 'skip: also where the counter is there already');
RELEASE another;
INSERT INTO s (account) VALUES ('susp'), ('admin');
SELECT results_eq($$SELECT account FROM s WHERE account IN ('susp', 'admin')$$, $$VALUES ('admin')$$, 'skip: who is suspended');
SELECT throws_ok($$INSERT INTO s (account) VALUES ('one'), (NULL)$$, '22004', NULL, 'skip: a row without an account is an error');
SELECT throws_ok($$INSERT INTO s (account) VALUES ('')$$, '22023', NULL, 'skip: so is an empty one');
COPY s (account) FROM stdin;
one
one
one
one
one
one
\.
SELECT is(ARRAY[used('one'), (SELECT count(*) FROM s WHERE account = 'one')], '{5,5}'::bigint[], 'skip: COPY');
MERGE INTO s USING (SELECT 'merge', 'm' || i FROM generate_series(1, 7) i UNION ALL SELECT 'merge', '1') v (account, note) ON s.note = v.note
	WHEN MATCHED THEN UPDATE SET n = 0 WHEN NOT MATCHED THEN INSERT (account, note) VALUES (v.account, v.note);
SELECT is(ARRAY[used('merge'), (SELECT count(*) FROM s WHERE account = 'merge')], '{5,5}'::bigint[], 'skip: MERGE');
INSERT INTO s (account, note) VALUES ('c', '1'), ('c', '2'), ('c', 'c1'), ('c', '3') ON CONFLICT DO NOTHING;
SELECT is(ARRAY[used('c'), (SELECT count(*) FROM s WHERE account = 'c')], '{1,1}'::bigint[], 'skip: ON CONFLICT DO NOTHING charges what went in');
INSERT INTO s (account, note) VALUES ('full', '1'), ('full', '2'), ('full', '3'), ('full', '4'), ('full', '5'), ('full', 'f1'), ('full', 'f2') ON CONFLICT DO NOTHING;
SELECT is(ARRAY[used('full'), (SELECT count(*) FROM s WHERE account = 'full')], '{0,0}'::bigint[], 'skip: rows that conflict take their room until the statement ends: nothing is passed');
INSERT INTO s (account, note) VALUES ('full', 'f1'), ('full', 'f2') ON CONFLICT DO NOTHING;
SELECT is(ARRAY[used('full'), (SELECT count(*) FROM s WHERE account = 'full')], '{2,2}'::bigint[], 'skip: and not longer');
SELECT quota_attach('s', 'report', 'account', 'n', on_block => 'skip') \g /dev/null
WITH i AS (INSERT INTO s (account, n) VALUES ('amt', 3), ('amt', 3), ('amt', 0), ('amt', 1), ('amt', 2), ('amt', 1), ('amt', 0) RETURNING n)
	SELECT is(array_agg(n)::text, '{3,0,1,1,0}', 'skip: what still fits goes in') FROM i;
SELECT is(used('amt'), 5::bigint, 'skip: up to the limit');
SELECT throws_ok($$INSERT INTO s (account, n) VALUES ('amt', -1)$$, '22023', NULL, 'skip: a negative amount');
SELECT throws_ok($$INSERT INTO s (account, n) VALUES ('amt2', NULL)$$, '22004', NULL, 'skip: a NULL amount');
SELECT quota_attach('s', 'report', 'account', on_block => 'skip') \g /dev/null
CREATE FUNCTION change_late() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	NEW.account := CASE WHEN NEW.note LIKE 'to %' THEN substr(NEW.note, 4) ELSE NEW.account END;
	RETURN CASE WHEN NEW.note LIKE 'drop %' THEN NULL ELSE NEW END;
END $$;
CREATE TRIGGER zzz BEFORE INSERT ON s FOR EACH ROW EXECUTE FUNCTION change_late();
INSERT INTO s (account, note) VALUES ('late', 'late 1'), ('late', 'to latest'), ('late', 'late 2');
SELECT is(ARRAY[used('late'), used('latest')], '{2,1}'::bigint[], 'skip: a row that another trigger changes afterwards is charged as it went in');
INSERT INTO s (account, note) VALUES ('late', 'late 3'), ('late', 'drop 1'), ('late', 'drop 2'), ('late', 'late 4'), ('late', 'drop 3');
SELECT is(ARRAY[used('late'), (SELECT count(*) FROM s WHERE account = 'late')], '{3,3}'::bigint[], 'skip: one that it leaves out is not charged');
DROP TRIGGER zzz ON s;

/* skip: statements that fail, and statements inside of statements */
DO $$
BEGIN
	FOR i IN 1 .. 3 LOOP
		BEGIN
			INSERT INTO s (account) SELECT CASE WHEN j < 3 THEN 'f' ELSE (1 / (j - 3))::text END FROM generate_series(1, 5) j;
		EXCEPTION WHEN division_by_zero THEN
			NULL;
		END;
	END LOOP;
	INSERT INTO s (account) SELECT 'f' FROM generate_series(1, 9);
END $$;
SELECT is(ARRAY[used('f'), (SELECT count(*) FROM s WHERE account = 'f')], '{5,5}'::bigint[], 'skip: failed statements leave nothing');
SELECT is(error_of($$INSERT INTO s (account) SELECT 'cancel' FROM generate_series(1, 4) i
	WHERE i < 4 OR pg_cancel_backend(pg_backend_pid()) AND pg_sleep(60) IS NOT NULL$$)->>'state', '57014', 'skip: a statement is cancelled');
SELECT is(error_of($$INSERT INTO t (account) SELECT 'cancel' FROM generate_series(1, 4) i
	WHERE i < 4 OR pg_cancel_backend(pg_backend_pid()) AND pg_sleep(60) IS NOT NULL$$)->>'state', '57014', 'another of raise');
SELECT is(used('cancel'), 0::bigint, 'they charge nothing');
INSERT INTO s (account) SELECT 'cancel' FROM generate_series(1, 9);
SELECT is(ARRAY[used('cancel'), (SELECT count(*) FROM s WHERE account = 'cancel')], '{5,5}'::bigint[], 'and leave nothing');
CREATE FUNCTION failing_twin() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	BEGIN
		IF NEW.note IS NULL THEN
			INSERT INTO s (account, note) SELECT NEW.account, 'twin ' || 1 / g FROM generate_series(1, 0, -1) g;
		END IF;
	EXCEPTION WHEN division_by_zero THEN
		NULL;
	END;
	RETURN NEW;
END $$;
CREATE TRIGGER failing_twin BEFORE INSERT ON s FOR EACH ROW EXECUTE FUNCTION failing_twin();
INSERT INTO s (account) SELECT 'ft' FROM generate_series(1, 7);
SELECT is(ARRAY[used('ft'), (SELECT count(*) FROM s WHERE account = 'ft')], '{5,5}'::bigint[], 'skip: a statement inside that fails takes no frame but its own');
DROP TRIGGER failing_twin ON s;
CREATE FUNCTION twin_before() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.note IS NULL THEN
		INSERT INTO s (account, note) SELECT NEW.account, format('twin %s of %s', i, NEW.id) FROM generate_series(1, NEW.n) i;
	END IF;
	RETURN NEW;
END $$;
CREATE TRIGGER a_twin BEFORE INSERT ON s FOR EACH ROW EXECUTE FUNCTION twin_before();
SELECT lives_ok($$INSERT INTO s (account) SELECT 'tb' FROM generate_series(1, 4)$$, 'skip: nested inserts of a BEFORE trigger');
SELECT is(ARRAY[used('tb'), (SELECT count(*) FROM s WHERE account = 'tb')], '{5,5}'::bigint[], 'skip: up to the limit');
INSERT INTO s (account, n) VALUES ('tm', 2), ('tm', 3);
SELECT is(ARRAY[used('tm'), (SELECT count(*) FROM s WHERE account = 'tm')], '{5,5}'::bigint[], 'skip: nested inserts of several rows know of the rows around them');
DROP TRIGGER a_twin ON s;
CREATE TRIGGER twin AFTER INSERT ON s FOR EACH ROW EXECUTE FUNCTION twin();
SELECT lives_ok($$INSERT INTO s (account) VALUES ('ta'), ('ta')$$, 'skip: nested inserts of an AFTER trigger');
SELECT is(ARRAY[used('ta'), (SELECT count(*) FROM s WHERE account = 'ta')], '{4,4}'::bigint[], 'skip: with room for all');
SELECT lives_ok($$INSERT INTO s (account) SELECT 'tc' FROM generate_series(1, 4)$$, 'skip: nested inserts of an AFTER trigger with room for some');
SELECT is(ARRAY[used('tc'), (SELECT count(*) FROM s WHERE account = 'tc')], '{5,5}'::bigint[], 'skip: are left out');
DROP TRIGGER twin ON s;
WITH x AS (INSERT INTO s (account) SELECT 'sc' FROM generate_series(1, 3) RETURNING id), y AS (INSERT INTO s (account) SELECT 'sc' FROM generate_series(1, 3) RETURNING id)
	SELECT is((SELECT count(*) FROM x) + (SELECT count(*) FROM y), 5::bigint, 'skip: two CTEs');
SELECT is(used('sc'), 5::bigint, 'skip: share the room');
SET LOCAL quota.enforcement = 'shadow';
INSERT INTO s (account) SELECT 'shadow' FROM generate_series(1, 7);
SELECT is(ARRAY[used('shadow'), (SELECT count(*) FROM s WHERE account = 'shadow')], '{7,7}'::bigint[], 'skip: shadow lets all in');
SET LOCAL quota.enforcement = 'off';
INSERT INTO s (account) SELECT 'off' FROM generate_series(1, 7);
SELECT is(ARRAY[used('off'), (SELECT count(*) FROM s WHERE account = 'off')], '{0,7}'::bigint[], 'skip: off too');
SET LOCAL quota.enforcement = 'on';

/*
 * mark
 */
CREATE TYPE state AS ENUM ('processing', 'skipped_limit', 'failed');
CREATE TABLE m (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, account text, status text DEFAULT 'processing', problem text, n int DEFAULT 1);
SELECT quota_attach('m', 'report', 'account', on_block => 'mark', status_column => 'status', blocked_status => 'skipped_limit', message_column => 'problem') \g /dev/null
INSERT INTO m (account) SELECT 'a2' FROM generate_series(1, 7);
SELECT results_eq($$SELECT status, problem FROM m ORDER BY id$$, $$VALUES ('processing', NULL), ('processing', NULL), ('processing', NULL), ('processing', NULL),
	('processing', NULL), ('skipped_limit', 'Monthly report limit reached (5/5).'), ('skipped_limit', 'Monthly report limit reached (5/5).')$$,
	'mark: rows over the limit go in marked');
SELECT is(used('a2'), 5::bigint, 'mark: and cost nothing');
WITH i AS (INSERT INTO m (account, problem) VALUES ('a2', 'mine') RETURNING status, problem)
	SELECT is(status || ' ' || problem, 'skipped_limit Monthly report limit reached (5/5).', 'mark: RETURNING tells') FROM i;
INSERT INTO m (account, status) VALUES ('own', 'skipped_limit'), ('own', NULL), ('own', 'failed');
SELECT is(used('own'), 2::bigint, 'mark: a row that comes marked costs nothing, any other does');
INSERT INTO m (account) VALUES ('susp');
SELECT is((SELECT status || ' ' || problem FROM m WHERE account = 'susp'), 'skipped_limit Account is suspended.', 'mark: who is suspended');
INSERT INTO quota.accounts (account, plan) VALUES ('none', 'pro');
DELETE FROM quota.plan_limits WHERE plan = 'pro' AND feature = 'report';
INSERT INTO m (account) VALUES ('none');
SELECT is((SELECT problem FROM m WHERE account = 'none'), 'Plan "pro" does not include report.', 'mark: what is not in the plan');
INSERT INTO quota.plan_limits (plan, feature, period, usage_limit) VALUES ('pro', 'report', 'month', 1000000);
COPY m (account) FROM PROGRAM 'printf "cp\ncp\ncp\ncp\ncp\ncp\n"';
SELECT results_eq($$SELECT status, count(*) FROM m WHERE account = 'cp' GROUP BY 1 ORDER BY 1$$, $$VALUES ('processing', 5::bigint), ('skipped_limit', 1)$$, 'mark: COPY');
SELECT quota_attach('m', 'report', 'account', 'n', 'mark', status_column => 'status', blocked_status => 'skipped_limit') \g /dev/null
INSERT INTO m (account, n) VALUES ('amt', 1), ('m4', 4), ('m4', 2), ('m4', 1);
SELECT results_eq($$SELECT n, status, problem FROM m WHERE account = 'm4' ORDER BY id$$,
	$$VALUES (4, 'processing', NULL), (2, 'skipped_limit', NULL), (1, 'processing', NULL)$$, 'mark: without a message column, with amounts');
SELECT is((SELECT status FROM m WHERE account = 'amt'), 'skipped_limit', 'mark: after statements of other tables');
ALTER TABLE m ALTER status DROP DEFAULT, ALTER status TYPE state USING status::state;
INSERT INTO m (account, n) VALUES ('m4', 1);
SELECT is((SELECT status FROM m WHERE account = 'm4' ORDER BY id DESC LIMIT 1), 'skipped_limit'::state, 'mark: the status may be an enum');
INSERT INTO m (account, n, status) VALUES ('m5', 9, 'skipped_limit');
SELECT is(used('m5'), 0::bigint, 'mark: an enum that comes marked');
CREATE TABLE clip (account text, status text, short varchar(10), longer char(50));
SELECT quota_attach('clip', 'report', 'account', on_block => 'mark', status_column => 'status', blocked_status => 'skipped', message_column => 'short') \g /dev/null
INSERT INTO clip (account) VALUES ('m4');
SELECT quota_attach('clip', 'report', 'account', on_block => 'mark', status_column => 'status', blocked_status => 'skipped', message_column => 'longer') \g /dev/null
INSERT INTO clip (account) VALUES ('m4');
SELECT results_eq($$SELECT status, short, rtrim(longer) FROM clip$$,
	$$VALUES ('skipped', 'Monthly re'::varchar(10), NULL), ('skipped', NULL, 'Monthly report limit reached (5/5).')$$, 'mark: a message column that is short takes what fits');
SELECT quota_attach('m', 'report', 'account', 'n', 'mark', status_column => 'status', blocked_status => 'failed', message_column => 'problem') \g /dev/null
INSERT INTO m (account, n) VALUES ('m4', 2);
SELECT is((SELECT status || ' ' || problem FROM m WHERE account = 'm4' ORDER BY id DESC LIMIT 1), 'failed Monthly report limit reached (5/5).', 'mark: attached anew with another status');

/*
 * Partitions
 */
CREATE TABLE p (id int, account text, status text, problem text) PARTITION BY RANGE (id);
CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (100);
CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (100) TO (1000) PARTITION BY RANGE (id);
CREATE TABLE p21 PARTITION OF p2 FOR VALUES FROM (100) TO (200);
CREATE TABLE p22 (status text, gone int, problem text, account text, id int);
ALTER TABLE p22 DROP COLUMN gone;
ALTER TABLE p2 ATTACH PARTITION p22 FOR VALUES FROM (200) TO (300);
SELECT quota_attach('p', 'report', 'account') \g /dev/null
INSERT INTO p (id, account) VALUES (1, 'part'), (101, 'part'), (201, 'part');
SELECT is(used('part'), 3::bigint, 'partitions: through the parent');
INSERT INTO p1 (id, account) VALUES (2, 'part');
INSERT INTO p22 (id, account) VALUES (202, 'part');
SELECT is(used('part'), 5::bigint, 'partitions: directly');
SELECT throws_ok(format('INSERT INTO %I (id, account) VALUES (%s, ''part'')', t, i), 'PT429', 'Monthly report limit reached (5/5).', 'partitions: refused in ' || t)
FROM (VALUES ('p', 201), ('p1', 3), ('p2', 103), ('p21', 104), ('p22', 203)) v (t, i);
SELECT lives_ok($$UPDATE p SET id = id + 100 WHERE id = 1$$, 'partitions: a row that moves');
SELECT is(used('part'), 5::bigint, 'is not charged again');
COPY p (id, account) FROM stdin;
5	pcopy
105	pcopy
205	pcopy
\.
SELECT is(used('pcopy'), 3::bigint, 'partitions: COPY');
CREATE TABLE p3 PARTITION OF p FOR VALUES FROM (1000) TO (2000);
INSERT INTO p (id, account) VALUES (1001, 'later');
SELECT is(used('later'), 1::bigint, 'partitions: one that was made later, through the parent');
SELECT isnt(error_of($$INSERT INTO p3 (id, account) SELECT 1002, 'later' FROM generate_series(1, 9)$$), NULL, 'partitions: one that was made later, directly: no way round');
SELECT quota_attach('p', 'report', 'account', on_block => 'mark', status_column => 'status', blocked_status => 'skipped', message_column => 'problem') \g /dev/null
INSERT INTO p (id, account) SELECT i, 'pmark' FROM unnest('{1,101,201,1001,2,102,202}'::int[]) i;
SELECT results_eq($$SELECT id, status, problem FROM p WHERE account = 'pmark' ORDER BY id$$, $$VALUES (1, NULL, NULL), (2, NULL, NULL), (101, NULL, NULL),
	(102, 'skipped', 'Monthly report limit reached (5/5).'), (201, NULL, NULL), (202, 'skipped', 'Monthly report limit reached (5/5).'), (1001, NULL, NULL)$$,
	'partitions: mark');
INSERT INTO p22 (id, account) SELECT 203, 'pm' FROM generate_series(1, 6);
INSERT INTO p2 (id, account) VALUES (204, 'pm'), (104, 'pm');
SELECT is(ARRAY[used('pm'), (SELECT count(*) FROM p WHERE account = 'pm' AND status = 'skipped')], '{5,3}'::bigint[], 'partitions: mark directly');
SELECT lives_ok($$UPDATE p SET id = id + 100 WHERE id = 1$$, 'partitions: mark: a row that moves');
SELECT is(used('pmark'), 5::bigint, 'is not charged again');
SELECT quota_attach('p', 'report', 'account', on_block => 'skip') \g /dev/null
INSERT INTO p (id, account) SELECT i, 'pskip' FROM unnest('{1,101,201,1001,2,102,202}'::int[]) i;
SELECT is((SELECT array_agg(id ORDER BY id)::text FROM p WHERE account = 'pskip'), '{1,2,101,201,1001}', 'partitions: skip');
SELECT lives_ok($$UPDATE p SET id = id + 100 WHERE id = 2$$, 'partitions: skip: a row that moves');
CREATE TABLE p4 PARTITION OF p FOR VALUES FROM (2000) TO (3000);
INSERT INTO p (id, account) SELECT 2001, 'p4' FROM generate_series(1, 9);
SELECT is(ARRAY[used('p4'), (SELECT count(*) FROM p4)], '{5,5}'::bigint[], 'partitions: skip: one that was made later, through the parent');
INSERT INTO p4 (id, account) VALUES (2002, 'p4');
SELECT is(ARRAY[used('p4'), (SELECT count(*) FROM p4)], '{5,5}'::bigint[], 'partitions: skip: one that was made later, directly: no way round');
CREATE UNIQUE INDEX ON p22 (id) WHERE id = 299;
INSERT INTO p (id, account) VALUES (299, 'p22');
ALTER TABLE p21 DISABLE TRIGGER zz_quota_row_report;
INSERT INTO p (id, account) VALUES (299, 'conflict'), (199, 'unjudged') ON CONFLICT DO NOTHING;
SELECT is(ARRAY[used('conflict'), used('unjudged')], '{0,1}'::bigint[], 'partitions: skip: as many rows went in as were judged, but others');
SELECT quota_detach('p', 'report') \g /dev/null
SELECT is((SELECT count(*) FROM pg_trigger WHERE tgname LIKE '%quota%' AND tgrelid::regclass::text LIKE 'p%'), 0::bigint, 'partitions: detached from all');
SELECT lives_ok($$INSERT INTO p21 (id, account) SELECT 105, 'part' FROM generate_series(1, 9)$$, 'partitions: nothing is charged');

CREATE TEMP TABLE tried AS SELECT error_of($$SELECT quota_attach('p1', 'report', 'account')$$) IS NOT NULL AS refused;
INSERT INTO p (id, account) VALUES (6, 'alone'), (7, 'alone');
SELECT ok(refused OR used('alone') = 2, 'partitions: one alone is charged whatever way rows come, or refused') FROM tried;
SELECT lives_ok($$SELECT quota_attach('p', 'report', 'account', on_block => 'skip')$$, 'partitions: all after one');
INSERT INTO p (id, account) SELECT 6, 'all' FROM generate_series(1, 9);
SELECT is(used('all'), 5::bigint, 'are charged');

/*
 * Several features on one table
 */
CREATE TABLE two (account text, n int, status text, problem text);
SELECT quota_attach('two', 'report', 'account') \g /dev/null
SELECT quota_attach('two', 'page', 'account', on_block => 'skip') \g /dev/null
INSERT INTO two SELECT 'two' FROM generate_series(1, 4);
SELECT is(ARRAY[used('two'), used('two', 'page'), (SELECT count(*) FROM two)], '{3,3,3}'::bigint[], 'two features: what one leaves out the other does not charge');
SET LOCAL quota.now = '2026-03-11 12:00+00';
INSERT INTO two SELECT 'two' FROM generate_series(1, 2);
SELECT throws_ok($$INSERT INTO two VALUES ('two')$$, 'PT429', 'Monthly report limit reached (5/5).', 'two features: the other refuses');
SET LOCAL quota.now = '2026-03-10 12:00+00';
SELECT is(used('two', 'page'), 5::bigint, 'two features: and nothing is charged');
SELECT quota_attach('two', 'report', 'account', on_block => 'mark', status_column => 'status', blocked_status => 'skipped') \g /dev/null
SELECT quota_attach('two', 'page', 'account', on_block => 'mark', status_column => 'status', blocked_status => 'skipped', message_column => 'problem') \g /dev/null
INSERT INTO two (account) SELECT 'marks' FROM generate_series(1, 5);
SELECT is(ARRAY[used('marks'), used('marks', 'page'), (SELECT count(*) FROM two WHERE status = 'skipped')], '{3,3,2}'::bigint[], 'two features: marked by one, charged by none');
SELECT results_eq($$SELECT attached('two')$$, $$VALUES ('quota_begin_page'), ('quota_begin_report'), ('quota_charge_page'), ('quota_charge_report'),
	('zz_quota_row_page'), ('zz_quota_row_report')$$, 'two features: their triggers');
SELECT quota_detach('two', 'page') \g /dev/null
SELECT results_eq($$SELECT attached('two')$$, $$VALUES ('quota_begin_report'), ('quota_charge_report'), ('zz_quota_row_report')$$, 'two features: one is detached');
SELECT quota_attach('two', 'report', 'account') \g /dev/null
SELECT results_eq($$SELECT attached('two')$$, $$VALUES ('quota_charge_report')$$, 'attached anew in another way');

/*
 * detach
 */
SELECT is(quota_detach('two', 'report')::text, '', 'detached');
SELECT is_empty($$SELECT attached('two')$$, 'nothing is left');
SELECT throws_ok($$SELECT quota_detach('two', 'report')$$, '42704', 'feature "report" is not attached to table public.two', 'not twice');
SELECT throws_ok($$SELECT quota_detach('two', 'nothing')$$, '42704', 'feature "nothing" is not attached to table public.two', 'nor what never was');
SELECT throws_ok($$SELECT quota_detach(NULL, 'report')$$, '22004', 'table and feature must not be null', 'detach: NULL');
SELECT throws_ok($$SELECT quota_detach('nowhere', 'report')$$, '42P01', NULL, 'detach: an unknown table');

/*
 * Names that need quotes
 */
INSERT INTO quota.features (feature, kind) VALUES ('Fea"ture '' %', 'counter'), (repeat('f', 48), 'counter');
INSERT INTO quota.plan_limits (plan, feature, period, usage_limit) VALUES ('free', 'Fea"ture '' %', 'month', 1), ('free', repeat('f', 48), 'month', 1);
CREATE SCHEMA "Sch ema";
CREATE TABLE "Sch ema"."Ta""ble" ("Acc ount" text, "Am""ount" int, "Sta tus" text, "M'sg" text);
SELECT quota_attach('"Sch ema"."Ta""ble"', 'Fea"ture '' %', 'Acc ount', 'Am"ount', 'mark', status_column => 'Sta tus', blocked_status => 'it''s \over"', message_column => 'M''sg') \g /dev/null
SELECT quota_attach('"Sch ema"."Ta""ble"', repeat('f', 48), 'Acc ount', on_block => 'skip') \g /dev/null
INSERT INTO "Sch ema"."Ta""ble" VALUES ('q', 2), ('q', 1);
SELECT results_eq('SELECT "Acc ount", "Am""ount", "Sta tus", "M''sg" FROM "Sch ema"."Ta""ble"',
	$$VALUES ('q', 2, 'it''s \over"', 'Monthly Fea"ture '' % limit does not allow 2 more (0/1).')$$, 'names that need quotes, and long ones');
SELECT lives_ok(format('SELECT quota_detach(%L, f) FROM unnest(ARRAY[%L, %L]) f', '"Sch ema"."Ta""ble"', 'Fea"ture '' %', repeat('f', 48)), 'also when detached');

/*
 * quota_attach refuses
 */
CREATE VIEW v AS SELECT 'x'::text AS account;
CREATE MATERIALIZED VIEW mv AS TABLE v;
CREATE TABLE e (account text, n int, x numeric, status text, state state, short varchar(5), problem text, flag boolean);
SELECT throws_ok(format('SELECT quota_attach(%s)', args), state, message, args)
FROM (VALUES
	('NULL, ''report'', ''account''', '22004', 'table, feature, account_column, on_block and backfill must not be null'),
	('''e'', NULL, ''account''', '22004', NULL), ('''e'', ''report'', NULL', '22004', NULL),
	('''e'', ''report'', ''account'', on_block => NULL', '22004', NULL), ('''e'', ''report'', ''account'', backfill => NULL', '22004', NULL),
	('''nowhere'', ''report'', ''account''', '42P01', 'relation "nowhere" does not exist'),
	('''v'', ''report'', ''account''', '42809', 'public.v is not a table'), ('''mv'', ''report'', ''account''', '42809', 'public.mv is not a table'),
	('''am_id_seq'', ''report'', ''account''', '42809', 'public.am_id_seq is not a table'),
	('''e'', ''nothing'', ''account''', '42704', 'feature "nothing" does not exist'), ('''e'', '''', ''account''', '42704', 'feature "" does not exist'),
	('''e'', ''gate'', ''account''', '42809', 'feature "gate" of kind flag cannot be attached to a table'),
	('''e'', ''call'', ''account''', '42809', 'feature "call" of kind rate cannot be attached to a table'),
	('''e'', ''report'', ''nobody''', '42703', 'column "nobody" of table public.e does not exist'), ('''e'', ''report'', ''''', '42703', NULL),
	('''e'', ''report'', ''ctid''', '42703', 'column "ctid" of table public.e does not exist'), ('''e'', ''report'', ''flag''', '42804', 'column "flag" cannot name an account'),
	('''e'', ''report'', ''account'', ''nothing''', '42703', 'column "nothing" of table public.e does not exist'),
	('''e'', ''report'', ''account'', ''x''', '42804', 'column "x" cannot be an amount'), ('''e'', ''report'', ''account'', ''status''', '42804', 'column "status" cannot be an amount'),
	('''e'', ''report'', ''account'', on_block => ''explode''', '22023', 'on_block "explode" does not exist'),
	('''e'', ''report'', ''account'', on_block => ''mark''', '22023', 'on_block mark needs status_column and blocked_status'),
	('''e'', ''report'', ''account'', on_block => ''mark'', status_column => ''status''', '22023', 'on_block mark needs status_column and blocked_status'),
	('''e'', ''report'', ''account'', status_column => ''status''', '22023', 'status_column, blocked_status, message_column and mark_when are for on_block mark only'),
	('''e'', ''report'', ''account'', on_block => ''skip'', message_column => ''problem''', '22023', NULL),
	('''e'', ''report'', ''account'', on_block => ''mark'', status_column => ''nothing'', blocked_status => ''x''', '42703', 'column "nothing" of table public.e does not exist'),
	('''e'', ''report'', ''account'', on_block => ''mark'', status_column => ''status'', blocked_status => ''x'', message_column => ''nothing''', '42703', NULL),
	('''e'', ''report'', ''account'', counted_when => ''true''', '55000', 'table public.e has no primary key'),
	('''e'', ''report'', ''account'', on_block => ''mark'', status_column => ''state'', blocked_status => ''no such state''', '22P02', NULL),
	('''e'', ''report'', ''account'', on_block => ''mark'', status_column => ''short'', blocked_status => ''too long''', '22001', NULL),
	('''e'', ''report'', ''account'', on_block => ''mark'', status_column => ''status'', blocked_status => ''x'', message_column => ''n''', '42804', NULL)
) bad (args, state, message);
SELECT is(error_of($$SELECT quota_attach('e', 'report', 'account', on_block => 'explode')$$)->>'hint', 'There are: raise, skip, mark.', 'which there are');
SELECT is_empty($$SELECT attached('e')$$, 'none of these has made a trigger');
CREATE TABLE g (tenant int, state text, account text GENERATED ALWAYS AS ('t' || tenant::text) STORED);
SELECT isnt(error_of($$SELECT quota_attach('g', 'report', 'state', on_block => 'mark', status_column => 'account', blocked_status => 't1')$$), NULL,
	'mark: a generated status cannot be set');
SELECT ok(COALESCE(error_of($$SELECT quota_attach('g', 'report', 'account', on_block => 'skip')$$), error_of($$INSERT INTO g VALUES (7)$$))->>'state'
	IS DISTINCT FROM '22004', 'skip: a generated account is charged, or refused at once');

/*
 * Tables that change under their triggers
 */
CREATE TABLE ch (id int, account text, n int, status text);
SELECT quota_attach('ch', 'token', 'account', 'n') \g /dev/null
INSERT INTO ch VALUES (1, 'ch', 10);
ALTER TABLE ch RENAME TO moved;
CREATE SCHEMA elsewhere;
ALTER TABLE moved SET SCHEMA elsewhere;
INSERT INTO elsewhere.moved VALUES (2, 'ch', 10);
SELECT is(used('ch', 'token'), 20::bigint, 'a renamed table in another schema is still charged');
ALTER TABLE elsewhere.moved DROP COLUMN id, ADD COLUMN id2 uuid;
INSERT INTO elsewhere.moved VALUES ('ch', 10);
SELECT is(used('ch', 'token'), 30::bigint, 'so is one with other columns');
ALTER TABLE elsewhere.moved RENAME n TO amount;
INSERT INTO elsewhere.moved VALUES ('ch', 10);
SELECT is(used('ch', 'token'), 40::bigint, 'a renamed column is followed');
ALTER TABLE elsewhere.moved DROP COLUMN account;
SELECT is(error_of($$INSERT INTO elsewhere.moved (amount) VALUES (10)$$), jsonb_build_object('state', '42703',
	'message', 'column "account" of table "moved" does not exist', 'detail', 'A trigger of quota reads it.',
	'hint', 'Call quota_attach with the column''s new name, or quota_detach.'), 'a dropped column');
SELECT quota_detach('elsewhere.moved', 'token') \g /dev/null
SELECT lives_ok($$INSERT INTO elsewhere.moved (amount) VALUES (10)$$, 'detached');
ALTER TABLE e ADD COLUMN who text;
SELECT quota_attach('e', 'report', 'who', 'n') \g /dev/null
ALTER TABLE e ALTER who TYPE boolean USING true;
SELECT throws_ok($$INSERT INTO e (who, n) VALUES (true, 1)$$, '42804', 'type boolean cannot name an account', 'an account of another type');
SELECT quota_attach('e', 'report', 'account', 'n') \g /dev/null
ALTER TABLE e ALTER n TYPE numeric;
SELECT throws_ok($$INSERT INTO e (account, n) VALUES ('e', 1)$$, '42804', 'type numeric cannot be an amount', 'an amount of another type');
SELECT quota_attach('e', 'other', 'account') \g /dev/null
SELECT quota_detach('e', 'report') \g /dev/null
DELETE FROM quota.features WHERE feature = 'other';
SELECT throws_ok($$INSERT INTO e (account) VALUES ('e')$$, '42704', 'feature "other" does not exist', 'a feature that is gone');
DROP TABLE e;
SELECT is((SELECT count(*) FROM pg_trigger WHERE tgname = 'quota_charge_other'), 0::bigint, 'a table goes with its triggers');

/* The trigger functions by hand. */
SELECT throws_ok(format('CREATE TRIGGER x AFTER INSERT ON v1 FOR EACH STATEMENT EXECUTE FUNCTION %s', f), '42P01', NULL, f || ' on no table')
FROM unnest('{quota.charge_rows()}'::text[]) f;
CREATE TABLE hand (account text);
CREATE TRIGGER x AFTER INSERT ON hand REFERENCING NEW TABLE AS n FOR EACH STATEMENT EXECUTE FUNCTION quota.charge_rows('report');
SELECT throws_ok($$INSERT INTO hand VALUES ('x')$$, '39P01', NULL, 'charge_rows with other arguments');
DROP TRIGGER x ON hand;
CREATE TRIGGER x AFTER INSERT ON hand FOR EACH STATEMENT EXECUTE FUNCTION quota.charge_rows('report', 'account', '', 'raise', '', '', '', '', '', '', '');
SELECT throws_ok($$INSERT INTO hand VALUES ('x')$$, '39P01', NULL, 'charge_rows without rows');
DROP TRIGGER x ON hand;
CREATE TRIGGER x BEFORE INSERT ON hand FOR EACH ROW EXECUTE FUNCTION quota.begin_filter('report', 'account', '', 'skip', '', '', '', '', '', '');
SELECT throws_ok($$INSERT INTO hand VALUES ('x')$$, '39P01', NULL, 'begin_filter for a row');
DROP TRIGGER x ON hand;
CREATE TRIGGER x AFTER INSERT ON hand FOR EACH ROW EXECUTE FUNCTION quota.filter_row('report', 'account', '', 'skip', '', '', '', '', '', '', '');
SELECT throws_ok($$INSERT INTO hand VALUES ('x')$$, '39P01', NULL, 'filter_row after the row');
DROP TRIGGER x ON hand;
CREATE TRIGGER zz_quota_row_report BEFORE INSERT ON hand FOR EACH ROW EXECUTE FUNCTION quota.filter_row('report', 'account', '', 'skip', '', '', '', '', '', '', '');
SELECT throws_ok($$INSERT INTO hand VALUES ('x')$$, '39P01', NULL, 'filter_row without the others');
DROP TRIGGER zz_quota_row_report ON hand;
CREATE TRIGGER x BEFORE UPDATE ON hand FOR EACH ROW EXECUTE FUNCTION quota.filter_row('report', 'account', '', 'skip', '', '', '', '', '', '', '');
INSERT INTO hand VALUES ('x');
SELECT throws_ok($$UPDATE hand SET account = 'y'$$, '39P01', NULL, 'filter_row of an update');
SELECT throws_ok(format('CREATE TABLE c%s AS SELECT %s AS x', n, f), NULL, NULL, f || ' is no ordinary function')
FROM unnest('{quota.charge_rows(),quota.truncate_rows(),quota.begin_filter(),quota.filter_row(),quota.catalog_changed(),quota.check_account()}'::text[]) WITH ORDINALITY u (f, n);

/*
 * An application that holds nothing but INSERT on its table
 */
CREATE ROLE quota_test_app;
CREATE TABLE mine (account text, status text DEFAULT 'new', problem text);
CREATE TABLE mine_skip (LIKE mine INCLUDING ALL);
CREATE TABLE mine_mark (LIKE mine INCLUDING ALL);
SELECT quota_attach('mine', 'report', 'account') \g /dev/null
SELECT quota_attach('mine_skip', 'report', 'account', on_block => 'skip') \g /dev/null
SELECT quota_attach('mine_mark', 'report', 'account', on_block => 'mark', status_column => 'status', blocked_status => 'skipped', message_column => 'problem') \g /dev/null
GRANT INSERT ON mine, mine_skip, mine_mark TO quota_test_app;
SELECT is(try_as('quota_test_app', $$INSERT INTO mine SELECT 'app' FROM generate_series(1, 3)$$), 'ok', 'an app inserts');
SELECT is(used('app'), 3::bigint, 'and is charged');
SELECT is(try_as('quota_test_app', $$INSERT INTO mine SELECT 'app' FROM generate_series(1, 3)$$), 'PT429', 'and refused');
SELECT is(try_as('quota_test_app', $$INSERT INTO mine_skip SELECT 'app' FROM generate_series(1, 3)$$), 'ok', 'or has rows left out');
SELECT is(ARRAY[used('app'), (SELECT count(*) FROM mine_skip)], '{5,2}'::bigint[], 'those over the limit');
SELECT is(try_as('quota_test_app', $$INSERT INTO mine_mark VALUES ('app')$$), 'ok', 'or marked');
SELECT is((SELECT status || ' ' || problem FROM mine_mark), 'skipped Monthly report limit reached (5/5).', 'with the reason');
SELECT is(try_as('quota_test_app', s), '42501', 'not allowed: ' || s)
FROM unnest(ARRAY['SELECT * FROM quota.usage', 'UPDATE quota.usage SET used = 0', 'DELETE FROM quota.usage', 'INSERT INTO quota.accounts (account) VALUES (''x'')',
	'SELECT * FROM quota.plans', 'SELECT quota_refund(''app'', ''report'')', 'SELECT quota_evaluate(''app'')', 'SELECT quota_detach(''mine'', ''report'')',
	'SELECT quota_apply(''{}'')', 'SELECT quota_grant(''quota_test_app'', ''admin'')', 'SELECT quota.charge_rows()',
	'ALTER TABLE mine DISABLE TRIGGER ALL', 'DROP TRIGGER quota_charge_report ON mine', 'SET LOCAL session_replication_role = replica',
	'SET LOCAL quota.enforcement = off', 'SET LOCAL quota.now = ''2030-01-01''', 'SET LOCAL quota.timezone = ''Asia/Tokyo''',
	'SET LOCAL quota.log_decisions = ''none''', 'SELECT set_config(''quota.enforcement'', ''off'', true)',
	'CREATE TRIGGER x BEFORE INSERT ON mine FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()']) s;
SELECT is(used('app'), 5::bigint, 'nothing has helped');

/*
 * DROP EXTENSION
 */
SELECT throws_ok('DROP EXTENSION quota', '2BP01', 'cannot drop extension quota because other objects depend on it', 'DROP EXTENSION tells');
SELECT ok(strpos(error_of('DROP EXTENSION quota')->>'detail', 'trigger ' || what) > 0, 'DROP EXTENSION names trigger ' || what)
FROM unnest('{quota_charge_report on table mine,zz_quota_row_report on table mine_mark}'::text[]) what;
DROP FUNCTION brief(quota_decision);
SELECT lives_ok('DROP EXTENSION quota CASCADE', 'DROP EXTENSION CASCADE');
SELECT is((SELECT count(*) FROM pg_trigger WHERE tgname LIKE '%quota%'), 0::bigint, 'takes the triggers');
SELECT is(try_as('quota_test_app', $$INSERT INTO mine_mark SELECT 'app' FROM generate_series(1, 9)$$), 'ok', 'the table stays usable');
SELECT lives_ok('CREATE EXTENSION quota', 'and the extension can be made again');
SELECT is((quota_apply(quota_preset('reports')))->'plans'->'added'->>0, 'affiliate', 'with nothing of the old one');
SELECT lives_ok($$SELECT quota_attach('mine_mark', 'report', 'account')$$, 'attached again');
SELECT throws_ok($$INSERT INTO mine_mark SELECT 'app' FROM generate_series(1, 56)$$, 'PT429', 'Monthly report limit does not allow 56 more (0/50).', 'charged again');

SELECT * FROM finish();
ROLLBACK;
