/*
 * What is decided, charged and told: the decision rule, limits, overrides,
 * plans in effect, windows, modes, refunds, and several features at once.
 */
BEGIN;
SELECT no_plan();
\ir _helpers.sql
SET LOCAL quota.now = '2026-03-10 12:00+00';

INSERT INTO quota.plans (plan, is_default) VALUES ('free', true), ('pro', false), ('terms', false), ('windows', false);
INSERT INTO quota.features (feature, kind, unit) VALUES
	('report', 'counter', 'report'), ('run', 'counter', 'run'), ('page', 'counter', NULL), ('space', 'gauge', 'MB'),
	('message', 'counter', 'message'), ('brand', 'flag', NULL);
INSERT INTO quota.plan_limits (plan, feature, period, usage_limit, block_ratio) VALUES ('free', 'report', 'month', 50, 1.1);
INSERT INTO quota.plan_limits (plan, feature, period, usage_limit) VALUES
	('free', 'run', 'month', NULL), ('free', 'message', 'day', 5), ('free', 'message', 'month', 150),
	('pro', 'report', 'month', 300), ('pro', 'page', 'week', 7), ('pro', 'space', 'lifetime', 1000);

/* The worked example: 50, block_ratio 1.1. */
CREATE TEMP TABLE charged AS
	SELECT i, (d).*
	FROM (SELECT i, quota_consume('example', 'report') AS d FROM generate_series(1, 57) i OFFSET 0) c;
SELECT results_eq($$
	SELECT i, decision::text, allowed, used, remaining, ratio, overage, reason FROM charged ORDER BY i
	$$, $$
	SELECT i,
		CASE WHEN i <= 40 THEN 'ALLOW' WHEN i <= 55 THEN 'ALLOW_WITH_WARNING' ELSE 'BLOCK' END, i <= 55,
		least(i, 55)::bigint, greatest(0, 50 - i)::bigint, least(i, 55) / 50::float8, greatest(0, least(i, 55) - 50)::bigint,
		CASE WHEN i <= 40 THEN 'ok' WHEN i <= 50 THEN 'near_limit' WHEN i <= 55 THEN 'soft_limit' ELSE 'limit_reached' END
	FROM generate_series(1, 57) i
	$$, 'a limit of 50 with block_ratio 1.1 admits 55 and warns from 40 used on');
SELECT results_eq($$
	SELECT DISTINCT account, feature, plan, period::text, usage_limit, period_start, period_end FROM charged
	$$, $$VALUES ('example', 'report', 'free', 'month', 50::bigint, timestamptz '2026-03-01 00:00+00', timestamptz '2026-04-01 00:00+00')$$,
	'whose, what and when');
SELECT results_eq($$SELECT used, period::text, period_start, account, feature FROM quota.usage$$,
	$$VALUES (55::bigint, 'month', timestamptz '2026-03-01 00:00+00', 'example' COLLATE "C", 'report' COLLATE "C")$$, 'what is stored');
SELECT results_eq($$SELECT i, message, retry_after FROM charged WHERE i IN (1, 10, 40, 41, 50, 51, 55, 56) ORDER BY i$$, $$VALUES
	(1, 'Within limit: 1/50 reports (2%)', NULL::interval),
	(10, 'Within limit: 10/50 reports (20%)', NULL),
	(40, 'Within limit: 40/50 reports (80%)', NULL),
	(41, 'Approaching limit: 41/50 reports (82%)', NULL),
	(50, 'Approaching limit: 50/50 reports (100%)', NULL),
	(51, 'Over limit: 51/50 reports (102%)', NULL),
	(55, 'Over limit: 55/50 reports (110%)', NULL),
	(56, 'Monthly report limit reached (55/50).', interval '21 days 12 hours')$$, 'how it is told');

/* Amounts. */
SELECT is(brief(quota_record('jump', 'report', 39)), 'ALLOW 39/50 ok', '39 used');
SELECT is(brief(quota_evaluate('jump', 'report', n)), expected, format('%s more', n))
FROM (VALUES
	(1::bigint, 'ALLOW 39/50 ok'), (11, 'ALLOW 39/50 ok'), (12, 'ALLOW_WITH_WARNING 39/50 soft_limit'),
	(16, 'ALLOW_WITH_WARNING 39/50 soft_limit'), (17, 'BLOCK 39/50 limit_reached'), (9223372036854775768, 'BLOCK 39/50 limit_reached')
) v (n, expected);
SELECT is((quota_evaluate('jump', 'report', 17)).message, 'Monthly report limit does not allow 17 more (39/50).', 'why not, when there is some room');
SELECT is(brief(quota_consume('jump', 'report', 17)), 'BLOCK 39/50 limit_reached', 'a denial charges nothing');
SELECT is(brief(quota_consume('jump', 'report', 16)), 'ALLOW_WITH_WARNING 55/50 soft_limit', 'everything that is left can be used');
SELECT is((quota_evaluate('jump', 'report', 2)).message, 'Monthly report limit reached (55/50).', 'why not, when there is no room');
SELECT is(brief(quota_evaluate('jump', 'report')), 'BLOCK 55/50 limit_reached', 'evaluate does not charge');
SELECT throws_ok($$SELECT quota_evaluate('jump', 'report', 9223372036854775807)$$, '22003', 'use out of range', 'nor does it wrap around');

/* Terms of a limit. */
CREATE FUNCTION judge(usage_limit bigint, on_limit text, warn_ratio numeric, block_ratio numeric, cap bigint, used bigint, n bigint)
	RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	DELETE FROM quota.plan_limits WHERE plan = 'terms';
	DELETE FROM quota.usage WHERE account = 'terms';
	INSERT INTO quota.accounts (account, plan) VALUES ('terms', 'terms') ON CONFLICT DO NOTHING;
	INSERT INTO quota.plan_limits (plan, feature, period, usage_limit, on_limit, warn_ratio, block_ratio, overage_cap)
		VALUES ('terms', 'report', 'month', $1, $2, $3, $4, $5);
	IF used > 0 THEN
		PERFORM quota_record('terms', 'report', $6);
	END IF;
	RETURN (SELECT format('%s %s', (e).decision, (e).reason) FROM (SELECT quota_evaluate('terms', 'report', $7) AS e) e);
