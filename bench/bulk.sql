-- Tables for many rows at once, by what the trigger does on a denial. Without an
-- index, whose upkeep would hide what the trigger costs, but for those with keys,
-- which are as a product has them.
CREATE TABLE app.bulk_plain (
	id bigint GENERATED ALWAYS AS IDENTITY,
	account_id text COLLATE "C" NOT NULL,
	title text NOT NULL DEFAULT 'Market analysis',
	status text NOT NULL DEFAULT 'processing',
	generated_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE app.bulk_raise (LIKE app.bulk_plain INCLUDING ALL);
CREATE TABLE app.keyed_plain (LIKE app.bulk_plain INCLUDING ALL, PRIMARY KEY (id), FOREIGN KEY (account_id) REFERENCES app.accounts);
CREATE INDEX ON app.keyed_plain (account_id, generated_at);
CREATE TABLE app.keyed_raise (LIKE app.keyed_plain INCLUDING ALL, FOREIGN KEY (account_id) REFERENCES app.accounts);
CREATE TABLE app.bulk_skip (LIKE app.bulk_plain INCLUDING ALL);
CREATE TABLE app.bulk_mark (LIKE app.bulk_plain INCLUDING ALL);
CREATE TABLE app.bulk_gauge (LIKE app.bulk_plain INCLUDING ALL);
CREATE TABLE app.bulk_counted (LIKE app.bulk_plain INCLUDING ALL, PRIMARY KEY (id));
CREATE TABLE app.bulk_keyed (LIKE app.bulk_plain INCLUDING ALL, PRIMARY KEY (id));
SELECT quota_attach('app.bulk_gauge', 'storage', 'account_id', 'octet_length(title)');
SELECT quota_attach('app.bulk_counted', 'report', 'account_id', counted_when => 'status <> ''failed''');
SELECT quota_attach('app.bulk_raise', 'report', 'account_id');
SELECT quota_attach('app.keyed_raise', 'report', 'account_id');
SELECT quota_attach('app.bulk_skip', 'report', 'account_id', on_block => 'skip');
SELECT quota_attach('app.bulk_mark', 'report', 'account_id', on_block => 'mark',
	status_column => 'status', blocked_status => 'skipped_limit');
