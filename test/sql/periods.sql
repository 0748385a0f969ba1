-- Windows of time.
\set SHOW_CONTEXT never
CREATE EXTENSION quota;
SET timezone = 'UTC';
SELECT quota_apply((
	SELECT jsonb_build_object(
		'features', jsonb_object_agg(p, '{"kind": "counter"}'::jsonb),
		'plans', jsonb_build_object('free', jsonb_build_object('default', true,
			'limits', jsonb_object_agg(p, jsonb_build_object(p, '{"limit": 10}'::jsonb)))))
	FROM unnest('{hour,day,week,month,year,lifetime,cycle}'::text[]) p)) IS NOT NULL AS applied;
SET quota.now = '2026-02-28 23:30+00';
SELECT period, period_start, period_end FROM quota_evaluate('a') ORDER BY period;

-- a time zone of the account, and the setting
INSERT INTO quota.accounts (account, timezone) VALUES ('tokyo', 'Asia/Tokyo');
SELECT period, period_start, period_end FROM quota_evaluate('tokyo') ORDER BY period;
SET quota.timezone = 'America/New_York';
SELECT period, period_start, period_end FROM quota_evaluate('a') ORDER BY period;
-- days of 23 and 25 hours
SET quota.now = '2026-03-08 12:00+00';
SELECT period_start, period_end, period_end - period_start AS length FROM quota_evaluate('a', 'day');
SET quota.now = '2026-11-01 12:00+00';
SELECT period_start, period_end, period_end - period_start AS length FROM quota_evaluate('a', 'day');
RESET quota.timezone;

-- a cycle from the 31st does not drift
INSERT INTO quota.accounts (account, cycle_anchor) VALUES ('b', '2024-01-31 10:00+00');
CREATE FUNCTION cycle_at(at text) RETURNS TABLE (period_start timestamptz, period_end timestamptz) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM set_config('quota.now', at, false);
	RETURN QUERY SELECT e.period_start, e.period_end FROM quota_evaluate('b', 'cycle') e;
END $$;
SELECT c.* FROM unnest('{2024-01-31 09:59:59+00,2024-01-31 10:00+00,2024-02-29 09:59:59+00,2024-02-29 10:00+00,
	2024-03-31 10:00+00,2024-04-30 10:00+00,2025-02-28 10:00+00,1999-12-31 23:59+00}'::text[]) at, cycle_at(at) c;
DROP FUNCTION cycle_at;

-- the ends of time
SET quota.now = '4713-01-01 00:00+00 BC';
SELECT period_start, period_end FROM quota_evaluate('a', 'day');
SELECT period_start, period_end FROM quota_evaluate('a', 'week');
SELECT period, used FROM quota_consume('a', 'lifetime');
SET quota.now = '294276-12-31 23:59:59+00';
SELECT period_start, period_end FROM quota_evaluate('a', 'year');
SET quota.now = '0044-03-15 12:00+00 BC';
SELECT period, period_start, period_end FROM quota_evaluate('a') WHERE period <> 'lifetime' ORDER BY period;
SET quota.now = '12026-02-28 12:00+00';
SELECT period, period_start, period_end FROM quota_evaluate('a') WHERE period <> 'lifetime' ORDER BY period;
DROP EXTENSION quota;
