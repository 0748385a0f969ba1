/*
 * Guards on DDL that would harm the tables. They read the catalogs alone, which
 * everybody may: whoever creates a table anywhere fires them, without a right on
 * schema quota.
 */

/*
 * C writes these tables without the executor: row triggers do not fire, rules do not
 * rewrite, foreign keys are not checked. Tools that rely on them, such as pg_repack
 * and trigger-based replication, would lose charges. Disabled triggers do no harm:
 * disable one that is found.
 */
CREATE FUNCTION quota.refuse_row_triggers() RETURNS event_trigger
	LANGUAGE plpgsql
AS $$
DECLARE
	fault record;
BEGIN
	/* return early for most tables */
	IF NOT EXISTS (
		SELECT FROM pg_event_trigger_ddl_commands() d LEFT JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
		WHERE d.classid IN ('pg_trigger'::regclass, 'pg_rewrite'::regclass) OR c.relhastriggers OR c.relhasrules OR c.relkind = 'p')
	THEN
		RETURN;
	END IF;
	WITH written AS (
		SELECT c.oid
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = 'quota' AND c.relname IN ('usage', 'keys', 'reservations', 'holds', 'events', 'alerts')
	), guarded AS (
		SELECT w.oid FROM written w
		UNION
		SELECT i.inhrelid FROM written w JOIN pg_inherits i ON i.inhparent = w.oid
	)
	SELECT n.nspname || '.' || c.relname AS relation, f.what, f.name INTO fault
	FROM guarded g
		JOIN pg_class c ON c.oid = g.oid
		JOIN pg_namespace n ON n.oid = c.relnamespace
		CROSS JOIN LATERAL (
			SELECT 'pg_trigger'::regclass::oid AS classid, t.oid AS objid, t.tgconstrrelid AS other,
				CASE WHEN NOT t.tgisinternal THEN 'row trigger' WHEN k.contype = 'f' THEN 'foreign key' ELSE 'constraint' END AS what,
				CASE WHEN t.tgisinternal THEN k.conname ELSE t.tgname END AS name
			FROM pg_trigger t LEFT JOIN pg_constraint k ON k.oid = t.tgconstraint
			WHERE t.tgrelid = g.oid AND (t.tgtype & 1) = 1 AND t.tgenabled <> 'D'
			UNION ALL
			SELECT 'pg_rewrite'::regclass, r.oid, 0, 'rule', r.rulename
			FROM pg_rewrite r
			WHERE r.ev_class = g.oid AND r.ev_enabled <> 'D') f
	WHERE EXISTS (
		SELECT FROM pg_event_trigger_ddl_commands() d
		WHERE (d.classid, d.objid) IN ((f.classid, f.objid), ('pg_class'::regclass, f.other))
			OR d.classid = 'pg_class'::regclass AND d.objid IN (SELECT a.oid FROM guarded a))
	LIMIT 1;
	IF FOUND THEN
		RAISE object_not_in_prerequisite_state USING
			MESSAGE = format('%s "%s" on table %s would miss what is charged', fault.what, fault.name, fault.relation),
			DETAIL = 'Charges are written past triggers, rules and foreign keys.',
			HINT = 'To compact the table use VACUUM FULL or CLUSTER, for its indexes REINDEX CONCURRENTLY; to follow it, logical decoding.';
	END IF;
END $$;
COMMENT ON FUNCTION quota.refuse_row_triggers IS
	'refuses row triggers, rules and foreign keys on the tables that charges write';

CREATE EVENT TRIGGER quota_refuse_row_triggers ON ddl_command_end
	WHEN TAG IN ('CREATE TRIGGER', 'CREATE RULE', 'CREATE TABLE', 'ALTER TABLE', 'CREATE SCHEMA')
	EXECUTE FUNCTION quota.refuse_row_triggers();
ALTER EVENT TRIGGER quota_refuse_row_triggers ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER quota_refuse_row_triggers IS 'pg_repack and replication by triggers stop before they start';

/*
 * A publication would send the signing secrets to every subscriber. FOR ALL TABLES
 * cannot leave a table out.
 */
CREATE FUNCTION quota.warn_of_publication(publication name) RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $$
BEGIN
	IF EXISTS (
		SELECT FROM pg_publication_tables t
		WHERE t.pubname = publication AND t.schemaname = 'quota' AND t.tablename = 'stripe_secrets'
			AND 'secret' = ANY (t.attnames))
	THEN
		RAISE WARNING USING
			MESSAGE = format('publication "%s" carries table quota.stripe_secrets, the signing secrets of webhooks', publication),
			DETAIL = 'Every subscriber gets them, and could sign webhooks.',
			HINT = 'Publish tables by name, or a schema other than quota.';
	END IF;
END $$;
COMMENT ON FUNCTION quota.warn_of_publication IS 'warns of a publication that carries the signing secrets';

/* SECURITY DEFINER, so it calls a function that the script can call too. */
CREATE FUNCTION quota.check_publications() RETURNS event_trigger
	LANGUAGE plpgsql SECURITY DEFINER
AS $$
BEGIN
	PERFORM quota.warn_of_publication(p.pubname)
	FROM pg_publication p
	WHERE EXISTS (
		SELECT FROM pg_event_trigger_ddl_commands() d
		WHERE d.classid = 'pg_publication'::regclass AND d.objid = p.oid
			OR d.classid = 'pg_publication_rel'::regclass AND d.objid IN (SELECT r.oid FROM pg_publication_rel r WHERE r.prpubid = p.oid)
			OR d.classid = 'pg_publication_namespace'::regclass AND d.objid IN (SELECT n.oid FROM pg_publication_namespace n WHERE n.pnpubid = p.oid));
END $$;
COMMENT ON FUNCTION quota.check_publications IS 'warns of publications that carry the signing secrets';

CREATE EVENT TRIGGER quota_check_publications ON ddl_command_end
	WHEN TAG IN ('CREATE PUBLICATION', 'ALTER PUBLICATION')
	EXECUTE FUNCTION quota.check_publications();
COMMENT ON EVENT TRIGGER quota_check_publications IS 'no publication carries the signing secrets without a warning';

SELECT quota.warn_of_publication(p.pubname) FROM pg_publication p;
