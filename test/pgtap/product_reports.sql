/*
 * The preset `reports` played by a real-estate reporting product: reports on
 * demand and by schedule, sales' overrides, an affiliate, several plans.
 */
SELECT no_plan();
BEGIN;
\ir _helpers.sql
SET LOCAL quota.now = '2026-01-15 09:30+00';

/* The product's own tables. */
CREATE TABLE accounts (id uuid PRIMARY KEY, name text NOT NULL);
CREATE TABLE report_generations (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	account_id uuid NOT NULL REFERENCES accounts,
	schedule_id bigint,
	status text NOT NULL DEFAULT 'processing' CHECK (status IN ('processing', 'completed', 'failed', 'skipped_limit')),
	error_message text,
	generated_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE schedule_runs (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	account_id uuid NOT NULL REFERENCES accounts,
	status text NOT NULL DEFAULT 'processing'
);
INSERT INTO accounts VALUES
	('00000000-0000-4000-8000-000000000001', 'Free Realty'), ('00000000-0000-4000-8000-000000000002', 'Pro Realty'),
	('00000000-0000-4000-8000-000000000003', 'Team Realty'), ('00000000-0000-4000-8000-000000000004', 'Affiliate Inc'),
	('00000000-0000-4000-8000-000000000005', 'Sponsored Realty'), ('00000000-0000-4000-8000-000000000006', 'Special Realty');
CREATE FUNCTION id(which int) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$SELECT format('00000000-0000-4000-8000-%s', lpad(which::text, 12, '0'))::uuid$$;

SELECT quota_apply(quota_preset('reports')) \g /dev/null
SELECT quota_attach('report_generations', 'report', 'account_id', on_block => 'mark', counted_when => $$status IN ('processing', 'completed')$$,
	status_column => 'status', blocked_status => 'skipped_limit', message_column => 'error_message', mark_when => 'schedule_id IS NOT NULL') \g /dev/null
SELECT quota_attach('schedule_runs', 'schedule_run', 'account_id', on_block => 'mark', status_column => 'status', blocked_status => 'skipped_limit') \g /dev/null
INSERT INTO quota.accounts (account, name, account_type, plan) VALUES
	(id(2)::text, 'Pro Realty', 'REGULAR', 'pro'), (id(3)::text, 'Team Realty', 'REGULAR', 'team'),
	(id(4)::text, 'Affiliate Inc', 'INDUSTRY_AFFILIATE', 'affiliate');
INSERT INTO quota.accounts (account, name, account_type, plan, sponsor) VALUES (id(5)::text, 'Sponsored Realty', 'REGULAR', 'sponsored_free', id(4)::text);
INSERT INTO quota.account_users (account, user_id, role) VALUES
	(id(2)::text, 'ann', 'OWNER'), (id(3)::text, 'ann', 'MEMBER'), (id(4)::text, 'bob', 'AFFILIATE'), (id(5)::text, 'carl', 'ADMIN');
CREATE ROLE quota_test_reports;
GRANT USAGE ON SCHEMA public TO quota_test_reports;
GRANT SELECT, INSERT ON report_generations, schedule_runs TO quota_test_reports;
SELECT quota_grant('quota_test_reports', 'app') \g /dev/null

/* The product makes n reports for an account, one INSERT each; returns how many went in. */
CREATE FUNCTION make(account uuid, n int) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. n LOOP
		BEGIN
			INSERT INTO report_generations (account_id) VALUES (account);
		EXCEPTION WHEN SQLSTATE 'PT429' THEN
			RETURN i - 1;
		END;
	END LOOP;
	RETURN n;
END $$;

SET LOCAL ROLE quota_test_reports;

/* An account without a row in quota.accounts is on free: 50 a month, warned at 40, refused past 55. */
SELECT is(make(id(1), 39), 39, 'free: 39 reports');
SELECT results_eq($$SELECT brief(d), (d).plan, (d).remaining FROM (SELECT quota_evaluate(id(1), 'report') AS d) d$$,
	$$VALUES ('ALLOW 39/50 ok', 'free', 11::bigint)$$, 'free at 39: allowed');
SELECT is(make(id(1), 1), 1, 'free: another');
SELECT is((quota_evaluate(id(1), 'report')).message, 'Approaching limit: 40/50 reports (80%)', 'free at 40: the warning for the response header');
SELECT is(make(id(1), 4), 4, 'free: four more');
SELECT results_eq($$SELECT brief(d), (d).ratio FROM (SELECT quota_evaluate(id(1), 'report') AS d) d$$,
	$$VALUES ('ALLOW_WITH_WARNING 44/50 near_limit', 0.88::float8)$$, 'free at 44: allowed with warning, ratio 0.88');
SELECT is(make(id(1), 10), 10, 'free: ten more');
SELECT results_eq($$SELECT brief(d), (d).allowed, (d).overage FROM (SELECT quota_evaluate(id(1), 'report') AS d) d$$,
	$$VALUES ('ALLOW_WITH_WARNING 54/50 soft_limit', true, 4::bigint)$$, 'free at 54: allowed with warning');
SELECT is(make(id(1), 10), 1, 'free: the 55th is the last');
SELECT results_eq($$SELECT brief(d), (d).allowed, (d).message FROM (SELECT quota_evaluate(id(1), 'report') AS d) d$$,
	$$VALUES ('BLOCK 55/50 limit_reached', false, 'Monthly report limit reached (55/50).')$$, 'free at 55: blocked');
SELECT is(error_of($$INSERT INTO report_generations (account_id) VALUES (id(1))$$), jsonb_build_object('state', 'PT429',
	'message', 'Monthly report limit reached (55/50).',
	'detail', '{"error":"quota_exceeded","feature":"report","plan":"free","limit":50,"used":55,"remaining":0,"period":"month","retry_after_s":1434600}',
	'hint', 'The next window begins at 2026-02-01 00:00:00+00; a larger plan or an override allows more now.'),
	'free on demand: usage and plan are in the error');
SELECT is((SELECT count(*) FROM report_generations WHERE account_id = id(1)), 55::bigint, 'free: as many rows as were charged');

/* By schedule: the row goes in as skipped_limit, the work never starts. */
INSERT INTO report_generations (account_id, schedule_id) VALUES (id(1), 7);
SELECT results_eq($$SELECT status, error_message FROM report_generations WHERE schedule_id = 7$$,
	$$VALUES ('skipped_limit', 'Monthly report limit reached (55/50).')$$, 'free by schedule: skipped_limit, not failed');
INSERT INTO schedule_runs (account_id) SELECT id(1) FROM generate_series(1, 100);
SELECT is((SELECT count(*) FROM schedule_runs WHERE status = 'processing'), 100::bigint, 'schedule runs are unlimited');
SELECT is(brief(quota_evaluate(id(1), 'schedule_run')), 'ALLOW 100/- unlimited', 'and counted');
SELECT is((quota_evaluate(id(1), 'report')).used, 55::bigint, 'what was skipped is not');

SELECT throws_ok($$INSERT INTO report_generations (account_id, schedule_id) VALUES (id(1), 7), (id(1), NULL)$$, 'PT429', NULL, 'one of each: the statement fails');
SELECT is((SELECT count(*) FROM report_generations WHERE schedule_id = 7), 1::bigint, 'as a whole');

/* The app cannot go round it. */
SELECT throws_ok($$UPDATE quota.usage SET used = 0$$, '42501', NULL, 'the app cannot touch the counters');
SELECT throws_ok($$SET quota.enforcement = off$$, '42501', NULL, 'nor the settings');
SELECT throws_ok($$DELETE FROM report_generations$$, '42501', NULL, 'nor has it got other rights');
SELECT is(quota_status(id(1)), '{
	"account": {"id": "00000000-0000-4000-8000-000000000001", "name": null, "type": null, "plan": "free", "override": null},
	"plan": {"name": "Free", "limit": 50, "allow_overage": false, "overage_price_cents": 0},
	"usage": {"report_count": 55, "schedule_run_count": 100,
		"period_start": "2026-01-01T00:00:00+00:00", "period_end": "2026-02-01T00:00:00+00:00"},
	"decision": "BLOCK",
	"info": {"ratio": 1.1, "message": "Monthly report limit reached (55/50).", "can_proceed": false, "overage_count": 5}}'::jsonb,
	'free at 55: as one document');
