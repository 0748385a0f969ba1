/*
 * Keys of every length and make: each counter is told from all others, and found
 * without the index.
 *
 * A text of up to 126 bytes has a header of one byte and stands anywhere in a row;
 * a longer one has four bytes and is aligned. C compares keys in rows where they
 * stand (quota_counter_has_key, has_key of src/probe.c) and writes values of
 * quota_decision by itself (src/record.c). A wrong length, alignment or last byte
 * there makes a row not found where it is, which costs a look at the index, or
 * takes another key's row for it, where that has the place of a deleted one.
 *
 * Not in one transaction: places are remembered when a transaction commits.
 */
SELECT no_plan();
SET quota.now = '2026-03-10 12:00+00';

/* Names that differ in their last byte only, from the text of one to four bytes a character. */
CREATE TABLE accounts AS
SELECT row_number() OVER (ORDER BY bytes, filler, last) AS id, account, filler, twin
FROM (VALUES ('x', 'a', 'b'), ('é', 'é', 'è'), ('€', '€', '₭'), ('😀', '😀', '😁')) v (filler, one, other),
	unnest('{47,48,123,124,125,126,127,128,129,130,131,252,253,254,255}'::int[]) bytes,
	octet_length(filler) width, LATERAL (VALUES (one, other), (other, one)) pair (last, twin_last),
	concat(repeat('p', bytes % width), repeat(filler, bytes / width - 1), last) account,
	concat(repeat('p', bytes % width), repeat(filler, bytes / width - 1), twin_last) twin;
CREATE TABLE features AS
SELECT row_number() OVER (ORDER BY feature) AS id, feature
FROM unnest(ARRAY['f', repeat('g', 46) || 'a', repeat('g', 47) || 'a', repeat('g', 47) || 'b', repeat('é', 24), repeat('é', 23) || 'è']) feature;
SELECT is(count(DISTINCT account), 120::bigint, 'so many accounts') FROM accounts;
SELECT is(array_agg(DISTINCT octet_length(account)), '{47,48,123,124,125,126,127,128,129,130,131,252,253,254,255}', 'of so many bytes') FROM accounts;
SELECT is(count(*), 0::bigint, 'each has a twin that differs in its last byte') FROM accounts a
WHERE NOT EXISTS (SELECT FROM accounts t WHERE t.account = a.twin AND t.twin = a.account)
	OR octet_length(twin) <> octet_length(account) OR twin = account
	OR substr(convert_to(twin, 'UTF8'), 1, octet_length(twin) - 1) <> substr(convert_to(account, 'UTF8'), 1, octet_length(twin) - 1);

INSERT INTO quota.plans (plan, is_default) VALUES ('free', true), ('pro', false);
INSERT INTO quota.features (feature, kind) SELECT feature, 'counter' FROM features UNION ALL VALUES ('level', 'gauge');
INSERT INTO quota.plan_limits (plan, feature, period, usage_limit)
SELECT plan, feature, period, NULL::bigint FROM quota.plans, features, unnest('{day,month}'::quota_period[]) period
UNION ALL SELECT plan, 'level', 'lifetime', NULL FROM quota.plans;

/* What is used of each counter, as it should be, and some that is not. */
CREATE TABLE used AS SELECT account, feature, 100000 * a.id + f.id AS n, 0::bigint AS used FROM accounts a, features f;
CREATE VIEW wrong AS
SELECT account, feature, period, c.used AS have, u.used AS want
FROM (SELECT account, feature, period, sum(used) AS used FROM quota.usage WHERE feature <> 'level' GROUP BY 1, 2, 3) c
	FULL JOIN (SELECT * FROM used, unnest('{day,month}'::quota_period[]) period) u USING (account, feature, period)
WHERE c.used IS DISTINCT FROM u.used LIMIT 3;
/* Charge each counter a number of its own, and more. Returns how many of the answers are another's. */
CREATE FUNCTION charge(more int) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	others bigint;
BEGIN
	SELECT count(*) INTO others
	FROM used u, quota_consume(u.account, u.feature, u.n + more) d
	WHERE (d.account, d.feature, d.used) IS DISTINCT FROM (u.account COLLATE "C", u.feature COLLATE "C", u.used + u.n + more);
	UPDATE used SET used = used + n + more;
	RETURN others;
