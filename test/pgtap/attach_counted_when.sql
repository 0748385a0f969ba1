/*
 * Counters whose rows count only while they are of use: charged when they come to
 * be counted, refunded to the windows in which that was, once.
 */
BEGIN;
SELECT no_plan();
\ir _helpers.sql
SET LOCAL client_min_messages = warning;
SET LOCAL quota.now = '2026-03-10 12:00+00';

INSERT INTO quota.plans (plan, is_default) VALUES ('free', true), ('monthly', false);
INSERT INTO quota.features (feature, kind, unit) VALUES ('report', 'counter', 'report'), ('token', 'counter', NULL);
INSERT INTO quota.plan_limits (plan, feature, period, usage_limit) VALUES
	('free', 'report', 'day', 3), ('free', 'report', 'month', 5), ('free', 'token', 'month', 1000), ('monthly', 'report', 'month', 5);

/* d10=2 m3=4: days of the month, months of the year */
CREATE FUNCTION used(account text, feature text DEFAULT 'report') RETURNS text LANGUAGE sql AS $$
	SELECT COALESCE(string_agg(CASE period WHEN 'day' THEN to_char(period_start, '"d"FMDD') ELSE to_char(period_start, '"m"FMMM') END || '=' || used, ' ' ORDER BY period, period_start), '')
	FROM quota.usage u WHERE u.account = $1 AND u.feature = $2 AND used <> 0
$$;
CREATE FUNCTION at(now timestamptz) RETURNS text LANGUAGE sql AS $$SELECT set_config('quota.now', now::text, true)$$;

CREATE TABLE r (id int PRIMARY KEY, account text, status text DEFAULT 'processing', n int DEFAULT 1, note text, made timestamptz DEFAULT now());
CREATE FUNCTION pins(relation regclass DEFAULT 'r') RETURNS text LANGUAGE sql AS $$
	SELECT COALESCE(string_agg(row_key || '@' || to_char(charged_at AT TIME ZONE 'UTC', 'FMMM-DD'), ' ' ORDER BY row_key), '') FROM quota.charged_rows c WHERE c.relation = $1
$$;
SELECT is(quota_attach('r', 'report', 'account', counted_when => $$status IN ('processing', 'completed')$$)::text, '', 'attached');
SELECT is((SELECT string_agg(tgname, ' ' ORDER BY tgname) FROM pg_trigger WHERE tgrelid = 'r'::regclass AND NOT tgisinternal),
	'quota_charge_report quota_delete_report quota_truncate_report quota_update_report', 'by four triggers');
SELECT is((SELECT time_column FROM quota.attachments WHERE relation = 'r'::regclass), 'made', 'the time column is found');
ALTER TABLE r ALTER made SET DEFAULT quota.now();

/* Charged when counted, refunded when not. */
INSERT INTO r (id, account) VALUES (1, 'a'), (2, 'a');
INSERT INTO r (id, account, status) VALUES (3, 'a', 'failed'), (4, 'a', NULL);
SELECT is(used('a'), 'd10=2 m3=2', 'counted rows');
UPDATE r SET note = 'x', status = 'completed' WHERE status = 'processing';
SELECT is(used('a'), 'd10=2 m3=2', 'from counted to counted');
UPDATE r SET status = 'failed' WHERE id = 1;
SELECT is(used('a'), 'd10=1 m3=1', 'a row that fails is refunded');
UPDATE r SET status = 'failed' WHERE id = 1;
UPDATE r SET status = 'canceled' WHERE id = 1;
SELECT is(used('a'), 'd10=1 m3=1', 'once');
UPDATE r SET status = 'processing' WHERE id IN (1, 3);
SELECT is(used('a'), 'd10=3 m3=3', 'one that is tried again is charged');
SELECT is(error_of($$UPDATE r SET status = 'processing' WHERE id = 4$$)->>'message', 'Daily report limit reached (3/3).', 'judged');
SELECT throws_ok($$INSERT INTO r (id, account) VALUES (5, 'a')$$, 'PT429', NULL, 'like an INSERT');
SELECT lives_ok($$UPDATE r SET status = CASE WHEN id = 1 THEN 'failed' ELSE 'processing' END WHERE id IN (1, 4)$$, 'one fails and another takes its place');
SELECT is(used('a'), 'd10=3 m3=3', 'at the limit');
DELETE FROM r WHERE id = 3;
SELECT is(used('a'), 'd10=3 m3=3', 'DELETE gives nothing back');
SELECT is(pins(), '', 'all this without an entry');

