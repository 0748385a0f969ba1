/*
 * Row-level security, for roles that read the tables directly. Level admin sees and
 * changes all rows, level monitor sees all rows of figures, others see those of the
 * session's user, or none without one. C functions read the tables themselves:
 * policies cost charges nothing and hide nothing from them.
 *
 * The policies are created here, not by quota_grant, because pg_dump keeps grants on
 * an extension's tables but no policies. Partitions of quota.events have none, so
 * they show nothing; they are read through the whole.
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
COMMENT ON FUNCTION quota.visible_accounts IS
	'accounts that the session''s user is a member of, and those that they sponsor';

DO $$
DECLARE
	policy record;
BEGIN
	/*
	 * No member sees keys of the application's rows, or who changed what and why.
	 * quota.adopted is written by quota_adopt alone, since it decides which triggers are
	 * trusted. Sub-selects run once a query, not once a row.
	 */
	FOR policy IN
		SELECT p.*, "table"
		FROM (VALUES
				('manager', 'ALL', '(SELECT quota.manages())', 'level admin sees and changes all rows',
					'{accounts,account_users,limit_overrides,usage,keys,reservations,holds,events,alerts,invoices,invoice_lines,stripe_customers,stripe_subscriptions,stripe_events,charged_rows,audit_log}'::text[]),
				('manager', 'SELECT', '(SELECT quota.manages())', 'level admin sees all rows',
					'{adopted}'),
				('member', 'SELECT', 'account = ANY (ARRAY(SELECT quota.visible_accounts()))', 'a user sees its accounts and those that they sponsor',
					'{accounts,account_users,limit_overrides,usage,keys,reservations,holds,events,alerts,invoices,invoice_lines,stripe_customers,stripe_subscriptions,stripe_events}'),
				('monitor', 'SELECT', '(SELECT quota.sees_all())', 'level monitor sees the figures of all accounts',
					'{accounts,limit_overrides,usage,reservations,holds,events,alerts,invoices,invoice_lines}')) p (name, command, condition, comment, tables),
			unnest(p.tables) "table"
	LOOP
		EXECUTE format('
			ALTER TABLE quota.%1$I ENABLE ROW LEVEL SECURITY;
			CREATE POLICY %2$I ON quota.%1$I FOR %3$s USING (%4$s);
			COMMENT ON POLICY %2$I ON quota.%1$I IS %5$L',
			policy."table", policy.name, policy.command, policy.condition, policy.comment);
	END LOOP;
END $$;

/* Without a policy: for the owner alone. */
ALTER TABLE quota.events_default ENABLE ROW LEVEL SECURITY;
ALTER TABLE quota.stripe_secrets ENABLE ROW LEVEL SECURITY;
