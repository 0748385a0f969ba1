/*
 * Alerts: a row a threshold that a counter reaches, once a window.
 */
BEGIN;
SELECT no_plan();
\ir _helpers.sql
SET LOCAL quota.now = '2026-03-10 12:00+00';
SET LOCAL client_min_messages = warning;
SELECT quota_apply('{
	"features": {
		"report": {"kind": "counter"}, "scan": {"kind": "counter"}, "soft": {"kind": "counter"}, "none": {"kind": "counter"}, "zero": {"kind": "counter"},
		"free_of": {"kind": "counter"}, "seat": {"kind": "gauge"}, "call": {"kind": "counter"}},
	"plans": {
		"free": {"default": true, "limits": {
			"report": {"day": {"limit": 5}, "month": {"limit": 10, "warn_ratio": 0.5}}, "scan": {"month": {"limit": 10, "block_ratio": 1.5}},
			"soft": {"month": {"limit": 10, "on_limit": "warn", "warn_ratio": 0.85}}, "none": {"month": {"limit": null}}, "zero": {"month": {"limit": 0, "on_limit": "warn"}},
			"seat": {"lifetime": {"limit": 10}}, "call": {"lifetime": {"limit": 1000}}}},
		"pro": {"limits": {"scan": {"month": {"limit": 100}}}}}}') \g /dev/null

/* What has been told since the last look. */
CREATE TEMP TABLE seen (id bigint);
CREATE FUNCTION told() RETURNS SETOF text LANGUAGE sql AS $$
	WITH fresh AS (SELECT * FROM quota.alerts l WHERE NOT EXISTS (SELECT FROM seen s WHERE s.id = l.id)), marked AS (INSERT INTO seen SELECT id FROM fresh)
	SELECT concat_ws(' ', account, feature, COALESCE(plan, '-'), period, COALESCE(to_char(period_start AT TIME ZONE 'UTC', 'MM-DD'), period_start::text), threshold, used || '/' || usage_limit) FROM fresh ORDER BY id
$$;

SELECT quota_consume('a', 'scan', 7) \g /dev/null
SELECT is_empty('SELECT told()', 'below the threshold');
SELECT quota_consume('a', 'scan') \g /dev/null
SELECT results_eq('SELECT told()', $$VALUES ('a scan free month 03-01 warn 8/10')$$, 'the charge that reaches it');
SELECT is((SELECT at FROM quota.alerts), '2026-03-10 12:00+00'::timestamptz, 'with the time of the decision');
SELECT quota_consume('a', 'scan') \g /dev/null
SELECT is_empty('SELECT told()', 'no other');
SELECT quota_consume('a', 'scan') \g /dev/null
SELECT results_eq('SELECT told()', $$VALUES ('a scan free month 03-01 limit 10/10')$$, 'the limit');
SELECT quota_consume('a', 'scan', 5), quota_consume('a', 'scan') \g /dev/null
SELECT is_empty('SELECT told()', 'past it, and a denial');
SELECT quota_refund('a', 'scan', 15), quota_consume('a', 'scan', 15) \g /dev/null
SELECT is_empty('SELECT told()', 'a counter tells once a window, whatever is given back');
/* also by charges that do not reach again what it has told of */
SELECT quota_refund('a', 'scan', 7), quota_consume('a', 'scan') \g /dev/null
SELECT is((SELECT alerted FROM quota.usage WHERE account = 'a'), 2::smallint, 'a charge between warning and limit: the limit stays told');
SELECT quota_consume('a', 'scan') \g /dev/null
SELECT is_empty('SELECT told()', 'a charge from there to the limit tells nothing');
SELECT quota_refund('a', 'scan', 9), quota_consume('a', 'scan'), quota_consume('a', 'scan', 6), quota_consume('a', 'scan'), quota_consume('a', 'scan') \g /dev/null
SELECT is_empty('SELECT told()', 'nor do charges from below the warning, one after the other');
SET LOCAL quota.now = '2026-04-10 12:00+00';
SELECT quota_consume('a', 'scan', 8) \g /dev/null
SELECT results_eq('SELECT told()', $$VALUES ('a scan free month 04-01 warn 8/10')$$, 'and again in the next');
SET LOCAL quota.now = '2026-03-10 12:00+00';

