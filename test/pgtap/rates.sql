/*
 * Rates under a fixed clock: what is admitted, when the next one is, and what
 * is told. Buckets are not rolled back, so the test begins by emptying them.
 */
BEGIN;
SELECT no_plan();
\ir _helpers.sql
SET LOCAL timezone = 'UTC';

SELECT quota_apply('{
	"features": {
		"request": {"kind": "rate", "unit": "request"},
		"call": {"kind": "rate"}, "odd": {"kind": "rate"}, "none": {"kind": "rate"}, "any": {"kind": "rate"}, "soft": {"kind": "rate"},
		"paid": {"kind": "rate"}, "wide": {"kind": "rate"}, "daily": {"kind": "rate"}, "extra": {"kind": "rate"}, "job": {"kind": "counter"}},
	"plans": {
		"free": {"default": true, "limits": {
			"request": {"minute": {"limit": 60}},
			"call": {"second": {"limit": 10, "burst": 30}, "minute": {"limit": 100}},
			"odd": {"second": {"limit": 7}},
			"none": {"minute": {"limit": 0, "burst": 5}},
			"any": {"minute": {"limit": null, "burst": 5}},
			"soft": {"minute": {"limit": 10, "on_limit": "warn"}},
			"paid": {"minute": {"limit": 10, "on_limit": "charge", "overage_cap": 5}},
			"wide": {"minute": {"limit": 10, "warn_ratio": 0.5, "block_ratio": 1.55}},
			"daily": {"day": {"limit": 24}, "hour": {"limit": 5}},
			"job": {"month": {"limit": 3}}}},
		"pro": {"rate_multiplier": 5, "limits": {
			"request": {"minute": {"limit": 60}}, "call": {"second": {"limit": 10, "burst": 30}}, "job": {"month": {"limit": 3}}}},
		"half": {"rate_multiplier": 0.5, "limits": {
			"odd": {"second": {"limit": 7}}, "request": {"minute": {"limit": 1}}, "none": {"minute": {"limit": 0}},
			"call": {"second": {"limit": 10, "burst": 1}}}}}}') \g /dev/null
INSERT INTO quota.accounts (account, plan, status, bypass) VALUES ('pro', 'pro', 'active', false), ('half', 'half', 'active', false),
	('gone', 'free', 'suspended', false), ('boss', 'free', 'active', true), ('own', 'pro', 'active', false);
SELECT quota_rate_clear(a) FROM unnest('{ada,bob,cyd,dan,eve,fay,gus,hal,ida,pro,half,gone,boss,own,club,kit,kai,42,6f1c0a9e-8f4e-4e0f-9d5a-0c2b9a7d3e11}'::text[]) a \g /dev/null

/* Seconds from noon on. */
CREATE FUNCTION at(seconds numeric) RETURNS void LANGUAGE sql AS
$$SELECT set_config('quota.now', (timestamptz '2026-03-10 12:00+00' + seconds * interval '1 second')::text, true)$$;
/* A decision with what is left, and when there is more: BLOCK 60/60 0 rate_limited 00:00:01 */
CREATE FUNCTION told(d quota_decision) RETURNS text LANGUAGE sql AS
$$SELECT concat_ws(' ', brief(d), 'left', d.remaining, 'retry', d.retry_after)$$;
/* The rates of an account that are in use. */
CREATE FUNCTION in_use(account text) RETURNS text LANGUAGE sql AS
$$SELECT string_agg(concat_ws(' ', feature, period, used || '/' || usage_limit, 'burst', burst, 'left', remaining, 'for', resets_in), ', ')
FROM quota_rates(account) WHERE used > 0$$;
SELECT at(0) \g /dev/null

/* The burst at once, to the unit, in one statement, and the next unit a second later, to the microsecond. */
SELECT is((SELECT count(*) FROM generate_series(1, 100) i WHERE (quota_consume('ada', 'request')).allowed), 60::bigint, 'sixty of a hundred');
SELECT is(told(quota_consume('ada', 'request')), 'BLOCK 60/60 rate_limited left 0 retry 00:00:01', 'the next is refused');
SELECT is((quota_consume('ada', 'request')).message, 'Per-minute request limit reached (60/60).', 'and told why');
SELECT results_eq($$SELECT plan, period, allowed, ratio, overage, period_start, period_end FROM quota_consume('ada', 'request')$$,
	$$VALUES ('free', 'minute'::quota_period, false, 1::float8, 0::bigint, NULL::timestamptz, NULL::timestamptz)$$, 'a rate has no window');
