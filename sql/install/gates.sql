/*
 * Create the public functions: for each function quota.quota_*, its twin, one with
 * the same name, arguments, result and comment. quota_gate (src/rights/gate.c) checks
 * the caller, then calls the twin, which has the rights of the owner and is
 * executable by nobody else. Functions on tables of the application have a C function
 * of their own, which also checks who owns the table.
 */
DO $$
DECLARE
	f record;
BEGIN
	FOR f IN
		SELECT p.proname AS name, pg_get_function_arguments(p.oid) AS declared,
			pg_get_function_identity_arguments(p.oid) AS identity,
			pg_get_function_result(p.oid) AS result,
			CASE WHEN p.proname IN ('quota_adopt', 'quota_unadopt', 'quota_attach', 'quota_detach', 'quota_reconcile') THEN p.proname ELSE 'quota_gate' END AS symbol,
			CASE p.provolatile WHEN 'v' THEN 'VOLATILE PARALLEL UNSAFE' ELSE 'STABLE PARALLEL RESTRICTED' END AS options,
			obj_description(p.oid, 'pg_proc') AS comment
		FROM pg_proc p
		WHERE p.pronamespace = 'quota'::regnamespace AND p.proname LIKE 'quota\_%'
		ORDER BY p.oid
	LOOP
		EXECUTE format('CREATE FUNCTION @extschema@.%I(%s) RETURNS %s LANGUAGE c %s AS ''MODULE_PATHNAME'', %L',
			f.name, f.declared, f.result, f.options, f.symbol);
		EXECUTE format('COMMENT ON FUNCTION @extschema@.%I(%s) IS %L', f.name, f.identity, f.comment);
	END LOOP;
END $$;
