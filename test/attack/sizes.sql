/*
 * What is too large is refused, clearly and before it is worked on; what is as
 * large as it may be takes no time.
 */
BEGIN;
SELECT no_plan();
\ir ../pgtap/_helpers.sql
SET LOCAL quota.now = '2026-03-10 12:00+00';
SELECT quota_apply('{"features": {"report": {"kind": "counter", "ledger": true}}, "plans": {"free": {"default": true, "limits": {"report": {"month": {"limit": null}}}}, "pro": {}}}') \g /dev/null
SELECT quota_stripe_price('price_pro', 'pro') \g /dev/null
INSERT INTO quota.stripe_customers VALUES ('acme', 'cus_1');
INSERT INTO quota.stripe_secrets VALUES ('live', 'whsec_1');
CREATE FUNCTION url(bytes integer) RETURNS text LANGUAGE sql RETURN 'https://' || repeat('ä', (bytes - 8) / 2);
CREATE FUNCTION nested(levels integer) RETURNS jsonb LANGUAGE sql RETURN (repeat('{"a":', levels) || '1' || repeat('}', levels))::jsonb;

/* What a caller names is not repeated whole by an error. */
CREATE TABLE sized (id integer PRIMARY KEY, account text);
SELECT is(error->>'state' || CASE WHEN length(error::text) > 1000 THEN ' long' ELSE '' END, state, statement)
FROM (VALUES
	('42704', $$SELECT quota_plan_with(repeat('v', 10000000))$$), ('42704', $$SELECT quota_preset(repeat('v', 10000000))$$),
	('42704', $$SELECT quota_set_plan('acme', repeat('v', 10000000))$$), ('42704', $$SELECT quota_grant(repeat('v', 10000000), 'user')$$),
	('22023', $$SELECT quota_grant(current_user::text, repeat('v', 10000000))$$), ('42704', $$SELECT quota_top(repeat('v', 10000000))$$),
	('22023', $$SELECT quota_apply(jsonb_build_object(repeat('v', 10000000), 1))$$),
	('22023', $$SELECT quota_apply(jsonb_build_object('features', jsonb_build_object(repeat('v', 10000000), 1)))$$),
	('22023', $$SELECT quota_apply(jsonb_build_object('features', jsonb_build_object(repeat('v', 10000000), '{}'::jsonb)))$$),
	('22023', $$SELECT quota_apply(jsonb_build_object('plans', jsonb_build_object('free', jsonb_build_object('limits', jsonb_build_object('x', jsonb_build_object('month', jsonb_build_object(repeat('v', 1000000), 1)))))))$$),
	('42704', $$SELECT quota_attach('sized', repeat('v', 10000000), 'account')$$), ('42703', $$SELECT quota_attach('sized', 'report', repeat('v', 10000000))$$),
	('22023', $$SELECT quota_attach('sized', 'report', 'account', on_block => repeat('v', 10000000))$$),
	('42704', $$SELECT quota_detach('sized', repeat('v', 10000000))$$), ('42704', $$SELECT quota_reconcile('sized', repeat('v', 10000000))$$),
	('42703', $$SELECT quota_adopt('sized', repeat('v', 10000000))$$)) v (state, statement),
	error_of(statement) error;

