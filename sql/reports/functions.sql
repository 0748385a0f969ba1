/*
 * Reports, as twins. For reports on one account the gate has checked it; those on
 * many leave out accounts that the caller may not see.
 */
CREATE OR REPLACE FUNCTION quota.check_counted(feature text)
	RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $$
DECLARE
	kind text := quota.kind_of(feature);
BEGIN
	IF kind NOT IN ('counter', 'gauge') THEN
		RAISE wrong_object_type USING MESSAGE = format('feature "%s" of kind %s has no counters', feature, kind);
	END IF;
END $$;
COMMENT ON FUNCTION quota.check_counted IS 'raises an error unless a feature is a counter or gauge';

/*
 * One account. Applications call the first two on every page: PL/pgSQL caches the
 * plans of its queries, where SQL functions are planned at each call before
 * PostgreSQL 18. A feature with several windows is shown by the one with the least
 * left, and among equals the one that ends last. Rates are left out; quota_rates
 * shows them.
 */
CREATE OR REPLACE FUNCTION quota.quota_usage(account text)
	RETURNS jsonb
	LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER
AS $$
BEGIN
	RETURN (
		SELECT jsonb_build_object(
			'plan', quota.plan_in_effect(a, p),
			'month_key', to_char(quota.now() AT TIME ZONE COALESCE(a.timezone, quota.timezone()), 'YYYY-MM'),
			'features', (
				SELECT COALESCE(jsonb_object_agg(e.feature, jsonb_build_object(
					'limit', e.usage_limit,
					'used', e.used,
					'remaining', e.remaining,
					'unlimited', e.usage_limit IS NULL)), '{}')
				FROM (
					SELECT DISTINCT ON (w.feature) w.*
					FROM quota.evaluate(quota_usage.account) w JOIN quota.features f ON f.feature = w.feature AND f.kind <> 'rate'
					ORDER BY w.feature, w.remaining, w.period_end DESC) e))
		FROM (VALUES (quota_usage.account)) k (account)
			LEFT JOIN quota.accounts a ON a.account = k.account
			LEFT JOIN quota.accounts p ON p.account = a.pool);
END $$;
COMMENT ON FUNCTION quota.quota_usage IS
	'plan, month and the use of each feature of an account: {"plan", "month_key", "features"}';

CREATE OR REPLACE FUNCTION quota.quota_status(account text, feature text DEFAULT NULL)
	RETURNS jsonb
	LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER
AS $$
DECLARE
	main record;
BEGIN
	IF quota_status.feature IS NULL THEN
		SELECT e.* INTO main
		FROM quota.evaluate(quota_status.account) e JOIN quota.features f ON f.feature = e.feature AND f.kind <> 'rate'
		ORDER BY e.decision DESC, e.ratio DESC NULLS LAST, e.feature, e.period
		LIMIT 1;
	ELSE
		main := quota.evaluate(quota_status.account, quota_status.feature);
	END IF;
	RETURN (
		SELECT jsonb_build_object(
			'account', jsonb_build_object(
				'id', k.account,
				'name', a.name,
				'type', a.account_type,
				'plan', k.plan,
				'override', o.usage_limit),
			'plan', jsonb_build_object(
				'name', p.name,
				'limit', main.usage_limit,
				'allow_overage', COALESCE(l.on_limit <> 'block', false),
				'overage_price_cents', trim_scale(COALESCE(l.overage_price, 0) * 100)),
			'usage', (
				SELECT COALESCE(jsonb_object_agg(e.feature || '_count', e.used), '{}')
				FROM (
					SELECT DISTINCT ON (w.feature) w.*
					FROM quota.evaluate(quota_status.account) w JOIN quota.features f ON f.feature = w.feature AND f.kind <> 'rate'
					ORDER BY w.feature, w.period = main.period DESC, w.remaining, w.period_end DESC) e)
				|| jsonb_build_object('period_start', main.period_start, 'period_end', main.period_end),
			'decision', main.decision,
			'info', jsonb_build_object(
				'ratio', main.ratio,
				'message', main.message,
				'can_proceed', main.allowed,
				'overage_count', main.overage))
		FROM (VALUES (quota_status.account)) v (account)
			LEFT JOIN quota.accounts a ON a.account = v.account
			LEFT JOIN quota.accounts q ON q.account = a.pool
			CROSS JOIN LATERAL (VALUES (v.account, quota.plan_in_effect(a, q))) k (account, plan)
			LEFT JOIN quota.plans p ON p.plan = k.plan
			LEFT JOIN quota.plan_limits l ON l.plan = k.plan AND l.feature = main.feature AND l.period = main.period
			LEFT JOIN quota.limit_overrides o ON o.account = k.account AND o.feature = main.feature AND o.period = main.period
				AND (quota.now() >= o.expires_at) IS NOT TRUE);