SELECT quota_consume('b', 'scan', 12) \g /dev/null
SELECT results_eq('SELECT told()', $$VALUES ('b scan free month 03-01 warn 12/10'), ('b scan free month 03-01 limit 12/10')$$, 'a charge that reaches both tells of both');
SELECT quota_consume('b', 'report', 5) \g /dev/null
SELECT results_eq('SELECT told()', $$VALUES ('b report free day 03-10 warn 5/5'), ('b report free day 03-10 limit 5/5'), ('b report free month 03-01 warn 5/10')$$, 'each window has its own');
SELECT quota_consume('b', 'report', 9) \g /dev/null
SELECT is_empty('SELECT told()', 'what is refused reaches nothing');

/* Every way to charge. */
SELECT quota_enforce('c', 'scan', 8) \g /dev/null
SELECT quota_record('d', 'scan', 20) \g /dev/null
SELECT count(*) FROM quota_consume_many('e', '{"soft": 9, "scan": 8, "none": 99}') \g /dev/null
SELECT results_eq('SELECT told()', $$VALUES ('c scan free month 03-01 warn 8/10'), ('d scan free month 03-01 warn 20/10'), ('d scan free month 03-01 limit 20/10'),
	('e scan free month 03-01 warn 8/10'), ('e soft free month 03-01 warn 9/10')$$, 'enforce, record, consume_many');
SELECT count(*) FROM quota_consume_many('e', '{"soft": 1, "scan": 9}') \g /dev/null
SELECT is_empty('SELECT told()', 'all or none');
SELECT quota_consume('e', 'soft', 1) \g /dev/null
SELECT results_eq('SELECT told()', $$VALUES ('e soft free month 03-01 limit 10/10')$$, 'a limit that only warns');
SELECT quota_consume('e', 'zero') \g /dev/null
SELECT results_eq('SELECT told()', $$VALUES ('e zero free month 03-01 warn 1/0'), ('e zero free month 03-01 limit 1/0')$$, 'a limit of nothing, at the first unit');
CREATE TABLE scans (account text, status text);
SELECT quota_attach('scans', 'scan', 'account') \g /dev/null
INSERT INTO scans SELECT 't' || i % 2 FROM generate_series(1, 16) i;
SELECT results_eq('SELECT told()', $$VALUES ('t0 scan free month 03-01 warn 8/10'), ('t1 scan free month 03-01 warn 8/10')$$, 'a trigger');
SELECT is(error_of($$INSERT INTO scans SELECT 't1' FROM generate_series(1, 8)$$)->>'state', 'PT429', 'a statement that is refused');
SELECT is_empty('SELECT told()', 'tells nothing');
SELECT quota_detach('scans', 'scan'), quota_attach('scans', 'scan', 'account', on_block => 'mark', status_column => 'status', blocked_status => 'no') \g /dev/null
INSERT INTO scans SELECT 't1', 'new' FROM generate_series(1, 8);
SELECT results_eq('SELECT told()', $$VALUES ('t1 scan free month 03-01 limit 15/10')$$, 'rows that went in');

/* Where nothing is told. */
INSERT INTO quota.accounts (account, bypass) VALUES ('root', true);
SELECT quota_consume('root', 'scan', 99), quota_consume('f', 'none', 99), quota_record('f', 'free_of', 99) \g /dev/null
SELECT is_empty('SELECT told()', 'bypass, unlimited, not in the plan');
SET LOCAL quota.enforcement = 'off';
SELECT quota_consume('f', 'scan', 99) \g /dev/null
SELECT is_empty('SELECT told()', 'off');
SET LOCAL quota.enforcement = 'shadow';
SELECT quota_consume('f', 'scan', 99) \g /dev/null
SELECT results_eq('SELECT told()', $$VALUES ('f scan free month 03-01 warn 99/10'), ('f scan free month 03-01 limit 99/10')$$, 'shadow tells');
SET LOCAL quota.enforcement = 'on';

/* Overrides and plans. */
SELECT quota_set_override('g', 'scan', 'month', 20) \g /dev/null
SELECT quota_consume('g', 'scan', 8), quota_consume('g', 'scan', 8) \g /dev/null
SELECT results_eq('SELECT told()', $$VALUES ('g scan free month 03-01 warn 16/20')$$, 'the limit in force');
SELECT quota_set_override('g', 'scan', 'month', 17) \g /dev/null
SELECT quota_consume('g', 'scan') \g /dev/null
SELECT results_eq('SELECT told()', $$VALUES ('g scan free month 03-01 limit 17/17')$$, 'a limit that was lowered');
SELECT quota_set_plan('g', 'pro'), quota_clear_override('g', 'scan') \g /dev/null
SELECT quota_consume('g', 'scan', 80) \g /dev/null
SELECT is_empty('SELECT told()', 'a limit that was raised: once a window');
SELECT quota_reset('g', 'scan') \g /dev/null
SELECT quota_consume('g', 'scan', 80) \g /dev/null
SELECT results_eq('SELECT told()', $$VALUES ('g scan pro month 03-01 warn 80/100')$$, 'a counter that was reset begins anew');

