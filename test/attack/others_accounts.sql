/*
 * Roles that end users reach: by the functions nobody sees, charges or changes
 * what belongs to another, whatever row-level security does in the tables.
 */
BEGIN;
SELECT no_plan();
\ir ../pgtap/_helpers.sql
SET LOCAL quota.now = '2026-03-10 12:00+00';
SELECT quota_apply('{"features": {"report": {"kind": "counter", "ledger": true}},
	"plans": {"free": {"default": true, "limits": {"report": {"month": {"limit": 10}}}}, "pro": {}}}') \g /dev/null
CREATE ROLE quota_test_user;
CREATE ROLE quota_test_reader;
SELECT quota_grant('quota_test_user', 'user'), quota_grant('quota_test_reader', 'reader') \g /dev/null
SELECT quota_add_user('mine', 'ann'), quota_add_user('victim', 'bob') \g /dev/null
SELECT quota_consume('victim', 'report', 3, metadata => '{"for": "secret"}'), quota_consume('mine', 'report', 4) \g /dev/null
INSERT INTO quota.stripe_customers VALUES ('victim', 'cus_1'), ('mine', 'cus_2');
INSERT INTO quota.stripe_prices VALUES ('price_1', 'pro', 'month', true);
SELECT id AS reservation FROM quota_reserve('victim', 'report', 2) \gset
SET LOCAL request.jwt.claims = '{"sub": "ann"}';

/* Looking at another's. */
SELECT is(try_as('quota_test_' || level, attack), '42501', level || ': ' || attack)
FROM unnest('{user,reader}'::text[]) level, unnest(ARRAY[
	'SELECT quota_events(''victim'')', 'SELECT quota_status(''victim'')', 'SELECT quota_usage(''victim'')', 'SELECT quota_history(''victim'')',
	'SELECT quota_forecast(''victim'', ''report'')', 'SELECT quota_invoices(''victim'')', 'SELECT quota_evaluate(''victim'')', 'SELECT quota_evaluate(''victim'', ''report'')',
	'SELECT quota_sponsored(''victim'')', 'SELECT quota_rates(''victim'')', 'SELECT quota_preview(''victim'', ''pro'')', 'SELECT quota_has_feature(''victim'', ''report'')',
	'SELECT quota_stripe_portal(''victim'', ''https://x.example'')', 'SELECT quota_stripe_checkout(''victim'', ''pro'', ''https://x.example'')',
	'SELECT quota_metrics()', 'SELECT quota_totals()', 'SELECT quota_stats()', 'SELECT quota_plan_stats()']) attack;
SELECT is((SELECT count(*) FROM as_role('quota_test_reader', q)), n, q)
FROM (VALUES ('SELECT account FROM quota_near_limit(0) WHERE account = ''victim''', 0::bigint),
	('SELECT account FROM quota_search(''victim'')', 0), ('SELECT account FROM quota_top(''report'') WHERE account = ''victim''', 0), ('SELECT account FROM quota_accounts_of(''bob'')', 0)) v (q, n);

/* One's own use is not given back, nor is another's used up. */
SELECT is(try_as('quota_test_user', attack), '42501', attack)
FROM unnest(ARRAY[
	'SELECT quota_refund(''mine'', ''report'')', 'SELECT quota_refund(''mine'', ''report'', 1, ''2026-03-01'')', 'SELECT quota_record(''mine'', ''report'')',
	'SELECT quota_consume(''victim'', ''report'')', 'SELECT quota_enforce(''victim'', ''report'')', 'SELECT quota_consume(''victim'', ''report'', 1, ''key'')',
	'SELECT quota_consume(''mine'', ''report'', 2)', 'SELECT quota_consume_many(''victim'', ''{"report": 1}'')', 'SELECT quota_reserve(''mine'', ''report'', 1)',
	'SELECT quota_consume(uuid ''6f1c0a9e-8f4e-4e0f-9d5a-0c2b9a7d3e11'', ''report'')', 'SELECT quota_consume(42, ''report'')',
	'SELECT quota_set_plan(''mine'', ''pro'')', 'SELECT quota_reset(''mine'')', 'SELECT quota_add_user(''victim'', ''ann'')', 'SELECT quota_suspend(''victim'')']) attack;
SELECT is(try_as('quota_test_user', format('SELECT %s(%s)', f, :reservation)), '42501', f || ' of another''s reservation')
FROM unnest('{quota_commit,quota_release}'::text[]) f;
SELECT is((quota_evaluate('victim', 'report')).used, 5::bigint, 'the other''s use is as it was');
SELECT is((quota_evaluate('mine', 'report')).used, 4::bigint, 'and one''s own');

/* What is left is what the level is for. */
SELECT is(try_as('quota_test_user', $$SELECT quota_consume('mine', 'report'), quota_usage('mine'), quota_status('mine')$$), 'ok', 'one''s own account');

/* A key that another call of the account has used. */
SELECT quota_consume('mine', 'report', 2, 'backend-1') \g /dev/null
CREATE TEMP TABLE refused (level text, error jsonb);
GRANT INSERT ON refused TO quota_test_user;
SET LOCAL ROLE quota_test_user;
INSERT INTO refused SELECT 'user', error_of($$SELECT quota_consume('mine', 'report', 1, 'backend-1')$$);
RESET ROLE;
INSERT INTO refused SELECT 'owner', error_of($$SELECT quota_consume('mine', 'report', 1, 'backend-1')$$);
SELECT results_eq($$SELECT level, error->>'state', error->>'message', error->>'detail' FROM refused$$, $$VALUES
	('user', '22023', 'key "backend-1" stands for another call', ''),
	('owner', '22023', 'key "backend-1" stands for another call', 'It was first used to call quota_consume for 2 of feature "report".')$$, 'level user is not told what it was');

SELECT * FROM finish();
ROLLBACK;
