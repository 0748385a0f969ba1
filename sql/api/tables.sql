/*
 * Types of the API. The order of the values is that of the C enums in
 * src/rules/period.h and src/rules/decide.h.
 */
CREATE TYPE @extschema@.quota_period AS ENUM
	('second', 'minute', 'hour', 'day', 'week', 'month', 'year', 'lifetime', 'cycle');
COMMENT ON TYPE @extschema@.quota_period IS
	'window of a limit: a calendar window, lifetime, or cycle (monthly from the account''s cycle_anchor)';

CREATE TYPE @extschema@.quota_verdict AS ENUM ('ALLOW', 'ALLOW_WITH_WARNING', 'BLOCK');
COMMENT ON TYPE @extschema@.quota_verdict IS 'verdict of a decision';

CREATE TYPE @extschema@.quota_decision AS (
	account text,
	feature text,
	plan text,
	period @extschema@.quota_period,
	decision @extschema@.quota_verdict,
	allowed boolean,
	used bigint,
	usage_limit bigint,
	remaining bigint,
	ratio float8,
	overage bigint,
	period_start timestamptz,
	period_end timestamptz,
	retry_after interval,
	reason text,
	message text
);
COMMENT ON TYPE @extschema@.quota_decision IS
	'a decision and the figures behind it; with several windows those of the tightest';

CREATE TYPE @extschema@.quota_reservation AS (
	id bigint,
	account text,
	feature text,
	plan text,
	period @extschema@.quota_period,
	decision @extschema@.quota_verdict,
	allowed boolean,
	used bigint,
	usage_limit bigint,
	remaining bigint,
	ratio float8,
	overage bigint,
	period_start timestamptz,
	period_end timestamptz,
	retry_after interval,
	reason text,
	message text
);
COMMENT ON TYPE @extschema@.quota_reservation IS
	'result of quota_reserve: id of the reservation, NULL if denied, and the columns of quota_decision';

CREATE SCHEMA quota;
COMMENT ON SCHEMA quota IS 'plans, accounts and usage of the extension quota';