END $$;
SELECT is(judge(l, o, w, b, c, u, n), expected, format('limit %s %s warn %s block %s cap %s: %s + %s', l, o, w, b, c, u, n))
FROM (VALUES
	(10::bigint, 'block', 0.8, 1.0, NULL::bigint, 7::bigint, 3::bigint, 'ALLOW ok'),
	(10, 'block', 0.8, 1.0, NULL, 8, 1, 'ALLOW_WITH_WARNING near_limit'),
	(10, 'block', 0.8, 1.0, NULL, 9, 1, 'ALLOW_WITH_WARNING near_limit'),
	(10, 'block', 0.8, 1.0, NULL, 10, 1, 'BLOCK limit_reached'),
	(10, 'block', 0.8, 1.0, NULL, 0, 11, 'BLOCK limit_reached'),
	/* the cap and the price are of charge only */
	(10, 'block', 0.8, 1.0, 5, 10, 1, 'BLOCK limit_reached'),
	(10, 'block', 0, 1.0, NULL, 0, 1, 'ALLOW_WITH_WARNING near_limit'),
	(10, 'block', 1, 1.0, NULL, 9, 1, 'ALLOW ok'),
	(10, 'block', 1, 2.0, NULL, 10, 1, 'ALLOW_WITH_WARNING soft_limit'),
	(10, 'block', 5, 2.0, NULL, 9, 1, 'ALLOW ok'),
	(10, 'block', 5, 2.0, NULL, 10, 1, 'ALLOW_WITH_WARNING soft_limit'),
	(10, 'block', 5, 2.0, NULL, 20, 1, 'BLOCK limit_reached'),
	(10, 'block', 0.8, 0.5, NULL, 4, 1, 'ALLOW ok'),
	(10, 'block', 0.8, 0.5, NULL, 5, 1, 'BLOCK limit_reached'),
	(10, 'block', 0.8, 0, NULL, 0, 1, 'BLOCK limit_reached'),
	/* thresholds are exact: floor of the block ratio, no rounding of the warn ratio */
	(7, 'block', 0.8, 1.1, NULL, 6, 1, 'ALLOW_WITH_WARNING near_limit'),
	(7, 'block', 0.8, 1.1, NULL, 7, 1, 'BLOCK limit_reached'),
	(10, 'block', 0.8, 1.19, NULL, 10, 1, 'ALLOW_WITH_WARNING soft_limit'),
	(10, 'block', 0.8, 1.19, NULL, 11, 1, 'BLOCK limit_reached'),
	(3, 'block', 0.8, 1.0, NULL, 2, 1, 'ALLOW ok'),
	(100, 'block', 0.29, 1.0, NULL, 28, 1, 'ALLOW ok'),
	(100, 'block', 0.29, 1.0, NULL, 29, 1, 'ALLOW_WITH_WARNING near_limit'),
	(100, 'block', 0.290000000000000000001, 1.0, NULL, 29, 1, 'ALLOW ok'),
	(50, 'block', 0.8, 1.1, NULL, 54, 1, 'ALLOW_WITH_WARNING soft_limit'),
	(1000, 'block', 0.8, 1.001, NULL, 1000, 1, 'ALLOW_WITH_WARNING soft_limit'),
	(1000, 'block', 0.8, 1.0009999999999999, NULL, 1000, 1, 'BLOCK limit_reached'),
	(9223372036854775807, 'block', 0.8, 1.1, NULL, 9223372036854775806, 1, 'ALLOW_WITH_WARNING near_limit'),
	(9223372036854775806, 'block', 1, 1, NULL, 9223372036854775806, 1, 'BLOCK limit_reached'),
	/* warn never refuses */
	(10, 'warn', 0.8, 1.0, NULL, 7, 3, 'ALLOW ok'),
	(10, 'warn', 0.8, 1.0, NULL, 8, 1, 'ALLOW_WITH_WARNING near_limit'),
	(10, 'warn', 0.8, 1.0, NULL, 10, 1, 'ALLOW_WITH_WARNING soft_limit'),
	(10, 'warn', 0.8, 0, 0, 1000000, 1000000, 'ALLOW_WITH_WARNING soft_limit'),
	/* charge refuses past limit and cap */
	(10, 'charge', 0.8, 1.0, NULL, 9, 1, 'ALLOW_WITH_WARNING near_limit'),
	(10, 'charge', 0.8, 1.0, NULL, 10, 1, 'ALLOW_WITH_WARNING overage'),
	(10, 'charge', 0.8, 0, NULL, 1000000, 1, 'ALLOW_WITH_WARNING overage'),
	(10, 'charge', 0.8, 1.0, 5, 14, 1, 'ALLOW_WITH_WARNING overage'),
	(10, 'charge', 0.8, 1.0, 5, 15, 1, 'BLOCK limit_reached'),
	(10, 'charge', 0.8, 1.0, 5, 13, 3, 'BLOCK limit_reached'),
	(10, 'charge', 0.8, 1.0, 0, 10, 1, 'BLOCK limit_reached'),
	(10, 'charge', 0.8, 1.0, 9223372036854775807, 9223372036854775806, 1, 'ALLOW_WITH_WARNING overage'),
	/* 0 is a limit, NULL is none */
	(0, 'block', 0.8, 1.0, NULL, 0, 1, 'BLOCK limit_reached'),
	(0, 'block', 0.8, 100, NULL, 0, 1, 'BLOCK limit_reached'),
	(0, 'warn', 0.8, 1.0, NULL, 0, 1, 'ALLOW_WITH_WARNING soft_limit'),
	(0, 'charge', 0.8, 1.0, 1, 0, 1, 'ALLOW_WITH_WARNING overage'),
	(0, 'charge', 0.8, 1.0, 1, 1, 1, 'BLOCK limit_reached'),
	(NULL, 'block', 0.8, 1.0, NULL, 0, 1, 'ALLOW unlimited'),
	(NULL, 'block', 0, 0, NULL, 9223372036854775806, 1, 'ALLOW unlimited'),
	(NULL, 'charge', 0.8, 1.0, 0, 5, 1, 'ALLOW unlimited')
) v (l, o, w, b, c, u, n, expected);
SELECT is(judge(0, 'block', 0.8, 1, NULL, 0, 1), 'BLOCK limit_reached', 'a limit of 0');
SELECT results_eq($$SELECT (d).usage_limit, (d).remaining, (d).ratio, (d).overage, (d).message FROM (SELECT quota_evaluate('terms', 'report') AS d) d$$,
	$$VALUES (0::bigint, 0::bigint, 1::float8, 0::bigint, 'Monthly report limit reached (0/0).')$$, 'its figures');
SELECT is(judge(10, 'charge', 0.8, 1, NULL, 30, 1), 'ALLOW_WITH_WARNING overage', 'past a limit that charges');
SELECT results_eq($$SELECT (d).usage_limit, (d).remaining, (d).ratio, (d).overage, (d).message FROM (SELECT quota_evaluate('terms', 'report') AS d) d$$,
	$$VALUES (10::bigint, 0::bigint, 3::float8, 20::bigint, 'Over limit: 30/10 reports (300%)')$$, 'its figures');

