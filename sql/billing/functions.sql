/*
 * Invoices of overage. Charges are not involved: a closing reads the counters of
 * windows that have ended, and writes quota.invoices and quota.invoice_lines.
 *
 * It bills by what was in effect when the window ended. Plans, limits, overrides and
 * accounts may have changed since, by hand or by quota_maintain. So it takes the row
 * before the first change since then, from the audit log, or the present row if
 * nothing has changed.
 */
CREATE OR REPLACE FUNCTION quota.currency_decimals(currency text)
	RETURNS integer
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	RETURN CASE
		WHEN currency = ANY ('{BIF,CLP,DJF,GNF,ISK,JPY,KMF,KRW,PYG,RWF,UGX,UYI,VND,VUV,XAF,XOF,XPF}') THEN 0
		WHEN currency = ANY ('{BHD,IQD,JOD,KWD,LYD,OMR,TND}') THEN 3
		WHEN currency = ANY ('{CLF,UYW}') THEN 4
		ELSE 2
	END;
COMMENT ON FUNCTION quota.currency_decimals IS 'the decimals of a currency''s smallest unit, as in ISO 4217';

/*
 * If the clock was set back, changes made at a later time are ignored. Without SET
 * search_path, so that the planner can inline it.
 */
CREATE OR REPLACE FUNCTION quota.changes_since(at timestamptz)
	RETURNS SETOF quota.audit_log
	LANGUAGE sql STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
	SELECT l.*
	FROM quota.audit_log l
	WHERE l.effective_at >= changes_since.at AND (l.effective_at <= quota.now() OR quota.now() = now());
END;
COMMENT ON FUNCTION quota.changes_since IS 'entries of the audit log from a time on';

/* PL/pgSQL caches the plans of its queries; these functions are called for each window. */
CREATE OR REPLACE FUNCTION quota.account_at(key text, at timestamptz)
	RETURNS quota.accounts
	LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
AS $$
DECLARE
	was quota.accounts;
	change record;
	renamed_by bigint;
BEGIN
	SELECT a.* INTO was FROM quota.accounts a WHERE a.account = key;
	LOOP
		SELECT l.id, l.before INTO change
		FROM quota.changes_since(account_at.at) l
		WHERE l.account = key AND l.table_name = 'accounts' AND (renamed_by IS NULL OR l.id < renamed_by)
		ORDER BY l.at, l.id
		LIMIT 1;
		EXIT WHEN NOT FOUND;
		was := jsonb_populate_record(NULL::quota.accounts, change.before);
		EXIT WHEN was.account IS NULL OR was.account = key;
		/* it had another key then, and may have changed under that */
		key := was.account;
		renamed_by := change.id;
	END LOOP;
	RETURN was;
END $$;
COMMENT ON FUNCTION quota.account_at IS
	'the row of an account as it was at a time, under its key of then; NULL: there was none';

CREATE OR REPLACE FUNCTION quota.row_at(table_name text, of_account text, key jsonb, at timestamptz)
	RETURNS jsonb
	LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
AS $$
DECLARE
	was jsonb;
BEGIN
	/* two queries, since one plan cannot use both indexes */
	IF of_account IS NULL THEN
		SELECT l.before INTO was
		FROM quota.changes_since(row_at.at) l
		WHERE l.account IS NULL AND l.table_name = row_at.table_name AND (l.before @> key OR l.after @> key)
		ORDER BY l.at, l.id
		LIMIT 1;
	ELSE
		SELECT l.before INTO was
		FROM quota.changes_since(row_at.at) l
		WHERE l.account = of_account AND l.table_name = row_at.table_name AND (l.before @> key OR l.after @> key)
		ORDER BY l.at, l.id
		LIMIT 1;
	END IF;
	IF FOUND THEN
		RETURN CASE WHEN was @> key THEN was END;
	END IF;
	RETURN CASE table_name
		WHEN 'plans' THEN (
			SELECT to_jsonb(p) FROM quota.plans p
			WHERE p.plan = key->>'plan' OR p.is_default = (key->>'is_default')::boolean)
		WHEN 'plan_limits' THEN (
			SELECT to_jsonb(l) FROM quota.plan_limits l
			WHERE l.plan = key->>'plan' AND l.feature = key->>'feature' AND l.period::text = key->>'period')
		WHEN 'limit_overrides' THEN (
			SELECT to_jsonb(o) FROM quota.limit_overrides o
			WHERE o.account = of_account AND o.feature = key->>'feature' AND o.period::text = key->>'period')
	END;
