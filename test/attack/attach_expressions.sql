/*
 * Text that is no expression on a row: it is refused, does not end the session,
 * and does not get out of the function that it is kept in.
 */
BEGIN;
SELECT no_plan();
\ir ../pgtap/_helpers.sql
SET LOCAL client_min_messages = error;

INSERT INTO quota.plans (plan, is_default) VALUES ('free', true);
INSERT INTO quota.features (feature, kind) VALUES ('storage', 'gauge');
INSERT INTO quota.plan_limits (plan, feature, period, usage_limit) VALUES ('free', 'storage', 'lifetime', 100);
CREATE TABLE t (id int PRIMARY KEY, account text, n int, note text);
CREATE TABLE kept (x int);

SELECT is(error_of($$SELECT quota.row_expression('pg_class', '*')$$)->>'state', '42601', 'a bare *');
SELECT is(error_of(format('SELECT quota_attach(''t'', ''storage'', ''account'', %L)', e))->>'state', s, 'amount: ' || e)
FROM (VALUES
	('*', '42601'), (' * ', '42601'), ('t.*', '42601'), ('quota_row.*', '42601'), ('(quota_row.*)', '42601'), ('(quota_row).*', '0A000'), ('ROW(*)', '42601'),
	('quota_row', '42703'), ('row_to_json(quota_row)::text::int', '0A000'),
	('(SELECT 1)', '0A000'), ('(SELECT n)', '0A000'), ('n + (SELECT count(*)::int FROM kept)', '0A000'), ('CASE WHEN EXISTS (SELECT FROM kept) THEN 1 END', '0A000'),
	('n = ANY (SELECT 1)', '0A000'), ('ARRAY(SELECT 1)', '0A000'), ('(VALUES (1))', '0A000'), ('(TABLE kept)', '0A000'),
	('sum(n)', '42803'), ('count(*)', '42803'), ('grouping(n)', '42803'), ('sum(n) OVER ()', '42P20'), ('row_number() OVER (ORDER BY n)', '42P20'),
	('generate_series(1, 2)', '0A000'), ('unnest(ARRAY[1, 2])', '0A000'), ('1 + generate_series(1, n)', '0A000'),
	('ctid', '42703'), ('(ctid)', '0A000'), ('xmin::text::int', '0A000'), ('tableoid::int', '0A000'),
	('$1', '42P02'), ('n + $1', '42P02'), ('now()', '0A000'), ('extract(epoch FROM now())::int', '0A000'), ('CURRENT_DATE - ''2020-01-01''', '0A000'),
	('length(current_user)', '0A000'), ('length(current_setting(''quota.now''))', '0A000'), ('random()::int', '0A000'), ('nextval(''quota.attached_id_seq'')', '0A000'),
	('n; DROP TABLE kept', '42601'), ('n) ; DROP TABLE kept; --', '42601'), ('n) RETURN (n', '42601'), ('n /*', '42601'), ('1, 2', '42601'), ('n AS m', '42601'), ('n m', '42601'),
	('n INTO kept', '42601'), ('DISTINCT n', '42601'), ('n FROM t', '42601'), ('n WHERE true', '42601'), ('n LIMIT 1', '42601'), ('n UNION SELECT 1', '42601'), ('n FOR UPDATE', '42601'),
	('WITH x AS (SELECT 1) SELECT 1', '42601'), ('', '42601'), (' ', '42601'), ('-- n', '42601'), ('(DEFAULT)', '42601'), ('lower(note)', '42804'), ('note::quota.attached', '0A000')) v (e, s);
SELECT is(error_of(format('SELECT quota_attach(''t'', ''storage'', ''account'', counted_when => %L)', e))->>'state', s, 'counted_when: ' || e)
FROM (VALUES ('*', '42601'), ('quota_row.*', '42601'), ('true; DROP TABLE kept', '42601'), ('note > now()::text', '0A000'), ('quota_row IS NULL', '0A000')) v (e, s);
SELECT is(error_of(format('SELECT * FROM quota.row_expression(%s, ''1'')', r))->>'state', s, 'of ' || r)
FROM (VALUES ('0', '42P01'), ('4294967295::oid::regclass', '42P01'), ('NULL', '22004'), ('''pg_class_oid_index''', '42809')) v (r, s);
SELECT is((SELECT count(*) FROM kept), 0::bigint, 'nothing got out');
SELECT is_empty($$SELECT proname FROM pg_proc WHERE proname LIKE 'attached\_%\_%' AND pronamespace = 'quota'::regnamespace$$, 'and nothing was kept');

/* What looks dangerous and is not means what it says, also when it is dumped. */
SELECT lives_ok($$SELECT quota_attach('t', 'storage', 'account', $e$CASE note WHEN ') ; DROP TABLE kept; --' THEN 2 WHEN E'\\''' THEN 3 WHEN U&'\0041' THEN 4 ELSE 1 END -- the end$e$)$$, 'quotes and comments');
INSERT INTO t VALUES (1, 'a', 1, ') ; DROP TABLE kept; --'), (2, 'b', 1, '\'''), (3, 'c', 1, 'A'), (4, 'd', 1, 'x');
SELECT is((SELECT string_agg(account || used, ' ' ORDER BY account) FROM quota.usage), 'a2 b3 c4 d1', 'are evaluated');
DO $$
DECLARE
	definition text := (SELECT pg_get_functiondef(oid) FROM pg_proc WHERE proname LIKE 'attached\_%\_amount' AND pronamespace = 'quota'::regnamespace);
BEGIN
	EXECUTE definition;
END $$;
INSERT INTO t VALUES (5, 'e', 1, ') ; DROP TABLE kept; --'), (6, 'f', 1, '\'''), (7, 'g', 1, 'A'), (8, 'h', 1, 'x');
SELECT is((SELECT string_agg(account || used, ' ' ORDER BY account) FROM quota.usage WHERE account > 'd'), 'e2 f3 g4 h1', 'and are the same after a dump');
SELECT is((SELECT count(*) FROM kept), 0::bigint, 'nothing got out');

/* Its owner can drop and alter the function. Then nothing goes in. */
SELECT format('ALTER FUNCTION quota.%s VOLATILE', proname) FROM pg_proc WHERE proname LIKE 'attached\_%\_amount' AND pronamespace = 'quota'::regnamespace \gexec
SELECT is(error_of($$INSERT INTO t VALUES (20, 'a', 1, 'x')$$)->>'state', '55000', 'altered');
SELECT format('ALTER FUNCTION quota.%s IMMUTABLE', proname) FROM pg_proc WHERE proname LIKE 'attached\_%\_amount' AND pronamespace = 'quota'::regnamespace \gexec
SELECT lives_ok($$INSERT INTO t VALUES (20, 'a', 1, 'x')$$, 'and back');
SELECT format('DROP FUNCTION quota.%s', proname) FROM pg_proc WHERE proname LIKE 'attached\_%\_amount' AND pronamespace = 'quota'::regnamespace \gexec
SELECT is(error_of($$INSERT INTO t VALUES (21, 'a', 1, 'x')$$)->>'state', '55000', 'dropped');
SELECT lives_ok($$SELECT quota_detach('t', 'storage')$$, 'it can be detached');

SELECT * FROM finish();
ROLLBACK;
