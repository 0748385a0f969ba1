/*
 * The catalogue: plans, features and limits. Few rows, cached in each backend.
 */
CREATE TABLE quota.plans (
	plan text COLLATE "C" PRIMARY KEY
		CHECK (plan <> '' AND octet_length(plan) <= 63),
	name text NOT NULL CHECK (name <> '' AND octet_length(name) <= 1024),
	description text CHECK (octet_length(description) <= 4096),
	price numeric CHECK (price >= 0 AND price < 'Infinity'),
	currency char(3) NOT NULL DEFAULT 'USD' CHECK (currency ~ '^[A-Z]{3}$'),
	billing_interval text NOT NULL DEFAULT 'month'
		CHECK (billing_interval IN ('day', 'week', 'month', 'year', 'once')),
	is_default boolean NOT NULL DEFAULT false,
	visible boolean NOT NULL DEFAULT true,
	display_order integer NOT NULL DEFAULT 0,
	rate_multiplier numeric NOT NULL DEFAULT 1
		CHECK (rate_multiplier > 0 AND rate_multiplier < 'Infinity'),
	metadata jsonb NOT NULL DEFAULT '{}'
		CHECK (jsonb_typeof(metadata) = 'object' AND octet_length(metadata::text) <= 65536)
);
CREATE UNIQUE INDEX plans_one_default ON quota.plans (is_default) WHERE is_default;
COMMENT ON TABLE quota.plans IS 'plans that accounts can have';
COMMENT ON COLUMN quota.plans.name IS 'for people; by default the key';
COMMENT ON COLUMN quota.plans.price IS 'per billing_interval, in currency; NULL: not stated';
COMMENT ON COLUMN quota.plans.is_default IS 'the plan of accounts that have no other; at most one';
COMMENT ON COLUMN quota.plans.visible IS 'offered to everybody; hints name only such plans';
COMMENT ON COLUMN quota.plans.rate_multiplier IS 'factor on every limit of kind rate';

CREATE TABLE quota.features (
	/* 48 bytes leave room for the names of the triggers that quota_attach makes */
	feature text COLLATE "C" PRIMARY KEY
		CHECK (feature <> '' AND octet_length(feature) <= 48),
	kind text NOT NULL CHECK (kind IN ('counter', 'gauge', 'rate', 'flag')),
	unit text CHECK (unit <> '' AND octet_length(unit) <= 63),
	description text CHECK (octet_length(description) <= 4096),
	ledger boolean NOT NULL DEFAULT false,
	user_max bigint NOT NULL DEFAULT 1 CHECK (user_max >= 0),
	user_overage boolean NOT NULL DEFAULT false
);
COMMENT ON TABLE quota.features IS 'features that can be limited or gated';
COMMENT ON COLUMN quota.features.kind IS
	'counter: starts again with each window; gauge: a level that goes up and down; rate: a short window in shared memory; flag: a gate or a static value';
COMMENT ON COLUMN quota.features.unit IS 'name of one unit, in the singular';
COMMENT ON COLUMN quota.features.ledger IS 'true: each change is written to the ledger';
COMMENT ON COLUMN quota.features.user_max IS 'units that level user may charge in one call; 0: none at all';
COMMENT ON COLUMN quota.features.user_overage IS 'true: level user may charge past a limit that charges';

CREATE TABLE quota.plan_limits (
	plan text COLLATE "C" NOT NULL
		REFERENCES quota.plans ON UPDATE CASCADE ON DELETE CASCADE,
	feature text COLLATE "C" NOT NULL
		REFERENCES quota.features ON UPDATE CASCADE ON DELETE CASCADE,
	period @extschema@.quota_period NOT NULL,
	usage_limit bigint CHECK (usage_limit >= 0),
	on_limit text NOT NULL DEFAULT 'block' CHECK (on_limit IN ('block', 'warn', 'charge')),
	warn_ratio numeric NOT NULL DEFAULT 0.8
		CHECK (warn_ratio >= 0 AND warn_ratio < 'Infinity'),
	block_ratio numeric NOT NULL DEFAULT 1.0
		CHECK (block_ratio >= 0 AND block_ratio < 'Infinity'),
	overage_price numeric CHECK (overage_price >= 0 AND overage_price < 'Infinity'),
	overage_cap bigint CHECK (overage_cap >= 0),
	burst bigint CHECK (burst > 0),
	PRIMARY KEY (plan, feature, period)
);
CREATE INDEX plan_limits_feature ON quota.plan_limits (feature);
COMMENT ON TABLE quota.plan_limits IS 'limits of plans, a row a feature and period';
COMMENT ON COLUMN quota.plan_limits.usage_limit IS 'units a window; NULL: unlimited';
COMMENT ON COLUMN quota.plan_limits.on_limit IS
	'past the limit: block refuses, warn allows, charge allows at overage_price a unit up to overage_cap units';
