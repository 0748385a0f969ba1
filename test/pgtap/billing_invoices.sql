/*
 * Invoices: overage of windows that have ended is billed once, at what was in
 * force when they ended, whatever has changed since.
 */
BEGIN;
SELECT no_plan();
\ir _helpers.sql
SET LOCAL timezone = 'UTC';
SET LOCAL quota.now = '2026-01-01 00:00+00';
SELECT quota_apply('{
	"features": {"report": {"kind": "counter", "unit": "report"}, "token": {"kind": "counter"}, "call": {"kind": "counter"}, "space": {"kind": "gauge"}, "request": {"kind": "rate"}},
	"plans": {
		"free": {"default": true, "price": 0, "limits": {"report": {"month": {"limit": 50, "block_ratio": 1.1}}}},
		"pro": {"limits": {"report": {"month": {"limit": 300, "on_limit": "charge", "overage_price": 1.50}}}},
		"team": {"limits": {"report": {"month": {"limit": 1000, "on_limit": "charge", "overage_price": 1.00}}}},
		"gratis": {"limits": {"report": {"month": {"limit": 5, "on_limit": "charge", "overage_price": 0}}}},
		"unpriced": {"limits": {"report": {"month": {"limit": 5, "on_limit": "charge"}}}},
		"warned": {"limits": {"report": {"month": {"limit": 5, "on_limit": "warn", "overage_price": 9}}}},
		"endless": {"limits": {"report": {"month": {"limit": null, "on_limit": "charge", "overage_price": 9}}}},
		"capped": {"limits": {"report": {"month": {"limit": 5, "on_limit": "charge", "overage_price": 2, "overage_cap": 20}}}},
		"franc": {"currency": "XOF", "limits": {"token": {"month": {"limit": 0, "on_limit": "charge", "overage_price": 0.3}}}},
		"dinar": {"currency": "KWD", "limits": {"token": {"month": {"limit": 0, "on_limit": "charge", "overage_price": 0.00049999}}}},
		"cents": {"limits": {"token": {"month": {"limit": 0, "on_limit": "charge", "overage_price": 0.001}}}},
		"daily": {"currency": "EUR", "limits": {"call": {"day": {"limit": 10, "on_limit": "charge", "overage_price": 0.10}}, "token": {"cycle": {"limit": 100, "on_limit": "charge", "overage_price": 0.01}},
			"report": {"year": {"limit": 10, "on_limit": "charge", "overage_price": 3}}, "space": {"lifetime": {"limit": 0, "on_limit": "charge", "overage_price": 7}}}},
		"forever": {"limits": {"report": {"lifetime": {"limit": 0, "on_limit": "charge", "overage_price": 7}}}}
	}}') \g /dev/null
SAVEPOINT catalogue;

/* What is billed, a line an account and window. */
CREATE VIEW billed AS
	SELECT string_agg(format('%s %s %s: %s x %s = %s %s', l.account, l.feature, to_char(l.period_start AT TIME ZONE 'UTC', 'YY-MM-DD'), l.quantity, l.unit_price, l.amount, i.currency), ', '
		ORDER BY l.account, l.feature, l.period_start) AS what
	FROM quota.invoice_lines l JOIN quota.invoices i ON i.id = l.invoice;
/* Close at a time; how many invoices were made. */
CREATE FUNCTION close(at text, since timestamptz DEFAULT NULL) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
	PERFORM set_config('quota.now', at, true);
	RETURN (SELECT count(*) FROM quota_invoice_overage(since));
END $$;
CREATE FUNCTION at(moment text) RETURNS text LANGUAGE sql AS $$SELECT set_config('quota.now', moment, true)$$;
SAVEPOINT start;

