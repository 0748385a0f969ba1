/*
 * Reservations: what is held, settled, given back, and what expires.
 */
BEGIN;
SELECT no_plan();
\ir _helpers.sql
SET LOCAL quota.now = '2026-01-31 23:50+00';

SELECT quota_apply('{
	"features": {"token": {"kind": "counter"}, "seat": {"kind": "gauge"}, "call": {"kind": "rate"}, "gate": {"kind": "flag"}},
	"plans": {
		"free": {"default": true, "limits": {"token": {"day": {"limit": 100}, "month": {"limit": 1000}}, "seat": {"lifetime": {"limit": 3}}, "call": {"minute": {"limit": 1}}}, "features": {"gate": true}},
		"pro": {"limits": {"token": {"year": {"limit": 5000, "on_limit": "charge"}}}}}}') IS NOT NULL AS applied \gset
CREATE FUNCTION used(a text) RETURNS text LANGUAGE sql AS
	$$SELECT string_agg(format('%s=%s', period, used), ' ' ORDER BY period, period_start) FROM quota.counters c WHERE c.account = a$$;
CREATE FUNCTION raw(a text) RETURNS text LANGUAGE sql AS
	$$SELECT string_agg(format('%s=%s,%s', period, used, holds), ' ' ORDER BY period, period_start, slot) FROM quota.usage u WHERE u.account = a$$;
CREATE FUNCTION held(a text) RETURNS text LANGUAGE sql AS
	$$SELECT string_agg(format('%s=%s', period, amount), ' ' ORDER BY period, period_start, reservation) FROM quota.holds h WHERE h.account = a$$;

/* Reserve. */
SELECT results_eq($$SELECT * FROM quota_reserve('ada', 'token', 60)$$, $$
	SELECT 1::bigint, d.* FROM (VALUES ('ada', 'token', 'free', 'day'::quota_period, 'ALLOW'::quota_verdict, true, 60::bigint, 100::bigint, 40::bigint, 0.6::float8, 0::bigint,
		'2026-01-31 00:00+00'::timestamptz, '2026-02-01 00:00+00'::timestamptz, NULL::interval, 'ok', 'Within limit: 60/100 token (60%)')) d
	$$, 'a reservation: its id, and the decision');
SELECT is(used('ada'), 'day=60 month=60', 'it is used');
SELECT is(held('ada'), 'day=60 month=60', 'of each counter it is held');
SELECT results_eq($$SELECT account, feature, amount, counters, reserved_at, expires_at FROM quota.reservations$$,
	$$VALUES ('ada' COLLATE "C", 'token' COLLATE "C", 60::bigint, 2::smallint, '2026-01-31 23:50+00'::timestamptz, '2026-01-31 23:55+00'::timestamptz)$$, 'for five minutes');
SELECT results_eq($$SELECT id, decision, used, message FROM quota_reserve('ada', 'token', 41)$$,
	$$VALUES (NULL::bigint, 'BLOCK'::quota_verdict, 60::bigint, 'Daily token limit does not allow 41 more (60/100).')$$, 'nobody else gets the room');
SELECT is(brief(quota_consume('ada', 'token', 41)), 'BLOCK 60/100 limit_reached', 'nor by consume');
SELECT is((SELECT count(*) FROM quota.reservations), 1::bigint, 'a denial holds nothing');
SELECT is((quota_reserve('ada', 'token', 40)).remaining, 0::bigint, 'the rest can be reserved');

