/*
 * What is remembered of calls: the answers to calls with a key, and what
 * reservations hold. C reads and writes these rows (src/tables/keys.c, src/tables/reservations.c); one that
 * neither reserves nor gives a key touches none of them.
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
/* rows come in the order of time, and go by it */
CREATE INDEX keys_at ON quota.keys USING brin (at);
COMMENT ON TABLE quota.keys IS 'a row a call with a key: what it asked for, and the answer, which further calls with that key get';
COMMENT ON COLUMN quota.keys.reservation IS 'of quota_reserve: what it returned; NULL: a denial';
COMMENT ON COLUMN quota.keys.at IS 'when the first call was made; quota_maintain goes by it';

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
COMMENT ON TABLE quota.reservations IS 'reservations that have not been settled, and for a while those that have expired';
COMMENT ON COLUMN quota.reservations.account IS 'which reserved';
COMMENT ON COLUMN quota.reservations.counters IS 'how many counters it was charged to: as many rows it had in quota.holds';

/*
 * By counter, and of a counter those first that expire first: a charge that
 * looks for what has expired reads nothing else.
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
COMMENT ON TABLE quota.holds IS 'a row a reservation and counter: what of the counter''s use is only held';
COMMENT ON COLUMN quota.holds.account IS 'whose counter it is';
COMMENT ON COLUMN quota.holds.expires_at IS 'from then on it is not used any more, whether or not the counter has been written';
