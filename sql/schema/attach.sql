/*
 * When rows of attached tables were charged whose own time does not tell: those
 * that were counted again in a later window, that were imported, or whose time
 * was changed. The usual row has no entry.
 */
CREATE TABLE quota.charged_rows (
	relation regclass NOT NULL,
	feature text COLLATE "C" NOT NULL,
	row_key text COLLATE "C" NOT NULL,
	charged_at timestamptz NOT NULL,
	PRIMARY KEY (relation, feature, row_key)
);
COMMENT ON TABLE quota.charged_rows IS 'when rows of attached tables were charged, where their time column does not tell';
COMMENT ON COLUMN quota.charged_rows.relation IS 'the attached table; of a partition the topmost partitioned table';
COMMENT ON COLUMN quota.charged_rows.row_key IS 'the primary key, as quota.row_key writes it';
COMMENT ON COLUMN quota.charged_rows.charged_at IS 'a refund goes to the windows that hold it';
SELECT pg_extension_config_dump('quota.charged_rows', '');
