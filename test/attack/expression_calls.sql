/*
 * The code of a table's owner runs when others insert. What it calls of quota may
 * look, and change nothing: no charge in the name of whoever inserts, no
 * attachment that comes or goes under the statement that is being charged.
 */
BEGIN;
SELECT no_plan();
\ir ../pgtap/_helpers.sql
SET LOCAL client_min_messages = error;

INSERT INTO quota.plans (plan, is_default) VALUES ('free', true);
INSERT INTO quota.features (feature, kind, ledger) VALUES ('storage', 'gauge', false), ('report', 'counter', true), ('request', 'rate', false);
INSERT INTO quota.plan_limits (plan, feature, period, usage_limit) VALUES ('free', 'storage', 'lifetime', 1000), ('free', 'report', 'month', 100), ('free', 'request', 'hour', 10);
CREATE ROLE quota_attack_owner;
CREATE ROLE quota_attack_app;
SELECT quota_grant('quota_attack_owner', 'admin') \g /dev/null
CREATE SCHEMA attack;
GRANT ALL ON SCHEMA attack TO quota_attack_owner;
GRANT USAGE ON SCHEMA attack TO quota_attack_app;

SET ROLE quota_attack_owner;
CREATE TABLE attack.other (account text);
CREATE TABLE attack.files (account text, call text);
CREATE FUNCTION attack.run(call text) RETURNS bigint IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE 'SELECT ' || call;
	RETURN 1;
END $$;
SELECT quota_attach('attack.files', 'storage', 'account', 'attack.run(call)') \g /dev/null
GRANT INSERT ON attack.files TO quota_attack_app;

SET ROLE quota_attack_app;
SELECT is(error_of(format('INSERT INTO attack.files VALUES (''a'', %L)', call))->>'state', '42501', call)
FROM unnest(ARRAY[
	'public.quota_consume(''victim'', ''report'')', 'public.quota_enforce(''victim'', ''report'')', 'public.quota_record(''victim'', ''report'', 5)',
	'public.quota_refund(''victim'', ''report'')', 'public.quota_consume(''victim'', ''request'')', 'public.quota_reserve(''victim'', ''report'', 1)',
	'count(*) FROM public.quota_consume_many(''victim'', ''{"report": 1}'')', 'public.quota_commit(1)', 'public.quota_release(1)',
	'public.quota_consume(42, ''report'')', 'public.quota_set_plan(''victim'', ''free'')', 'public.quota_reset(''victim'')',
	'public.quota_attach(''attack.other'', ''storage'', ''account'')', 'public.quota_detach(''attack.files'', ''storage'')',
	'public.quota_adopt(''attack.other'', ''account'')', 'public.quota_apply(''{}'')', 'public.quota_maintain()', 'public.quota_grant(''quota_attack_owner'', ''app'')',
	'public.quota_stripe_event(''{}'', ''x'')']) call;
SELECT is(error_of(format('INSERT INTO attack.files VALUES (''a'', %L)', call)), NULL, call)
FROM unnest(ARRAY['public.quota_evaluate(''a'', ''report'')', 'count(*) FROM public.quota_usage(''a'')', 'public.quota_has_feature(''a'', ''report'')']) call;
RESET ROLE;

SELECT is_empty('SELECT FROM quota.usage WHERE account <> ''a''', 'nobody else was charged');
SELECT is_empty('SELECT FROM quota.events', 'nothing was written down');
SELECT is((SELECT string_agg(relation::text, ',') FROM quota.attached), 'attack.files', 'no attachment has come or gone');

SELECT * FROM finish();
ROLLBACK;
