\set account 10000000000 + random(1, :accounts)
UPDATE app.counter c SET used = c.used + 1
FROM app.accounts a JOIN app.plan_limits l USING (plan)
WHERE a.account = :account AND l.feature = 'report' AND l.period = 'month'
	AND c.account = a.account AND c.feature = l.feature AND c.period = l.period
	AND c.period_start = date_trunc('month', now())
	AND c.used + 1 <= l.usage_limit
RETURNING c.used;
