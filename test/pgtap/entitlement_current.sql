/*
 * What is in effect now, as SQL sees it: the clock, its windows, the plan of an
 * account, the use of current windows. Charging goes by the same rules, so
 * that random accounts must look the same to quota_evaluate.
 */
BEGIN;
SELECT no_plan();
\ir _helpers.sql

/* The clock and the time zone are the settings', or what stands for them. */
SELECT is(quota.now(), now(), 'the time is the start of the transaction');
SET LOCAL quota.now = '2026-01-15 12:00+02';
SELECT is(quota.now(), '2026-01-15 10:00+00'::timestamptz, 'or the setting');
SELECT is(quota.timezone(), 'UTC', 'the time zone is UTC');
SET LOCAL quota.timezone = 'Asia/Tokyo';
SELECT is(quota.timezone(), 'Asia/Tokyo', 'or the setting');
SELECT is(quota.window_start('day', quota.now(), NULL, NULL), '2026-01-14 15:00+00'::timestamptz, 'which windows go by');
SELECT is(quota.window_end('day', quota.now(), 'America/New_York', NULL), '2026-01-16 05:00+00'::timestamptz, 'unless they have one of their own');
RESET quota.timezone;
SELECT is(quota.window_start('cycle', '2026-03-01 00:00+00', NULL, '2026-01-31 08:00+00'), '2026-02-28 08:00+00'::timestamptz, 'a cycle begins at its anchor');
SELECT is(quota.window_start('lifetime', '2026-03-01 00:00+00', NULL, NULL), '-infinity'::timestamptz, 'a lifetime never began');
SELECT is(quota.window_end('lifetime', '-infinity', NULL, NULL), 'infinity'::timestamptz, 'and never ends');
SELECT throws_ok($$SELECT quota.window_start(NULL, now(), NULL, NULL)$$, '22004', 'period must not be null', 'no period');
SELECT throws_ok($$SELECT quota.window_end('day', NULL, NULL, NULL)$$, '22004', 'at must not be null', 'no time');
SELECT throws_ok($$SELECT quota.window_start('day', now(), 'Mars', NULL)$$, '22023', 'time zone "Mars" not recognized', 'no such time zone');
SELECT throws_ok($$SELECT quota.window_start('day', 'infinity', NULL, NULL)$$, '22008', 'window of time out of range', 'no such window');
SELECT is(quota.default_plan(), NULL, 'there is no default plan');

/* Random accounts: plans, statuses, ends about now, time zones, anchors, overrides. */
SELECT random() AS seed \gset
SELECT diag('seed: ' || :seed);
SELECT setseed(:seed) \g /dev/null
CREATE FUNCTION one_of(VARIADIC list text[]) RETURNS text LANGUAGE sql VOLATILE AS $$SELECT list[1 + floor(random() * cardinality(list))::int]$$;
SELECT quota_apply(jsonb_build_object(
	'features', (SELECT jsonb_object_agg(f, jsonb_build_object('kind', CASE f WHEN 'gauge' THEN 'gauge' ELSE 'counter' END)) FROM unnest('{a,b,c,gauge}'::text[]) f),
	'plans', (
		SELECT jsonb_object_agg(p, jsonb_build_object('default', p = 'p0', 'limits', (
			SELECT jsonb_object_agg(f, (
				SELECT jsonb_object_agg(w, jsonb_build_object('limit', CASE WHEN random() < 0.8 THEN floor(random() * 20) END,
					'on_limit', one_of('block', 'warn', 'charge'), 'warn_ratio', 0.1 * floor(random() * 12), 'overage_price', 0.5))
				FROM unnest(CASE f WHEN 'gauge' THEN '{lifetime}' ELSE '{day,month,cycle}'::text[] END) w))
			FROM unnest('{a,b,gauge}'::text[]) f)))
		FROM unnest('{p0,p1,p2,p3}'::text[]) p))) IS NOT NULL AS applied \gset
