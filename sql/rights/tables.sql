/*
 * The levels of roles. A role has the levels of every role whose privileges it has.
 * src/rights/gate.c reads the table.
 */
CREATE TABLE quota.levels (
	role regrole NOT NULL,
	level text COLLATE "C" NOT NULL CHECK (level IN ('user', 'reader', 'monitor', 'app', 'admin')),
	schema_usage boolean NOT NULL,
	PRIMARY KEY (role, level)
);
COMMENT ON TABLE quota.levels IS 'levels that quota_grant has given to roles';
COMMENT ON COLUMN quota.levels.schema_usage IS
	'true: quota_grant also granted USAGE on the schema of the functions, and quota_revoke revokes it';
SELECT pg_extension_config_dump('quota.levels', 'WHERE role::oid IN (SELECT r.oid FROM pg_catalog.pg_roles r)');

/*
 * State of the gate. These functions read a variable of the backend, or settings, so
 * they must not run in parallel workers.
 */
CREATE FUNCTION quota.level_functions(OUT function text, OUT level text, OUT accounts text)
	RETURNS SETOF record
	LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'quota_level_functions';
COMMENT ON FUNCTION quota.level_functions IS
	'which level may call which public function, for which accounts: all, those of which its user is a member, or those that its user may see';

CREATE FUNCTION quota.current_act() RETURNS text
	LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'quota_current_act';
COMMENT ON FUNCTION quota.current_act IS 'the public function that is running; NULL: none';

CREATE FUNCTION quota.sees_all() RETURNS boolean
	LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'quota_sees_all';
COMMENT ON FUNCTION quota.sees_all IS 'true if the caller may see the rows of all accounts: levels monitor and admin, and the owner';

CREATE FUNCTION quota.manages() RETURNS boolean
	LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'quota_manages';
COMMENT ON FUNCTION quota.manages IS 'true if the caller may change the rows of all accounts: level admin, and the owner';

CREATE FUNCTION quota.acts_as_user() RETURNS boolean
	LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'quota_acts_as_user';
COMMENT ON FUNCTION quota.acts_as_user IS 'true if the running public function was called at level user';

CREATE FUNCTION quota.sees_metadata(of_account text) RETURNS boolean
	LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'quota_sees_metadata';
COMMENT ON FUNCTION quota.sees_metadata IS 'true if the caller may see the metadata in the ledger of an account';
