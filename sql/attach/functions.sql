/*
 * Triggers on the application's tables. Their one argument is the number of a row
 * of quota.attached.
 */
CREATE OR REPLACE FUNCTION quota.charge_rows() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'quota_charge_rows';
COMMENT ON FUNCTION quota.charge_rows IS 'AFTER STATEMENT: charges inserted rows and refunds deleted ones, once an account';

CREATE OR REPLACE FUNCTION quota.truncate_rows() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'quota_truncate_rows';
COMMENT ON FUNCTION quota.truncate_rows IS 'BEFORE TRUNCATE: refunds the rows of one table';

CREATE OR REPLACE FUNCTION quota.begin_filter() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'quota_begin_filter';
COMMENT ON FUNCTION quota.begin_filter IS 'BEFORE STATEMENT: opens the filter of a statement''s rows, for skip and mark';

CREATE OR REPLACE FUNCTION quota.filter_row() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'quota_filter_row';
COMMENT ON FUNCTION quota.filter_row IS 'BEFORE ROW: leaves out or marks a row that the limit refuses';

CREATE OR REPLACE FUNCTION quota.row_expression("table" regclass, expression text, OUT type regtype, OUT columns text[])
	LANGUAGE c STABLE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'quota_row_expression';
COMMENT ON FUNCTION quota.row_expression IS 'the type of an expression on a row, and the columns that it reads; raises an error if a trigger could not use it';

CREATE OR REPLACE FUNCTION quota.make_expression("table" regclass, expression text, attachment integer, name text)
	RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'quota_make_expression';
COMMENT ON FUNCTION quota.make_expression IS
	'stores an expression of an attachment as a function of the columns that it reads';

CREATE OR REPLACE FUNCTION quota.drop_expressions(attachment integer)
	RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'quota_drop_expressions';
COMMENT ON FUNCTION quota.drop_expressions IS 'drops the functions of an attachment''s expressions';

CREATE OR REPLACE FUNCTION quota.make_triggers(attachment integer)
	RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'quota_make_triggers';
COMMENT ON FUNCTION quota.make_triggers IS 'creates the triggers of an attachment, on its table and partitions';

CREATE OR REPLACE FUNCTION quota.drop_triggers("table" regclass, feature text)
	RETURNS boolean
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'quota_drop_triggers';
COMMENT ON FUNCTION quota.drop_triggers IS
	'drops the triggers of an attached feature from a table and its partitions; false: there were none';

CREATE OR REPLACE FUNCTION quota.check_value("table" regclass, "column" text, value text)
	RETURNS void
	LANGUAGE c STABLE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'quota_check_value';
COMMENT ON FUNCTION quota.check_value IS 'raises an error if a column of a table cannot hold a value; runs as the table''s owner';

CREATE OR REPLACE FUNCTION quota.column_type("table" regclass, "column" text)
	RETURNS regtype
	LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $$
DECLARE
	type oid;
	base oid;
	generated "char";
BEGIN
	SELECT atttypid, attgenerated INTO type, generated FROM pg_attribute
	WHERE attrelid = "table" AND attname = "column" AND attnum > 0 AND NOT attisdropped;
	IF NOT FOUND THEN
		RAISE undefined_column USING
			MESSAGE = format('column "%s" of table %s does not exist', quota.shown("column"), "table");
	ELSIF generated = 'v' THEN
		RAISE feature_not_supported USING
			MESSAGE = format('column "%s" is a virtual generated column', "column"),
			DETAIL = 'A trigger sees no value of it.',
			HINT = 'Make the column STORED.';
	END IF;
	LOOP
		SELECT typbasetype INTO base FROM pg_type WHERE oid = type AND typtype = 'd';
		EXIT WHEN NOT FOUND;
		type := base;
	END LOOP;
	RETURN type;
END $$;
COMMENT ON FUNCTION quota.column_type IS 'the type of a column, of a domain its base type; raises an error if triggers cannot read it';

/*
 * An attachment without its table, or whose trigger was dropped by hand, is left out.
 */
