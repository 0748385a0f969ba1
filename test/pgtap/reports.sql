/*
 * Reports: of one account, and of all of them.
 */
BEGIN;
SELECT no_plan();
\ir _helpers.sql
SET LOCAL quota.now = '2026-01-15 12:00+00';

SELECT quota_apply('{
	"features": {
		"message": {"kind": "counter", "unit": "message"}, "token": {"kind": "counter"}, "storage": {"kind": "gauge", "unit": "MB"},
		"call": {"kind": "rate"}, "export": {"kind": "flag"}},
	"plans": {
		"free": {"name": "Free", "default": true, "price": 0, "limits": {
			"message": {"day": {"limit": 5}, "month": {"limit": 8}}, "token": {"month": {"limit": null}}, "storage": {"lifetime": {"limit": 100}},
			"call": {"minute": {"limit": 1}}}, "features": {"export": false}},
		"pro": {"name": "Pro", "price": 7, "display_order": 1, "limits": {
			"message": {"day": {"limit": 100, "on_limit": "charge", "overage_price": 0.125, "overage_cap": 1000}, "month": {"limit": null}},
			"token": {"month": {"limit": 1000, "on_limit": "warn"}}, "storage": {"lifetime": {"limit": null}}}, "features": {"export": true}},
		"gold": {"name": "Gold", "price": 120, "currency": "EUR", "billing_interval": "year", "display_order": 2},
		"weekly": {"price": 12, "billing_interval": "week", "display_order": 3},
		"daily": {"price": 1, "billing_interval": "day", "display_order": 4},
		"once": {"price": 99, "billing_interval": "once", "display_order": 5},
		"flags": {"features": {"export": {"formats": ["csv"]}}, "visible": false, "display_order": 6}}}') IS NOT NULL AS applied \gset
INSERT INTO quota.accounts (account, name, account_type, plan, status, trial_ends_at, sponsor, timezone) VALUES
	('acme', 'Acme Corp', 'REGULAR', 'pro', 'active', NULL, NULL, NULL),
	('beta', 'Beta "B" & Söhne', 'REGULAR', 'pro', 'trialing', '2026-01-20', 'acme', 'Asia/Tokyo'),
	('ceta', 'ACME Labs', 'INTERNAL', 'pro', 'trialing', '2026-01-10', 'acme', NULL),
	('susp', NULL, NULL, 'pro', 'suspended', NULL, NULL, NULL),
	('gone', NULL, NULL, 'pro', 'canceled', NULL, NULL, NULL),
	('gold', 'Gold Digger', NULL, 'gold', 'past_due', NULL, NULL, NULL),
	('week', '100%', NULL, 'weekly', 'active', NULL, NULL, NULL),
	('day_', 'a_b', NULL, 'daily', 'active', NULL, NULL, NULL),
	('once', NULL, NULL, 'once', 'active', NULL, '42', NULL),
	('flag', NULL, NULL, 'flags', 'active', NULL, '42', NULL);
INSERT INTO quota.limit_overrides (account, feature, period, usage_limit, expires_at) VALUES
	('beta', 'message', 'day', 10, NULL), ('acme', 'message', 'day', 1, '2026-01-15 12:00+00'), ('flag', 'message', 'week', NULL, NULL);
/* December, then now */
SET LOCAL quota.now = '2025-12-31 20:00+00';
SELECT count((quota_record(a, 'message', n)).used) AS n FROM (VALUES ('acme', 40), ('beta', 3), ('none', 2)) v (a, n) \gset
SET LOCAL quota.now = '2026-01-14 23:59+00';
SELECT count((quota_record(a, 'message', n)).used) AS n FROM (VALUES ('acme', 30), ('none', 4)) v (a, n) \gset
SET LOCAL quota.now = '2026-01-15 12:00+00';
SELECT count((quota_record(a, f, n)).used) AS n FROM (VALUES ('acme', 'message', 110), ('beta', 'message', 8), ('none', 'message', 3),
	('acme', 'token', 900), ('none', 'storage', 50), ('gone', 'storage', 79), ('susp', 'message', 12), ('flag', 'token', 7)) v (a, f, n) \gset

