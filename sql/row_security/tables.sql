/*
 * Row-level security, for roles that read the tables directly. Level admin sees
 * and changes all rows, level monitor sees those that are figures, anybody else
 * those of the user on whose behalf the session acts; without one, none. The C
 * functions read the tables themselves: it costs a charge nothing and hides
 * nothing from it.
 *
 * The policies are made here and not by quota_grant because pg_dump keeps the
 * grants on an extension's tables but no policies. Partitions of quota.events
 * have none: they are read through the whole, and by themselves show nothing.
 */
CREATE FUNCTION quota.visible_accounts() RETURNS SETOF text
	LANGUAGE sql STABLE PARALLEL RESTRICTED SECURITY DEFINER
BEGIN ATOMIC
	SELECT m.account FROM quota.account_users m WHERE m.user_id = quota.user_id()
	UNION
	SELECT a.account
	FROM quota.account_users m JOIN quota.accounts a ON a.sponsor = m.account
	WHERE m.user_id = quota.user_id();
END;
COMMENT ON FUNCTION quota.visible_accounts() IS
	'accounts that the session''s user is a member of, and those that they sponsor';

DO $$
DECLARE
	name text;
BEGIN
	FOREACH name IN ARRAY '{accounts,account_users,limit_overrides,usage,keys,reservations,holds,events,alerts,invoices,invoice_lines,stripe_customers,stripe_subscriptions,stripe_events}'::text[] LOOP
		/* sub-selects: once a query, not once a row */
		EXECUTE format('
			ALTER TABLE quota.%1$I ENABLE ROW LEVEL SECURITY;
			CREATE POLICY manager ON quota.%1$I
				USING ((SELECT quota.manages()));
			CREATE POLICY member ON quota.%1$I FOR SELECT
				USING (account = ANY (ARRAY(SELECT quota.visible_accounts())));
			COMMENT ON POLICY manager ON quota.%1$I IS ''level admin sees and changes all rows'';
			COMMENT ON POLICY member ON quota.%1$I IS ''a user sees its accounts and those that they sponsor'';',
			name);
	END LOOP;
	FOREACH name IN ARRAY '{accounts,limit_overrides,usage,reservations,holds,events,alerts,invoices,invoice_lines}'::text[] LOOP
		EXECUTE format('
			CREATE POLICY monitor ON quota.%1$I FOR SELECT
				USING ((SELECT quota.sees_all()));
			COMMENT ON POLICY monitor ON quota.%1$I IS ''level monitor sees the figures of all accounts'';',
			name);
	END LOOP;
END $$;
ALTER TABLE quota.events_default ENABLE ROW LEVEL SECURITY;

/* Keys of the application's rows, of no account; and who changed what and why, which is for no member to see. */
ALTER TABLE quota.charged_rows ENABLE ROW LEVEL SECURITY;
CREATE POLICY manager ON quota.charged_rows
	USING ((SELECT quota.manages()));
COMMENT ON POLICY manager ON quota.charged_rows IS 'level admin sees and changes all rows';
ALTER TABLE quota.audit_log ENABLE ROW LEVEL SECURITY;
CREATE POLICY manager ON quota.audit_log
	USING ((SELECT quota.manages()));
COMMENT ON POLICY manager ON quota.audit_log IS 'level admin sees and changes all rows';

/* Without a policy: nobody but the owner. */
ALTER TABLE quota.stripe_secrets ENABLE ROW LEVEL SECURITY;