/* The plain case, and what is nothing to bill. */
SELECT quota_set_plan(p, p) FROM unnest('{pro,team,gratis,unpriced,warned,endless,capped,franc,dinar,cents,forever}'::text[]) p \g /dev/null
SELECT at('2026-01-15 12:00+00') \g /dev/null
SELECT quota_record(a, 'report', n) FROM (VALUES ('free', 70), ('pro', 330), ('team', 1200), ('gratis', 90), ('unpriced', 90), ('warned', 90), ('endless', 90), ('capped', 90), ('forever', 90), ('nobody', 400)) v (a, n) \g /dev/null
SELECT quota_record(a, 'token', n) FROM (VALUES ('franc', 5), ('dinar', 3), ('cents', 5)) v (a, n) \g /dev/null
SELECT is(close('2026-01-31 23:59:59.999999+00'), 0::bigint, 'nothing before the month has ended');
SELECT is(close('2026-02-01 00:00+00'), 6::bigint, 'six of them owe something');
SELECT is(what, 'capped report 26-01-01: 20 x 2 = 40.00 USD, cents token 26-01-01: 5 x 0.001 = 0.01 USD, dinar token 26-01-01: 3 x 0.00049999 = 0.001 KWD, '
	'franc token 26-01-01: 5 x 0.3 = 2 XOF, pro report 26-01-01: 30 x 1.50 = 45.00 USD, team report 26-01-01: 200 x 1.00 = 200.00 USD',
	'units past the limit, to the cap, at the price, rounded to what the currency can pay, half upwards; nothing at no price, of block, warn, unlimited and lifetime') FROM billed;
SELECT results_eq($$SELECT account, name, sponsor, currency::text COLLATE "C", period_start, period_end, total, invoiced_at FROM quota.invoices WHERE account = 'pro'$$,
	$$VALUES ('pro' COLLATE "C", NULL::text, NULL COLLATE "C", 'USD' COLLATE "C", '2026-01-01 00:00+00'::timestamptz, '2026-02-01 00:00+00'::timestamptz, 45.00, '2026-02-01 00:00+00'::timestamptz)$$, 'an invoice');
SELECT results_eq($$SELECT account, feature, period::text, period_start, period_end, plan, used, usage_limit, quantity, unit_price, amount FROM quota.invoice_lines WHERE account = 'capped'$$,
	$$VALUES ('capped' COLLATE "C", 'report' COLLATE "C", 'month', '2026-01-01 00:00+00'::timestamptz, '2026-02-01 00:00+00'::timestamptz, 'capped' COLLATE "C", 90::bigint, 5::bigint, 20::bigint, 2::numeric, 40.00)$$,
	'a line: what was used, and of the overage as much as may be charged');

/* Once, whatever comes. */
SELECT is(close('2026-02-01 00:00+00'), 0::bigint, 'a second time: nothing');
SELECT quota_refund('pro', 'report', 10, '2026-01-20'), quota_refund('team', 'report', 1200, '2026-01-20') \g /dev/null
UPDATE quota.usage SET used = 900 WHERE account = 'capped';
SELECT is(close('2026-02-03 00:00+00'), 0::bigint, 'after a refund and a late charge: nothing');
SELECT is((SELECT string_agg(total::text, ' ' ORDER BY account) FROM quota.invoices), '40.00 0.01 0.001 2 45.00 200.00', 'what has been invoiced stays');
SELECT quota_record('pro', 'report', 301) \g /dev/null
SELECT is(close('2026-03-01 00:00+00'), 1::bigint, 'February');
SELECT is(close('2027-01-01 00:00+00'), 0::bigint, 'no other month');
SELECT throws_ok($$INSERT INTO quota.invoice_lines SELECT * FROM quota.invoice_lines WHERE account = 'team'$$, '23505', NULL, 'a window cannot be billed twice');
SELECT throws_ok($$INSERT INTO quota.invoices (account, currency, period_start, period_end, total, invoiced_at) VALUES ('team', 'USD', '2026-01-01', '2026-02-01', 1, now())$$, '23505', NULL, 'nor a month');
DELETE FROM quota.invoices WHERE account = 'pro' AND period_start < '2026-02-01';
SELECT is((SELECT count(*) FROM quota.invoice_lines WHERE account = 'pro'), 1::bigint, 'an invoice that is deleted takes its lines along');
SELECT is(close('2026-03-01 00:00+00'), 1::bigint, 'and can be made anew');
SELECT is((SELECT string_agg(quantity::text, ' ' ORDER BY period_start) FROM quota.invoice_lines WHERE account = 'pro'), '20 1', 'by what is counted now');

