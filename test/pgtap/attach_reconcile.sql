/*
 * Rows that are there before quota_attach, and counters that differ from their
 * rows: shown and repaired.
 */
BEGIN;
SELECT no_plan();
\ir _helpers.sql
SET LOCAL client_min_messages = warning;
SET LOCAL quota.now = '2026-03-10 12:00+00';

INSERT INTO quota.plans (plan, is_default) VALUES ('free', true), ('none', false), ('month', false);
INSERT INTO quota.features (feature, kind) VALUES ('report', 'counter'), ('mb', 'gauge'), ('visit', 'counter');
INSERT INTO quota.plan_limits (plan, feature, period, usage_limit) VALUES
	('free', 'report', 'day', 2), ('free', 'report', 'month', 3), ('free', 'mb', 'lifetime', 10), ('free', 'visit', 'cycle', 5),
	('month', 'report', 'month', 3), ('month', 'mb', 'lifetime', 10);
INSERT INTO quota.accounts (account, plan, timezone) VALUES ('tokyo', NULL, 'Asia/Tokyo'), ('none', 'none', NULL);

CREATE FUNCTION counters(feature text) RETURNS text LANGUAGE sql AS $$
	SELECT COALESCE(string_agg(format('%s %s %s=%s', account, period, to_char(period_start AT TIME ZONE 'UTC', 'FMMM-FMDD'), used), ', ' ORDER BY account, period, period_start), '')
	FROM quota.counters c WHERE c.feature = $1 AND used <> 0
$$;

/*
 * Backfill
 */
CREATE TABLE r (id int PRIMARY KEY, account text, status text DEFAULT 'ok', made timestamptz DEFAULT now(), other timestamptz);
INSERT INTO r VALUES (1, 'a', 'ok', '2026-03-10 01:00+00'), (2, 'a', 'ok', '2026-03-10 02:00+00'), (3, 'a', 'ok', '2026-03-10 03:00+00'), (4, 'a', 'failed', '2026-03-10'),
	(5, 'a', 'ok', '2026-02-28 23:59+00'), (6, 'b', 'ok', '2026-03-01'), (7, 'tokyo', 'ok', '2026-02-28 15:00+00'), (8, 'none', 'ok', '2026-01-01'), (9, 'a', 'ok', NULL), (10, 'b', 'ok', 'infinity');
SELECT quota_record('a', 'report', 5) IS NOT NULL \g /dev/null
SELECT quota_attach('r', 'report', 'account', counted_when => $$status = 'ok'$$) \g /dev/null
SELECT is(counters('report'), 'a day 2-28=1, a day 3-10=8, a month 2-1=1, a month 3-1=8, b day 3-1=1, b month 3-1=1, none lifetime =1, tokyo day 2-28=1, tokyo month 2-28=1',
	'rows are added to the windows of their time, whatever the limit');
SELECT is((SELECT string_agg(act, ' ') FROM quota.audit_log WHERE table_name = 'usage'), 'quota_attach', 'which is in the audit log');
SELECT counters('report') AS before \gset
SELECT quota_attach('r', 'report', 'account', counted_when => $$status = 'ok'$$) \g /dev/null
SELECT is(counters('report'), :'before', 'attached again: nothing is added');
UPDATE r SET status = 'failed' WHERE id IN (5, 9, 10);
SELECT is(counters('report'), 'a day 3-10=8, a month 3-1=8, b day 3-1=1, b month 3-1=1, none lifetime =1, tokyo day 2-28=1, tokyo month 2-28=1',
	'rows that were counted can be refunded, those without a known time were not counted');