/* The document of use: each feature by the window that has least left. */
SELECT is(quota_usage('none'), '{"plan": "free", "month_key": "2026-01", "features": {
	"message": {"limit": 8, "used": 7, "remaining": 1, "unlimited": false},
	"storage": {"limit": 100, "used": 50, "remaining": 50, "unlimited": false},
	"token": {"limit": null, "used": 0, "remaining": null, "unlimited": true}}}'::jsonb, 'usage of an account without a row');
SELECT is(quota_usage('acme'), '{"plan": "pro", "month_key": "2026-01", "features": {
	"message": {"limit": 100, "used": 110, "remaining": 0, "unlimited": false},
	"storage": {"limit": null, "used": 0, "remaining": null, "unlimited": true},
	"token": {"limit": 1000, "used": 900, "remaining": 100, "unlimited": false}}}'::jsonb, 'usage of one past its limit');
SELECT is(quota_usage('beta')->'features'->'message', '{"limit": 10, "used": 8, "remaining": 2, "unlimited": false}'::jsonb, 'an override is in it');
SELECT is(quota_usage('flag'), '{"plan": "flags", "month_key": "2026-01", "features": {
	"message": {"limit": null, "used": 0, "remaining": null, "unlimited": true}}}'::jsonb, 'a plan without limits and an override without a limit');
SELECT is(quota_usage('once'), '{"plan": "once", "month_key": "2026-01", "features": {}}'::jsonb, 'a plan without anything');
SELECT is(quota_usage('susp')->>'plan', 'pro', 'suspended: the plan that it has');
SELECT is(quota_usage(42), quota_usage('42'), 'a number is its digits');
SELECT is(quota_usage(uuid '6F1C0A9E-8F4E-4E0F-9D5A-0C2B9A7D3E11'), quota_usage('6f1c0a9e-8f4e-4e0f-9d5a-0c2b9a7d3e11'), 'a uuid is its lower-case text');
SET LOCAL quota.now = '2025-12-31 15:00+00';
SELECT is(quota_usage('acme')->>'month_key', '2025-12', 'the month is December');
SELECT is(quota_usage('beta')->>'month_key', '2026-01', 'in Tokyo it is January');
SET LOCAL quota.timezone = 'Asia/Tokyo';
SELECT is(quota_usage('acme')->>'month_key', '2026-01', 'the setting''s month');
RESET quota.timezone;
SET LOCAL quota.now = '2026-01-15 12:00+00';

/* The status document. */
SELECT is(quota_status('acme'), '{
	"account": {"id": "acme", "name": "Acme Corp", "type": "REGULAR", "plan": "pro", "override": null},
	"plan": {"name": "Pro", "limit": 100, "allow_overage": true, "overage_price_cents": 12.5},
	"usage": {"message_count": 110, "storage_count": 0, "token_count": 900,
		"period_start": "2026-01-15T00:00:00+00:00", "period_end": "2026-01-16T00:00:00+00:00"},
	"decision": "ALLOW_WITH_WARNING",
	"info": {"ratio": 1.1, "message": "Over limit: 110/100 messages (110%)", "can_proceed": true, "overage_count": 10}}'::jsonb,
	'status: of the feature nearest to its limit');
SELECT is(quota_status('acme', 'token'), '{
	"account": {"id": "acme", "name": "Acme Corp", "type": "REGULAR", "plan": "pro", "override": null},
	"plan": {"name": "Pro", "limit": 1000, "allow_overage": true, "overage_price_cents": 0},
	"usage": {"message_count": 140, "storage_count": 0, "token_count": 900,
		"period_start": "2026-01-01T00:00:00+00:00", "period_end": "2026-02-01T00:00:00+00:00"},
	"decision": "ALLOW_WITH_WARNING",
	"info": {"ratio": 0.9, "message": "Approaching limit: 900/1000 token (90%)", "can_proceed": true, "overage_count": 0}}'::jsonb,
	'status: of one that is named, with the others in the same period');
