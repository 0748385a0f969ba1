/*
 * The preset `prompts` played by an AI builder: a month's prompts, large
 * amounts that are only counted, gates, administrators, and its operator.
 */
SELECT no_plan();
BEGIN;
\ir _helpers.sql
SET LOCAL quota.now = '2026-03-10 12:00+00';

SELECT is(quota_apply(quota_preset('prompts')), '{
	"features": {"added": ["bytes_out", "e2e_run", "git_export", "multi_user", "prompt", "snapshot"]}, "plans": {"added": ["solo", "teams", "trial"]}}'::jsonb, 'the plans');
SELECT is(quota_export(), quota_preset('prompts'), 'as they are written');
SELECT results_eq($$SELECT feature, array_agg(COALESCE(usage_limit::text, '-') || ' ' || on_limit ORDER BY p.display_order)::text
	FROM quota.plan_limits JOIN quota.plans p USING (plan) GROUP BY feature ORDER BY feature$$, $$VALUES
	('bytes_out' COLLATE "C", '{"- block","- block","- block"}'), ('e2e_run', '{"- block","- block","- block"}'),
	('prompt', '{"30 block","10000 warn","- block"}'), ('snapshot', '{"0 block","1 block","10 block"}')$$, 'what they allow');
INSERT INTO quota.accounts (account, name, plan, bypass) VALUES ('solo', 'Solo Inc', 'solo', false), ('team', 'Team Inc', 'teams', false), ('admin', 'Staff', NULL, true);

/* Prompts: 30 and no more, 10,000 and a warning, as many as one likes. */
SELECT is((SELECT count(*) FROM generate_series(1, 40) i WHERE (quota_consume('try', 'prompt')).allowed), 30::bigint, 'trial: thirty');
SELECT is((quota_consume('try', 'prompt')).message, 'Monthly prompt limit reached (30/30).', 'trial: refused');
SELECT is(brief(quota_consume('solo', 'prompt', 10000)), 'ALLOW 10000/10000 ok', 'solo: ten thousand');
SELECT is(brief(quota_consume('solo', 'prompt')), 'ALLOW_WITH_WARNING 10001/10000 soft_limit', 'solo: a warning only');
SELECT is(brief(quota_consume('team', 'prompt', 1000000)), 'ALLOW 1000000/- unlimited', 'teams: a million');
SELECT is((quota_consume(a, 'bytes_out', 4000000000000000)).allowed, true, a || ': four petabytes') FROM unnest('{try,solo,team}'::text[]) a;
SELECT is((quota_consume('try', 'e2e_run')).used, 1::bigint, 'runs are counted');

/* Snapshots: none, one, ten a minute. */
SELECT quota_rate_clear(a) FROM unnest('{try,solo,team,admin}'::text[]) a \g /dev/null
SELECT is(brief(quota_consume('try', 'snapshot')), 'BLOCK 0/0 rate_limited', 'trial: no snapshots');
SELECT is(brief(quota_consume('solo', 'snapshot')), 'ALLOW 1/1 ok', 'solo: one');
SELECT is((quota_consume('solo', 'snapshot')).retry_after, interval '1 minute', 'solo: the next in a minute');
SELECT is((SELECT count(*) FROM generate_series(1, 12) i WHERE (quota_consume('team', 'snapshot')).allowed), 10::bigint, 'teams: ten');
SELECT is((quota_consume('team', 'snapshot')).message, 'Per-minute snapshot limit reached (10/10).', 'teams: and no more');
SELECT is((quota_consume('admin', 'snapshot', 20)).allowed, true, 'an administrator: as many as it takes');
SET LOCAL quota.now = '2026-03-10 12:00:06+00';
SELECT is(brief(quota_consume('team', 'snapshot')), 'ALLOW_WITH_WARNING 10/10 near_limit', 'teams: one more each six seconds');
SET LOCAL quota.now = '2026-03-10 12:00+00';

