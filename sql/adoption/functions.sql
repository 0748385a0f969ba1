/*
 * Adoption of the application's accounts table: quota_adopt creates an account for
 * each row, and triggers that follow the table. Name, type and owner come from the
 * application; plan, status and all else are managed here once the account has its
 * row.
 *
 * quota.adopted has the table and its columns. The triggers have one argument, the
 * number of its row. src/trigger/adopt.c checks the caller and the trigger, then
 * calls the functions here as the extension's owner. They read the application's rows
 * only through quota.adopted_rows.
 *
 * An account belongs to at most one adopted table, accounts.adopted_by. Rows of other
 * tables do not change it.
 */

CREATE OR REPLACE FUNCTION quota.adopted_rows(adoption bigint, old boolean)
	RETURNS TABLE (account text, name text, plan text, account_type text, owner text, created_at timestamptz)
	LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 1 AS 'MODULE_PATHNAME', 'quota_adopted_rows';
COMMENT ON FUNCTION quota.adopted_rows IS
	'the rows of an adopted table as accounts: in its trigger the new or old rows of the statement, elsewhere all';

CREATE OR REPLACE FUNCTION quota.known_plan(plan text, of_account text)
	RETURNS text
	LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $$
BEGIN
	IF plan IS NOT NULL AND NOT EXISTS (SELECT FROM quota.plans p WHERE p.plan = known_plan.plan) THEN
		RAISE undefined_object USING
			MESSAGE = format('plan "%s" does not exist', quota.shown(plan)),
			DETAIL = format('The row of account "%s" names it.', quota.shown(of_account));
	END IF;
	RETURN plan;
END $$;
COMMENT ON FUNCTION quota.known_plan IS 'the plan that the application''s row of an account names; raises an error unless it exists';

CREATE OR REPLACE FUNCTION quota.refuse_key(key text)
	RETURNS void
	LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
AS $$
BEGIN
	RAISE unique_violation USING
		MESSAGE = format('key "%s" is taken', quota.shown(key)),
		DETAIL = 'It is that of an account that this table does not have.';
END $$;
COMMENT ON FUNCTION quota.refuse_key IS 'raises the error for a key that another account has, and shows nothing of that account';

/*
 * Query plans. adopted_rows is declared to return one row, so that accounts are
 * always found by index, in time linear in the rows. A cached plan from when there
 * were few accounts would scan them all for each row.
 */

/*
 * The application's plan column counts only when the account is created.
 *
 * An existing account that no table has is taken by this one. If it has members,
 * somebody else created it: unless the table is being adopted now, it is marked
 * adopted_late, which keeps its members, and the account when the row is deleted.
 *
 * Each step is a statement of its own, since it must see what the step before has
 * waited for. Locks: accounts in the order of keys, new ones first.
 */
CREATE OR REPLACE FUNCTION quota.take_accounts(adoption bigint, follow_name boolean, follow_type boolean, follow_owner boolean, adopting boolean)
	RETURNS jsonb
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
	taken text;
	added bigint;
	all_new boolean;
	changed bigint := 0;
	owners bigint := 0;