CREATE OR REPLACE VIEW quota.attachments WITH (security_invoker = true) AS
	SELECT a.relation, a.feature, a.account_column,
		COALESCE(a.amount_column, substr(pg_get_function_sqlbody(to_regproc(format('quota.attached_%s_amount', a.id))), 8)) AS amount,
		a.on_block,
		substr(pg_get_function_sqlbody(to_regproc(format('quota.attached_%s_counted_when', a.id))), 8) AS counted_when,
		a.status_column, a.blocked_status, a.message_column, a.time_column,
		substr(pg_get_function_sqlbody(to_regproc(format('quota.attached_%s_mark_when', a.id))), 8) AS mark_when
	FROM quota.attached a
	WHERE EXISTS (
		SELECT FROM pg_trigger t
		WHERE t.tgrelid = a.relation AND t.tgname = 'quota_charge_' || a.feature AND t.tgfoid = 'quota.charge_rows()'::regprocedure);
COMMENT ON VIEW quota.attachments IS 'which features are attached to which tables';
COMMENT ON COLUMN quota.attachments.amount IS 'a column or an expression; NULL: one unit a row';

CREATE OR REPLACE FUNCTION quota.follow_partitions()
	RETURNS event_trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'quota_follow_partitions';
COMMENT ON FUNCTION quota.follow_partitions IS
	'creates the statement triggers on a new partition; refuses children of a table whose rows are followed';

CREATE EVENT TRIGGER quota_follow_partitions ON ddl_command_end
	WHEN TAG IN ('CREATE TABLE', 'ALTER TABLE', 'CREATE SCHEMA', 'CREATE FOREIGN TABLE', 'ALTER FOREIGN TABLE', 'IMPORT FOREIGN SCHEMA',
		'ALTER VIEW', 'ALTER MATERIALIZED VIEW', 'ALTER TYPE')
	EXECUTE FUNCTION quota.follow_partitions();
COMMENT ON EVENT TRIGGER quota_follow_partitions IS
	'partitions made after quota_attach are charged as those before';

/* OIDs are reused: nothing that names a dropped table may stay. */
CREATE OR REPLACE FUNCTION quota.forget_tables()
	RETURNS event_trigger
	LANGUAGE plpgsql SECURITY DEFINER
AS $$
DECLARE
	attachments integer[];
BEGIN
	DELETE FROM quota.charged_rows c
	USING pg_event_trigger_dropped_objects() d
	WHERE d.classid = 'pg_class'::regclass AND d.objsubid = 0 AND c.relation = d.objid;
	WITH gone AS (
		DELETE FROM quota.attached a
		USING pg_event_trigger_dropped_objects() d
		WHERE d.classid = 'pg_class'::regclass AND d.objsubid = 0 AND a.relation = d.objid
		RETURNING a.id
	)
	SELECT array_agg(g.id) INTO attachments FROM gone g;
	PERFORM quota.release_adoption(a.id)
	FROM pg_event_trigger_dropped_objects() d JOIN quota.adopted a ON a.relation = d.objid
	WHERE d.classid = 'pg_class'::regclass AND d.objsubid = 0;
	PERFORM quota.drop_expressions(id) FROM unnest(attachments) id;
END $$;
COMMENT ON FUNCTION quota.forget_tables IS 'detaches and releases tables that are dropped, and forgets their charged rows';

CREATE EVENT TRIGGER quota_forget_tables ON sql_drop
	/* a table can become a view */
	WHEN TAG IN ('DROP TABLE', 'DROP VIEW', 'DROP FOREIGN TABLE', 'DROP SCHEMA', 'DROP OWNED', 'DROP EXTENSION', 'DROP TYPE')
	EXECUTE FUNCTION quota.forget_tables();
COMMENT ON EVENT TRIGGER quota_forget_tables IS 'attachments, adoptions and charged rows go with their table';

CREATE OR REPLACE FUNCTION quota.remove_attachment("table" regclass, feature text)
	RETURNS boolean
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
AS $$
DECLARE
	attachment integer;
BEGIN
	DELETE FROM quota.attached a
	WHERE a.relation = "table" AND a.feature = remove_attachment.feature
	RETURNING a.id INTO attachment;
	IF NOT FOUND THEN
		RETURN NULL;
	END IF;
	PERFORM quota.drop_expressions(attachment);
	RETURN quota.drop_triggers("table", feature);
