/*
 * A running product's accounts. quota_adopt takes the rows of the application's
 * accounts table over and makes triggers that follow it. Name, type and owner
 * are the application's; plan, status and all else are managed here once the
 * account has its row.
 *
 * The triggers' arguments are names, which dump and restore keep: the columns of
 * key, name, plan, type, owner and time of creation; '' stands for none.
 */

/*
 * The trigger function runs with the owner's rights on whatever type a column
 * has by then: so built-in conversions only, no casts of the table's owner.
 */
CREATE OR REPLACE FUNCTION quota.column_as_text("table" regclass, "column" text)
	RETURNS text
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	type regtype;
BEGIN
	IF "column" = '' THEN
		RETURN 'NULL::text';
	ELSIF NOT EXISTS (
		SELECT FROM pg_attribute
		WHERE attrelid = "table" AND attname = "column" AND attnum > 0 AND NOT attisdropped)
	THEN
		RAISE undefined_column USING
			MESSAGE = format('column "%s" of table %s does not exist', "column", "table"),
			HINT = 'Call quota_adopt with the columns that the table has, or quota_unadopt.';
	END IF;
	type := quota.column_type("table", "column");
	IF type = ANY ('{text,varchar,bpchar,uuid,smallint,integer,bigint}'::regtype[]) THEN
		RETURN format('r.%I::text', "column");
	ELSIF EXISTS (SELECT FROM pg_type WHERE oid = type AND typtype = 'e') THEN
		RETURN format('enum_out(r.%I)::text', "column");
	END IF;
	RAISE datatype_mismatch USING
		MESSAGE = format('column "%s" of table %s cannot be adopted', "column", "table"),
		DETAIL = format('Its type is %s.', type),
		HINT = 'Columns are of text, varchar, char, uuid, smallint, integer, bigint or an enum.';
END $$;
COMMENT ON FUNCTION quota.column_as_text(regclass, text) IS
	'the expression that makes text of a column of an adopted table, whose row is called r';

CREATE OR REPLACE FUNCTION quota.column_as_time("table" regclass, "column" text)
	RETURNS text
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF "column" = '' THEN
		RETURN 'NULL::timestamptz';
	ELSIF quota.column_type("table", "column") <> ALL ('{timestamptz,timestamp,date}'::regtype[]) THEN
		RAISE datatype_mismatch USING
			MESSAGE = format('column "%s" of table %s cannot be a time of creation', "column", "table"),
			DETAIL = format('Its type is %s.', quota.column_type("table", "column")),
			HINT = 'Times are timestamptz, timestamp or date.';
	END IF;
	RETURN format('r.%I::timestamptz', "column");
END $$;
COMMENT ON FUNCTION quota.column_as_time(regclass, text) IS
	'the expression that makes a time of a column of an adopted table, whose row is called r';

CREATE OR REPLACE FUNCTION quota.adopted_columns("table" regclass, columns text[])
	RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	RETURN format('quota.account_key(%s) COLLATE "C" AS account, %s AS name, %s AS plan, '
			'%s AS account_type, %s AS owner, %s AS created_at',
		quota.column_as_text("table", columns[1]), quota.column_as_text("table", columns[2]),
		quota.column_as_text("table", columns[3]), quota.column_as_text("table", columns[4]),
		quota.column_as_text("table", columns[5]), quota.column_as_time("table", columns[6]));
COMMENT ON FUNCTION quota.adopted_columns(regclass, text[]) IS
	'the select list that makes an account of a row r of an adopted table';

CREATE OR REPLACE FUNCTION quota.known_plan(plan text, of_account text)
	RETURNS text
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF plan IS NOT NULL AND NOT EXISTS (SELECT FROM quota.plans p WHERE p.plan = known_plan.plan) THEN
		RAISE undefined_object USING
			MESSAGE = format('plan "%s" does not exist', plan),
			DETAIL = format('The row of account "%s" names it.', of_account);
	END IF;
	RETURN plan;
END $$;
COMMENT ON FUNCTION quota.known_plan(text, text) IS 'the plan that the application''s row of an account names; refuses what is no plan';

