\set account 10000000000 + random(1, :accounts)
BEGIN;
\sleep 2 ms
SELECT (quota_consume(:account, 'report')).allowed;
COMMIT;