SELECT is(quota.default_plan(), 'p0', 'there is a default plan');
INSERT INTO quota.accounts (account, name, plan, status, trial_ends_at, plan_ends_at, next_plan, cycle_anchor, timezone, bypass)
SELECT 'account-' || i, 'Account ' || i, one_of('p1', 'p2', 'p3', NULL),
	one_of('active', 'trialing', 'trialing', 'past_due', 'suspended', 'canceled'),
	one_of('2026-01-15 09:59:59+00', '2026-01-15 10:00+00', '2026-01-15 10:00:01+00', '-infinity', 'infinity', NULL)::timestamptz,
	one_of('2026-01-15 09:59:59+00', '2026-01-15 10:00+00', '2026-01-15 10:00:01+00', 'infinity', NULL, NULL, NULL, NULL)::timestamptz,
	one_of('p1', 'p2', NULL), one_of('2024-01-31 23:00+00', '2025-12-15 10:00+00', NULL)::timestamptz,
	one_of('Asia/Tokyo', 'America/New_York', NULL), random() < 0.1
FROM generate_series(1, 1500) i;
/* The first two hundred may be pools, those after them draw on one of these, or on an account without a row. */
UPDATE quota.accounts SET pool = 'account-' || floor(random() * 200)
WHERE split_part(account, '-', 2)::int > 200 AND random() < 0.2;
INSERT INTO quota.limit_overrides (account, feature, period, usage_limit, expires_at)
SELECT DISTINCT ON (1, 2) 'account-' || floor(random() * 1600), f, CASE f WHEN 'gauge' THEN 'lifetime' ELSE one_of('day', 'month', 'week') END::quota_period,
	CASE WHEN random() < 0.8 THEN floor(random() * 15) END, one_of('2026-01-15 10:00+00', '2026-01-15 10:00:01+00', 'infinity', NULL)::timestamptz
FROM generate_series(1, 500), unnest(ARRAY[one_of('a', 'b', 'c', 'gauge')]) f;

/* Use in this window and in others; also of accounts without a row, and of what no plan has. */
SELECT count((quota_record('account-' || floor(random() * 1700), one_of('a', 'b', 'c', 'gauge'), 1 + floor(random() * 12)::int)).used) AS recorded
FROM generate_series(1, 3000) \gset
SET LOCAL quota.now = '2025-11-05 10:00+00';
SELECT count((quota_record('account-' || floor(random() * 1700), one_of('a', 'b'), 100)).used) AS recorded FROM generate_series(1, 500) \gset
SET LOCAL quota.now = '2026-01-15 10:00+00';
/* Contended counters have further rows, one of which may be below 0; a deletion may have left a row behind. */
UPDATE quota.usage SET slots = 3 WHERE random() < 0.2;
INSERT INTO quota.usage (account, feature, period, period_start, slot, used)
SELECT account, feature, period, period_start, n, CASE n WHEN 1 THEN -1 ELSE floor(random() * 5) END
FROM quota.usage, generate_series(1, 2) n WHERE slots = 3;
INSERT INTO quota.usage (account, feature, period, period_start, slot, used)
SELECT account, feature, period, period_start, 5, 1000 FROM quota.usage WHERE slot = 0 AND random() < 0.1;
CREATE TEMP TABLE decided AS
	SELECT d.* FROM generate_series(0, 1700) i CROSS JOIN LATERAL quota_evaluate('account-' || i) d;
/* A member shows the counters of its pool first, then its own, of which it has those that it has limits for. */
CREATE TEMP TABLE own_decided AS
	SELECT DISTINCT ON (d.account, d.feature, d.period) d.*
	FROM decided d LEFT JOIN quota.accounts a USING (account)
	WHERE a.pool IS NULL
	ORDER BY d.account, d.feature, d.period;
SELECT cmp_ok((SELECT count(DISTINCT (plan, feature, period)) FROM decided), '>=', 28::bigint, 'every plan and window is in the test');