/*
 * Which plan an account has is managed here once there is a row: what the
 * application's column says then is not even looked at.
 */
CREATE OR REPLACE FUNCTION quota.adopt_statement(source text, follow_name boolean, follow_type boolean)
	RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	RETURN format($statement$
		WITH came AS MATERIALIZED (
			SELECT r.*, a.account IS NULL AS is_new
			FROM (%1$s) r LEFT JOIN quota.accounts a ON a.account = r.account
		), taken AS (
			INSERT INTO quota.accounts AS a (account, name, account_type, plan, created_at)
			SELECT c.account, c.name, c.account_type,
				CASE WHEN c.is_new THEN quota.known_plan(c.plan, c.account) END, COALESCE(c.created_at, now())
			FROM came c
			ORDER BY c.account
			ON CONFLICT (account) DO UPDATE SET (name, account_type) = (%2$s.name, %3$s.account_type)
				WHERE (a.name, a.account_type) IS DISTINCT FROM (%2$s.name, %3$s.account_type)
			RETURNING a.account
		), owners AS (
			INSERT INTO quota.account_users AS u (account, user_id, role)
			SELECT c.account, c.owner, 'OWNER' FROM came c WHERE c.owner IS NOT NULL ORDER BY c.account
			ON CONFLICT (account, user_id) DO UPDATE SET role = excluded.role WHERE u.role <> excluded.role
			RETURNING u.account
		)
		SELECT jsonb_build_object(
			'added', count(*) FILTER (WHERE c.is_new),
			'changed', count(*) FILTER (WHERE NOT c.is_new),
			'owners', (SELECT count(*) FROM owners))
		FROM taken t JOIN came c ON c.account = t.account
		$statement$,
		source,
		CASE WHEN follow_name THEN 'excluded' ELSE 'a' END,
		CASE WHEN follow_type THEN 'excluded' ELSE 'a' END);
COMMENT ON FUNCTION quota.adopt_statement(text, boolean, boolean) IS
	'the statement that makes quota.accounts and their owners what a query of adopted_columns says, and tells how many it changed';

CREATE OR REPLACE FUNCTION quota.note_rename(old_key text, new_key text)
	RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'quota_note_rename';
COMMENT ON FUNCTION quota.note_rename(text, text) IS
	'until the transaction ends, a row that moves from the one account to the other has moved with its account';

/*
 * An account must not get a fresh allowance by changing its key. A gauge that an
 * attached table counts stays with the table's rows: where these follow the key, as
 * by ON UPDATE CASCADE, their trigger moves it, after this. A counter goes with the
 * account, and the trigger of rows that follow learns that there is nothing to
 * move. What is reserved goes with the account, and can be settled. Where a key of
 * a call has been used under both, the answer of the new one stands.
 *
 * Locks: subscriptions, then the account, as webhooks do; reservations, then
 * counters, as settling does; those that came while it waited for a counter after
 * it.
 */
CREATE OR REPLACE FUNCTION quota.rename_account(old_key text, new_key text)
	RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	with_rows text[];
