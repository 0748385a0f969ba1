/*
 * Triggers on the application's tables. Their arguments are text and names, which
 * dump and restore keep: feature, account column, amount column, on_block, status
 * column, blocked status, message column, amount expression, counted_when, time
 * column, mark_when; '' stands for none.
 */
CREATE OR REPLACE FUNCTION quota.charge_rows() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'quota_charge_rows';
COMMENT ON FUNCTION quota.charge_rows() IS 'AFTER STATEMENT: charges the rows that came, gives back those that went, each account once';

CREATE OR REPLACE FUNCTION quota.truncate_rows() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'quota_truncate_rows';
COMMENT ON FUNCTION quota.truncate_rows() IS 'BEFORE TRUNCATE: gives back what the rows of one table amount to';

CREATE OR REPLACE FUNCTION quota.begin_rows() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'quota_begin_rows';
COMMENT ON FUNCTION quota.begin_rows() IS 'BEFORE STATEMENT: begins the judging of rows, for skip and mark';

CREATE OR REPLACE FUNCTION quota.judge_row() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'quota_judge_row';
COMMENT ON FUNCTION quota.judge_row() IS 'BEFORE ROW: leaves out or marks a row that the limit refuses';

CREATE OR REPLACE FUNCTION quota.row_expression("table" regclass, expression text, OUT type regtype, OUT columns text[])
	LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'quota_row_expression';
COMMENT ON FUNCTION quota.row_expression(regclass, text) IS 'the type of an expression on a row, and the columns that it reads; an error where a trigger could not use it';

CREATE OR REPLACE FUNCTION quota.row_key(VARIADIC columns "any")
	RETURNS text
	LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'quota_row_key';
COMMENT ON FUNCTION quota.row_key("any") IS 'a primary key as text, the same whatever the session''s settings';

CREATE OR REPLACE FUNCTION quota.row_units(n bigint)
	RETURNS bigint
	LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'quota_row_units';
COMMENT ON FUNCTION quota.row_units(bigint) IS 'the units of a row; an error where a trigger would refuse them';

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
			AND tgname IN ('quota_charge_' || feature, 'quota_update_' || feature, 'quota_delete_' || feature,
				'quota_truncate_' || feature, 'quota_begin_' || feature, 'zz_quota_judge_' || feature)
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
 * partition has its own. Those of UPDATE, DELETE and TRUNCATE are for what a row
 * gives back.
 */
CREATE OR REPLACE FUNCTION quota.create_statement_triggers(relation regclass, arguments text[])
	RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	feature CONSTANT text := arguments[1];
	quoted text := (SELECT string_agg(quote_literal(a), ', ' ORDER BY n) FROM unnest(arguments) WITH ORDINALITY u (a, n));
	follows_rows boolean := arguments[9] <> ''
		OR EXISTS (SELECT FROM quota.features f WHERE f.feature = arguments[1] AND f.kind = 'gauge');
BEGIN
	EXECUTE format('CREATE TRIGGER %I AFTER INSERT ON %s REFERENCING NEW TABLE AS quota_rows '
		'FOR EACH STATEMENT EXECUTE FUNCTION quota.charge_rows(%s)',
		'quota_charge_' || feature, relation, quoted);
	IF follows_rows THEN
		EXECUTE format('CREATE TRIGGER %I AFTER UPDATE ON %s REFERENCING OLD TABLE AS quota_old_rows NEW TABLE AS quota_rows '
			'FOR EACH STATEMENT EXECUTE FUNCTION quota.charge_rows(%s)',
			'quota_update_' || feature, relation, quoted);
		EXECUTE format('CREATE TRIGGER %I AFTER DELETE ON %s REFERENCING OLD TABLE AS quota_old_rows '
			'FOR EACH STATEMENT EXECUTE FUNCTION quota.charge_rows(%s)',
			'quota_delete_' || feature, relation, quoted);
		EXECUTE format('CREATE TRIGGER %I BEFORE TRUNCATE ON %s '
			'FOR EACH STATEMENT EXECUTE FUNCTION quota.truncate_rows(%s)',
			'quota_truncate_' || feature, relation, quoted);
	END IF;
	IF arguments[4] <> 'raise' THEN
		EXECUTE format('CREATE TRIGGER %I BEFORE INSERT ON %s '
			'FOR EACH STATEMENT EXECUTE FUNCTION quota.begin_rows(%s)',
			'quota_begin_' || feature, relation, quoted);
	END IF;
