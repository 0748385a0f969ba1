/*
 * Triggers on the application's tables. Their arguments are names, which dump
 * and restore keep: feature, account column, amount column, on_block, status
 * column, blocked status, message column; '' stands for none.
 */
CREATE OR REPLACE FUNCTION quota.charge_rows() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'quota_charge_rows';
COMMENT ON FUNCTION quota.charge_rows() IS 'AFTER STATEMENT: charges the rows that went in, each account once';

CREATE OR REPLACE FUNCTION quota.begin_rows() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'quota_begin_rows';
COMMENT ON FUNCTION quota.begin_rows() IS 'BEFORE STATEMENT: begins the judging of rows, for skip and mark';

CREATE OR REPLACE FUNCTION quota.judge_row() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'quota_judge_row';
COMMENT ON FUNCTION quota.judge_row() IS 'BEFORE ROW: leaves out or marks a row that the limit refuses';

CREATE OR REPLACE FUNCTION quota.column_type("table" regclass, "column" text)
	RETURNS regtype
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	type oid;
	base oid;
BEGIN
	SELECT atttypid INTO type FROM pg_attribute
	WHERE attrelid = "table" AND attname = "column" AND attnum > 0 AND NOT attisdropped;
	IF NOT FOUND THEN
		RAISE undefined_column USING
			MESSAGE = format('column "%s" of table %s does not exist', "column", "table");
	END IF;
	LOOP
		SELECT typbasetype INTO base FROM pg_type WHERE oid = type AND typtype = 'd';
		EXIT WHEN NOT FOUND;
		type := base;
	END LOOP;
	RETURN type;
END $$;
COMMENT ON FUNCTION quota.column_type(regclass, text) IS 'type of a column, of a domain its base type';

CREATE OR REPLACE FUNCTION quota.drop_triggers("table" regclass, feature text)
	RETURNS boolean
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	dropped boolean := false;
	t record;
BEGIN
	FOR t IN
		SELECT tgrelid::regclass AS relation, tgname
		FROM pg_trigger
		WHERE tgrelid IN (SELECT "table" UNION SELECT relid FROM pg_partition_tree("table"))
			AND tgname IN ('quota_charge_' || feature, 'quota_begin_' || feature, 'zz_quota_judge_' || feature)
			AND tgparentid = 0
	LOOP
		EXECUTE format('DROP TRIGGER %I ON %s', t.tgname, t.relation);
		dropped := true;
	END LOOP;
	RETURN dropped;
END $$;
COMMENT ON FUNCTION quota.drop_triggers(regclass, text) IS
	'drops the triggers of an attached feature from a table and its partitions; false: there were none';

/*
 * Statement triggers fire for the table that a statement names, so that each
 * partition has its own.
 */
CREATE OR REPLACE FUNCTION quota.create_statement_triggers(relation regclass, feature text, on_block text, arguments text)
	RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	EXECUTE format('CREATE TRIGGER %I AFTER INSERT ON %s REFERENCING NEW TABLE AS quota_rows '
		'FOR EACH STATEMENT EXECUTE FUNCTION quota.charge_rows(%s)',
		'quota_charge_' || feature, relation, arguments);
	IF on_block <> 'raise' THEN
		EXECUTE format('CREATE TRIGGER %I BEFORE INSERT ON %s '
			'FOR EACH STATEMENT EXECUTE FUNCTION quota.begin_rows(%s)',
			'quota_begin_' || feature, relation, arguments);
	END IF;
END $$;
COMMENT ON FUNCTION quota.create_statement_triggers(regclass, text, text, text) IS
	'makes the statement triggers of an attached feature on one table';

/*
 * Partitions that come later. A SECURITY DEFINER, since whoever makes a
 * partition need hold no right on the trigger functions; it only copies the
 * triggers that the partitioned table has.
 */
CREATE OR REPLACE FUNCTION quota.follow_partitions()
	RETURNS event_trigger
	LANGUAGE plpgsql SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	missing record;
	other name;
	arguments text[];
