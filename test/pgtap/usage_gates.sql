/*
 * Gates: quota_has_feature, quota_feature, quota_require_feature,
 * quota_plan_with.
 */
BEGIN;
SELECT no_plan();
\ir _helpers.sql
SET LOCAL quota.now = '2026-03-10 12:00+00';

SELECT quota_apply('{
	"features": {
		"git_export": {"kind": "flag"}, "multi_user": {"kind": "flag"}, "support": {"kind": "flag"}, "secret": {"kind": "flag"},
		"nowhere": {"kind": "flag"}, "prompt": {"kind": "counter"}, "seat": {"kind": "gauge"}, "none": {"kind": "counter"},
		"call": {"kind": "rate"}},
	"plans": {
		"trial": {"default": true, "price": 0, "display_order": 1, "limits": {"prompt": {"day": {"limit": 5}, "month": {"limit": 30}}, "none": {"month": {"limit": 0}}},
			"features": {"git_export": false, "support": null}},
		"teams": {"price": 50, "display_order": 3, "limits": {"prompt": {"month": {"limit": null}}, "seat": {"lifetime": {"limit": 5}}, "none": {"month": {"limit": 9}},
				"call": {"second": {"limit": 10}}},
			"features": {"git_export": true, "multi_user": true, "support": {"phone": true, "hours": [9, 17]}}},
		"solo": {"price": 9.5, "display_order": 2, "limits": {"prompt": {"month": {"limit": 10000}}},
			"features": {"git_export": true, "multi_user": false, "support": "by mail"}},
		"internal": {"price": 0, "visible": false, "features": {"git_export": true, "multi_user": true, "secret": true}}}}') \g /dev/null
INSERT INTO quota.accounts (account, plan, status, bypass) VALUES
	('solo', 'solo', 'active', false), ('teams', 'teams', 'active', false), ('internal', 'internal', 'active', false),
	('admin', 'trial', 'active', true), ('late', 'teams', 'canceled', false), ('bad', 'teams', 'suspended', false), ('bad admin', 'teams', 'suspended', true);
INSERT INTO quota.limit_overrides (account, feature, period, usage_limit) VALUES
	('teams', 'prompt', 'day', 7), ('teams', 'prompt', 'month', 70), ('given', 'seat', 'lifetime', 2);

/* quota_has_feature: a gate is had unless its value is false or null; what is counted, where the plan or an override names it. */
SELECT is(quota_has_feature(a, f), has, format('has: %s %s %s', a, f, has))
FROM (VALUES
	('new', 'git_export', false), ('new', 'multi_user', false), ('new', 'support', false), ('new', 'prompt', true), ('new', 'seat', false),
	('solo', 'git_export', true), ('solo', 'multi_user', false), ('solo', 'support', true), ('solo', 'prompt', true),
	('teams', 'multi_user', true), ('teams', 'support', true), ('teams', 'seat', true), ('teams', 'call', true), ('teams', 'secret', false),
	('internal', 'secret', true), ('internal', 'prompt', false),
	('admin', 'git_export', true), ('admin', 'multi_user', true), ('admin', 'nowhere', true), ('admin', 'seat', true),
	('late', 'multi_user', false), ('bad', 'multi_user', false), ('bad', 'prompt', false), ('bad admin', 'prompt', false),
	('given', 'seat', true)
) v (a, f, has);
SELECT is(quota_record('solo', 'prompt', 10000) IS NULL, false, 'a limit is used up');
SELECT ok(quota_has_feature('solo', 'prompt'), 'the plan still has it');
SELECT is((quota_evaluate('solo', 'prompt')).allowed, false, 'though no more of it');

