/*
 * The preset `messages` played by a chat assistant: two windows at once, tokens
 * that are counted, names in two languages, trials, the status document, and the
 * audit of each event.
 */
SELECT no_plan();
BEGIN;
\ir _helpers.sql
SET LOCAL quota.now = '2026-01-10 09:00+00';

SELECT is(quota_apply(quota_preset('messages')), '{
	"features": {"added": ["document_sourcing", "message", "pdf_generation", "token"]}, "plans": {"added": ["enterprise", "free", "max", "pro"]}}'::jsonb, 'the plans');
SELECT is(quota_export(), quota_preset('messages'), 'as they are written');
SELECT results_eq($$SELECT plan, price, currency::text, metadata->'names'->>'fr' FROM quota.plans WHERE visible ORDER BY display_order$$, $$VALUES
	('free' COLLATE "C", 0::numeric, 'XOF', 'Gratuit'), ('pro', 7000, 'XOF', 'Pro'), ('max', 22000, 'XOF', 'Max'), ('enterprise', 85000, 'XOF', 'Entreprise')$$, 'the price list, in French');
INSERT INTO quota.accounts (account, name, plan, status, trial_ends_at, timezone) VALUES
	('awa', 'Awa', 'pro', 'trialing', '2026-01-20 00:00+00', 'Africa/Dakar'), ('issa', 'Issa', 'max', 'active', NULL, 'Africa/Dakar');

/*
 * The product's own status document, one query on quota_evaluate and the plan.
 * The product's role holds no right on the tables: the function has its owner's.
 */
CREATE FUNCTION chat_status(user_id text) RETURNS jsonb
	LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp
BEGIN ATOMIC
	SELECT jsonb_build_object(
		'plan', day.plan, 'plan_names', p.metadata->'names',
		'daily_limit', day.usage_limit, 'monthly_limit', month.usage_limit,
		'used_today', day.used, 'used_this_month', month.used,
		'remaining_today', day.remaining, 'remaining_this_month', month.remaining,
		'can_send', day.allowed AND month.allowed,
		'exceeded', NOT (day.allowed AND month.allowed),
		'needs_upgrade', NOT (day.allowed AND month.allowed) AND p.display_order < (SELECT max(display_order) FROM quota.plans WHERE visible),
		'warning', COALESCE(GREATEST(day.ratio, month.ratio) >= 0.8, false))
	FROM quota_evaluate(user_id) day
		JOIN quota_evaluate(user_id) month ON (month.feature, month.period) = ('message', 'month')
		JOIN quota.plans p ON p.plan = day.plan
	WHERE (day.feature, day.period) = ('message', 'day');
END;
CREATE ROLE quota_test_chat;
GRANT USAGE ON SCHEMA public TO quota_test_chat;
SELECT quota_grant('quota_test_chat', 'app') \g /dev/null
SET LOCAL ROLE quota_test_chat;

SELECT is(chat_status('fatou'), '{"plan": "free", "plan_names": {"en": "Free", "fr": "Gratuit"},
	"daily_limit": 5, "monthly_limit": 150, "used_today": 0, "used_this_month": 0, "remaining_today": 5, "remaining_this_month": 150,
	"can_send": true, "exceeded": false, "needs_upgrade": false, "warning": false}'::jsonb, 'status of a new user');
SELECT is((SELECT count(*) FROM generate_series(1, 4) i WHERE (quota_consume('fatou', 'message')).allowed), 4::bigint, 'four messages');
SELECT is(chat_status('fatou') - '{plan,plan_names,daily_limit,monthly_limit}'::text[], '{
	"used_today": 4, "used_this_month": 4, "remaining_today": 1, "remaining_this_month": 146,
	"can_send": true, "exceeded": false, "needs_upgrade": false, "warning": true}'::jsonb, 'status at 80 %');
SELECT is((quota_consume('fatou', 'message')).remaining, 0::bigint, 'the fifth');
SELECT results_eq($$SELECT allowed, period::text, message, retry_after FROM quota_consume('fatou', 'message')$$,
	$$VALUES (false, 'day', 'Daily message limit reached (5/5).', interval '15 hours')$$, 'the sixth of a day, though the month has room');
SELECT is(chat_status('fatou') - '{plan,plan_names,daily_limit,monthly_limit}'::text[], '{
	"used_today": 5, "used_this_month": 5, "remaining_today": 0, "remaining_this_month": 145,
	"can_send": false, "exceeded": true, "needs_upgrade": true, "warning": true}'::jsonb, 'status when it is used up');

