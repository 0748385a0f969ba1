-- What is measured. Variable: accounts.
CREATE EXTENSION quota;

SELECT quota_apply('{
	"features": {
		"report": {"kind": "counter", "unit": "report"},
		"export": {"kind": "counter", "unit": "export"},
		"storage": {"kind": "gauge", "unit": "byte"},
		"request": {"kind": "rate", "unit": "request"}},
	"plans": {"pro": {"name": "Pro", "price": 10, "default": true, "limits": {
		"report": {"month": {"limit": 1000000000}},
		"export": {"month": {"limit": 100}},
		"storage": {"lifetime": {"limit": 1000000000000}},
		"request": {"second": {"limit": 1000000}}}}}}');

-- Keys of eleven digits: text, but pgbench can make no other text without help
-- of the server, which would cost both sides the same and hide the difference.
INSERT INTO quota.accounts (account, plan)
SELECT 10000000000 + i, 'pro' FROM generate_series(1, :accounts) i;

-- Every counter has its row; that of export is full.
SELECT count(quota_consume(account, 'report')) FROM quota.accounts;
SELECT count(quota_consume(account, 'export', 100)) FROM quota.accounts;

-- What the application would have made itself: tables of the same shape, with
-- the same settings and indexes, without the checks and triggers, and a counter
-- of one row.
CREATE SCHEMA app;
CREATE TABLE app.accounts (LIKE quota.accounts INCLUDING DEFAULTS INCLUDING INDEXES);
CREATE TABLE app.plan_limits (LIKE quota.plan_limits INCLUDING DEFAULTS INCLUDING INDEXES);
CREATE TABLE app.counter (
	used bigint NOT NULL,
	period_start timestamptz NOT NULL,
	period quota_period NOT NULL,
	account text COLLATE "C" NOT NULL,
	feature text COLLATE "C" NOT NULL,
	PRIMARY KEY (account, feature, period, period_start)
);
SELECT format('ALTER TABLE app.counter SET (%s)', array_to_string(reloptions, ', '))
FROM pg_class WHERE oid = 'quota.usage'::regclass \gexec

CREATE TABLE app.attached (account text);
SELECT quota_attach('app.attached', 'report', 'account');

INSERT INTO app.accounts SELECT * FROM quota.accounts;
INSERT INTO app.plan_limits SELECT * FROM quota.plan_limits;
INSERT INTO app.counter SELECT used, period_start, period, account, feature FROM quota.usage;

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

-- The same, but it locks the counter's row, then judges.
CREATE FUNCTION app.consume_locking(p_account text, p_feature text, n bigint DEFAULT 1)
	RETURNS app.decision
	LANGUAGE plpgsql
AS $$
DECLARE
	month CONSTANT timestamptz := date_trunc('month', now());
	d app.decision;
BEGIN
	SELECT l.usage_limit, c.used INTO d.usage_limit, d.used
	FROM app.accounts a JOIN app.plan_limits l USING (plan) JOIN app.counter c USING (account, feature, period)
	WHERE a.account = p_account AND l.feature = p_feature AND l.period = 'month' AND c.period_start = month
	FOR UPDATE OF c;
	d.allowed := d.used + n <= d.usage_limit;
	IF d.allowed THEN
		UPDATE app.counter SET used = used + n
		WHERE account = p_account AND feature = p_feature
			AND period = 'month' AND period_start = month
		RETURNING used INTO d.used;
	END IF;
	RETURN d;
END $$;

VACUUM (FREEZE, ANALYZE);