BEGIN
	PERFORM quota.note_rename(old_key, new_key);
	PERFORM FROM quota.stripe_subscriptions WHERE account = old_key ORDER BY subscription FOR UPDATE;
	UPDATE quota.accounts SET account = new_key WHERE account = old_key;
	UPDATE quota.stripe_subscriptions SET account = new_key WHERE account = old_key;
	WITH gone AS (
		DELETE FROM quota.stripe_customers WHERE account = old_key
		RETURNING customer
	)
	INSERT INTO quota.stripe_customers (account, customer)
	SELECT new_key, customer FROM gone
	ON CONFLICT (account) DO UPDATE SET customer = excluded.customer;
	UPDATE quota.accounts SET sponsor = new_key WHERE sponsor = old_key;
	UPDATE quota.accounts SET pool = new_key WHERE pool = old_key;
	UPDATE quota.limit_overrides SET account = new_key WHERE account = old_key;
	/* where both have been billed for the same time, each invoice stays whose it was */
	UPDATE quota.invoices SET sponsor = new_key WHERE sponsor = old_key;
	WITH moved AS (
		UPDATE quota.invoices i
		SET account = new_key
		WHERE i.account = old_key AND NOT EXISTS (
			SELECT FROM quota.invoices o
			WHERE o.account = new_key AND o.period_start < i.period_end AND o.period_end > i.period_start)
		RETURNING i.id
	)
	UPDATE quota.invoice_lines l SET account = new_key FROM moved m WHERE l.invoice = m.id;
	WITH gone AS (
		DELETE FROM quota.keys WHERE account = old_key
		RETURNING *
	)
	INSERT INTO quota.keys (account, key, function, feature, n, reservation, decision, at)
	SELECT new_key, key, function, feature, n, reservation, decision, at
	FROM gone
	ON CONFLICT (account, key) DO NOTHING;

	PERFORM FROM quota.reservations WHERE account = old_key ORDER BY id FOR UPDATE;
	PERFORM quota.lock_counter(c.account, c.feature, c.period, c.period_start)
	FROM (
		SELECT u.* FROM quota.counters u WHERE u.account = old_key
		ORDER BY u.feature, u.period, u.period_start) c;
	with_rows := ARRAY(
		SELECT f.feature FROM quota.attachments JOIN quota.features f USING (feature) WHERE f.kind = 'gauge');
	WITH held AS (
		SELECT u.account, u.feature, u.period, u.period_start, u.slot, COALESCE(sum(h.amount), 0) AS used, count(h.amount) AS holds
		FROM quota.usage u LEFT JOIN quota.holds h USING (account, feature, period, period_start)
		WHERE u.account = old_key AND u.feature = ANY (with_rows)
		GROUP BY u.account, u.feature, u.period, u.period_start, u.slot
	), stays AS (
		UPDATE quota.usage u
		SET used = u.used - h.used, holds = u.holds - h.holds
		FROM held h
		WHERE (u.account, u.feature, u.period, u.period_start, u.slot) = (h.account, h.feature, h.period, h.period_start, h.slot)
		RETURNING u.feature, u.period, u.period_start, h.used, h.holds, u.alerted
	), gone AS (
		DELETE FROM quota.usage WHERE account = old_key AND feature <> ALL (with_rows)
		RETURNING *
	)
	INSERT INTO quota.usage AS u (account, feature, period, period_start, used, holds, alerted)
	SELECT new_key, m.*
	FROM (
		SELECT feature, period, period_start, used, holds, alerted FROM gone WHERE slot = 0
		UNION ALL
		SELECT * FROM stays) m
	ORDER BY feature, period, period_start
	ON CONFLICT (account, feature, period, period_start, slot) DO UPDATE
		SET (used, holds, alerted) =
			(u.used + excluded.used, u.holds + excluded.holds, GREATEST(u.alerted, excluded.alerted));
	UPDATE quota.reservations SET account = new_key WHERE account = old_key;
	UPDATE quota.holds SET account = new_key WHERE account = old_key;
END $$;
COMMENT ON FUNCTION quota.rename_account(text, text) IS
	'gives an account another key, with its members, overrides, invoices, counters, reservations, keys of calls, Stripe''s customer and subscriptions, and those that it sponsors or is the pool of';

/*
 * SECURITY DEFINER, since whoever may write the application's table need hold no
 * right on quota's.
 */
CREATE OR REPLACE FUNCTION quota.follow_accounts() RETURNS trigger
	LANGUAGE plpgsql SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	SET quota.act = 'quota_adopt'
AS $$
DECLARE
	columns text[] := ARRAY(SELECT unnest(TG_ARGV));
	list text;
	source text;
	statement text;
	changed record;
