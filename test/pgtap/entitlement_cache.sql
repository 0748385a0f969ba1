/*
 * What an account amounts to is remembered in memory that all connections share,
 * and forgotten with every change of it: two connections agree at each step, and
 * the other one asks twice, so that it has the chance to remember.
 */
SET client_min_messages = warning;
SELECT no_plan();
CREATE EXTENSION dblink;
SET quota.now = '2026-01-15 12:00+00';

INSERT INTO quota.features (feature, kind) VALUES ('job', 'counter'), ('call', 'rate');
INSERT INTO quota.plans (plan, is_default) VALUES ('free', true), ('pro', false), ('a plan with a name that is too long to be remembered', false);
INSERT INTO quota.plan_limits (plan, feature, period, usage_limit) VALUES
	('free', 'job', 'month', 2), ('pro', 'job', 'month', 100), ('a plan with a name that is too long to be remembered', 'job', 'month', 7);

SELECT dblink_connect('other', format('host=%s port=%s dbname=%s user=%s', current_setting('unix_socket_directories'),
	current_setting('port'), current_database(), session_user)) \g /dev/null

CREATE FUNCTION limit_of(account text) RETURNS text LANGUAGE sql AS
	$$SELECT format('%s %s %s', plan, COALESCE(usage_limit::text, '-'), reason) FROM quota_evaluate(account, 'job')$$;
CREATE FUNCTION other(account text, at timestamptz DEFAULT current_setting('quota.now')::timestamptz) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	first text;
	again text;
BEGIN
	PERFORM dblink_exec('other', format('SET quota.now = %L', at));
	SELECT got INTO STRICT first FROM dblink('other', format('SELECT limit_of(%L)', account)) d (got text);
	SELECT got INTO STRICT again FROM dblink('other', format('SELECT limit_of(%L)', account)) d (got text);
	RETURN CASE WHEN first = again THEN first ELSE first || ', then ' || again END;
END $$;

/* From no row to a row, and through its changes. */
SELECT is(other('ann'), 'free 2 ok', 'without a row: the default plan');
INSERT INTO quota.accounts (account, plan) VALUES ('ann', 'pro');
SELECT is(other('ann'), 'pro 100 ok', 'a row');
UPDATE quota.accounts SET status = 'suspended' WHERE account = 'ann';
SELECT is(other('ann'), 'pro 100 suspended', 'suspended');
UPDATE quota.accounts SET status = 'active', bypass = true WHERE account = 'ann';
SELECT is(other('ann'), 'pro 100 bypass', 'bypass');
UPDATE quota.accounts SET bypass = false, plan = 'a plan with a name that is too long to be remembered' WHERE account = 'ann';
SELECT is(other('ann'), 'a plan with a name that is too long to be remembered 7 ok', 'a long name');
UPDATE quota.accounts SET plan = 'free' WHERE account = 'ann';
SELECT is(other('ann'), 'free 2 ok', 'another plan');
UPDATE quota.plans SET plan = 'basic' WHERE plan = 'free';
SELECT is(other('ann'), 'basic 2 ok', 'a plan that is renamed');
UPDATE quota.accounts SET account = 'eve' WHERE account = 'ann';
SELECT is(other('ann') || ', ' || other('eve'), 'basic 2 ok, basic 2 ok', 'the default plan, and that of the account with another key');
UPDATE quota.accounts SET plan = 'pro' WHERE account = 'eve';
SELECT is(other('ann') || ', ' || other('eve'), 'basic 2 ok, pro 100 ok', 'the new key counts');
UPDATE quota.accounts SET account = 'ann' WHERE account = 'eve';
SELECT is(other('ann') || ', ' || other('eve'), 'pro 100 ok, basic 2 ok', 'and the old one again');
DELETE FROM quota.accounts WHERE account = 'ann';
SELECT is(other('ann'), 'basic 2 ok', 'deleted');
INSERT INTO quota.accounts (account, plan) VALUES ('ann', 'pro');
SELECT is(other('ann'), 'pro 100 ok', 'and back');

