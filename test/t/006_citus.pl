
# Where Citus has distributed the tables of quota, or the node is not the
# coordinator, nothing is decided or charged. A stub of Citus's catalogues tells
# so; a change of them comes with an invalidation of the relation concerned,
# which Citus sends by a trigger, and here any change of its definition does.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', slurp_file($ENV{QUOTA_CONF}))
  if $ENV{QUOTA_CONF};
$node->append_conf('postgresql.conf', "allow_system_table_mods = on");
$node->start;

$node->safe_psql(
	'postgres', q{
	CREATE EXTENSION quota;
	SELECT quota_apply('{"features": {"report": {"kind": "counter"}, "call": {"kind": "rate"}, "seat": {"kind": "gauge"}, "theme": {"kind": "flag"}},
		"plans": {"free": {"default": true, "limits": {"report": {"month": {"limit": 5}}, "call": {"hour": {"limit": 5}}, "seat": {"lifetime": {"limit": 5}}}}}}');
	CREATE TABLE seats (owner text);
	SELECT quota_attach('seats', 'seat', 'owner');
});


my %calls = (
	evaluate => q{SELECT quota_evaluate('acme', 'report')},
	'evaluate all' => q{SELECT quota_evaluate('acme')},
	consume => q{SELECT quota_consume('acme', 'report')},
	record => q{SELECT quota_record('acme', 'report')},
	refund => q{SELECT quota_refund('acme', 'report')},
	many => q{SELECT quota_consume_many('acme', '{"report": 1}')},
	reserve => q{SELECT quota_reserve('acme', 'report', 1)},
	rate => q{SELECT quota_consume('acme', 'call')},
	gate => q{SELECT quota_has_feature('acme', 'theme')},
	rows => q{INSERT INTO seats VALUES ('acme')});

# What each call gives, in one session: before a change and after it.
sub around
{
	my ($change, $expected, $name) = @_;
	foreach my $call (sort keys %calls)
	{
		my ($ret, $out, $err) = $node->psql(
			'postgres', "BEGIN; SAVEPOINT s; $calls{$call}; ROLLBACK TO s; $change; $calls{$call}; ROLLBACK",
			extra_params => [ '-v', 'VERBOSITY=verbose' ], on_error_stop => 0);
		my $first = $err =~ /ERROR:\s+(.*)/ ? $1 : 'none';
		like($first, $expected, "$name: $call");
	}
}

my $stub = q{CREATE TABLE pg_catalog.pg_dist_partition (logicalrelid regclass NOT NULL, partmethod "char");
	CREATE TABLE pg_catalog.pg_dist_local_group (groupid int PRIMARY KEY)};

around('SELECT 1', qr/^none$/, 'no Citus');
around("$stub; INSERT INTO pg_catalog.pg_dist_local_group VALUES (0)", qr/^none$/, 'a coordinator');
around("$stub; INSERT INTO pg_catalog.pg_dist_partition VALUES ('seats', 'h')", qr/^none$/, 'tables of the application');
around("$stub; INSERT INTO pg_catalog.pg_dist_local_group VALUES (3)",
	qr/^55000: this node is not the coordinator of its Citus cluster$/, 'a worker');
foreach my $table ('usage', 'accounts', 'plans', 'events')
{
	around("$stub; INSERT INTO pg_catalog.pg_dist_partition VALUES ('quota.$table', 'n')",
		qr/^55000: table quota\.$table is managed by Citus$/, "$table elsewhere");
}
around('CREATE VIEW pg_catalog.pg_dist_partition AS SELECT 1 AS logicalrelid', qr/^none$/, 'something else of that name');

# Rows that come into catalogues that were there already, and go again.
$node->safe_psql('postgres', $stub);
my $told = q{ALTER TABLE pg_catalog.pg_dist_local_group SET (fillfactor = 90)};
around("INSERT INTO pg_catalog.pg_dist_local_group VALUES (3); $told", qr/^55000/, 'a node that is made a worker');
is( $node->safe_psql(
		'postgres', qq{SELECT used FROM quota_consume('acme', 'report'); BEGIN;
		INSERT INTO pg_catalog.pg_dist_partition VALUES ('quota.usage', 'h'); $told; ROLLBACK; SELECT used FROM quota_consume('acme', 'report')}),
	"1\n2", 'what is undone is forgotten');

# Another session hears of it.
my ($ret, $out, $err) = $node->psql(
	'postgres', qq{SELECT used FROM quota_consume('acme', 'report');
	\\! psql -Xq -d "@{[ $node->connstr('postgres') ]}" -c "INSERT INTO pg_catalog.pg_dist_partition VALUES ('quota.usage', 'h')" -c "ALTER TABLE quota.usage SET (fillfactor = 70)"
	SELECT used FROM quota_consume('acme', 'report');
	\\! psql -Xq -d "@{[ $node->connstr('postgres') ]}" -c "DELETE FROM pg_catalog.pg_dist_partition" -c "ALTER TABLE quota.usage SET (fillfactor = 70)"
	SELECT used FROM quota_consume('acme', 'report')},
	on_error_stop => 0);
is($out, "3\n4", 'a session charges before and after');
like($err, qr/^psql.*ERROR:  table quota\.usage is managed by Citus\n.*HINT:  Keep the tables of schema quota local/s, 'and is refused meanwhile');

$node->stop;
done_testing();
