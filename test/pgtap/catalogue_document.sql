/*
 * Plans as code: quota_apply, quota_export, quota_preset.
 */
BEGIN;
SELECT no_plan();
\ir _helpers.sql
SET LOCAL quota.now = '2026-03-10 12:00+00';

/* Nothing to begin with. */
SELECT is(quota_export(), '{"features": {}, "plans": {}}'::jsonb, 'an empty catalogue');
SELECT is(quota_apply('{}'), '{}'::jsonb, 'an empty document changes nothing');

/* The presets. */
SELECT is(quota_apply(quota_preset('reports')),
	'{"features": {"added": ["report", "schedule_run"]}, "plans": {"added": ["affiliate", "free", "pro", "sponsored_free", "team"]}}'::jsonb,
	'reports: what was added');
SELECT is(quota_export(), quota_preset('reports'), 'reports: back as it was');
SELECT is(quota_apply(quota_preset('reports')), '{}'::jsonb, 'reports: the second time changes nothing');
SELECT is(quota_apply(quota_export()), '{}'::jsonb, 'nor does the catalogue''s own document');
SELECT results_eq($$SELECT plan, usage_limit, on_limit, warn_ratio, block_ratio, overage_price
	FROM quota.plan_limits WHERE feature = 'report' AND period = 'month' ORDER BY usage_limit$$,
	$$VALUES ('free' COLLATE "C", 50::bigint, 'block', 0.8, 1.1, NULL), ('sponsored_free', 75, 'block', 0.8, 1.1, NULL),
		('pro', 300, 'charge', 0.8, 1.1, 1.50), ('team', 1000, 'charge', 0.8, 1.1, 1.00), ('affiliate', 5000, 'charge', 0.8, 1.1, 0)$$,
	'reports: the limits');
SELECT is((SELECT plan FROM quota.plans WHERE is_default), 'free', 'reports: the default');
SELECT is((SELECT count(*) FROM quota.plan_limits WHERE feature = 'schedule_run' AND period = 'month' AND usage_limit IS NULL), 5::bigint,
	'reports: schedule runs are unlimited');
SELECT is(quota_apply(quota_preset('resume')), '{
	"features": {"added": ["ats_scan", "cover_letter", "jd_parse", "resume_tailor"], "removed": ["report", "schedule_run"]},
	"plans": {"added": ["elite"], "changed": ["free", "pro"], "removed": ["affiliate", "sponsored_free", "team"]}}'::jsonb,
	'resume in place of reports: added, changed and removed');
SELECT is(quota_export(), quota_preset('resume'), 'resume: back as it was');
SELECT is(quota_apply(quota_preset('resume')), '{}'::jsonb, 'resume: the second time changes nothing');
SELECT results_eq($$SELECT feature, array_agg(usage_limit ORDER BY p.display_order)::text
	FROM quota.plan_limits JOIN quota.plans p USING (plan) GROUP BY feature ORDER BY feature$$,
	$$VALUES ('ats_scan' COLLATE "C", '{2,20,NULL}'), ('cover_letter', '{3,30,NULL}'), ('jd_parse', '{5,60,NULL}'), ('resume_tailor', '{3,25,NULL}')$$,
	'resume: the limits');
SELECT throws_ok($$SELECT quota_preset('nothing')$$, '42704', 'preset "nothing" does not exist', 'an unknown preset');
SELECT is(error_of($$SELECT quota_preset('nothing')$$)->>'hint', 'There are: reports, prompts, messages, jobs, resume.', 'tells which there are');
SELECT throws_ok($$SELECT quota_preset(NULL)$$, '22004', 'name must not be null', 'a preset without a name');
SELECT is(quota_apply('{}'), '{"features": {"removed": ["ats_scan", "cover_letter", "jd_parse", "resume_tailor"]},
	"plans": {"removed": ["elite", "free", "pro"]}}'::jsonb, 'an empty document empties the catalogue');
SELECT is((SELECT count(*) FROM quota.plan_limits), 0::bigint, 'with its limits');

