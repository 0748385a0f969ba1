/*
 * Managing accounts: the life of a subscription, overrides, resets, sponsors
 * and members. What ends does so by itself, and nothing but what was asked for
 * changes.
 */
BEGIN;
SELECT no_plan();
\ir _helpers.sql
SET LOCAL timezone = 'UTC';
SET LOCAL quota.now = '2026-03-10 12:00+00';
SELECT quota_apply('{
	"features": {
		"report": {"kind": "counter", "unit": "report"},
		"page": {"kind": "counter"},
		"storage": {"kind": "gauge"},
		"call": {"kind": "rate"},
		"export": {"kind": "flag"}},
	"plans": {
		"free": {"default": true, "price": 0, "limits": {"report": {"month": {"limit": 5}}, "storage": {"lifetime": {"limit": 10}}}},
		"pro": {"price": 9, "limits": {
			"report": {"month": {"limit": 50}, "day": {"limit": 20}}, "page": {"cycle": {"limit": null}},
			"storage": {"lifetime": {"limit": 1000}}, "call": {"minute": {"limit": 60}}}, "features": {"export": true}},
		"team": {"price": 90, "billing_interval": "year", "limits": {"report": {"month": {"limit": 500}}}},
		"daily": {"billing_interval": "day"}, "weekly": {"billing_interval": "week"},
		"founder": {"price": 99, "billing_interval": "once", "limits": {"report": {"month": {"limit": null}}}}}}') \g /dev/null

/* What an account is on: the plan in effect, and what the row says. */
CREATE FUNCTION plan_of(account text) RETURNS text LANGUAGE sql AS $$SELECT (quota_evaluate(account, 'report')).plan$$;
CREATE FUNCTION reason_of(account text) RETURNS text LANGUAGE sql AS $$SELECT (quota_evaluate(account, 'report')).reason$$;
CREATE FUNCTION row_of(which text) RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' ', COALESCE(plan, '-'), status, 'until ' || plan_ends_at, 'trial ' || trial_ends_at, 'then ' || next_plan, 'by ' || sponsor)
	FROM quota.accounts WHERE account = which
$$;
CREATE FUNCTION clock(at text) RETURNS text LANGUAGE sql AS $$SELECT set_config('quota.now', at, true)$$;

/* The three ways to name an account. */
SELECT is(quota_set_plan('acme', 'pro')::text, '', 'set_plan returns nothing');
SELECT is(row_of('acme'), 'pro active', 'set_plan makes the row');
SELECT lives_ok($$SELECT quota_set_plan(42, 'pro', interval '1 day')$$, 'an account of a number');
SELECT is(row_of('42'), 'pro active until 2026-03-11 12:00:00+00', 'is the account of its digits');
SELECT lives_ok($$SELECT quota_set_plan(uuid '6F1C0A9E-8f4e-4e0f-9d5a-0c2b9a7d3e11', 'pro', at_period_end => true)$$, 'an account of a uuid');
SELECT is(row_of('6f1c0a9e-8f4e-4e0f-9d5a-0c2b9a7d3e11'), '- active until 2026-04-01 00:00:00+00 then pro', 'is the account of its text');
SELECT results_eq($$SELECT * FROM quota_preview(42, 'free') WHERE feature = 'storage'$$,
	$$VALUES ('storage'::text, 'lifetime'::quota_period, 0::bigint, 1000::bigint, 10::bigint, 0::bigint)$$, 'a number in a function that returns a table');
SELECT lives_ok($$SELECT quota_sponsor(7, 8, 'pro')$$, 'two numbers');
SELECT is(row_of('8'), 'pro active by 7', 'are two accounts');
SELECT is((SELECT count(*) FROM quota.accounts WHERE account = '7'), 0::bigint, 'a sponsor needs no row');

/* Upgrade for 30 days, then the default plan again. */
SELECT quota_set_plan('bob', 'pro', interval '30 days') \g /dev/null
SELECT is(plan_of('bob'), 'pro', 'upgraded');
SELECT clock('2026-04-09 11:59:59.999999+00') \g /dev/null
SELECT is(plan_of('bob'), 'pro', 'to the last moment');
SELECT clock('2026-04-09 12:00+00') \g /dev/null
SELECT is(plan_of('bob'), 'free', 'and free again');
SELECT quota_set_plan('bob', 'team') \g /dev/null
SELECT is(row_of('bob'), 'team active', 'a plan for good has no end');
SELECT clock('2026-03-10 12:00+00') \g /dev/null