END $$;
COMMENT ON FUNCTION quota.create_statement_triggers(regclass, text[]) IS
	'makes the statement triggers of an attached feature on one table';

/*
 * tgargs: each argument is followed by a byte 0. In hexadecimal digits, so that
 * nothing in an argument looks like one.
 */
CREATE OR REPLACE FUNCTION quota.trigger_arguments(tgargs bytea)
	RETURNS text[]
	LANGUAGE sql STABLE PARALLEL SAFE
	RETURN (
		SELECT array_agg(convert_from(decode(m[1], 'hex'), getdatabaseencoding()) ORDER BY n)
		FROM regexp_matches(encode(tgargs, 'hex'), '((?:[0-9a-f][0-9a-f])*?)00', 'g') WITH ORDINALITY r (m, n));
COMMENT ON FUNCTION quota.trigger_arguments(bytea) IS 'the arguments of a trigger';

/*
 * The tables that a feature is attached to, by the trigger that each of them has;
 * a table that has become a partition counts as part of its parent.
 */
CREATE OR REPLACE VIEW quota.attachments WITH (security_invoker = true) AS
	SELECT t.tgrelid::regclass AS relation, a.arguments[1] COLLATE "C" AS feature, a.arguments
	FROM pg_trigger t
		JOIN pg_class c ON c.oid = t.tgrelid
		CROSS JOIN LATERAL (SELECT quota.trigger_arguments(t.tgargs) AS arguments) a
	WHERE t.tgfoid = 'quota.charge_rows'::regproc AND t.tgname = 'quota_charge_' || a.arguments[1]
		AND NOT (c.relispartition AND EXISTS (
			SELECT FROM pg_partition_ancestors(c.oid) p JOIN pg_trigger o ON o.tgrelid = p.relid
			WHERE p.relid <> c.oid AND o.tgname = t.tgname AND o.tgfoid = t.tgfoid));
COMMENT ON VIEW quota.attachments IS 'which features are attached to which tables';
COMMENT ON COLUMN quota.attachments.arguments IS 'of the triggers';

/*
 * Partitions that come later, and children by INHERITS, which may not. A SECURITY DEFINER, since whoever makes a
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
BEGIN
	/* a dump brings the triggers of its partitions with it, in whatever order a parallel restore makes them */
	IF NOT current_setting('row_security')::boolean THEN
		RETURN;
	END IF;
	PERFORM quota.check_inheritance(t.tgrelid)
	FROM pg_event_trigger_ddl_commands() c
		JOIN pg_inherits i ON i.inhrelid = c.objid
		JOIN pg_trigger t ON t.tgrelid IN (i.inhparent, i.inhrelid)
	WHERE c.classid = 'pg_class'::regclass AND t.tgfoid = 'quota.charge_rows'::regproc AND t.tgname LIKE 'quota\_update\_%';
	FOR missing IN
		/* pg_partition_tree locks all partitions: of no tables but those that are attached, which a parallel restore depends on */
		WITH t AS MATERIALIZED (
			SELECT DISTINCT a.tgrelid, a.tgname, a.tgfoid, a.tgargs
			FROM pg_event_trigger_ddl_commands() c
				JOIN pg_class r ON r.oid = c.objid
				JOIN pg_trigger a ON a.tgrelid = pg_partition_root(c.objid)
					AND a.tgfoid = 'quota.charge_rows'::regproc AND a.tgname LIKE 'quota\_charge\_%'
			WHERE c.classid = 'pg_class'::regclass AND (r.relispartition OR r.relkind = 'p')
		)
		SELECT p.relid::regclass AS relation, quota.trigger_arguments(t.tgargs) AS arguments
		FROM t
			CROSS JOIN pg_partition_tree(t.tgrelid) p
			LEFT JOIN pg_trigger have ON have.tgrelid = p.relid AND have.tgname = t.tgname
		WHERE have.tgfoid IS DISTINCT FROM t.tgfoid OR have.tgargs IS DISTINCT FROM t.tgargs
	LOOP
		FOR other IN
			SELECT tgname FROM pg_trigger
			WHERE tgrelid = missing.relation
				AND tgname = ANY (ARRAY(
					SELECT format('quota_%s_%s', e, missing.arguments[1]) FROM unnest('{charge,update,delete,truncate,begin}'::text[]) e))
		LOOP
			EXECUTE format('DROP TRIGGER %I ON %s', other, missing.relation);
		END LOOP;
		PERFORM quota.create_statement_triggers(missing.relation, missing.arguments);
	END LOOP;