BEGIN
	IF TG_NARGS <> 6 OR TG_LEVEL <> (CASE TG_OP WHEN 'UPDATE' THEN 'ROW' ELSE 'STATEMENT' END) THEN
		RAISE trigger_protocol_violated USING
			MESSAGE = 'function quota.follow_accounts was not called by a trigger that quota_adopt made';
	END IF;
	list := quota.adopted_columns(TG_RELID, columns);
	source := format('SELECT %s FROM %s r', list, CASE TG_OP
		WHEN 'UPDATE' THEN '(SELECT ($1).*)'
		WHEN 'TRUNCATE' THEN TG_RELID::regclass::text
		ELSE 'quota_rows' END);
	IF TG_OP IN ('DELETE', 'TRUNCATE') THEN
		EXECUTE format('WITH gone AS MATERIALIZED (%s), overrides AS (
				DELETE FROM quota.limit_overrides o USING gone g WHERE o.account = g.account
			), customers AS (
				DELETE FROM quota.stripe_customers c USING gone g WHERE c.account = g.account)
			DELETE FROM quota.accounts a USING gone g WHERE a.account = g.account', source);
		RETURN NULL;
	END IF;
	statement := quota.adopt_statement(source, columns[2] <> '', columns[4] <> '');
	IF TG_OP = 'INSERT' THEN
		EXECUTE statement;
		RETURN NULL;
	END IF;
	EXECUTE format('SELECT o.account AS old_key, n.account AS new_key, o.owner AS old_owner, n.owner AS new_owner
		FROM (%s) n, (SELECT %s FROM (SELECT ($2).*) r) o', source, list)
		INTO changed USING NEW, OLD;
	IF changed.old_key <> changed.new_key THEN
		PERFORM quota.rename_account(changed.old_key, changed.new_key);
	END IF;
	IF changed.old_owner IS DISTINCT FROM changed.new_owner THEN
		DELETE FROM quota.account_users u
		WHERE u.account = changed.new_key AND u.user_id = changed.old_owner AND u.role = 'OWNER';
	END IF;
	EXECUTE statement USING NEW;
	RETURN NULL;
END $$;
COMMENT ON FUNCTION quota.follow_accounts() IS 'quota.accounts follows the rows of an adopted table';

CREATE OR REPLACE FUNCTION quota.drop_adoption("table" regclass)
	RETURNS boolean
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	trigger_name name;
	dropped boolean := false;
BEGIN
	FOR trigger_name IN
		SELECT tgname FROM pg_trigger
		WHERE tgrelid = "table" AND tgfoid = 'quota.follow_accounts()'::regprocedure
	LOOP
		EXECUTE format('DROP TRIGGER %I ON %s', trigger_name, "table");
		dropped := true;
	END LOOP;
	RETURN dropped;
END $$;
COMMENT ON FUNCTION quota.drop_adoption(regclass) IS 'drops the triggers of quota_adopt from a table; false: there were none';

/*
 * Statement triggers where rows come and go, so that a thousand accounts are one
 * statement. An UPDATE fires for the rows in which a column changed that is
 * followed: applications update their accounts for many other reasons.
 */
CREATE OR REPLACE FUNCTION quota.create_adoption("table" regclass, columns text[])
	RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	action text := 'EXECUTE FUNCTION quota.follow_accounts('
		|| (SELECT string_agg(quote_literal(c), ', ' ORDER BY n) FROM unnest(columns) WITH ORDINALITY u (c, n)) || ')';
	followed text[] := array_remove(ARRAY[columns[1], columns[2], columns[4], columns[5]], '');
BEGIN
	EXECUTE format('CREATE TRIGGER quota_adopt_insert AFTER INSERT ON %s REFERENCING NEW TABLE AS quota_rows '
		'FOR EACH STATEMENT %s', "table", action);
	EXECUTE format('CREATE TRIGGER quota_adopt_delete AFTER DELETE ON %s REFERENCING OLD TABLE AS quota_rows '
		'FOR EACH STATEMENT %s', "table", action);
	EXECUTE format('CREATE TRIGGER quota_adopt_truncate BEFORE TRUNCATE ON %s '
		'FOR EACH STATEMENT %s', "table", action);
	EXECUTE format('CREATE TRIGGER quota_adopt_update AFTER UPDATE ON %s FOR EACH ROW WHEN (%s) %s', "table",
		(SELECT string_agg(format('OLD.%1$I IS DISTINCT FROM NEW.%1$I', c), ' OR ') FROM unnest(followed) c), action);
END $$;
COMMENT ON FUNCTION quota.create_adoption(regclass, text[]) IS 'makes the triggers of quota_adopt on a table';

CREATE OR REPLACE FUNCTION quota.check_adoption("table" regclass, key_column text)
	RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	key_type regtype;
BEGIN
	IF "table" IS NULL OR key_column IS NULL THEN
		RAISE null_value_not_allowed USING MESSAGE = 'table and key_column must not be null';
	ELSIF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
		RAISE feature_not_supported USING
			MESSAGE = 'a table can be adopted at isolation level READ COMMITTED only',
			DETAIL = 'Rows that others have committed since the snapshot would be left out.';
	ELSIF NOT EXISTS (SELECT FROM pg_class WHERE oid = "table" AND relkind = 'r' AND NOT relispartition)
		OR EXISTS (SELECT FROM pg_inherits WHERE "table" IN (inhrelid, inhparent))
	THEN
		RAISE wrong_object_type USING
			MESSAGE = format('%s cannot be adopted', "table"),
			DETAIL = 'It is no table, or it is partitioned or inherits.';
	END IF;
	key_type := quota.column_type("table", key_column);
	IF key_type <> ALL ('{text,varchar,bpchar,uuid,smallint,integer,bigint}'::regtype[]) THEN
		RAISE datatype_mismatch USING
			MESSAGE = format('column "%s" cannot name an account', key_column),
			DETAIL = format('Its type is %s.', key_type),
			HINT = 'Accounts are named by text, varchar, char, uuid, smallint, integer or bigint.';
	ELSIF NOT EXISTS (
		SELECT FROM pg_index JOIN pg_attribute a ON a.attrelid = indrelid AND a.attnum = indkey[0]
		WHERE indrelid = "table" AND a.attname = key_column AND indnkeyatts = 1
			AND indisunique AND indisvalid AND indimmediate AND indpred IS NULL)
	THEN
		RAISE invalid_column_reference USING
			MESSAGE = format('column "%s" of table %s is not unique', key_column, "table"),
			HINT = 'It needs a primary key or a unique constraint of its own, which is not deferrable.';
	END IF;
END $$;
COMMENT ON FUNCTION quota.check_adoption(regclass, text) IS 'refuses what is no table of accounts';

CREATE OR REPLACE FUNCTION @extschema@.quota_adopt(
	"table" regclass,
	key_column text,
	name_column text DEFAULT NULL,
	plan_column text DEFAULT NULL,
	type_column text DEFAULT NULL,
	owner_column text DEFAULT NULL,
	created_column text DEFAULT NULL)
	RETURNS jsonb
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	SET quota.act = 'quota_adopt'
AS $$
DECLARE
	columns CONSTANT text[] := array_replace(
		ARRAY[key_column, name_column, plan_column, type_column, owner_column, created_column], NULL, '');
	taken jsonb;
BEGIN
	PERFORM quota.check_adoption("table", key_column);
	/* nobody's row comes between the triggers and the rows that are there */
	EXECUTE format('LOCK TABLE ONLY %s IN SHARE ROW EXCLUSIVE MODE', "table");
	EXECUTE quota.adopt_statement(
		format('SELECT %s FROM %s r', quota.adopted_columns("table", columns), "table"),
		name_column IS NOT NULL, type_column IS NOT NULL) INTO taken;
	PERFORM quota.drop_adoption("table");
	PERFORM quota.create_adoption("table", columns);
	RETURN taken;
END $$;
COMMENT ON FUNCTION @extschema@.quota_adopt(regclass, text, text, text, text, text, text) IS
	'take over the accounts of an application''s table, and follow it; how many were added, changed and given an owner';

CREATE OR REPLACE FUNCTION @extschema@.quota_unadopt("table" regclass)
	RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF "table" IS NULL THEN
		RAISE null_value_not_allowed USING MESSAGE = 'table must not be null';
	ELSIF NOT quota.drop_adoption("table") THEN
		RAISE undefined_object USING MESSAGE = format('table %s is not adopted', "table");
	END IF;
END $$;
COMMENT ON FUNCTION @extschema@.quota_unadopt(regclass) IS 'stop following a table of accounts; what was taken over stays';