BEGIN
	INSERT INTO quota.accounts (account, name, account_type, plan, created_at, adopted_by)
	SELECT r.account, r.name, r.account_type,
		CASE WHEN a.account IS NULL AND r.plan IS NOT NULL THEN quota.known_plan(r.plan, r.account) END, COALESCE(r.created_at, now()), take_accounts.adoption
	FROM quota.adopted_rows(take_accounts.adoption, false) r LEFT JOIN quota.accounts a ON a.account = r.account
	ORDER BY r.account COLLATE "C"
	ON CONFLICT ON CONSTRAINT accounts_pkey DO NOTHING;
	GET DIAGNOSTICS added = ROW_COUNT;
	/* if all are new, nothing existing has to change */
	all_new := added > 0;
	IF all_new THEN
		all_new := added = (SELECT count(*) FROM quota.adopted_rows(take_accounts.adoption, false));
	END IF;

	IF NOT all_new THEN
		PERFORM a.account
		FROM quota.adopted_rows(take_accounts.adoption, false) r JOIN quota.accounts a ON a.account = r.account
		WHERE a.adopted_by IS DISTINCT FROM take_accounts.adoption OR a.adopted_late AND adopting
			OR follow_name AND a.name IS DISTINCT FROM r.name OR follow_type AND a.account_type IS DISTINCT FROM r.account_type
		ORDER BY a.account
		FOR UPDATE OF a;
		SELECT r.account INTO taken
		FROM quota.adopted_rows(take_accounts.adoption, false) r JOIN quota.accounts a ON a.account = r.account
		WHERE a.adopted_by <> take_accounts.adoption
		LIMIT 1;
		IF FOUND THEN
			PERFORM quota.refuse_key(taken);
		END IF;
		UPDATE quota.accounts a
		SET name = CASE WHEN follow_name THEN r.name ELSE a.name END,
			account_type = CASE WHEN follow_type THEN r.account_type ELSE a.account_type END,
			adopted_by = take_accounts.adoption,
			adopted_late = CASE
				WHEN adopting THEN false
				WHEN a.adopted_by IS NULL THEN EXISTS (SELECT FROM quota.account_users u WHERE u.account = a.account)
				ELSE a.adopted_late END
		FROM quota.adopted_rows(take_accounts.adoption, false) r
		WHERE a.account = r.account
			AND (a.adopted_by IS DISTINCT FROM take_accounts.adoption OR a.adopted_late AND adopting
				OR follow_name AND a.name IS DISTINCT FROM r.name OR follow_type AND a.account_type IS DISTINCT FROM r.account_type);
		GET DIAGNOSTICS changed = ROW_COUNT;
	END IF;

	IF follow_owner THEN
		INSERT INTO quota.account_users AS u (account, user_id, role)
		SELECT a.account, r.owner, 'OWNER'
		FROM quota.adopted_rows(take_accounts.adoption, false) r JOIN quota.accounts a ON a.account = r.account
		WHERE r.owner IS NOT NULL AND NOT a.adopted_late
		ORDER BY a.account
		ON CONFLICT ON CONSTRAINT account_users_pkey DO UPDATE SET role = excluded.role WHERE u.role <> excluded.role;
		GET DIAGNOSTICS owners = ROW_COUNT;
	END IF;
	RETURN jsonb_build_object('added', added, 'changed', changed, 'owners', owners);
END $$;
COMMENT ON FUNCTION quota.take_accounts IS
	'creates and updates accounts and their owners from the rows of an adopted table; returns how many';

CREATE OR REPLACE FUNCTION quota.note_rename(old_key text, new_key text)
	RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'quota_note_rename';
COMMENT ON FUNCTION quota.note_rename IS
	'until the transaction ends, treats a row that moves between the two accounts as moved with its account';

/*
 * Renaming an account must not give it a fresh allowance.
 *
 * A gauge of an attached table stays with the rows of the table: if they follow the
 * key, as by ON UPDATE CASCADE, their trigger moves it later. A counter moves with
 * the account, and the trigger of the rows is told that nothing has to move.
 * Reservations move with the account. If both accounts have used an idempotency key,
 * the answer of the new one stays.
 *
 * Locks: subscriptions, then the account, as webhooks do; reservations, then
 * counters, as settling does. Reservations made while it waited for a counter come
 * after it.
 */
CREATE OR REPLACE FUNCTION quota.rename_account(old_key text, new_key text)
	RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
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
	/* wait for a closing; where both have an invoice of the same time, each keeps its own */
	PERFORM quota.lock_alone('invoices'::text, shared => true);
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
COMMENT ON FUNCTION quota.rename_account IS 'gives an account another key, and moves all that belongs to it';

CREATE OR REPLACE FUNCTION quota.follow_insert(adoption bigint, follow_name boolean, follow_type boolean, follow_owner boolean)
	RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
AS $$
BEGIN
	PERFORM quota.take_accounts(adoption, follow_name, follow_type, follow_owner, false);
END $$;
COMMENT ON FUNCTION quota.follow_insert IS 'applies an INSERT into an adopted table to quota.accounts';

/*
 * The old key of a suspended account stays suspended, so that a new row with that key
 * is not a way out. An account that is adopted late is not renamed.
 */
CREATE OR REPLACE FUNCTION quota.follow_key(adoption bigint, old_key text, new_key text)
	RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
AS $$
DECLARE
	present quota.accounts;