END $$;
COMMENT ON FUNCTION quota.follow_partitions() IS
	'gives a new partition the statement triggers of its partitioned table; refuses children of a table whose rows are followed';

CREATE EVENT TRIGGER quota_follow_partitions ON ddl_command_end
	WHEN TAG IN ('CREATE TABLE', 'ALTER TABLE', 'CREATE TABLE AS')
	EXECUTE FUNCTION quota.follow_partitions();
COMMENT ON EVENT TRIGGER quota_follow_partitions IS
	'partitions made after quota_attach are charged as those before';

/* An OID can be used again: nothing may stay that names a table which is gone. */
CREATE OR REPLACE FUNCTION quota.forget_tables()
	RETURNS event_trigger
	LANGUAGE plpgsql SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	DELETE FROM quota.charged_rows c
	USING pg_event_trigger_dropped_objects() d
	WHERE d.classid = 'pg_class'::regclass AND d.objsubid = 0 AND c.relation = d.objid;
	PERFORM quota.forget_adopted_tables();
END $$;
COMMENT ON FUNCTION quota.forget_tables() IS 'deletes what quota.charged_rows has of dropped tables';

CREATE EVENT TRIGGER quota_forget_tables ON sql_drop
	WHEN TAG IN ('DROP TABLE', 'DROP SCHEMA', 'DROP OWNED', 'DROP EXTENSION', 'DROP TYPE')
	EXECUTE FUNCTION quota.forget_tables();
COMMENT ON EVENT TRIGGER quota_forget_tables IS 'charged rows go with their table';

CREATE OR REPLACE FUNCTION quota.quota_detach("table" regclass, feature text)
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
	DELETE FROM quota.charged_rows c WHERE c.relation = "table" AND c.feature = quota_detach.feature;
END $$;
COMMENT ON FUNCTION quota.quota_detach(regclass, text) IS 'stop charging a feature for rows of a table';

/*
 * What quota_attach checks of its arguments, a function each.
 */
CREATE OR REPLACE FUNCTION quota.check_attached_table("table" regclass, feature text)
	RETURNS text
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	kind text;
BEGIN
	IF NOT EXISTS (SELECT FROM pg_class WHERE oid = "table" AND relkind IN ('r', 'p')) THEN
		RAISE wrong_object_type USING MESSAGE = format('%s is not a table', "table");
	ELSIF EXISTS (SELECT FROM pg_class WHERE oid = "table" AND relispartition) THEN
		RAISE wrong_object_type USING
			MESSAGE = format('%s is a partition', "table"),
			DETAIL = 'Rows that come by way of its parent would not be charged.',
			HINT = 'Attach the partitioned table.';
	END IF;
	SELECT f.kind INTO kind FROM quota.features f WHERE f.feature = check_attached_table.feature;
	IF NOT FOUND THEN
		RAISE undefined_object USING MESSAGE = format('feature "%s" does not exist', feature);
	ELSIF kind NOT IN ('counter', 'gauge') THEN
		RAISE wrong_object_type USING
			MESSAGE = format('feature "%s" of kind %s cannot be attached to a table', feature, kind);
	END IF;
	RETURN kind;
END $$;
COMMENT ON FUNCTION quota.check_attached_table(regclass, text) IS
	'refuses what is no table, and features that cannot be attached; the kind of the feature';

