/*
 * Counters of several rows, and many charges in one transaction.
 */
BEGIN;
SELECT no_plan();
\ir _helpers.sql
SET LOCAL quota.now = '2026-03-10 12:00+00';

INSERT INTO quota.plans (plan, is_default) VALUES ('free', true);
INSERT INTO quota.features (feature, kind) VALUES ('call', 'counter'), ('token', 'counter');
INSERT INTO quota.plan_limits (plan, feature, period, usage_limit) VALUES
	('free', 'call', 'day', 1000), ('free', 'call', 'month', 50000), ('free', 'token', 'month', NULL);

CREATE FUNCTION used(a text, p text) RETURNS bigint LANGUAGE sql AS
	$$SELECT sum(used)::bigint FROM quota.usage u WHERE u.account = a AND u.period::text = p$$;
CREATE FUNCTION rows(a text, p text) RETURNS bigint LANGUAGE sql AS
	$$SELECT count(*) FROM quota.usage u WHERE u.account = a AND u.period::text = p$$;
/* Give the counters of an account four slots, as contention would, with what is used in the last of them. */
CREATE FUNCTION split(a text) RETURNS void LANGUAGE sql AS $$
	INSERT INTO quota.usage (account, feature, period, period_start, slot, used)
	SELECT u.account, u.feature, u.period, u.period_start, s, CASE s WHEN 3 THEN u.used ELSE 0 END
	FROM quota.usage u, generate_series(1, 3) s WHERE u.account = a AND u.slot = 0;
	UPDATE quota.usage u SET slots = 4, used = 0 WHERE u.account = a AND u.slot = 0;
$$;

/* many charges in a transaction are as many updates (test/clients/many_charges.py), most of which leave the indexes alone */
SELECT quota_consume('ada', 'call') \g /dev/null
SELECT is(max((d).used), 501::bigint, 'five hundred charges') FROM (SELECT quota_consume('ada', 'call') AS d FROM generate_series(1, 500) OFFSET 0) c;
SELECT cmp_ok(pg_stat_get_xact_tuples_hot_updated('quota.usage'::regclass), '>', 450::bigint, 'are HOT updates');
SELECT is(ARRAY[used('ada', 'day'), used('ada', 'month')], '{501,501}', 'and are counted in both windows');

/* savepoints, with many charges on both sides of them */
DO $$
DECLARE
	kept bigint := 501;
BEGIN
	FOR i IN 1 .. 50 LOOP
		BEGIN
			PERFORM quota_consume('ada', 'call') FROM generate_series(1, i % 4);
			IF i % 3 = 0 THEN
				RAISE EXCEPTION 'undone';
			END IF;
			kept := kept + i % 4;
		EXCEPTION WHEN raise_exception THEN
		END;
		PERFORM quota_consume('ada', 'call');
		kept := kept + 1;
		IF used('ada', 'month') <> kept THEN
			RAISE EXCEPTION 'after % rounds % instead of %', i, used('ada', 'month'), kept;
		END IF;
	END LOOP;
	PERFORM set_config('test.kept', kept::text, true);
END $$;
SELECT is(used('ada', 'day'), current_setting('test.kept')::bigint, 'what is rolled back to a savepoint is not counted, by day');
SELECT is(used('ada', 'month'), current_setting('test.kept')::bigint, 'nor by month');

/* a counter with slots */
SELECT quota_record('bob', 'call', 500) \g /dev/null
SELECT split('bob');
SELECT is((quota_evaluate('bob', 'call')).used, 500::bigint, 'evaluate adds the slots up');
SELECT results_eq($$SELECT period::text, used FROM quota_evaluate('bob') WHERE feature = 'call'$$, $$VALUES ('day', 500::bigint), ('month', 500)$$, 'also in the list');
SELECT is((quota_consume('bob', 'call', 2)).used, 502::bigint, 'consume');
SELECT is(ARRAY[rows('bob', 'day'), rows('bob', 'month')], '{4,4}', 'leaves the slots as they are');
SELECT is((quota_refund('bob', 'call', 300)).used, 202::bigint, 'refund more than the slot has that is charged');
SELECT is(ARRAY[used('bob', 'day'), used('bob', 'month')], '{202,202}', 'the sum is right');
SELECT is((quota_refund('bob', 'call', 300)).used, 0::bigint, 'refund more than is used');
SELECT is((quota_record('bob', 'call', 900)).used, 900::bigint, 'record');
SELECT is((quota_consume('bob', 'call', 101)).decision, 'BLOCK', 'the limit is that of the sum');
SELECT is((quota_consume('bob', 'call', 100)).used, 1000::bigint, 'which is reached exactly');
SELECT is(rows('bob', 'day'), 1::bigint, 'near the limit the counter is one row again');
SELECT is(rows('bob', 'month'), 4::bigint, 'where it is not near it has its slots');
SELECT is((quota_evaluate('bob', 'call')).reason, 'limit_reached', 'and is full');
SELECT is((quota_record('bob', 'call')).used, 1001::bigint, 'what is counted in any case is counted on');