/* Other values than true and false. */
UPDATE quota.plan_features SET value = v.value FROM (VALUES ('0'::jsonb)) v (value) WHERE plan = 'solo' AND feature = 'support';
SELECT ok(quota_has_feature('solo', 'support'), '0 is a value');
UPDATE quota.plan_features SET value = '""' WHERE plan = 'solo' AND feature = 'support';
SELECT ok(quota_has_feature('solo', 'support'), 'so is an empty string');
UPDATE quota.plan_features SET value = '{}' WHERE plan = 'solo' AND feature = 'support';
SELECT ok(quota_has_feature('solo', 'support'), 'so is an empty object');
UPDATE quota.plan_features SET value = '[false]' WHERE plan = 'solo' AND feature = 'support';
SELECT ok(quota_has_feature('solo', 'support'), 'so is an array');
UPDATE quota.plan_features SET value = '"by mail"' WHERE plan = 'solo' AND feature = 'support';

/* quota_feature. */
SELECT is(quota_feature(a, f), v::jsonb, format('value: %s %s %s', a, f, v))
FROM (VALUES
	('new', 'git_export', 'false'), ('new', 'support', 'null'), ('new', 'multi_user', NULL), ('new', 'seat', NULL),
	('new', 'prompt', '{"day": 5, "month": 30}'), ('new', 'none', '{"month": 0}'),
	('solo', 'git_export', 'true'), ('solo', 'support', '"by mail"'), ('solo', 'prompt', '{"month": 10000}'),
	('teams', 'support', '{"phone": true, "hours": [9, 17]}'), ('teams', 'seat', '{"lifetime": 5}'), ('teams', 'prompt', '{"day": 7, "month": 70}'),
	('teams', 'call', '{"second": 10}'),
	('late', 'git_export', 'false'), ('bad', 'git_export', NULL), ('bad', 'prompt', NULL), ('given', 'seat', '{"lifetime": 2}')
) v (a, f, v);
DELETE FROM quota.limit_overrides WHERE account = 'teams';
SELECT is(quota_feature('teams', 'prompt'), '{"month": null}'::jsonb, 'unlimited is null');
UPDATE quota.plan_features SET value = to_jsonb(repeat('long ', 4000)) WHERE plan = 'teams' AND feature = 'support';
SELECT is(quota_feature('teams', 'support'), to_jsonb(repeat('long ', 4000)), 'a value of 20,000 bytes');

/* quota_require_feature. */
SELECT lives_ok($$SELECT quota_require_feature('solo', 'git_export')$$, 'a feature that is had');
SELECT lives_ok($$SELECT quota_require_feature('solo', 'prompt')$$, 'also a counter');
SELECT lives_ok($$SELECT quota_require_feature('admin', 'nowhere')$$, 'also by an administrator');
SELECT is(error_of($$SELECT quota_require_feature('new', 'git_export')$$), jsonb_build_object('state', 'PT402',
	'message', 'Plan "trial" does not include git_export.', 'detail', '{"error":"feature_not_in_plan","feature":"git_export","plan":"trial"}',
	'hint', 'Plan "solo" includes it.'), 'git_export needs solo');
SELECT is(error_of($$SELECT quota_require_feature('solo', 'multi_user')$$), jsonb_build_object('state', 'PT402',
	'message', 'Plan "solo" does not include multi_user.', 'detail', '{"error":"feature_not_in_plan","feature":"multi_user","plan":"solo"}',
	'hint', 'Plan "teams" includes it.'), 'multi_user needs teams');
SELECT is(error_of($$SELECT quota_require_feature('solo', 'secret')$$)->>'hint', 'No plan on offer includes it.', 'what only a hidden plan has is not on offer');
SELECT is(error_of($$SELECT quota_require_feature('solo', 'nowhere')$$)->>'hint', 'No plan on offer includes it.', 'nor what no plan has');
SELECT is(error_of($$SELECT quota_require_feature('new', 'seat')$$)->>'hint', 'Plan "teams" includes it.', 'seats need teams');
SELECT is(error_of($$SELECT quota_require_feature('bad', 'git_export')$$), jsonb_build_object('state', 'PT403',
	'message', 'Account is suspended.', 'detail', '{"error":"account_suspended","feature":"git_export","plan":"teams"}',
	'hint', 'Activate the account first.'), 'suspended');