CREATE TABLE plain (account bigint, n int);
INSERT INTO plain SELECT i % 3, i FROM generate_series(1, 9) i;
SELECT lives_ok($$SELECT quota_attach('plain', 'visit', 'account', 'n')$$, 'a table without a time');
SELECT is(counters('visit'), '', 'counts nothing that was there');
SELECT quota_detach('plain', 'visit') \g /dev/null
ALTER TABLE plain ADD at timestamptz, ADD "When?" timestamptz;
UPDATE plain SET at = '2026-03-09', "When?" = '2026-01-09';
SELECT quota_attach('plain', 'visit', 'account', 'n', time_column => 'When?') \g /dev/null
SELECT is(counters('visit'), '0 cycle 1-1=18, 1 cycle 1-1=12, 2 cycle 1-1=15', 'a time column that is named');
SELECT quota_detach('plain', 'visit') \g /dev/null
SELECT quota_attach('plain', 'visit', 'account', 'n', time_column => 'at', backfill => false) \g /dev/null
SELECT is(counters('visit'), '0 cycle 1-1=18, 1 cycle 1-1=12, 2 cycle 1-1=15', 'without backfill nothing is counted');
INSERT INTO plain VALUES (0, 1, quota.now());
SELECT is((SELECT sum(used) FROM quota.usage WHERE feature = 'visit'), 46::numeric, 'but what comes');
CREATE TABLE bad (id int, account text, n int, made timestamptz DEFAULT now());
INSERT INTO bad VALUES (1, '', 1);
SELECT throws_ok($$SELECT quota_attach('bad', 'report', 'account', 'n')$$, '22023', 'account must not be empty', 'a row without an account cannot be counted');
UPDATE bad SET account = 'x', n = -1;
SELECT throws_ok($$SELECT quota_attach('bad', 'report', 'account', 'n')$$, '22023', 'amount must not be negative, as -1 is', 'nor one with a negative amount');
UPDATE bad SET n = NULL;
SELECT throws_ok($$SELECT quota_attach('bad', 'report', 'account', 'n')$$, '22004', 'amount in column "n" must not be null', 'nor one without');
SELECT is_empty($$SELECT tgname FROM pg_trigger WHERE tgrelid = 'bad'::regclass$$, 'none of these has made a trigger');

/*
 * Reconcile: a gauge over two tables, one of them partitioned
 */
CREATE TABLE f (id int PRIMARY KEY, account text, mb int, state text DEFAULT 'new');
CREATE TABLE p (id int, account char(5), mb int) PARTITION BY RANGE (id);
CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);
INSERT INTO f VALUES (1, 'a', 5, 'new'), (2, 'b', 1, 'new'), (3, 'a', 9, 'full');
INSERT INTO p VALUES (1, 'a', 2);
SELECT quota_attach('f', 'mb', 'account', 'mb + 0', on_block => 'mark', status_column => 'state', blocked_status => 'full', counted_when => 'mb > 0') \g /dev/null
SELECT quota_attach('p', 'mb', 'account', 'mb') \g /dev/null
SELECT is(counters('mb'), 'a lifetime =7, b lifetime =1', 'two tables');
SELECT is_empty($$SELECT * FROM quota_reconcile('f', 'mb')$$, 'nothing differs');
ALTER TABLE f DISABLE TRIGGER ALL;
INSERT INTO f VALUES (4, 'a', 3), (5, 'new', 4);
DELETE FROM f WHERE id = 2;
ALTER TABLE f ENABLE TRIGGER ALL;
SELECT quota_record('beside', 'mb', 2) IS NOT NULL \g /dev/null
CREATE TEMP VIEW drifting AS
	SELECT format('%s %s counted=%s recorded=%s drift=%s', account, period, counted, recorded, drift) FROM quota_reconcile('p', 'mb');
SELECT results_eq('TABLE drifting', $$VALUES ('a lifetime counted=10 recorded=7 drift=-3'), ('b lifetime counted=0 recorded=1 drift=1'),
	('beside lifetime counted=0 recorded=2 drift=2'), ('new lifetime counted=4 recorded=0 drift=-4')$$, 'shown: rows without a charge, charges without a row, what was charged beside the tables');
