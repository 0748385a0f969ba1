/*
 * Attachments as objects: what is kept of them, what follows a table that is
 * changed, and what is refused.
 */
BEGIN;
SELECT no_plan();
\ir _helpers.sql
SET LOCAL client_min_messages = error;
SET LOCAL quota.now = '2026-03-10 12:00+00';

INSERT INTO quota.plans (plan, is_default) VALUES ('free', true);
INSERT INTO quota.features (feature, kind) VALUES ('report', 'counter'), ('mb', 'gauge'), ('seat', 'gauge');
INSERT INTO quota.plan_limits (plan, feature, period, usage_limit) VALUES ('free', 'report', 'month', 5), ('free', 'mb', 'lifetime', 100), ('free', 'seat', 'lifetime', 3);
CREATE FUNCTION used(feature text) RETURNS text LANGUAGE sql AS $$
	SELECT COALESCE(string_agg(account || '=' || used, ' ' ORDER BY account), '') FROM quota.usage u WHERE u.feature = $1 AND used <> 0
$$;
CREATE FUNCTION functions() RETURNS text LANGUAGE sql AS $$
	SELECT COALESCE(string_agg(regexp_replace(proname, '\d+', 'N') || ' ' || pg_get_userbyid(proowner) || ' ' || provolatile::text, ', ' ORDER BY proname), '')
	FROM pg_proc WHERE pronamespace = 'quota'::regnamespace AND proname LIKE 'attached\_%'
$$;
/* the triggers of a table, with their arguments by the table that is attached */
CREATE FUNCTION triggers(relation regclass) RETURNS text LANGUAGE sql AS $$
	SELECT COALESCE(string_agg(tgname || '@' || COALESCE(a.relation::text, '?'), ' ' ORDER BY tgname), '')
	FROM pg_trigger t LEFT JOIN quota.attached a ON a.id = convert_from(substr(tgargs, 1, length(tgargs) - 1), 'UTF8')::int
	WHERE tgrelid = $1 AND NOT tgisinternal
$$;

/* What is kept. */
CREATE ROLE quota_test_keeper;
GRANT ALL ON SCHEMA public TO quota_test_keeper;
CREATE TABLE t (id int PRIMARY KEY, account text, n int, ok boolean, state text, why text, made timestamptz DEFAULT quota.now());
ALTER TABLE t OWNER TO quota_test_keeper;
SELECT quota_attach('t', 'report', 'account', 'n * 2', on_block => 'mark', counted_when => 'ok AND n > 0', status_column => 'state', blocked_status => 'no', message_column => 'why', mark_when => 'n < 100') \g /dev/null
SELECT quota_attach('t', 'mb', 'account', 'n') \g /dev/null
SELECT results_eq('SELECT * FROM quota.attachments ORDER BY feature',
	$$VALUES ('t'::regclass, 'mb' COLLATE "C", 'account', 'n', 'raise', NULL, NULL, NULL, NULL, NULL, NULL),
		('t', 'report', 'account', '(n * 2)', 'mark', '(ok AND (n > 0))', 'state', 'no', 'why', 'made', '(n < 100)')$$, 'the view tells what is attached');
SELECT is(functions(), 'attached_N_amount quota_test_keeper i, attached_N_counted_when quota_test_keeper i, attached_N_mark_when quota_test_keeper i', 'expressions are functions of the table''s owner');
SELECT is((SELECT count(*) FROM pg_proc WHERE proname LIKE 'attached\_%' AND pronamespace = 'quota'::regnamespace AND has_function_privilege('public', oid, 'EXECUTE')), 0::bigint, 'for nobody else');
SELECT is(triggers('t'), 'quota_begin_report@t quota_charge_mb@t quota_charge_report@t quota_delete_mb@t quota_delete_report@t quota_truncate_mb@t quota_truncate_report@t '
	'quota_update_mb@t quota_update_report@t zz_quota_row_report@t', 'triggers have the number');
SELECT quota_attach('t', 'report', 'account', 'n') \g /dev/null
SELECT is(functions(), '', 'attached anew: functions of before are gone');
SELECT is((SELECT count(*) FROM quota.attached), 2::bigint, 'and so is the row');
SELECT quota_attach('t', 'report', 'account', 'n + id', counted_when => 'ok') \g /dev/null
DROP TABLE t;
SELECT is(functions(), '', 'DROP TABLE: without CASCADE, with its functions');
SELECT is((SELECT count(*) FROM quota.attached), 0::bigint, 'and its attachments');
CREATE SCHEMA gone;
CREATE TABLE gone.t (id int PRIMARY KEY, account text, n int);
SELECT quota_attach('gone.t', 'mb', 'account', 'n + 1') \g /dev/null
DROP SCHEMA gone CASCADE;
SELECT is(functions() || (SELECT count(*) FROM quota.attached), '0', 'DROP SCHEMA');

