/*
 * ALTER DEFAULT PRIVILEGES before the extension is created, as hosts of databases
 * do: nobody but the owner holds anything on it. Nor do the grants of a level
 * depend on what everybody had.
 */
BEGIN;
SELECT no_plan();
\ir ../pgtap/_helpers.sql
SET LOCAL client_min_messages = warning;
DROP FUNCTION brief(quota_decision);
DROP EXTENSION quota;
CREATE ROLE quota_test_anon;
CREATE ROLE "quota test ""Ö";
DO $$
DECLARE
	kind text;
	whom text;
BEGIN
	FOREACH kind IN ARRAY '{FUNCTIONS,TABLES,TYPES,SEQUENCES,SCHEMAS}'::text[] LOOP
		FOREACH whom IN ARRAY ARRAY['quota_test_anon', '"quota test ""Ö"', 'PUBLIC'] LOOP
			EXECUTE format('ALTER DEFAULT PRIVILEGES GRANT ALL ON %s TO %s', kind, whom);
			IF kind <> 'SCHEMAS' THEN
				EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON %s TO %s', kind, whom);
			END IF;
		END LOOP;
	END LOOP;
END $$;
ALTER DEFAULT PRIVILEGES GRANT ALL ON FUNCTIONS TO quota_test_anon WITH GRANT OPTION;
CREATE EXTENSION quota;
GRANT USAGE ON SCHEMA public TO PUBLIC;

CREATE FUNCTION strangers() RETURNS TABLE (object text, grantee oid, privilege text) LANGUAGE sql AS $$
	SELECT o.object, a.grantee, a.privilege_type
	FROM (
			SELECT oid::regprocedure::text, COALESCE(proacl, acldefault('f', proowner)), proowner, 'pg_proc'::regclass, oid, false FROM pg_proc
			UNION ALL
			SELECT oid::regclass::text, COALESCE(relacl, acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", relowner)), relowner, 'pg_class'::regclass, oid,
				relnamespace = 'quota'::regnamespace
			FROM pg_class WHERE relkind IN ('r', 'p', 'v', 'm', 'S')
			UNION ALL
			SELECT oid::regtype::text, COALESCE(typacl, acldefault('T', typowner)), typowner, 'pg_type'::regclass, oid, false FROM pg_type
			/* types of arrays and of the rows of tables have the rights of what they are made of; from 17 on they are members as well */
			WHERE typcategory <> 'A' AND NOT EXISTS (SELECT FROM pg_class WHERE pg_class.oid = typrelid AND relkind <> 'c')
			UNION ALL
			SELECT nspname, COALESCE(nspacl, acldefault('n', nspowner)), nspowner, 'pg_namespace'::regclass, oid, false FROM pg_namespace) o (object, acl, owner, class, oid, ours),
		aclexplode(o.acl) a
	WHERE a.grantee <> o.owner
		AND (o.ours OR EXISTS (SELECT FROM pg_depend d WHERE d.classid = o.class AND d.objid = o.oid AND d.deptype = 'e'
			AND d.refobjid = (SELECT e.oid FROM pg_extension e WHERE extname = 'quota')))
$$;
SELECT is_empty('SELECT * FROM strangers()', 'nobody but the owner holds anything');
SELECT quota_apply('{"features": {"report": {"kind": "counter", "ledger": true}}, "plans": {"free": {"default": true, "limits": {"report": {"month": {"limit": 5}}}}}}'),
	quota_consume('victim', 'report') \g /dev/null
SELECT is(try_as('quota_test_anon', attack), '42501', attack)
FROM unnest(ARRAY['SELECT quota_consume(''victim'', ''report'')', 'SELECT quota_refund(''victim'', ''report'')', 'SELECT quota_events(''victim'')',
	'SELECT quota_grant(''quota_test_anon'', ''admin'')', 'SELECT * FROM quota.usage', 'SELECT quota.now()', 'SELECT nextval(''quota.events_id_seq'')',
	'SELECT * FROM quota.stripe_secrets', 'CREATE TABLE mine (p quota_period)', 'GRANT EXECUTE ON FUNCTION quota_refund(text, text, bigint, timestamptz) TO PUBLIC']) attack;

/* What is made later. */
SELECT quota_maintain() \g /dev/null
SELECT isnt(to_regclass(to_char(now(), '"quota.events_"YYYY_MM')), NULL, 'a month of the ledger');
SELECT is_empty('SELECT * FROM strangers()', 'is for nobody else either');

/* Defaults that grant less than PostgreSQL's own. */
DROP FUNCTION strangers();
DROP EXTENSION quota;
ALTER DEFAULT PRIVILEGES REVOKE ALL ON FUNCTIONS FROM PUBLIC;
ALTER DEFAULT PRIVILEGES REVOKE ALL ON TYPES FROM PUBLIC;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
CREATE EXTENSION quota;
SELECT quota_apply('{"features": {"report": {"kind": "counter"}}, "plans": {"free": {"default": true, "limits": {"report": {"month": {"limit": 5}}}}}}'),
	quota_grant('quota_test_anon', 'app') \g /dev/null
SELECT is(try_as('quota_test_anon', $$SELECT public.quota_consume('a', 'report'), public.quota_usage('a')$$), 'ok', 'a level has what it needs');
SELECT quota_revoke('quota_test_anon') \g /dev/null
SELECT is(try_as('quota_test_anon', $$SELECT public.quota_consume('a', 'report')$$), '42501', 'until it is taken back');

SELECT * FROM finish();
ROLLBACK;