/* In the windows in which it was charged. */
SELECT at('2026-03-11 12:00+00') \g /dev/null
INSERT INTO r (id, account) VALUES (10, 'a');
UPDATE r SET status = 'failed' WHERE id = 2;
SELECT is(used('a'), 'd10=2 d11=1 m3=3', 'a day later: to the day of the charge, and the month');
UPDATE r SET status = 'processing' WHERE id = 2;
SELECT is(used('a'), 'd10=2 d11=2 m3=4', 'tried again: the day of now');
SELECT is(pins(), '["2"]@3-11', 'which has to be remembered');
SELECT at('2026-04-02 12:00+00') \g /dev/null
UPDATE r SET note = 'y';
SELECT is(used('a') || pins(), 'd10=2 d11=2 m3=4["2"]@3-11', 'what else changes in it does not matter');
UPDATE r SET status = 'failed' WHERE id = 2;
SELECT is(used('a') || pins(), 'd10=2 d11=1 m3=3', 'a month later: to that day; nothing is to be remembered any more');
UPDATE r SET status = 'processing' WHERE id = 2;
SELECT is(used('a') || pins(), 'd10=2 d11=1 d2=1 m3=3 m4=1["2"]@4-02', 'and again');
UPDATE r SET id = 20 WHERE id = 2;
SELECT is(pins(), '["20"]@4-02', 'an entry goes with the key');
UPDATE r SET made = made - interval '1 year' WHERE id = 20;
SELECT is(pins(), '["20"]@4-02', 'and does not care for the time');
UPDATE r SET made = made - interval '1 year' WHERE id = 4;
SELECT is(pins(), '["20"]@4-02 ["4"]@3-10', 'a time that is changed: the charge is remembered');
UPDATE r SET made = made + interval '1 hour' WHERE id = 10;
SELECT is(pins(), '["20"]@4-02 ["4"]@3-10', 'not within the windows');
UPDATE r SET status = 'failed', made = now(), id = 40 WHERE id = 4;
SELECT is(used('a') || pins(), 'd10=1 d11=1 d2=1 m3=2 m4=1["20"]@4-02', 'all at once: to the first day');
DELETE FROM r WHERE id = 20;
SELECT is(used('a') || pins(), 'd10=1 d11=1 d2=1 m3=2 m4=1', 'an entry goes with its row');

/* Keys that rows take from one another: first all are read, then all are written. */
DELETE FROM quota.usage;
TRUNCATE r;
SELECT at('2026-04-02 12:00+00') \g /dev/null
INSERT INTO r (id, account, made) VALUES (1, 'k', '2026-03-01');
SELECT at('2026-04-03 12:00+00') \g /dev/null
INSERT INTO r (id, account, made) VALUES (2, 'k', '2026-03-01');
SELECT is(used('k') || ' ' || pins(), 'd2=1 d3=1 m4=2 ["1"]@4-02 ["2"]@4-03', 'imported rows are charged now');
UPDATE r SET id = id - 1;
SELECT is(pins(), '["0"]@4-02 ["1"]@4-03', 'a key that another row had before');
UPDATE r SET status = 'failed' WHERE id = 1;
SELECT is(used('k') || ' ' || pins(), 'd2=1 m4=1 ["0"]@4-02', 'is refunded by its own entry');
TRUNCATE r;
SELECT is(used('k') || pins(), 'd2=1 m4=1', 'TRUNCATE forgets, and gives nothing back');

