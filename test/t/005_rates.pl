
# The memory of rates: bounded, and what happens where it is full.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $accounts = 300_000;

my $node = PostgreSQL::Test::Cluster->new('node');
$node->init;
$node->append_conf('postgresql.conf', slurp_file($ENV{QUOTA_CONF}))
  if $ENV{QUOTA_CONF};
$node->start;
$node->safe_psql(
	'postgres', q{
	CREATE EXTENSION quota;
	SELECT quota_apply('{
		"features": {"call": {"kind": "rate"}, "blink": {"kind": "rate"}},
		"plans": {"free": {"default": true, "limits": {"call": {"day": {"limit": 1}}, "blink": {"second": {"limit": 1000}}}}}}')
});

sub stats
{
	return split /\|/, $node->safe_psql('postgres', 'SELECT buckets, capacity, evictions FROM quota_rate_stats()');
}

sub consume
{
	my ($account) = @_;
	return $node->safe_psql('postgres', "SELECT allowed FROM quota_consume('$account', 'call')");
}

is($node->safe_psql('postgres', 'SELECT buckets, evictions FROM quota_rate_stats()'), '0|0', 'nothing is in use');

# Buckets that have run empty take no room.
is($node->safe_psql('postgres',
		qq{SET quota.now = '2026-03-10 12:00:00+00';
		SELECT count(*) FILTER (WHERE (quota_consume('brief-' || i, 'blink')).allowed) FROM generate_series(1, 1000) i}),
	1000, 'a thousand accounts, a millisecond each');
is($node->safe_psql('postgres', q{SET quota.now = '2026-03-10 12:00:00+00'; SELECT buckets FROM quota_rate_stats()}),
	1000, 'in use at that moment');
is($node->safe_psql('postgres', q{SET quota.now = '2026-03-10 12:00:00.001+00'; SELECT buckets FROM quota_rate_stats()}),
	0, 'and empty a millisecond later');

# More than there is room for: each is admitted once, some lose their bucket.
is($node->safe_psql('postgres',
		qq{SELECT count(*) FILTER (WHERE (quota_consume('many-' || i, 'call')).allowed) FROM generate_series(1, $accounts) i}),
	$accounts, "$accounts accounts are admitted once");
my ($buckets, $capacity, $evictions) = stats();
cmp_ok($accounts, '>', $capacity, 'that is more than there is room for');
cmp_ok($buckets, '<=', $capacity, 'no more than that is in use');
is($buckets + $evictions, $accounts, 'every bucket is in use, or was given up and counted');
is(consume("many-$accounts"), 'f', 'the last is still limited');
my $admitted = $node->safe_psql('postgres',
	qq{SELECT count(*) FILTER (WHERE (quota_evaluate('many-' || i, 'call')).allowed) FROM generate_series(1, $accounts) i});
is($admitted, $evictions, 'as many as were given up are admitted again, and no others');

$node->stop;
done_testing();