END $$;
COMMENT ON FUNCTION quota.row_at IS
	'the row that contains a key, as it was at a time; NULL: there was none; of_account NULL: a row of the catalogue';

/*
 * If no window of the account starts at period_start now, its time zone or anchor was
 * another: take the latest with which one does.
 */
CREATE OR REPLACE FUNCTION quota.counter_end(of_account text, period @extschema@.quota_period, period_start timestamptz)
	RETURNS timestamptz
	LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
AS $$
DECLARE
	a quota.accounts;
BEGIN
	SELECT o.* INTO a FROM quota.accounts o WHERE o.account = of_account;
	IF quota.window_start(period, period_start, a.timezone, a.cycle_anchor) = period_start THEN
		RETURN quota.window_end(period, period_start, a.timezone, a.cycle_anchor);
	END IF;
	RETURN COALESCE((
			SELECT quota.window_end(period, period_start, b.timezone, b.cycle_anchor)
			FROM quota.changes_since(period_start) l
				CROSS JOIN LATERAL jsonb_populate_record(NULL::quota.accounts, l.before) b
			WHERE l.account = of_account AND l.table_name = 'accounts'
				AND quota.window_start(period, period_start, b.timezone, b.cycle_anchor) = period_start
			ORDER BY l.at DESC, l.id DESC
			LIMIT 1),
		quota.window_end(period, period_start, a.timezone, a.cycle_anchor));
END $$;
COMMENT ON FUNCTION quota.counter_end IS 'the end of a counter''s window';

/*
 * Looks up terms only for windows above the lowest limit that charges, or did.
 * Amounts that round to 0 are not billed.
 */
