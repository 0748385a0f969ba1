
# Shared memory is a hint: where there is none to be had, charges go on without
# it, the log says so, and rates, which are nowhere else, are refused.

use strict;
use warnings;

use File::Copy qw(copy);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $told = qr/quota goes on without shared memory/;

sub make_node
{
	my ($name, %param) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	$node->init(%param);
	$node->append_conf('postgresql.conf', slurp_file($ENV{QUOTA_CONF}))
	  if $ENV{QUOTA_CONF};
	return $node;
}

sub fill_node
{
	my ($node) = @_;
	$node->safe_psql(
		'postgres', q{
		CREATE EXTENSION quota;
		SELECT quota_apply('{
			"features": {"report": {"kind": "counter"}, "seat": {"kind": "gauge"}, "call": {"kind": "rate"}},
			"plans": {
				"free": {"default": true, "limits": {"report": {"year": {"limit": 1000}}, "seat": {"lifetime": {"limit": 3}}, "call": {"day": {"limit": 5}}}},
				"pro": {"limits": {"report": {"year": {"limit": 5000}}}}}}');
		CREATE TABLE seats (owner text);
		SELECT quota_attach('seats', 'seat', 'owner');
	});
}

# The most that a file may grow to, in bytes, of a process: shared memory is files.
# More is refused as where /dev/shm is full.
sub limit_files
{
	my ($bytes, $pid) = @_;
	system_or_bail('prlimit', '--pid', $pid, "--fsize=$bytes:");
}

# What comes of statements, errors included.
sub ask
{
	my ($node, $sql) = @_;
	my ($ret, $out, $err) = $node->psql('postgres', $sql);
	return $err eq '' ? $out : "$out $err";
}

sub postmaster
{
	my ($node) = @_;
	return (split /\n/, slurp_file($node->data_dir . '/postmaster.pid'))[0];
}

sub log_since
{
	my ($node, $offset) = @_;
	return substr(slurp_file($node->logfile), $offset);
}

# 8 clients, 100 charges each, of one counter
sub storm
{
	my ($node, $account) = @_;
	my $script = $node->basedir . '/storm.sql';
	open(my $file, '>', $script) or die $!;
	print $file "SELECT quota_consume('$account', 'report');\n";
	close($file);
	$node->command_ok([ 'pgbench', '-n', '-c', '8', '-j', '2', '-t', '100', '-f', $script, 'postgres' ], "$account: 800 charges of 8 clients");
}

sub counter
{
	my ($node, $account) = @_;
	return $node->safe_psql('postgres', "SELECT sum(used), count(*) FROM quota.usage WHERE account = '$account'");
}

# Give a counter slots, as many charges at once do.
sub split_counter
{
	my ($node, $account) = @_;
	$node->safe_psql('postgres',
		qq{SELECT quota_consume('$account', 'report', 800);
		UPDATE quota.usage SET slots = 4, used = 200 WHERE account = '$account';
		INSERT INTO quota.usage (account, feature, period, period_start, slot, used)
			SELECT account, feature, period, period_start, i, 200 FROM quota.usage, generate_series(1, 3) i WHERE account = '$account'});
	is(counter($node, $account), '800|4', "$account: a counter with slots");
}

# Ways to charge that need no memory.
sub charges
{
	my ($node, $what, $slots) = @_;

	ask($node, qq{INSERT INTO seats SELECT '$what' FROM generate_series(1, 3)});
	my ($ret, $out, $err) = $node->psql('postgres', qq{INSERT INTO seats VALUES ('$what')}, extra_params => [ '-v', 'VERBOSITY=sqlstate' ]);
	like($err, qr/PT429/, "$what: rows are let in up to the limit");
	is(ask($node, qq{SET quota.enforcement = off; INSERT INTO seats VALUES ('$what'); SELECT count(*) FROM seats WHERE owner = '$what'}),
		4, "$what: and past it where enforcement is off");
	storm($node, "storm at $what");
	like(counter($node, "storm at $what"), $slots ? qr/^800\|\d+$/ : qr/^800\|1$/, "$what: each is counted");
}

# Everything but rates, without memory; whether with the locks that slots need.
sub goes_on
{
	my ($node, $what, $slots) = @_;
	my $offset = -s $node->logfile;

	is(ask($node,
			qq{SELECT allowed, used FROM quota_consume('$what', 'report', 999);
			SELECT allowed, used FROM quota_consume('$what', 'report', 2);
			SELECT allowed, used FROM quota_consume('$what', 'report');
			SELECT decision, used FROM quota_evaluate('$what', 'report');
			SELECT used FROM quota_refund('$what', 'report', 10)}),
		"t|999\nf|999\nt|1000\nBLOCK|1000\n990", "$what: charges, denials, refunds");
	my @lines = log_since($node, $offset) =~ /$told/g;
	is(scalar(@lines), 1, "$what: the log says so once a session");
	like(log_since($node, $offset), qr/HINT:\s+(Give the server more dynamic|Name quota in shared_preload|Restart the server)/, "$what: and what helps");

	charges($node, $what, $slots);
}

