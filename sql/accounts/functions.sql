/*
 * Functions that manage accounts. Each changes one row by one statement, which also
 * creates the account's row if there is none, so that concurrent calls run one after
 * the other. A trial or plan ends by itself, without a job
 * (src/entitlement/account.c).
 */
CREATE OR REPLACE FUNCTION quota.check_argument(name text, valid boolean, rule text)
	RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $$
BEGIN
	IF valid IS NULL THEN
		RAISE null_value_not_allowed USING MESSAGE = format('%s must not be null', name);
	ELSIF NOT valid THEN
		RAISE invalid_parameter_value USING MESSAGE = format('%s must %s', name, rule);
	END IF;
END $$;
COMMENT ON FUNCTION quota.check_argument IS 'raises an error if an argument is NULL (valid is NULL) or not valid';

CREATE OR REPLACE FUNCTION quota.check_plan(plan text)
	RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $$
BEGIN
	IF plan IS NULL THEN
		RAISE null_value_not_allowed USING MESSAGE = 'plan must not be null';
	ELSIF NOT EXISTS (SELECT FROM quota.plans p WHERE p.plan = check_plan.plan) THEN
		RAISE undefined_object USING MESSAGE = format('plan "%s" does not exist', quota.shown(plan));
	END IF;
END $$;
COMMENT ON FUNCTION quota.check_plan IS 'raises an error unless a plan exists';

CREATE OR REPLACE FUNCTION quota.kind_of(feature text)
	RETURNS text
	LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $$
DECLARE
	kind text := (SELECT f.kind FROM quota.features f WHERE f.feature = kind_of.feature);
BEGIN
	IF feature IS NULL THEN
		RAISE null_value_not_allowed USING MESSAGE = 'feature must not be null';
	ELSIF kind IS NULL THEN
		RAISE undefined_object USING MESSAGE = format('feature "%s" does not exist', quota.shown(feature));
	END IF;
	RETURN kind;
END $$;
COMMENT ON FUNCTION quota.kind_of IS 'the kind of a feature; raises an error unless it exists';

/*
 * Subscriptions
 */

/*
 * A suspended account stays suspended, and a past_due one past_due. The new plan
 * still ends at ends_at.
 */
CREATE OR REPLACE FUNCTION quota.start_plan(for_account text, plan text, ends_at timestamptz, status text, sponsor text)
	RETURNS void
	LANGUAGE sql VOLATILE PARALLEL UNSAFE
BEGIN ATOMIC
	INSERT INTO quota.accounts AS a (account, plan, plan_ends_at, status, trial_ends_at, sponsor)
	VALUES (for_account, start_plan.plan, ends_at, start_plan.status,
		CASE start_plan.status WHEN 'trialing' THEN ends_at END, start_plan.sponsor)
	ON CONFLICT (account) DO UPDATE
		SET (plan, plan_ends_at, next_plan) = (excluded.plan, excluded.plan_ends_at, NULL),
			status = CASE WHEN a.status IN ('suspended', 'past_due') THEN a.status ELSE excluded.status END,
			trial_ends_at = COALESCE(excluded.trial_ends_at, a.trial_ends_at),
			sponsor = COALESCE(excluded.sponsor, a.sponsor);
END;
COMMENT ON FUNCTION quota.start_plan IS 'puts an account on a plan now; ends_at NULL: without an end; sponsor NULL: unchanged';

CREATE OR REPLACE FUNCTION quota.settled(a quota.accounts)
	RETURNS quota.accounts
	LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
AS $$
BEGIN
	IF a.status = 'canceled' THEN
		a.plan := NULL;
		a.next_plan := NULL;
		a.plan_ends_at := NULL;
	ELSIF quota.plan_has_ended(a) THEN
		a.plan := a.next_plan;
		a.next_plan := NULL;
		a.plan_ends_at := NULL;
		a.status := CASE a.status WHEN 'trialing' THEN 'active' ELSE a.status END;
	END IF;
	RETURN a;
END $$;
COMMENT ON FUNCTION quota.settled IS
	'a row of quota.accounts with ended trials and plans resolved: plan is the one in effect (NULL: the default plan)';