/* Commit and release. */
SELECT id AS other FROM quota.reservations WHERE amount = 40 \gset
SELECT is(brief(quota_commit(1, 25)), 'ALLOW 65/100 ok', 'commit: what it cost');
SELECT is(used('ada'), 'day=65 month=65', 'the rest is given back');
SELECT is(brief(quota_release(:other)), 'ALLOW 25/100 ok', 'release: all is given back');
SELECT is(raw('ada'), 'day=25,0 month=25,0', 'nothing is held');
SELECT is((SELECT count(*) FROM quota.reservations) + (SELECT count(*) FROM quota.holds), 0::bigint, 'nothing is left');
SELECT is(brief(quota_commit(id)), 'ALLOW 35/100 ok', 'commit without an amount: all of it') FROM quota_reserve('ada', 'token', 10);
SELECT is(brief(quota_commit(id, 0)), 'ALLOW 35/100 ok', 'commit of nothing') FROM quota_reserve('ada', 'token', 10);
SELECT is(brief(quota_commit(id, 80)), 'ALLOW_WITH_WARNING 115/100 soft_limit', 'commit of more than was held: the work is done') FROM quota_reserve('ada', 'token', 10);
SELECT is(used('ada'), 'day=115 month=115', 'is charged');
SELECT is((SELECT count(*) FROM quota.reservations) + (SELECT count(*) FROM quota.holds), 0::bigint, 'nothing is left');
SELECT throws_ok(format('SELECT %s', f), '42704', 'reservation 1 does not exist', f || ' a second time') FROM unnest('{quota_commit(1),quota_release(1),"quota_commit(1, 0)"}'::text[]) f;
SELECT is(error_of('SELECT quota_commit(-7)'), '{"state": "42704", "message": "reservation -7 does not exist", "detail": "",
	"hint": "It has been committed or released already, or expired long ago."}'::jsonb, 'one that never was');

/* Expiry: by itself, from the instant on. */
SELECT id AS r FROM quota_reserve('bob', 'token', 90, '1 minute') \gset
SET LOCAL quota.now = '2026-01-31 23:50:59.999999+00';
SELECT is(brief(quota_evaluate('bob', 'token', 11)), 'BLOCK 90/100 limit_reached', 'just before its end it is held');
SELECT is(used('bob'), 'day=90 month=90', 'in reports as well');
SET LOCAL quota.now = '2026-01-31 23:51+00';
SELECT is(brief(quota_evaluate('bob', 'token', 100)), 'ALLOW 0/100 ok', 'at its end it is not');
SELECT results_eq($$SELECT period::text, used, remaining FROM quota_evaluate('bob') WHERE feature = 'token'$$, $$VALUES ('day', 0::bigint, 100::bigint), ('month', 0, 1000)$$, 'evaluate');
SELECT is(used('bob'), 'day=0 month=0', 'quota.counters');
SELECT is(quota_usage('bob')->'features'->'token'->'used', '0', 'quota_usage');
SELECT is((SELECT sum(used) FROM quota_history('bob')), 0::numeric, 'quota_history');
SELECT is((SELECT sum(used) FROM quota.current_usage WHERE account = 'bob'), 0::numeric, 'quota.current_usage');
SELECT is(raw('bob'), 'day=90,1 month=90,1', 'though nothing has been written');
SELECT is(error_of(format('SELECT %s(%s)', f, :r)), jsonb_build_object('state', '55000', 'message', 'reservation ' || :r || ' has expired',
	'detail', 'What it held has been given back.', 'hint', 'Charge what was used with quota_record.'), f || ' is late') FROM unnest('{quota_commit,quota_release}'::text[]) f;
SELECT is(brief(quota_consume('bob', 'token', 101)), 'BLOCK 0/100 limit_reached', 'a denial');
SELECT is(raw('bob'), 'day=90,1 month=90,1', 'writes nothing');
SELECT is((quota_consume('bob', 'token', 100)).used, 100::bigint, 'all of the room can be used');
SELECT is(raw('bob'), 'day=100,0 month=100,0', 'the charge writes down what has expired');
SELECT is(held('bob'), NULL, 'and it is held no more');
SELECT throws_ok(format('SELECT quota_commit(%s)', :r), '55000', NULL, 'commit is late still');
SELECT is(brief(quota_record('bob', 'token', 3)), 'ALLOW_WITH_WARNING 103/100 soft_limit', 'record charges what was used');