END $$;
COMMENT ON FUNCTION quota.quota_status IS
	'account, plan, use, decision and figures of an account, for a feature or the one nearest to its limit';

CREATE OR REPLACE FUNCTION quota.quota_history(account text, feature text DEFAULT NULL, period @extschema@.quota_period DEFAULT NULL, since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL)
	RETURNS SETOF quota.counters
	LANGUAGE sql STABLE PARALLEL RESTRICTED SECURITY DEFINER
BEGIN ATOMIC
	SELECT quota.account_key(quota_history.account),
		quota.check_argument('since', since <= until OR since IS NULL OR until IS NULL, 'not be after until');
	SELECT quota.check_counted(quota_history.feature) WHERE quota_history.feature IS NOT NULL;
	SELECT c.*
	FROM quota.counters c
	WHERE c.account = quota_history.account
		AND (quota_history.feature IS NULL OR c.feature = quota_history.feature)
		AND (quota_history.period IS NULL OR c.period = quota_history.period)
		AND (since IS NULL OR c.period_start >= since)
		AND (until IS NULL OR c.period_start < until)
	ORDER BY c.feature, c.period, c.period_start DESC;
END;
COMMENT ON FUNCTION quota.quota_history IS 'the counters of an account, a row a window, the latest first';

CREATE OR REPLACE FUNCTION quota.quota_forecast(account text, feature text)
	RETURNS TABLE (period @extschema@.quota_period, period_start timestamptz, period_end timestamptz, used bigint, usage_limit bigint,
		projected bigint, projected_overage bigint, overage_cost numeric, limit_at timestamptz)
	LANGUAGE sql STABLE PARALLEL RESTRICTED SECURITY DEFINER
BEGIN ATOMIC
	SELECT quota.check_counted(quota_forecast.feature);
	SELECT e.period, e.period_start, e.period_end, e.used, e.usage_limit, f.projected, g.overage,
		CASE WHEN l.on_limit = 'charge' THEN LEAST(g.overage, l.overage_cap) * l.overage_price END,
		CASE WHEN e.used < e.usage_limit AND f.projected > e.usage_limit
			THEN e.period_start + (quota.now() - e.period_start) * (e.usage_limit::float8 / e.used) END
	FROM quota.evaluate(quota_forecast.account) e
		LEFT JOIN quota.plan_limits l ON l.plan = e.plan AND l.feature = e.feature AND l.period = e.period
		CROSS JOIN LATERAL (
			SELECT CASE WHEN quota.now() > e.period_start THEN LEAST(9223372036854775807, round(e.used
				* EXTRACT(epoch FROM e.period_end - e.period_start) / EXTRACT(epoch FROM quota.now() - e.period_start)))::bigint END AS projected) f
		CROSS JOIN LATERAL (SELECT CASE WHEN f.projected IS NOT NULL THEN GREATEST(0, f.projected - e.usage_limit) END AS overage) g
	WHERE e.feature = quota_forecast.feature
	ORDER BY e.period;
END;
COMMENT ON FUNCTION quota.quota_forecast IS
	'the use of a feature at the end of each window, if it goes on as it did since the window began';

CREATE OR REPLACE FUNCTION quota.quota_events(account text, since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL, kind text DEFAULT NULL, n integer DEFAULT 100)
	RETURNS SETOF quota.events
	LANGUAGE sql STABLE PARALLEL RESTRICTED SECURITY DEFINER
BEGIN ATOMIC
	SELECT quota.account_key(quota_events.account),
		quota.check_argument('since', since <= until OR since IS NULL OR until IS NULL, 'not be after until'),
		quota.check_argument('n', n >= 1, 'be at least 1');
	SELECT e.id, e.at, e.account, e.user_id, e.feature, e.plan, e.what, e.kind, e.amount, e.decision, e.reason, e.used, e.usage_limit,
		e.period, e.period_start, e.key, CASE WHEN (SELECT quota.sees_metadata(quota_events.account)) THEN e.metadata END
	FROM quota.events e
	WHERE e.account = quota_events.account
		AND e.at >= COALESCE(since, '-infinity') AND e.at < COALESCE(until, 'infinity')
		AND (quota_events.kind IS NULL OR e.kind = quota_events.kind)
	ORDER BY e.at DESC, e.id DESC
	LIMIT n;
END;
COMMENT ON FUNCTION quota.quota_events IS 'the ledger of an account, the latest first';

