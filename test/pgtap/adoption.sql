/*
 * quota_adopt: the rows of an application's accounts table become accounts, and
 * go on being followed.
 */
SELECT no_plan();
BEGIN;
\ir _helpers.sql
SET LOCAL timezone = 'UTC';
SET LOCAL quota.now = '2026-03-10 12:00+00';
SELECT quota_apply('{"features": {"report": {"kind": "counter"}, "seat": {"kind": "gauge"}},
	"plans": {"free": {"default": true, "limits": {"report": {"month": {"limit": 5}, "day": {"limit": 4}}, "seat": {"lifetime": {"limit": 9}}}}, "pro": {}}}') \g /dev/null

CREATE TYPE tier AS ENUM ('free', 'pro', 'gold');
CREATE TABLE teams (
	id bigint PRIMARY KEY,
	title varchar(40),
	tier tier,
	kind char(10),
	creator uuid,
	born timestamptz,
	seen_at timestamptz
);
CREATE FUNCTION user_of(n int) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$SELECT format('00000000-0000-4000-8000-%s', lpad(n::text, 12, '0'))::uuid$$;
CREATE TEMP VIEW taken AS
	SELECT a.account COLLATE "default" AS account, a.name, a.plan COLLATE "default" AS plan, a.account_type, a.created_at,
		(SELECT string_agg(format('%s %s', right(u.user_id, 2), u.role), ', ' ORDER BY u.user_id) COLLATE "default" FROM quota.account_users u WHERE u.account = a.account) AS users
	FROM quota.accounts a;
INSERT INTO teams VALUES
	(1, 'One', 'pro', 'REGULAR', user_of(1), '2020-01-01 00:00+00'),
	(2, 'Two', 'free', NULL, user_of(1), '2021-01-01 00:00+00'),
	(3, NULL, NULL, 'PARTNER', NULL, NULL);

/* What is there. Account 2 is managed by quota already. */
SELECT quota_set_plan(2, 'pro'), quota_add_user(2, user_of(1)::text, 'MEMBER'), quota_add_user(2, user_of(2)::text, 'ADMIN') \g /dev/null
SELECT is(quota_adopt('teams', 'id', 'title', 'tier', 'kind', 'creator', 'born'),
	'{"added": 2, "changed": 1, "owners": 2}', 'three accounts, of which quota knew one');
SELECT results_eq('SELECT * FROM taken ORDER BY account', $$VALUES
	('1', 'One', 'pro', 'REGULAR', '2020-01-01 00:00+00'::timestamptz, '01 OWNER'),
	('2', 'Two', 'pro', NULL, now(), '01 OWNER, 02 ADMIN'),
	('3', NULL, NULL, 'PARTNER', now(), NULL)$$,
	'name, type, time and owner are the application''s; the plan is so where the account had no row');
SELECT is(quota_adopt('teams', 'id', 'title', 'tier', 'kind', 'creator', 'born'),
	'{"added": 0, "changed": 0, "owners": 0}', 'a second time: nothing differs');
SELECT results_eq($$SELECT tgname::text COLLATE "default" FROM pg_trigger WHERE tgrelid = 'teams'::regclass ORDER BY 1$$,
	$$VALUES ('quota_adopt_delete'), ('quota_adopt_insert'), ('quota_adopt_truncate'), ('quota_adopt_update')$$, 'its triggers are there once');
SELECT results_eq($$SELECT concat_ws(' ', act, table_name, account, before IS NULL) COLLATE "default" FROM quota.audit_log WHERE act = 'quota_adopt' ORDER BY account, table_name$$, $$VALUES
	('quota_adopt account_users 1 t'), ('quota_adopt accounts 1 t'), ('quota_adopt account_users 2 f'),
	('quota_adopt accounts 2 f'), ('quota_adopt accounts 3 t')$$,
	'the audit log has each row that it changed');

/* Managed since: plans stay, names come back. */
SELECT quota_set_plan(1, 'free'), quota_suspend(3) \g /dev/null
UPDATE quota.accounts SET name = 'by hand' WHERE account = '1';
DELETE FROM quota.accounts WHERE account = '2';
SELECT is(quota_adopt('teams', 'id', 'title', 'tier', 'kind', 'creator', 'born'), '{"added": 1, "changed": 1, "owners": 1}', 'after changes by quota: what differs');
SELECT results_eq('SELECT account, name, plan, users FROM taken ORDER BY account', $$VALUES
	('1', 'One', 'free', '01 OWNER'), ('2', 'Two', 'free', '01 OWNER'), ('3', NULL, NULL, NULL)$$, 'the plan that quota set stays');
SELECT is((SELECT status FROM quota.accounts WHERE account = '3'), 'suspended', 'so does a suspension');