/* Some expire, some do not. */
SELECT id AS short FROM quota_reserve('cy', 'token', 10, '1 minute') \gset
SELECT id AS long FROM quota_reserve('cy', 'token', 20, '1 hour') \gset
SELECT quota_reserve('cy', 'token', 30, '2 minutes') \g /dev/null
SET LOCAL quota.now = '2026-01-31 23:52+00';
SELECT is((quota_evaluate('cy', 'token')).used, 50::bigint, 'one of three has expired');
SELECT is((quota_reserve('cy', 'token', 5)).used, 55::bigint, 'reserve counts the others');
SELECT is(raw('cy'), 'day=55,3 month=55,3', 'and returns the one');
SET LOCAL quota.now = '2026-01-31 23:53+00';
SELECT is((quota_commit(:long, 21)).used, 26::bigint, 'commit of one while another has expired');
SELECT is(raw('cy'), 'day=56,2 month=56,2', 'leaves that to the next charge');
SELECT is((quota_record('cy', 'token', 4)).used, 30::bigint, 'which returns it');
SELECT is(raw('cy'), 'day=30,1 month=30,1', 'once');
SELECT is((quota_refund('cy', 'token', 100)).used, 5::bigint, 'refund does not give back what is held');
SET LOCAL quota.now = '2026-02-01 01:00+00';
SELECT is((quota_refund('cy', 'token', 100, '2026-01-31 12:00+00')).used, 0::bigint, 'nor when it has expired: it has been given back');
SELECT is(used('cy'), 'day=0 month=0', 'nothing below 0');
SELECT is(raw('cy'), 'day=5,1 month=5,1', 'and nothing twice');

/* Another day, another month, another plan: what was charged is settled. */
SET LOCAL quota.now = '2026-01-31 23:50+00';
SELECT quota_consume('dan', 'token', 1) \g /dev/null
SELECT id AS r FROM quota_reserve('dan', 'token', 50, '1 hour') \gset
SELECT id AS s FROM quota_reserve('dan', 'token', 7, '1 hour') \gset
SET LOCAL quota.now = '2026-02-01 00:10+00';
SELECT is((quota_consume('dan', 'token', 2)).used, 2::bigint, 'February');
SELECT results_eq(format('SELECT period_start, used FROM quota_commit(%s, 60)', :r), $$VALUES ('2026-01-31 00:00+00'::timestamptz, 68::bigint)$$, 'commit: the figures of January');
SELECT is(used('dan'), 'day=68 day=2 month=68 month=2', 'and its counters');
SELECT quota_set_plan('dan', 'pro');
SELECT results_eq(format('SELECT plan, period::text, used FROM quota_release(%s)', :s), $$VALUES ('pro', 'year', 0::bigint)$$, 'release under another plan: its figures');
SELECT is(used('dan'), 'day=61 day=2 month=61 month=2', 'and the counters that it was charged to');
SELECT is((SELECT allowed FROM quota_reserve('dan', 'token', 6000, '1 hour')), true, 'a limit that charges is reserved beyond');