/* Gates name the plan that has them. */
SELECT results_eq($$SELECT a, quota_has_feature(a, 'git_export'), quota_has_feature(a, 'multi_user'), quota_has_feature(a, 'snapshot') FROM unnest('{try,solo,team,admin}'::text[]) a$$,
	$$VALUES ('try', false, false, false), ('solo', true, false, true), ('team', true, true, true), ('admin', true, true, true)$$, 'who has what');
SELECT is(error_of($$SELECT quota_require_feature('try', 'git_export')$$)->>'hint', 'Plan "solo" includes it.', 'git_export needs solo');
SELECT is(error_of($$SELECT quota_require_feature('solo', 'multi_user')$$)->>'hint', 'Plan "teams" includes it.', 'multi_user needs teams');

/* Administrators pass every limit and are counted. */
SELECT is((SELECT count(*) FROM generate_series(1, 40) i WHERE (quota_consume('admin', 'prompt')).allowed), 40::bigint, 'an administrator');
SELECT is((quota_evaluate('admin', 'prompt')).used, 40::bigint, 'is counted');
SELECT is(error_of($$SELECT quota_require_feature('admin', 'multi_user')$$), NULL, 'and passes every gate');

/* A prompt that is sent twice, because its answer got lost, is charged once. */
SELECT is(brief(quota_consume('team', 'prompt', 1, 'p-1')), 'ALLOW 1000001/- unlimited', 'a prompt with a key');
SELECT is(brief(quota_consume('team', 'prompt', 1, 'p-1')), 'ALLOW 1000001/- unlimited', 'sent again');
SELECT is((quota_evaluate('team', 'prompt')).used, 1000001::bigint, 'is charged once');
SELECT is((quota_refund('team', 'prompt')).used, 1000000::bigint, 'and given back when it fails');

/* The operator. */
SELECT results_eq($$SELECT feature, used, accounts, over_limit FROM quota_totals()$$, $$VALUES
	('bytes_out', 12000000000000000::numeric, 3::bigint, 0::bigint), ('e2e_run', 1, 1, 0), ('prompt', 1010071, 4, 2)$$, 'totals of each metric this month');
SELECT is((SELECT active_accounts FROM quota_stats()), 4::bigint, 'active accounts');
SELECT results_eq($$SELECT plan, accounts, paying FROM quota_plan_stats()$$, $$VALUES ('trial', 2::bigint, 1::bigint), ('solo', 1, 1), ('teams', 1, 1)$$, 'accounts by plan');
UPDATE quota.plans SET price = 20, billing_interval = 'month' WHERE plan = 'solo';
UPDATE quota.plans SET price = 600, billing_interval = 'year' WHERE plan = 'teams';
SELECT results_eq($$SELECT plan, monthly_revenue FROM quota_plan_stats()$$, $$VALUES ('trial', NULL), ('solo', 20.00), ('teams', 50.00)$$, 'revenue by plan');
SELECT results_eq($$SELECT account, used FROM quota_top('prompt', 2)$$, $$VALUES ('team' COLLATE "C", 1000000::bigint), ('solo', 10001)$$, 'top accounts');
SET LOCAL quota.now = '2026-04-02 12:00+00';
SELECT is(brief(quota_consume('try', 'prompt', 5)), 'ALLOW 5/30 ok', 'April');
SELECT results_eq($$SELECT to_char(period_start, 'YYYY-MM'), used FROM quota_history('try', 'prompt')$$, $$VALUES ('2026-04', 5::bigint), ('2026-03', 30)$$, 'history by month');
SELECT quota_set_plan('try', 'solo') \g /dev/null
SELECT is(brief(quota_evaluate('try', 'prompt')), 'ALLOW 5/10000 ok', 'a plan is changed');
SELECT quota_set_plan('try', 'trial') \g /dev/null
SELECT is(brief(quota_evaluate('try', 'prompt')), 'ALLOW 5/30 ok', 'and changed back');
SELECT quota_reset('try') \g /dev/null
SELECT is(brief(quota_evaluate('try', 'prompt')), 'ALLOW 0/30 ok', 'an account''s period is set back');
SELECT results_eq($$SELECT to_char(period_start, 'YYYY-MM'), used FROM quota_history('try', 'prompt')$$, $$VALUES ('2026-03', 30::bigint)$$, 'the current one');
SELECT is(brief(quota_consume('try', 'prompt', 4)), 'ALLOW 4/30 ok', 'and goes on from 0');
SET LOCAL quota.now = '2026-06-15 12:00+00';
SELECT is((quota_maintain('2 months')->>'usage_deleted')::int, 8, 'counters older than two months are deleted');
SELECT is((SELECT count(*) FROM quota_history('try')), 1::bigint, 'the others are not');
SELECT results_eq($$SELECT concat_ws(' ', act, account, table_name, before->>'plan', after->>'plan', CASE table_name WHEN 'usage' THEN COALESCE(jsonb_path_query_first(before, '$[*] ? (@.feature == "prompt").used')::text, before->>'rows') END) COLLATE "default"
	FROM quota.audit_log WHERE act LIKE 'quota\_%' AND act <> 'quota_apply' ORDER BY id$$, $$VALUES
	('quota_set_plan try accounts solo'), ('quota_set_plan try accounts solo trial'), ('quota_reset try usage 5'), ('quota_maintain usage 8')$$, 'each of these acts is in the audit log');
