/*
 * The tables refuse rows that make no sense, and changes that would take away
 * what is in use.
 */
BEGIN;
SELECT no_plan();
\ir _helpers.sql
SET LOCAL quota.now = '2026-03-10 12:00+00';

INSERT INTO quota.plans (plan, name, is_default) VALUES ('free', 'Free', true), ('pro', 'Pro', false);
INSERT INTO quota.features (feature, kind) VALUES
	('report', 'counter'), ('seat', 'gauge'), ('call', 'rate'), ('export', 'flag');

/* Plans. */
SELECT throws_ok($$INSERT INTO quota.plans (name) VALUES ('Nameless')$$, '23502', NULL, 'a plan has a key');
SELECT throws_ok($$INSERT INTO quota.plans (plan, name) VALUES ('', 'Empty')$$, '23514', NULL, 'which is not empty');
SELECT throws_ok($$INSERT INTO quota.plans (plan, name) VALUES ('x', '')$$, '23514', NULL, 'nor is its name');
SELECT lives_ok($$INSERT INTO quota.plans (plan) VALUES ('basic')$$, 'a plan without a name is taken');
SELECT is((SELECT name FROM quota.plans WHERE plan = 'basic'), 'basic', 'and called by its key');
UPDATE quota.plans SET name = NULL WHERE plan = 'pro';
SELECT is((SELECT name FROM quota.plans WHERE plan = 'pro'), 'pro', 'also one whose name is taken away');
SELECT lives_ok($$INSERT INTO quota.plans (plan) VALUES (repeat('p', 63))$$, 'a key of 63 bytes');
SELECT throws_ok($$INSERT INTO quota.plans (plan) VALUES (repeat('p', 64))$$, '23514', NULL, 'but not of 64');
SELECT throws_ok($$INSERT INTO quota.plans (plan) VALUES (repeat('é', 32))$$, '23514', NULL, 'bytes, not characters');
SELECT throws_ok($$INSERT INTO quota.plans (plan) VALUES ('free')$$, '23505', NULL, 'one plan of a key');
SELECT throws_ok($$INSERT INTO quota.plans (plan, is_default) VALUES ('second', true)$$, '23505', NULL, 'one default plan');
SELECT throws_ok($$UPDATE quota.plans SET is_default = true WHERE plan = 'pro'$$, '23505', NULL, 'not by UPDATE either');
SELECT throws_ok($$UPDATE quota.plans SET is_default = NULL$$, '23502', NULL, 'is_default is yes or no');
SELECT throws_ok(format('INSERT INTO quota.plans (plan, %s) VALUES (''bad'', %s)', c, v), s, NULL, format('%s = %s', c, v))
FROM (VALUES
	('price', '-0.01', '23514'), ('price', '''NaN''', '23514'), ('price', '''Infinity''', '23514'),
	('price', '''-Infinity''', '23514'),
	('currency', '''usd''', '23514'), ('currency', '''US''', '23514'), ('currency', '''USDX''', '22001'),
	('currency', 'NULL', '23502'), ('billing_interval', '''fortnight''', '23514'), ('billing_interval', 'NULL', '23502'),
	('visible', 'NULL', '23502'), ('display_order', 'NULL', '23502'),
	('rate_multiplier', '0', '23514'), ('rate_multiplier', '-1', '23514'), ('rate_multiplier', '''NaN''', '23514'),
	('rate_multiplier', '''Infinity''', '23514'), ('rate_multiplier', 'NULL', '23502'),
	('metadata', '''[]''', '23514'), ('metadata', '''"x"''', '23514'), ('metadata', 'NULL', '23502')
) bad (c, v, s);

