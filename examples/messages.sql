-- A chat assistant on quota: two windows at once, trials, plans in two languages.
--
--	createdb messages && psql -d messages -f examples/messages.sql
--
-- Needs an empty database and a superuser. The clock is fixed, so that what you
-- see is always the same; leave those two lines out of your own.

\set ON_ERROR_STOP on
SET quota.now = '2026-01-15 12:00+00';
SET timezone = 'UTC';

-- 1. Plans and tables. A free user has 5 messages a day and 150 a month.

CREATE EXTENSION quota;
SELECT quota_apply(quota_preset('messages'));
CREATE TABLE messages (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	user_id text NOT NULL,
	body text NOT NULL,
	tokens bigint
);
SELECT quota_attach('messages', 'message', 'user_id');

SELECT 'CREATE ROLE messages_app' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'messages_app') \gexec
GRANT SELECT, INSERT, UPDATE ON messages TO messages_app;
SELECT quota_grant('messages_app', 'app');

-- 2. The status document of this product: one query on quota's decisions.

CREATE FUNCTION chat_status(user_id text, language text) RETURNS jsonb
	LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
BEGIN ATOMIC
	SELECT jsonb_build_object(
		'plan', p.metadata->'names'->>language,
		'daily_limit', day.usage_limit, 'monthly_limit', month.usage_limit,
		'used_today', day.used, 'used_this_month', month.used,
		'remaining_today', day.remaining, 'remaining_this_month', month.remaining,
		'can_send', day.allowed AND month.allowed,
		'needs_upgrade', NOT month.allowed,
		'warning', COALESCE(GREATEST(day.ratio, month.ratio) >= 0.8, false))
	FROM quota_evaluate(user_id) day
		JOIN quota_evaluate(user_id) month ON (month.feature, month.period) = ('message', 'month')
		JOIN quota.plans p ON p.plan = day.plan
	WHERE (day.feature, day.period) = ('message', 'day');
END;
GRANT EXECUTE ON FUNCTION chat_status TO messages_app;

-- 3. A day of a free user. The message and its charge commit together, and ROLLBACK
--    gives the message back. Its tokens are held before the model is asked, in a
--    transaction of its own, and settled when the answer is there.

SET ROLE messages_app;
INSERT INTO messages (user_id, body) SELECT 'awa', 'Question ' || i FROM generate_series(1, 4) i;
BEGIN;
INSERT INTO messages (user_id, body) VALUES ('awa', 'Lost');
ROLLBACK;
SELECT id AS reservation, allowed, used FROM quota_reserve('awa', 'token', 4000, ttl => '2 minutes') \gset
-- ... the model answers; what it cost is known only now.
BEGIN;
INSERT INTO messages (user_id, body, tokens) VALUES ('awa', 'Question 5', 1834);
SELECT used FROM quota_commit(:reservation, 1834);
COMMIT;
-- Another time it fails: what was held is given back. Had the server crashed as
-- well, it would return by itself when the two minutes are over.
SELECT id AS reservation, allowed, used FROM quota_reserve('awa', 'token', 4000, ttl => '2 minutes') \gset
SELECT used FROM quota_release(:reservation);
SELECT jsonb_pretty(chat_status('awa', 'fr'));

-- The sixth: the day is used up, though the month has room. The application reads
-- SQLSTATE, and retry_after_s of the detail.
\set ON_ERROR_STOP off
INSERT INTO messages (user_id, body) VALUES ('awa', 'Question 6');
\echo :SQLSTATE
\set ON_ERROR_STOP on
RESET ROLE;

-- 4. A trial of pro for two weeks. When it is over the free plan holds by itself:
--    no job ends it.

SELECT quota_start_trial('awa', 'pro', '14 days');
SELECT plan, period, used, usage_limit FROM quota_evaluate('awa', 'message');
SET quota.now = '2026-01-30 12:00+00';
SELECT plan, period, used, usage_limit FROM quota_evaluate('awa', 'message');

-- 5. What is on sale, for the price page.

SELECT plan, metadata->'names'->>'fr' AS name, price, currency FROM quota.plans WHERE visible ORDER BY display_order;
