-- Rows that are charged by trigger.
\set SHOW_CONTEXT never
CREATE EXTENSION quota;
SELECT quota_apply('{"features": {"report": {"kind": "counter", "unit": "report"}, "page": {"kind": "counter"}, "export": {"kind": "flag"}, "space": {"kind": "gauge"}},
	"plans": {"free": {"default": true, "limits": {"report": {"month": {"limit": 3}}, "page": {"month": {"limit": 100}}}}}}') IS NOT NULL AS applied;
SET timezone = 'UTC';
SET quota.now = '2026-01-31 12:00+00';
CREATE TABLE reports (id int PRIMARY KEY, account_id bigint, pages int DEFAULT 1, status text DEFAULT 'processing', error_message text);
SELECT quota_attach('reports', 'report', 'account_id');
SELECT quota_attach('reports', 'page', 'account_id', 'pages');
INSERT INTO reports (id, account_id, pages) VALUES (1, 1, 10), (2, 1, 20), (3, 2, 0);
SELECT account, feature, used FROM quota.usage ORDER BY account, feature;

-- refused: nothing of the statement stays
INSERT INTO reports (id, account_id, pages) SELECT i, 2, 1 FROM generate_series(4, 6) i;
INSERT INTO reports (id, account_id, pages) VALUES (4, 2, 101);
SELECT account, feature, used FROM quota.usage ORDER BY account, feature;

-- only what goes in is charged
INSERT INTO reports (id, account_id) VALUES (1, 1), (4, 1) ON CONFLICT DO NOTHING;
INSERT INTO reports (id, account_id) VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET pages = 7;
SELECT account, feature, used FROM quota.usage ORDER BY account, feature;
COPY reports (id, account_id) FROM stdin;
5	3
6	3
\.
COPY reports (id, account_id) FROM stdin;
7	3
8	3
\.
MERGE INTO reports USING (VALUES (1, 4), (9, 4)) n (id, account_id) ON reports.id = n.id
	WHEN MATCHED THEN UPDATE SET pages = 8
	WHEN NOT MATCHED THEN INSERT (id, account_id) VALUES (n.id, n.account_id);
SELECT account, feature, used FROM quota.usage ORDER BY account, feature;

-- rows that cannot be charged
INSERT INTO reports (id, account_id) VALUES (10, NULL);
INSERT INTO reports (id, account_id, pages) VALUES (10, 5, NULL);
INSERT INTO reports (id, account_id, pages) VALUES (10, 5, -1);
ALTER TABLE reports RENAME COLUMN account_id TO owner;
INSERT INTO reports (id, owner) VALUES (10, 5);
ALTER TABLE reports RENAME COLUMN owner TO account_id;
ALTER TABLE reports RENAME TO documents;
INSERT INTO documents (id, account_id) VALUES (12, 5);
ALTER TABLE documents RENAME TO reports;
ALTER TABLE reports DROP COLUMN pages;
INSERT INTO reports (id, account_id) VALUES (11, 5);
SELECT quota_detach('reports', 'page');
SELECT quota_detach('reports', 'page');

-- left out, or marked
SELECT quota_attach('reports', 'report', 'account_id', on_block => 'skip', backfill => false);
INSERT INTO reports (id, account_id) VALUES (20, 6), (21, 7), (22, 6), (23, 6), (24, 6), (25, 6) RETURNING id;
SELECT quota_attach('reports', 'report', 'account_id', on_block => 'mark', status_column => 'status',
	blocked_status => 'skipped_limit', message_column => 'error_message', backfill => false);
INSERT INTO reports (id, account_id) VALUES (30, 6), (31, 7), (32, 7), (33, 7) RETURNING id, status, error_message;
INSERT INTO reports (id, account_id, status) VALUES (34, 8, 'skipped_limit');
COPY reports (id, account_id) FROM stdin;
40	8
41	8
42	8
43	8
\.
SELECT id, status, error_message FROM reports WHERE account_id = 8 ORDER BY id;
SELECT account, feature, used FROM quota.usage WHERE account IN ('6', '7', '8') ORDER BY account, feature;

-- many rows of an account are one update of its counter
BEGIN;
INSERT INTO quota.limit_overrides VALUES ('9', 'report', 'month', 10000), ('10', 'report', 'month', 10000);
SELECT n_tup_ins AS ins, n_tup_upd AS upd FROM pg_stat_xact_user_tables WHERE schemaname = 'quota' AND relname = 'usage' \gset
INSERT INTO reports (id, account_id) SELECT i, 9 + i % 2 FROM generate_series(1000, 2999) i;
SELECT n_tup_ins - :ins AS inserted, n_tup_upd - :upd AS updated FROM pg_stat_xact_user_tables WHERE schemaname = 'quota' AND relname = 'usage';
SELECT account, used FROM quota.usage WHERE account IN ('9', '10') ORDER BY account;
ROLLBACK;

-- many accounts a statement, again and again, so that versions move from page to page and die
INSERT INTO quota.features (feature, kind) VALUES ('visit', 'counter');
INSERT INTO quota.plan_limits (plan, feature, period, usage_limit) VALUES ('free', 'visit', 'lifetime', 100);
CREATE TABLE visits (account int);
SELECT quota_attach('visits', 'visit', 'account');
BEGIN;
INSERT INTO visits SELECT i % 1000 FROM generate_series(1, 2000) i;
INSERT INTO visits SELECT i % 1000 FROM generate_series(1, 2000) i;
COMMIT;
INSERT INTO visits SELECT i % 1000 FROM generate_series(1, 2000) i;
INSERT INTO visits SELECT i % 1000 FROM generate_series(1, 2000) i;
INSERT INTO visits SELECT i % 1000 FROM generate_series(1, 2000) i;
INSERT INTO visits SELECT i % 1000 FROM generate_series(1, 2000) i;
INSERT INTO visits SELECT i % 1000 FROM generate_series(1, 2000) i;
SELECT count(*), min(used), max(used) FROM quota.usage WHERE feature = 'visit';
DROP TABLE visits;