END $$;
COMMENT ON FUNCTION quota.remove_attachment IS 'removes an attachment with its functions and triggers; false: it had no triggers any more; NULL: there was none';

CREATE OR REPLACE FUNCTION quota.quota_detach("table" regclass, feature text)
	RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
AS $$
BEGIN
	IF "table" IS NULL OR feature IS NULL THEN
		RAISE null_value_not_allowed USING MESSAGE = 'table and feature must not be null';
	END IF;
	IF quota.remove_attachment("table", feature) IS NULL THEN
		RAISE undefined_object USING
			MESSAGE = format('feature "%s" is not attached to table %s', quota.shown(feature), "table");
	END IF;
	DELETE FROM quota.charged_rows c WHERE c.relation = "table" AND c.feature = quota_detach.feature;
END $$;
COMMENT ON FUNCTION quota.quota_detach IS 'stop charging a feature for rows of a table';

/*
 * Checks of the arguments of quota_attach
 */
CREATE OR REPLACE FUNCTION quota.check_attached_table("table" regclass, feature text)
	RETURNS text
	LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $$
DECLARE
	kind text;
BEGIN
	IF NOT EXISTS (SELECT FROM pg_class WHERE oid = "table" AND relkind IN ('r', 'p')) THEN
		RAISE wrong_object_type USING MESSAGE = format('%s is not a table', "table");
	ELSIF EXISTS (SELECT FROM pg_class WHERE oid = "table" AND relpersistence = 't') THEN
		RAISE wrong_object_type USING
			MESSAGE = format('%s is a temporary table', "table"),
			DETAIL = 'Other sessions cannot count its rows.';
	ELSIF EXISTS (SELECT FROM pg_class WHERE oid = "table" AND relispartition) THEN
		RAISE wrong_object_type USING
			MESSAGE = format('%s is a partition', "table"),
			DETAIL = 'Rows that come by way of its parent would not be charged.',
			HINT = 'Attach the partitioned table.';
	END IF;
	kind := quota.kind_of(feature);
	IF kind NOT IN ('counter', 'gauge') THEN
		RAISE wrong_object_type USING
			MESSAGE = format('feature "%s" of kind %s cannot be attached to a table', feature, kind);
	END IF;
	RETURN kind;
END $$;
COMMENT ON FUNCTION quota.check_attached_table IS
	'the kind of a feature; raises an error if it cannot be attached to the table';

/* If rows are followed, the triggers of one table must see every change. */
CREATE OR REPLACE FUNCTION quota.check_inheritance("table" regclass)
	RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $$
BEGIN
	IF EXISTS (
		SELECT FROM pg_inherits i JOIN pg_class parent ON parent.oid = i.inhparent
		WHERE "table" IN (i.inhparent, i.inhrelid) AND parent.relkind <> 'p')
	THEN
		RAISE wrong_object_type USING
			MESSAGE = format('rows of table %s cannot be followed, since it inherits or is inherited from', "table"),
			DETAIL = 'A statement that names the parent changes rows of its children as well, without their triggers.',
			HINT = 'Use a partitioned table.';
	END IF;
END $$;
COMMENT ON FUNCTION quota.check_inheritance IS 'raises an error if statements on other tables change the rows of a table';

CREATE OR REPLACE FUNCTION quota.check_type(type regtype, allowed regtype[], message text, hint text)
	RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $$
BEGIN
	IF type <> ALL (allowed) THEN
		RAISE datatype_mismatch USING MESSAGE = message, DETAIL = format('Its type is %s.', type), HINT = hint;
	END IF;
END $$;
COMMENT ON FUNCTION quota.check_type IS 'raises an error unless a type is among those allowed';

/* A name, or the name of a column, is a column; all else is an expression. */
CREATE OR REPLACE FUNCTION quota.is_column("table" regclass, amount text)
	RETURNS boolean
	LANGUAGE sql STABLE PARALLEL SAFE
	RETURN amount ~ '^[[:alpha:]_][[:alnum:]_$]*$'
		OR EXISTS (SELECT FROM pg_attribute WHERE attrelid = "table" AND attname = amount AND attnum > 0 AND NOT attisdropped);
COMMENT ON FUNCTION quota.is_column IS 'true if an amount is a column, false if it is an expression';