BEGIN
	PERFORM FROM quota.stripe_subscriptions WHERE account = old_key ORDER BY subscription FOR UPDATE;
	SELECT a.* INTO present FROM quota.accounts a WHERE a.account = old_key FOR UPDATE;
	IF FOUND AND (present.adopted_by IS DISTINCT FROM adoption OR present.adopted_late) THEN
		UPDATE quota.accounts a SET adopted_by = NULL, adopted_late = false
		WHERE a.account = old_key AND a.adopted_by = follow_key.adoption;
		RETURN;
	ELSIF EXISTS (SELECT FROM quota.accounts a WHERE a.account = new_key) THEN
		PERFORM quota.refuse_key(new_key);
	END IF;
	PERFORM quota.rename_account(old_key, new_key);
	IF present.status = 'suspended' THEN
		INSERT INTO quota.accounts (account, status) VALUES (old_key, 'suspended');
	END IF;
END $$;
COMMENT ON FUNCTION quota.follow_key IS 'renames an account whose row in an adopted table has a new key';

CREATE OR REPLACE FUNCTION quota.follow_update(adoption bigint, follow_name boolean, follow_type boolean, follow_owner boolean)
	RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
	changed record;
BEGIN
	SELECT n.account AS new_key, n.owner AS new_owner, o.account AS old_key, o.owner AS old_owner INTO changed
	FROM quota.adopted_rows(adoption, false) n LEFT JOIN quota.adopted_rows(adoption, true) o ON true;
	IF changed.old_key <> changed.new_key THEN
		PERFORM quota.follow_key(adoption, changed.old_key, changed.new_key);
	END IF;
	IF changed.old_owner IS DISTINCT FROM changed.new_owner THEN
		DELETE FROM quota.account_users u
		USING quota.accounts a
		WHERE a.account = changed.new_key AND a.adopted_by = follow_update.adoption AND NOT a.adopted_late
			AND u.account = a.account AND u.user_id = changed.old_owner AND u.role = 'OWNER';
	END IF;
	PERFORM quota.take_accounts(adoption, follow_name, follow_type, follow_owner, false);
END $$;
COMMENT ON FUNCTION quota.follow_update IS 'applies an UPDATE of a row of an adopted table to quota.accounts';

CREATE OR REPLACE FUNCTION quota.is_suspended(present quota.accounts)
	RETURNS boolean
	LANGUAGE sql STABLE PARALLEL SAFE
	RETURN present.status = 'suspended'
		OR EXISTS (SELECT FROM quota.accounts p WHERE p.account = present.pool AND p.status = 'suspended');
COMMENT ON FUNCTION quota.is_suspended IS 'whether an account or its pool is suspended';

CREATE OR REPLACE FUNCTION quota.gives_less(override quota.limit_overrides, present quota.accounts)
	RETURNS boolean
	LANGUAGE sql STABLE PARALLEL RESTRICTED
	RETURN override.usage_limit IS NOT NULL AND (override.expires_at > quota.now()) IS NOT FALSE
		AND (
			SELECT count(*) > 0 AND COALESCE(bool_and(l.usage_limit > override.usage_limit OR l.usage_limit IS NULL)
				FILTER (WHERE l.period = override.period), true)
			FROM quota.plan_limits l
			WHERE l.feature = override.feature
				AND l.plan = COALESCE(present.plan, (SELECT p.plan FROM quota.plans p WHERE p.is_default)));
COMMENT ON FUNCTION quota.gives_less IS 'whether an override allows an account less than its plan would';

/*
 * Deleting and inserting its row must not free an account of its limits: a suspension
 * stays with the account's row, and so do overrides below the plan's limit, and
 * counters. An account that is adopted late stays as it is.
 */
CREATE OR REPLACE FUNCTION quota.follow_delete(adoption bigint, follow_name boolean, follow_type boolean, follow_owner boolean)
	RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET plan_cache_mode = force_custom_plan