/* Others see a change when it has committed, its own transaction at once, and nobody one that is undone. */
BEGIN;
UPDATE quota.accounts SET plan = 'basic' WHERE account = 'ann';
SELECT is(limit_of('ann') || ', ' || other('ann'), 'basic 2 ok, pro 100 ok', 'not committed');
SAVEPOINT s;
UPDATE quota.accounts SET status = 'suspended' WHERE account = 'ann';
SELECT is(limit_of('ann') || ', ' || other('ann'), 'basic 2 suspended, pro 100 ok', 'in a savepoint');
ROLLBACK TO s;
SELECT is(limit_of('ann') || ', ' || other('ann'), 'basic 2 ok, pro 100 ok', 'that is rolled back');
COMMIT;
SELECT is(limit_of('ann') || ', ' || other('ann'), 'basic 2 ok, basic 2 ok', 'committed');
BEGIN;
UPDATE quota.accounts SET plan = 'pro' WHERE account = 'ann';
SELECT is(limit_of('ann') || ', ' || other('ann'), 'pro 100 ok, basic 2 ok', 'another');
ROLLBACK;
SELECT is(limit_of('ann') || ', ' || other('ann'), 'basic 2 ok, basic 2 ok', 'that is rolled back');

/* A transaction with an old snapshot goes by the new plan, and leaves no old one. */
SELECT dblink_exec('other', 'BEGIN ISOLATION LEVEL REPEATABLE READ') \g /dev/null
SELECT * FROM dblink('other', 'SELECT count(*) FROM quota.usage') d (n bigint) \g /dev/null
UPDATE quota.accounts SET plan = 'pro' WHERE account = 'ann';
SELECT is(other('ann'), 'pro 100 ok', 'an old snapshot');
SELECT dblink_exec('other', 'COMMIT') \g /dev/null
SELECT is(limit_of('ann') || ', ' || other('ann'), 'pro 100 ok, pro 100 ok', 'after it');
SELECT dblink_exec('other', 'BEGIN ISOLATION LEVEL SERIALIZABLE') \g /dev/null
SELECT * FROM dblink('other', 'SELECT count(*) FROM quota.usage') d (n bigint) \g /dev/null
SELECT is(other('ann'), 'pro 100 ok', 'serializable');
SELECT dblink_exec('other', 'COMMIT') \g /dev/null

/* Ends, and a clock that goes to and fro. */
UPDATE quota.accounts SET plan_ends_at = '2026-02-01', next_plan = 'basic' WHERE account = 'ann';
SELECT is(other('ann', '2026-01-31 23:59:59.999999+00'), 'pro 100 ok', 'the last moment');
SELECT is(other('ann', '2026-02-01'), 'basic 2 ok', 'the end');
SELECT is(other('ann', '2026-01-01'), 'pro 100 ok', 'before it');
SELECT is(other('ann', '2026-03-01'), 'basic 2 ok', 'after it');
UPDATE quota.accounts SET status = 'trialing', trial_ends_at = '2026-01-20' WHERE account = 'ann';
SELECT is(concat_ws(', ', other('ann', '2026-01-19'), other('ann', '2026-01-20'), other('ann', '2026-02-02'), other('ann', '2026-01-19')),
	'pro 100 ok, basic 2 ok, basic 2 ok, pro 100 ok', 'a trial');
UPDATE quota.accounts SET status = 'canceled' WHERE account = 'ann';
SELECT is(other('ann', '2026-01-19') || ', ' || other('ann', '2026-03-01'), 'basic 2 ok, basic 2 ok', 'canceled');
UPDATE quota.accounts SET status = 'active', trial_ends_at = NULL, plan_ends_at = NULL, next_plan = NULL WHERE account = 'ann';
SELECT is(other('ann', '2026-03-01'), 'pro 100 ok', 'without an end');

/* Overrides, time zones and pools. */
INSERT INTO quota.limit_overrides VALUES ('ann', 'job', 'month', 5, '2026-02-01');
SELECT is(other('ann') || ', ' || other('bob'), 'pro 5 ok, basic 2 ok', 'an override');
SELECT is(other('ann', '2026-02-01') || ', ' || other('ann'), 'pro 100 ok, pro 5 ok', 'that expires');
UPDATE quota.limit_overrides SET account = 'bob';
SELECT is(other('ann') || ', ' || other('bob'), 'pro 100 ok, basic 5 ok', 'of another account');
DELETE FROM quota.limit_overrides;
SELECT is(other('ann') || ', ' || other('bob'), 'pro 100 ok, basic 2 ok', 'deleted');
INSERT INTO quota.limit_overrides VALUES ('ann', 'job', 'month', 6), ('bob', 'job', 'month', 7);
SELECT is(other('ann') || ', ' || other('bob'), 'pro 6 ok, basic 7 ok', 'two');
TRUNCATE quota.limit_overrides;
SELECT is(other('ann') || ', ' || other('bob'), 'pro 100 ok, basic 2 ok', 'truncated');
UPDATE quota.accounts SET timezone = 'Pacific/Auckland' WHERE account = 'ann';
SELECT is((SELECT got FROM dblink('other', $$SELECT period_start::text FROM quota_evaluate('ann', 'job')$$) d (got timestamptz)),
	'2026-01-01 00:00 Pacific/Auckland'::timestamptz, 'a time zone');
