/*
 * Rates, which are in shared memory. They are charged like counters.
 */
CREATE OR REPLACE FUNCTION @extschema@.quota_rates(account text)
	RETURNS TABLE (feature text, period @extschema@.quota_period, used bigint, usage_limit bigint, burst bigint, remaining bigint, resets_in interval)
	LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'quota_rates';
COMMENT ON FUNCTION @extschema@.quota_rates(text) IS
	'the rates of an account as they are now, a row a feature and period';

CREATE OR REPLACE FUNCTION @extschema@.quota_rate_stats(OUT buckets bigint, OUT capacity bigint, OUT evictions bigint, OUT memory bigint)
	LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'quota_rate_stats';
COMMENT ON FUNCTION @extschema@.quota_rate_stats() IS
	'memory of the rates of this database: buckets in use, how many fit, how many were evicted in use, bytes';

CREATE OR REPLACE FUNCTION quota.forget_rate(owner text, feature text)
	RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'quota_forget_rate';
COMMENT ON FUNCTION quota.forget_rate IS 'empties the buckets of a rate of an account';

CREATE OR REPLACE FUNCTION quota.quota_rate_clear(account text, feature text DEFAULT NULL)
	RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
AS $$
BEGIN
	PERFORM quota.account_key(account);
	IF feature IS NOT NULL AND quota.kind_of(feature) <> 'rate' THEN
		RAISE wrong_object_type USING MESSAGE = format('feature "%s" of kind %s is no rate', feature, quota.kind_of(feature));
	END IF;
	PERFORM quota.forget_rate(account, f.feature)
	FROM quota.features f
	WHERE f.kind = 'rate' AND (quota_rate_clear.feature IS NULL OR f.feature = quota_rate_clear.feature);
END $$;
COMMENT ON FUNCTION quota.quota_rate_clear IS 'empty one rate of an account, or all';
