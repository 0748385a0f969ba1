/*
 * Counts the rows of attached tables: for those that exist before quota_attach, and
 * to show and repair counters that differ from their rows.
 *
 * Functions that only read are STABLE, so that all of their queries see one snapshot,
 * with both a charge and its row or neither.
 */
CREATE OR REPLACE FUNCTION quota.count_rows("table" regclass, feature text, OUT account text, OUT at timestamptz, OUT n bigint)
	RETURNS SETOF record
	LANGUAGE c STABLE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'quota_count_rows';
COMMENT ON FUNCTION quota.count_rows IS
	'units of the rows of an attached table, and when they were charged, read as its owner; at NULL: unknown';

CREATE OR REPLACE FUNCTION quota.lock_tables(tables regclass[])
	RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'quota_lock_tables';
COMMENT ON FUNCTION quota.lock_tables IS 'locks tables and their partitions against writes';

/*
 * The counters as charges for the rows alone would have made them, in all windows in
 * which an account, and its pool, is charged now or was. Rows without a time are
 * summed up in one row without an account, whose n is their number.
 */
CREATE OR REPLACE FUNCTION quota.recount(tables regclass[], feature text)
	RETURNS TABLE (account text, period @extschema@.quota_period, period_start timestamptz, n bigint)
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
AS $$
BEGIN
	RETURN QUERY
	WITH units AS MATERIALIZED (
		SELECT r.account COLLATE "C" AS account, r.at, sum(r.n) AS n, count(*) AS row_count
		FROM unnest(tables) t, quota.count_rows(t, recount.feature) r
		GROUP BY 1, 2
	), counters AS (
		SELECT u.account AS owner, c.account COLLATE "C" AS account, c.period
		FROM (SELECT DISTINCT u.account FROM units u) u, quota.charged_counters(u.account, recount.feature) c
		UNION
		SELECT c.account, c.account, c.period FROM quota.counters c WHERE c.feature = recount.feature
		UNION
		SELECT a.account, c.account, c.period
		FROM quota.accounts a JOIN quota.counters c ON c.account = a.pool
		WHERE c.feature = recount.feature
	)
	SELECT c.account, c.period, w.period_start, sum(u.n)::bigint
	FROM units u
		JOIN counters c ON c.owner = u.account
		LEFT JOIN quota.accounts a ON a.account = c.account
		CROSS JOIN LATERAL (SELECT quota.window_start(c.period, u.at, a.timezone, a.cycle_anchor) AS period_start) w
	WHERE isfinite(u.at)
	GROUP BY 1, 2, 3
	UNION ALL
	SELECT NULL, NULL, NULL, sum(u.row_count)::bigint
	FROM units u
	WHERE isfinite(u.at) IS NOT TRUE
	HAVING count(*) > 0;
END $$;
COMMENT ON FUNCTION quota.recount IS
	'the counters by the rows of attached tables; account NULL: the number of rows without a time';

/*
 * Reservations count as used until they expire, as in quota.counters, though no row
 * stands for them.
 */
CREATE OR REPLACE FUNCTION quota.drift(tables regclass[], feature text)
	RETURNS TABLE (account text, period @extschema@.quota_period, period_start timestamptz, counted bigint, held bigint, recorded bigint)
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
AS $$
BEGIN
	RETURN QUERY
	SELECT k.account, k.period, k.period_start, COALESCE(k.n, 0), COALESCE(k.units, 0), COALESCE(k.used, 0)
	FROM (
			(SELECT r.account COLLATE "C" AS account, r.period, r.period_start, r.n FROM quota.recount(tables, drift.feature) r) r
			FULL JOIN (
				SELECT h.account, h.period, h.period_start, sum(h.amount)::bigint AS units
				FROM quota.holds h
				WHERE h.feature = drift.feature AND h.expires_at > quota.now()
				GROUP BY h.account, h.period, h.period_start) h USING (account, period, period_start)
			FULL JOIN (SELECT * FROM quota.counters u WHERE u.feature = drift.feature) c USING (account, period, period_start)
		) k
	WHERE COALESCE(k.n, 0) + COALESCE(k.units, 0) <> COALESCE(k.used, 0);
END $$;
COMMENT ON FUNCTION quota.drift IS 'counters that differ from the rows of attached tables and the reservations';

CREATE OR REPLACE FUNCTION quota.notice_uncounted(n bigint)
	RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $$
BEGIN
	IF n > 0 THEN
		RAISE NOTICE USING
			MESSAGE = format('rows without a known time are not counted: %s', n),
			HINT = 'Name the column that tells when a row was made as time_column of quota_attach.';
	END IF;
END $$;
COMMENT ON FUNCTION quota.notice_uncounted IS 'raises a notice with the number of rows that have no window';