/* A level tells anew when it has fallen below the warning. */
SELECT quota_consume('h', 'seat', 10) \g /dev/null
SELECT results_eq('SELECT told()', $$VALUES ('h seat free lifetime -infinity warn 10/10'), ('h seat free lifetime -infinity limit 10/10')$$, 'a level');
SELECT quota_refund('h', 'seat', 2), quota_consume('h', 'seat', 2) \g /dev/null
SELECT is_empty('SELECT told()', 'that falls to the warning');
SELECT quota_refund('h', 'seat', 3) \g /dev/null
SELECT is((SELECT alerted FROM quota.usage WHERE account = 'h'), 0::smallint, 'below it it is forgotten');
SELECT quota_consume('h', 'seat') \g /dev/null
SELECT results_eq('SELECT told()', $$VALUES ('h seat free lifetime -infinity warn 8/10')$$, 'and told again');
SELECT quota_consume('h', 'seat', 2) \g /dev/null
SELECT results_eq('SELECT told()', $$VALUES ('h seat free lifetime -infinity limit 10/10')$$, 'up to the limit');

SELECT quota_refund('h', 'seat', 2), quota_consume('h', 'seat'), quota_consume('h', 'seat') \g /dev/null
SELECT is_empty('SELECT told()', 'not below the warning: nor is the limit told again');

/* Each way to charge and to give back keeps what was told. */
CREATE TABLE posts (id serial PRIMARY KEY, account text, failed boolean NOT NULL DEFAULT false);
SELECT quota_detach('scans', 'scan'), quota_attach('posts', 'scan', 'account', counted_when => 'NOT failed') \g /dev/null
INSERT INTO posts (account) SELECT 'w' FROM generate_series(1, 10);
SELECT results_eq('SELECT told()', $$VALUES ('w scan free month 03-01 warn 10/10'), ('w scan free month 03-01 limit 10/10')$$, 'rows to the limit');
UPDATE posts SET failed = true WHERE id <= 2;
INSERT INTO posts (account) VALUES ('w');
INSERT INTO posts (account) VALUES ('w');
SELECT is_empty('SELECT told()', 'rows that failed, and others');
SELECT quota_refund('w', 'scan', 2) \g /dev/null
SELECT count(quota_commit((quota_reserve('w', 'scan', 1)).id)) FROM generate_series(1, 2) \g /dev/null
SELECT is_empty('SELECT told()', 'reservations');
SELECT quota_refund('w', 'scan', 2), quota_record('w', 'scan'), quota_enforce('w', 'scan') \g /dev/null
SELECT is_empty('SELECT told()', 'record and enforce');
SELECT quota_refund('w', 'scan', 2) \g /dev/null
SELECT count(*) FROM quota_consume_many('w', '{"scan": 1}') \g /dev/null
SELECT count(*) FROM quota_consume_many('w', '{"scan": 1}') \g /dev/null
SELECT is_empty('SELECT told()', 'consume_many');

/* Where an account gets the key of another, their counter has told what either has. */
CREATE TABLE teams (id text PRIMARY KEY);
SELECT quota_adopt('teams', 'id') \g /dev/null
INSERT INTO teams VALUES ('old-1'), ('old-2'), ('old-3');
SELECT quota_consume('old-1', 'scan', 8), quota_consume('new-1', 'scan'), quota_consume('old-2', 'scan'), quota_consume('new-2', 'scan', 8),
	quota_record('old-3', 'scan', 10), quota_consume('new-3', 'scan', 8) \g /dev/null
SELECT results_eq('SELECT told()', $$VALUES ('old-1 scan free month 03-01 warn 8/10'), ('new-2 scan free month 03-01 warn 8/10'),
	('old-3 scan free month 03-01 warn 10/10'), ('old-3 scan free month 03-01 limit 10/10'), ('new-3 scan free month 03-01 warn 8/10')$$, 'either is told of');