/* Documents. */
SELECT results_eq($$SELECT d->>'period_start', d->>'total', d->>'id' IS NOT NULL FROM quota_invoices('pro') d$$,
	$$VALUES ('2026-02-01T00:00:00+00:00', '1.50', true), ('2026-01-01T00:00:00+00:00', '30.00', true)$$, 'an account''s invoices, the latest first');
SELECT is((SELECT d - 'id' FROM quota_invoices('pro', until => '2026-02-01') d), '{"account": "pro", "name": null, "sponsor": null, "currency": "USD", "total": 30.00,
	"period_start": "2026-01-01T00:00:00+00:00", "period_end": "2026-02-01T00:00:00+00:00", "invoiced_at": "2026-03-01T00:00:00+00:00", "lines": [
	{"feature": "report", "period": "month", "period_start": "2026-01-01T00:00:00+00:00", "period_end": "2026-02-01T00:00:00+00:00", "plan": "pro",
		"used": 320, "usage_limit": 300, "quantity": 20, "unit_price": 1.50, "amount": 30.00}]}'::jsonb, 'one of them');
SELECT is((SELECT count(*) FROM quota_invoices('pro', '2026-02-01')), 1::bigint, 'those since a time');
SELECT is_empty($$SELECT quota_invoices('free')$$, 'those of who owes nothing');
SELECT throws_ok($$SELECT quota_invoices(NULL::text)$$, '22004', NULL, 'no account');
SELECT throws_ok($$SELECT quota_invoices('')$$, '22023', NULL, 'an empty one');
SELECT throws_ok($$SELECT quota_invoices('pro', '2026-02-01', '2026-01-01')$$, '22023', 'since must not be after until', 'times the wrong way round');
SELECT is((SELECT count(*) FROM quota_invoices(42)) + (SELECT count(*) FROM quota_invoices(uuid '00000000-0000-4000-8000-000000000001')), 0::bigint, 'accounts of other types');

/* What has changed between the end of January and the closing does not matter. Each has used 330 reports. */
ROLLBACK TO start;
CREATE FUNCTION used_by(VARIADIC accounts text[]) RETURNS void LANGUAGE sql AS $$SELECT quota_record(a, 'report', 330) FROM unnest(accounts) a$$;
SELECT quota_set_plan(a, 'pro') FROM unnest('{down,up,gone,cancelled,ended,lapsed,scheduled,override,cleared,expired,raised,deleted,late,again}'::text[]) a \g /dev/null
SELECT quota_set_plan('up', 'free'), quota_set_plan('ended', 'pro', '31 days'), quota_set_plan('lapsed', 'pro', '30 days'), quota_set_plan('scheduled', 'free', at_period_end => true),
	quota_set_plan('again', 'pro', '31 days 1 microsecond') \g /dev/null
SELECT quota_set_override('override', 'report', 'month', 320), quota_set_override('cleared', 'report', 'month', 310), quota_set_override('expired', 'report', 'month', 300, '2026-02-01 00:00+00'),
	quota_set_override('raised', 'report', 'month', 325, '2026-01-31 23:59:59.999999+00'), quota_set_override('nobody', 'report', 'month', 1) \g /dev/null
UPDATE quota.limit_overrides SET usage_limit = 328 WHERE account = 'expired';
SELECT at('2026-01-20 12:00+00') \g /dev/null
SELECT used_by('down', 'up', 'gone', 'cancelled', 'ended', 'lapsed', 'scheduled', 'override', 'cleared', 'expired', 'raised', 'deleted', 'late', 'again', 'nobody') \g /dev/null
SELECT at('2026-02-01 00:00+00') \g /dev/null
SELECT quota_set_plan('down', 'free'), quota_set_plan('up', 'pro'), quota_cancel('cancelled'), quota_clear_override('cleared', 'report'), quota_set_override('late', 'report', 'month', 1),
	quota_set_override('override', 'report', 'month', 1000), quota_set_plan('nobody', 'capped'), quota_set_plan('again', 'team') \g /dev/null