/* Unlimited. */
SELECT results_eq($$SELECT (d).* FROM (SELECT quota_consume('u', 'run', 9223372036854775806) AS d) d$$,
	$$VALUES ('u', 'run', 'free', 'month'::quota_period, 'ALLOW'::quota_verdict, true, 9223372036854775806, NULL::bigint, NULL::bigint,
		NULL::float8, 0::bigint, timestamptz '2026-03-01 00:00+00', timestamptz '2026-04-01 00:00+00', NULL::interval, 'unlimited',
		'Unlimited: 9223372036854775806 runs')$$, 'unlimited: counted, without limit, remaining and ratio');
SELECT is((quota_consume('u', 'run')).used, 9223372036854775807, 'up to the last that can be counted');
SELECT throws_ok($$SELECT quota_consume('u', 'run')$$, '22003', 'use out of range', 'and no further');
SELECT is(error_of($$SELECT quota_record('u', 'run', 5)$$)->>'detail', '9223372036854775807 and 5 more are more than a bigint holds.', 'record neither');

/* Not in the plan. */
SELECT results_eq($$SELECT (d).* FROM (SELECT quota_consume('n', 'page') AS d) d$$,
	$$VALUES ('n', 'page', 'free', NULL::quota_period, 'BLOCK'::quota_verdict, false, 0::bigint, 0::bigint, 0::bigint, 1::float8, 0::bigint,
		NULL::timestamptz, NULL::timestamptz, NULL::interval, 'not_in_plan', 'Plan "free" does not include page.')$$, 'not in the plan');
SELECT is((SELECT count(*) FROM quota.usage WHERE feature = 'page'), 0::bigint, 'is not counted');

/* Suspended. */
INSERT INTO quota.accounts (account, status, bypass) VALUES ('susp', 'suspended', false), ('susp-admin', 'suspended', true);
SELECT results_eq($$SELECT (d).* FROM (SELECT quota_consume('susp', 'run') AS d) d$$,
	$$VALUES ('susp', 'run', 'free', 'month'::quota_period, 'BLOCK'::quota_verdict, false, 0::bigint, NULL::bigint, NULL::bigint, NULL::float8, 0::bigint,
		timestamptz '2026-03-01 00:00+00', timestamptz '2026-04-01 00:00+00', NULL::interval, 'suspended', 'Account is suspended.')$$,
	'suspended: also what is unlimited');
SELECT is(brief(quota_consume(a, f)), 'BLOCK ' || e, format('suspended: %s %s', a, f))
FROM (VALUES ('susp', 'report', '0/50 suspended'), ('susp', 'page', '0/0 suspended'), ('susp-admin', 'report', '0/50 suspended')) v (a, f, e);
SELECT set_eq($$SELECT DISTINCT decision::text, reason FROM quota_evaluate('susp')$$, $$VALUES ('BLOCK', 'suspended')$$, 'suspended: every row');
UPDATE quota.accounts SET status = 'active' WHERE account = 'susp';
SELECT is(brief(quota_consume('susp', 'run')), 'ALLOW 1/- unlimited', 'active again');

/* Bypass. */
INSERT INTO quota.accounts (account, bypass) VALUES ('admin', true);
SELECT is(brief(quota_consume('admin', 'report', 60)), 'ALLOW 60/50 bypass', 'bypass: never blocked and still counted');
SELECT is((quota_evaluate('admin', 'report')).message, 'Not limited: 60/50 reports', 'how it is told');
SELECT is((SELECT used FROM quota.usage WHERE account = 'admin'), 60::bigint, 'counted');
SELECT is((d).decision || ' ' || (d).reason, 'ALLOW bypass', 'bypass: also what is not in the plan') FROM (SELECT quota_consume('admin', 'page', 3) AS d) d;
SELECT is((SELECT sum(used) FROM quota.usage WHERE account = 'admin' AND feature = 'page'), 3::numeric, 'counted');
SELECT is((quota_consume('admin', 'page', 2)).used, 5::bigint, 'and told');

/* Overrides. */
INSERT INTO quota.limit_overrides (account, feature, period, usage_limit, expires_at) VALUES
	('big', 'report', 'month', 100, NULL), ('inf', 'report', 'month', NULL, NULL), ('zero', 'report', 'month', 0, NULL),
	('past', 'report', 'month', 100, '2026-03-10 12:00+00'), ('soon', 'report', 'month', 100, '2026-03-10 12:00:00.000001+00'),
	('extra', 'report', 'day', 3, NULL), ('page', 'page', 'year', 10, NULL);
SELECT is((quota_consume('big', 'report', 110)).allowed, true, 'an override replaces the limit and keeps the terms');
SELECT is(brief(quota_evaluate('big', 'report')), 'BLOCK 110/100 limit_reached', 'up to block_ratio');
SELECT is(brief(quota_evaluate(a, 'report')), e, 'override ' || a)
FROM (VALUES ('inf', 'ALLOW 0/- unlimited'), ('zero', 'BLOCK 0/0 limit_reached'), ('past', 'ALLOW 0/50 ok'), ('soon', 'ALLOW 0/100 ok'),
	('Big', 'ALLOW 0/50 ok')) v (a, e);
SET LOCAL quota.now = '2026-03-10 12:00:00.000001+00';
SELECT is(brief(quota_evaluate('soon', 'report')), 'ALLOW 0/50 ok', 'an override ends at its moment');
SET LOCAL quota.now = '2026-03-10 12:00+00';
SELECT is(brief(quota_consume('extra', 'report', 3)), 'ALLOW 3/3 ok', 'an override of another period is a further window');
SELECT is((d).period || ' ' || brief(d), 'day BLOCK 3/3 limit_reached', 'which blocks') FROM (SELECT quota_consume('extra', 'report') AS d) d;
SELECT results_eq($$SELECT period::text, used, usage_limit FROM quota_evaluate('extra') WHERE feature = 'report'$$,
	$$VALUES ('day', 3::bigint, 3::bigint), ('month', 3, 50)$$, 'with the plan''s');
SELECT is((d).plan || ' ' || (d).period || ' ' || brief(d), 'free year ALLOW 8/10 ok', 'an override brings what the plan does not have')
FROM (SELECT quota_consume('page', 'page', 8) AS d) d;
SELECT is(brief(quota_consume('page', 'page')), 'ALLOW_WITH_WARNING 9/10 near_limit', 'on the usual terms');
SELECT is(brief(quota_consume('page', 'page', 2)), 'BLOCK 9/10 limit_reached', 'it blocks');
UPDATE quota.limit_overrides SET usage_limit = 11 WHERE account = 'page';
SELECT is(brief(quota_consume('page', 'page', 2)), 'ALLOW_WITH_WARNING 11/11 near_limit', 'an override is changed at once');
DELETE FROM quota.limit_overrides WHERE account = 'page';
SELECT is((quota_evaluate('page', 'page')).reason, 'not_in_plan', 'and taken away');
INSERT INTO quota.plan_limits (plan, feature, period, usage_limit, on_limit, overage_cap) VALUES ('pro', 'run', 'month', 10, 'charge', 5);
INSERT INTO quota.accounts (account, plan) VALUES ('capped', 'pro');
INSERT INTO quota.limit_overrides (account, feature, period, usage_limit) VALUES ('capped', 'run', 'month', 20);
SELECT is(brief(quota_consume('capped', 'run', 25)), 'ALLOW_WITH_WARNING 25/20 overage', 'also charge and its cap are kept');
SELECT is(brief(quota_consume('capped', 'run')), 'BLOCK 25/20 limit_reached', 'the cap above the override');

