-- Installing, in any schema, and again in the same session.
\set SHOW_CONTEXT never
SET client_min_messages = warning;

-- whatever was planted beforehand is an error, not taken over
CREATE FUNCTION quota_refund(account text, feature text, n bigint DEFAULT 1, at timestamptz DEFAULT NULL)
	RETURNS void LANGUAGE sql AS '';
CREATE EXTENSION quota;
DROP FUNCTION quota_refund(text, text, bigint, timestamptz);
CREATE SCHEMA quota;
CREATE EXTENSION quota;
DROP SCHEMA quota;

CREATE SCHEMA "The App";
CREATE EXTENSION quota SCHEMA "The App";
SELECT "The App".quota_apply('{"features": {"report": {"kind": "counter"}, "export": {"kind": "flag"}},
	"plans": {"free": {"default": true, "limits": {"report": {"lifetime": {"limit": 2}}}},
		"pro": {"features": {"export": true}}}}');
SELECT decision, used FROM "The App".quota_consume('a', 'report');
SELECT "The App".quota_require_feature('a', 'export');
CREATE TABLE reports (account text);
SELECT "The App".quota_attach('reports', 'report', 'account');
INSERT INTO reports VALUES ('a');
INSERT INTO reports VALUES ('a');
DROP TABLE reports;
ALTER EXTENSION quota SET SCHEMA public;
DROP EXTENSION quota;
SELECT "The App".quota_consume('a', 'report');
DROP SCHEMA "The App";

CREATE EXTENSION quota;
SELECT quota_consume('a', 'report');
SELECT quota_apply('{"features": {"report": {"kind": "counter"}}, "plans": {"free": {"default": true, "limits": {"report": {"lifetime": {"limit": 7}}}}}}');
SELECT used, usage_limit FROM quota_consume('a', 'report');

-- a parallel plan leaves looking to the leader, which has the settings
SELECT name AS parallel FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query') \gset
SET :parallel = on;
SELECT used, usage_limit FROM quota_evaluate('a', 'report');
SELECT used, usage_limit FROM quota_evaluate('a');
SELECT quota_has_feature('a', 'report'), quota_feature('a', 'report');
SELECT used, usage_limit FROM quota_consume('a', 'report');
RESET :parallel;

-- a savepoint, an exception block, a cursor, a prepared statement
BEGIN;
SAVEPOINT s;
SELECT used FROM quota_consume('a', 'report');
ROLLBACK TO s;
SELECT used FROM quota_evaluate('a', 'report');
DO $$
BEGIN
	PERFORM quota_enforce('a', 'report', 5);
	PERFORM quota_enforce('a', 'report', 1);
EXCEPTION WHEN SQLSTATE 'PT429' THEN
	RAISE WARNING '%', SQLERRM;
END $$;
SELECT used FROM quota_evaluate('a', 'report');
COMMIT;
PREPARE take AS SELECT used FROM quota_consume($1, $2);
EXECUTE take('a', 'report');
EXECUTE take('a', 'report');
ALTER TABLE quota.plans ADD COLUMN note text;
ALTER TABLE quota.usage ADD COLUMN note text DEFAULT 'x';
EXECUTE take('a', 'report');
EXECUTE take('b', 'report');
DROP EXTENSION quota;
