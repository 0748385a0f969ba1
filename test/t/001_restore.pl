
# Dump and restore keep everything: what is decided, and the triggers.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', slurp_file($ENV{QUOTA_CONF}))
  if $ENV{QUOTA_CONF};
$node->append_conf('postgresql.conf', "timezone = 'UTC'");
$node->start;

my $dir = PostgreSQL::Test::Utils::tempdir;

# Each of them has the extension, filled, and tables of an application.
sub fill
{
	my ($dbname, $schema) = @_;
	$node->safe_psql('postgres', "CREATE DATABASE $dbname");
	$node->safe_psql($dbname, "CREATE SCHEMA $schema") if $schema ne 'public';
	$node->safe_psql(
		$dbname, qq{
		ALTER DATABASE $dbname SET search_path = public, $schema;
		ALTER DATABASE $dbname SET quota.now = '2026-01-31 23:30+00';
		CREATE EXTENSION quota SCHEMA $schema;
	});
	$node->safe_psql(
		$dbname, q{
		SELECT quota_apply('{
			"features": {
				"report": {"kind": "counter", "unit": "report", "ledger": true, "description": "Überblick"},
				"run": {"kind": "counter"},
				"call": {"kind": "counter"},
				"seat": {"kind": "gauge"},
				"export": {"kind": "flag"},
				"theme": {"kind": "flag"}
			},
			"plans": {
				"free": {"name": "Free", "default": true, "price": 0, "metadata": {"fr": "Gratuit"}, "limits": {
					"report": {"month": {"limit": 5, "block_ratio": 1.2}, "day": {"limit": 4}},
					"run": {"cycle": {"limit": 3}},
					"seat": {"lifetime": {"limit": 2}}}},
				"pro": {"name": "Pro", "price": 9.99, "currency": "EUR", "billing_interval": "year", "visible": false, "display_order": 3, "limits": {
					"report": {"month": {"limit": 300, "on_limit": "charge", "warn_ratio": 0.123456789, "overage_price": 1.5, "overage_cap": 10}},
					"call": {"month": {"limit": 30, "on_limit": "charge", "overage_price": 1.5}},
					"run": {"month": {"limit": null}}},
					"features": {"export": true, "theme": {"colours": [1, 2]}}}
			}}');
		INSERT INTO quota.accounts (account, plan, status, timezone, cycle_anchor, bypass, plan_ends_at, next_plan, sponsor, metadata) VALUES
			('ada', 'pro', 'active', 'America/New_York', '2024-01-31 12:00+00', false, NULL, NULL, NULL, '{"a": 1}'),
			('bob', 'pro', 'trialing', NULL, NULL, true, '2030-01-01', 'free', 'ada', '{}'),
			('eve', NULL, 'suspended', 'Asia/Kathmandu', NULL, false, NULL, NULL, NULL, '{}');
		INSERT INTO quota.account_users VALUES ('ada', 'u1', 'OWNER'), ('ada', 'u2', 'MEMBER');
		INSERT INTO quota.limit_overrides VALUES
			('ada', 'report', 'month', 2, '2027-01-01', 'sales'),
			('zoe', 'run', 'cycle', NULL, NULL, NULL),
			('zoe', 'seat', 'lifetime', 1, '2026-01-01', 'over');

		SELECT quota_record('ada', 'report', 7), quota_record('ada', 'run', 3000000000);
		SELECT quota_consume('bob', 'report', 1000), quota_consume('bob', 'run');
		SELECT quota_consume('zoe', 'report'), quota_consume('zoe', 'seat'), quota_consume('zoe', 'run', 9);
		SET quota.now = '2025-11-05';
		SELECT quota_consume('zoe', 'report', 3);
		RESET quota.now;
		SELECT quota_consume('zed', 'report', 2, 'again'), quota_consume('zed', 'report', 9, 'denied');
		SELECT quota_reserve('zed', 'run', 2, '1 hour', 'held'), quota_reserve('zed', 'run', 1, '1 second');

		SELECT quota_stripe_price('price_pro', 'pro');
		INSERT INTO quota.stripe_secrets VALUES ('live', 'whsec_test');
		SELECT quota_stripe_event('{"id": "evt_1", "object": "event", "type": "customer.subscription.updated", "created": 1769900000, "data": {"object": {"id": "sub_1", "object": "subscription", "customer": "cus_1", "status": "active", "created": 1769900000, "metadata": {"account": "pia"}, "items": {"data": [{"price": {"id": "price_pro"}}]}}}}',
			't=1769902200,v1=0893b6b2b1d264f3a384034dff60225119d968ffaf88dcd37e404e79e455771f');

		DO $do$ BEGIN CREATE ROLE restored_app; EXCEPTION WHEN duplicate_object THEN NULL; END $do$;
		SELECT quota_grant('restored_app', 'app');

		CREATE TABLE reports (id serial PRIMARY KEY, owner text);
		CREATE TABLE runs (id serial PRIMARY KEY, owner text, amount int, status text, why text);
		SELECT quota_attach('reports', 'report', 'owner');
		SELECT quota_attach('runs', 'run', 'owner', 'amount', 'mark',
			status_column => 'status', blocked_status => 'skipped_limit', message_column => 'why', mark_when => $$why <> 'no'$$);
		INSERT INTO reports (owner) VALUES ('kim'), ('kim'), ('lee');
		INSERT INTO runs (owner, amount, status) VALUES ('kim', 2, 'new');
		INSERT INTO runs (owner, amount, status, why) VALUES ('kim', 2, 'new', 'by schedule');

		-- a ledger with months, and with events that have none
		SELECT quota_maintain();
		SET "quota.user" = 'u1';
		SELECT quota_consume('lee', 'report', metadata => '{"kind": "sent", "client": "::1"}');
		SET quota.now = '2025-06-05';
		SELECT quota_record('zoe', 'report', 9, metadata => '"Überblick"');
		SET quota.now = '2026-02-28 23:59:59.999999+00';
		SELECT quota_consume('lee', 'report', 9);

		-- an invoice of a month, and a month that is yet to be billed
		SET quota.now = '2026-02-15';
		SELECT quota_set_plan('pam', 'pro'), quota_record('pam', 'call', 32);
		SET quota.now = '2026-03-01';
		SELECT quota_invoice_overage();
		SELECT quota_record('pam', 'call', 33);
		SET quota.now = '2026-04-01';
		SELECT quota_set_plan('pam', 'free');
		RESET quota.now;

		CREATE TABLE customers (id int PRIMARY KEY, label text, tier text, creator text);
		INSERT INTO customers VALUES (1, 'One', 'pro', 'u1');
		CREATE TABLE gone (id int PRIMARY KEY);
		SELECT quota_adopt('gone', 'id');
		DROP TABLE gone;
		SELECT quota_adopt('customers', 'id', 'label', 'tier', owner_column => 'creator');
		CREATE TABLE "My partners" (code text PRIMARY KEY);
		INSERT INTO "My partners" VALUES ('p1'), ('p2');
		SELECT quota_adopt('"My partners"', 'code'), quota_suspend('p2');
		DELETE FROM "My partners" WHERE code = 'p2';

		CREATE TABLE seats (id serial PRIMARY KEY, owner text, name text);
		CREATE TABLE "My tries" (id int, day date, owner text, ok boolean, PRIMARY KEY (day, id)) PARTITION BY RANGE (id);
		CREATE TABLE low_tries PARTITION OF "My tries" FOR VALUES FROM (0) TO (10);
		SELECT quota_attach('seats', 'seat', 'owner', $$octet_length(name) / 2 -- a 'note'$$, counted_when => $$name <> 'x\000'$$);
		SELECT quota_attach('"My tries"', 'run', 'owner', counted_when => 'ok');
		INSERT INTO seats (owner, name) VALUES ('sam', 'ab'), ('sam', 'x\000');
		INSERT INTO "My tries" VALUES (1, '2026-01-01', 'tim', true), (2, '2026-01-01', 'tim', false), (3, '2026-01-01', 'tim', true);
	});
	is( $node->safe_psql($dbname,
			q{SELECT tableoid::regclass, count(*) FROM quota.events GROUP BY 1 ORDER BY tableoid::regclass::text}),
		"quota.events_2025_11|1\nquota.events_2026_01|8\nquota.events_2026_02|1\nquota.events_default|1",
		"$dbname: it has events in months and in none");
}