/* Downgrade at the end of what is paid for. */
SELECT quota_set_plan('carl', 'pro') \g /dev/null
UPDATE quota.accounts SET cycle_anchor = '2026-01-31 08:00+00' WHERE account = 'carl';
SELECT quota_set_plan('carl', 'team', at_period_end => true) \g /dev/null
SELECT is(row_of('carl'), 'pro active until 2026-03-31 08:00:00+00 then team', 'at the end of the cycle, which is not one of 28 days');
SELECT quota_set_plan('carl', 'free', at_period_end => true) \g /dev/null
SELECT is(row_of('carl'), 'pro active until 2026-03-31 08:00:00+00 then free', 'another choice in time counts');
SELECT clock('2026-03-31 08:00+00') \g /dev/null
SELECT is(plan_of('carl'), 'free', 'downgraded by itself');
SELECT quota_set_plan('carl', 'pro', at_period_end => true) \g /dev/null
SELECT is(row_of('carl'), 'free active until 2026-04-30 08:00:00+00 then pro', 'what has ended is settled before the next change');
SELECT clock('2026-03-10 12:00+00') \g /dev/null

/* The end of the period by billing interval and anchor. */
SELECT quota_set_plan('p', 'free') \g /dev/null
CREATE FUNCTION end_of(plan text, anchor timestamptz, zone text, at text) RETURNS timestamptz LANGUAGE plpgsql AS $$
BEGIN
	PERFORM clock(at);
	UPDATE quota.accounts a SET plan = end_of.plan, cycle_anchor = anchor, timezone = zone, plan_ends_at = NULL, next_plan = NULL WHERE account = 'p';
	PERFORM quota_set_plan('p', 'free', at_period_end => true);
	RETURN (SELECT plan_ends_at FROM quota.accounts WHERE account = 'p');
END $$;
SELECT is(end_of(plan, anchor::timestamptz, zone, at), ends::timestamptz, format('%s from %s in %s at %s', plan, anchor, zone, at))
FROM (VALUES
	('pro', NULL, NULL, '2026-03-10 12:00+00', '2026-04-01 00:00+00'), ('pro', NULL, NULL, '2026-03-31 23:59:59.999999+00', '2026-04-01 00:00+00'),
	('pro', NULL, NULL, '2026-04-01 00:00+00', '2026-05-01 00:00+00'), ('pro', NULL, 'America/New_York', '2026-03-01 04:59+00', '2026-03-01 05:00+00'),
	('pro', NULL, 'America/New_York', '2026-03-10 12:00+00', '2026-04-01 04:00+00'),
	('pro', '2026-01-31 12:00+00', NULL, '2026-02-10 12:00+00', '2026-02-28 12:00+00'), ('pro', '2026-01-31 12:00+00', NULL, '2026-02-28 12:00+00', '2026-03-31 12:00+00'),
	('pro', '2026-01-31 12:00+00', NULL, '2026-02-28 11:59+00', '2026-02-28 12:00+00'), ('pro', '2024-01-31 12:00+00', NULL, '2024-02-01 12:00+00', '2024-02-29 12:00+00'),
	('pro', '2027-05-15 12:00+00', NULL, '2026-03-10 12:00+00', '2026-03-15 12:00+00'), ('pro', '2026-01-15 12:00+00', 'Europe/Berlin', '2026-03-16 12:00+00', '2026-04-15 11:00+00'),
	('team', NULL, NULL, '2026-03-10 12:00+00', '2027-01-01 00:00+00'), ('team', '2024-02-29 12:00+00', NULL, '2026-03-10 12:00+00', '2027-02-28 12:00+00'),
	('team', '2024-02-29 12:00+00', NULL, '2027-02-28 12:00+00', '2028-02-29 12:00+00'), ('team', '2025-03-10 13:00+00', NULL, '2026-03-10 12:00+00', '2026-03-10 13:00+00'),
	('daily', NULL, NULL, '2026-03-10 12:00+00', '2026-03-11 00:00+00'), ('daily', '2026-01-01 18:00+00', NULL, '2026-03-10 12:00+00', '2026-03-10 18:00+00'),
	('daily', '2026-01-01 18:00+00', NULL, '2026-03-10 18:00+00', '2026-03-11 18:00+00'), ('daily', '2026-01-01 12:00+00', 'Europe/Berlin', '2026-03-28 12:00+00', '2026-03-29 11:00+00'),
	('weekly', NULL, NULL, '2026-03-10 12:00+00', '2026-03-16 00:00+00'), ('weekly', '2026-01-01 18:00+00', NULL, '2026-03-10 12:00+00', '2026-03-12 18:00+00'),
	('weekly', '2027-01-01 18:00+00', NULL, '2026-03-12 18:00+00', '2026-03-13 18:00+00')
) v (plan, anchor, zone, at, ends);
SELECT is(end_of('pro', anchor, zone, at::text), (quota_evaluate('p', 'page')).period_end, format('as a cycle of %s at %s ends', anchor, at))
FROM unnest('{2025-01-29 10:00+00,2025-01-31 23:30+00,2025-10-26 01:30+00}'::timestamptz[]) anchor, unnest('{America/New_York,Asia/Kathmandu}'::text[]) zone,
	unnest('{2026-02-27 12:00+00,2026-02-28 23:45+00,2026-03-08 07:30+00,2026-10-25 01:30+00,2026-10-26 01:29:59+00}'::timestamptz[]) at;