/*
 * Locks counters in the order of charges, and then writes them by one statement,
 * which the audit log records.
 */
CREATE OR REPLACE FUNCTION quota.backfill("table" regclass, feature text)
	RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
AS $$
DECLARE
	counted quota.counters[];
BEGIN
	IF current_setting('transaction_isolation') <> 'read committed' THEN
		RAISE object_not_in_prerequisite_state USING
			MESSAGE = format('rows of table %s cannot be counted at isolation level %s', "table", current_setting('transaction_isolation')),
			DETAIL = 'The transaction does not see rows that were committed before it had locked the table.',
			HINT = 'Attach at READ COMMITTED, or with backfill => false.';
	END IF;
	counted := ARRAY(
		SELECT ROW(r.account, backfill.feature, r.period, r.period_start, r.n)::quota.counters
		FROM quota.recount(ARRAY["table"], backfill.feature) r
		WHERE r.n > 0
		ORDER BY r.account COLLATE "C", r.period, r.period_start);
	PERFORM quota.notice_uncounted(c.used) FROM unnest(counted) c WHERE c.account IS NULL;
	PERFORM quota.lock_counter(c.account, c.feature, c.period, c.period_start) FROM unnest(counted) c WHERE c.account IS NOT NULL;
	UPDATE quota.usage u
	SET used = u.used + c.used
	FROM unnest(counted) c
	WHERE (u.account, u.feature, u.period, u.period_start, u.slot) = (c.account, c.feature, c.period, c.period_start, 0);
END $$;
COMMENT ON FUNCTION quota.backfill IS 'adds the rows of a table to counters';

CREATE OR REPLACE FUNCTION quota.quota_reconcile("table" regclass, feature text, repair boolean DEFAULT false)
	RETURNS TABLE (account text, period @extschema@.quota_period, period_start timestamptz, counted bigint, recorded bigint, drift bigint)
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
AS $$
DECLARE
	tables regclass[];
	differing quota.counters[];
BEGIN
	IF "table" IS NULL OR quota_reconcile.feature IS NULL OR repair IS NULL THEN
		RAISE null_value_not_allowed USING MESSAGE = 'table, feature and repair must not be null';
	END IF;
	tables := ARRAY(SELECT t.relation FROM quota.attachments t WHERE t.feature = quota_reconcile.feature ORDER BY t.relation::oid);
	IF "table" <> ALL (tables) THEN
		RAISE undefined_object USING
			MESSAGE = format('feature "%s" is not attached to table %s', quota.shown(quota_reconcile.feature), "table");
	END IF;
	IF NOT repair THEN
		FOR account, period, period_start, counted, recorded IN
			SELECT d.account, d.period, d.period_start, d.counted + d.held, d.recorded
			FROM quota.drift(tables, quota_reconcile.feature) d ORDER BY d.account COLLATE "C", d.period, d.period_start
		LOOP
			IF account IS NULL THEN
				PERFORM quota.notice_uncounted(counted);
			ELSE
				drift := recorded - counted;
				RETURN NEXT;
			END IF;
		END LOOP;
		RETURN;
	END IF;

	/* keep rows and their charges as they are until the counters are written */
	PERFORM quota.lock_tables(tables);
	differing := ARRAY(
		SELECT ROW(d.account, quota_reconcile.feature, d.period, d.period_start, d.counted)::quota.counters
		FROM quota.drift(tables, quota_reconcile.feature) d
		ORDER BY d.account COLLATE "C", d.period, d.period_start);
	PERFORM quota.notice_uncounted(d.used) FROM unnest(differing) d WHERE d.account IS NULL;
	/* locks the counters; reservations made meanwhile stay */
	PERFORM quota.return_expired(d.account, d.feature, d.period, d.period_start) FROM unnest(differing) d WHERE d.account IS NOT NULL;
	RETURN QUERY
	WITH repaired AS (
		UPDATE quota.usage u
		SET (used, holds) = (
			SELECT d.used + COALESCE(sum(h.amount), 0), count(*)
			FROM quota.holds h
			WHERE (h.account, h.feature, h.period, h.period_start) = (u.account, u.feature, u.period, u.period_start))
		FROM unnest(differing) d
		WHERE (u.account, u.feature, u.period, u.period_start, u.slot) = (d.account, d.feature, d.period, d.period_start, 0)
		RETURNING u.account, u.feature, u.period, u.period_start, u.used
	)
	SELECT r.account, r.period, r.period_start, r.used, c.used, c.used - r.used
	FROM repaired r
		JOIN quota.counters c USING (account, feature, period, period_start)
	ORDER BY r.account, r.period, r.period_start;
END $$;
COMMENT ON FUNCTION quota.quota_reconcile IS 'count the rows of attached tables again, show the counters that differ, and repair them';
