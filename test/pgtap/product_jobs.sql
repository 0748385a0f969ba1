/*
 * The preset `jobs` played by a compute platform: jobs a month, storage as a
 * level, calls a day, settings, a subscription for 30 days, its operator.
 */
SELECT no_plan();
BEGIN;
\ir _helpers.sql
SET LOCAL quota.now = '2026-05-20 08:00+00';

SELECT is(quota_apply(quota_preset('jobs'))->'plans', '{"added": ["enterprise", "free", "pro"]}'::jsonb, 'the plans');
SELECT is(quota_export(), quota_preset('jobs'), 'as they are written');
SELECT results_eq($$SELECT feature, period::text, array_agg(usage_limit ORDER BY p.display_order)::text
	FROM quota.plan_limits JOIN quota.plans p USING (plan) GROUP BY feature, period ORDER BY feature$$, $$VALUES
	('api_call' COLLATE "C", 'day', '{100,10000,NULL}'), ('compute_minute', 'month', '{NULL,NULL,NULL}'), ('job', 'month', '{10,500,NULL}'),
	('request', 'minute', '{60,60,60}'), ('storage_mb', 'lifetime', '{100,10240,NULL}')$$, 'what they allow');
SELECT results_eq($$SELECT plan, price, rate_multiplier FROM quota.plans ORDER BY display_order$$,
	$$VALUES ('free' COLLATE "C", 0::numeric, 1::numeric), ('pro', 19.99, 5), ('enterprise', 99.99, 10)$$, 'what they cost, and how much faster they are');
SELECT results_eq($$SELECT plan, jsonb_object_agg(feature, value) FROM quota.plan_features GROUP BY plan ORDER BY plan$$, $$VALUES
	('enterprise' COLLATE "C", '{"api_access": true, "priority_support": true}'::jsonb), ('free', '{"api_access": false, "priority_support": false}'),
	('pro', '{"api_access": true, "priority_support": false}')$$, 'settings');

/* No subscription means free. The check tells whether it is within, where it stands, and the limit. */
SELECT is((SELECT count(*) FROM generate_series(1, 20) i WHERE (quota_consume(7, 'job')).allowed), 10::bigint, 'free: ten jobs');
SELECT results_eq($$SELECT allowed, used, usage_limit FROM quota_evaluate(7, 'job')$$, $$VALUES (false, 10::bigint, 10::bigint)$$, 'the check');
SELECT results_eq($$SELECT allowed, used, usage_limit FROM quota_evaluate(7, 'api_call')$$, $$VALUES (true, 0::bigint, 100::bigint)$$, 'of calls');

/* Storage is a level. */
SELECT is(brief(quota_consume(7, 'storage_mb', 90)), 'ALLOW 90/100 ok', '90 MB');
SELECT is((quota_consume(7, 'storage_mb', 20)).allowed, false, 'no 20 more');
SELECT is((quota_refund(7, 'storage_mb', 50)).used, 40::bigint, 'a file is deleted');
SELECT is((quota_consume(7, 'storage_mb', 20)).used, 60::bigint, 'now 20 more');

/* It follows the table of files. */
CREATE TABLE files (id int PRIMARY KEY, account bigint NOT NULL, size_mb int NOT NULL);
SELECT quota_attach('files', 'storage_mb', 'account', 'size_mb') \g /dev/null
CREATE FUNCTION stored() RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(account || '=' || used, ' ' ORDER BY account) FROM quota.usage WHERE feature = 'storage_mb' AND account IN ('71', '72')
$$;
INSERT INTO files VALUES (1, 71, 60), (2, 71, 30), (3, 72, 10);
SELECT is(stored(), '71=90 72=10', 'files: insert');
SELECT throws_ok($$INSERT INTO files VALUES (4, 71, 11)$$, 'PT429', 'Storage_mb limit does not allow 11 more (90/100).', 'files: no 11 more');
UPDATE files SET size_mb = 40 WHERE id = 2;
SELECT is(stored(), '71=100 72=10', 'files: resize');
UPDATE files SET account = 72 WHERE id = 1;
SELECT is(stored(), '71=40 72=70', 'files: move to another account');
SELECT throws_ok($$UPDATE files SET account = 72 WHERE id = 2$$, 'PT429', NULL, 'files: which must have room');
DELETE FROM files WHERE id = 2;
SELECT is(stored(), '71=0 72=70', 'files: delete');
TRUNCATE files;
SELECT is(stored(), '71=0 72=0', 'files: truncate');
INSERT INTO files VALUES (1, 71, 50), (2, 71, 50);
UPDATE files SET (account, size_mb) = (SELECT 72, 60) WHERE id = 1;
SELECT is(stored(), '71=50 72=60', 'files: one that moves and grows');
INSERT INTO files VALUES (2, 71, 30), (3, 72, 40) ON CONFLICT (id) DO UPDATE SET size_mb = excluded.size_mb;
SELECT is(stored(), '71=30 72=100', 'files: one that is replaced, one that is new');
MERGE INTO files f USING (VALUES (1, 0), (2, 100), (3, 40)) v (id, size_mb) ON f.id = v.id
	WHEN MATCHED AND v.size_mb = 0 THEN DELETE WHEN MATCHED THEN UPDATE SET size_mb = v.size_mb;
