/*
 * Stripe: which price names which plan, who is which customer, and what Stripe
 * has told. The database sends nothing and asks nothing: what it knows of a
 * subscription is what webhooks have said (sql/functions/stripe.sql).
 */
CREATE TABLE quota.stripe_prices (
	price text COLLATE "C" PRIMARY KEY
		CHECK (price <> '' AND octet_length(price) <= 255),
	plan text COLLATE "C" REFERENCES quota.plans ON UPDATE CASCADE ON DELETE CASCADE,
	billing_interval text COLLATE "C" NOT NULL DEFAULT 'month'
		CHECK (billing_interval IN ('day', 'week', 'month', 'year')),
	offered boolean NOT NULL DEFAULT true
);
CREATE UNIQUE INDEX stripe_prices_offered ON quota.stripe_prices (plan, billing_interval) WHERE offered;
COMMENT ON TABLE quota.stripe_prices IS 'which plan a price of Stripe names; several may name one plan';
COMMENT ON COLUMN quota.stripe_prices.plan IS 'NULL: no plan, but an add-on, or something of another application';
COMMENT ON COLUMN quota.stripe_prices.offered IS
	'whether quota_stripe_checkout takes it, at most one a plan and interval; others still name the plan of those that have it';

CREATE TABLE quota.stripe_customers (
	account text COLLATE "C" PRIMARY KEY
		CHECK (account <> '' AND octet_length(account) <= 255),
	customer text COLLATE "C" NOT NULL
		CHECK (customer <> '' AND octet_length(customer) <= 255)
);
CREATE INDEX stripe_customers_customer ON quota.stripe_customers (customer);
COMMENT ON TABLE quota.stripe_customers IS 'who an account is to Stripe';

/*
 * Two clocks, since payments say nothing but that they were made or failed: an
 * event of the subscription that comes after a newer payment still counts.
 */
CREATE TABLE quota.stripe_subscriptions (
	subscription text COLLATE "C" PRIMARY KEY
		CHECK (subscription <> '' AND octet_length(subscription) <= 255),
	account text COLLATE "C" NOT NULL
		CHECK (account <> '' AND octet_length(account) <= 255),
	customer text COLLATE "C" NOT NULL
		CHECK (customer <> '' AND octet_length(customer) <= 255),
	price text COLLATE "C",
	status text NOT NULL CHECK (status IN
		('incomplete', 'incomplete_expired', 'trialing', 'active', 'past_due', 'unpaid', 'paused', 'canceled')),
	created_at timestamptz NOT NULL,
	trial_ends_at timestamptz,
	period_ends_at timestamptz,
	ends_at timestamptz,
	cycle_anchor timestamptz,
	told_at timestamptz NOT NULL,
	told_rank smallint NOT NULL,
	payment_at timestamptz NOT NULL,
	paid boolean NOT NULL,
	had_plan boolean NOT NULL
);
CREATE INDEX stripe_subscriptions_account ON quota.stripe_subscriptions (account);
COMMENT ON TABLE quota.stripe_subscriptions IS 'subscriptions as webhooks have told of them';
COMMENT ON COLUMN quota.stripe_subscriptions.price IS 'which of its prices names a plan; NULL: only a payment or a checkout has told of it';
COMMENT ON COLUMN quota.stripe_subscriptions.status IS 'as the newest event of the subscription says; quota.stripe_status also knows of payments';
COMMENT ON COLUMN quota.stripe_subscriptions.period_ends_at IS 'when the current period ends, and another begins unless ends_at says otherwise';
COMMENT ON COLUMN quota.stripe_subscriptions.ends_at IS 'when it ends as it was canceled to; NULL: it goes on';
COMMENT ON COLUMN quota.stripe_subscriptions.told_at IS 'when Stripe made the newest event of the subscription; -infinity: none has come';
COMMENT ON COLUMN quota.stripe_subscriptions.told_rank IS 'which of two events of one second is the newer: the one of the greater rank';
COMMENT ON COLUMN quota.stripe_subscriptions.payment_at IS 'when Stripe made the newest event of a payment; -infinity: none has come';
COMMENT ON COLUMN quota.stripe_subscriptions.paid IS 'of that payment: whether it succeeded';
COMMENT ON COLUMN quota.stripe_subscriptions.had_plan IS 'whether the account has had the plan by it, which then ends with it';

CREATE TABLE quota.stripe_events (
	event text COLLATE "C" PRIMARY KEY
		CHECK (event <> '' AND octet_length(event) <= 255),
	type text NOT NULL,
	created_at timestamptz NOT NULL,
	at timestamptz NOT NULL,
	subscription text COLLATE "C",
	account text COLLATE "C",
	outcome text NOT NULL CHECK (outcome IN ('applied', 'unchanged', 'ignored'))
);
COMMENT ON TABLE quota.stripe_events IS 'webhooks that have come, each once: a repeated one changes nothing';
COMMENT ON COLUMN quota.stripe_events.created_at IS 'when Stripe made it';
COMMENT ON COLUMN quota.stripe_events.at IS 'when it came; quota_maintain goes by it';
COMMENT ON COLUMN quota.stripe_events.outcome IS
	'applied; unchanged: older than what was known, or nothing new; ignored: of no kind, or of no subscription, that counts here';

/*
 * A table and no setting: what ALTER DATABASE sets anybody can read in
 * pg_db_role_setting, and what postgresql.conf sets anybody can SHOW in a session
 * that has not loaded the library yet. Nobody but the owner has a right on it.
 */
CREATE TABLE quota.stripe_secrets (
	name text COLLATE "C" PRIMARY KEY,
	secret text
);
COMMENT ON TABLE quota.stripe_secrets IS 'signing secrets of webhook endpoints; any of them may have signed an event';
COMMENT ON COLUMN quota.stripe_secrets.name IS 'for people, such as live';
COMMENT ON COLUMN quota.stripe_secrets.secret IS 'as Stripe shows it: whsec_...';

/*
 * In place of constraints, whose errors show the row, and so the secret.
 */
CREATE FUNCTION quota.check_secret() RETURNS trigger
	LANGUAGE plpgsql
AS $$
BEGIN
	IF NEW.name IS NULL OR NEW.secret IS NULL THEN
		RAISE not_null_violation USING MESSAGE = 'neither name nor secret may be null';
	ELSIF octet_length(NEW.name) NOT BETWEEN 1 AND 255 OR octet_length(NEW.secret) NOT BETWEEN 1 AND 255 THEN
		RAISE check_violation USING MESSAGE = 'name and secret must have 1 to 255 bytes';
	END IF;
	RETURN NEW;
END $$;
COMMENT ON FUNCTION quota.check_secret IS 'refuses what is no secret, without showing it';

CREATE TRIGGER check_secret BEFORE INSERT OR UPDATE ON quota.stripe_secrets
	FOR EACH ROW EXECUTE FUNCTION quota.check_secret();
ALTER TABLE quota.stripe_secrets ENABLE ALWAYS TRIGGER check_secret;
