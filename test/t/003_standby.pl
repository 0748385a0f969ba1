
# On a hot standby everything can be asked and nothing be charged.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1);
$primary->append_conf('postgresql.conf', slurp_file($ENV{QUOTA_CONF}))
  if $ENV{QUOTA_CONF};
# replay compares every page that a charge wrote
$primary->append_conf('postgresql.conf', "wal_consistency_checking = 'heap, heap2, btree'");
$primary->append_conf('postgresql.conf', 'max_prepared_transactions = 10');
$primary->start;

$primary->safe_psql(
	'postgres', q{
	CREATE EXTENSION quota;
	SELECT quota_apply('{
		"features": {"report": {"kind": "counter"}, "export": {"kind": "flag"}, "call": {"kind": "rate"}},
		"plans": {
			"free": {"default": true, "limits": {"report": {"lifetime": {"limit": 10}}, "call": {"hour": {"limit": 5}}}, "features": {"export": true}},
			"pro": {"limits": {"report": {"lifetime": {"limit": 100}}}}}}');
	INSERT INTO quota.accounts (account, plan) VALUES ('ada', 'pro'), ('fay', 'free');
	SELECT quota_consume('ada', 'report', 40), quota_consume('bob', 'report', 9);
	CREATE TABLE reports (id serial PRIMARY KEY, owner text);
	SELECT quota_attach('reports', 'report', 'owner');
});
$primary->backup('base');

my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->append_conf('postgresql.conf', 'max_standby_streaming_delay = -1');
$standby->start;
$primary->wait_for_catchup($standby);

sub sqlstate
{
	my ($node, $sql) = @_;
	my ($ret, $out, $err) =
	  $node->psql('postgres', $sql, extra_params => [ '-v', 'VERBOSITY=sqlstate' ]);
	return $err =~ /ERROR:\s+(\S+)/ ? $1 : "none: $out";
}

my $evaluate = q{SELECT account, plan, decision, used, usage_limit
	FROM unnest('{ada,bob,new}'::text[]) a, quota_evaluate(a, 'report') ORDER BY 1};
my $expected = "ada|pro|ALLOW|40|100\nbob|free|ALLOW_WITH_WARNING|9|10\nnew|free|ALLOW|0|10";

# A session that has cached the catalogue before it changes.
my $session = $standby->background_psql('postgres');
is($session->query_safe($evaluate), $expected, 'standby: quota_evaluate works');
is( $session->query_safe(
		q{SELECT quota_has_feature('fay', 'export'), quota_has_feature('ada', 'export'), quota_feature('bob', 'report')}),
	't|f|{"lifetime": 10}', 'standby: so do the questions about features');
is($session->query_safe(q{SELECT decision, reason FROM quota_evaluate('bob', 'report', 2)}),
	'BLOCK|limit_reached', 'standby: it tells a denial');
is(sqlstate($standby, q{SELECT quota_require_feature('ada', 'export')}),
	'PT402', 'standby: quota_require_feature raises');

foreach my $call (
	q{quota_consume('ada', 'report')}, q{quota_enforce('ada', 'report')},
	q{quota_record('ada', 'report')}, q{quota_refund('ada', 'report')},
	q{quota_consume_many('ada', '{"report": 1}')}, q{quota_consume('new', 'report')},
	q{quota_consume('bob', 'report', 2)}, q{quota_consume('ada', 'report', 1, 'key')},
	q{quota_reserve('ada', 'report', 1)}, q{quota_commit(1)})
{
	is(sqlstate($standby, "SELECT $call"), '25006', "standby: $call is refused");
	is(sqlstate($primary, "BEGIN READ ONLY; SELECT $call"),
		'25006', "read-only transaction: $call is refused");
}
is($primary->safe_psql('postgres', "BEGIN READ ONLY; $evaluate"),
	$expected, 'read-only transaction: quota_evaluate works');

# Rates are each server's own: they are in its memory, and nothing is written.
my $call = q{BEGIN READ ONLY; SELECT allowed, used FROM quota_consume('bob', 'call', 3)};
is($primary->safe_psql('postgres', $call), 't|3', 'primary: a rate');
is($standby->safe_psql('postgres', $call), 't|3', 'standby: a rate, of its own');
is($standby->safe_psql('postgres', $call), 'f|3', 'standby: which is limited');
is(sqlstate($standby, q{SELECT quota_enforce('bob', 'call', 3)}), 'PT429', 'standby: and raises');
is($standby->safe_psql('postgres', q{SELECT used FROM quota_record('bob', 'call', 9)}), '12', 'standby: recorded');
is($standby->safe_psql('postgres', q{SELECT used FROM quota_refund('bob', 'call', 8)}), '4', 'standby: given back');
is($standby->safe_psql('postgres', q{SELECT used, burst FROM quota_rates('bob')}), '4|5', 'standby: shown');
is($standby->safe_psql('postgres', q{SELECT quota_rate_clear('bob'); SELECT used FROM quota_rates('bob')}), "\n0", 'standby: and forgotten');
is($primary->safe_psql('postgres', q{SELECT used FROM quota_rates('bob')}), '3', 'primary: not for it');

