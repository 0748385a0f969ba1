/*
 * No row of a counter or a hold that quota_maintain would stumble over can be
 * made, by the internal functions or by hand.
 */
BEGIN;
SELECT no_plan();
\ir ../pgtap/_helpers.sql
SET LOCAL quota.now = '2026-03-10 12:00+00';
SELECT quota_apply('{"features": {"report": {"kind": "counter"}}, "plans": {"free": {"default": true, "limits": {"report": {"month": {"limit": 5, "on_limit": "charge", "overage_price": 1}}}}}}') \g /dev/null

SELECT is(error_of(format('SELECT quota.%s(%s)', f, arguments))->>'state', state, format('%s(%s)', f, arguments))
FROM unnest('{lock_counter,return_expired}'::text[]) f, (VALUES
	('22023', $$repeat('a', 300), 'report', 'month', '2026-03-01'$$), ('22023', $$'', 'report', 'month', '2026-03-01'$$),
	('22023', $$'acme', 'report', 'month', 'infinity'$$), ('22023', $$'acme', 'report', 'month', '-infinity'$$),
	('22023', $$'acme', 'report', 'lifetime', '2026-03-01'$$), ('22023', $$'acme', 'report', 'lifetime', 'infinity'$$),
	('42704', $$'acme', repeat('f', 10000), 'month', '2026-03-01'$$), ('22023', $$'acme', '', 'month', '2026-03-01'$$),
	('22004', $$NULL, 'report', 'month', '2026-03-01'$$), ('22004', $$'acme', NULL, 'month', '2026-03-01'$$), ('22004', $$'acme', 'report', NULL, '2026-03-01'$$), ('22004', $$'acme', 'report', 'month', NULL$$)) v (state, arguments)
WHERE NOT (f = 'lock_counter' AND arguments LIKE '%'''', ''month''%');
SELECT is(error_of($$SELECT quota.lock_counter('acme', 'nothing', 'month', '2026-03-01')$$)->>'state', '42704', 'a counter of no feature');
SELECT is_empty('SELECT * FROM quota.usage', 'none of them made a row');
SELECT lives_ok($$SELECT quota.lock_counter(repeat('a', 255), 'report', 'month', '2026-03-01'), quota.lock_counter('acme', 'report', 'lifetime', '-infinity')$$, 'a counter as it should be');
SELECT throws_ok($$SELECT * FROM quota.charged_counters(repeat('a', 300), 'report')$$, '22023', 'account is too long', 'nor is an account looked at that is too long');

/* By hand: counters as level admin may, holds and reservations as the owner. */
CREATE ROLE quota_test_admin;
SELECT quota_grant('quota_test_admin', 'admin') \g /dev/null
SELECT is(try_as('postgres', format('INSERT INTO quota.' || t, r)), '23514', format(t, r))
FROM unnest(ARRAY['usage (account, feature, period, period_start, used) VALUES (%s, 9)',
		'holds (account, feature, period, period_start, expires_at, reservation, amount) VALUES (%s, ''2026-01-01'', 1, 1)']) t,
	unnest(ARRAY[$$repeat('a', 256), 'report', 'month', '2026-03-01'$$, $$'', 'report', 'month', '2026-03-01'$$, $$'acme', 'report', 'month', 'infinity'$$,
	$$'acme', 'report', 'month', '-infinity'$$, $$'acme', 'report', 'lifetime', '2026-03-01'$$, $$'acme', 'report', 'lifetime', 'infinity'$$,
	$$'acme', '', 'month', '2026-03-01'$$, $$'acme', repeat('f', 49), 'month', '2026-03-01'$$,
	$$'acme', 'report', 'year', '294276-12-31'$$, $$'acme', 'report', 'month', '4713-01-01 BC'$$]) r;
SELECT is(try_as(CASE WHEN statement ~ 'quota.(holds|reservations)' THEN 'postgres' ELSE 'quota_test_admin' END, statement), 'ok', 'odd but sound: ' || regexp_replace(statement, '\s+', ' ', 'g'))
FROM unnest(ARRAY[
	$$INSERT INTO quota.usage (account, feature, period, period_start, used) VALUES
		('acme', 'nothing', 'month', '2026-01-01', 9), ('acme', 'report', 'second', '2026-01-01 00:00:00.5', 9), ('acme', 'report', 'year', '4000-01-01 BC', 9), ('acme', 'report', 'hour', '293999-12-31', 9),
		('early', 'report', 'cycle', '4700-01-01 BC', 9), ('late', 'report', 'cycle', '293999-12-31', 9), ('late', 'report', 'month', '2026-01-01', 9), ('early', 'report', 'month', '2026-01-01', 9), ('acme', 'report', 'month', '2026-01-31 23:59', 9)$$,
	$$INSERT INTO quota.usage (account, feature, period, period_start, used, holds) VALUES ('acme', 'report', 'day', '2026-01-01', 5, 7)$$,
	$$INSERT INTO quota.usage (account, feature, period, period_start, used, slot, slots) VALUES ('acme', 'report', 'week', '2026-01-01', 5, 3, 1)$$,
	$$INSERT INTO quota.holds (account, feature, period, period_start, expires_at, reservation, amount) VALUES
		('acme', 'nothing', 'day', '2026-01-01', '2026-01-02', 1, 5), ('acme', 'report', 'day', '2026-01-01', '2026-01-02', 2, 9000000000000000000), ('nobody', 'report', 'day', '2026-01-01', '-infinity', 3, 1)$$,
	$$INSERT INTO quota.reservations (id, account, feature, amount, counters, reserved_at, expires_at) VALUES (9, 'acme', 'nothing', 1, 9, 'infinity', '-infinity')$$,
	$$INSERT INTO quota.accounts (account, cycle_anchor, timezone, plan_ends_at, trial_ends_at, status) VALUES
		('early', '4714-11-24 00:00+00 BC', 'Pacific/Kiritimati', '-infinity', '-infinity', 'trialing'), ('late', '294276-12-31 00:00+00', 'Pacific/Niue', 'infinity', 'infinity', 'trialing')$$,
	$$INSERT INTO quota.limit_overrides VALUES ('acme', 'report', 'month', 1, '-infinity', NULL), ('acme', 'report', 'year', 1, 'infinity', NULL)$$]) statement;
SELECT lives_ok('SELECT quota_maintain()', 'quota_maintain');
SELECT lives_ok('SELECT quota_maintain(''0'', ''0'', ''0'')', 'and with all that it deletes');

SELECT * FROM finish();
ROLLBACK;
