-- A feature with a ledger, whose counters all have their rows, and the months of
-- the ledger.
INSERT INTO quota.features (feature, kind, ledger) VALUES ('audited', 'counter', true);
INSERT INTO quota.plan_limits (plan, feature, period, usage_limit) VALUES ('pro', 'audited', 'month', 1000000000);
SELECT quota_maintain();
SELECT count(quota_consume(account, 'audited')) FROM quota.accounts;

-- What the application would have made itself: the same table with the same
-- partitions and indexes.
INSERT INTO app.counter SELECT used, period_start, period, account, feature FROM quota.usage WHERE feature = 'audited';
CREATE TABLE app.events (LIKE quota.events) PARTITION BY RANGE (at);
CREATE SEQUENCE app.events_id OWNED BY app.events.id;
ALTER TABLE app.events ALTER id SET DEFAULT nextval('app.events_id');
SELECT format('CREATE TABLE app.%1$I (LIKE quota.%1$I INCLUDING ALL)', relname),
	format('ALTER TABLE app.%1$I ALTER id SET DEFAULT nextval(''app.events_id'')', relname),
	format('ALTER TABLE app.events ATTACH PARTITION app.%I %s', relname, pg_get_expr(relpartbound, oid))
FROM pg_inherits JOIN pg_class ON oid = inhrelid WHERE inhparent = 'quota.events'::regclass \gexec
INSERT INTO app.events SELECT * FROM quota.events;
SELECT setval('app.events_id', (SELECT max(id) FROM quota.events));

VACUUM (FREEZE, ANALYZE);