/* Features. */
SELECT throws_ok(format('INSERT INTO quota.features (feature, kind, unit) VALUES (%s)', v), s, NULL, 'feature ' || v)
FROM (VALUES
	('NULL, ''counter'', NULL', '23502'), (''''', ''counter'', NULL', '23514'), ('''x'', NULL, NULL', '23502'),
	('''x'', ''meter'', NULL', '23514'), ('''x'', ''counter'', ''''', '23514'), ('''report'', ''counter'', NULL', '23505'),
	('repeat(''f'', 49), ''counter'', NULL', '23514'), ('repeat(''é'', 25), ''counter'', NULL', '23514'),
	('''x'', ''counter'', repeat(''u'', 64)', '23514')
) bad (v, s);
SELECT lives_ok($$INSERT INTO quota.features (feature, kind, unit) VALUES (repeat('f', 48), 'counter', repeat('u', 63))$$,
	'the longest feature and unit');

/* Limits. */
SELECT throws_ok(format('INSERT INTO quota.plan_limits (plan, feature, period, %s) VALUES (''pro'', ''report'', ''month'', %s)', c, v),
	s, NULL, format('%s = %s', c, v))
FROM (VALUES
	('usage_limit', '-1', '23514'), ('usage_limit', '9223372036854775808', '22003'), ('usage_limit', '''NaN''', '22P02'),
	('on_limit', '''maybe''', '23514'), ('on_limit', 'NULL', '23502'),
	('warn_ratio', '-0.1', '23514'), ('warn_ratio', '''NaN''', '23514'), ('warn_ratio', '''Infinity''', '23514'),
	('warn_ratio', 'NULL', '23502'),
	('block_ratio', '-0.1', '23514'), ('block_ratio', '''NaN''', '23514'), ('block_ratio', '''Infinity''', '23514'),
	('block_ratio', 'NULL', '23502'),
	('overage_price', '-1', '23514'), ('overage_price', '''NaN''', '23514'), ('overage_price', '''Infinity''', '23514'),
	('overage_cap', '-1', '23514'), ('burst', '0', '23514'), ('burst', '-5', '23514')
) bad (c, v, s);
SELECT lives_ok($$INSERT INTO quota.plan_limits (plan, feature, period, usage_limit, warn_ratio, block_ratio, overage_price, overage_cap)
	VALUES ('pro', 'report', 'month', 0, 0, 0, 0, 0)$$, 'zeros are fine');
SELECT throws_ok($$INSERT INTO quota.plan_limits (plan, feature, period) VALUES ('pro', 'report', 'month')$$, '23505', NULL,
	'one limit a plan, feature and period');
SELECT throws_ok($$INSERT INTO quota.plan_limits (plan, feature, period) VALUES ('gold', 'report', 'month')$$, '23503', NULL,
	'a limit of an unknown plan');
SELECT throws_ok($$INSERT INTO quota.plan_limits (plan, feature, period) VALUES ('pro', 'reports', 'month')$$, '23503', NULL,
	'a limit of an unknown feature');
SELECT throws_ok($$INSERT INTO quota.plan_limits (plan, feature, period) VALUES ('pro', 'report', 'fortnight')$$, '22P02', NULL,
	'a limit of an unknown period');
SELECT throws_ok($$INSERT INTO quota.plan_limits (plan, feature) VALUES ('pro', 'report')$$, '23502', NULL,
	'a limit without a period');

/* Which period suits which kind. */
SELECT is(
	(SELECT array_agg(period ORDER BY period)
	FROM unnest(enum_range(NULL::quota_period)) period
	WHERE error_of(format('INSERT INTO quota.plan_limits (plan, feature, period) VALUES (''basic'', %L, %L)', feature, period)) IS NULL)::text,
	periods, format('periods of %s', feature))
FROM (VALUES
	('report', '{hour,day,week,month,year,lifetime,cycle}'), ('seat', '{lifetime}'), ('call', '{second,minute,hour,day}'),
	('export', NULL)
) good (feature, periods);
SELECT throws_ok($$INSERT INTO quota.plan_limits (plan, feature, period) VALUES ('pro', 'seat', 'month')$$, '23514',
	'feature "seat" of kind gauge cannot have a limit for period month', 'a gauge has no window');
SELECT throws_ok($$INSERT INTO quota.plan_limits (plan, feature, period) VALUES ('pro', 'export', 'month')$$, '23514',
	'feature "export" of kind flag cannot have a limit for period month', 'a flag has no limit');
SELECT throws_ok($$UPDATE quota.plan_limits SET period = 'month' WHERE plan = 'basic' AND feature = 'seat'$$, '23514', NULL,
	'not by UPDATE either');
SELECT throws_ok($$INSERT INTO quota.limit_overrides (account, feature, period) VALUES ('a', 'seat', 'month')$$, '23514',
	'feature "seat" of kind gauge cannot have a limit for period month', 'nor as an override');
SELECT throws_ok($$INSERT INTO quota.plan_features (plan, feature) VALUES ('pro', 'report')$$, '23514',
	'feature "report" of kind counter cannot have a static value', 'a counter has no static value');
SELECT throws_ok($$INSERT INTO quota.plan_features (plan, feature) VALUES ('pro', 'nothing')$$, '23503', NULL,
	'a value of an unknown feature');
SELECT throws_ok($$INSERT INTO quota.plan_features (plan, feature) VALUES ('gold', 'export')$$, '23503', NULL,
	'a value of an unknown plan');
SELECT throws_ok($$INSERT INTO quota.plan_features (plan, feature, value) VALUES ('pro', 'export', NULL)$$, '23502', NULL,
	'a value is a JSON value');

/* Accounts. */
SELECT throws_ok(format('INSERT INTO quota.accounts (account, %s) VALUES (''bad'', %s)', c, v), s, NULL, format('%s = %s', c, v))
FROM (VALUES
	('plan', '''gold''', '23503'), ('plan', '''''', '23503'), ('next_plan', '''gold''', '23503'),
	('status', '''asleep''', '23514'), ('status', 'NULL', '23502'),
	('timezone', '''Europe/Nowhere''', '22023'), ('timezone', '''nonsense''', '22023'), ('timezone', '''''', '22023'),
	('timezone', 'repeat(''x'', 1000)', '22023'), ('timezone', '''../../etc/passwd''', '22023'),
	('cycle_anchor', '''infinity''', '23514'), ('cycle_anchor', '''-infinity''', '23514'),
	('sponsor', '''''', '23514'), ('sponsor', 'repeat(''s'', 256)', '23514'), ('pool', '''''', '23514'), ('pool', 'repeat(''p'', 256)', '23514'), ('bypass', 'NULL', '23502'),
	('metadata', '''[1]''', '23514'), ('metadata', 'NULL', '23502')
) bad (c, v, s);
SELECT throws_ok($$INSERT INTO quota.accounts (account, sponsor) VALUES ('self', 'self')$$, '23514', NULL, 'nobody sponsors himself');
SELECT throws_ok($$INSERT INTO quota.accounts (account, pool) VALUES ('self', 'self')$$, '23514', NULL, 'nobody is his own pool');
SELECT throws_ok($$INSERT INTO quota.accounts (account) VALUES ('')$$, '23514', NULL, 'an account is not empty');
SELECT throws_ok($$INSERT INTO quota.accounts (account) VALUES (NULL)$$, '23502', NULL, 'nor NULL');
SELECT throws_ok($$INSERT INTO quota.accounts (account) VALUES (repeat('a', 256))$$, '23514', NULL, 'nor longer than 255 bytes');
SELECT lives_ok($$INSERT INTO quota.accounts (account, timezone, cycle_anchor)
	VALUES (repeat('a', 255), 'Asia/Kathmandu', '2024-01-31 23:59:59.999999+00')$$, 'the longest account');
SELECT throws_ok($$UPDATE quota.accounts SET timezone = 'Mars/Olympus'$$, '22023', 'time zone "Mars/Olympus" not recognized',
	'an unknown time zone by UPDATE');
INSERT INTO quota.accounts (account, plan, next_plan) VALUES ('boss', 'pro', 'basic');
INSERT INTO quota.accounts (account, sponsor, updated_at) VALUES ('junior', 'boss', '2000-01-01');
SELECT throws_ok($$UPDATE quota.accounts SET sponsor = account WHERE account = 'boss'$$, '23514', NULL, 'nor by UPDATE');
UPDATE quota.accounts SET name = 'Junior' WHERE account = 'junior';
SELECT is((SELECT updated_at FROM quota.accounts WHERE account = 'junior'), now(), 'updated_at is kept');
SELECT lives_ok($$UPDATE quota.accounts SET sponsor = 'somebody' WHERE account = 'junior'$$, 'a sponsor needs no row either');

DELETE FROM quota.accounts WHERE account = 'boss';

/* Members, overrides, use. */
SELECT throws_ok(format('INSERT INTO quota.account_users (account, user_id, role) VALUES (%s)', v), s, NULL, 'member ' || v)
FROM (VALUES
	('''ghost'', ''u'', ''OWNER''', '23503'), ('''junior'', '''', ''OWNER''', '23514'), ('''junior'', NULL, ''OWNER''', '23502'),
	('''junior'', ''u'', ''owner''', '23514'), ('''junior'', ''u'', NULL', '23502'), ('''junior'', repeat(''u'', 256), ''OWNER''', '23514')
) bad (v, s);
INSERT INTO quota.account_users (account, user_id) VALUES ('junior', 'u');
SELECT is((SELECT role FROM quota.account_users), 'MEMBER', 'a member is a MEMBER');
SELECT throws_ok($$INSERT INTO quota.account_users VALUES ('junior', 'u', 'OWNER')$$, '23505', NULL, 'a member has one role');
SELECT throws_ok(format('INSERT INTO quota.limit_overrides (account, feature, period, usage_limit) VALUES (%s)', v), s, NULL, 'override ' || v)
FROM (VALUES
	(''''', ''report'', ''month'', 1', '23514'), ('NULL, ''report'', ''month'', 1', '23502'),
	('repeat(''a'', 256), ''report'', ''month'', 1', '23514'),
	('''a'', ''nothing'', ''month'', 1', '23503'), ('''a'', ''report'', ''month'', -1', '23514'), ('''a'', ''report'', NULL, 1', '23502'),
	('''a'', ''report'', ''minute'', 1', '23514')
) bad (v, s);
SELECT throws_ok(format('INSERT INTO quota.usage (account, feature, period, period_start, used) VALUES (%s)', v), s, NULL, 'use ' || v)
FROM (VALUES
	(''''', ''report'', ''month'', ''2026-03-01'', 1', '23514'), ('''a'', ''report'', ''month'', ''2026-03-01'', -1', '23514'),
	('''a'', ''report'', ''month'', NULL, 1', '23502'), ('''a'', ''report'', ''month'', ''2026-03-01'', NULL', '23502'),
	('NULL, ''report'', ''month'', ''2026-03-01'', 1', '23502'), ('''a'', NULL, ''month'', ''2026-03-01'', 1', '23502')
) bad (v, s);

/* A feature that has been used stays. */
UPDATE quota.plan_limits SET usage_limit = 10, warn_ratio = 0.8, block_ratio = 1 WHERE plan = 'pro' AND feature = 'report';
INSERT INTO quota.accounts (account, plan) VALUES ('acme', 'pro');
SELECT is((quota_consume('acme', 'report', 3)).used, 3::bigint, 'some use');
SELECT throws_ok($$DELETE FROM quota.features WHERE feature = 'report'$$, '2BP01', 'feature "report" has counted use',
	'a feature with use cannot be dropped');
SELECT throws_ok($$UPDATE quota.features SET feature = 'paper' WHERE feature = 'report'$$, '2BP01', 'feature "report" has counted use',
	'nor renamed');
SELECT throws_ok($$UPDATE quota.features SET kind = 'gauge' WHERE feature = 'report'$$, '2BP01', 'feature "report" has counted use',
	'nor turned into another kind');
SELECT lives_ok($$UPDATE quota.features SET unit = 'sheet', description = 'x', ledger = true WHERE feature = 'report'$$,
	'but described anew');
SELECT is((quota_evaluate('acme', 'report')).message, 'Within limit: 3/10 sheets (30%)', 'which takes effect at once');
DELETE FROM quota.usage;
SELECT throws_ok($$UPDATE quota.features SET kind = 'gauge' WHERE feature = 'report'$$, '2BP01',
	'feature "report" has limits or values of kind counter', 'a feature with limits keeps its kind');
SELECT throws_ok($$UPDATE quota.features SET kind = 'counter' WHERE feature = 'seat'$$, '2BP01',
	'feature "seat" has limits or values of kind gauge', 'also a gauge');
INSERT INTO quota.plan_features (plan, feature) VALUES ('pro', 'export');
SELECT throws_ok($$UPDATE quota.features SET kind = 'counter' WHERE feature = 'export'$$, '2BP01',
	'feature "export" has limits or values of kind flag', 'also a flag');
UPDATE quota.features SET feature = 'paper' WHERE feature = 'report';
SELECT is((quota_evaluate('acme', 'paper')).usage_limit, 10::bigint, 'an unused feature is renamed with its limits');
SELECT throws_ok($$SELECT quota_evaluate('acme', 'report')$$, '42704', 'feature "report" does not exist', 'and gone by its old name');
DELETE FROM quota.features WHERE feature = 'paper';
SELECT is((SELECT count(*) FROM quota.plan_limits WHERE feature IN ('paper', 'report')), 0::bigint, 'an unused feature goes with its limits');

/* A plan in use stays. */
INSERT INTO quota.features (feature, kind) VALUES ('report', 'counter');
INSERT INTO quota.plan_limits (plan, feature, period, usage_limit) VALUES ('pro', 'report', 'month', 10), ('basic', 'report', 'month', 1);
UPDATE quota.accounts SET next_plan = 'basic' WHERE account = 'acme';
SELECT throws_ok($$DELETE FROM quota.plans WHERE plan = 'pro'$$, '23503', NULL, 'a plan with accounts cannot be deleted');
SELECT throws_ok($$DELETE FROM quota.plans WHERE plan = 'basic'$$, '23503', NULL, 'nor one that accounts will have next');
SELECT is((quota_consume('acme', 'report', 4)).plan, 'pro', 'a plan before it is renamed');
UPDATE quota.plans SET plan = 'professional' WHERE plan = 'pro';
SELECT is((SELECT plan FROM quota.accounts WHERE account = 'acme'), 'professional', 'accounts follow a renamed plan');
SELECT results_eq($$SELECT (d).plan, (d).used, (d).usage_limit FROM (SELECT quota_evaluate('acme', 'report') AS d) d$$,
	$$VALUES ('professional', 4::bigint, 10::bigint)$$, 'decisions know at once');
UPDATE quota.plans SET plan = 'starter' WHERE plan = 'basic';
UPDATE quota.accounts SET plan_ends_at = '2026-03-10 12:00+00' WHERE account = 'acme';
SELECT is((quota_evaluate('acme', 'report')).plan, 'starter', 'also of the next plan');
UPDATE quota.accounts SET plan_ends_at = NULL, plan = NULL, next_plan = NULL WHERE account = 'acme';
DELETE FROM quota.plans WHERE plan = 'professional';
SELECT is((SELECT count(*) FROM quota.plan_limits WHERE plan = 'professional'), 0::bigint, 'a plan without accounts goes with its limits');
SELECT is((quota_evaluate('acme', 'report')).plan, 'free', 'an account without a plan has the default plan');

SELECT * FROM finish();
ROLLBACK;