CREATE OR REPLACE FUNCTION quota.check_amount("table" regclass, amount text)
	RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $$
DECLARE
	is_column boolean := quota.is_column("table", amount);
BEGIN
	IF amount IS NULL THEN
		RETURN;
	END IF;
	PERFORM quota.check_type(
		CASE WHEN is_column THEN quota.column_type("table", amount) ELSE (quota.row_expression("table", amount)).type END,
		'{smallint,integer,bigint}'::regtype[],
		format('%s "%s" cannot be an amount', CASE WHEN is_column THEN 'column' ELSE 'expression' END, quota.shown(amount)),
		'Amounts are smallint, integer or bigint.');
END $$;
COMMENT ON FUNCTION quota.check_amount IS 'raises an error if a column or expression cannot be an amount';

CREATE OR REPLACE FUNCTION quota.check_condition("table" regclass, condition text, argument text, tells text)
	RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $$
BEGIN
	PERFORM quota.check_type((quota.row_expression("table", condition)).type, '{boolean}'::regtype[],
		format('expression "%s" cannot tell whether a row is %s', quota.shown(condition), tells),
		format('%s is boolean.', argument));
END $$;
COMMENT ON FUNCTION quota.check_condition IS 'raises an error unless an expression on a row is boolean';

CREATE OR REPLACE FUNCTION quota.check_counted_when("table" regclass, counted_when text, kind text)
	RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL SAFE
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
		/* types whose text is the same in every session */
		IF NOT EXISTS (SELECT FROM pg_type WHERE oid = key.type AND typtype = 'e') THEN
			PERFORM quota.check_type(key.type,
				'{text,varchar,bpchar,name,uuid,smallint,integer,bigint,numeric,boolean,oid,date,timestamp,timestamptz}'::regtype[],
				format('column "%s" of the primary key cannot be used to remember rows', key.attname),
				'Keys are text, varchar, char, name, uuid, smallint, integer, bigint, numeric, boolean, oid, date, timestamp, timestamptz or enums.');
		END IF;
	END LOOP;
END $$;
COMMENT ON FUNCTION quota.check_counted_when IS
	'raises an error if an expression cannot be counted_when, or rows have no key to remember them by';

CREATE OR REPLACE FUNCTION quota.check_on_block("table" regclass, on_block text, status_column text, blocked_status text, message_column text, mark_when text)
	RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL SAFE
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
		/* raise the error now, not at each row */
		PERFORM quota.check_value("table", status_column, blocked_status);
		IF message_column IS NOT NULL THEN
			PERFORM quota.check_type(quota.column_type("table", message_column), '{text,varchar,bpchar}'::regtype[],
				format('column "%s" cannot hold a message', message_column),
				'Messages are text, varchar or char.');
		END IF;
		IF mark_when IS NOT NULL THEN
			PERFORM quota.check_condition("table", mark_when, 'mark_when', 'marked');
		END IF;
	ELSE
		RAISE invalid_parameter_value USING
			MESSAGE = format('on_block "%s" does not exist', quota.shown(on_block)),
			HINT = 'There are: raise, skip, mark.';
	END CASE;
END $$;
COMMENT ON FUNCTION quota.check_on_block IS 'raises an error if on_block and its columns cannot be used';

CREATE OR REPLACE FUNCTION quota.check_not_generated("table" regclass, on_block text, columns text[])
	RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL SAFE
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
COMMENT ON FUNCTION quota.check_not_generated IS 'raises an error for generated columns if rows are filtered before they are inserted';

/*
 * The column with the time at which a row was made: the given one, or the only one
 * whose default is the current time.
 */
CREATE OR REPLACE FUNCTION quota.time_column("table" regclass, given text, kind text)
	RETURNS text
	LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $$
DECLARE
	found text[];
