\set account 10000000000 + random(1, :accounts)
INSERT INTO app.bulk_raise (account_id) VALUES (:account);
