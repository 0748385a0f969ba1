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

SELECT * FROM finish();
ROLLBACK;
