/*
 * LOCK TABLE does not do: every user of schema quota could block it by PREPARE of a
 * DELETE, which needs no right on the table.
 */
CREATE OR REPLACE FUNCTION quota.lock_alone(act text, shared boolean DEFAULT false)
	RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'quota_lock_alone';
COMMENT ON FUNCTION quota.lock_alone IS 'locks an act until the transaction ends, exclusively or shared';

CREATE OR REPLACE FUNCTION quota.shown(name text)
	RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	RETURN CASE WHEN length(name) > 160 THEN left(name, 63) || '...' ELSE name END;
COMMENT ON FUNCTION quota.shown IS 'a name or path that a caller gave, as errors show it: shortened if it is longer than any can be';

/*
 * Plans as code
 */
CREATE OR REPLACE FUNCTION quota.quota_plan_with(feature text)
	RETURNS text
	LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER
AS $$
BEGIN
	PERFORM quota.kind_of(feature);
	RETURN (
		SELECT p.plan
		FROM quota.plans p
		WHERE p.visible
			AND (EXISTS (
					SELECT FROM quota.plan_features v
					WHERE v.plan = p.plan AND v.feature = quota_plan_with.feature
						AND v.value NOT IN ('false', 'null'))
				OR EXISTS (
					SELECT FROM quota.plan_limits l
					WHERE l.plan = p.plan AND l.feature = quota_plan_with.feature
					HAVING bool_and(CASE
						WHEN l.usage_limit IS NULL THEN true
						WHEN l.on_limit = 'block' THEN floor(l.usage_limit * l.block_ratio) >= 1
						WHEN l.on_limit = 'charge' THEN l.usage_limit::numeric + COALESCE(l.overage_cap, 1) >= 1
						ELSE true
					END)))
		ORDER BY p.price NULLS LAST, p.display_order, p.plan
		LIMIT 1);
END $$;
COMMENT ON FUNCTION quota.quota_plan_with IS 'the cheapest visible plan that has a feature, or NULL';

CREATE OR REPLACE FUNCTION quota.quota_export()
	RETURNS jsonb
	LANGUAGE sql STABLE PARALLEL RESTRICTED SECURITY DEFINER
BEGIN ATOMIC
	WITH limits AS (
		SELECT plan, jsonb_object_agg(feature, periods) AS document
		FROM (
			SELECT plan, feature,
				jsonb_object_agg(period,
					jsonb_build_object(
						'limit', usage_limit,
						'on_limit', on_limit,
						'warn_ratio', warn_ratio,
						'block_ratio', block_ratio)
					|| jsonb_strip_nulls(jsonb_build_object(
						'overage_price', overage_price,
						'overage_cap', overage_cap,
						'burst', burst))) AS periods
			FROM quota.plan_limits
			GROUP BY plan, feature) l
		GROUP BY plan
	), flags AS (
		SELECT plan, jsonb_object_agg(feature, value) AS document
		FROM quota.plan_features
		GROUP BY plan
	)
	SELECT jsonb_build_object(
		'features', COALESCE((
			SELECT jsonb_object_agg(feature, jsonb_strip_nulls(jsonb_build_object(
				'kind', kind,
				'unit', unit,
				'description', description,
				'ledger', NULLIF(ledger, false),
				'user_max', NULLIF(user_max, 1),
				'user_overage', NULLIF(user_overage, false))))
			FROM quota.features), '{}'),
		'plans', COALESCE((
			SELECT jsonb_object_agg(plan,
				jsonb_strip_nulls(jsonb_build_object(
					'name', name,
					'description', description,
					'price', price,
					'currency', currency,
					'billing_interval', NULLIF(billing_interval, 'month'),
					'default', NULLIF(is_default, false),
					'visible', NULLIF(visible, true),
					'display_order', NULLIF(display_order, 0),
					'rate_multiplier', NULLIF(rate_multiplier, 1)))
				|| CASE metadata WHEN '{}' THEN '{}' ELSE jsonb_build_object('metadata', metadata) END
				|| CASE WHEN limits.plan IS NULL THEN '{}' ELSE jsonb_build_object('limits', limits.document) END
				|| CASE WHEN flags.plan IS NULL THEN '{}' ELSE jsonb_build_object('features', flags.document) END)
			FROM quota.plans
				LEFT JOIN limits USING (plan)
				LEFT JOIN flags USING (plan)), '{}'));
