/*
 * The preset `resume` played by a resume writer: four features a month on
 * three plans, and the denial that its API sends on.
 */
SELECT no_plan();
BEGIN;
\ir _helpers.sql
SET LOCAL quota.now = '2026-01-20 18:00+00';

/* The product's own tables: a scan costs by itself, tailoring and letters share a table. */
CREATE TABLE users (id bigint PRIMARY KEY, email text);
CREATE TABLE ats_scans (id bigint GENERATED ALWAYS AS IDENTITY, user_id bigint NOT NULL REFERENCES users, score int);
CREATE TABLE documents (id bigint GENERATED ALWAYS AS IDENTITY, user_id bigint NOT NULL REFERENCES users, tailored int NOT NULL DEFAULT 0, letters int NOT NULL DEFAULT 0);
INSERT INTO users VALUES (1, 'free@example.com'), (2, 'pro@example.com'), (3, 'elite@example.com'), (4, 'late@example.com');
SELECT quota_apply(quota_preset('resume')) \g /dev/null
SELECT quota_attach('ats_scans', 'ats_scan', 'user_id') \g /dev/null
SELECT quota_attach('documents', 'resume_tailor', 'user_id', 'tailored') \g /dev/null
SELECT quota_attach('documents', 'cover_letter', 'user_id', 'letters') \g /dev/null
INSERT INTO quota.accounts (account, plan) VALUES ('2', 'pro'), ('3', 'elite');

/* What the product shows a new user. */
SELECT results_eq($$SELECT feature, plan, usage_limit, used, remaining, decision::text FROM quota_evaluate(1)$$, $$VALUES
	('ats_scan', 'free', 2::bigint, 0::bigint, 2::bigint, 'ALLOW'), ('cover_letter', 'free', 3, 0, 3, 'ALLOW'),
	('jd_parse', 'free', 5, 0, 5, 'ALLOW'), ('resume_tailor', 'free', 3, 0, 3, 'ALLOW')$$, 'free: four features');
SELECT results_eq($$SELECT feature, usage_limit FROM quota_evaluate(2)$$,
	$$VALUES ('ats_scan', 20::bigint), ('cover_letter', 30), ('jd_parse', 60), ('resume_tailor', 25)$$, 'pro: more of each');
SELECT results_eq($$SELECT feature, usage_limit, remaining, reason FROM quota_evaluate(3)$$,
	$$SELECT f, NULL::bigint, NULL::bigint, 'unlimited' FROM unnest('{ats_scan,cover_letter,jd_parse,resume_tailor}'::text[]) f$$, 'elite: unlimited');

SELECT is(quota_usage(1), '{"plan": "free", "month_key": "2026-01", "features": {
	"ats_scan": {"limit": 2, "used": 0, "remaining": 2, "unlimited": false},
	"resume_tailor": {"limit": 3, "used": 0, "remaining": 3, "unlimited": false},
	"cover_letter": {"limit": 3, "used": 0, "remaining": 3, "unlimited": false},
	"jd_parse": {"limit": 5, "used": 0, "remaining": 5, "unlimited": false}}}'::jsonb, 'free: as one document');
SELECT is(quota_usage(3)->'features'->'ats_scan', '{"limit": null, "used": 0, "remaining": null, "unlimited": true}'::jsonb, 'elite: unlimited in it');

/* The third scan. The document tells of it at each step. */
CREATE FUNCTION shown(user_id bigint) RETURNS text LANGUAGE sql AS $$
	SELECT u->>'plan' || ': ' || string_agg(format('%s %s+%s=%s', key, value->>'used', COALESCE(value->>'remaining', '-'), COALESCE(value->>'limit', '-')), ', ' ORDER BY key)
	FROM quota_usage(user_id) u, jsonb_each(u->'features') GROUP BY u
$$;
SELECT is(shown(1), 'free: ats_scan 0+2=2, cover_letter 0+3=3, jd_parse 0+5=5, resume_tailor 0+3=3', 'usage: nothing yet');
SELECT lives_ok($$INSERT INTO ats_scans (user_id, score) VALUES (1, 71)$$, 'the first scan');
SELECT is(shown(1), 'free: ats_scan 1+1=2, cover_letter 0+3=3, jd_parse 0+5=5, resume_tailor 0+3=3', 'usage: one');
SELECT is(brief(quota_evaluate(1, 'ats_scan')), 'ALLOW 1/2 ok', 'leaves one');
SELECT lives_ok($$INSERT INTO ats_scans (user_id, score) VALUES (1, 74)$$, 'the second scan');
SELECT is(error_of($$INSERT INTO ats_scans (user_id, score) VALUES (1, 80)$$), jsonb_build_object('state', 'PT429',
	'message', 'Monthly ats_scan limit reached (2/2).',
	'detail', '{"error":"quota_exceeded","feature":"ats_scan","plan":"free","limit":2,"used":2,"remaining":0,"period":"month","retry_after_s":972000}',
	'hint', 'The next window begins at 2026-02-01 00:00:00+00; a larger plan or an override allows more now.'), 'the third scan: status 429');