-- partitions: named by way of their parent and by themselves; a row that moves was charged already
CREATE TABLE runs (id int, account text, status text, note varchar(12)) PARTITION BY RANGE (id);
CREATE TABLE runs_low PARTITION OF runs FOR VALUES FROM (0) TO (10);
CREATE TABLE runs_high PARTITION OF runs FOR VALUES FROM (10) TO (20);
SELECT quota_attach('runs', 'report', 'account', on_block => 'mark', status_column => 'status',
	blocked_status => 'skipped_limit', message_column => 'note');
INSERT INTO runs VALUES (1, 'p'), (11, 'p');
INSERT INTO runs_low VALUES (2, 'p'), (3, 'p');
UPDATE runs SET id = id + 10 WHERE id < 10;
SELECT * FROM runs ORDER BY id;
SELECT used FROM quota.usage WHERE account = 'p';
-- a partition that comes later is charged as well, and so is one that is attached
CREATE TABLE runs_later PARTITION OF runs FOR VALUES FROM (20) TO (30);
INSERT INTO runs VALUES (21, 'q');
INSERT INTO runs_later VALUES (22, 'q'), (23, 'q'), (24, 'q');
UPDATE runs SET id = 25 WHERE id = 13;
SELECT quota_attach('runs', 'report', 'account', on_block => 'raise', backfill => false);
CREATE TABLE runs_apart (LIKE runs);
ALTER TABLE runs ATTACH PARTITION runs_apart FOR VALUES FROM (30) TO (40);
INSERT INTO runs_apart SELECT 34, 'r' FROM generate_series(1, 4);
SELECT quota_attach('runs_later', 'report', 'account');
-- without the trigger that opens a frame, a row is not taken for one that moves
SELECT quota_attach('runs', 'report', 'account', on_block => 'skip', backfill => false);
DROP TRIGGER quota_begin_report ON runs_low;
INSERT INTO runs_low VALUES (4, 's');
DROP TABLE runs;

-- what cannot be attached
SELECT quota_attach('reports', 'nothing', 'account_id');
SELECT quota_attach('reports', 'export', 'account_id');
SELECT quota_attach('reports', 'report', 'nothing');
SELECT quota_attach('reports', 'report', 'account_id', 'status');
SELECT quota_attach('reports', 'report', 'account_id', on_block => 'shout');
SELECT quota_attach('reports', 'report', 'account_id', on_block => 'mark');
SELECT quota_attach('reports', 'report', 'account_id', on_block => 'mark', status_column => 'id', blocked_status => 'skipped');
SELECT quota_attach('reports', 'report', 'account_id', counted_when => 'status');
SELECT quota_attach('reports', 'report', 'account_id', counted_when => 'uncounted(status)');
SELECT quota_attach('reports', 'report', 'account_id', 'length(status) * 1.5');
SELECT quota_attach('pg_stats', 'report', 'tablename');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT quota_attach('reports', 'page', 'account_id');
ROLLBACK;

-- a gauge follows its rows
CREATE TABLE files (id int PRIMARY KEY, account_id bigint, bytes int);
INSERT INTO files VALUES (1, 1, 10), (2, 1, 20), (3, 2, 5);
INSERT INTO quota.plan_limits (plan, feature, period, usage_limit) VALUES ('free', 'space', 'lifetime', 100);
SELECT quota_attach('files', 'space', 'account_id', 'bytes');
INSERT INTO files VALUES (4, 2, 90);
INSERT INTO files VALUES (5, 2, 6);
UPDATE files SET account_id = 2 WHERE id = 2;
UPDATE files SET bytes = 1 WHERE id = 4;
UPDATE files SET account_id = 2 WHERE id = 2;
DELETE FROM files WHERE id = 1;
SELECT account, used FROM quota.usage WHERE feature = 'space' ORDER BY account;
SELECT used FROM quota_record(2::bigint, 'space', 3);
SELECT * FROM quota_reconcile('files', 'space');
SELECT * FROM quota_reconcile('files', 'space', repair => true);
SELECT act, table_name, account FROM quota.audit_log WHERE table_name = 'usage';
TRUNCATE files;
SELECT account, used FROM quota.usage WHERE feature = 'space' ORDER BY account;
DROP TABLE files;

-- rows that count only while they are of use
CREATE TABLE jobs (id int PRIMARY KEY, account_id bigint, status text, made_at timestamptz DEFAULT now());
SELECT quota_attach('jobs', 'report', 'account_id', counted_when => $$status <> 'failed'$$);
INSERT INTO jobs SELECT i, 70, CASE WHEN i < 4 THEN 'done' ELSE 'failed' END FROM generate_series(1, 6) i;
UPDATE jobs SET status = 'done' WHERE id = 4;
UPDATE jobs SET status = 'failed' WHERE id = 1;
UPDATE jobs SET status = 'done' WHERE id = 4;
DELETE FROM jobs WHERE id = 2;
SELECT period_start, used FROM quota.usage WHERE account = '70' AND feature = 'report';
DROP TABLE jobs;

-- what hangs on the extension
DROP EXTENSION quota;
DROP EXTENSION quota CASCADE;
INSERT INTO reports (id, account_id) VALUES (50, 6);
DROP TABLE reports;