/* The plan in effect. */
INSERT INTO quota.accounts (account, plan, status, trial_ends_at, plan_ends_at, next_plan) VALUES
	('no plan', NULL, 'active', NULL, NULL, NULL),
	('plan', 'pro', 'active', NULL, NULL, NULL),
	('past due', 'pro', 'past_due', NULL, NULL, NULL),
	('canceled', 'pro', 'canceled', NULL, NULL, 'windows'),
	('trial', 'pro', 'trialing', '2026-03-10 12:00:01+00', NULL, 'windows'),
	('trial without end', 'pro', 'trialing', NULL, NULL, 'windows'),
	('trial over', 'pro', 'trialing', '2026-03-10 12:00+00', NULL, NULL),
	('trial over, next', 'pro', 'trialing', '2026-03-10 12:00+00', NULL, 'windows'),
	('trial paid', 'pro', 'active', '2026-03-01 12:00+00', NULL, 'windows'),
	('plan ends', 'pro', 'active', NULL, '2026-03-10 12:00:01+00', 'windows'),
	('plan over', 'pro', 'active', NULL, '2026-03-10 12:00+00', NULL),
	('plan over, next', 'pro', 'active', NULL, '2026-03-10 12:00+00', 'windows'),
	('plan over, past due', 'pro', 'past_due', NULL, '2026-03-10 12:00+00', 'windows'),
	('plan over in trial', 'pro', 'trialing', '2027-01-01', '2026-03-10 12:00+00', 'windows'),
	('plan without end', 'pro', 'active', NULL, 'infinity', 'windows'),
	('plan always over', 'pro', 'active', NULL, '-infinity', 'windows'),
	('suspended', 'pro', 'suspended', NULL, NULL, NULL);
SELECT is((quota_evaluate(a, 'report')).plan, p, a || ': ' || p)
FROM (VALUES ('no row', 'free'), ('no plan', 'free'), ('plan', 'pro'), ('past due', 'pro'), ('canceled', 'free'), ('trial', 'pro'),
	('trial without end', 'pro'), ('trial over', 'free'), ('trial over, next', 'windows'), ('trial paid', 'pro'), ('plan ends', 'pro'),
	('plan over', 'free'), ('plan over, next', 'windows'), ('plan over, past due', 'windows'), ('plan over in trial', 'windows'),
	('plan without end', 'pro'), ('plan always over', 'windows'), ('suspended', 'pro')) v (a, p);
SELECT is(brief(quota_consume('trial', 'report', 200)), 'ALLOW 200/300 ok', 'use in the trial');
SET LOCAL quota.now = '2026-03-11 12:00+00';
UPDATE quota.accounts SET next_plan = NULL WHERE account = 'trial';
SELECT is(brief(quota_consume('trial', 'report')), 'BLOCK 200/50 limit_reached', 'counts after it, with no job');
SET LOCAL quota.now = '2026-03-10 12:00+00';
UPDATE quota.plans SET is_default = false WHERE plan = 'free';
SELECT results_eq($$SELECT (d).plan, (d).reason, (d).allowed, (d).message FROM (SELECT quota_consume('no row', 'report') AS d) d$$,
	$$VALUES (NULL::text, 'not_in_plan', false, 'No plan includes report for this account.')$$, 'without a default plan there is none');
SELECT is((quota_evaluate('canceled', 'report')).plan, NULL, 'for canceled accounts neither');
SELECT is((quota_evaluate('plan', 'report')).plan, 'pro', 'a plan of one''s own stays');
SELECT is_empty($$SELECT * FROM quota_evaluate('no row')$$, 'nothing to list');
SELECT is(brief(quota_evaluate('big', 'report')), 'BLOCK 110/100 limit_reached', 'an override needs no plan');
UPDATE quota.plans SET is_default = true WHERE plan = 'free';
SELECT is((quota_evaluate('no row', 'report')).plan, 'free', 'the default plan again');
UPDATE quota.accounts SET plan = 'free' WHERE account = 'plan';
SELECT is((quota_evaluate('plan', 'report')).plan, 'free', 'a change of plan holds at once');
UPDATE quota.plan_limits SET usage_limit = 10, block_ratio = 1 WHERE plan = 'free' AND feature = 'report';
SELECT is((quota_evaluate('plan', 'report')).usage_limit, 10::bigint, 'a change of limit holds at once');
UPDATE quota.plan_limits SET usage_limit = 50, block_ratio = 1.1 WHERE plan = 'free' AND feature = 'report';

/* Several windows. */
SELECT is((d).period || ' ' || brief(d), 'day ALLOW_WITH_WARNING 5/5 near_limit', 'the tightest window is told')
FROM (SELECT quota_record('m', 'message', 4), quota_consume('m', 'message') AS d) d;
SELECT results_eq($$SELECT (d).period::text, brief(d), (d).message, (d).retry_after FROM (SELECT quota_consume('m', 'message') AS d) d$$,
	$$VALUES ('day', 'BLOCK 5/5 limit_reached', 'Daily message limit reached (5/5).', interval '12 hours')$$,
	'the sixth of a day is denied though the month has room');
SELECT results_eq($$SELECT period::text, used FROM quota.usage WHERE account = 'm' ORDER BY period$$, $$VALUES ('day', 5::bigint), ('month', 5)$$,
	'both windows are charged, or none');
SET LOCAL quota.now = '2026-03-11 00:00+00';
SELECT is((d).period || ' ' || brief(d), 'day ALLOW 3/5 ok', 'the next day has room') FROM (SELECT quota_consume('m', 'message', 3) AS d) d;
SELECT is((d).period || ' ' || (d).message, 'day Daily message limit does not allow 3 more (3/5).', 'not for that many')
FROM (SELECT quota_consume('m', 'message', 3) AS d) d;
SELECT results_eq($$SELECT period::text, period_start, used FROM quota.usage WHERE account = 'm' ORDER BY period, period_start$$,
	$$VALUES ('day', timestamptz '2026-03-10 00:00+00', 5::bigint), ('day', '2026-03-11 00:00+00', 3), ('month', '2026-03-01 00:00+00', 8)$$,
	'what was denied is charged nowhere');
