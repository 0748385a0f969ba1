/*
 * Charging. install/overloads.sql creates each function again for accounts named by
 * uuid and bigint. The functions are not strict: a NULL among the first three
 * arguments is an error, never a silent yes.
 */
CREATE OR REPLACE FUNCTION @extschema@.quota_consume(account text, feature text, n bigint DEFAULT 1, key text DEFAULT NULL, metadata jsonb DEFAULT NULL)
	RETURNS @extschema@.quota_decision
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'quota_consume';
COMMENT ON FUNCTION @extschema@.quota_consume(text, text, bigint, text, jsonb) IS
	'charge n units of a feature where the limits allow it; a denial is a returned row';

CREATE OR REPLACE FUNCTION @extschema@.quota_enforce(account text, feature text, n bigint DEFAULT 1, key text DEFAULT NULL, metadata jsonb DEFAULT NULL)
	RETURNS @extschema@.quota_decision
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'quota_enforce';
COMMENT ON FUNCTION @extschema@.quota_enforce(text, text, bigint, text, jsonb) IS
	'charge n units of a feature, or raise PT429, PT402 or PT403';

CREATE OR REPLACE FUNCTION @extschema@.quota_record(account text, feature text, n bigint DEFAULT 1, key text DEFAULT NULL, metadata jsonb DEFAULT NULL)
	RETURNS @extschema@.quota_decision
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'quota_record';
COMMENT ON FUNCTION @extschema@.quota_record(text, text, bigint, text, jsonb) IS
	'count n units of a feature without ever refusing';

CREATE OR REPLACE FUNCTION @extschema@.quota_refund(account text, feature text, n bigint DEFAULT 1, at timestamptz DEFAULT NULL)
	RETURNS @extschema@.quota_decision
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'quota_refund';
COMMENT ON FUNCTION @extschema@.quota_refund(text, text, bigint, timestamptz) IS
	'give n units back to the windows of a time (default: now), never below 0';

CREATE OR REPLACE FUNCTION @extschema@.quota_consume_many(account text, amounts jsonb)
	RETURNS SETOF @extschema@.quota_decision
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'quota_consume_many';
COMMENT ON FUNCTION @extschema@.quota_consume_many(text, jsonb) IS
	'charge several features, {"feature": n, ...}, all or none; a row a feature';

/*
 * Decisions without a charge: these write and lock nothing.
 */
CREATE OR REPLACE FUNCTION @extschema@.quota_evaluate(account text, feature text, n bigint DEFAULT 1)
	RETURNS @extschema@.quota_decision
	LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'quota_evaluate';
COMMENT ON FUNCTION @extschema@.quota_evaluate(text, text, bigint) IS
	'the verdict for n more units of a feature, with the figures as they stand';

CREATE OR REPLACE FUNCTION @extschema@.quota_evaluate(account text)
	RETURNS SETOF @extschema@.quota_decision
	LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'quota_evaluate_all';
COMMENT ON FUNCTION @extschema@.quota_evaluate(text) IS
	'the verdict for one more unit, a row a feature and window of the account';

CREATE OR REPLACE FUNCTION @extschema@.quota_has_feature(account text, feature text)
	RETURNS boolean
	LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'quota_has_feature';
COMMENT ON FUNCTION @extschema@.quota_has_feature(text, text) IS
	'whether the plan of the account has a feature';

CREATE OR REPLACE FUNCTION @extschema@.quota_feature(account text, feature text)
	RETURNS jsonb
	LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'quota_feature';
COMMENT ON FUNCTION @extschema@.quota_feature(text, text) IS
	'the value of a flag, or the limits in force as {"period": limit}; NULL where the plan does not have it';

CREATE OR REPLACE FUNCTION @extschema@.quota_require_feature(account text, feature text)
	RETURNS void
	LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'quota_require_feature';
COMMENT ON FUNCTION @extschema@.quota_require_feature(text, text) IS
	'raise PT402 unless the account has a feature, PT403 where it is suspended';

/* For bodies here, which name nothing outside schema quota. */
CREATE OR REPLACE FUNCTION quota.evaluate(account text, feature text)
	RETURNS @extschema@.quota_decision
	LANGUAGE sql STABLE PARALLEL RESTRICTED
	RETURN @extschema@.quota_evaluate(account, feature);
COMMENT ON FUNCTION quota.evaluate(text, text) IS 'the verdict for one more unit of a feature';

CREATE OR REPLACE FUNCTION quota.evaluate(account text)
	RETURNS SETOF @extschema@.quota_decision
	LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'quota_evaluate_all';
COMMENT ON FUNCTION quota.evaluate(text) IS 'the verdict for one more unit, a row a feature and window of the account';