SELECT at(0.999999) \g /dev/null
SELECT is(told(quota_consume('ada', 'request')), 'BLOCK 60/60 rate_limited left 0 retry 00:00:00.001', 'a microsecond too early: a millisecond to wait');
SELECT at(1) \g /dev/null
SELECT is(told(quota_evaluate('ada', 'request')), 'ALLOW_WITH_WARNING 59/60 near_limit left 1 retry', 'a second later there is room');
SELECT is(told(quota_consume('ada', 'request', 2)), 'BLOCK 59/60 rate_limited left 1 retry 00:00:01', 'for one, not two');
SELECT is((quota_consume('ada', 'request', 2)).message, 'Per-minute request limit does not allow 2 more (59/60).', 'which is told');
SELECT is(told(quota_consume('ada', 'request')), 'ALLOW_WITH_WARNING 60/60 near_limit left 0 retry', 'for one');
SELECT at(11.5) \g /dev/null
SELECT is(told(quota_consume('ada', 'request', 11)), 'BLOCK 50/60 rate_limited left 10 retry 00:00:00.5', 'ten and a half have run out: the half does not count');
SELECT is(told(quota_consume('ada', 'request', 61)), 'BLOCK 50/60 rate_limited left 10 retry', 'more than the burst: waiting never helps');
SELECT at(60.999999) \g /dev/null
SELECT is(told(quota_evaluate('ada', 'request')), 'ALLOW 1/60 ok left 59 retry', 'the last microsecond');
SELECT is(in_use('ada'), 'request minute 1/60 burst 60 left 59 for 00:00:00.000001', 'as it stands');
SELECT at(61) \g /dev/null
SELECT is(told(quota_evaluate('ada', 'request', 60)), 'ALLOW 0/60 ok left 60 retry', 'empty');
SELECT is(in_use('ada'), NULL, 'nothing in use');

/* A unit that takes no whole number of microseconds. */
SELECT at(0) \g /dev/null
SELECT is(told(quota_consume('ada', 'odd', 7)), 'ALLOW 7/7 ok left 0 retry', 'seven at once');
SELECT at(0.142857) \g /dev/null
SELECT is(told(quota_consume('ada', 'odd')), 'BLOCK 7/7 rate_limited left 0 retry 00:00:00.001', 'a seventh of a second, rounded down, is too early');
SELECT at(0.142858) \g /dev/null
SELECT is(told(quota_consume('ada', 'odd')), 'ALLOW_WITH_WARNING 7/7 near_limit left 0 retry', 'rounded up it is enough');
/* Whoever keeps asking gets the burst and the limit in each period, exactly: the time lost to rounding is not. */
CREATE FUNCTION admitted(account text, feature text, step numeric, until numeric) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	units bigint := 0;
	seconds numeric := 0;
BEGIN
	WHILE seconds <= until LOOP
		PERFORM at(seconds);
		WHILE (quota_consume(account, feature)).allowed LOOP
			units := units + 1;
		END LOOP;
		seconds := seconds + step;
	END LOOP;
	RETURN units;
END $$;
SELECT is(admitted('bob', 'odd', 0.001, 3), (7 + 3 * 7)::bigint, 'three seconds, asking each millisecond');
SELECT is(admitted('cyd', 'odd', 0.013, 13), (7 + 13 * 7)::bigint, 'thirteen seconds, asking each 13 milliseconds');
SELECT is(admitted('bob', 'daily', 900, 86400), (24 + 24)::bigint, 'a day, asking each quarter of an hour, of 5 an hour and 24 a day');

/* What is asked for and refused costs nothing; what is evaluated neither. */
SELECT at(0) \g /dev/null
SELECT is(told(quota_evaluate('bob', 'request', 60)), 'ALLOW 0/60 ok left 60 retry', 'evaluate tells');
SELECT is(told(quota_evaluate('bob', 'request', 60)), 'ALLOW 0/60 ok left 60 retry', 'and takes nothing');
SELECT is(told(quota_consume('bob', 'request', 61)), 'BLOCK 0/60 rate_limited left 60 retry', 'refused');
SELECT is(told(quota_consume('bob', 'request', 60)), 'ALLOW 60/60 ok left 0 retry', 'and nothing taken');

/* An error as the application gets it. */
SELECT is(error_of($$SELECT quota_enforce('bob', 'request')$$), '{"state": "PT429", "message": "Per-minute request limit reached (60/60).",
	"detail": "{\"error\":\"quota_exceeded\",\"feature\":\"request\",\"plan\":\"free\",\"limit\":60,\"used\":60,\"remaining\":0,\"period\":\"minute\",\"retry_after_s\":1.000}",
	"hint": "There is room again at 2026-03-10 12:00:01+00; a larger plan or an override allows more now."}'::jsonb, 'PT429');
SELECT is(error_of($$SELECT quota_enforce('bob', 'odd', 8)$$)->>'detail',
	'{"error":"quota_exceeded","feature":"odd","plan":"free","limit":7,"used":7,"remaining":0,"period":"second","retry_after_s":null}', 'waiting never helps');

