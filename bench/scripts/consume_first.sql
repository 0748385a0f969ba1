\set account 10000000000 + random(1, :accounts)
BEGIN;
SELECT (quota_consume(:account, 'report')).allowed;
\sleep 2 ms
COMMIT;
