/*
 * Virtual generated columns, which PostgreSQL has from 18 on: a trigger sees no
 * value of them, so they are refused wherever one reads a column.
 */
SELECT current_setting('server_version_num')::int >= 180000 AS has_virtual \gset
\if :has_virtual
BEGIN;
SELECT no_plan();
\ir _helpers.sql
SET LOCAL quota.now = '2026-03-10 12:00+00';
SET LOCAL client_min_messages = warning;
SELECT quota_apply('{"features": {"report": {"kind": "counter"}, "seat": {"kind": "gauge"}},
	"plans": {"free": {"default": true, "limits": {"report": {"month": {"limit": 50}}, "seat": {"lifetime": {"limit": 50}}}}, "pro": {}}}') \g /dev/null
CREATE FUNCTION used(account text, feature text DEFAULT 'report') RETURNS bigint LANGUAGE sql AS $$
	SELECT COALESCE(sum(u.used), 0)::bigint FROM quota.usage u WHERE u.account = $1 AND u.feature = $2
$$;
CREATE TABLE v (
	id int PRIMARY KEY, account text, n int, at timestamptz, status text, note text,
	v_account text GENERATED ALWAYS AS (account) VIRTUAL,
	v_n int GENERATED ALWAYS AS (n * 2) VIRTUAL,
	v_at timestamptz GENERATED ALWAYS AS (at) VIRTUAL,
	v_status text GENERATED ALWAYS AS (status) VIRTUAL
);

SELECT is(error_of(format('SELECT quota_attach(''v'', %s)', arguments)), jsonb_build_object('state', '0A000',
	'message', format('column "%s" is a virtual generated column', refused),
	'detail', 'A trigger sees no value of it.', 'hint', 'Make the column STORED.'), refused || ' as ' || what)
FROM (VALUES
	('account', 'v_account', '''report'', ''v_account'''),
	('account of a gauge', 'v_account', '''seat'', ''v_account'''),
	('amount', 'v_n', '''report'', ''account'', ''v_n'''),
	('amount of a gauge', 'v_n', '''seat'', ''account'', ''v_n'''),
	('time', 'v_at', '''report'', ''account'', time_column => ''v_at'''),
	('status', 'v_status', '''report'', ''account'', on_block => ''mark'', status_column => ''v_status'', blocked_status => ''blocked'''),
	('message', 'v_status', '''report'', ''account'', on_block => ''mark'', status_column => ''status'', blocked_status => ''blocked'', message_column => ''v_status''')
) refused (what, refused, arguments);
SELECT is(error_of($$SELECT quota_attach('v', 'report', 'account', 'v_n + 0', on_block => 'skip')$$)->>'message', 'column "v_n" is generated',
	'in an expression where rows are judged before they go in');
SELECT is_empty($$SELECT FROM quota.attached$$, 'nothing is attached');

/* An expression is evaluated with what the column is generated from. */
SELECT quota_attach('v', 'report', 'account', 'v_n + 1', counted_when => $$v_status <> 'failed'$$), quota_attach('v', 'seat', 'account', 'v_n + 0') \g /dev/null
INSERT INTO v (id, account, n, status) VALUES (1, 'a', 3, 'new'), (2, 'a', 4, 'failed'), (3, 'b', 1, 'new');
SELECT is(ARRAY[used('a'), used('b'), used('a', 'seat'), used('b', 'seat')], '{7,3,14,2}', 'expressions on INSERT');
UPDATE v SET status = 'failed', n = 5 WHERE id = 1;
DELETE FROM v WHERE id = 3;
SELECT is(ARRAY[used('a'), used('b'), used('a', 'seat'), used('b', 'seat')], '{0,3,18,0}', 'on UPDATE and DELETE');
SELECT is_empty($$SELECT * FROM quota_reconcile('v', 'seat')$$, 'rows counted again give the same');

/* A column that becomes one after it was attached. */
CREATE TABLE later (id int PRIMARY KEY, account text, n int);
SELECT quota_attach('later', 'report', 'account', 'n') \g /dev/null
ALTER TABLE later DROP COLUMN n, ADD n int GENERATED ALWAYS AS (id) VIRTUAL;
SELECT is(error_of($$INSERT INTO later VALUES (1, 'late')$$), jsonb_build_object('state', '0A000',
	'message', 'column "n" of table "later" is a virtual generated column',
	'detail', 'A trigger sees no value of it.', 'hint', 'Make the column STORED.'), 'made so after quota_attach');

/* Adopted columns */
CREATE TABLE teams (id int PRIMARY KEY, title text, tier text, creator text, born timestamptz,
	v_title text GENERATED ALWAYS AS (title) VIRTUAL,
	v_tier text GENERATED ALWAYS AS (tier) VIRTUAL,
	v_creator text GENERATED ALWAYS AS (creator) VIRTUAL,
	v_born timestamptz GENERATED ALWAYS AS (born) VIRTUAL);
SELECT is(error_of(format('SELECT quota_adopt(''teams'', ''id'', %s)', arguments)), jsonb_build_object('state', '0A000',
	'message', format('column "%s" of table public.teams cannot be adopted', refused),
	'detail', 'It is a virtual generated column.', 'hint', ''), refused || ' adopted')
FROM (VALUES
	('v_title', '''v_title'''),
	('v_tier', '''title'', ''v_tier'''),
	('v_tier', '''title'', ''tier'', ''v_tier'''),
	('v_creator', '''title'', ''tier'', NULL, ''v_creator'''),
	('v_born', '''title'', ''tier'', NULL, NULL, ''v_born''')
) refused (refused, arguments);
SELECT * FROM finish();
ROLLBACK;
\else
\echo 1..0 # SKIP virtual generated columns are of PostgreSQL 18
\endif