/*
 * Billing periods start at cycle_anchor. Each is computed from the anchor itself, so
 * that the 31st comes back after a short month. Without an anchor they are calendar
 * periods.
 */
CREATE OR REPLACE FUNCTION quota.paid_until(a quota.accounts)
	RETURNS timestamptz
	LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
AS $$
DECLARE
	zone text := COALESCE(a.timezone, quota.timezone());
	today timestamp := quota.now() AT TIME ZONE zone;
	/* a Monday, the first of a year */
	anchor timestamp := COALESCE(a.cycle_anchor AT TIME ZONE zone, '2001-01-01');
	months integer := (date_part('year', today) - date_part('year', anchor)) * 12
		+ date_part('month', today) - date_part('month', anchor);
	days integer := today::date - anchor::date;
	paid record;
BEGIN
	SELECT p.plan, p.billing_interval INTO paid
	FROM quota.plans p
	WHERE p.plan = COALESCE(a.plan, quota.default_plan());
	IF paid.billing_interval = 'once' THEN
		RAISE object_not_in_prerequisite_state USING
			MESSAGE = format('plan "%s" is paid once and has no period that ends', paid.plan);
	END IF;
	RETURN (
		SELECT min(period_end)
		FROM (VALUES
				('day', days),
				('week', floor(days / 7.0)),
				('month', months),
				('year', floor(months / 12.0))) w (unit, n),
			generate_series(n::integer, n::integer + 1) k,
			LATERAL (SELECT (anchor + k * ('1 ' || unit)::interval) AT TIME ZONE zone AS period_end) e
		WHERE unit = COALESCE(paid.billing_interval, 'month') AND period_end > quota.now());
END $$;
COMMENT ON FUNCTION quota.paid_until IS 'the end of the account''s current billing period';

CREATE OR REPLACE FUNCTION quota.change_at_period_end(for_account text, to_plan text)
	RETURNS void
	LANGUAGE sql VOLATILE PARALLEL UNSAFE
BEGIN ATOMIC
	INSERT INTO quota.accounts AS a (account, next_plan, plan_ends_at)
	VALUES (for_account, to_plan, quota.paid_until(NULL::quota.accounts))
	ON CONFLICT (account) DO UPDATE
		SET (plan, status, next_plan, plan_ends_at) = (
			SELECT s.plan,
				CASE s.status WHEN 'canceled' THEN 'active' ELSE s.status END,
				excluded.next_plan,
				/* a trial, or a plan of limited duration, has an end already */
				CASE WHEN s.status = 'trialing' THEN s.plan_ends_at
					ELSE COALESCE(s.plan_ends_at, quota.paid_until(s)) END
			FROM quota.settled(a) s);
END;
COMMENT ON FUNCTION quota.change_at_period_end IS
	'puts an account on a plan (NULL: the default plan) when its trial, plan or billing period ends';

CREATE OR REPLACE FUNCTION quota.quota_set_plan(account text, plan text, duration interval DEFAULT NULL, at_period_end boolean DEFAULT false)
	RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
AS $$
BEGIN
	PERFORM quota.account_key(account);
	PERFORM quota.check_plan(plan);
	PERFORM quota.check_argument('at_period_end', at_period_end IN (true, false), 'be true or false');
	IF duration IS NOT NULL THEN
		PERFORM quota.check_argument('duration', duration > '0', 'be positive');
		PERFORM quota.check_argument('duration', NOT at_period_end, 'be null with at_period_end');
	END IF;
	IF at_period_end THEN
		PERFORM quota.change_at_period_end(account, plan);
	ELSE
		PERFORM quota.start_plan(account, plan, quota.now() + duration, 'active', NULL);
	END IF;
END $$;
COMMENT ON FUNCTION quota.quota_set_plan IS
	'put an account on a plan, now (for a duration, then the default plan) or when what it has paid for ends';

CREATE OR REPLACE FUNCTION quota.quota_start_trial(account text, plan text, duration interval)
	RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
