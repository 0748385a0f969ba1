-- Charges write tables without firing row triggers. Where somebody has one on such
-- a table, a charge is refused, and nothing has been written.
BEGIN;
\ir _helpers.sql
SELECT no_plan();

-- which the extension refuses as well, where it can
DO $$
DECLARE
	name text;
BEGIN
	FOR name IN SELECT evtname FROM pg_event_trigger LOOP
		EXECUTE format('ALTER EVENT TRIGGER %I DISABLE', name);
	END LOOP;
END $$;

SELECT lives_ok($$SELECT quota_apply('{
	"features": {"report": {"kind": "counter", "ledger": true}, "token": {"kind": "counter"}},
	"plans": {"free": {"default": true, "limits": {"report": {"month": {"limit": 10}}, "token": {"month": {"limit": 10}}}}}}')$$,
	'a catalogue');
SELECT quota_consume('a', 'report', 1);
SELECT quota_reserve('a', 'token', 1, '1 hour', 'r');

CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN COALESCE(NEW, OLD); END';

CREATE FUNCTION refused(tab text, definition text, charge text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	before numeric := (SELECT sum(used) FROM quota.usage);
BEGIN
	EXECUTE format('CREATE TRIGGER added %s ON quota.%s FOR EACH ROW EXECUTE FUNCTION note()', definition, tab);
	RETURN NEXT throws_ok(charge, '55000', NULL, format('%s: a trigger %s', tab, definition));
	RETURN NEXT is((SELECT sum(used) FROM quota.usage), before, 'nothing has been charged');
	EXECUTE format('ALTER TABLE quota.%s DISABLE TRIGGER added', tab);
	RETURN NEXT lives_ok(charge, format('%s: one that is disabled', tab));
	EXECUTE format('DROP TRIGGER added ON quota.%s', tab);
END $$;

SELECT refused('usage', 'AFTER UPDATE', $$SELECT quota_consume('a', 'token', 1)$$);
SELECT refused('usage', 'BEFORE INSERT', $$SELECT quota_consume('a', 'token', 1)$$);
SELECT refused('usage', 'AFTER DELETE', $$SELECT quota_consume('a', 'token', 1)$$);
SELECT refused('keys', 'AFTER INSERT', $$SELECT quota_consume('a', 'token', 1, clock_timestamp()::text)$$);
SELECT refused('reservations', 'BEFORE INSERT', $$SELECT quota_reserve('a', 'token', 1)$$);
SELECT refused('holds', 'AFTER INSERT OR DELETE', $$SELECT quota_reserve('a', 'token', 1)$$);
SELECT refused('reservations', 'AFTER DELETE', $$SELECT quota_release(max(id)) FROM quota.reservations$$);
SELECT refused('events', 'AFTER INSERT', $$SELECT quota_consume('a', 'report', 1)$$);

CREATE TRIGGER added AFTER UPDATE ON quota.usage FOR EACH ROW EXECUTE FUNCTION note();
SELECT throws_ok($$SELECT quota_consume('a', 'token', 1)$$, '55000', 'table quota.usage has a row trigger, "added"', 'the message');
SELECT lives_ok($$SELECT quota_evaluate('a', 'token', 1)$$, 'to look is allowed');
DROP TRIGGER added ON quota.usage;

CREATE TRIGGER added AFTER UPDATE ON quota.usage FOR EACH STATEMENT EXECUTE FUNCTION note();
SELECT lives_ok($$SELECT quota_consume('a', 'token', 1)$$, 'a statement trigger is none');

SELECT * FROM finish();
ROLLBACK;
