/*
 * What is attached. A trigger has the number of its attachment as its only
 * argument; all else stands here, where only the extension's owner writes.
 * Columns are named, so that dump and restore keep them, and renamed with the
 * table's. Expressions are functions of schema quota whose names have the number,
 * and whose parameters are the columns that they read.
 */
CREATE TABLE quota.attached (
	id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	relation regclass NOT NULL,
	feature text COLLATE "C" NOT NULL,
	account_column text NOT NULL,
	amount_column text,
	on_block text NOT NULL CHECK (on_block IN ('raise', 'skip', 'mark')),
	status_column text,
	blocked_status text,
	message_column text,
	time_column text,
	amount_reads text[],
	counted_when_reads text[],
	mark_when_reads text[],
	follows_rows boolean NOT NULL,
	UNIQUE (relation, feature),
	CHECK (on_block <> 'mark' OR (status_column IS NOT NULL AND blocked_status IS NOT NULL))
);
COMMENT ON TABLE quota.attached IS 'the features that are attached to tables, which the triggers refer to by number';
COMMENT ON COLUMN quota.attached.id IS 'the argument of the triggers';
COMMENT ON COLUMN quota.attached.amount_reads IS 'columns that function quota.attached_ID_amount has as parameters, which tells the units of a row; NULL: there is none';
COMMENT ON COLUMN quota.attached.counted_when_reads IS 'the same of quota.attached_ID_counted_when, which tells whether a row is counted';
COMMENT ON COLUMN quota.attached.mark_when_reads IS 'the same of quota.attached_ID_mark_when, which tells whether a row is marked';
COMMENT ON COLUMN quota.attached.follows_rows IS 'UPDATE, DELETE and TRUNCATE have triggers as well';
/* a temporary table is nowhere when the dump is restored */
SELECT pg_extension_config_dump('quota.attached',
	'WHERE EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) relation::pg_catalog.oid AND c.relpersistence OPERATOR(pg_catalog.<>) ''t'')');

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
COMMENT ON COLUMN quota.charged_rows.row_key IS 'the primary key as a JSON array of text';
COMMENT ON COLUMN quota.charged_rows.charged_at IS 'a refund goes to the windows that hold it';
SELECT pg_extension_config_dump('quota.charged_rows',
	'WHERE EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) relation::pg_catalog.oid AND c.relpersistence OPERATOR(pg_catalog.<>) ''t'')');