SELECT ok((error_of($$SELECT quota_enforce(1, 'ats_scan')$$)->>'detail')::jsonb
	@> '{"error": "quota_exceeded", "feature": "ats_scan", "plan": "free", "limit": 2, "used": 2, "remaining": 0}', 'the same by quota_enforce');
SELECT results_eq($$SELECT brief(d), (d).allowed, (d).retry_after FROM (SELECT quota_consume(1, 'ats_scan') AS d) d$$,
	$$VALUES ('BLOCK 2/2 limit_reached', false, interval '11 days 6 hours')$$, 'the same by quota_consume');
SELECT is((SELECT count(*) FROM ats_scans), 2::bigint, 'two scans are there');
SELECT is(shown(1), 'free: ats_scan 2+0=2, cover_letter 0+3=3, jd_parse 0+5=5, resume_tailor 0+3=3', 'usage: two, and nothing for what was refused');

/* The other features, each by itself; a limit is used up to the last. */
CREATE FUNCTION consumed(account bigint, feature text) RETURNS bigint LANGUAGE sql AS $$
	SELECT count(*) FROM generate_series(1, 100) i WHERE (quota_consume(account, feature)).allowed
$$;
SELECT is(consumed(1, 'jd_parse'), 5::bigint, 'free: five job descriptions');
SELECT is(consumed(2, 'jd_parse'), 60::bigint, 'pro: sixty');
SELECT is(consumed(3, 'jd_parse'), 100::bigint, 'elite: as many as one asks for');
SELECT is((quota_evaluate(2, 'jd_parse')).message, 'Monthly jd_parse limit reached (60/60).', 'pro: refused');
SELECT is((quota_evaluate(3, 'jd_parse')).message, 'Unlimited: 100 job descriptions', 'elite: never');

/* Two features in one row: both are charged, or none. */
SELECT lives_ok($$INSERT INTO documents (user_id, tailored, letters) VALUES (1, 2, 1)$$, 'two tailored, a letter');
SELECT throws_ok($$INSERT INTO documents (user_id, tailored, letters) VALUES (1, 2, 1)$$, 'PT429', 'Monthly resume_tailor limit does not allow 2 more (2/3).', 'no two more');
SELECT throws_ok($$INSERT INTO documents (user_id, tailored, letters) VALUES (1, 1, 3)$$, 'PT429', 'Monthly cover_letter limit does not allow 3 more (1/3).', 'no three letters');
SELECT results_eq($$SELECT feature, used FROM quota_evaluate(1)$$,
	$$VALUES ('ats_scan', 2::bigint), ('cover_letter', 1), ('jd_parse', 5), ('resume_tailor', 2)$$, 'neither is charged');
SELECT lives_ok($$INSERT INTO documents (user_id, letters) VALUES (1, 2)$$, 'two letters alone');
SELECT is(shown(1), 'free: ats_scan 2+0=2, cover_letter 3+0=3, jd_parse 5+0=5, resume_tailor 2+1=3', 'usage: of all four');
SELECT results_eq($$SELECT feature, allowed FROM quota_consume_many(2, '{"resume_tailor": 25, "cover_letter": 31}')$$,
	$$VALUES ('cover_letter', false), ('resume_tailor', true)$$, 'a package that is too large');
SELECT results_eq($$SELECT feature, allowed, used FROM quota_consume_many(2, '{"resume_tailor": 25, "cover_letter": 30}')$$,
	$$VALUES ('cover_letter', true, 30::bigint), ('resume_tailor', true, 25)$$, 'and one that just fits');

/* Upgrade: what was used counts against the larger limit. */
INSERT INTO quota.accounts (account, plan) VALUES ('1', 'pro');
SELECT results_eq($$SELECT feature, usage_limit, used, remaining FROM quota_evaluate(1)$$,
	$$VALUES ('ats_scan', 20::bigint, 2::bigint, 18::bigint), ('cover_letter', 30, 3, 27), ('jd_parse', 60, 5, 55), ('resume_tailor', 25, 2, 23)$$, 'upgraded to pro');
SELECT is(shown(1), 'pro: ats_scan 2+18=20, cover_letter 3+27=30, jd_parse 5+55=60, resume_tailor 2+23=25', 'usage: pro');
SELECT lives_ok($$INSERT INTO ats_scans (user_id) SELECT 1 FROM generate_series(1, 18)$$, 'eighteen scans more');
SELECT throws_ok($$INSERT INTO ats_scans (user_id) VALUES (1)$$, 'PT429', 'Monthly ats_scan limit reached (20/20).', 'and no nineteenth');
UPDATE quota.accounts SET plan = 'elite' WHERE account = '1';
SELECT lives_ok($$INSERT INTO ats_scans (user_id) SELECT 1 FROM generate_series(1, 1000)$$, 'elite: a thousand');

