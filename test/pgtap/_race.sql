/*
 * Two connections that race; to be included outside of a transaction, since both
 * see only what is committed:
 *
 *	\ir _race.sql
 */
CREATE EXTENSION dblink;

/*
 * The first connection acts and keeps its transaction open; the second one acts,
 * and where that waits for the first, this ends, with COMMIT or ROLLBACK. An act
 * is a statement with one column of text. Returns what both got; an error is its
 * SQLSTATE and message, and `at once` tells that the second did not wait.
 */
CREATE FUNCTION race(first_act text, ending text, second_act text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	place CONSTANT text := format('host=%s port=%s dbname=%s user=%s', current_setting('unix_socket_directories'),
		current_setting('port'), current_database(), session_user);
	give_up CONSTANT timestamptz := clock_timestamp() + interval '30 seconds';
	pids int[];
	waits boolean;
	first_got text;
	second_got text;
BEGIN
	PERFORM dblink_connect(name, place), dblink_exec(name, format('SET quota.now = %L', current_setting('quota.now')))
	FROM unnest('{first,second}'::text[]) name;
	pids := ARRAY(
		SELECT pid FROM unnest('{first,second}'::text[]) WITH ORDINALITY n (name, number), dblink(name, 'SELECT pg_backend_pid()') p (pid int)
		ORDER BY number);

	PERFORM dblink_exec('first', 'BEGIN');
	SELECT got INTO STRICT first_got FROM dblink('first', first_act) d (got text);
	PERFORM dblink_send_query('second', second_act);
	LOOP
		waits := pids[1] = ANY (pg_blocking_pids(pids[2]));
		EXIT WHEN waits OR dblink_is_busy('second') = 0;
		IF clock_timestamp() > give_up THEN
			RAISE EXCEPTION 'the second connection neither ends nor waits for the first';
		END IF;
		PERFORM pg_sleep(0.01);
	END LOOP;
	PERFORM dblink_exec('first', ending);

	BEGIN
		SELECT got INTO STRICT second_got FROM dblink_get_result('second') d (got text);
	EXCEPTION WHEN OTHERS THEN
		second_got := SQLSTATE || ' ' || SQLERRM;
	END;
	PERFORM dblink_disconnect(name) FROM unnest('{first,second}'::text[]) name;
	RETURN format('%s, then %s%s', first_got, CASE WHEN NOT waits THEN 'at once ' END, second_got);
END $$;
