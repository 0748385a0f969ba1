
# Settings mean the same in a session that has just begun, in the leader of a
# parallel plan and in its workers.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', slurp_file($ENV{QUOTA_CONF}))
  if $ENV{QUOTA_CONF};
$node->append_conf('postgresql.conf', "timezone = 'UTC'\nmax_parallel_workers_per_gather = 2\nmax_parallel_workers = 8");
$node->start;
# which 16 has given another name
my $parallel = $node->safe_psql('postgres',
	q{SELECT name FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query')});

$node->safe_psql(
	'postgres', q{
	CREATE EXTENSION quota;
	SELECT quota_apply('{
		"features": {"report": {"kind": "counter"}},
		"plans": {"free": {"default": true, "limits": {"report": {"day": {"limit": 10}}}}}}');
	CREATE TABLE many AS SELECT i, 'account-' || i % 100 AS owner FROM generate_series(1, 40000) i;
	ALTER TABLE many SET (parallel_workers = 2);
	ANALYZE many;
	/* as an application may wrap them */
	CREATE FUNCTION wrapped(what text) RETURNS text LANGUAGE plpgsql STABLE PARALLEL RESTRICTED AS $$
	BEGIN
		RETURN CASE what WHEN 'now' THEN quota.now()::text WHEN 'timezone' THEN quota.timezone()
			ELSE (SELECT period_start::text FROM quota_evaluate('account-1', 'report')) END;
	END $$;
	ALTER DATABASE postgres SET quota.timezone = 'Asia/Tokyo';
	ALTER DATABASE postgres SET quota.now = '2026-03-10 18:00';
});

# In a session that has just begun; what it says beside the result counts.
sub fresh
{
	my ($sql, %param) = @_;
	my ($ret, $out, $err) = $node->psql('postgres',
		"$param{before}; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; $sql");
	return $err eq '' ? $out : "$out $err";
}

my %asked = (
	'quota.now()' => '2026-03-10 18:00:00+00',
	'quota.timezone()' => 'Asia/Tokyo',
	q{quota.window_start('day', quota.now(), NULL, NULL)} => '2026-03-10 15:00:00+00',
	q{(SELECT period_start FROM quota_evaluate(owner, 'report'))} => '2026-03-10 15:00:00+00',
	q{(quota_evaluate(owner, 'report')).period_start} => '2026-03-10 15:00:00+00');
foreach my $call (sort keys %asked)
{
	foreach my $forced ('off', 'on')
	{
		is(fresh("SELECT $call, count(*) FROM many GROUP BY 1", before => "SET $parallel = $forced"),
			"$asked{$call}|40000", "forced $forced: 40,000 times $call");
		is(fresh("SELECT count(*) FROM many WHERE $call IS NOT NULL AND i > 0", before => "SET $parallel = $forced"),
			40000, "forced $forced: as a condition");
	}
}

# A function in another language may bring the library when it is too late to take
# its settings over. The statement fails, and the session has them afterwards.
my $late = fresh(q{SELECT wrapped('timezone'), count(*) FROM many}, before => 'SELECT');
like($late, qr/^Asia\/Tokyo\|40000$|ERROR:  library "quota" cannot be loaded during a parallel operation, as "quota\.\w+" is set/,
	'a call inside another function: right or refused');
unlike($late, qr/WARNING/, 'and no setting is dropped');
# Public functions are in C, and bring it in time. Each call runs queries of its own, which here start workers too.
is(fresh(q{SELECT quota_usage(owner)->>'month_key', count(*) FROM many WHERE i <= 100 GROUP BY 1}, before => "SET $parallel = $_"),
	'2026-03|100', "forced $_: a public function with a body in PL/pgSQL")
  foreach ('off', 'on');
is(fresh(q{SELECT wrapped(w) FROM unnest('{now,timezone,window}'::text[]) w}, before => q{LOAD 'quota'}),
	"2026-03-10 18:00:00+00\nAsia/Tokyo\n2026-03-10 15:00:00+00", 'the same outside of a parallel plan');

# A time without an offset is in the TimeZone of when it is set, also for workers, whatever TimeZone is then.
my $set = q{SET timezone = 'America/New_York'; SET quota.now = '2026-03-10 12:00'; SET timezone = 'UTC'; SET DateStyle = 'SQL, DMY'};
is(fresh('SHOW quota.now', before => "LOAD 'quota'; $set"), '2026-03-10 16:00:00+00', 'SHOW tells the instant');
is(fresh(q{SET DateStyle = 'ISO'; SELECT quota.now(), count(*) FROM many GROUP BY 1}, before => "LOAD 'quota'; $set; SET $parallel = on"),
	'2026-03-10 16:00:00+00|40000', 'and workers know it');
is(fresh('SHOW quota.now', before => qq{LOAD 'quota'; SET quota.now = '$_->[0]'}), $_->[1], "a time as it is kept: $_->[0]")
  foreach ([ '2026-03-10 12:00:00.000001+05:30', '2026-03-10 06:30:00.000001+00' ], [ '0044-03-15 12:00 BC', '0044-03-15 12:00:00+00 BC' ],
	[ '4713-01-01 00:00+00 BC', '4713-01-01 00:00:00+00 BC' ], [ '294276-12-31 23:59:59.999999+00', '294276-12-31 23:59:59.999999+00' ], [ '', '' ]);
is(fresh(q{SELECT quota.now(); SET quota.now = '2026-01-01 00:00+00'; SET quota.now = '2027-01-01 00:00+00'; SELECT quota.now(); RESET quota.now; SELECT quota.now();
	BEGIN; SET LOCAL quota.now = '2028-01-01 00:00+00'; SELECT quota.now(); ROLLBACK; SELECT quota.now()}, before => 'SELECT'),
	join("\n", '2026-03-10 18:00:00+00', '2027-01-01 00:00:00+00', '2026-03-10 18:00:00+00', '2028-01-01 00:00:00+00', '2026-03-10 18:00:00+00'),
	'set again and again');

# Settings have a size.
foreach my $case ([ 'quota.user', 255 ], [ 'quota.reason', 1024 ])
{
	my ($name, $most) = @$case;
	is(fresh("SELECT set_config('$name', repeat('x', $most), false) = repeat('x', $most)", before => q{LOAD 'quota'}), 't', "$name: $most bytes");
	like(fresh("SELECT set_config('$name', repeat('x', $most + 1), false) IS NULL", before => q{LOAD 'quota'}),
		qr/ERROR:  invalid value for parameter "$name".*DETAIL:  It has @{[ $most + 1 ]} bytes, the most is $most\./s, "$name: no more");
}
like(fresh(q{SELECT set_config('request.jwt.claims', json_build_object('sub', repeat('x', 256))::text, false) \g /dev/null
	SELECT quota.user_id()}, before => 'SELECT'), qr/ERROR:  user of setting "request.jwt.claims" is too long/, 'the user of claims: no more');
like(fresh(q{SELECT set_config('request.jwt.claims', json_build_object('sub', 'ann', 'more', repeat('x', 65536))::text, false) \g /dev/null
	SELECT quota.user_id()}, before => 'SELECT'), qr/ERROR:  setting "request.jwt.claims" is too long/, 'claims: no more');

# Keys come compressed from a table.
is(fresh(q{CREATE TABLE keys (account text, filler text); ALTER TABLE keys ALTER account SET STORAGE EXTENDED, ALTER filler SET STORAGE PLAIN;
	INSERT INTO keys VALUES (repeat('k', 250), repeat('x', 2500));
	SELECT pg_column_compression(account), quota.account_key(account) = account FROM keys;
	SELECT count(*) FROM keys k, quota.charged_counters(k.account, 'report') c WHERE c.account = k.account}, before => 'SELECT'),
	"pglz|t\n1", 'a key that is stored compressed');
like(fresh(q{INSERT INTO keys VALUES (repeat('k', 5000), '');
	SELECT count(*) FROM keys k, quota.charged_counters(k.account, 'report')}, before => 'SELECT'),
	qr/ERROR:  account is too long/, 'one that no account can have');

$node->stop;
done_testing();
