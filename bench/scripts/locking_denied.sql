\set account 10000000000 + random(1, :accounts)
SELECT (app.consume_locking(:account, 'export')).allowed;