SELECT results_eq($$SELECT concat_ws(' ', act, account, after->>'bypass') COLLATE "default" FROM quota.audit_log WHERE table_name = 'accounts' AND act NOT LIKE 'quota\_%' ORDER BY id$$,
	$$VALUES ('insert solo false'), ('insert team false'), ('insert admin true')$$, 'and who was made an administrator');

ROLLBACK;

/*
 * Two at once over the thirtieth prompt: the second waits, and gets what the
 * first leaves.
 */
\ir _helpers.sql
\ir _race.sql
SET quota.now = '2026-03-10 12:00+00';
SELECT quota_apply(quota_preset('prompts')) \g /dev/null
CREATE TABLE prompts (id bigint GENERATED ALWAYS AS IDENTITY, workspace text NOT NULL);
SELECT quota_attach('prompts', 'prompt', 'workspace') \g /dev/null
INSERT INTO prompts (workspace) SELECT w FROM unnest('{committed,failed,keyed,called}'::text[]) w, generate_series(1, 29);
CREATE FUNCTION prompt(workspace text) RETURNS text LANGUAGE sql AS $$SELECT format('INSERT INTO prompts (workspace) VALUES (%L) RETURNING workspace', workspace)$$;
CREATE FUNCTION call(workspace text, key text) RETURNS text LANGUAGE sql AS $$SELECT format('SELECT brief(quota_consume(%L, ''prompt'', key => %L))', workspace, key)$$;

SELECT is(race(prompt('committed'), 'COMMIT', prompt('committed')), 'committed, then PT429 Monthly prompt limit reached (30/30).', 'two prompts: one is the thirtieth');
SELECT is(race(prompt('failed'), 'ROLLBACK', prompt('failed')), 'failed, then failed', 'two prompts, of which the first fails: the second is the thirtieth');
SELECT is(race(call('called', NULL), 'COMMIT', call('called', NULL)), 'ALLOW_WITH_WARNING 30/30 near_limit, then BLOCK 30/30 limit_reached', 'two calls');
SELECT is(race(call('keyed', 'p-30'), 'COMMIT', call('keyed', 'p-30')), 'ALLOW_WITH_WARNING 30/30 near_limit, then ALLOW_WITH_WARNING 30/30 near_limit',
	'one call, sent twice with its key: both get the one answer');
SELECT results_eq($$SELECT w, brief(quota_evaluate(w, 'prompt')), (SELECT count(*) FROM prompts WHERE workspace = w) FROM unnest('{committed,failed,called,keyed}'::text[]) w$$, $$VALUES
	('committed', 'BLOCK 30/30 limit_reached', 30::bigint), ('failed', 'BLOCK 30/30 limit_reached', 30), ('called', 'BLOCK 30/30 limit_reached', 29),
	('keyed', 'BLOCK 30/30 limit_reached', 29)$$, 'each has used thirty');

SELECT * FROM finish();