SELECT is(counters('mb'), 'a lifetime =7, b lifetime =1, beside lifetime =2', 'looking changes nothing');
SELECT is((SELECT count(*) FROM quota_reconcile('f', 'mb', repair => true)), 4::bigint, 'repaired: what was found');
SELECT is(counters('mb'), 'a lifetime =10, new lifetime =4', 'repaired: as the rows say');
SELECT is_empty('TABLE drifting', 'repaired: nothing differs');
SELECT is((SELECT count(*) FROM quota_reconcile('f', 'mb', repair => true)), 0::bigint, 'repaired: nothing is left to do');
SELECT is((SELECT string_agg(act || ' ' || (before->>'rows'), ', ' ORDER BY id) FROM quota.audit_log WHERE act = 'quota_reconcile'), 'quota_reconcile 4', 'the audit log');
INSERT INTO f VALUES (6, 'a', 1);
SELECT is((SELECT state FROM f WHERE id = 6), 'full', 'the limit goes by it');
UPDATE quota.usage SET slots = 4 WHERE account = 'a' AND feature = 'mb';
INSERT INTO quota.usage (account, feature, period, period_start, slot, used) SELECT 'a', 'mb', 'lifetime', '-infinity', i, i FROM generate_series(1, 3) i;
SELECT results_eq('TABLE drifting', $$VALUES ('a lifetime counted=10 recorded=16 drift=6')$$, 'a counter with slots: their sum');
SELECT isnt_empty($$SELECT * FROM quota_reconcile('f', 'mb', repair => true)$$, 'is repaired');
SELECT is(counters('mb'), 'a lifetime =10, new lifetime =4', 'as one row');
/* a partition that is detached goes on being counted, one that comes with rows is shown */
ALTER TABLE p DETACH PARTITION p1;
SELECT is_empty('TABLE drifting', 'a partition that is detached keeps its triggers, and is counted');
ALTER TABLE p ATTACH PARTITION p1 FOR VALUES FROM (0) TO (10);
SELECT is_empty('TABLE drifting', 'and so it is when it comes back');
CREATE TABLE p2 (LIKE p);
INSERT INTO p2 VALUES (11, 'a', 4);
ALTER TABLE p ATTACH PARTITION p2 FOR VALUES FROM (10) TO (20);
SELECT results_eq('TABLE drifting', $$VALUES ('a lifetime counted=14 recorded=10 drift=-4')$$, 'one that comes with rows shows');
DROP TABLE p2;
SELECT quota_detach('f', 'mb') \g /dev/null
SELECT results_eq('TABLE drifting', $$VALUES ('a lifetime counted=2 recorded=10 drift=8'), ('new lifetime counted=0 recorded=4 drift=4')$$, 'what is detached is not counted');

/*
 * Reconcile: a counter
 */
DELETE FROM quota.usage;
DELETE FROM r;
ALTER TABLE r ALTER made SET DEFAULT quota.now();
INSERT INTO r (id, account) VALUES (1, 'a'), (2, 'a');
INSERT INTO r VALUES (3, 'b', 'ok', '2026-01-05'), (4, 'tokyo', 'ok', '2026-03-09 16:00+00');
SELECT is_empty($$SELECT * FROM quota_reconcile('r', 'report')$$, 'counter: an imported row is counted when it was charged');
CREATE FUNCTION report_drift(repair boolean DEFAULT false) RETURNS TABLE (line text) LANGUAGE sql AS $$
	SELECT format('%s %s %s %s-%s', account, period, to_char(period_start AT TIME ZONE 'UTC', 'FMMM-FMDD'), recorded, counted) FROM quota_reconcile('r', 'report', $1)
$$;
DELETE FROM r WHERE id = 1;
SELECT quota_record('c', 'report') IS NOT NULL \g /dev/null
INSERT INTO quota.usage (account, feature, period, period_start, used) VALUES ('a', 'report', 'month', '2025-12-01', 9), ('a', 'report', 'week', '2026-03-09', 9);
SELECT results_eq('SELECT * FROM report_drift()', $$VALUES ('a day 3-10 2-1'), ('a week 3-9 9-1'), ('a month 12-1 9-0'), ('a month 3-1 2-1'), ('c day 3-10 1-0'), ('c month 3-1 1-0')$$,
	'counter: rows that were deleted, and charges beside the table; every period that was ever charged');
SELECT results_eq('SELECT * FROM report_drift(true)', $$VALUES ('a day 3-10 2-1'), ('a week 3-9 9-1'), ('a month 12-1 9-0'), ('a month 3-1 2-1'), ('c day 3-10 1-0'), ('c month 3-1 1-0')$$, 'counter: repaired');
SELECT is_empty('SELECT * FROM report_drift()', 'counter: nothing differs');
SELECT is(counters('report'), 'a day 3-10=1, a week 3-9=1, a month 3-1=1, b day 3-10=1, b month 3-1=1, tokyo day 3-9=1, tokyo month 2-28=1', 'counter: as the rows say');
INSERT INTO r (id, account) VALUES (5, 'a');
SELECT throws_ok($$INSERT INTO r (id, account) VALUES (6, 'a')$$, 'PT429', NULL, 'counter: the limit goes by it');

/* Pools: what a row of a member takes is the pool's too. */
DELETE FROM quota.usage;
INSERT INTO quota.plan_limits (plan, feature, period, usage_limit) VALUES ('none', 'mb', 'lifetime', 10);
SELECT quota_set_plan('whole', 'none'), quota_set_pool('m1', 'whole'), quota_set_pool('m2', 'whole'),
	quota_set_override('m1', 'mb', 'lifetime', 8) \g /dev/null
