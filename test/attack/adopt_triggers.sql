/*
 * The trigger function of adopted tables believes no trigger that quota_adopt did
 * not make; quota_adopt and quota_unadopt are for those who manage and own the table.
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
CREATE ROLE quota_test_app;
GRANT CREATE ON SCHEMA public TO quota_test_mallory, quota_test_app;
SELECT level_of('quota_test_mallory', 'admin'), level_of('quota_test_app', 'app') \g /dev/null
CREATE TABLE teams (id text PRIMARY KEY, name text);
INSERT INTO teams VALUES ('t', 'Team');
SELECT quota_adopt('teams', 'id', 'name') \g /dev/null
SELECT is(try_as('quota_test_mallory', $$CREATE TABLE own (id text PRIMARY KEY, name text, n int)$$), 'ok', 'a table of one''s own');

/* Each in its savepoint: the trigger cannot be made, or does nothing but fail. */
CREATE FUNCTION believed(definition text, arguments text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
	got text := 'ok';
BEGIN
	BEGIN
		IF try_as('quota_test_mallory', format('CREATE TRIGGER %s EXECUTE FUNCTION quota.follow_accounts(%s)', definition, arguments)) = 'ok' THEN
			INSERT INTO own VALUES ('a', 'A', 1);
			UPDATE own SET id = 'b';
			DELETE FROM own;
			TRUNCATE own;
		ELSE
			got := '42501';
		END IF;
		RAISE EXCEPTION 'undo' USING ERRCODE = 'QT000';
	EXCEPTION
		WHEN SQLSTATE 'QT000' THEN NULL;
		WHEN OTHERS THEN got := SQLSTATE;
	END;
	RETURN got NOT IN ('42501', '39P01');
END $$;
SELECT ok(NOT believed(d, a), format('%s (%s)', d, a))
FROM unnest(ARRAY[
		'quota_adopt_insert AFTER INSERT ON own REFERENCING NEW TABLE AS quota_rows FOR EACH STATEMENT',
		'quota_adopt_delete AFTER DELETE ON own REFERENCING OLD TABLE AS quota_rows FOR EACH STATEMENT',
		'quota_adopt_truncate BEFORE TRUNCATE ON own FOR EACH STATEMENT',
		'quota_adopt_update AFTER UPDATE ON own FOR EACH ROW',
		'other AFTER INSERT ON own REFERENCING NEW TABLE AS r FOR EACH STATEMENT',
		'other BEFORE INSERT ON own FOR EACH ROW',
		'other AFTER UPDATE ON own FOR EACH ROW']) d,
	unnest(ARRAY['''id'', ''name'', '''', '''', '''', ''''', '''n'', '''', '''', '''', '''', ''''', '''1''', '''99999999999999999999''', '''-1''', '''1x''', '']) a;

/* Nor on the adopted table itself, but for those that are there. */
ALTER TABLE teams OWNER TO quota_test_mallory;
CREATE FUNCTION replaced(definition text, change text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	adoption text := (SELECT encode(tgargs, 'escape') FROM pg_trigger WHERE tgrelid = 'teams'::regclass AND tgname = 'quota_adopt_insert');
	got text;
BEGIN
	BEGIN
		EXECUTE 'DROP TRIGGER ' || split_part(definition, ' ', 1) || ' ON teams';
		EXECUTE format('CREATE TRIGGER %s EXECUTE FUNCTION quota.follow_accounts(%L)', definition, split_part(adoption, '\', 1));
		EXECUTE change;
		RAISE EXCEPTION 'undo' USING ERRCODE = 'QT000';
	EXCEPTION WHEN OTHERS THEN got := SQLSTATE;
	END;
	RETURN got;
END $$;
SELECT is(replaced(d, c), '39P01', d)
FROM (VALUES
	('quota_adopt_insert AFTER INSERT ON teams FOR EACH STATEMENT', $$INSERT INTO teams VALUES ('u')$$),
	('quota_adopt_insert BEFORE INSERT ON teams FOR EACH ROW', $$INSERT INTO teams VALUES ('u')$$),
	('quota_adopt_insert AFTER UPDATE ON teams FOR EACH ROW', $$UPDATE teams SET id = 'u'$$),
	('quota_adopt_update BEFORE UPDATE ON teams FOR EACH ROW', $$UPDATE teams SET id = 'u'$$),
	('quota_adopt_update AFTER UPDATE ON teams FOR EACH STATEMENT', $$UPDATE teams SET id = 'u'$$),
	('quota_adopt_delete AFTER DELETE ON teams REFERENCING OLD TABLE AS o FOR EACH ROW', 'DELETE FROM teams'),
	('quota_adopt_delete AFTER DELETE ON teams FOR EACH STATEMENT', 'DELETE FROM teams'),
	('quota_adopt_truncate AFTER TRUNCATE ON teams FOR EACH STATEMENT', 'TRUNCATE teams')) v (d, c);
SELECT throws_ok('ALTER TRIGGER quota_adopt_insert ON teams RENAME TO other; INSERT INTO teams VALUES (''u'')', '39P01', NULL, 'a trigger that was renamed');
SELECT lives_ok($$INSERT INTO teams VALUES ('u')$$, 'the triggers that are there work');

/* Called as what it is not. */
SELECT throws_ok('SELECT quota.follow_accounts()', '39P01', NULL, 'it is no function to call');
SELECT isnt(try_as('quota_test_mallory', 'SELECT * FROM quota.adopted_rows(1, false)'), 'ok', 'rows of the table are not shown to an admin');
SELECT isnt(try_as('quota_test_mallory', $$UPDATE quota.adopted SET key_column = 'name'$$) || (SELECT key_column FROM quota.adopted LIMIT 1), 'okname', 'nor is it theirs to say what is adopted');

/* Whose right it is to adopt. */
SELECT is(try_as('quota_test_app', 'CREATE TABLE apps (id text PRIMARY KEY)'), 'ok', 'a table of the app''s');
SELECT is(try_as('quota_test_app', $$SELECT quota_adopt('apps', 'id')$$), '42501', 'its owner does not manage');
SELECT is(try_as('quota_test_mallory', $$SELECT quota_adopt('apps', 'id')$$), '42501', 'who manages does not own it');
SELECT quota_adopt('apps', 'id') \g /dev/null
SELECT is(try_as('quota_test_mallory', $$SELECT quota_unadopt('apps')$$), '42501', 'nor may he let it go');
SELECT is(try_as('quota_test_app', $$SELECT quota_unadopt('apps')$$), '42501', 'nor may its owner');
SELECT is(try_as('quota_test_mallory', $$SELECT quota_adopt('quota.plans', 'plan')$$), '42501', 'nor is a table of quota his');
SELECT is(try_as('quota_test_mallory', $$SELECT quota_adopt('own', 'id')$$), 'ok', 'his own is');
SELECT is(try_as('quota_test_mallory', $$INSERT INTO own VALUES ('mine')$$), 'ok', 'and is followed');
SELECT is(try_as('quota_test_mallory', $$SELECT quota_unadopt('own')$$), 'ok', 'until he lets it go');
SELECT is((SELECT current_user), session_user, 'the user is who it was');
SELECT is(try_as('quota_test_mallory', $$SELECT quota_adopt('own', 'n')$$), '42P10', 'an error');
SELECT is((SELECT current_user), session_user, 'also after an error');

SELECT * FROM finish();
ROLLBACK;
