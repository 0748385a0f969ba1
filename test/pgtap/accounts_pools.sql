/*
 * Pools: accounts that draw on the counters of another one, within limits of
 * their own. Both are charged, or neither.
 */
BEGIN;
SELECT no_plan();
\ir _helpers.sql
SET LOCAL quota.now = '2026-01-15 12:00+00';

INSERT INTO quota.features (feature, kind, unit) VALUES ('job', 'counter', 'job'), ('disk', 'gauge', 'MB'), ('page', 'counter', 'page'), ('export', 'flag', NULL), ('sso', 'flag', NULL);
INSERT INTO quota.plans (plan, is_default) VALUES ('free', true), ('team', false), ('seat', false);
INSERT INTO quota.plan_limits (plan, feature, period, usage_limit) VALUES
	('free', 'job', 'month', 2), ('team', 'job', 'month', 20), ('team', 'job', 'day', 12), ('team', 'disk', 'lifetime', 100), ('seat', 'job', 'month', 8), ('seat', 'page', 'month', 3);
INSERT INTO quota.plan_features (plan, feature, value) VALUES ('free', 'export', 'false'), ('team', 'export', 'true'), ('seat', 'sso', '"saml"');
SELECT quota_set_plan('acme', 'team'), quota_set_pool('ann', 'acme'), quota_set_pool('bob', 'acme'), quota_set_plan('bob', 'seat') \g /dev/null
SELECT quota_set_override('ann', 'job', 'month', 5) \g /dev/null
CREATE FUNCTION used(a text, f text) RETURNS text LANGUAGE sql AS
	$$SELECT string_agg(format('%s %s', period, used), ', ' ORDER BY period) FROM quota.counters WHERE account = a AND feature = f$$;

/* A member without a plan of its own has the pool's. */
SELECT is((quota_consume('ann', 'job', 2)).plan, 'team', 'the plan is the pool''s');
SELECT is(used('acme', 'job'), 'day 2, month 2', 'the pool is charged');
SELECT is(used('ann', 'job'), 'month 2', 'and the member, where it has a limit of its own');
SELECT results_eq($$SELECT account, period::text, used, usage_limit, remaining FROM quota_evaluate('ann', 'job')$$,
	$$VALUES ('ann', 'month', 2::bigint, 5::bigint, 3::bigint)$$, 'the figures are the tightest');
SELECT results_eq($$SELECT feature, period::text, used, usage_limit FROM quota_evaluate('ann')$$, $$VALUES
	('disk', 'lifetime', 0::bigint, 100::bigint), ('job', 'day', 2, 12), ('job', 'month', 2, 20), ('job', 'month', 2, 5)$$, 'a row a window, the pool''s first');
SELECT is(brief(quota_consume('ann', 'job', 4)), 'BLOCK 2/5 limit_reached', 'its own limit refuses');
SELECT is(used('acme', 'job') || '; ' || used('ann', 'job'), 'day 2, month 2; month 2', 'and nobody is charged');
SELECT is((quota_consume('ann', 'disk', 30)).used, 30::bigint, 'a level of the pool');
SELECT is(used('ann', 'disk'), NULL, 'without a limit of its own the member has no counter');

/* One with a plan of its own has its limits as well. */
SELECT is((quota_consume('bob', 'job', 7)).plan, 'seat', 'the plan is its own');
SELECT is(used('acme', 'job') || '; ' || used('bob', 'job'), 'day 9, month 9; month 7', 'both are charged');
SELECT is(brief(quota_consume('bob', 'page', 3)), 'ALLOW 3/3 ok', 'what only its own plan has');
SELECT is(used('acme', 'page'), NULL, 'is not the pool''s');
SELECT is(brief(quota_consume('acme', 'page')), 'BLOCK 0/0 not_in_plan', 'which has none');
SELECT is((quota_consume('ann', 'page')).reason, 'not_in_plan', 'nor has a member without that plan');