/* Changes of the table. */
CREATE TABLE t (id int PRIMARY KEY, account text, n int, ok boolean, label text COLLATE "C");
SELECT quota_attach('t', 'mb', 'account', $$n + octet_length(label) + CASE WHEN label < 'a' THEN 10 ELSE 0 END$$, counted_when => 'ok') \g /dev/null
INSERT INTO t VALUES (1, 'a', 1, true, 'x'), (2, 'a', 1, false, 'x'), (3, 'b', 1, true, 'B');
SELECT is(used('mb'), 'a=2 b=12', 'a row');
SELECT lives_ok($$ALTER TABLE t ADD more int DEFAULT 7, ADD again timestamptz DEFAULT clock_timestamp(), ALTER id TYPE bigint$$, 'columns are added and changed');
ALTER TABLE t RENAME n TO m;
ALTER TABLE t RENAME ok TO n;
ALTER TABLE t RENAME account TO who;
ALTER TABLE t RENAME label TO account;
INSERT INTO t (id, who, m, n, account) VALUES (4, 'a', 5, true, 'xx');
UPDATE t SET m = m + 1;
SELECT is(used('mb'), 'a=11 b=13', 'renamed columns are followed');
SELECT is_empty($$SELECT * FROM quota_reconcile('t', 'mb')$$, 'also when rows are counted again');
SELECT is((SELECT account_column || ' ' || counted_when FROM quota.attachments), 'who n', 'they are shown by their new names');
DELETE FROM t;
DROP TABLE t;
DELETE FROM quota.usage;