BEGIN
	FOR missing IN
		/* pg_partition_tree locks all partitions: of no tables but those that are attached, which a parallel restore depends on */
		WITH t AS MATERIALIZED (
			SELECT DISTINCT a.tgrelid, a.tgname, a.tgfoid, a.tgargs, a.tgnargs
			FROM pg_event_trigger_ddl_commands() c
				JOIN pg_class r ON r.oid = c.objid
				JOIN pg_trigger a ON a.tgrelid = pg_partition_root(c.objid)
					AND a.tgfoid = 'quota.charge_rows'::regproc
			WHERE c.classid = 'pg_class'::regclass AND (r.relispartition OR r.relkind = 'p')
		)
		SELECT p.relid::regclass AS relation, t.tgname, t.tgargs, t.tgnargs
		FROM t
			CROSS JOIN pg_partition_tree(t.tgrelid) p
			LEFT JOIN pg_trigger have ON have.tgrelid = p.relid AND have.tgname = t.tgname
		WHERE have.tgfoid IS DISTINCT FROM t.tgfoid OR have.tgargs IS DISTINCT FROM t.tgargs
	LOOP
		/* tgargs: each argument is followed by a byte 0 */
		SELECT array_agg(convert_from(decode(a, 'escape'), getdatabaseencoding()) ORDER BY n) INTO arguments
		FROM string_to_table(encode(missing.tgargs, 'escape'), '\000') WITH ORDINALITY u (a, n)
		WHERE n <= missing.tgnargs;
		FOR other IN
			SELECT tgname FROM pg_trigger
			WHERE tgrelid = missing.relation
				AND tgname IN ('quota_charge_' || arguments[1], 'quota_begin_' || arguments[1])
		LOOP
			EXECUTE format('DROP TRIGGER %I ON %s', other, missing.relation);
		END LOOP;
		PERFORM quota.create_statement_triggers(missing.relation, arguments[1], arguments[4],
			(SELECT string_agg(quote_literal(a), ', ' ORDER BY n) FROM unnest(arguments) WITH ORDINALITY u (a, n)));
	END LOOP;
END $$;
COMMENT ON FUNCTION quota.follow_partitions() IS
	'gives a new partition the statement triggers of its partitioned table';

CREATE EVENT TRIGGER quota_follow_partitions ON ddl_command_end
	WHEN TAG IN ('CREATE TABLE', 'ALTER TABLE', 'CREATE TABLE AS')
	EXECUTE FUNCTION quota.follow_partitions();
COMMENT ON EVENT TRIGGER quota_follow_partitions IS
	'partitions made after quota_attach are charged as those before';

CREATE OR REPLACE FUNCTION @extschema@.quota_detach("table" regclass, feature text)
	RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF "table" IS NULL OR feature IS NULL THEN
		RAISE null_value_not_allowed USING MESSAGE = 'table and feature must not be null';
	END IF;
	IF NOT quota.drop_triggers("table", feature) THEN
		RAISE undefined_object USING
			MESSAGE = format('feature "%s" is not attached to table %s', feature, "table");
	END IF;
END $$;
COMMENT ON FUNCTION @extschema@.quota_detach(regclass, text) IS 'stop charging a feature for rows of a table';

CREATE OR REPLACE FUNCTION @extschema@.quota_attach(
	"table" regclass,
	feature text,
	account_column text,
	amount_column text DEFAULT NULL,
	on_block text DEFAULT 'raise',
	counted_when text DEFAULT NULL,
	status_column text DEFAULT NULL,
	blocked_status text DEFAULT NULL,
	message_column text DEFAULT NULL,
	backfill boolean DEFAULT true)
	RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	feature_kind text;
	arguments text;
	relation regclass;
	generated name;
	has_rows boolean;
