/*
 * The public functions that pass through the gate: one for each function
 * quota.quota_*, its twin, with the same name, arguments, result and comment.
 * quota_gate (src/rights/gate.c) checks the caller, then calls the twin. A twin has the
 * rights of the owner and is executable by nobody else.
 *
 * Not made where there is one already that checks more before it calls its twin.
 */
DO $$
DECLARE
	f record;
BEGIN
	FOR f IN
		SELECT p.proname AS name, pg_get_function_arguments(p.oid) AS declared,
			pg_get_function_identity_arguments(p.oid) AS identity,
			pg_get_function_result(p.oid) AS result,
			CASE p.provolatile WHEN 'v' THEN 'VOLATILE PARALLEL UNSAFE' ELSE 'STABLE PARALLEL RESTRICTED' END AS options,
			obj_description(p.oid, 'pg_proc') AS comment
		FROM pg_proc p
		WHERE p.pronamespace = 'quota'::regnamespace AND p.proname LIKE 'quota\_%'
			AND NOT EXISTS (
				SELECT FROM pg_proc o JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = o.oid AND d.deptype = 'e'
				WHERE o.pronamespace = '@extschema@'::regnamespace AND o.proname = p.proname AND o.proargtypes = p.proargtypes
					AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'quota'))
		ORDER BY p.oid
	LOOP
		EXECUTE format('CREATE FUNCTION @extschema@.%I(%s) RETURNS %s LANGUAGE c %s AS ''MODULE_PATHNAME'', ''quota_gate''',
			f.name, f.declared, f.result, f.options);
		EXECUTE format('COMMENT ON FUNCTION @extschema@.%I(%s) IS %L', f.name, f.identity, f.comment);
	END LOOP;
END $$;
