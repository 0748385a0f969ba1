/*
 * The ledger: which events there are and what they say, in which partition they
 * are, and who sees them.
 */
BEGIN;
SELECT no_plan();
\ir _helpers.sql
SET LOCAL quota.now = '2026-03-10 12:00+00';
SET LOCAL client_min_messages = warning;
SELECT quota_apply('{
	"features": {
		"report": {"kind": "counter", "ledger": true}, "scan": {"kind": "counter", "ledger": true}, "extra": {"kind": "counter", "ledger": true},
		"seat": {"kind": "gauge", "ledger": true}, "page": {"kind": "counter"}, "gate": {"kind": "flag", "ledger": true}},
	"plans": {
		"free": {"default": true, "limits": {
			"report": {"day": {"limit": 5}, "month": {"limit": 8}}, "scan": {"month": {"limit": null}}, "seat": {"lifetime": {"limit": 3}}, "page": {"month": {"limit": 2}}}},
		"pro": {"limits": {"report": {"month": {"limit": 50, "on_limit": "charge"}}}}}}') \g /dev/null

/* What has been written since the last look, a line an event. */
CREATE VIEW lines AS
	SELECT id, concat_ws(' ', account, COALESCE(user_id, '-'), feature, COALESCE(plan, '-'), what, kind, amount, decision, reason,
		used || '/' || COALESCE(usage_limit::text, '-'), COALESCE(period::text, '-'), COALESCE(to_char(period_start AT TIME ZONE 'UTC', 'MM-DD'), period_start::text, '-'), key, metadata) AS line
	FROM quota.events;
CREATE TEMP TABLE seen (id bigint);
CREATE FUNCTION written() RETURNS SETOF text LANGUAGE sql AS $$
	WITH fresh AS (SELECT * FROM lines l WHERE NOT EXISTS (SELECT FROM seen s WHERE s.id = l.id)), marked AS (INSERT INTO seen SELECT id FROM fresh)
	SELECT line FROM fresh ORDER BY id
$$;

/* Each act. */
SELECT quota_consume('a', 'report', 2) \g /dev/null
SELECT results_eq('SELECT written()', $$VALUES ('a - report free consume consume 2 ALLOW ok 2/5 day 03-10')$$, 'consume: the tightest window, after the charge');
SELECT quota_enforce('a', 'report', 2) \g /dev/null
SELECT results_eq('SELECT written()', $$VALUES ('a - report free enforce enforce 2 ALLOW ok 4/5 day 03-10')$$, 'enforce');
SELECT quota_refund('a', 'report', 1) \g /dev/null
SELECT results_eq('SELECT written()', $$VALUES ('a - report free refund refund -1 ALLOW ok 3/5 day 03-10')$$, 'refund: less than 0');
SELECT quota_record('a', 'report', 10) \g /dev/null
SELECT results_eq('SELECT written()', $$VALUES ('a - report free record record 10 ALLOW_WITH_WARNING soft_limit 13/8 month 03-01')$$, 'record');
SELECT quota_consume(42, 'seat'), quota_consume('6f1c0a9e-8f4e-4e0f-9d5a-0c2b9a7d3e11'::uuid, 'scan', 4000000000) \g /dev/null
SELECT results_eq('SELECT written()', $$VALUES ('42 - seat free consume consume 1 ALLOW ok 1/3 lifetime -infinity'),
	('6f1c0a9e-8f4e-4e0f-9d5a-0c2b9a7d3e11 - scan free consume consume 4000000000 ALLOW unlimited 4000000000/- month 03-01')$$, 'a level; without limit; accounts of other types');
SELECT count(*) FROM quota_consume_many('b', '{"seat": 1, "report": 2, "page": 1}') \g /dev/null
SELECT results_eq('SELECT written()', $$VALUES ('b - report free consume consume 2 ALLOW ok 2/5 day 03-10'), ('b - seat free consume consume 1 ALLOW ok 1/3 lifetime -infinity')$$,
	'consume_many: one a feature that has a ledger');
SELECT quota_evaluate('a', 'report'), quota_evaluate('b', 'report', 99), quota_has_feature('b', 'gate') \g /dev/null
SELECT is_empty('SELECT written()', 'to ask is no event');
SELECT is((SELECT sum(amount) FROM quota.events WHERE account = 'a'), (SELECT used::numeric FROM quota.usage WHERE (account, feature, period) = ('a', 'report', 'month')),
	'the amounts add up to what is used');