# Changes of the catalogue and of the counters arrive.
$primary->safe_psql(
	'postgres', q{
	UPDATE quota.plan_limits SET usage_limit = 50 WHERE plan = 'pro';
	UPDATE quota.plan_features SET value = 'false';
	INSERT INTO quota.limit_overrides (account, feature, period, usage_limit) VALUES ('bob', 'report', 'lifetime', 1000);
	UPDATE quota.plans SET is_default = false WHERE plan = 'free';
	UPDATE quota.plans SET is_default = true WHERE plan = 'pro';
	SELECT quota_consume('ada', 'report', 5);
	INSERT INTO reports (owner) SELECT 'new' FROM generate_series(1, 3);
});
$primary->wait_for_catchup($standby);
is( $session->query_safe($evaluate),
	"ada|pro|ALLOW_WITH_WARNING|45|50\nbob|pro|ALLOW|9|1000\nnew|pro|ALLOW|3|50",
	'standby: a session that had cached the catalogue sees it changed');
is($session->query_safe(q{SELECT quota_has_feature('fay', 'export')}),
	'f', 'standby: and the value of a gate');
$session->quit;

# What is reserved, and what of it has expired.
$primary->safe_psql('postgres', q{SELECT quota_reserve('hal', 'report', 20, '1 hour'), quota_reserve('hal', 'report', 5, '1 day')});
$primary->wait_for_catchup($standby);
my $held = q{SELECT used, (SELECT used FROM quota.counters WHERE account = 'hal') FROM quota_evaluate('hal', 'report')};
is($standby->safe_psql('postgres', $held), '25|25', 'standby: what is reserved is used');
is($standby->safe_psql('postgres', "SELECT set_config('quota.now', (now() + '2 hours')::text, false) \\g /dev/null\n$held"),
	'5|5', 'standby: what has expired is not');

# Much of what a charge can write: new pages, new versions, pruned ones.
$primary->safe_psql(
	'postgres', q{
	SELECT quota_record('account-' || i % 300, 'report') FROM generate_series(1, 3000) i;
	SELECT quota_refund('account-' || i, 'report', 4) FROM generate_series(1, 299) i;
	VACUUM quota.usage;
	SELECT quota_record('account-' || i, 'report') FROM generate_series(1, 400) i;
});
$primary->wait_for_catchup($standby);
my $sums = q{SELECT count(*), sum(used), min(used), max(used) FROM quota.usage WHERE account LIKE 'account-%'};
is($standby->safe_psql('postgres', $sums),
	$primary->safe_psql('postgres', $sums), 'standby: usage is that of the primary');
is($standby->safe_psql('postgres', $sums), '401|2204|1|10', 'standby: and exact');

# What an account amounts to may be asked for again and again; each change arrives.
my $plan = q{SELECT (quota_evaluate('fay', 'report')).plan};
foreach my $change ('pro', 'free', 'pro')
{
	is($standby->safe_psql('postgres', "$plan; $plan"), $change eq 'pro' ? "free\nfree" : "pro\npro", 'standby: the plan');
	$primary->safe_psql('postgres', "SELECT quota_set_plan('fay', '$change')");
	$primary->wait_for_catchup($standby);
	is($standby->safe_psql('postgres', "$plan; $plan"), "$change\n$change", 'standby: the plan changed');
}
$primary->safe_psql('postgres', q{BEGIN; SELECT quota_set_plan('fay', 'free'); PREPARE TRANSACTION 'p'});
$primary->wait_for_catchup($standby);

# After a failover the counters go on.
$primary->stop;
$standby->promote;
is($standby->safe_psql('postgres', "$plan; $plan"), "pro\npro", 'promoted: the plan');
$standby->safe_psql('postgres', q{COMMIT PREPARED 'p'});
is($standby->safe_psql('postgres', "$plan; $plan"), "free\nfree", 'promoted: a change prepared before');
is($standby->safe_psql('postgres', q{SELECT allowed, used FROM quota_consume('ada', 'report', 6)}),
	'f|45', 'promoted: not more than what is left');
is($standby->safe_psql('postgres', q{SELECT allowed, used FROM quota_consume('ada', 'report', 5)}),
	't|50', 'promoted: all of what is left');
is(sqlstate($standby, q{INSERT INTO reports (owner) VALUES ('ada')}),
	'PT429', 'promoted: triggers refuse');

$standby->stop;
done_testing();