/* Every member of a document. */
CREATE TEMP TABLE document AS SELECT '{
	"features": {
		"report": {"kind": "counter", "unit": "report", "description": "A report", "ledger": true},
		"seat": {"kind": "gauge"},
		"call": {"kind": "rate"},
		"export": {"kind": "flag"},
		"support": {"kind": "flag", "description": "Who helps"}},
	"plans": {
		"free": {"name": "Free", "price": 0, "currency": "EUR", "default": true, "limits": {
			"report": {"day": {"limit": 5, "on_limit": "warn", "warn_ratio": 0.55, "block_ratio": 1.25},
				"month": {"limit": 150, "on_limit": "charge", "warn_ratio": 0.8, "block_ratio": 1.0, "overage_price": 0.015, "overage_cap": 20}},
			"seat": {"lifetime": {"limit": null, "on_limit": "block", "warn_ratio": 0.8, "block_ratio": 1.0}},
			"call": {"second": {"limit": 10, "on_limit": "block", "warn_ratio": 0.8, "block_ratio": 1.0, "burst": 30}}},
			"features": {"export": false, "support": {"hours": [9, 17], "phone": null}}},
		"gold": {"name": "Gold", "description": "All of it", "price": 12.50, "currency": "XOF", "billing_interval": "year",
			"visible": false, "display_order": -7, "rate_multiplier": 2.5, "metadata": {"name": {"fr": "Or"}, "empty": null},
			"features": {"export": true, "support": "by mail"}},
		"bare": {"name": "bare", "currency": "USD"}}}'::jsonb AS d;
SELECT is(quota_apply(d), '{"features": {"added": ["call", "export", "report", "seat", "support"]}, "plans": {"added": ["bare", "free", "gold"]}}'::jsonb,
	'a document with every member') FROM document;
SELECT is(quota_export(), d, 'comes back as it was') FROM document;
SELECT results_eq($$SELECT description, price, currency::text, billing_interval, is_default, visible, display_order, rate_multiplier, metadata
	FROM quota.plans WHERE plan = 'gold'$$,
	$$VALUES ('All of it', 12.50, 'XOF', 'year', false, false, -7, 2.5, '{"name": {"fr": "Or"}, "empty": null}'::jsonb)$$,
	'each in its column');
SELECT results_eq($$SELECT usage_limit, on_limit, warn_ratio, block_ratio, overage_price, overage_cap, burst FROM quota.plan_limits ORDER BY feature, period$$,
	$$VALUES (10::bigint, 'block', 0.8, 1.0, NULL::numeric, NULL::bigint, 30::bigint), (5, 'warn', 0.55, 1.25, NULL, NULL, NULL),
		(150, 'charge', 0.8, 1.0, 0.015, 20, NULL), (NULL, 'block', 0.8, 1.0, NULL, NULL, NULL)$$, 'limits too');

/* Nothing changed: no row is touched. */
CREATE TEMP VIEW versions AS
	SELECT 'plans' AS t, plan AS a, '' AS b, '' AS c, xmin AS x, cmin AS m, ctid AS at FROM quota.plans
	UNION ALL SELECT 'features', feature, '', '', xmin, cmin, ctid FROM quota.features
	UNION ALL SELECT 'plan_limits', plan, feature, period::text, xmin, cmin, ctid FROM quota.plan_limits
	UNION ALL SELECT 'plan_features', plan, feature, '', xmin, cmin, ctid FROM quota.plan_features;
CREATE TEMP TABLE before AS TABLE versions;
SELECT is(quota_apply(d), '{}'::jsonb, 'the same document again') FROM document;
SELECT bag_eq('TABLE versions', 'TABLE before', 'touches no row');

/* One thing changed: that row alone. */
UPDATE document SET d = jsonb_set(d, '{plans,free,limits,report,month,limit}', '160');
SELECT is(quota_apply(d), '{"plans": {"changed": ["free"]}}'::jsonb, 'one limit changed') FROM document;
SELECT results_eq('SELECT t, a, b, c FROM (TABLE versions EXCEPT TABLE before) v',
	$$VALUES ('plan_limits', 'free' COLLATE "C", 'report' COLLATE "C", 'month')$$, 'touches that row');
UPDATE document SET d = jsonb_set(d, '{features,seat,unit}', '"seat"');
SELECT is(quota_apply(d), '{"features": {"changed": ["seat"]}}'::jsonb, 'a feature changed') FROM document;
UPDATE document SET d = d #- '{plans,free,limits,report,day}';
SELECT is(quota_apply(d), '{"plans": {"changed": ["free"]}}'::jsonb, 'a limit left out') FROM document;
SELECT is((SELECT count(*) FROM quota.plan_limits WHERE feature = 'report'), 1::bigint, 'is gone');
UPDATE document SET d = d #- '{plans,gold,features,support}';
SELECT is(quota_apply(d), '{"plans": {"changed": ["gold"]}}'::jsonb, 'a value left out') FROM document;
UPDATE document SET d = jsonb_set(d, '{plans,gold,features,export}', 'null');
SELECT is(quota_apply(d), '{"plans": {"changed": ["gold"]}}'::jsonb, 'a value of null') FROM document;
SELECT is(quota_export(), d, 'comes back as it was') FROM document;
UPDATE document SET d = d #- '{plans,bare}' #- '{features,seat}' #- '{plans,free,limits,seat}';
SELECT is(quota_apply(d), '{"features": {"removed": ["seat"]}, "plans": {"changed": ["free"], "removed": ["bare"]}}'::jsonb,
	'a plan and a feature left out') FROM document;
