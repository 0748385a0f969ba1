/*
 * What would miss charges is refused when it is made: pg_repack's trigger, row
 * triggers, rules and foreign keys on the tables that charges write.
 */
BEGIN;
SELECT no_plan();
\ir ../pgtap/_helpers.sql
SET LOCAL quota.now = '2026-03-10 12:00+00';
SELECT quota_apply('{"features": {"report": {"kind": "counter", "ledger": true}}, "plans": {"free": {"default": true, "limits": {"report": {"month": {"limit": null}}}}}}') \g /dev/null
SELECT quota_maintain() \g /dev/null
CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TABLE mine (id bigint PRIMARY KEY, at timestamptz);

SELECT is(error_of(format(statement, t)) - '{message,detail}'::text[], '{"state": "55000", "hint": "To compact the table use VACUUM FULL or CLUSTER, for its indexes REINDEX CONCURRENTLY; to follow it, logical decoding."}'::jsonb,
	format(statement, t))
FROM unnest('{usage,keys,reservations,holds,events,alerts,events_default,events_2026_03}'::text[]) t, unnest(ARRAY[
	'CREATE TRIGGER repack_trigger AFTER INSERT OR DELETE OR UPDATE ON quota.%s FOR EACH ROW EXECUTE FUNCTION noted()',
	'CREATE CONSTRAINT TRIGGER late AFTER INSERT ON quota.%s DEFERRABLE FOR EACH ROW EXECUTE FUNCTION noted()',
	'CREATE RULE noted AS ON INSERT TO quota.%s DO ALSO NOTIFY noted']) statement
WHERE NOT (t = 'events' AND statement LIKE 'CREATE CONSTRAINT%');
SELECT is(error_of(statement)->>'state', '55000', statement)
FROM unnest(ARRAY[
	'ALTER TABLE mine ADD reservation bigint REFERENCES quota.reservations',
	'CREATE TABLE others (reservation bigint REFERENCES quota.reservations)',
	'ALTER TABLE quota.usage ADD FOREIGN KEY (feature) REFERENCES quota.features',
	'CREATE SCHEMA others CREATE TABLE others (alert bigint REFERENCES quota.alerts)']) statement;
SELECT is(error_of('CREATE TRIGGER t AFTER UPDATE ON quota.usage FOR EACH ROW EXECUTE FUNCTION noted()'),
	'{"state": "55000", "message": "row trigger \"t\" on table quota.usage would miss what is charged", "detail": "Charges are written past triggers, rules and foreign keys.",
	"hint": "To compact the table use VACUUM FULL or CLUSTER, for its indexes REINDEX CONCURRENTLY; to follow it, logical decoding."}'::jsonb, 'what the error says');
SELECT is(error_of('CREATE TABLE others (reservation bigint CONSTRAINT r REFERENCES quota.reservations)')->>'message', 'foreign key "r" on table quota.reservations would miss what is charged', 'of a foreign key');

/* One that is there all the same, and is made to fire. */
ALTER EVENT TRIGGER quota_refuse_row_triggers DISABLE;
CREATE TRIGGER t AFTER UPDATE ON quota.usage FOR EACH ROW EXECUTE FUNCTION noted();
ALTER EVENT TRIGGER quota_refuse_row_triggers ENABLE ALWAYS;
SELECT lives_ok('CREATE TABLE elsewhere (x int); ALTER TABLE elsewhere ADD y int', 'other tables are made as ever');
SELECT lives_ok('ALTER TABLE quota.usage DISABLE TRIGGER t', 'it can be disabled');
SELECT is(error_of('ALTER TABLE quota.usage ' || e || ' TRIGGER t')->>'state', '55000', 'but not ' || e) FROM unnest('{ENABLE,ENABLE ALWAYS,ENABLE REPLICA}'::text[]) e;
DROP TRIGGER t ON quota.usage;

/* A partition of the ledger that brings its own. */
CREATE TABLE quota_month (LIKE quota.events_default INCLUDING ALL);
CREATE TRIGGER t AFTER INSERT ON quota_month FOR EACH ROW EXECUTE FUNCTION noted();
SELECT is(error_of('ALTER TABLE quota.events ATTACH PARTITION quota_month FOR VALUES FROM (''2030-01-01'') TO (''2030-02-01'')')->>'state', '55000', 'a partition with a trigger');
DROP TRIGGER t ON quota_month;
SELECT lives_ok('ALTER TABLE quota.events ATTACH PARTITION quota_month FOR VALUES FROM (''2030-01-01'') TO (''2030-02-01'')', 'a partition without');

/* What does work. */
SELECT lives_ok(statement, statement)
FROM unnest(ARRAY['CREATE TRIGGER s AFTER INSERT ON quota.usage FOR EACH STATEMENT EXECUTE FUNCTION noted()', 'CREATE TRIGGER t AFTER INSERT ON mine FOR EACH ROW EXECUTE FUNCTION noted()',
	'CREATE TRIGGER t AFTER UPDATE ON quota.accounts FOR EACH ROW EXECUTE FUNCTION noted()', 'CREATE RULE r AS ON INSERT TO mine DO ALSO NOTIFY noted',
	'ALTER TABLE quota.usage SET (fillfactor = 60)', 'CREATE INDEX ON quota.usage (period_start)', 'CLUSTER quota.usage USING usage_pkey', 'REINDEX TABLE quota.usage',
	'CREATE TABLE quota.events_2031_01 PARTITION OF quota.events FOR VALUES FROM (''2031-01-01'') TO (''2031-02-01'')']) statement;
CREATE ROLE quota_test_nobody;
GRANT CREATE ON SCHEMA public TO quota_test_nobody;
SELECT is(try_as('quota_test_nobody', 'CREATE TABLE public.theirs (x int); ALTER TABLE public.theirs ADD y int'), 'ok', 'whoever makes a table needs no right on schema quota');

SELECT * FROM finish();
ROLLBACK;