/* Nothing allowed, everything allowed. */
SELECT is(told(quota_consume('ada', 'none')), 'BLOCK 0/0 rate_limited left 0 retry', 'a limit of 0, with a burst');
SELECT is((quota_consume('ada', 'none')).message, 'Per-minute none limit reached (0/0).', 'is told');
SELECT is((quota_consume('ada', 'none')).ratio, 1::float8, 'its ratio');
SELECT is(told(quota_record('ada', 'none', 9)), 'ALLOW_WITH_WARNING 0/0 soft_limit left 0 retry', 'and recorded without being kept');
SELECT is(told(quota_consume('ada', 'any', 9223372036854775807)), 'ALLOW 0/- unlimited left retry', 'unlimited: not kept');

/* What does not block. */
SELECT is(told(quota_consume('ada', 'soft', 10)), 'ALLOW 10/10 ok left 0 retry', 'warn: to the limit');
SELECT is(told(quota_consume('ada', 'soft', 2)), 'ALLOW_WITH_WARNING 12/10 soft_limit left 0 retry', 'warn: past it');
SELECT is((quota_evaluate('ada', 'soft')).message, 'Over limit: 12/10 soft (120%)', 'warn: as it is told');
SELECT is((quota_consume('ada', 'soft')).overage, 0::bigint, 'a rate has no overage');
SELECT is(told(quota_consume('ada', 'paid', 15)), 'ALLOW_WITH_WARNING 15/10 overage left 0 retry', 'charge: up to the cap');
SELECT is(told(quota_consume('ada', 'paid')), 'BLOCK 15/10 rate_limited left 0 retry 00:00:06', 'charge: not past it');
SELECT is(told(quota_consume('ada', 'wide', 5)), 'ALLOW 5/10 ok left 5 retry', 'ratios: to half');
SELECT is(told(quota_consume('ada', 'wide', 10)), 'ALLOW_WITH_WARNING 15/10 soft_limit left 0 retry', 'ratios: fifteen of fifteen and a half');
SELECT is(told(quota_consume('ada', 'wide')), 'BLOCK 15/10 rate_limited left 0 retry 00:00:06', 'ratios: no more');

/* Recorded, given back. */
SELECT is(told(quota_record('cyd', 'request', 65)), 'ALLOW_WITH_WARNING 65/60 soft_limit left 0 retry', 'record: past the limit');
SELECT is(told(quota_consume('cyd', 'request')), 'BLOCK 65/60 rate_limited left 0 retry 00:00:06', 'which others wait for');
SELECT is(told(quota_refund('cyd', 'request', 5)), 'ALLOW_WITH_WARNING 60/60 near_limit left 0 retry', 'five given back');
SELECT is(told(quota_refund('cyd', 'request', 10, '2001-01-01')), 'ALLOW_WITH_WARNING 50/60 near_limit left 10 retry', 'a rate has no past');
SELECT at(0.5) \g /dev/null
SELECT is(told(quota_refund('cyd', 'request', 49)), 'ALLOW 1/60 ok left 59 retry', 'half a unit is left');
SELECT is(told(quota_refund('cyd', 'request', 1000)), 'ALLOW 0/60 ok left 60 retry', 'never below nothing');
SELECT is(told(quota_consume('cyd', 'request', 61)), 'BLOCK 0/60 rate_limited left 60 retry', 'the burst is not larger for it');
SELECT is((SELECT count(*) FROM generate_series(1, 100) i WHERE (quota_consume('cyd', 'request')).allowed), 60::bigint, 'nor what is admitted');

/* Several windows: all or none. */
SELECT at(0) \g /dev/null
SELECT is((quota_consume('dan', 'call', 30)).period, 'second'::quota_period, 'the second has least left');
SELECT is(in_use('dan'), 'call second 30/10 burst 30 left 0 for 00:00:03, call minute 30/100 burst 100 left 70 for 00:00:18', 'both are taken');
SELECT is(told(quota_consume('dan', 'call')), 'BLOCK 30/10 rate_limited left 0 retry 00:00:00.1', 'the second refuses');
SELECT is((quota_consume('dan', 'call')).message, 'Per-second call limit reached (30/30).', 'with the burst told');
SELECT is((quota_evaluate('dan', 'call')).ratio, 1::float8, 'and the ratio to it');
SELECT is((SELECT string_agg((quota_consume('dan', 'call', 30)).used::text, ' ') FROM (SELECT at(s), s FROM generate_series(3, 6, 3) s OFFSET 0) t), '30 30', 'again, three seconds later each');
SELECT at(9) \g /dev/null
SELECT is(told(quota_consume('dan', 'call', 30)), 'BLOCK 75/100 rate_limited left 25 retry 00:00:03', 'now the minute refuses');
SELECT is(in_use('dan'), 'call minute 75/100 burst 100 left 25 for 00:00:45', 'and nothing is taken from the second');
SELECT is((quota_consume('dan', 'call', 31)).period, 'second'::quota_period, 'of two that refuse, the one that does for ever');
SELECT is((quota_consume('dan', 'call', 25)).allowed, true, 'what is left');
SELECT is((quota_consume('dan', 'call', 10)).period, 'minute'::quota_period, 'of two that refuse, the one that does longer');