/* slots go when nobody else charges */
SELECT quota_record('cy', 'token') \g /dev/null
SELECT split('cy');
SELECT is(max((d).used), 201::bigint, 'two hundred charges, alone') FROM (SELECT quota_consume('cy', 'token') AS d FROM generate_series(1, 200) OFFSET 0) c;
SELECT results_eq($$SELECT slot, slots, used FROM quota.usage WHERE account = 'cy'$$, $$VALUES (0::smallint, 1::smallint, 201::bigint)$$, 'gather the slots');

/* rows that are judged one by one */
CREATE TABLE t (account text, status text);
SELECT quota_attach('t', 'call', 'account', on_block => 'mark', status_column => 'status', blocked_status => 'skipped') \g /dev/null
SELECT quota_record('dan', 'call', 998) \g /dev/null
SELECT split('dan');
INSERT INTO t SELECT 'dan', 'new' FROM generate_series(1, 4);
SELECT results_eq($$SELECT status, count(*) FROM t GROUP BY 1 ORDER BY 1$$, $$VALUES ('new', 2::bigint), ('skipped', 2)$$, 'mark: as many as there is room for');
SELECT is(ARRAY[used('dan', 'day'), used('dan', 'month')], '{1000,1000}', 'mark: are charged');
SELECT is(ARRAY[rows('dan', 'day'), rows('dan', 'month')], '{1,1}', 'mark: the counters are gathered');

/* what is not a counter's */
SELECT throws_ok($$INSERT INTO quota.usage (account, feature, period, period_start, used) VALUES ('x', 'call', 'day', now(), -1)$$, '23514', NULL, 'slot 0 alone is not below 0');
SELECT throws_ok($$INSERT INTO quota.usage (account, feature, period, period_start, used, slots) VALUES ('x', 'call', 'day', now(), 0, 0)$$, '23514', NULL, 'no slots at all');
SELECT throws_ok($$INSERT INTO quota.usage (account, feature, period, period_start, used, slots) VALUES ('x', 'call', 'day', now(), 0, 33)$$, '23514', NULL, 'more slots than there can be');

-- Accounts of more than 126 bytes, which stand otherwise in a row: they are found where
-- they were last seen, and told from one another.
SELECT quota_consume(repeat('x', 200) || n, 'call', n) FROM generate_series(1, 3) n \g /dev/null
SELECT quota_consume(repeat('y', n), 'call', n) FROM unnest('{125,126,127,128}'::int[]) n \g /dev/null
CREATE TEMP TABLE scans AS SELECT pg_stat_get_xact_numscans('quota.usage_pkey'::regclass) AS before;
SELECT results_eq($$SELECT used FROM generate_series(1, 3) n, quota_consume(repeat('x', 200) || n, 'call', 10)$$,
	'VALUES (11::bigint), (12), (13)', 'long accounts are counted each for itself');
SELECT results_eq($$SELECT used FROM unnest('{125,126,127,128}'::int[]) n, quota_consume(repeat('y', n), 'call', 1000 - 2 * n)$$,
	$$SELECT 1000::bigint - n FROM unnest('{125,126,127,128}'::int[]) n$$, 'also at the length where the form changes');
SELECT is(pg_stat_get_xact_numscans('quota.usage_pkey'::regclass), before, 'none is looked for by the index') FROM scans;

-- What a cursor has been opened for it goes on to see, whatever is charged after that.
SELECT quota_consume('cursor', 'token', 5) \g /dev/null
DECLARE c CURSOR FOR SELECT used FROM quota.usage WHERE account = 'cursor';
SELECT quota_consume('cursor', 'token', 7) \g /dev/null
FETCH c \gset seen_
SELECT is(:seen_used::bigint, 5::bigint, 'a cursor does not see charges that were made after it was opened');
SELECT is(used('cursor', 'month'), 12::bigint, 'others do');

SELECT * FROM finish();
ROLLBACK;