DELETE FROM quota.accounts WHERE account IN ('deleted', 'gone');
INSERT INTO quota.accounts (account) VALUES ('gone');
SELECT quota_maintain('1 day') \g /dev/null
UPDATE quota.plan_limits SET overage_price = 99, usage_limit = 1 WHERE plan = 'pro';
UPDATE quota.plans SET currency = 'CHF' WHERE plan = 'pro';
UPDATE quota.plans SET plan = 'professional' WHERE plan = 'pro';
INSERT INTO quota.plans (plan) VALUES ('pro');
INSERT INTO quota.plan_limits (plan, feature, period, usage_limit, on_limit, overage_price) VALUES ('pro', 'report', 'month', 2, 'charge', 98);
UPDATE quota.plans SET is_default = false WHERE plan = 'free';
UPDATE quota.plans SET is_default = true WHERE plan = 'professional';
SELECT at('2026-02-02 00:00+00') \g /dev/null
SELECT quota_set_plan('down', 'team') \g /dev/null
DELETE FROM quota.plan_limits WHERE feature = 'report';
DELETE FROM quota.limit_overrides;
SELECT is(close('2026-02-03 00:00+00'), 12::bigint, 'after changes of accounts, overrides, plans and limits: as many as owed something in January');
SELECT is(what, 'again report 26-01-01: 30 x 1.50 = 45.00 USD, cancelled report 26-01-01: 30 x 1.50 = 45.00 USD, cleared report 26-01-01: 20 x 1.50 = 30.00 USD, deleted report 26-01-01: 30 x 1.50 = 45.00 USD, '
	'down report 26-01-01: 30 x 1.50 = 45.00 USD, ended report 26-01-01: 30 x 1.50 = 45.00 USD, expired report 26-01-01: 2 x 1.50 = 3.00 USD, gone report 26-01-01: 30 x 1.50 = 45.00 USD, '
	'late report 26-01-01: 30 x 1.50 = 45.00 USD, override report 26-01-01: 10 x 1.50 = 15.00 USD, raised report 26-01-01: 30 x 1.50 = 45.00 USD, scheduled report 26-01-01: 30 x 1.50 = 45.00 USD',
	'each by the plan, limit, price and currency of the end of January; who was on free then owes nothing') FROM billed;
SELECT is((SELECT count(*) FROM quota.invoice_lines WHERE plan = 'pro'), 12::bigint, 'under the plan''s name of then');

/* The default plan of then, also of accounts without a row. */
ROLLBACK TO start;
UPDATE quota.plans SET is_default = false WHERE plan = 'free';
UPDATE quota.plans SET is_default = true WHERE plan = 'capped';
SELECT at('2026-01-20 12:00+00'), quota_record(a, 'report', 7) FROM unnest('{a,b}'::text[]) a \g /dev/null
SELECT at('2026-02-01 12:00+00'), quota_set_plan('b', 'free') \g /dev/null
UPDATE quota.plans SET is_default = false WHERE plan = 'capped';
SELECT is(close('2026-02-02 00:00+00'), 2::bigint, 'accounts on the default plan of then');
SELECT is(what, 'a report 26-01-01: 2 x 2 = 4.00 USD, b report 26-01-01: 2 x 2 = 4.00 USD', 'pay by it') FROM billed;

/* A clock that is turned back: what another clock has done counts as if it had always been so. */
ROLLBACK TO start;
SELECT at('2030-01-01 00:00+00'), quota_set_plan('a', 'pro'), quota_set_override('a', 'report', 'month', 10) \g /dev/null
SELECT at('2026-01-20 12:00+00'), quota_record('a', 'report', 12) \g /dev/null
SELECT is(close('2026-02-02 00:00+00'), 1::bigint, 'a clock that was turned back');
SELECT is(what, 'a report 26-01-01: 2 x 1.50 = 3.00 USD', 'plan and override are there') FROM billed;