SELECT results_eq($$SELECT id FROM quota.events ORDER BY id$$, $$SELECT generate_series(1, 8)::bigint$$, 'ids count up');
SELECT is((SELECT count(*) FROM quota.events WHERE at <> '2026-03-10 12:00+00'), 0::bigint, 'by the clock of decisions');

/* Denials. */
SELECT quota_consume('a', 'report', 7, metadata => '{"kind": "message_sent"}'), quota_consume('a', 'extra'), quota_consume('c', 'page', 3) \g /dev/null
SELECT results_eq('SELECT written()', $$VALUES ('a - report free consume quota_exceeded 7 BLOCK limit_reached 13/8 month 03-01 {"kind": "message_sent"}'),
	('a - extra free consume feature_not_in_plan 1 BLOCK not_in_plan 0/0 - -')$$, 'a denial tells what was asked for; that of a feature without ledger is none');
INSERT INTO quota.accounts (account, status) VALUES ('sus', 'suspended');
SELECT quota_consume('sus', 'report') \g /dev/null
SELECT results_eq('SELECT written()', $$VALUES ('sus - report free consume account_suspended 1 BLOCK suspended 0/8 month 03-01')$$, 'of a suspended account');
SELECT is(error_of($$SELECT quota_enforce('a', 'report')$$)->>'state', 'PT429', 'what raises');
SELECT is_empty('SELECT written()', 'leaves nothing');
SELECT count(*) FROM quota_consume_many('a', '{"scan": 1, "report": 1}') \g /dev/null
SELECT results_eq('SELECT written()', $$VALUES ('a - report free consume quota_exceeded 1 BLOCK limit_reached 13/8 month 03-01')$$, 'of several features the one that is refused');
SELECT is((SELECT count(*) FROM quota.usage WHERE account = 'a' AND feature = 'scan'), 0::bigint, 'nothing was charged');

/* A pool's member is who charges. */
SELECT quota_set_pool('m1', 'team'), quota_consume('m1', 'report', 2) \g /dev/null
SELECT results_eq('SELECT written()', $$VALUES ('m1 - report free consume consume 2 ALLOW ok 2/5 day 03-10')$$, 'of a member of a pool');

/* Refunds. */
SELECT quota_refund('a', 'report', 999), quota_refund('a', 'report', 1), quota_refund('nobody', 'report') \g /dev/null
SELECT results_eq('SELECT written()', $$VALUES ('a - report free refund refund -13 ALLOW ok 0/5 day 03-10')$$, 'what is given back, not what was asked for; nothing is nothing');
SELECT quota_consume('d', 'report', 3) \g /dev/null
SET LOCAL quota.now = '2026-03-11 12:00+00';
SELECT quota_consume('d', 'report', 1), quota_refund('d', 'report', 3) \g /dev/null
SELECT results_eq('SELECT written()', $$VALUES ('d - report free consume consume 3 ALLOW ok 3/5 day 03-10'), ('d - report free consume consume 1 ALLOW ok 1/5 day 03-11'),
	('d - report free refund refund -3 ALLOW ok 0/5 day 03-11')$$, 'of several windows the most that one of them gets');
SELECT quota_consume('d', 'report', 2, metadata => '1'), quota_refund('d', 'report', 2, '2026-03-10 12:00+00') \g /dev/null
SELECT results_eq('SELECT written()', $$VALUES ('d - report free consume consume 2 ALLOW ok 2/5 day 03-11 1'), ('d - report free refund refund -2 ALLOW ok 1/5 day 03-10')$$,
	'a refund of another day is told with its window');
SELECT is((SELECT at FROM quota.events ORDER BY id DESC LIMIT 1), '2026-03-11 12:00+00'::timestamptz, 'and the time at which it was made');
SET LOCAL quota.now = '2026-03-10 12:00+00';

/* What the caller gives: any JSON. */
SELECT quota_consume('e', 'scan', metadata => m) FROM unnest(ARRAY['{"kind": "message_sent", "client": "10.0.0.1", "agent": "Mozilla/5.0"}', '{"kind": 5}', '{"kind": null}', '{}', '[1, {"kind": "x"}]',
	'"kind"', 'null', 'false', '{"deep": {"kind": "y"}}']::jsonb[]) m \g /dev/null