SELECT is(shown(1), 'elite: ats_scan 1020+-=-, cover_letter 3+-=-, jd_parse 5+-=-, resume_tailor 2+-=-', 'usage: elite');

/* The subscription is deleted: back to free. */
UPDATE quota.accounts SET status = 'canceled' WHERE account = '1';
SELECT is(shown(1), 'free: ats_scan 1020+0=2, cover_letter 3+0=3, jd_parse 5+0=5, resume_tailor 2+1=3', 'usage: free again');
SELECT results_eq($$SELECT brief(d), (d).plan, (d).overage, (d).ratio FROM (SELECT quota_evaluate(1, 'ats_scan') AS d) d$$,
	$$VALUES ('BLOCK 1020/2 limit_reached', 'free', 1018::bigint, 510::float8)$$, 'canceled: free again, far over its limit');
/* A payment that failed keeps the plan until it ends. */
UPDATE quota.accounts SET status = 'past_due', plan_ends_at = '2026-01-25 00:00+00' WHERE account = '2';
SELECT is((quota_evaluate(2, 'ats_scan')).plan, 'pro', 'past due: still pro');
SET LOCAL quota.now = '2026-01-25 00:00+00';
SELECT is((quota_evaluate(2, 'ats_scan')).plan, 'free', 'past due: until the plan ends');

/* The next month. */
SET LOCAL quota.now = '2026-02-01 00:00+00';
SELECT results_eq($$SELECT feature, usage_limit, used, remaining FROM quota_evaluate(1)$$,
	$$VALUES ('ats_scan', 2::bigint, 0::bigint, 2::bigint), ('cover_letter', 3, 0, 3), ('jd_parse', 5, 0, 5), ('resume_tailor', 3, 0, 3)$$, 'February: all of it again');
SELECT is(quota_usage(1)->>'month_key', '2026-02', 'February: in the document');
SELECT results_eq($$SELECT to_char(period_start AT TIME ZONE 'UTC', 'YYYY-MM'), used FROM quota_history(1, 'ats_scan')$$,
	$$VALUES ('2026-01', 1020::bigint)$$, 'January is kept');

/* By name, by text, by bigint: one account. */
SELECT is((quota_consume('4', 'ats_scan')).used, 1::bigint, 'a user by text');
SELECT is((quota_consume(4, 'ats_scan')).used, 2::bigint, 'is the one by number');
SELECT throws_ok($$INSERT INTO ats_scans (user_id) VALUES (4)$$, 'PT429', NULL, 'is the one in the table');

/*
 * Stripe: an account pays by itself. Webhooks come as Stripe sends them, through
 * the application's role, which holds no right on accounts.
 */
\ir _stripe.sql
SET LOCAL quota.now = '2026-01-10 09:00+00';
INSERT INTO users VALUES (5, 'pays@example.com');
INSERT INTO quota.stripe_secrets VALUES ('test', 'whsec_test');
SELECT quota_stripe_price('price_pro', 'pro'), quota_stripe_price('price_elite', 'elite') \g /dev/null
CREATE ROLE quota_test_web;
SELECT quota_grant('quota_test_web', 'app') \g /dev/null
SET LOCAL ROLE quota_test_web;
SELECT is(quota_stripe_checkout(5, 'pro', 'https://resume.example/thanks', 'https://resume.example/plans') - 'headers', '{"method": "POST", "url": "https://api.stripe.com/v1/checkout/sessions",
	"body": "cancel_url=https%3A%2F%2Fresume.example%2Fplans&client_reference_id=5&line_items%5B0%5D%5Bprice%5D=price_pro&line_items%5B0%5D%5Bquantity%5D=1&metadata%5Baccount%5D=5&metadata%5Bprice%5D=price_pro&mode=subscription&subscription_data%5Bmetadata%5D%5Baccount%5D=5&success_url=https%3A%2F%2Fresume.example%2Fthanks"}', 'a checkout, ready made');