SELECT clock('2026-03-10 12:00+00') \g /dev/null
SELECT throws_ok($$SELECT end_of('founder', NULL, NULL, '2026-03-10 12:00+00')$$, '55000', 'plan "founder" is paid once and has no period that ends', 'what is paid once has no period');
SELECT quota_set_plan('new', 'pro', at_period_end => true) \g /dev/null
SELECT is(row_of('new'), '- active until 2026-04-01 00:00:00+00 then pro', 'an account without a row: after the default plan''s period');
SELECT quota_set_plan('month', 'pro', interval '10 days') \g /dev/null
SELECT quota_set_plan('month', 'team', at_period_end => true) \g /dev/null
SELECT is(row_of('month'), 'pro active until 2026-03-20 12:00:00+00 then team', 'a plan of limited duration: when it ends');

/* A trial. */
SELECT quota_start_trial('dora', 'pro', interval '14 days') \g /dev/null
SELECT is(row_of('dora'), 'pro trialing until 2026-03-24 12:00:00+00 trial 2026-03-24 12:00:00+00', 'a trial');
SELECT is(plan_of('dora'), 'pro', 'gives the plan');
SELECT clock('2026-03-24 12:00+00') \g /dev/null
SELECT is(plan_of('dora'), 'free', 'and falls back by itself');
SELECT clock('2026-03-23 12:00+00') \g /dev/null
SELECT quota_set_plan('dora', 'team', at_period_end => true) \g /dev/null
SELECT is(row_of('dora'), 'pro trialing until 2026-03-24 12:00:00+00 trial 2026-03-24 12:00:00+00 then team', 'what follows it can be chosen');
SELECT clock('2026-03-24 12:00+00') \g /dev/null
SELECT is(plan_of('dora'), 'team', 'and follows by itself');
SELECT quota_set_plan('dora', 'free', at_period_end => true) \g /dev/null
SELECT is(row_of('dora'), 'team active until 2027-01-01 00:00:00+00 trial 2026-03-24 12:00:00+00 then free', 'a trial that is over is none');
SELECT clock('2026-03-10 12:00+00') \g /dev/null
SELECT quota_start_trial('erin', 'pro', interval '14 days') \g /dev/null
SELECT quota_set_plan('erin', 'team') \g /dev/null
SELECT is(row_of('erin'), 'team active trial 2026-03-24 12:00:00+00', 'bought during the trial: active at once, for good');
INSERT INTO quota.accounts (account, plan, status, trial_ends_at) VALUES ('hand', 'pro', 'trialing', '2026-03-20 00:00+00');
SELECT quota_set_plan('hand', 'team', at_period_end => true) \g /dev/null
SELECT is(row_of('hand'), 'pro trialing trial 2026-03-20 00:00:00+00 then team', 'a trial made by hand ends when it did');

/* Cancel. */
SELECT quota_set_plan('finn', 'pro') \g /dev/null
SELECT quota_cancel('finn') \g /dev/null
SELECT is(row_of('finn'), 'pro canceled until 2026-03-10 12:00:00+00', 'canceled');
SELECT is(plan_of('finn'), 'free', 'has the default plan');
SELECT quota_activate('finn') \g /dev/null
SELECT is(plan_of('finn'), 'free', 'also when it is activated');
SELECT quota_set_plan('finn', 'pro') \g /dev/null
SELECT is(row_of('finn'), 'pro active', 'until it buys a plan again');
SELECT quota_cancel('finn', at_period_end => true) \g /dev/null
SELECT is(row_of('finn'), 'pro active until 2026-04-01 00:00:00+00', 'canceled for the end of the period');
SELECT is(plan_of('finn'), 'pro', 'has its plan');
SELECT clock('2026-04-01 00:00+00') \g /dev/null
SELECT is(plan_of('finn'), 'free', 'until then');
SELECT clock('2026-03-10 12:00+00') \g /dev/null
SELECT quota_cancel('finn') \g /dev/null
SELECT quota_set_plan('finn', 'team', at_period_end => true) \g /dev/null
SELECT is(row_of('finn'), '- active until 2026-04-01 00:00:00+00 then team', 'a canceled account comes back at the end of the default plan''s period');
SELECT quota_set_plan('gone', 'pro', interval '1 day') \g /dev/null
SELECT clock('2026-03-15 12:00+00') \g /dev/null
SELECT quota_cancel('gone') \g /dev/null
SELECT is(row_of('gone'), 'pro canceled until 2026-03-11 12:00:00+00', 'what has ended ended then');
SELECT clock('2026-03-10 12:00+00') \g /dev/null
SELECT quota_cancel('nobody yet') \g /dev/null
SELECT is(row_of('nobody yet'), '- canceled until 2026-03-10 12:00:00+00', 'cancel makes the row');