SELECT results_eq('SELECT written()', $$SELECT format('e - scan free consume %s 1 ALLOW unlimited %s/- month 03-01 %s', k, n, m)
	FROM unnest(ARRAY['message_sent', 'consume', 'consume', 'consume', 'consume', 'consume', 'consume', 'consume', 'consume'],
		ARRAY['{"kind": "message_sent", "agent": "Mozilla/5.0", "client": "10.0.0.1"}', '{"kind": 5}', '{"kind": null}', '{}', '[1, {"kind": "x"}]', '"kind"', 'null', 'false', '{"deep": {"kind": "y"}}'])
		WITH ORDINALITY u (k, m, n)$$, 'a text kind of an object names the event, and all is kept');
SELECT quota_enforce('e', 'scan', metadata => '{"kind": "enforced"}'), quota_record('e', 'scan', metadata => '{"kind": "recorded"}') \g /dev/null
SELECT results_eq('SELECT written()', $$VALUES ('e - scan free enforce enforced 1 ALLOW unlimited 10/- month 03-01 {"kind": "enforced"}'),
	('e - scan free record recorded 1 ALLOW unlimited 11/- month 03-01 {"kind": "recorded"}')$$, 'enforce and record likewise');
SELECT quota_record('e', 'scan', metadata => jsonb_build_object('kind', repeat('k', 63), 'text', repeat('0123456789', 6000))) \g /dev/null
SELECT is((SELECT length(metadata->>'text') FROM quota.events WHERE kind = repeat('k', 63)), 60000, 'long JSON, a kind of 63 bytes');
SELECT is(error_of(format($$SELECT %s('e', 'scan', metadata => '{"kind": "%s"}')$$, f, k)), '{"state": "22023", "message": "kind in the metadata must have 1 to 63 bytes", "detail": "", "hint": ""}'::jsonb,
	format('%s: a kind of %s bytes', f, length(k))) FROM unnest('{quota_consume,quota_enforce,quota_record}'::text[]) f, unnest(ARRAY['', repeat('k', 64)]) k;
SELECT is((quota_evaluate('e', 'scan')).used, 12::bigint, 'is not charged');
SELECT lives_ok($$SELECT quota_consume('e', 'page', metadata => '{"kind": ""}')$$, 'a feature without ledger does not look at it');
SELECT written() \g /dev/null

/* Users. */
SET LOCAL "quota.user" = 'ann';
SELECT quota_consume('e', 'seat') \g /dev/null
SET LOCAL "quota.user" = '';
SET LOCAL request.jwt.claims = '{"sub": "bob"}';
SELECT quota_consume('e', 'seat') \g /dev/null
SET LOCAL request.jwt.claims = '{"role": "web"}';
SELECT quota_consume('e', 'seat') \g /dev/null
SELECT results_eq($$SELECT split_part(w, ' ', 2) FROM written() w$$, $$VALUES ('ann'), ('bob'), ('-')$$, 'quota.user, else the sub of the token, else nobody');
SET LOCAL request.jwt.claims = 'bob';
SELECT is(error_of($$SELECT quota_record('e', 'seat')$$)->>'state', '22P02', 'a token that is none');
SET LOCAL request.jwt.claims = '';
SELECT set_config('request.jwt.claims', jsonb_build_object('sub', repeat('u', 256))::text, true) \g /dev/null
SELECT is(error_of($$SELECT quota_record('e', 'seat')$$), '{"state": "22023", "message": "user of setting \"request.jwt.claims\" is too long", "detail": "It has 256 bytes, the most is 255.", "hint": ""}'::jsonb,
	'a user that no account can have');
SELECT lives_ok($$SELECT quota_record('e', 'page')$$, 'is nobody''s matter without ledger');
SET LOCAL request.jwt.claims = '';
SELECT is(error_of($$SELECT set_config('quota.user', repeat('u', 256), true)$$)->>'state', '22023', 'nor can the setting have one');
SELECT is((quota_evaluate('e', 'seat')).used, 3::bigint, 'what failed is not charged');