CREATE OR REPLACE FUNCTION quota.quota_events_of(user_id text, since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL, kind text DEFAULT NULL, n integer DEFAULT 100)
	RETURNS SETOF quota.events
	LANGUAGE sql STABLE PARALLEL RESTRICTED SECURITY DEFINER
BEGIN ATOMIC
	SELECT quota.check_argument('user_id', octet_length(quota_events_of.user_id) BETWEEN 1 AND 255, 'have 1 to 255 bytes'),
		quota.check_argument('since', since <= until OR since IS NULL OR until IS NULL, 'not be after until'),
		quota.check_argument('n', n >= 1, 'be at least 1');
	SELECT e.id, e.at, e.account, e.user_id, e.feature, e.plan, e.what, e.kind, e.amount, e.decision, e.reason, e.used, e.usage_limit,
		e.period, e.period_start, e.key, CASE WHEN quota.sees_metadata(e.account) THEN e.metadata END
	FROM (
		SELECT *
		FROM quota.events o
		WHERE o.user_id = quota_events_of.user_id
			AND o.at >= COALESCE(since, '-infinity') AND o.at < COALESCE(until, 'infinity')
			AND (quota_events_of.kind IS NULL OR o.kind = quota_events_of.kind)
			AND ((SELECT quota.sees_all()) OR o.account = ANY (ARRAY(SELECT quota.visible_accounts())))
		ORDER BY o.at DESC, o.id DESC
		LIMIT n) e
	ORDER BY e.at DESC, e.id DESC;
END;
COMMENT ON FUNCTION quota.quota_events_of IS 'the ledger of what was done for a user, the latest first';

CREATE OR REPLACE FUNCTION quota.quota_sponsored(sponsor text)
	RETURNS TABLE (account text, name text, account_type text, status text, plan text, usage jsonb)
	LANGUAGE sql STABLE PARALLEL RESTRICTED SECURITY DEFINER
BEGIN ATOMIC
	SELECT quota.account_key(quota_sponsored.sponsor);
	SELECT p.account, p.name, p.account_type, p.status, p.plan, quota.quota_usage(p.account)->'features'
	FROM quota.account_plans p
	WHERE p.sponsor = quota_sponsored.sponsor
		AND ((SELECT quota.sees_all()) OR p.account = ANY (ARRAY(SELECT quota.visible_accounts())))
	ORDER BY p.account;
END;
COMMENT ON FUNCTION quota.quota_sponsored IS
	'the accounts that an account sponsors, with the use of each feature as in quota_usage';

/*
 * Many accounts
 */
CREATE OR REPLACE FUNCTION quota.quota_near_limit(ratio float8 DEFAULT 0.8, feature text DEFAULT NULL)
	RETURNS SETOF quota.current_usage
	LANGUAGE sql STABLE PARALLEL RESTRICTED SECURITY DEFINER
BEGIN ATOMIC
	SELECT quota.check_argument('ratio', ratio >= 0 AND ratio < 'Infinity', 'be a finite number, 0 or more');
	SELECT quota.check_counted(quota_near_limit.feature) WHERE quota_near_limit.feature IS NOT NULL;
	SELECT c.*
	FROM quota.current_usage c
	WHERE c.used >= c.usage_limit * quota_near_limit.ratio::numeric
		AND (quota_near_limit.feature IS NULL OR c.feature = quota_near_limit.feature)
		AND ((SELECT quota.sees_all()) OR c.account = ANY (ARRAY(SELECT quota.visible_accounts())))
	ORDER BY c.ratio DESC, c.account, c.feature, c.period;
END;
COMMENT ON FUNCTION quota.quota_near_limit IS
	'the counters that have reached a share of their limit, the fullest first';

CREATE OR REPLACE FUNCTION quota.quota_top(feature text, n integer DEFAULT 10, period @extschema@.quota_period DEFAULT NULL)
	RETURNS SETOF quota.current_usage
	LANGUAGE sql STABLE PARALLEL RESTRICTED SECURITY DEFINER
BEGIN ATOMIC
	SELECT quota.check_counted(quota_top.feature), quota.check_argument('n', n >= 1, 'be at least 1');
	SELECT t.*
	FROM (
			SELECT l.period
			FROM quota.plan_limits l
			WHERE l.feature = quota_top.feature AND quota_top.period IS NULL
			UNION
			SELECT quota_top.period WHERE quota_top.period IS NOT NULL) p
		CROSS JOIN LATERAL (
			SELECT c.*
			FROM quota.current_usage c
			WHERE c.feature = quota_top.feature AND c.period = p.period
				AND ((SELECT quota.sees_all()) OR c.account = ANY (ARRAY(SELECT quota.visible_accounts())))
			ORDER BY c.used DESC, c.account
			LIMIT n) t
	ORDER BY t.period, t.used DESC, t.account;