SELECT (quota_record('m', 'message', 142)).used \g /dev/null
SELECT is((d).period || ' ' || brief(d), 'month BLOCK 150/150 limit_reached', 'of two that are full the one that lasts longer is told')
FROM (SELECT quota_consume('m', 'message') AS d) d;
SET LOCAL quota.now = '2026-03-31 23:00+00';
SELECT results_eq($$SELECT (d).period::text, brief(d), (d).message, (d).retry_after FROM (SELECT quota_consume('m', 'message') AS d) d$$,
	$$VALUES ('month', 'BLOCK 150/150 limit_reached', 'Monthly message limit reached (150/150).', interval '1 hour')$$,
	'the 151st of a month is denied though the day has room');
SELECT results_eq($$SELECT feature, period::text, decision::text, used, usage_limit FROM quota_evaluate('m')$$,
	$$VALUES ('message', 'day', 'ALLOW', 0::bigint, 5::bigint), ('message', 'month', 'BLOCK', 150, 150),
		('report', 'month', 'ALLOW', 0, 50), ('run', 'month', 'ALLOW', 0, NULL)$$, 'a row a feature and window');
SET LOCAL quota.now = '2026-04-01 00:00+00';
SELECT is((d).period || ' ' || brief(d), 'day ALLOW 1/5 ok', 'the next month has room') FROM (SELECT quota_consume('m', 'message') AS d) d;

/* Windows of every period. */
INSERT INTO quota.plan_limits (plan, feature, period, usage_limit)
	SELECT 'windows', 'report', p, 100 FROM unnest(enum_range(NULL::quota_period)) p WHERE p NOT IN ('second', 'minute');
CREATE FUNCTION windows_at(clock text, timezone text, anchor timestamptz DEFAULT NULL) RETURNS TABLE (period text, starts timestamptz, ends timestamptz)
	LANGUAGE plpgsql AS $$
BEGIN
	PERFORM set_config('quota.now', $1, true);
	INSERT INTO quota.accounts (account, plan, timezone, cycle_anchor) VALUES ('windows', 'windows', $2, $3)
		ON CONFLICT (account) DO UPDATE SET (timezone, cycle_anchor) = (excluded.timezone, excluded.cycle_anchor);
	RETURN QUERY SELECT e.period::text, e.period_start, e.period_end FROM quota_evaluate('windows') e;
END $$;
SELECT results_eq($$SELECT * FROM windows_at('2026-03-10 12:34:56.789+00', NULL)$$, $$VALUES
	('hour', timestamptz '2026-03-10 12:00+00', timestamptz '2026-03-10 13:00+00'),
	('day', '2026-03-10 00:00+00', '2026-03-11 00:00+00'), ('week', '2026-03-09 00:00+00', '2026-03-16 00:00+00'),
	('month', '2026-03-01 00:00+00', '2026-04-01 00:00+00'), ('year', '2026-01-01 00:00+00', '2027-01-01 00:00+00'),
	('lifetime', NULL, NULL), ('cycle', '2026-03-01 00:00+00', '2026-04-01 00:00+00')$$, 'windows of a moment');
SELECT results_eq($$SELECT * FROM windows_at('2025-12-31 23:59:59.999999+00', NULL)$$, $$VALUES
	('hour', timestamptz '2025-12-31 23:00+00', timestamptz '2026-01-01 00:00+00'),
	('day', '2025-12-31 00:00+00', '2026-01-01 00:00+00'), ('week', '2025-12-29 00:00+00', '2026-01-05 00:00+00'),
	('month', '2025-12-01 00:00+00', '2026-01-01 00:00+00'), ('year', '2025-01-01 00:00+00', '2026-01-01 00:00+00'),
	('lifetime', NULL, NULL), ('cycle', '2025-12-01 00:00+00', '2026-01-01 00:00+00')$$, 'the last moment of a year');
SELECT results_eq($$SELECT * FROM windows_at('2026-01-01 00:00+00', NULL)$$, $$VALUES
	('hour', timestamptz '2026-01-01 00:00+00', timestamptz '2026-01-01 01:00+00'),
	('day', '2026-01-01 00:00+00', '2026-01-02 00:00+00'), ('week', '2025-12-29 00:00+00', '2026-01-05 00:00+00'),
	('month', '2026-01-01 00:00+00', '2026-02-01 00:00+00'), ('year', '2026-01-01 00:00+00', '2027-01-01 00:00+00'),
	('lifetime', NULL, NULL), ('cycle', '2026-01-01 00:00+00', '2026-02-01 00:00+00')$$, 'the first moment of a year');
SELECT results_eq($$SELECT * FROM windows_at('2026-01-01 02:15+00', 'America/New_York', '2025-11-30 20:00-05')$$, $$VALUES
	('hour', timestamptz '2026-01-01 02:00+00', timestamptz '2026-01-01 03:00+00'),
	('day', '2025-12-31 00:00-05', '2026-01-01 00:00-05'), ('week', '2025-12-29 00:00-05', '2026-01-05 00:00-05'),
	('month', '2025-12-01 00:00-05', '2026-01-01 00:00-05'), ('year', '2025-01-01 00:00-05', '2026-01-01 00:00-05'),
	('lifetime', NULL, NULL), ('cycle', '2025-12-30 20:00-05', '2026-01-30 20:00-05')$$, 'windows of an account in New York');
SELECT results_eq($$SELECT * FROM windows_at('2026-03-28 23:30+00', 'Europe/Berlin') WHERE period IN ('hour', 'day', 'month')$$, $$VALUES
	('hour', timestamptz '2026-03-28 23:00+00', timestamptz '2026-03-29 00:00+00'), ('day', '2026-03-28 23:00+00', '2026-03-29 22:00+00'),
	('month', '2026-02-28 23:00+00', '2026-03-31 22:00+00')$$, 'a day of 23 hours');
SELECT results_eq($$SELECT * FROM windows_at('2026-10-25 12:00+00', 'Europe/Berlin') WHERE period IN ('day', 'week')$$, $$VALUES
	('day', timestamptz '2026-10-24 22:00+00', timestamptz '2026-10-25 23:00+00'), ('week', '2026-10-18 22:00+00', '2026-10-25 23:00+00')$$,
	'a day of 25 hours');
SELECT results_eq($$SELECT * FROM windows_at('2026-03-10 12:40+00', 'Asia/Kathmandu') WHERE period IN ('hour', 'day')$$, $$VALUES
	('hour', timestamptz '2026-03-10 12:15+00', timestamptz '2026-03-10 13:15+00'), ('day', '2026-03-09 18:15+00', '2026-03-10 18:15+00')$$,
	'a zone of quarters of an hour');