/* Account and amount. */
SELECT at('2026-03-10 12:00+00') \g /dev/null
CREATE TABLE t (id int PRIMARY KEY, account text, n int, ok boolean, made timestamptz DEFAULT quota.now());
SELECT quota_attach('t', 'token', 'account', 'n * 10', counted_when => 'ok', time_column => 'made') \g /dev/null
INSERT INTO t VALUES (1, 'b', 10, true), (2, 'b', 20, false), (3, 'b', 30, NULL), (4, 'b', 0, true);
SELECT is(used('b', 'token'), 'm3=100', 'an amount of counted rows');
UPDATE t SET n = n + 5 WHERE id < 3;
SELECT is(used('b', 'token'), 'm3=150', 'another amount');
UPDATE t SET account = 'c' WHERE id IN (1, 2);
SELECT is(used('b', 'token') || used('c', 'token'), 'm3=150', 'another account');
SELECT at('2026-05-10 12:00+00') \g /dev/null
UPDATE t SET n = 1 WHERE id = 1;
SELECT is(used('c', 'token') || ' ' || pins('t'), 'm5=10 ["1"]@5-10', 'in another month: back to that of the charge, and charged now');
UPDATE t SET account = 'd' WHERE id = 1;
SELECT is(used('c', 'token') || used('d', 'token'), 'm5=10', 'and to another account');
UPDATE t SET n = 0 WHERE id = 1;
SELECT is(used('d', 'token') || pins('t'), '', 'nothing is remembered of nothing');
INSERT INTO t VALUES (6, 'e', 100, true);
SELECT throws_ok($$UPDATE t SET n = 101 WHERE id = 6$$, 'PT429', NULL, 'judged on what is left after the refund');
SELECT lives_ok($$UPDATE t SET n = 100, id = 7 WHERE id = 6$$, 'so that the same goes through');
SELECT throws_ok($$UPDATE t SET n = -1 WHERE id = 7$$, '22023', 'amount must not be negative, as -10 is', 'a negative amount');
UPDATE quota.usage SET used = 7 WHERE account = 'e';
UPDATE t SET ok = false WHERE id = 7;
SELECT is(used('e', 'token'), '', 'a refund does not go below 0');

/* Rows without a time. */
CREATE TABLE nt (id uuid, day date, account text, ok boolean, PRIMARY KEY (day, id));
SELECT quota_attach('nt', 'report', 'account', counted_when => 'ok') \g /dev/null
INSERT INTO nt VALUES ('6F1C0A9E-8F4E-4E0F-9D5A-0C2B9A7D3E11', '2026-01-02', 'f', true);
SELECT is(pins('nt'), '["2026-01-02","6f1c0a9e-8f4e-4e0f-9d5a-0c2b9a7d3e11"]@5-10', 'a table without a time column: every charge is remembered');
SET LOCAL DateStyle = 'German';
SELECT at('2026-06-10 12:00+00') \g /dev/null
UPDATE nt SET ok = false;
SELECT is(used('f') || pins('nt'), '', 'and found again, whatever the settings');
RESET DateStyle;
CREATE TABLE two_times (id int PRIMARY KEY, account text, made timestamptz DEFAULT now(), changed timestamptz DEFAULT CURRENT_TIMESTAMP);
SELECT quota_attach('two_times', 'report', 'account') \g /dev/null
CREATE TABLE one_time (id int PRIMARY KEY, account text, made timestamptz DEFAULT CURRENT_TIMESTAMP(3), other timestamptz DEFAULT '2020-01-01');
SELECT quota_attach('one_time', 'report', 'account') \g /dev/null
SELECT is((SELECT string_agg(COALESCE(time_column, ''), ',' ORDER BY relation::text) FROM quota.attachments WHERE relation::text IN ('two_times', 'one_time')), 'made,', 'the time column is the only one that is now by default');
INSERT INTO r (id, account, made) VALUES (50, 'g', NULL), (51, 'g', 'infinity');
SELECT is(used('g') || ' ' || pins(), 'd10=2 m6=2 ["50"]@6-10 ["51"]@6-10', 'a time that is NULL or infinite');
UPDATE r SET status = 'failed' WHERE account = 'g';
SELECT is(used('g') || pins(), '', 'refunded');

