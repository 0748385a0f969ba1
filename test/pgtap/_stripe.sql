/*
 * Webhooks as Stripe sends them, and their signatures; to be included inside of
 * a transaction or without one:
 *
 *	\ir _stripe.sql
 *
 * Names are those of Stripe's API. The HMAC is made of sha256() by RFC 2104.
 */
CREATE FUNCTION hmac_sha256(key bytea, message bytea) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	inner_pad bytea := '';
	outer_pad bytea := '';
	byte int;
BEGIN
	IF length(key) > 64 THEN
		key := sha256(key);
	END IF;
	FOR i IN 0..63 LOOP
		byte := CASE WHEN i < length(key) THEN get_byte(key, i) ELSE 0 END;
		inner_pad := inner_pad || set_byte('\x00', 0, byte # 54);
		outer_pad := outer_pad || set_byte('\x00', 0, byte # 92);
	END LOOP;
	RETURN encode(sha256(outer_pad || sha256(inner_pad || message)), 'hex');
END $$;

/* The header Stripe-Signature. */
CREATE FUNCTION signature(payload text, at timestamptz DEFAULT current_setting('quota.now')::timestamptz, secret text DEFAULT 'whsec_test') RETURNS text LANGUAGE sql AS $$
	SELECT format('t=%s,v1=%s', t, hmac_sha256(convert_to(secret, 'UTF8'), convert_to(t || '.' || payload, 'UTF8')))
	FROM (SELECT extract(epoch FROM at)::bigint::text AS t) s
$$;
CREATE FUNCTION hand_in(payload text) RETURNS jsonb LANGUAGE sql AS $$SELECT quota_stripe_event(payload, signature(payload))$$;

/* In brief: applied acme pro active */
CREATE FUNCTION told(payload text) RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' ', e->>'outcome', e->>'account', e->>'plan', e->>'status') FROM hand_in(payload) e
$$;

CREATE FUNCTION seconds(at timestamptz) RETURNS jsonb LANGUAGE sql AS $$SELECT to_jsonb(extract(epoch FROM at)::bigint)$$;

CREATE FUNCTION stripe_event(id text, type text, created timestamptz, object jsonb) RETURNS text LANGUAGE sql AS $$
	SELECT jsonb_pretty(jsonb_build_object('id', id, 'object', 'event', 'api_version', '2024-06-20', 'created', seconds(created),
		'data', jsonb_build_object('object', object), 'livemode', false, 'pending_webhooks', 1,
		'request', jsonb_build_object('id', NULL, 'idempotency_key', NULL), 'type', type))
$$;

/* price: several are several items; more: members that differ */
CREATE FUNCTION subscription(id text, price text, status text, account text, more jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('id', id, 'object', 'subscription', 'application', NULL, 'automatic_tax', jsonb_build_object('enabled', false),
		'billing_cycle_anchor', seconds('2026-01-10 09:00+00'), 'cancel_at', NULL, 'cancel_at_period_end', false, 'canceled_at', NULL,
		'cancellation_details', jsonb_build_object('comment', NULL, 'feedback', NULL, 'reason', NULL),
		'collection_method', 'charge_automatically', 'created', seconds('2026-01-10 09:00+00'), 'currency', 'usd',
		'current_period_end', seconds('2026-02-10 09:00+00'), 'current_period_start', seconds('2026-01-10 09:00+00'),
		'customer', 'cus_' || account, 'default_payment_method', 'pm_1Q', 'description', 'Ünïcode 😀', 'ended_at', NULL,
		'items', jsonb_build_object('object', 'list', 'data', (
			SELECT jsonb_agg(jsonb_build_object('id', 'si_' || p, 'object', 'subscription_item', 'created', seconds('2026-01-10 09:00+00'), 'metadata', '{}'::jsonb,
				'plan', jsonb_build_object('id', p, 'object', 'plan', 'active', true, 'amount', 1900, 'interval', 'month', 'metadata', '{}'::jsonb),
				'price', jsonb_build_object('id', p, 'object', 'price', 'active', true, 'currency', 'usd', 'unit_amount', 1900,
					'recurring', jsonb_build_object('interval', 'month', 'interval_count', 1), 'metadata', '{}'::jsonb),
				'quantity', 1, 'subscription', id))
			FROM unnest(string_to_array(price, ' ')) p), 'has_more', false, 'total_count', 1, 'url', '/v1/subscription_items?subscription=' || id),
		'latest_invoice', 'in_1Q', 'livemode', false, 'metadata', jsonb_build_object('account', account), 'pause_collection', NULL,
		'schedule', NULL, 'start_date', seconds('2026-01-10 09:00+00'), 'status', status, 'trial_end', NULL, 'trial_start', NULL) || more
$$;

/* The same in the versions of 2025-03-31 and later: the period is the items'. */
CREATE FUNCTION newer(subscription jsonb) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_set(subscription - '{current_period_start,current_period_end}'::text[], '{items,data,0}',
		subscription #> '{items,data,0}' || jsonb_build_object('current_period_start', subscription->'current_period_start', 'current_period_end', subscription->'current_period_end'))
$$;

CREATE FUNCTION invoice(subscription text, account text, more jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('id', 'in_1Q', 'object', 'invoice', 'amount_due', 1900, 'amount_paid', 1900, 'attempt_count', 1, 'attempted', true,
		'billing_reason', 'subscription_cycle', 'currency', 'usd', 'customer', 'cus_' || account, 'customer_email', 'ann@example.com',
		'lines', jsonb_build_object('object', 'list', 'data', '[]'::jsonb, 'has_more', false), 'metadata', '{}'::jsonb, 'status', 'paid',
		'subscription', subscription, 'subscription_details', jsonb_build_object('metadata', jsonb_build_object('account', account))) || more
$$;
CREATE FUNCTION newer_invoice(subscription text, account text) RETURNS jsonb LANGUAGE sql AS $$
	SELECT invoice(subscription, account) - '{subscription,subscription_details}'::text[]
		|| jsonb_build_object('parent', jsonb_build_object('quote_details', NULL, 'type', 'subscription_details', 'subscription_details',
			jsonb_build_object('metadata', jsonb_build_object('account', account), 'subscription', subscription)))
$$;

CREATE FUNCTION checkout_session(subscription text, price text, account text, more jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('id', 'cs_test_a1', 'object', 'checkout.session', 'amount_total', 1900, 'cancel_url', 'https://app.example/plans',
		'client_reference_id', account, 'created', seconds('2026-01-10 08:58+00'), 'currency', 'usd', 'customer', 'cus_' || account,
		'customer_details', jsonb_build_object('email', 'ann@example.com', 'name', 'Ann', 'address', jsonb_build_object('country', 'FR')),
		'expires_at', seconds('2026-01-11 08:58+00'), 'invoice', 'in_1Q', 'livemode', false, 'mode', 'subscription', 'payment_status', 'paid', 'status', 'complete',
		'metadata', jsonb_build_object('account', account, 'price', price), 'subscription', subscription,
		'success_url', 'https://app.example/thanks', 'total_details', jsonb_build_object('amount_tax', 0)) || more
$$;