SELECT is(stored(), '71=100 72=40', 'files: a list of what there is');
SAVEPOINT undo;
DELETE FROM files;
SELECT is(stored(), '71=0 72=0', 'files: all are deleted');
ROLLBACK TO undo;
SELECT is(stored(), '71=100 72=40', 'files: and are not after all');
TRUNCATE files;
SELECT is_empty($$SELECT * FROM quota_reconcile('files', 'storage_mb') WHERE account IN ('71', '72')$$, 'files: nothing differs');
DELETE FROM quota.usage WHERE account IN ('71', '72');

/* Upgrade for 30 days, then free again. */
INSERT INTO quota.accounts (account, name, plan, plan_ends_at) VALUES (7, 'Ada Compute', 'pro', quota.now() + interval '30 days'), (8, 'Bob & Ada', 'enterprise', NULL);
SELECT is(quota_status(7, 'job'), '{
	"account": {"id": "7", "name": "Ada Compute", "type": null, "plan": "pro", "override": null},
	"plan": {"name": "Pro", "limit": 500, "allow_overage": false, "overage_price_cents": 0},
	"usage": {"job_count": 10, "api_call_count": 0, "compute_minute_count": 0, "storage_mb_count": 60,
		"period_start": "2026-05-01T00:00:00+00:00", "period_end": "2026-06-01T00:00:00+00:00"},
	"decision": "ALLOW",
	"info": {"ratio": 0.02, "message": "Within limit: 10/500 jobs (2%)", "can_proceed": true, "overage_count": 0}}'::jsonb, 'pro: its status');
SELECT is((quota_consume(7, 'job', 490)).used, 500::bigint, 'pro: 490 more');
SELECT is(quota_feature(7, 'api_access'), 'true', 'pro: the API');
SELECT results_eq($$SELECT a, quota_feature(a, 'api_access'), quota_feature(a, 'priority_support') FROM unnest('{7,8,9}'::bigint[]) a$$,
	$$VALUES (7::bigint, 'true'::jsonb, 'false'::jsonb), (8, 'true', 'true'), (9, 'false', 'false')$$, 'settings of each plan');
SELECT is((quota_consume(8, 'storage_mb', 1000000)).allowed, true, 'enterprise: a terabyte');
SET LOCAL quota.now = '2026-06-19 07:59+00';
SELECT is((quota_evaluate(7, 'job')).plan, 'pro', 'until the 30 days are over');
SET LOCAL quota.now = '2026-06-19 08:00+00';
SELECT is((quota_evaluate(7, 'job')).plan, 'free', 'free again');
SELECT is((quota_evaluate(7, 'storage_mb')).used, 60::bigint, 'with what it stores');

/* Requests a minute: five times as many, ten times. */
SELECT quota_rate_clear(a) FROM unnest('{7,8,new}'::text[]) a \g /dev/null
SELECT is((SELECT count(*) FROM generate_series(1, 100) i WHERE (quota_consume('new', 'request')).allowed), 60::bigint, 'free: sixty a minute');
SELECT is((quota_consume('new', 'request')).retry_after, interval '1 second', 'free: one more each second');
SELECT quota_set_plan(7, 'pro', '30 days') \g /dev/null
SELECT is(brief(quota_consume(7, 'request', 300)), 'ALLOW 300/300 ok', 'pro: five times as many');
SELECT is((quota_consume(7, 'request')).retry_after, interval '0.2 seconds', 'pro: five times as fast');
SELECT is(brief(quota_consume(8, 'request', 600)), 'ALLOW 600/600 ok', 'enterprise: ten times as many');
SELECT is((quota_consume(8, 'request', 10)).retry_after, interval '1 second', 'enterprise: ten times as fast');
SELECT quota_cancel(7) \g /dev/null
SELECT is(brief(quota_consume(7, 'request')), 'BLOCK 300/60 rate_limited', 'free again: what was used stays used');
SELECT is((quota_consume(7, 'request')).retry_after, interval '4 minutes 1 second', 'until it has run out');

