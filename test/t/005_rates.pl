
# The memory of rates: bounded, what happens where it is full, and whose it is.

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

# A database has buckets of its own. What happens in one gives up none of another.
my $apply = q{SELECT quota_apply('{
	"features": {"call": {"kind": "rate"}, "daily": {"kind": "rate"}},
	"plans": {"free": {"default": true, "limits": {"call": {"hour": {"limit": 10}}, "daily": {"day": {"limit": 10}}}}, "pro": {}}}')};
sub new_database
{
	my ($name, $options) = @_;
	$node->safe_psql('postgres', "CREATE DATABASE $name " . ($options // ''));
	$node->safe_psql($name, "CREATE EXTENSION quota; $apply") unless defined $options;
}

# What an account has used, and whether it may use one more.
sub used
{
	my ($database, $account) = @_;
	return $node->safe_psql($database, qq{SELECT allowed, used FROM quota_evaluate('$account', 'call')});
}

sub use_up
{
	my ($database, $account) = @_;
	is($node->safe_psql($database, qq{SELECT allowed, used FROM quota_consume('$account', 'call', 10)}), 't|10', "$database: $account has used all");
}

sub flood
{
	my ($database, $feature, $names) = @_;
	return $node->safe_psql($database,
		qq{SELECT count(*) FILTER (WHERE (quota_consume('flood-' || random(), '$feature')).allowed) FROM generate_series(1, $names) i});
}

new_database($_) foreach ('victim', 'other');
use_up('victim', 'ada');
is(flood('other', 'call', 600_000), 600_000, 'a flood of names in another database');
is(used('victim', 'ada'), 'f|10', 'is none in this one');
is($node->safe_psql('victim', 'SELECT buckets, evictions FROM quota_rate_stats()'), '1|0', 'whose buckets are its own');

# Fresh names that have used little of a limit give up no bucket that is used up, though theirs last longer.
use_up('other', "full-$_") foreach (1 .. 20);
flood('other', 'daily', 600_000);
is($node->safe_psql('other', q{SELECT count(*) FILTER (WHERE allowed), min(used) FROM generate_series(1, 20) i, quota_evaluate('full-' || i, 'call')}),
	'0|10', 'what is used up is kept through a flood of fresh names');
cmp_ok($node->safe_psql('other', 'SELECT evictions FROM quota_rate_stats()'), '>', 600_000, 'which gave up one another');

# Nobody can tell which names are in one set, as by a hash that SQL has.
is($node->safe_psql('victim', q{
	WITH seed AS (SELECT oid::bigint << 1 AS seed FROM pg_database WHERE datname = 'victim'),
	same AS (SELECT 'x' || i AS name FROM seed, generate_series(1, 800000) i
		WHERE hashtextextended('x' || i, seed) & 32767 = hashtextextended('ada', seed) & 32767 LIMIT 12)
	SELECT count(*), count(*) FILTER (WHERE (quota_consume(name, 'call', 10)).allowed) FROM same}), '12|12', 'names whose hashes agree');
is(used('victim', 'ada'), 'f|10', 'do not meet the account');

# An extension that is made again begins with nothing, and so does a database that gets the OID of another.
use_up('victim', 'bob');
$node->safe_psql('victim', "DROP EXTENSION quota; CREATE EXTENSION quota; $apply");
is(used('victim', 'bob'), 't|0', 'a new extension: nothing is used');

new_database('model');
$node->safe_psql('postgres', 'ALTER DATABASE model ALLOW_CONNECTIONS = false');
new_database('first', 'TEMPLATE model');
use_up('first', 'cyd');
is($node->safe_psql('first', q{SELECT quota_set_plan('cyd', 'pro') \g /dev/null
	SELECT plan FROM quota_evaluate('dan', 'daily'), generate_series(1, 3); SELECT plan FROM quota_evaluate('cyd', 'daily')}), "free\nfree\nfree\npro",
	'what an account amounts to is remembered');
my $oid = $node->safe_psql('first', 'SELECT oid FROM pg_database WHERE datname = current_database()');
$node->safe_psql('postgres', 'DROP DATABASE first');
new_database('second', "TEMPLATE model OID $oid");
is($node->safe_psql('second', 'SELECT oid FROM pg_database WHERE datname = current_database()'), $oid, 'a database with the OID of another');
is(used('second', 'cyd'), 't|0', 'nothing is used in it');
is($node->safe_psql('second', q{SELECT plan FROM quota_evaluate('cyd', 'daily')}), 'free', 'and nothing remembered');

# As many as there are segments of their own, and more: dropped ones give theirs to others.
sub segments
{
	return scalar(grep { /^mmap/ } slurp_dir($node->data_dir . '/pg_dynshmem'));
}

$node->append_conf('postgresql.conf', 'dynamic_shared_memory_type = mmap');
$node->restart;
my $without = segments();
foreach my $i (1 .. 3)
{
	new_database("short$i", 'TEMPLATE model');
	use_up("short$i", 'eve');
	$node->safe_psql('postgres', "DROP DATABASE short$i");
}
# from 17 on memory is found by a name: one segment is the registry of names, one is ours by name
my $registry = $node->pg_version >= 17 ? 2 : 0;
# of places, of what accounts amount to, and one of rates
is(segments() - $without, $registry + 3, 'databases that are gone leave their memory to others');
foreach my $i (1 .. 18)
{
	new_database("many$i", 'TEMPLATE model');
	use_up("many$i", 'eve');
}
is(segments() - $without, $registry + 2 + 16 + 1, 'sixteen have memory of their own, the others one together');
is(join(' ', map { used("many$_", 'eve') } (1 .. 18)), join(' ', ('f|10') x 18), 'each counts for itself');
$node->safe_psql('postgres', "DROP DATABASE many1");
is(used('many18', 'eve'), 'f|10', 'one that shares goes on to share');

$node->stop;
done_testing();