END;
COMMENT ON FUNCTION quota.quota_top IS
	'the n counters of a feature with most use; without a period, those of each period for which a plan has a limit';

CREATE OR REPLACE FUNCTION quota.quota_totals()
	RETURNS TABLE (feature text, period @extschema@.quota_period, used numeric, accounts bigint, near_limit bigint, over_limit bigint)
	LANGUAGE sql STABLE PARALLEL RESTRICTED SECURITY DEFINER
BEGIN ATOMIC
	SELECT feature, period, COALESCE(c.used, 0), COALESCE(c.accounts, 0), COALESCE(c.near_limit, 0), COALESCE(c.over_limit, 0)
	FROM (
			SELECT l.feature, l.period
			FROM quota.plan_limits l JOIN quota.features f ON f.feature = l.feature
			WHERE f.kind IN ('counter', 'gauge')
			GROUP BY l.feature, l.period) l
		FULL JOIN (
			SELECT u.feature, u.period, sum(u.used) AS used, count(*) FILTER (WHERE u.used > 0) AS accounts,
				count(*) FILTER (WHERE u.warned) AS near_limit, count(*) FILTER (WHERE u.overage > 0) AS over_limit
			FROM quota.current_usage u
			GROUP BY u.feature, u.period) c USING (feature, period)
	ORDER BY feature, period;
END;
COMMENT ON FUNCTION quota.quota_totals IS
	'what all accounts have used in their current windows, a row a feature and period';

CREATE OR REPLACE FUNCTION quota.accounts_without_row()
	RETURNS bigint
	LANGUAGE sql STABLE PARALLEL SAFE
	RETURN (
		SELECT count(DISTINCT u.account)
		FROM quota.usage u
		WHERE NOT EXISTS (SELECT FROM quota.accounts a WHERE a.account = u.account));
COMMENT ON FUNCTION quota.accounts_without_row IS 'the number of accounts with counters and without a row in quota.accounts';

CREATE OR REPLACE FUNCTION quota.quota_stats()
	RETURNS TABLE (accounts bigint, active_accounts bigint, trialing bigint, past_due bigint, suspended bigint, canceled bigint)
	LANGUAGE sql STABLE PARALLEL RESTRICTED SECURITY DEFINER
BEGIN ATOMIC
	SELECT count(*) + quota.accounts_without_row(),
		(SELECT count(DISTINCT u.account) FROM quota.current_usage u WHERE u.period <> 'lifetime' AND u.used > 0),
		count(*) FILTER (WHERE a.on_trial), count(*) FILTER (WHERE a.status = 'past_due'),
		count(*) FILTER (WHERE a.status = 'suspended'), count(*) FILTER (WHERE a.status = 'canceled')
	FROM quota.account_plans a;
END;
COMMENT ON FUNCTION quota.quota_stats IS
	'accounts, those that have used something in a current window, and those of each status';

CREATE OR REPLACE FUNCTION quota.quota_plan_stats()
	RETURNS TABLE (plan text, name text, accounts bigint, trialing bigint, paying bigint, price numeric, currency text,
		billing_interval text, monthly_revenue numeric, overage_revenue numeric)
	LANGUAGE sql STABLE PARALLEL RESTRICTED SECURITY DEFINER
BEGIN ATOMIC
	SELECT p.plan, p.name,
		COALESCE(a.accounts, 0) + CASE WHEN p.is_default THEN quota.accounts_without_row() ELSE 0 END,
		COALESCE(a.trialing, 0), CASE WHEN p.price = 0 THEN 0 ELSE COALESCE(a.paying, 0) END, p.price, p.currency::text, p.billing_interval,
		round(COALESCE(a.paying, 0) * p.price * CASE p.billing_interval
			WHEN 'day' THEN 365.0 / 12
			WHEN 'week' THEN 365.0 / 7 / 12
			WHEN 'month' THEN 1
			WHEN 'year' THEN 1.0 / 12
			ELSE 0
		END, 2),
		COALESCE(u.overage_revenue, 0)
	FROM quota.plans p
		LEFT JOIN (
			SELECT a.plan, count(*) AS accounts, count(*) FILTER (WHERE a.on_trial) AS trialing,
				count(*) FILTER (WHERE NOT a.on_trial AND NOT a.pooled AND a.status NOT IN ('suspended', 'canceled')) AS paying
			FROM quota.account_plans a
			GROUP BY a.plan) a ON a.plan = p.plan
		LEFT JOIN (
			SELECT c.plan, sum(c.overage * c.overage_price) AS overage_revenue
			FROM quota.current_usage c
			WHERE c.overage > 0
			GROUP BY c.plan) u ON u.plan = p.plan
	ORDER BY p.display_order, p.price, p.plan;
