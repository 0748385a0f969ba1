/*
 * Bad input: a clear error of the right SQLSTATE from every function and
 * setting, and nothing charged.
 */
BEGIN;
SELECT no_plan();
\ir _helpers.sql
SET LOCAL quota.now = '2026-03-10 12:00+00';
SET LOCAL timezone = 'UTC';

INSERT INTO quota.plans (plan, is_default) VALUES ('free', true);
INSERT INTO quota.features (feature, kind) VALUES ('report', 'counter'), ('call', 'rate'), ('gate', 'flag'),
	('hour', 'counter'), ('day', 'counter'), ('week', 'counter'), ('month', 'counter'), ('year', 'counter'), ('lifetime', 'counter'), ('cycle', 'counter');
INSERT INTO quota.plan_limits (plan, feature, period, usage_limit) VALUES ('free', 'report', 'month', 5);
INSERT INTO quota.plan_limits (plan, feature, period, usage_limit)
	SELECT 'free', feature, feature::quota_period, 5 FROM quota.features WHERE kind = 'counter' AND feature <> 'report';

/* Calls of every function of an account: % stands for the account, # for the feature, @ for the amount. */
CREATE TEMP TABLE calls (call text);
INSERT INTO calls VALUES ('SELECT * FROM quota_evaluate(%)'), ('SELECT quota_evaluate(%, #)'), ('SELECT quota_evaluate(%, #, @)'),
	('SELECT quota_consume(%, #)'), ('SELECT quota_consume(%, #, @)'), ('SELECT quota_enforce(%, #)'), ('SELECT quota_enforce(%, #, @)'),
	('SELECT quota_record(%, #)'), ('SELECT quota_record(%, #, @)'), ('SELECT quota_refund(%, #)'), ('SELECT quota_refund(%, #, @)'),
	('SELECT quota_refund(%, #, @, now())'), ('SELECT * FROM quota_consume_many(%, ''{"report": 1}'')'),
	('SELECT quota_has_feature(%, #)'), ('SELECT quota_feature(%, #)'), ('SELECT quota_require_feature(%, #)');
CREATE FUNCTION filled(call text, account text DEFAULT '''a''', feature text DEFAULT '''report''', n text DEFAULT '1') RETURNS text
	LANGUAGE sql AS $$SELECT replace(replace(replace(call, '%', account), '#', feature), '@', n)$$;

/* All of them work. */
SELECT is(error_of(filled(call, account)), NULL, filled(call, account))
FROM calls, unnest('{''a'',42,uuid ''6f1c0a9e-8f4e-4e0f-9d5a-0c2b9a7d3e11''}'::text[]) account;
DELETE FROM quota.usage;

/* Accounts. */
SELECT throws_ok(filled(call, account), '22004', 'account must not be null', filled(call, account))
FROM calls, unnest('{"NULL",NULL::text,NULL::bigint,NULL::uuid}'::text[]) account;
SELECT throws_ok(filled(call, ''''''), '22023', 'account must not be empty', filled(call, '''''')) FROM calls;
SELECT throws_ok(filled(call, account), '22023', 'account is too long', filled(call, account))
FROM calls, unnest('{"repeat(''a'', 256)","repeat(''é'', 128)"}'::text[]) account;
SELECT is(error_of($$SELECT quota_consume(repeat('a', 300), 'report')$$)->>'detail', 'It has 300 bytes, the most is 255.', 'how long');
SELECT throws_ok(filled(call, 'repeat(''a'', 10000000)'), '22023', 'account is too long', 'ten million bytes: ' || call) FROM calls LIMIT 2;
SELECT throws_ok($$SELECT quota_consume(account_uuid => 'none', feature => 'report')$$, '22P02', NULL, 'a uuid that is none');
SELECT throws_ok($$SELECT quota_consume(9223372036854775808, 'report')$$, '42883', NULL, 'a number that is no bigint');