SELECT is(quota_export(), d, 'are gone') FROM document;

/* The default moves. */
UPDATE document SET d = jsonb_set(d #- '{plans,free,default}', '{plans,gold,default}', 'true');
SELECT is(quota_apply(d), '{"plans": {"changed": ["free", "gold"]}}'::jsonb, 'another plan is the default') FROM document;
SELECT is((quota_evaluate('anybody', 'report')).plan, 'gold', 'for everybody at once');
UPDATE document SET d = jsonb_set(d #- '{plans,gold,default}', '{plans,free,default}', 'true');
SELECT is(quota_apply(d), '{"plans": {"changed": ["free", "gold"]}}'::jsonb, 'and back') FROM document;
SELECT is((quota_evaluate('anybody', 'report')).plan, 'free', 'for everybody');
SELECT is(quota_apply(d #- '{plans,free,default}'), '{"plans": {"changed": ["free"]}}'::jsonb, 'a catalogue without a default') FROM document;
SELECT is((quota_evaluate('anybody', 'report')).plan, NULL, 'leaves accounts without a plan');
SELECT is(quota_apply(jsonb_set(d, '{plans,free,default}', 'false')), '{}'::jsonb, 'default false is no default') FROM document;
SELECT is(quota_apply(d), '{"plans": {"changed": ["free"]}}'::jsonb, 'the default again') FROM document;

/* A feature of another kind, with limits that suit it. */
SELECT is(quota_apply('{"features": {"x": {"kind": "counter"}}, "plans": {"p": {"limits": {"x": {"day": {"limit": 5}, "month": {"limit": 9}}}}}}'),
	'{"features": {"added": ["x"], "removed": ["call", "export", "report", "support"]}, "plans": {"added": ["p"], "removed": ["free", "gold"]}}'::jsonb,
	'limits with all else left out');
SELECT results_eq($$SELECT usage_limit, on_limit, warn_ratio, block_ratio FROM quota.plan_limits WHERE period = 'day'$$,
	$$VALUES (5::bigint, 'block', 0.8, 1.0)$$, 'have the usual terms');
SELECT is((SELECT name FROM quota.plans), 'p', 'a plan without a name is called by its key');
SELECT is(quota_apply('{"features": {"x": {"kind": "gauge"}}, "plans": {"p": {"limits": {"x": {"lifetime": {"limit": 5}}}}}}'),
	'{"features": {"changed": ["x"]}, "plans": {"changed": ["p"]}}'::jsonb, 'a counter becomes a gauge');
SELECT lives_ok($$SELECT quota_apply('{"features": {"x": {"kind": "counter"}}, "plans": {"p": {"limits": {"x": {"lifetime": {"limit": 5}, "day": {"limit": 5}}}}}}')$$,
	'a gauge becomes a counter of the same limit');
SELECT lives_ok($$SELECT quota_apply('{"features": {"x": {"kind": "rate"}}, "plans": {"p": {"limits": {"x": {"day": {"limit": 5}}}}}}')$$,
	'a counter becomes a rate of the same limit');
SELECT is(quota_apply('{"features": {"x": {"kind": "flag"}}, "plans": {"p": {"features": {"x": 7}}}}'),
	'{"features": {"changed": ["x"]}, "plans": {"changed": ["p"]}}'::jsonb, 'a limit becomes a flag');

/* What accounts still use cannot be left out. */
SELECT quota_apply('{"features": {"report": {"kind": "counter"}, "page": {"kind": "counter"}}, "plans": {
	"free": {"default": true, "limits": {"report": {"month": {"limit": 5}}}}, "pro": {}, "team": {}}}') \g /dev/null
INSERT INTO quota.accounts (account, plan, next_plan) VALUES ('a', 'pro', NULL), ('b', 'pro', 'team'), ('c', NULL, 'team');
INSERT INTO quota.limit_overrides (account, feature, period, usage_limit) VALUES ('a', 'page', 'day', 3), ('b', 'page', 'month', 3);
SELECT quota_consume('z', 'report') \g /dev/null
CREATE TEMP TABLE exported AS SELECT quota_export() AS d;
SELECT is(error_of($$SELECT quota_apply((SELECT d #- '{plans,pro}' FROM exported))$$),
	'{"state": "2BP01", "message": "plan \"pro\" is missing from the document but still in use", "detail": "Accounts on it: 2.",
		"hint": "Move them to another plan first, or keep it with \"visible\": false."}'::jsonb, 'a plan of accounts');
SELECT is(error_of($$SELECT quota_apply((SELECT d #- '{plans,team}' FROM exported))$$)->>'detail', 'Accounts on it: 2.', 'a next plan of accounts');
SELECT is(error_of($$SELECT quota_apply((SELECT d #- '{features,page}' FROM exported))$$) - 'hint',
	'{"state": "2BP01", "message": "feature \"page\" is missing from the document but still in use", "detail": "Overrides of it: 2."}'::jsonb,
	'a feature with overrides');
SELECT throws_ok($$SELECT quota_apply((SELECT d #- '{features,report}' #- '{plans,free,limits}' FROM exported))$$, '2BP01',
	'feature "report" has counted use', 'a feature with use');
SELECT throws_ok($$SELECT quota_apply('{}')$$, '2BP01', NULL, 'everything');
SELECT is(quota_export(), d, 'after all these nothing has changed') FROM exported;

/* Documents that are none. */
SELECT throws_ok($$SELECT quota_apply(NULL)$$, '22004', 'document must not be null', 'NULL');
SELECT throws_ok(format('SELECT quota_apply(%L)', bad), '22P02', NULL, 'malformed JSON: ' || bad)
FROM unnest('{"","{","{\"features\": }","[1,]"}'::text[]) bad;
SELECT throws_ok(format('SELECT quota_apply(%L)', bad), '22023', message, message)
FROM (VALUES
	('null', 'document must be a JSON object, not null'),
	('[]', 'document must be a JSON object, not array'),
	('"x"', 'document must be a JSON object, not string'),
	('7', 'document must be a JSON object, not number'),
	('{"plan": {}}', 'document has the unknown key "plan"'),
	('{"features": []}', 'features must be a JSON object, not array'),
	('{"features": null}', 'features must be a JSON object, not null'),
	('{"plans": "free"}', 'plans must be a JSON object, not string'),
	('{"features": {"x": "counter"}}', 'features.x must be a JSON object, not string'),
	('{"features": {"x": {}}}', 'features.x has no kind'),
	('{"features": {"x": {"kind": null}}}', 'features.x has no kind'),
	('{"features": {"x": {"kind": "counter", "limit": 1}}}', 'features.x has the unknown key "limit"'),
	('{"plans": {"p": 1}}', 'plans.p must be a JSON object, not number'),
	('{"plans": {"p": {"prize": 1}}}', 'plans.p has the unknown key "prize"'),
	('{"plans": {"p": {"limits": []}}}', 'plans.p.limits must be a JSON object, not array'),
	('{"plans": {"p": {"limits": {"x": {}}}}}', 'plans.p.limits has the unknown key "x"'),
	('{"plans": {"p": {"features": {"x": true}}}}', 'plans.p.features has the unknown key "x"'),
	('{"plans": {"p": {"features": true}}}', 'plans.p.features must be a JSON object, not boolean'),
	('{"features": {"x": {"kind": "counter"}}, "plans": {"p": {"limits": {"x": 5}}}}', 'plans.p.limits.x must be a JSON object, not number'),
	('{"features": {"x": {"kind": "counter"}}, "plans": {"p": {"limits": {"x": {"fortnight": {"limit": 1}}}}}}',
		'plans.p.limits.x has the unknown key "fortnight"'),
	('{"features": {"x": {"kind": "counter"}}, "plans": {"p": {"limits": {"x": {"month": 5}}}}}',
		'plans.p.limits.x.month must be a JSON object, not number'),
	('{"features": {"x": {"kind": "counter"}}, "plans": {"p": {"limits": {"x": {"month": {}}}}}}', 'plans.p.limits.x.month has no limit'),
	('{"features": {"x": {"kind": "counter"}}, "plans": {"p": {"limits": {"x": {"month": {"limit": 1, "cap": 2}}}}}}',
		'plans.p.limits.x.month has the unknown key "cap"'),
	('{"plans": {"p": {"default": true}, "q": {"default": true}}}', 'more than one plan is the default')
) bad (bad, message);
SELECT is(error_of($$SELECT quota_apply('{"plan": {}}')$$)->>'hint', 'Known here: plans, features.', 'what is known is told');
SELECT is(error_of($$SELECT quota_apply('{"plans": {"p": {"features": {"x": true}}}}')$$)->>'hint', 'Known here: none.', 'also when nothing is');
SELECT is(error_of($$SELECT quota_apply('{"features": {"x": {"kind": "counter"}}, "plans": {"p": {"limits": {"x": {"day": {}}}}}}')$$)->>'hint',
	'A limit of null means unlimited.', 'how to say unlimited');

/* Values that are none, with nothing in the way. */
DELETE FROM quota.accounts;
DELETE FROM quota.limit_overrides;
DELETE FROM quota.usage;
SELECT throws_ok(format('SELECT quota_apply(%L)', format('{"features": {"x": {"kind": "counter"}}, "plans": {"p": {"limits": {"x": {"month": {"limit": 1, %s}}}}}}', bad)),
	state, NULL, bad)
FROM (VALUES
	('"limit": -1', '23514'), ('"limit": 1.5', '22P02'), ('"limit": "many"', '22023'), ('"limit": true', '22023'), ('"limit": [1]', '22023'),
	('"limit": 9223372036854775808', '22003'),
	('"on_limit": "maybe"', '23514'), ('"warn_ratio": -0.5', '23514'), ('"warn_ratio": "NaN"', '22023'), ('"warn_ratio": "high"', '22023'),
	('"block_ratio": -1', '23514'), ('"block_ratio": {}', '22023'), ('"overage_price": -1', '23514'), ('"overage_cap": -1', '23514'),
	('"burst": 0', '23514')
) bad (bad, state);
SELECT throws_ok(format('SELECT quota_apply(%L)', format('{"plans": {"p": {%s}}}', bad)), state, NULL, bad)
FROM (VALUES
	('"price": -1', '23514'), ('"price": "cheap"', '22023'), ('"price": "Infinity"', '22023'), ('"currency": "usd"', '23514'),
	('"currency": "DOLLAR"', '22001'), ('"billing_interval": "now"', '23514'), ('"default": "perhaps"', '22023'), ('"visible": {}', '22023'),
	('"display_order": 1.5', '22P02'), ('"display_order": 3000000000', '22003'), ('"rate_multiplier": 0', '23514'), ('"metadata": [1]', '22023'),
	('"name": ""', '23514')
) bad (bad, state);
SELECT throws_ok(format('SELECT quota_apply(%L)', bad), state, NULL, bad)
FROM (VALUES
	('{"features": {"x": {"kind": "meter"}}}', '23514'), ('{"features": {"": {"kind": "counter"}}}', '23514'),
	('{"features": {"x": {"kind": "counter", "ledger": "perhaps"}}}', '22023'), ('{"features": {"x": {"kind": "counter", "unit": ""}}}', '23514'),
	('{"plans": {"": {}}}', '23514'),
	('{"features": {"x": {"kind": "flag"}}, "plans": {"p": {"limits": {"x": {"month": {"limit": 1}}}}}}', '23514'),
	('{"features": {"x": {"kind": "gauge"}}, "plans": {"p": {"limits": {"x": {"month": {"limit": 1}}}}}}', '23514'),
	('{"features": {"x": {"kind": "counter"}}, "plans": {"p": {"limits": {"x": {"minute": {"limit": 1}}}}}}', '23514'),
	('{"features": {"x": {"kind": "counter"}}, "plans": {"p": {"features": {"x": 1}}}}', '23514'),
	(format('{"plans": {"%s": {}}}', repeat('p', 64)), '23514'),
	(format('{"features": {"%s": {"kind": "counter"}}}', repeat('f', 49)), '23514')
) bad (bad, state);
SELECT throws_ok(format('SELECT quota_apply(%L)', bad), '22023', NULL, bad)
FROM unnest('{"{\"plans\": {\"p\": {\"name\": {\"fr\": \"Or\"}}}}","{\"plans\": {\"p\": {\"name\": 5}}}","{\"plans\": {\"p\": {\"description\": []}}}","{\"features\": {\"x\": {\"kind\": \"counter\", \"unit\": {}}}}"}'::text[]) bad;
SELECT is(quota_export(), d, 'after all these nothing has changed') FROM exported;

SELECT * FROM finish();
ROLLBACK;
