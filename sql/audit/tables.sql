/*
 * The audit log: who changed what, when and why. Row triggers write it, so that a
 * statement by hand is recorded like a function. Charges fire no trigger and are not
 * recorded. The trigger functions are SECURITY DEFINER because the role that is
 * recorded must not be able to write the log.
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
COMMENT ON TABLE quota.audit_log IS 'every change of the catalogue, of accounts, members, overrides, invoices, levels and Stripe''s prices and customers, and of counters by hand';
COMMENT ON COLUMN quota.audit_log.at IS 'start of the transaction, whatever quota.now says';
COMMENT ON COLUMN quota.audit_log.effective_at IS 'quota.now() of the change; invoices use what was in effect before';
COMMENT ON COLUMN quota.audit_log.act IS
	'the function that made the change; insert, update, delete or truncate for a statement by hand';
COMMENT ON COLUMN quota.audit_log.account IS 'NULL: a change of the catalogue or of levels, or by a function of counters of several accounts';
COMMENT ON COLUMN quota.audit_log.before IS
	'the row; for quota.usage an array of rows, or the numbers of rows and units where a function changed several accounts; NULL: inserted';
COMMENT ON COLUMN quota.audit_log.after IS 'as before; NULL: deleted';
COMMENT ON COLUMN quota.audit_log.reason IS 'reason of an override, or setting quota.reason';
COMMENT ON COLUMN quota.audit_log.user_id IS 'quota.user_id()';
COMMENT ON COLUMN quota.audit_log.role IS 'the role set by SET ROLE, else that of the session';
COMMENT ON COLUMN quota.audit_log.session_role IS 'the role that logged in';

/*
 * Rows that a dump restores by INSERT fire the triggers below, so the log has new
 * entries before the dump's own are restored.
 */
CREATE FUNCTION quota.check_audit_id() RETURNS trigger
	LANGUAGE plpgsql
AS $$
BEGIN
	IF EXISTS (SELECT FROM quota.audit_log l WHERE l.id = NEW.id) THEN
		RAISE unique_violation USING
			MESSAGE = format('the audit log has an entry %s already', NEW.id),
			HINT = 'To restore a dump that was made with --inserts, set session_replication_role to replica.';
	END IF;
	RETURN NEW;
END $$;
COMMENT ON FUNCTION quota.check_audit_id IS 'refuses the log of a dump if the restore of other rows was recorded under the same numbers';

CREATE TRIGGER check_audit_id BEFORE INSERT ON quota.audit_log
	FOR EACH ROW EXECUTE FUNCTION quota.check_audit_id();

CREATE FUNCTION quota.user_id() RETURNS text
	LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'quota_user_id';
COMMENT ON FUNCTION quota.user_id IS
	'user of the application for whom the session acts: setting quota.user, else the sub of request.jwt.claims';

CREATE FUNCTION quota.is_restored(relation oid) RETURNS boolean
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'quota_is_restored';
COMMENT ON FUNCTION quota.is_restored IS
	'true if a trigger was fired by COPY of the session into its table, by a role with the owner''s rights: a restore';

/* PL/pgSQL caches the plan; an SQL function would be planned for each row */
CREATE FUNCTION quota.write_audit(act text, table_name text, changed_account text, before jsonb, after jsonb) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
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
COMMENT ON FUNCTION quota.write_audit IS 'writes a row of the audit log';

/* plan_cache_mode: the caller may have force_custom_plan */
CREATE FUNCTION quota.audit() RETURNS trigger
	LANGUAGE plpgsql SECURITY DEFINER SET plan_cache_mode = auto
AS $$
DECLARE
	before jsonb;
	after jsonb;
BEGIN
	IF quota.is_restored(TG_RELID) THEN
		RETURN NULL;
	END IF;
	before := to_jsonb(OLD);
	after := to_jsonb(NEW);
	PERFORM quota.write_audit(TG_OP, TG_TABLE_NAME::text, COALESCE(after, before)->>'account', before, after);
	RETURN NULL;
END $$;
COMMENT ON FUNCTION quota.audit IS 'records the change of a row';

/*
 * A statement by hand is recorded account by account, so that no change hides among
 * others. A function that changes counters of several accounts, such as quota_attach,
 * writes one entry with sums. In an UPDATE the old rows say whose the counters are.
 */