COMMENT ON COLUMN quota.plan_limits.warn_ratio IS 'share of the limit from which on decisions warn';
COMMENT ON COLUMN quota.plan_limits.block_ratio IS 'share of the limit up to which block still allows';

CREATE TABLE quota.plan_features (
	plan text COLLATE "C" NOT NULL
		REFERENCES quota.plans ON UPDATE CASCADE ON DELETE CASCADE,
	feature text COLLATE "C" NOT NULL
		REFERENCES quota.features ON UPDATE CASCADE ON DELETE CASCADE,
	value jsonb NOT NULL DEFAULT 'true' CHECK (octet_length(value::text) <= 65536),
	PRIMARY KEY (plan, feature)
);
CREATE INDEX plan_features_feature ON quota.plan_features (feature);
COMMENT ON TABLE quota.plan_features IS 'gates and static settings of a plan';
COMMENT ON COLUMN quota.plan_features.value IS 'false and null: the plan does not have the feature';

CREATE FUNCTION quota.plan_name() RETURNS trigger
	LANGUAGE plpgsql
AS $$
BEGIN
	NEW.name := COALESCE(NEW.name, NEW.plan);
	RETURN NEW;
END $$;
COMMENT ON FUNCTION quota.plan_name IS 'gives a plan without a name its key as name';

CREATE TRIGGER plan_name BEFORE INSERT OR UPDATE ON quota.plans
	FOR EACH ROW EXECUTE FUNCTION quota.plan_name();

/*
 * A limit must suit the kind of its feature. The foreign key reports a missing
 * feature.
 */
CREATE FUNCTION quota.check_limit() RETURNS trigger
	LANGUAGE plpgsql
AS $$
DECLARE
	feature_kind text := (SELECT kind FROM quota.features WHERE feature = NEW.feature);
BEGIN
	IF TG_TABLE_NAME = 'plan_features' THEN
		IF feature_kind <> 'flag' THEN
			RAISE check_violation USING
				MESSAGE = format('feature "%s" of kind %s cannot have a static value', NEW.feature, feature_kind),
				HINT = 'Give it a limit in quota.plan_limits.';
		END IF;
	ELSIF NOT (CASE feature_kind
		WHEN 'counter' THEN NEW.period NOT IN ('second', 'minute')
		WHEN 'gauge' THEN NEW.period = 'lifetime'
		WHEN 'rate' THEN NEW.period IN ('second', 'minute', 'hour', 'day')
		ELSE feature_kind IS NULL
	END) THEN
		RAISE check_violation USING
			MESSAGE = format('feature "%s" of kind %s cannot have a limit for period %s',
				NEW.feature, feature_kind, NEW.period);
	END IF;
	RETURN NEW;
END $$;
COMMENT ON FUNCTION quota.check_limit IS 'refuses a limit or value that does not suit the kind of its feature';

CREATE TRIGGER check_limit BEFORE INSERT OR UPDATE ON quota.plan_limits
	FOR EACH ROW EXECUTE FUNCTION quota.check_limit();
CREATE TRIGGER check_limit BEFORE INSERT OR UPDATE ON quota.plan_features
	FOR EACH ROW EXECUTE FUNCTION quota.check_limit();

/*
 * A feature cannot be deleted while it has counted use. quota.usage has no foreign
 * key, which would cost each charge and restored row.
 */
CREATE FUNCTION quota.has_use(feature text) RETURNS boolean
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'quota_has_use';
COMMENT ON FUNCTION quota.has_use IS 'true if a feature has counted use; charges of it wait until the transaction ends';

CREATE FUNCTION quota.check_feature() RETURNS trigger
	LANGUAGE plpgsql SECURITY DEFINER
AS $$
BEGIN
	IF TG_OP = 'UPDATE' AND (NEW.feature, NEW.kind) = (OLD.feature, OLD.kind) THEN
		RETURN NEW;
	ELSIF quota.has_use(OLD.feature) THEN
		RAISE dependent_objects_still_exist USING
			MESSAGE = format('feature "%s" has counted use', OLD.feature),
			HINT = 'Delete its rows from quota.usage first.';
	ELSIF TG_OP = 'DELETE' THEN
		RETURN OLD;
	ELSIF NEW.kind <> OLD.kind
		AND (EXISTS (SELECT FROM quota.plan_limits WHERE feature = OLD.feature)
			OR EXISTS (SELECT FROM quota.plan_features WHERE feature = OLD.feature)
			OR EXISTS (SELECT FROM quota.limit_overrides WHERE feature = OLD.feature)) THEN
		RAISE dependent_objects_still_exist USING
			MESSAGE = format('feature "%s" has limits or values of kind %s', OLD.feature, OLD.kind),
			HINT = 'Delete them first.';
	END IF;
	RETURN NEW;
END $$;
COMMENT ON FUNCTION quota.check_feature IS 'refuses to delete or rename a feature that is in use, or to change its kind';

CREATE TRIGGER check_feature BEFORE UPDATE OR DELETE ON quota.features
	FOR EACH ROW EXECUTE FUNCTION quota.check_feature();