SELECT is_empty($$
	SELECT a, quota.plan_in_effect(a, p), d.plan
	FROM decided d LEFT JOIN quota.accounts a USING (account) LEFT JOIN quota.accounts p ON p.account = a.pool
	WHERE d.plan IS DISTINCT FROM quota.plan_in_effect(a, p)
	$$, 'the plan in effect is that of decisions');
SELECT is_empty($$
	SELECT account, p.plan, d.plan FROM decided d JOIN quota.account_plans p USING (account) WHERE p.plan IS DISTINCT FROM d.plan
	$$, 'also in the view');
SELECT is((SELECT count(*) FROM quota.account_plans), (SELECT count(*) FROM quota.accounts), 'which has every account');
SELECT is_empty($$
	SELECT account, on_trial FROM quota.account_plans JOIN quota.accounts a USING (account)
	WHERE on_trial <> (a.status = 'trialing' AND COALESCE(a.trial_ends_at, 'infinity') > '2026-01-15 10:00+00')
	$$, 'and tells who is on trial');
SELECT is_empty($$
	SELECT d, u
	FROM own_decided d FULL JOIN quota.current_usage u USING (account, feature, period)
	WHERE CASE
		WHEN u.account IN (SELECT a.account FROM quota.accounts a WHERE a.pool IS NOT NULL) THEN false
		WHEN u.plan IS NULL THEN d.used > 0
		WHEN d.plan IS NULL THEN u.usage_limit IS NOT NULL
		ELSE (d.plan, d.used, d.usage_limit, d.remaining, d.ratio, d.overage, COALESCE(d.period_start, '-infinity'))
			IS DISTINCT FROM (u.plan, u.used, u.usage_limit, u.remaining, u.ratio, u.overage, u.period_start)
			OR d.reason = 'near_limit' AND NOT u.warned OR d.reason = 'ok' AND u.warned
	END
	$$, 'current use has the figures of decisions');
SELECT cmp_ok((SELECT count(*) FROM decided JOIN quota.current_usage USING (account, feature, period)), '>=', 1000::bigint, 'of many counters');
SELECT cmp_ok((SELECT count(*) FROM quota.current_usage WHERE warned), '>=', 100::bigint, 'many of which warn');
SELECT is_empty($$
	SELECT u.account, u.plan FROM quota.current_usage u LEFT JOIN quota.accounts a USING (account)
	WHERE u.name IS DISTINCT FROM a.name OR a.account IS NULL AND u.plan <> 'p0'
	$$, 'an account without a row has the default plan and no name');
SELECT is_empty($$
	(SELECT account, feature, period, period_start, sum(used) FROM quota.usage WHERE slot < 5 GROUP BY 1, 2, 3, 4
	EXCEPT SELECT account, feature, period, period_start, used FROM quota.counters)
	UNION ALL SELECT account, feature, period, NULL, count(*) FROM quota.counters GROUP BY account, feature, period, period_start HAVING count(*) > 1
	$$, 'counters have all use, of past windows as well');

/* No default plan any more. */
UPDATE quota.plans SET is_default = false;
SELECT is(quota.plan_in_effect(NULL, NULL), NULL, 'without a default plan an account has none');
SELECT is((SELECT count(*) FROM quota.account_plans WHERE status = 'canceled' AND NOT pooled AND plan IS NOT NULL), 0::bigint, 'nor has one that canceled');

/* The planner sees through the rule: it is no function call a row. */
CREATE FUNCTION plan_of(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$BEGIN RETURN QUERY EXECUTE 'EXPLAIN (VERBOSE, COSTS OFF) ' || query; END$$;
SELECT is_empty($$SELECT p FROM plan_of('SELECT plan FROM quota.account_plans') p WHERE p LIKE '%plan_in_effect%'$$, 'the rule is inlined');
SELECT is_empty($$SELECT p FROM plan_of('SELECT plan FROM quota.current_usage') p WHERE p LIKE '%plan_in_effect%'$$, 'also for current use');

SELECT * FROM finish();
ROLLBACK;