RESET ROLE;

/* pro: 300, then 1.50 a report. */
SELECT is(make(id(2), 244), 244, 'pro: 244 reports');
SELECT results_eq($$SELECT brief(d), (d).message FROM (SELECT quota_consume(id(2), 'report') AS d) d$$,
	$$VALUES ('ALLOW_WITH_WARNING 245/300 near_limit', 'Approaching limit: 245/300 reports (82%)')$$, 'pro at 245');
SELECT is((quota_evaluate(id(2), 'report')).message, 'Approaching limit: 245/300 reports (82%)', 'pro at 245: asked');
SELECT is(make(id(2), 85), 85, 'pro: up to 330');
SELECT results_eq($$SELECT brief(d), (d).allowed, (d).overage, (d).remaining, (d).ratio, (d).message FROM (SELECT quota_evaluate(id(2), 'report') AS d) d$$,
	$$VALUES ('ALLOW_WITH_WARNING 330/300 overage', true, 30::bigint, 0::bigint, 1.1::float8, 'Over limit: 330/300 reports (110%)')$$,
	'pro at 330: allowed, overage 30');
SELECT is(quota_status(id(2)), '{
	"account": {"id": "00000000-0000-4000-8000-000000000002", "name": "Pro Realty", "type": "REGULAR", "plan": "pro", "override": null},
	"plan": {"name": "Pro", "limit": 300, "allow_overage": true, "overage_price_cents": 150},
	"usage": {"report_count": 330, "schedule_run_count": 0,
		"period_start": "2026-01-01T00:00:00+00:00", "period_end": "2026-02-01T00:00:00+00:00"},
	"decision": "ALLOW_WITH_WARNING",
	"info": {"ratio": 1.1, "message": "Over limit: 330/300 reports (110%)", "can_proceed": true, "overage_count": 30}}'::jsonb,
	'pro at 330: as one document');