/* Rows that come, by an application without any right on quota. */
CREATE ROLE quota_test_adopt;
GRANT USAGE ON SCHEMA public TO quota_test_adopt;
GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON teams TO quota_test_adopt;
SET LOCAL ROLE quota_test_adopt;
INSERT INTO teams VALUES (4, 'Four', 'pro', 'REGULAR', user_of(4)), (5, 'Five', NULL, NULL, NULL);
COPY teams (id, title, creator) FROM stdin;
6	Six	00000000-0000-4000-8000-000000000006
\.
INSERT INTO teams (id, title) VALUES (5, 'Fifth'), (7, 'Seven') ON CONFLICT (id) DO UPDATE SET title = excluded.title;
INSERT INTO teams (id, title) VALUES (5, 'not this'), (8, 'Eight') ON CONFLICT DO NOTHING;
MERGE INTO teams t USING (VALUES (8, 'Eighth'), (9, 'Nine')) v (id, title) ON t.id = v.id
	WHEN MATCHED THEN UPDATE SET title = v.title WHEN NOT MATCHED THEN INSERT (id, title) VALUES (v.id, v.title);
RESET ROLE;
SELECT results_eq($$SELECT account, name, plan, users FROM taken WHERE account > '3' ORDER BY account$$, $$VALUES
	('4', 'Four', 'pro', '04 OWNER'), ('5', 'Fifth', NULL, NULL), ('6', 'Six', NULL, '06 OWNER'), ('7', 'Seven', NULL, NULL),
	('8', 'Eighth', NULL, NULL), ('9', 'Nine', NULL, NULL)$$, 'INSERT, COPY, ON CONFLICT and MERGE are followed');
SELECT is((quota_evaluate(4, 'report')).plan, 'pro', 'a new account has the plan of its row at once');
SELECT is((SELECT session_role || ' ' || role FROM quota.audit_log WHERE account = '4' LIMIT 1), session_user || ' quota_test_adopt', 'the log tells who it was');

/* The log is kept, whatever the application sets: with row_security off a dump is restored. */
SET LOCAL ROLE quota_test_adopt;
SET LOCAL row_security = off;
INSERT INTO teams (id, title) VALUES (99, 'Hidden');
UPDATE teams SET title = 'Still hidden' WHERE id = 99;
DELETE FROM teams WHERE id = 99;
SET LOCAL row_security = on;
RESET ROLE;
SELECT results_eq($$SELECT COALESCE(after, before)->>'name', after IS NULL FROM quota.audit_log WHERE account = '99' AND table_name = 'accounts' ORDER BY id$$,
	$$VALUES ('Hidden', false), ('Still hidden', false), ('Still hidden', true)$$, 'row_security off hides nothing from the log');

/* Rows that change. */
SET LOCAL ROLE quota_test_adopt;
UPDATE teams SET title = 'Fore', kind = 'PARTNER', creator = user_of(5), tier = 'gold' WHERE id = 4;
UPDATE teams SET creator = NULL WHERE id = 6;
RESET ROLE;
SELECT results_eq($$SELECT account, name, plan, account_type, users FROM taken WHERE account IN ('4', '6') ORDER BY account$$, $$VALUES
	('4', 'Fore', 'pro', 'PARTNER', '05 OWNER'), ('6', 'Six', NULL, NULL, NULL)$$, 'UPDATE: name, type and owner follow, the plan does not');
SELECT quota_add_user(4, user_of(5)::text, 'ADMIN'), quota_add_user(4, user_of(6)::text) \g /dev/null
UPDATE teams SET creator = user_of(6) WHERE id = 4;
SELECT is((SELECT users FROM taken WHERE account = '4'), '05 ADMIN, 06 OWNER', 'who is no owner any more keeps another role that quota gave');
CREATE TEMP TABLE logged AS SELECT max(id) AS last FROM quota.audit_log;
UPDATE teams SET seen_at = now(), tier = 'free';
SELECT is((SELECT max(id) FROM quota.audit_log), last, 'other columns do not matter') FROM logged;
SELECT is((SELECT plan FROM taken WHERE account = '4'), 'pro', 'nor does that of the plan');

/* A key that changes takes all with it. */
CREATE TABLE seats (team bigint REFERENCES teams ON UPDATE CASCADE ON DELETE CASCADE);
SELECT quota_set_plan(4, 'free'), quota_consume(4, 'report', 3), quota_consume(40, 'report', 1), quota_sponsor(4, 5, 'pro'), quota_set_pool(6, 4),
	quota_set_override(4, 'report', 'month', 50), quota_consume(4, 'seat', 2) \g /dev/null
INSERT INTO seats VALUES (4), (4);
UPDATE teams SET id = 40 WHERE id = 4;
SELECT results_eq($$SELECT feature COLLATE "default", sum(used) FROM quota.counters WHERE account = '40' GROUP BY 1 ORDER BY 1$$,
	$$VALUES ('report', 8::numeric), ('seat', 2)$$, 'a new key: the counters are those of both');
