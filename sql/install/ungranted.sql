/*
 * Nothing is for anybody but the owner, whatever PostgreSQL grants to PUBLIC and
 * ALTER DEFAULT PRIVILEGES to others: last, when all objects are there.
 */
DO $$
BEGIN
	PERFORM quota.revoke_all(classid, objid)
	FROM pg_depend
	WHERE deptype = 'e' AND refclassid = 'pg_extension'::regclass
		AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'quota');
END $$;
