-- Plans as code, and what the tables refuse.
CREATE EXTENSION quota;
SELECT quota_apply(quota_preset('resume'));
SELECT quota_apply(quota_preset('resume'));
SELECT quota_export() = quota_preset('resume') AS same;
SELECT plan, feature, period, usage_limit FROM quota.plan_limits WHERE feature = 'ats_scan' ORDER BY plan;

-- what changed
SELECT quota_apply(jsonb_set(quota_preset('resume'), '{plans,free,limits,ats_scan,month,limit}', '4'));
SELECT quota_apply(quota_preset('resume') #- '{plans,elite}');
SELECT quota_apply(quota_preset('resume'));

-- faults of a document are named by their place, and nothing is half done
\set SHOW_CONTEXT never
SELECT quota_apply('[]');
SELECT quota_apply('{"plan": {}}');
SELECT quota_apply('{"features": {"a": {}}}');
SELECT quota_apply('{"features": {"a": {"kind": "counter", "colour": "red"}}}');
SELECT quota_apply('{"features": {"a": {"kind": "meter"}}}');
SELECT quota_apply('{"plans": {"p": {"limits": {"a": {"month": {"limit": 1}}}}}}');
SELECT quota_apply('{"features": {"a": {"kind": "counter"}}, "plans": {"p": {"limits": {"a": {"fortnight": {"limit": 1}}}}}}');
SELECT quota_apply('{"features": {"a": {"kind": "counter"}}, "plans": {"p": {"limits": {"a": {"month": {}}}}}}');
SELECT quota_apply('{"features": {"a": {"kind": "counter"}}, "plans": {"p": {"limits": {"a": {"minute": {"limit": 1}}}}}}');
SELECT quota_apply('{"features": {"a": {"kind": "counter"}}, "plans": {"p": {"limits": {"a": {"month": {"limit": -1}}}}}}');
SELECT quota_apply('{"plans": {"p": {"default": true}, "q": {"default": true}}}');
SELECT quota_apply(NULL);
SELECT quota_preset('nothing');
SELECT quota_export() = quota_preset('resume') AS unchanged;

-- what is in use stays
INSERT INTO quota.accounts (account, plan) VALUES ('a', 'pro');
SELECT quota_apply(quota_preset('resume') #- '{plans,pro}');
SELECT used FROM quota_consume('a', 'jd_parse');
DELETE FROM quota.features WHERE feature = 'jd_parse';

-- the tables
\set VERBOSITY terse
INSERT INTO quota.plans (plan) VALUES ('');
INSERT INTO quota.plans (plan, name) VALUES ('x', '');
INSERT INTO quota.plans (plan, is_default) VALUES ('x', true);
INSERT INTO quota.plans (plan, price) VALUES ('x', 'NaN');
INSERT INTO quota.plan_limits (plan, feature, period, usage_limit) VALUES ('free', 'ats_scan', 'day', -1);
INSERT INTO quota.plan_limits (plan, feature, period, warn_ratio) VALUES ('free', 'ats_scan', 'day', -0.1);
INSERT INTO quota.plan_limits (plan, feature, period) VALUES ('free', 'ats_scan', 'second');
INSERT INTO quota.plan_features (plan, feature) VALUES ('free', 'ats_scan');
INSERT INTO quota.accounts (account) VALUES ('');
INSERT INTO quota.accounts (account, timezone) VALUES ('b', 'Mars/Olympus');
INSERT INTO quota.accounts (account, plan) VALUES ('b', 'nothing');
INSERT INTO quota.account_users VALUES ('a', 'u', 'BOSS');
DROP EXTENSION quota;
