/*
 * Housekeeping. Limits hold without it. Rows that another transaction has
 * locked are left for the next time: it waits for nobody, and so is in no
 * deadlock.
 */
CREATE OR REPLACE FUNCTION quota.change_due_plans()
	RETURNS bigint
	LANGUAGE sql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
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
COMMENT ON FUNCTION quota.change_due_plans() IS 'writes down the plans of accounts whose trial or plan has ended; how many';

CREATE OR REPLACE FUNCTION quota.delete_old_usage(retention interval)
	RETURNS bigint
	LANGUAGE sql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	WITH old AS (
		SELECT u.ctid AS at
		FROM quota.usage u
			LEFT JOIN quota.accounts a ON a.account = u.account
		WHERE quota.window_end(u.period, u.period_start, a.timezone, a.cycle_anchor) <= quota.now() - retention
			AND NOT EXISTS (
				SELECT FROM quota.holds h
				WHERE h.account = u.account AND h.feature = u.feature AND h.period = u.period AND h.period_start = u.period_start)
		FOR UPDATE OF u SKIP LOCKED
	), deleted AS (
		DELETE FROM quota.usage u USING old WHERE u.ctid = old.at
		RETURNING 1
	)
	SELECT count(*) FROM deleted;
END;
COMMENT ON FUNCTION quota.delete_old_usage(interval) IS 'deletes counters of windows that ended longer ago, unless something of them is reserved; how many rows';

CREATE OR REPLACE FUNCTION quota.delete_old_overrides(retention interval)
	RETURNS bigint
	LANGUAGE sql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	WITH deleted AS (
		DELETE FROM quota.limit_overrides o WHERE o.expires_at <= quota.now() - retention
		RETURNING 1
	)
	SELECT count(*) FROM deleted;
END;
COMMENT ON FUNCTION quota.delete_old_overrides(interval) IS 'deletes overrides that expired longer ago; how many';

/*
 * A counter is lowered if all of its rows can be locked at once, so that nobody
 * is waited for; one that is being charged returns what has expired itself.
 */
CREATE OR REPLACE FUNCTION quota.return_expired_holds()
	RETURNS bigint
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
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
COMMENT ON FUNCTION quota.return_expired_holds() IS 'lowers counters by what reservations held of them that have expired; how many';

CREATE OR REPLACE FUNCTION quota.delete_old_reservations(retention interval)
	RETURNS bigint
	LANGUAGE sql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
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
COMMENT ON FUNCTION quota.delete_old_reservations(interval) IS 'deletes reservations that expired longer ago; how many';

CREATE OR REPLACE FUNCTION quota.delete_old_keys(retention interval)
	RETURNS bigint
	LANGUAGE sql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	WITH deleted AS (
		DELETE FROM quota.keys k WHERE k.at <= quota.now() - retention
		RETURNING 1
	)
	SELECT count(*) FROM deleted;
END;
COMMENT ON FUNCTION quota.delete_old_keys(interval) IS 'forgets keys that were first used longer ago; how many';

CREATE OR REPLACE FUNCTION @extschema@.quota_maintain(retention interval DEFAULT NULL, key_retention interval DEFAULT '7 days')
	RETURNS jsonb
	LANGUAGE sql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	SET quota.act = 'quota_maintain'
BEGIN ATOMIC
	SELECT quota.check_argument('retention', retention >= '0' OR retention IS NULL, 'not be negative'),
		quota.check_argument('key_retention', key_retention >= '0' OR key_retention IS NULL, 'not be negative');
	SELECT jsonb_build_object(
		'plans_changed', quota.change_due_plans(),
		'holds_returned', quota.return_expired_holds(),
		'usage_deleted', CASE WHEN retention IS NULL THEN 0 ELSE quota.delete_old_usage(retention) END,
		'overrides_deleted', CASE WHEN retention IS NULL THEN 0 ELSE quota.delete_old_overrides(retention) END,
		'reservations_deleted', CASE WHEN key_retention IS NULL THEN 0 ELSE quota.delete_old_reservations(key_retention) END,
		'keys_deleted', CASE WHEN key_retention IS NULL THEN 0 ELSE quota.delete_old_keys(key_retention) END);
END;
COMMENT ON FUNCTION @extschema@.quota_maintain(interval, interval) IS
	'write down plan changes and expired reservations, delete counters and overrides that ended longer ago than retention, forget keys after key_retention; what was done';