/* The multiplier, overrides, a change of plan. */
SELECT at(0) \g /dev/null
SELECT is(told(quota_consume('pro', 'request', 300)), 'ALLOW 300/300 ok left 0 retry', 'five times the limit');
SELECT is(told(quota_consume('pro', 'request')), 'BLOCK 300/300 rate_limited left 0 retry 00:00:00.2', 'and five times as fast');
SELECT is(told(quota_consume('pro', 'call', 150)), 'ALLOW 150/50 ok left 0 retry', 'five times the burst');
SELECT is(told(quota_consume('half', 'odd', 4)), 'BLOCK 0/3 rate_limited left 3 retry', 'half of seven is three');
SELECT is(told(quota_consume('half', 'request')), 'ALLOW 1/1 ok left 0 retry', 'half of one is one');
SELECT is(told(quota_consume('half', 'call', 2)), 'BLOCK 0/5 rate_limited left 1 retry', 'a burst as well');
SELECT is(told(quota_consume('half', 'none')), 'BLOCK 0/0 rate_limited left 0 retry', 'nothing stays nothing');
SELECT is(quota_feature('pro', 'call'), '{"second": 50}', 'the limit in force');
SELECT is(told(quota_consume('own', 'request', 60)), 'ALLOW 60/300 ok left 240 retry', 'before an override');
SELECT quota_set_override('own', 'request', 'minute', 120) \g /dev/null
SELECT is(told(quota_consume('own', 'request', 60)), 'ALLOW 120/120 ok left 0 retry', 'an override is not multiplied, and what is used stays used');
SELECT is(told(quota_consume('own', 'request')), 'BLOCK 120/120 rate_limited left 0 retry 00:00:00.5', 'and its speed is its own');
SELECT quota_set_override('own', 'request', 'minute', 0) \g /dev/null
SELECT is(told(quota_consume('own', 'request')), 'BLOCK 0/0 rate_limited left 0 retry', 'an override of nothing');
SELECT quota_set_override('own', 'request', 'minute', NULL) \g /dev/null
SELECT is(told(quota_consume('own', 'request', 1000000)), 'ALLOW 0/- unlimited left retry', 'an override without limit');
SELECT quota_set_override('own', 'call', 'second', 20) \g /dev/null
SELECT is(told(quota_consume('own', 'call', 150)), 'ALLOW 150/20 ok left 0 retry', 'an override keeps the burst of the plan');
SELECT quota_set_override('own', 'extra', 'hour', 2) \g /dev/null
SELECT is(told(quota_consume('own', 'extra', 2)), 'ALLOW 2/2 ok left 0 retry', 'an override of what the plan does not have');
SELECT is(told(quota_consume('own', 'extra')), 'BLOCK 2/2 rate_limited left 0 retry 00:30:00', 'half an hour for one');
SELECT is((quota_consume('eve', 'request', 60)).allowed, true, 'free, all used');
SELECT quota_set_plan('eve', 'pro') \g /dev/null
SELECT is(told(quota_consume('eve', 'request')), 'ALLOW 61/300 ok left 239 retry', 'pro, at once');
UPDATE quota.plans SET rate_multiplier = 1 WHERE plan = 'pro';
SELECT is(told(quota_consume('eve', 'request')), 'BLOCK 61/60 rate_limited left 0 retry 00:00:02', 'a multiplier that has changed');

/* Rates and counters together: all or none. */
SELECT is((SELECT string_agg(concat_ws(' ', feature, allowed, used), ', ') FROM quota_consume_many('fay', '{"request": 59, "job": 1, "odd": 7}')),
	'job t 1, odd t 7, request t 59', 'all');
SELECT is((SELECT string_agg(concat_ws(' ', feature, allowed, used, reason), ', ') FROM quota_consume_many('fay', '{"request": 2, "job": 1}')),
	'job t 1 ok, request f 59 rate_limited', 'none: the rate is full');
SELECT is((SELECT string_agg(concat_ws(' ', feature, allowed, used, reason), ', ') FROM quota_consume_many('fay', '{"request": 1, "job": 3}')),
	'job f 1 limit_reached, request t 59 near_limit', 'none: the counter is full');
