
# A crash refunds what had not committed, and nothing else.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', slurp_file($ENV{QUOTA_CONF}))
  if $ENV{QUOTA_CONF};
$node->append_conf('postgresql.conf', 'max_prepared_transactions = 10');
$node->start;

$node->safe_psql(
	'postgres', q{
	CREATE EXTENSION quota;
	SELECT quota_apply('{
		"features": {"report": {"kind": "counter"}, "seat": {"kind": "gauge"}, "call": {"kind": "rate"}},
		"plans": {"free": {"default": true, "limits": {
			"report": {"year": {"limit": 1000}, "lifetime": {"limit": 5000}},
			"seat": {"lifetime": {"limit": 10}}, "call": {"hour": {"limit": 5}}}}}}');
	CREATE TABLE reports (id serial PRIMARY KEY, owner text, amount int);
	SELECT quota_attach('reports', 'report', 'owner', 'amount');
});

# figures by account, feature and period
sub usage
{
	return $node->safe_psql('postgres',
		q{SELECT account, feature, string_agg(used::text, ' ' ORDER BY period)
		FROM quota.usage GROUP BY 1, 2 ORDER BY 1, 2});
}

sub crash
{
	$node->stop('immediate');
	$node->start;
}

# Committed: before a checkpoint and after it, on old rows and on new ones.
$node->safe_psql('postgres', q{SELECT quota_consume('ada', 'report', 100), quota_consume('ada', 'seat', 4)});
$node->safe_psql('postgres', q{INSERT INTO reports (owner, amount) VALUES ('bob', 5), ('ada', 1), ('bob', 6)});
$node->safe_psql('postgres', 'CHECKPOINT');
$node->safe_psql('postgres', q{SELECT quota_consume('ada', 'report') FROM generate_series(1, 50)});
$node->safe_psql('postgres', q{SELECT quota_consume('new', 'report', 7), quota_refund('ada', 'seat')});
$node->safe_psql('postgres',
	q{BEGIN; SELECT quota_consume('ada', 'report', 20); SAVEPOINT s;
	SELECT quota_consume('ada', 'report', 300); ROLLBACK TO s; COMMIT});
$node->safe_psql('postgres',
	q{BEGIN; SELECT quota_consume('ada', 'report', 300); ROLLBACK});
my @committed = ('ada|report|171 171', 'ada|seat|3', 'bob|report|11 11', 'new|report|7 7');
is(usage(), join("\n", @committed), 'what committed is counted');

# Not committed: on the same rows, and on rows that only they made.
my @sessions = map { $node->background_psql('postgres') } (1 .. 3);
$sessions[0]->query_safe(
	q{BEGIN; SELECT quota_consume('ada', 'report', 400), quota_consume('ada', 'seat', 2)});
$sessions[1]->query_safe(
	q{BEGIN; INSERT INTO reports (owner, amount) VALUES ('bob', 30), ('fay', 3); SELECT quota_refund('new', 'report', 7)});
$sessions[2]->query_safe(q{BEGIN; SELECT quota_consume('gus', 'report', 2)});
# so that the crash finds their changes on disk
$node->safe_psql('postgres', 'CHECKPOINT');
$node->safe_psql('postgres', q{SELECT quota_consume('hal', 'report')});

crash();
eval { $_->quit } foreach @sessions;

is(usage(), join("\n", sort @committed, 'hal|report|1 1'),
	'after a crash: what committed stays, what did not is gone');
is($node->safe_psql('postgres', q{SELECT owner, sum(amount) FROM reports GROUP BY 1 ORDER BY 1}),
	"ada|1\nbob|11", 'after a crash: so do the rows that were charged');

# The room that the crash gave back can be used, to the unit.
is($node->safe_psql('postgres', q{SELECT allowed, used FROM quota_consume('ada', 'report', 830)}),
	'f|171', 'after a crash: not more than what is left');
is($node->safe_psql('postgres', q{SELECT allowed, used FROM quota_consume('ada', 'report', 829)}),
	't|1000', 'after a crash: all of what is left');
is($node->safe_psql('postgres', q{SELECT allowed, used FROM quota_consume('gus', 'report', 1000)}),
	't|1000', 'after a crash: a counter that vanished begins at 0');

# A prepared transaction outlives a crash, and its charge with it.
$node->safe_psql('postgres',
	q{BEGIN; SELECT quota_consume('ida', 'report', 600); PREPARE TRANSACTION 'keep'});
$node->safe_psql('postgres',
	q{BEGIN; SELECT quota_consume('joe', 'report', 600); PREPARE TRANSACTION 'drop'});
crash();
is($node->safe_psql('postgres', q{SELECT count(*) FROM quota.usage WHERE account IN ('ida', 'joe')}),
	'0', 'prepared: not counted yet');
my ($ret, $out, $err) = $node->psql('postgres',
	q{SET lock_timeout = '50ms'; SELECT quota_consume('ida', 'report', 600)},
	extra_params => [ '-v', 'VERBOSITY=sqlstate' ]);