AS $$
BEGIN
	PERFORM quota.account_key(account);
	PERFORM quota.check_plan(plan);
	PERFORM quota.check_argument('duration', duration > '0', 'be positive');
	PERFORM quota.start_plan(account, plan, quota.now() + duration, 'trialing', NULL);
END $$;
COMMENT ON FUNCTION quota.quota_start_trial IS
	'put an account on a plan for trial; the default plan follows, or what quota_set_plan sets at_period_end';

CREATE OR REPLACE FUNCTION quota.quota_cancel(account text, at_period_end boolean DEFAULT false)
	RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
AS $$
BEGIN
	PERFORM quota.account_key(account);
	PERFORM quota.check_argument('at_period_end', at_period_end IN (true, false), 'be true or false');
	IF at_period_end THEN
		PERFORM quota.change_at_period_end(account, NULL);
		RETURN;
	END IF;
	INSERT INTO quota.accounts AS a (account, status, plan_ends_at)
	VALUES (account, 'canceled', quota.now())
	ON CONFLICT ON CONSTRAINT accounts_pkey DO UPDATE
		SET status = CASE a.status WHEN 'suspended' THEN a.status ELSE excluded.status END,
			plan_ends_at = LEAST(a.plan_ends_at, excluded.plan_ends_at),
			next_plan = NULL;
END $$;
COMMENT ON FUNCTION quota.quota_cancel IS 'put an account on the default plan, now or when what it has paid for ends';

CREATE OR REPLACE FUNCTION quota.quota_suspend(account text, reason text DEFAULT NULL)
	RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
AS $$
DECLARE
	outer_reason text := COALESCE(current_setting('quota.reason', true), '');
BEGIN
	PERFORM quota.account_key(account);
	PERFORM quota.check_argument('reason', octet_length(reason) <= 1024 OR reason IS NULL, 'have at most 1024 bytes');
	PERFORM set_config('quota.reason', COALESCE(reason, outer_reason), true);
	/* keep the end that the status implies, so that quota_activate gives no more than there was */
	INSERT INTO quota.accounts AS a (account, status)
	VALUES (account, 'suspended')
	ON CONFLICT ON CONSTRAINT accounts_pkey DO UPDATE
		SET status = excluded.status,
			plan_ends_at = LEAST(a.plan_ends_at, CASE a.status
				WHEN 'trialing' THEN a.trial_ends_at
				WHEN 'canceled' THEN quota.now() END),
			next_plan = CASE WHEN a.status <> 'canceled' THEN a.next_plan END;
	PERFORM set_config('quota.reason', outer_reason, true);
END $$;
COMMENT ON FUNCTION quota.quota_suspend IS 'refuse an account everything until quota_activate';

CREATE OR REPLACE FUNCTION quota.quota_activate(account text)
	RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
AS $$
BEGIN
	PERFORM quota.account_key(account);
	INSERT INTO quota.accounts AS a (account)
	VALUES (account)
	ON CONFLICT ON CONSTRAINT accounts_pkey DO UPDATE
		SET status = CASE a.status WHEN 'trialing' THEN a.status ELSE 'active' END;
END $$;
COMMENT ON FUNCTION quota.quota_activate IS 'end the suspension of an account, or that its payment is due';

CREATE OR REPLACE FUNCTION quota.quota_preview(account text, plan text)
	RETURNS TABLE (feature text, period @extschema@.quota_period, used bigint, limit_now bigint, limit_then bigint, over_by bigint)
	LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER
AS $$
DECLARE
	present quota.accounts;
