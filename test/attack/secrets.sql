/*
 * The signing secrets are in no error, and in no publication without a warning.
 * A member sees neither why something was done nor who did it.
 */
BEGIN;
SELECT no_plan();
\ir ../pgtap/_helpers.sql

/* All that an error says. */
CREATE FUNCTION all_of_error(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
	hint text;
	context text;
BEGIN
	EXECUTE statement;
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT, context = PG_EXCEPTION_CONTEXT;
	/* the statement is the caller's own */
	RETURN concat_ws(' | ', SQLSTATE, SQLERRM, detail, hint, replace(context, statement, ''));
END $$;
INSERT INTO quota.stripe_secrets VALUES ('live', 'whsec_live');
SELECT matches(error, '^' || state || '((?!whsec).)*$', statement)
FROM (VALUES
	('23514', $$INSERT INTO quota.stripe_secrets VALUES ('', 'whsec_1')$$),
	('23502', $$INSERT INTO quota.stripe_secrets VALUES (NULL, 'whsec_1')$$),
	('23502', $$INSERT INTO quota.stripe_secrets (secret) VALUES ('whsec_1')$$),
	('23502', $$INSERT INTO quota.stripe_secrets VALUES ('test', NULL)$$),
	('23514', $$INSERT INTO quota.stripe_secrets VALUES ('test', '')$$),
	('23514', $$INSERT INTO quota.stripe_secrets VALUES ('test', repeat('whsec_1', 40))$$),
	('23514', $$INSERT INTO quota.stripe_secrets VALUES (repeat('x', 256), 'whsec_1')$$),
	('23505', $$INSERT INTO quota.stripe_secrets VALUES ('live', 'whsec_1')$$),
	('23502', $$UPDATE quota.stripe_secrets SET name = NULL$$),
	('23514', $$UPDATE quota.stripe_secrets SET name = ''$$),
	('23514', $$UPDATE quota.stripe_secrets SET secret = secret || repeat('y', 255)$$),
	('28000', $$SELECT quota_stripe_event('{}', 't=1,v1=1')$$),
	('28000', $$SELECT quota_stripe_event('{}', 'whatever')$$)) v (state, statement),
	LATERAL (SELECT all_of_error(statement) AS error) e;
SET LOCAL session_replication_role = replica;
SELECT matches(error, '^23502((?!whsec).)*$', 'nor where changes are replayed') FROM all_of_error($$UPDATE quota.stripe_secrets SET name = NULL$$) error;
SET LOCAL session_replication_role = origin;
SELECT lives_ok($$INSERT INTO quota.stripe_secrets VALUES (repeat('x', 255), repeat('y', 255))$$, 'the longest');

/* A member. */
SELECT quota_apply('{"features": {"report": {"kind": "counter"}}, "plans": {"free": {"default": true, "limits": {"report": {"month": {"limit": 5}}}}}}') \g /dev/null
CREATE ROLE quota_test_reader;
SELECT quota_grant('quota_test_reader', 'reader'), quota_add_user('acme', 'ann', 'OWNER') \g /dev/null
SELECT quota_set_override('acme', 'report', 'month', 9, reason => 'threatened to leave'), quota_suspend('acme', 'fraud?') \g /dev/null
SET LOCAL "quota.user" = 'ann';
SELECT is((SELECT count(*) FROM quota.audit_log WHERE reason IS NOT NULL), 2::bigint, 'reasons are there');
SELECT is_empty($$SELECT as_role('quota_test_reader', 'SELECT * FROM quota.audit_log')$$, 'a member reads nothing of the log');
SELECT results_eq($$SELECT as_role('quota_test_reader', 'SELECT usage_limit FROM quota.limit_overrides')$$, $$VALUES ('9'::text)$$, 'it sees the limit that it has');
SELECT results_eq(format($$SELECT as_role('quota_test_reader', %L)$$, query), $$VALUES ('42501'::text)$$, query)
FROM unnest('{SELECT reason FROM quota.limit_overrides,SELECT * FROM quota.limit_overrides,SELECT o::text FROM quota.limit_overrides o}'::text[]) query;
SELECT unalike(COALESCE((SELECT string_agg(a, ' ') FROM as_role('quota_test_reader', query) a), ''), '%fraud%', query)
FROM unnest(ARRAY['SELECT quota_status(''acme'')', 'SELECT quota_usage(''acme'')', 'SELECT quota_evaluate(''acme'')', 'SELECT a FROM quota.accounts a', 'SELECT e FROM quota.events e']) query;

SELECT * FROM finish();
ROLLBACK;
