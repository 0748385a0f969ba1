/*
 * Idempotency keys with their remembered answers, and reservations. C reads and
 * writes them (src/tables/keys.c, src/tables/reservations.c); calls that neither
 * reserve nor give a key do not touch them.
 */
CREATE TABLE quota.keys (
	account text COLLATE "C" NOT NULL
		CHECK (account <> '' AND octet_length(account) <= 255),
	key text COLLATE "C" NOT NULL
		CHECK (key <> '' AND octet_length(key) <= 255),
	function text NOT NULL CHECK (function IN ('quota_consume', 'quota_enforce', 'quota_record', 'quota_reserve')),
	feature text COLLATE "C" NOT NULL,
	n bigint NOT NULL CHECK (n > 0),
	reservation bigint,
	decision @extschema@.quota_decision NOT NULL,
	at timestamptz NOT NULL,
	PRIMARY KEY (account, key)
) USING heap;
/* rows are inserted and deleted in the order of time */
CREATE INDEX keys_at ON quota.keys USING brin (at);
COMMENT ON TABLE quota.keys IS 'calls with an idempotency key: the arguments, and the answer that is returned again for the same key';
COMMENT ON COLUMN quota.keys.reservation IS 'for quota_reserve the id that it returned; NULL: denied';
COMMENT ON COLUMN quota.keys.at IS 'time of the first call; quota_maintain deletes by it';

CREATE SEQUENCE quota.reservations_id_seq;

CREATE TABLE quota.reservations (
	id bigint PRIMARY KEY DEFAULT nextval('quota.reservations_id_seq'),
	account text COLLATE "C" NOT NULL
		CHECK (account <> '' AND octet_length(account) <= 255),
	feature text COLLATE "C" NOT NULL,
	amount bigint NOT NULL CHECK (amount > 0),
	counters smallint NOT NULL CHECK (counters >= 0),
	reserved_at timestamptz NOT NULL,
	expires_at timestamptz NOT NULL
) USING heap;
ALTER SEQUENCE quota.reservations_id_seq OWNED BY quota.reservations.id;
COMMENT ON TABLE quota.reservations IS 'open reservations, and for a while expired ones';
COMMENT ON COLUMN quota.reservations.account IS 'the account that reserved';
COMMENT ON COLUMN quota.reservations.counters IS 'number of counters charged, each with a row in quota.holds';

/*
 * The key orders the holds of a counter by expiry, so that a charge reads the expired
 * ones only.
 */
CREATE TABLE quota.holds (
	account text COLLATE "C" NOT NULL
		CHECK (account <> '' AND octet_length(account) <= 255),
	feature text COLLATE "C" NOT NULL
		CHECK (feature <> '' AND octet_length(feature) <= 48),
	period @extschema@.quota_period NOT NULL,
	period_start timestamptz NOT NULL,
	expires_at timestamptz NOT NULL,
	reservation bigint NOT NULL,
	amount bigint NOT NULL CHECK (amount > 0),
	PRIMARY KEY (account, feature, period, period_start, expires_at, reservation),
	/* as in quota.usage */
	CHECK (CASE period WHEN 'lifetime' THEN period_start = '-infinity'
		ELSE period_start >= '4700-01-01 00:00+00 BC' AND period_start < '294000-01-01 00:00+00' END)
) USING heap;
CREATE INDEX holds_reservation ON quota.holds (reservation);
COMMENT ON TABLE quota.holds IS 'use of a counter that a reservation holds, a row a reservation and counter';
COMMENT ON COLUMN quota.holds.account IS 'the account of the counter';
COMMENT ON COLUMN quota.holds.expires_at IS 'from then on the hold does not count as used, even if the counter has not been written yet';
