\set account 10000000000 + random(1, :report_accounts)
BEGIN;
SELECT count(*) AS used FROM app.reports_counted
WHERE account_id = :account AND generated_at >= date_trunc('month', now())
	AND status IN ('processing', 'completed') \gset
\if :used < 1000000000
INSERT INTO app.reports_counted (account_id) VALUES (:account);
\endif
COMMIT;
