-- Rows of the application that are counted, and the same with the trigger
-- instead. Variable: report_accounts.
CREATE TABLE app.reports_counted (
	id bigint GENERATED ALWAYS AS IDENTITY,
	account_id text COLLATE "C" NOT NULL,
	title text NOT NULL DEFAULT 'Market analysis',
	status text NOT NULL DEFAULT 'processing',
	generated_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE app.reports_charged (LIKE app.reports_counted INCLUDING ALL);

INSERT INTO app.reports_counted (account_id, generated_at)
SELECT 10000000000 + a, date_trunc('month', now()) + (now() - date_trunc('month', now())) * r / 300
FROM generate_series(1, 300) r, generate_series(1, :report_accounts) a;
INSERT INTO app.reports_charged (account_id, title, generated_at)
SELECT account_id, title, generated_at FROM app.reports_counted;

ALTER TABLE app.reports_counted ADD PRIMARY KEY (id);
ALTER TABLE app.reports_charged ADD PRIMARY KEY (id);
CREATE INDEX ON app.reports_counted (account_id, generated_at);
CREATE INDEX ON app.reports_charged (account_id, generated_at);
SELECT quota_attach('app.reports_charged', 'report', 'account_id', backfill => false);

VACUUM (FREEZE, ANALYZE) app.reports_counted, app.reports_charged;
