/*
 * Settings of a role that may only insert do not change what an expression means.
 */
BEGIN;
SELECT no_plan();
\ir ../pgtap/_helpers.sql
SET LOCAL client_min_messages = error;

INSERT INTO quota.plans (plan, is_default) VALUES ('free', true);
INSERT INTO quota.features (feature, kind) VALUES ('report', 'counter'), ('mb', 'gauge');
INSERT INTO quota.plan_limits (plan, feature, period, usage_limit) VALUES ('free', 'report', 'month', 5), ('free', 'mb', 'lifetime', 1000);
CREATE ROLE quota_attack_app;
CREATE SCHEMA attack;
GRANT ALL ON SCHEMA attack TO quota_attack_app;
CREATE FUNCTION public.attack_path(n int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$BEGIN RETURN length(n::text); END $$;
CREATE TABLE d (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, account text, label text, made timestamptz DEFAULT now());
CREATE TABLE b (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, account text, body bytea, x float8 DEFAULT 0, n int DEFAULT 12345);
GRANT INSERT ON d, b TO quota_attack_app;
SELECT quota_attach('d', 'report', 'account', counted_when => $$label NOT LIKE 'draft\_%'$$) \g /dev/null
SELECT quota_attach('b', 'mb', 'account', $$length(body::text) + length(x::text) + length(quote_ident('plain')) + public.attack_path(n)$$) \g /dev/null

SET ROLE quota_attack_app;
/* a fresh backend would parse the expression only now: of two tables one is */
SET standard_conforming_strings = off;
SELECT is(error_of($$INSERT INTO d (account, label) SELECT 'a', 'draft1' FROM generate_series(1, 60)$$)->>'state', 'PT429', 'standard_conforming_strings');
RESET standard_conforming_strings;
INSERT INTO d (account, label) SELECT 'a', 'draft1' FROM generate_series(1, 5);
SELECT is(error_of($$INSERT INTO d (account, label) VALUES ('a', 'draftx')$$)->>'state', 'PT429', 'five');
SELECT lives_ok($$INSERT INTO d (account, label) VALUES ('a', 'draft_x')$$, 'what is not counted is not');

/* \x61; 0.30000000000000004; plain; 5 digits */
INSERT INTO b (account, body, x) VALUES ('usual', 'a', 0.1::float8 + 0.2::float8);
SET bytea_output = escape;
INSERT INTO b (account, body, x) VALUES ('bytea_output', 'a', 0.1::float8 + 0.2::float8);
RESET bytea_output;
SET extra_float_digits = -15;
INSERT INTO b (account, body, x) VALUES ('extra_float_digits', 'a', 0.1::float8 + 0.2::float8);
RESET extra_float_digits;
SET IntervalStyle = iso_8601;
INSERT INTO b (account, body, x) VALUES ('IntervalStyle', 'a', 0.1::float8 + 0.2::float8);
RESET IntervalStyle;
SET quote_all_identifiers = on;
INSERT INTO b (account, body, x) VALUES ('quote_all_identifiers', 'a', 0.1::float8 + 0.2::float8);
RESET quote_all_identifiers;
/* functions that the role puts in the way of the owner's function */
CREATE FUNCTION attack.length(text) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 0';
SET search_path = attack, pg_catalog, public;
INSERT INTO public.b (account, body, x) VALUES ('search_path', 'a', 0.1::float8 + 0.2::float8);
RESET search_path;
RESET ROLE;
SELECT results_eq('SELECT DISTINCT used FROM quota.usage WHERE feature = ''mb''', $$VALUES ((4 + 19 + 5 + 5)::bigint)$$, 'the same under all settings');
SELECT is((SELECT count(*) FROM quota.usage WHERE feature = 'mb'), 6::bigint, 'for all of them');
SET bytea_output = escape;
SELECT is_empty($$SELECT * FROM quota_reconcile('b', 'mb')$$, 'and when they are counted again');
RESET bytea_output;

/* What came in under one setting goes under another. */
SET IntervalStyle = iso_8601;
DELETE FROM b;
RESET IntervalStyle;
SELECT is((SELECT sum(used) FROM quota.usage WHERE feature = 'mb'), 0::numeric, 'nothing is left');

/* Built-in functions that are immutable and depend on the time zone all the same. */
CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, account text, t0 timestamptz, t1 timestamptz, ts timestamp);
GRANT INSERT ON t TO quota_attack_app;
SELECT quota_attach('t', 'mb', 'account', $$CASE WHEN age(t1, t0) < interval '1 mon' THEN 1 ELSE 10 END$$) \g /dev/null
SET ROLE quota_attack_app;
SET TimeZone = 'Asia/Tokyo';
INSERT INTO t (account, t0, t1) VALUES ('age', '2026-02-28 20:00Z', '2026-03-31 20:00Z');
SET TimeZone = 'UTC';
INSERT INTO t (account, t0, t1) VALUES ('age', '2026-02-28 20:00Z', '2026-03-31 20:00Z');
SET TimeZone = 'America/New_York';
INSERT INTO t (account, t0, t1) VALUES ('age', '2026-03-01 02:00Z', '2026-03-29 02:00Z');
RESET TimeZone;
RESET ROLE;
SELECT is((SELECT used FROM quota.usage WHERE feature = 'mb' AND account = 'age'), 21::bigint, 'TimeZone');
SELECT quota_detach('t', 'mb') \g /dev/null
SELECT quota_attach('t', 'mb', 'account', $$CASE WHEN extract(hour FROM ts AT TIME ZONE 'EST' AT TIME ZONE interval '0') < 12 THEN 1 ELSE 10 END$$, backfill => false) \g /dev/null
SET ROLE quota_attack_app;
INSERT INTO t (account, ts) VALUES ('abbreviation', '2026-03-01 12:00');
SET timezone_abbreviations = 'Australia';
INSERT INTO t (account, ts) VALUES ('abbreviation', '2026-03-01 12:00');
RESET timezone_abbreviations;
RESET ROLE;
SELECT is((SELECT used FROM quota.usage WHERE feature = 'mb' AND account = 'abbreviation'), 20::bigint, 'timezone_abbreviations');
SELECT is(error_of(format('SELECT quota_attach(''t'', ''mb'', ''account'', %L)', expression))->>'state', '0A000', expression)
FROM unnest(ARRAY[$$length(xmlserialize(CONTENT xmlelement(name a, t0) AS text))$$, $$length(xmlforest(ts)::text)$$]) expression;

SELECT * FROM finish();
ROLLBACK;