SELECT is((SELECT string_agg(concat_ws(' ', feature, allowed, used, reason), ', ') FROM quota_consume_many('fay', '{"request": 1, "odd": 1}')),
	'odd f 7 rate_limited, request t 59 near_limit', 'none: one of two rates is full');
SELECT is((quota_evaluate('fay', 'job')).used || ' ' || in_use('fay'),
	'1 odd second 7/7 burst 7 left 0 for 00:00:01, request minute 59/60 burst 60 left 1 for 00:00:59', 'as it stands');

/* A pool's rate is its members', beside one of their own. */
SELECT quota_set_pool('kit', 'club'), quota_set_pool('kai', 'club'), quota_set_override('kai', 'request', 'minute', 5) \g /dev/null
SELECT is(told(quota_consume('kit', 'request', 40)), 'ALLOW 40/60 ok left 20 retry', 'a member takes of the pool');
SELECT is(told(quota_consume('kai', 'request', 6)), 'BLOCK 0/5 rate_limited left 5 retry', 'another keeps to a limit of its own');
SELECT is(told(quota_consume('kai', 'request', 5)), 'ALLOW 5/5 ok left 0 retry', 'and fills both buckets');
SELECT is((SELECT string_agg(used || '/' || usage_limit, ' ') FROM quota_rates('kai') WHERE feature = 'request'), '45/60 5/5', 'as it stands, the pool first');
SELECT is(told(quota_consume('kit', 'request', 16)), 'BLOCK 45/60 rate_limited left 15 retry 00:00:01', 'what is left to the first');
SELECT is(in_use('club'), 'request minute 45/60 burst 60 left 15 for 00:00:45', 'the pool');

/* Who is refused, whatever the rate; who is not. */
SELECT is(told(quota_consume('gone', 'request')), 'BLOCK 0/60 suspended left 60 retry', 'suspended');
SELECT is(told(quota_consume('ada', 'extra')), 'BLOCK 0/0 not_in_plan left 0 retry', 'not in the plan');
SELECT is(error_of($$SELECT quota_enforce('ada', 'extra')$$)->>'state', 'PT402', 'an error of its own');
SELECT is(told(quota_record('ada', 'extra')), 'ALLOW_WITH_WARNING 0/- not_in_plan left retry', 'recorded without being kept');
SELECT is(told(quota_consume('boss', 'request', 70)), 'ALLOW 70/60 bypass left 0 retry', 'bypass: counted');
SELECT is(told(quota_consume('boss', 'request')), 'ALLOW 71/60 bypass left 0 retry', 'bypass: and let through');
SET LOCAL quota.enforcement = 'shadow';
SELECT is(told(quota_consume('gus', 'odd', 8)), 'ALLOW_WITH_WARNING 8/7 shadow left 0 retry', 'shadow: told, counted');
SELECT is((quota_consume('gus', 'odd')).message, 'Would be refused: 9/7 odd', 'shadow: the message');
SET LOCAL quota.enforcement = 'off';
SELECT is(told(quota_consume('gus', 'odd', 100)), 'ALLOW 9/7 ok left 0 retry', 'off: neither');
SELECT is((quota_refund('gus', 'odd', 1)).used, 9::bigint, 'off: nor given back');
RESET quota.enforcement;
SET LOCAL quota.enforcement = 'on';
SELECT is(told(quota_consume('gus', 'odd')), 'BLOCK 9/7 rate_limited left 0 retry 00:00:00.429', 'on: three sevenths of a second, rounded up');

/* A uuid and a bigint are their texts. */
SELECT is((quota_consume(42, 'request', 20)).used + (quota_consume('42', 'request', 20)).used, 60::bigint, 'a bigint');
SELECT is((quota_consume(uuid '6F1C0A9E-8F4E-4E0F-9D5A-0C2B9A7D3E11', 'request', 20)).used
	+ (quota_consume('6f1c0a9e-8f4e-4e0f-9d5a-0c2b9a7d3e11', 'request', 20)).used, 60::bigint, 'a uuid');
SELECT is((SELECT used FROM quota_rates(42) WHERE feature = 'request'), 40::bigint, 'rates of a bigint');
SELECT is((SELECT used FROM quota_rates(uuid '6f1c0a9e-8f4e-4e0f-9d5a-0c2b9a7d3e11') WHERE feature = 'request'), 40::bigint, 'rates of a uuid');

/* Not undone, unlike a counter beside it. */
DO $$
BEGIN
	PERFORM quota_consume_many('hal', '{"request": 10, "job": 2}');
	RAISE division_by_zero;
EXCEPTION WHEN division_by_zero THEN
END $$;
SELECT is((quota_evaluate('hal', 'request')).used || ' ' || (quota_evaluate('hal', 'job')).used, '10 0', 'rolled back: a rate stays taken, a counter does not');