SELECT is_empty($$SELECT FROM quota.usage WHERE account = '4'$$, 'a new key: nothing is left under the old one');
SELECT results_eq($$SELECT users, (SELECT sponsor COLLATE "default" FROM quota.accounts WHERE account = '5'), (SELECT pool COLLATE "default" FROM quota.accounts WHERE account = '6'),
	(SELECT usage_limit FROM quota.limit_overrides WHERE account = '40') FROM taken WHERE account = '40'$$,
	$$VALUES ('05 ADMIN, 06 OWNER', '40', '40', 50::bigint)$$, 'a new key: members, sponsored and pooled accounts and overrides follow');

/* What is reserved and what has been answered goes with it; alerts are history. */
SELECT quota_set_override(7, 'report', 'day', 100), quota_set_override(7, 'report', 'month', 10) \g /dev/null
SELECT id AS open FROM quota_reserve(7, 'report', 3, key => 'once') \gset
SELECT id AS given_back FROM quota_reserve(7, 'report', 2) \gset
SELECT id AS forgotten FROM quota_reserve(7, 'report', 2, '1 minute') \gset
SELECT quota_consume(7, 'report', 1, key => 'both'), quota_consume(70, 'report', 2, key => 'both') \g /dev/null
UPDATE teams SET id = 70 WHERE id = 7;
CREATE FUNCTION used_by(account bigint) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(period || '=' || used, ' ' ORDER BY period) FROM quota_evaluate(account) WHERE feature = 'report'
$$;
SELECT results_eq($$SELECT used_by(7), used_by(70)$$, $$VALUES ('day=0 month=0', 'day=10 month=10')$$, 'a new key: what is reserved is used under it');
SELECT results_eq($$SELECT (SELECT count(*) FROM quota.reservations WHERE account = '7') + (SELECT count(*) FROM quota.holds WHERE account = '7')
	+ (SELECT count(*) FROM quota.keys WHERE account = '7')$$, $$VALUES (0::bigint)$$, 'a new key: nothing is left under the old one');
SELECT results_eq($$SELECT id, used FROM quota_reserve(70, 'report', 3, key => 'once')$$, format('VALUES (%s::bigint, 3::bigint)', :open),
	'a new key: a call that is sent again gets the answer that it got under the old one');
SELECT is((quota_consume(70, 'report', 2, key => 'both')).used, 2::bigint, 'a new key: of two answers that of the new one stands');
SELECT throws_ok($$SELECT quota_consume(70, 'report', 1, key => 'both')$$, '22023', NULL, 'a new key: the other is forgotten');
SELECT is((quota_commit(:open, 1)).used, 8::bigint, 'a new key: a reservation can be committed');
SELECT is((quota_release(:given_back)).used, 6::bigint, 'a new key: or released');
SET LOCAL quota.now = '2026-03-10 12:01+00';
SELECT is(used_by(70), 'day=4 month=4', 'a new key: or it expires');
SELECT is((quota_consume(70, 'report', 6)).used, 10::bigint, 'a new key: which makes room');
SET LOCAL quota.now = '2026-03-10 12:00+00';
SELECT results_eq($$SELECT account COLLATE "default", count(*) FROM quota.alerts WHERE account IN ('7', '70') GROUP BY 1 ORDER BY 1$$,
	$$VALUES ('7', 1::bigint), ('70', 1)$$, 'a new key: alerts stay where they were');

/* What an account was told of is not told again under its new key. */
INSERT INTO teams (id) VALUES (600);
SELECT quota_set_override(600, 'report', 'month', 20), quota_set_override(600, 'report', 'day', 100), quota_consume(600, 'report', 16), quota_consume(610, 'report', 1) \g /dev/null
UPDATE teams SET id = 610 WHERE id = 600;
SELECT is((quota_consume(610, 'report', 1)).used, 18::bigint, 'a new key: the counters of both');
SELECT results_eq($$SELECT account COLLATE "default", count(*) FROM quota.alerts WHERE account IN ('600', '610') GROUP BY 1$$, $$VALUES ('600', 1::bigint)$$,
	'a new key: an alert is not repeated');
DELETE FROM teams WHERE id = 610;

