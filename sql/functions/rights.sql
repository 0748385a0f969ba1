/*
 * Rights. The C functions read and write the tables on their own, so that a
 * role that may charge holds nothing on the tables.
 */
CREATE OR REPLACE FUNCTION quota.grants(level text)
	RETURNS SETOF text
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	decide text[] := '{quota_evaluate,quota_has_feature,quota_feature,quota_require_feature,quota_plan_with,quota_accounts_of,quota_rates}';
	charge text[] := '{quota_consume,quota_enforce,quota_record,quota_refund,quota_consume_many,quota_reserve,quota_commit,quota_release}';
	show text[] := '{quota_usage,quota_status,quota_history,quota_forecast,quota_sponsored,quota_events,quota_events_of,quota_invoices}';
	bill text[] := '{quota_stripe_event,quota_stripe_checkout,quota_stripe_portal}';
BEGIN
	IF level IS NULL THEN
		RAISE null_value_not_allowed USING MESSAGE = 'level must not be null';
	ELSIF level NOT IN ('app', 'reader', 'admin') THEN
		RAISE invalid_parameter_value USING
			MESSAGE = format('level "%s" does not exist', level),
			HINT = 'There are: app, reader, admin.';
	END IF;
	/* where everybody may use the schema already, there is nothing to take back later */
	IF NOT has_schema_privilege('public', '@extschema@'::regnamespace, 'USAGE') THEN
		RETURN NEXT 'USAGE ON SCHEMA @extschema@';
	END IF;
	RETURN QUERY
		SELECT 'USAGE ON TYPE ' || t
		FROM unnest(ARRAY['@extschema@.quota_period', '@extschema@.quota_verdict', '@extschema@.quota_decision', '@extschema@.quota_reservation']::regtype[]) t;
	RETURN QUERY
		SELECT format('EXECUTE ON FUNCTION %s', p.oid::regprocedure)
		FROM pg_depend d JOIN pg_proc p ON p.oid = d.objid
		WHERE d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
			AND d.refclassid = 'pg_extension'::regclass
			AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'quota')
			/* nor may an admin write the audit log, be it by a trigger of its own */
			AND p.proname NOT IN ('quota_allow', 'quota_revoke', 'grants', 'check_role', 'audit', 'audit_usage', 'write_audit')
			/* what works for quota_attach and its like, once it is known who calls */
			AND NOT (p.pronamespace = 'quota'::regnamespace AND p.proname IN ('quota_attach', 'quota_detach', 'quota_reconcile',
				'remove_attachment', 'make_triggers', 'drop_triggers', 'make_expression', 'drop_expressions', 'row_expression', 'check_value',
				'count_rows', 'lock_tables', 'backfill', 'charge_rows', 'truncate_rows', 'begin_rows', 'judge_row'))
			AND CASE level
				WHEN 'app' THEN p.proname = ANY (decide || charge || show || bill)
				/* what writes nothing, with what it and the reports are made of; policies call visible_accounts */
				WHEN 'reader' THEN p.provolatile <> 'v'
				ELSE true
			END
		ORDER BY p.oid;
	IF level <> 'app' THEN
		RETURN NEXT 'USAGE ON SCHEMA quota';
		/* not ALL TABLES: who is past row-level security could read the secrets */
		RETURN QUERY
			SELECT 'SELECT ON ' || oid::regclass
			FROM pg_class
			WHERE relnamespace = 'quota'::regnamespace AND relkind IN ('r', 'p', 'v') AND relname <> 'stripe_secrets'
			ORDER BY oid;
	END IF;
	IF level = 'admin' THEN
		RETURN QUERY
			SELECT 'INSERT, UPDATE, DELETE ON ' || oid::regclass
			FROM pg_class
			WHERE relnamespace = 'quota'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
				AND relname NOT IN ('audit_log', 'events', 'stripe_secrets', 'attached', 'charged_rows')
			ORDER BY oid;
	END IF;
END $$;
COMMENT ON FUNCTION quota.grants(text) IS 'what quota_allow grants for a level, in the words of GRANT';

/*
 * GRANT takes the word public for everybody: a role must be one.
 */
CREATE OR REPLACE FUNCTION quota.check_role(role text)
	RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF role IS NULL THEN
		RAISE null_value_not_allowed USING MESSAGE = 'role must not be null';
	ELSIF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
		RAISE undefined_object USING MESSAGE = format('role "%s" does not exist', role);
	END IF;
END $$;
COMMENT ON FUNCTION quota.check_role(text) IS 'refuses what is no role';

CREATE OR REPLACE FUNCTION @extschema@.quota_allow(role text, level text)
	RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	privilege text;
BEGIN
	PERFORM quota.check_role(role);
	FOR privilege IN SELECT quota.grants(level) LOOP
		EXECUTE format('GRANT %s TO %I', privilege, role);
	END LOOP;
END $$;
COMMENT ON FUNCTION @extschema@.quota_allow(text, text) IS
	'grant a role what it needs: app decides, charges, reports on an account and takes in webhooks, reader decides, reports and reads the tables, admin manages';

CREATE OR REPLACE FUNCTION @extschema@.quota_revoke(role text)
	RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	privilege text;
BEGIN
	PERFORM quota.check_role(role);
	FOR privilege IN SELECT quota.grants('admin') LOOP
		EXECUTE format('REVOKE %s FROM %I', privilege, role);
	END LOOP;
END $$;
COMMENT ON FUNCTION @extschema@.quota_revoke(text) IS 'take back what quota_allow granted';

/*
 * Nothing is for PUBLIC.
 */
DO $$
DECLARE
	member text;
BEGIN
	FOR member IN
		SELECT format('%s %s', kind, (pg_identify_object(classid, objid, 0)).identity)
		FROM pg_depend, (VALUES ('pg_proc'::regclass, 'FUNCTION'), ('pg_type'::regclass, 'TYPE')) k (class, kind)
		WHERE classid = k.class AND deptype = 'e'
			AND refclassid = 'pg_extension'::regclass
			AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'quota')
	LOOP
		EXECUTE format('REVOKE ALL ON %s FROM PUBLIC', member);
	END LOOP;
END $$;