SET LOCAL quota.timezone = 'Pacific/Auckland';
SELECT results_eq($$SELECT * FROM windows_at('2026-03-31 12:00+00', NULL) WHERE period = 'month'$$,
	$$VALUES ('month', timestamptz '2026-04-01 00:00+13', timestamptz '2026-05-01 00:00+12')$$, 'setting quota.timezone');
SELECT results_eq($$SELECT * FROM windows_at('2026-03-31 12:00+00', 'UTC') WHERE period = 'month'$$,
	$$VALUES ('month', timestamptz '2026-03-01 00:00+00', timestamptz '2026-04-01 00:00+00')$$, 'an account''s own goes before it');
SET LOCAL quota.timezone = 'UTC';
SELECT results_eq($$SELECT starts, ends FROM unnest(ARRAY[$$ || array_to_string(ARRAY(
		SELECT quote_literal(t) FROM (VALUES ('2026-01-10 00:00+00'), ('2026-01-31 09:59+00'), ('2026-01-31 10:00+00'), ('2026-02-28 09:59:59+00'),
			('2026-02-28 10:00+00'), ('2026-03-31 10:00+00'), ('2026-04-30 10:00+00'), ('2028-02-29 10:00+00'), ('2024-03-01 00:00+00')) v (t)), ',')
	|| $$]) WITH ORDINALITY c (clock, n), windows_at(clock, NULL, '2026-01-31 10:00+00') WHERE period = 'cycle' ORDER BY n$$, $$VALUES
	(timestamptz '2025-12-31 10:00+00', timestamptz '2026-01-31 10:00+00'), ('2025-12-31 10:00+00', '2026-01-31 10:00+00'),
	('2026-01-31 10:00+00', '2026-02-28 10:00+00'), ('2026-01-31 10:00+00', '2026-02-28 10:00+00'), ('2026-02-28 10:00+00', '2026-03-31 10:00+00'),
	('2026-03-31 10:00+00', '2026-04-30 10:00+00'), ('2026-04-30 10:00+00', '2026-05-31 10:00+00'), ('2028-02-29 10:00+00', '2028-03-31 10:00+00'),
	('2024-02-29 10:00+00', '2024-03-31 10:00+00')$$, 'an anchor on the 31st is clamped without drifting');

/* A window rolls over by itself. */
SET LOCAL quota.now = '2026-03-31 23:59:59.999999+00';
SELECT is(brief(quota_consume('roll', 'report', 55)), 'ALLOW_WITH_WARNING 55/50 soft_limit', 'a month is used up');
SELECT is((quota_consume('roll', 'report')).retry_after, interval '1 microsecond', 'a microsecond before the next');
SET LOCAL quota.now = '2026-04-01 00:00+00';
SELECT is(brief(quota_consume('roll', 'report')), 'ALLOW 1/50 ok', 'the next begins at 0');
SET LOCAL quota.now = '2026-03-15 00:00+00';
SELECT is(brief(quota_consume('roll', 'report')), 'BLOCK 55/50 limit_reached', 'each keeps its own count');
SET LOCAL quota.now = '2026-03-10 12:00+00';
INSERT INTO quota.accounts (account, plan) VALUES ('life', 'pro');
SELECT is(brief(quota_consume('life', 'space', 1000)), 'ALLOW 1000/1000 ok', 'lifetime');
SET LOCAL quota.now = '2126-03-10 12:00+00';
SELECT results_eq($$SELECT brief(d), (d).message, (d).retry_after FROM (SELECT quota_consume('life', 'space') AS d) d$$,
	$$VALUES ('BLOCK 1000/1000 limit_reached', 'Space limit reached (1000/1000).', NULL::interval)$$, 'never rolls over');
SET LOCAL quota.now = '2026-03-10 12:00+00';

/* How windows and units are called. */
DELETE FROM quota.plan_limits WHERE plan = 'free' AND feature = 'report';
CREATE FUNCTION denial_of(period quota_period) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	DELETE FROM quota.limit_overrides WHERE account = 'call';
	INSERT INTO quota.limit_overrides (account, feature, period, usage_limit) VALUES ('call', 'report', $1, 0);
	RETURN (quota_evaluate('call', 'report')).message;
END $$;
SELECT is(denial_of(p), m, m)
FROM (VALUES
	('hour'::quota_period, 'Hourly report limit reached (0/0).'), ('day', 'Daily report limit reached (0/0).'),
	('week', 'Weekly report limit reached (0/0).'), ('month', 'Monthly report limit reached (0/0).'),
	('year', 'Yearly report limit reached (0/0).'), ('lifetime', 'Report limit reached (0/0).'),
	('cycle', 'Monthly report limit reached (0/0).')) v (p, m);
INSERT INTO quota.plan_limits (plan, feature, period, usage_limit, block_ratio) VALUES ('free', 'report', 'month', 50, 1.1);
SELECT is((quota_evaluate('call', 'space')).reason, 'not_in_plan', 'no space on free');
SELECT is((quota_evaluate('life', 'space')).message, 'Space limit reached (1000/1000).', 'a unit of capitals');
UPDATE quota.plan_limits SET usage_limit = 1500 WHERE feature = 'space';
SELECT is((quota_evaluate('life', 'space')).message, 'Within limit: 1000/1500 MB (67%)', 'has no plural');
SELECT is((quota_evaluate('life', 'page')).message, 'Within limit: 0/7 page (0%)', 'without a unit the feature''s name');
UPDATE quota.features SET unit = 'job description' WHERE feature = 'page';
SELECT is((quota_evaluate('life', 'page')).message, 'Within limit: 0/7 job descriptions (0%)', 'a unit of two words');

/* Shadow and off. */
SET LOCAL quota.enforcement = 'shadow';
SELECT results_eq($$SELECT brief(d), (d).allowed, (d).overage, (d).message FROM (SELECT quota_consume('roll', 'report') AS d) d$$,
	$$VALUES ('ALLOW_WITH_WARNING 56/50 shadow', true, 6::bigint, 'Would be refused: 56/50 reports')$$, 'shadow: a would-be denial is allowed and counted');