/* A gauge stays with the rows that it counts, whether they follow the key at once, later or not at all. */
CREATE TABLE places (id int PRIMARY KEY, team bigint REFERENCES teams ON UPDATE CASCADE, apart bigint);
SELECT quota_attach('places', 'seat', 'team') \g /dev/null
INSERT INTO teams (id) VALUES (300), (301);
INSERT INTO places VALUES (1, 300, 301), (2, 300, 301);
SELECT id AS seat FROM quota_reserve(300, 'seat', 1) \gset
CREATE FUNCTION seats() RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(account || '=' || used, ' ' ORDER BY account) FROM quota.counters WHERE feature = 'seat' AND account LIKE '3%' AND used > 0
$$;
UPDATE teams SET id = 310 WHERE id = 300;
SELECT is(seats(), '310=3', 'a new key: rows that follow it are counted once, and what is reserved goes with it');
SELECT is((quota_commit(:seat, 2)).used, 4::bigint, 'a new key: and can be settled');
SELECT quota_refund(310, 'seat', 2) \g /dev/null
SELECT is_empty($$SELECT FROM quota_reconcile('places', 'seat') WHERE account LIKE '3%'$$, 'a new key: the level is that of the rows');
SELECT quota_detach('places', 'seat'), quota_reset(310, 'seat'), quota_attach('places', 'seat', 'apart') \g /dev/null
UPDATE teams SET id = 311 WHERE id = 301;
SELECT is(seats(), '301=2', 'a new key: rows that name the old one are counted for it');
UPDATE places SET apart = 311;
SELECT is(seats(), '311=2', 'a new key: until they follow');
SELECT quota_detach('places', 'seat'), quota_reset(311, 'seat'), quota_attach('places', 'seat', 'team') \g /dev/null
SELECT quota_set_override(310, 'seat', 'lifetime', 1) \g /dev/null
SELECT lives_ok('UPDATE teams SET id = 312 WHERE id = 310', 'a new key: also of an account that is over its limit');
SELECT is(seats(), '312=2', 'a new key: which it stays');
SELECT throws_ok('INSERT INTO places VALUES (3, 312)', 'PT429', 'Seat limit reached (2/1).', 'a new key: there is no more room than before');
ALTER TABLE places ADD n int DEFAULT 1;
SELECT quota_attach('places', 'seat', 'team', 'n') \g /dev/null
INSERT INTO teams (id) VALUES (302);
INSERT INTO places (id, team, n) VALUES (4, 302, 1);
SELECT throws_ok('UPDATE places SET team = 312 WHERE id = 4', 'PT429', 'Seat limit reached (2/1).', 'a new key: a row of another account is judged');
ALTER TABLE places DROP CONSTRAINT places_team_fkey;
UPDATE teams SET id = 313 WHERE id = 312;
SELECT throws_ok('UPDATE places SET team = 313 WHERE team IN (312, 302)', 'PT429', 'Seat limit reached (2/1).', 'a new key: also with those that follow');
SELECT throws_ok('UPDATE places SET team = 313, n = 2 WHERE id = 1', 'PT429', 'Seat limit reached (1/1).', 'a new key: a row that follows and grows is judged for that');
UPDATE places SET team = 313 WHERE id = 1;
SELECT is(seats(), '302=1 312=1 313=1', 'a new key: one follows');
UPDATE places SET team = 313 WHERE team = 312;
SELECT is(seats(), '302=1 313=2', 'a new key: and the other');
SELECT quota_suspend(313) \g /dev/null
UPDATE teams SET id = 314 WHERE id = 313;
SELECT lives_ok('UPDATE places SET team = 314 WHERE team = 313', 'a new key: also of an account that is suspended');
SELECT throws_ok('UPDATE places SET team = 314 WHERE team = 302', 'PT403', 'Account is suspended.', 'a new key: which gets no other rows');
SELECT is_empty($$SELECT FROM quota_reconcile('places', 'seat') WHERE account LIKE '3%'$$, 'a new key: the levels are those of the rows');
SELECT quota_detach('places', 'seat') \g /dev/null
DROP TABLE places;

/* A counter goes with the account, and rows that it counts, each in its window, are not counted again when they follow. */
CREATE TABLE scans (
	id int PRIMARY KEY, team bigint REFERENCES teams ON UPDATE CASCADE ON DELETE CASCADE, apart bigint, n int DEFAULT 1, status text DEFAULT 'ok',
	at timestamptz DEFAULT quota.now());
CREATE FUNCTION scanned() RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(format('%s %s=%s', account, to_char(period_start, 'MM'), used), ', ' ORDER BY period_start, account)
	FROM quota.counters WHERE (feature, period) = ('report', 'month') AND account ~ '^[45]\d\d$' AND used > 0