/* Windows that end within a billing period are billed when it has ended. */
ROLLBACK TO start;
SELECT quota_set_plan('a', 'daily'), quota_set_plan('b', 'daily') \g /dev/null
UPDATE quota.accounts SET cycle_anchor = '2025-11-30 06:00+00', timezone = 'Asia/Tokyo', name = 'B & Co' WHERE account = 'b';
SELECT at(moment), quota_record(a, 'call', 12), quota_record(a, 'token', 60), quota_record(a, 'report', 6), quota_record(a, 'space', 6)
FROM unnest('{2026-01-02 12:00+00,2026-01-30 05:59+00,2026-01-30 06:00+00,2026-01-31 20:00+00}'::text[]) moment, unnest('{a,b}'::text[]) a \g /dev/null
SELECT is(close('2026-01-30 05:59+00'), 0::bigint, 'days, before the month or cycle has ended');
SELECT is(close('2026-01-30 06:00+00'), 1::bigint, 'a cycle has ended');
SELECT is(what, 'b call 26-01-01: 2 x 0.10 = 0.20 EUR, b token 25-12-30: 20 x 0.01 = 0.20 EUR', 'of the cycle, and of the day that has ended in it') FROM billed;
SELECT is(close('2026-02-01 00:00+00'), 1::bigint, 'the month has ended');
SELECT is(what, 'a call 26-01-02: 2 x 0.10 = 0.20 EUR, a call 26-01-30: 14 x 0.10 = 1.40 EUR, a call 26-01-31: 2 x 0.10 = 0.20 EUR, a token 26-01-01: 140 x 0.01 = 1.40 EUR, '
	'b call 26-01-01: 2 x 0.10 = 0.20 EUR, b token 25-12-30: 20 x 0.01 = 0.20 EUR', 'a line a day, and the month') FROM billed;
SELECT results_eq($$SELECT account, name, total, period_start, period_end FROM quota.invoices ORDER BY id$$, $$VALUES
	('b' COLLATE "C", 'B & Co', 0.40, '2025-12-30 06:00+00'::timestamptz, '2026-01-30 06:00+00'::timestamptz), ('a', NULL, 3.20, '2026-01-01 00:00+00', '2026-02-01 00:00+00')$$, 'each on one invoice');
SELECT is(close('2026-02-28 06:00+00'), 1::bigint, 'the next cycle');
SELECT is((SELECT string_agg(format('%s %s %s', feature, period_start, quantity), ', ' ORDER BY feature, period_start) FROM quota.invoice_lines WHERE account = 'b' AND period_end > '2026-01-30 06:00+00'),
	'call 2026-01-29 15:00:00+00 14, call 2026-01-31 15:00:00+00 2, token 2026-01-30 06:00:00+00 20', 'with the days that have ended in it, by local time');
SELECT is(close('2026-12-31 23:59+00'), 0::bigint, 'the year is not over');
SELECT is(close('2027-01-01 00:00+00'), 1::bigint, 'the year of a');
SELECT is(close('2027-01-30 06:00+00'), 1::bigint, 'the year of b, with the cycle in which it ended');
SELECT is((SELECT string_agg(format('%s %s', account, amount), ', ' ORDER BY account) FROM quota.invoice_lines WHERE feature = 'report'), 'a 42.00, b 42.00', 'as their lines');
SELECT is((SELECT count(*) FROM quota.invoice_lines WHERE feature = 'space'), 0::bigint, 'a level has no end');

/* An anchor or a time zone that has changed since. */
ROLLBACK TO start;
SELECT quota_set_plan(a, 'daily') FROM unnest('{after,within,zone}'::text[]) a \g /dev/null
UPDATE quota.accounts SET cycle_anchor = '2025-12-10' WHERE account IN ('after', 'within');
UPDATE quota.accounts SET timezone = 'Asia/Tokyo' WHERE account = 'zone';
SELECT at('2026-01-12 12:00+00'), quota_record(a, 'token', 110) FROM unnest('{after,within,zone}'::text[]) a \g /dev/null
SELECT at('2026-01-25 12:00+00') \g /dev/null
UPDATE quota.accounts SET cycle_anchor = '2026-01-25 12:00' WHERE account = 'within';
SELECT quota_record('within', 'token', 103) \g /dev/null
SELECT at('2026-02-20 12:00+00') \g /dev/null
UPDATE quota.accounts SET cycle_anchor = '2026-02-15', plan = NULL WHERE account = 'after';
UPDATE quota.accounts SET timezone = 'America/New_York', plan = NULL WHERE account = 'zone';
SELECT close('2026-02-21 00:00+00'), close('2026-03-25 12:00+00') \g /dev/null
SELECT is((SELECT string_agg(format('%s %s..%s %s', account, to_char(period_start, 'MM-DD HH24'), to_char(period_end, 'MM-DD HH24'), quantity), ', ' ORDER BY account, period_start) FROM quota.invoice_lines),
	'after 01-10 00..02-10 00 10, within 01-10 00..02-10 00 10, within 01-25 12..02-25 12 3, zone 12-31 15..01-31 15 10', 'a window ends as it was to when it was charged');