/* Suspend and activate. */
SELECT quota_set_plan('gus', 'pro', interval '30 days') \g /dev/null
SELECT quota_suspend('gus', 'chargeback') \g /dev/null
SELECT is(row_of('gus'), 'pro suspended until 2026-04-09 12:00:00+00', 'suspended');
SELECT is(reason_of('gus'), 'suspended', 'is refused everything');
SELECT quota_set_plan('gus', 'team') \g /dev/null
SELECT is(row_of('gus'), 'team suspended', 'a plan does not end a suspension');
SELECT quota_cancel('gus') \g /dev/null
SELECT is(row_of('gus'), 'team suspended until 2026-03-10 12:00:00+00', 'nor does a cancellation');
SELECT quota_start_trial('gus', 'pro', interval '1 day') \g /dev/null
SELECT is(row_of('gus'), 'pro suspended until 2026-03-11 12:00:00+00 trial 2026-03-11 12:00:00+00', 'nor a trial');
SELECT quota_activate('gus') \g /dev/null
SELECT is(reason_of('gus'), 'ok', 'activated: goes on');
SELECT is(plan_of('gus'), 'pro', 'with what it had');
SELECT clock('2026-03-11 12:00+00') \g /dev/null
SELECT is(plan_of('gus'), 'free', 'as long as it had it');
SELECT clock('2026-03-10 12:00+00') \g /dev/null
INSERT INTO quota.accounts (account, plan, status, trial_ends_at, next_plan) VALUES
	('t', 'pro', 'trialing', '2026-03-20 00:00+00', 'team'), ('c', 'pro', 'canceled', NULL, 'team'), ('d', 'pro', 'past_due', NULL, NULL);
SELECT quota_suspend(a), quota_activate(a) FROM unnest('{t,c,d}'::text[]) a \g /dev/null
SELECT is(row_of('t'), 'pro active until 2026-03-20 00:00:00+00 trial 2026-03-20 00:00:00+00 then team', 'a trial goes on to its end');
SELECT is(plan_of('c'), 'free', 'what was canceled stays so');
SELECT is(row_of('d'), 'pro active', 'what was due is not');
UPDATE quota.accounts SET status = 'past_due' WHERE account = 'd';
SELECT quota_set_plan('d', 'team') \g /dev/null
SELECT is(row_of('d'), 'team past_due', 'a plan does not pay what is due');
SELECT quota_activate('d') \g /dev/null
SELECT is(row_of('d'), 'team active', 'activate does');
SELECT quota_start_trial('t', 'pro', interval '5 days'), quota_activate('t') \g /dev/null
SELECT is(row_of('t'), 'pro trialing until 2026-03-15 12:00:00+00 trial 2026-03-15 12:00:00+00', 'activate ends no trial');
SELECT quota_suspend('never seen') \g /dev/null
SELECT is(reason_of('never seen'), 'suspended', 'suspend makes the row');
SELECT quota_activate('never seen'), quota_activate('nor this') \g /dev/null
SELECT is(row_of(a), '- active', 'activate: ' || a) FROM unnest('{never seen,nor this}'::text[]) a;

/* Preview. */
SELECT quota_set_plan('hal', 'pro') \g /dev/null
SELECT quota_consume('hal', 'report', 15), quota_consume('hal', 'page', 3000), quota_consume('hal', 'storage', 12) \g /dev/null
SELECT results_eq($$SELECT * FROM quota_preview('hal', 'free')$$, $$VALUES
	('page'::text, 'cycle'::quota_period, 3000::bigint, NULL::bigint, 0::bigint, 3000::bigint),
	('report', 'day', 15, 20, NULL, 0), ('report', 'month', 15, 50, 5, 10), ('storage', 'lifetime', 12, 1000, 10, 2)$$, 'a downgrade shows what is over');
