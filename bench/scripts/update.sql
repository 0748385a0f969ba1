\set account 10000000000 + random(1, :accounts)
UPDATE app.counter SET used = used + 1
WHERE account = :account AND feature = 'report' AND period = 'month' AND period_start = :month;