SELECT is((quota_consume(id(2), 'report')).overage, 31::bigint, 'pro: the next is the 31st of overage');
SELECT is((SELECT (d.overage * l.overage_price)::numeric(10, 2) FROM quota_evaluate(id(2), 'report') d
	JOIN quota.plan_limits l ON l.plan = d.plan AND l.feature = d.feature AND l.period = d.period), 46.50, 'pro: which costs 46.50');

/* team: 1000, then 1.00. affiliate: 5000, then nothing. sponsored_free: 75. */
INSERT INTO report_generations (account_id) SELECT id(3) FROM generate_series(1, 1200);
SELECT results_eq($$SELECT brief(d), (d).overage FROM (SELECT quota_evaluate(id(3), 'report') AS d) d$$,
	$$VALUES ('ALLOW_WITH_WARNING 1200/1000 overage', 200::bigint)$$, 'team at 1200');
INSERT INTO report_generations (account_id) SELECT id(4) FROM generate_series(1, 6000);
SELECT results_eq($$SELECT brief(d), (d).allowed FROM (SELECT quota_evaluate(id(4), 'report') AS d) d$$,
	$$VALUES ('ALLOW_WITH_WARNING 6000/5000 overage', true)$$, 'affiliate at 6000: allowed');
SELECT is(quota_status(id(4))->'plan', '{"name": "Affiliate", "limit": 5000, "allow_overage": true, "overage_price_cents": 0}'::jsonb, 'affiliate: overage costs nothing');
SELECT results_eq($$SELECT (quota_status(id(which))->'plan') - 'limit' FROM unnest('{3,5}'::int[]) which$$, $$VALUES
	('{"name": "Team", "allow_overage": true, "overage_price_cents": 100}'::jsonb), ('{"name": "Sponsored Free", "allow_overage": false, "overage_price_cents": 0}')$$,
	'team: 1.00 a report; sponsored_free: none');
SELECT is(make(id(5), 100), 82, 'sponsored_free: 75 and a tenth of it');
SELECT is((quota_evaluate(id(5), 'report')).message, 'Monthly report limit reached (82/75).', 'sponsored_free: refused');

/* Work that fails keeps no charge. */
DO $$
BEGIN
	INSERT INTO report_generations (account_id) VALUES (id(6)), (id(6)), (id(6));
	RAISE EXCEPTION 'the renderer is down';
