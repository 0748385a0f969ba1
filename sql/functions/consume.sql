/*
 * Charging. The functions are not strict: a NULL among the first three
 * arguments is an error, never a silent yes.
 */
CREATE OR REPLACE FUNCTION @extschema@.quota_consume(account text, feature text, n bigint DEFAULT 1, key text DEFAULT NULL, metadata jsonb DEFAULT NULL)
	RETURNS @extschema@.quota_decision
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'quota_consume';
COMMENT ON FUNCTION @extschema@.quota_consume(text, text, bigint, text, jsonb) IS
	'charge n units of a feature where the limits allow it; a denial is a returned row';

CREATE OR REPLACE FUNCTION @extschema@.quota_consume(account_uuid uuid, feature text, n bigint DEFAULT 1, key text DEFAULT NULL, metadata jsonb DEFAULT NULL)
	RETURNS @extschema@.quota_decision
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'quota_consume_uuid';
COMMENT ON FUNCTION @extschema@.quota_consume(uuid, text, bigint, text, jsonb) IS
	'charge n units of a feature where the limits allow it; a denial is a returned row';

CREATE OR REPLACE FUNCTION @extschema@.quota_consume(account_id bigint, feature text, n bigint DEFAULT 1, key text DEFAULT NULL, metadata jsonb DEFAULT NULL)
	RETURNS @extschema@.quota_decision
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'quota_consume_bigint';
COMMENT ON FUNCTION @extschema@.quota_consume(bigint, text, bigint, text, jsonb) IS
	'charge n units of a feature where the limits allow it; a denial is a returned row';

CREATE OR REPLACE FUNCTION @extschema@.quota_enforce(account text, feature text, n bigint DEFAULT 1, key text DEFAULT NULL, metadata jsonb DEFAULT NULL)
	RETURNS @extschema@.quota_decision
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'quota_enforce';
COMMENT ON FUNCTION @extschema@.quota_enforce(text, text, bigint, text, jsonb) IS
	'charge n units of a feature, or raise PT429, PT402 or PT403';

CREATE OR REPLACE FUNCTION @extschema@.quota_enforce(account_uuid uuid, feature text, n bigint DEFAULT 1, key text DEFAULT NULL, metadata jsonb DEFAULT NULL)
	RETURNS @extschema@.quota_decision
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'quota_enforce_uuid';
COMMENT ON FUNCTION @extschema@.quota_enforce(uuid, text, bigint, text, jsonb) IS
	'charge n units of a feature, or raise PT429, PT402 or PT403';

CREATE OR REPLACE FUNCTION @extschema@.quota_enforce(account_id bigint, feature text, n bigint DEFAULT 1, key text DEFAULT NULL, metadata jsonb DEFAULT NULL)
	RETURNS @extschema@.quota_decision
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'quota_enforce_bigint';
COMMENT ON FUNCTION @extschema@.quota_enforce(bigint, text, bigint, text, jsonb) IS
	'charge n units of a feature, or raise PT429, PT402 or PT403';

CREATE OR REPLACE FUNCTION @extschema@.quota_record(account text, feature text, n bigint DEFAULT 1, key text DEFAULT NULL, metadata jsonb DEFAULT NULL)
	RETURNS @extschema@.quota_decision
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'quota_record';
COMMENT ON FUNCTION @extschema@.quota_record(text, text, bigint, text, jsonb) IS
	'count n units of a feature without ever refusing';

CREATE OR REPLACE FUNCTION @extschema@.quota_record(account_uuid uuid, feature text, n bigint DEFAULT 1, key text DEFAULT NULL, metadata jsonb DEFAULT NULL)
	RETURNS @extschema@.quota_decision
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'quota_record_uuid';
COMMENT ON FUNCTION @extschema@.quota_record(uuid, text, bigint, text, jsonb) IS
	'count n units of a feature without ever refusing';

CREATE OR REPLACE FUNCTION @extschema@.quota_record(account_id bigint, feature text, n bigint DEFAULT 1, key text DEFAULT NULL, metadata jsonb DEFAULT NULL)
	RETURNS @extschema@.quota_decision
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'quota_record_bigint';
COMMENT ON FUNCTION @extschema@.quota_record(bigint, text, bigint, text, jsonb) IS
	'count n units of a feature without ever refusing';

CREATE OR REPLACE FUNCTION @extschema@.quota_refund(account text, feature text, n bigint DEFAULT 1, at timestamptz DEFAULT NULL)
	RETURNS @extschema@.quota_decision
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'quota_refund';
COMMENT ON FUNCTION @extschema@.quota_refund(text, text, bigint, timestamptz) IS
	'give n units back to the windows of a time (default: now), never below 0';

CREATE OR REPLACE FUNCTION @extschema@.quota_refund(account_uuid uuid, feature text, n bigint DEFAULT 1, at timestamptz DEFAULT NULL)
	RETURNS @extschema@.quota_decision
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'quota_refund_uuid';
COMMENT ON FUNCTION @extschema@.quota_refund(uuid, text, bigint, timestamptz) IS
	'give n units back to the windows of a time (default: now), never below 0';

CREATE OR REPLACE FUNCTION @extschema@.quota_refund(account_id bigint, feature text, n bigint DEFAULT 1, at timestamptz DEFAULT NULL)
	RETURNS @extschema@.quota_decision
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'quota_refund_bigint';
COMMENT ON FUNCTION @extschema@.quota_refund(bigint, text, bigint, timestamptz) IS
	'give n units back to the windows of a time (default: now), never below 0';

CREATE OR REPLACE FUNCTION @extschema@.quota_consume_many(account text, amounts jsonb)
	RETURNS SETOF @extschema@.quota_decision
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'quota_consume_many';
COMMENT ON FUNCTION @extschema@.quota_consume_many(text, jsonb) IS
	'charge several features, {"feature": n, ...}, all or none; a row a feature';

CREATE OR REPLACE FUNCTION @extschema@.quota_consume_many(account_uuid uuid, amounts jsonb)
	RETURNS SETOF @extschema@.quota_decision
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'quota_consume_many_uuid';
COMMENT ON FUNCTION @extschema@.quota_consume_many(uuid, jsonb) IS
	'charge several features, {"feature": n, ...}, all or none; a row a feature';

CREATE OR REPLACE FUNCTION @extschema@.quota_consume_many(account_id bigint, amounts jsonb)
	RETURNS SETOF @extschema@.quota_decision
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'quota_consume_many_bigint';
COMMENT ON FUNCTION @extschema@.quota_consume_many(bigint, jsonb) IS
	'charge several features, {"feature": n, ...}, all or none; a row a feature';
