/*
 * Functions and types of our names that others plant: nothing that has the rights
 * of the owner, or of the superuser who calls, runs them.
 */
BEGIN;
SELECT no_plan();
\ir ../pgtap/_helpers.sql
SET LOCAL quota.now = '2026-03-10 12:00+00';
SET LOCAL client_min_messages = warning;
SELECT quota_apply('{"features": {"report": {"kind": "counter", "ledger": true}, "export": {"kind": "flag"}},
	"plans": {"free": {"default": true, "limits": {"report": {"month": {"limit": 5}}}}, "pro": {"features": {"export": true}}}}') \g /dev/null
CREATE ROLE quota_test_owner;
CREATE ROLE quota_test_app;
SELECT quota_grant('quota_test_app', 'app'), quota_grant('quota_test_owner', 'admin') \g /dev/null

/* Whoever may create in the schema of the API adds a function that a call could also mean. */
GRANT CREATE ON SCHEMA public TO quota_test_owner;
SET LOCAL ROLE quota_test_owner;
CREATE FUNCTION quota_evaluate(account text, x int DEFAULT 1) RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION quota_usage(account text, x int DEFAULT 1) RETURNS void LANGUAGE sql AS '';
RESET ROLE;
SELECT is(try_as('quota_test_app', $$SELECT quota_status('a'), quota_status(42), quota_forecast('a', 'report')$$), 'ok', 'a second quota_evaluate stops no report');
SELECT lives_ok($$SELECT quota_reset('a'), quota_metrics(), quota_sponsored('a'), quota_sponsored(42)$$, 'nor anything else');
DROP FUNCTION quota_evaluate(text, int), quota_usage(text, int);

/*
 * The owner of the database puts a schema of his own in place of that of the API,
 * with a function for each of ours, and types with a check of his own.
 */
DO $$BEGIN EXECUTE format('ALTER DATABASE %I OWNER TO quota_test_owner', current_database()); END$$;
ALTER SCHEMA public OWNER TO quota_test_owner;
SET LOCAL ROLE quota_test_owner;
ALTER SCHEMA public RENAME TO moved;
CREATE SCHEMA public;
GRANT ALL ON SCHEMA public TO PUBLIC;
CREATE TABLE public.caught (who text, what text);
GRANT ALL ON public.caught TO PUBLIC;
CREATE FUNCTION public.catch(what text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO public.caught VALUES (current_user, what);
	RETURN true;
END $$;
CREATE DOMAIN public.quota_period AS text CHECK (public.catch('quota_period'));
CREATE DOMAIN public.quota_verdict AS text CHECK (public.catch('quota_verdict'));
CREATE DOMAIN public.quota_decision AS moved.quota_decision CHECK (public.catch('quota_decision'));
DO $$
DECLARE
	f record;
BEGIN
	FOR f IN
		SELECT p.proname, pg_get_function_arguments(p.oid) AS arguments, pg_get_function_result(p.oid) AS result, p.proretset
		FROM pg_proc p WHERE pronamespace = 'moved'::regnamespace AND proname LIKE 'quota\_%' AND proname <> 'quota_rate_stats'
	LOOP
		EXECUTE format('CREATE FUNCTION public.%I(%s) RETURNS %s LANGUAGE plpgsql AS %L', f.proname, f.arguments, f.result,
			format('BEGIN PERFORM public.catch(%L); RETURN%s; END', f.proname, CASE WHEN f.proretset OR f.result = 'void' THEN '' ELSE ' NULL' END));
	END LOOP;
END $$;
RESET ROLE;
SET LOCAL search_path = moved, pg_catalog;
SELECT cmp_ok((SELECT count(*) FROM pg_proc WHERE pronamespace = 'public'::regnamespace), '>', 100::bigint, 'functions are planted');

SELECT lives_ok(statement, statement)
FROM unnest(ARRAY[
	'SELECT quota_usage(''a''), quota_usage(42), quota_status(''a''), quota_status(''a'', ''report''), quota_forecast(''a'', ''report''), quota_history(''a'')',
	'SELECT quota_set_plan(''a'', ''pro''), quota_set_plan(42, ''free''), quota_sponsor(''b'', ''a'', ''free''), quota_set_override(''a'', ''report'', ''month'', 9)',
	'SELECT quota_sponsored(''b''), quota_near_limit(0), quota_top(''report''), quota_search(''a''), quota_preview(''a'', ''pro'')',
	'SELECT quota_totals(), quota_stats(), quota_plan_stats(), quota_metrics()',
	'SELECT quota_apply(quota_export())',
	'SELECT quota_apply(jsonb_set(quota_export(), ''{plans,free,limits,report,day}'', ''{"limit": 3}''))',
	'SELECT quota_consume(''a'', ''report''), quota_events(''a''), quota_events_of(''a''), quota_reset(''a''), quota_clear_override(''a'', ''report'')',
	'SELECT quota_invoice_overage(), quota_invoices(''a''), quota_maintain()',
	'SELECT quota_grant(''quota_test_app'', ''reader''), quota_revoke(''quota_test_app''), quota_grant(''quota_test_app'', ''app'')']) statement;
SELECT is((error_of($$SELECT quota_require_feature('c', 'export')$$))->>'hint', 'Plan "pro" includes it.', 'a refusal names a plan');
SELECT is(try_as('quota_test_app', $$SELECT moved.quota_usage('a'), moved.quota_status('a')$$), 'ok', 'for level app');
SELECT is_empty($$SELECT * FROM public.caught$$, 'nothing of his has run');

SELECT * FROM finish();
ROLLBACK;