like($err, qr/55P03/, 'prepared: others wait for it');
$node->safe_psql('postgres', q{COMMIT PREPARED 'keep'});
$node->safe_psql('postgres', q{ROLLBACK PREPARED 'drop'});
is($node->safe_psql('postgres', q{SELECT allowed, used FROM quota_consume('ida', 'report', 600)}),
	'f|600', 'prepared and committed: counted');
is($node->safe_psql('postgres', q{SELECT allowed, used FROM quota_consume('joe', 'report', 600)}),
	't|600', 'prepared and rolled back: not counted');

# What accounts amount to is remembered in memory; a prepared transaction that changes it outlives a crash.
$node->safe_psql('postgres', q{
	INSERT INTO quota.plans (plan) VALUES ('pro');
	INSERT INTO quota.plan_limits (plan, feature, period, usage_limit) VALUES ('pro', 'report', 'lifetime', 9)});
$node->safe_psql('postgres',
	qq{BEGIN; SELECT quota_set_plan('$_', 'pro'); PREPARE TRANSACTION '$_'}) foreach ('keep', 'drop');
crash();
my $plans = q{SELECT (quota_evaluate('keep', 'report')).plan, (quota_evaluate('drop', 'report')).plan};
is($node->safe_psql('postgres', "$plans; $plans"), "free|free\nfree|free", 'prepared: nobody sees the change');
$node->safe_psql('postgres', q{COMMIT PREPARED 'keep'});
$node->safe_psql('postgres', q{ROLLBACK PREPARED 'drop'});
is($node->safe_psql('postgres', "$plans; $plans"), "pro|free\npro|free", 'prepared and committed: it holds');
crash();
is($node->safe_psql('postgres', "$plans; $plans"), "pro|free\npro|free", 'after a crash: it holds');

# Rates are memory: a crash forgets them, and so does a restart.
my $rate = q{SELECT allowed, used FROM quota_consume('ada', 'call', 3)};
is($node->safe_psql('postgres', $rate), 't|3', 'rate: taken');
is($node->safe_psql('postgres', $rate), 'f|3', 'rate: no room for more');
crash();
is($node->safe_psql('postgres', $rate), 't|3', 'rate: forgotten after a crash');
is($node->safe_psql('postgres', $rate), 'f|3', 'rate: and limited again');
$node->restart;
is($node->safe_psql('postgres', $rate), 't|3', 'rate: forgotten after a restart');
is($node->safe_psql('postgres', q{SELECT buckets FROM quota_rate_stats()}), '1', 'rate: all but this one');

# What was held is held, and what was settled is settled; what did not commit is as it was.
$node->safe_psql('postgres', q{SELECT quota_reserve('kay', 'seat', 4, '1 hour', 'k'), quota_reserve('kay', 'seat', 3, '1 hour')});
$node->safe_psql('postgres', q{SELECT quota_commit(1, 1)});
my $session = $node->background_psql('postgres');
$session->query_safe(q{BEGIN; SELECT quota_commit(2, 9), quota_reserve('kay', 'seat', 2, '1 hour', 'lost'), quota_consume('kay', 'seat', 1, 'lost too')});
$node->safe_psql('postgres', 'CHECKPOINT');
crash();
eval { $session->quit };
is($node->safe_psql('postgres', q{SELECT used, holds, (SELECT string_agg(amount::text, ' ') FROM quota.holds), (SELECT string_agg(id::text, ' ') FROM quota.reservations),
	(SELECT string_agg(key, ' ') FROM quota.keys) FROM quota.usage WHERE account = 'kay'}),
	'4|1|3|2|k', 'after a crash: one reservation is settled, one is open');
is($node->safe_psql('postgres', q{SELECT id, used FROM quota_reserve('kay', 'seat', 4, key => 'k')}), '1|4', 'after a crash: the key is known');
is($node->safe_psql('postgres', q{SELECT used FROM quota_commit(2, 2)}), '3', 'after a crash: the open one can be settled');
cmp_ok($node->safe_psql('postgres', q{SELECT id FROM quota_reserve('kay', 'seat', 2, key => 'lost')}), '>', 2, 'after a crash: no id comes twice');
is($node->safe_psql('postgres', q{SELECT used FROM quota_evaluate('kay', 'seat')}), '5', 'after a crash: nothing is lost');

# Index and table agree.
$node->safe_psql('postgres', 'CREATE EXTENSION amcheck');
is($node->safe_psql('postgres', q{SELECT bt_index_check('quota.usage_pkey', true)}),
	'', 'the index of usage holds every row');
is($node->safe_psql('postgres', q{SELECT count(*) FROM verify_heapam('quota.usage')}),
	'0', 'the table is sound');
is($node->safe_psql('postgres', qq{SELECT bt_index_check('quota.$_', true)}), '', "the index $_ holds every row")
  foreach ('keys_pkey', 'reservations_pkey', 'holds_pkey', 'holds_reservation');

$node->stop;
done_testing();