# Every decision that the database makes.
sub decisions
{
	my ($dbname) = @_;
	return $node->safe_psql(
		$dbname, q{
		SELECT d.*, quota_has_feature(a, 'export'), quota_feature(a, 'theme')
		FROM unnest('{ada,bob,eve,zoe,zed,kim,lee,sam,tim,new}'::text[]) a, quota_evaluate(a) d
		ORDER BY a, d.feature, d.period});
}

# Every row of the extension's tables.
sub rows
{
	my ($dbname) = @_;
	my $query = $node->safe_psql(
		$dbname, q{
		SELECT string_agg(format('SELECT %L, t::text COLLATE "C" FROM %s t', oid::regclass, oid::regclass),
			' UNION ALL ' ORDER BY oid::regclass::text COLLATE "C") || ' ORDER BY 1, 2'
		FROM pg_class WHERE relnamespace = 'quota'::regnamespace AND relkind IN ('r', 'p')});
	return $node->safe_psql($dbname, $query);
}

# The lines of a dump, in any order, without the key that differs each time.
sub lines
{
	my ($dbname) = @_;
	my ($out, $err) = run_command([ 'pg_dump', '-d', $node->connstr($dbname) ]);
	return (join("\n", sort grep { !/^\\(un)?restrict / } split(/\n/, $out)), $err);
}

