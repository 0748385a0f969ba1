/*
 * Keys: a call with a key is answered once.
 */
BEGIN;
SELECT no_plan();
\ir _helpers.sql
SET LOCAL quota.now = '2026-03-10 12:00+00';

SELECT quota_apply('{
	"features": {"scan": {"kind": "counter"}, "page": {"kind": "counter"}, "seat": {"kind": "gauge"}, "call": {"kind": "rate"}},
	"plans": {
		"free": {"default": true, "limits": {"scan": {"day": {"limit": 5}, "month": {"limit": 50}}, "page": {"month": {"limit": 10}}, "seat": {"lifetime": {"limit": 3}}, "call": {"minute": {"limit": 3}}}},
		"pro": {"limits": {"scan": {"day": {"limit": 500}}}}}}') IS NOT NULL AS applied \gset
CREATE FUNCTION used(a text, f text) RETURNS text LANGUAGE sql AS
	$$SELECT string_agg(used::text, '/' ORDER BY period) FROM quota.usage u WHERE u.account = a AND u.feature = f$$;

/* The first answer, again. */
CREATE TEMP TABLE first AS SELECT * FROM quota_consume('ada', 'scan', 4, 'k1');
SELECT is((SELECT used FROM first), 4::bigint, 'the first call charges');
SELECT results_eq($$SELECT * FROM quota_consume('ada', 'scan', 4, 'k1')$$, $$SELECT * FROM first$$, 'the second gets its answer');
SELECT is(used('ada', 'scan'), '4/4', 'and charges nothing');
SELECT is((quota_consume('ada', 'scan', 1, 'k2')).used, 5::bigint, 'another key is another call');
SELECT is((quota_consume('bob', 'scan', 4, 'k1')).used, 4::bigint, 'so is the same key of another account');
SELECT results_eq($$SELECT * FROM quota_consume('ada', 'scan', 4, key => 'k1')$$, $$SELECT * FROM first$$, 'the answer stays while use goes on');
SELECT quota_set_plan('ada', 'pro');
SELECT results_eq($$SELECT * FROM quota_consume('ada', 'scan', 4, key => 'k1')$$, $$SELECT * FROM first$$, 'and when the plan changes');
SELECT quota_set_plan('ada', 'free');
SELECT is((quota_consume('ada', 'scan')).decision, 'BLOCK', 'no key is no key');

/* A denial is an answer. */
SELECT is(brief(quota_consume('ada', 'scan', 3, 'denied')), 'BLOCK 5/5 limit_reached', 'a denial');
SELECT is(brief(quota_refund('ada', 'scan', 5)), 'ALLOW 0/5 ok', 'room is made');
SELECT is(brief(quota_consume('ada', 'scan', 3, 'denied')), 'BLOCK 5/5 limit_reached', 'the denial stays');
SELECT is(used('ada', 'scan'), '0/0', 'and nothing is charged');
SELECT is(brief(quota_consume('ada', 'scan', 3, 'denied no more')), 'ALLOW 3/5 ok', 'by another key it is');

/* A key stands for one call. */
SELECT is(error_of($$SELECT quota_consume('ada', 'scan', 5, 'k1')$$), '{"state": "22023", "message": "key \"k1\" stands for another call",
	"detail": "It was first used to call quota_consume for 4 of feature \"scan\".",
	"hint": "Repeat a call with all of its arguments, and give each other call a key of its own."}'::jsonb, 'another amount');
SELECT throws_ok(format('SELECT %s(''ada'', ''%s'', 4, key => ''k1'')', f, feature), '22023', 'key "k1" stands for another call', f || ' of ' || feature)
FROM (VALUES ('quota_consume', 'page'), ('quota_record', 'scan'), ('quota_enforce', 'scan'), ('quota_reserve', 'scan')) v (f, feature);
SELECT throws_ok($$SELECT quota_consume('ada', 'nothing', 4, key => 'k1')$$, '22023', NULL, 'a feature that is none');
SELECT is(used('ada', 'scan') || used('ada', 'page'), NULL, 'none of them charges');

