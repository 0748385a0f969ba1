-- A resume writer on quota: monthly scans, letters, and what its pages show.
--
--	createdb resume && psql -d resume -f examples/resume.sql
--
-- Needs an empty database and a superuser. The clock is fixed, so that what you
-- see is always the same; leave those two lines out of your own.

\set ON_ERROR_STOP on
SET quota.now = '2026-01-15 12:00+00';
SET timezone = 'UTC';

-- 1. Plans. Accounts are the users' ids; without a row they are on the free plan.

CREATE EXTENSION quota;
SELECT quota_apply(quota_preset('resume'));
CREATE TABLE ats_scans (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	user_id text NOT NULL,
	score integer
);

SELECT 'CREATE ROLE resume_app' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'resume_app') \gexec
GRANT SELECT, INSERT ON ats_scans TO resume_app;
SELECT quota_allow('resume_app', 'app');

-- 2. One statement checks, charges and stores: the row is there only if the plan
--    allowed it, whatever else runs at the same moment.

SET ROLE resume_app;
PREPARE scan (text, integer) AS
	WITH decision AS MATERIALIZED (SELECT d.* FROM quota_enforce($1, 'ats_scan') d)
	INSERT INTO ats_scans (user_id, score) SELECT $1, $2 FROM decision WHERE allowed RETURNING id, score;
EXECUTE scan('user_2ab', 71);
EXECUTE scan('user_2ab', 64);

-- The third: the detail is the body of the answer, with status 429.
\set ON_ERROR_STOP off
EXECUTE scan('user_2ab', 80);
\echo :SQLSTATE
\set ON_ERROR_STOP on

-- A phone sends its request twice: with a key it is one letter, and the same answer.
SELECT allowed, used, remaining FROM quota_consume('user_2ab', 'cover_letter', key => 'letter-1');
SELECT allowed, used, remaining FROM quota_consume('user_2ab', 'cover_letter', key => 'letter-1');

-- Work of several kinds is charged together or not at all.
SELECT feature, allowed, used, remaining
FROM quota_consume_many('user_2ab', '{"jd_parse": 1, "resume_tailor": 1, "cover_letter": 1}');
SELECT feature, allowed, used, reason FROM quota_consume_many('user_2ab', '{"jd_parse": 1, "ats_scan": 1}');

-- A letter that could not be written costs nothing: the charge goes with its
-- savepoint.
BEGIN;
SAVEPOINT writing;
SELECT allowed, used FROM quota_consume('user_2ab', 'cover_letter');
ROLLBACK TO writing;
COMMIT;

-- The usage page.
SELECT jsonb_pretty(quota_usage('user_2ab'));
RESET ROLE;

-- 3. Somebody has paid. With the month half over, the limit is the new plan's and
--    what was used stays used.

SELECT quota_set_plan('user_2ab', 'pro');
SELECT plan, used, usage_limit, remaining FROM quota_evaluate('user_2ab', 'ats_scan');

-- Cancelled to the end of the month that is paid for; free from then on.
SELECT quota_cancel('user_2ab', at_period_end => true);
SELECT status, plan, plan_ends_at = '2026-02-01 00:00+00' AS ends_in_february FROM quota.accounts;
SET quota.now = '2026-02-01 00:00+00';
SELECT plan, used, usage_limit FROM quota_evaluate('user_2ab', 'ats_scan');
