-- A function of the arguments and the result of quota_consume that does nothing.
-- Variable: library.
CREATE FUNCTION app.empty(account text, feature text, n bigint DEFAULT 1, key text DEFAULT NULL, metadata jsonb DEFAULT NULL)
	RETURNS quota_decision
	LANGUAGE c
	AS :'library', 'bench_empty';