SELECT results_eq($$SELECT feature, period::text, used, limit_now, limit_then, over_by FROM quota_preview('hal', 'founder')$$, $$VALUES
	('page'::text, 'cycle'::text, 3000::bigint, NULL::bigint, 0::bigint, 3000::bigint),
	('report', 'day', 15, 20, NULL, 0), ('report', 'month', 15, 50, NULL, 0), ('storage', 'lifetime', 12, 1000, 0, 12)$$, 'what the plan does not have is over');
SELECT quota_set_override('hal', 'report', 'month', 7), quota_set_override('hal', 'storage', 'lifetime', NULL, '2026-03-10 12:00:00.000001+00'),
	quota_set_override('hal', 'page', 'day', 100, '2026-03-10 12:00+00') \g /dev/null
SELECT results_eq($$SELECT feature, period::text, used, limit_now, limit_then, over_by FROM quota_preview('hal', 'free') WHERE feature <> 'page'$$, $$VALUES
	('report'::text, 'day'::text, 15::bigint, 20::bigint, NULL::bigint, 0::bigint), ('report', 'month', 15, 7, 7, 8), ('storage', 'lifetime', 12, NULL, NULL, 0)$$,
	'overrides that last hold on either plan');
SELECT is((SELECT count(*) FROM quota_preview('hal', 'free') WHERE feature = 'page' AND period = 'day'), 0::bigint, 'one that has expired does not');
SELECT results_eq($$SELECT period::text, used, limit_now, limit_then, over_by FROM quota_preview('unknown', 'pro') WHERE feature = 'report'$$,
	$$VALUES ('day'::text, 0::bigint, NULL::bigint, 20::bigint, 0::bigint), ('month', 0, 5, 50, 0)$$, 'an account without a row');
SELECT quota_set_plan('ivy', 'pro'), quota_consume('ivy', 'report', 4), quota_set_plan('ivy', 'free'), quota_suspend('ivy') \g /dev/null
SELECT results_eq($$SELECT period::text, used, limit_now, limit_then, over_by FROM quota_preview('ivy', 'pro') WHERE feature = 'report'$$,
	$$VALUES ('day'::text, 4::bigint, NULL::bigint, 20::bigint, 0::bigint), ('month', 4, 5, 50, 0)$$,
	'use of a window that only the other plan limits, of a suspended account');
SELECT results_eq($$SELECT (d).feature, (d).period, (d).used, (d).usage_limit FROM (SELECT quota_evaluate('hal') AS d) d WHERE (d).feature <> 'call' ORDER BY 1, 2$$,
	$$SELECT feature, period, used, limit_now FROM quota_preview('hal', 'pro') ORDER BY 1, 2$$, 'limits now are those of quota_evaluate, rates left out');
SELECT quota_set_plan('hal', 'team') \g /dev/null
SELECT results_eq($$SELECT (d).feature, (d).period, (d).used, (d).usage_limit FROM (SELECT quota_evaluate('hal') AS d) d ORDER BY 1, 2$$,
	$$SELECT feature, period, used, limit_then FROM quota_preview('hal', 'team') WHERE feature <> 'page' ORDER BY 1, 2$$, 'limits then as well');

/* Overrides. */
SELECT quota_set_override('jan', 'report', 'month', 100, '2026-03-11 00:00+00', 'trade fair') \g /dev/null
SELECT is((SELECT o::text FROM quota.limit_overrides o WHERE account = 'jan'), '(jan,report,month,100,"2026-03-11 00:00:00+00","trade fair")', 'an override');
SELECT is((quota_evaluate('jan', 'report')).usage_limit, 100::bigint, 'is in force');
SELECT clock('2026-03-11 00:00+00') \g /dev/null
SELECT is((quota_evaluate('jan', 'report')).usage_limit, 5::bigint, 'until it expires');
SELECT clock('2026-03-10 12:00+00') \g /dev/null
SELECT quota_set_override('jan', 'report', 'month', NULL) \g /dev/null
SELECT is((SELECT o::text FROM quota.limit_overrides o WHERE account = 'jan'), '(jan,report,month,,,)', 'set again it is another');
SELECT is(reason_of('jan'), 'unlimited', 'unlimited, for good');
SELECT is((SELECT count(*) FROM quota.accounts WHERE account = 'jan'), 0::bigint, 'which needs no row of the account');
SELECT quota_set_override('jan', 'report', 'day', 3), quota_set_override('jan', 'page', 'day', 1), quota_set_override(42, 'report', 'day', 3) \g /dev/null
SELECT quota_clear_override('jan', 'report', 'month') \g /dev/null
SELECT is(quota_feature('jan', 'report'), '{"day": 3, "month": 5}', 'cleared for one period');
SELECT quota_clear_override('jan', 'report') \g /dev/null
SELECT is(quota_feature('jan', 'report'), '{"month": 5}', 'cleared for all of them');
SELECT is(quota_feature('jan', 'page'), '{"day": 1}', 'not for another feature');
SELECT is(quota_feature(42, 'report'), '{"day": 3, "month": 50}', 'nor another account');
SELECT throws_ok($$SELECT quota_clear_override('jan', 'report')$$, '42704', 'account "jan" has no override of feature "report"', 'there is none any more');
SELECT throws_ok($$SELECT quota_clear_override('jan', 'page', 'month')$$, '42704', 'account "jan" has no override of feature "page" for period month', 'nor of that period');