/* Gauges; what cannot be reserved. */
SELECT id AS r FROM quota_reserve('eve', 'seat', 2, '1 day') \gset
SELECT is((quota_reserve('eve', 'seat', 2)).id, NULL, 'gauge: the room is held');
SELECT is((quota_commit(:r, 1)).used, 1::bigint, 'gauge: commit');
SELECT throws_ok($$SELECT quota_reserve('eve', 'call', 1)$$, '42809', 'feature "call" is a rate and cannot be reserved', 'a rate');
SELECT throws_ok($$SELECT quota_reserve('eve', 'gate', 1)$$, '42809', 'feature "gate" is a flag and cannot be reserved', 'a flag');
SELECT throws_ok($$SELECT quota_reserve('eve', 'nothing', 1)$$, '42704', 'feature "nothing" does not exist', 'no feature');
SELECT throws_ok($$SELECT quota_reserve('eve', repeat('f', 5000), 1)$$, '42704', NULL, 'a name that is too long');
SELECT throws_ok(format('SELECT quota_reserve(%s)', a), state, message, 'reserve: ' || a)
FROM (VALUES
	('NULL::text, ''token'', 1', '22004', 'account must not be null'), ('NULL::uuid, ''token'', 1', '22004', 'account must not be null'), ('NULL::bigint, ''token'', 1', '22004', 'account must not be null'),
	(''''', ''token'', 1', '22023', 'account must not be empty'), ('repeat(''a'', 256), ''token'', 1', '22023', 'account is too long'),
	('''a'', NULL, 1', '22004', 'feature must not be null'), ('''a'', ''token'', NULL', '22004', 'n must not be null'),
	('''a'', ''token'', 0', '22023', 'amount must be at least 1, not 0'), ('''a'', ''token'', -5', '22023', 'amount must be at least 1, not -5'),
	('''a'', ''token'', 1, NULL', '22004', 'ttl must not be null'), ('''a'', ''token'', 1, ''0''', '22023', 'ttl must be positive'),
	('''a'', ''token'', 1, ''-1 second''', '22023', 'ttl must be positive'), ('''a'', ''token'', 1, ''1 day -1 month''', '22023', 'ttl must be positive'),
	('''a'', ''token'', 1, ''300000 years''', '22008', 'timestamp out of range'), ('''a'', ''token'', 1, ''long''', '22007', 'invalid input syntax for type interval: "long"')) v (a, state, message);
SELECT throws_ok(format('SELECT %s', f), state, message, f)
FROM (VALUES ('quota_commit(NULL)', '22004', 'id must not be null'), ('quota_release(NULL)', '22004', 'id must not be null'),
	('quota_commit(1, -1)', '22023', 'actual amount must not be negative, as -1 is')) v (f, state, message);
SELECT id AS r FROM quota_reserve('big', 'token', 5) \gset
SELECT throws_ok(format('SELECT quota_commit(%s, 9223372036854775807) FROM quota_record(''big'', ''token'', 100)', :r), '22003', 'use out of range', 'more than can be counted');
SELECT is((quota_commit(:r)).used, 5::bigint, 'which leaves the reservation as it is');

/* Keys. */
SELECT id AS r FROM quota_reserve('fay', 'token', 10, '1 hour', 'k') \gset
SELECT results_eq($$SELECT id, used, remaining FROM quota_reserve('fay', 'token', 10, '1 hour', 'k')$$, format('VALUES (%s::bigint, 10::bigint, 90::bigint)', :r), 'key: the same reservation');
SELECT is((quota_reserve('fay', 'token', 10, '2 hours', 'k')).id, :r::bigint, 'key: whatever the ttl');
SELECT is(used('fay'), 'day=10 month=10', 'key: charged once');
SELECT throws_ok($$SELECT quota_reserve('fay', 'token', 11, key => 'k')$$, '22023', 'key "k" stands for another call', 'key: another amount');
SELECT throws_ok($$SELECT quota_consume('fay', 'token', 10, key => 'k')$$, '22023', 'key "k" stands for another call', 'key: another function');
SELECT is((quota_commit(:r, 3)).used, 3::bigint, 'key: commit');
SELECT is((quota_reserve('fay', 'token', 10, key => 'k')).id, :r::bigint, 'key: remembered when it is settled');
SELECT is((quota_reserve('fay', 'token', 98, key => 'd')).id, NULL, 'key: a denial');
SELECT is((quota_refund('fay', 'token', 3)).used, 0::bigint, 'room is made');
SELECT is(ARRAY[(id IS NULL)::text, used::text], '{true,3}', 'key: the denial stays') FROM quota_reserve('fay', 'token', 98, key => 'd');

/* Savepoints. */
SAVEPOINT s;
SELECT id AS r FROM quota_reserve('gus', 'token', 10) \gset
ROLLBACK TO s;
SELECT throws_ok(format('SELECT quota_commit(%s)', :r), '42704', NULL, 'rolled back: it is gone');
SELECT is(used('gus'), NULL, 'and so is what it held');
SELECT id AS r FROM quota_reserve('gus', 'token', 10) \gset
SAVEPOINT s;
SELECT is((quota_commit(:r, 4)).used, 4::bigint, 'commit');
ROLLBACK TO s;
SELECT is(used('gus'), 'day=10 month=10', 'rolled back: it is held again');
SELECT is((quota_commit(:r, 5)).used, 5::bigint, 'and can be settled');
SELECT is((SELECT sum((quota_commit(id, 1)).used) FROM (SELECT (quota_reserve('gus', 'token', 2)).id FROM generate_series(1, 10) OFFSET 0) r), 105::numeric, 'ten in a statement, each settled');
SELECT is(raw('gus'), 'day=15,0 month=15,0', 'in all');

/* A counter with slots. */
SELECT id AS r FROM quota_reserve('hal', 'token', 10, '1 hour') \gset
SELECT id AS s FROM quota_reserve('hal', 'token', 5, '1 minute') \gset
INSERT INTO quota.usage (account, feature, period, period_start, slot, used, holds)
SELECT account, feature, period, period_start, s, CASE s WHEN 3 THEN used ELSE 0 END, CASE s WHEN 2 THEN holds ELSE 0 END
FROM quota.usage, generate_series(1, 3) s WHERE account = 'hal' AND slot = 0;
UPDATE quota.usage SET slots = 4, used = 0, holds = 0 WHERE account = 'hal' AND slot = 0;
SELECT is((quota_evaluate('hal', 'token')).used, 15::bigint, 'slots: evaluate');
SELECT is((quota_commit(:r, 1)).used, 6::bigint, 'slots: commit');
SELECT is((SELECT sum(holds) FROM quota.usage WHERE account = 'hal'), 2::bigint, 'slots: one is held of each counter');
SET LOCAL quota.now = '2026-02-01 00:11+00';
SELECT is(used('hal'), 'day=1 month=1', 'slots: quota.counters');
SELECT is((quota_evaluate('hal', 'token')).used, 1::bigint, 'slots: it has expired');
SELECT is((quota_consume('hal', 'token')).used, 2::bigint, 'slots: consume');
SELECT is(used('hal'), 'day=2 month=2', 'slots: what has expired is not counted');
SELECT is((SELECT sum(holds) FROM quota.usage WHERE account = 'hal'), 2::bigint, 'slots: but not written down by who has charged the slot before');
SELECT is((quota_consume('hal', 'token', 96)).used, 98::bigint, 'slots: unless the room is needed');
SELECT is(raw('hal'), 'day=98,0 month=103,1', 'slots: of the day, whose counter is one row then');

/* A pool: what its members reserve is held of its counters and of theirs. */
SELECT quota_set_pool('pia', 'team'), quota_set_pool('pat', 'team'), quota_set_override('pia', 'token', 'day', 50) \g /dev/null
SELECT id AS r FROM quota_reserve('pia', 'token', 45, '1 hour') \gset
SELECT id AS s FROM quota_reserve('pat', 'token', 30, '1 minute') \gset
SELECT is(raw('team') || '; ' || raw('pia'), 'day=75,2 month=75,2; day=45,1', 'pool: both are charged');
SELECT is((quota_reserve('team', 'token', 26)).id, NULL, 'pool: what members hold nobody else can have');
SELECT quota_set_pool('pia', NULL);
SELECT is((quota_commit(:r, 5)).used, 5::bigint, 'pool: commit, after leaving it');
SELECT is(raw('team') || '; ' || raw('pia'), 'day=35,1 month=35,1; day=5,0', 'pool: settles what was charged');
SET LOCAL quota.now = '2026-02-01 00:13+00';
SELECT is((quota_consume('team', 'token')).used, 6::bigint, 'pool: what a member held has expired');
SELECT is(raw('team'), 'day=6,0 month=6,0', 'pool: and is returned by whoever charges');
SELECT throws_ok(format('SELECT quota_commit(%s)', :s), '55000', NULL, 'pool: the member is late');

/* quota.enforcement */
SET LOCAL quota.enforcement = off;
SELECT id AS r, allowed, used FROM quota_reserve('ida', 'token', 5000, key => 'o') \gset
SELECT is(ARRAY[:'allowed', :'used'], '{t,0}', 'off: allowed, and not charged');
SELECT is(used('ida'), NULL, 'off: no counter');
SELECT is((quota_commit(:r, 5000)).used, 0::bigint, 'off: it can be settled');
SELECT is(used('ida'), NULL, 'off: which charges nothing');
SELECT id AS r FROM quota_reserve('ida', 'token', 5000, key => 'o') \gset
SET LOCAL quota.enforcement = on;
SELECT is((quota_release(:r)).used, 0::bigint, 'off: and when it is on again');
SELECT id AS r FROM quota_reserve('ida', 'token', 50) \gset
SET LOCAL quota.enforcement = off;
SELECT is((quota_commit(:r, 5)).used, 5::bigint, 'off: what was held is settled');
SET LOCAL quota.enforcement = shadow;
SELECT is(brief((account, feature, plan, period, decision, allowed, used, usage_limit, remaining, ratio, overage, period_start, period_end, retry_after, reason, message)::quota_decision),
	'ALLOW_WITH_WARNING 205/100 shadow', 'shadow: charged') FROM quota_reserve('ida', 'token', 200);
SET LOCAL quota.enforcement = on;

/* quota_reset ends what it resets; deleted accounts are as those without a row. */
SELECT id AS r FROM quota_reserve('joe', 'token', 10) \gset
SELECT id AS s FROM quota_reserve('joe', 'seat', 1) \gset
SELECT quota_reset('joe');
SELECT is(held('joe'), 'lifetime=1', 'reset: the hold of its counters goes');
SELECT throws_ok(format('SELECT quota_commit(%s, 4)', :r), '55000', NULL, 'reset: it is over');
SELECT is((quota_consume('joe', 'token')).used, 1::bigint, 'reset: from 0');
SELECT is((quota_commit(:s)).used, 1::bigint, 'reset: a gauge stays');
SELECT quota_set_plan('kim', 'free');
SELECT id AS r FROM quota_reserve('kim', 'token', 10) \gset
DELETE FROM quota.accounts WHERE account = 'kim';
SELECT is((quota_commit(:r, 4)).used, 4::bigint, 'an account whose row is gone');
/* by hand */
SELECT id AS r FROM quota_reserve('lee', 'token', 10) \gset
UPDATE quota.usage SET used = 3 WHERE account = 'lee';
SELECT is((quota_commit(:r, 0)).used, 0::bigint, 'a counter that was lowered by hand does not go below 0');
SELECT id AS r FROM quota_reserve('lee', 'token', 10) \gset
DELETE FROM quota.usage WHERE account = 'lee';
SELECT is((quota_commit(:r, 2)).used, 0::bigint, 'nor one that was deleted by hand');

/* quota_maintain */
DELETE FROM quota.holds;
DELETE FROM quota.reservations;
SET LOCAL quota.now = '2026-01-31 23:59+00';
SELECT quota_reserve('max', 'token', 10, '2 minutes') \g /dev/null
SELECT quota_reserve('max', 'seat', 1, '1 hour') \g /dev/null
SET LOCAL quota.now = '2026-02-01 00:00+00';
SELECT quota_maintain('0') \g /dev/null
SELECT is(raw('max'), 'day=10,1 month=10,1 lifetime=1,1', 'a counter of the past of which something is held stays');
SET LOCAL quota.now = '2026-02-01 00:01+00';
SELECT is(quota_maintain() - '{plans_changed,keys_deleted,alerts_deleted,stripe_events_deleted,ledger_months_made,ledger_months_dropped}'::text[], '{"usage_deleted": 0, "holds_returned": 2, "overrides_deleted": 0, "reservations_deleted": 0}'::jsonb, 'what has expired is written down');
SELECT is(raw('max'), 'day=0,0 month=0,0 lifetime=1,1', 'on its counters');
SELECT is((quota_maintain()->>'holds_returned')::int, 0, 'once');
SELECT throws_ok('SELECT quota_commit(min(id)) FROM quota.reservations', '55000', NULL, 'for a week a commit is told that it is late');
SET LOCAL quota.now = '2026-02-08 00:01+00';
SELECT is((quota_maintain(key_retention => NULL)->>'reservations_deleted')::int, 0, 'or for good');
SELECT is((quota_maintain()->>'reservations_deleted')::int, 1, 'then it is forgotten');
SELECT is((SELECT count(*) FROM quota.reservations), 1::bigint, 'the other is not as old');
SELECT is((quota_maintain('0')->>'usage_deleted')::int > 0, true, 'and its counters may go') WHERE raw('max') IS NOT NULL;

/* Who may. */
CREATE ROLE quota_test_app;
CREATE ROLE quota_test_reader;
SELECT quota_grant('quota_test_app', 'app'), quota_grant('quota_test_reader', 'reader') \g /dev/null
GRANT USAGE ON SCHEMA public TO quota_test_app, quota_test_reader;
SELECT is((SELECT array_agg(l) FROM as_role('quota_test_app', $$SELECT used FROM quota_reserve('ned', 'token', 9)$$) l), '{9}', 'app: reserve');
SELECT max(id) AS r FROM quota.reservations \gset
SELECT is((SELECT array_agg(l) FROM as_role('quota_test_app', format('SELECT used FROM quota_commit(%s, 8)', :r)) l), '{8}', 'app: commit');
SELECT is((SELECT array_agg(l) FROM as_role('quota_test_app', $$SELECT d.used FROM quota_reserve('ned', 'token', 9) r, quota_release(r.id) d$$) l), '{8}', 'app: release');
SELECT is(try_as('quota_test_app', s), '42501', 'app: not ' || s)
FROM unnest('{SELECT FROM quota.reservations,SELECT FROM quota.holds,"SELECT quota.return_expired(''ned'', ''token'', ''day'', now())",SELECT nextval(''quota.reservations_id_seq'')}'::text[]) s;
SELECT is(try_as('quota_test_reader', $$SELECT quota_reserve('ned', 'token', 9)$$), '42501', 'reader: does not reserve');
SELECT quota_add_user('ned', 'u1');
SELECT quota_reserve('ned', 'token', 2), quota_reserve('other', 'token', 3) \g /dev/null
SELECT is((SELECT count(*) FROM as_role('quota_test_reader', 'SELECT id FROM quota.reservations')), 0::bigint, 'reader: nobody''s');
SET LOCAL "quota.user" = 'u1';
SELECT is((SELECT array_agg(l) FROM as_role('quota_test_reader', 'SELECT account, amount FROM quota.reservations') l), '{ned|2}', 'reader: those of its user');
SELECT is((SELECT array_agg(l) FROM as_role('quota_test_reader', 'SELECT DISTINCT account, amount FROM quota.holds') l), '{ned|2}', 'reader: and what they hold');
SET LOCAL quota.now = '2026-02-08 00:06+00';
SELECT is((SELECT array_agg(l) FROM as_role('quota_test_reader', $$SELECT used FROM quota.counters WHERE feature = 'token' AND period = 'day'$$) l), '{8}', 'reader: counters without what has expired');

SELECT * FROM finish();
ROLLBACK;
