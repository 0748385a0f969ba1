/*
 * Maintenance. Limits hold without it. Rows that another transaction has locked are
 * left for the next time, so it waits for no row and cannot deadlock.
 */
CREATE OR REPLACE FUNCTION quota.change_due_plans()
	RETURNS bigint
	LANGUAGE sql VOLATILE PARALLEL UNSAFE
BEGIN ATOMIC
	WITH due AS (
		SELECT a.account
		FROM quota.accounts a
		WHERE a.status <> 'canceled' AND quota.plan_has_ended(a)
		ORDER BY a.account
		FOR UPDATE SKIP LOCKED
	), changed AS (
		UPDATE quota.accounts a
		SET (plan, status, next_plan, plan_ends_at) = (
			SELECT s.plan, s.status, s.next_plan, s.plan_ends_at FROM quota.settled(a) s)
		FROM due
		WHERE a.account = due.account
		RETURNING 1
	)
	SELECT count(*) FROM changed;
END;
COMMENT ON FUNCTION quota.change_due_plans IS 'writes the plans of accounts whose trial or plan has ended; returns how many';

CREATE OR REPLACE FUNCTION quota.delete_old_usage(retention interval)
	RETURNS bigint
	LANGUAGE sql VOLATILE PARALLEL UNSAFE
BEGIN ATOMIC
	WITH old AS (
		SELECT u.ctid AS at
		FROM quota.usage u
			LEFT JOIN quota.accounts a ON a.account = u.account
		WHERE quota.window_end(u.period, u.period_start, a.timezone, a.cycle_anchor) <= quota.now() - retention
			AND NOT EXISTS (
				SELECT FROM quota.holds h
				WHERE h.account = u.account AND h.feature = u.feature AND h.period = u.period AND h.period_start = u.period_start)
			AND (u.account, u.feature, u.period, u.period_start) NOT IN (
				SELECT o.account, o.feature, o.period, o.period_start
				FROM quota.unbilled_overage(NULL, quota.now() - retention) o)
		FOR UPDATE OF u SKIP LOCKED
	), deleted AS (
		DELETE FROM quota.usage u USING old WHERE u.ctid = old.at
		RETURNING 1
	)
	SELECT count(*) FROM deleted;
END;
COMMENT ON FUNCTION quota.delete_old_usage IS 'deletes counters of windows that ended before the retention, unless they are reserved or not yet billed; returns how many rows';

/*
 * A counter is lowered if all of its rows can be locked at once, without waiting. A
 * charge lowers its counter itself.
 */
CREATE OR REPLACE FUNCTION quota.return_expired_holds()
	RETURNS bigint
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
AS $$
DECLARE
	counter record;
	locked bigint;
	returned bigint := 0;
BEGIN
	FOR counter IN
		SELECT h.account, h.feature, h.period, h.period_start, count(*) AS holds
		FROM quota.holds h
		WHERE h.expires_at <= quota.now()
		GROUP BY h.account, h.feature, h.period, h.period_start
		ORDER BY h.account, h.feature, h.period, h.period_start
	LOOP
		PERFORM FROM quota.usage u
		WHERE (u.account, u.feature, u.period, u.period_start) = (counter.account, counter.feature, counter.period, counter.period_start)
		FOR UPDATE SKIP LOCKED;
		GET DIAGNOSTICS locked = ROW_COUNT;
		IF locked = (
			SELECT count(*)
			FROM quota.usage u
			WHERE (u.account, u.feature, u.period, u.period_start) = (counter.account, counter.feature, counter.period, counter.period_start))
		THEN
			PERFORM quota.return_expired(counter.account, counter.feature, counter.period, counter.period_start);
			returned := returned + counter.holds;
		END IF;
	END LOOP;
	RETURN returned;
END $$;
COMMENT ON FUNCTION quota.return_expired_holds IS 'lowers counters by expired holds; returns how many';

CREATE OR REPLACE FUNCTION quota.delete_old_reservations(retention interval)
	RETURNS bigint
	LANGUAGE sql VOLATILE PARALLEL UNSAFE
BEGIN ATOMIC
	WITH old AS (
		SELECT r.id
		FROM quota.reservations r
		WHERE r.expires_at <= quota.now() - retention
			AND NOT EXISTS (SELECT FROM quota.holds h WHERE h.reservation = r.id)
		FOR UPDATE SKIP LOCKED
	), deleted AS (
		DELETE FROM quota.reservations r USING old WHERE r.id = old.id
		RETURNING 1
	)
	SELECT count(*) FROM deleted;
END;
COMMENT ON FUNCTION quota.delete_old_reservations IS 'deletes reservations that expired before the retention; returns how many';

CREATE OR REPLACE FUNCTION quota.delete_older(table_name text, time_column text, retention interval)
	RETURNS bigint
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
AS $$
DECLARE
	deleted bigint;
BEGIN
	EXECUTE format('DELETE FROM quota.%I WHERE %I <= quota.now() - $1', table_name, time_column) USING retention;
	GET DIAGNOSTICS deleted = ROW_COUNT;
	RETURN deleted;
END $$;
COMMENT ON FUNCTION quota.delete_older IS 'deletes the rows of a table from before the retention; returns how many';

/*
 * Months of the ledger: partitions that are not members of the extension, so that a
 * dump has them like any other table.
 *
 * Transactions that have written to the default partition or to a month to be
 * dropped, or have read the ledger, are waited for half a second, and writers and
 * readers wait as long; then all is left for the next time. So nobody fails, and
 * nothing deadlocks, which takes a second to be detected.
 */
CREATE OR REPLACE FUNCTION quota.make_ledger_months()
	RETURNS bigint
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET timezone = 'UTC'
	SET lock_timeout = '500ms'
