/*
 * Create overloads for accounts named by uuid and bigint, from public functions whose
 * first argument is an account as text. C functions have an entry for each
 * (QUOTA_ACCOUNT_FUNCTION in src/argument.h); all others call the function for text,
 * with the rights of the caller.
 */
DO $$
DECLARE
	f record;
	key record;
BEGIN
	FOR f IN
		SELECT p.oid::regproc AS name, p.proargnames[1:p.pronargs] AS arguments,
			pg_get_function_arguments(p.oid) AS declared,
			pg_get_function_identity_arguments(p.oid) AS identity,
			pg_get_function_result(p.oid) AS result,
			p.proretset AS returns_set,
			CASE WHEN p.prolang = (SELECT oid FROM pg_language WHERE lanname = 'c') AND p.prosrc <> 'quota_gate' THEN p.prosrc END AS symbol,
			CASE p.provolatile WHEN 'v' THEN 'VOLATILE PARALLEL UNSAFE' ELSE 'STABLE PARALLEL RESTRICTED' END AS options,
			obj_description(p.oid, 'pg_proc') AS comment
		FROM pg_depend d JOIN pg_proc p ON p.oid = d.objid
		WHERE d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
			AND d.refclassid = 'pg_extension'::regclass
			AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'quota')
			AND p.pronamespace = '@extschema@'::regnamespace
			AND p.proargnames[1] IN ('account', 'sponsor') AND p.proargtypes[0] = 'text'::regtype
		ORDER BY p.oid
	LOOP
		FOR key IN
			SELECT '\m(account|sponsor|pool) text\M' AS pattern, format('\1%s %s', suffix, type) AS replacement, suffix, type
			FROM (VALUES ('_uuid', 'uuid'), ('_id', 'bigint')) v (suffix, type)
		LOOP
			/* RETURN can be inlined */
			EXECUTE format('CREATE FUNCTION %s(%s) RETURNS %s %s LANGUAGE '
				|| CASE WHEN f.symbol IS NOT NULL THEN 'c AS ''MODULE_PATHNAME'', %6$L'
					WHEN f.returns_set THEN 'sql BEGIN ATOMIC SELECT * FROM %1$s(%5$s); END'
					ELSE 'sql RETURN %1$s(%5$s)' END,
				f.name, regexp_replace(f.declared, key.pattern, key.replacement, 'g'), f.result, f.options,
				(SELECT string_agg(CASE WHEN a IN ('account', 'sponsor', 'pool') THEN a || key.suffix || '::text' ELSE quote_ident(a) END, ', ')
				FROM unnest(f.arguments) a),
				f.symbol || '_' || key.type);
			EXECUTE format('COMMENT ON FUNCTION %s(%s) IS %L',
				f.name, regexp_replace(f.identity, key.pattern, key.replacement, 'g'), f.comment);
		END LOOP;
	END LOOP;
END $$;
