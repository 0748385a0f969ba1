/*
 * What is in effect now, for reports: the time, its windows, the plan of an account,
 * and the use of all current windows with their limits. The rules are those of
 * src/entitlement/account.c, which charges use.
 */
CREATE OR REPLACE FUNCTION quota.now()
	RETURNS timestamptz
	LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'quota_now';
COMMENT ON FUNCTION quota.now IS 'time of decisions: start of the transaction, or setting quota.now';

CREATE OR REPLACE FUNCTION quota.timezone()
	RETURNS text
	LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'quota_timezone';
COMMENT ON FUNCTION quota.timezone IS 'setting quota.timezone, the time zone of accounts without one';

CREATE OR REPLACE FUNCTION quota.window_start(period @extschema@.quota_period, at timestamptz, timezone text, anchor timestamptz)
	RETURNS timestamptz
	LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'quota_window_start';
COMMENT ON FUNCTION quota.window_start IS
	'start of the window that contains a time; NULL time zone: the setting; NULL anchor: the calendar month';

CREATE OR REPLACE FUNCTION quota.window_end(period @extschema@.quota_period, at timestamptz, timezone text, anchor timestamptz)
	RETURNS timestamptz
	LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'quota_window_end';
COMMENT ON FUNCTION quota.window_end IS 'end of the window that contains a time, which is the start of the next';

CREATE OR REPLACE FUNCTION quota.default_plan()
	RETURNS text
	LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'quota_default_plan';
COMMENT ON FUNCTION quota.default_plan IS 'plan of accounts without one; NULL: there is none';

CREATE OR REPLACE FUNCTION quota.charged_counters(owner text, feature text, OUT account text, OUT period @extschema@.quota_period)
	RETURNS SETOF record
	LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'quota_charged_counters';
COMMENT ON FUNCTION quota.charged_counters IS
	'the counters that a charge of an account writes: its own and those of its pool';

CREATE OR REPLACE FUNCTION quota.account_key(key text)
	RETURNS text
	LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'quota_account_key';
COMMENT ON FUNCTION quota.account_key IS 'the key of an account; raises an error if it cannot be one';

/*
 * Without SET search_path, so that the planner can inline them. A row of NULLs, which
 * an outer join returns for an account without a row, has the default plan.
 */
CREATE OR REPLACE FUNCTION quota.plan_has_ended(a quota.accounts, at timestamptz DEFAULT quota.now())
	RETURNS boolean
	LANGUAGE sql IMMUTABLE PARALLEL RESTRICTED
	RETURN a.status = 'trialing' AND at >= a.trial_ends_at OR at >= a.plan_ends_at;
COMMENT ON FUNCTION quota.plan_has_ended IS 'true if the trial or plan of an account has ended at a time; NULL: no';

CREATE OR REPLACE FUNCTION quota.own_plan(a quota.accounts, at timestamptz DEFAULT quota.now())
	RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL RESTRICTED
	RETURN CASE
		WHEN a.status = 'canceled' THEN NULL
		WHEN quota.plan_has_ended(a, at) THEN a.next_plan
		ELSE a.plan
	END;
COMMENT ON FUNCTION quota.own_plan IS 'the plan of a row of quota.accounts at a time; NULL: that of its pool, or the default plan';

CREATE OR REPLACE FUNCTION quota.plan_in_effect(a quota.accounts, pool quota.accounts)
	RETURNS text
	LANGUAGE sql STABLE PARALLEL RESTRICTED
	RETURN COALESCE(quota.own_plan(a), quota.own_plan(pool), quota.default_plan());
COMMENT ON FUNCTION quota.plan_in_effect IS 'the plan of an account, given the rows of it and of its pool; NULL: none';

CREATE OR REPLACE VIEW quota.account_plans WITH (security_invoker = true) AS
	SELECT a.account, a.name, a.account_type, a.status, a.sponsor,
		quota.plan_in_effect(a, p) COLLATE "C" AS plan,
		a.status = 'trialing' AND (quota.now() >= a.trial_ends_at) IS NOT TRUE AS on_trial,
		a.pool IS NOT NULL AND quota.own_plan(a) IS NULL AS pooled
	FROM quota.accounts a
		LEFT JOIN quota.accounts p ON p.account = a.pool;