/* PostgreSQL renames a column by many spellings, whatever they say that the table is. */
CREATE TYPE of_table AS (id int, account text, n int);
CREATE TABLE plain (id int PRIMARY KEY, account text, n int);
CREATE TABLE split (id int, account text, n int) PARTITION BY RANGE (id);
CREATE TABLE split_1 PARTITION OF split FOR VALUES FROM (0) TO (10);
CREATE TABLE typed OF of_table (PRIMARY KEY (id));
CREATE TABLE split_typed OF of_table PARTITION BY RANGE (id);
CREATE TABLE split_typed_1 PARTITION OF split_typed FOR VALUES FROM (0) TO (10);
SELECT quota_attach(name::regclass, 'mb', 'account', 'n * 2', counted_when => 'n > 0') FROM unnest('{plain,split,typed,split_typed}'::text[]) name \g /dev/null
/* what a row of 3 is charged, and a deleted one gives back, after a column was renamed; and how the columns are called */
CREATE FUNCTION renamed(name text, statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
BEGIN
	EXECUTE statement;
	EXECUTE format('INSERT INTO %I VALUES (1, ''a'', 3)', name);
	result := used('mb');
	EXECUTE format('UPDATE %I SET m = m + 1', name);
	result := result || ' ' || used('mb');
	EXECUTE format('DELETE FROM %I', name);
	result := format('%s (%s) ', result, used('mb')) || (SELECT concat_ws(', ', account_column, amount, counted_when) FROM quota.attachments WHERE relation = name::regclass);
	RAISE division_by_zero USING MESSAGE = result;
EXCEPTION WHEN OTHERS THEN
	RETURN SQLERRM;
END $$;
SELECT is(renamed(split_part(s, ' ', 3), 'ALTER ' || replace(s, '.', ' ')), 'a=6 a=8 () account, (m * 2), (m > 0)', s)
FROM unnest(ARRAY[
	'TABLE . plain RENAME n TO m', 'TABLE . plain RENAME COLUMN n TO m', 'TABLE IF.EXISTS plain RENAME n TO m', 'TABLE ONLY plain RENAME n TO m', 'TABLE . plain RENAME n TO "m"',
	'VIEW . plain RENAME n TO m', 'VIEW IF.EXISTS plain RENAME COLUMN n TO m', 'MATERIALIZED.VIEW . plain RENAME n TO m', 'MATERIALIZED.VIEW IF.EXISTS plain RENAME COLUMN n TO m',
	'FOREIGN.TABLE . plain RENAME n TO m', 'FOREIGN.TABLE IF.EXISTS plain RENAME COLUMN n TO m', 'TYPE . plain RENAME ATTRIBUTE n TO m', 'TYPE . plain RENAME ATTRIBUTE n TO m CASCADE',
	'TABLE . split RENAME n TO m', 'VIEW . split RENAME n TO m', 'MATERIALIZED.VIEW . split RENAME n TO m', 'FOREIGN.TABLE . split RENAME n TO m']) s;
SELECT is(renamed(name, 'ALTER TYPE of_table RENAME ATTRIBUTE n TO m CASCADE'), 'a=6 a=8 () account, (m * 2), (m > 0)', name || ': its type') FROM unnest('{typed,split_typed}'::text[]) name;
DROP TABLE plain, split, typed, split_typed;
DELETE FROM quota.usage;

/* Partitions. */
CREATE TABLE p (id int, account text, n int, ok boolean) PARTITION BY RANGE (id);
CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (100);
SELECT quota_attach('p', 'mb', 'account', 'n * 2', counted_when => 'ok') \g /dev/null
CREATE TABLE own (ok boolean, gone int, n int, id int, account text);
ALTER TABLE own DROP gone;
SELECT quota_attach('own', 'mb', 'account', 'n') \g /dev/null
SELECT quota_attach('own', 'report', 'account') \g /dev/null
SELECT is(error_of('ALTER TABLE p ATTACH PARTITION own FOR VALUES FROM (100) TO (200)') - 'hint', '{"state": "42809", "message": "table \"own\", which feature \"report\" is attached to, cannot become a partition",
	"detail": "Rows that come by way of its parent would not be charged."}', 'an attached table does not become a partition of one that is not');
SELECT quota_detach('own', 'report') \g /dev/null
INSERT INTO own (id, account, n, ok) VALUES (101, 'o', 3, true);
SELECT lives_ok('ALTER TABLE p ATTACH PARTITION own FOR VALUES FROM (100) TO (200)', 'it does where the feature is attached to both');
SELECT is(triggers('own'), 'quota_charge_mb@p quota_delete_mb@p quota_truncate_mb@p quota_update_mb@p', 'and has the triggers of its parent');
SELECT is((SELECT string_agg(relation::text, ',') FROM quota.attached), 'p', 'and no attachment of its own');
INSERT INTO p VALUES (102, 'o', 4, true);
INSERT INTO own (id, account, n, ok) VALUES (103, 'o', 5, true);
SELECT is(used('mb'), 'o=21', 'by way of its parent, and by itself');
ALTER TABLE p DETACH PARTITION own;
SELECT is(triggers('own'), 'quota_charge_mb@own quota_delete_mb@own quota_truncate_mb@own quota_update_mb@own', 'detached it is attached by itself');
UPDATE own SET n = n + 1;
DELETE FROM own WHERE id = 103;
SELECT is(used('mb'), 'o=15', 'and is counted as before');
SELECT is_empty($$SELECT account, drift FROM quota_reconcile('own', 'mb') WHERE account <> 'o'$$, 'both tables are counted again');
SELECT lives_ok('ALTER TABLE p ATTACH PARTITION own FOR VALUES FROM (100) TO (200)', 'it can come back');
SELECT is(triggers('own'), 'quota_charge_mb@p quota_delete_mb@p quota_truncate_mb@p quota_update_mb@p', 'to its parent''s triggers');
SELECT is(error_of($$SELECT quota_detach('own', 'mb')$$)->>'state', '42704', 'a partition alone is not attached');
SELECT is(error_of($$SELECT quota_attach('own', 'mb', 'account')$$)->>'state', '42809', 'and cannot be');
CREATE TABLE sub (LIKE p) PARTITION BY RANGE (id);
CREATE TABLE sub1 PARTITION OF sub FOR VALUES FROM (200) TO (250);
ALTER TABLE p ATTACH PARTITION sub FOR VALUES FROM (200) TO (300);
SELECT is(triggers('sub1'), triggers('own'), 'a partition that has partitions');
SELECT quota_detach('p', 'mb') \g /dev/null
SELECT is(triggers('p') || triggers('p1') || triggers('own') || triggers('sub') || triggers('sub1') || functions(), '', 'nothing is left when it is detached');

/* Foreign tables have no triggers that know of rows. */
CREATE FOREIGN DATA WRAPPER nowhere;
CREATE SERVER nowhere FOREIGN DATA WRAPPER nowhere;
SELECT quota_attach('p', 'mb', 'account', 'n') \g /dev/null
CREATE FOREIGN TABLE f (id int, account text, n int, ok boolean) SERVER nowhere;
SELECT is(error_of('ALTER TABLE p ATTACH PARTITION f FOR VALUES FROM (300) TO (400)')->>'message', 'foreign table "f" cannot be a partition of table "p"', 'a foreign table does not become a partition');
SELECT is(error_of('CREATE FOREIGN TABLE f2 PARTITION OF p FOR VALUES FROM (300) TO (400) SERVER nowhere')->>'state', '42809', 'nor is it made as one');
CREATE TABLE fp (LIKE p) PARTITION BY RANGE (id);
CREATE FOREIGN TABLE f3 PARTITION OF fp FOR VALUES FROM (300) TO (400) SERVER nowhere;
SELECT is(error_of('ALTER TABLE p ATTACH PARTITION fp FOR VALUES FROM (300) TO (400)')->>'state', '42809', 'nor does it come with another');
SELECT is(error_of($$SELECT quota_attach('fp', 'mb', 'account', 'n')$$)->>'state', '42809', 'nor is it there already');

/* Rows that cannot be counted: which. */
CREATE TABLE bad (id int PRIMARY KEY, account text, n int, made timestamptz DEFAULT quota.now());
CREATE TABLE good (id int PRIMARY KEY, account text, n int, made timestamptz DEFAULT quota.now());
SELECT quota_attach('bad', 'report', 'account', 'n', backfill => false) \g /dev/null
SELECT quota_attach('good', 'report', 'account', 'n') \g /dev/null
INSERT INTO bad VALUES (1, 'a', 1);
SELECT is_empty($$SELECT * FROM quota_reconcile('good', 'report')$$, 'a row that can be counted');
CREATE FUNCTION after(change text) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	found jsonb;
BEGIN
	BEGIN
		EXECUTE 'UPDATE bad SET ' || change;
		found := error_of($q$SELECT * FROM quota_reconcile('good', 'report')$q$) - 'hint';
		RAISE EXCEPTION 'back';
	EXCEPTION WHEN raise_exception THEN
		RETURN jsonb_set(found, '{detail}', to_jsonb(regexp_replace(found->>'detail', '\(\d+,\d+\)', 'X')));
	END;
END $$;
SELECT is(after(change), jsonb_build_object('state', state, 'message', message, 'detail', 'The row with ctid X of table public.bad cannot be counted for feature "report".'), change)
FROM (VALUES ('n = -5', '22023', 'amount must not be negative, as -5 is'), ('n = NULL', '22004', 'amount in column "n" must not be null'),
	('account = NULL', '22004', 'account in column "account" must not be null'), ('account = ''''', '22023', 'account must not be empty'),
	('account = repeat(''x'', 300)', '22023', 'account is too long'),
	('made = ''294276-12-31''', '22008', 'time in column "made" is out of range'), ('made = ''4714-11-24 BC''', '22008', 'time in column "made" is out of range')) v (change, state, message);
UPDATE bad SET made = '294274-12-31';
SELECT is((SELECT array_agg(period_start ORDER BY period_start)::text FROM quota_reconcile('good', 'report')), '{"2026-03-01 00:00:00+00","294274-12-01 00:00:00+00"}', 'a time that is far away');

/* What differs when a row goes. */
CREATE TABLE expiring (id int PRIMARY KEY, account text, expires_at timestamptz, flagged text);
SELECT is(error_of(format($$SELECT quota_attach('expiring', 'seat', 'account', counted_when => %L)$$, e)) - 'hint' - 'detail', format('{"state": "0A000", "message": "%s functions cannot be used on a row that is counted"}', kind)::jsonb, e)
FROM (VALUES ('expires_at > now()', 'stable'), ('expires_at::date > CURRENT_DATE', 'stable'), ('flagged = current_user', 'stable'), ('expires_at > clock_timestamp()', 'volatile'), ('expires_at::text > ''2''', 'stable')) v (e, kind);
SELECT lives_ok($$SELECT quota_attach('expiring', 'seat', 'account', counted_when => $e$expires_at > '2026-01-01'$e$)$$, 'a time that stays is no such thing');

/* Work is linear in the length of an expression. */
CREATE TABLE long (id int PRIMARY KEY, account text, label text);
SELECT quota_attach('long', 'mb', 'account', counted_when => 'label NOT IN (' || (SELECT string_agg(format('%L', repeat('x', 20) || i), ', ') FROM generate_series(1, 800) i) || ')') \g /dev/null
CREATE TEMP TABLE took AS SELECT clock_timestamp() AS began;
SELECT length(counted_when) > 20000 AS is_long FROM quota.attachments WHERE relation = 'long'::regclass \gset
SELECT ok(:'is_long', 'an expression of 20,000 characters');
SELECT cmp_ok((SELECT clock_timestamp() - began FROM took), '<', interval '1 second', 'is shown at once');

SELECT * FROM finish();
ROLLBACK;
