/*
 * Code of a table's owner must not run as the extension's owner: not by a name
 * that shadows the transition table, nor by what belongs to a column.
 */
SELECT no_plan();
BEGIN;
\ir ../pgtap/_helpers.sql
CREATE FUNCTION level_of(role text, level text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM quota_grant(role, level);
END $$;
SELECT quota_apply('{"features": {"report": {"kind": "counter"}}, "plans": {"free": {"default": true}}}') \g /dev/null
CREATE ROLE quota_test_mallory;
CREATE SCHEMA mallory AUTHORIZATION quota_test_mallory;
GRANT CREATE ON SCHEMA public TO quota_test_mallory;
SELECT level_of('quota_test_mallory', 'admin') \g /dev/null
CREATE TABLE loot (who text, how text);
GRANT INSERT ON loot TO PUBLIC;
CREATE FUNCTION tries(statements text[]) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(try_as('quota_test_mallory', s), ' ' ORDER BY n) FROM unnest(statements) WITH ORDINALITY u (s, n)
$$;

/* The attacker's code notes as whom it runs. */
SELECT tries(ARRAY[
	$$CREATE FUNCTION mallory.evil(how text) RETURNS text LANGUAGE plpgsql AS 'BEGIN INSERT INTO public.loot VALUES (current_user, how); RETURN ''stolen''; END'$$,
	$$CREATE TEMP TABLE own (id text)$$,
	$$CREATE TEMP VIEW quota_rows AS SELECT mallory.evil('view') AS id$$,
	$$CREATE TABLE mallory.customers (id text PRIMARY KEY)$$,
	$$SELECT quota_adopt('mallory.customers', 'id')$$]) \g /dev/null

/* A trigger by hand, on a table of one's own or in place of one that was made, whatever it looks like. */
CREATE FUNCTION plant(on_table text, definition text, change text) RETURNS text LANGUAGE sql AS $$
	SELECT tries(ARRAY[format('CREATE TRIGGER %s EXECUTE FUNCTION quota.follow_accounts(%s)', format(definition, on_table), arguments), change])
	FROM unnest(ARRAY['''id'', '''', '''', '''', '''', ''''', '''1''', '1', '''0''', '']) arguments
$$;
SELECT plant(t, d, c)
FROM (VALUES ('pg_temp.own'), ('mallory.customers')) tables (t),
	(VALUES
		('by_hand_%% AFTER INSERT ON %s FOR EACH STATEMENT', 'INSERT INTO %s VALUES (''k'')'),
		('quota_adopt_insert AFTER INSERT ON %s FOR EACH STATEMENT', 'INSERT INTO %s VALUES (''k'')'),
		('quota_adopt_delete AFTER DELETE ON %s FOR EACH STATEMENT', 'DELETE FROM %s')) definitions (definition, change),
	format(replace(definition, '%%', ''), t) d, format(change, t) c \g /dev/null
SELECT tries(ARRAY['DROP TRIGGER quota_adopt_insert ON mallory.customers',
	'CREATE TRIGGER quota_adopt_insert AFTER INSERT ON mallory.customers FOR EACH STATEMENT EXECUTE FUNCTION quota.follow_accounts(''1'')',
	'INSERT INTO mallory.customers VALUES (''k'')']) \g /dev/null
SELECT is_empty($$SELECT * FROM loot WHERE who <> 'quota_test_mallory'$$, 'a view that is called as the transition table runs as nobody else');
SELECT is_empty($$SELECT * FROM quota.accounts WHERE account = 'stolen'$$, 'and its rows are no accounts');

/* What belongs to the columns, when the superuser adopts the table, and when others write to it. */
DELETE FROM loot;
SELECT is(tries(ARRAY[
	$$CREATE FUNCTION mallory.fine(value text) RETURNS boolean LANGUAGE sql AS 'SELECT mallory.evil(''domain'') IS NOT NULL'$$,
	$$CREATE FUNCTION mallory.shown(value text) RETURNS boolean LANGUAGE sql AS 'SELECT mallory.evil(''policy'') IS NOT NULL'$$,
	$$CREATE DOMAIN mallory.key AS text CHECK (mallory.fine(value))$$,
	$$CREATE TYPE mallory.kind AS ENUM ('a', 'b')$$,
	$$CREATE FUNCTION mallory.kind_text(mallory.kind) RETURNS text LANGUAGE sql AS 'SELECT mallory.evil(''cast'')'$$,
	$$CREATE CAST (mallory.kind AS text) WITH FUNCTION mallory.kind_text(mallory.kind) AS ASSIGNMENT$$,
	$$CREATE FUNCTION mallory.same(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT mallory.evil(''operator'') IS NOT NULL'$$,
	$$CREATE OPERATOR mallory.= (LEFTARG = text, RIGHTARG = text, FUNCTION = mallory.same)$$,
	$$CREATE TABLE mallory.teams (id mallory.key PRIMARY KEY, name mallory.key, kind mallory.kind)$$,
	$$INSERT INTO mallory.teams VALUES ('t1', 'Team', 'a')$$,
	$$ALTER TABLE mallory.teams ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY$$,
	$$CREATE POLICY shown ON mallory.teams USING (mallory.shown(id)) WITH CHECK (true)$$]),
	'ok ok ok ok ok ok ok ok ok ok ok ok', 'a table with code in every place');
SET LOCAL search_path = mallory, public;
SELECT quota_adopt('mallory.teams', 'id', 'name', type_column => 'kind') \g /dev/null
SELECT results_eq($$SELECT name, account_type FROM quota.accounts WHERE account = 't1'$$, $$VALUES ('Team', 'a')$$, 'the superuser adopts it');
SELECT is_empty($$SELECT * FROM loot WHERE who <> 'quota_test_mallory'$$, 'without running any of it');
RESET search_path;
SELECT is(tries(ARRAY['SET LOCAL search_path = mallory, public', $$INSERT INTO mallory.teams VALUES ('t2', 'Two', 'b')$$, $$UPDATE mallory.teams SET id = 't3', kind = 'a' WHERE id = 't2'$$,
	$$DELETE FROM mallory.teams WHERE id = 't1'$$, 'TRUNCATE mallory.teams']), 'ok ok ok ok ok', 'its owner changes it');
SELECT is_empty($$SELECT FROM quota.accounts WHERE account LIKE 't_'$$, 'which is followed');
SELECT is_empty($$SELECT * FROM loot WHERE who <> 'quota_test_mallory'$$, 'and the code has run as its owner alone');

SELECT * FROM finish();
ROLLBACK;
