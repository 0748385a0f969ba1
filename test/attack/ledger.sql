/*
 * The ledger: who may only read cannot keep its months from being dropped, nor a
 * session by its settings; who charges cannot make a denial up.
 */
BEGIN;
SELECT no_plan();
\ir ../pgtap/_helpers.sql
SET LOCAL client_min_messages = warning;
SET LOCAL quota.now = '2026-01-10 12:00+00';
SELECT quota_apply('{"features": {"report": {"kind": "counter", "ledger": true}, "page": {"kind": "counter"}},
	"plans": {"free": {"default": true, "limits": {"report": {"month": {"limit": 2}}}}}}') \g /dev/null
CREATE ROLE quota_test_reader;
CREATE ROLE quota_test_user;
SELECT quota_grant('quota_test_reader', 'reader'), quota_grant('quota_test_user', 'user') \g /dev/null
CREATE SCHEMA theirs AUTHORIZATION quota_test_reader;
SELECT quota_maintain() \g /dev/null

/* A kind that only a denial has. */
SELECT quota_add_user('acme', 'ann') \g /dev/null
SET LOCAL "quota.user" = 'ann';
SELECT is(error_of(format($$SELECT %s('acme', 'report', metadata => '{"kind": "%s"}')$$, f, kind)),
	jsonb_build_object('state', '22023', 'message', format('kind in the metadata must not be "%s"', kind), 'detail', 'It is the kind of a denial.', 'hint', ''), f || ': ' || kind)
FROM unnest('{quota_consume,quota_enforce,quota_record}'::text[]) f, unnest('{quota_exceeded,feature_not_in_plan,account_suspended}'::text[]) kind;
SELECT is(try_as('quota_test_user', $$SELECT quota_consume('acme', 'report', metadata => '{"kind": "quota_exceeded"}')$$), '22023', 'level user');
SELECT is_empty('SELECT FROM quota.events', 'nothing was written');
SELECT lives_ok($$SELECT quota_consume('acme', 'report', metadata => '{"kind": "quota_exceeded_not"}')$$, 'what only begins so');

/* Views on a month go with it. */
SELECT is(try_as('quota_test_reader', 'CREATE VIEW theirs.month AS SELECT * FROM quota.events_2026_01'), 'ok', 'a reader makes a view');
SELECT is(try_as('quota_test_reader', 'CREATE VIEW theirs.months AS SELECT * FROM theirs.month'), 'ok', 'and one on it');
SET LOCAL quota.now = '2026-03-10 12:00+00';
/* by a session that reads literals otherwise, and past functions that fit an untyped NULL better than ours */
SET LOCAL standard_conforming_strings = off;
CREATE FUNCTION quota.write_audit(text, text, text, text, text) RETURNS void LANGUAGE plpgsql AS $$BEGIN RAISE 'planted'; END $$;
CREATE FUNCTION quota.document_object(jsonb, text, text) RETURNS jsonb LANGUAGE plpgsql AS $$BEGIN RAISE 'planted'; END $$;
SELECT is(quota_maintain(ledger_retention => '1 day')->'ledger_months_dropped', '2', 'the months are dropped all the same');
SELECT lives_ok('SELECT quota_apply(quota_export())', 'and the document is read by what is ours');
SELECT is(to_regclass('theirs.months'), NULL, 'with the views');

SELECT * FROM finish();
ROLLBACK;