COMMENT ON VIEW quota.account_plans IS 'the plan in effect of each account that has a row';
COMMENT ON COLUMN quota.account_plans.plan IS 'NULL: none';
COMMENT ON COLUMN quota.account_plans.pooled IS 'the plan is its pool''s, which pays for it';
COMMENT ON COLUMN quota.account_plans.on_trial IS 'status is trialing, and the trial has not ended';

/*
 * A sum for each contended counter, which has several rows, is much faster than
 * grouping all rows. As in src/tables/usage_slots.c, slots of slot 0 is the number of
 * slots, negative while they are merged; rows of higher slots are left over and do
 * not count. Expired holds are not used any more (src/charge/hold.c).
 */
CREATE OR REPLACE VIEW quota.counters WITH (security_invoker = true) AS
	SELECT u.account, u.feature, u.period, u.period_start,
		CASE WHEN u.slots = 1 THEN u.used ELSE (
			SELECT sum(s.used)::bigint
			FROM quota.usage s
			WHERE s.account = u.account AND s.feature = u.feature AND s.period = u.period AND s.period_start = u.period_start
				AND s.slot < abs(u.slots))
		END - CASE WHEN u.slots = 1 AND u.holds = 0 THEN 0 ELSE (
			SELECT COALESCE(sum(h.amount), 0)::bigint
			FROM quota.holds h
			WHERE h.account = u.account AND h.feature = u.feature AND h.period = u.period AND h.period_start = u.period_start
				AND h.expires_at <= quota.now())
		END AS used
	FROM quota.usage u
	WHERE u.slot = 0;
COMMENT ON VIEW quota.counters IS 'the counters: quota.usage with slots summed up, without expired holds';

CREATE OR REPLACE VIEW quota.current_usage WITH (security_invoker = true) AS
	SELECT c.account, c.name, c.plan, c.feature, c.period, c.period_start, c.used,
		w.usage_limit,
		CASE WHEN w.usage_limit IS NOT NULL THEN GREATEST(0, w.usage_limit - c.used) END AS remaining,
		CASE w.usage_limit WHEN 0 THEN 1 ELSE c.used::float8 / w.usage_limit END AS ratio,
		GREATEST(0, c.used - w.usage_limit) AS overage,
		CASE WHEN l.on_limit = 'charge' THEN l.overage_price END AS overage_price,
		COALESCE(c.used >= w.usage_limit * COALESCE(l.warn_ratio, 0.8), false) AS warned
	FROM (
			SELECT u.*, a.name, quota.plan_in_effect(a, p) COLLATE "C" AS plan, a.pool IS NOT NULL AND quota.own_plan(a) IS NULL AS pooled
			FROM quota.counters u
				LEFT JOIN quota.accounts a ON a.account = u.account
				LEFT JOIN quota.accounts p ON p.account = a.pool
			WHERE u.period_start = quota.window_start(u.period, quota.now(), a.timezone, a.cycle_anchor)) c
		LEFT JOIN quota.plan_limits l ON l.plan = c.plan AND l.feature = c.feature AND l.period = c.period
		LEFT JOIN quota.limit_overrides o ON o.account = c.account AND o.feature = c.feature AND o.period = c.period
			AND (quota.now() >= o.expires_at) IS NOT TRUE
		/* the plan of a pool limits the pool's counters, not those of its members */
		CROSS JOIN LATERAL (
			SELECT CASE WHEN o.account IS NOT NULL THEN o.usage_limit WHEN NOT c.pooled THEN l.usage_limit END AS usage_limit) w;
COMMENT ON VIEW quota.current_usage IS 'use of each counter in its current window, and the limit in effect';
COMMENT ON COLUMN quota.current_usage.usage_limit IS 'NULL: unlimited, or not in the plan';
COMMENT ON COLUMN quota.current_usage.overage IS 'units past the limit; 0: unlimited';
COMMENT ON COLUMN quota.current_usage.overage_price IS 'price of a unit past the limit; NULL: the limit does not charge';
COMMENT ON COLUMN quota.current_usage.warned IS 'the use has reached warn_ratio of the limit, so that decisions warn';
