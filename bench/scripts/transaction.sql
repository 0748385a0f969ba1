\set account 10000000000 + random(1, :accounts)
BEGIN;
SELECT l.usage_limit
FROM app.accounts a JOIN app.plan_limits l USING (plan)
WHERE a.account = :account AND l.feature = 'report' AND l.period = 'month' \gset
SELECT used FROM app.counter
WHERE account = :account AND feature = 'report' AND period = 'month' AND period_start = :month
FOR UPDATE \gset
\if :used < :usage_limit
UPDATE app.counter SET used = used + 1
WHERE account = :account AND feature = 'report' AND period = 'month' AND period_start = :month;
\endif
COMMIT;