/* What one has used the others have not. */
SELECT is(brief(quota_consume('ann', 'job', 3)), 'ALLOW 12/12 ok', 'to the last of the pool''s day, and of its own');
SELECT is((SELECT array_agg(brief(quota_consume(a, 'job')) ORDER BY a) FROM unnest('{acme,bob}'::text[]) a)::text,
	'{"BLOCK 12/12 limit_reached","BLOCK 12/12 limit_reached"}', 'nothing is left to the others');
SELECT is((quota_consume('ann', 'job')).message, 'Monthly job limit reached (5/5).', 'of two denials that which lasts longer is told');
SET LOCAL quota.now = '2026-01-16 12:00+00';
SELECT is(brief(quota_consume('bob', 'job')), 'ALLOW_WITH_WARNING 8/8 near_limit', 'the day after');
SELECT is(brief(quota_consume('bob', 'job')), 'BLOCK 8/8 limit_reached', 'to the last of its own');
SELECT is(brief(quota_consume('acme', 'job', 7)), 'ALLOW 20/20 ok', 'to the last of the pool''s month');
SELECT is((SELECT sum(used) FROM quota.counters WHERE account IN ('ann', 'bob') AND feature = 'job'), 13::numeric, 'members have used 13');
SELECT is((SELECT used FROM quota.counters WHERE account = 'acme' AND feature = 'job' AND period = 'month'), 20::bigint, 'of 20');
SELECT is((quota_refund('ann', 'job', 2)).used, 18::bigint, 'giving back');
SELECT is((SELECT array_agg(used ORDER BY account, period, period_start) FROM quota.counters WHERE feature = 'job')::text, '{12,6,18,3,8}', 'gives to both');

/* Several features, all or none. */
SELECT results_eq($$SELECT feature, allowed, used FROM quota_consume_many('ann', '{"job": 2, "disk": 70}')$$, $$VALUES ('disk', true, 100::bigint), ('job', true, 20)$$, 'both');
SELECT results_eq($$SELECT feature, allowed, used FROM quota_consume_many('ann', '{"page": 1, "disk": 1}')$$, $$VALUES ('disk', false, 100::bigint), ('page', false, 0)$$, 'none');

/* Who is suspended, or never refused. */
SELECT quota_suspend('bob') \g /dev/null
SELECT is((quota_consume('bob', 'page')).reason, 'suspended', 'a member');
SELECT is((quota_evaluate('ann', 'disk')).reason, 'limit_reached', 'alone');
SELECT quota_suspend('acme') \g /dev/null
SELECT is((quota_consume('ann', 'job')).reason, 'suspended', 'a pool and its members');
SELECT quota_activate('acme'), quota_activate('bob') \g /dev/null
UPDATE quota.accounts SET bypass = true WHERE account = 'acme';
SELECT is(brief(quota_consume('ann', 'job', 5)), 'ALLOW 25/20 bypass', 'a pool that is never refused');
UPDATE quota.accounts SET bypass = false WHERE account = 'acme';

/* Gates are those of either plan. */
SELECT is(quota_has_feature('ann', 'export'), true, 'the pool''s');
SELECT is(quota_has_feature('bob', 'export'), true, 'the pool''s beside a plan of its own');
SELECT is(quota_feature('bob', 'sso'), '"saml"', 'its own');
SELECT is(quota_has_feature('ann', 'sso'), false, 'neither''s');

/* Reports. */
SELECT is(quota_usage('ann')->>'plan', 'team', 'the plan');
SELECT is(quota_usage('ann')->'features'->'disk', '{"limit": 100, "used": 100, "remaining": 0, "unlimited": false}'::jsonb, 'and what is left of the pool');
SELECT results_eq($$SELECT account, plan, pooled FROM quota.account_plans ORDER BY account$$,
	$$VALUES ('acme' COLLATE "C", 'team' COLLATE "C", false), ('ann', 'team', true), ('bob', 'seat', false)$$, 'plans');
SELECT results_eq($$SELECT account, period::text, used, usage_limit FROM quota.current_usage WHERE feature = 'job' ORDER BY account, period$$, $$VALUES
	('acme' COLLATE "C", 'day', 6::bigint + 2 + 5, 12::bigint), ('acme', 'month', 25, 20), ('ann', 'month', 10, 5), ('bob', 'month', 8, 8)$$, 'current use');
