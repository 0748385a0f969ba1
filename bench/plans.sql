-- A catalogue of many plans, with the accounts spread over them. Variable: plans.
INSERT INTO quota.plans (plan) SELECT 'plan' || i FROM generate_series(1, :plans) i;
INSERT INTO quota.plan_limits (plan, feature, period, usage_limit)
SELECT 'plan' || i, feature, period, usage_limit
FROM generate_series(1, :plans) i, quota.plan_limits WHERE plan = 'pro';
UPDATE quota.accounts SET plan = 'plan' || 1 + account::bigint % :plans;
VACUUM (FREEZE, ANALYZE);
