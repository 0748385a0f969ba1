-- A resume writer on quota: monthly scans, letters, and what its pages show.
--
--	createdb resume && psql -d resume -f examples/resume.sql
--
-- Needs an empty database and a superuser. The clock is fixed, so that what you
-- see is always the same; leave those two lines out of your own.

\set ON_ERROR_STOP on
SET quota.now = '2026-01-15 12:00+00';
SET timezone = 'UTC';

-- 1. Plans. Accounts are the users' ids; without a row they are on the free plan.

CREATE EXTENSION quota;
SELECT quota_apply(quota_preset('resume'));
CREATE TABLE ats_scans (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	user_id text NOT NULL,
	score integer
);

SELECT 'CREATE ROLE resume_app' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'resume_app') \gexec
GRANT SELECT, INSERT ON ats_scans TO resume_app;
SELECT quota_grant('resume_app', 'app');

-- 2. One statement checks, charges and stores: the row is there only if the plan
--    allowed it, whatever else runs at the same moment.

SET ROLE resume_app;
PREPARE scan (text, integer) AS
	WITH decision AS MATERIALIZED (SELECT d.* FROM quota_enforce($1, 'ats_scan') d)
	INSERT INTO ats_scans (user_id, score) SELECT $1, $2 FROM decision WHERE allowed RETURNING id, score;
EXECUTE scan('user_2ab', 71);
EXECUTE scan('user_2ab', 64);

-- The third: the detail is the body of the answer, with status 429.
\set ON_ERROR_STOP off
EXECUTE scan('user_2ab', 80);
\echo :SQLSTATE
\set ON_ERROR_STOP on

-- A phone sends its request twice: with a key it is one letter, and the same answer.
SELECT allowed, used, remaining FROM quota_consume('user_2ab', 'cover_letter', key => 'letter-1');
SELECT allowed, used, remaining FROM quota_consume('user_2ab', 'cover_letter', key => 'letter-1');

-- Work of several kinds is charged together or not at all.
SELECT feature, allowed, used, remaining
FROM quota_consume_many('user_2ab', '{"jd_parse": 1, "resume_tailor": 1, "cover_letter": 1}');
SELECT feature, allowed, used, reason FROM quota_consume_many('user_2ab', '{"jd_parse": 1, "ats_scan": 1}');

-- A letter that could not be written costs nothing: the charge goes with its
-- savepoint.
BEGIN;
SAVEPOINT writing;
SELECT allowed, used FROM quota_consume('user_2ab', 'cover_letter');
ROLLBACK TO writing;
COMMIT;

-- The usage page.
SELECT jsonb_pretty(quota_usage('user_2ab'));
RESET ROLE;

-- 3. Somebody has paid. With the month half over, the limit is the new plan's and
--    what was used stays used.

SELECT quota_set_plan('user_2ab', 'pro');
SELECT plan, used, usage_limit, remaining FROM quota_evaluate('user_2ab', 'ats_scan');

-- Cancelled to the end of the month that is paid for; free from then on.
SELECT quota_cancel('user_2ab', at_period_end => true);
SELECT status, plan, plan_ends_at = '2026-02-01 00:00+00' AS ends_in_february FROM quota.accounts;
SET quota.now = '2026-02-01 00:00+00';
SELECT plan, used, usage_limit FROM quota_evaluate('user_2ab', 'ats_scan');

-- 4. Stripe. Prices name plans; the secret is that of the webhook's endpoint, and
--    nobody but the owner reads it.

SET quota.now = '2026-01-15 12:00+00';
SELECT quota_stripe_price('price_1QproMonth', 'pro'), quota_stripe_price('price_1QeliteMonth', 'elite');
INSERT INTO quota.stripe_secrets VALUES ('demo', 'whsec_demo');
SET ROLE resume_app;

-- The request for a checkout page. The application adds its API key and sends it.
SELECT quota_stripe_checkout('user_7xy', 'pro', 'https://resume.example/thanks') AS request \gset
SELECT :'request'::jsonb->>'method' AS method, :'request'::jsonb->>'url' AS url;
SELECT regexp_split_to_table(:'request'::jsonb->>'body', '&') AS body;

-- They have paid. The application hands Stripe's webhook in: the body as it came,
-- and the header Stripe-Signature.
\set body '{"id":"evt_1Qa","object":"event","api_version":"2024-06-20","created":1768478395,"type":"customer.subscription.created","livemode":false,"data":{"object":{"id":"sub_1Q","object":"subscription","customer":"cus_Rk","status":"active","created":1768478395,"billing_cycle_anchor":1768478395,"current_period_start":1768478395,"current_period_end":1771156795,"cancel_at_period_end":false,"trial_end":null,"metadata":{"account":"user_7xy"},"items":{"object":"list","data":[{"id":"si_1Q","object":"subscription_item","quantity":1,"price":{"id":"price_1QproMonth","object":"price","currency":"usd","unit_amount":1900}}]}}}}'
\set header 't=1768478400,v1=38423d66e4ec2aa6278c09f7e41ee4baa01d60673ee4f8e21c2f29a7307ec291'
SELECT jsonb_pretty(quota_stripe_event(:'body', :'header'));

-- Stripe sends an event again until it is answered: that changes nothing.
SELECT quota_stripe_event(:'body', :'header')->>'outcome' AS outcome;

-- They cancel on Stripe's own page, the portal: pro until what is paid for ends.
SELECT quota_stripe_portal('user_7xy', 'https://resume.example/account')->>'body' AS body;
\set body '{"id":"evt_1Qb","object":"event","api_version":"2024-06-20","created":1768478399,"type":"customer.subscription.updated","livemode":false,"data":{"object":{"id":"sub_1Q","object":"subscription","customer":"cus_Rk","status":"active","created":1768478395,"billing_cycle_anchor":1768478395,"current_period_start":1768478395,"current_period_end":1771156795,"cancel_at_period_end":true,"trial_end":null,"metadata":{"account":"user_7xy"},"items":{"object":"list","data":[{"id":"si_1Q","object":"subscription_item","quantity":1,"price":{"id":"price_1QproMonth","object":"price","currency":"usd","unit_amount":1900}}]}}}}'
\set header 't=1768478400,v1=c34a5ed013dfd21bea591af50f6ceae2769b5c4f38c4be7fd22eb0172b5c6414'
SELECT quota_stripe_event(:'body', :'header')->>'outcome' AS outcome;
RESET ROLE;
SELECT plan, status, plan_ends_at = '2026-02-15 11:59:55+00' AS ends_in_february FROM quota.accounts WHERE account = 'user_7xy';

-- What nobody has signed is refused, whoever sends it.
\set ON_ERROR_STOP off
SELECT quota_stripe_event(replace(:'body', 'price_1QproMonth', 'price_1QeliteMonth'), :'header');
\echo :SQLSTATE
\set ON_ERROR_STOP on