CREATE TABLE pooled (id int PRIMARY KEY, account text, mb int);
INSERT INTO pooled VALUES (1, 'm1', 4), (2, 'm2', 5);
SELECT quota_detach(relation, 'mb') FROM quota.attachments WHERE feature = 'mb' \g /dev/null
SELECT quota_attach('pooled', 'mb', 'account', 'mb') \g /dev/null
SELECT is(counters('mb'), 'm1 lifetime =4, whole lifetime =9', 'pool: rows that are there');
SELECT throws_ok($$INSERT INTO pooled VALUES (3, 'm1', 2)$$, 'PT429', NULL, 'pool: its limit');
INSERT INTO pooled VALUES (3, 'm2', 1);
SELECT lives_ok($$UPDATE pooled SET account = 'm1' WHERE id = 3$$, 'pool: a row that moves between members of a full pool');
SELECT lives_ok($$UPDATE pooled SET account = CASE account WHEN 'm1' THEN 'm2' ELSE 'm1' END WHERE id < 3$$, 'pool: rows that change places');
SELECT is_empty($$SELECT * FROM quota_reconcile('pooled', 'mb')$$, 'pool: nothing differs');
UPDATE quota.usage SET used = used + 1 WHERE feature = 'mb';
SELECT results_eq($$SELECT account, counted, drift FROM quota_reconcile('pooled', 'mb', true)$$, $$VALUES ('m1', 6::bigint, 1::bigint), ('whole', 10, 1)$$, 'pool: both are repaired');
DELETE FROM pooled;
SELECT is(counters('mb'), '', 'pool: all is given back');

/* Reservations: what they hold is no drift, and a repair leaves it to them. */
DELETE FROM quota.usage;
DELETE FROM r;
SELECT quota_set_plan('h', 'month') \g /dev/null
SELECT quota_detach('pooled', 'mb') \g /dev/null
SELECT quota_attach('pooled', 'mb', 'account', 'mb') \g /dev/null
INSERT INTO pooled VALUES (1, 'h', 3);
INSERT INTO r (id, account) VALUES (1, 'h');
SELECT id AS kept FROM quota_reserve('h', 'mb', 2, '1 hour') \gset
SELECT id AS late FROM quota_reserve('h', 'mb', 4, '1 minute') \gset
SELECT id AS counted FROM quota_reserve('h', 'report', 2, '1 hour') \gset
CREATE TEMP VIEW held AS SELECT c.feature COLLATE "default" AS feature, c.used, u.used AS stored, u.holds FROM quota.counters c JOIN quota.usage u USING (account, feature) ORDER BY 1;
SELECT is_empty($$SELECT * FROM quota_reconcile('pooled', 'mb') UNION ALL SELECT * FROM quota_reconcile('r', 'report')$$, 'reserved: nothing differs');
UPDATE quota.usage SET used = used + 7;
SELECT results_eq($$SELECT counted, recorded, drift FROM quota_reconcile('pooled', 'mb')$$, $$VALUES (9::bigint, 16::bigint, 7::bigint)$$, 'reserved: the drift beside it');
SELECT results_eq($$SELECT counted, recorded, drift FROM quota_reconcile('pooled', 'mb', true) UNION ALL SELECT counted, recorded, drift FROM quota_reconcile('r', 'report', true)$$,
	$$VALUES (9::bigint, 16::bigint, 7::bigint), (3, 10, 7)$$, 'reserved: it is repaired');
SELECT results_eq('TABLE held', $$VALUES ('mb', 9::bigint, 9::bigint, 2), ('report', 3, 3, 1)$$, 'reserved: what is held stays');
SET LOCAL quota.now = '2026-03-10 12:01+00';
SELECT is_empty($$SELECT * FROM quota_reconcile('pooled', 'mb')$$, 'reserved: what has expired is no drift either');
UPDATE quota.usage SET used = used + 1 WHERE feature = 'mb';
SELECT results_eq($$SELECT counted, recorded, drift FROM quota_reconcile('pooled', 'mb', true)$$, $$VALUES (5::bigint, 6::bigint, 1::bigint)$$, 'reserved: nor is it counted');
SELECT results_eq('TABLE held', $$VALUES ('mb', 5::bigint, 5::bigint, 1), ('report', 3, 3, 1)$$, 'reserved: a repair writes it down');
DELETE FROM quota.usage;
SELECT results_eq($$SELECT counted, recorded FROM quota_reconcile('pooled', 'mb', true) UNION ALL SELECT counted, recorded FROM quota_reconcile('r', 'report', true)$$,
	$$VALUES (5::bigint, 0::bigint), (3, 0)$$, 'reserved: counters that are lost come back with it');
