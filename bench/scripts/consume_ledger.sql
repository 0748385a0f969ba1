\set account 10000000000 + random(1, :accounts)
SELECT (quota_consume(:account, 'audited')).allowed;
