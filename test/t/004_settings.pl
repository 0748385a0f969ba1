
# What the server log says of decisions, and who may change a setting.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', slurp_file($ENV{QUOTA_CONF}))
  if $ENV{QUOTA_CONF};
$node->start;

$node->safe_psql(
	'postgres', q{
	CREATE EXTENSION quota;
	SELECT quota_apply('{
		"features": {"report": {"kind": "counter"}, "run": {"kind": "counter"}},
		"plans": {"pro": {"default": true, "limits": {
			"report": {"month": {"limit": 300}}, "run": {"lifetime": {"limit": null}}}}}}');
	CREATE ROLE app LOGIN;
	SELECT quota_grant('app', 'app');
	CREATE TABLE reports (owner text);
	SELECT quota_attach('reports', 'report', 'owner');
});

# the lines that a statement leaves in the log
sub logged
{
	my ($sql) = @_;
	my $offset = -s $node->logfile;
	$node->psql('postgres', $sql);
	my $log = substr(slurp_file($node->logfile), $offset);
	return join("\n", $log =~ /(\[usage\].*)/g);
}

is(logged(q{SELECT quota_consume('acme', 'report', 46)}), '', 'nothing is logged unless asked for');

my $all = q{SET quota.log_decisions = 'all'; };
is(logged($all . q{SELECT quota_consume('acme', 'report')}),
	'[usage] account=acme plan=pro decision=ALLOW usage=47 limit=300 ratio=0.16 feature=report period=month reason=ok',
	'one line a decision');
is(logged($all . q{SELECT quota_consume('acme', 'run')}),
	'[usage] account=acme plan=pro decision=ALLOW usage=1 limit=unlimited ratio=0.00 feature=run period=lifetime reason=unlimited',
	'without a limit');
is( logged($all . q{SELECT quota_consume(E'two words\nplan=max', 'run')}),
	'[usage] account="two words\nplan=max" plan=pro decision=ALLOW usage=1 limit=unlimited ratio=0.00 feature=run period=lifetime reason=unlimited',
	'an account cannot forge a line or a field');
is(logged($all . q{INSERT INTO reports SELECT 'beta' FROM generate_series(1, 300)}),
	'[usage] account=beta plan=pro decision=ALLOW usage=300 limit=300 ratio=1.00 feature=report period=month reason=ok',
	'by trigger: one line an account and statement');
is(logged($all . q{SELECT quota_evaluate('acme', 'report')}), '', 'looking is not logged');
$node->safe_psql('postgres', q{INSERT INTO quota.features (feature, kind) VALUES ('extra', 'counter');
	SELECT quota_record('acme', 'extra', 7)});
is(logged($all . q{SELECT quota_consume('acme', 'extra')}),
	'[usage] account=acme plan=pro decision=BLOCK usage=0 limit=0 ratio=1.00 feature=extra period=- reason=not_in_plan',
	'what is not in the plan has no window, as in the row');

my $block = q{SET quota.log_decisions = 'block'; };
is(logged($block . q{SELECT quota_record('beta', 'report')}), '', 'block: no warnings');
is(logged($block . q{INSERT INTO reports VALUES ('beta')}),
	'[usage] account=beta plan=pro decision=BLOCK usage=301 limit=300 ratio=1.00 feature=report period=month reason=limit_reached',
	'block: denials, also those that are errors');
is(logged(q{SET quota.log_decisions = 'warn'; SELECT quota_record('beta', 'report'), quota_consume('acme', 'report')}),
	'[usage] account=beta plan=pro decision=ALLOW_WITH_WARNING usage=302 limit=300 ratio=1.01 feature=report period=month reason=soft_limit',
	'warn: warnings and denials');
is(logged(q{SET quota.enforcement = 'shadow'; SELECT quota_consume('beta', 'report')}),
	'[usage] account=beta plan=pro decision=ALLOW_WITH_WARNING usage=303 limit=300 ratio=1.01 feature=report period=month reason=shadow',
	'shadow: logged without being asked');
is($node->safe_psql('postgres', q{SET quota.log_decisions = 'all'; SET client_min_messages = log;
	SELECT used FROM quota_consume('acme', 'report')}), '49', 'the client sees none of it');

# A setting made before the library is loaded counts for nothing unless the
# user may make it.
my @weak = ("quota.now = '2030-01-01'", "quota.enforcement = 'off'", "quota.timezone = 'Asia/Tokyo'", "quota.log_decisions = 'all'",
	"quota.stripe_tolerance = '1d'");
foreach my $setting (@weak)
{
	my ($name) = $setting =~ /^(\S+)/;
	my ($ret, $out, $err) = $node->psql('postgres',
		"SET $setting; SELECT decision FROM quota_consume('beta', 'report'); SHOW $name",
		extra_params => [ '-U', 'app' ]);
	like($out, qr/^BLOCK\n/, "$name, set early by an ordinary user: still enforced");
	like($err, qr/permission denied to set parameter "\Q$name\E"/, "$name: and said so");

	($ret, $out, $err) = $node->psql('postgres', "ALTER ROLE app SET $setting", extra_params => [ '-U', 'app' ]);
	like($err, qr/permission denied to set parameter "\Q$name\E"/, "$name: not for the user's own role either");
	($ret, $out, $err) = $node->psql('postgres', "SELECT quota_has_feature('beta', 'report'); SET $setting",
		extra_params => [ '-U', 'app' ]);
	like($err, qr/permission denied to set parameter "\Q$name\E"/, "$name: nor later");
}
$node->safe_psql('postgres', 'GRANT SET ON PARAMETER quota.now TO app');
is($node->safe_psql('postgres', q{SET quota.now = '2030-01-01'; SELECT decision, used FROM quota_consume('beta', 'report')},
		extra_params => [ '-U', 'app' ]),
	'ALLOW|1', 'who is granted a setting may make it');

# Settings of the server's configuration hold from the start.
$node->append_conf('postgresql.conf', "quota.timezone = 'Asia/Tokyo'\nquota.now = '2026-01-31 16:00+00'");
$node->reload;
is($node->safe_psql('postgres', q{SET timezone = 'UTC'; SELECT period_start FROM quota_evaluate('acme', 'report')}),
	'2026-01-31 15:00:00+00', 'from postgresql.conf');

$node->stop;
done_testing();