$$;
CREATE FUNCTION adrift(with_rows regclass) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT format('%s %s %s', account, period_start, drift) FROM quota_reconcile(with_rows, 'report') WHERE account ~ '^[45]\d\d$'
$$;
INSERT INTO teams (id) VALUES (400), (402), (401), (403);
SELECT quota_attach('scans', 'report', 'team', 'n', counted_when => $$status <> 'failed'$$) \g /dev/null
SET LOCAL quota.now = '2026-02-10 12:00+00';
INSERT INTO scans VALUES (1, 400), (2, 400), (3, 401);
SET LOCAL quota.now = '2026-03-10 12:00+00';
INSERT INTO scans (id, team, n, status) VALUES (4, 400, 1, 'ok'), (5, 400, 1, 'ok'), (6, 400, 1, 'ok'), (7, 400, 1, 'failed'), (8, 400, 1, 'ok'), (9, 402, 2, 'ok');
UPDATE scans SET at = '2026-01-10' WHERE id = 4;
DELETE FROM scans WHERE id = 8;
SELECT is(scanned(), '400 02=2, 401 02=1, 400 03=4, 402 03=2', 'rows of a counter, before');
UPDATE teams SET id = 410 WHERE id = 400;
SELECT is(scanned(), '401 02=1, 410 02=2, 402 03=2, 410 03=4', 'a new key: rows that follow it are counted once, each in its window, as are those that have gone');
SELECT is_empty($$SELECT FROM adrift('scans') d WHERE d NOT LIKE '410 % 1'$$, 'a new key: but for what has gone the counters are what the rows come to');
SELECT is((quota_evaluate(410, 'report')).allowed, false, 'a new key: no fresh allowance');
UPDATE scans SET status = 'failed' WHERE id IN (1, 4);
SELECT is(scanned(), '401 02=1, 410 02=1, 402 03=2, 410 03=3', 'a new key: a refund is one of the windows in which the row was charged');
UPDATE teams SET id = CASE id WHEN 402 THEN 420 WHEN 401 THEN 402 ELSE id END WHERE id IN (401, 402);
SELECT is(scanned(), '402 02=1, 410 02=1, 410 03=3, 420 03=2', 'new keys of several, one that another had');
UPDATE teams SET id = 500 WHERE id = 410;
UPDATE teams SET id = 501 WHERE id = 500;
UPDATE teams SET id = 410 WHERE id = 501;
SELECT is(scanned(), '402 02=1, 410 02=1, 410 03=3, 420 03=2', 'there and back');
SAVEPOINT renamed;
UPDATE teams SET id = 430 WHERE id = 410;
ROLLBACK TO renamed;
UPDATE scans SET team = 403 WHERE id = 6;
SELECT is(scanned(), '402 02=1, 410 02=1, 403 03=1, 410 03=2, 420 03=2', 'a row that moves to another account is charged there');
UPDATE scans SET team = 410 WHERE id = 6;
INSERT INTO teams (id) VALUES (430);
UPDATE scans SET team = 430 WHERE id = 6;
SELECT is(scanned(), '402 02=1, 410 02=1, 410 03=2, 420 03=2, 430 03=1', 'also to one whose key a rollback has taken back');
UPDATE scans SET team = 410 WHERE id = 6;
SELECT quota_detach('scans', 'report') \g /dev/null

/* Rows that follow by a statement of their own, or do more than that. */
SELECT quota_attach('scans', 'report', 'apart', 'n', counted_when => $$status <> 'failed'$$, backfill => false) \g /dev/null
DELETE FROM quota.usage WHERE account ~ '^[45]\d\d$';
SELECT quota_set_override(403, 'report', 'day', 99) \g /dev/null
INSERT INTO scans (id, apart, status) VALUES (11, 403, 'ok'), (12, 403, 'ok'), (13, 403, 'ok'), (14, 403, 'failed'), (15, 403, 'ok');
UPDATE teams SET id = 440 WHERE id = 403;
SELECT is(scanned(), '440 03=4', 'a new key: the counter goes at once');
UPDATE scans SET apart = 440 WHERE id = 11;
UPDATE scans SET apart = 440, id = 112, at = '2026-02-01' WHERE id = 12;
SELECT is(scanned(), '440 03=4', 'rows that follow later, also with a new key and time of their own');
UPDATE scans SET apart = 440, n = 2 WHERE id = 13;
SELECT is(scanned(), '440 03=5', 'with another amount: charged the difference');
UPDATE scans SET apart = 440, status = 'failed' WHERE id = 15;
SELECT is(scanned(), '440 03=4', 'that stop to be counted: refunded');
UPDATE scans SET apart = 440, status = 'ok' WHERE id = 14;
SELECT is(scanned(), '440 03=5', 'that begin to be: charged');
SELECT is(error_of($$UPDATE scans SET n = 9 WHERE id = 14$$)->>'state', 'PT429', 'more than there is room for');
UPDATE scans SET status = 'failed' WHERE id IN (11, 112, 13, 14);
SELECT is(scanned(), NULL, 'all of them fail: nothing is left');
SELECT quota_detach('scans', 'report') \g /dev/null

/* What counts rows that come, and no others, has nothing to do with it. */
DELETE FROM quota.usage WHERE account ~ '^[45]\d\d$';
SELECT quota_attach('scans', 'report', 'team', backfill => false) \g /dev/null
INSERT INTO scans (id, team) VALUES (21, 440), (22, 440);
UPDATE teams SET id = 450 WHERE id = 440;
SELECT is(scanned(), '450 03=2', 'a new key: without counted_when the counter goes with the account, and rows cost nothing more');
SELECT quota_detach('scans', 'report') \g /dev/null
DROP TABLE scans;

/* The pool that members have reserved of. */
SELECT quota_set_pool(8, 80), quota_set_override(8, 'report', 'month', 10) \g /dev/null
INSERT INTO teams (id) VALUES (80);
SELECT id AS pooled FROM quota_reserve(8, 'report', 4) \gset
UPDATE teams SET id = 81 WHERE id = 80;
SELECT results_eq($$SELECT account COLLATE "default", period::text, amount FROM quota.holds ORDER BY 1, 2$$,
	$$VALUES ('8', 'month', 4::bigint), ('81', 'day', 4), ('81', 'month', 4)$$, 'a new key of a pool: what a member holds of it');