UPDATE teams SET id = replace(id, 'old', 'new');
SELECT results_eq($$SELECT account COLLATE "default", used, alerted::int FROM quota.usage WHERE account LIKE 'new-_' ORDER BY 1$$,
	$$VALUES ('new-1', 9::bigint, 1), ('new-2', 9, 1), ('new-3', 18, 2)$$, 'as one: what was told stays so');
SELECT quota_record('new-1', 'scan'), quota_record('new-2', 'scan'), quota_record('new-3', 'scan') \g /dev/null
SELECT results_eq('SELECT told()', $$VALUES ('new-1 scan free month 03-01 limit 10/10'), ('new-2 scan free month 03-01 limit 10/10')$$, 'and is not told twice');

/* What is rolled back is not told. */
SAVEPOINT s;
SELECT quota_consume('i', 'scan', 8) \g /dev/null
ROLLBACK TO s;
SELECT is_empty('SELECT told()', 'rolled back');
SELECT quota_consume('i', 'scan', 8) \g /dev/null
SELECT results_eq('SELECT told()', $$VALUES ('i scan free month 03-01 warn 8/10')$$, 'and told when it is reached again');

/* A pool's counter tells of the pool. */
SELECT quota_set_pool('m1', 'team'), quota_set_pool('m2', 'team') \g /dev/null
SELECT quota_consume('m1', 'scan', 4), quota_consume('m2', 'scan', 4), quota_consume('m1', 'scan') \g /dev/null
SELECT results_eq('SELECT told()', $$VALUES ('team scan free month 03-01 warn 8/10')$$, 'what members use together');

/* Where the sum is no bigint a denial stays one. */
INSERT INTO quota.accounts (account, status) VALUES ('sus', 'suspended');
INSERT INTO quota.usage (account, feature, period, period_start, used) VALUES ('sus', 'scan', 'month', '2026-03-01 00:00+00', 9);
SELECT is((quota_consume('sus', 'scan', 9223372036854775807)).reason, 'suspended', 'however much is asked for');

/* A counter with slots, also where it is gathered. */
INSERT INTO quota.usage (account, feature, period, period_start, slot, slots, used) VALUES
	('j', 'call', 'lifetime', '-infinity', 0, 4, 300), ('j', 'call', 'lifetime', '-infinity', 1, 1, 300), ('j', 'call', 'lifetime', '-infinity', 2, 1, 205), ('j', 'call', 'lifetime', '-infinity', 3, 1, -6);
SELECT quota_consume('j', 'call') \g /dev/null
SELECT results_eq('SELECT told()', $$VALUES ('j call free lifetime -infinity warn 800/1000')$$, 'the sum of the slots reaches it');
SELECT results_eq($$SELECT max(alerted), count(*) FROM quota.usage WHERE account = 'j'$$, $$VALUES (1::smallint, 4::bigint)$$, 'one of them remembers');
SELECT count(quota_consume('j', 'call')) FROM generate_series(1, 90) \g /dev/null
SELECT is_empty('SELECT told()', 'for all');
SELECT quota_consume('j', 'call', 50) \g /dev/null
SELECT results_eq($$SELECT alerted, used, slots FROM quota.usage WHERE account = 'j'$$, $$VALUES (1::smallint, 940::bigint, 1::smallint)$$, 'also when they are one again');
SELECT quota_consume('j', 'call', 60) \g /dev/null
SELECT results_eq('SELECT told()', $$VALUES ('j call free lifetime -infinity limit 1000/1000')$$, 'the limit');

/* The setting. */
SELECT throws_ok(format('SET quota.notify_channel = %L', repeat('c', 64)), '22023', NULL, 'a channel that is none');
SELECT lives_ok(format('SET LOCAL quota.notify_channel = %L', repeat('c', 63)), 'one of 63 bytes');
SELECT lives_ok($$SELECT quota_record(repeat(E'\x01', 255), 'scan', 10)$$, 'the longest payload');

/* Who sees them. */
CREATE ROLE quota_test_reader;
SELECT quota_grant('quota_test_reader', 'reader'), quota_add_user('i', 'ida') \g /dev/null
SET LOCAL "quota.user" = 'ida';
SELECT results_eq($$SELECT as_role('quota_test_reader', 'SELECT DISTINCT account FROM quota.alerts')$$, $$VALUES ('i')$$, 'a user sees the alerts of its accounts');

SELECT * FROM finish();
ROLLBACK;