/* The windows are those of the account. */
INSERT INTO quota.accounts (account, plan, timezone) VALUES ('mon', 'monthly', 'UTC'), ('tokyo', NULL, 'Asia/Tokyo');
SELECT at('2026-06-30 20:00+00') \g /dev/null
INSERT INTO r (id, account, made) VALUES (60, 'mon', '2026-06-01'), (61, 'tokyo', '2026-06-30 16:00+00'), (62, 'tokyo', '2026-06-30 14:00+00');
SELECT is(pins(), '["62"]@6-30', 'of a plan by month a day does not matter; in Tokyo July has begun');
UPDATE r SET status = 'failed' WHERE id >= 60;
SELECT is(used('mon') || used('tokyo') || pins(), '', 'refunded');

/* Ways in: each row once. */
DELETE FROM quota.usage;
TRUNCATE r;
SELECT at('2026-03-10 12:00+00') \g /dev/null
COPY r (id, account, status) FROM stdin;
1	w	processing
2	w	failed
\.
INSERT INTO r (id, account) VALUES (1, 'w'), (3, 'w') ON CONFLICT (id) DO UPDATE SET status = 'failed';
SELECT is(used('w'), 'd10=1 m3=1', 'COPY, ON CONFLICT DO UPDATE');
MERGE INTO r USING (VALUES (1), (2), (3), (4)) v (id) ON r.id = v.id
	WHEN MATCHED AND r.id = 3 THEN UPDATE SET status = 'failed' WHEN MATCHED THEN UPDATE SET status = 'completed' WHEN NOT MATCHED THEN INSERT (id, account, status) VALUES (v.id, 'w', 'failed');
SELECT is(used('w'), 'd10=2 m3=2', 'MERGE');
SAVEPOINT s;
UPDATE r SET status = 'failed', made = '2020-01-01';
ROLLBACK TO s;
SELECT is(used('w') || pins(), 'd10=2 m3=2', 'ROLLBACK TO');
SET LOCAL quota.enforcement = 'off';
INSERT INTO r (id, account, made) VALUES (7, 'w', '2020-01-01');
SELECT is(used('w') || pins(), 'd10=2 m3=2', 'off: neither charged nor remembered');
SET LOCAL quota.enforcement = 'on';
DELETE FROM r WHERE id = 7;
UPDATE quota.plan_limits SET usage_limit = 10000;
INSERT INTO r (id, account, made) SELECT 1000 + i, 'many', timestamptz '2026-03-08' + i * interval '1 minute' FROM generate_series(0, 2879) i;
DELETE FROM quota.charged_rows;
DELETE FROM quota.usage;
SELECT quota_record('many', 'report', 5000) IS NOT NULL \g /dev/null
INSERT INTO quota.usage (account, feature, period, period_start, used) VALUES ('many', 'report', 'day', '2026-03-08', 2000), ('many', 'report', 'day', '2026-03-09', 2000);
SAVEPOINT s;
UPDATE r SET status = 'failed' WHERE account = 'many';
SELECT is(used('many'), 'd8=560 d9=560 d10=5000 m3=2120', 'are grouped by window');
ROLLBACK TO s;
UPDATE quota.plan_limits SET usage_limit = CASE period WHEN 'day' THEN 3 ELSE 5 END WHERE feature = 'report';
DELETE FROM r;
DELETE FROM quota.usage;

