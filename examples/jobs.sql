-- A compute platform on quota: jobs, storage, calls, minutes, settings, upgrades.
--
--	createdb jobs && psql -d jobs -f examples/jobs.sql
--
-- Needs an empty database and a superuser. The clock is fixed, so that what you
-- see is always the same; leave those two lines out of your own.

\set ON_ERROR_STOP on
SET quota.now = '2026-01-15 12:00+00';
SET timezone = 'UTC';

-- 1. Plans and tables. Customers are taken over by name, so that support can find
--    them; without a subscription they are on the free plan.

CREATE EXTENSION quota;
SELECT quota_apply(quota_preset('jobs'));
CREATE TABLE customers (id bigint PRIMARY KEY, name text NOT NULL);
CREATE TABLE jobs (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	customer_id bigint NOT NULL REFERENCES customers,
	minutes integer
);
CREATE TABLE files (
	path text PRIMARY KEY,
	customer_id bigint NOT NULL REFERENCES customers,
	size_mb integer NOT NULL
);
INSERT INTO customers VALUES (1, 'Acme Rendering'), (2, 'Zenith Labs');
SELECT quota_adopt('customers', 'id', 'name');
SELECT quota_attach('jobs', 'job', 'customer_id');
SELECT quota_attach('files', 'storage_mb', 'customer_id', 'size_mb');

SELECT 'CREATE ROLE jobs_app' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'jobs_app') \gexec
GRANT SELECT, INSERT, UPDATE ON jobs TO jobs_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON files TO jobs_app;
SELECT quota_grant('jobs_app', 'app');

-- 2. The API. A call is charged before it does anything; a denial is a row, not an
--    error, and says when to come back.

SET ROLE jobs_app;
SELECT allowed, used, remaining FROM quota_consume(1, 'api_call');
SELECT allowed, used, remaining FROM quota_consume(1, 'api_call', 99);
SELECT allowed, retry_after, message FROM quota_consume(1, 'api_call');

-- How fast they may come is a rate: sixty a minute, which writes nothing.
SELECT allowed, used, remaining FROM quota_consume(1, 'request', 60);
SELECT allowed, retry_after, message FROM quota_consume(1, 'request');

-- A job is a row, and what it took is recorded when it ends.
INSERT INTO jobs (customer_id) SELECT 1 FROM generate_series(1, 10);
UPDATE jobs SET minutes = 7 WHERE id = 1;
SELECT used, usage_limit FROM quota_record(1, 'compute_minute', 7);

-- The check that the platform had before: within, current, limit.
SELECT allowed AS within, used AS current, usage_limit AS "limit" FROM quota_evaluate(1, 'job');
\set ON_ERROR_STOP off
INSERT INTO jobs (customer_id) VALUES (1);
\echo :SQLSTATE
\set ON_ERROR_STOP on

-- Storage follows the files, whatever happens to them: 100 MB on the free plan.
INSERT INTO files VALUES ('scene.blend', 1, 70), ('frames.zip', 1, 20);
\set ON_ERROR_STOP off
UPDATE files SET size_mb = 90 WHERE path = 'scene.blend';
\echo :SQLSTATE
\set ON_ERROR_STOP on
UPDATE files SET size_mb = 40 WHERE path = 'scene.blend';
DELETE FROM files WHERE path = 'frames.zip';
SELECT used, remaining FROM quota_evaluate(1, 'storage_mb');

-- A setting of the plan.
SELECT quota_feature(1, 'api_access') AS api_access, quota_feature(1, 'priority_support') AS priority_support;
RESET ROLE;

-- 3. Upgrade for 30 days, then free again; nobody has to remember it.

SELECT feature, period, used, limit_now, limit_then FROM quota_preview(1, 'pro');
SELECT quota_set_plan(1, 'pro', duration => '30 days');
-- Five times as fast, at once.
SELECT allowed, used, usage_limit FROM quota_consume(1, 'request', 240);
INSERT INTO jobs (customer_id) VALUES (1);
SELECT plan, used, usage_limit FROM quota_evaluate(1, 'job');
SET quota.now = '2026-02-15 12:00+00';
SELECT plan, used, usage_limit FROM quota_evaluate(1, 'job');

-- 4. The operator: find, suspend, activate, count.

SELECT account, name, plan FROM quota_search('zenith');
SELECT quota_suspend(2, 'chargeback');
\set ON_ERROR_STOP off
INSERT INTO jobs (customer_id) VALUES (2);
\echo :SQLSTATE
\set ON_ERROR_STOP on
SELECT quota_activate(2);
INSERT INTO jobs (customer_id) VALUES (2);
SELECT accounts, active_accounts, suspended FROM quota_stats();
SELECT plan, accounts, paying, price FROM quota_plan_stats();