AS $$
DECLARE
	month timestamptz;
	name text;
	made bigint := 0;
BEGIN
	/* one at a time; charges go on */
	LOCK TABLE ONLY quota.events IN SHARE UPDATE EXCLUSIVE MODE;
	FOR month IN
		SELECT m
		FROM (
			SELECT date_trunc('month', quota.now()) + i * interval '1 month' FROM generate_series(0, 2) i
			UNION
			SELECT date_trunc('month', e.at) FROM quota.events_default e) u (m)
		WHERE to_regclass(to_char(m, '"quota.events_"YYYY_MM')) IS NULL
		ORDER BY m
	LOOP
		name := to_char(month, '"quota.events_"YYYY_MM');
		/* also the whole: a reader that waited for the default partition alone would miss the moved rows */
		LOCK TABLE ONLY quota.events, quota.events_default IN ACCESS EXCLUSIVE MODE;
		EXECUTE format('CREATE TABLE %s (LIKE quota.events_default INCLUDING ALL)', name);
		PERFORM quota.revoke_all('pg_class'::regclass, name::regclass::oid);
		EXECUTE format('COMMENT ON TABLE %s IS %L', name, 'events of one month');
		EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', name);
		EXECUTE format('
			WITH moved AS (DELETE FROM quota.events_default WHERE at >= %2$L AND at < %3$L RETURNING *)
			INSERT INTO %1$s SELECT * FROM moved', name, month, month + interval '1 month');
		EXECUTE format('ALTER TABLE quota.events ATTACH PARTITION %s FOR VALUES FROM (%L) TO (%L)',
			name, month, month + interval '1 month');
		made := made + 1;
	END LOOP;
	RETURN made;
EXCEPTION
	WHEN lock_not_available OR deadlock_detected THEN
		RETURN NULL;
	WHEN check_violation THEN
		/* the snapshot is older than an event of the month, which was not moved */
		IF current_setting('transaction_isolation') IN ('repeatable read', 'serializable') THEN
			RETURN NULL;
		END IF;
		RAISE;
END $$;
COMMENT ON FUNCTION quota.make_ledger_months IS
	'creates partitions for this month, the next two, and those of rows in the default partition; returns how many; NULL: could not lock';

CREATE OR REPLACE FUNCTION quota.drop_ledger_months(retention interval)
	RETURNS bigint
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET timezone = 'UTC'
	SET lock_timeout = '500ms'
AS $$
DECLARE
	name text;
	dropped bigint := 0;
BEGIN
	FOR name IN
		SELECT c.relname
		FROM pg_inherits i
			JOIN pg_class c ON c.oid = i.inhrelid
			CROSS JOIN LATERAL regexp_match(c.relname, '^events_([0-9]{4,})_([0-9]{2})$') m
		WHERE i.inhparent = 'quota.events'::regclass
			AND make_timestamptz(m[1]::integer, m[2]::integer, 1, 0, 0, 0) + interval '1 month' <= quota.now() - retention
		ORDER BY c.relname
	LOOP
		/* CASCADE: users of the schema can have made views on it, without a right to read */
		EXECUTE format('DROP TABLE quota.%I CASCADE', name);
		PERFORM quota.write_audit('drop'::text, name, NULL::text, NULL::jsonb, NULL::jsonb);
		dropped := dropped + 1;
	END LOOP;
	RETURN dropped;
EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
	RETURN NULL;
END $$;
COMMENT ON FUNCTION quota.drop_ledger_months IS
	'drops months of the ledger that ended before the retention; returns how many; NULL: could not lock';

CREATE OR REPLACE FUNCTION quota.quota_maintain(retention interval DEFAULT NULL, key_retention interval DEFAULT '7 days', ledger_retention interval DEFAULT NULL)
	RETURNS jsonb
	LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
BEGIN ATOMIC
	SELECT quota.check_argument('retention', retention >= '0' OR retention IS NULL, 'not be negative'),
		quota.check_argument('key_retention', key_retention >= '0' OR key_retention IS NULL, 'not be negative'),
		quota.check_argument('ledger_retention', ledger_retention >= '0' OR ledger_retention IS NULL, 'not be negative');
	SELECT jsonb_build_object(
		'plans_changed', quota.change_due_plans(),
		'holds_returned', quota.return_expired_holds(),
		'usage_deleted', CASE WHEN retention IS NULL THEN 0 ELSE quota.delete_old_usage(retention) END,
		'overrides_deleted', CASE WHEN retention IS NULL THEN 0 ELSE quota.delete_older('limit_overrides', 'expires_at', retention) END,
		'reservations_deleted', CASE WHEN key_retention IS NULL THEN 0 ELSE quota.delete_old_reservations(key_retention) END,
		'keys_deleted', CASE WHEN key_retention IS NULL THEN 0 ELSE quota.delete_older('keys', 'at', key_retention) END,
		'alerts_deleted', CASE WHEN retention IS NULL THEN 0 ELSE quota.delete_older('alerts', 'at', retention) END,
		'stripe_events_deleted', CASE WHEN retention IS NULL THEN 0 ELSE quota.delete_older('stripe_events', 'at', retention) END,
		/* last: their locks stay until the end of the transaction */
		'ledger_months_made', quota.make_ledger_months(),
		'ledger_months_dropped', CASE WHEN ledger_retention IS NULL THEN 0 ELSE quota.drop_ledger_months(ledger_retention) END);
END;
COMMENT ON FUNCTION quota.quota_maintain IS
	'write down plan changes and expired reservations, make the ledger''s months, delete what ended longer ago than the retentions; what was done';
