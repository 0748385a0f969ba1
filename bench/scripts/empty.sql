\set account 10000000000 + random(1, :accounts)
SELECT (app.empty(:account, 'request')).allowed;
