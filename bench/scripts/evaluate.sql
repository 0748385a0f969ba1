\set account 10000000000 + random(1, :accounts)
SELECT * FROM quota_evaluate(:account, 'report');