sub sqlstate
{
	my ($dbname, $sql) = @_;
	my ($ret, $out, $err) =
	  $node->psql($dbname, $sql, extra_params => [ '-v', 'VERBOSITY=sqlstate' ]);
	return $err =~ /ERROR:\s+(\S+)/ ? $1 : "none: $out";
}

# The triggers that came with a dump charge and refuse.
sub triggers_work
{
	my ($dbname) = @_;

	# day limit of 4, 2 used
	$node->safe_psql($dbname, q{INSERT INTO reports (owner) VALUES ('kim'), ('kim')});
	is(sqlstate($dbname, q{INSERT INTO reports (owner) VALUES ('kim')}),
		'PT429', "$dbname: raise refuses");
	is( $node->safe_psql($dbname,
			q{SELECT count(*), (SELECT string_agg(period || '=' || used, ' ' ORDER BY period) FROM quota.usage
			WHERE (account, feature) = ('kim', 'report')) FROM reports WHERE owner = 'kim'}),
		'4|day=4 month=4', "$dbname: raise charges");

	# limit of 3, 2 used, one row marked
	is( $node->safe_psql($dbname,
			q{INSERT INTO runs (owner, amount, status) VALUES ('kim', 1, 'new');
			INSERT INTO runs (owner, amount, status, why) VALUES ('kim', 1, 'new', 'by schedule')
			RETURNING status, why LIKE '%(3/3)%'}),
		"skipped_limit|t", "$dbname: mark marks");
	is(sqlstate($dbname, q{INSERT INTO runs (owner, amount, status) VALUES ('kim', 1, 'new')}),
		'PT429', "$dbname: what it does not mark is refused");
	is( $node->safe_psql($dbname,
			q{SELECT sum(used) FROM quota.usage WHERE (account, feature) = ('kim', 'run')}),
		'3', "$dbname: mark charges");

	# a gauge with a limit of 2, 1 used; a row whose charge is remembered
	$node->safe_psql($dbname, q{INSERT INTO seats (owner, name) VALUES ('sam', 'cd')});
	is(sqlstate($dbname, q{UPDATE seats SET name = 'abcd' WHERE name = 'ab'}),
		'PT429', "$dbname: a gauge refuses");
	$node->safe_psql($dbname, q{DELETE FROM seats WHERE name IN ('cd', 'x\000');
		UPDATE low_tries SET ok = false WHERE id = 3});
	is( $node->safe_psql($dbname,
			q{SELECT string_agg(account || '=' || used, ' ' ORDER BY account) FROM quota.usage WHERE account IN ('sam', 'tim');
			SELECT relation, row_key FROM quota.charged_rows;
			SELECT count(*) FROM quota_reconcile('seats', 'seat') WHERE account = 'sam';
			SELECT count(*) FROM quota_reconcile('"My tries"', 'run') WHERE account = 'tim'}),
		qq{sam=1 tim=1\n"My tries"|["2026-01-01","1"]\n0\n0}, "$dbname: rows that change are charged and refunded");
	$node->safe_psql($dbname, q{SELECT quota_detach(relation, feature) FROM quota.attachments});

	# those that follow the application's accounts
	$node->safe_psql($dbname, q{INSERT INTO customers VALUES (2, 'Two', 'pro', 'u2'); UPDATE customers SET label = 'Uno', id = 3 WHERE id = 1});
	is( $node->safe_psql($dbname,
			q{SELECT account, a.name, plan, user_id, role FROM quota.accounts a JOIN quota.account_users USING (account)
			WHERE account IN ('1', '2', '3') ORDER BY 1}),
		"2|Two|pro|u2|OWNER\n3|Uno|pro|u1|OWNER", "$dbname: accounts are followed");
	is(sqlstate($dbname, q{INSERT INTO "My partners" VALUES ('2')}),
		'23505', "$dbname: nobody takes another table's accounts");
	$node->safe_psql($dbname, q{INSERT INTO "My partners" VALUES ('p2'), ('p3'); DELETE FROM "My partners" WHERE code = 'p1'});
	is( $node->safe_psql($dbname,
			q{SELECT account, status, relation FROM quota.accounts a LEFT JOIN quota.adopted o ON o.id = adopted_by WHERE account LIKE 'p_' ORDER BY 1}),
		qq{p2|suspended|"My partners"\np3|active|"My partners"}, "$dbname: which account is whose is known");
	$node->safe_psql($dbname, q{CREATE TABLE more (id int PRIMARY KEY); SELECT quota_adopt('more', 'id')});
	is( $node->safe_psql($dbname,
			q{SELECT relation, id, (SELECT string_agg(DISTINCT encode(tgargs, 'escape'), ' ') FROM pg_trigger WHERE tgrelid = relation AND tgname LIKE 'quota\_adopt%')
			FROM quota.adopted ORDER BY id}),
		qq{customers|2|2\\000\n"My partners"|3|3\\000\nmore|4|4\\000}, "$dbname: the numbers of adoptions are as they were, and go on");
	$node->safe_psql($dbname, q{SELECT quota_unadopt(relation) FROM quota.adopted; DROP TABLE more});
	is( $node->safe_psql($dbname,
			q{SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal AND tgname LIKE '%quota%'}),
		'0', "$dbname: the triggers can be detached");
}

