/*
 * Stripe: signatures, what webhooks make of an account in whatever order they
 * come, and the requests to Stripe.
 */
BEGIN;
SELECT no_plan();
\ir _helpers.sql
\ir _stripe.sql
SET LOCAL timezone = 'UTC';
SET LOCAL quota.now = '2026-01-10 09:00+00';
SELECT quota_apply('{"features": {"scan": {"kind": "counter"}},
	"plans": {"free": {"default": true, "price": 0, "limits": {"scan": {"cycle": {"limit": 2}}}},
		"pro": {"price": 19, "limits": {"scan": {"cycle": {"limit": 20}}}}, "elite": {"price": 49, "billing_interval": "year"}, "forever": {"billing_interval": "once"}}}') \g /dev/null

/* Signatures. */
SELECT is(hmac_sha256('Jefe', 'what do ya want for nothing?'), '5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843', 'the test''s own HMAC is that of RFC 4231');
SELECT throws_ok($$SELECT quota_stripe_event('{}', 't=1768035600,v1=501810a2f5c64887ff3b033472ebabfcff84cbd3863fa97e3c1d588551f6cc97')$$,
	'55000', 'there is no signing secret of a Stripe webhook', 'no secret: not even a right signature');
INSERT INTO quota.stripe_secrets VALUES ('test', 'whsec_test');
CREATE FUNCTION checked(payload text, signature text) RETURNS text LANGUAGE sql AS $$
	SELECT COALESCE(error_of(format('SELECT quota.check_stripe_signature(%L, %L, ARRAY(SELECT secret FROM quota.stripe_secrets))', payload, signature))->>'message', 'yes')
$$;
/* what Python's hmac makes of them */
CREATE TEMP TABLE vectors (secret text, payload text, digest text);
INSERT INTO vectors VALUES
	('whsec_test', '{}', '501810a2f5c64887ff3b033472ebabfcff84cbd3863fa97e3c1d588551f6cc97'),
	('whsec_test', E'{"id": "evt_1", "name": "Ünïcode 😀"}\r\n', 'da7e997f35b4b5d610726f87b6cd78f0f3e2e73dac4059e8d4e34bdf057e9600'),
	(repeat('k', 100), '{}', '27fd50026f783e6e53a1946c339bf0a4b3eb0a9ed0df3963fe3957bdef98dc9e'),
	('whsec_old', '{}', '715d10b2b2b846bc2e9fca33d057100edeca32638480195e4e1fd45ae874570f');
SELECT is(checked(payload, 't=1768035600,v1=' || digest), CASE secret WHEN 'whsec_test' THEN 'yes' ELSE 'Stripe signature does not match the payload' END, 'one secret: ' || left(secret, 10))
FROM vectors;
INSERT INTO quota.stripe_secrets VALUES ('old', 'whsec_old'), ('long', repeat('k', 100));
SELECT is(checked(payload, 't=1768035600,v1=' || digest), 'yes', 'each of three secrets: ' || left(secret, 10)) FROM vectors;
DELETE FROM quota.stripe_secrets WHERE name <> 'test';

\set good 501810a2f5c64887ff3b033472ebabfcff84cbd3863fa97e3c1d588551f6cc97
SELECT is(checked('{}', replace(replace(header, 'T', '1768035600'), 'GOOD', :'good')), message, 'header: ' || header)
FROM (VALUES
	('t=T,v1=GOOD,v0=6ffbb59b2300aae63f272406069a9788598b792a944a07aba816edb039989a39', 'yes'),
	('v1=GOOD,t=T', 'yes'), ('t=T, v1=GOOD', 'yes'), ('t=T,v1=' || repeat('0', 64) || ',v1=GOOD', 'yes'), ('t=T,v1=GOOD,v1=,v1=x', 'yes'), ('scheme,t=T,,v1=GOOD,', 'yes'),
	('t=T,v0=GOOD', 'Stripe signature is malformed'), ('t=T', 'Stripe signature is malformed'), ('v1=GOOD', 'Stripe signature is malformed'),
	('', 'Stripe signature is malformed'), ('GOOD', 'Stripe signature is malformed'), ('t=T,t=T,v1=GOOD', 'Stripe signature is malformed'),
	('t=T,v1=' || repeat('0', 64), 'Stripe signature does not match the payload'), ('t=T,v1=', 'Stripe signature does not match the payload'),
	('t=T,v1=GOOD0', 'Stripe signature does not match the payload'), ('t=T,v1= GOOD', 'Stripe signature does not match the payload'),
	('t=T,v1=' || upper(:'good'), 'Stripe signature does not match the payload'), ('t=T,v1=' || left(:'good', 63), 'Stripe signature does not match the payload'),
	('t=1768035601,v1=GOOD', 'Stripe signature does not match the payload'), ('t=01768035600,v1=GOOD', 'Stripe signature does not match the payload'),
	('t=,v1=GOOD', 'Stripe signature does not match the payload'), ('t=+T,v1=GOOD', 'Stripe signature does not match the payload')
) v (header, message);
SELECT is(checked(payload, 't=1768035600,v1=' || :'good'), 'Stripe signature does not match the payload', 'another payload: ' || payload)
FROM unnest(ARRAY['{} ', ' {}', '{', '', E'{}\n']) payload;
/* A time that was signed all the same. */
SELECT is(checked('{}', format('t=%s,v1=%s', t, hmac_sha256('whsec_test', convert_to(t || '.{}', 'UTF8')))), 'Stripe signature is malformed', 'time: ' || t)
FROM unnest(ARRAY['', 'now', '-1768035600', '1768035600.5', '99999999999999999999', '10000000000', ' 1768035600', '0x10']) t;
SELECT is(checked('{}', signature('{}', quota.now() + d)), CASE WHEN abs(extract(epoch FROM d)) <= 300 THEN 'yes' ELSE 'Stripe signature is not of now' END, 'made ' || d || ' away')
FROM unnest('{0,5 min,-5 min,301 s,-301 s,1 year,-1 year,-56 years}'::interval[]) d;
SELECT is(error_of($$SELECT quota_stripe_event('{}', signature('{}', '2026-01-10 08:54:59+00'))$$), jsonb_build_object('state', '28000', 'message', 'Stripe signature is not of now',
	'detail', 'It was made at 2026-01-10 08:54:59+00, and now it is 2026-01-10 09:00:00+00; they may be 300 seconds apart.', 'hint', ''), 'how it is told');