/* Partitions. */
CREATE TABLE p (id int, account text, status text DEFAULT 'ok', made timestamptz DEFAULT quota.now(), PRIMARY KEY (id, made)) PARTITION BY RANGE (made);
CREATE TABLE p3 PARTITION OF p FOR VALUES FROM ('2026-03-01') TO ('2026-04-01');
CREATE TABLE p4 (made timestamptz NOT NULL, status text, id int NOT NULL, account text);
ALTER TABLE p ATTACH PARTITION p4 FOR VALUES FROM ('2026-04-01') TO ('2026-05-01');
SELECT quota_attach('p', 'report', 'account', counted_when => $$status = 'ok'$$, time_column => 'made') \g /dev/null
INSERT INTO p (id, account) VALUES (1, 'p'), (2, 'p');
INSERT INTO p4 VALUES ('2026-04-05', 'ok', 3, 'p');
SELECT is(used('p') || ' ' || pins('p'), 'd10=3 m3=3 ["3","2026-04-05T00:00:00+00:00"]@3-10', 'partitions: entries name the partitioned table');
UPDATE p SET made = '2026-04-06' WHERE id = 1;
SELECT is(pins('p'), '["1","2026-04-06T00:00:00+00:00"]@3-10 ["3","2026-04-05T00:00:00+00:00"]@3-10', 'partitions: a row that moves');
SELECT at('2026-04-10 12:00+00') \g /dev/null
SET LOCAL timezone = 'Asia/Tokyo';
UPDATE p4 SET status = 'failed';
RESET timezone;
SELECT is(used('p') || pins('p'), 'd10=1 m3=1', 'partitions: refunded in a partition itself');
CREATE TABLE p5 PARTITION OF p FOR VALUES FROM ('2026-05-01') TO ('2026-06-01');
INSERT INTO p5 (id, account, made) VALUES (5, 'p', '2026-05-05');
SELECT is(pins('p'), '["5","2026-05-05T00:00:00+00:00"]@4-10', 'partitions: one that was made later');
TRUNCATE p3;
SELECT isnt(pins('p'), '', 'partitions: TRUNCATE of another');
TRUNCATE p5;
SELECT is(pins('p'), '', 'partitions: and of its own');
CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NULL; END$$;
INSERT INTO p (id, account) VALUES (6, 'p2');
CREATE TRIGGER lose BEFORE INSERT ON p5 FOR EACH ROW EXECUTE FUNCTION lose();
SELECT throws_ok($$UPDATE p SET made = '2026-05-05' WHERE id = 6$$, '55000', 'rows of table "p" cannot be charged', 'partitions: a row that a trigger loses on its way');
DROP TRIGGER lose ON p5;

/* skip and mark judge only what would be counted; an UPDATE is always refused as a whole. */
CREATE TABLE sk (id int PRIMARY KEY, account text, status text, made timestamptz DEFAULT quota.now());
SELECT quota_attach('sk', 'report', 'account', on_block => 'skip', counted_when => $$status = 'ok'$$) \g /dev/null
INSERT INTO sk SELECT i, 'sk', CASE WHEN i % 2 = 0 THEN 'ok' ELSE 'no' END FROM generate_series(1, 10) i;
SELECT is((SELECT string_agg(id::text, ' ' ORDER BY id) FROM sk) || ' ' || used('sk'), '1 2 3 4 5 6 7 9 d10=3 m4=3', 'skip: rows that are not counted go in');
SELECT throws_ok($$UPDATE sk SET status = 'ok' WHERE id = 1$$, 'PT429', NULL, 'skip: an UPDATE is refused');
CREATE TABLE mk (id int PRIMARY KEY, account text, status text, why text, made timestamptz DEFAULT quota.now());
SELECT quota_attach('mk', 'report', 'account', on_block => 'mark', counted_when => $$status <> 'failed'$$, status_column => 'status', blocked_status => 'skipped_limit', message_column => 'why') \g /dev/null
INSERT INTO mk SELECT i, 'mk', CASE WHEN i = 1 THEN 'failed' ELSE 'new' END FROM generate_series(1, 6) i;
SELECT is((SELECT string_agg(status, ' ' ORDER BY id) FROM mk) || ' ' || used('mk'), 'failed new new new skipped_limit skipped_limit d10=3 m4=3', 'mark: what is not counted is not marked');
UPDATE mk SET status = 'failed' WHERE id IN (2, 6);
SELECT is(used('mk'), 'd10=2 m4=2', 'mark: a marked row was never charged');
UPDATE mk SET status = 'new' WHERE id = 5;
SELECT is(used('mk'), 'd10=3 m4=3', 'mark: made an ordinary one it is');

/* An application without rights. */
CREATE ROLE quota_test_counted;
GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON nt TO quota_test_counted;
SELECT is(array_agg(try_as('quota_test_counted', s) ORDER BY n), '{ok,ok,ok,ok,ok,42501,42501}', 'holds no right of ours')
FROM unnest(ARRAY['INSERT INTO nt VALUES (gen_random_uuid(), ''2026-01-01'', ''x'', true)', 'UPDATE nt SET day = day + 1, ok = true', 'UPDATE nt SET ok = false', 'DELETE FROM nt', 'TRUNCATE nt',
	'SELECT * FROM quota.charged_rows', 'DELETE FROM quota.charged_rows']) WITH ORDINALITY u (s, n);