/* A clock that goes back. */
SELECT is((quota_consume('ida', 'request', 60)).allowed, true, 'full');
SELECT at(-0.5) \g /dev/null
SELECT is((quota_consume('ida', 'request')).allowed, false, 'half a second back');
SELECT at(0.5) \g /dev/null
SELECT is((quota_consume('ida', 'request')).allowed, false, 'and forth');
SELECT at(1) \g /dev/null
SELECT is((SELECT count(*) FROM generate_series(1, 5) i WHERE (quota_consume('ida', 'request')).allowed), 1::bigint, 'no time was counted twice');
SELECT at(-3600) \g /dev/null
SELECT is(told(quota_consume('ida', 'request')), 'BLOCK 60/60 rate_limited left 0 retry 00:00:01', 'an hour back: no more is granted');
SELECT is(told(quota_refund('ida', 'request')), 'ALLOW_WITH_WARNING 59/60 near_limit left 1 retry', 'the bucket goes by the new time');
SELECT at(-3590) \g /dev/null
SELECT is(told(quota_evaluate('ida', 'request')), 'ALLOW_WITH_WARNING 49/60 near_limit left 11 retry', 'and nobody is locked out for the hour');

/* Figures at the edge of what can be counted. */
SELECT at(0) \g /dev/null
SELECT is((quota_record('ida', 'soft', 9223372036854775807)).used, 9223372036854775807, 'all that can be counted');
SELECT throws_ok($$SELECT quota_record('ida', 'soft')$$, '22003', 'use out of range', 'and no more');
SELECT throws_ok($$SELECT quota_evaluate('ida', 'soft')$$, '22003', 'use out of range', 'nor to be judged');
SELECT is((SELECT resets_in IS NULL FROM quota_rates('ida') WHERE feature = 'soft'), true, 'it never resets');
SELECT is((quota_refund('ida', 'soft', 9223372036854775807)).used, 0::bigint, 'but can be given back');
SELECT quota_set_override('ida', 'soft', 'minute', 9223372036854775807) \g /dev/null
SELECT is((quota_consume('ida', 'soft', 9223372036854775807)).remaining, 0::bigint, 'the largest limit');
SELECT at(30) \g /dev/null
SELECT is((quota_evaluate('ida', 'soft')).used, 4611686018427387904, 'half of it, a half minute later');

/* A rate of 0 admits nothing and keeps nothing, whatever happens at its limit: what a cap admitted would never run out. */
SELECT at(0) \g /dev/null
INSERT INTO quota.features (feature, kind) VALUES ('zero', 'rate'), ('edge', 'rate');
INSERT INTO quota.plans (plan) VALUES ('edge');
INSERT INTO quota.plan_limits (plan, feature, period, usage_limit, on_limit, overage_cap, burst) VALUES
	('edge', 'zero', 'second', 0, 'charge', 5, NULL), ('edge', 'zero', 'minute', 0, 'charge', 9223372036854775807, 9223372036854775807),
	('edge', 'edge', 'second', 1, 'charge', 9223372036854775807, 9223372036854775807), ('edge', 'edge', 'day', 9223372036854775807, 'block', NULL, 1);
INSERT INTO quota.accounts (account, plan) VALUES (repeat('z', 255), 'edge'), ('zed', 'edge');
SELECT quota_rate_clear(a) FROM unnest(ARRAY[repeat('z', 255), 'zed']) a \g /dev/null
SELECT is(told(quota_consume('zed', 'zero')), 'BLOCK 0/0 rate_limited left 0 retry', 'a rate of 0 that charges with a cap admits nothing');
SELECT is(told(quota_consume('zed', 'zero', 9223372036854775807)), 'BLOCK 0/0 rate_limited left 0 retry', 'nor all that can be counted');
SELECT is((quota_record('zed', 'zero', 3)).used, 0::bigint, 'and keeps nothing');
SELECT is((quota_refund('zed', 'zero', 9223372036854775807)).used, 0::bigint, 'nor is there anything to give back');
SELECT is(in_use('zed'), NULL, 'in use is nothing');
SELECT is((SELECT string_agg(concat_ws(' ', feature, period, usage_limit, remaining), ', ') FROM quota_rates('zed') WHERE feature = 'zero'),
	'zero second 0 0, zero minute 0 0', 'as it stands');