SET LOCAL quota.stripe_tolerance = '1h';
SELECT is(checked('{}', signature('{}', '2026-01-10 08:54:59+00')), 'yes', 'the tolerance is a setting');
RESET quota.stripe_tolerance;
SELECT throws_ok('SET LOCAL quota.stripe_tolerance = 0', '22023', NULL, 'at least a second');
SET LOCAL quota.now = '';
SELECT is(checked('{}', signature('{}', clock_timestamp())), 'yes', 'without quota.now the clock counts');
SELECT is(checked('{}', signature('{}', '2026-01-10 09:00+00')), 'Stripe signature is not of now', 'and it is later by now');
SET LOCAL quota.now = '2026-01-10 09:00+00';
SELECT throws_ok($$SELECT quota_stripe_event(NULL, 't=1,v1=x')$$, '22004', 'payload must not be null', 'no payload');
SELECT throws_ok($$SELECT quota_stripe_event('{}', NULL)$$, '22004', 'signature must not be null', 'no signature');
SELECT throws_ok($$SELECT quota_stripe_event('{}', 't=1768035600,v1=0')$$, '28000', 'Stripe signature does not match the payload', 'a wrong signature');
SELECT throws_ok($$SELECT quota_stripe_event('{', 't=1768035600,v1=0')$$, '28000', 'Stripe signature does not match the payload', 'comes before all else that is wrong');

/* Payloads that are signed and wrong. */
SELECT throws_ok(format('SELECT hand_in(%L)', payload), state, message, 'payload: ' || payload)
FROM (VALUES
	('', '22P02', NULL), ('{', '22P02', NULL), ('evt_1', '22P02', NULL), ('{}', '22023', 'payload is not an event of Stripe'), ('null', '22023', 'payload is not an event of Stripe'),
	('[]', '22023', 'payload is not an event of Stripe'), ('"event"', '22023', 'payload is not an event of Stripe'),
	('{"object": "event", "id": "evt_1", "type": "x", "created": 1}', '22023', 'payload is not an event of Stripe'),
	('{"object": "event", "id": "evt_1", "type": "x", "created": 1, "data": {"object": null}}', '22023', 'payload is not an event of Stripe'),
	('{"object": "event", "id": "evt_1", "type": "x", "created": "1", "data": {"object": {}}}', '22023', 'payload is not an event of Stripe'),
	('{"object": "event", "id": 1, "type": "x", "created": 1, "data": {"object": {}}}', '22023', 'payload is not an event of Stripe'),
	('{"object": "v2.core.event", "id": "evt_1", "type": "x", "created": 1, "data": {"object": {}}}', '22023', 'payload is not an event of Stripe'),
	('{"object": "event", "id": "", "type": "x", "created": 1, "data": {"object": {}}}', '22023', 'id must have 1 to 255 bytes'),
	('{"object": "event", "id": "evt_1", "type": "x", "created": 1e300, "data": {"object": {}}}', '22003', NULL),
	('{"object": "event", "id": "evt_1", "type": "customer.subscription.updated", "created": 1, "data": {"object": {"id": "sub"}}}', '22004', 'customer must not be null'),
	('{"object": "event", "id": "evt_1", "type": "customer.subscription.updated", "created": 1, "data": {"object": {"id": "sub", "customer": ""}}}', '22023', 'customer must have 1 to 255 bytes'),
	('{"object": "event", "id": "evt_1", "type": "customer.subscription.updated", "created": 1, "data": {"object": {"id": "sub", "customer": "cus", "status": "great"}}}', '22023', 'status must be one that Stripe has'),
	('{"object": "event", "id": "evt_1", "type": "customer.subscription.updated", "created": 1, "data": {"object": {"id": "sub", "customer": "cus", "status": "active"}}}', '22004', 'created must not be null')
) v (payload, state, message);
SELECT is((SELECT count(*) FROM quota.stripe_events), 0::bigint, 'none of these has left anything');

/* Prices. */
SELECT quota_stripe_price('price_pro', 'pro'), quota_stripe_price('price_pro_year', 'pro', 'year'), quota_stripe_price('price_elite', 'elite') \g /dev/null
INSERT INTO quota.stripe_prices (price, plan) VALUES ('price_addon', NULL);
SELECT set_eq('SELECT price, plan, billing_interval, offered FROM quota.stripe_prices',
	$$VALUES ('price_pro', 'pro', 'month', true), ('price_pro_year', 'pro', 'year', true), ('price_elite', 'elite', 'year', true), ('price_addon', NULL, 'month', true)$$,
	'prices of a plan''s own interval, and of another');
SELECT quota_stripe_price('price_pro_2', 'pro') \g /dev/null
SELECT set_eq($$SELECT price, offered FROM quota.stripe_prices WHERE plan = 'pro'$$, $$VALUES ('price_pro', false), ('price_pro_2', true), ('price_pro_year', true)$$,
	'a new price takes the place of the old one, which still names the plan');
SELECT quota_stripe_price('price_pro', 'pro') \g /dev/null
SELECT is((SELECT string_agg(price, ' ' ORDER BY price) FROM quota.stripe_prices WHERE plan = 'pro' AND offered), 'price_pro price_pro_year', 'and the other way round');
SELECT throws_ok(call, state, message, call) FROM (VALUES
	($$SELECT quota_stripe_price(NULL, 'pro')$$, '22004', 'price must not be null'), ($$SELECT quota_stripe_price('', 'pro')$$, '22023', 'price must have 1 to 255 bytes'),
	($$SELECT quota_stripe_price('p', NULL)$$, '22004', 'plan must not be null'), ($$SELECT quota_stripe_price('p', 'gold')$$, '42704', 'plan "gold" does not exist'),
	($$SELECT quota_stripe_price('p', 'pro', 'quarter')$$, '22023', 'billing_interval must be day, week, month or year'),
	($$SELECT quota_stripe_price('p', 'forever')$$, '22023', 'billing_interval must be day, week, month or year'),
	($$INSERT INTO quota.stripe_prices VALUES ('p', 'pro')$$, '23505', NULL), ($$INSERT INTO quota.stripe_prices VALUES ('p', 'gold')$$, '23503', NULL)
) v (call, state, message);

/* A subscription's life. */
SELECT is(hand_in(stripe_event('evt_01', 'checkout.session.completed', '2026-01-10 09:00:02+00', checkout_session('sub_1', 'price_pro', 'acme'))),
	'{"event": "evt_01", "type": "checkout.session.completed", "outcome": "applied", "subscription": "sub_1", "account": "acme", "plan": "pro", "status": "active"}', 'a checkout: pro');
SELECT is(told(stripe_event('evt_02', 'customer.subscription.created', '2026-01-10 09:00:00+00', subscription('sub_1', 'price_pro', 'incomplete', 'acme'))),
	'applied acme pro active', 'what comes after it and is older: the terms count, the payment as well');