SELECT is(used('x') || used('f') || pins('nt'), '', 'and is charged and refunded');

/* What is refused. */
CREATE TABLE nokey (account text, status text);
CREATE TABLE bytekey (id bytea PRIMARY KEY, account text, status text, made text);
SELECT throws_ok($$SELECT quota_attach('nokey', 'report', 'account', counted_when => 'true')$$, '55000', 'table public.nokey has no primary key', 'a table without a key');
SELECT throws_ok($$SELECT quota_attach('bytekey', 'report', 'account', counted_when => 'true')$$, '42804', 'column "id" of the primary key cannot be used to remember rows', 'a key whose text depends on settings');
SELECT throws_ok($$SELECT quota_attach('r', 'report', 'account', counted_when => 'status')$$, '42804', 'expression "status" cannot tell whether a row is counted', 'what is not boolean');
SELECT throws_ok($$SELECT quota_attach('r', 'report', 'account', counted_when => 'random() < 0.5')$$, '0A000', 'volatile functions cannot be used on a row that is counted', 'what differs each time');
SELECT throws_ok($$SELECT quota_attach('r', 'report', 'account', counted_when => '')$$, '42601', NULL, 'nothing');
SELECT throws_ok($$SELECT quota_attach('r', 'report', 'account', time_column => 'nothing')$$, '42703', 'column "nothing" of table public.r does not exist', 'an unknown time column');
SELECT throws_ok($$SELECT quota_attach('r', 'report', 'account', time_column => 'note')$$, '42804', 'column "note" cannot tell when a row was made', 'a time column of another type');
CREATE TABLE later (id int PRIMARY KEY DEFERRABLE, account text, status text);
SELECT throws_ok($$SELECT quota_attach('later', 'report', 'account', counted_when => 'true')$$, '55000', 'table public.later has no primary key', 'a key that two rows can share for a while');
CREATE TABLE retimed (id int PRIMARY KEY, account text, ok boolean DEFAULT true, made timestamptz DEFAULT now());
SELECT quota_attach('retimed', 'report', 'account', counted_when => 'ok') \g /dev/null
INSERT INTO retimed (id, account) VALUES (1, 'time');
ALTER TABLE retimed ALTER made TYPE date;
SELECT throws_ok($$UPDATE retimed SET ok = false$$, '42804', 'type date cannot tell when a row was made', 'a time column that has got another type');
ALTER TABLE retimed ALTER made TYPE timestamptz;
UPDATE retimed SET ok = false;
SELECT is(used('time'), '', 'and has its own again');
CREATE TABLE gen (id int PRIMARY KEY, account text, a int, b int GENERATED ALWAYS AS (a) STORED);
SELECT throws_ok($$SELECT quota_attach('gen', 'report', 'account', counted_when => 'b > 0', on_block => 'skip')$$, '0A000', 'column "b" is generated', 'a generated column, judged before it is known');
SELECT lives_ok($$SELECT quota_attach('gen', 'report', 'account', counted_when => 'b > 0')$$, 'after the statement it is');
ALTER TABLE gen DROP CONSTRAINT gen_pkey;
SELECT throws_ok($$INSERT INTO gen (id, account, a) VALUES (1, 'x', 1)$$, '55000', 'table "gen" has no primary key', 'a key that is gone');

/* Detached and dropped. */
INSERT INTO r (id, account, made) VALUES (70, 'det', '2020-01-01');
INSERT INTO two_times (id, account) VALUES (1, 'det');
SELECT isnt(pins(), '', 'detach: there is an entry');
SELECT quota_detach('r', 'report') \g /dev/null
SELECT is(pins() || ' ' || used('det'), ' d10=2 m4=2', 'detach: entries go, counters stay');
INSERT INTO nt VALUES (gen_random_uuid(), '2026-01-01', 'x', true);
SELECT isnt(pins('nt'), '', 'drop: there is an entry');
DROP TABLE nt;
SELECT is_empty($$SELECT relation FROM quota.charged_rows WHERE relation NOT IN (SELECT oid FROM pg_class)$$, 'drop: entries go with the table');

SELECT * FROM finish();
ROLLBACK;
