\set account 10000000000 + random(1, :accounts)
SELECT used FROM app.counter
WHERE account = :account AND feature = 'report' AND period = 'month' AND period_start = :month;