/*
 * The tokens of an answer are known only when it is there: hold, then settle on
 * the figure, or give it back when the model fails. Sales has given one user a
 * limit of tokens.
 */
RESET ROLE;
SELECT quota_set_override('fatou', 'token', 'month', 10000);
SET LOCAL ROLE quota_test_chat;
SELECT results_eq($$SELECT allowed, used, remaining FROM quota_reserve('fatou', 'token', 4000, '2 minutes', key => 'answer-1')$$, $$VALUES (true, 4000::bigint, 6000::bigint)$$, 'the most that an answer may cost');
SELECT id AS answer FROM quota_reserve('fatou', 'token', 4000, '2 minutes', key => 'answer-1') \gset
SELECT is((quota_reserve('fatou', 'token', 4000, '2 minutes', key => 'answer-2')).used, 8000::bigint, 'another one, at the same time');
SELECT id AS failed FROM quota_reserve('fatou', 'token', 4000, '2 minutes', key => 'answer-2') \gset
SELECT results_eq($$SELECT id, message FROM quota_reserve('fatou', 'token', 4000, key => 'answer-3')$$, $$VALUES (NULL::bigint, 'Monthly token limit does not allow 4000 more (8000/10000).')$$, 'no room for a third before they are known');
SELECT is((quota_commit(:answer, 1234)).used, 5234::bigint, 'the answer is there: it took 1234');
SELECT is((quota_release(:failed)).used, 1234::bigint, 'the model has failed: nothing');
SELECT is(quota_usage('fatou')->'features'->'token', '{"limit": 10000, "used": 1234, "remaining": 8766, "unlimited": false}', 'what was used');
SELECT id AS crashed FROM quota_reserve('fatou', 'token', 4000, '2 minutes') \gset
RESET ROLE;
SET LOCAL quota.now = '2026-01-10 09:02+00';
SET LOCAL ROLE quota_test_chat;
SELECT is((quota_evaluate('fatou', 'token')).used, 1234::bigint, 'the server has crashed: it returns by itself');
SELECT throws_ok(format('SELECT quota_commit(%s, 999)', :crashed), '55000', NULL, 'an answer after all');
SELECT is((quota_record('fatou', 'token', 999)).used, 2233::bigint, 'is recorded');
RESET ROLE;
SET LOCAL quota.now = '2026-01-10 09:00+00';
SELECT quota_clear_override('fatou', 'token', 'month');
SELECT quota_refund('fatou', 'token', 2233) \g /dev/null

/* The month, five a day, in the 31 days of January: 22 of them are left. */
RESET ROLE;
SELECT is((quota_record('fatou', 'message', 145)).used, 150::bigint, 'many more, by hand');
SET LOCAL quota.now = '2026-01-11 09:00+00';
SELECT results_eq($$SELECT allowed, period::text, message FROM quota_consume('fatou', 'message')$$,
	$$VALUES (false, 'month', 'Monthly message limit reached (150/150).')$$, 'the 151st of a month, though the day has room');
SELECT is(chat_status('fatou')->'can_send', 'false', 'status: cannot send');
SELECT is(quota_usage('fatou'), '{"plan": "free", "month_key": "2026-01", "features": {
	"message": {"limit": 150, "used": 150, "remaining": 0, "unlimited": false}, "token": {"limit": null, "used": 0, "remaining": null, "unlimited": true}}}'::jsonb,
	'usage: by the window that has least left');
SET LOCAL quota.now = '2026-02-01 00:00+00';
SELECT is(brief(quota_consume('fatou', 'message')), 'ALLOW 1/5 ok', 'February: both windows are new');

/* A trial that ends falls back to free, with no job. */
SET LOCAL quota.now = '2026-01-19 23:59+00';
SELECT is(chat_status('awa')->'plan_names', '{"en": "Pro", "fr": "Pro"}', 'on trial');
SELECT is((SELECT count(*) FROM generate_series(1, 110) i WHERE (quota_consume('awa', 'message')).allowed), 100::bigint, 'a hundred a day');
SELECT is((quota_record('awa', 'token', 123456789)).used, 123456789::bigint, 'tokens are counted');
SELECT is(quota_has_feature('awa', 'pdf_generation'), true, 'gates are open');
SET LOCAL quota.now = '2026-01-20 00:00+00';
SELECT is(chat_status('awa'), '{"plan": "free", "plan_names": {"en": "Free", "fr": "Gratuit"},
	"daily_limit": 5, "monthly_limit": 150, "used_today": 0, "used_this_month": 100, "remaining_today": 5, "remaining_this_month": 50,
	"can_send": true, "exceeded": false, "needs_upgrade": false, "warning": false}'::jsonb, 'the trial is over: free, and what was used counts');