AS $$
BEGIN
	PERFORM a.account
	FROM quota.adopted_rows(follow_delete.adoption, true) r JOIN quota.accounts a ON a.account = r.account
	WHERE a.adopted_by = follow_delete.adoption
	ORDER BY a.account
	FOR UPDATE OF a;
	UPDATE quota.accounts a
	SET adopted_by = NULL, adopted_late = false
	FROM quota.adopted_rows(follow_delete.adoption, true) r
	WHERE a.account = r.account AND a.adopted_by = follow_delete.adoption AND a.adopted_late;
	DELETE FROM quota.limit_overrides o
	USING quota.adopted_rows(follow_delete.adoption, true) r JOIN quota.accounts a ON a.account = r.account
	WHERE o.account = a.account AND a.adopted_by = follow_delete.adoption AND NOT quota.gives_less(o, a);
	DELETE FROM quota.stripe_customers c
	USING quota.adopted_rows(follow_delete.adoption, true) r JOIN quota.accounts a ON a.account = r.account
	WHERE c.account = a.account AND a.adopted_by = follow_delete.adoption;
	DELETE FROM quota.account_users u
	USING quota.adopted_rows(follow_delete.adoption, true) r JOIN quota.accounts a ON a.account = r.account
	WHERE u.account = a.account AND a.adopted_by = follow_delete.adoption AND quota.is_suspended(a);
	UPDATE quota.accounts a
	SET adopted_by = NULL
	FROM quota.adopted_rows(follow_delete.adoption, true) r
	WHERE a.account = r.account AND a.adopted_by = follow_delete.adoption AND quota.is_suspended(a);
	DELETE FROM quota.accounts a
	USING quota.adopted_rows(follow_delete.adoption, true) r
	WHERE a.account = r.account AND a.adopted_by = follow_delete.adoption;
END $$;
COMMENT ON FUNCTION quota.follow_delete IS 'applies a DELETE or TRUNCATE of an adopted table to quota.accounts';

/* Checks that quota_adopt made the trigger before it reads anything; reads and writes as the extension's owner. */
CREATE OR REPLACE FUNCTION quota.follow_accounts() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'quota_follow_accounts';
COMMENT ON FUNCTION quota.follow_accounts IS 'trigger of adopted tables: applies changes of the rows to quota.accounts';

CREATE OR REPLACE FUNCTION quota.drop_adoption("table" regclass)
	RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
AS $$
DECLARE
	trigger_name name;
BEGIN
	FOR trigger_name IN
		SELECT tgname FROM pg_trigger
		WHERE tgrelid = "table" AND tgfoid = 'quota.follow_accounts()'::regprocedure
	LOOP
		EXECUTE format('DROP TRIGGER %I ON %s', trigger_name, "table");
	END LOOP;
	PERFORM quota.check_adoption_triggers("table", 0);
END $$;
COMMENT ON FUNCTION quota.drop_adoption IS 'drops the triggers of quota_adopt from a table';

/*
 * The table is locked, but the owner of its schema may rename the schema, so that its
 * name means another table. The error then undoes the DDL.
 */
CREATE OR REPLACE FUNCTION quota.check_adoption_triggers("table" regclass, expected int)
	RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
AS $$
BEGIN
	IF (SELECT count(*) FROM pg_trigger WHERE tgrelid = "table" AND tgfoid = 'quota.follow_accounts()'::regprocedure) <> expected THEN
		RAISE object_not_in_prerequisite_state USING
			MESSAGE = format('table %s was given another name meanwhile', "table"),
			HINT = 'Try again.';
	END IF;
END $$;
COMMENT ON FUNCTION quota.check_adoption_triggers IS 'raises an error unless the table has the expected number of triggers';

/*
 * INSERT and DELETE have statement triggers, so that a thousand accounts are one
 * statement. UPDATE has a row trigger for changes of the followed columns, since
 * applications update accounts for many other reasons. src/trigger/adopt.c has the
 * same list.
 */
CREATE OR REPLACE FUNCTION quota.create_adoption("table" regclass, adoption bigint, followed text[])
	RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
AS $$
DECLARE
	action text := format('EXECUTE FUNCTION quota.follow_accounts(%L)', adoption);
BEGIN
	EXECUTE format('CREATE TRIGGER quota_adopt_insert AFTER INSERT ON %s REFERENCING NEW TABLE AS quota_rows '
		'FOR EACH STATEMENT %s', "table", action);
	EXECUTE format('CREATE TRIGGER quota_adopt_delete AFTER DELETE ON %s REFERENCING OLD TABLE AS quota_rows '
		'FOR EACH STATEMENT %s', "table", action);
	EXECUTE format('CREATE TRIGGER quota_adopt_truncate BEFORE TRUNCATE ON %s '
		'FOR EACH STATEMENT %s', "table", action);
	EXECUTE format('CREATE TRIGGER quota_adopt_update AFTER UPDATE ON %s FOR EACH ROW WHEN (%s) %s', "table",
		(SELECT string_agg(format('OLD.%1$I IS DISTINCT FROM NEW.%1$I', c), ' OR ') FROM unnest(followed) c), action);
	PERFORM quota.check_adoption_triggers("table", 4);