BEGIN
	PERFORM quota.account_key(account);
	PERFORM quota.check_plan(plan);
	SELECT a.* INTO present FROM quota.accounts a WHERE a.account = quota_preview.account;
	RETURN QUERY
		WITH plans (planned, plan) AS (
			VALUES
				(false, CASE WHEN present.pool IS NULL THEN quota.plan_in_effect(present, NULL::quota.accounts) ELSE quota.own_plan(present) END),
				(true, quota_preview.plan)
		), overrides AS (
			SELECT o.feature, o.period, o.usage_limit
			FROM quota.limit_overrides o
			WHERE o.account = quota_preview.account AND (quota.now() < o.expires_at) IS NOT FALSE
		), limits AS (
			SELECT p.planned, l.feature, l.period, l.usage_limit
			FROM plans p JOIN quota.plan_limits l ON l.plan = p.plan
			WHERE NOT EXISTS (SELECT FROM overrides o WHERE o.feature = l.feature AND o.period = l.period)
			UNION ALL
			SELECT p.planned, o.feature, o.period, o.usage_limit FROM plans p, overrides o
		), windows AS (
			SELECT l.feature, l.period,
				quota.window_start(l.period, quota.now(), present.timezone, present.cycle_anchor) AS period_start,
				count(*) FILTER (WHERE NOT l.planned) AS now,
				count(*) FILTER (WHERE l.planned) AS planned,
				max(l.usage_limit) FILTER (WHERE NOT l.planned) AS limit_now,
				max(l.usage_limit) FILTER (WHERE l.planned) AS limit_then
			FROM limits l JOIN quota.features f ON f.feature = l.feature
			WHERE f.kind IN ('counter', 'gauge')
			GROUP BY l.feature, l.period
		), figures AS (
			/* a plan without a limit for a feature allows none of it, but does not limit a member of a pool */
			SELECT w.feature, w.period,
				COALESCE((
					SELECT c.used
					FROM quota.counters c
					WHERE c.account = quota_preview.account AND c.feature = w.feature
						AND c.period = w.period AND c.period_start = w.period_start), 0) AS used,
				CASE WHEN sum(w.now) OVER same_feature = 0 AND present.pool IS NULL THEN 0 ELSE w.limit_now END AS limit_now,
				CASE WHEN sum(w.planned) OVER same_feature = 0 THEN 0 ELSE w.limit_then END AS limit_then
			FROM windows w
			WINDOW same_feature AS (PARTITION BY w.feature)
		)
		SELECT g.feature, g.period, g.used, g.limit_now, g.limit_then,
			CASE WHEN g.used > g.limit_then THEN g.used - g.limit_then ELSE 0 END
		FROM figures g
		ORDER BY g.feature, g.period;
END $$;
COMMENT ON FUNCTION quota.quota_preview IS
	'the limits that an account would have on another plan, a row a feature and window, and by how much its use is over them';

/*
 * Overrides and counters
 */
CREATE OR REPLACE FUNCTION quota.quota_set_override(account text, feature text, period @extschema@.quota_period, usage_limit bigint, expires_at timestamptz DEFAULT NULL, reason text DEFAULT NULL)
	RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
AS $$
BEGIN
	PERFORM quota.account_key(account);
	PERFORM quota.kind_of(feature);
	PERFORM quota.check_argument('period', period BETWEEN 'second' AND 'cycle', 'be a period');
	PERFORM quota.check_argument('reason', octet_length(reason) <= 1024 OR reason IS NULL, 'have at most 1024 bytes');
	IF usage_limit IS NOT NULL THEN
		PERFORM quota.check_argument('usage_limit', usage_limit >= 0, 'not be negative');
	END IF;
	INSERT INTO quota.limit_overrides (account, feature, period, usage_limit, expires_at, reason)
	VALUES (account, feature, period, usage_limit, expires_at, reason)
	ON CONFLICT ON CONSTRAINT limit_overrides_pkey DO UPDATE
		SET (usage_limit, expires_at, reason) = (excluded.usage_limit, excluded.expires_at, excluded.reason);
END $$;
COMMENT ON FUNCTION quota.quota_set_override IS
	'give one account its own limit (NULL: unlimited) in place of the plan''s, until expires_at';

CREATE OR REPLACE FUNCTION quota.quota_clear_override(account text, feature text, period @extschema@.quota_period DEFAULT NULL)
	RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
AS $$
BEGIN
	PERFORM quota.account_key(account);
	PERFORM quota.kind_of(feature);
	DELETE FROM quota.limit_overrides o
	WHERE o.account = quota_clear_override.account AND o.feature = quota_clear_override.feature
		AND o.period = COALESCE(quota_clear_override.period, o.period);
	IF NOT FOUND THEN
		RAISE undefined_object USING
			MESSAGE = format('account "%s" has no override of feature "%s"%s', account, feature, ' for period ' || period);
	END IF;
