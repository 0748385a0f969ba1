/*
 * Accounts. An account needs no row: without one it has the default plan.
 */
CREATE TABLE quota.accounts (
	account text COLLATE "C" PRIMARY KEY
		CHECK (account <> '' AND octet_length(account) <= 255),
	name text CHECK (octet_length(name) <= 1024),
	account_type text CHECK (octet_length(account_type) <= 255),
	plan text COLLATE "C" REFERENCES quota.plans ON UPDATE CASCADE,
	status text NOT NULL DEFAULT 'active'
		CHECK (status IN ('active', 'trialing', 'past_due', 'suspended', 'canceled')),
	trial_ends_at timestamptz,
	plan_ends_at timestamptz,
	next_plan text COLLATE "C" REFERENCES quota.plans ON UPDATE CASCADE,
	cycle_anchor timestamptz CHECK (isfinite(cycle_anchor)),
	timezone text,
	sponsor text COLLATE "C"
		CHECK (sponsor <> '' AND sponsor <> account AND octet_length(sponsor) <= 255),
	pool text COLLATE "C"
		CHECK (pool <> '' AND pool <> account AND octet_length(pool) <= 255),
	bypass boolean NOT NULL DEFAULT false,
	metadata jsonb NOT NULL DEFAULT '{}'
		CHECK (jsonb_typeof(metadata) = 'object' AND octet_length(metadata::text) <= 65536),
	created_at timestamptz NOT NULL DEFAULT now() CHECK (isfinite(created_at)),
	updated_at timestamptz NOT NULL DEFAULT now(),
	adopted_by bigint,
	adopted_late boolean NOT NULL DEFAULT false
) USING heap;
CREATE INDEX accounts_plan ON quota.accounts (plan);
CREATE INDEX accounts_sponsor ON quota.accounts (sponsor) WHERE sponsor IS NOT NULL;
CREATE INDEX accounts_pool ON quota.accounts (pool) WHERE pool IS NOT NULL;
COMMENT ON TABLE quota.accounts IS 'accounts; one without a row has the default plan';
COMMENT ON COLUMN quota.accounts.account IS 'the application''s own key as text';
COMMENT ON COLUMN quota.accounts.plan IS 'NULL: the default plan';
COMMENT ON COLUMN quota.accounts.status IS
	'suspended is refused everything; trialing ends at trial_ends_at; canceled has the default plan; past_due keeps its plan';
COMMENT ON COLUMN quota.accounts.next_plan IS 'the plan after trial_ends_at or plan_ends_at; NULL: the default plan';
COMMENT ON COLUMN quota.accounts.cycle_anchor IS 'where the windows of period cycle begin; NULL: with the calendar month';
COMMENT ON COLUMN quota.accounts.timezone IS 'time zone of the calendar windows; NULL: setting quota.timezone';
COMMENT ON COLUMN quota.accounts.sponsor IS 'the account that pays for this one; it needs no row either';
COMMENT ON COLUMN quota.accounts.pool IS
	'the account whose counters this one draws on, within limits of its own; it needs no row either, and its own pool does not count';
COMMENT ON COLUMN quota.accounts.bypass IS 'never refused, still counted';
COMMENT ON COLUMN quota.accounts.adopted_by IS 'row of quota.adopted for the table that has the account; NULL: none';
COMMENT ON COLUMN quota.accounts.adopted_late IS
	'the account had members before a row of the adopted table named it: the row changes no members, and the account stays when the row is deleted';

/*
 * Tables of the application whose rows are accounts. accounts.adopted_by has no
 * foreign key: inserting an account would lock the row here, and fail if the table
 * was adopted after the transaction's snapshot.
 */
CREATE TABLE quota.adopted (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	relation regclass NOT NULL UNIQUE,
	key_column text NOT NULL,
	name_column text,
	plan_column text,
	type_column text,
	owner_column text,
	created_column text
);
COMMENT ON TABLE quota.adopted IS 'tables that quota_adopt follows, with the columns that it reads';
COMMENT ON COLUMN quota.adopted.id IS 'the argument of the triggers on the table';
COMMENT ON COLUMN quota.adopted.name_column IS 'NULL, here and in the next columns: none';

CREATE TABLE quota.account_users (
	account text COLLATE "C" NOT NULL
		REFERENCES quota.accounts ON UPDATE CASCADE ON DELETE CASCADE,
	user_id text COLLATE "C" NOT NULL
		CHECK (user_id <> '' AND octet_length(user_id) <= 255),
	role text NOT NULL DEFAULT 'MEMBER' CHECK (role IN ('OWNER', 'MEMBER', 'AFFILIATE', 'ADMIN')),
	PRIMARY KEY (account, user_id)
);
CREATE INDEX account_users_user ON quota.account_users (user_id);
COMMENT ON TABLE quota.account_users IS 'users of the application that are members of an account';

CREATE TABLE quota.limit_overrides (
	account text COLLATE "C" NOT NULL
		CHECK (account <> '' AND octet_length(account) <= 255),
	feature text COLLATE "C" NOT NULL
		REFERENCES quota.features ON UPDATE CASCADE ON DELETE CASCADE,
	period @extschema@.quota_period NOT NULL,
	usage_limit bigint CHECK (usage_limit >= 0),
	expires_at timestamptz,
	reason text CHECK (octet_length(reason) <= 1024),
	PRIMARY KEY (account, feature, period)
);
CREATE INDEX limit_overrides_feature ON quota.limit_overrides (feature);
COMMENT ON TABLE quota.limit_overrides IS 'an account''s own limits in place of the plan''s, until they expire';
COMMENT ON COLUMN quota.limit_overrides.usage_limit IS 'units a window; NULL: unlimited';
COMMENT ON COLUMN quota.limit_overrides.expires_at IS 'NULL: does not expire';

CREATE TRIGGER check_limit BEFORE INSERT OR UPDATE ON quota.limit_overrides
	FOR EACH ROW EXECUTE FUNCTION quota.check_limit();

CREATE FUNCTION quota.check_account() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'quota_check_account';
COMMENT ON FUNCTION quota.check_account IS 'refuses an unknown time zone and keeps updated_at';

CREATE TRIGGER check_account BEFORE INSERT OR UPDATE ON quota.accounts
	FOR EACH ROW EXECUTE FUNCTION quota.check_account();