/* Of rows that are followed the triggers of one table must see every change. */
CREATE OR REPLACE FUNCTION quota.check_inheritance("table" regclass)
	RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF EXISTS (
		SELECT FROM pg_inherits i JOIN pg_class parent ON parent.oid = i.inhparent
		WHERE "table" IN (i.inhparent, i.inhrelid) AND parent.relkind = 'r')
	THEN
		RAISE wrong_object_type USING
			MESSAGE = format('rows of table %s cannot be followed, since it inherits or is inherited from', "table"),
			DETAIL = 'A statement that names the parent changes rows of its children as well, without their triggers.',
			HINT = 'Use a partitioned table.';
	END IF;
END $$;
COMMENT ON FUNCTION quota.check_inheritance(regclass) IS 'refuses tables whose rows statements on other tables change';

CREATE OR REPLACE FUNCTION quota.check_account_column("table" regclass, "column" text)
	RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF quota.column_type("table", "column") <> ALL
		('{text,varchar,bpchar,uuid,smallint,integer,bigint}'::regtype[]) THEN
		RAISE datatype_mismatch USING
			MESSAGE = format('column "%s" cannot name an account', "column"),
			DETAIL = format('Its type is %s.', quota.column_type("table", "column")),
			HINT = 'Accounts are named by text, varchar, char, uuid, smallint, integer or bigint.';
	END IF;
END $$;
COMMENT ON FUNCTION quota.check_account_column(regclass, text) IS 'refuses a column that cannot name an account';

/* What is written like a name is one; all else is an expression. */
CREATE OR REPLACE FUNCTION quota.is_column("table" regclass, amount text)
	RETURNS boolean
	LANGUAGE sql STABLE PARALLEL SAFE
	RETURN amount ~ '^[[:alpha:]_][[:alnum:]_$]*$'
		OR EXISTS (SELECT FROM pg_attribute WHERE attrelid = "table" AND attname = amount AND attnum > 0 AND NOT attisdropped);
COMMENT ON FUNCTION quota.is_column(regclass, text) IS 'whether an amount is a column, and not an expression';

CREATE OR REPLACE FUNCTION quota.check_amount("table" regclass, amount text)
	RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	is_column boolean := quota.is_column("table", amount);
	type regtype;
BEGIN
	IF amount IS NULL THEN
		RETURN;
	END IF;
	type := CASE WHEN is_column THEN quota.column_type("table", amount) ELSE (quota.row_expression("table", amount)).type END;
	IF type <> ALL ('{smallint,integer,bigint}'::regtype[]) THEN
		RAISE datatype_mismatch USING
			MESSAGE = format('%s "%s" cannot be an amount', CASE WHEN is_column THEN 'column' ELSE 'expression' END, amount),
			DETAIL = format('Its type is %s.', type),
			HINT = 'Amounts are smallint, integer or bigint.';
	END IF;
END $$;
COMMENT ON FUNCTION quota.check_amount(regclass, text) IS 'refuses a column or expression that cannot be an amount';

CREATE OR REPLACE FUNCTION quota.check_condition("table" regclass, condition text, argument text, tells text)
	RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	type regtype;
BEGIN
	type := (quota.row_expression("table", condition)).type;
	IF type <> 'boolean'::regtype THEN
		RAISE datatype_mismatch USING
			MESSAGE = format('expression "%s" cannot tell whether a row is %s', condition, tells),
			DETAIL = format('Its type is %s.', type),
			HINT = format('%s is boolean.', argument);
	END IF;
END $$;
COMMENT ON FUNCTION quota.check_condition(regclass, text, text, text) IS 'refuses an expression on a row that is not boolean';

CREATE OR REPLACE FUNCTION quota.check_counted_when("table" regclass, counted_when text, kind text)
	RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	key record;