/* Reset. */
SELECT quota_set_plan(a, 'pro') FROM unnest('{kim,lee}'::text[]) a \g /dev/null
UPDATE quota.accounts SET cycle_anchor = '2026-01-20 00:00+00', timezone = 'Asia/Tokyo' WHERE account = 'kim';
SELECT clock(c), quota_consume(a, 'report', 3), quota_consume(a, 'page', 4)
FROM unnest('{2026-02-25 12:00+00,2026-03-09 14:59+00,2026-03-10 12:00+00}'::text[]) c, unnest('{kim,lee}'::text[]) a \g /dev/null
SELECT quota_consume('kim', 'storage', 7) \g /dev/null
CREATE FUNCTION used_by(which text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(format('%s %s %s=%s', feature, period, to_char(period_start, 'MM-DD'), used), ', ' ORDER BY feature, period, period_start)
	FROM (SELECT feature, period, period_start, sum(used) AS used FROM quota.usage WHERE account = which GROUP BY 1, 2, 3) u
$$;
SELECT set_config('lee.before', used_by('lee'), true) \g /dev/null
SELECT is(used_by('kim'), 'page cycle 02-20=12, report day 02-24=3, report day 03-08=3, report day 03-09=3, report month 01-31=3, report month 02-28=6, storage lifetime =7',
	'use of several windows');
SELECT quota_reset('kim') \g /dev/null
SELECT is(used_by('kim'), 'report day 02-24=3, report day 03-08=3, report month 01-31=3, storage lifetime =7',
	'a reset: current windows in the account''s own time zone and cycle, gauges and the past stay');
SELECT is(used_by('lee'), current_setting('lee.before'), 'nobody else''s');
SELECT is((quota_evaluate('kim', 'report')).used, 0::bigint, 'back to 0');
SELECT is((quota_consume('kim', 'report', 20)).decision, 'ALLOW', 'all of it can be used again');
SELECT quota_consume('kim', 'page') \g /dev/null
SELECT quota_reset('kim', 'report') \g /dev/null
SELECT is(used_by('kim'), 'page cycle 02-20=1, report day 02-24=3, report day 03-08=3, report month 01-31=3, storage lifetime =7', 'a reset of one feature');
SELECT quota_reset('kim', 'storage') \g /dev/null
SELECT is((quota_evaluate('kim', 'storage')).used, 0::bigint, 'a gauge that is named');
SELECT quota_record('mo', 'page', 9) \g /dev/null
SELECT quota_reset('mo') \g /dev/null
SELECT is(used_by('mo'), NULL, 'what was counted although the plan does not have it');
SELECT lives_ok($$SELECT quota_reset('who'), quota_reset('who', 'report')$$, 'nothing to reset');

/* Sponsors. */
SELECT quota_sponsor('affiliate', 'lee', 'team') \g /dev/null
SELECT is(row_of('lee'), 'team active by affiliate', 'sponsored');
SELECT quota_sponsor('another', 'lee', 'pro') \g /dev/null
SELECT is(row_of('lee'), 'pro active by another', 'by another');
SELECT quota_set_plan('lee', 'team') \g /dev/null
SELECT is(row_of('lee'), 'team active by another', 'a plan keeps the sponsor');
SELECT quota_unsponsor('lee') \g /dev/null
SELECT is(row_of('lee'), '- active', 'no longer sponsored: the default plan');
SELECT throws_ok($$SELECT quota_unsponsor('lee')$$, '42704', 'account "lee" has no sponsor', 'twice');
SELECT throws_ok($$SELECT quota_unsponsor('nobody at all')$$, '42704', 'account "nobody at all" has no sponsor', 'an account without a row');

/* Users. */
SELECT quota_add_user('n1', 'ann', 'OWNER'), quota_add_user('n2', 'ann'), quota_add_user(99, 'ann', 'ADMIN'), quota_add_user('n1', 'bea', 'AFFILIATE') \g /dev/null
UPDATE quota.accounts SET name = 'North' WHERE account = 'n1';
SELECT results_eq($$SELECT * FROM quota_accounts_of('ann')$$,
	$$VALUES ('99'::text, NULL::text, 'ADMIN'::text), ('n1', 'North', 'OWNER'), ('n2', NULL, 'MEMBER')$$, 'the accounts of a user');
SELECT quota_add_user('n2', 'ann', 'OWNER') \g /dev/null
SELECT is((SELECT role FROM quota_accounts_of('ann') WHERE account = 'n2'), 'OWNER', 'another role');
SELECT quota_remove_user('n1', 'ann') \g /dev/null
SELECT is((SELECT array_agg(account) FROM quota_accounts_of('ann'))::text, '{99,n2}', 'removed');
SELECT is((SELECT array_agg(account) FROM quota_accounts_of('bea'))::text, '{n1}', 'nobody else');
SELECT throws_ok($$SELECT quota_remove_user('n1', 'ann')$$, '42704', 'user "ann" does not belong to account "n1"', 'removed twice');
SELECT is_empty($$SELECT * FROM quota_accounts_of('zoe')$$, 'a user without accounts');

/* Mistakes. % stands for the account. */
CREATE TEMP TABLE calls (call text);
INSERT INTO calls VALUES ('SELECT quota_set_plan(%, ''pro'')'), ('SELECT quota_start_trial(%, ''pro'', ''1 day'')'), ('SELECT quota_cancel(%)'),
	('SELECT quota_suspend(%)'), ('SELECT quota_activate(%)'), ('SELECT * FROM quota_preview(%, ''pro'')'), ('SELECT quota_set_override(%, ''report'', ''month'', 1)'),
	('SELECT quota_clear_override(%, ''report'')'), ('SELECT quota_reset(%)'), ('SELECT quota_reset(%, ''report'')'), ('SELECT quota_unsponsor(%)'), ('SELECT quota_set_pool(%, NULL)'),
	('SELECT quota_add_user(%, ''u'')'), ('SELECT quota_remove_user(%, ''u'')');
CREATE TEMP TABLE before AS SELECT (SELECT jsonb_agg(a ORDER BY account) FROM quota.accounts a) AS accounts, (SELECT count(*) FROM quota.account_users) AS users,
	(SELECT jsonb_agg(o) FROM quota.limit_overrides o) AS overrides, (SELECT max(id) FROM quota.audit_log) AS audited;
SELECT throws_ok(replace(call, '%', account), '22004', 'account must not be null', replace(call, '%', account))
FROM calls, unnest('{"NULL",NULL::text,NULL::bigint,NULL::uuid}'::text[]) account;
SELECT throws_ok(replace(call, '%', ''''''), '22023', 'account must not be empty', replace(call, '%', '''''')) FROM calls;
SELECT throws_ok(replace(call, '%', 'repeat(''a'', 256)'), '22023', 'account is too long', replace(call, '%', 'of 256 bytes')) FROM calls;
SELECT throws_ok(call, state, message, call)
FROM (VALUES
	($$SELECT quota_set_plan('x', NULL)$$, '22004', 'plan must not be null'), ($$SELECT quota_set_plan('x', 'gold')$$, '42704', 'plan "gold" does not exist'),
	($$SELECT quota_set_plan('x', '')$$, '42704', 'plan "" does not exist'), ($$SELECT quota_set_plan('x', 'PRO')$$, '42704', 'plan "PRO" does not exist'),
	($$SELECT quota_set_plan('x', 'pro', '0')$$, '22023', 'duration must be positive'), ($$SELECT quota_set_plan('x', 'pro', '-1 day')$$, '22023', 'duration must be positive'),
	($$SELECT quota_set_plan('x', 'pro', '1 day', true)$$, '22023', 'duration must be null with at_period_end'),
	($$SELECT quota_set_plan('x', 'pro', at_period_end => NULL)$$, '22004', 'at_period_end must not be null'),
	($$SELECT quota_set_plan('x', 'pro', '300000 years')$$, '22008', NULL),
	($$SELECT quota_start_trial('x', NULL, '1 day')$$, '22004', 'plan must not be null'), ($$SELECT quota_start_trial('x', 'gold', '1 day')$$, '42704', 'plan "gold" does not exist'),
	($$SELECT quota_start_trial('x', 'pro', NULL)$$, '22004', 'duration must not be null'), ($$SELECT quota_start_trial('x', 'pro', '0')$$, '22023', 'duration must be positive'),
	($$SELECT quota_cancel('x', NULL)$$, '22004', 'at_period_end must not be null'),
	($$SELECT * FROM quota_preview('x', NULL)$$, '22004', 'plan must not be null'), ($$SELECT * FROM quota_preview('x', 'gold')$$, '42704', 'plan "gold" does not exist'),
	($$SELECT quota_set_override('x', NULL, 'month', 1)$$, '22004', 'feature must not be null'), ($$SELECT quota_set_override('x', 'none', 'month', 1)$$, '42704', 'feature "none" does not exist'),
	($$SELECT quota_set_override('x', 'report', NULL, 1)$$, '22004', 'period must not be null'), ($$SELECT quota_set_override('x', 'report', 'fortnight', 1)$$, '22P02', NULL),
	($$SELECT quota_set_override('x', 'report', 'month', -1)$$, '22023', 'usage_limit must not be negative'),
	($$SELECT quota_set_override('x', 'storage', 'month', 1)$$, '23514', 'feature "storage" of kind gauge cannot have a limit for period month'),
	($$SELECT quota_set_override('x', 'export', 'lifetime', 1)$$, '23514', 'feature "export" of kind flag cannot have a limit for period lifetime'),
	($$SELECT quota_clear_override('x', NULL)$$, '22004', 'feature must not be null'), ($$SELECT quota_clear_override('x', 'none')$$, '42704', 'feature "none" does not exist'),
	($$SELECT quota_reset('x', 'none')$$, '42704', 'feature "none" does not exist'), ($$SELECT quota_reset('x', '')$$, '42704', 'feature "" does not exist'),
	($$SELECT quota_sponsor(NULL, 'x', 'pro')$$, '22004', 'sponsor must not be null'), ($$SELECT quota_sponsor('', 'x', 'pro')$$, '22023', 'sponsor must have 1 to 255 bytes'),
	($$SELECT quota_sponsor(repeat('s', 256), 'x', 'pro')$$, '22023', 'sponsor must have 1 to 255 bytes'), ($$SELECT quota_sponsor('s', NULL, 'pro')$$, '22004', 'account must not be null'),
	($$SELECT quota_sponsor('s', '', 'pro')$$, '22023', 'account must not be empty'), ($$SELECT quota_sponsor('x', 'x', 'pro')$$, '22023', 'sponsor must be another account'),
	($$SELECT quota_sponsor('s', 'x', NULL)$$, '22004', 'plan must not be null'), ($$SELECT quota_sponsor('s', 'x', 'gold')$$, '42704', 'plan "gold" does not exist'),
	($$SELECT quota_set_pool('x', '')$$, '22023', 'pool must have 1 to 255 bytes'), ($$SELECT quota_set_pool('x', repeat('p', 256))$$, '22023', 'pool must have 1 to 255 bytes'),
	($$SELECT quota_set_pool('x', 'x')$$, '22023', 'pool must be another account'), ($$SELECT quota_set_pool(1, 1)$$, '22023', 'pool must be another account'),
	($$SELECT quota_add_user('x', NULL)$$, '22004', 'user_id must not be null'), ($$SELECT quota_add_user('x', '')$$, '22023', 'user_id must have 1 to 255 bytes'),
	($$SELECT quota_add_user('x', repeat('u', 256))$$, '22023', 'user_id must have 1 to 255 bytes'), ($$SELECT quota_add_user('x', 'u', NULL)$$, '22004', 'role must not be null'),
	($$SELECT quota_add_user('x', 'u', 'KING')$$, '22023', 'role must be OWNER, MEMBER, AFFILIATE or ADMIN'), ($$SELECT quota_add_user('x', 'u', 'owner')$$, '22023', 'role must be OWNER, MEMBER, AFFILIATE or ADMIN'),
	($$SELECT quota_remove_user('x', NULL)$$, '22004', 'user_id must not be null'),
	($$SELECT * FROM quota_accounts_of(NULL)$$, '22004', 'user_id must not be null'), ($$SELECT * FROM quota_accounts_of('')$$, '22023', 'user_id must have 1 to 255 bytes'),
	($$SELECT quota_set_plan(1.5, 'pro')$$, '42883', NULL)
) v (call, state, message);
SELECT results_eq($$SELECT (SELECT jsonb_agg(a ORDER BY account) FROM quota.accounts a), (SELECT count(*) FROM quota.account_users),
	(SELECT jsonb_agg(o) FROM quota.limit_overrides o), (SELECT max(id) FROM quota.audit_log)$$, 'SELECT * FROM before', 'nothing of this was half done');

SELECT * FROM finish();
ROLLBACK;