BEGIN
	IF "table" IS NULL OR quota_attach.feature IS NULL OR account_column IS NULL OR on_block IS NULL OR backfill IS NULL THEN
		RAISE null_value_not_allowed USING
			MESSAGE = 'table, feature, account_column, on_block and backfill must not be null';
	END IF;
	IF counted_when IS NOT NULL THEN
		RAISE feature_not_supported USING MESSAGE = 'counted_when is not supported yet';
	END IF;
	IF NOT EXISTS (SELECT FROM pg_class WHERE oid = "table" AND relkind IN ('r', 'p')) THEN
		RAISE wrong_object_type USING MESSAGE = format('%s is not a table', "table");
	ELSIF EXISTS (SELECT FROM pg_class WHERE oid = "table" AND relispartition) THEN
		RAISE wrong_object_type USING
			MESSAGE = format('%s is a partition', "table"),
			DETAIL = 'Rows that come by way of its parent would not be charged.',
			HINT = 'Attach the partitioned table.';
	END IF;
	SELECT f.kind INTO feature_kind FROM quota.features f WHERE f.feature = quota_attach.feature;
	IF NOT FOUND THEN
		RAISE undefined_object USING MESSAGE = format('feature "%s" does not exist', quota_attach.feature);
	ELSIF feature_kind = 'gauge' THEN
		RAISE feature_not_supported USING MESSAGE = 'attaching features of kind gauge is not supported yet';
	ELSIF feature_kind <> 'counter' THEN
		RAISE wrong_object_type USING
			MESSAGE = format('feature "%s" of kind %s cannot be attached to a table', quota_attach.feature, feature_kind);
	END IF;

	IF quota.column_type("table", account_column) <> ALL
		('{text,varchar,bpchar,uuid,smallint,integer,bigint}'::regtype[]) THEN
		RAISE datatype_mismatch USING
			MESSAGE = format('column "%s" cannot name an account', account_column),
			DETAIL = format('Its type is %s.', quota.column_type("table", account_column)),
			HINT = 'Accounts are named by text, varchar, char, uuid, smallint, integer or bigint.';
	END IF;
	IF amount_column IS NOT NULL
		AND quota.column_type("table", amount_column) <> ALL ('{smallint,integer,bigint}'::regtype[]) THEN
		RAISE datatype_mismatch USING
			MESSAGE = format('column "%s" cannot be an amount', amount_column),
			DETAIL = format('Its type is %s.', quota.column_type("table", amount_column)),
			HINT = 'Amounts are smallint, integer or bigint.';
	END IF;

	CASE on_block
	WHEN 'raise', 'skip' THEN
		IF status_column IS NOT NULL OR blocked_status IS NOT NULL OR message_column IS NOT NULL THEN
			RAISE invalid_parameter_value USING
				MESSAGE = 'status_column, blocked_status and message_column are for on_block mark only';
		END IF;
	WHEN 'mark' THEN
		IF status_column IS NULL OR blocked_status IS NULL THEN
			RAISE invalid_parameter_value USING
				MESSAGE = 'on_block mark needs status_column and blocked_status';
		END IF;
		PERFORM quota.column_type("table", status_column);
		/* an error now rather than at each row, of the column's own type and length */
		EXECUTE format('SELECT jsonb_populate_record(NULL::%s, %L)', "table",
			jsonb_build_object(status_column, blocked_status));
		IF message_column IS NOT NULL
			AND quota.column_type("table", message_column) <> ALL ('{text,varchar,bpchar}'::regtype[]) THEN
			RAISE datatype_mismatch USING
				MESSAGE = format('column "%s" cannot hold a message', message_column),
				DETAIL = format('Its type is %s.', quota.column_type("table", message_column));
		END IF;
	ELSE
		RAISE invalid_parameter_value USING
			MESSAGE = format('on_block "%s" does not exist', on_block),
			HINT = 'There are: raise, skip, mark.';
	END CASE;

	SELECT attname INTO generated FROM pg_attribute
	WHERE attrelid = "table" AND attgenerated <> '' AND on_block <> 'raise'
		AND attname IN (account_column, amount_column, status_column, message_column)
	LIMIT 1;
	IF FOUND THEN
		RAISE feature_not_supported USING
			MESSAGE = format('column "%s" is generated', generated),
			DETAIL = format('With on_block %s a row is judged before generated columns are known.', on_block),
			HINT = 'Use on_block raise.';
	END IF;

	PERFORM quota.drop_triggers("table", quota_attach.feature);
	SELECT string_agg(quote_literal(COALESCE(a, '')), ', ' ORDER BY n) INTO arguments
	FROM unnest(ARRAY[quota_attach.feature, account_column, amount_column, on_block,
		status_column, blocked_status, message_column]) WITH ORDINALITY u (a, n);
	FOR relation IN SELECT "table" UNION SELECT relid FROM pg_partition_tree("table") LOOP
		PERFORM quota.create_statement_triggers(relation, quota_attach.feature, on_block, arguments);
	END LOOP;
	IF on_block <> 'raise' THEN
		/* zz: after the triggers of others, which may change the row; partitions inherit it */
		EXECUTE format('CREATE TRIGGER %I BEFORE INSERT ON %s '
			'FOR EACH ROW EXECUTE FUNCTION quota.judge_row(%s)',
			'zz_quota_judge_' || quota_attach.feature, "table", arguments);
	END IF;

	IF backfill THEN
		EXECUTE format('SELECT EXISTS (SELECT FROM %s)', "table") INTO has_rows;
		IF has_rows THEN
			RAISE NOTICE USING
				MESSAGE = format('rows that table %s holds already are not counted', "table"),
				HINT = 'Count them with quota_record.';
		END IF;
	END IF;
END $$;
COMMENT ON FUNCTION @extschema@.quota_attach(regclass, text, text, text, text, text, text, text, text, boolean) IS
	'charge a feature for each row inserted into a table';