/* record, and enforce, which remembers no denial: its error undoes all of it. */
SELECT is(brief(quota_record('cy', 'page', 12, 'r')), 'ALLOW_WITH_WARNING 12/10 soft_limit', 'record');
SELECT is(brief(quota_record('cy', 'page', 12, 'r')), 'ALLOW_WITH_WARNING 12/10 soft_limit', 'record again');
SELECT is(used('cy', 'page'), '12', 'counts once');
SELECT is((quota_enforce('dan', 'page', 8, 'e')).used, 8::bigint, 'enforce');
SELECT is((quota_enforce('dan', 'page', 8, 'e')).used, 8::bigint, 'enforce again');
SELECT throws_ok($$SELECT quota_enforce('dan', 'page', 3, 'e2')$$, 'PT429', NULL, 'enforce: a denial');
SELECT is((quota_refund('dan', 'page', 1)).used, 7::bigint, 'room is made');
SELECT is((quota_enforce('dan', 'page', 3, 'e2')).used, 10::bigint, 'enforce: judged anew');
SELECT is(used('dan', 'page'), '10', 'what it charged in all');

/* It goes with what it charged. */
SAVEPOINT s;
SELECT is((quota_consume('eve', 'page', 2, 's')).used, 2::bigint, 'in a savepoint');
SELECT is((quota_consume('eve', 'page', 2, 's')).used, 2::bigint, 'known in it');
ROLLBACK TO s;
SELECT is((quota_consume('eve', 'page', 3, 's')).used, 3::bigint, 'rolled back: another call may have the key');
SELECT is((SELECT count(*) FROM (SELECT (quota_consume('eve', 'scan', 1, 'row ' || i % 3)).used FROM generate_series(1, 30) i OFFSET 0) c), 30::bigint, 'thirty calls in a statement');
SELECT is(used('eve', 'scan'), '3/3', 'with three keys are three charges');
/* more than the lock table of a small server has room for */
SELECT is(max((d).used), 20000::bigint, 'many keys in a transaction') FROM (SELECT quota_record('eve', 'seat', 1, 'many ' || i) AS d FROM generate_series(1, 20000) i OFFSET 0) c;

/* Accounts named in three ways, keys of whatever they are made of. */
SELECT is((quota_consume('7c9e6679-7425-40de-944b-e07fc1f90ae7'::uuid, 'scan', key => 'u')).used, 1::bigint, 'uuid');
SELECT is((quota_consume('7c9e6679-7425-40de-944b-e07fc1f90ae7'::text, 'scan', key => 'u')).used, 1::bigint, 'the same as text');
SELECT is((quota_consume(42::bigint, 'scan', key => 'u')).used, 1::bigint, 'bigint');
SELECT is((quota_consume('42', 'scan', key => 'u')).used, 1::bigint, 'the same as text');
SELECT is(ARRAY[used('7c9e6679-7425-40de-944b-e07fc1f90ae7', 'scan'), used('42', 'scan')], '{1/1,1/1}', 'each is charged once');
SELECT is((quota_record('fay', 'page', key => k)).used, n, 'key ' || left(k, 20))
FROM (VALUES (repeat('k', 255), 1::bigint), (repeat('é', 127), 2), (' ', 3), ('K', 4), ('k', 5), ('%', 6), ('{"a": 1}', 7)) v (k, n);
SELECT is((quota_record('fay', 'page', key => k)).used, n, 'again ' || left(k, 20))
FROM (VALUES (repeat('k', 255), 1::bigint), (repeat('é', 127), 2), (' ', 3), ('K', 4), ('k', 5), ('%', 6), ('{"a": 1}', 7)) v (k, n);
SELECT is(error_of(format('SELECT %s(''fay'', ''page'', 1, key => %L)', f, k)) - '{hint}'::text[], jsonb_build_object('state', '22023', 'message', m, 'detail', d), f || ': ' || m)
FROM unnest('{quota_consume,quota_enforce,quota_record,quota_reserve}'::text[]) f,
	(VALUES ('', 'key must not be empty', ''), (repeat('k', 256), 'key is too long', 'It has 256 bytes, the most is 255.'), (repeat('é', 128), 'key is too long', 'It has 256 bytes, the most is 255.')) v (k, m, d);
SELECT is((quota_record('fay', 'page', key => NULL)).used, 8::bigint, 'NULL is no key');

