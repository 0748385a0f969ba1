/*
 * Levels of roles. C functions read and write the tables themselves, and twins have
 * the rights of the owner, so a role needs only EXECUTE on the functions of its
 * level, unless it is to read or write the tables.
 */
CREATE OR REPLACE FUNCTION quota.grants(level text)
	RETURNS SETOF text
	LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $$
DECLARE
	extension pg_extension := (SELECT e FROM pg_extension e WHERE extname = 'quota');
	/* functions that views and policies call; all others of schema quota are for nobody */
	shown CONSTANT text[] := '{now,window_start,default_plan,plan_has_ended,own_plan,plan_in_effect,visible_accounts,sees_all,manages}';
	hidden text[] := '{stripe_secrets}';
	functions text[] := '{}';
BEGIN
	IF level IS NULL THEN
		RAISE null_value_not_allowed USING MESSAGE = 'level must not be null';
	ELSIF level NOT IN ('user', 'reader', 'monitor', 'app', 'admin') THEN
		RAISE invalid_parameter_value USING
			MESSAGE = format('level "%s" does not exist', quota.shown(level)),
			HINT = 'There are: user, reader, monitor, app, admin.';
	END IF;
	IF level IN ('reader', 'monitor', 'admin') THEN
		functions := shown;
	END IF;
	IF level IN ('reader', 'monitor') THEN
		hidden := hidden || '{levels}';
	END IF;
	IF level = 'monitor' THEN
		/* figures only: no users, calls or Stripe tables, and the ledger without metadata */
		hidden := hidden || '{events,audit_log,account_users,keys,charged_rows,stripe_prices,stripe_customers,stripe_subscriptions,stripe_events}';
		RETURN QUERY
			SELECT format('SELECT (%s) ON quota.events', string_agg(quote_ident(attname), ', ' ORDER BY attnum))
			FROM pg_attribute
			WHERE attrelid = 'quota.events'::regclass AND attnum > 0 AND NOT attisdropped AND attname <> 'metadata';
	END IF;
	RETURN QUERY
		SELECT 'USAGE ON TYPE ' || t.oid::regtype
		FROM pg_depend d JOIN pg_type t ON t.oid = d.objid
		WHERE d.classid = 'pg_type'::regclass AND d.deptype = 'e'
			AND d.refclassid = 'pg_extension'::regclass AND d.refobjid = extension.oid
			AND t.typnamespace = extension.extnamespace
			/* from 17 on array types are members too */
			AND t.typcategory <> 'A'
		ORDER BY t.oid;
	RETURN QUERY
		SELECT format('EXECUTE ON FUNCTION %s', p.oid::regprocedure)
		FROM pg_depend d JOIN pg_proc p ON p.oid = d.objid
		WHERE d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
			AND d.refclassid = 'pg_extension'::regclass AND d.refobjid = extension.oid
			AND CASE p.pronamespace
				WHEN 'quota'::regnamespace THEN p.proname = ANY (functions)
				ELSE p.proname IN (SELECT f.function FROM quota.level_functions() f WHERE f.level = grants.level)
			END
		ORDER BY p.oid;
	IF functions <> '{}' THEN
		RETURN NEXT 'USAGE ON SCHEMA quota';
		/* partitions are read through the whole; not ALL TABLES, since roles with BYPASSRLS would read the secrets */
		RETURN QUERY
			SELECT format('SELECT%s ON %s',
				/* members may not see the reason of an override */
				CASE WHEN relname = 'limit_overrides' AND level <> 'admin' THEN (
					SELECT format(' (%s)', string_agg(quote_ident(attname), ', ' ORDER BY attnum))
					FROM pg_attribute
					WHERE attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped AND attname <> 'reason') END,
				oid::regclass)
			FROM pg_class
			WHERE relnamespace = 'quota'::regnamespace AND relkind IN ('r', 'p', 'v') AND NOT relispartition
				AND relname <> ALL (hidden)
			ORDER BY oid;
	END IF;
	IF level = 'admin' THEN
		RETURN QUERY
			SELECT 'INSERT, UPDATE, DELETE ON ' || oid::regclass
			FROM pg_class
			WHERE relnamespace = 'quota'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
				/* not those that charges or functions alone write: a change by hand would leave no trace in the audit log */
				AND relname NOT IN ('adopted', 'alerts', 'attached', 'audit_log', 'charged_rows', 'events', 'holds', 'keys', 'levels', 'reservations', 'stripe_secrets')
			ORDER BY oid;
	END IF;
END $$;
COMMENT ON FUNCTION quota.grants IS 'what quota_grant grants for a level, as the words after GRANT';

/*
 * GRANT reads the word public as everybody, so it must not be the name of a role
 * here.
 */
CREATE OR REPLACE FUNCTION quota.check_role(role text)
	RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $$
BEGIN
	IF role IS NULL THEN
		RAISE null_value_not_allowed USING MESSAGE = 'role must not be null';
	ELSIF role = 'public' THEN
		RAISE invalid_parameter_value USING
			MESSAGE = 'PUBLIC cannot have a level',
			HINT = 'Make a role for the level, and grant it to those who need it.';
	ELSIF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
		RAISE undefined_object USING MESSAGE = format('role "%s" does not exist', quota.shown(role));
	END IF;
