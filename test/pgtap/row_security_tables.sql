/*
 * Row-level security of every table that has it, found in the catalogue: what a
 * user's role sees where there are pools and sponsors.
 */
BEGIN;
SELECT no_plan();
\ir _helpers.sql
SET LOCAL quota.now = '2026-03-10 12:00+00';
SELECT quota_apply('{
	"features": {"report": {"kind": "counter", "ledger": true}, "seat": {"kind": "gauge"}},
	"plans": {"free": {"default": true, "limits": {"report": {"month": {"limit": 5}}, "seat": {"lifetime": {"limit": 5}}}}}}') \g /dev/null

/* ann belongs to a pool, not to its members; bob to a member, not to its pool; cy to what sponsors a pool's member. */
CREATE TABLE expected (user_id text, account text, visible boolean);
INSERT INTO expected VALUES
	('ann', 'pool', true), ('ann', 'member', false), ('ann', 'other', false), ('ann', 'sponsor', false),
	('bob', 'member', true), ('bob', 'pool', false), ('bob', 'other', false), ('bob', 'sponsor', false),
	('cy', 'sponsor', true), ('cy', 'member', true), ('cy', 'pool', false), ('cy', 'other', false);
SELECT quota_add_user('pool', 'ann', 'OWNER'), quota_add_user('member', 'bob', 'OWNER'), quota_add_user('sponsor', 'cy', 'AFFILIATE'), quota_add_user('other', 'dee') \g /dev/null
SELECT quota_sponsor('sponsor', 'member', 'free') \g /dev/null
SELECT quota_set_pool('member', 'pool'), quota_set_pool('other', 'pool') \g /dev/null

/* Something of each account in each table: of members also what is counted for them alone. */
SELECT quota_set_override(account, 'report', 'month', CASE account WHEN 'pool' THEN 400 ELSE 90 END) FROM unnest('{pool,member,other,sponsor}'::text[]) account \g /dev/null
SELECT quota_consume(account, 'report', 80, 'key-' || account), quota_reserve(account, 'report', 2) FROM unnest('{member,other,sponsor}'::text[]) account \g /dev/null
SELECT quota_consume('pool', 'report', 160, 'key-pool'), quota_reserve('pool', 'report', 2) \g /dev/null
INSERT INTO quota.invoices (account, currency, period_start, period_end, total, invoiced_at)
SELECT account, 'USD', '2026-02-01', '2026-03-01', 1, '2026-03-01' FROM unnest('{pool,member,other,sponsor}'::text[]) account;
INSERT INTO quota.invoice_lines (account, feature, period, period_start, period_end, invoice, plan, used, usage_limit, quantity, unit_price, amount)
SELECT account, 'report', 'month', period_start, period_end, id, 'free', 9, 8, 1, 1, 1 FROM quota.invoices;
INSERT INTO quota.stripe_customers (account, customer) SELECT account, 'cus_' || account FROM quota.invoices;
INSERT INTO quota.stripe_subscriptions (subscription, account, customer, status, created_at, reported_at, reported_rank, payment_at, paid, had_plan)
SELECT 'sub_' || account, account, 'cus_' || account, 'active', '2026-03-01', '2026-03-01', 0, '2026-03-01', true, false FROM quota.invoices;
INSERT INTO quota.stripe_events (event, type, created_at, at, account, outcome)
SELECT 'evt_' || account, 'customer.subscription.updated', '2026-03-01', '2026-03-01', account, 'applied' FROM quota.invoices;

/* A new table with accounts in it needs rows above. */
CREATE VIEW by_account AS
	SELECT c.oid, c.relname AS name
	FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'account'
	WHERE c.relnamespace = 'quota'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition;
CREATE FUNCTION accounts_in(name text) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
	found text[];
BEGIN
	EXECUTE format('SELECT ARRAY(SELECT DISTINCT account::text FROM quota.%I WHERE account IS NOT NULL)', name) INTO found;
	RETURN found;
END $$;
SELECT ok(accounts_in(name) @> '{pool,member,other,sponsor}', format('%s: rows of each account', name)) FROM by_account ORDER BY name;
SELECT ok(c.relrowsecurity AND EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid), format('%s: has row-level security', name))
FROM by_account b JOIN pg_class c USING (oid) ORDER BY name;

/* What a role at level reader sees, given SELECT on all tables. */
CREATE ROLE quota_test_reader;
SELECT quota_grant('quota_test_reader', 'reader') \g /dev/null
GRANT SELECT ON ALL TABLES IN SCHEMA quota TO quota_test_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO quota_test_reader;
CREATE FUNCTION seen(user_id text, name text) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
	found text[];
BEGIN
	PERFORM set_config('quota.user', user_id, true), set_config('role', 'quota_test_reader', true);
	EXECUTE format('SELECT ARRAY(SELECT DISTINCT account::text FROM quota.%I ORDER BY 1)', name) INTO found;
	PERFORM set_config('role', 'none', true), set_config('quota.user', '', true);
	RETURN found;
END $$;
/* who changed what and why is for no member to see */
SELECT is(seen(e.user_id, b.name), CASE WHEN b.name = 'audit_log' THEN '{}' ELSE e.accounts END, format('%s: what user %s sees', b.name, e.user_id))
FROM by_account b, (SELECT user_id, array_agg(account ORDER BY account) FILTER (WHERE visible) AS accounts FROM expected GROUP BY 1) e
ORDER BY b.name, e.user_id;
SELECT is(seen('nobody', name), '{}', format('%s: what a user without accounts sees', name)) FROM by_account ORDER BY name;

SELECT * FROM finish();
ROLLBACK;
