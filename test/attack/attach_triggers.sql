/*
 * The trigger functions on tables and with arguments that quota_attach did not
 * give them: refused before anything is read.
 */
BEGIN;
SELECT no_plan();
\ir ../pgtap/_helpers.sql
SET LOCAL client_min_messages = error;

INSERT INTO quota.plans (plan, is_default) VALUES ('free', true);
INSERT INTO quota.features (feature, kind) VALUES ('storage', 'gauge'), ('report', 'counter');
INSERT INTO quota.plan_limits (plan, feature, period, usage_limit) VALUES ('free', 'storage', 'lifetime', 100), ('free', 'report', 'month', 3);
CREATE TABLE real (id int PRIMARY KEY DEFAULT 0, account text DEFAULT 'd', n int DEFAULT 1, status text);
SELECT quota_attach('real', 'storage', 'account', 'n') \g /dev/null
SELECT quota_attach('real', 'report', 'account', on_block => 'mark', status_column => 'status', blocked_status => 'skipped') \g /dev/null
/* the arguments of our triggers, by feature */
CREATE TEMP TABLE ours AS
	SELECT split_part(tgname, '_', 3) AS feature, (
		SELECT string_agg(quote_literal(convert_from(decode(m[1], 'hex'), 'UTF8')), ', ' ORDER BY n)
		FROM regexp_matches(encode(tgargs, 'hex'), '((?:[0-9a-f][0-9a-f])*?)00', 'g') WITH ORDINALITY m (m, n)) AS arguments
	FROM pg_trigger
	WHERE tgrelid = 'real'::regclass AND tgname LIKE 'quota\_charge\_%';