/* Errors. */
SELECT is(error->>'state' || CASE WHEN length(error::text) > 9500 THEN ' long' ELSE '' END, state, regexp_replace(statement, '\s+', ' ', 'g'))
FROM (VALUES
	('22023', $$SELECT quota_stripe_checkout('acme', 'pro', repeat('x', 1048576))$$),
	('22023', $$SELECT quota_stripe_checkout('acme', 'pro', url(8194))$$),
	('22023', $$SELECT quota_stripe_checkout('acme', 'pro', 'https://a', url(8194))$$),
	('22023', $$SELECT quota_stripe_checkout('acme', 'pro', 'https://a', billing_interval => repeat('x', 1048576))$$),
	('42704', $$SELECT quota_stripe_checkout('acme', repeat('x', 1048576), 'https://a')$$),
	('22023', $$SELECT quota_stripe_checkout('acme', 'pro', 'https://a', options => jsonb_build_object('a', repeat('x', 65536)))$$),
	('22023', $$SELECT quota_stripe_checkout('acme', 'pro', 'https://a', options => nested(9))$$),
	('22023', $$SELECT quota_stripe_checkout('acme', 'pro', 'https://a', options => nested(5000))$$),
	('22023', $$SELECT quota_stripe_portal('acme', url(8194))$$),
	('22023', $$SELECT quota_stripe_portal('acme', 'https://a', nested(9))$$),
	('22023', $$SELECT quota_stripe_event(repeat('x', 1048577), 't=1,v1=1')$$),
	('22023', $$SELECT quota_stripe_event('{}', repeat('v1=1,', 2000))$$),
	('28000', $$SELECT quota_stripe_event('{}', 't=1' || repeat(',v1=1', 17))$$),
	('22023', $$SELECT quota_consume('acme', 'report', metadata => jsonb_build_object('a', repeat('x', 65536)))$$),
	('22023', $$SELECT quota_enforce('acme', 'report', metadata => to_jsonb(repeat('x', 100000000)))$$),
	('22023', $$SELECT quota_record('acme', 'report', metadata => (SELECT jsonb_object_agg(i, i) FROM generate_series(1, 10000) i))$$),
	('42704', $$SELECT quota_consume('acme', repeat('x', 1048576))$$),
	('42704', $$SELECT quota_evaluate('acme', repeat('ä', 1048576))$$),
	('42704', $$SELECT quota_consume_many('acme', jsonb_build_object(repeat('ä', 1048576), 1))$$),
	('22023', $$SELECT quota_consume_many('acme', (SELECT jsonb_object_agg('f' || i, 1) FROM generate_series(1, 1001) i))$$),
	('22023', $$SELECT quota_suspend('acme', repeat('x', 1025))$$),
	('22023', $$SELECT quota_set_override('acme', 'report', 'month', 1, reason => repeat('x', 1025))$$),
	('22023', $$SELECT quota_search(repeat('x', 1025))$$),
	('23514', $$INSERT INTO quota.limit_overrides VALUES ('acme', 'report', 'month', 1, NULL, repeat('x', 1025))$$),
	('23514', $$INSERT INTO quota.accounts (account, name) VALUES ('long', repeat('x', 1025))$$),
	('23514', $$INSERT INTO quota.accounts (account, account_type) VALUES ('long', repeat('x', 256))$$),
	('22023', $$INSERT INTO quota.accounts (account, timezone) VALUES ('long', repeat('x', 1000000))$$),
	('23514', $$INSERT INTO quota.accounts (account, metadata) VALUES ('long', jsonb_build_object('a', repeat('x', 65536)))$$),
	('23514', $$INSERT INTO quota.plans (plan, metadata) VALUES ('long', jsonb_build_object('a', repeat('x', 65536)))$$),
	('23514', $$INSERT INTO quota.plans (plan, name) VALUES ('long', repeat('x', 1025))$$),
	('23514', $$INSERT INTO quota.plans (plan, description) VALUES ('long', repeat('x', 4097))$$),
	('23514', $$INSERT INTO quota.features (feature, kind, description) VALUES ('long', 'counter', repeat('x', 4097))$$),
	('23514', $$WITH f AS (INSERT INTO quota.features (feature, kind) VALUES ('long', 'flag'))
		INSERT INTO quota.plan_features VALUES ('pro', 'long', to_jsonb(repeat('x', 65536)))$$),
	('22023', $$SELECT set_config('quota.user', repeat('u', 256), true), quota_consume('acme', 'report')$$),
	('22023', $$SELECT set_config('quota.user', repeat('u', 256), true), quota_set_plan('acme', 'pro')$$),
	('22023', $$SELECT set_config('request.jwt.claims', jsonb_build_object('sub', repeat('u', 256))::text, true), quota.user_id()$$),
	('22023', $$SELECT set_config('quota.reason', repeat('x', 1025), true), quota_set_plan('acme', 'pro')$$)) v (state, statement),
	LATERAL (SELECT error_of(statement) AS error) e;
SELECT set_config('quota.user', '', true), set_config('request.jwt.claims', '', true), set_config('quota.reason', '', true) \g /dev/null

/* The largest, and how long that takes. */
SELECT lives_ok(statement, statement)
FROM unnest(ARRAY[
	$$SELECT quota_stripe_checkout('acme', 'pro', url(8192), url(8192), options => jsonb_build_object('a', repeat('x', 65520)))$$,
	$$SELECT quota_stripe_portal('acme', url(8192), nested(8))$$,
	$$SELECT quota_stripe_portal('acme', 'https://a', (SELECT jsonb_object_agg(i, i) FROM generate_series(1, 4000) i))$$,
	$$SELECT quota_consume('acme', 'report', metadata => jsonb_build_object('a', repeat('x', 65520)))$$,
	$$SELECT quota_suspend('acme', repeat('x', 1024)), quota_activate('acme')$$,
	$$SELECT quota_set_override('acme', 'report', 'month', 1, reason => repeat('x', 1024))$$,
	$$INSERT INTO quota.accounts (account, name, account_type, metadata) VALUES ('long', repeat('x', 1024), repeat('x', 255), jsonb_build_object('a', repeat('x', 65520)))$$,
	$$SELECT set_config('quota.user', repeat('u', 255), true), set_config('quota.reason', repeat('x', 1024), true), quota_set_plan('acme', 'pro')$$]) statement;
SELECT is(quota.percent_encode('aZ09._~- /?&=%äß€😀' || chr(10)), 'aZ09._~-%20%2F%3F%26%3D%25%C3%A4%C3%9F%E2%82%AC%F0%9F%98%80%0A', 'what is written as it is, and what is not');
SELECT is(quota.percent_encode(''), '', 'nothing');
CREATE FUNCTION seconds_of(bytes integer) RETURNS double precision LANGUAGE plpgsql AS $$
DECLARE
	value text := repeat('ä', bytes / 2);
	began timestamptz := clock_timestamp();
BEGIN
	PERFORM quota.percent_encode(value);
	RETURN date_part('epoch', clock_timestamp() - began);
END $$;
SELECT cmp_ok((SELECT min(seconds_of(2000000)) FROM generate_series(1, 3)), '<', 40 * (SELECT max(seconds_of(200000)) FROM generate_series(1, 3)),
	'ten times the bytes take about ten times as long, not a hundred times');

SELECT * FROM finish();
ROLLBACK;