BEGIN
	IF counted_when IS NULL THEN
		RETURN;
	END IF;
	PERFORM quota.check_condition("table", counted_when, 'counted_when', 'counted');
	IF kind = 'counter' AND NOT EXISTS (SELECT FROM pg_index WHERE indrelid = "table" AND indisprimary AND indimmediate) THEN
		RAISE object_not_in_prerequisite_state USING
			MESSAGE = format('table %s has no primary key', "table"),
			DETAIL = 'A row that stops to be counted is refunded to the windows in which it was charged, which may have to be remembered.',
			HINT = 'Add a primary key, which is not deferrable.';
	END IF;
	FOR key IN
		SELECT a.attname, quota.column_type("table", a.attname) AS type
		FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
		WHERE i.indrelid = "table" AND i.indisprimary AND kind = 'counter'
	LOOP
		/* of which the text is the same in every session */
		IF key.type <> ALL ('{text,varchar,bpchar,name,uuid,smallint,integer,bigint,numeric,boolean,oid,date,timestamp,timestamptz}'::regtype[])
			AND NOT EXISTS (SELECT FROM pg_type WHERE oid = key.type AND typtype = 'e') THEN
			RAISE datatype_mismatch USING
				MESSAGE = format('column "%s" of the primary key cannot be used to remember rows', key.attname),
				DETAIL = format('Its type is %s.', key.type),
				HINT = 'Keys are text, varchar, char, name, uuid, smallint, integer, bigint, numeric, boolean, oid, date, timestamp, timestamptz or enums.';
		END IF;
	END LOOP;
END $$;
COMMENT ON FUNCTION quota.check_counted_when(regclass, text, text) IS
	'refuses what cannot tell whether a row is counted, and tables whose rows cannot be told apart';

CREATE OR REPLACE FUNCTION quota.check_on_block("table" regclass, on_block text, status_column text, blocked_status text, message_column text, mark_when text)
	RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	CASE on_block
	WHEN 'raise', 'skip' THEN
		IF num_nonnulls(status_column, blocked_status, message_column, mark_when) > 0 THEN
			RAISE invalid_parameter_value USING
				MESSAGE = 'status_column, blocked_status, message_column and mark_when are for on_block mark only';
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
		IF mark_when IS NOT NULL THEN
			PERFORM quota.check_condition("table", mark_when, 'mark_when', 'marked');
		END IF;
	ELSE
		RAISE invalid_parameter_value USING
			MESSAGE = format('on_block "%s" does not exist', on_block),
			HINT = 'There are: raise, skip, mark.';
	END CASE;
END $$;
COMMENT ON FUNCTION quota.check_on_block(regclass, text, text, text, text, text) IS 'refuses what cannot be done with rows over the limit';

CREATE OR REPLACE FUNCTION quota.check_not_generated("table" regclass, on_block text, columns text[])
	RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	generated name;
BEGIN
	SELECT attname INTO generated FROM pg_attribute
	WHERE attrelid = "table" AND attgenerated <> '' AND on_block <> 'raise' AND attname = ANY (columns)
	LIMIT 1;
	IF FOUND THEN
		RAISE feature_not_supported USING
			MESSAGE = format('column "%s" is generated', generated),
			DETAIL = format('With on_block %s a row is judged before generated columns are known.', on_block),
			HINT = 'Use on_block raise.';
	END IF;
END $$;
COMMENT ON FUNCTION quota.check_not_generated(regclass, text, text[]) IS
	'refuses generated columns where rows are judged before they go in';

/*
 * The column that tells when a row was made: the one that is given, or the only
 * one that is the current time by default.
 */
CREATE OR REPLACE FUNCTION quota.time_column("table" regclass, given text, kind text)
	RETURNS text
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	found text[];
BEGIN
	IF given IS NULL THEN
		found := ARRAY(
			SELECT a.attname
			FROM pg_attribute a JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
			WHERE a.attrelid = "table" AND a.attgenerated = ''
				AND CASE WHEN a.attnum > 0 AND NOT a.attisdropped THEN quota.column_type("table", a.attname) = 'timestamptz'::regtype END
				AND pg_get_expr(d.adbin, d.adrelid)
					~ '^((now|quota\.now|transaction_timestamp|statement_timestamp|clock_timestamp)\(\)|CURRENT_TIMESTAMP(\(\d\))?)$');
		RETURN CASE WHEN cardinality(found) = 1 AND kind = 'counter' THEN found[1] END;
	END IF;
	IF kind <> 'counter' THEN
		RAISE invalid_parameter_value USING
			MESSAGE = 'time_column is for counters only',
			DETAIL = 'A gauge has no windows of time.';
	ELSIF quota.column_type("table", given) <> 'timestamptz'::regtype THEN
		RAISE datatype_mismatch USING
			MESSAGE = format('column "%s" cannot tell when a row was made', given),
			DETAIL = format('Its type is %s.', quota.column_type("table", given)),
			HINT = 'Times are timestamptz.';
	END IF;
	RETURN given;