CREATE OR REPLACE FUNCTION quota.unbilled_overage(since timestamptz, ended_by timestamptz)
	RETURNS TABLE (account text, name text, sponsor text, currency text, invoice_start timestamptz, invoice_end timestamptz,
		feature text, period @extschema@.quota_period, period_start timestamptz, period_end timestamptz,
		plan text, used bigint, usage_limit bigint, quantity bigint, unit_price numeric, amount numeric)
	LANGUAGE sql STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
	WITH charging AS MATERIALIZED (
		SELECT l.feature, l.period, min(l.usage_limit) AS least
		FROM (
			SELECT p.feature, p.period, p.usage_limit, true AS charges
			FROM quota.plan_limits p
			WHERE p.on_limit = 'charge'
			UNION ALL
			SELECT l.before->>'feature', (l.before->>'period')::@extschema@.quota_period, (l.before->>'usage_limit')::bigint, true
			FROM quota.audit_log l
			WHERE l.account IS NULL AND l.table_name = 'plan_limits' AND l.before->>'on_limit' = 'charge'
			UNION ALL
			SELECT o.feature, o.period, o.usage_limit, false
			FROM quota.limit_overrides o
			UNION ALL
			SELECT l.before->>'feature', (l.before->>'period')::@extschema@.quota_period, (l.before->>'usage_limit')::bigint, false
			FROM quota.audit_log l
			WHERE l.table_name = 'limit_overrides') l
		GROUP BY l.feature, l.period
		HAVING bool_or(l.charges)
	), above AS MATERIALIZED (
		SELECT c.*
		FROM quota.counters c
			JOIN charging g ON g.feature = c.feature AND g.period = c.period
		WHERE c.period <> 'lifetime' AND c.used > g.least
			AND c.period_start < ended_by AND (since IS NULL OR c.period_start >= since)
			AND NOT EXISTS (
				SELECT FROM quota.invoice_lines l
				WHERE l.account = c.account AND l.feature = c.feature AND l.period = c.period AND l.period_start = c.period_start)
	), ended AS MATERIALIZED (
		SELECT c.*, e.period_end, e.period_end - interval '1 microsecond' AS last_instant
		FROM above c
			CROSS JOIN LATERAL (SELECT quota.counter_end(c.account, c.period, c.period_start) AS period_end) e
		WHERE e.period_end <= ended_by
	)
	SELECT e.account, a.name, a.sponsor, v.currency, b.invoice_start, b.invoice_end,
		e.feature, e.period, e.period_start, e.period_end,
		k.plan, e.used, w.usage_limit, q.quantity, l.overage_price, q.amount
	FROM ended e
		CROSS JOIN LATERAL quota.account_at(e.account, e.period_end) a
		CROSS JOIN LATERAL quota.account_at(a.pool, e.period_end) p
		CROSS JOIN LATERAL (SELECT quota.own_plan(a, e.last_instant) AS own_plan) n
		CROSS JOIN LATERAL (
			SELECT COALESCE(n.own_plan, quota.own_plan(p, e.last_instant), quota.row_at('plans', NULL, '{"is_default": true}', e.period_end)->>'plan') COLLATE "C" AS plan) k
		CROSS JOIN LATERAL jsonb_populate_record(NULL::quota.plan_limits, quota.row_at('plan_limits', NULL,
			jsonb_build_object('plan', k.plan, 'feature', e.feature, 'period', e.period), e.period_end)) l
		CROSS JOIN LATERAL (SELECT COALESCE(a.account, e.account) AS key) c
		CROSS JOIN LATERAL jsonb_populate_record(NULL::quota.limit_overrides, quota.row_at('limit_overrides', c.key,
			jsonb_build_object('account', c.key, 'feature', e.feature, 'period', e.period), e.period_end)) o
		CROSS JOIN LATERAL (
			SELECT CASE WHEN o.account IS NOT NULL AND (e.last_instant >= o.expires_at) IS NOT TRUE
				THEN o.usage_limit ELSE l.usage_limit END AS usage_limit) w
		CROSS JOIN LATERAL (SELECT quota.row_at('plans', NULL, jsonb_build_object('plan', k.plan), e.period_end)->>'currency' AS currency) v
		CROSS JOIN LATERAL (
			SELECT u.quantity, round(u.quantity * l.overage_price, quota.currency_decimals(v.currency)) AS amount
			FROM (SELECT LEAST(e.used - w.usage_limit, l.overage_cap) AS quantity) u) q
		CROSS JOIN LATERAL (
			SELECT quota.window_start('cycle', e.last_instant, a.timezone, a.cycle_anchor) AS invoice_start,
				quota.window_end('cycle', e.last_instant, a.timezone, a.cycle_anchor) AS invoice_end) b
	WHERE l.on_limit = 'charge' AND l.overage_price > 0 AND e.used > w.usage_limit AND q.amount > 0
		/* a member without a plan of its own is paid for by its pool */
		AND (a.pool IS NULL OR n.own_plan IS NOT NULL)
		AND (a.bypass OR p.bypass) IS NOT TRUE
		AND (a.status = 'trialing' AND quota.plan_has_ended(a, e.last_instant) IS NOT TRUE) IS NOT TRUE
		AND NOT EXISTS (
			SELECT FROM quota.invoices i
			WHERE i.account = e.account AND i.period_start = b.invoice_start AND i.currency = v.currency);
END;
COMMENT ON FUNCTION quota.unbilled_overage IS
	'overage of windows that began at or after since (NULL: ever) and ended by ended_by, without an invoice; a row a window';

/*
 * One closing at a time; it waits for nothing but another closing. Counters that
 * others have locked or changed meanwhile, or that have reservations, are left for
 * the next one, with all of their invoice, since an invoice is made once. NOT IN uses
 * a hash, whatever the estimates.
 */
CREATE OR REPLACE FUNCTION quota.quota_invoice_overage(since timestamptz DEFAULT NULL)
	RETURNS SETOF quota.invoices
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
AS $$
DECLARE
	bill record;
	made quota.invoices;
