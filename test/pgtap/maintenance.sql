/*
 * quota_maintain: writes down what is due, deletes what is old, and changes no
 * decision.
 */
BEGIN;
SELECT no_plan();
\ir _helpers.sql
SET LOCAL quota.now = '2026-01-15 12:00+00';

SELECT quota_apply('{
	"features": {"report": {"kind": "counter"}, "storage": {"kind": "gauge"}},
	"plans": {
		"free": {"default": true, "limits": {"report": {"day": {"limit": 5}, "month": {"limit": 50}, "year": {"limit": 500}}, "storage": {"lifetime": {"limit": 10}}}},
		"pro": {"limits": {"report": {"month": {"limit": 300}}}}, "max": {"limits": {"report": {"month": {"limit": null}}}}}}') IS NOT NULL AS applied \gset
CREATE FUNCTION nothing() RETURNS jsonb LANGUAGE sql RETURN
	'{"plans_changed": 0, "holds_returned": 0, "usage_deleted": 0, "overrides_deleted": 0, "reservations_deleted": 0, "keys_deleted": 0,
	"alerts_deleted": 0, "stripe_events_deleted": 0, "ledger_months_made": 0, "ledger_months_dropped": 0}'::jsonb;
SELECT is(quota_maintain(), nothing() || '{"ledger_months_made": 3}', 'nothing to do but to make months of the ledger');
SELECT is(quota_maintain('0', '0', '0'), nothing(), 'nor to delete');

/* Plans. */
INSERT INTO quota.accounts (account, plan, status, trial_ends_at, plan_ends_at, next_plan) VALUES
	('trial over', 'max', 'trialing', '2026-01-15 12:00+00', NULL, NULL), ('trial over, pro next', 'max', 'trialing', '2026-01-10', '2026-03-01', 'pro'),
	('on trial', 'max', 'trialing', '2026-01-16', NULL, 'pro'), ('plan over', 'pro', 'active', NULL, '2026-01-15 12:00+00', NULL),
	('past due', 'pro', 'past_due', NULL, '2026-01-01', 'max'), ('suspended', 'pro', 'suspended', NULL, '2026-01-01', 'max'),
	('canceled', 'pro', 'canceled', NULL, '2026-01-01', 'max'), ('plan to come', 'pro', 'active', NULL, '2026-01-15 12:00:01+00', 'max'),
	('old trial', 'pro', 'active', '2025-01-01', NULL, 'max');
SELECT is(quota_maintain()->'plans_changed', '5', 'five plans are due');
SELECT results_eq($$SELECT account, plan, status, trial_ends_at, plan_ends_at, next_plan FROM quota.accounts ORDER BY account$$, $$VALUES
	('canceled' COLLATE "C", 'pro' COLLATE "C", 'canceled', NULL::timestamptz, '2026-01-01'::timestamptz, 'max' COLLATE "C"),
	('old trial', 'pro', 'active', '2025-01-01', NULL, 'max'), ('on trial', 'max', 'trialing', '2026-01-16', NULL, 'pro'),
	('past due', 'max', 'past_due', NULL, NULL, NULL), ('plan over', NULL, 'active', NULL, NULL, NULL),
	('plan to come', 'pro', 'active', NULL, '2026-01-15 12:00:01+00', 'max'), ('suspended', 'max', 'suspended', NULL, NULL, NULL),
	('trial over', NULL, 'active', '2026-01-15 12:00+00', NULL, NULL), ('trial over, pro next', 'pro', 'active', '2026-01-10', NULL, NULL)$$,
	'and written down');
SELECT is(quota_maintain()->'plans_changed', '0', 'once');
SELECT results_eq($$SELECT account, before->>'plan', after->>'plan' FROM quota.audit_log WHERE act = 'quota_maintain' ORDER BY account$$, $$VALUES
	('past due' COLLATE "C", 'pro', 'max'), ('plan over', 'pro', NULL), ('suspended', 'pro', 'max'), ('trial over', 'max', NULL), ('trial over, pro next', 'max', 'pro')$$,
	'and recorded');

/* Whatever an account looks like, its plan is the same with and without, now and later. */
SELECT random() AS seed \gset
SELECT diag('seed: ' || :seed);
SELECT setseed(:seed) \g /dev/null
CREATE FUNCTION one_of(VARIADIC list text[]) RETURNS text LANGUAGE sql VOLATILE AS $$SELECT list[1 + floor(random() * cardinality(list))::int]$$;
CREATE FUNCTION plans_at() RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	plans jsonb := '{}';
	at text;
BEGIN
	FOREACH at IN ARRAY '{2026-01-15 12:00+00,2026-01-15 12:00:01+00,2026-02-01 00:00+00,2040-01-01 00:00+00}'::text[] LOOP
		PERFORM set_config('quota.now', at, true);
		plans := plans || (SELECT jsonb_object_agg(a.account || at, jsonb_build_array(d.plan, d.decision)) FROM quota.accounts a, quota_evaluate(a.account, 'report') d);
	END LOOP;
	PERFORM set_config('quota.now', '2026-01-15 12:00+00', true);
	RETURN plans;
END $$;
DELETE FROM quota.accounts;
INSERT INTO quota.accounts (account, plan, status, trial_ends_at, plan_ends_at, next_plan)
SELECT 'account-' || i, one_of('free', 'pro', 'max', NULL), one_of('active', 'trialing', 'trialing', 'past_due', 'suspended', 'canceled'),
	one_of('2026-01-01', '2026-01-15 12:00+00', '2026-01-20', '-infinity', 'infinity', NULL)::timestamptz,
	one_of('2026-01-01', '2026-01-15 12:00+00', '2026-01-20', '2026-03-01', 'infinity', NULL)::timestamptz, one_of('pro', 'max', NULL)
