-- Accounts for reports, on plans with 50 features. Each has a counter of this
-- month and one of the last; one in a thousand has used every feature. Variable:
-- accounts.
CREATE EXTENSION quota;

-- The audit log is for what people do, not for a million rows made up.
SET session_replication_role = replica;

INSERT INTO quota.plans (plan, is_default, price) VALUES ('free', true, 0), ('pro', false, 10), ('team', false, 100);
INSERT INTO quota.features (feature, kind)
SELECT 'feature_' || to_char(f, 'FM00'), 'counter' FROM generate_series(1, 50) f;
INSERT INTO quota.plan_limits (plan, feature, period, usage_limit, on_limit, overage_price)
SELECT plan, feature, 'month', CASE plan WHEN 'free' THEN 100 WHEN 'pro' THEN 1000 ELSE 10000 END,
	CASE plan WHEN 'free' THEN 'block' ELSE 'charge' END, CASE WHEN plan <> 'free' THEN 0.01 END
FROM quota.plans, quota.features;

INSERT INTO quota.accounts (account, name, plan)
SELECT 10000000000 + i, 'Account ' || i, CASE WHEN i % 20 = 0 THEN 'team' WHEN i % 5 = 0 THEN 'pro' END
FROM generate_series(1, :accounts) i;

INSERT INTO quota.usage (account, feature, period, period_start, used)
SELECT account, feature, 'month', date_trunc('month', now()) - make_interval(months => m), i % 82
FROM (SELECT 10000000000 + i AS account, i FROM generate_series(1, :accounts) i) a,
	quota.features, generate_series(0, 1) m
WHERE feature = 'feature_01' OR i % 1000 = 0 AND m = 0;

VACUUM (FREEZE, ANALYZE);