UPDATE teams SET id = 88 WHERE id = 8;
SELECT quota_commit(:pooled, 3) \g /dev/null
SELECT results_eq($$SELECT account COLLATE "default", period::text, used FROM quota.counters WHERE account IN ('81', '88') ORDER BY 1, 2$$,
	$$VALUES ('81', 'day', 3::bigint), ('81', 'month', 3), ('88', 'month', 3)$$, 'new keys of both: it is settled on both');

/* Rows that go. */
SET LOCAL ROLE quota_test_adopt;
DELETE FROM teams WHERE id IN (40, 5);
RESET ROLE;
SELECT is_empty($$SELECT FROM quota.accounts WHERE account IN ('40', '5') UNION ALL SELECT FROM quota.account_users WHERE account IN ('40', '5')
	UNION ALL SELECT FROM quota.limit_overrides WHERE account IN ('40', '5')$$, 'DELETE: account, members and overrides go');
SELECT is((SELECT used FROM quota.counters WHERE (account, feature, period) = ('40', 'report', 'month')), 4::bigint, 'DELETE: the counters stay');
SELECT is((SELECT before->>'plan' FROM quota.audit_log WHERE account = '5' AND table_name = 'accounts' ORDER BY id DESC LIMIT 1), 'pro',
	'DELETE: the log knows what was there');
INSERT INTO teams (id) VALUES (40);
SELECT is((quota_evaluate(40, 'report')).allowed, false, 'DELETE and INSERT bring no fresh allowance');
SELECT id AS under_way FROM quota_reserve(9, 'report', 2) \gset
SELECT id AS lost FROM quota_reserve(9, 'report', 2, '1 minute') \gset
DELETE FROM teams WHERE id = 9;
SELECT is(used_by(9), 'day=4 month=4', 'DELETE: what is reserved stays');
SELECT is((quota_commit(:under_way, 1)).used, 3::bigint, 'DELETE: work that is under way can be settled');
SET LOCAL quota.now = '2026-03-10 12:01+00';
SELECT is(used_by(9), 'day=1 month=1', 'DELETE: what nobody settles expires');
SET LOCAL quota.now = '2026-03-10 12:00+00';
INSERT INTO quota.accounts (account) VALUES ('elsewhere');
GRANT TRUNCATE ON seats TO quota_test_adopt;
SET LOCAL ROLE quota_test_adopt;
TRUNCATE teams, seats;
RESET ROLE;
SELECT results_eq('SELECT account, users FROM taken ORDER BY account', $$VALUES ('3', NULL), ('313', NULL), ('314', NULL), ('elsewhere', NULL)$$,
	'TRUNCATE: as DELETE of all rows, and of no other account; what was suspended stays');
DELETE FROM quota.accounts WHERE account LIKE '3%';

/* What an application's row must not say. */
INSERT INTO teams (id) VALUES (1);
SELECT is(error_of($$INSERT INTO teams (id, tier) VALUES (2, 'pro'), (3, 'gold')$$), '{"state": "42704", "message": "plan \"gold\" does not exist",
	"detail": "The row of account \"3\" names it.", "hint": ""}', 'an unknown plan');
SELECT is_empty($$SELECT FROM taken WHERE account IN ('2', '3')$$, 'and nothing is half done');
SELECT throws_ok($$INSERT INTO teams (id, born) VALUES (2, 'infinity')$$, '23514', NULL, 'an infinite time');
ALTER TABLE teams RENAME COLUMN title TO label;
SELECT is(error_of('INSERT INTO teams (id) VALUES (2)'), '{"state": "42703", "message": "column \"title\" of table public.teams does not exist",
	"detail": "", "hint": "Call quota_adopt with the columns that the table has, or quota_unadopt."}', 'a renamed column');
SELECT throws_ok('ALTER TABLE teams DROP COLUMN label', '2BP01', NULL, 'a column that is followed cannot be dropped');
SELECT lives_ok($$SELECT quota_adopt('teams', 'id', 'label')$$, 'adopted anew, with fewer columns');
ALTER TABLE teams RENAME TO companies;
INSERT INTO companies (id, label, kind, creator) VALUES (2, 'Two', 'PARTNER', user_of(2));
SELECT results_eq($$SELECT name, account_type, users FROM taken WHERE account = '2'$$, $$VALUES ('Two', NULL, NULL)$$,
	'a renamed table is followed, and only in the columns named last');
SELECT is(quota_unadopt('companies')::text, '', 'unadopted');
DELETE FROM companies;
SELECT is((SELECT count(*) FROM taken WHERE account IN ('1', '2')), 2::bigint, 'unadopted: what was taken over stays');
SELECT throws_ok($$SELECT quota_unadopt('companies')$$, '42704', 'table public.companies is not adopted', 'unadopted twice');