BEGIN
	IF given IS NULL THEN
		found := ARRAY(
			SELECT a.attname
			FROM pg_attribute a JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
			WHERE a.attrelid = "table"
				AND CASE WHEN a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' THEN quota.column_type("table", a.attname) = 'timestamptz'::regtype END
				AND pg_get_expr(d.adbin, d.adrelid)
					~ '^((now|quota[.]now|transaction_timestamp|statement_timestamp|clock_timestamp)[(][)]|CURRENT_TIMESTAMP([(][0-9][)])?)$');
		RETURN CASE WHEN cardinality(found) = 1 AND kind = 'counter' THEN found[1] END;
	END IF;
	IF kind <> 'counter' THEN
		RAISE invalid_parameter_value USING
			MESSAGE = 'time_column is for counters only',
			DETAIL = 'A gauge has no windows of time.';
	END IF;
	PERFORM quota.check_type(quota.column_type("table", given), '{timestamptz}'::regtype[],
		format('column "%s" cannot tell when a row was made', given), 'Times are timestamptz.');
	RETURN given;
END $$;
COMMENT ON FUNCTION quota.time_column IS 'the column with the time at which a row was made; NULL: none';

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
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
AS $$
DECLARE
	kind text;
	is_column boolean;
	attachment integer;
	attached_before boolean;
	amount_reads text[];
	counted_when_reads text[];
	mark_when_reads text[];
	expression text[];
BEGIN
	IF "table" IS NULL OR feature IS NULL OR account_column IS NULL OR on_block IS NULL OR backfill IS NULL THEN
		RAISE null_value_not_allowed USING
			MESSAGE = 'table, feature, account_column, on_block and backfill must not be null';
	END IF;
	kind := quota.check_attached_table("table", feature);
	IF kind = 'gauge' OR counted_when IS NOT NULL THEN
		PERFORM quota.check_inheritance("table");
	END IF;
	PERFORM quota.check_type(quota.column_type("table", account_column), '{text,varchar,bpchar,uuid,smallint,integer,bigint}'::regtype[],
		format('column "%s" cannot name an account', account_column),
		'Accounts are named by text, varchar, char, uuid, smallint, integer or bigint.');
	PERFORM quota.check_amount("table", amount_column);
	PERFORM quota.check_counted_when("table", counted_when, kind);
	PERFORM quota.check_on_block("table", on_block, status_column, blocked_status, message_column, mark_when);
	is_column := quota.is_column("table", amount_column);
	amount_reads := CASE WHEN NOT is_column THEN (quota.row_expression("table", amount_column)).columns END;
	counted_when_reads := CASE WHEN counted_when IS NOT NULL THEN (quota.row_expression("table", counted_when)).columns END;
	mark_when_reads := CASE WHEN mark_when IS NOT NULL THEN (quota.row_expression("table", mark_when)).columns END;
	PERFORM quota.check_not_generated("table", on_block,
		ARRAY[account_column, status_column, message_column, CASE WHEN is_column THEN amount_column END]
		|| amount_reads || counted_when_reads || mark_when_reads);
	time_column := quota.time_column("table", time_column, kind);

	/* attachments of temporary tables, which go without an event */
	DELETE FROM quota.attached a WHERE NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = a.relation);
	attached_before := COALESCE(quota.remove_attachment("table", feature), false);
	INSERT INTO quota.attached (relation, feature, account_column, amount_column, on_block,
		status_column, blocked_status, message_column, time_column,
		amount_reads, counted_when_reads, mark_when_reads, follows_rows)
	VALUES ("table", quota_attach.feature, quota_attach.account_column, CASE WHEN is_column THEN quota_attach.amount_column END, quota_attach.on_block,
		quota_attach.status_column, quota_attach.blocked_status, quota_attach.message_column, quota_attach.time_column,
		amount_reads, counted_when_reads, mark_when_reads, kind = 'gauge' OR counted_when IS NOT NULL)
	RETURNING id INTO attachment;
	FOREACH expression SLICE 1 IN ARRAY ARRAY[
		['amount', CASE WHEN NOT is_column THEN amount_column END], ['counted_when', counted_when], ['mark_when', mark_when]]
	LOOP
		IF expression[2] IS NOT NULL THEN
			PERFORM quota.make_expression("table", expression[2], attachment, expression[1]);
		END IF;
	END LOOP;
	PERFORM quota.make_triggers(attachment);
	IF backfill AND NOT attached_before THEN
		PERFORM quota.backfill("table", feature);
	END IF;
END $$;
COMMENT ON FUNCTION quota.quota_attach IS 'let a counter be charged for the rows of a table, or a gauge follow them';
