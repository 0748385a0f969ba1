/*
 * A role that watches the platform gets the figures, or an error: never zeros.
 */
BEGIN;
SELECT no_plan();
\ir ../pgtap/_helpers.sql
SET LOCAL quota.now = '2026-03-10 12:00+00';
SELECT quota_apply('{"features": {"report": {"kind": "counter", "ledger": true}},
	"plans": {"free": {"default": true, "limits": {"report": {"month": {"limit": 10}}}}, "pro": {"price": 9}}}') \g /dev/null
CREATE ROLE quota_test_monitor;
CREATE ROLE quota_test_reader;
SELECT quota_grant('quota_test_monitor', 'monitor'), quota_grant('quota_test_reader', 'reader') \g /dev/null
SELECT quota_set_plan('payer', 'pro'), quota_consume('a', 'report', 9, metadata => '{"for": "secret"}'), quota_add_user('a', 'ann') \g /dev/null

SELECT is((SELECT string_agg(l, ' ') FROM as_role('quota_test_monitor', query) l), (SELECT string_agg(l, ' ') FROM as_role(current_user::text, query) l), 'monitor: ' || query)
FROM unnest(ARRAY['SELECT * FROM quota_metrics()', 'SELECT * FROM quota_totals()', 'SELECT * FROM quota_stats()', 'SELECT * FROM quota_plan_stats()',
	'SELECT * FROM quota_near_limit()', 'SELECT * FROM quota_top(''report'')', 'SELECT * FROM quota.current_usage', 'SELECT account, used FROM quota.usage']) query;
SELECT is((SELECT used FROM quota_totals()), 9::numeric, 'which are not 0');
SELECT is(try_as('quota_test_reader', query), '42501', 'reader: ' || query)
FROM unnest(ARRAY['SELECT * FROM quota_metrics()', 'SELECT * FROM quota_totals()', 'SELECT * FROM quota_stats()', 'SELECT * FROM quota_plan_stats()']) query;

/* Nothing else comes with it. */
SELECT is(try_as('quota_test_monitor', attack), '42501', 'monitor: ' || attack)
FROM unnest(ARRAY['SELECT * FROM quota.account_users', 'SELECT * FROM quota.audit_log', 'SELECT * FROM quota.keys', 'SELECT metadata FROM quota.events', 'SELECT * FROM quota.stripe_customers',
	'SELECT * FROM quota.stripe_secrets', 'SELECT quota_accounts_of(''ann'')', 'SELECT quota_consume(''a'', ''report'')', 'SELECT quota_refund(''a'', ''report'')', 'SELECT quota_maintain()',
	'UPDATE quota.usage SET used = 0', 'DELETE FROM quota.accounts', 'SELECT quota_stripe_portal(''a'', ''https://x.example'')']) attack;
SELECT is((SELECT string_agg(m, '') FROM as_role('quota_test_monitor', 'SELECT metadata FROM quota_events(''a'')') m), '', 'no metadata of the ledger');

/* Without USAGE on the schema its functions go on, and it can lock no table. */
REVOKE USAGE ON SCHEMA quota FROM quota_test_monitor, quota_test_reader;
SELECT is((SELECT string_agg(l, ' ') FROM as_role('quota_test_monitor', query) l), (SELECT string_agg(l, ' ') FROM as_role(current_user::text, query) l), 'without USAGE: ' || query)
FROM unnest(ARRAY['SELECT * FROM quota_metrics()', 'SELECT * FROM quota_totals()', 'SELECT * FROM quota_near_limit()', 'SELECT used FROM quota_evaluate(''a'', ''report'')']) query;
SELECT is(try_as(role, attack), '42501', format('%s without USAGE: %s', role, attack))
FROM unnest(ARRAY['quota_test_monitor', 'quota_test_reader']) role, unnest(ARRAY['CREATE RULE r AS ON UPDATE TO quota.usage DO INSTEAD NOTHING', 'PREPARE p AS DELETE FROM quota.usage',
	'CREATE TRIGGER t AFTER INSERT ON quota.usage EXECUTE FUNCTION suppress_redundant_updates_trigger()', 'LOCK TABLE quota.usage']) attack;
SELECT is_empty($$SELECT mode FROM pg_locks WHERE relation = 'quota.usage'::regclass AND mode LIKE '%Exclusive%' AND mode <> 'RowExclusiveLock'$$, 'no lock that charges wait for');

SELECT * FROM finish();
ROLLBACK;