/* Who pays: an account itself, its sponsor by name, a pool for its members; not on trial, nor who is never refused. */
ROLLBACK TO start;
SELECT quota_set_plan('pool', 'capped'), quota_set_pool('member', 'pool'), quota_set_pool('rich', 'pool'), quota_set_plan('rich', 'capped'), quota_set_override('member', 'report', 'month', 3),
	quota_sponsor('boss', 'kid', 'capped'), quota_start_trial('trial', 'capped', '40 days'), quota_start_trial('tried', 'capped', '30 days'), quota_set_plan('tried', 'capped', at_period_end => true),
	quota_set_plan('admin', 'capped'), quota_set_plan('bad', 'capped'), quota_set_plan('due', 'capped') \g /dev/null
UPDATE quota.accounts SET bypass = true WHERE account = 'admin';
SELECT at('2026-01-20 12:00+00'), quota_record(a, 'report', 7) FROM unnest('{member,rich,kid,trial,tried,admin,bad,due}'::text[]) a \g /dev/null
SELECT at('2026-01-21 12:00+00'), quota_suspend('bad', 'fraud') \g /dev/null
UPDATE quota.accounts SET status = 'past_due' WHERE account = 'due';
SELECT at('2026-02-01 00:00+00'), quota_unsponsor('kid'), quota_set_pool('member', NULL) \g /dev/null
SELECT is(close('2026-02-02 00:00+00'), 6::bigint, 'who pays');
SELECT is((SELECT string_agg(concat_ws(' ', account, quantity, 'by ' || sponsor), ', ' ORDER BY account) FROM quota.invoices JOIN quota.invoice_lines l USING (account)),
	'bad 2, due 2, kid 2 by boss, pool 9, rich 2, tried 2', 'the account, or who sponsored it; the pool for all of its members');

/* Slots, and what is reserved. */
ROLLBACK TO start;
SELECT quota_set_plan(a, 'capped') FROM unnest('{slots,held,other}'::text[]) a \g /dev/null
INSERT INTO quota.usage (account, feature, period, period_start, slot, slots, used) VALUES
	('slots', 'report', 'month', '2026-01-01', 0, 3, 2), ('slots', 'report', 'month', '2026-01-01', 1, 1, 4), ('slots', 'report', 'month', '2026-01-01', 2, 1, 5), ('slots', 'report', 'month', '2026-01-01', 3, 1, 7);
SELECT at('2026-01-31 23:00+00'), quota_record('held', 'report', 9) \g /dev/null
SELECT id AS held FROM quota_reserve('held', 'report', 3, '2 hours') \gset
SELECT id FROM quota_reserve('held', 'report', 3, '1 hour') \g /dev/null
SELECT quota_reserve('other', 'report', 8, '1 minute') \g /dev/null
SELECT is(close('2026-02-01 00:00+00'), 1::bigint, 'a counter with slots, one of which something is reserved, one of which something was');
SELECT is(what, 'slots report 26-01-01: 6 x 2 = 12.00 USD', 'slots are summed up; what may yet change is left') FROM billed;
SELECT quota_commit(:held, 1) \g /dev/null
SELECT is(close('2026-02-01 00:00+00'), 1::bigint, 'until it is settled');
SELECT is((SELECT quantity FROM quota.invoice_lines WHERE account = 'held'), 5::bigint, 'at what it came to');

