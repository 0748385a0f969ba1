/*
 * Revoke what PostgreSQL grants to PUBLIC and ALTER DEFAULT PRIVILEGES to others.
 * Last, when all objects exist.
 */
DO $$
BEGIN
	PERFORM quota.revoke_all(classid, objid)
	FROM pg_depend
	WHERE deptype = 'e' AND refclassid = 'pg_extension'::regclass
		AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'quota');
END $$;