EXCEPTION WHEN raise_exception THEN
	NULL;
END $$;
SELECT is((quota_evaluate(id(6), 'report')).used, 0::bigint, 'work that is rolled back costs nothing');
SELECT throws_ok($$INSERT INTO report_generations (account_id) VALUES (id(6)), (id(99))$$, '23503', NULL, 'a report of nobody');
SELECT throws_ok($$INSERT INTO report_generations (account_id, status) VALUES (id(6), 'unheard of')$$, '23514', NULL, 'a report of an unheard of status');
SELECT is((quota_evaluate(id(6), 'report')).used, 0::bigint, 'cost nothing');
SELECT is(make(id(6), 1), 1, 'a report');
SELECT is((quota_refund(id(6), 'report')).used, 0::bigint, 'that failed later is given back');

/* Sales give one account its own monthly limit. */
INSERT INTO quota.limit_overrides (account, feature, period, usage_limit, expires_at, reason)
	VALUES (id(6)::text, 'report', 'month', 20, '2026-03-01 00:00+00', 'trade fair');
SELECT is(make(id(6), 100), 22, 'an override: 20 and a tenth of it');
SELECT is((quota_evaluate(id(6), 'report')).message, 'Monthly report limit reached (22/20).', 'an override: refused');
UPDATE quota.limit_overrides SET usage_limit = 500 WHERE account = id(6)::text;
SELECT is(make(id(6), 10), 10, 'an override: raised');
SELECT is((quota_evaluate(id(6), 'report')).usage_limit, 500::bigint, 'an override: in the decision');
SELECT is(quota_status(id(6), 'report')#>'{account,override}', '500', 'an override: in the document');

/* Scheduled work of an account with some room. */
INSERT INTO quota.limit_overrides (account, feature, period, usage_limit) VALUES ('00000000-0000-4000-8000-000000000001', 'report', 'month', 52);
INSERT INTO report_generations (account_id, schedule_id) SELECT id(1), 7 FROM generate_series(1, 4);
SELECT results_eq($$SELECT status, error_message, count(*) FROM report_generations WHERE account_id = id(1) AND schedule_id = 7 GROUP BY 1, 2 ORDER BY 1, 2 DESC$$,
	$$VALUES ('processing', NULL, 2::bigint), ('skipped_limit', 'Monthly report limit reached (57/52).', 2), ('skipped_limit', 'Monthly report limit reached (55/50).', 1)$$,
	'by schedule: as many as there is room for');
INSERT INTO quota.accounts (account, status) VALUES (id(1)::text, 'suspended');
INSERT INTO report_generations (account_id, schedule_id) VALUES (id(1), 7);
SELECT is((SELECT error_message FROM report_generations ORDER BY id DESC LIMIT 1), 'Account is suspended.', 'by schedule: a suspended account');
INSERT INTO schedule_runs (account_id) VALUES (id(1));
SELECT is((SELECT status FROM schedule_runs ORDER BY id DESC LIMIT 1), 'skipped_limit', 'its schedule run likewise');
SELECT is((quota_evaluate(id(1), 'schedule_run')).used, 100::bigint, 'which is not counted');
SELECT throws_ok($$INSERT INTO report_generations (account_id) VALUES (id(1))$$, 'PT403', 'Account is suspended.', 'on demand: a suspended account');

/* Upgrade in the middle of a month, and back. */
UPDATE quota.accounts SET status = 'active', plan = 'pro' WHERE account = id(1)::text;
DELETE FROM quota.limit_overrides WHERE account = id(1)::text;
SELECT is(brief(quota_evaluate(id(1), 'report')), 'ALLOW 57/300 ok', 'an upgrade makes room at once');
UPDATE quota.accounts SET status = 'canceled' WHERE account = id(1)::text;
SELECT is(brief(quota_evaluate(id(1), 'report')), 'BLOCK 57/50 limit_reached', 'a cancellation takes it back');

/* What the operator looks at, and the affiliate. */
SELECT results_eq($$SELECT account, name, used, usage_limit FROM quota_near_limit(1)$$, $$VALUES
	(id(3)::text COLLATE "C", 'Team Realty', 1200::bigint, 1000::bigint), (id(4)::text, 'Affiliate Inc', 6000, 5000), (id(1)::text, NULL, 57, 50),
	(id(2)::text, 'Pro Realty', 331, 300), (id(5)::text, 'Sponsored Realty', 82, 75)$$, 'accounts at their limit');
SELECT results_eq($$SELECT account, used FROM quota_top('report', 3)$$,
	$$VALUES (id(4)::text COLLATE "C", 6000::bigint), (id(3)::text, 1200), (id(2)::text, 331)$$, 'use of this month, largest first');
SELECT results_eq($$SELECT account, name, plan, usage#>>'{report,used}' FROM quota_sponsored(id(4))$$,
	$$VALUES (id(5)::text, 'Sponsored Realty', 'sponsored_free', '82')$$, 'the affiliate: who it sponsors, with their use');
SELECT is_empty($$SELECT * FROM quota_sponsored(id(5))$$, 'the sponsored: nobody');

/* The next month needs no job. */
SET LOCAL quota.now = '2026-02-01 00:00+00';
SELECT is(make(id(1), 60), 55, 'February: all of it again');
SELECT is(brief(quota_evaluate(id(2), 'report')), 'ALLOW 0/300 ok', 'February: no overage of January');

/* Month-end: what is over the limit is billed, once, by January's terms, also if somebody changes a plan before. */
SAVEPOINT closing;
SELECT quota_refund(id(2), 'report', 1, at => '2026-01-31') \g /dev/null
SELECT quota_set_plan(id(2), 'free'), quota_set_plan(id(4), 'pro') \g /dev/null
UPDATE quota.plan_limits SET overage_price = 2 WHERE plan = 'pro';
SET LOCAL quota.now = '2026-02-03 02:00+00';
SELECT is_empty('SELECT FROM quota.invoices', 'closing: nothing is billed by itself');
SELECT results_eq($$SELECT name, currency::text COLLATE "default", total FROM quota_invoice_overage()$$,
	$$VALUES ('Pro Realty', 'USD', 45.00), ('Team Realty', 'USD', 200.00)$$, 'closing: pro and team owe something; the affiliate pays nothing, free and sponsored have no overage');
SELECT is_empty('SELECT FROM quota_invoice_overage()', 'closing: run again');
SELECT results_eq($$SELECT d->>'name', d->'total', l - '{period_start,period_end}'::text[] FROM quota_invoices(id(2)) d, jsonb_array_elements(d->'lines') l$$, $$VALUES
	('Pro Realty', '45.00'::jsonb, '{"feature": "report", "period": "month", "plan": "pro", "used": 330, "usage_limit": 300, "quantity": 30, "unit_price": 1.50, "amount": 45.00}'::jsonb)$$,
	'closing: pro at 330 of 300 pays 30 x 1.50');
ROLLBACK TO closing;
SET LOCAL quota.now = '2026-03-01 00:00+00';
SELECT is(brief(quota_evaluate(id(6), 'report')), 'ALLOW 0/50 ok', 'March: the override has ended');

/* Work that fails costs nothing, however late that is known: it is given back to January. */
UPDATE report_generations SET status = 'failed', error_message = 'no data' WHERE account_id = id(3) AND id % 100 = 0;
SELECT is((SELECT used FROM quota.usage WHERE account = id(3)::text AND feature = 'report'), 1188::bigint, 'failed reports are refunded to their month');
UPDATE report_generations SET status = 'processing', error_message = NULL WHERE account_id = id(3) AND status = 'failed';
SELECT results_eq($$SELECT to_char(period_start, 'YYYY-MM'), used FROM quota_history(id(3), 'report')$$,
	$$VALUES ('2026-03', 12::bigint), ('2026-01', 1188)$$, 'those that are tried again are charged again, in March');
UPDATE report_generations SET status = 'completed' WHERE account_id = id(3) AND id % 200 = 0;
SELECT is((quota_evaluate(id(3), 'report')).used, 12::bigint, 'what completes costs nothing more');
UPDATE report_generations SET status = 'failed' WHERE account_id = id(3) AND id % 100 = 0;
SELECT results_eq($$SELECT to_char(period_start, 'YYYY-MM'), used FROM quota_history(id(3), 'report') WHERE used > 0$$,
	$$VALUES ('2026-01', 1188::bigint)$$, 'and what fails again is refunded to March');

/* What the counters say is what the tables hold; the operator's list of this January. */
SELECT results_eq($$
	SELECT u.account, u.used FROM quota.usage u WHERE u.feature = 'report' AND u.period_start = '2026-01-01 00:00+00' ORDER BY u.account
	$$, $$
	SELECT account_id::text COLLATE "C", count(*) + CASE account_id WHEN id(2) THEN 2 WHEN id(6) THEN -1 WHEN id(1) THEN -55 ELSE 0 END
	FROM report_generations WHERE status IN ('processing', 'completed')
	GROUP BY account_id ORDER BY 1
	$$, 'counters and rows agree, but for two consumed and one refunded by hand, and February');
SELECT results_eq($$SELECT a.account FROM quota.accounts a JOIN quota.account_users USING (account) WHERE user_id = 'ann' ORDER BY 1$$,
	$$VALUES (id(2)::text COLLATE "C"), (id(3)::text)$$, 'a user of several accounts');

/* Users who switch between accounts: each sees its own, and an affiliate those that it sponsors. */
SELECT quota_add_user(id(4), 'ann', 'ADMIN') \g /dev/null
SELECT results_eq($$SELECT account, name, role FROM quota_accounts_of('ann')$$,
	$$VALUES (id(2)::text, 'Pro Realty', 'OWNER'), (id(3)::text, 'Team Realty', 'MEMBER'), (id(4)::text, 'Affiliate Inc', 'ADMIN')$$, 'a user chooses among its accounts');
SELECT quota_grant('quota_test_reports', 'reader') \g /dev/null
CREATE FUNCTION seen_by(who text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM set_config('quota.user', who, true);
	RETURN (SELECT string_agg(a, ',' ORDER BY a) FROM as_role('quota_test_reports', 'SELECT right(account, 1) FROM quota.accounts') a);
END $$;
SELECT is(seen_by(who), sees, format('%s sees %s', who, COALESCE(sees, 'nothing')))
FROM (VALUES ('ann', '2,3,4,5'), ('bob', '4,5'), ('carl', '5'), ('eve', NULL)) v (who, sees);
SELECT quota_unsponsor(id(5)) \g /dev/null
SELECT is_empty($$SELECT FROM quota_sponsored(id(4))$$, 'who is sponsored no more is not listed');
SELECT is(seen_by('bob'), '4', 'nor seen by the affiliate');

/* Adoption: a product that has run for a while, with its accounts and their creators. Their reports are counted by quota_attach. */
CREATE TABLE running_accounts (
	id uuid PRIMARY KEY, name text NOT NULL, account_type text NOT NULL DEFAULT 'REGULAR', plan text NOT NULL DEFAULT 'free', created_by uuid NOT NULL);
INSERT INTO running_accounts
SELECT id(1000 + i), 'Realty ' || i, CASE WHEN i % 100 = 0 THEN 'INDUSTRY_AFFILIATE' ELSE 'REGULAR' END,
	CASE WHEN i % 100 = 0 THEN 'affiliate' WHEN i % 10 = 0 THEN 'pro' ELSE 'free' END, id(500000 + i / 4)
FROM generate_series(1, 1000) i;
UPDATE running_accounts SET plan = 'platinum' WHERE id = id(2000);
SELECT throws_ok($$SELECT quota_adopt('running_accounts', 'id', 'name', 'plan', 'account_type', 'created_by')$$, '42704', 'plan "platinum" does not exist', 'adoption: a plan that nobody knows');
SELECT is((SELECT count(*) FROM quota.accounts WHERE account BETWEEN id(1001)::text AND id(2000)::text), 0::bigint, 'adoption: nothing is half done');
UPDATE running_accounts SET plan = 'affiliate' WHERE id = id(2000);
SELECT is(quota_adopt('running_accounts', 'id', 'name', 'plan', 'account_type', 'created_by'),
	'{"added": 1000, "changed": 0, "owners": 1000}', 'adoption: a thousand accounts in one transaction');
SELECT is(quota_adopt('running_accounts', 'id', 'name', 'plan', 'account_type', 'created_by'),
	'{"added": 0, "changed": 0, "owners": 0}', 'adoption: run twice');
SELECT results_eq($$SELECT a.name, a.account_type, a.plan, (SELECT jsonb_object_agg(user_id, role) FROM quota.account_users u WHERE u.account = a.account)
		FROM quota.accounts a JOIN running_accounts r ON r.id::text = a.account ORDER BY a.account$$,
	$$SELECT name, account_type, plan COLLATE "C", jsonb_build_object(created_by, 'OWNER') FROM running_accounts ORDER BY id$$,
	'adoption: name, type and plan of each, and its creator as OWNER');
SELECT results_eq($$SELECT name FROM quota_accounts_of(id(500001)::text)$$, $$VALUES ('Realty 4'), ('Realty 5'), ('Realty 6'), ('Realty 7')$$, 'adoption: a creator of several has them all');
SELECT is((quota_evaluate(id(1010), 'report')).usage_limit, 300::bigint, 'adoption: limits are those of the plan');
INSERT INTO running_accounts VALUES (id(3000), 'Late Realty', 'REGULAR', 'team', id(500001));
SELECT is((quota_evaluate(id(3000), 'report')).usage_limit, 1000::bigint, 'adoption: accounts made later are followed');
SELECT is((SELECT count(*) FROM quota_accounts_of(id(500001)::text)), 5::bigint, 'adoption: and their creators');

/* Its reports: up to 79 an account, a fifth of them of February, a tenth of no use. */
CREATE TABLE running_reports (LIKE report_generations INCLUDING ALL);
INSERT INTO running_reports (account_id, status, generated_at)
SELECT id(1000 + i), CASE WHEN n % 10 = 0 THEN 'failed' WHEN n % 2 = 0 THEN 'processing' ELSE 'completed' END,
	CASE WHEN n % 5 = 0 THEN timestamptz '2026-02-20 12:00+00' ELSE '2026-03-01 00:00+00' END
FROM generate_series(1, 1000) i, generate_series(1, i % 80) n;
SELECT quota_attach('running_reports', 'report', 'account_id', counted_when => $$status IN ('processing', 'completed')$$, time_column => 'generated_at') \g /dev/null
CREATE TEMP VIEW adopted AS
	SELECT c.account, c.period_start, c.used FROM quota.counters c JOIN running_accounts r ON r.id::text = c.account WHERE c.feature = 'report' ORDER BY 1, 2;
CREATE TEMP TABLE counted AS
	SELECT account_id::text COLLATE "C" AS account, date_trunc('month', generated_at, 'UTC') AS period_start, count(*) AS used
	FROM running_reports WHERE status <> 'failed' GROUP BY 1, 2 ORDER BY 1, 2;
SELECT results_eq('TABLE adopted', 'TABLE counted', 'adoption: what is there already is counted, each report in its month');
SELECT results_eq($$SELECT brief(quota_evaluate(id(1079), 'report')), (SELECT string_agg(to_char(period_start, 'YYYY-MM ') || used, ', ') FROM quota_history(id(1079), 'report'))$$,
	$$VALUES ('BLOCK 64/50 limit_reached', '2026-03 64, 2026-02 8')$$, 'adoption: also of an account that is over its limit');
SELECT throws_ok($$INSERT INTO running_reports (account_id) VALUES (id(1079))$$, 'PT429', 'Monthly report limit reached (64/50).', 'adoption: which is refused from now on');
SELECT lives_ok($$INSERT INTO running_reports (account_id, generated_at) VALUES (id(1020), quota.now())$$, 'adoption: another is not');
SELECT is((quota_evaluate(id(1020), 'report')).used, 17::bigint, 'adoption: and goes on from sixteen');
SELECT quota_attach('running_reports', 'report', 'account_id', counted_when => $$status IN ('processing', 'completed')$$, time_column => 'generated_at') \g /dev/null
SELECT is(quota_adopt('running_accounts', 'id', 'name', 'plan', 'account_type', 'created_by'), '{"added": 0, "changed": 0, "owners": 0}', 'adoption: all of it once more');
UPDATE running_reports SET status = 'failed' WHERE id = (SELECT max(id) FROM running_reports);
SELECT results_eq('TABLE adopted', 'TABLE counted', 'adoption: counts nothing twice');

ROLLBACK;

/*
 * Two at once over the last unit: the second waits, and gets what the first
 * leaves. Each account has one report left of the 55 that free allows.
 */
\ir _helpers.sql
\ir _race.sql
SET quota.now = '2026-01-15 09:30+00';
SELECT quota_apply(quota_preset('reports')) \g /dev/null
CREATE TABLE report_generations (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, account_id uuid NOT NULL, schedule_id bigint, status text NOT NULL DEFAULT 'processing', error_message text);
SELECT quota_attach('report_generations', 'report', 'account_id', on_block => 'mark', counted_when => $$status IN ('processing', 'completed')$$,
	status_column => 'status', blocked_status => 'skipped_limit', message_column => 'error_message', mark_when => 'schedule_id IS NOT NULL') \g /dev/null
CREATE FUNCTION id(which int) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$SELECT format('00000000-0000-4000-8000-%s', lpad(which::text, 12, '0'))::uuid$$;
CREATE FUNCTION demand(which int) RETURNS text LANGUAGE sql AS $$SELECT format('INSERT INTO report_generations (account_id) VALUES (id(%s)) RETURNING status', which)$$;
CREATE FUNCTION schedule(which int) RETURNS text LANGUAGE sql AS $$
	SELECT format('INSERT INTO report_generations (account_id, schedule_id) VALUES (id(%s), 7) RETURNING concat_ws('' '', status, error_message)', which)
$$;
CREATE FUNCTION fail(which int) RETURNS text LANGUAGE sql AS $$
	SELECT format('UPDATE report_generations SET status = ''failed'' WHERE id = (SELECT min(id) FROM report_generations WHERE account_id = id(%s)) RETURNING status', which)
$$;
INSERT INTO report_generations (account_id) SELECT id(which) FROM generate_series(1, 7) which, generate_series(1, 54);

SELECT is(race(demand(1), 'COMMIT', demand(1)), 'processing, then PT429 Monthly report limit reached (55/50).', 'two reports on demand: one of them is the 55th');
SELECT is(race(demand(2), 'ROLLBACK', demand(2)), 'processing, then processing', 'two reports on demand, of which the first fails: the second is the 55th');
SELECT is(race(demand(3), 'COMMIT', schedule(3)), 'processing, then skipped_limit Monthly report limit reached (55/50).', 'one on demand, one by schedule: that is skipped');
SELECT is(race(demand(4), 'ROLLBACK', schedule(4)), 'processing, then processing', 'one on demand that fails, one by schedule: that is the 55th');
SELECT is(race(schedule(5), 'COMMIT', schedule(5)), 'processing, then skipped_limit Monthly report limit reached (55/50).', 'two by schedule: one is skipped');
SELECT is(race(fail(6), 'COMMIT', demand(6)), 'failed, then processing', 'one fails while another comes: they are counted one after the other');
SELECT is(race(fail(7), 'ROLLBACK', demand(7)), 'failed, then processing', 'one does not fail after all');
SELECT is(race(fail(1), 'ROLLBACK', demand(1)), 'failed, then at once PT429 Monthly report limit reached (55/50).', 'what may yet fail is counted until it has');
SELECT results_eq($$SELECT brief(quota_evaluate(id(which), 'report')), (SELECT count(*) FROM report_generations WHERE account_id = id(which) AND status = 'processing' AND schedule_id IS NULL),
		(SELECT string_agg(status, ' ' ORDER BY id) FROM report_generations WHERE account_id = id(which) AND schedule_id IS NOT NULL) FROM generate_series(1, 7) which$$, $$VALUES
	('BLOCK 55/50 limit_reached', 55::bigint, NULL), ('BLOCK 55/50 limit_reached', 55, NULL), ('BLOCK 55/50 limit_reached', 55, 'skipped_limit'),
	('BLOCK 55/50 limit_reached', 54, 'processing'), ('BLOCK 55/50 limit_reached', 54, 'processing skipped_limit'), ('ALLOW_WITH_WARNING 54/50 soft_limit', 54, NULL),
	('BLOCK 55/50 limit_reached', 55, NULL)$$, 'each has as many as are of use, and none has 56');

SELECT * FROM finish();