/* Only what is newer, and what is retained. */
ROLLBACK TO start;
SELECT quota_set_plan('a', 'capped') \g /dev/null
SELECT at(moment), quota_record('a', 'report', 6), quota_record('b', 'report', 6) FROM unnest('{2026-01-20 12:00+00,2026-02-20 12:00+00,2026-03-20 12:00+00}'::text[]) moment \g /dev/null
SELECT is(close('2026-05-01 00:00+00', '2026-02-01 00:00:01+00'), 1::bigint, 'windows that began since a time');
SELECT is(what, 'a report 26-03-01: 1 x 2 = 2.00 USD', 'the others are left') FROM billed;
SELECT is(quota_maintain('0')->'usage_deleted', '4', 'retention deletes what has been billed, or is nothing to bill');
SELECT results_eq($$SELECT account, period_start FROM quota.usage ORDER BY 2$$, $$VALUES ('a' COLLATE "C", '2026-01-01 00:00+00'::timestamptz), ('a', '2026-02-01 00:00+00')$$, 'and keeps what is yet to be billed');
SELECT is(close('2026-05-01 00:00+00'), 2::bigint, 'which is');
SELECT is(quota_maintain('0')->'usage_deleted', '2', 'and goes then');
SELECT is(close('2026-05-01 00:00+00'), 0::bigint, 'and is not missed');

/* An account that gets another key, and one that goes. */
ROLLBACK TO start;
CREATE TABLE teams (id text PRIMARY KEY, name text, tier text);
INSERT INTO teams VALUES ('one', 'One', 'capped'), ('two', 'Two', 'capped'), ('three', 'Three', 'capped'), ('five', 'Five', 'capped');
SELECT quota_adopt('teams', 'id', 'name', 'tier') \g /dev/null
SELECT quota_sponsor('one', 'kid', 'capped'), quota_set_plan('six', 'capped') \g /dev/null
SELECT at('2026-01-20 12:00+00'), quota_record(a, 'report', 7) FROM unnest('{one,two,three,kid,five,six}'::text[]) a \g /dev/null
SELECT close('2026-02-01 00:00+00') \g /dev/null
DELETE FROM quota.invoices WHERE account = 'three';
DELETE FROM quota.accounts WHERE account = 'six';
UPDATE teams SET id = 'uno' WHERE id = 'one';
UPDATE teams SET tier = 'free', id = 'tres' WHERE id = 'three';
UPDATE teams SET id = 'six' WHERE id = 'five';
DELETE FROM teams WHERE id = 'two';
SELECT quota_set_plan('tres', 'free') \g /dev/null
UPDATE teams SET id = 'drei' WHERE id = 'tres';
SELECT results_eq($$SELECT i.account, name, sponsor, l.account, amount FROM quota.invoices i JOIN quota.invoice_lines l ON l.invoice = i.id ORDER BY i.id$$, $$VALUES
	('five' COLLATE "C", 'Five', NULL COLLATE "C", 'five' COLLATE "C", 4.00), ('kid', NULL, 'uno', 'kid', 4.00), ('uno', 'One', NULL, 'uno', 4.00),
	('six', NULL, NULL, 'six', 4.00), ('two', 'Two', NULL, 'two', 4.00)$$, 'invoices go with the key, unless the new one has been billed; those of who has gone stay');
SELECT is(close('2026-02-02 00:00+00'), 1::bigint, 'nobody is billed twice');
SELECT results_eq($$SELECT account, name, plan, quantity FROM quota.invoices JOIN quota.invoice_lines USING (account) ORDER BY id DESC LIMIT 1$$,
	$$VALUES ('drei' COLLATE "C", 'Three', 'capped' COLLATE "C", 2::bigint)$$, 'and who has another key and another plan since is, by what it had');