END;
COMMENT ON FUNCTION quota.quota_export IS 'the catalogue as the document that quota_apply takes';

/*
 * Check an object of the document; NULL counts as an empty one. members: the type of
 * each permitted key, '' for any; NULL: any key, each with an object.
 */
CREATE OR REPLACE FUNCTION quota.document_object(value jsonb, path text, members jsonb)
	RETURNS jsonb
	LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
AS $$
DECLARE
	member record;
	wanted text;
BEGIN
	IF value IS NULL THEN
		RETURN '{}';
	ELSIF jsonb_typeof(value) <> 'object' THEN
		RAISE invalid_parameter_value USING
			MESSAGE = format('%s must be a JSON object, not %s', quota.shown(path), jsonb_typeof(value));
	END IF;
	FOR member IN SELECT e.key, jsonb_typeof(e.value) AS type FROM jsonb_each(value) e LOOP
		wanted := CASE WHEN members IS NULL THEN 'object' ELSE members->>member.key END;
		IF wanted IS NULL THEN
			RAISE invalid_parameter_value USING
				MESSAGE = format('%s has the unknown key "%s"', quota.shown(path), quota.shown(member.key)),
				HINT = format('Known here: %s.', COALESCE(
					(SELECT string_agg(k, ', ') FROM jsonb_object_keys(members) k), 'none'));
		ELSIF wanted NOT IN ('', member.type) AND (member.type <> 'null' OR wanted = 'object') THEN
			RAISE invalid_parameter_value USING
				MESSAGE = format('%s.%s must be a JSON %s, not %s', quota.shown(path), quota.shown(member.key), wanted, member.type);
		END IF;
	END LOOP;
	RETURN value;
END $$;
COMMENT ON FUNCTION quota.document_object IS 'checks one object of a plan document';

/*
 * Compare two documents of quota_export, by one of their members.
 */
CREATE OR REPLACE FUNCTION quota.document_changes(before jsonb, after jsonb)
	RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
	SELECT COALESCE(jsonb_object_agg(change, names), '{}')
	FROM (
		SELECT CASE WHEN b.key IS NULL THEN 'added' WHEN a.key IS NULL THEN 'removed' ELSE 'changed' END AS change,
			jsonb_agg(COALESCE(a.key, b.key) ORDER BY COALESCE(a.key, b.key)) AS names
		FROM jsonb_each(before) b FULL JOIN jsonb_each(after) a ON a.key = b.key
		WHERE a.value IS DISTINCT FROM b.value
		GROUP BY 1) c;
END;
COMMENT ON FUNCTION quota.document_changes IS 'names of what was added, changed and removed';

/*
 * Types of the API, for PL/pgSQL, which would look them up by name at run time.
 * Bodies that are parsed here are bound to them.
 */
CREATE OR REPLACE FUNCTION quota.periods()
	RETURNS text[]
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	RETURN enum_range(NULL::@extschema@.quota_period)::text[];
COMMENT ON FUNCTION quota.periods IS 'the periods, in their order';

CREATE OR REPLACE FUNCTION quota.period_of(name text)
	RETURNS @extschema@.quota_period
	LANGUAGE sql STABLE PARALLEL SAFE
	RETURN name::@extschema@.quota_period;
COMMENT ON FUNCTION quota.period_of IS 'a period by its name';

CREATE OR REPLACE FUNCTION quota.quota_apply(document jsonb)
	RETURNS jsonb
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
AS $$
DECLARE
	before jsonb;
	after jsonb;
	features jsonb;
	plans jsonb;
	any_feature jsonb;
	any_period jsonb;
	item record;
	part record;
	leaf record;