/* The modes, bypass. */
SET LOCAL quota.enforcement = 'shadow';
SELECT quota_consume('e', 'seat', 2) \g /dev/null
SELECT results_eq('SELECT written()', $$VALUES ('e - seat free consume consume 2 ALLOW_WITH_WARNING shadow 5/3 lifetime -infinity')$$, 'shadow: what is charged');
SET LOCAL quota.enforcement = 'off';
SELECT quota_consume('e', 'seat', 2), quota_record('e', 'seat'), quota_refund('e', 'seat') \g /dev/null
SELECT is_empty('SELECT written()', 'off: nothing is done');
SET LOCAL quota.enforcement = 'on';
INSERT INTO quota.accounts (account, bypass) VALUES ('root', true);
SELECT quota_consume('root', 'seat', 9), quota_consume('root', 'extra') \g /dev/null
SELECT results_eq('SELECT written()', $$VALUES ('root - seat free consume consume 9 ALLOW bypass 9/3 lifetime -infinity'), ('root - extra free consume consume 1 ALLOW bypass 1/- lifetime -infinity')$$, 'who is not limited is written down');

/* Part of the transaction. */
SAVEPOINT s;
SELECT quota_consume('f', 'scan') \g /dev/null
ROLLBACK TO s;
SELECT is_empty('SELECT written()', 'it goes with the charge');
SELECT count(quota_consume('f', 'scan')) FROM generate_series(1, 3) \g /dev/null
SELECT results_eq('SELECT written()', $$SELECT format('f - scan free consume consume 1 ALLOW unlimited %s/- month 03-01', i) FROM generate_series(1, 3) i$$, 'many in one statement');
UPDATE quota.features SET ledger = false WHERE feature = 'scan';
SELECT quota_consume('f', 'scan') \g /dev/null
UPDATE quota.features SET ledger = true WHERE feature = 'page';
SELECT quota_consume('f', 'page') \g /dev/null
SELECT results_eq('SELECT written()', $$VALUES ('f - page free consume consume 1 ALLOW ok 1/2 month 03-01')$$, 'a feature can be given a ledger, and lose it');

/* Triggers: one event an account and statement. */
CREATE TABLE reports (id serial, account text, pages bigint DEFAULT 1, status text, why text);
SELECT quota_attach('reports', 'report', 'account', 'pages') \g /dev/null
SET LOCAL "quota.user" = 'ann';
INSERT INTO reports (account, pages) VALUES ('t2', 1), ('t1', 2), ('t2', 3), ('t3', 0);
SELECT results_eq('SELECT written()', $$VALUES ('t1 ann report free trigger trigger 2 ALLOW ok 2/5 day 03-10'), ('t2 ann report free trigger trigger 4 ALLOW ok 4/5 day 03-10')$$, 'in the order of accounts; nothing for nothing');
SELECT is(error_of($$INSERT INTO reports (account) SELECT 't1' FROM generate_series(1, 9)$$)->>'state', 'PT429', 'a statement that is refused');
SELECT is_empty('SELECT written()', 'leaves nothing');
SELECT quota_detach('reports', 'report'), quota_attach('reports', 'report', 'account', on_block => 'mark', status_column => 'status', blocked_status => 'skipped', message_column => 'why') \g /dev/null
INSERT INTO reports (account, status) SELECT 't1', 'new' FROM generate_series(1, 9);
SELECT results_eq('SELECT written()', $$VALUES ('t1 ann report free trigger trigger 3 ALLOW ok 5/5 day 03-10')$$, 'rows that are marked are no event');
SET LOCAL "quota.user" = '';
SELECT quota_detach('reports', 'report') \g /dev/null

/* The reports. */
SELECT results_eq($$SELECT id, amount, used FROM quota_events('d')$$, $$SELECT id, amount, used FROM quota.events WHERE account = 'd' ORDER BY at DESC, id DESC$$, 'quota_events: the latest first');
SELECT results_eq($$SELECT amount FROM quota_events('d', n => 2)$$, $$VALUES (-2::bigint), (2)$$, 'no more than n');
SELECT results_eq($$SELECT amount FROM quota_events('d', since => '2026-03-11 12:00+00', kind => 'consume')$$, $$VALUES (2::bigint), (1)$$, 'since a time, of a kind');
SELECT results_eq($$SELECT amount FROM quota_events('d', until => '2026-03-11 12:00+00')$$, $$VALUES (3::bigint)$$, 'until it');
SELECT is_empty($$SELECT * FROM quota_events('d', since => '2026-03-12')$$, 'later nothing');
SELECT is((SELECT count(*) FROM quota_events(42)), 1::bigint, 'of an account by number');
SELECT is((SELECT count(*) FROM quota_events('6f1c0a9e-8f4e-4e0f-9d5a-0c2b9a7d3e11'::uuid)), 1::bigint, 'by uuid');
SELECT results_eq($$SELECT account, feature, kind FROM quota_events_of('ann') ORDER BY id$$,
	$$VALUES ('e' COLLATE "C", 'seat' COLLATE "C", 'consume' COLLATE "C"), ('t1', 'report', 'trigger'), ('t2', 'report', 'trigger'), ('t1', 'report', 'trigger')$$, 'quota_events_of: of a user');
