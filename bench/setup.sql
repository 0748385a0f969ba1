-- What is measured. Variables: accounts, report_accounts.
CREATE EXTENSION quota;

SELECT quota_apply('{
	"features": {
		"report": {"kind": "counter", "unit": "report"},
		"export": {"kind": "counter", "unit": "export"}},
	"plans": {"pro": {"name": "Pro", "price": 10, "default": true, "limits": {
		"report": {"month": {"limit": 1000000000}},
		"export": {"month": {"limit": 100}}}}}}');

-- Keys of eleven digits: text, but pgbench can make no other text without help
-- of the server, which would cost both sides the same and hide the difference.
INSERT INTO quota.accounts (account, plan)
SELECT 10000000000 + i, 'pro' FROM generate_series(1, :accounts) i;

-- Every counter has its row; that of export is full.
SELECT count(quota_consume(account, 'report')) FROM quota.accounts;
SELECT count(quota_consume(account, 'export', 100)) FROM quota.accounts;

-- What the application would have made itself: tables of the same shape, with
-- the same settings and indexes, without the checks and triggers.
CREATE SCHEMA app;
CREATE TABLE app.accounts (LIKE quota.accounts INCLUDING DEFAULTS INCLUDING INDEXES);
CREATE TABLE app.plan_limits (LIKE quota.plan_limits INCLUDING DEFAULTS INCLUDING INDEXES);
CREATE TABLE app.counter (LIKE quota.usage INCLUDING DEFAULTS INCLUDING INDEXES);
SELECT format('ALTER TABLE app.counter SET (%s)', array_to_string(reloptions, ', '))
FROM pg_class WHERE oid = 'quota.usage'::regclass \gexec

INSERT INTO app.accounts SELECT * FROM quota.accounts;
INSERT INTO app.plan_limits SELECT * FROM quota.plan_limits;
INSERT INTO app.counter SELECT * FROM quota.usage;

CREATE TYPE app.decision AS (allowed boolean, used bigint, usage_limit bigint);

CREATE FUNCTION app.consume(p_account text, p_feature text, n bigint DEFAULT 1)
	RETURNS app.decision
	LANGUAGE plpgsql
AS $$
DECLARE
	month CONSTANT timestamptz := date_trunc('month', now());
	d app.decision;
BEGIN
	SELECT l.usage_limit INTO d.usage_limit
	FROM app.accounts a JOIN app.plan_limits l USING (plan)
	WHERE a.account = p_account AND l.feature = p_feature AND l.period = 'month';
	IF NOT FOUND THEN
		d.allowed := false;
		RETURN d;
	END IF;

	LOOP
		UPDATE app.counter SET used = used + n
		WHERE account = p_account AND feature = p_feature
			AND period = 'month' AND period_start = month
			AND used + n <= d.usage_limit
		RETURNING used INTO d.used;
		d.allowed := FOUND;
		EXIT WHEN FOUND;

		-- Either the limit is reached or this is the first of the month.
		INSERT INTO app.counter (account, feature, period, period_start, used)
		VALUES (p_account, p_feature, 'month', month, 0)
		ON CONFLICT DO NOTHING;
		CONTINUE WHEN FOUND;

		SELECT used INTO d.used FROM app.counter
		WHERE account = p_account AND feature = p_feature
			AND period = 'month' AND period_start = month;
		EXIT WHEN d.used + n > d.usage_limit;
	END LOOP;
	RETURN d;
END $$;

-- The rows that are counted, and the same with the trigger instead.
CREATE TABLE app.reports_counted (
	id bigint GENERATED ALWAYS AS IDENTITY,
	account_id text COLLATE "C" NOT NULL,
	title text NOT NULL DEFAULT 'Market analysis',
	status text NOT NULL DEFAULT 'processing',
	generated_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE app.reports_charged (LIKE app.reports_counted INCLUDING ALL);

INSERT INTO app.reports_counted (account_id, generated_at)
SELECT 10000000000 + a, date_trunc('month', now()) + (now() - date_trunc('month', now())) * r / 300
FROM generate_series(1, 300) r, generate_series(1, :report_accounts) a;
INSERT INTO app.reports_charged (account_id, title, generated_at)
SELECT account_id, title, generated_at FROM app.reports_counted;

ALTER TABLE app.reports_counted ADD PRIMARY KEY (id);
ALTER TABLE app.reports_charged ADD PRIMARY KEY (id);
CREATE INDEX ON app.reports_counted (account_id, generated_at);
CREATE INDEX ON app.reports_charged (account_id, generated_at);
SELECT quota_attach('app.reports_charged', 'report', 'account_id', backfill => false);

-- Without an index, whose upkeep would hide what the trigger costs.
CREATE TABLE app.copy_plain (LIKE app.reports_counted INCLUDING IDENTITY INCLUDING DEFAULTS);
CREATE TABLE app.copy_charged (LIKE app.reports_counted INCLUDING IDENTITY INCLUDING DEFAULTS);
SELECT quota_attach('app.copy_charged', 'report', 'account_id');

VACUUM (FREEZE, ANALYZE);