/* Features. */
SELECT throws_ok(filled(call, feature => 'NULL'), '22004', 'feature must not be null', filled(call, feature => 'NULL')) FROM calls WHERE call LIKE '%#%';
SELECT throws_ok(filled(call, feature => quote_literal(feature)), '42704', format('feature "%s" does not exist', feature), filled(call, feature => quote_literal(feature)))
FROM calls, unnest(ARRAY['nothing', '', 'Report', 'report ', 'it''s "it"', repeat('f', 48), repeat('f', 49), repeat('f', 5000)]) feature WHERE call LIKE '%#%';
SELECT throws_ok(filled(call, feature => '''gate'''), '42809', 'feature "gate" is a flag and cannot be counted', filled(call, feature => '''gate'''))
FROM calls WHERE call LIKE '%#%' AND call !~ 'has_feature|quota_feature|require_feature';
SELECT is(error_of(filled(call, feature => '''call'''))->>'state', CASE WHEN call ~ 'enforce|require_feature' THEN 'PT402' END, filled(call, feature => '''call'''))
FROM calls WHERE call LIKE '%#%';

/* Amounts. */
SELECT throws_ok(filled(call, n => 'NULL'), '22004', 'n must not be null', filled(call, n => 'NULL')) FROM calls WHERE call LIKE '%@%';
SELECT throws_ok(filled(call, n => n), '22023', 'amount must be at least 1, not ' || n, filled(call, n => n))
FROM calls, unnest('{0,-1,-9223372036854775808}'::text[]) n WHERE call LIKE '%@%';
SELECT throws_ok(filled(call, n => n), '42883', NULL, filled(call, n => n)) FROM calls, unnest('{1.5,9223372036854775808,true}'::text[]) n WHERE call LIKE '%@%';
SELECT throws_ok(filled(call, n => n), '22P02', NULL, filled(call, n => n)) FROM calls, unnest('{''NaN'',''many''}'::text[]) n WHERE call LIKE '%@%';
SELECT is((SELECT count(*) FROM quota.usage), 0::bigint, 'nothing of this was charged');
INSERT INTO quota.usage (account, feature, period, period_start, used) VALUES ('full', 'report', 'month', '2026-03-01 00:00+00', 9223372036854775807);
SELECT throws_ok(filled(call, '''full'''), '22003', 'use out of range', filled(call, '''full'''))
FROM calls WHERE call ~ 'consume|enforce|record|quota_evaluate.*#';
SELECT results_eq($$SELECT used FROM quota_evaluate('full') WHERE feature = 'report'$$, $$VALUES (9223372036854775807)$$, 'what is full is shown beside the others');
SELECT is((quota_refund('full', 'report', 9223372036854775807)).used, 0::bigint, 'what is full can be given back');
DELETE FROM quota.usage;

/* What is not built yet. */

/* quota_consume_many. */
SELECT throws_ok($$SELECT * FROM quota_consume_many('a', NULL)$$, '22004', 'amounts must not be null', 'consume_many: NULL');
SELECT throws_ok(format('SELECT * FROM quota_consume_many(''a'', %L)', bad), state, message, 'consume_many: ' || bad)
FROM (VALUES
	('[]', '22023', 'amounts must be a JSON object'), ('["report"]', '22023', 'amounts must be a JSON object'), ('"report"', '22023', 'amounts must be a JSON object'),
	('5', '22023', 'amounts must be a JSON object'), ('null', '22023', 'amounts must be a JSON object'),
	('{"report": "1"}', '22023', 'amount of feature "report" must be a number'), ('{"report": null}', '22023', 'amount of feature "report" must be a number'),
	('{"report": true}', '22023', 'amount of feature "report" must be a number'), ('{"report": [1]}', '22023', 'amount of feature "report" must be a number'),
	('{"report": {"n": 1}}', '22023', 'amount of feature "report" must be a number'), ('{"report": 1.5}', '22023', 'amount of feature "report" must be a whole number'),
	('{"report": 0}', '22023', 'amount must be at least 1, not 0'), ('{"report": -3}', '22023', 'amount must be at least 1, not -3'),
	('{"report": 1, "day": 0}', '22023', 'amount must be at least 1, not 0'),
	('{"report": 9223372036854775808}', '22003', NULL), ('{"report": 1e200}', '22003', NULL), ('{"report": 0.4}', '22023', NULL), ('{"report": 1e-200}', '22023', NULL),
	('{"": 1}', '42704', 'feature "" does not exist'), ('{"report": 1, "nothing": 1}', '42704', 'feature "nothing" does not exist'),
	('{"report": 1, "gate": 1}', '42809', NULL),
	('{"report": ', '22P02', NULL), ('', '22P02', NULL), ('{"report": NaN}', '22P02', NULL)
) v (bad, state, message);
SELECT is((SELECT count(*) FROM quota.usage), 0::bigint, 'nothing of this was charged');