BEGIN
	IF document IS NULL THEN
		RAISE null_value_not_allowed USING MESSAGE = 'document must not be null';
	END IF;
	/* all checks come before the first write, so that an error names the fault in the document */
	PERFORM quota.document_object(document, 'document', '{"features": "", "plans": ""}'::jsonb);
	features := quota.document_object(document->'features', 'features', NULL::jsonb);
	plans := quota.document_object(document->'plans', 'plans', NULL::jsonb);
	any_feature := (SELECT COALESCE(jsonb_object_agg(key, ''), '{}') FROM jsonb_each(features));
	any_period := (SELECT jsonb_object_agg(p, 'object') FROM unnest(quota.periods()) p);
	FOR item IN SELECT key, value, 'features.' || key AS path FROM jsonb_each(features) LOOP
		PERFORM quota.document_object(item.value, item.path,
			'{"kind": "string", "unit": "string", "description": "string", "ledger": "boolean",
				"user_max": "number", "user_overage": "boolean"}'::jsonb);
		IF item.value->>'kind' IS NULL THEN
			RAISE invalid_parameter_value USING MESSAGE = quota.shown(item.path) || ' has no kind';
		END IF;
	END LOOP;
	FOR item IN SELECT key, value, 'plans.' || key AS path FROM jsonb_each(plans) LOOP
		PERFORM quota.document_object(item.value, item.path, '{"name": "string", "description": "string",
			"price": "number", "currency": "string", "billing_interval": "string", "default": "boolean",
			"visible": "boolean", "display_order": "number", "rate_multiplier": "number",
			"metadata": "object", "limits": "object", "features": "object"}'::jsonb);
		PERFORM quota.document_object(item.value->'features', item.path || '.features', any_feature);
		FOR part IN
			SELECT key, value, format('%s.limits.%s', item.path, key) AS path
			FROM jsonb_each(quota.document_object(item.value->'limits', item.path || '.limits', any_feature))
		LOOP
			FOR leaf IN
				SELECT key, value, format('%s.%s', part.path, key) AS path
				FROM jsonb_each(quota.document_object(part.value, part.path, any_period))
			LOOP
				PERFORM quota.document_object(leaf.value, leaf.path, '{"limit": "number", "on_limit": "string",
					"warn_ratio": "number", "block_ratio": "number", "overage_price": "number",
					"overage_cap": "number", "burst": "number"}'::jsonb);
				IF NOT leaf.value ? 'limit' THEN
					RAISE invalid_parameter_value USING
						MESSAGE = quota.shown(leaf.path) || ' has no limit',
						HINT = 'A limit of null means unlimited.';
				END IF;
			END LOOP;
		END LOOP;
	END LOOP;
	IF (SELECT count(*) > 1 FROM jsonb_each(plans) WHERE (value->>'default')::boolean) THEN
		RAISE invalid_parameter_value USING MESSAGE = 'more than one plan is the default';
	END IF;

	PERFORM quota.lock_alone('catalogue'::text);
	before := quota.quota_export();

	/* plans and features that are left out are deleted, unless they are in use */
	SELECT p.plan AS plan, count(*) AS accounts INTO item
	FROM quota.plans p JOIN quota.accounts a ON p.plan IN (a.plan, a.next_plan)
	WHERE NOT plans ? p.plan
	GROUP BY p.plan ORDER BY p.plan LIMIT 1;
	IF FOUND THEN
		RAISE dependent_objects_still_exist USING
			MESSAGE = format('plan "%s" is missing from the document but still in use', item.plan),
			DETAIL = format('Accounts on it: %s.', item.accounts),
			HINT = 'Move them to another plan first, or keep it with "visible": false.';
	END IF;
	SELECT o.feature AS feature, count(*) AS overrides INTO item
	FROM quota.limit_overrides o
	WHERE NOT features ? o.feature
	GROUP BY o.feature ORDER BY o.feature LIMIT 1;
	IF FOUND THEN
		RAISE dependent_objects_still_exist USING
			MESSAGE = format('feature "%s" is missing from the document but still in use', item.feature),
			DETAIL = format('Overrides of it: %s.', item.overrides);
	END IF;
	DELETE FROM quota.plans p WHERE NOT plans ? p.plan;
	DELETE FROM quota.features f WHERE NOT features ? f.feature;
	/* limits of the old kind would keep a feature from changing its kind */
	DELETE FROM quota.plan_limits l
	USING quota.features f
	WHERE f.feature = l.feature AND f.kind <> features->f.feature->>'kind';
	DELETE FROM quota.plan_features v
	USING quota.features f
	WHERE f.feature = v.feature AND f.kind <> features->f.feature->>'kind';
	DELETE FROM quota.plan_limits l
	WHERE document #> ARRAY['plans', l.plan, 'limits', l.feature, l.period::text] IS NULL;
	DELETE FROM quota.plan_features v
	WHERE document #> ARRAY['plans', v.plan, 'features', v.feature] IS NULL;
	UPDATE quota.plans p SET is_default = false
	WHERE is_default AND NOT COALESCE((plans->p.plan->>'default')::boolean, false);

	INSERT INTO quota.features AS f
	SELECT key, value->>'kind', value->>'unit', value->>'description',
		COALESCE((value->>'ledger')::boolean, false), COALESCE((value->>'user_max')::bigint, 1),
		COALESCE((value->>'user_overage')::boolean, false)
	FROM jsonb_each(features)
	ON CONFLICT (feature) DO UPDATE
		SET (kind, unit, description, ledger, user_max, user_overage) =
			(excluded.kind, excluded.unit, excluded.description, excluded.ledger, excluded.user_max, excluded.user_overage)
		WHERE f IS DISTINCT FROM excluded;

	INSERT INTO quota.plans AS p
	SELECT key, COALESCE(value->>'name', key), value->>'description', (value->>'price')::numeric,
		COALESCE(value->>'currency', 'USD'), COALESCE(value->>'billing_interval', 'month'),
		COALESCE((value->>'default')::boolean, false), COALESCE((value->>'visible')::boolean, true),
		COALESCE((value->>'display_order')::integer, 0), COALESCE((value->>'rate_multiplier')::numeric, 1),
		COALESCE(value->'metadata', '{}')
	FROM jsonb_each(plans)
	ON CONFLICT (plan) DO UPDATE
		SET (name, description, price, currency, billing_interval, is_default, visible,
				display_order, rate_multiplier, metadata) =
			(excluded.name, excluded.description, excluded.price, excluded.currency,
				excluded.billing_interval, excluded.is_default, excluded.visible,
				excluded.display_order, excluded.rate_multiplier, excluded.metadata)
		WHERE p IS DISTINCT FROM excluded;

	INSERT INTO quota.plan_limits AS l
	SELECT p.key, f.key, quota.period_of(w.key), (w.value->>'limit')::bigint,
		COALESCE(w.value->>'on_limit', 'block'), COALESCE((w.value->>'warn_ratio')::numeric, 0.8),
		COALESCE((w.value->>'block_ratio')::numeric, 1.0), (w.value->>'overage_price')::numeric,
		(w.value->>'overage_cap')::bigint, (w.value->>'burst')::bigint
	FROM jsonb_each(plans) p, jsonb_each(p.value->'limits') f, jsonb_each(f.value) w
	ON CONFLICT (plan, feature, period) DO UPDATE
		SET (usage_limit, on_limit, warn_ratio, block_ratio, overage_price, overage_cap, burst) =
			(excluded.usage_limit, excluded.on_limit, excluded.warn_ratio, excluded.block_ratio,
				excluded.overage_price, excluded.overage_cap, excluded.burst)
		WHERE l IS DISTINCT FROM excluded;

	INSERT INTO quota.plan_features AS v
	SELECT p.key, f.key, f.value
	FROM jsonb_each(plans) p, jsonb_each(p.value->'features') f
	ON CONFLICT (plan, feature) DO UPDATE
		SET value = excluded.value
		WHERE v IS DISTINCT FROM excluded;

	after := quota.quota_export();
	RETURN (
		SELECT COALESCE(jsonb_object_agg(member, changes), '{}')
		FROM unnest('{features,plans}'::text[]) member,
			quota.document_changes(before->member, after->member) changes
		WHERE changes <> '{}');
END $$;
COMMENT ON FUNCTION quota.quota_apply IS
	'make the catalogue equal to a document; returns the names of what was added, changed and removed, {} when nothing was';
