
# A publication that carries the signing secrets of webhooks comes with a
# warning, however it comes to carry them.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', slurp_file($ENV{QUOTA_CONF}))
  if $ENV{QUOTA_CONF};
$node->append_conf('postgresql.conf', 'wal_level = logical');
$node->start;

# The warnings of a statement.
sub warnings_of
{
	my ($statement) = @_;
	my ($ret, $out, $err) = $node->psql('postgres', $statement);
	is($ret, 0, $statement);
	return $err;
}

sub warns
{
	my ($publication, $statement) = @_;
	like(warnings_of($statement),
		qr/^psql\S* WARNING:  publication "$publication" carries table quota\.stripe_secrets, .*\nDETAIL:  .*\nHINT:  Publish tables by name/,
		'warns');
}

sub is_silent
{
	my ($statement) = @_;
	is(warnings_of($statement), '', 'is silent');
}

is_silent('CREATE PUBLICATION before FOR ALL TABLES');
warns('before', 'CREATE EXTENSION quota');
warns('everything', 'CREATE PUBLICATION everything FOR ALL TABLES');
warns('named', 'CREATE PUBLICATION named FOR TABLE quota.stripe_secrets');
warns('of_schema', 'CREATE PUBLICATION of_schema FOR TABLES IN SCHEMA quota');
is_silent('CREATE PUBLICATION grows FOR TABLE quota.plans, quota.usage');
warns('grows', 'ALTER PUBLICATION grows ADD TABLE quota.stripe_secrets');
is_silent('ALTER PUBLICATION grows SET TABLE quota.plans');
is_silent(q{ALTER PUBLICATION grows SET (publish = 'insert')});
warns('grows', 'ALTER PUBLICATION grows ADD TABLES IN SCHEMA quota');
is_silent('CREATE PUBLICATION names FOR TABLE quota.stripe_secrets (name)');
is_silent('CREATE PUBLICATION of_public FOR TABLES IN SCHEMA public');

# Whoever may make one is warned, and needs no right on schema quota.
$node->safe_psql('postgres', 'CREATE ROLE editor; GRANT CREATE ON DATABASE postgres TO editor');
is_silent('SET ROLE editor; CREATE TABLE pg_temp.t (x int); CREATE PUBLICATION theirs');

$node->stop;
done_testing();