# So do the audit log, which goes on where it was, and the policies.
sub management_works
{
	my ($dbname) = @_;

	is( $node->safe_psql($dbname,
			q{SELECT quota_set_plan('lee', 'free'), quota_set_plan('lee', 'pro');
			SELECT count(*) FROM quota.audit_log WHERE account = 'lee'}),
		"|\n2", "$dbname: the audit log goes on");
	is( $node->safe_psql($dbname,
			q{SELECT count(*) FROM pg_policy JOIN pg_class c ON c.oid = polrelid AND relrowsecurity
			WHERE relnamespace = 'quota'::regnamespace}),
		'40', "$dbname: policies are there");
	is( $node->safe_psql($dbname,
			q{SET ROLE restored_app; SELECT allowed FROM quota_consume('new', 'call'); RESET ROLE;
			SELECT role, level FROM quota.levels}),
		"f\nrestored_app|app", "$dbname: a role has its level");
	is(sqlstate($dbname, q{SET ROLE restored_app; SELECT quota_suspend('new')}),
		'42501', "$dbname: and no other");
}

# What was answered is known, and what is held can be settled, or expires.
sub reservations_work
{
	my ($dbname) = @_;

	is( $node->safe_psql($dbname,
			q{SELECT (quota_consume('zed', 'report', 2, 'again')).used, (quota_consume('zed', 'report', 9, 'denied')).decision,
			(quota_reserve('zed', 'run', 2, key => 'held')).id}),
		'2|BLOCK|1', "$dbname: keys are known");
	is( $node->safe_psql($dbname, q{SELECT used FROM quota_commit(1, 1)}),
		'2', "$dbname: what is reserved can be settled");
	is( $node->safe_psql($dbname,
			q{SET quota.now = '2026-01-31 23:30:01+00'; SELECT id, used FROM quota_reserve('zed', 'run', 2)}),
		'3|3', "$dbname: what has expired is given back, and ids go on");
}