/* other tables, of which nothing is as the functions may expect it */
CREATE TABLE fake (a numeric, b point, c text);
CREATE TABLE twin (LIKE real INCLUDING ALL);
CREATE FUNCTION try(relation text, name text, kind text, function text, arguments text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	state text;
BEGIN
	EXECUTE format('CREATE TRIGGER %I %s EXECUTE FUNCTION quota.%s(%s)', name, format(kind, relation), function, arguments);
	state := error_of(format('INSERT INTO %1$s DEFAULT VALUES', relation))->>'state';
	IF state IS NULL THEN
		state := COALESCE(error_of(format('UPDATE %s SET ctid = ctid', relation))->>'state', 'ok');
		state := COALESCE(error_of(format('DELETE FROM %s', relation))->>'state', error_of(format('TRUNCATE %s', relation))->>'state', 'ok');
	END IF;
	EXECUTE format('DROP TRIGGER %I ON %s', name, relation);
	RETURN state;
EXCEPTION WHEN OTHERS THEN
	RETURN 'not made: ' || SQLSTATE;
END $$;
SELECT is(try(relation, name, kind, function, arguments), '39P01', concat_ws(' ', function, 'as', name, kind, arguments))
FROM unnest('{fake}'::text[]) relation,
	(VALUES ('charge_rows', 'quota_charge_storage', 'AFTER INSERT ON %s REFERENCING NEW TABLE AS quota_rows FOR EACH STATEMENT'),
		('charge_rows', 'quota_charge_storage', 'AFTER INSERT ON %s FOR EACH STATEMENT'),
		('charge_rows', 'quota_charge_storage', 'AFTER INSERT ON %s FOR EACH ROW'),
		('charge_rows', 'quota_charge_storage', 'BEFORE INSERT ON %s FOR EACH STATEMENT'),
		('begin_filter', 'quota_begin_report', 'BEFORE INSERT ON %s FOR EACH STATEMENT'),
		('begin_filter', 'quota_begin_report', 'BEFORE INSERT ON %s FOR EACH ROW'),
		('filter_row', 'zz_quota_row_report', 'BEFORE INSERT ON %s FOR EACH ROW'),
		('filter_row', 'zz_quota_row_report', 'AFTER INSERT ON %s FOR EACH ROW'),
		('filter_row', 'zz_quota_row_report', 'BEFORE INSERT ON %s FOR EACH STATEMENT'),
		('truncate_rows', 'quota_truncate_storage', 'BEFORE TRUNCATE ON %s FOR EACH STATEMENT'),
		('truncate_rows', 'quota_truncate_storage', 'AFTER INSERT ON %s FOR EACH STATEMENT'),
		('charge_rows', 'quota_delete_storage', 'AFTER DELETE ON %s REFERENCING OLD TABLE AS quota_old_rows FOR EACH STATEMENT')) v (function, name, kind),
	(SELECT arguments FROM ours UNION ALL SELECT * FROM unnest(ARRAY['', '''''', '''0''', '''-1''', '''99999999999999999999''', '''1x''', '''1'', ''2''',
		'''report'', ''a'', ''b'', ''skip'', ''c'', ''x'', ''c'', '''', ''true'', ''a'', ''true''',
		'''report'', ''account'', '''', ''skip'', '''', '''', '''', '''', '''', '''', '''''])) a (arguments);
SELECT is(try('twin', name, kind, function, arguments), '39P01', concat_ws(' ', 'a table of the same columns:', function, arguments))
FROM ours, LATERAL (VALUES ('charge_rows', 'quota_charge_' || feature, 'AFTER INSERT ON %s REFERENCING NEW TABLE AS quota_rows FOR EACH STATEMENT'),
		('begin_filter', 'quota_begin_' || feature, 'BEFORE INSERT ON %s FOR EACH STATEMENT'),
		('filter_row', 'zz_quota_row_' || feature, 'BEFORE INSERT ON %s FOR EACH ROW')) v (function, name, kind);
ALTER TABLE real DISABLE TRIGGER USER;
SELECT is(try('real', name, kind, function, arguments), '39P01', concat_ws(' ', 'on the table itself:', name, arguments))
FROM ours, (VALUES ('charge_rows', 'quota_charge_other', 'AFTER INSERT ON %s REFERENCING NEW TABLE AS quota_rows FOR EACH STATEMENT'),
		('charge_rows', 'mine', 'AFTER INSERT ON %s REFERENCING NEW TABLE AS quota_rows FOR EACH STATEMENT'),
		('begin_filter', 'a_quota_begin_report', 'BEFORE INSERT ON %s FOR EACH STATEMENT'),
		('filter_row', 'a_quota_filter_report', 'BEFORE INSERT ON %s FOR EACH ROW')) v (function, name, kind);
SELECT is_empty('SELECT * FROM quota.usage WHERE used > 0', 'nothing was charged');
ALTER TABLE real ENABLE TRIGGER USER;

/* What its owner can do to the table: an error or a charge, never a free row. */
SELECT lives_ok($$INSERT INTO real (id, account) VALUES (1, 'a')$$, 'as it is');
ALTER TRIGGER quota_charge_storage ON real RENAME TO quota_charge_other;
SELECT is(error_of($$INSERT INTO real (id, account) VALUES (2, 'a')$$)->>'state', '39P01', 'a trigger that was renamed');
ALTER TRIGGER quota_charge_other ON real RENAME TO quota_charge_storage;
ALTER TABLE real RENAME TO away;
ALTER TABLE twin RENAME TO real;
INSERT INTO real (id, account) VALUES (3, 'a');
INSERT INTO away (id, account) VALUES (3, 'a');
SELECT is((SELECT used FROM quota.usage WHERE feature = 'storage'), 2::bigint, 'tables that change their names: the one that was attached');
ALTER TABLE real RENAME TO twin;
ALTER TABLE away RENAME TO real;
ALTER TABLE real RENAME account TO who;
ALTER TABLE real RENAME n TO account;
ALTER TABLE real RENAME who TO n;
INSERT INTO real (id, n, account) VALUES (4, 'a', 5);
SELECT is((SELECT used FROM quota.usage WHERE feature = 'storage'), 7::bigint, 'columns that change their names');
SAVEPOINT s;
SELECT is(error_of(format('ALTER TABLE real %s', change)), NULL, change) FROM unnest('{ALTER account TYPE text,DROP account}'::text[]) change;
SELECT is(error_of($$INSERT INTO real (id, n) VALUES (5, 'a')$$)->>'state', '42703', 'an amount that is gone');
ROLLBACK TO s;
ALTER TABLE real ALTER account TYPE text;
SELECT is(error_of($$INSERT INTO real (id, n) VALUES (5, 'a')$$)->>'state', '42804', 'an amount of another type');
ROLLBACK TO s;
ALTER TABLE real ALTER n DROP DEFAULT, ALTER n TYPE point USING NULL;
SELECT is(error_of($$INSERT INTO real (id, n) VALUES (5, '(1,2)')$$)->>'state', '42804', 'an account of another type');
ROLLBACK TO s;
ALTER TABLE real ALTER status TYPE int USING NULL;
SELECT is(error_of($$INSERT INTO real (id, n) VALUES (5, 'a')$$)->>'state', '22P02', 'a status of another type');
ROLLBACK TO s;
ALTER TABLE real DROP account, ADD account int GENERATED ALWAYS AS (id * 2) STORED;
INSERT INTO real (id, n) VALUES (5, 'a');
SELECT is((SELECT used FROM quota.usage WHERE feature = 'storage'), 17::bigint, 'an amount that is generated');

/* The trigger functions of the extension's own tables, by the hand of a superuser. */
CREATE TABLE tg (a int DEFAULT 1, b text);
SELECT is(try('tg', 'mine', kind || ' ON %s FOR EACH ' || what, function, ''), '39P01', concat_ws(' ', function, kind, what))
FROM (VALUES ('entitlement_changed', 'AFTER INSERT', 'ROW'), ('entitlement_changed', 'AFTER INSERT', 'STATEMENT'),
	('catalog_changed', 'AFTER INSERT', 'ROW'), ('levels_changed', 'AFTER INSERT', 'ROW'),
	('check_account', 'BEFORE INSERT', 'ROW')) v (function, kind, what);

SELECT * FROM finish();
ROLLBACK;