SELECT is(told(stripe_event('evt_03', 'customer.subscription.updated', '2026-01-10 09:00:02+00', subscription('sub_1', 'price_pro', 'active', 'acme'))), 'applied acme pro active', 'updated');
SELECT is(told(stripe_event('evt_04', 'invoice.paid', '2026-01-10 09:00:02+00', invoice('sub_1', 'acme'))), 'unchanged acme pro active', 'an invoice that says no more');
SELECT is(told(stripe_event('evt_04', 'invoice.paid', '2026-01-10 09:00:02+00', invoice('sub_1', 'acme'))), 'repeated acme pro active', 'twice');
CREATE TEMP VIEW shown AS
	SELECT account COLLATE "default" AS account, plan COLLATE "default" AS plan, status, trial_ends_at, plan_ends_at, next_plan COLLATE "default" AS next_plan, cycle_anchor FROM quota.accounts;
SELECT results_eq('SELECT * FROM shown', $$VALUES ('acme', 'pro', 'active', NULL::timestamptz, NULL::timestamptz, NULL, '2026-01-10 09:00+00'::timestamptz)$$,
	'a plan without an end, in windows from the billing cycle''s anchor');
SELECT results_eq('SELECT account COLLATE "default", customer COLLATE "default" FROM quota.stripe_customers', $$VALUES ('acme', 'cus_acme')$$, 'its customer');
SELECT results_eq('SELECT price COLLATE "default", status, created_at, period_ends_at, ends_at FROM quota.stripe_subscriptions',
	$$VALUES ('price_pro', 'active', '2026-01-10 09:00+00'::timestamptz, '2026-02-10 09:00+00'::timestamptz, NULL::timestamptz)$$, 'its subscription');
SELECT is(to_char((quota_evaluate('acme', 'scan')).period_end, 'MM-DD HH24:MI'), '02-10 09:00', 'what it may use goes by the billing cycle');

SELECT is(told(stripe_event('evt_05', 'invoice.payment_failed', '2026-02-10 10:00+00', invoice('sub_1', 'acme'))), 'applied acme pro past_due', 'a payment failed: pro goes on');
SELECT is(told(stripe_event('evt_06', 'customer.subscription.updated', '2026-02-10 10:00+00', subscription('sub_1', 'price_pro', 'past_due', 'acme'))), 'applied acme pro past_due', 'the subscription says so as well');
SELECT is(told(stripe_event('evt_07', 'invoice.paid', '2026-02-12 10:00+00', newer_invoice('sub_1', 'acme'))), 'applied acme pro active', 'paid: active again, also by a newer API');
SELECT is(told(stripe_event('evt_08', 'invoice.payment_failed', '2026-02-11 10:00+00', invoice('sub_1', 'acme'))), 'unchanged acme pro active', 'an older failure comes late');
SELECT is(told(stripe_event('evt_09', 'customer.subscription.updated', '2026-02-09 10:00+00', subscription('sub_1', 'price_elite', 'active', 'acme'))), 'unchanged acme pro active', 'so does an older change');
SELECT is(told(stripe_event('evt_10', 'customer.subscription.updated', '2026-02-11 11:00+00', subscription('sub_1', 'price_elite', 'past_due', 'acme'))), 'applied acme elite active',
	'another plan, told after the payment that is newer: that plan, and paid');
SELECT is(told(stripe_event('evt_11', 'customer.subscription.updated', '2026-02-13 10:00+00', subscription('sub_1', 'price_elite', 'unpaid', 'acme'))), 'applied acme free past_due', 'unpaid for good: the default plan, and it is due');
SELECT is(told(stripe_event('evt_12', 'invoice.paid', '2026-02-14 10:00+00', invoice('sub_1', 'acme'))), 'applied acme elite active', 'paid after all');
SELECT is(told(stripe_event('evt_13', 'customer.subscription.paused', '2026-02-15 10:00+00', subscription('sub_1', 'price_elite', 'paused', 'acme'))), 'applied acme free canceled', 'paused');
SELECT is(told(stripe_event('evt_14', 'customer.subscription.resumed', '2026-02-16 10:00+00', subscription('sub_1', 'price_elite', 'active', 'acme'))), 'applied acme elite active', 'resumed');
SELECT is(told(stripe_event('evt_15', 'customer.subscription.deleted', '2026-02-17 10:00+00', subscription('sub_1', 'price_elite', 'canceled', 'acme'))), 'applied acme free canceled', 'deleted: back to free');
SELECT results_eq('SELECT * FROM shown', $$VALUES ('acme', NULL, 'canceled', NULL::timestamptz, NULL::timestamptz, NULL, '2026-01-10 09:00+00'::timestamptz)$$, 'what is left of it');
SELECT is(told(stripe_event('evt_1' || n, type, '2026-02-18 10:00+00', object)), 'unchanged acme free canceled', 'nothing revives it: ' || type)
FROM (VALUES (6, 'customer.subscription.updated', subscription('sub_1', 'price_pro', 'active', 'acme')), (7, 'invoice.paid', invoice('sub_1', 'acme')),
	(8, 'checkout.session.completed', checkout_session('sub_1', 'price_pro', 'acme')), (9, 'customer.subscription.deleted', subscription('sub_1', 'price_pro', 'canceled', 'acme'))) v (n, type, object);
SELECT results_eq($$SELECT outcome, count(*) FROM quota.stripe_events GROUP BY 1 ORDER BY 1$$, $$VALUES ('applied', 12::bigint), ('unchanged', 7)$$, 'each event is on record once');
SELECT results_eq($$SELECT DISTINCT act COLLATE "default", table_name, account COLLATE "default" FROM quota.audit_log WHERE account IS NOT NULL ORDER BY 2$$,
	$$VALUES ('quota_stripe_event', 'accounts', 'acme'), ('quota_stripe_event', 'stripe_customers', 'acme')$$, 'changes of the account are in the audit log');