/* Suspend and activate. */
SELECT quota_suspend(8, 'chargeback') \g /dev/null
SELECT is((quota_consume(8, 'job')).reason, 'suspended', 'suspended');
SELECT throws_ok($$INSERT INTO files VALUES (1, 8, 1)$$, 'PT403', 'Account is suspended.', 'suspended: no files');
SELECT results_eq('SELECT accounts, suspended FROM quota_stats()', $$VALUES (2::bigint, 1::bigint)$$, 'suspended: in the statistics');
SELECT quota_activate(8) \g /dev/null
SELECT is((quota_consume(8, 'job')).reason, 'unlimited', 'active again');

/* The operator. */
SELECT is((quota_consume('late', 'compute_minute', 1234)).used, 1234::bigint, 'one more account, without a subscription');
SELECT results_eq('SELECT accounts, active_accounts, suspended FROM quota_stats()', $$VALUES (3::bigint, 2::bigint, 0::bigint)$$, 'platform: accounts');
SELECT results_eq('SELECT feature, used, accounts FROM quota_totals()', $$VALUES
	('api_call', 0::numeric, 0::bigint), ('compute_minute', 1234, 1), ('job', 1, 1), ('storage_mb', 1000060, 2)$$, 'platform: use');
SELECT results_eq('SELECT plan, accounts, paying, monthly_revenue FROM quota_plan_stats()',
	$$VALUES ('free', 2::bigint, 0::bigint, 0.00), ('pro', 0, 0, 0.00), ('enterprise', 1, 1, 99.99)$$, 'platform: revenue');
SELECT results_eq($$SELECT account, name FROM quota_search('ada')$$, $$VALUES ('7', 'Ada Compute'), ('8', 'Bob & Ada')$$, 'accounts by name');
SELECT results_eq($$SELECT feature, period::text, used FROM quota_history(7)$$,
	$$VALUES ('job' COLLATE "C", 'month', 500::bigint), ('storage_mb', 'lifetime', 60)$$, 'one account');

ROLLBACK;

/*
 * Two at once: files that fit one at a time and not together, and the last job
 * of a month.
 */
\ir _helpers.sql
\ir _race.sql
SET quota.now = '2026-05-20 08:00+00';
SELECT quota_apply(quota_preset('jobs')) \g /dev/null
CREATE TABLE files (id int PRIMARY KEY, account bigint NOT NULL, size_mb int NOT NULL);
SELECT quota_attach('files', 'storage_mb', 'account', 'size_mb') \g /dev/null
CREATE FUNCTION upload(id int, account bigint, size_mb int) RETURNS text LANGUAGE sql AS $$SELECT format('INSERT INTO files VALUES (%s, %s, %s) RETURNING id::text', id, account, size_mb)$$;

SELECT is(race(upload(1, 1, 60), 'COMMIT', upload(2, 1, 60)), '1, then PT429 Storage_mb limit does not allow 60 more (60/100).', 'two files that are too much together: one is stored');
SELECT is(race(upload(3, 2, 60), 'ROLLBACK', upload(4, 2, 60)), '3, then 4', 'two files, of which the first fails');
SELECT is(race(upload(5, 1, 20), 'COMMIT', upload(6, 1, 20)), '5, then 6', 'two files for which there is room');
SELECT is(race('DELETE FROM files WHERE id = 4 RETURNING ''deleted''', 'COMMIT', upload(7, 2, 40)), 'deleted, then 7', 'one file goes while another comes');
SELECT is(race('DELETE FROM files WHERE id = 1 RETURNING ''deleted''', 'COMMIT', upload(8, 1, 60)), 'deleted, then at once PT429 Storage_mb limit reached (100/100).',
	'its room is there only when it has gone');
SELECT is(race('UPDATE files SET account = 2 WHERE id = 5 RETURNING ''moved''', 'COMMIT', upload(9, 2, 60)), 'moved, then PT429 Storage_mb limit does not allow 60 more (60/100).',
	'one that moves takes the room of one that comes');
SELECT is(race('UPDATE files SET size_mb = 80 WHERE id = 7 RETURNING ''resized''', 'ROLLBACK', upload(10, 2, 40)), 'resized, then 10', 'one that does not grow after all leaves it');
SELECT results_eq($$SELECT account, used, (SELECT sum(size_mb) FROM files f WHERE f.account::text = c.account) FROM quota.counters c WHERE feature = 'storage_mb' ORDER BY 1$$,
	$$VALUES ('1' COLLATE "C", 20::bigint, 20::bigint), ('2', 100, 100)$$, 'counters and files agree');
SELECT (quota_consume(3, 'job', 9)).allowed \g /dev/null
SELECT is(race('SELECT brief(quota_consume(3, ''job''))', 'COMMIT', 'SELECT brief(quota_consume(3, ''job''))'),
	'ALLOW_WITH_WARNING 10/10 near_limit, then BLOCK 10/10 limit_reached', 'two jobs: one is the tenth');

SELECT * FROM finish();