END $$;
/* How often this session has looked at an index, to be compared within a transaction. */
CREATE FUNCTION scans(index text) RETURNS bigint LANGUAGE sql AS $$SELECT pg_stat_get_xact_numscans(('quota.' || index)::regclass)$$;

/* Charges, in the transaction that has made the counters, and in later ones. */
BEGIN;
SELECT is(charge(0), 0::bigint, 'each counter is made');
SELECT scans('usage_pkey') AS before \gset
SELECT is(charge(1), 0::bigint, 'and charged again in the same transaction');
SELECT is(scans('usage_pkey'), :before::bigint, 'each where it was written');
COMMIT;
SELECT is_empty('TABLE wrong', 'so much is used');
BEGIN;
SELECT scans('usage_pkey') AS before \gset
SELECT is(charge(2), 0::bigint, 'in another transaction');
SELECT is(count(*), 0::bigint, 'evaluate tells each for itself')
FROM used u, quota_evaluate(u.account, u.feature) d WHERE (d.account, d.used) IS DISTINCT FROM (u.account COLLATE "C", u.used);
SELECT is(scans('usage_pkey'), :before::bigint, 'each where it was seen');
COMMIT;
SELECT is_empty('TABLE wrong', 'so much is used then');

/* Savepoints: what is rolled back goes, and the counters are found where they were before. */
BEGIN;
SELECT scans('usage_pkey') AS before \gset
SELECT is(charge(3), 0::bigint, 'before a savepoint');
SAVEPOINT s;
SELECT is(charge(4), 0::bigint, 'in it');
SAVEPOINT t;
SELECT is(charge(5), 0::bigint, 'and in one within it');
RELEASE t;
SELECT is(charge(6), 0::bigint, 'which is released');
ROLLBACK TO s;
SELECT is(charge(7), 0::bigint, 'after the rollback');
SELECT is(scans('usage_pkey'), :before::bigint, 'each where it was written last');
COMMIT;
SELECT is_empty('TABLE wrong', 'so much is left of them');

/* Slots, as contention would make them; many charges of a counter in a transaction. */
UPDATE quota.usage SET slots = 4, used = used - 6;
INSERT INTO quota.usage (account, feature, period, period_start, slot, used)
SELECT account, feature, period, period_start, s, s FROM quota.usage, generate_series(1, 3) s;
SELECT is(charge(8), 0::bigint, 'counters with slots');
SELECT is(charge(9), 0::bigint, 'are charged');
BEGIN;
SELECT is(charge(10), 0::bigint, 'in the same slots');
SELECT is(count(*), 0::bigint, 'fifty times each')
FROM (SELECT u.used, max(d.used) FROM used u, generate_series(1, 50) i, quota_consume(u.account, u.feature, i) d WHERE u.feature = 'f' GROUP BY u.account, u.used) c
WHERE c.max <> c.used + 1275;
UPDATE used SET used = used + 1275 WHERE feature = 'f';
SAVEPOINT s;
SELECT is(charge(11), 0::bigint, 'and in a savepoint');
ROLLBACK TO s;
SELECT is(charge(12), 0::bigint, 'that is rolled back');
COMMIT;
SELECT is_empty('TABLE wrong', 'so much is used of them');

/* Refunds and records. */
SELECT is(count(*), 0::bigint, 'refund') FROM used u, quota_refund(u.account, u.feature, u.n) d WHERE d.used IS DISTINCT FROM u.used - u.n;
UPDATE used SET used = used - n;
SELECT is(count(*), 0::bigint, 'record') FROM used u, quota_record(u.account, u.feature, u.n % 7 + 1) d WHERE d.used IS DISTINCT FROM u.used + u.n % 7 + 1;
UPDATE used SET used = used + n % 7 + 1;
SELECT is_empty('TABLE wrong', 'each is refunded and counted for itself');

/* Idempotency keys, which are as long. */
SELECT is(count(*), 0::bigint, 'each account has a key that is another''s name')
FROM accounts a JOIN used u USING (account), quota_consume(u.account, u.feature, n, key => a.twin) d WHERE u.feature = 'f' AND d.used IS DISTINCT FROM u.used + n;
SELECT is(count(*), 0::bigint, 'and one that is its own')
FROM accounts a JOIN used u USING (account), quota_consume(u.account, u.feature, 1, key => u.account) d WHERE u.feature = 'f' AND d.used IS DISTINCT FROM u.used + n + 1;
SELECT is(count(*), 0::bigint, 'which are answered again')
FROM accounts a JOIN used u USING (account), quota_consume(u.account, u.feature, n, key => a.twin) d, quota_consume(u.account, u.feature, 1, key => u.account) e
WHERE u.feature = 'f' AND (d.account, d.used, e.used) IS DISTINCT FROM (u.account COLLATE "C", u.used + n, u.used + n + 1);
UPDATE used SET used = used + n + 1 WHERE feature = 'f';
SELECT is_empty('TABLE wrong', 'and charge once');