END $$;
COMMENT ON FUNCTION quota.quota_clear_override IS 'take back quota_set_override, for one period or all';

CREATE OR REPLACE FUNCTION quota.lock_counter(owner text, feature text, period @extschema@.quota_period, period_start timestamptz)
	RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'quota_lock_counter';
COMMENT ON FUNCTION quota.lock_counter IS
	'locks a counter: waits for its open charges, and makes later ones wait for this transaction';

/*
 * Without a feature, gauges are left out: they must equal the rows that they count.
 */
CREATE OR REPLACE FUNCTION quota.quota_reset(account text, feature text DEFAULT NULL)
	RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
AS $$
DECLARE
	current quota.counters[];
BEGIN
	PERFORM quota.account_key(account);
	IF feature IS NOT NULL THEN
		PERFORM quota.kind_of(feature);
	END IF;
	/*
	 * Lock all counters that a charge can meet, also those without a row yet, in the
	 * order of charges, so that a charge runs wholly before the reset or after it.
	 */
	current := ARRAY(
		SELECT c::quota.counters
		FROM (
			SELECT quota_reset.account, d.feature COLLATE "C", d.period, COALESCE(d.period_start, '-infinity'), 0
			FROM quota.evaluate(account) d
			UNION
			SELECT u.account, u.feature, u.period, u.period_start, 0
			FROM quota.usage u LEFT JOIN quota.accounts a ON a.account = u.account
			WHERE u.account = quota_reset.account
				AND u.period_start = quota.window_start(u.period, quota.now(), a.timezone, a.cycle_anchor)
			) c (account, feature, period, period_start, used)
			JOIN quota.features f ON f.feature = c.feature
		WHERE f.kind <> 'rate' AND (c.feature = quota_reset.feature OR quota_reset.feature IS NULL AND f.kind = 'counter')
		ORDER BY c.feature, c.period);
	PERFORM quota.lock_counter(c.account, c.feature, c.period, c.period_start) FROM unnest(current) c;
	DELETE FROM quota.usage u
	USING unnest(current) c
	WHERE (u.account, u.feature, u.period, u.period_start) = (c.account, c.feature, c.period, c.period_start);
	/* their reservations are over: nothing is left to give back */
	DELETE FROM quota.holds h
	USING unnest(current) c
	WHERE (h.account, h.feature, h.period, h.period_start) = (c.account, c.feature, c.period, c.period_start);
	/* last: a rollback does not undo it */
	PERFORM quota.forget_rate(account, f.feature)
	FROM quota.features f
	WHERE f.kind = 'rate' AND (quota_reset.feature IS NULL OR f.feature = quota_reset.feature);
END $$;
COMMENT ON FUNCTION quota.quota_reset IS
	'set the current windows of an account back to 0, of one feature or of all that are not gauges';

/*
 * Sponsors, pools and members
 */
CREATE OR REPLACE FUNCTION quota.quota_sponsor(sponsor text, account text, plan text)
	RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
AS $$
BEGIN
	PERFORM quota.check_argument('sponsor', octet_length(sponsor) BETWEEN 1 AND 255, 'have 1 to 255 bytes');
	PERFORM quota.account_key(account);
	PERFORM quota.check_argument('sponsor', sponsor <> account, 'be another account');
	PERFORM quota.check_plan(plan);
	PERFORM quota.start_plan(account, plan, NULL::timestamptz, 'active', sponsor);
END $$;
COMMENT ON FUNCTION quota.quota_sponsor IS 'put an account on a plan that another account pays for';

CREATE OR REPLACE FUNCTION quota.quota_unsponsor(account text)
	RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
AS $$
BEGIN
	PERFORM quota.account_key(account);
	UPDATE quota.accounts a
	SET sponsor = NULL, plan = NULL, plan_ends_at = NULL, next_plan = NULL
	WHERE a.account = quota_unsponsor.account AND sponsor IS NOT NULL;
	IF NOT FOUND THEN
		RAISE undefined_object USING MESSAGE = format('account "%s" has no sponsor', account);
	END IF;