SELECT results_eq($$SELECT account FROM quota_events_of('ann', '2026-03-10 12:00+00', '2026-03-10 12:00:01+00', 'trigger', 2)$$, $$VALUES ('t1' COLLATE "C"), ('t2')$$, 'by time and kind, the latest');
SELECT throws_ok(format('SELECT * FROM %s', call), state, message, call) FROM (VALUES
	('quota_events(NULL::text)', '22004', 'account must not be null'), ('quota_events('''')', '22023', 'account must not be empty'), ('quota_events(''a'', n => 0)', '22023', 'n must be at least 1'),
	('quota_events(''a'', n => NULL)', '22004', 'n must not be null'), ('quota_events(''a'', ''2026-01-02'', ''2026-01-01'')', '22023', 'since must not be after until'),
	('quota_events_of(NULL)', '22004', 'user_id must not be null'), ('quota_events_of('''')', '22023', 'user_id must have 1 to 255 bytes'), ('quota_events_of(''u'', n => 0)', '22023', 'n must be at least 1'),
	('quota_events_of(''u'', ''2026-01-02'', ''2026-01-01'')', '22023', 'since must not be after until')) v (call, state, message);

/* Months. */
CREATE VIEW months AS SELECT tableoid::regclass::text AS month, count(*), min(at) AS first, max(at) AS last FROM quota.events GROUP BY tableoid ORDER BY 1;
UPDATE quota.features SET ledger = true WHERE feature = 'scan';
CREATE TEMP TABLE before AS SELECT * FROM quota.events;
SELECT results_eq('SELECT month FROM months', $$VALUES ('quota.events_default')$$, 'without quota_maintain all are in the default partition');
CREATE FUNCTION charge_at(VARIADIC times text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	at text;
BEGIN
	FOREACH at IN ARRAY times LOOP
		PERFORM set_config('quota.now', at, true), quota_record('m', 'scan');
	END LOOP;
	PERFORM set_config('quota.now', '2026-03-10 12:00+00', true);
END $$;
SELECT charge_at('2025-11-30 23:59:59.999999+00', '2025-12-01 00:00+00') \g /dev/null
SET LOCAL timezone = 'America/New_York';
SET LOCAL datestyle = 'SQL, DMY';
SELECT is(quota_maintain() - '{plans_changed,holds_returned,usage_deleted,overrides_deleted,reservations_deleted,keys_deleted,alerts_deleted,stripe_events_deleted}'::text[], '{"ledger_months_made": 5, "ledger_months_dropped": 0}'::jsonb,
	'made are this month, the next two, and those of what has been written');
RESET timezone;
RESET datestyle;
SELECT results_eq($$SELECT relname::text COLLATE "default", pg_get_expr(relpartbound, c.oid) COLLATE "default", relrowsecurity, (SELECT count(*) FROM pg_index WHERE indrelid = c.oid) FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid
	WHERE inhparent = 'quota.events'::regclass ORDER BY 1$$, $$VALUES
	('events_2025_11', 'FOR VALUES FROM (''2025-11-01 00:00:00+00'') TO (''2025-12-01 00:00:00+00'')', true, 3::bigint),
	('events_2025_12', 'FOR VALUES FROM (''2025-12-01 00:00:00+00'') TO (''2026-01-01 00:00:00+00'')', true, 3),
	('events_2026_03', 'FOR VALUES FROM (''2026-03-01 00:00:00+00'') TO (''2026-04-01 00:00:00+00'')', true, 3),
	('events_2026_04', 'FOR VALUES FROM (''2026-04-01 00:00:00+00'') TO (''2026-05-01 00:00:00+00'')', true, 3),
	('events_2026_05', 'FOR VALUES FROM (''2026-05-01 00:00:00+00'') TO (''2026-06-01 00:00:00+00'')', true, 3),
	('events_default', 'DEFAULT', true, 3)$$, 'months in UTC, whatever the session''s zone, with all indexes');
SELECT results_eq('SELECT month, count FROM months', $$SELECT * FROM (VALUES ('quota.events_2025_11', 1::bigint), ('quota.events_2025_12', 1)) v UNION ALL SELECT 'quota.events_2026_03', count(*) FROM before$$,
	'events move to their months');
SELECT is_empty('SELECT * FROM before EXCEPT SELECT * FROM quota.events', 'as they are');
SELECT is(quota_maintain()->'ledger_months_made', '0', 'once');
SELECT charge_at('2026-03-31 23:59:59.999999+00', '2026-04-01 00:00+00', '2026-05-31 12:00+00', '2026-06-01 00:00+00', '2026-02-28 12:00+00', '2025-11-01 00:00+00', '2025-10-31 23:00+00', '2026-04-02 00:00+00') \g /dev/null
SELECT results_eq('SELECT * FROM months', $$
	SELECT * FROM (VALUES ('quota.events_2025_11', 2::bigint, '2025-11-01 00:00+00'::timestamptz, '2025-11-30 23:59:59.999999+00'::timestamptz), ('quota.events_2025_12', 1, '2025-12-01 00:00+00', '2025-12-01 00:00+00')) v
	UNION ALL SELECT 'quota.events_2026_03', count(*) + 1, '2026-03-10 12:00+00', '2026-03-31 23:59:59.999999+00' FROM before
	UNION ALL SELECT * FROM (VALUES ('quota.events_2026_04', 2::bigint, '2026-04-01 00:00+00'::timestamptz, '2026-04-02 00:00+00'::timestamptz), ('quota.events_2026_05', 1, '2026-05-31 12:00+00', '2026-05-31 12:00+00'),
		('quota.events_default', 3, '2025-10-31 23:00+00', '2026-06-01 00:00+00')) v$$, 'each event is written into its month, what has none into the default one');
SELECT is((SELECT count(*) FROM quota_events('m')), 10::bigint, 'and all are read together');
SELECT is(quota_maintain(ledger_retention => '3 months') - '{plans_changed,holds_returned,usage_deleted,overrides_deleted,reservations_deleted,keys_deleted,alerts_deleted,stripe_events_deleted}'::text[], '{"ledger_months_made": 3, "ledger_months_dropped": 2}'::jsonb,
	'months that ended longer ago go, those just made as well');
SELECT results_eq($$SELECT act, table_name FROM quota.audit_log WHERE table_name LIKE 'events%' ORDER BY id$$, $$VALUES ('quota_maintain' COLLATE "C", 'events_2025_10'), ('quota_maintain', 'events_2025_11')$$,
	'which is recorded');
SELECT results_eq('SELECT month FROM months', $$SELECT 'quota.events_' || m FROM unnest('{2025_12,2026_02,2026_03,2026_04,2026_05,2026_06}'::text[]) m$$, 'the others stay');
SELECT is(quota_maintain(ledger_retention => '0')->'ledger_months_dropped', '2', 'a retention of nothing leaves the current month');
SELECT is((SELECT count(*) FROM before b JOIN quota.events USING (id)), (SELECT count(*) FROM before), 'with all that it has');
SELECT lives_ok($$SELECT quota_record('m', 'scan')$$, 'and charges go on');
CREATE TABLE quota.events_2026_07 (x integer);
SELECT set_config('quota.now', '2026-05-10', true) \g /dev/null
SELECT is(quota_maintain()->'ledger_months_made', '0', 'a table of that name is not touched');
DROP TABLE quota.events_2026_07;
SELECT set_config('quota.now', '2026-03-10 12:00+00', true) \g /dev/null

/* Partitions that somebody else has made. */
DO $$
DECLARE
	columns text := (SELECT string_agg(format('%I %s %s %s', attname, format_type(atttypid, atttypmod), CASE WHEN attcollation = '"C"'::regcollation THEN 'COLLATE "C"' END, CASE WHEN attnotnull THEN 'NOT NULL' END), ', ' ORDER BY attname)
		FROM pg_attribute WHERE attrelid = 'quota.events'::regclass AND attnum > 0);
BEGIN
	EXECUTE format('CREATE TABLE quota.events_of_2030 (%s)', columns);
	ALTER TABLE quota.events ATTACH PARTITION quota.events_of_2030 FOR VALUES FROM ('2030-01-01 00:00+00') TO ('2031-01-01 00:00+00');
END $$;
SELECT set_config('quota.now', '2030-06-01', true), quota_record('m', 'scan', 5, metadata => '{"kind": "other order"}'), set_config('quota.now', '2026-03-10 12:00+00', true) \g /dev/null
SELECT results_eq($$SELECT tableoid::regclass::text, account, kind, amount, used, metadata FROM quota.events WHERE at > '2030-01-01'$$,
	$$VALUES ('quota.events_of_2030', 'm' COLLATE "C", 'other order' COLLATE "C", 5::bigint, 5::bigint, '{"kind": "other order"}'::jsonb)$$, 'with the columns in another order');
SELECT is(error_of($$ALTER TABLE quota.events DETACH PARTITION quota.events_default; SET LOCAL quota.now = '2040-01-01'; SELECT quota_record('m', 'scan')$$)->>'message',
	'table quota.events has no partition for 2040-01-01 00:00:00+00', 'without the default partition');
SELECT is(error_of($$ALTER TABLE quota.events RENAME what TO which; SELECT quota_record('m', 'scan')$$)->>'state', '42703', 'a column that somebody has renamed');
SELECT is(error_of($$ALTER TABLE quota.events RENAME TO ledger; SELECT quota_record('m', 'scan')$$)->>'state', '42P01', 'a table that somebody has renamed');
SELECT lives_ok($$SELECT quota_record('m', 'scan')$$, 'when that is undone, charges go on');

/* Who sees it. */
CREATE ROLE quota_test_app;
CREATE ROLE quota_test_reader;
CREATE ROLE quota_test_admin;
SELECT quota_grant('quota_test_' || level, level) FROM unnest('{app,reader,admin}'::text[]) level \g /dev/null
SELECT quota_add_user('t1', 'tom') \g /dev/null
SET LOCAL "quota.user" = 'tom';
SELECT results_eq($$SELECT as_role('quota_test_reader', 'SELECT DISTINCT account FROM quota.events')$$, $$VALUES ('t1')$$, 'a user sees the events of its accounts');
SELECT results_eq($$SELECT as_role('quota_test_' || level, 'SELECT * FROM quota.events_2026_03') FROM unnest('{reader,admin}'::text[]) level$$, $$VALUES ('42501'), ('42501')$$, 'and no way round it by a partition');
GRANT SELECT ON quota.events_2026_03 TO quota_test_reader;
SELECT is_empty($$SELECT as_role('quota_test_reader', 'SELECT * FROM quota.events_2026_03')$$, 'which shows nothing to who was granted it by hand');
SELECT is((SELECT count(*) FROM as_role('quota_test_admin', 'SELECT id FROM quota.events')), (SELECT count(*) FROM quota.events), 'who manages accounts sees all');
SELECT results_eq($$SELECT as_role('quota_test_app', 'SELECT * FROM quota.events')$$, $$VALUES ('42501')$$, 'an application has no right on the table');
SELECT is((SELECT count(*) FROM as_role('quota_test_app', $$SELECT id FROM quota_events('t1')$$)), 2::bigint, 'but the report of an account');
SELECT is(try_as('quota_test_app', $$SELECT quota_consume('z', 'scan', metadata => '{}')$$), 'ok', 'and charges write it');
SELECT is(try_as('quota_test_admin', deed), '42501', 'an admin cannot: ' || deed)
FROM unnest(ARRAY['UPDATE quota.events SET amount = 0', 'DELETE FROM quota.events', 'DELETE FROM quota.events_2026_03', 'DROP TABLE quota.events_2026_03', 'UPDATE quota.events_default SET amount = 0']) deed;
SELECT is(try_as('quota_test_admin', $$SELECT quota_maintain(ledger_retention => '5 years')$$), 'ok', 'but let old months go');

SELECT * FROM finish();
ROLLBACK;