SELECT throws_ok($$SELECT quota_require_feature('bad admin', 'git_export')$$, 'PT403', 'Account is suspended.', 'suspended, though an administrator');
SELECT throws_ok($$SELECT quota_require_feature('late', 'multi_user')$$, 'PT402', 'Plan "trial" does not include multi_user.', 'canceled');
SELECT throws_ok($$SELECT quota_require_feature('new', 'nothing')$$, '42704', 'feature "nothing" does not exist', 'an unknown feature');
SELECT throws_ok($$SELECT quota_require_feature('admin', 'nothing')$$, '42704', 'feature "nothing" does not exist', 'also to an administrator');
SELECT throws_ok($$SELECT quota_require_feature(42, 'git_export')$$, 'PT402', NULL, 'by bigint');
SELECT throws_ok($$SELECT quota_require_feature(gen_random_uuid(), 'git_export')$$, 'PT402', NULL, 'by uuid');
SELECT throws_ok($$SELECT quota_consume('new', 'git_export')$$, '42809', 'feature "git_export" is a flag and cannot be counted', 'a gate cannot be consumed');
UPDATE quota.plans SET is_default = false;
SELECT throws_ok($$SELECT quota_require_feature('new', 'git_export')$$, 'PT402', 'No plan includes git_export for this account.', 'without any plan');
SELECT is((error_of($$SELECT quota_require_feature('new', 'git_export')$$)->>'detail')::jsonb, '{"error": "feature_not_in_plan", "feature": "git_export", "plan": null}'::jsonb, 'plan null');
SELECT is(quota_has_feature('new', 'prompt'), false, 'nothing is had without any plan');
SELECT is(quota_feature('new', 'prompt'), NULL, 'nor has a value');
UPDATE quota.plans SET is_default = true WHERE plan = 'trial';

/* What the modes make of it. */
SET LOCAL quota.enforcement = 'shadow';
SELECT lives_ok($$SELECT quota_require_feature('new', 'git_export')$$, 'shadow: would be refused');
SET LOCAL quota.enforcement = 'off';
SELECT lives_ok($$SELECT quota_require_feature('bad', 'git_export')$$, 'off: not asked');
SET LOCAL quota.enforcement = 'on';

/* quota_plan_with: the cheapest visible plan. */
SELECT is(quota_plan_with(f), p, format('plan with %s: %s', f, p))
FROM (VALUES ('git_export', 'solo'), ('multi_user', 'teams'), ('support', 'solo'), ('secret', NULL), ('nowhere', NULL), ('prompt', 'trial'),
	('seat', 'teams'), ('none', 'teams'), ('call', 'teams')) v (f, p);
UPDATE quota.plans SET visible = false WHERE plan = 'solo';
SELECT is(quota_plan_with('git_export'), 'teams', 'a hidden plan is not on offer');
UPDATE quota.plans SET visible = true, price = 50 WHERE plan = 'solo';
SELECT is(quota_plan_with('git_export'), 'solo', 'of two at one price the first in order');
UPDATE quota.plans SET display_order = 3 WHERE plan = 'solo';
SELECT is(quota_plan_with('git_export'), 'solo', 'of two in one place the first by key');
UPDATE quota.plans SET price = NULL WHERE plan = 'solo';
SELECT is(quota_plan_with('git_export'), 'teams', 'a plan without a price comes last');
UPDATE quota.plans SET price = 0 WHERE plan = 'teams';
SELECT is(quota_plan_with('git_export'), 'teams', 'free of charge is cheapest');
UPDATE quota.plan_features SET value = 'false' WHERE plan = 'teams' AND feature = 'git_export';
SELECT is(quota_plan_with('git_export'), 'solo', 'a gate that is closed is not had');
SELECT throws_ok($$SELECT quota_plan_with('nothing')$$, '42704', 'feature "nothing" does not exist', 'an unknown feature');
SELECT throws_ok($$SELECT quota_plan_with(NULL)$$, '22004', 'feature must not be null', 'NULL');

SELECT * FROM finish();
ROLLBACK;