SELECT is(quota_has_feature('awa', 'pdf_generation'), false, 'gates are closed');
SELECT is((quota_maintain()->>'plans_changed')::int, 1, 'the job writes it down');
SELECT is((SELECT status FROM quota.accounts WHERE account = 'awa'), 'active', 'the trial is no more');

/* A subscription: its state, start and end, and its trial's. */
CREATE TEMP VIEW subscription AS
	SELECT a.status, p.plan, cycle_anchor AS started_at, plan_ends_at AS ends_at, trial_ends_at
	FROM quota.accounts a JOIN quota.account_plans p USING (account) WHERE account = 'moussa';
SELECT quota_start_trial('moussa', 'pro', '14 days') \g /dev/null
SELECT results_eq('TABLE subscription', $$VALUES ('trialing', 'pro' COLLATE "C", NULL::timestamptz, '2026-02-03 00:00+00'::timestamptz, '2026-02-03 00:00+00'::timestamptz)$$, 'a trial');
SET LOCAL quota.now = '2026-02-03 00:00+00';
SELECT is((SELECT plan FROM subscription), 'free', 'which is over by itself');
SELECT quota_set_plan('moussa', 'max', '1 month') \g /dev/null
UPDATE quota.accounts SET cycle_anchor = quota.now() WHERE account = 'moussa';
SELECT results_eq('TABLE subscription', $$VALUES ('active', 'max' COLLATE "C", '2026-02-03 00:00+00'::timestamptz, '2026-03-03 00:00+00'::timestamptz, '2026-02-03 00:00+00'::timestamptz)$$, 'he subscribes');
SELECT quota_suspend('moussa') \g /dev/null
SELECT is((SELECT status FROM subscription), 'suspended', 'is suspended');
SELECT is(chat_status('moussa')->'can_send', 'false', 'and cannot send');
SELECT quota_activate('moussa') \g /dev/null
SELECT is(chat_status('moussa')->'can_send', 'true', 'or can again');
SET LOCAL quota.now = '2026-03-03 00:00+00';
SELECT is((SELECT plan FROM subscription), 'free', 'the month is over');
DELETE FROM quota.accounts WHERE account = 'moussa';
SET LOCAL quota.now = '2026-01-20 00:00+00';

/* The audit of each event: kind, plan, amounts, client address and user agent, by user and by kind. */
SET LOCAL ROLE quota_test_chat;
SET LOCAL "quota.user" = 'awa@example.org';
SELECT is((SELECT count(*) FROM generate_series(1, 6) i
	WHERE (quota_consume('awa', 'message', metadata => '{"kind": "message_sent", "client": "196.207.1.2", "agent": "Mozilla/5.0"}')).allowed), 5::bigint, 'six messages, of which five go');
SELECT is((quota_record('awa', 'token', 812, metadata => '{"kind": "answer", "model": "large", "tokens": {"in": 200, "out": 612}}')).used, 123457601::bigint, 'the answer''s tokens');
SELECT results_eq($$SELECT kind, feature, plan, amount, decision::text, used, usage_limit, metadata->>'client', metadata->>'agent', at FROM quota_events('awa', '2026-01-20', n => 3)$$, $$VALUES
	('answer' COLLATE "C", 'token' COLLATE "C", 'free' COLLATE "C", 812::bigint, 'ALLOW', 123457601::bigint, NULL::bigint, NULL, NULL, '2026-01-20 00:00+00'::timestamptz),
	('quota_exceeded', 'message', 'free', 1, 'BLOCK', 5, 5, '196.207.1.2', 'Mozilla/5.0', '2026-01-20 00:00+00'), ('message_sent', 'message', 'free', 1, 'ALLOW_WITH_WARNING', 5, 5, '196.207.1.2', 'Mozilla/5.0', '2026-01-20 00:00+00')$$,
	'an account''s latest events');
SELECT is((SELECT count(*) FROM quota_events('awa', '2026-01-20', kind => 'message_sent')), 5::bigint, 'of a kind');
SELECT results_eq($$SELECT account, kind, metadata->>'kind' FROM quota_events_of('awa@example.org', kind => 'quota_exceeded')$$,
	$$VALUES ('awa' COLLATE "C", 'quota_exceeded' COLLATE "C", 'message_sent')$$, 'of a user: what was refused, and what it was to be');
