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
		FOR UPDATE OF u SKIP LOCKED
	), deleted AS (
		DELETE FROM quota.usage u USING old WHERE u.ctid = old.at
		RETURNING 1
	)
	SELECT count(*) FROM deleted;
END;
COMMENT ON FUNCTION quota.delete_old_usage(interval) IS 'deletes counters of windows that ended longer ago; how many rows';

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

CREATE OR REPLACE FUNCTION @extschema@.quota_maintain(retention interval DEFAULT NULL)
	RETURNS jsonb
	LANGUAGE sql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	SET quota.act = 'quota_maintain'
BEGIN ATOMIC
	SELECT quota.check_argument('retention', retention >= '0' OR retention IS NULL, 'not be negative');
	SELECT jsonb_build_object(
		'plans_changed', quota.change_due_plans(),
		'usage_deleted', CASE WHEN retention IS NULL THEN 0 ELSE quota.delete_old_usage(retention) END,
		'overrides_deleted', CASE WHEN retention IS NULL THEN 0 ELSE quota.delete_old_overrides(retention) END);
END;
COMMENT ON FUNCTION @extschema@.quota_maintain(interval) IS
	'write down plan changes that are due, delete counters and overrides that ended longer ago than retention; what was done';
