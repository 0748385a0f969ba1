
# Logical decoding sees every charge, also several of one counter in a
# transaction, and a subscriber has what the publisher has.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('publisher');
$node->init(allows_streaming => 'logical');
$node->append_conf('postgresql.conf', slurp_file($ENV{QUOTA_CONF}))
  if $ENV{QUOTA_CONF};
$node->start;
$node->safe_psql(
	'postgres', q{
	CREATE EXTENSION quota;
	SELECT quota_apply('{
		"features": {"report": {"kind": "counter", "ledger": true}},
		"plans": {"free": {"default": true, "limits": {"report": {"lifetime": {"limit": 100000}}}}}}');
	SELECT quota_consume('ada', 'report');
	SELECT pg_create_logical_replication_slot('all', 'test_decoding');
	CREATE PUBLICATION counters FOR TABLE quota.usage, quota.holds;
});

my $subscriber = PostgreSQL::Test::Cluster->new('subscriber');
$subscriber->init;
$subscriber->append_conf('postgresql.conf', slurp_file($ENV{QUOTA_CONF}))
  if $ENV{QUOTA_CONF};
$subscriber->start;
$subscriber->safe_psql('postgres', 'CREATE EXTENSION quota');
my $connection = $node->connstr . ' dbname=postgres';
$subscriber->safe_psql('postgres',
	"CREATE SUBSCRIPTION counters CONNECTION '$connection' PUBLICATION counters");
$subscriber->wait_for_subscription_sync($node, 'counters');

# what a transaction makes of the counter, change after change, as it is decoded
sub decoded
{
	my ($sql) = @_;
	$node->safe_psql('postgres', "SELECT count(*) FROM pg_logical_slot_get_changes('all', NULL, NULL)");
	$node->safe_psql('postgres', $sql);
	return $node->safe_psql(
		'postgres', q{
		SELECT string_agg((regexp_match(data, 'used\[bigint\]:(-?\d+)'))[1], ' ' ORDER BY number)
		FROM pg_logical_slot_get_changes('all', NULL, NULL) WITH ORDINALITY c (lsn, xid, data, number)
		WHERE data LIKE 'table quota.usage:%'});
}

is(decoded(q{BEGIN; SELECT quota_consume('ada', 'report'); SELECT quota_consume('ada', 'report', 5); SELECT quota_consume('ada', 'report', 3); COMMIT}),
	'2 7 10', 'three charges of a transaction are three changes');
is(decoded(q{BEGIN; SELECT quota_consume('ada', 'report'); SAVEPOINT s; SELECT quota_consume('ada', 'report', 5);
		ROLLBACK TO s; SELECT quota_consume('ada', 'report', 3); COMMIT}),
	'11 14', 'what is rolled back to a savepoint is none');
is(decoded(q{SELECT quota_consume('ada', 'report') FROM generate_series(1, 4)}),
	'15 16 17 18', 'charges of one statement are as many');
is(decoded(q{BEGIN; SELECT quota_consume('bob', 'report', 2); SELECT quota_consume('bob', 'report', 2); COMMIT}),
	'2 4', 'so are those of a counter that is new');
is(decoded(q{SELECT quota_consume_many('ada', '{"report": 2}'); SELECT quota_refund('ada', 'report', 1); SELECT quota_record('ada', 'report', 1)}),
	'20 19 20', 'and those of all functions');

$node->safe_psql(
	'postgres', q{
	UPDATE quota.usage SET slots = 4 WHERE account = 'ada';
	INSERT INTO quota.usage (account, feature, period, period_start, slot, used)
	SELECT account, feature, period, period_start, s, 0 FROM quota.usage, generate_series(1, 3) s WHERE account = 'ada'});
is(decoded(q{BEGIN; SELECT quota_consume('ada', 'report'); SELECT quota_consume('ada', 'report', 5); COMMIT}),
	'1 6', 'those of a slot');

$node->safe_psql('postgres', q{SELECT quota_reserve('ada', 'report', 7)});
my $counters = q{SELECT account, slot, used, holds FROM quota.usage ORDER BY 1, 2};
my $holds = q{SELECT account, amount FROM quota.holds ORDER BY 1, 2};
$node->wait_for_catchup('counters');
is($subscriber->safe_psql('postgres', $counters), $node->safe_psql('postgres', $counters), 'a subscriber has the counters');
is($subscriber->safe_psql('postgres', $holds), $node->safe_psql('postgres', $holds), 'and what is held');

done_testing();
