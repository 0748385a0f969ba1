/*
 * The ledger: a row for each charge, refund and denial of features with `ledger`.
 * Only C writes it, straight into a partition (src/tables/ledger.c), and nobody has
 * the right to change a row. It is partitioned by month, so that old months are
 * dropped. quota_maintain makes the partitions; until then rows go into the default
 * one.
 *
 * Each partition has the indexes, and the whole has none: pg_dump writes partitions
 * as tables, which are attached before their indexes are restored. An index of the
 * whole would have created those already, and the restore would fail.
 */
CREATE SEQUENCE quota.events_id_seq;
CREATE TABLE quota.events (
	id bigint NOT NULL,
	at timestamptz NOT NULL,
	account text COLLATE "C" NOT NULL,
	user_id text COLLATE "C",
	feature text COLLATE "C" NOT NULL,
	plan text COLLATE "C",
	what text COLLATE "C" NOT NULL,
	kind text COLLATE "C" NOT NULL,
	amount bigint NOT NULL,
	decision @extschema@.quota_verdict NOT NULL,
	reason text COLLATE "C" NOT NULL,
	used bigint NOT NULL,
	usage_limit bigint,
	period @extschema@.quota_period,
	period_start timestamptz,
	key text COLLATE "C",
	metadata jsonb
) PARTITION BY RANGE (at);
ALTER SEQUENCE quota.events_id_seq OWNED BY quota.events.id;
CREATE TABLE quota.events_default PARTITION OF quota.events (PRIMARY KEY (account, at, id)) DEFAULT;
CREATE INDEX events_default_user ON quota.events_default (user_id, at) WHERE user_id IS NOT NULL;
CREATE INDEX events_default_kind ON quota.events_default (kind, at);
COMMENT ON TABLE quota.events IS 'the ledger: a row for each charge, refund and denial of features with ledger';
COMMENT ON TABLE quota.events_default IS 'events of months without a partition yet';
COMMENT ON COLUMN quota.events.at IS 'time of the decision: start of the transaction, or setting quota.now';
COMMENT ON COLUMN quota.events.user_id IS 'quota.user_id()';
COMMENT ON COLUMN quota.events.plan IS 'the plan in effect; NULL: none';
COMMENT ON COLUMN quota.events.what IS 'what was called: consume, enforce, record, refund, trigger, ...';
COMMENT ON COLUMN quota.events.kind IS
	'of a denial quota_exceeded, feature_not_in_plan or account_suspended; else kind of the metadata, or what';
COMMENT ON COLUMN quota.events.amount IS 'units charged, negative if refunded; of a denial: asked for';
COMMENT ON COLUMN quota.events.used IS 'use in the window of the decision, after the charge';
COMMENT ON COLUMN quota.events.usage_limit IS 'of that window; NULL: unlimited';
COMMENT ON COLUMN quota.events.period_start IS 'as in quota.usage: -infinity for lifetime';
COMMENT ON COLUMN quota.events.metadata IS 'as given by the caller';

/*
 * Thresholds that counters have reached. Only C writes it.
 */
CREATE TABLE quota.alerts (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	at timestamptz NOT NULL,
	account text COLLATE "C" NOT NULL,
	feature text COLLATE "C" NOT NULL,
	plan text COLLATE "C",
	period @extschema@.quota_period NOT NULL,
	period_start timestamptz NOT NULL,
	threshold text NOT NULL CHECK (threshold IN ('warn', 'limit')),
	used bigint NOT NULL,
	usage_limit bigint NOT NULL
);
CREATE INDEX alerts_account ON quota.alerts (account, at);
COMMENT ON TABLE quota.alerts IS 'thresholds that counters have reached, each once a window';
COMMENT ON COLUMN quota.alerts.at IS 'time of the decision';
COMMENT ON COLUMN quota.alerts.period_start IS 'as in quota.usage: -infinity for lifetime';
COMMENT ON COLUMN quota.alerts.threshold IS 'warn: warn_ratio of the limit; limit: the limit itself';
COMMENT ON COLUMN quota.alerts.used IS 'use after the charge that reached it';