END $$;
COMMENT ON FUNCTION quota.quota_unsponsor IS 'take back quota_sponsor: the account has the default plan';

CREATE OR REPLACE FUNCTION quota.quota_set_pool(account text, pool text)
	RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
AS $$
BEGIN
	PERFORM quota.account_key(account);
	IF pool IS NOT NULL THEN
		PERFORM quota.check_argument('pool', octet_length(pool) BETWEEN 1 AND 255, 'have 1 to 255 bytes');
		PERFORM quota.check_argument('pool', pool <> account, 'be another account');
		IF EXISTS (SELECT FROM quota.accounts a WHERE a.account = quota_set_pool.pool AND a.pool IS NOT NULL) THEN
			RAISE object_not_in_prerequisite_state USING
				MESSAGE = format('account "%s" is in a pool itself', pool);
		ELSIF EXISTS (SELECT FROM quota.accounts a WHERE a.pool = quota_set_pool.account) THEN
			RAISE object_not_in_prerequisite_state USING
				MESSAGE = format('account "%s" is a pool itself', account);
		END IF;
	END IF;
	INSERT INTO quota.accounts AS a (account, pool)
	VALUES (account, pool)
	ON CONFLICT ON CONSTRAINT accounts_pkey DO UPDATE SET pool = excluded.pool;
END $$;
COMMENT ON FUNCTION quota.quota_set_pool IS
	'let an account draw on the counters of another, within limits of its own; NULL: no longer';

CREATE OR REPLACE FUNCTION quota.quota_add_user(account text, user_id text, role text DEFAULT 'MEMBER')
	RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
AS $$
BEGIN
	PERFORM quota.account_key(account);
	PERFORM quota.check_argument('user_id', octet_length(user_id) BETWEEN 1 AND 255, 'have 1 to 255 bytes');
	PERFORM quota.check_argument('role', role IN ('OWNER', 'MEMBER', 'AFFILIATE', 'ADMIN'), 'be OWNER, MEMBER, AFFILIATE or ADMIN');
	INSERT INTO quota.accounts (account) VALUES (account)
	ON CONFLICT DO NOTHING;
	INSERT INTO quota.account_users (account, user_id, role)
	VALUES (account, user_id, role)
	ON CONFLICT ON CONSTRAINT account_users_pkey DO UPDATE SET role = excluded.role;
END $$;
COMMENT ON FUNCTION quota.quota_add_user IS 'make a user of the application a member of an account, or change its role';

CREATE OR REPLACE FUNCTION quota.quota_remove_user(account text, user_id text)
	RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
AS $$
BEGIN
	PERFORM quota.account_key(account);
	PERFORM quota.check_argument('user_id', octet_length(user_id) BETWEEN 1 AND 255, 'have 1 to 255 bytes');
	DELETE FROM quota.account_users u
	WHERE u.account = quota_remove_user.account AND u.user_id = quota_remove_user.user_id;
	IF NOT FOUND THEN
		RAISE undefined_object USING MESSAGE = format('user "%s" does not belong to account "%s"', user_id, account);
	END IF;
END $$;
COMMENT ON FUNCTION quota.quota_remove_user IS 'take back quota_add_user';

/* Level user sees its own memberships only, a reader what the table shows. */
CREATE OR REPLACE FUNCTION quota.quota_accounts_of(user_id text)
	RETURNS TABLE (account text, name text, role text)
	LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER
AS $$
BEGIN
	PERFORM quota.check_argument('user_id', octet_length(user_id) BETWEEN 1 AND 255, 'have 1 to 255 bytes');
	RETURN QUERY
		SELECT u.account, a.name, u.role
		FROM quota.account_users u JOIN quota.accounts a ON a.account = u.account
		WHERE u.user_id = quota_accounts_of.user_id
			AND (quota.sees_all() OR u.account IN (SELECT quota.visible_accounts()))
			AND (NOT quota.acts_as_user() OR u.user_id = quota.user_id())
		ORDER BY u.account;
END $$;
COMMENT ON FUNCTION quota.quota_accounts_of IS 'the accounts that a user is a member of, and its role in each';
