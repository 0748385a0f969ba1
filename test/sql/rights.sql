-- Who may do what.
\set SHOW_CONTEXT never
CREATE EXTENSION quota;
SELECT quota_apply('{"features": {"report": {"kind": "counter"}, "export": {"kind": "flag"}},
	"plans": {"free": {"default": true, "limits": {"report": {"lifetime": {"limit": 2}}}}, "pro": {"price": 5, "features": {"export": true}}}}') IS NOT NULL AS applied;
CREATE ROLE quota_test_app;
CREATE ROLE quota_test_reader;
CREATE ROLE quota_test_user;
CREATE ROLE quota_test_nobody;
SELECT quota_grant('quota_test_app', 'app'), quota_grant('quota_test_reader', 'reader'), quota_grant('quota_test_user', 'user');
SELECT quota_grant('quota_test_app', 'king');
CREATE TABLE reports (account text);
SELECT quota_attach('reports', 'report', 'account');
GRANT INSERT ON reports TO quota_test_nobody;

-- nothing but INSERT on its own table: charged and blocked
SET ROLE quota_test_nobody;
INSERT INTO reports VALUES ('a'), ('a');
INSERT INTO reports VALUES ('a');
SELECT quota_consume('a', 'report');
SELECT quota_refund('a', 'report');
SELECT * FROM quota.usage;
UPDATE quota.usage SET used = 0;
SET quota.enforcement = off;
SET quota.now = '2030-01-01';
ALTER TABLE reports DISABLE TRIGGER ALL;
SET session_replication_role = replica;
RESET ROLE;

SET ROLE quota_test_app;
SELECT decision, used FROM quota_consume('a', 'report');
SELECT quota_require_feature('a', 'export');
SELECT used FROM quota.usage;
SELECT quota_apply('{}');
RESET ROLE;

-- a reader sees what is its user's, whether it exists or not is nobody else's business
SELECT quota_add_user('a', 'ann');
SET ROLE quota_test_reader;
SELECT decision, used FROM quota_evaluate('a', 'report');
SET "quota.user" = 'ann';
SELECT decision, used FROM quota_evaluate('a', 'report');
SELECT quota_usage('b');
SELECT quota_usage('no such account');
SELECT used FROM quota.usage;
SELECT quota_consume('a', 'report');
SELECT quota_totals();
RESET ROLE;

-- level user charges what is its user's
SET ROLE quota_test_user;
SELECT decision, used FROM quota_consume('a', 'report');
SELECT quota_consume('b', 'report');
SELECT quota_consume('a', 'report', 2);
SELECT quota_refund('a', 'report');
RESET ROLE;
RESET "quota.user";

-- objects of the same names elsewhere change nothing
CREATE SCHEMA hostile;
CREATE TABLE hostile.plans (plan text);
CREATE FUNCTION hostile.jsonb_each(jsonb) RETURNS TABLE (key text, value jsonb) LANGUAGE sql AS 'SELECT NULL::text, NULL::jsonb WHERE 1/0 = 1';
CREATE FUNCTION hostile.no(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT false';
CREATE OPERATOR hostile.= (LEFTARG = text, RIGHTARG = text, FUNCTION = hostile.no);
SET search_path = hostile, pg_catalog, public;
SELECT quota_apply(quota_export());
SELECT quota_plan_with('export');
SELECT used FROM quota_consume('b', 'report');
RESET search_path;

SELECT quota_revoke('quota_test_app'), quota_revoke('quota_test_reader'), quota_revoke('quota_test_user');
SET ROLE quota_test_app;
SELECT quota_consume('a', 'report');
RESET ROLE;
SET client_min_messages = warning;
DROP SCHEMA hostile CASCADE;
DROP TABLE reports;
DROP OWNED BY quota_test_app, quota_test_reader, quota_test_user, quota_test_nobody;
DROP ROLE quota_test_app, quota_test_reader, quota_test_user, quota_test_nobody;
DROP EXTENSION quota;
