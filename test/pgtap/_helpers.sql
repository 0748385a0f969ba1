/*
 * What several tests share; to be included inside their transaction:
 *
 *	\ir _helpers.sql
 */

/* How an error of a statement looks to a client; NULL where there is none. */
CREATE FUNCTION error_of(statement text) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	detail text;
	hint text;
BEGIN
	EXECUTE statement;
	RETURN NULL;
EXCEPTION WHEN query_canceled OR OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN jsonb_build_object('state', SQLSTATE, 'message', SQLERRM, 'detail', detail, 'hint', hint);
END $$;

/* What a role gets from a query, a line a row; its SQLSTATE where it fails. */
CREATE FUNCTION as_role(role text, query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	line record;
BEGIN
	PERFORM set_config('role', role, true);
	BEGIN
		FOR line IN EXECUTE query LOOP
			RETURN NEXT concat_ws('|', VARIADIC ARRAY(SELECT value FROM json_each_text(row_to_json(line))));
		END LOOP;
	EXCEPTION WHEN OTHERS THEN
		RETURN NEXT SQLSTATE;
	END;
	PERFORM set_config('role', 'none', true);
END $$;

/* The SQLSTATE of what a role does; 'ok' where it succeeds. */
CREATE FUNCTION try_as(role text, statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM set_config('role', role, true);
	BEGIN
		EXECUTE statement;
	EXCEPTION WHEN OTHERS THEN
		PERFORM set_config('role', 'none', true);
		RETURN SQLSTATE;
	END;
	PERFORM set_config('role', 'none', true);
	RETURN 'ok';
END $$;

/* A decision in one line: ALLOW 3/10 ok */
CREATE FUNCTION brief(d quota_decision) RETURNS text LANGUAGE sql AS $$
	SELECT format('%s %s/%s %s', (d).decision, (d).used, COALESCE((d).usage_limit::text, '-'), (d).reason)
$$;