CREATE FUNCTION quota.audit_usage() RETURNS trigger
	LANGUAGE plpgsql SECURITY DEFINER
AS $$
DECLARE
	change record;
	several boolean := false;
	before_sums jsonb;
	after_sums jsonb;
BEGIN
	IF quota.is_restored(TG_RELID) THEN
		RETURN NULL;
	END IF;
	IF quota.current_act() IS NOT NULL THEN
		IF TG_OP <> 'INSERT' THEN
			SELECT min(account) <> max(account) AS several, jsonb_build_object('rows', count(*), 'used', sum(used)) AS sums INTO change FROM gone;
			several := COALESCE(change.several, false);
			before_sums := change.sums;
		END IF;
		IF TG_OP <> 'DELETE' THEN
			SELECT min(account) <> max(account) AS several, jsonb_build_object('rows', count(*), 'used', sum(used)) AS sums INTO change FROM came;
			several := several OR COALESCE(change.several, false);
			after_sums := change.sums;
		END IF;
	END IF;
	IF several THEN
		PERFORM quota.write_audit(TG_OP, 'usage', NULL, before_sums, after_sums);
	ELSIF TG_OP = 'INSERT' THEN
		PERFORM quota.write_audit(TG_OP, 'usage', c.account, NULL, c.counters)
		FROM (
			SELECT account, jsonb_agg(to_jsonb(r) ORDER BY feature, period, period_start, slot) AS counters
			FROM came r GROUP BY account ORDER BY account) c;
	ELSIF TG_OP = 'UPDATE' THEN
		PERFORM quota.write_audit(TG_OP, 'usage', account, g.counters, c.counters)
		FROM (
			SELECT account, jsonb_agg(to_jsonb(r) ORDER BY feature, period, period_start, slot) AS counters
			FROM gone r GROUP BY account) g
			FULL JOIN (
			SELECT account, jsonb_agg(to_jsonb(r) ORDER BY feature, period, period_start, slot) AS counters
			FROM came r GROUP BY account) c USING (account)
		ORDER BY account;
	ELSE
		PERFORM quota.write_audit(TG_OP, 'usage', g.account, g.counters, NULL)
		FROM (
			SELECT account, jsonb_agg(to_jsonb(r) ORDER BY feature, period, period_start, slot) AS counters
			FROM gone r GROUP BY account ORDER BY account) g;
	END IF;
	RETURN NULL;
END $$;
COMMENT ON FUNCTION quota.audit_usage IS 'records a statement that changes counters';

/*
 * Not ENABLE ALWAYS: where changes of another server are replayed, its log is
 * replayed too. The triggers have no condition: cascades of foreign keys are recorded
 * like other changes, and the functions detect a restore.
 */
DO $do$
DECLARE
	name text;
BEGIN
	FOREACH name IN ARRAY '{plans,features,plan_limits,plan_features,accounts,account_users,limit_overrides,invoices,invoice_lines,stripe_prices,stripe_customers,levels}'::text[] LOOP
		EXECUTE format('
			CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON quota.%1$I
				FOR EACH ROW EXECUTE FUNCTION quota.audit();
			CREATE TRIGGER audit_truncate AFTER TRUNCATE ON quota.%1$I
				FOR EACH STATEMENT EXECUTE FUNCTION quota.audit()', name);
	END LOOP;
END $do$;
CREATE TRIGGER audit_truncate AFTER TRUNCATE ON quota.usage
	FOR EACH STATEMENT EXECUTE FUNCTION quota.audit();
CREATE TRIGGER audit_insert AFTER INSERT ON quota.usage REFERENCING NEW TABLE AS came
	FOR EACH STATEMENT EXECUTE FUNCTION quota.audit_usage();
CREATE TRIGGER audit_update AFTER UPDATE ON quota.usage REFERENCING OLD TABLE AS gone NEW TABLE AS came
	FOR EACH STATEMENT EXECUTE FUNCTION quota.audit_usage();
CREATE TRIGGER audit_delete AFTER DELETE ON quota.usage REFERENCING OLD TABLE AS gone
	FOR EACH STATEMENT EXECUTE FUNCTION quota.audit_usage();