SELECT results_eq('TABLE held', $$VALUES ('mb', 5::bigint, 5::bigint, 1), ('report', 3, 3, 1)$$, 'reserved: as something that is held');
SELECT is((quota_commit(:kept, 1)).used, 4::bigint, 'reserved: and can be settled');
SELECT is((quota_release(:counted)).used, 1::bigint, 'reserved: of the counter as well');
SELECT throws_ok(format('SELECT quota_commit(%s)', :late), '55000', NULL, 'reserved: unless it has expired');
SELECT results_eq($$SELECT counted, recorded, drift FROM quota_reconcile('pooled', 'mb')$$, $$VALUES (3::bigint, 4::bigint, 1::bigint)$$, 'reserved: what was settled needs its row');
SET LOCAL quota.now = '2026-03-10 12:00+00';
DELETE FROM quota.usage;
DELETE FROM pooled;
DELETE FROM r;

/* What is refused, and for whom. */
SELECT throws_ok($$SELECT * FROM quota_reconcile(NULL, 'report')$$, '22004', 'table, feature and repair must not be null', 'NULL');
SELECT throws_ok($$SELECT * FROM quota_reconcile('r', NULL)$$, '22004', NULL, 'NULL');
SELECT throws_ok($$SELECT * FROM quota_reconcile('r', 'report', NULL)$$, '22004', NULL, 'NULL');
SELECT throws_ok($$SELECT * FROM quota_reconcile('r', 'nothing')$$, '42704', 'feature "nothing" is not attached to table public.r', 'an unknown feature');
SELECT throws_ok($$SELECT * FROM quota_reconcile('f', 'mb')$$, '42704', 'feature "mb" is not attached to table public.f', 'a table that is not attached');
CREATE ROLE quota_test_owner;
CREATE ROLE quota_test_app2;
CREATE ROLE quota_test_reader2;
GRANT CREATE, USAGE ON SCHEMA public TO quota_test_owner;
SELECT quota_grant('quota_test_owner', 'admin'), quota_grant('quota_test_app2', 'app'), quota_grant('quota_test_reader2', 'reader') \g /dev/null
SELECT quota_detach(relation, 'report') FROM quota.attachments WHERE feature = 'report' \g /dev/null
SET LOCAL ROLE quota_test_owner;
CREATE TABLE own (id int PRIMARY KEY, account text, ok boolean, made timestamptz DEFAULT quota.now());
INSERT INTO own VALUES (1, 'own', true);
SELECT lives_ok($$SELECT quota_attach('own', 'report', 'account', counted_when => 'ok')$$, 'an admin attaches its own table');
INSERT INTO own VALUES (2, 'own', true, '2020-01-01');
RESET ROLE;
DELETE FROM quota.usage WHERE account <> 'own';
SELECT is(try_as('quota_test_owner', $$SELECT quota_reconcile('own', 'report', true)$$), 'ok', 'and repairs');
SELECT is(counters('report'), 'own day 3-10=2, own month 3-1=2', 'with the rows counted');
SELECT is(try_as(role, $$SELECT quota_reconcile('own', 'report')$$), '42501', role || ' may not') FROM unnest('{quota_test_app2,quota_test_reader2}'::text[]) role;
SELECT is(try_as('quota_test_reader2', $$SELECT quota_attach('own', 'report', 'account')$$), '42501', 'nor attach');
SELECT bag_eq($$SELECT as_role('quota_test_reader2', 'SELECT count(*) FROM quota.charged_rows')$$, $$VALUES ('0')$$, 'a reader sees no keys of rows');
SELECT bag_eq($$SELECT as_role('quota_test_owner', 'SELECT count(*) FROM quota.charged_rows')$$, $$VALUES ('1')$$, 'an admin does');
ALTER TABLE own ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
SELECT is(try_as('quota_test_owner', 'SELECT 1 / count(*) FROM own'), '22012', 'row-level security hides rows from their owner');
UPDATE quota.usage SET used = 7 WHERE account = 'own';
SELECT is(try_as('quota_test_owner', $$SELECT quota_reconcile('own', 'report', true)$$), 'ok', 'and not from being counted');
SELECT is(counters('report'), 'own day 3-10=2, own month 3-1=2', 'all of them');

/* A table that is gone by the time it is to be locked. */
SELECT throws_ok($$SELECT quota.lock_tables(ARRAY[0, 42]::oid[]::regclass[])$$, '42P01', 'relation with OID 0 does not exist', 'no table');
SELECT throws_ok($$SELECT quota.lock_tables(ARRAY[NULL]::regclass[])$$, '22004', NULL, 'nor NULL');

SELECT * FROM finish();
ROLLBACK;
