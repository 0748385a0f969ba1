-- What quota_reserve, quota_commit, quota_release and keys say.
\set VERBOSITY default
\set SHOW_CONTEXT never
SET timezone = 'UTC';
SET datestyle = 'ISO';
CREATE EXTENSION quota;
SET quota.now = '2026-02-10 12:00+00';
INSERT INTO quota.plans (plan, is_default) VALUES ('free', true);
INSERT INTO quota.features (feature, kind, unit) VALUES ('token', 'counter', 'token'), ('call', 'rate', NULL);
INSERT INTO quota.plan_limits (plan, feature, period, usage_limit) VALUES
	('free', 'token', 'day', 1000), ('free', 'token', 'month', 5000);

-- hold, and settle on what it cost
SELECT * FROM quota_reserve('ada', 'token', 800) \gx
SELECT id, decision, message FROM quota_reserve('ada', 'token', 300);
SELECT used, remaining, message FROM quota_commit(1, 250);
SELECT id, used FROM quota_reserve('ada', 'token', 300, '30 seconds');
SELECT used, remaining FROM quota_release(2);
SELECT quota_release(2);

-- more than was held
SELECT id, used FROM quota_reserve('ada', 'token', 300);
SELECT decision, used, overage, message FROM quota_commit(3, 900);

-- too late
SELECT id, used FROM quota_reserve('bob', 'token', 1000, '1 minute');
SET quota.now = '2026-02-10 12:01+00';
SELECT used FROM quota_evaluate('bob', 'token');
SELECT quota_commit(4, 10);
SELECT used, holds FROM quota.usage WHERE account = 'bob';
SELECT id, used FROM quota_reserve('bob', 'token', 10);
SELECT used, holds FROM quota.usage WHERE account = 'bob';
SELECT id, amount, counters, expires_at FROM quota.reservations ORDER BY id;
SELECT period, period_start, reservation, amount FROM quota.holds ORDER BY 1;
SELECT quota_maintain();

-- keys
SELECT decision, used FROM quota_consume('cy', 'token', 10, 'k');
SELECT decision, used FROM quota_consume('cy', 'token', 10, 'k');
SELECT decision, used FROM quota_consume('cy', 'token', 11, 'k');
SELECT id, used FROM quota_reserve('cy', 'token', 5, key => 'r');
SELECT id, used FROM quota_reserve('cy', 'token', 5, key => 'r');
SELECT account, key, function, feature, n, reservation, (decision).used, at FROM quota.keys ORDER BY key;

-- what it does not take
SELECT quota_reserve('ada', 'call', 1);
SELECT quota_reserve('ada', 'token', 0);
SELECT quota_reserve('ada', 'token', 1, '0');
SELECT quota_reserve('ada', 'token', 1, NULL);
SELECT quota_commit(NULL);
SELECT quota_commit(1, -1);
