/*
 * Stripe. The application passes each webhook on unchanged. What it says of a
 * subscription is stored, and the account is set from all of its subscriptions. So
 * the order of events does not matter, nor repeated ones, nor several subscriptions
 * of an account.
 *
 * Locks: the event's key, the subscription, then its account.
 */

/*
 * Prices
 */
CREATE OR REPLACE FUNCTION quota.quota_stripe_price(price text, plan text, billing_interval text DEFAULT NULL)
	RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
AS $$
DECLARE
	every text := COALESCE(billing_interval, (SELECT p.billing_interval FROM quota.plans p WHERE p.plan = quota_stripe_price.plan));
BEGIN
	PERFORM quota.check_argument('price', octet_length(price) BETWEEN 1 AND 255, 'have 1 to 255 bytes');
	PERFORM quota.check_plan(plan);
	PERFORM quota.check_argument('billing_interval', every IN ('day', 'week', 'month', 'year'), 'be day, week, month or year');
	UPDATE quota.stripe_prices p SET offered = false
	WHERE p.plan = quota_stripe_price.plan AND p.billing_interval = every AND p.price <> quota_stripe_price.price AND offered;
	INSERT INTO quota.stripe_prices AS p (price, plan, billing_interval)
	VALUES (price, plan, every)
	ON CONFLICT ON CONSTRAINT stripe_prices_pkey DO UPDATE
		SET (plan, billing_interval, offered) = (excluded.plan, excluded.billing_interval, true);
END $$;
COMMENT ON FUNCTION quota.quota_stripe_price IS
	'let a price of Stripe name a plan, and be the one that is offered for it; NULL: for the plan''s own billing interval';

/*
 * Requests. Stripe takes nested parameters as a[b][0]=c in the body of a form.
 */
CREATE OR REPLACE FUNCTION quota.percent_encode(value text)
	RETURNS text
	LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'quota_percent_encode';
COMMENT ON FUNCTION quota.percent_encode IS 'encodes a text for a URL or form: its bytes in UTF-8, but for letters, digits and ._~-';

/* What is nested more than 8 levels deep is returned as it is. */
CREATE OR REPLACE FUNCTION quota.form_fields(parameters jsonb)
	RETURNS TABLE (name text, value jsonb)
	LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
	WITH RECURSIVE fields AS (
		SELECT p.key AS name, p.value, 1 AS level FROM jsonb_each(parameters) p
		UNION ALL
		SELECT format('%s[%s]', f.name, m.key), m.value, f.level + 1
		FROM fields f,
			LATERAL (
				SELECT o.key, o.value
				FROM jsonb_each(CASE jsonb_typeof(f.value) WHEN 'object' THEN f.value ELSE '{}' END) o
				UNION ALL
				SELECT (a.n - 1)::text, a.value
				FROM jsonb_array_elements(CASE jsonb_typeof(f.value) WHEN 'array' THEN f.value ELSE '[]' END) WITH ORDINALITY a (value, n)) m
		WHERE f.level < 8
	)
	SELECT f.name, f.value FROM fields f WHERE jsonb_typeof(f.value) NOT IN ('object', 'array') OR f.level = 8;
END;
COMMENT ON FUNCTION quota.form_fields IS 'nested parameters as fields of a form, such as line_items[0][price]';

/*
 * With the idempotency key a request without an answer can be sent again. It is a new
 * one in each transaction.
 */
CREATE OR REPLACE FUNCTION quota.stripe_request(path text, parameters jsonb, options jsonb)
	RETURNS jsonb
	LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
AS $$
DECLARE
	body text;