/* What is adopted is known, and follows what quota_adopt is told. */
CREATE TABLE codes (id int PRIMARY KEY, code text UNIQUE, owner text);
INSERT INTO codes VALUES (70001, 'x1', 'ann');
SELECT quota_adopt('codes', 'id') \g /dev/null
CREATE TEMP TABLE number AS SELECT id FROM quota.adopted WHERE relation = 'codes'::regclass;
SELECT is(quota_adopt('codes', 'code', owner_column => 'owner'), '{"added": 1, "changed": 0, "owners": 1}', 'adopted by another key');
SELECT results_eq('SELECT id, key_column, owner_column, name_column FROM quota.adopted WHERE relation = ''codes''::regclass',
	$$SELECT id, 'code'::text, 'owner'::text, NULL::text FROM number$$, 'under the number that it had');
SELECT results_eq($$SELECT account, adopted_by IS NOT NULL FROM quota.accounts WHERE account IN ('70001', 'x1') ORDER BY 1$$, $$VALUES ('70001' COLLATE "C", false), ('x1', true)$$,
	'the account of the other key stays, and no table has it');
DELETE FROM quota.accounts WHERE account = 'x1';
SELECT lives_ok($$UPDATE codes SET code = 'x2', owner = 'bob'$$, 'a row whose account was deleted by hand gets another key');
SELECT results_eq($$SELECT account, users FROM taken WHERE account LIKE 'x_'$$, $$VALUES ('x2', 'ob OWNER')$$, 'and with it an account again');
SELECT is(error_of($$INSERT INTO codes VALUES (1, NULL)$$)->>'state', '22004', 'a row without a key');
SELECT is(error_of($$INSERT INTO codes VALUES (1, '')$$)->>'state', '22023', 'with an empty one');
SELECT is(error_of($$INSERT INTO codes VALUES (1, repeat('x', 256))$$)->>'state', '22023', 'with a long one');
SELECT lives_ok($$INSERT INTO codes VALUES (1, repeat('x', 255))$$, 'with one that is long enough');
SELECT is(error_of($$UPDATE codes SET code = NULL WHERE id = 1$$)->>'state', '22004', 'and it cannot be lost');
SELECT quota_unadopt('codes') \g /dev/null
SELECT is((SELECT count(*) FROM quota.accounts WHERE adopted_by = (SELECT id FROM number)), 0::bigint, 'unadopted: no account is the table''s');
SELECT is((SELECT count(*) FROM quota.audit_log WHERE act = 'quota_unadopt' AND account LIKE 'x%'), 2::bigint, 'unadopted: the log tells of each that it let go');
DELETE FROM quota.accounts WHERE account <> ALL ('{elsewhere,1,2}');
DROP TABLE codes;
CREATE TEMP TABLE fleeting (id int PRIMARY KEY);
SELECT throws_ok($$SELECT quota_adopt('fleeting', 'id')$$, '42809', NULL, 'a temporary table is none to adopt');

/* Keys of every type, as a charge by column names them. */
CREATE DOMAIN slug AS varchar(30);
CREATE FUNCTION adopts(type text, keys text[]) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('CREATE TABLE typed (id %s UNIQUE)', type);
	EXECUTE format('INSERT INTO typed SELECT k::%s FROM unnest($1) k', type) USING keys;
	PERFORM quota_adopt('typed', 'id');
	DROP TABLE typed;
	RETURN QUERY SELECT account COLLATE "default" FROM quota.accounts WHERE account <> ALL ('{elsewhere,1,2}') ORDER BY account;
	DELETE FROM quota.accounts WHERE account <> ALL ('{elsewhere,1,2}');
END $$;
SELECT results_eq(format('SELECT adopts(%L, %L)', type, given), format('SELECT unnest(%L::text[])', expected), 'keys of type ' || type)
FROM (VALUES
	('text', '{b, "A "}', '{"A ", b}'),
	('varchar(4)', '{b}', '{b}'),
	('char(6)', '{"b", "c d"}', '{"b", "c d"}'),
	('uuid', '{00000000-0000-4000-8000-00000000000A}', '{00000000-0000-4000-8000-00000000000a}'),
	('smallint', '{-7}', '{-7}'), ('integer', '{12}', '{12}'), ('bigint', '{9223372036854775807}', '{9223372036854775807}'),
	('slug', '{x-y}', '{x-y}')) v (type, given, expected);
CREATE TABLE keys (id text UNIQUE, n numeric UNIQUE, part text, whole text, at time, UNIQUE (part, whole));
CREATE UNIQUE INDEX ON keys (whole) WHERE part = 'x';
INSERT INTO keys (id) VALUES ('a'), (NULL);
SELECT throws_ok($$SELECT quota_adopt('keys', 'id')$$, '22004', NULL, 'a NULL key');
UPDATE keys SET id = '' WHERE id IS NULL;
SELECT throws_ok($$SELECT quota_adopt('keys', 'id')$$, '22023', 'account must not be empty', 'an empty key');
UPDATE keys SET id = repeat('x', 256) WHERE id = '';
SELECT throws_ok($$SELECT quota_adopt('keys', 'id')$$, '22023', 'account is too long', 'a long key');
DELETE FROM keys;

