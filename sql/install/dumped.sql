/*
 * Have pg_dump dump all rows of every table, and its sequence, unless tables.sql has
 * given the table a condition.
 */
DO $$
DECLARE
	member record;
BEGIN
	FOR member IN
		SELECT c.oid::regclass AS name, c.relkind
		FROM pg_extension e
			JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.classid = 'pg_class'::regclass AND d.deptype = 'e'
			JOIN pg_class c ON c.oid = d.objid
		WHERE e.extname = 'quota' AND c.relkind IN ('r', 'p', 'S') AND c.oid <> ALL (COALESCE(e.extconfig, '{}'))
		ORDER BY c.oid
	LOOP
		PERFORM pg_extension_config_dump(member.name, '');
		IF member.relkind = 'S' THEN
			EXECUTE format('COMMENT ON SEQUENCE %s IS %L', member.name, 'of ' || regexp_replace(member.name::text, '_id_seq$', ''));
		END IF;
	END LOOP;
END $$;