SELECT is(brief(quota_evaluate('roll', 'report')), 'ALLOW_WITH_WARNING 56/50 shadow', 'shadow: evaluate');
SELECT is(brief(quota_enforce('roll', 'report')), 'ALLOW_WITH_WARNING 57/50 shadow', 'shadow: enforce');
SELECT is(brief(quota_consume('fresh', 'report')), 'ALLOW 1/50 ok', 'shadow: what is allowed is as ever');
SELECT is((quota_consume('fresh', 'page')).reason, 'shadow', 'shadow: what is not in the plan');
SELECT is((SELECT sum(used) FROM quota.usage WHERE account = 'fresh' AND feature = 'page'), 1::numeric, 'shadow: is counted too');
SELECT is((quota_consume('susp-admin', 'report')).reason, 'shadow', 'shadow: who is suspended');
SELECT is((quota_enforce('m', 'message', 500)).reason, 'shadow', 'shadow: several windows');
SELECT is(count(*), 2::bigint, 'shadow: consume_many')
FROM quota_consume_many('roll', '{"report": 1, "run": 1}') d WHERE (d.feature, d.reason, d.used) IN (('report', 'shadow', 58), ('run', 'unlimited', 1));
SET LOCAL quota.enforcement = 'off';
SELECT results_eq($$SELECT (d).decision::text, (d).allowed, (d).used FROM (SELECT quota_consume('roll', 'report') AS d) d$$,
	$$VALUES ('ALLOW', true, 58::bigint)$$, 'off: nothing is denied');
SELECT is((quota_evaluate('roll', 'report')).used, 58::bigint, 'off: or charged');
SELECT is((quota_record('roll', 'report', 5)).used, 58::bigint, 'off: recorded');
SELECT is((quota_refund('roll', 'report', 5)).used, 58::bigint, 'off: given back');
SELECT is((quota_enforce('susp-admin', 'page')).allowed, true, 'off: for anybody');
SELECT throws_ok($$SELECT quota_consume('roll', 'nothing')$$, '42704', NULL, 'off: an unknown feature is still an error');
SET LOCAL quota.enforcement = 'on';
SELECT is(brief(quota_consume('roll', 'report')), 'BLOCK 58/50 limit_reached', 'on again');

/* Refund. */
SELECT is(brief(quota_refund('roll', 'report', 20)), 'ALLOW 38/50 ok', 'refund gives back');
SELECT is(brief(quota_consume('roll', 'report')), 'ALLOW 39/50 ok', 'to be used again');
SELECT is(brief(quota_refund('roll', 'report')), 'ALLOW 38/50 ok', '1 if nothing else is said');
SELECT is(brief(quota_refund('roll', 'report', 1000)), 'ALLOW 0/50 ok', 'never below 0');
SELECT is(brief(quota_refund('roll', 'report', 9223372036854775807)), 'ALLOW 0/50 ok', 'however much');
SELECT results_eq($$SELECT brief(d), (d).period_start FROM (SELECT quota_refund('roll', 'report', 1, '2026-04-20 00:00+00') AS d) d$$,
	$$VALUES ('ALLOW 0/50 ok', timestamptz '2026-04-01 00:00+00')$$, 'or to the window of another time');
SELECT is(brief(quota_refund('roll', 'report', 1, NULL)), 'ALLOW 0/50 ok', 'NULL is now');
SELECT is((SELECT sum(used) FROM quota.usage WHERE account = 'roll' AND feature = 'report'), 0::numeric, 'all is given back');
SELECT is(brief(quota_refund('never seen', 'report')), 'ALLOW 0/50 ok', 'nothing to give back');
SELECT is((quota_record('m2', 'message', 5)).used, 5::bigint, 'two windows');
SET LOCAL quota.now = '2026-03-11 12:00+00';
SELECT is((quota_record('m2', 'message', 2)).used, 2::bigint, 'the next day');
SELECT is((quota_refund('m2', 'message', 3)).used, 0::bigint, 'given back: the day''s two');
SELECT results_eq($$SELECT period::text, period_start, used FROM quota.usage WHERE account = 'm2' ORDER BY period, period_start$$,
	$$VALUES ('day', timestamptz '2026-03-10 00:00+00', 5::bigint), ('day', '2026-03-11 00:00+00', 0), ('month', '2026-03-01 00:00+00', 4)$$,
	'and the month''s three');
SET LOCAL quota.now = '2026-03-10 12:00+00';
SELECT is(brief(quota_refund('admin', 'report', 5)), 'ALLOW 55/50 bypass', 'refund: past the limit');
UPDATE quota.accounts SET bypass = false WHERE account = 'admin';
SELECT is((quota_refund('admin', 'report')).allowed, true, 'refund: is always allowed');
SELECT is((SELECT used FROM quota.usage WHERE account = 'admin' AND feature = 'report'), 54::bigint, 'and done');
UPDATE quota.accounts SET status = 'suspended' WHERE account = 'admin';
SELECT is((quota_refund('admin', 'report')).used, 53::bigint, 'also of who is suspended');
SELECT is((quota_refund('admin', 'page', 1)).allowed, true, 'also of what is not in the plan');
SELECT is((SELECT sum(used) FROM quota.usage WHERE account = 'admin' AND feature = 'page'), 4::numeric, 'and done');

/* Record. */
SELECT is(brief(quota_record('rec', 'report', 50)), 'ALLOW 50/50 ok', 'record counts');
SELECT is(brief(quota_record('rec', 'report', 30)), 'ALLOW_WITH_WARNING 80/50 soft_limit', 'without ever blocking');
SELECT is((quota_record('rec', 'report')).message, 'Over limit: 81/50 reports (162%)', 'how it is told');
SELECT is(brief(quota_consume('rec', 'report')), 'BLOCK 81/50 limit_reached', 'consume does block');
SELECT is(brief(quota_record('capped', 'run', 5)), 'ALLOW_WITH_WARNING 30/20 overage', 'record: past the cap');
SELECT is((quota_record('susp-admin', 'report')).used, 2::bigint, 'record: who is suspended');
SELECT is((quota_record('rec', 'page', 7)).allowed, true, 'record: what is not in the plan');
SELECT is((SELECT sum(used) FROM quota.usage WHERE account = 'rec' AND feature = 'page'), 7::numeric, 'counted');
SELECT is((quota_record('rec', 'page', 2)).used, 9::bigint, 'and told');

/* Several features at once. */
SELECT results_eq($$SELECT feature, brief(d) FROM quota_consume_many('many', '{"run": 7, "report": 20, "message": 2}') d$$,
	$$VALUES ('message', 'ALLOW 2/5 ok'), ('report', 'ALLOW 20/50 ok'), ('run', 'ALLOW 7/- unlimited')$$, 'several features');
SELECT results_eq($$SELECT feature, brief(d), allowed FROM quota_consume_many('many', '{"run": 7, "report": 20, "message": 4}') d$$,
	$$VALUES ('message', 'BLOCK 2/5 limit_reached', false), ('report', 'ALLOW 20/50 ok', true), ('run', 'ALLOW 7/- unlimited', true)$$, 'all or none');
SELECT results_eq($$SELECT feature, period::text, used FROM quota.usage WHERE account = 'many' ORDER BY feature, period$$,
	$$VALUES ('message' COLLATE "C", 'day', 2::bigint), ('message', 'month', 2), ('report', 'month', 20), ('run', 'month', 7)$$, 'none it was');
