/*
 * Attachments. A trigger has the number of its attachment as its only argument; all
 * else is here, where only the extension's owner writes. Columns are stored by name,
 * so that dump and restore keep them, and renamed with the table's. Expressions are
 * functions of schema quota, named by the number, whose parameters are the columns
 * that they read.
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
COMMENT ON TABLE quota.attached IS 'features that are attached to tables; triggers refer to them by number';
COMMENT ON COLUMN quota.attached.id IS 'the argument of the triggers';
COMMENT ON COLUMN quota.attached.amount_reads IS 'parameters of function quota.attached_ID_amount, columns of the table, which returns the units of a row; NULL: no such function';
COMMENT ON COLUMN quota.attached.counted_when_reads IS 'the same for quota.attached_ID_counted_when, which returns whether a row is counted';
COMMENT ON COLUMN quota.attached.mark_when_reads IS 'the same for quota.attached_ID_mark_when, which returns whether a row is marked';
COMMENT ON COLUMN quota.attached.follows_rows IS 'UPDATE, DELETE and TRUNCATE have triggers too';
/* a temporary table is nowhere when the dump is restored */
SELECT pg_extension_config_dump('quota.attached',
	'WHERE EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) relation::pg_catalog.oid AND c.relpersistence OPERATOR(pg_catalog.<>) ''t'')');

/*
 * When rows of attached tables were charged, if their own time column does not say:
 * rows counted again in a later window, imported, or whose time was changed. Most
 * rows have no entry.
 */
CREATE TABLE quota.charged_rows (
	relation regclass NOT NULL,
	feature text COLLATE "C" NOT NULL,
	row_key text COLLATE "C" NOT NULL,
	charged_at timestamptz NOT NULL,
	PRIMARY KEY (relation, feature, row_key)
);
COMMENT ON TABLE quota.charged_rows IS 'when rows of attached tables were charged, if their time column does not say';
COMMENT ON COLUMN quota.charged_rows.relation IS 'the attached table; for a partition the topmost partitioned table';
COMMENT ON COLUMN quota.charged_rows.row_key IS 'the primary key as a JSON array of text';
COMMENT ON COLUMN quota.charged_rows.charged_at IS 'a refund goes to the windows that contain it';
SELECT pg_extension_config_dump('quota.charged_rows',
	'WHERE EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) relation::pg_catalog.oid AND c.relpersistence OPERATOR(pg_catalog.<>) ''t'')');
