/*
 * Triggers that drop what is cached of a table when it changes: of the catalogue,
 * attachments and levels the caches of all backends, at commit; of accounts and
 * overrides the entitlement cache in shared memory. Row triggers and ENABLE ALWAYS,
 * so that replicated changes count too.
 */
CREATE FUNCTION quota.catalog_changed() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'quota_catalog_changed';
COMMENT ON FUNCTION quota.catalog_changed IS 'makes all backends drop what they cache of the table, at commit';

CREATE FUNCTION quota.levels_changed() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'quota_levels_changed';
COMMENT ON FUNCTION quota.levels_changed IS 'makes all backends drop the levels of roles, at commit';

CREATE FUNCTION quota.entitlement_changed() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'quota_entitlement_changed';
COMMENT ON FUNCTION quota.entitlement_changed IS 'removes an account from the entitlement cache';

DO $do$
DECLARE
	cached record;
BEGIN
	FOR cached IN
		SELECT c.kind, c.function, name
		FROM (VALUES
				('catalog', 'catalog_changed', '{plans,features,plan_limits,plan_features}'::text[]),
				('attached', 'catalog_changed', '{attached}'),
				('levels', 'levels_changed', '{levels}'),
				('entitlement', 'entitlement_changed', '{accounts,limit_overrides}')) c (kind, function, names),
			unnest(c.names) name
	LOOP
		EXECUTE format('
			CREATE TRIGGER %1$s_changed AFTER INSERT OR UPDATE OR DELETE ON quota.%3$I
				FOR EACH ROW EXECUTE FUNCTION quota.%2$I();
			CREATE TRIGGER %1$s_emptied AFTER TRUNCATE ON quota.%3$I
				FOR EACH STATEMENT EXECUTE FUNCTION quota.%2$I();
			ALTER TABLE quota.%3$I ENABLE ALWAYS TRIGGER %1$s_changed, ENABLE ALWAYS TRIGGER %1$s_emptied',
			cached.kind, cached.function, cached.name);
	END LOOP;
END $do$;

CREATE TRIGGER pool_changed AFTER INSERT OR UPDATE OF pool ON quota.accounts
	FOR EACH ROW WHEN (NEW.pool IS NOT NULL) EXECUTE FUNCTION quota.catalog_changed();
ALTER TABLE quota.accounts ENABLE ALWAYS TRIGGER pool_changed;