/* Reservations: one that is settled, one that is given back, one that expires. */
CREATE TABLE held AS SELECT u.account, u.feature, a.id AS one, b.id AS other
FROM used u, quota_reserve(u.account, u.feature, u.n) a, quota_reserve(u.account, u.feature, 2 * u.n) b, quota_reserve(u.account, u.feature, 3 * u.n, '1 minute') c;
SELECT is_empty('SELECT account, feature FROM used u WHERE (SELECT sum(amount) FROM quota.holds h WHERE (h.account, h.feature, h.period) = (u.account, u.feature, ''day'')) IS DISTINCT FROM 6 * u.n',
	'of each counter that much is held');
SELECT is(count(*), 0::bigint, 'each is settled for itself') FROM held h JOIN used u USING (account, feature), quota_commit(one, n - 1) d, quota_release(other) e
WHERE (d.account, d.used, e.used) IS DISTINCT FROM (u.account COLLATE "C", u.used + 6 * n - 1, u.used + 4 * n - 1);
SET quota.now = '2026-03-10 12:01+00';
UPDATE used SET used = used + n - 1;
SELECT is(charge(13), 0::bigint, 'what has expired is not used');
SELECT quota_maintain() \g /dev/null
SELECT is_empty('TABLE wrong', 'nor counted');
SELECT is_empty('TABLE quota.holds', 'nor held');

/* Rows of an attached table, of many accounts in a statement. */
CREATE TABLE items (account varchar, twin text, n bigint);
SELECT quota_attach('items', 'level', 'account', 'n') \g /dev/null
CREATE VIEW wrong_levels AS
SELECT account, c.used AS have, i.n AS want
FROM (SELECT account, sum(used) AS used FROM quota.usage WHERE feature = 'level' GROUP BY 1) c
	FULL JOIN (SELECT account, sum(n) AS n FROM items GROUP BY 1) i USING (account)
WHERE COALESCE(c.used, 0) <> COALESCE(i.n, 0) LIMIT 3;
INSERT INTO items SELECT account, twin, 1000 * id + i FROM accounts, generate_series(1, 3) i;
SELECT is_empty('TABLE wrong_levels', 'rows: inserted');
UPDATE items SET account = twin, twin = account WHERE n % 1000 = 1;
SELECT is_empty('TABLE wrong_levels', 'rows: moved to the twin');
DELETE FROM items WHERE n % 1000 = 2;
SELECT is_empty('TABLE wrong_levels', 'rows: deleted');

/* Rows of quota.accounts. */
SELECT quota_set_plan(account, 'pro') FROM accounts WHERE id % 2 = 0 \g /dev/null
INSERT INTO quota.accounts (account) SELECT account FROM accounts WHERE id % 2 = 1;
BEGIN;
SELECT is(count(*), 0::bigint, 'the plan of each')
FROM accounts a, quota_evaluate(account, 'f') d WHERE d.plan IS DISTINCT FROM CASE id % 2 WHEN 0 THEN 'pro' ELSE 'free' END;
COMMIT;
BEGIN;
SELECT scans('accounts_pkey') AS before \gset
SELECT is(count(*), 0::bigint, 'the plan of each, again')
FROM accounts a, quota_evaluate(account, 'f') d WHERE d.plan IS DISTINCT FROM CASE id % 2 WHEN 0 THEN 'pro' ELSE 'free' END;
SELECT is(scans('accounts_pkey'), :before::bigint, 'each where it was seen');
COMMIT;

/*
 * Another's row at the place of one that is gone: half of the accounts are
 * deleted, and their twins come into the places, at which they are still looked for.
 */