BEGIN
	PERFORM quota.lock_alone('invoices'::text);
	FOR bill IN
		WITH due AS MATERIALIZED (
			SELECT o.*
			FROM quota.unbilled_overage(quota_invoice_overage.since, quota.now()) o
			WHERE o.invoice_end <= quota.now()
		), locked AS MATERIALIZED (
			SELECT u.ctid AS at
			FROM quota.usage u
				JOIN due d ON d.account = u.account AND d.feature = u.feature AND d.period = u.period AND d.period_start = u.period_start
			FOR UPDATE OF u SKIP LOCKED
		), unsettled AS (
			SELECT d.account, d.invoice_start, d.currency
			FROM due d
				JOIN quota.usage u ON u.account = d.account AND u.feature = d.feature AND u.period = d.period AND u.period_start = d.period_start
			WHERE u.ctid NOT IN (SELECT l.at FROM locked l)
			UNION ALL
			SELECT d.account, d.invoice_start, d.currency
			FROM due d
				JOIN quota.holds h ON h.account = d.account AND h.feature = d.feature AND h.period = d.period AND h.period_start = d.period_start
			WHERE h.expires_at > quota.now()
		)
		SELECT d.account, d.invoice_start, d.currency, max(d.invoice_end) AS invoice_end, sum(d.amount) AS total,
			(array_agg(d.name ORDER BY d.period_end DESC))[1] AS name,
			(array_agg(d.sponsor ORDER BY d.period_end DESC))[1] AS sponsor,
			jsonb_agg(to_jsonb(d) ORDER BY d.feature, d.period, d.period_start) AS lines
		FROM due d
		WHERE (d.account, d.invoice_start, d.currency) NOT IN (SELECT u.account, u.invoice_start, u.currency FROM unsettled u)
		GROUP BY d.account, d.invoice_start, d.currency
		ORDER BY d.account, d.invoice_start, d.currency
	LOOP
		/* only an older snapshot meets a conflict, which is a serialization failure */
		INSERT INTO quota.invoices (account, name, sponsor, currency, period_start, period_end, total, invoiced_at)
		VALUES (bill.account, bill.name, bill.sponsor, bill.currency, bill.invoice_start, bill.invoice_end, bill.total, quota.now())
		ON CONFLICT DO NOTHING
		RETURNING * INTO made;
		INSERT INTO quota.invoice_lines (account, feature, period, period_start, period_end, invoice, plan,
			used, usage_limit, quantity, unit_price, amount)
		SELECT l.account, l.feature, l.period, l.period_start, l.period_end, made.id, l.plan,
			l.used, l.usage_limit, l.quantity, l.unit_price, l.amount
		FROM jsonb_populate_recordset(NULL::quota.invoice_lines, bill.lines) l;
		RETURN NEXT made;
	END LOOP;
END $$;
COMMENT ON FUNCTION quota.quota_invoice_overage IS
	'make the invoices of overage in billing periods that have ended; returns those that it made';

CREATE OR REPLACE FUNCTION quota.quota_invoices(account text, since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL)
	RETURNS SETOF jsonb
	LANGUAGE sql STABLE PARALLEL RESTRICTED SECURITY DEFINER
BEGIN ATOMIC
	SELECT quota.account_key(quota_invoices.account),
		quota.check_argument('since', since <= until OR since IS NULL OR until IS NULL, 'not be after until');
	SELECT to_jsonb(i) || jsonb_build_object('lines', (
		SELECT COALESCE(jsonb_agg(to_jsonb(l) - '{account,invoice}'::text[] ORDER BY l.feature, l.period, l.period_start), '[]')
		FROM quota.invoice_lines l
		WHERE l.invoice = i.id))
	FROM quota.invoices i
	WHERE i.account = quota_invoices.account
		AND (since IS NULL OR i.period_start >= since)
		AND (until IS NULL OR i.period_start < until)
	ORDER BY i.period_start DESC, i.currency;
END;
COMMENT ON FUNCTION quota.quota_invoices IS
	'the invoices of an account with their lines, a document each, the latest first';
