-- An AI builder on quota: prompts, gates, and an operator's desk.
--
--	createdb prompts && psql -d prompts -f examples/prompts.sql
--
-- Needs an empty database and a superuser. The clock is fixed, so that what you
-- see is always the same; leave those two lines out of your own.

\set ON_ERROR_STOP on
SET quota.now = '2026-01-15 12:00+00';
SET timezone = 'UTC';

-- 1. Plans and tables. An account needs no row: without one it is on trial.

CREATE EXTENSION quota;
SELECT quota_apply(quota_preset('prompts'));
CREATE TABLE prompts (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	workspace text NOT NULL,
	body text NOT NULL
);
SELECT quota_attach('prompts', 'prompt', 'workspace');

SELECT 'CREATE ROLE prompts_app' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'prompts_app') \gexec
GRANT SELECT, INSERT ON prompts TO prompts_app;
SELECT quota_grant('prompts_app', 'app');

-- 2. What the application does. A prompt is a row; traffic has no row, so it is
--    recorded, never refused.

SET ROLE prompts_app;
INSERT INTO prompts (workspace, body) SELECT 'ada', 'Build me page ' || i FROM generate_series(1, 25) i;
SELECT used FROM quota_record('ada', 'bytes_out', 7500000000);
SELECT decision, message FROM quota_evaluate('ada', 'prompt');

-- A test run whose answer got lost is sent again, with its key: charged once.
SELECT allowed, used FROM quota_consume('ada', 'e2e_run', key => 'run-4711');
SELECT allowed, used FROM quota_consume('ada', 'e2e_run', key => 'run-4711');

-- Snapshots are a rate: none on trial.
SELECT allowed, usage_limit, message FROM quota_consume('ada', 'snapshot');

-- A gate, asked ...
SELECT quota_has_feature('ada', 'git_export') AS show_the_button;
-- ... and enforced. The hint names the plan that has it; PT402 is HTTP 402.
\set ON_ERROR_STOP off
SELECT quota_require_feature('ada', 'git_export');
\echo :SQLSTATE
\set ON_ERROR_STOP on

-- All that a workspace may know of itself, for one call of its settings page.
SELECT jsonb_pretty(quota_usage('ada'));
RESET ROLE;

-- 3. The operator. An upgrade takes effect at once; administrators pass every limit
--    and are still counted.

SELECT quota_set_plan('ada', 'solo');
SELECT quota_has_feature('ada', 'git_export') AS show_the_button;
-- One snapshot a minute.
SELECT allowed, retry_after FROM quota_consume('ada', 'snapshot');
SELECT allowed, retry_after FROM quota_consume('ada', 'snapshot');
INSERT INTO quota.accounts (account, bypass) VALUES ('staff', true);
INSERT INTO prompts (workspace, body) SELECT 'staff', 'Try ' || i FROM generate_series(1, 31) i;

SELECT feature, period, used, accounts FROM quota_totals();
SELECT account, plan, used, usage_limit FROM quota_top('prompt', 3);
SELECT plan, accounts, paying FROM quota_plan_stats();
SELECT account, feature, period, used FROM quota_history('ada', 'prompt');

-- Give a workspace its month back, and delete counters older than a year.
SELECT quota_reset('ada');
SELECT quota_maintain(retention => '12 months');

-- Each of these acts is in the audit log, with who and what was before.
SELECT act, account, table_name FROM quota.audit_log WHERE account IS NOT NULL ORDER BY id;