/* Arguments. */
CREATE VIEW looks AS SELECT * FROM keys;
CREATE TABLE parted (id int PRIMARY KEY) PARTITION BY LIST (id);
CREATE TABLE part PARTITION OF parted DEFAULT;
CREATE TABLE heir () INHERITS (keys);
SELECT throws_ok(format('SELECT quota_adopt(%s)', arguments), state, NULL, arguments)
FROM (VALUES
	('NULL, ''id''', '22004'), ('''companies'', NULL', '22004'), ('''looks'', ''id''', '42809'), ('''parted'', ''id''', '42809'), ('''part'', ''id''', '42809'),
	('''keys'', ''id''', '42809'), ('''companies'', ''nothing''', '42703'), ('''companies'', ''id'', ''nothing''', '42703'),
	('''companies'', ''id'', created_column => ''nothing''', '42703'), ('''companies'', ''label''', '42P10'), ('''companies'', ''tier''', '42804'),
	('''companies'', ''id'', ''born''', '42804'), ('''companies'', ''id'', created_column => ''label''', '42804'),
	('''nowhere'', ''id''', '42P01')) v (arguments, state);
DROP TABLE heir;
SELECT throws_ok(format('SELECT quota_adopt(''keys'', %L)', k), '42P10', NULL, k || ': unique only with another, or in part') FROM unnest('{part,whole}'::text[]) k;
SELECT throws_ok($$SELECT quota_adopt('keys', 'n')$$, '42804', 'column "n" cannot name an account', 'a numeric key');
SELECT throws_ok('SELECT quota_unadopt(NULL)', '22004', NULL, 'unadopt nothing');
CREATE TRIGGER by_hand AFTER INSERT ON companies FOR EACH STATEMENT EXECUTE FUNCTION quota.follow_accounts();
SELECT throws_ok('INSERT INTO companies (id) VALUES (7)', '39P01', NULL, 'a trigger made by hand');
DROP TRIGGER by_hand ON companies;

/* Whose right it is. */
SELECT quota_grant('quota_test_adopt', 'app') \g /dev/null
SELECT is(try_as('quota_test_adopt', $$SELECT quota_adopt('companies', 'id')$$), '42501', 'the app may not adopt');
SELECT quota_grant('quota_test_adopt', 'admin') \g /dev/null
SELECT is(try_as('quota_test_adopt', $$SELECT quota_adopt('companies', 'id')$$), '42501', 'an admin may not adopt another''s table');
ALTER TABLE companies OWNER TO quota_test_adopt;
SELECT is(try_as('quota_test_adopt', $$SELECT quota_adopt('companies', 'id'), quota_unadopt('companies')$$), 'ok', 'but its own');

ROLLBACK;

/* Rows that follow in another transaction, one after the next. */
\ir _helpers.sql
SET quota.now = '2026-03-10 12:00+00';
SELECT quota_apply('{"features": {"report": {"kind": "counter"}}, "plans": {"free": {"default": true, "limits": {"report": {"month": {"limit": 9}}}}}}') \g /dev/null
CREATE TABLE teams (id bigint PRIMARY KEY);
CREATE TABLE scans (id int PRIMARY KEY, team bigint, at timestamptz DEFAULT quota.now());
INSERT INTO teams VALUES (1);
SELECT quota_adopt('teams', 'id'), quota_attach('scans', 'report', 'team', counted_when => 'true') \g /dev/null
CREATE FUNCTION used() RETURNS text LANGUAGE sql AS $$SELECT string_agg(account || '=' || used, ' ' ORDER BY account) FROM quota.counters WHERE used > 0$$;
INSERT INTO scans VALUES (1, 1), (2, 1), (3, 1);
BEGIN;
UPDATE teams SET id = 2 WHERE id = 1;
UPDATE scans SET team = 2 WHERE id = 1;
COMMIT;
SELECT is(used(), '2=3', 'a new key: rows that follow in its transaction cost nothing');
UPDATE scans SET team = 2 WHERE id = 2;
SELECT is(used(), '2=4', 'those that follow in another are charged as if they came from an account of their own');
SELECT results_eq($$SELECT account COLLATE "default", drift FROM quota_reconcile('scans', 'report')$$, $$VALUES ('1', -1::bigint), ('2', 2)$$, 'which shows');
UPDATE scans SET team = 2;
SELECT quota_reconcile('scans', 'report', repair => true) \g /dev/null
SELECT is(used(), '2=3', 'and can be repaired');
INSERT INTO teams VALUES (1);
INSERT INTO scans VALUES (4, 1);
BEGIN;
UPDATE teams SET id = 3 WHERE id = 1;
ROLLBACK;
UPDATE scans SET team = 3 WHERE id = 4;
SELECT is(used(), '2=3 3=1', 'a row that moves to an account after a key did not change');

SELECT * FROM finish();