/* Names and figures as long as they can be. */
SELECT is(told(quota_consume(repeat('z', 255), 'edge')), format('ALLOW 1/%s ok left 0 retry', 9223372036854775807), 'an account of 255 bytes, a burst of 1');
SELECT is((quota_consume(repeat('z', 255), 'edge')).allowed, false, 'full');
SELECT is((quota_consume(left(repeat('z', 255), 254), 'edge')).decision, 'BLOCK', 'another, which has no such plan');
SELECT is((quota_record(repeat('z', 255), 'edge', 9223372036854775806)).used, 9223372036854775807, 'all that can be counted');
SELECT throws_ok($$SELECT quota_evaluate(repeat('z', 255), 'edge', 9223372036854775807)$$, '22003', 'use out of range', 'and no more');
SELECT is((quota_refund(repeat('z', 255), 'edge', 9223372036854775807)).used, 0::bigint, 'all given back');
SELECT quota_rate_clear(repeat('z', 255), 'edge');
SELECT throws_ok($$SELECT quota_rate_clear(repeat('z', 256))$$, '22023', 'account is too long', 'clear: an account of 256 bytes');
SELECT throws_ok($$SELECT quota_rate_clear('a', repeat('z', 10000))$$, '42704', NULL, 'clear: a feature of 10,000 bytes');
SELECT throws_ok($$SELECT quota.forget_rate('a', repeat('z', 10000))$$, '42704', NULL, 'forget: a feature of 10,000 bytes');
SELECT throws_ok($$SELECT quota.forget_rate(repeat('z', 10000), 'edge')$$, '22023', 'account is too long', 'forget: an account of 10,000 bytes');

/* Reports. */
SELECT at(0) \g /dev/null
SELECT is((SELECT string_agg(feature || ' ' || period, ', ') FROM quota_evaluate('pro')), 'call second, job month, request minute', 'evaluate has rates');
SELECT is(quota_usage('pro')->'features', '{"job": {"used": 0, "limit": 3, "remaining": 3, "unlimited": false}}'::jsonb, 'usage has not');
SELECT is(quota_status('pro')->'usage'->'job_count' || (quota_status('pro')->'plan'->'limit'), '[0, 3]'::jsonb, 'status tells of the counter');
SELECT is(quota_status('pro')->'usage' ? 'request_count', false, 'and not of rates');
SELECT is(quota_status('pro', 'request')->>'decision', 'BLOCK', 'unless it is asked');
SELECT is((SELECT string_agg(DISTINCT feature, ' ') FROM quota_rates('ada')), 'any call daily none odd paid request soft wide', 'all rates of the plan');
SELECT is((SELECT count(*) FROM quota_rates('ada') WHERE usage_limit IS NULL AND burst IS NULL AND remaining IS NULL AND used = 0), 1::bigint, 'an unlimited one');

/* Forgotten. */
SELECT is((quota_consume('dan', 'request', 7)).used, 7::bigint, 'in use');
SELECT quota_rate_clear('dan', 'call');
SELECT is(in_use('dan'), 'request minute 7/60 burst 60 left 53 for 00:00:07', 'one rate, with all its windows');
SELECT quota_rate_clear('dan');
SELECT is(in_use('dan'), NULL, 'all');
SELECT is((quota_consume('dan', 'request', 7)).used + (quota_consume('dan', 'odd', 7)).used + (quota_consume('dan', 'job', 2)).used, 16::bigint, 'in use again');
SELECT quota_reset('dan', 'odd');
SELECT is((quota_evaluate('dan', 'odd')).used + (quota_evaluate('dan', 'request')).used + (quota_evaluate('dan', 'job')).used, 9::bigint, 'reset of one');
SELECT quota_reset('dan', 'job');
SELECT is((quota_evaluate('dan', 'request')).used || ' ' || (quota_evaluate('dan', 'job')).used, '7 0', 'reset of a counter');
SELECT quota_reset('dan');
SELECT is((quota_evaluate('dan', 'request')).used, 0::bigint, 'reset of all');
SELECT is((quota_consume(42, 'odd')).used, 1::bigint, 'a bigint in use');
SELECT quota_rate_clear(42), quota_rate_clear(uuid '6f1c0a9e-8f4e-4e0f-9d5a-0c2b9a7d3e11', 'request');
SELECT is(in_use('42') || in_use('6f1c0a9e-8f4e-4e0f-9d5a-0c2b9a7d3e11'), NULL, 'forgotten as well');
SELECT ok(capacity = 262144 AND buckets BETWEEN 1 AND capacity AND evictions >= 0 AND memory BETWEEN capacity * 48 AND 16 * 1024 * 1024, 'how much memory there is')
FROM quota_rate_stats();