# What is billed is known, and what is not is billed by the plan of then.
sub billing_works
{
	my ($dbname) = @_;

	is( $node->safe_psql($dbname,
			q{SET quota.now = '2026-04-02';
			SELECT account, period_start, total FROM quota_invoice_overage();
			SELECT i.period_start, l.quantity, l.amount, l.plan FROM quota.invoices i JOIN quota.invoice_lines l ON l.invoice = i.id
			WHERE i.account = 'pam' ORDER BY i.id}),
		"pam|2026-03-01 00:00:00+00|4.50\n2026-02-01 00:00:00+00|2|3.00|pro\n2026-03-01 00:00:00+00|3|4.50|pro",
		"$dbname: a month is billed, and another is not again");
}

# A webhook that has come is known, its subscription as well, and the secret.
sub stripe_works
{
	my ($dbname) = @_;

	is( $node->safe_psql($dbname,
			q{SELECT concat_ws(' ', e->>'outcome', e->>'account', e->>'plan', e->>'status') FROM (VALUES
			(quota_stripe_event('{"id": "evt_1", "object": "event", "type": "customer.subscription.updated", "created": 1769900000, "data": {"object": {"id": "sub_1", "object": "subscription", "customer": "cus_1", "status": "active", "created": 1769900000, "metadata": {"account": "pia"}, "items": {"data": [{"price": {"id": "price_pro"}}]}}}}',
				't=1769902200,v1=0893b6b2b1d264f3a384034dff60225119d968ffaf88dcd37e404e79e455771f')),
			(quota_stripe_event('{"id": "evt_2", "object": "event", "type": "customer.subscription.updated", "created": 1769900001, "data": {"object": {"id": "sub_1", "object": "subscription", "customer": "cus_1", "status": "active", "created": 1769900000, "metadata": {"account": "pia"}, "items": {"data": [{"price": {"id": "price_pro"}}]}}}}',
				't=1769902200,v1=47e27a540d76a445852f3ba615c8f85cc78a1459b2cbccb5e29fffcfa0843eb1'))) v (e);
			SELECT quota_stripe_portal('pia', 'https://app.example')->>'body'}),
		"repeated pia pro active\napplied pia pro active\ncustomer=cus_1&return_url=https%3A%2F%2Fapp.example",
		"$dbname: webhooks go on");
}

# The ledger goes on: into the months that came with the dump, and into new ones.
# Its partitions are no members of the extension, and go with it all the same.
sub ledger_works
{
	my ($dbname) = @_;
	is( $node->safe_psql($dbname,
			q{SELECT relname, relrowsecurity, (SELECT count(*) FROM pg_index WHERE indrelid = c.oid)
			FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid WHERE inhparent = 'quota.events'::regclass ORDER BY 1}),
		join("\n", map { "$_|t|3" } qw(events_2025_11 events_2026_01 events_2026_02 events_2026_03 events_default)),
		"$dbname: months have their indexes, and show nothing by themselves");
	is( $node->safe_psql($dbname,
			q{SELECT count(DISTINCT id) = count(*), max(id) < nextval('quota.events_id_seq') FROM quota.events}),
		't|t', "$dbname: ids count on");
	is( $node->safe_psql($dbname,
			q{SELECT used FROM quota_consume('max', 'report');
			SELECT tableoid::regclass FROM quota.events WHERE account = 'max';
			SELECT quota_maintain()->'ledger_months_made';
			SELECT tableoid::regclass FROM quota.events WHERE at < '2025-07-01';
			SELECT quota_maintain(ledger_retention => '1 month')->'ledger_months_dropped'}),
		"1\nquota.events_2026_01\n1\nquota.events_2025_06\n2", "$dbname: months are written, made and dropped");
	is( $node->safe_psql($dbname,
			q{DROP TABLE reports, runs, seats, "My tries"; DROP EXTENSION quota;
			SELECT count(*) FROM pg_class WHERE relname LIKE 'events\_%'}),
		'0', "$dbname: months go with the extension");
}