END;
COMMENT ON FUNCTION quota.quota_plan_stats IS 'accounts and estimated revenue, a row a plan';

CREATE OR REPLACE FUNCTION quota.quota_search(query text, n integer DEFAULT 20)
	RETURNS TABLE (account text, name text, account_type text, status text, plan text, sponsor text)
	LANGUAGE sql STABLE PARALLEL RESTRICTED SECURITY DEFINER
BEGIN ATOMIC
	SELECT quota.check_argument('query', octet_length(query) <= 1024, 'have at most 1024 bytes'), quota.check_argument('n', n >= 1, 'be at least 1');
	SELECT a.account, a.name, a.account_type, a.status, a.plan, a.sponsor
	FROM quota.account_plans a
	WHERE (strpos(lower(a.name), lower(query)) > 0 OR strpos(lower(a.account), lower(query)) > 0)
		AND ((SELECT quota.sees_all()) OR a.account = ANY (ARRAY(SELECT quota.visible_accounts())))
	ORDER BY a.account = query DESC,
		COALESCE(starts_with(lower(a.name), lower(query)), false) OR starts_with(lower(a.account), lower(query)) DESC,
		a.name, a.account
	LIMIT n;
END;
COMMENT ON FUNCTION quota.quota_search IS
	'accounts whose key or name contains a text, in whatever case, the best matches first';

/*
 * Metrics have no label for the account, which would be a time series for each of a
 * million.
 */
CREATE OR REPLACE FUNCTION quota.metric_label(name text, value text)
	RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	RETURN name || '="' || replace(replace(replace(value, '\', '\\'), '"', '\"'), E'\n', '\n') || '"';
COMMENT ON FUNCTION quota.metric_label IS 'a label in Prometheus'' text format; NULL without a value';

CREATE OR REPLACE FUNCTION quota.quota_metrics()
	RETURNS text
	LANGUAGE sql STABLE PARALLEL RESTRICTED SECURITY DEFINER
BEGIN ATOMIC
	/* materialized: each report is run once */
	WITH figures AS MATERIALIZED (
		SELECT to_jsonb(s) AS of FROM quota.quota_plan_stats() s
		UNION ALL
		SELECT to_jsonb(t) FROM quota.quota_totals() t
	)
	SELECT string_agg(format(E'# HELP %s %s\n# TYPE %1$s gauge\n', m.metric, m.help) || COALESCE(s.lines, ''), '' ORDER BY m.metric)
	FROM (VALUES
			('quota_accounts', 'plan', 'accounts', 'Accounts by the plan in effect.'),
			('quota_accounts_paying', 'plan', 'paying', 'Accounts that pay the price of the plan.'),
			('quota_accounts_trialing', 'plan', 'trialing', 'Accounts on trial.'),
			('quota_monthly_revenue', 'plan', 'monthly_revenue', 'Estimated revenue of a month from the prices of plans.'),
			('quota_overage_revenue', 'plan', 'overage_revenue', 'Price of what has been used past limits in current windows.'),
			('quota_accounts_active', 'feature', 'accounts', 'Accounts that have used the feature in their current window.'),
			('quota_accounts_near_limit', 'feature', 'near_limit', 'Accounts that have reached the warning threshold of the limit.'),
			('quota_accounts_over_limit', 'feature', 'over_limit', 'Accounts past the limit.'),
			('quota_used_units', 'feature', 'used', 'Units used by all accounts in their current windows.')) m (metric, kind, figure, help)
		CROSS JOIN LATERAL (
			SELECT string_agg(format(E'%s{%s} %s\n', m.metric, l.labels, f.of->>m.figure), '' ORDER BY l.labels) AS lines
			FROM figures f
				CROSS JOIN LATERAL (
					SELECT concat_ws(',', quota.metric_label('plan', f.of->>'plan'),
						CASE WHEN m.figure LIKE '%_revenue' THEN quota.metric_label('currency', f.of->>'currency') END,
						quota.metric_label('feature', f.of->>'feature'), quota.metric_label('period', f.of->>'period')) AS labels) l
			WHERE f.of ? m.kind AND f.of->>m.figure IS NOT NULL) s;
END;
COMMENT ON FUNCTION quota.quota_metrics IS 'figures of the platform in Prometheus'' text format';
