\set account 10000000000 + random(1, :report_accounts)
INSERT INTO app.reports_charged (account_id) VALUES (:account);