UPDATE quota.accounts SET timezone = NULL, pool = 'bob' WHERE account = 'ann';
SELECT is(other('ann'), 'pro 2 ok', 'a pool, which has less');
UPDATE quota.accounts SET pool = NULL WHERE account = 'ann';
SELECT is(other('ann'), 'pro 100 ok', 'no pool');

/* Keys that are as long as one that is remembered, and longer. */
INSERT INTO quota.accounts (account, plan) SELECT repeat('x', n), 'pro' FROM unnest('{1,46,47,48,255}'::int[]) n;
SELECT is((SELECT string_agg(DISTINCT other(repeat('x', n)), ', ') FROM unnest('{1,46,47,48,255}'::int[]) n), 'pro 100 ok', 'long keys');
SELECT is((SELECT string_agg(DISTINCT other(repeat('x', n)), ', ') FROM unnest('{2,45,49,254}'::int[]) n), 'basic 2 ok', 'others as long');
UPDATE quota.accounts SET plan = 'basic' WHERE account LIKE 'x%';
SELECT is((SELECT string_agg(DISTINCT other(repeat('x', n)), ', ') FROM unnest('{1,46,47,48,255}'::int[]) n), 'basic 2 ok', 'their changes');

/* More accounts than there is room for. */
SELECT count(quota_evaluate('many-' || n, 'job')) FROM generate_series(1, 160000) n \g /dev/null
SELECT is(other('ann') || ', ' || other('many-1') || ', ' || other('many-160000'), 'pro 100 ok, basic 2 ok, basic 2 ok', 'many accounts');
INSERT INTO quota.accounts (account, plan) SELECT 'many-' || n, 'pro' FROM generate_series(1, 160000, 1000) n;
SELECT is((SELECT string_agg(DISTINCT other('many-' || n), ', ') FROM generate_series(1, 160000, 1000) n), 'pro 100 ok', 'and their changes');

/* What is changed while no trigger tells of it. */
ALTER TABLE quota.accounts DISABLE TRIGGER entitlement_changed;
UPDATE quota.accounts SET plan = 'basic' WHERE account = 'ann';
SELECT is(other('ann'), 'basic 2 ok', 'the trigger disabled');
UPDATE quota.accounts SET plan = 'pro' WHERE account = 'ann';
SELECT is(other('ann'), 'pro 100 ok', 'and once more');
ALTER TABLE quota.accounts ENABLE ALWAYS TRIGGER entitlement_changed;
SELECT is(other('ann'), 'pro 100 ok', 'enabled again');
BEGIN;
ALTER TABLE quota.accounts DISABLE TRIGGER USER;
UPDATE quota.accounts SET plan = 'basic' WHERE account = 'ann';
ALTER TABLE quota.accounts ENABLE TRIGGER USER;
ALTER TABLE quota.accounts ENABLE ALWAYS TRIGGER entitlement_changed, ENABLE ALWAYS TRIGGER entitlement_emptied;
COMMIT;
SELECT is(other('ann'), 'basic 2 ok', 'disabled and enabled in one transaction');
SET session_replication_role = replica;
UPDATE quota.accounts SET plan = 'pro' WHERE account = 'ann';
INSERT INTO quota.limit_overrides VALUES ('bob', 'job', 'month', 9);
SELECT is(other('ann') || ', ' || other('bob'), 'pro 100 ok, basic 9 ok', 'replicated changes');
RESET session_replication_role;

/* A table that is written anew, and one that is emptied. */
VACUUM FULL quota.accounts;
SELECT is(other('ann'), 'pro 100 ok', 'written anew');
TRUNCATE quota.accounts CASCADE;
SELECT is(other('ann') || ', ' || other('x') || ', ' || other('bob'), 'basic 2 ok, basic 2 ok, basic 9 ok', 'emptied');

/* The trigger function is none for others. */
CREATE TABLE app (account text);
CREATE TRIGGER early BEFORE INSERT ON app FOR EACH ROW EXECUTE FUNCTION quota.entitlement_changed();
SELECT throws_ok($$INSERT INTO app VALUES ('ann')$$, '39P01', NULL, 'it is an AFTER trigger');
SELECT * FROM finish();