END $$;
COMMENT ON FUNCTION quota.check_role IS 'raises an error unless a role exists';

/*
 * Rights that the role has through PUBLIC or default privileges are not counted on:
 * they may be revoked. USAGE on the schema of the functions is left to a role that
 * had it before.
 */
CREATE OR REPLACE FUNCTION quota.quota_grant(role text, level text)
	RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
AS $$
DECLARE
	api CONSTANT regnamespace := (SELECT extnamespace FROM pg_extension WHERE extname = 'quota');
	role_oid CONSTANT oid := (SELECT oid FROM pg_roles WHERE rolname = role);
	privilege text;
	had_usage boolean;
BEGIN
	PERFORM quota.check_role(role);
	PERFORM quota.grants(level);
	/* one at a time: of two concurrent GRANTs on an object one fails */
	PERFORM quota.lock_alone('levels'::text);
	DELETE FROM quota.levels l WHERE NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = l.role);
	had_usage := EXISTS (
		SELECT FROM pg_namespace n, aclexplode(n.nspacl) a
		WHERE n.oid = api AND a.grantee = role_oid AND a.privilege_type = 'USAGE');
	IF NOT had_usage THEN
		EXECUTE format('GRANT USAGE ON SCHEMA %s TO %I', api, role);
	END IF;
	FOR privilege IN SELECT quota.grants(level) LOOP
		EXECUTE format('GRANT %s TO %I', privilege, role);
	END LOOP;
	INSERT INTO quota.levels (role, level, schema_usage)
	VALUES (role_oid, quota_grant.level, NOT had_usage)
	ON CONFLICT DO NOTHING;
END $$;
COMMENT ON FUNCTION quota.quota_grant IS
	'give a role a level: user charges and shows its user''s accounts, reader shows them, monitor shows all figures, app charges any account, admin manages';

CREATE OR REPLACE FUNCTION quota.quota_revoke(role text)
	RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
AS $$
DECLARE
	api CONSTANT regnamespace := (SELECT extnamespace FROM pg_extension WHERE extname = 'quota');
	role_oid CONSTANT oid := (SELECT oid FROM pg_roles WHERE rolname = role);
	privilege text;
BEGIN
	PERFORM quota.check_role(role);
	PERFORM quota.lock_alone('levels'::text);
	FOR privilege IN
		SELECT DISTINCT g
		FROM quota.levels l, quota.grants(l.level) g
		WHERE l.role = role_oid
	LOOP
		EXECUTE format('REVOKE %s FROM %I', privilege, role);
	END LOOP;
	IF EXISTS (SELECT FROM quota.levels l WHERE l.role = role_oid AND l.schema_usage) THEN
		EXECUTE format('REVOKE USAGE ON SCHEMA %s FROM %I', api, role);
	END IF;
	DELETE FROM quota.levels l WHERE l.role = role_oid;
END $$;
COMMENT ON FUNCTION quota.quota_revoke IS 'take back what quota_grant granted, of every level';

/* Row types and array types have the rights of their table and element. */
CREATE OR REPLACE FUNCTION quota.revoke_all(class regclass, object oid)
	RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
AS $$
DECLARE
	granted record;
BEGIN
	FOR granted IN
		SELECT DISTINCT o.kind, o.name, a.grantee
		FROM (
				SELECT CASE relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, oid::regclass::text, relowner,
					COALESCE(relacl, acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", relowner))
				FROM pg_class
				WHERE class = 'pg_class'::regclass AND oid = object AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
				UNION ALL
				SELECT 'ROUTINE', oid::regprocedure::text, proowner, COALESCE(proacl, acldefault('f', proowner))
				FROM pg_proc
				WHERE class = 'pg_proc'::regclass AND oid = object
				UNION ALL
				SELECT 'TYPE', t.oid::regtype::text, t.typowner, COALESCE(t.typacl, acldefault('T', t.typowner))
				FROM pg_type t LEFT JOIN pg_class c ON c.oid = t.typrelid
				WHERE class = 'pg_type'::regclass AND t.oid = object AND t.typtype <> 'm' AND t.typcategory <> 'A'
					AND COALESCE(c.relkind = 'c', true)
				UNION ALL
				SELECT 'SCHEMA', oid::regnamespace::text, nspowner, COALESCE(nspacl, acldefault('n', nspowner))
				FROM pg_namespace
				WHERE class = 'pg_namespace'::regclass AND oid = object) o (kind, name, owner, acl),
			aclexplode(o.acl) a
		WHERE a.grantee <> o.owner
	LOOP
		EXECUTE format('REVOKE ALL ON %s %s FROM %s', granted.kind, granted.name,
			CASE granted.grantee WHEN 0 THEN 'PUBLIC' ELSE granted.grantee::regrole::text END);
	END LOOP;
END $$;
COMMENT ON FUNCTION quota.revoke_all IS 'revokes all rights on a relation, function, type or schema from everybody but its owner';