/* Recorded, and seen by those who may. */
ROLLBACK TO start;
SELECT quota_set_plan('a', 'capped'), quota_set_plan('b', 'capped'), quota_add_user('a', 'ann'), quota_add_user('b', 'bob') \g /dev/null
SELECT at('2026-01-20 12:00+00'), quota_record(a, 'report', 7) FROM unnest('{a,b}'::text[]) a \g /dev/null
SELECT at('2026-02-01 00:00+00') \g /dev/null
CREATE ROLE quota_test_app;
CREATE ROLE quota_test_reader;
CREATE ROLE quota_test_admin;
SELECT quota_grant('quota_test_' || level, level) FROM unnest('{app,reader,admin}'::text[]) level \g /dev/null
SELECT is(try_as('quota_test_' || level, 'SELECT quota_invoice_overage()'), '42501', level || ' cannot close') FROM unnest('{app,reader}'::text[]) level;
SELECT is((SELECT count(*) FROM as_role('quota_test_admin', 'SELECT * FROM quota_invoice_overage()')), 2::bigint, 'admin can');
SELECT results_eq($$SELECT act, table_name, account, before, after->>'account', effective_at, role FROM quota.audit_log WHERE table_name LIKE 'invoice%' ORDER BY account, table_name DESC$$, $$VALUES
	('quota_invoice_overage' COLLATE "C", 'invoices', 'a' COLLATE "C", NULL::jsonb, 'a', '2026-02-01 00:00+00'::timestamptz, 'quota_test_admin'), ('quota_invoice_overage', 'invoice_lines', 'a', NULL, 'a', '2026-02-01 00:00+00', 'quota_test_admin'),
	('quota_invoice_overage', 'invoices', 'b', NULL, 'b', '2026-02-01 00:00+00', 'quota_test_admin'), ('quota_invoice_overage', 'invoice_lines', 'b', NULL, 'b', '2026-02-01 00:00+00', 'quota_test_admin')$$, 'in the audit log');
SELECT is((SELECT count(*) FROM as_role('quota_test_' || level, 'SELECT quota_invoices(''a'')')), 1::bigint, level || ' shows an account''s invoices') FROM unnest('{app,reader,admin}'::text[]) level;
SET LOCAL "quota.user" = 'ann';
SELECT results_eq(format('SELECT * FROM as_role(%L, %L)', 'quota_test_' || level, 'SELECT account FROM quota.' || t || ' ORDER BY 1'), format('SELECT unnest(%L::text[])', sees), level || ' reads ' || t)
FROM (VALUES ('app', '{42501}'), ('reader', '{a}'), ('admin', '{a,b}')) v (level, sees), unnest('{invoices,invoice_lines}'::text[]) t;
SELECT is(try_as('quota_test_reader', 'DELETE FROM quota.invoices'), '42501', 'a reader deletes none');
SELECT is(try_as('quota_test_admin', 'DELETE FROM quota.invoices WHERE account = ''b'''), 'ok', 'an admin does');
SELECT results_eq($$SELECT act, table_name, account FROM quota.audit_log ORDER BY id DESC LIMIT 2$$, $$VALUES ('delete' COLLATE "C", 'invoice_lines', 'b' COLLATE "C"), ('delete', 'invoices', 'b')$$, 'which is recorded');

/* What the tables refuse. */
SELECT is(error_of(format('UPDATE quota.%s', statement))->>'state', '23514', statement)
FROM unnest(ARRAY['invoices SET total = -1', 'invoices SET total = ''NaN''', 'invoices SET currency = ''usd''', 'invoices SET period_end = period_start', 'invoices SET account = ''''',
	'invoices SET sponsor = ''''', 'invoice_lines SET quantity = 0', 'invoice_lines SET unit_price = ''Infinity''', 'invoice_lines SET amount = -0.01', 'invoice_lines SET used = -1',
	'invoice_lines SET usage_limit = -1', 'invoice_lines SET period_end = period_start', 'invoice_lines SET account = ''''']) statement;
SELECT is(error_of('UPDATE quota.invoice_lines SET invoice = 0')->>'state', '23503', 'a line of no invoice');

/* Amounts that no float can hold. */
ROLLBACK TO start;
UPDATE quota.plan_limits SET usage_limit = 1, overage_price = 123456789.123456789 WHERE plan = 'pro';
SELECT quota_set_plan('a', 'pro') \g /dev/null
SELECT at('2026-01-20 12:00+00'), quota_record('a', 'report', 9223372036854775807) \g /dev/null
SELECT close('2026-02-01 00:00+00') \g /dev/null
SELECT is((SELECT total FROM quota.invoices), 1138687896561168175746127214.32, 'exact');

SELECT * FROM finish();
ROLLBACK;
