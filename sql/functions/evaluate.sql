/*
 * Deciding without charging: these write and lock nothing.
 */
CREATE OR REPLACE FUNCTION @extschema@.quota_evaluate(account text, feature text, n bigint DEFAULT 1)
	RETURNS @extschema@.quota_decision
	LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'quota_evaluate';
COMMENT ON FUNCTION @extschema@.quota_evaluate(text, text, bigint) IS
	'the verdict for n more units of a feature, with the figures as they stand';

CREATE OR REPLACE FUNCTION @extschema@.quota_evaluate(account_uuid uuid, feature text, n bigint DEFAULT 1)
	RETURNS @extschema@.quota_decision
	LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'quota_evaluate_uuid';
COMMENT ON FUNCTION @extschema@.quota_evaluate(uuid, text, bigint) IS
	'the verdict for n more units of a feature, with the figures as they stand';

CREATE OR REPLACE FUNCTION @extschema@.quota_evaluate(account_id bigint, feature text, n bigint DEFAULT 1)
	RETURNS @extschema@.quota_decision
	LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'quota_evaluate_bigint';
COMMENT ON FUNCTION @extschema@.quota_evaluate(bigint, text, bigint) IS
	'the verdict for n more units of a feature, with the figures as they stand';

CREATE OR REPLACE FUNCTION @extschema@.quota_evaluate(account text)
	RETURNS SETOF @extschema@.quota_decision
	LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'quota_evaluate_all';
COMMENT ON FUNCTION @extschema@.quota_evaluate(text) IS
	'the verdict for one more unit, a row a feature and window of the account';

CREATE OR REPLACE FUNCTION @extschema@.quota_evaluate(account_uuid uuid)
	RETURNS SETOF @extschema@.quota_decision
	LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'quota_evaluate_all_uuid';
COMMENT ON FUNCTION @extschema@.quota_evaluate(uuid) IS
	'the verdict for one more unit, a row a feature and window of the account';

CREATE OR REPLACE FUNCTION @extschema@.quota_evaluate(account_id bigint)
	RETURNS SETOF @extschema@.quota_decision
	LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'quota_evaluate_all_bigint';
COMMENT ON FUNCTION @extschema@.quota_evaluate(bigint) IS
	'the verdict for one more unit, a row a feature and window of the account';

CREATE OR REPLACE FUNCTION @extschema@.quota_has_feature(account text, feature text)
	RETURNS boolean
	LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'quota_has_feature';
COMMENT ON FUNCTION @extschema@.quota_has_feature(text, text) IS
	'whether the plan of the account has a feature';

CREATE OR REPLACE FUNCTION @extschema@.quota_has_feature(account_uuid uuid, feature text)
	RETURNS boolean
	LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'quota_has_feature_uuid';
COMMENT ON FUNCTION @extschema@.quota_has_feature(uuid, text) IS
	'whether the plan of the account has a feature';

CREATE OR REPLACE FUNCTION @extschema@.quota_has_feature(account_id bigint, feature text)
	RETURNS boolean
	LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'quota_has_feature_bigint';
COMMENT ON FUNCTION @extschema@.quota_has_feature(bigint, text) IS
	'whether the plan of the account has a feature';

CREATE OR REPLACE FUNCTION @extschema@.quota_feature(account text, feature text)
	RETURNS jsonb
	LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'quota_feature';
COMMENT ON FUNCTION @extschema@.quota_feature(text, text) IS
	'the value of a flag, or the limits in force as {"period": limit}; NULL where the plan does not have it';

CREATE OR REPLACE FUNCTION @extschema@.quota_feature(account_uuid uuid, feature text)
	RETURNS jsonb
	LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'quota_feature_uuid';
COMMENT ON FUNCTION @extschema@.quota_feature(uuid, text) IS
	'the value of a flag, or the limits in force as {"period": limit}; NULL where the plan does not have it';

CREATE OR REPLACE FUNCTION @extschema@.quota_feature(account_id bigint, feature text)
	RETURNS jsonb
	LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'quota_feature_bigint';
COMMENT ON FUNCTION @extschema@.quota_feature(bigint, text) IS
	'the value of a flag, or the limits in force as {"period": limit}; NULL where the plan does not have it';

CREATE OR REPLACE FUNCTION @extschema@.quota_require_feature(account text, feature text)
	RETURNS void
	LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'quota_require_feature';
COMMENT ON FUNCTION @extschema@.quota_require_feature(text, text) IS
	'raise PT402 unless the account has a feature, PT403 where it is suspended';

CREATE OR REPLACE FUNCTION @extschema@.quota_require_feature(account_uuid uuid, feature text)
	RETURNS void
	LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'quota_require_feature_uuid';
COMMENT ON FUNCTION @extschema@.quota_require_feature(uuid, text) IS
	'raise PT402 unless the account has a feature, PT403 where it is suspended';

CREATE OR REPLACE FUNCTION @extschema@.quota_require_feature(account_id bigint, feature text)
	RETURNS void
	LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'quota_require_feature_bigint';
COMMENT ON FUNCTION @extschema@.quota_require_feature(bigint, text) IS
	'raise PT402 unless the account has a feature, PT403 where it is suspended';

/* For the bodies of ours, which name nothing outside schema quota. */
CREATE OR REPLACE FUNCTION quota.evaluate(account text, feature text)
	RETURNS @extschema@.quota_decision
	LANGUAGE sql STABLE PARALLEL RESTRICTED
	RETURN @extschema@.quota_evaluate(account, feature);
COMMENT ON FUNCTION quota.evaluate(text, text) IS 'the verdict for one more unit of a feature';

CREATE OR REPLACE FUNCTION quota.evaluate(account text)
	RETURNS SETOF @extschema@.quota_decision
	LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'quota_evaluate_all';
COMMENT ON FUNCTION quota.evaluate(text) IS 'the verdict for one more unit, a row a feature and window of the account';
