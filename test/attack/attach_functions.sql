/*
 * The functions that hold expressions are nobody's to lean on: a view on one
 * does not keep the table's owner from detaching, renaming or dropping.
 */
BEGIN;
SELECT no_plan();
\ir ../pgtap/_helpers.sql
SET LOCAL client_min_messages = error;

INSERT INTO quota.plans (plan, is_default) VALUES ('free', true);
INSERT INTO quota.features (feature, kind) VALUES ('mb', 'gauge');
INSERT INTO quota.plan_limits (plan, feature, period, usage_limit) VALUES ('free', 'mb', 'lifetime', 100);
CREATE ROLE quota_attack_reader;
SELECT quota_grant('quota_attack_reader', 'reader') \g /dev/null
CREATE SCHEMA attack AUTHORIZATION quota_attack_reader;
CREATE FUNCTION lean() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	function regproc := (SELECT oid FROM pg_proc WHERE proname ~ '^attached_\d+_amount$');
BEGIN
	RETURN try_as('quota_attack_reader', format('CREATE OR REPLACE VIEW attack.v AS SELECT %s(1)', function));
END $$;
CREATE TABLE t (n int, account text);
SELECT quota_attach('t', 'mb', 'account', 'n + 1') \g /dev/null
SELECT is(lean(), 'ok', 'a reader makes a view on the function');
SELECT is(error_of('ALTER TABLE t RENAME n TO m'), NULL, 'a column is renamed');
SELECT is((SELECT amount FROM quota.attachments), '(m + 1)', 'and has its new name');
INSERT INTO t VALUES (2, 'a');
SELECT is((SELECT used FROM quota.usage), 3::bigint, 'and is charged');
SELECT has_view('attack', 'v', 'the view is still there');
SELECT is(error_of($$SELECT quota_attach('t', 'mb', 'account', 'm + 2')$$), NULL, 'attached again');
SELECT is(lean(), 'ok', 'a view again');
SELECT is(error_of($$SELECT quota_detach('t', 'mb')$$), NULL, 'detached');
SELECT quota_attach('t', 'mb', 'account', 'm + 1') \g /dev/null
SELECT is(lean(), 'ok', 'a view again');
SELECT is(error_of('DROP TABLE t CASCADE'), NULL, 'dropped');
SELECT is_empty($$SELECT FROM pg_proc WHERE proname ~ '^attached_\d+_amount$'$$, 'with its function');

/* One that has been altered by its owner: whose it is. */
CREATE TABLE altered (n int, account text);
SELECT quota_attach('altered', 'mb', 'account', 'n + 1') \g /dev/null
SELECT oid::regprocedure AS function FROM pg_proc WHERE proname ~ '^attached_\d+_amount$' \gset
ALTER FUNCTION :function STABLE;
SELECT is(error_of('INSERT INTO altered VALUES (1, ''a'')')->>'detail', 'It holds the amount of feature "mb" on table "altered".', 'the error names the table');
DROP FUNCTION :function;
SELECT is(error_of('INSERT INTO altered VALUES (1, ''a'')')->>'detail', 'It holds the amount of feature "mb" on table "altered".', 'dropped as well');
SELECT is(error_of('ALTER TABLE altered RENAME n TO m'), NULL, 'a column can be renamed all the same');

/* Of temporary tables others cannot count the rows. */
CREATE TEMP TABLE fleeting (account text);
SELECT is(error_of($$SELECT quota_attach('fleeting', 'mb', 'account')$$)->>'state', '42809', 'a temporary table is not attached');

SELECT * FROM finish();
ROLLBACK;