SELECT throws_ok($$SELECT quota_stripe_checkout(5, 'free', 'https://resume.example/thanks')$$, '55000', 'plan "free" has no Stripe price for billing interval "month"', 'a plan without a price');
SELECT throws_ok($$SELECT quota_stripe_portal(5, 'https://resume.example/account')$$, '55000', 'account "5" has no Stripe customer', 'no portal before it has paid');
SELECT throws_ok(format('SELECT quota_stripe_event(%L, %L)', payload, replace(signature(payload), 'v1=', 'v1=0')), '28000', NULL, 'a forged checkout')
FROM stripe_event('evt_0', 'checkout.session.completed', '2026-01-10 09:00:02+00', checkout_session('sub_5', 'price_pro', '5')) payload;
SELECT is(quota_usage(5)->>'plan', 'free', 'changes nothing');
SELECT is(told(stripe_event('evt_1', 'checkout.session.completed', '2026-01-10 09:00:02+00', checkout_session('sub_5', 'price_pro', '5'))), 'applied 5 pro active', 'a checkout');
SELECT is(shown(5), 'pro: ats_scan 0+20=20, cover_letter 0+30=30, jd_parse 0+60=60, resume_tailor 0+25=25', 'usage: pro at once');
SELECT is(told(stripe_event('evt_2', 'customer.subscription.created', '2026-01-10 09:00:01+00', subscription('sub_5', 'price_pro', 'active', '5'))), 'applied 5 pro active', 'its subscription');
SELECT is(told(stripe_event('evt_3', 'customer.subscription.updated', '2026-01-12 09:00:00+00', newer(subscription('sub_5', 'price_elite', 'active', '5')))), 'applied 5 elite active', 'upgraded');
SELECT is(told(stripe_event('evt_1', 'checkout.session.completed', '2026-01-10 09:00:02+00', checkout_session('sub_5', 'price_pro', '5'))), 'repeated 5 elite active', 'a repeated event changes nothing');
SELECT is(told(stripe_event('evt_4', 'customer.subscription.updated', '2026-01-11 09:00:00+00', subscription('sub_5', 'price_pro', 'past_due', '5'))), 'unchanged 5 elite active', 'an older one that comes late changes nothing');
SELECT is(told(stripe_event('evt_5', 'invoice.payment_failed', '2026-02-10 09:00:00+00', invoice('sub_5', '5'))), 'applied 5 elite past_due', 'a payment that failed keeps the plan');
SELECT is(told(stripe_event('evt_6', 'invoice.paid', '2026-02-12 09:00:00+00', newer_invoice('sub_5', '5'))), 'applied 5 elite active', 'and one that is made');
SELECT is(quota_stripe_portal(5, 'https://resume.example/account')->>'body', 'customer=cus_5&return_url=https%3A%2F%2Fresume.example%2Faccount', 'the portal');
SELECT is(told(stripe_event('evt_7', 'customer.subscription.deleted', '2026-02-13 09:00:00+00', subscription('sub_5', 'price_elite', 'canceled', '5'))), 'applied 5 free canceled', 'deleted');
SELECT is(shown(5), 'free: ats_scan 0+2=2, cover_letter 0+3=3, jd_parse 0+5=5, resume_tailor 0+3=3', 'usage: back to free');
RESET ROLE;
SELECT is((SELECT string_agg(DISTINCT act, ' ') FROM quota.audit_log WHERE account = '5'), 'quota_stripe_event', 'all of it is in the audit log');

ROLLBACK;

/*
 * Two at once over the second scan: the second waits, and gets what the first
 * leaves.
 */
\ir _helpers.sql
\ir _race.sql
SET quota.now = '2026-01-20 18:00+00';
SELECT quota_apply(quota_preset('resume')) \g /dev/null
SELECT (quota_consume(u, 'ats_scan')).allowed FROM generate_series(1, 3) u \g /dev/null
CREATE FUNCTION scan(user_id int) RETURNS text LANGUAGE sql AS $$SELECT format('SELECT brief(quota_enforce(%s, ''ats_scan''))', user_id)$$;

SELECT is(race(scan(1), 'COMMIT', scan(1)), 'ALLOW 2/2 ok, then PT429 Monthly ats_scan limit reached (2/2).', 'two scans: one is the second');
SELECT is(race(scan(2), 'ROLLBACK', scan(2)), 'ALLOW 2/2 ok, then ALLOW 2/2 ok', 'two scans, of which the first fails: the other is the second');
SELECT is(race(scan(3), 'COMMIT', 'SELECT string_agg(feature || '' '' || allowed, '', '' ORDER BY feature) FROM quota_consume_many(3, ''{"jd_parse": 1, "ats_scan": 1}'')'),
	'ALLOW 2/2 ok, then ats_scan false, jd_parse true', 'a package that needs the second scan: all of it or nothing');
SELECT results_eq($$SELECT account, feature, used FROM quota.counters WHERE used > 0 ORDER BY 1, 2$$, $$VALUES
	('1' COLLATE "C", 'ats_scan' COLLATE "C", 2::bigint), ('2', 'ats_scan', 2), ('3', 'ats_scan', 2)$$, 'each has had two scans, and nothing else');

SELECT * FROM finish();