END $$;
COMMENT ON FUNCTION quota.create_adoption IS 'makes the triggers of quota_adopt on a table';

CREATE OR REPLACE FUNCTION quota.check_adoption("table" regclass, key_column text)
	RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $$
BEGIN
	IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
		RAISE feature_not_supported USING
			MESSAGE = 'a table can be adopted at isolation level READ COMMITTED only',
			DETAIL = 'Rows that others have committed since the snapshot would be left out.';
	ELSIF NOT EXISTS (
			SELECT FROM pg_class WHERE oid = "table" AND relkind = 'r' AND NOT relispartition AND relpersistence <> 't')
		OR EXISTS (SELECT FROM pg_inherits WHERE "table" IN (inhrelid, inhparent))
	THEN
		RAISE wrong_object_type USING
			MESSAGE = format('%s cannot be adopted', "table"),
			DETAIL = 'It is no table, or it is temporary, partitioned or inherits.';
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
COMMENT ON FUNCTION quota.check_adoption IS 'raises an error for a table that cannot be adopted';

CREATE OR REPLACE FUNCTION quota.quota_adopt(
	"table" regclass,
	key_column text,
	name_column text DEFAULT NULL,
	plan_column text DEFAULT NULL,
	type_column text DEFAULT NULL,
	owner_column text DEFAULT NULL,
	created_column text DEFAULT NULL)
	RETURNS jsonb
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
	adoption bigint;
	columns CONSTANT text[] := ARRAY[key_column, NULLIF(name_column, ''), NULLIF(plan_column, ''), NULLIF(type_column, ''),
		NULLIF(owner_column, ''), NULLIF(created_column, '')];
	taken jsonb;
BEGIN
	PERFORM quota.check_adoption("table", key_column);
	INSERT INTO quota.adopted AS a (relation, key_column, name_column, plan_column, type_column, owner_column, created_column)
	VALUES ("table", columns[1], columns[2], columns[3], columns[4], columns[5], columns[6])
	ON CONFLICT ON CONSTRAINT adopted_relation_key DO UPDATE
		SET (key_column, name_column, plan_column, type_column, owner_column, created_column) =
			(excluded.key_column, excluded.name_column, excluded.plan_column, excluded.type_column, excluded.owner_column, excluded.created_column)
	RETURNING a.id INTO adoption;
	taken := quota.take_accounts(adoption, columns[2] IS NOT NULL, columns[4] IS NOT NULL, columns[5] IS NOT NULL, true);
	/* release accounts whose rows are gone, or that another column named before */
	UPDATE quota.accounts a
	SET adopted_by = NULL, adopted_late = false
	WHERE a.adopted_by = adoption
		AND a.account NOT IN (SELECT r.account FROM quota.adopted_rows(adoption, true) r);
	PERFORM quota.drop_adoption("table");
	PERFORM quota.create_adoption("table", adoption, array_remove(ARRAY[columns[1], columns[2], columns[4], columns[5]], NULL));
	RETURN taken;
END $$;
COMMENT ON FUNCTION quota.quota_adopt IS 'take over the accounts of an application''s table, and follow it; how many were added, changed and given an owner';

CREATE OR REPLACE FUNCTION quota.release_adoption(adoption bigint)
	RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
AS $$
BEGIN
	PERFORM FROM quota.accounts a WHERE a.adopted_by = adoption ORDER BY a.account FOR NO KEY UPDATE;
	UPDATE quota.accounts a SET adopted_by = NULL, adopted_late = false WHERE a.adopted_by = adoption;
	DELETE FROM quota.adopted a WHERE a.id = adoption;
END $$;
COMMENT ON FUNCTION quota.release_adoption IS 'forgets an adoption; its accounts stay, without a table';

CREATE OR REPLACE FUNCTION quota.quota_unadopt("table" regclass)
	RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
AS $$
DECLARE
	adoption bigint := (SELECT a.id FROM quota.adopted a WHERE a.relation = "table");
BEGIN
	IF adoption IS NULL THEN
		RAISE undefined_object USING MESSAGE = format('table %s is not adopted', "table");
	END IF;
	PERFORM quota.drop_adoption("table");
	PERFORM quota.release_adoption(adoption);
END $$;
COMMENT ON FUNCTION quota.quota_unadopt IS 'stop following a table of accounts; what was taken over stays';