DELETE FROM items;
TRUNCATE quota.usage;
DELETE FROM quota.accounts;
VACUUM quota.accounts;
INSERT INTO quota.accounts (account) SELECT account FROM accounts WHERE id % 2 = 0;
SELECT quota_consume(account, 'f', id) FROM accounts WHERE id % 2 = 0 \g /dev/null
SELECT quota_evaluate(account, 'f') FROM accounts WHERE id % 2 = 0 \g /dev/null
CREATE TABLE places AS SELECT u.account, period, u.ctid AS counter, a.ctid AS row FROM quota.usage u JOIN quota.accounts a USING (account);
DELETE FROM quota.usage;
DELETE FROM quota.accounts;
VACUUM quota.usage, quota.accounts;
INSERT INTO quota.accounts (account, plan) SELECT account, 'pro' FROM accounts WHERE id % 2 = 1 ORDER BY id;
SELECT quota_consume(account, 'f', id) FROM accounts WHERE id % 2 = 1 ORDER BY id \g /dev/null
SELECT cmp_ok(count(*), '>=', 50::bigint, 'counters have the places of their twins')
FROM places p JOIN quota.usage u ON u.ctid = p.counter AND u.period = p.period JOIN accounts a ON a.account = p.account AND a.twin = u.account;
SELECT cmp_ok(count(*), '>=', 50::bigint, 'so have accounts')
FROM (SELECT DISTINCT account, row FROM places) p JOIN quota.accounts q ON q.ctid = p.row JOIN accounts a ON a.account = p.account AND a.twin = q.account;
SELECT is(count(*), 0::bigint, 'nobody has the plan of a twin')
FROM accounts a, quota_evaluate(account, 'f') d WHERE d.plan IS DISTINCT FROM CASE id % 2 WHEN 0 THEN 'free' ELSE 'pro' END;
SELECT is(count(*), 0::bigint, 'nobody charges the counter of a twin')
FROM accounts a, quota_consume(account, 'f', 1) d WHERE d.used IS DISTINCT FROM CASE id % 2 WHEN 0 THEN 1 ELSE id + 1 END;
SELECT is_empty($$SELECT * FROM quota.usage u JOIN accounts a USING (account) WHERE u.used <> CASE id % 2 WHEN 0 THEN 1 ELSE id + 1 END LIMIT 3$$, 'each has its own');

/* The same of one account's features. */
SELECT repeat('g', 47) || 'a' AS one, repeat('g', 47) || 'b' AS other \gset
TRUNCATE quota.usage;
SELECT quota_consume(account, :'one', id) FROM accounts ORDER BY id \g /dev/null
CREATE TABLE places_of_one AS SELECT account, period, ctid AS counter FROM quota.usage;
DELETE FROM quota.usage;
VACUUM quota.usage;
SELECT quota_consume(account, :'other', id) FROM accounts ORDER BY id \g /dev/null
SELECT cmp_ok(count(*), '>=', 100::bigint, 'counters have the places of the twin feature')
FROM places_of_one p JOIN quota.usage u ON (u.account, u.period, u.ctid) = (p.account, p.period, p.counter);
SELECT is(count(*), 0::bigint, 'nobody charges the twin feature') FROM accounts a, quota_consume(account, :'one', 1) d WHERE d.used IS DISTINCT FROM 1;

/* A message of more than 126 bytes, after a column that ends anywhere. */
INSERT INTO quota.features (feature, kind, unit) SELECT 'unit' || n, 'counter', repeat('u', n) FROM generate_series(56, 63) n;
INSERT INTO quota.plan_limits (plan, feature, period, usage_limit) SELECT 'free', 'unit' || n, 'month', 9223372036854775807 FROM generate_series(56, 63) n;
SELECT quota_record('m', 'unit' || n, 9223372036854775806) FROM generate_series(56, 63) n \g /dev/null
SELECT is(d.message, format('Approaching limit: 9223372036854775806/9223372036854775807 %s (100%%)', repeat('u', n) || 's'), 'a message with a unit of ' || n)
FROM generate_series(56, 63) n, quota_evaluate('m', 'unit' || n) d;
SELECT is(pg_column_size(quota_evaluate('m', 'unit' || n)), pg_column_size(ROW(d.*)::quota_decision), 'which stands as PostgreSQL would write it, with a unit of ' || n)
FROM generate_series(56, 63) n, quota_evaluate('m', 'unit' || n) d;
SELECT is(count(*), 0::bigint, 'so does each account')
FROM used u, quota_evaluate(u.account, u.feature) d WHERE pg_column_size(quota_evaluate(u.account, u.feature)) <> pg_column_size(ROW(d.*)::quota_decision);

SELECT * FROM finish();
