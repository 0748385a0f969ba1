\set account 10000000000 + random(1, :accounts)
WITH charged AS (
	UPDATE app.counter SET used = used + 1
	WHERE account = :account AND feature = 'audited' AND period = 'month' AND period_start = :month
	RETURNING account, feature, period, period_start, used
)
INSERT INTO app.events (at, account, feature, plan, what, kind, amount, decision, reason, used, usage_limit, period, period_start)
SELECT now(), account, feature, 'pro', 'consume', 'consume', 1, 'ALLOW', 'ok', used, 1000000000, period, period_start
FROM charged;
