/*
 * The counters: the only table that a plain charge writes. Columns of fixed width
 * come first, so that a charge finds them at fixed offsets; the fillfactor keeps room
 * on each page for HOT updates, so that the index never changes.
 */
CREATE TABLE quota.usage (
	used bigint NOT NULL CHECK (used >= 0 OR slot > 0 OR slots <> 1),
	period_start timestamptz NOT NULL,
	period @extschema@.quota_period NOT NULL,
	slot smallint NOT NULL DEFAULT 0 CHECK (slot >= 0),
	slots smallint NOT NULL DEFAULT 1 CHECK (abs(slots) BETWEEN 1 AND 32),
	holds integer NOT NULL DEFAULT 0,
	alerted smallint NOT NULL DEFAULT 0 CHECK (alerted >= 0),
	account text COLLATE "C" NOT NULL
		CHECK (account <> '' AND octet_length(account) <= 255),
	feature text COLLATE "C" NOT NULL
		CHECK (feature <> '' AND octet_length(feature) <= 48),
	PRIMARY KEY (account, feature, period, period_start, slot),
	/* the range in which windows can be computed, in any time zone */
	CHECK (CASE period WHEN 'lifetime' THEN period_start = '-infinity'
		ELSE period_start >= '4700-01-01 00:00+00 BC' AND period_start < '294000-01-01 00:00+00' END)
) USING heap WITH (
	fillfactor = 70,
	autovacuum_vacuum_scale_factor = 0.02,
	autovacuum_analyze_scale_factor = 0.1
);
COMMENT ON TABLE quota.usage IS 'a row a counter and window; a contended counter has a row for each slot, whose sum counts';
COMMENT ON COLUMN quota.usage.used IS 'units charged in the window, in this slot';
COMMENT ON COLUMN quota.usage.period_start IS 'start of the window; -infinity for lifetime';
COMMENT ON COLUMN quota.usage.slot IS '0, or the number of a further slot of a contended counter';
COMMENT ON COLUMN quota.usage.slots IS 'in slot 0: the number of slots, negative while they are merged';
COMMENT ON COLUMN quota.usage.holds IS 'open reservations in used; the sum over the slots counts';
COMMENT ON COLUMN quota.usage.alerted IS 'highest threshold with an alert: 0 none, 1 warn_ratio, 2 the limit; the highest of the slots counts';