/* Times. */
SELECT throws_ok(format('SELECT quota_refund(''a'', ''report'', 1, %L)', at), '22008', 'time of a refund must be finite', 'refund at ' || at)
FROM unnest('{infinity,-infinity}'::text[]) at;
SELECT throws_ok($$SELECT quota_refund('a', 'report', 1, 'soon')$$, '22007', NULL, 'refund at no time');
SELECT throws_ok(format('SELECT quota_refund(''a'', ''report'', 1, %L)', at), '22008', 'window of time out of range', 'refund at ' || at)
FROM unnest('{4714-11-24 00:00+00 BC,294276-12-31 23:59:59.999999+00}'::text[]) at;
CREATE FUNCTION periods_at(clock text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM set_config('quota.now', clock, true);
	RETURN (SELECT string_agg(p, ' ' ORDER BY p::quota_period) FROM unnest(enum_range('hour'::quota_period, NULL)::text[]) p
		WHERE COALESCE(error_of(format('SELECT quota_consume(''far'', %L)', p))->>'state', 'ok') = 'ok'
			AND COALESCE(error_of(format('SELECT quota_evaluate(''far'', %L)', p))->>'state', 'ok') <> '22008');
END $$;
SELECT is(periods_at('4714-11-24 00:00+00 BC'), 'hour day week lifetime', 'the first moment of all');
SELECT is(periods_at('4714-12-01 00:00+00 BC'), 'hour day week month lifetime cycle', 'the first whole month');
SELECT is(periods_at('4713-01-01 00:00+00 BC'), 'hour day week month year lifetime cycle', 'the first whole year');
SELECT is(periods_at('294275-12-31 23:59+00'), 'hour day week month year lifetime cycle', 'the last whole year');
SELECT is(periods_at('294276-11-30 23:59+00'), 'hour day week month lifetime cycle', 'the last whole month');
SELECT is(periods_at('294276-12-31 23:59:59.999999+00'), 'lifetime', 'the last moment of all');
SELECT throws_ok($$SELECT * FROM quota_evaluate('far')$$, '22008', 'window of time out of range', 'a list of windows that are out of range');
INSERT INTO quota.accounts (account, cycle_anchor, timezone) VALUES ('old', '4714-11-24 00:00+00 BC', 'America/New_York'), ('new', '294276-12-31 23:59:59.999999+00', 'Pacific/Kiritimati');
SET LOCAL quota.now = '2026-03-10 12:00+00';
SELECT ok((d).period_start <= '2026-03-10 12:00+00' AND (d).period_end > '2026-03-10 12:00+00' AND (d).period_end - (d).period_start <= interval '31 days 1 hour',
	'a cycle of an anchor far away: ' || a)
FROM unnest('{old,new}'::text[]) a, quota_evaluate(a, 'cycle') d;

/* Settings. */
SELECT throws_ok(format('SET LOCAL quota.%s = %L', s, v), '22023',
	CASE WHEN v !~ '12:00 Mars' THEN format('invalid value for parameter "quota.%s": "%s"', s, v) END, format('%s = %s', s, left(v, 40)))
FROM (VALUES
	('now', 'infinity'), ('now', '-infinity'), ('now', 'soon'), ('now', '12:00'), ('now', '2026-13-01'), ('now', '2026-02-30'), ('now', '294277-01-01 00:00+00'),
	('now', '4714-11-23 23:59:59+00 BC'), ('now', '2026-03-10 25:00'), ('now', '2026-03-10 12:00 Mars/Olympus'), ('now', ' '), ('now', repeat('9', 1000)),
	('timezone', 'Mars/Olympus'), ('timezone', ''), ('timezone', '../etc/passwd'), ('timezone', 'nonsense'),
	('enforcement', 'maybe'), ('enforcement', ''), ('log_decisions', 'some'), ('log_decisions', '')
) v (s, v);
SELECT is(error_of($$SET LOCAL quota.now = 'infinity'$$)->>'detail', 'It must be a finite time with a date.', 'what now must be');
SELECT is(error_of($$SET LOCAL quota.timezone = 'Mars/Olympus'$$)->>'detail', 'Time zone "Mars/Olympus" is not known.', 'what timezone must be');
SELECT is((quota_evaluate('a', 'month')).period_start, timestamptz '2026-03-01 00:00+00', 'none of these has changed the clock');
SET LOCAL quota.now = '2026-03-10 23:30-05';
SELECT is((quota_evaluate('a', 'day')).period_start, timestamptz '2026-03-11 00:00+00', 'a clock with a zone');
SET LOCAL timezone = 'Asia/Tokyo';
SET LOCAL quota.now = '2026-03-11 08:59';
SELECT is((quota_evaluate('a', 'day')).period_start, timestamptz '2026-03-10 00:00+00', 'a clock without one is in the session''s');
SET LOCAL timezone = 'UTC';
SET LOCAL quota.now = '';
SELECT is((quota_evaluate('a', 'month')).period_start, date_trunc('month', now()), 'an empty clock is the transaction''s');
SET LOCAL quota.now = '2026-03-10 12:00+00';

/* Read-only transactions; the division tells that nothing before it failed. */
DELETE FROM quota.usage;
CREATE TABLE t (account text);
SELECT quota_attach('t', 'report', 'account') \g /dev/null
SELECT is(error_of('SET LOCAL transaction_read_only = on; ' || filled(call) || '; SELECT 1 / 0')->>'state',
	CASE WHEN call ~ 'quota_evaluate|has_feature|quota_feature|require_feature' THEN '22012' ELSE '25006' END, 'read-only: ' || call) FROM calls;
SELECT throws_ok($$SET LOCAL transaction_read_only = on; SELECT quota_consume('a', 'report')$$, '25006',
	'cannot execute a charge in a read-only transaction', 'how it is told');
SELECT throws_ok($$SET LOCAL transaction_read_only = on; INSERT INTO t VALUES ('a')$$, '25006', NULL, 'an INSERT neither');
SELECT throws_ok($$SET LOCAL transaction_read_only = on; SELECT quota_apply('{}')$$, '25006', NULL, 'nor a change of the catalogue');
SELECT is((SELECT count(*) FROM quota.usage), 0::bigint, 'nothing of this was charged');

/* Rights. */
SELECT throws_ok($$SELECT quota_grant('postgres', NULL)$$, '22004', NULL, 'allow: no level');
SELECT throws_ok($$SELECT quota_grant('postgres', '')$$, '22023', 'level "" does not exist', 'allow: an empty level');
SELECT throws_ok($$SELECT quota_grant('', 'app')$$, '42704', NULL, 'allow: an empty role');

/* Every function of the extension that takes a relation, internal ones too, of one that is not there. */
CREATE VIEW of_relations AS
	SELECT format('SELECT %s(%s)', p.oid::regproc, string_agg(format('(%s)::%s', CASE t
		WHEN 'regclass' THEN relation || '::oid' WHEN 'regclass[]' THEN format('ARRAY[%s]::oid[]', relation) WHEN 'oid' THEN relation
		WHEN 'text' THEN '''n''' WHEN 'integer' THEN '1' WHEN 'bigint' THEN '1' WHEN 'boolean' THEN 'true' ELSE 'NULL' END, t), ', ' ORDER BY i)) AS call
	FROM pg_depend d JOIN pg_proc p ON p.oid = d.objid, unnest(p.proargtypes::oid[]) WITH ORDINALITY a (type, i), format_type(type, NULL) t, unnest('{0,4294967295}'::text[]) relation
	WHERE d.classid = 'pg_proc'::regclass AND d.refclassid = 'pg_extension'::regclass AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'quota')
		AND p.proargtypes::oid[] && ARRAY['regclass', 'regclass[]', 'oid']::regtype[]::oid[]
	GROUP BY p.oid, relation;
SELECT cmp_ok((SELECT count(*) FROM of_relations), '>=', 30::bigint, 'functions that take a relation');
SELECT unalike(error_of(call || '; SELECT 1 / 0')->>'state', 'XX%', 'no such relation: ' || call) FROM of_relations ORDER BY call;

SELECT * FROM finish();
ROLLBACK;