END $$;
COMMENT ON FUNCTION quota.time_column(regclass, text, text) IS 'the column that tells when a row was made; NULL: none';

CREATE OR REPLACE FUNCTION quota.quota_attach(
	"table" regclass,
	feature text,
	account_column text,
	amount_column text DEFAULT NULL,
	on_block text DEFAULT 'raise',
	counted_when text DEFAULT NULL,
	status_column text DEFAULT NULL,
	blocked_status text DEFAULT NULL,
	message_column text DEFAULT NULL,
	backfill boolean DEFAULT true,
	time_column text DEFAULT NULL,
	mark_when text DEFAULT NULL)
	RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	kind text;
	is_column boolean;
	arguments text[];
	relation regclass;
	attached_before boolean;
BEGIN
	IF "table" IS NULL OR feature IS NULL OR account_column IS NULL OR on_block IS NULL OR backfill IS NULL THEN
		RAISE null_value_not_allowed USING
			MESSAGE = 'table, feature, account_column, on_block and backfill must not be null';
	END IF;
	kind := quota.check_attached_table("table", feature);
	IF kind = 'gauge' OR counted_when IS NOT NULL THEN
		PERFORM quota.check_inheritance("table");
	END IF;
	PERFORM quota.check_account_column("table", account_column);
	PERFORM quota.check_amount("table", amount_column);
	PERFORM quota.check_counted_when("table", counted_when, kind);
	PERFORM quota.check_on_block("table", on_block, status_column, blocked_status, message_column, mark_when);
	is_column := quota.is_column("table", amount_column);
	PERFORM quota.check_not_generated("table", on_block,
		ARRAY[account_column, status_column, message_column]
		|| CASE WHEN is_column THEN ARRAY[amount_column] WHEN amount_column IS NOT NULL THEN (quota.row_expression("table", amount_column)).columns END
		|| CASE WHEN counted_when IS NOT NULL THEN (quota.row_expression("table", counted_when)).columns END
		|| CASE WHEN mark_when IS NOT NULL THEN (quota.row_expression("table", mark_when)).columns END);
	time_column := quota.time_column("table", time_column, kind);

	/* no row comes between those that are there now and those that the triggers see */
	EXECUTE format('LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE', "table");
	attached_before := quota.drop_triggers("table", feature);
	arguments := ARRAY(
		SELECT COALESCE(a, '')
		FROM unnest(ARRAY[feature, account_column, CASE WHEN is_column THEN amount_column END, on_block,
			status_column, blocked_status, message_column,
			CASE WHEN NOT is_column THEN amount_column END, counted_when, time_column, mark_when]) WITH ORDINALITY u (a, n)
		ORDER BY n);
	FOR relation IN SELECT "table" UNION SELECT relid FROM pg_partition_tree("table") LOOP
		PERFORM quota.create_statement_triggers(relation, arguments);
	END LOOP;
	IF on_block <> 'raise' THEN
		/* zz: after the triggers of others, which may change the row; partitions inherit it */
		EXECUTE format('CREATE TRIGGER %I BEFORE INSERT ON %s '
			'FOR EACH ROW EXECUTE FUNCTION quota.judge_row(%s)',
			'zz_quota_judge_' || feature, "table",
			(SELECT string_agg(quote_literal(a), ', ' ORDER BY n) FROM unnest(arguments) WITH ORDINALITY u (a, n)));
	END IF;
	IF backfill AND NOT attached_before THEN
		PERFORM quota.backfill("table", feature);
	END IF;
END $$;
COMMENT ON FUNCTION quota.quota_attach(regclass, text, text, text, text, text, text, text, text, boolean, text, text) IS
	'let a counter be charged for the rows of a table, or a gauge follow them';