/* A rate, which writes nothing itself. */
SELECT is((quota_consume('jan', 'call', 2, 'k')).used, 2::bigint, 'rate: taken');
SELECT is((quota_consume('jan', 'call', 2, 'k')).used, 2::bigint, 'rate: the same answer');
SELECT is((quota_consume('jan', 'call')).used, 3::bigint, 'rate: taken once');

/* quota.enforcement */
SET LOCAL quota.enforcement = off;
SELECT is(brief(quota_consume('gus', 'page', 99, 'o')), 'ALLOW 0/10 ok', 'off: nothing is charged');
SELECT is((SELECT count(*) FROM quota.keys WHERE account = 'gus'), 0::bigint, 'off: nothing is remembered');
SET LOCAL quota.enforcement = shadow;
SELECT is(brief(quota_consume('gus', 'page', 99, 'o')), 'ALLOW_WITH_WARNING 99/10 shadow', 'shadow: it is charged');
SET LOCAL quota.enforcement = on;
SELECT is(brief(quota_consume('gus', 'page', 99, 'o')), 'ALLOW_WITH_WARNING 99/10 shadow', 'shadow: and remembered');
SELECT is(used('gus', 'page'), '99', 'once');

/* How long. */
SELECT is((quota_consume('hal', 'scan', 1, 'old')).used, 1::bigint, 'at noon');
SET LOCAL quota.now = '2026-03-17 11:59:59+00';
SELECT is((quota_consume('hal', 'scan', 1, 'new')).used, 1::bigint, 'a week later');
SELECT is((quota_maintain()->>'keys_deleted')::int, 0, 'a key is remembered for seven days');
SELECT is((quota_consume('hal', 'scan', 1, 'old')).period_start, '2026-03-10 00:00+00'::timestamptz, 'its answer is that of its day');
SET LOCAL quota.now = '2026-03-17 12:00+00';
SELECT is((quota_maintain(key_retention => NULL)->>'keys_deleted')::int, 0, 'without a retention for good');
SELECT is((quota_maintain(key_retention => '8 days')->>'keys_deleted')::int, 0, 'or as long as one likes');
SELECT cmp_ok((quota_maintain()->>'keys_deleted')::int, '>', 20000, 'after that they are forgotten');
SELECT results_eq($$SELECT account, key FROM quota.keys$$, $$VALUES ('hal' COLLATE "C", 'new' COLLATE "C")$$, 'but not those that are newer');
SELECT is((quota_consume('hal', 'scan', 1, 'old')).period_start, '2026-03-17 00:00+00'::timestamptz, 'a call with a key that is forgotten charges again');
SELECT is((quota_maintain(key_retention => '0')->>'keys_deleted')::int, 2, 'a retention of nothing');
SELECT throws_ok($$SELECT quota_maintain(key_retention => '-1 day')$$, '22023', 'key_retention must not be negative', 'a negative one');

/* Who may. */
CREATE ROLE quota_test_app;
CREATE ROLE quota_test_reader;
SELECT quota_grant('quota_test_app', 'app'), quota_grant('quota_test_reader', 'reader') \g /dev/null
GRANT USAGE ON SCHEMA public TO quota_test_app, quota_test_reader;
SELECT is((SELECT array_agg(l) FROM as_role('quota_test_app', $$SELECT used FROM generate_series(1, 2), quota_consume('ida', 'scan', 1, 'k')$$) l), '{1,1}', 'app: with a key');
SELECT is(try_as('quota_test_app', 'SELECT FROM quota.keys'), '42501', 'app: does not see keys');
SELECT quota_add_user('ida', 'u1');
SELECT is((SELECT count(*) FROM as_role('quota_test_reader', 'SELECT key FROM quota.keys')), 0::bigint, 'reader: nobody''s');
SET LOCAL "quota.user" = 'u1';
SELECT is((SELECT array_agg(l) FROM as_role('quota_test_reader', 'SELECT account, key, (decision).used FROM quota.keys') l), '{ida|k|1}', 'reader: those of its user');

/* The type of the answer may get further attributes: rows from before lack them. */
ALTER TYPE quota_decision ADD ATTRIBUTE further text;
SELECT is((SELECT ((decision).used, (decision).further)::text FROM quota.keys WHERE account = 'ida'), '(1,)', 'an answer outlives a change of its type');

SELECT * FROM finish();
ROLLBACK;