FROM generate_series(1, 1000) i;
CREATE TEMP TABLE before AS SELECT plans_at() AS plans;
SELECT cmp_ok((quota_maintain()->>'plans_changed')::int, '>=', 300, 'many plans are due');
SELECT is_empty($$
	SELECT key, b.value, a.value FROM before, jsonb_each(plans) b FULL JOIN jsonb_each(plans_at()) a USING (key) WHERE a.value IS DISTINCT FROM b.value
	$$, 'no decision is another, now or later');
DELETE FROM quota.accounts;

/* Retention. */
INSERT INTO quota.accounts (account, timezone) VALUES ('tokyo', 'Asia/Tokyo');
CREATE FUNCTION charge(at text, n bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM set_config('quota.now', at, true);
	PERFORM quota_record(a, f, n) FROM unnest('{utc,tokyo}'::text[]) a, unnest('{report,storage}'::text[]) f;
	PERFORM set_config('quota.now', '2026-01-15 12:00+00', true);
END $$;
CREATE VIEW kept AS SELECT string_agg(DISTINCT concat_ws(' ', account, feature, period, to_char(period_start AT TIME ZONE CASE account WHEN 'utc' THEN 'UTC' ELSE 'Asia/Tokyo' END, 'YY-MM-DD')), ', ') AS what
	FROM quota.usage WHERE period_start > '-infinity';
SELECT charge(at, 1) FROM unnest('{2024-12-31 12:00+00,2025-12-14 12:00+00,2025-12-15 12:00+00,2026-01-15 11:00+00}'::text[]) at \g /dev/null
SELECT is(quota_maintain()->'usage_deleted', '0', 'without a retention everything is kept');
SELECT is((quota_maintain('1 month')->>'usage_deleted')::int, 8, 'what ended a month ago goes');
SELECT is((SELECT before - 'used' FROM quota.audit_log WHERE act = 'quota_maintain' AND table_name = 'usage'), '{"rows": 8}'::jsonb, 'as one record');
SELECT is((SELECT what FROM kept), 'tokyo report day 25-12-15, tokyo report day 26-01-15, tokyo report month 25-12-01, tokyo report month 26-01-01, '
	'tokyo report year 25-01-01, tokyo report year 26-01-01, utc report day 25-12-15, utc report day 26-01-15, utc report month 25-12-01, '
	'utc report month 26-01-01, utc report year 25-01-01, utc report year 26-01-01', 'windows that ended since stay, each by its own end');
SELECT is((quota_maintain('0')->>'usage_deleted')::int, 6, 'a retention of nothing leaves the current windows');
SELECT is((SELECT what FROM kept), 'tokyo report day 26-01-15, tokyo report month 26-01-01, tokyo report year 26-01-01, '
	'utc report day 26-01-15, utc report month 26-01-01, utc report year 26-01-01', 'in each time zone');
SELECT results_eq($$SELECT account, used FROM quota.usage WHERE feature = 'storage' ORDER BY 1$$, $$VALUES ('tokyo' COLLATE "C", 4::bigint), ('utc', 4)$$, 'levels are never old');
SELECT is((quota_evaluate('tokyo', 'report')).used, 1::bigint, 'current use stands');

/* Alerts and overrides stay as long as counters do. */
INSERT INTO quota.alerts (at, account, feature, period, period_start, threshold, used, usage_limit) VALUES
	('2025-12-15 12:00+00', 'a', 'report', 'day', '2025-12-15', 'limit', 5, 5), ('2025-12-15 12:00:01+00', 'b', 'report', 'day', '2025-12-15', 'limit', 5, 5);
SELECT is(quota_maintain()->'alerts_deleted', '0', 'an alert stays');
SELECT is(quota_maintain('1 month')->'alerts_deleted', '1', 'until the retention is over');
SELECT results_eq($$SELECT account FROM quota.alerts WHERE at < '2026-01-01'$$, $$VALUES ('b' COLLATE "C")$$, 'the other stays');
INSERT INTO quota.limit_overrides (account, feature, period, usage_limit, expires_at) VALUES
	('a', 'report', 'day', 1, '2025-12-15 12:00+00'), ('b', 'report', 'day', 1, '2025-12-15 12:00:01+00'), ('c', 'report', 'day', 1, NULL), ('d', 'report', 'day', 1, 'infinity');
SELECT is(quota_maintain()->'overrides_deleted', '0', 'an expired override stays');
SELECT is(quota_maintain('1 month')->'overrides_deleted', '1', 'until the retention is over');
SELECT results_eq($$SELECT account FROM quota.limit_overrides ORDER BY 1$$, $$VALUES ('b' COLLATE "C"), ('c'), ('d')$$, 'the others stay');

/* Arguments. */
SELECT throws_ok($$SELECT quota_maintain('-1 day')$$, '22023', 'retention must not be negative', 'a negative retention');
SELECT throws_ok($$SELECT quota_maintain('300000 years')$$, '22008', NULL, 'one that is out of range');
SELECT throws_ok($$SELECT quota_maintain(ledger_retention => '-1 day')$$, '22023', 'ledger_retention must not be negative', 'a negative retention of the ledger');
SELECT throws_ok($$SELECT quota_maintain(ledger_retention => '300000 years')$$, '22008', NULL, 'one that is out of range');

SELECT * FROM finish();
ROLLBACK;
