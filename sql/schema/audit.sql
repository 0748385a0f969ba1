/*
 * Who changed what, when and why. Row triggers write it, so that a statement
 * by hand is recorded like a function; charging fires no trigger and writes
 * nothing here. The trigger functions are SECURITY DEFINER because whoever is
 * recorded must not be able to write the record.
 */
CREATE TABLE quota.audit_log (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	at timestamptz NOT NULL DEFAULT now(),
	effective_at timestamptz NOT NULL,
	act text COLLATE "C" NOT NULL,
	account text COLLATE "C",
	table_name text NOT NULL,
	before jsonb,
	after jsonb,
	reason text,
	user_id text COLLATE "C",
	role text NOT NULL,
	session_role text NOT NULL
);
CREATE INDEX audit_log_account ON quota.audit_log (account, at);
CREATE INDEX audit_log_act ON quota.audit_log (act, at);
CREATE INDEX audit_log_catalog ON quota.audit_log (effective_at) WHERE account IS NULL;
COMMENT ON TABLE quota.audit_log IS 'every change of the catalogue, of accounts, members, overrides, invoices and Stripe''s prices and customers, and of counters by hand';
COMMENT ON SEQUENCE quota.audit_log_id_seq IS 'of quota.audit_log';
COMMENT ON COLUMN quota.audit_log.at IS 'start of the transaction, whatever quota.now says';
COMMENT ON COLUMN quota.audit_log.effective_at IS
	'quota.now(): from when on the change held; invoices are made out by what held before';
COMMENT ON COLUMN quota.audit_log.act IS
	'the function that made the change; insert, update, delete or truncate: a statement by hand';
COMMENT ON COLUMN quota.audit_log.account IS 'NULL: a change of the catalogue, or of counters of several accounts';
COMMENT ON COLUMN quota.audit_log.before IS
	'the row; of quota.usage an array of rows, or how many there were where they are of several accounts';
COMMENT ON COLUMN quota.audit_log.after IS 'as before; NULL: deleted';
COMMENT ON COLUMN quota.audit_log.reason IS 'that of an override, or setting quota.reason';
COMMENT ON COLUMN quota.audit_log.user_id IS 'quota.user_id()';
COMMENT ON COLUMN quota.audit_log.role IS 'the role of SET ROLE; without one that of the session';
COMMENT ON COLUMN quota.audit_log.session_role IS 'who logged in';
SELECT pg_extension_config_dump('quota.audit_log', '');
SELECT pg_extension_config_dump('quota.audit_log_id_seq', '');

CREATE FUNCTION quota.user_id() RETURNS text
	LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'quota_user_id';
COMMENT ON FUNCTION quota.user_id() IS
	'the application''s user on whose behalf the session acts: setting quota.user, else the sub of request.jwt.claims';

/* PL/pgSQL keeps the plan, where an SQL function would be planned for each row */
CREATE FUNCTION quota.write_audit(act text, table_name text, changed_account text, before jsonb, after jsonb) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	INSERT INTO quota.audit_log (effective_at, act, account, table_name, before, after, reason, user_id, role, session_role)
	VALUES (
		quota.now(),
		COALESCE(quota.current_act(), lower(write_audit.act)),
		changed_account, write_audit.table_name, write_audit.before, write_audit.after,
		COALESCE(write_audit.after->>'reason', NULLIF(current_setting('quota.reason', true), '')),
		quota.user_id(),
		COALESCE(NULLIF(current_setting('role'), 'none'), session_user),
		session_user);
END $$;
COMMENT ON FUNCTION quota.write_audit(text, text, text, jsonb, jsonb) IS 'one row of the audit log';

CREATE FUNCTION quota.audit() RETURNS trigger
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	before jsonb := to_jsonb(OLD);
	after jsonb := to_jsonb(NEW);
BEGIN
	PERFORM quota.write_audit(TG_OP, TG_TABLE_NAME, COALESCE(after, before)->>'account', before, after);
	RETURN NULL;
END $$;
COMMENT ON FUNCTION quota.audit() IS 'records the change of a row';

/*
 * One row a statement, since deleting old counters can touch all of them.
 */
CREATE FUNCTION quota.audit_usage() RETURNS trigger
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	before jsonb;
	after jsonb;
	only_account text := (SELECT min(account) FROM gone HAVING min(account) = max(account));
BEGIN
	IF only_account IS NOT NULL THEN
		before := (SELECT jsonb_agg(to_jsonb(g) ORDER BY feature, period, period_start) FROM gone g);
		IF TG_OP = 'UPDATE' THEN
			after := (SELECT jsonb_agg(to_jsonb(c) ORDER BY feature, period, period_start) FROM came c);
		END IF;
	ELSE
		before := (SELECT jsonb_build_object('rows', count(*), 'used', sum(used)) FROM gone HAVING count(*) > 0);
	END IF;
	IF before IS NOT NULL THEN
		PERFORM quota.write_audit(TG_OP, TG_TABLE_NAME, only_account, before, after);
	END IF;
	RETURN NULL;
END $$;
COMMENT ON FUNCTION quota.audit_usage() IS 'records what a statement by hand does to counters';

/*
 * Not ENABLE ALWAYS: where the changes of another server are replayed, its log
 * is replayed as well. Nor while a dump is restored, which brings the log with
 * it: that runs with row_security off, as a role to which row-level security
 * does not apply. Such a role could switch triggers off anyway.
 */
DO $do$
DECLARE
	unless_restored CONSTANT text :=
		$$WHEN (row_security_active('quota.accounts'::regclass) OR current_setting('row_security')::boolean)$$;
	name text;
BEGIN
	FOREACH name IN ARRAY '{plans,features,plan_limits,plan_features,accounts,account_users,limit_overrides,invoices,invoice_lines,stripe_prices,stripe_customers}'::text[] LOOP
		EXECUTE format('CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON quota.%I
			FOR EACH ROW %s EXECUTE FUNCTION quota.audit()', name, unless_restored);
	END LOOP;
	FOREACH name IN ARRAY '{plans,features,plan_limits,plan_features,accounts,account_users,limit_overrides,invoices,invoice_lines,stripe_prices,stripe_customers,usage}'::text[] LOOP
		EXECUTE format('CREATE TRIGGER audit_truncate AFTER TRUNCATE ON quota.%I
			FOR EACH STATEMENT %s EXECUTE FUNCTION quota.audit()', name, unless_restored);
	END LOOP;
	EXECUTE 'CREATE TRIGGER audit_update AFTER UPDATE ON quota.usage REFERENCING OLD TABLE AS gone NEW TABLE AS came
		FOR EACH STATEMENT ' || unless_restored || ' EXECUTE FUNCTION quota.audit_usage()';
	EXECUTE 'CREATE TRIGGER audit_delete AFTER DELETE ON quota.usage REFERENCING OLD TABLE AS gone
		FOR EACH STATEMENT ' || unless_restored || ' EXECUTE FUNCTION quota.audit_usage()';
END $do$;