BEGIN
	IF options IS NOT NULL THEN
		PERFORM quota.check_argument('options', octet_length(options::text) <= 65536, 'have at most 65536 bytes');
		PERFORM quota.check_argument('options', jsonb_typeof(options) = 'object', 'be a JSON object');
		PERFORM quota.check_argument('options',
			NOT EXISTS (SELECT FROM quota.form_fields(options) f WHERE jsonb_typeof(f.value) IN ('object', 'array')),
			'not be nested more than 8 levels deep');
	END IF;
	body := (
		SELECT string_agg(quota.percent_encode(name) || '=' || quota.percent_encode(COALESCE(o.value, p.value) #>> '{}'), '&'
			ORDER BY name COLLATE "C")
		FROM quota.form_fields(parameters) p FULL JOIN quota.form_fields(COALESCE(options, '{}')) o USING (name)
		WHERE COALESCE(o.value, p.value) <> 'null');
	RETURN jsonb_build_object(
		'method', 'POST',
		'url', 'https://api.stripe.com/v1/' || path,
		'headers', jsonb_build_object(
			'Content-Type', 'application/x-www-form-urlencoded',
			'Idempotency-Key', encode(sha256(convert_to(concat_ws(' ', path, body, to_json(quota.now())), 'UTF8')), 'hex')),
		'body', body);
END $$;
COMMENT ON FUNCTION quota.stripe_request IS
	'a request to Stripe''s API; options are added to the parameters or replace them, null removes one';

CREATE OR REPLACE FUNCTION quota.check_url(name text, url text)
	RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $$
BEGIN
	PERFORM quota.check_argument(name, octet_length(url) <= 8192, 'have at most 8192 bytes');
	PERFORM quota.check_argument(name, url ~ '^https?://', 'be a URL with http or https');
END $$;
COMMENT ON FUNCTION quota.check_url IS 'raises an error unless a text is a URL of a page';

CREATE OR REPLACE FUNCTION quota.quota_stripe_checkout(account text, plan text, success_url text, cancel_url text DEFAULT NULL, billing_interval text DEFAULT NULL, options jsonb DEFAULT NULL)
	RETURNS jsonb
	LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER
AS $$
DECLARE
	every text := COALESCE(billing_interval, (SELECT p.billing_interval FROM quota.plans p WHERE p.plan = quota_stripe_checkout.plan));
	price text;
BEGIN
	PERFORM quota.account_key(account);
	PERFORM quota.check_plan(plan);
	PERFORM quota.check_argument('billing_interval', every IN ('day', 'week', 'month', 'year', 'once'), 'be day, week, month or year');
	PERFORM quota.check_url('success_url', success_url);
	IF cancel_url IS NOT NULL THEN
		PERFORM quota.check_url('cancel_url', cancel_url);
	END IF;
	price := (
		SELECT p.price FROM quota.stripe_prices p
		WHERE p.plan = quota_stripe_checkout.plan AND p.billing_interval = every AND p.offered);
	IF price IS NULL THEN
		RAISE object_not_in_prerequisite_state USING
			MESSAGE = format('plan "%s" has no Stripe price for billing interval "%s"', plan, every),
			DETAIL = format('Intervals that it has one for: %s.', COALESCE((
				SELECT string_agg(p.billing_interval, ', ' ORDER BY p.billing_interval)
				FROM quota.stripe_prices p WHERE p.plan = quota_stripe_checkout.plan AND p.offered), 'none')),
			HINT = 'Name its price with quota_stripe_price, or choose another plan or interval.';
	END IF;
	RETURN quota.stripe_request(
		'checkout/sessions',
		jsonb_build_object(
			'mode', 'subscription',
			'line_items', jsonb_build_array(jsonb_build_object('price', price, 'quantity', 1)),
			'customer', (SELECT c.customer FROM quota.stripe_customers c WHERE c.account = quota_stripe_checkout.account),
			/* Stripe's limit; the metadata has the account too */
			'client_reference_id', CASE WHEN length(account) <= 200 THEN account END,
			'metadata', jsonb_build_object('account', account, 'price', price),
			'subscription_data', jsonb_build_object('metadata', jsonb_build_object('account', account)),
			'success_url', success_url,
			'cancel_url', cancel_url),
		options);
END $$;
COMMENT ON FUNCTION quota.quota_stripe_checkout IS
	'the request to Stripe for a page on which an account subscribes to a plan';

CREATE OR REPLACE FUNCTION quota.quota_stripe_portal(account text, return_url text, options jsonb DEFAULT NULL)
	RETURNS jsonb
	LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER
AS $$
DECLARE
	customer text;
BEGIN
	PERFORM quota.account_key(account);
	PERFORM quota.check_url('return_url', return_url);
	customer := (SELECT c.customer FROM quota.stripe_customers c WHERE c.account = quota_stripe_portal.account);
	IF customer IS NULL THEN
		RAISE object_not_in_prerequisite_state USING
			MESSAGE = format('account "%s" has no Stripe customer', account),
			HINT = 'It has one when it has subscribed; or insert it into quota.stripe_customers.';
	END IF;
	RETURN quota.stripe_request(
		'billing_portal/sessions',
		jsonb_build_object('customer', customer, 'return_url', return_url),
		options);
END $$;
COMMENT ON FUNCTION quota.quota_stripe_portal IS
	'the request to Stripe for a page on which an account manages its subscription';

/*
 * Webhooks
 */
CREATE OR REPLACE FUNCTION quota.check_stripe_signature(payload text, signature text, secrets text[])
	RETURNS void
	LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'quota_check_stripe_signature';
COMMENT ON FUNCTION quota.check_stripe_signature IS
	'raises an error if a payload was signed with none of the secrets, or too long ago';

CREATE OR REPLACE FUNCTION quota.stripe_time(seconds jsonb)
	RETURNS timestamptz
	LANGUAGE sql STABLE PARALLEL SAFE
	RETURN to_timestamp((seconds #>> '{}')::bigint::float8);
COMMENT ON FUNCTION quota.stripe_time IS 'the time of a number of seconds since 1970';

CREATE OR REPLACE FUNCTION quota.stripe_status(s quota.stripe_subscriptions)
	RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	RETURN CASE
		WHEN s.payment_at < s.reported_at THEN s.status
		WHEN s.paid AND s.status IN ('incomplete', 'past_due', 'unpaid') THEN 'active'
		WHEN NOT s.paid AND s.status = 'active' THEN 'past_due'
		ELSE s.status
	END;
COMMENT ON FUNCTION quota.stripe_status IS 'status of a subscription: from its last event, or a payment since then';

CREATE OR REPLACE FUNCTION quota.stripe_gives_plan(s quota.stripe_subscriptions)
	RETURNS boolean
	LANGUAGE sql STABLE PARALLEL RESTRICTED
	RETURN quota.stripe_status(s) IN ('trialing', 'active', 'past_due') AND s.price IS NOT NULL
		AND (s.ends_at <= quota.now()) IS NOT TRUE;
COMMENT ON FUNCTION quota.stripe_gives_plan IS
	'true if a subscription gives its account the plan: it is paid for, on trial, or past due';

CREATE OR REPLACE FUNCTION quota.stripe_prices_of(object jsonb)
	RETURNS text[]
	LANGUAGE sql STABLE PARALLEL SAFE
	RETURN ARRAY(
		SELECT COALESCE(i.item #>> '{price,id}', i.item #>> '{plan,id}')
		FROM jsonb_array_elements(object #> '{items,data}') i (item));
COMMENT ON FUNCTION quota.stripe_prices_of IS 'the prices of a subscription''s items, which old versions of Stripe''s API call plans';

/*
 * Read what an event says of a subscription; subscription is NULL for other events. A
 * payment or a checkout has neither status nor terms: those are set as not known yet.
 * The account is in the metadata of our checkout.
 *
 * Newer versions of Stripe's API have the period in the subscription's items, and an
 * invoice's subscription under `parent`.
 */
CREATE OR REPLACE FUNCTION quota.stripe_told(event jsonb)
	RETURNS quota.stripe_subscriptions
	LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $$
DECLARE
	type CONSTANT text := event->>'type';
	at CONSTANT timestamptz := quota.stripe_time(event->'created');
	object CONSTANT jsonb := event #> '{data,object}';
	invoiced CONSTANT jsonb := COALESCE(object #> '{parent,subscription_details}', object->'subscription_details');
	reported quota.stripe_subscriptions;
BEGIN
	reported.customer := object->>'customer';
	reported.created_at := at;
	reported.status := 'incomplete';
	reported.reported_at := '-infinity';
	reported.reported_rank := 0;
	reported.payment_at := '-infinity';
	reported.paid := false;
	reported.had_plan := false;
	IF type IN ('customer.subscription.created', 'customer.subscription.updated', 'customer.subscription.deleted',
		'customer.subscription.paused', 'customer.subscription.resumed')
	THEN
		reported.subscription := object->>'id';
		reported.account := NULLIF(object #>> '{metadata,account}', '');
		reported.status := CASE type WHEN 'customer.subscription.deleted' THEN 'canceled' ELSE object->>'status' END;
		reported.price := (
			SELECT min(p.price)
			FROM quota.stripe_prices p
			WHERE p.price = ANY (quota.stripe_prices_of(object)) AND p.plan IS NOT NULL);
		reported.created_at := quota.stripe_time(object->'created');
		reported.trial_ends_at := quota.stripe_time(object->'trial_end');
		reported.period_ends_at := COALESCE(quota.stripe_time(object->'current_period_end'), (
			SELECT max(quota.stripe_time(i.item->'current_period_end')) FROM jsonb_array_elements(object #> '{items,data}') i (item)));
		reported.ends_at := COALESCE(quota.stripe_time(object->'cancel_at'),
			CASE WHEN (object->>'cancel_at_period_end')::boolean THEN reported.period_ends_at END);
		reported.cycle_anchor := quota.stripe_time(object->'billing_cycle_anchor');
		reported.reported_at := at;
		reported.reported_rank := CASE
			WHEN reported.status IN ('canceled', 'incomplete_expired') THEN 3
			WHEN reported.status = 'incomplete' THEN 0
			WHEN type = 'customer.subscription.created' THEN 1
			ELSE 2 END;
		reported.had_plan := reported.price IS NOT NULL AND reported.status NOT IN ('incomplete', 'incomplete_expired');
	ELSIF type = 'checkout.session.completed' THEN
		reported.subscription := object->>'subscription';
		reported.account := COALESCE(NULLIF(object #>> '{metadata,account}', ''), NULLIF(object->>'client_reference_id', ''));
		reported.price := (SELECT p.price FROM quota.stripe_prices p WHERE p.price = object #>> '{metadata,price}' AND p.plan IS NOT NULL);
		IF object->>'payment_status' IN ('paid', 'no_payment_required') THEN
			reported.payment_at := at;
			reported.paid := true;
		END IF;
	ELSIF type IN ('invoice.paid', 'invoice.payment_failed') THEN
		reported.subscription := COALESCE(object->>'subscription', invoiced->>'subscription');
		reported.account := NULLIF(invoiced #>> '{metadata,account}', '');
		reported.payment_at := at;
		reported.paid := type = 'invoice.paid';
	END IF;
	IF reported.subscription IS NOT NULL THEN
		PERFORM quota.check_argument('subscription', octet_length(reported.subscription) BETWEEN 1 AND 255, 'have 1 to 255 bytes');
		PERFORM quota.check_argument('customer', octet_length(reported.customer) BETWEEN 1 AND 255, 'have 1 to 255 bytes');
		PERFORM quota.check_argument('status', reported.status IN
			('incomplete', 'incomplete_expired', 'trialing', 'active', 'past_due', 'unpaid', 'paused', 'canceled'), 'be one that Stripe has');
		PERFORM quota.check_argument('created', reported.created_at > '-infinity', 'be a time');
	END IF;
	RETURN reported;
END $$;
COMMENT ON FUNCTION quota.stripe_told IS 'what an event says of a subscription, as a row of quota.stripe_subscriptions';

/*
 * Of two events of the same second the higher rank wins, of equal rank the later one.
 * An ended subscription stays ended: Stripe never revives one.
 */
CREATE OR REPLACE FUNCTION quota.stripe_merged(known quota.stripe_subscriptions, reported quota.stripe_subscriptions)
	RETURNS quota.stripe_subscriptions
	LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $$
DECLARE
	merged quota.stripe_subscriptions := known;
BEGIN
	IF known.status IN ('canceled', 'incomplete_expired') THEN
		RETURN known;
	ELSIF reported.reported_at > '-infinity' THEN
		IF (reported.reported_at, reported.reported_rank) >= (known.reported_at, known.reported_rank) THEN
			merged := reported;
			merged.account := known.account;
			merged.payment_at := known.payment_at;
			merged.paid := known.paid;
			merged.had_plan := known.had_plan;
		END IF;
	ELSIF reported.payment_at >= known.reported_at AND (reported.payment_at, reported.paid) >= (known.payment_at, known.paid) THEN
		merged.payment_at := reported.payment_at;
		merged.paid := reported.paid;
	END IF;
	RETURN merged;
END $$;
COMMENT ON FUNCTION quota.stripe_merged IS
	'a known subscription updated by what an event says; unchanged if the event is older';

/*
 * If only the account or only the price is known, somebody has paid and gets no plan:
 * raise an error, so that Stripe shows the failed delivery and sends the event again.
 * If neither is known, the event is of another application.
 */
CREATE OR REPLACE FUNCTION quota.stripe_is_ours(reported quota.stripe_subscriptions, prices text[])
	RETURNS boolean
	LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $$
DECLARE
	unknown CONSTANT text[] := ARRAY(
		SELECT u FROM unnest(prices) u WHERE NOT EXISTS (SELECT FROM quota.stripe_prices p WHERE p.price = u));
BEGIN
	IF reported.reported_at = '-infinity' OR reported.status IN ('canceled', 'incomplete_expired') THEN
		RETURN reported.account IS NOT NULL;
	ELSIF (SELECT count(DISTINCT p.plan) FROM quota.stripe_prices p WHERE p.price = ANY (prices)) > 1 THEN
		RAISE cardinality_violation USING
			MESSAGE = format('subscription "%s" names more than one plan', reported.subscription),
			DETAIL = format('Its prices: %s.', array_to_string(prices, ', '));
	ELSIF reported.account IS NOT NULL AND reported.price IS NULL AND unknown <> '{}' THEN
		RAISE undefined_object USING
			MESSAGE = format('Stripe price "%s" names no plan', unknown[1]),
			DETAIL = format('Subscription "%s" of account "%s" has it.', reported.subscription, reported.account),
			HINT = 'Name its plan with quota_stripe_price, or insert it into quota.stripe_prices without a plan; Stripe sends the event again.';
	ELSIF reported.account IS NULL AND reported.price IS NOT NULL THEN
		RAISE undefined_object USING
			MESSAGE = format('Stripe customer "%s" belongs to no account', reported.customer),
			DETAIL = format('It has subscribed to price "%s", by subscription "%s".', reported.price, reported.subscription),
			HINT = 'Insert it into quota.stripe_customers, or set "account" in the subscription''s metadata; Stripe sends the event again.';
	END IF;
	RETURN reported.price IS NOT NULL;
END $$;
COMMENT ON FUNCTION quota.stripe_is_ours IS
	'true if an event is for an account and a plan here; raises an error if only one of them is known';

/*
 * The account follows its newest subscription that gives a plan, but one that is not
 * past due comes first. A trial continues as the plan by itself, and a plan without
 * an end lasts until Stripe ends it, so that a late webhook costs nobody what they
 * have paid for.
 */
CREATE OR REPLACE FUNCTION quota.apply_stripe(changed quota.stripe_subscriptions)
	RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
AS $$
DECLARE
	present quota.accounts;
	wanted quota.accounts;
	best record;
BEGIN
	IF quota.stripe_gives_plan(changed) THEN
		INSERT INTO quota.accounts (account) VALUES (changed.account) ON CONFLICT DO NOTHING;
	END IF;
	SELECT a.* INTO present FROM quota.accounts a WHERE a.account = changed.account FOR NO KEY UPDATE;
	wanted := present;

	SELECT s.*, quota.stripe_status(s) AS status_now, p.plan INTO best
	FROM quota.stripe_subscriptions s JOIN quota.stripe_prices p ON p.price = s.price
	WHERE s.account = changed.account AND p.plan IS NOT NULL AND quota.stripe_gives_plan(s)
	ORDER BY quota.stripe_status(s) = 'past_due', s.created_at DESC, s.subscription
	LIMIT 1;
	IF FOUND THEN
		wanted.plan := best.plan;
		wanted.status := best.status_now;
		wanted.trial_ends_at := COALESCE(best.trial_ends_at, present.trial_ends_at);
		wanted.plan_ends_at := best.ends_at;
		wanted.next_plan := CASE WHEN best.status_now = 'trialing' AND best.ends_at IS NULL THEN best.plan END;
		wanted.cycle_anchor := COALESCE(best.cycle_anchor, present.cycle_anchor);
	ELSIF changed.had_plan AND NOT quota.stripe_gives_plan(changed) AND present.account IS NOT NULL THEN
		wanted.plan := NULL;
		wanted.status := CASE quota.stripe_status(changed) WHEN 'unpaid' THEN 'past_due' ELSE 'canceled' END;
		wanted.plan_ends_at := NULL;
		wanted.next_plan := NULL;
	END IF;
	IF present.status = 'suspended' THEN
		wanted.status := present.status;
	END IF;
	IF wanted IS DISTINCT FROM present THEN
		UPDATE quota.accounts a
		SET (plan, status, trial_ends_at, plan_ends_at, next_plan, cycle_anchor) =
			(wanted.plan, wanted.status, wanted.trial_ends_at, wanted.plan_ends_at, wanted.next_plan, wanted.cycle_anchor)
		WHERE a.account = changed.account;
	END IF;

	IF best.customer IS NOT NULL THEN
		INSERT INTO quota.stripe_customers AS c (account, customer) VALUES (changed.account, best.customer)
		ON CONFLICT (account) DO UPDATE SET customer = excluded.customer WHERE c.customer <> excluded.customer;
	ELSIF changed.status NOT IN ('canceled', 'incomplete_expired') THEN
		INSERT INTO quota.stripe_customers (account, customer) VALUES (changed.account, changed.customer)
		ON CONFLICT DO NOTHING;
	END IF;
END $$;
COMMENT ON FUNCTION quota.apply_stripe IS 'sets an account from its subscriptions, one of which has changed';

CREATE OR REPLACE FUNCTION quota.apply_stripe_report(reported quota.stripe_subscriptions, prices text[])
	RETURNS text
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
AS $$
DECLARE
	known quota.stripe_subscriptions;
	merged quota.stripe_subscriptions;
BEGIN
	LOOP
		SELECT s.* INTO known FROM quota.stripe_subscriptions s WHERE s.subscription = reported.subscription FOR UPDATE;
		IF FOUND THEN
			reported.account := known.account;
			merged := quota.stripe_merged(known, reported);
			IF merged IS NOT DISTINCT FROM known THEN
				RETURN 'unchanged';
			END IF;
			/* a known subscription is ours even if its new price names no plan */
			PERFORM quota.stripe_is_ours(reported, prices);
			merged.had_plan := known.had_plan OR quota.stripe_gives_plan(merged);
			UPDATE quota.stripe_subscriptions s
			SET (customer, price, status, created_at, trial_ends_at, period_ends_at, ends_at, cycle_anchor,
					reported_at, reported_rank, payment_at, paid, had_plan) =
				(merged.customer, merged.price, merged.status, merged.created_at, merged.trial_ends_at, merged.period_ends_at, merged.ends_at,
					merged.cycle_anchor, merged.reported_at, merged.reported_rank, merged.payment_at, merged.paid, merged.had_plan)
			WHERE s.subscription = merged.subscription;
			EXIT;
		END IF;
		reported.account := COALESCE(reported.account, (
			SELECT min(c.account) FROM quota.stripe_customers c WHERE c.customer = reported.customer HAVING count(*) = 1));
		IF NOT quota.stripe_is_ours(reported, prices) THEN
			RETURN 'ignored';
		END IF;
		PERFORM quota.account_key(reported.account);
		merged := reported;
		merged.had_plan := reported.had_plan OR quota.stripe_gives_plan(reported);
		INSERT INTO quota.stripe_subscriptions SELECT merged.* ON CONFLICT DO NOTHING;
		/* else another event has inserted it meanwhile */
		EXIT WHEN FOUND;
	END LOOP;
	PERFORM quota.apply_stripe(merged);
	RETURN 'applied';
END $$;
COMMENT ON FUNCTION quota.apply_stripe_report IS
	'stores what an event says of a subscription and its prices, and returns the outcome';

/*
 * SECURITY DEFINER, so that an application can pass webhooks on without a right on
 * accounts: the signature proves that they are Stripe's.
 */
CREATE OR REPLACE FUNCTION quota.quota_stripe_event(payload text, signature text)
	RETURNS jsonb
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
AS $$
DECLARE
	content jsonb;
	is_new boolean;
	reported quota.stripe_subscriptions;
	merged text;
BEGIN
	IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
		RAISE feature_not_supported USING
			MESSAGE = 'webhooks can be taken in at isolation level READ COMMITTED only',
			DETAIL = 'What others have committed of the account since the snapshot would be left out.';
	END IF;
	PERFORM quota.check_stripe_signature(payload, signature, ARRAY(SELECT s.secret FROM quota.stripe_secrets s));
	content := payload::jsonb;
	IF (content->>'object' = 'event' AND jsonb_typeof(content->'id') = 'string' AND jsonb_typeof(content->'type') = 'string'
		AND jsonb_typeof(content->'created') = 'number' AND jsonb_typeof(content #> '{data,object}') = 'object') IS NOT TRUE
	THEN
		RAISE invalid_parameter_value USING MESSAGE = 'payload is not an event of Stripe';
	END IF;
	PERFORM quota.check_argument('id', octet_length(content->>'id') BETWEEN 1 AND 255, 'have 1 to 255 bytes');
	INSERT INTO quota.stripe_events (event, type, created_at, at, outcome)
	VALUES (content->>'id', content->>'type', quota.stripe_time(content->'created'), quota.now(), 'ignored')
	ON CONFLICT DO NOTHING;
	is_new := FOUND;
	IF is_new THEN
		reported := quota.stripe_told(content);
		IF reported.subscription IS NOT NULL THEN
			merged := quota.apply_stripe_report(reported, quota.stripe_prices_of(content #> '{data,object}'));
			UPDATE quota.stripe_events e
			SET outcome = merged,
				subscription = reported.subscription,
				account = (SELECT s.account FROM quota.stripe_subscriptions s WHERE s.subscription = reported.subscription)
			WHERE e.event = content->>'id';
		END IF;
	END IF;
	RETURN (
		SELECT jsonb_build_object(
			'event', e.event,
			'type', e.type,
			'outcome', CASE WHEN is_new THEN e.outcome ELSE 'repeated' END,
			'subscription', e.subscription,
			'account', e.account,
			'plan', CASE WHEN e.account IS NOT NULL THEN quota.plan_in_effect(a, p) END,
			'status', a.status)
		FROM quota.stripe_events e
			LEFT JOIN quota.accounts a ON a.account = e.account
			LEFT JOIN quota.accounts p ON p.account = a.pool
		WHERE e.event = content->>'id');
END $$;
COMMENT ON FUNCTION quota.quota_stripe_event IS
	'take in a webhook of Stripe: the body as it came, and its Stripe-Signature; what became of it';