SELECT is((SELECT count(*) FROM quota_events_of('fatou@example.org')), 0::bigint, 'of another user');
RESET ROLE;
SELECT is((SELECT string_agg(format('%s %s', kind, n), ', ' ORDER BY kind) FROM (SELECT kind, count(*) AS n FROM quota.events WHERE account = 'fatou' GROUP BY kind) k),
	'commit 1, consume 6, quota_exceeded 3, record 2, refund 1, release 1, reserve 3', 'and nothing of before is missing');

/* Unlimited, and counted all the same. */
SELECT is((quota_consume('issa', 'message', 1000)).reason, 'unlimited', 'max: unlimited');
SELECT is(chat_status('issa') - '{plan,plan_names}'::text[], '{"daily_limit": null, "monthly_limit": null, "used_today": 1000, "used_this_month": 1000,
	"remaining_today": null, "remaining_this_month": null, "can_send": true, "exceeded": false, "needs_upgrade": false, "warning": false}'::jsonb, 'max: its status');
SELECT results_eq($$SELECT plan, accounts, monthly_revenue FROM quota_plan_stats()$$,
	$$VALUES ('free', 2::bigint, 0::numeric), ('pro', 0, 0), ('max', 1, 22000), ('enterprise', 0, 0)$$, 'revenue');

ROLLBACK;

/*
 * Two at once: over the fifth message of a day, and over tokens of which there
 * are enough for one answer.
 */
\ir _helpers.sql
\ir _race.sql
SET quota.now = '2026-01-10 09:00+00';
SELECT quota_apply(quota_preset('messages')) \g /dev/null
SELECT (quota_consume(u, 'message', 4)).allowed, quota_set_override(u, 'token', 'month', 10000) FROM unnest('{ama,kofi}'::text[]) u \g /dev/null
CREATE FUNCTION send(user_id text) RETURNS text LANGUAGE sql AS $$SELECT format('SELECT brief(quota_consume(%L, ''message''))', user_id)$$;
CREATE FUNCTION answer(user_id text) RETURNS text LANGUAGE sql AS $$
	SELECT format('SELECT format(''%%s %%s/%%s'', decision, used, usage_limit) FROM quota_reserve(%L, ''token'', 6000)', user_id)
$$;

SELECT is(race(send('ama'), 'COMMIT', send('ama')), 'ALLOW_WITH_WARNING 5/5 near_limit, then BLOCK 5/5 limit_reached', 'two messages: one is the fifth');
SELECT is(race(send('kofi'), 'ROLLBACK', send('kofi')), 'ALLOW_WITH_WARNING 5/5 near_limit, then ALLOW_WITH_WARNING 5/5 near_limit',
	'two messages, of which the first fails: the second is the fifth');
SELECT is(race(answer('ama'), 'COMMIT', answer('ama')), 'ALLOW 6000/10000, then BLOCK 6000/10000', 'two answers: there is room for one until it is settled');
SELECT is(race(format('SELECT brief(quota_commit(%s, 4000))', id), 'COMMIT', answer('ama')), 'ALLOW 4000/10000 ok, then at once BLOCK 6000/10000',
	'the first is settled with less: there is no room until that is sure') FROM quota.reservations WHERE account = 'ama';
SELECT is(race(answer('ama'), 'ROLLBACK', answer('ama')), 'ALLOW 10000/10000, then ALLOW 10000/10000', 'then there is');
SELECT is(race(answer('kofi'), 'ROLLBACK', answer('kofi')), 'ALLOW 6000/10000, then ALLOW 6000/10000', 'two answers, of which the first fails');
SELECT results_eq($$SELECT account, feature, period::text, used FROM quota.counters ORDER BY 1, 2, 3$$, $$VALUES
	('ama' COLLATE "C", 'message' COLLATE "C", 'day', 5::bigint), ('ama', 'message', 'month', 5), ('ama', 'token', 'month', 10000),
	('kofi', 'message', 'day', 5), ('kofi', 'message', 'month', 5), ('kofi', 'token', 'month', 6000)$$, 'both windows are charged once, tokens as they were held');
SELECT results_eq($$SELECT account, amount FROM quota.reservations ORDER BY 1$$, $$VALUES ('ama' COLLATE "C", 6000::bigint), ('kofi', 6000)$$, 'who was refused or failed holds nothing');

SELECT * FROM finish();