# pg_dump's options, and the steps to restore what it wrote. A parallel restore
# does not know that one extension table's rows refer to another's: those of
# quota go in first.
my %formats = (
	plain => [ ['-Fp'], ['psql'] ],
	custom => [ ['-Fc'], ['pg_restore'] ],
	# rows that come by INSERT would be audited, but not in a replica
	inserts => [ [ '-Fp', '--inserts' ], [ 'psql', '-c', 'SET session_replication_role = replica' ] ],
	sections => [
		[ '-Fd', '-j2' ],
		[ 'pg_restore', '--section=pre-data' ],
		[ 'pg_restore', '--section=data', '-n', 'quota' ],
		[ 'pg_restore', '-j2', '--section=data', '-N', 'quota' ],
		[ 'pg_restore', '-j2', '--section=post-data' ]
	]);

sub restore
{
	my ($dbname, $file, $program, @options) = @_;
	push @options, $program eq 'psql'
	  ? ('-X', '-q', '-v', 'ON_ERROR_STOP=1', '-o', "$dir/out", '-f', $file)
	  : ('--exit-on-error', $file);
	return run_log([ $program, '-d', $node->connstr($dbname), @options ]);
}

foreach my $schema ('public', 'limits')
{
	my $source = "app_$schema";
	fill($source, $schema);
	my $decisions = decisions($source);
	my $rows = rows($source);
	my ($lines, $warnings) = lines($source);

	is($warnings, '', "$source: pg_dump warns of nothing");
	cmp_ok(scalar(split(/\n/, $decisions)), '>=', 15, "$source: it decides");
	like($rows, qr/Gratuit/, "$source: it holds rows");

	# Without that, the dump's log is refused where the restore has been recorded.
	$node->safe_psql('postgres', "CREATE DATABASE recorded_$schema");
	command_ok([ 'pg_dump', '--inserts', '-f', "$dir/recorded_$schema", '-d', $node->connstr($source) ], "$source: dumped by INSERT");
	my ($stdout, $stderr) =
	  run_command([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-o', "$dir/out", '-d', $node->connstr("recorded_$schema"), '-f', "$dir/recorded_$schema" ]);
	like($stderr, qr/the audit log has an entry 1 already\n.*session_replication_role to replica/s, "$source: and refused");

	foreach my $format (sort keys %formats)
	{
		my ($dump, @steps) = @{ $formats{$format} };
		my $target = "${format}_$schema";
		my $file = "$dir/$target";
		$node->safe_psql(
			'postgres', "CREATE DATABASE $target;
			ALTER DATABASE $target SET search_path = public, $schema;
			ALTER DATABASE $target SET quota.now = '2026-01-31 23:30+00'");
		command_ok([ 'pg_dump', @$dump, '-f', $file, '-d', $node->connstr($source) ], "$target: dumped");
		my $failed = grep { !restore($target, $file, @$_) } @steps;
		ok(!$failed, "$target: restored");
		next if $failed;
		is(decisions($target), $decisions, "$target: every decision is the same");
		is(rows($target), $rows, "$target: every row is the same");
		is((lines($target))[0], $lines, "$target: its own dump is the same");
		triggers_work($target);
		management_works($target);
		reservations_work($target);
		billing_works($target);
		stripe_works($target);
		ledger_works($target);
	}
}

$node->stop;
done_testing();
