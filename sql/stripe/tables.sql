/*
 * Stripe: prices and their plans, customers and their accounts, subscriptions and
 * events. The database sends and asks nothing: it knows subscriptions from webhooks
 * (sql/stripe/functions.sql).
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
COMMENT ON TABLE quota.stripe_prices IS 'plans of Stripe''s prices; several prices may name one plan';
COMMENT ON COLUMN quota.stripe_prices.plan IS 'NULL: not a plan, but an add-on, or something of another application';
COMMENT ON COLUMN quota.stripe_prices.offered IS
	'true: quota_stripe_checkout uses it, at most one for a plan and interval; other prices still give their subscribers the plan';

CREATE TABLE quota.stripe_customers (
	account text COLLATE "C" PRIMARY KEY
		CHECK (account <> '' AND octet_length(account) <= 255),
	customer text COLLATE "C" NOT NULL
		CHECK (customer <> '' AND octet_length(customer) <= 255)
);
CREATE INDEX stripe_customers_customer ON quota.stripe_customers (customer);
COMMENT ON TABLE quota.stripe_customers IS 'Stripe''s customers of accounts';

/*
 * Two times, since an event of a payment says nothing but that it was made or failed:
 * an older event of the subscription still counts after it.
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
	reported_at timestamptz NOT NULL,
	reported_rank smallint NOT NULL,
	payment_at timestamptz NOT NULL,
	paid boolean NOT NULL,
	had_plan boolean NOT NULL
);
CREATE INDEX stripe_subscriptions_account ON quota.stripe_subscriptions (account);
COMMENT ON TABLE quota.stripe_subscriptions IS 'subscriptions as known from webhooks';
COMMENT ON COLUMN quota.stripe_subscriptions.price IS 'the price that names a plan; NULL: known from a payment or checkout only';
COMMENT ON COLUMN quota.stripe_subscriptions.status IS 'from the newest event of the subscription; quota.stripe_status also considers payments';
COMMENT ON COLUMN quota.stripe_subscriptions.period_ends_at IS 'end of the current period, after which another begins unless ends_at is set';
COMMENT ON COLUMN quota.stripe_subscriptions.ends_at IS 'end of a canceled subscription; NULL: it goes on';
COMMENT ON COLUMN quota.stripe_subscriptions.reported_at IS 'time of the newest event of the subscription; -infinity: none yet';
COMMENT ON COLUMN quota.stripe_subscriptions.reported_rank IS 'order among events of the same second: the highest is the newest';
COMMENT ON COLUMN quota.stripe_subscriptions.payment_at IS 'time of the newest event of a payment; -infinity: none yet';
COMMENT ON COLUMN quota.stripe_subscriptions.paid IS 'true if that payment succeeded';
COMMENT ON COLUMN quota.stripe_subscriptions.had_plan IS 'true if it has given the account a plan, which ends with it';

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
COMMENT ON TABLE quota.stripe_events IS 'webhooks that were taken in; a repeated one changes nothing';
COMMENT ON COLUMN quota.stripe_events.created_at IS 'time at which Stripe made it';
COMMENT ON COLUMN quota.stripe_events.at IS 'time at which it came; quota_maintain deletes by it';
COMMENT ON COLUMN quota.stripe_events.outcome IS
	'applied; unchanged: older than what was known, or nothing new; ignored: of a kind or a subscription that does not count here';

/*
 * A table, not a setting: everybody can read what ALTER DATABASE sets in
 * pg_db_role_setting, and SHOW what postgresql.conf sets in a session that has not
 * loaded the library yet. Only the owner has rights on it.
 */
CREATE TABLE quota.stripe_secrets (
	name text COLLATE "C" PRIMARY KEY,
	secret text
);
COMMENT ON TABLE quota.stripe_secrets IS 'signing secrets of webhook endpoints; an event may be signed with any of them';
COMMENT ON COLUMN quota.stripe_secrets.name IS 'for people, such as live';
COMMENT ON COLUMN quota.stripe_secrets.secret IS 'as Stripe shows it: whsec_...';

/*
 * Not constraints: their errors would show the row, and so the secret.
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
COMMENT ON FUNCTION quota.check_secret IS 'refuses an invalid secret, without showing it';

CREATE TRIGGER check_secret BEFORE INSERT OR UPDATE ON quota.stripe_secrets
	FOR EACH ROW EXECUTE FUNCTION quota.check_secret();
ALTER TABLE quota.stripe_secrets ENABLE ALWAYS TRIGGER check_secret;