sub no_rates
{
	my ($node, $what, $hint) = @_;
	my ($ret, $out, $err) = $node->psql('postgres', q{SELECT quota_consume('ada', 'call')}, extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	like($err, qr/53200: could not get shared memory for rates/, "$what: no rate is admitted");
	like($err, qr/HINT:\s+$hint/, "$what: and told why");
}

# A /dev/shm that is too small.
my $small = make_node('small', extra => ['--wal-segsize=1']);
$small->start;
fill_node($small);
$small->safe_psql('postgres', q{
	SELECT quota_set_plan('paid', 'pro');
	CREATE ROLE stranger LOGIN;
	GRANT EXECUTE ON FUNCTION quota_rate_stats() TO stranger});
$small->stop;
foreach my $type ('posix', 'mmap')
{
	$small->append_conf('postgresql.conf', "dynamic_shared_memory_type = $type");
	limit_files(4 * 1024 * 1024, $$);
	$small->start;
	limit_files('unlimited', $$);
	goes_on($small, $type, 1);
	no_rates($small, $type, 'Give the server more dynamic shared memory');
	my ($exit, $told_to, $refusal) = $small->psql('postgres', q{SELECT quota_rate_stats()}, extra_params => [ '-U', 'stranger' ]);
	like($refusal, qr/permission denied for function quota_rate_stats/, "$type: whoever may not ask is told so first");
	my $plan = q{SELECT (quota_evaluate('paid', 'report')).plan};
	is(ask($small, "$plan; SELECT quota_set_plan('paid', 'free'); $plan; SELECT quota_set_plan('paid', 'pro')"),
		"pro\n\nfree\n", "$type: a change of an account holds at once");
	# those of the server itself are smaller
	is(scalar(grep { -s > 2 * 1024 * 1024 } glob($small->data_dir . '/pg_dynshmem/*')), 0, "$type: nothing is left behind");

	# with room again it is had again, also by a session that has gone on without
	my $session = $small->background_psql('postgres', on_error_stop => 0);
	my $pid = $session->query_safe('SELECT pg_backend_pid()');
	$session->query(q{SELECT quota_consume('bob', 'call')});
	$session->{stderr} = '';
	limit_files('unlimited', postmaster($small));
	limit_files('unlimited', $pid);
	ok($small->poll_query_until('postgres', q{SELECT (quota_evaluate('bob', 'call')).used = 0}), "$type: new sessions have memory again");
	is($session->query_safe(q{SELECT allowed, used FROM quota_consume('bob', 'call', 2)}), 't|2', "$type: so has one that had none");
	$session->quit;
	is(ask($small, q{SELECT allowed, used FROM quota_consume('bob', 'call', 4)}), 'f|2', "$type: it is the same");
	$small->stop;
}

# A session that had no memory changes an account that others remember since: from 17
# on also the struct is dynamic memory, which others may have got meanwhile.
my $late = make_node('late');
$late->start;
fill_node($late);
my $without = $late->background_psql('postgres', on_error_stop => 0);
my $its_pid = $without->query_safe('SELECT pg_backend_pid()');
limit_files(4096, $its_pid);
is($without->query_safe(q{SELECT decision FROM quota_evaluate('ann', 'report')}), 'ALLOW', 'late: a session goes on without memory');
limit_files('unlimited', $its_pid);
my $reason = q{SELECT reason FROM quota_evaluate('ann', 'report')};
is(ask($late, "$reason; $reason"), "ok\nok", 'late: another remembers an account');
$without->query_safe(q{SELECT quota_suspend('ann')});
is(ask($late, $reason), 'suspended', 'late: what the first one changes holds for all');
$without->quit;
$late->stop;

# Locks that any role may take use up what the server has to spare.
my $locks = make_node('locks');
$locks->start;
fill_node($locks);
$locks->safe_psql('postgres', 'CREATE ROLE nobody LOGIN');
split_counter($locks, 'hot');

sub take_all_locks
{
	my ($ret, $out, $err) = $locks->psql('postgres', q{SELECT pg_advisory_lock(i) FROM generate_series(1, 100000) i}, extra_params => [ '-U', 'nobody' ]);
	like($err, qr/out of shared memory/, 'a role without rights takes all locks there are');
}

$locks->restart;
take_all_locks();
is(ask($locks, q{SELECT allowed, used FROM quota_consume('hot', 'report', 201);
	SELECT allowed, used FROM quota_consume('hot', 'report', 10)}), "f|800\nt|810", 'the counter with slots is exact');
is(counter($locks, 'hot'), '810|1', 'and has none any more');
if ($locks->pg_version < 17)
{
	goes_on($locks, 'locks');
	no_rates($locks, 'locks', 'Name quota in shared_preload_libraries');
}
else
{
	# memory had by name is not where locks are
	my $since = -s $locks->logfile;
	charges($locks, 'locks', 1);
	is(ask($locks, q{SELECT allowed, used FROM quota_consume('ada', 'call', 2)}), 't|2', 'locks: rates as well');
	unlike(log_since($locks, $since), $told, 'locks: nothing to be told');
}

$locks->append_conf('postgresql.conf', "shared_preload_libraries = 'quota'");
$locks->restart;
my $before = -s $locks->logfile;
take_all_locks();
is(ask($locks, q{SELECT allowed, used FROM quota_consume('ada', 'call', 2); SELECT allowed, used FROM quota_consume('ada', 'report', 2)}),
	"t|2\nt|2", 'preloaded: the memory is there');
storm($locks, 'preloaded');
like(counter($locks, 'preloaded'), qr/^800\|/, 'preloaded: each is counted');
unlike(log_since($locks, $before), $told, 'preloaded: nothing to be told');
$locks->stop('immediate');
$locks->start;
is(ask($locks, q{SELECT allowed, used FROM quota_consume('ada', 'call', 2)}), 't|2', 'preloaded: also after a crash');
$locks->stop;

# A library that lays out its memory in another way comes before the restart.
my $mixed = make_node('mixed');
my $tree = $mixed->basedir . '/tree';
my $pg_config = $ENV{PG_CONFIG} || 'pg_config';
my $settings = slurp_file($ENV{QUOTA_CONF});
my ($library) = $settings =~ /dynamic_library_path = '([^:']*)/;
my $pkglibdir = `$pg_config --pkglibdir`;
chomp $pkglibdir;
my $installed = $library =~ s/\Q$pkglibdir\E$//r;
my $copy = $mixed->basedir . '/install';
system_or_bail('cp', '-a', '.', $tree);
my $source = slurp_file("$tree/src/memory/segment.c");
ok($source =~ s/^#define OWN_RATES 16$/#define OWN_RATES 8/m, 'another layout');
open(my $changed, '>', "$tree/src/memory/segment.c") or die $!;
print $changed $source;
close($changed);
system_log("make -s -C $tree with_llvm=no PG_CONFIG=$pg_config quota.so") == 0 or die 'could not make the other library';
system_or_bail('cp', '-a', $installed, $copy);
$mixed->append_conf('postgresql.conf', $settings =~ s/\Q$installed\E/$copy/gr);
$mixed->start;
fill_node($mixed);
my $old = $mixed->background_psql('postgres');
is($old->query_safe(q{SELECT allowed, used FROM quota_consume('ada', 'call', 2)}), 't|2', 'old library: works');
split_counter($mixed, 'hot');
copy("$tree/quota.so", "$copy$pkglibdir/new.so") or die $!;
rename("$copy$pkglibdir/new.so", "$copy$pkglibdir/quota.so") or die $!;
goes_on($mixed, 'new library');
no_rates($mixed, 'new library', 'Restart the server');
is(ask($mixed, q{SELECT allowed, used FROM quota_consume('hot', 'report', 201); SELECT allowed, used FROM quota_consume('hot', 'report', 200)}),
	"f|800\nt|1000", 'new library: the counter with slots is exact');
is($old->query_safe(q{SELECT allowed, used FROM quota_consume('hot', 'report')}), 'f|1000', 'old library: as well');
my ($ret, $out, $err) = $mixed->psql('postgres', q{SELECT quota_set_plan('ada', 'pro')}, extra_params => [ '-v', 'VERBOSITY=verbose' ]);
like($err, qr/53200.*HINT:\s+Restart the server/s, 'new library: what old sessions remember cannot be changed');
is($old->query_safe(q{SELECT allowed, used FROM quota_consume('ada', 'call', 4)}), 'f|2', 'old library: still works');
$old->quit;
$mixed->restart;
$before = -s $mixed->logfile;
is(ask($mixed, q{SELECT quota_set_plan('ada', 'pro'); SELECT plan FROM quota_evaluate('ada', 'report'); SELECT allowed, used FROM quota_consume('bob', 'call', 2)}),
	"\npro\nt|2", 'after a restart all is as it was');
unlike(log_since($mixed, $before), $told, 'and nothing is told');
$mixed->stop;

done_testing();
