/*
 * Reservations, in C. Not strict: a NULL raises an error.
 */
CREATE OR REPLACE FUNCTION @extschema@.quota_reserve(account text, feature text, n bigint, ttl interval DEFAULT '5 minutes', key text DEFAULT NULL)
	RETURNS @extschema@.quota_reservation
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'quota_reserve';
COMMENT ON FUNCTION @extschema@.quota_reserve(text, text, bigint, interval, text) IS
	'hold n units of a feature where the limits allow it, until quota_commit, quota_release, or the end of ttl';

CREATE OR REPLACE FUNCTION @extschema@.quota_commit(id bigint, actual bigint DEFAULT NULL)
	RETURNS @extschema@.quota_decision
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'quota_commit';
COMMENT ON FUNCTION @extschema@.quota_commit(bigint, bigint) IS
	'charge the actual use of a reservation, NULL: all that it holds, and end it';

CREATE OR REPLACE FUNCTION @extschema@.quota_release(id bigint)
	RETURNS @extschema@.quota_decision
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'quota_release';
COMMENT ON FUNCTION @extschema@.quota_release(bigint) IS
	'give back all that a reservation holds, and end it';

CREATE OR REPLACE FUNCTION quota.return_expired(owner text, feature text, period @extschema@.quota_period, period_start timestamptz)
	RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'quota_return_expired';
COMMENT ON FUNCTION quota.return_expired IS 'lowers a counter by the holds that have expired, as its next charge would';