SELECT results_eq($$SELECT plan, accounts, paying FROM quota_plan_stats() WHERE accounts > 0$$, $$VALUES ('seat', 1::bigint, 1::bigint), ('team', 2, 1)$$, 'a pool pays once');

/* A pool needs no row; it is one step, and can be left. */
SELECT quota_set_pool('cy', 'nobody') \g /dev/null
SELECT is((SELECT array_agg((quota_consume(a, 'job')).allowed) FROM unnest('{cy,nobody,cy}'::text[]) a)::text, '{t,t,f}', 'a pool on the default plan');
SELECT throws_ok($$SELECT quota_set_pool('dan', 'ann')$$, '55000', 'account "ann" is in a pool itself', 'a pool of a pool');
SELECT throws_ok($$SELECT quota_set_pool('acme', 'other')$$, '55000', 'account "acme" is a pool itself', 'also from above');
UPDATE quota.accounts SET pool = 'ann' WHERE account = 'cy';
SELECT is((quota_evaluate('cy', 'job')).usage_limit, 5::bigint, 'by hand it is one step nevertheless');
SELECT quota_set_pool('ann', NULL) \g /dev/null
SELECT is(brief(quota_evaluate('ann', 'job')), 'BLOCK 10/5 limit_reached', 'left with what it has used');
SELECT is((quota_evaluate('ann', 'job')).plan, 'free', 'and the default plan');
SELECT quota_set_pool(7, 8), quota_set_pool('00000000-0000-4000-8000-000000000001'::uuid, '00000000-0000-4000-8000-000000000002'::uuid) \g /dev/null
SELECT is((SELECT array_agg(pool ORDER BY account) FROM quota.accounts WHERE account IN ('7', '00000000-0000-4000-8000-000000000001'))::text,
	'{00000000-0000-4000-8000-000000000002,8}', 'named by bigint and uuid');

/* Rows of members. */
CREATE TABLE jobs (id int PRIMARY KEY, account text);
SELECT quota_attach('jobs', 'job', 'account') \g /dev/null
SELECT quota_set_plan('team2', 'team'), quota_set_pool('m1', 'team2'), quota_set_pool('m2', 'team2') \g /dev/null
INSERT INTO jobs SELECT i, 'm' || 1 + i % 2 FROM generate_series(1, 11) i;
SELECT is(used('team2', 'job'), 'day 11, month 11', 'rows of two members');
SELECT is((error_of($$INSERT INTO jobs VALUES (12, 'm1'), (13, 'm2')$$))->>'message', 'Daily job limit reached (12/12).', 'the second of two is refused');
SELECT is(used('team2', 'job'), 'day 11, month 11', 'and neither is charged');

/* Rows that are judged one by one: those of other members count as well. */
CREATE TABLE runs (id int PRIMARY KEY, account text, status text, why text);
SELECT quota_attach('runs', 'job', 'account', on_block => 'mark', status_column => 'status', blocked_status => 'skipped', message_column => 'why') \g /dev/null
SELECT quota_set_plan('team3', 'team'), quota_set_pool('m3', 'team3'), quota_set_pool('m4', 'team3'), quota_set_override('m4', 'job', 'month', 4) \g /dev/null
INSERT INTO runs SELECT i, (ARRAY['m3', 'team3', 'm4'])[1 + i % 3] FROM generate_series(1, 20) i;
SELECT is((SELECT string_agg(format('%s %s', account, n), ', ' ORDER BY account) FROM (SELECT account, count(*) AS n FROM runs WHERE status IS NULL GROUP BY account) r),
	'm3 4, m4 4, team3 4', 'twelve a day are all that go in');
SELECT is(used('team3', 'job') || '; ' || used('m4', 'job'), 'day 12, month 12; month 4', 'and all that is charged');
SELECT is((SELECT why FROM runs WHERE id = 13), 'Daily job limit reached (12/12).', 'the others are told why');
SELECT is((SELECT why FROM runs WHERE id = 14), 'Monthly job limit reached (4/4).', 'by the limit that lasts longest');

SELECT * FROM finish();
ROLLBACK;