SELECT is(quota_status('none'), '{
	"account": {"id": "none", "name": null, "type": null, "plan": "free", "override": null},
	"plan": {"name": "Free", "limit": 8, "allow_overage": false, "overage_price_cents": 0},
	"usage": {"message_count": 7, "storage_count": 50, "token_count": 0,
		"period_start": "2026-01-01T00:00:00+00:00", "period_end": "2026-02-01T00:00:00+00:00"},
	"decision": "ALLOW_WITH_WARNING",
	"info": {"ratio": 0.875, "message": "Approaching limit: 7/8 messages (88%)", "can_proceed": true, "overage_count": 0}}'::jsonb,
	'status: of an account without a row');
SELECT is(quota_status('beta')#>'{account,override}', '10', 'status: the override');
SELECT is(quota_status('beta')#>'{plan,limit}', '10', 'is the limit');
SELECT is(quota_status('acme')#>'{account,override}', 'null', 'status: one that has expired is none');
SELECT is(quota_status('susp')->>'decision', 'BLOCK', 'status: suspended');
SELECT is(quota_status('susp')#>>'{info,message}', 'Account is suspended.', 'says so');
SELECT is(quota_status('gone', 'storage')#>>'{plan,name}', 'Free', 'status: canceled is free');
SELECT is(quota_status('gone', 'storage')->'usage', '{"message_count": 0, "storage_count": 79, "token_count": 0, "period_start": null, "period_end": null}'::jsonb,
	'status: a lifetime has no ends');
SELECT is(quota_status('once'), '{
	"account": {"id": "once", "name": null, "type": null, "plan": "once", "override": null},
	"plan": {"name": "once", "limit": null, "allow_overage": false, "overage_price_cents": 0},
	"usage": {"period_start": null, "period_end": null}, "decision": null,
	"info": {"ratio": null, "message": null, "can_proceed": null, "overage_count": null}}'::jsonb, 'status: of a plan without anything');
SELECT is(quota_status('once', 'message')->'info',
	'{"ratio": 1, "message": "Plan \"once\" does not include message.", "can_proceed": false, "overage_count": 0}'::jsonb, 'status: of what is not in the plan');
SELECT is(quota_status(42, 'message'), quota_status('42', 'message'), 'status: by number');
SELECT is(quota_status(uuid '6f1c0a9e-8f4e-4e0f-9d5a-0c2b9a7d3e11')#>>'{account,id}', '6f1c0a9e-8f4e-4e0f-9d5a-0c2b9a7d3e11', 'status: by uuid');

/* History. */
SELECT results_eq($$SELECT period, to_char(period_start, 'YYYY-MM-DD'), used FROM quota_history('acme', 'message')$$, $$VALUES
	('day'::quota_period, '2026-01-15', 110::bigint), ('day', '2026-01-14', 30), ('day', '2025-12-31', 40),
	('month', '2026-01-01', 140), ('month', '2025-12-01', 40)$$, 'history: the latest first');
SELECT results_eq($$SELECT to_char(period_start, 'YYYY-MM'), used FROM quota_history('acme', 'message', 'month')$$,
	$$VALUES ('2026-01', 140::bigint), ('2025-12', 40)$$, 'history: by month');
SELECT results_eq($$SELECT feature, period, used FROM quota_history('acme', since => '2026-01-15 00:00+00')$$,
	$$VALUES ('message' COLLATE "C", 'day'::quota_period, 110::bigint)$$, 'history: windows that began since then');
SELECT results_eq($$SELECT feature, period, used FROM quota_history('acme', since => '2025-12-31 00:00+00', until => '2026-01-14 00:00+00')$$,
	$$VALUES ('message' COLLATE "C", 'day'::quota_period, 40::bigint), ('message', 'month', 140), ('token', 'month', 900)$$, 'history: and before then');
SELECT results_eq($$SELECT feature, period_start, used FROM quota_history('gone')$$,
	$$VALUES ('storage' COLLATE "C", '-infinity'::timestamptz, 79::bigint)$$, 'history: of a gauge');
SELECT is_empty($$SELECT * FROM quota_history('nobody', 'message')$$, 'history: of nobody');
SELECT is_empty($$SELECT * FROM quota_history('acme', since => now(), until => now())$$, 'history: of no time at all');
SELECT is((quota_consume(42, 'message')).used, 1::bigint, 'a number');
SELECT is((SELECT count(*) FROM quota_history(42, 'message')), 2::bigint, 'history: by number');
SELECT is_empty($$SELECT * FROM quota_history(uuid '6f1c0a9e-8f4e-4e0f-9d5a-0c2b9a7d3e11')$$, 'history: by uuid');
SELECT lives_ok($$SELECT quota_refund('42', 'message')$$, 'given back');

/* Forecast: half of the day is over, 14.5 of the month's 31 days. */
SELECT results_eq($$SELECT period::text, used, usage_limit, projected, projected_overage, overage_cost, limit_at FROM quota_forecast('acme', 'message')$$,
	$$VALUES ('day', 110::bigint, 100::bigint, 220::bigint, 120::bigint, 15.000, NULL::timestamptz), ('month', 140, NULL, 299, 0, NULL, NULL)$$,
	'forecast: as many again');
SELECT results_eq($$SELECT period::text, used, projected, projected_overage, overage_cost, limit_at FROM quota_forecast('none', 'message')$$,
	$$VALUES ('day', 3::bigint, 6::bigint, 1::bigint, NULL::numeric, '2026-01-15 20:00+00'::timestamptz), ('month', 7, 15, 7, NULL, '2026-01-17 13:42:51.428571+00')$$,
	'forecast: when the limit is reached');
SELECT results_eq($$SELECT projected, projected_overage, limit_at FROM quota_forecast('none', 'storage')$$,
	$$VALUES (NULL::bigint, NULL::bigint, NULL::timestamptz)$$, 'forecast: none for a lifetime');
SELECT results_eq($$SELECT projected, limit_at FROM quota_forecast('nobody', 'message')$$, $$VALUES (0::bigint, NULL::timestamptz), (0, NULL)$$, 'forecast: nothing of nothing');
SELECT is_empty($$SELECT * FROM quota_forecast('once', 'message')$$, 'forecast: not in the plan');
SET LOCAL quota.now = '2026-01-15 00:00+00';
SELECT results_eq($$SELECT period::text, projected FROM quota_forecast('none', 'message')$$, $$VALUES ('day', NULL::bigint), ('month', 16)$$, 'forecast: not at the first instant');
SET LOCAL quota.now = '2026-01-15 00:00:00.000001+00';
UPDATE quota.usage SET used = 9223372036854775806 WHERE account = 'none' AND period = 'day' AND period_start = '2026-01-15 00:00+00';
SELECT is((SELECT projected FROM quota_forecast('none', 'message') WHERE period = 'day'), 9223372036854775807, 'forecast: at most what can be counted');
UPDATE quota.usage SET used = 3 WHERE account = 'none' AND period = 'day' AND period_start = '2026-01-15 00:00+00';
SET LOCAL quota.now = '2026-01-15 12:00+00';

/* Sponsored. */
SELECT results_eq($$SELECT account, name, account_type, status, plan, usage->'message' FROM quota_sponsored('acme')$$, $$VALUES
	('beta', 'Beta "B" & Söhne', 'REGULAR', 'trialing', 'pro', '{"limit": 10, "used": 8, "remaining": 2, "unlimited": false}'::jsonb),
	('ceta', 'ACME Labs', 'INTERNAL', 'trialing', 'free', '{"limit": 5, "used": 0, "remaining": 5, "unlimited": false}')$$, 'sponsored: with the plan in effect and use');
SELECT results_eq($$SELECT account, usage FROM quota_sponsored(42)$$,
	$$VALUES ('flag', quota_usage('flag')->'features'), ('once', '{}'::jsonb)$$, 'sponsored by a number');
SELECT is_empty($$SELECT * FROM quota_sponsored('beta')$$, 'who sponsors nobody');
SELECT is_empty($$SELECT * FROM quota_sponsored(uuid '6f1c0a9e-8f4e-4e0f-9d5a-0c2b9a7d3e11')$$, 'sponsored by a uuid');
SELECT set_eq($$SELECT proargnames[1], provolatile, proparallel FROM pg_proc WHERE proname = 'quota_sponsored' AND NOT prosecdef$$,
	$$SELECT n, 's'::"char" AS v, 'r'::"char" AS p FROM unnest('{sponsor,sponsor_uuid,sponsor_id}'::text[]) n$$, 'sponsored: three ways to name an account');

/* Near the limit. */
SELECT results_eq($$SELECT account, name, plan, feature, period::text, used, usage_limit, remaining, ratio, overage FROM quota_near_limit()$$, $$VALUES
	('acme' COLLATE "C", 'Acme Corp', 'pro' COLLATE "C", 'message' COLLATE "C", 'day', 110::bigint, 100::bigint, 0::bigint, 1.1::float8, 10::bigint),
	('acme', 'Acme Corp', 'pro', 'token', 'month', 900, 1000, 100, 0.9, 0),
	('none', NULL, 'free', 'message', 'month', 7, 8, 1, 0.875, 0),
	('beta', 'Beta "B" & Söhne', 'pro', 'message', 'day', 8, 10, 2, 0.8, 0)$$, 'near the limit, the fullest first');
SELECT results_eq($$SELECT account FROM quota_near_limit(0.79, 'storage')$$, $$VALUES ('gone' COLLATE "C")$$, 'by the share asked for, of one feature');
SELECT is_empty($$SELECT * FROM quota_near_limit(0.7900001, 'storage')$$, 'to the last digit');
SELECT is((SELECT count(*) FROM quota_near_limit(0)), 10::bigint, 'a share of 0: all that has a limit');
SELECT is_empty($$SELECT * FROM quota_near_limit(1.2)$$, 'past the limit');

/* Most use. */
SELECT results_eq($$SELECT period::text, account, used FROM quota_top('message', 2)$$,
	$$VALUES ('day', 'acme' COLLATE "C", 110::bigint), ('day', 'susp', 12), ('month', 'acme', 140), ('month', 'susp', 12)$$, 'top two of each period');
SELECT results_eq($$SELECT account, name, plan, used, usage_limit FROM quota_top('message', period => 'day')$$, $$VALUES
	('acme' COLLATE "C", 'Acme Corp', 'pro' COLLATE "C", 110::bigint, 100::bigint), ('susp', NULL, 'pro', 12, 100), ('beta', 'Beta "B" & Söhne', 'pro', 8, 10),
	('none', NULL, 'free', 3, 5), ('42', NULL, 'free', 0, 5)$$, 'top of one period');
SELECT is_empty($$SELECT * FROM quota_top('message', period => 'year')$$, 'top of one that is not counted');
SELECT results_eq($$SELECT account FROM quota_top('storage', 1)$$, $$VALUES ('gone' COLLATE "C")$$, 'top of a gauge');

/* Totals. */
SELECT results_eq($$SELECT feature, period::text, used, accounts, near_limit, over_limit FROM quota_totals()$$, $$VALUES
	('message', 'day', 133::numeric, 4::bigint, 2::bigint, 1::bigint), ('message', 'month', 170, 4, 1, 0),
	('storage', 'lifetime', 129, 2, 0, 0), ('token', 'month', 900, 1, 1, 0), ('token', 'lifetime', 7, 1, 0, 0)$$, 'totals, also of what is not in the plan');
SELECT results_eq('SELECT * FROM quota_stats()', $$VALUES (12::bigint, 4::bigint, 1::bigint, 1::bigint, 1::bigint, 1::bigint)$$,
	'accounts: ten with a row, two without, four of them active');
SET LOCAL quota.now = '2027-01-15 12:00+00';
SELECT is((SELECT sum(used) FROM quota_totals() WHERE period <> 'lifetime'), 0::numeric, 'totals of new windows');
SELECT is((SELECT active_accounts FROM quota_stats()), 0::bigint, 'nobody is active');
SET LOCAL quota.now = '2026-01-15 12:00+00';

/* Plans. */
SELECT results_eq($$SELECT plan, name, accounts, trialing, paying, price, currency, billing_interval, monthly_revenue, overage_revenue FROM quota_plan_stats()$$, $$VALUES
	('free', 'Free', 4::bigint, 0::bigint, 0::bigint, 0::numeric, 'USD', 'month', 0::numeric, 0::numeric),
	('pro', 'Pro', 3, 1, 1, 7, 'USD', 'month', 7, 1.25),
	('gold', 'Gold', 1, 0, 1, 120, 'EUR', 'year', 10, 0),
	('weekly', 'weekly', 1, 0, 1, 12, 'USD', 'week', 52.14, 0),
	('daily', 'daily', 1, 0, 1, 1, 'USD', 'day', 30.42, 0),
	('once', 'once', 1, 0, 1, 99, 'USD', 'once', 0, 0),
	('flags', 'flags', 1, 0, 1, NULL, 'USD', 'month', NULL, 0)$$, 'accounts and revenue by plan');
SELECT is((SELECT sum(accounts) FROM quota_plan_stats()), (SELECT accounts::numeric FROM quota_stats()), 'every account has its plan');

/* Search. */
SELECT results_eq($$SELECT account, name FROM quota_search('acme')$$, $$VALUES ('acme', 'Acme Corp'), ('ceta', 'ACME Labs')$$, 'by key and by name, in whatever case');
SELECT results_eq($$SELECT account, name, account_type, status, plan, sponsor FROM quota_search('SÖHNE')$$,
	$$VALUES ('beta', 'Beta "B" & Söhne', 'REGULAR', 'trialing', 'pro', 'acme')$$, 'in the middle of a name');
SELECT results_eq($$SELECT account FROM quota_search('gold')$$, $$VALUES ('gold')$$, 'the account of that key first');
SELECT results_eq($$SELECT account FROM quota_search('_')$$, $$VALUES ('day_')$$, 'no wildcards');
SELECT results_eq($$SELECT account FROM quota_search('0%')$$, $$VALUES ('week')$$, 'none at all');
SELECT is((SELECT count(*) FROM quota_search('')), 10::bigint, 'nothing matches everybody');
SELECT is((SELECT count(*) FROM quota_search('', 3)), 3::bigint, 'up to n');

/* Arguments. */
CREATE TEMP TABLE mistakes (state text, message text, query text);
INSERT INTO mistakes VALUES
	('22004', 'account must not be null', 'SELECT quota_usage(NULL)'), ('22004', 'account must not be null', 'SELECT quota_usage(NULL::uuid)'),
	('22004', 'account must not be null', 'SELECT quota_usage(NULL::bigint)'), ('22023', 'account must not be empty', 'SELECT quota_usage('''')'),
	('22023', 'account is too long', 'SELECT quota_usage(repeat(''x'', 256))'),
	('22004', 'account must not be null', 'SELECT quota_status(NULL)'), ('22023', 'account must not be empty', 'SELECT quota_status('''', ''message'')'),
	('42704', 'feature "nothing" does not exist', 'SELECT quota_status(''a'', ''nothing'')'), ('42809', NULL, 'SELECT quota_status(''a'', ''export'')'),
	('22004', 'account must not be null', 'SELECT quota_history(NULL, ''message'')'), ('22023', 'account must not be empty', 'SELECT quota_history('''')'),
	('42704', 'feature "nothing" does not exist', 'SELECT quota_history(''a'', ''nothing'')'),
	('42809', 'feature "export" of kind flag has no counters', 'SELECT quota_history(''a'', ''export'')'),
	('42809', 'feature "call" of kind rate has no counters', 'SELECT quota_history(''a'', ''call'')'),
	('22023', 'since must not be after until', 'SELECT quota_history(''a'', since => ''2026-01-02'', until => ''2026-01-01'')'),
	('22004', 'account must not be null', 'SELECT quota_forecast(NULL, ''message'')'), ('22004', 'feature must not be null', 'SELECT quota_forecast(''a'', NULL)'),
	('42704', 'feature "nothing" does not exist', 'SELECT quota_forecast(''a'', ''nothing'')'),
	('22004', 'account must not be null', 'SELECT quota_sponsored(NULL)'), ('22023', 'account must not be empty', 'SELECT quota_sponsored('''')'),
	('22004', 'ratio must not be null', 'SELECT quota_near_limit(NULL)'), ('22023', 'ratio must be a finite number, 0 or more', 'SELECT quota_near_limit(-0.1)'),
	('22023', 'ratio must be a finite number, 0 or more', 'SELECT quota_near_limit(''NaN'')'),
	('22023', 'ratio must be a finite number, 0 or more', 'SELECT quota_near_limit(''infinity'')'),
	('42704', 'feature "nothing" does not exist', 'SELECT quota_near_limit(feature => ''nothing'')'),
	('22004', 'feature must not be null', 'SELECT quota_top(NULL)'), ('42809', 'feature "export" of kind flag has no counters', 'SELECT quota_top(''export'')'),
	('22023', 'n must be at least 1', 'SELECT quota_top(''message'', 0)'), ('22004', 'n must not be null', 'SELECT quota_top(''message'', NULL)'),
	('22004', 'query must not be null', 'SELECT quota_search(NULL)'), ('22023', 'n must be at least 1', 'SELECT quota_search(''a'', -1)');
SELECT throws_ok(query, state, message, query) FROM mistakes;

/* Reports of many accounts are of those that the caller sees; what it does not see is refused. */
CREATE ROLE quota_test_seer;
GRANT USAGE ON SCHEMA public TO quota_test_seer;
SELECT quota_grant('quota_test_seer', 'reader') \g /dev/null
INSERT INTO quota.account_users (account, user_id) VALUES ('beta', 'ann');
SELECT is_empty($$SELECT as_role('quota_test_seer', 'SELECT account FROM quota_near_limit(0)')$$, 'a reader without a user sees none');
SET LOCAL quota."user" = 'ann';
SELECT results_eq($$SELECT as_role('quota_test_seer', 'SELECT account, used FROM quota_near_limit(0)')$$, $$VALUES ('beta|8')$$, 'with a user the user''s');
SELECT is((SELECT as_role('quota_test_seer', $$SELECT quota_status('beta')->'account'->>'id'$$)), 'beta', 'and the status of those');
SELECT is((SELECT as_role('quota_test_seer', $$SELECT quota_status('acme')->>'decision'$$)), '42501', 'of no other');
SELECT is((SELECT as_role('quota_test_seer', 'SELECT * FROM ' || f || '()')), '42501', 'a reader cannot sum up all accounts: ' || f)
FROM unnest('{quota_totals,quota_stats,quota_plan_stats,quota_metrics,quota_rate_stats}'::text[]) f;
RESET quota."user";

/* All that can be counted of one feature is used: the others, and what ends it, work. */
SELECT is((quota_record('brim', 'token', 9223372036854775807)).used, 9223372036854775807, 'brim: as much as can be counted');
SELECT is((SELECT string_agg(brief(d), ', ' ORDER BY feature, period) FROM quota_evaluate('brim') d WHERE feature IN ('message', 'token')),
	'ALLOW 0/5 ok, ALLOW 0/8 ok, ALLOW 9223372036854775807/- unlimited', 'brim: what it has of each feature');
SELECT is(quota_usage('brim')->'features'->'message'->'remaining', '5'::jsonb, 'brim: its use');
SELECT is(quota_status('brim', 'message')->>'decision', 'ALLOW', 'brim: its status');
SELECT is((SELECT used FROM quota_forecast('brim', 'message') WHERE period = 'day'), 0::bigint, 'brim: a forecast');
SELECT throws_ok($$SELECT quota_consume('brim', 'token')$$, '22003', 'use out of range', 'brim: not one more');
SELECT lives_ok($$SELECT quota_reset('brim')$$, 'brim: it can be set back');
SELECT is((quota_evaluate('brim', 'token')).used, 0::bigint, 'brim: to nothing');

/* Reports write nothing, and work in the transactions that may not. */
SET LOCAL TRANSACTION READ ONLY;
SELECT lives_ok(q, 'read-only: ' || q) FROM unnest('{SELECT quota_usage(''acme''),SELECT quota_status(''acme''),SELECT quota_near_limit(),SELECT quota_metrics()}'::text[]) q;

SELECT * FROM finish();
ROLLBACK;