SELECT results_eq($$SELECT feature, allowed FROM quota_consume_many('many', '{"run": 1, "page": 1}') d$$,
	$$VALUES ('page', false), ('run', true)$$, 'what is not in the plan denies');
SELECT is((quota_evaluate('many', 'run')).used, 7::bigint, 'all');
SELECT is_empty($$SELECT * FROM quota_consume_many('many', '{}')$$, 'nothing at all');
SELECT throws_ok($$SELECT * FROM quota_consume_many('many', '{"run": 1, "nothing": 1}')$$, '42704', 'feature "nothing" does not exist', 'an unknown feature');
SELECT is((quota_evaluate('many', 'run')).used, 7::bigint, 'charges nothing');
SELECT results_eq($$SELECT used FROM quota_consume_many('many', '{"run": 1.0}') d$$, $$VALUES (8::bigint)$$, '1.0 is 1');

/* Enforce. */
SELECT is(brief(quota_enforce('enf', 'report', 55)), 'ALLOW_WITH_WARNING 55/50 soft_limit', 'enforce: charges');
SELECT is(error_of($$SELECT quota_enforce('enf', 'report')$$), jsonb_build_object('state', 'PT429',
	'message', 'Monthly report limit reached (55/50).',
	'detail', '{"error":"quota_exceeded","feature":"report","plan":"free","limit":50,"used":55,"remaining":0,"period":"month","retry_after_s":1857600}',
	'hint', 'The next window begins at 2026-04-01 00:00:00+00; a larger plan or an override allows more now.'), 'enforce: PT429');
SET LOCAL quota.now = '2026-03-31 23:59:58.000001+00';
SELECT is((error_of($$SELECT quota_enforce('enf', 'report')$$)->>'detail')::jsonb->>'retry_after_s', '2', 'seconds to wait are rounded up');
SET LOCAL quota.now = '2026-03-10 12:00+00';
SELECT is(error_of($$SELECT quota_enforce('life', 'space', 600)$$) - 'state', jsonb_build_object(
	'message', 'Space limit does not allow 600 more (1000/1500).',
	'detail', '{"error":"quota_exceeded","feature":"space","plan":"pro","limit":1500,"used":1000,"remaining":500,"period":"lifetime","retry_after_s":null}',
	'hint', 'A larger plan or an override allows more.'), 'enforce: without a next window');
SELECT is(error_of($$SELECT quota_enforce('enf', 'page')$$), jsonb_build_object('state', 'PT402',
	'message', 'Plan "free" does not include page.', 'detail', '{"error":"feature_not_in_plan","feature":"page","plan":"free"}',
	'hint', 'Plan "pro" includes it.'), 'enforce: PT402');
SELECT is(error_of($$SELECT quota_enforce('susp-admin', 'report')$$), jsonb_build_object('state', 'PT403',
	'message', 'Account is suspended.', 'detail', '{"error":"account_suspended","feature":"report","plan":"free"}',
	'hint', 'Activate the account first.'), 'enforce: PT403');
UPDATE quota.plans SET plan = 'fr"ee\' WHERE plan = 'free';
SELECT is((error_of($$SELECT quota_enforce('enf', 'report')$$)->>'detail')::jsonb->>'plan', 'fr"ee\', 'the detail is JSON whatever is in it');
UPDATE quota.plans SET plan = 'free' WHERE NOT plan IN ('pro', 'terms', 'windows');

/* Accounts of other types; subtransactions. */
SELECT is((d).account || ' ' || brief(d), '6f1c0a9e-8f4e-4e0f-9d5a-0c2b9a7d3e11 ALLOW 1/50 ok', 'an account by uuid')
FROM (SELECT quota_consume(uuid '6F1C0A9E-8F4E-4E0F-9D5A-0C2B9A7D3E11', 'report') AS d) d;
SELECT is(brief(quota_consume('6f1c0a9e-8f4e-4e0f-9d5a-0c2b9a7d3e11', 'report')), 'ALLOW 2/50 ok', 'is the one by text');
SELECT is(brief(quota_consume(account_uuid => '6f1c0a9e-8f4e-4e0f-9d5a-0c2b9a7d3e11', feature => 'report')), 'ALLOW 3/50 ok', 'also by name');
SELECT is((d).account || ' ' || brief(d), '-9223372036854775808 ALLOW 1/50 ok', 'an account by bigint')
FROM (SELECT quota_consume(-9223372036854775808, 'report') AS d) d;
SELECT is(brief(quota_consume(42, 'report')), 'ALLOW 1/50 ok', 'by integer');
SELECT is(brief(quota_consume('42', 'report')), 'ALLOW 2/50 ok', 'is the one by text');
SELECT is(brief(quota_consume(account_id => 42, feature => 'report')), 'ALLOW 3/50 ok', 'also by name');
SELECT is(brief(quota_consume('042', 'report')), 'ALLOW 1/50 ok', 'but text is text');
SELECT is((quota_evaluate(' 42', 'report')).used, 0::bigint, 'blanks and all');
SELECT is((SELECT count(*) FROM quota_evaluate(42)), (SELECT count(*) FROM quota_evaluate('42')), 'the list by bigint');
SELECT is((SELECT sum(used) FROM quota_consume_many(42, '{"report": 1}')), 4::numeric, 'several by bigint');
SELECT is((SELECT sum(used) FROM quota_consume_many(uuid '6f1c0a9e-8f4e-4e0f-9d5a-0c2b9a7d3e11', '{"report": 1}')), 4::numeric, 'several by uuid');
SELECT is((quota_consume('Ünïcödé 🎉 ''"\', 'report')).account, 'Ünïcödé 🎉 ''"\', 'any text is an account');
SELECT is((quota_consume(repeat('é', 127) || 'x', 'report')).used, 1::bigint, 'of up to 255 bytes');
DO $$
BEGIN
	PERFORM quota_consume('undo', 'report', 5);
	BEGIN
		PERFORM quota_consume('undo', 'report', 40);
		RAISE division_by_zero;
	EXCEPTION WHEN division_by_zero THEN
		PERFORM quota_consume('undo', 'report', 2);
	END;
END $$;
SELECT is((quota_evaluate('undo', 'report')).used, 7::bigint, 'what is rolled back is given back');
SAVEPOINT s;
SELECT is((quota_consume('undo', 'report', 40)).used, 47::bigint, 'charged after a savepoint');
ROLLBACK TO s;
SELECT is((quota_evaluate('undo', 'report')).used, 7::bigint, 'and given back');
SELECT is((SELECT max((quota_consume('loop', 'report')).used) FROM generate_series(1, 100)), 55::bigint, 'many in one statement');

SELECT * FROM finish();
ROLLBACK;
