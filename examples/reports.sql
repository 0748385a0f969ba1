-- A real-estate reporting product on quota.
--
--	createdb reports && psql -d reports -f examples/reports.sql
--
-- Needs an empty database and a superuser. The clock is fixed, so that what you
-- see is always the same; leave those two lines out of your own.

\set ON_ERROR_STOP on
SET quota.now = '2026-01-15 12:00+00';
SET timezone = 'UTC';

-- 1. The plans: a document that ships with quota. Keep your own in your repository
--    and apply it with every deployment.

CREATE EXTENSION quota;
SELECT quota_apply(quota_preset('reports'));

-- 2. The product's own tables, as they were before.

CREATE TABLE accounts (
	id uuid PRIMARY KEY,
	name text NOT NULL,
	account_type text NOT NULL DEFAULT 'REGULAR',
	plan text NOT NULL DEFAULT 'free',
	created_by text NOT NULL
);
CREATE TABLE report_generations (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	account_id uuid NOT NULL REFERENCES accounts,
	schedule_id bigint,
	status text NOT NULL DEFAULT 'processing',
	error_message text,
	generated_at timestamptz NOT NULL DEFAULT now()
);

INSERT INTO accounts (id, name, plan, created_by) VALUES
	('00000000-0000-4000-8000-000000000001', 'Hill Realty', 'free', 'hal'),
	('00000000-0000-4000-8000-000000000002', 'Dale Realty', 'pro', 'dan');
INSERT INTO accounts (id, name, account_type, plan, created_by) VALUES
	('00000000-0000-4000-8000-000000000003', 'Title Inc', 'INDUSTRY_AFFILIATE', 'affiliate', 'tess');
INSERT INTO report_generations (account_id, status, generated_at) VALUES
	('00000000-0000-4000-8000-000000000002', 'completed', '2025-12-30 10:00+00'),
	('00000000-0000-4000-8000-000000000002', 'completed', '2026-01-07 10:00+00'),
	('00000000-0000-4000-8000-000000000002', 'failed', '2026-01-07 10:05+00'),
	('00000000-0000-4000-8000-000000000002', 'completed', '2026-01-07 10:10+00');

-- 3. quota takes the accounts over, with their plans and owners, and follows the
--    table from now on. Then the limits: one call a table. Reports count while they
--    are of use; those that are there already count in the month they were made in.
--    Over the limit a report by schedule is marked, and one on demand is an error.

SELECT quota_adopt('accounts', 'id', 'name', 'plan', 'account_type', 'created_by');
SELECT quota_attach('report_generations', 'report', 'account_id', on_block => 'mark',
	counted_when => $$status IN ('processing', 'completed')$$, time_column => 'generated_at',
	status_column => 'status', blocked_status => 'skipped_limit', message_column => 'error_message',
	mark_when => 'schedule_id IS NOT NULL');
SELECT account, period_start, used FROM quota.counters ORDER BY period_start;

-- 4. The role that the application logs in as.

SELECT 'CREATE ROLE reports_app' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'reports_app') \gexec
GRANT SELECT, INSERT, UPDATE ON report_generations TO reports_app;
SELECT quota_grant('reports_app', 'app');

-- 5. A month of Hill Realty, whose plan has 50 reports and blocks above 55. The
--    decision is for a response header: from 80 % on it warns.

\set hill '''00000000-0000-4000-8000-000000000001'''
SET ROLE reports_app;
INSERT INTO report_generations (account_id) SELECT :hill FROM generate_series(1, 44);
SELECT decision, used, usage_limit, ratio, message FROM quota_evaluate(:hill::uuid, 'report');
INSERT INTO report_generations (account_id) SELECT :hill FROM generate_series(1, 11);

-- The 56th on demand is an error, which the application turns into HTTP 429 ...
\set ON_ERROR_STOP off
INSERT INTO report_generations (account_id) VALUES (:hill);
\echo :SQLSTATE
\set ON_ERROR_STOP on
-- ... and by schedule a row that says why; the expensive work never starts.
INSERT INTO report_generations (account_id, schedule_id) VALUES (:hill, 7) RETURNING status, error_message;

-- A report that fails is given back, and makes room for another.
UPDATE report_generations SET status = 'failed', error_message = 'no data'
WHERE id = (SELECT max(id) FROM report_generations WHERE account_id = :hill AND status = 'processing');
INSERT INTO report_generations (account_id, schedule_id) VALUES (:hill, 7) RETURNING status, error_message;

-- What the account page shows.
SELECT jsonb_pretty(quota_status(:hill::uuid, 'report'));
RESET ROLE;

-- 6. Sales and operations.

\set title '''00000000-0000-4000-8000-000000000003'''
SELECT quota_set_override(:hill::uuid, 'report', 'month', 100, reason => 'trade fair');
SELECT quota_sponsor(:title::uuid, :hill::uuid, 'sponsored_free');
SELECT name, plan, usage->'report' AS report FROM quota_sponsored(:title::uuid);
SELECT name, used, usage_limit FROM quota_near_limit(0.5);
SELECT act, account, reason FROM quota.audit_log ORDER BY id DESC LIMIT 2;

-- The limits live where the truth lives: no counter differs from its rows.
SELECT * FROM quota_reconcile('report_generations', 'report');

-- 7. Month-end. Dale Realty, whose plan has 300 reports and then charges 1.50 for each,
--    makes 330 of them in January.

\set dale '''00000000-0000-4000-8000-000000000002'''
SET ROLE reports_app;
INSERT INTO report_generations (account_id) SELECT :dale FROM generate_series(1, 328);
RESET ROLE;

-- In February all overage of January becomes invoices, by January's plans and prices,
-- whoever has changed his plan meanwhile. Run it as often as you like: say, daily.
SET quota.now = '2026-02-01 02:00+00';
SELECT quota_set_plan(:dale::uuid, 'team');
SELECT name, currency, total FROM quota_invoice_overage();
SELECT name, currency, total FROM quota_invoice_overage();
SELECT feature, period_start, quantity, unit_price, amount FROM quota.invoice_lines;

-- What the billing page shows.
SELECT jsonb_pretty(quota_invoices(:dale::uuid));