/* Bad input. */
SELECT throws_ok($$SELECT quota_rate_clear(NULL::text)$$, '22004', 'account must not be null', 'clear: no account');
SELECT throws_ok($$SELECT quota_rate_clear('')$$, '22023', 'account must not be empty', 'clear: an empty account');
SELECT throws_ok($$SELECT quota_rate_clear('a', 'nothing')$$, '42704', 'feature "nothing" does not exist', 'clear: no feature');
SELECT throws_ok($$SELECT quota_rate_clear('a', 'job')$$, '42809', 'feature "job" of kind counter is no rate', 'clear: a counter');
SELECT throws_ok($$SELECT * FROM quota_rates(NULL::text)$$, '22004', 'account must not be null', 'rates: no account');
SELECT throws_ok($$SELECT quota_consume('a', 'request', 0)$$, '22023', 'amount must be at least 1, not 0', 'consume: nothing');
SELECT throws_ok($$SELECT quota_refund('a', 'request', 1, 'infinity')$$, '22008', 'time of a refund must be finite', 'refund: at no time');
SELECT throws_ok($$INSERT INTO quota.plan_limits (plan, feature, period, usage_limit) VALUES ('free', 'extra', 'month', 5)$$, '23514', NULL, 'no rate a month');
CREATE TABLE t (account text);
SELECT throws_ok($$SELECT quota_attach('t', 'request', 'account')$$, '42809', 'feature "request" of kind rate cannot be attached to a table', 'rates are not attached');
SELECT quota_attach('t', 'job', 'account') \g /dev/null
INSERT INTO quota.features (feature, kind) VALUES ('turned', 'counter');
CREATE TABLE u (account text);
SELECT quota_attach('u', 'turned', 'account', on_block => 'skip') \g /dev/null
CREATE TABLE v (account text);
SELECT quota_attach('v', 'turned', 'account') \g /dev/null
UPDATE quota.features SET kind = 'rate' WHERE feature = 'turned';
INSERT INTO quota.plan_limits (plan, feature, period, usage_limit) VALUES ('free', 'turned', 'minute', 5);
SELECT throws_ok(format('INSERT INTO %s VALUES (''a'')', t), '42809', 'feature "turned" of kind rate cannot be attached to a table', 'nor is what has been made one: ' || t)
FROM unnest('{u,v}'::text[]) t;

/* A limit that the triggers would have refused. */
SET LOCAL session_replication_role = replica;
INSERT INTO quota.plan_limits (plan, feature, period, usage_limit) VALUES ('free', 'extra', 'month', 5);
SET LOCAL session_replication_role = origin;
SELECT throws_ok($$SELECT quota_consume('a', 'extra')$$, '23514', 'feature "extra" of kind rate cannot have a limit for period month', 'a period that no rate has');
DELETE FROM quota.plan_limits WHERE feature = 'extra';

/* A rate takes no transaction, and may be taken where nothing may be written; a counter with it may not. */
SELECT is(error_of($$SET LOCAL transaction_read_only = on; SELECT quota_consume('hal', 'odd'), quota_enforce('hal', 'odd'), quota_record('hal', 'odd'),
	quota_refund('hal', 'odd'); SELECT * FROM quota_consume_many('hal', '{"odd": 1, "request": 1}'); SELECT quota_rate_clear('fay'); SELECT 1 / 0$$)->>'state', '22012', 'read-only: works');
SELECT is((quota_evaluate('hal', 'odd')).used || ' ' || (quota_evaluate('hal', 'request')).used, '3 11', 'read-only: is counted');
SELECT is(error_of($$SET LOCAL transaction_read_only = on; SELECT * FROM quota_consume_many('hal', '{"odd": 1, "job": 1}')$$)->>'state', '25006', 'read-only: not with a counter');
SELECT is((quota_evaluate('hal', 'odd')).used, 3::bigint, 'read-only: nothing is taken then');

/*
 * A refund leaves an empty bucket. When the clock has gone back its time is to come, but
 * there is nothing in it: it makes room for others, also where all of a set are such.
 */
INSERT INTO quota.plan_limits (plan, feature, period, usage_limit) VALUES ('free', 'extra', 'hour', 1);
SELECT at(86400);
SELECT count(quota_refund('empty' || i, 'extra')) FROM generate_series(1, 100000) i \g /dev/null
SELECT at(0);
SELECT is((SELECT count(*) FROM generate_series(1, 20000) i WHERE (quota_consume('full' || i, 'extra')).allowed), 20000::bigint, 'empty buckets of a time to come: there is room beside them');
SELECT is((SELECT count(*) FROM generate_series(1, 20000) i WHERE (quota_consume('full' || i, 'extra')).allowed), 0::bigint, 'empty buckets of a time to come: what was used stays used');
DELETE FROM quota.plan_limits WHERE feature = 'extra';

/* Without a fixed clock time goes on within the transaction, and the statement. */
SET LOCAL quota.now = '';
INSERT INTO quota.plan_limits (plan, feature, period, usage_limit) VALUES ('free', 'extra', 'second', 1000);
SELECT quota_rate_clear('ida') \g /dev/null
SELECT is((quota_consume('ida', 'extra', 1000)).allowed, true, 'all of a second''s');
SELECT ok((SELECT bool_or((quota_consume('ida', 'extra')).allowed) FROM generate_series(1, 100000)), 'within one statement there is room again');

SELECT * FROM finish();
ROLLBACK;