/* Which of two events of one second is the newer. */
CREATE FUNCTION in_order(types text[], statuses text[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	got text;
	who text := 'o' || (SELECT count(*) FROM quota.stripe_events);
BEGIN
	FOR i IN 1..cardinality(types) LOOP
		got := told(stripe_event(format('evt_%s_%s', who, i), 'customer.subscription.' || types[i], '2026-01-10 09:00:01+00', subscription('sub_' || who, 'price_pro', statuses[i], who)));
	END LOOP;
	RETURN replace(got, who || ' ', '');
END $$;
SELECT is(in_order('{created,updated}', '{incomplete,active}'), 'applied pro active', 'created, then updated');
SELECT is(in_order('{updated,created}', '{active,incomplete}'), 'unchanged pro active', 'updated, then created');
SELECT is(in_order('{updated,updated}', '{active,incomplete}'), 'unchanged pro active', 'nothing becomes incomplete again');
SELECT is(in_order('{updated,created}', '{past_due,active}'), 'unchanged pro past_due', 'updated is newer than created');
SELECT is(in_order('{updated,updated}', '{past_due,active}'), 'applied pro active', 'of two alike the one that comes later');
SELECT is(in_order('{updated,updated}', '{active,past_due}'), 'applied pro past_due', 'whichever it is');
SELECT is(in_order('{updated,deleted}', '{active,canceled}'), 'applied free canceled', 'updated, then deleted');
SELECT is(in_order('{deleted,updated}', '{canceled,active}'), 'unchanged free', 'deleted, then updated');
SELECT is(in_order('{deleted,created}', '{canceled,active}'), 'unchanged free', 'deleted, then created');
SELECT is(in_order('{created,updated}', '{incomplete,incomplete_expired}'), 'applied free', 'never paid: nothing was given');
SELECT is(told(stripe_event('evt_p1', 'customer.subscription.created', '2026-01-10 09:00:00+00', subscription('sub_p', 'price_pro', 'incomplete', 'pay'))), 'applied pay free', 'a subscription waits for its payment');
SELECT is(told(stripe_event('evt_p2', 'invoice.payment_failed', '2026-01-10 09:00:01+00', invoice('sub_p', 'pay'))), 'applied pay free', 'which fails: no plan');
SELECT is(told(stripe_event('evt_p3', 'invoice.paid', '2026-01-10 09:00:01+00', invoice('sub_p', 'pay'))), 'applied pay pro active', 'and succeeds within the second');
SELECT is(told(stripe_event('evt_p4', 'invoice.payment_failed', '2026-01-10 09:00:01+00', invoice('sub_p', 'pay'))), 'unchanged pay pro active', 'the failure comes again: paid counts');
SELECT is(told(stripe_event('evt_q1', 'invoice.paid', '2026-01-10 09:00:01+00', invoice('sub_q', 'first'))), 'applied first free', 'a payment that comes first gives nothing yet');
SELECT is(told(stripe_event('evt_q2', 'customer.subscription.created', '2026-01-10 09:00:00+00', newer(subscription('sub_q', 'price_pro', 'incomplete', 'first')))), 'applied first pro active', 'with its subscription it does');
SELECT is((SELECT period_ends_at FROM quota.stripe_subscriptions WHERE subscription = 'sub_q'), '2026-02-10 09:00+00', 'the period is found in a newer API''s items');

/* Every order of one life comes to the same. */
CREATE TEMP TABLE life (n int PRIMARY KEY, type text, created timestamptz, object jsonb);
CREATE FUNCTION live(who text, VARIADIC n int[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	event record;
BEGIN
	FOR event IN SELECT l.* FROM unnest(n) WITH ORDINALITY o (n, i) JOIN life l USING (n) ORDER BY i LOOP
		PERFORM hand_in(stripe_event(format('evt_%s_%s', who, event.n), event.type, event.created, replace(event.object::text, 'WHO', who)::jsonb));
	END LOOP;
	RETURN (SELECT concat_ws(' ', plan, status, plan_ends_at) FROM quota.accounts WHERE account = who);
END $$;
INSERT INTO life VALUES
	(1, 'customer.subscription.created', '2026-01-10 09:00:00+00', subscription('sub_WHO', 'price_pro', 'incomplete', 'WHO')),
	(2, 'checkout.session.completed', '2026-01-10 09:00:03+00', checkout_session('sub_WHO', 'price_pro', 'WHO')),
	(3, 'customer.subscription.updated', '2026-01-10 09:00:02+00', subscription('sub_WHO', 'price_pro', 'active', 'WHO')),
	(4, 'invoice.paid', '2026-01-10 09:00:02+00', invoice('sub_WHO', 'WHO')),
	(5, 'customer.subscription.updated', '2026-01-20 09:00:00+00', subscription('sub_WHO', 'price_elite', 'active', 'WHO', '{"cancel_at_period_end": true}'));
SELECT results_eq($$
	WITH RECURSIVE orders (o) AS (SELECT ARRAY[n] FROM life UNION ALL SELECT o || n FROM orders, life WHERE n <> ALL (o))
	SELECT DISTINCT live('life' || row_number() OVER (), VARIADIC o) FROM orders WHERE cardinality(o) = 5
	$$, $$VALUES ('elite active 2026-02-10 09:00:00+00')$$, 'five events in each of 120 orders');
INSERT INTO life VALUES (6, 'customer.subscription.deleted', '2026-01-21 09:00:00+00', subscription('sub_WHO', 'price_elite', 'canceled', 'WHO'));
SELECT results_eq($$
	WITH RECURSIVE orders (o) AS (SELECT ARRAY[n] FROM life UNION ALL SELECT o || n FROM orders, life WHERE n <> ALL (o))
	SELECT DISTINCT COALESCE(live('gone' || row_number() OVER (), VARIADIC o), '') FROM orders WHERE cardinality(o) = 6 ORDER BY 1
	$$, $$VALUES (''), ('canceled')$$, 'with its end, in each of 720: nothing is left');

/* Ends. */
SELECT is(told(stripe_event('evt_e1', 'customer.subscription.updated', '2026-01-10 09:01+00', newer(subscription('sub_e', 'price_pro', 'active', 'ends', '{"cancel_at_period_end": true}')))), 'applied ends pro active', 'canceled to the end of the period');
SELECT results_eq($$SELECT plan_ends_at, next_plan FROM shown WHERE account = 'ends'$$, $$VALUES ('2026-02-10 09:00+00'::timestamptz, NULL)$$, 'which is the end of the plan');
SET LOCAL quota.now = '2026-02-10 09:00+00';
SELECT is((quota_evaluate('ends', 'scan')).plan, 'free', 'no webhook is needed for it');
SET LOCAL quota.now = '2026-01-10 09:00+00';
SELECT is(told(stripe_event('evt_e2', 'customer.subscription.updated', '2026-01-10 09:02+00', subscription('sub_e', 'price_pro', 'active', 'ends', jsonb_build_object('cancel_at', seconds('2026-01-31 00:00+00'))))), 'applied ends pro active', 'canceled to a day');
SELECT is((SELECT plan_ends_at FROM shown WHERE account = 'ends'), '2026-01-31 00:00+00', 'which is its end');
SELECT is(told(stripe_event('evt_e3', 'customer.subscription.updated', '2026-01-10 09:03+00', subscription('sub_e', 'price_pro', 'active', 'ends'))), 'applied ends pro active', 'not canceled after all');
SELECT is((SELECT plan_ends_at FROM shown WHERE account = 'ends'), NULL, 'no end');
SET LOCAL quota.now = '2026-03-20 09:00+00';
SELECT is((quota_evaluate('ends', 'scan')).plan, 'pro', 'a renewal that is not told of cuts nobody off');
SELECT is(told(stripe_event('evt_e4', 'customer.subscription.updated', '2026-01-10 09:04+00', subscription('sub_e', 'price_pro', 'active', 'ends', '{"cancel_at_period_end": true}'))), 'applied ends free canceled', 'an end that has come before it is told');
SET LOCAL quota.now = '2026-01-10 09:00+00';

/* Trials. */
SELECT is(told(stripe_event('evt_t1', 'customer.subscription.created', '2026-01-10 09:00+00', subscription('sub_t', 'price_pro', 'trialing', 'tries', jsonb_build_object('trial_end', seconds('2026-01-24 09:00+00'))))), 'applied tries pro trialing', 'a trial');
SELECT results_eq($$SELECT trial_ends_at, plan_ends_at, next_plan FROM shown WHERE account = 'tries'$$, $$VALUES ('2026-01-24 09:00+00'::timestamptz, NULL::timestamptz, 'pro')$$, 'goes over into the plan');
SELECT is(told(stripe_event('evt_t2', 'invoice.paid', '2026-01-10 09:00+00', invoice('sub_t', 'tries', '{"amount_due": 0}'))), 'applied tries pro trialing', 'its invoice of nothing does not end it');
SELECT is(told(stripe_event('evt_t3', 'checkout.session.completed', '2026-01-10 09:00+00', checkout_session('sub_t', 'price_pro', 'tries', '{"payment_status": "no_payment_required"}'))), 'unchanged tries pro trialing', 'nor its checkout');
SET LOCAL quota.now = '2026-01-25 09:00+00';
SELECT is((quota_evaluate('tries', 'scan')).plan, 'pro', 'and stays so until Stripe says otherwise');
SELECT is(told(stripe_event('evt_t4', 'customer.subscription.updated', '2026-01-24 09:00+00', subscription('sub_t', 'price_pro', 'active', 'tries', jsonb_build_object('trial_end', seconds('2026-01-24 09:00+00'))))), 'applied tries pro active', 'its end is told');
SET LOCAL quota.now = '2026-01-10 09:00+00';
SELECT is(told(stripe_event('evt_t5', 'customer.subscription.created', '2026-01-10 09:00+00', subscription('sub_u', 'price_pro', 'trialing', 'leaves', jsonb_build_object('trial_end', seconds('2026-01-24 09:00+00'), 'cancel_at', seconds('2026-01-24 09:00+00'))))), 'applied leaves pro trialing', 'a trial that was canceled');
SET LOCAL quota.now = '2026-01-24 09:00+00';
SELECT is((quota_evaluate('leaves', 'scan')).plan, 'free', 'ends by itself');
SET LOCAL quota.now = '2026-01-10 09:00+00';

/* Several subscriptions of an account, and what others have set. */
SELECT is(told(stripe_event('evt_s1', 'customer.subscription.created', '2026-01-10 09:00+00', subscription('sub_s1', 'price_pro', 'active', 'two'))), 'applied two pro active', 'a first subscription');
SELECT is(told(stripe_event('evt_s2', 'customer.subscription.created', '2026-01-12 09:00+00', subscription('sub_s2', 'price_elite', 'active', 'two',
	jsonb_build_object('created', seconds('2026-01-12 09:00+00'), 'customer', 'cus_second')))), 'applied two elite active', 'a second one: the newer counts');
SELECT is((SELECT customer FROM quota.stripe_customers WHERE account = 'two'), 'cus_second', 'and its customer');
SELECT is(told(stripe_event('evt_s3', 'customer.subscription.deleted', '2026-01-13 09:00+00', subscription('sub_s1', 'price_pro', 'canceled', 'two'))), 'applied two elite active', 'the end of the old one takes nothing');
SELECT is(told(stripe_event('evt_s4', 'customer.subscription.created', '2026-01-14 09:00+00', subscription('sub_s3', 'price_pro', 'incomplete', 'two', jsonb_build_object('created', seconds('2026-01-14 09:00+00'))))), 'applied two elite active', 'nor does a third that is not paid');
SELECT is(told(stripe_event('evt_s5', 'customer.subscription.updated', '2026-01-15 09:00+00', subscription('sub_s3', 'price_pro', 'incomplete_expired', 'two', jsonb_build_object('created', seconds('2026-01-14 09:00+00'))))), 'applied two elite active', 'and never will be');
SELECT is(told(stripe_event('evt_s6', 'customer.subscription.created', '2026-01-16 09:00+00', subscription('sub_s4', 'price_pro', 'past_due', 'two', jsonb_build_object('created', seconds('2026-01-16 09:00+00'))))), 'applied two elite active', 'one that is paid comes before one that is due');
SELECT is(told(stripe_event('evt_s7', 'customer.subscription.deleted', '2026-01-17 09:00+00', subscription('sub_s2', 'price_elite', 'canceled', 'two'))), 'applied two pro past_due', 'then that one counts');
SELECT quota_set_plan('hand', 'elite'), quota_suspend('bad') \g /dev/null
SELECT is(told(stripe_event('evt_h1', 'customer.subscription.created', '2026-01-10 09:00+00', subscription('sub_h', 'price_pro', 'incomplete', 'hand'))), 'applied hand elite active', 'a plan set by hand stays while a checkout is not paid');
SELECT is(told(stripe_event('evt_h2', 'customer.subscription.updated', '2026-01-11 09:00+00', subscription('sub_h', 'price_pro', 'incomplete_expired', 'hand'))), 'applied hand elite active', 'and never is');
SELECT is(told(stripe_event('evt_h3', 'customer.subscription.deleted', '2026-01-11 09:00+00', subscription('sub_i', 'price_elite', 'canceled', 'hand'))), 'applied hand free canceled', 'a subscription from before that ends: back to free');
SELECT is(told(stripe_event('evt_b1', 'customer.subscription.created', '2026-01-10 09:00+00', subscription('sub_b', 'price_pro', 'active', 'bad'))), 'applied bad pro suspended', 'who is suspended stays so');
SELECT is(told(stripe_event('evt_b2', 'customer.subscription.deleted', '2026-01-11 09:00+00', subscription('sub_b', 'price_pro', 'canceled', 'bad'))), 'applied bad free suspended', 'whatever comes');
SELECT quota_activate('bad') \g /dev/null
SELECT is((SELECT plan FROM quota.account_plans WHERE account = 'bad'), 'free', 'and has what it has by then');

/* Which prices, and whose. */
SELECT is(told(stripe_event('evt_w1', 'customer.subscription.created', '2026-01-10 09:00+00', subscription('sub_w1', 'price_seats price_pro_2', 'active', 'addons'))), 'applied addons pro active', 'one item names the plan, another price is not known');
SELECT is(error_of(format('SELECT hand_in(%L)', stripe_event('evt_w2', 'customer.subscription.created', '2026-01-10 09:00+00', subscription('sub_w2', 'price_new', 'active', 'ann')))),
	'{"state": "42704", "message": "Stripe price \"price_new\" names no plan", "detail": "Subscription \"sub_w2\" of account \"ann\" has it.",
	"hint": "Name its plan with quota_stripe_price, or insert it into quota.stripe_prices without a plan; Stripe sends the event again."}', 'an account with an unknown price');
SELECT is(error_of(format('SELECT hand_in(%L)', stripe_event('evt_w3', 'customer.subscription.created', '2026-01-10 09:00+00', subscription('sub_w3', 'price_pro', 'active', 'x', '{"metadata": {}}')))),
	'{"state": "42704", "message": "Stripe customer \"cus_x\" belongs to no account", "detail": "It has subscribed to price \"price_pro\", by subscription \"sub_w3\".",
	"hint": "Insert it into quota.stripe_customers, or set \"account\" in the subscription''s metadata; Stripe sends the event again."}', 'a price with an unknown account');
SELECT throws_ok(format('SELECT hand_in(%L)', stripe_event('evt_w4', 'customer.subscription.created', '2026-01-10 09:00+00', subscription('sub_w4', 'price_pro price_elite', 'active', 'ann'))),
	'21000', 'subscription "sub_w4" names more than one plan', 'two plans at once');
SELECT is((SELECT count(*) FROM quota.stripe_events WHERE event IN ('evt_w2', 'evt_w3', 'evt_w4')), 0::bigint, 'which can be sent again');
INSERT INTO quota.stripe_customers VALUES ('xavier', 'cus_x');
SELECT quota_stripe_price('price_new', 'elite', 'month') \g /dev/null
SELECT is(told(stripe_event('evt_w2', 'customer.subscription.created', '2026-01-10 09:00+00', subscription('sub_w2', 'price_new', 'active', 'ann'))), 'applied ann elite active', 'the price is known then');
SELECT is(told(stripe_event('evt_w3', 'customer.subscription.created', '2026-01-10 09:00+00', subscription('sub_w3', 'price_pro', 'active', 'x', '{"metadata": {}}'))), 'applied xavier pro active', 'so is the customer''s account');
SELECT is(told(stripe_event('evt_x' || n, type, '2026-01-10 09:00+00', object)), 'ignored', 'of another product: ' || type)
FROM (VALUES (1, 'customer.subscription.created', subscription('sub_x', 'price_foreign', 'active', 'z', '{"metadata": {}}')), (2, 'invoice.paid', invoice('sub_x', 'z', '{"subscription_details": null}')),
	(3, 'customer.subscription.deleted', subscription('sub_x', 'price_pro', 'canceled', 'z', '{"metadata": {}}')), (4, 'checkout.session.completed', checkout_session('sub_x', NULL, 'z', '{"metadata": {}, "client_reference_id": null}')),
	(5, 'checkout.session.completed', checkout_session(NULL, NULL, 'z', '{"mode": "payment"}')), (6, 'invoice.paid', invoice(NULL, 'z')),
	(7, 'customer.subscription.created', subscription('sub_x', 'price_addon', 'active', 'ann')), (8, 'customer.created', '{"id": "cus_z", "object": "customer"}'),
	(9, 'customer.subscription.trial_will_end', subscription('sub_x', 'price_pro', 'trialing', 'z'))) v (n, type, object);
SELECT results_eq($$SELECT outcome, account, count(*) FROM quota.stripe_events WHERE event LIKE 'evt\_x%' GROUP BY 1, 2$$, $$VALUES ('ignored', NULL::text COLLATE "C", 9::bigint)$$, 'is on record');
SELECT is(told(stripe_event('evt_y1', 'customer.subscription.updated', '2026-01-11 09:00+00', subscription('sub_w2', 'price_addon', 'active', 'ann'))), 'applied ann free canceled', 'what has changed to a price that names no plan gives none');
SELECT is(told(stripe_event('evt_y2', 'customer.subscription.updated', '2026-01-12 09:00+00', subscription('sub_w3', 'price_pro', 'active', 'other'))), 'applied xavier pro active', 'a subscription stays with its account');
SELECT is(told(stripe_event('evt_y3', 'checkout.session.completed', '2026-01-12 09:00+00', checkout_session('sub_y', NULL, 'link', '{"metadata": {}}'))), 'applied link free', 'a payment link tells the account');
SELECT is(told(stripe_event('evt_y4', 'customer.subscription.created', '2026-01-12 09:00+00', subscription('sub_y', 'price_pro', 'incomplete', 'link', '{"metadata": {}}'))), 'applied link pro active', 'the subscription the price');
INSERT INTO quota.stripe_customers VALUES ('branch 1', 'cus_head'), ('branch 2', 'cus_head');
SELECT throws_ok(format('SELECT hand_in(%L)', stripe_event('evt_y5', 'customer.subscription.created', '2026-01-10 09:00+00', subscription('sub_y5', 'price_pro', 'active', 'head', '{"metadata": {}}'))),
	'42704', 'Stripe customer "cus_head" belongs to no account', 'a customer of two accounts could be either');
SELECT throws_ok(format('SELECT hand_in(%L)', stripe_event('evt_y6', 'customer.subscription.created', '2026-01-10 09:00+00', subscription('sub_y6', 'price_pro', 'active', repeat('a', 256), '{"customer": "cus_a"}'))),
	'22023', 'account is too long', 'an account that is none');
DELETE FROM quota.stripe_prices WHERE price = 'price_pro_2';
SELECT is(told(stripe_event('evt_y7', 'invoice.payment_failed', '2026-01-12 09:00+00', invoice('sub_w1', 'addons'))), 'applied addons pro active', 'where a price is known no more nothing is taken');
SELECT is(told(stripe_event('evt_y8', 'customer.subscription.deleted', '2026-01-13 09:00+00', subscription('sub_w1', 'price_pro_2', 'canceled', 'addons'))), 'applied addons free canceled', 'until it ends');

/* Requests. */
SELECT is(quota_stripe_checkout('acme', 'pro', 'https://app.example/thanks?session={CHECKOUT_SESSION_ID}', 'https://app.example/plans'), jsonb_build_object(
	'method', 'POST', 'url', 'https://api.stripe.com/v1/checkout/sessions',
	'headers', quota_stripe_checkout('acme', 'pro', 'https://app.example/thanks?session={CHECKOUT_SESSION_ID}', 'https://app.example/plans')->'headers',
	'body', 'cancel_url=https%3A%2F%2Fapp.example%2Fplans&client_reference_id=acme&customer=cus_acme&line_items%5B0%5D%5Bprice%5D=price_pro&line_items%5B0%5D%5Bquantity%5D=1'
		'&metadata%5Baccount%5D=acme&metadata%5Bprice%5D=price_pro&mode=subscription&subscription_data%5Bmetadata%5D%5Baccount%5D=acme'
		'&success_url=https%3A%2F%2Fapp.example%2Fthanks%3Fsession%3D%7BCHECKOUT_SESSION_ID%7D'), 'a checkout of a known customer');
CREATE FUNCTION fields(request jsonb) RETURNS TABLE (name text, value text) LANGUAGE sql AS $$
	SELECT convert_from(decode(n, 'hex'), 'UTF8'), convert_from(decode(v, 'hex'), 'UTF8')
	FROM regexp_split_to_table(request->>'body', '&') pair,
		LATERAL (SELECT string_agg(CASE WHEN m[1] LIKE '\%%' THEN substr(m[1], 2) ELSE encode(convert_to(m[1], 'UTF8'), 'hex') END, '' ORDER BY i) FROM regexp_matches(split_part(pair, '=', 1), '%..|[^%]', 'g') WITH ORDINALITY a (m, i)) l (n),
		LATERAL (SELECT COALESCE(string_agg(CASE WHEN m[1] LIKE '\%%' THEN substr(m[1], 2) ELSE encode(convert_to(m[1], 'UTF8'), 'hex') END, '' ORDER BY i), '') FROM regexp_matches(split_part(pair, '=', 2), '%..|[^%]', 'g') WITH ORDINALITY a (m, i)) r (v)
$$;
SELECT set_eq($$SELECT * FROM fields(quota_stripe_checkout('Zoë & 100% =[x]+😀', 'elite', 'https://app.example/é', options => '{"allow_promotion_codes": true, "customer_email": "z@example.com", "subscription_data": {"trial_period_days": 14, "metadata": {"team": "ü"}},
	"line_items": [{"quantity": 3}, {"price": "price_addon", "quantity": 1}], "tax_id_collection": {"enabled": false}, "mode": "subscription", "client_reference_id": null, "empty": "", "nothing": {}, "none": []}'))$$, $$VALUES
	('mode', 'subscription'), ('line_items[0][price]', 'price_elite'), ('line_items[0][quantity]', '3'), ('line_items[1][price]', 'price_addon'), ('line_items[1][quantity]', '1'),
	('metadata[account]', 'Zoë & 100% =[x]+😀'), ('metadata[price]', 'price_elite'), ('subscription_data[metadata][account]', 'Zoë & 100% =[x]+😀'), ('subscription_data[metadata][team]', 'ü'),
	('subscription_data[trial_period_days]', '14'), ('success_url', 'https://app.example/é'), ('allow_promotion_codes', 'true'), ('customer_email', 'z@example.com'), ('tax_id_collection[enabled]', 'false'), ('empty', '')
	$$, 'options, and what needs encoding');
SELECT ok(quota_stripe_checkout('Zoë & 100% =[x]+😀', 'pro', 'https://a')->>'body' ~ '^[A-Za-z0-9._~%&=-]+$', 'nothing else is in the body');
SELECT is(strpos(quota_stripe_checkout('Zoë & 100% =[x]+😀', 'pro', 'https://a')->>'body', 'client_reference_id=Zo%C3%AB%20%26%20100%25%20%3D%5Bx%5D%2B%F0%9F%98%80&'), 1, 'byte for byte');
SELECT is((SELECT value FROM fields(quota_stripe_checkout('acme', 'pro', 'https://a', billing_interval => 'year')) WHERE name = 'line_items[0][price]'), 'price_pro_year', 'another interval');
SELECT results_eq($$SELECT fields(quota_stripe_checkout(7, 'pro', 'https://a'))::text$$, $$SELECT fields(quota_stripe_checkout('7', 'pro', 'https://a'))::text$$, 'an account by number');
SELECT is((SELECT count(*) FROM fields(quota_stripe_checkout(repeat('x', 201), 'pro', 'https://a')) WHERE name = 'client_reference_id' OR name = 'metadata[account]'), 1::bigint, 'a long account is in the metadata alone');
SELECT is(quota_stripe_portal('acme', 'https://app.example/account') - 'headers', '{"method": "POST", "url": "https://api.stripe.com/v1/billing_portal/sessions",
	"body": "customer=cus_acme&return_url=https%3A%2F%2Fapp.example%2Faccount"}', 'the portal');
SELECT is(quota_stripe_portal('acme', 'https://a', '{"locale": "fr"}')->>'body', 'customer=cus_acme&locale=fr&return_url=https%3A%2F%2Fa', 'the portal with options');
CREATE FUNCTION key_of(request jsonb) RETURNS text LANGUAGE sql AS $$SELECT request #>> '{headers,Idempotency-Key}'$$;
SELECT is(quota_stripe_portal('acme', 'https://a')->'headers', jsonb_build_object('Content-Type', 'application/x-www-form-urlencoded', 'Idempotency-Key', key_of(quota_stripe_portal('acme', 'https://a'))), 'the headers have no secret');
SELECT is(length(key_of(quota_stripe_portal('acme', 'https://a'))), 64, 'a request that is sent again has its key');
SELECT isnt(key_of(quota_stripe_portal('acme', 'https://a')), key_of(quota_stripe_portal('acme', 'https://b')), 'another request another one');
SELECT key_of(quota_stripe_portal('acme', 'https://a')) AS key \gset
SET LOCAL quota.now = '2026-01-10 09:00:00.000001+00';
SELECT isnt(key_of(quota_stripe_portal('acme', 'https://a')), :'key', 'so has the same one of another time');
SET LOCAL quota.now = '2026-01-10 09:00+00';
SELECT is(error_of($$SELECT quota_stripe_checkout('acme', 'free', 'https://a')$$), '{"state": "55000", "message": "plan \"free\" has no Stripe price for billing interval \"month\"",
	"detail": "Intervals that it has one for: none.", "hint": "Name its price with quota_stripe_price, or choose another plan or interval."}', 'a plan without a price');
SELECT is(error_of($$SELECT quota_stripe_checkout('acme', 'pro', 'https://a', billing_interval => 'week')$$)->>'detail', 'Intervals that it has one for: month, year.', 'an interval without one');
SELECT is(error_of($$SELECT quota_stripe_portal('nobody', 'https://a')$$), '{"state": "55000", "message": "account \"nobody\" has no Stripe customer",
	"detail": "", "hint": "It has one when it has subscribed; or insert it into quota.stripe_customers."}', 'an account that is no customer');
SELECT throws_ok(call, state, message, call) FROM (VALUES
	($$SELECT quota_stripe_checkout(NULL, 'pro', 'https://a')$$, '22004', 'account must not be null'), ($$SELECT quota_stripe_checkout('', 'pro', 'https://a')$$, '22023', 'account must not be empty'),
	($$SELECT quota_stripe_checkout('a', NULL, 'https://a')$$, '22004', 'plan must not be null'), ($$SELECT quota_stripe_checkout('a', 'gold', 'https://a')$$, '42704', 'plan "gold" does not exist'),
	($$SELECT quota_stripe_checkout('a', 'pro', NULL)$$, '22004', 'success_url must not be null'), ($$SELECT quota_stripe_checkout('a', 'pro', '/thanks')$$, '22023', 'success_url must be a URL with http or https'),
	($$SELECT quota_stripe_checkout('a', 'pro', 'https://a', 'javascript:x')$$, '22023', 'cancel_url must be a URL with http or https'),
	($$SELECT quota_stripe_checkout('a', 'forever', 'https://a')$$, '55000', 'plan "forever" has no Stripe price for billing interval "once"'),
	($$SELECT quota_stripe_checkout('a', 'pro', 'https://a', options => '[]')$$, '22023', 'options must be a JSON object'), ($$SELECT quota_stripe_checkout('a', 'pro', 'https://a', options => 'null')$$, '22023', 'options must be a JSON object'),
	($$SELECT quota_stripe_portal(NULL, 'https://a')$$, '22004', 'account must not be null'), ($$SELECT quota_stripe_portal('acme', NULL)$$, '22004', 'return_url must not be null'),
	($$SELECT quota_stripe_portal('acme', '')$$, '22023', 'return_url must be a URL with http or https')
) v (call, state, message);

/* Accounts that come, go and change their key with the application's table. */
CREATE TABLE teams (id text PRIMARY KEY);
INSERT INTO teams VALUES ('red'), ('blue');
SELECT quota_adopt('teams', 'id') \g /dev/null
SELECT is(told(stripe_event('evt_a1', 'customer.subscription.created', '2026-01-10 09:00+00', subscription('sub_a1', 'price_pro', 'active', 'red'))), 'applied red pro active', 'an adopted account');
UPDATE teams SET id = 'green' WHERE id = 'red';
SELECT is((SELECT value FROM fields(quota_stripe_portal('green', 'https://a')) WHERE name = 'customer'), 'cus_red', 'its customer follows its key');
SELECT is(told(stripe_event('evt_a2', 'customer.subscription.updated', '2026-01-11 09:00+00', subscription('sub_a1', 'price_elite', 'active', 'red'))), 'applied green elite active', 'so does its subscription, though Stripe knows the old key');
SELECT is((SELECT count(*) FROM quota.accounts WHERE account = 'red'), 0::bigint, 'the old key does not come back');
DELETE FROM teams WHERE id = 'green';
SELECT throws_ok($$SELECT quota_stripe_portal('green', 'https://a')$$, '55000', NULL, 'who takes a key that was given up does not get its portal');
SELECT is(told(stripe_event('evt_a3', 'customer.subscription.deleted', '2026-01-12 09:00+00', subscription('sub_a1', 'price_elite', 'canceled', 'red'))), 'applied green free', 'the end of its subscription');
SELECT is((SELECT count(*) FROM quota.accounts WHERE account IN ('red', 'green')) + (SELECT count(*) FROM quota.stripe_customers WHERE account IN ('red', 'green')), 0::bigint, 'does not bring it back');

/* The catalogue. */
UPDATE quota.plans SET plan = 'premium' WHERE plan = 'elite';
SELECT is(told(stripe_event('evt_c1', 'customer.subscription.created', '2026-01-10 09:00+00', subscription('sub_c1', 'price_elite', 'active', 'cat'))), 'applied cat premium active', 'prices follow the name of their plan');
SELECT is(quota_apply(quota_export()), '{}', 'and are not in the document');
SELECT is((SELECT count(*) FROM quota.stripe_prices), 5::bigint, 'which leaves them alone');
DELETE FROM quota.accounts WHERE plan = 'premium';
SELECT quota_apply(quota_export() #- '{plans,premium}') \g /dev/null
SELECT is((SELECT string_agg(price, ' ' ORDER BY price) FROM quota.stripe_prices), 'price_addon price_pro price_pro_year', 'those of a plan go with it');

/* Who may. */
CREATE ROLE quota_test_app;
CREATE ROLE quota_test_reader BYPASSRLS;
CREATE ROLE quota_test_admin;
SELECT quota_grant('quota_test_' || level, level) FROM unnest('{app,reader,admin}'::text[]) level \g /dev/null
SELECT stripe_event('evt_r1', 'customer.subscription.created', '2026-01-10 09:00+00', subscription('sub_r1', 'price_pro', 'active', 'right')) AS payload \gset
SELECT signature(:'payload') AS signature \gset
SELECT results_eq(format('SELECT as_role(%L, %L)', 'quota_test_' || role, query), format('SELECT %L', result), role || ': ' || left(query, 50))
FROM (VALUES
	('app', format('SELECT quota_stripe_event(%L, %L)->>''outcome''', :'payload', 't=1,v1=1'), '28000'),
	('reader', format('SELECT quota_stripe_event(%L, %L)->>''outcome''', :'payload', :'signature'), '42501'),
	('app', format('SELECT quota_stripe_event(%L, %L)->>''outcome'' FROM set_config(''row_security'', ''off'', true)', :'payload', :'signature'), 'applied'),
	('admin', format('SELECT quota_stripe_event(%L, %L)->>''outcome''', :'payload', :'signature'), 'repeated'),
	('app', $$SELECT length(quota_stripe_checkout('right', 'pro', 'https://a')->>'url')$$, '43'), ('app', $$SELECT quota_stripe_portal('right', 'https://a')->>'method'$$, 'POST'),
	('app', $$SELECT quota_stripe_price('p', 'pro')$$, '42501'), ('reader', $$SELECT quota_stripe_price('p', 'pro')$$, '42501'), ('admin', $$SELECT quota_stripe_price('price_pro', 'pro')$$, ''),
	('app', 'SELECT count(*) FROM quota.stripe_events', '42501'), ('reader', $$SELECT count(*) FROM quota.stripe_events WHERE account = 'right'$$, '1'),
	('app', 'SELECT count(*) FROM quota.stripe_secrets', '42501'), ('reader', 'SELECT count(*) FROM quota.stripe_secrets', '42501'), ('admin', 'SELECT count(*) FROM quota.stripe_secrets', '42501'),
	('admin', $$INSERT INTO quota.stripe_secrets VALUES ('mine', 'whsec_mine') RETURNING name$$, '42501'), ('app', $$SELECT set_config('quota.stripe_tolerance', '100000', true)$$, '42501')
) v (role, query, result);
SELECT set_config('row_security', 'on', true) \g /dev/null
SELECT results_eq($$SELECT DISTINCT act COLLATE "default", role FROM quota.audit_log WHERE account = 'right'$$, $$VALUES ('quota_stripe_event', 'quota_test_app')$$, 'what an application hands in is recorded, whatever it has set');
SELECT is((SELECT count(*) FROM quota.audit_log WHERE before::text || after::text LIKE '%whsec%'), 0::bigint, 'no secret is');

/* Retention. */
SELECT is(quota_maintain()->'stripe_events_deleted', '0', 'nothing is forgotten unless asked for');
SET LOCAL quota.now = '2026-04-10 09:00+00';
SELECT cmp_ok((quota_maintain('90 days')->>'stripe_events_deleted')::bigint, '>', 100::bigint, 'webhooks of three months ago are');
SELECT is((SELECT string_agg(event, ' ' ORDER BY event) FROM quota.stripe_events), 'evt_e4 evt_t4', 'those that came later are not');

SELECT * FROM finish();
ROLLBACK;
