"""Long transactions, here and elsewhere, and new connections."""

import statistics
from contextlib import contextmanager, nullcontext
from dataclasses import replace

from comparisons import CONSUME, CONSUME_HOT, UPDATE, UPDATE_HOT
from measure import (
    COUNTER, FIRST_ACCOUNT, QUOTA, Figure, Side, case_of, measurement, say, throughput_and_cpu, timed_ms)

CALLS = 12_500, 25_000, 50_000, 100_000
UPDATE_CALLS = 12_500, 25_000       # 100,000 take minutes

ONE_STATEMENT = "SELECT count(quota_consume('{account}', 'report')) FROM generate_series(1, {calls})"
LOOP = "DO $$ BEGIN FOR i IN 1..{calls} LOOP {statement}; END LOOP; END $$"
SAVEPOINTS = ("DO $$ BEGIN FOR i IN 1..{calls} / 50 LOOP BEGIN FOR j IN 1..50 LOOP {statement}; END LOOP; "
              "EXCEPTION WHEN division_by_zero THEN END; END LOOP; END $$")
CALL = "PERFORM quota_consume('{account}', 'report')"
BARE_UPDATE = ("UPDATE app.counter SET used = used + 1 WHERE account = '{account}' AND feature = 'report' "
               "AND period = 'month' AND period_start = '{month}'")

WAYS = [
    ('one statement', ONE_STATEMENT, QUOTA, CALLS),
    ('a statement a call', LOOP.replace('{statement}', CALL), QUOTA, CALLS),
    ('a savepoint every 50 calls', SAVEPOINTS.replace('{statement}', CALL), QUOTA, CALLS),
    ('bare `UPDATE`s', LOOP.replace('{statement}', BARE_UPDATE), COUNTER, UPDATE_CALLS),
]


@measurement('Many charges in one transaction', 'so many calls', '12,500 calls')
def one_transaction(bench):
    """The time of a call, in a transaction that charges one account so many times, against the time in
    one of 12,500 calls: where it does not rise, the whole costs linear time. With bare `UPDATE`s of one
    row each has to pass all versions that the transaction made."""
    bench.db.execute('SET synchronous_commit = off')
    figures = []
    for way, query, total, calls in WAYS:
        if bench.options.quick:
            calls = [n // 10 for n in calls]
        turns = [[us_a_call(bench, way, query, total, n) for n in calls] for _ in range(bench.options.pairs)]
        shortest, *longer = map(list, zip(*turns))
        figures += [Figure(f'{way}, {n:,}', 'µs a call', values, shortest)
                    for n, values in zip(calls[1:], longer)]
    return figures


def us_a_call(bench, way, query, total, calls):
    bench.settle()
    with bench.charging(way, calls, total):
        statement = query.format(account=FIRST_ACCOUNT, month=bench.month, calls=calls)
        us = timed_ms(bench.db, statement) / calls * 1e3
    say(f'{way}, {calls:,} calls: {us:.1f} us a call')
    return us


@measurement('While a session holds an old snapshot', '`quota_consume`', 'other')
def held(bench):
    """Clients charge one account while another session holds the snapshot of a transaction begun
    before: no version of the row that dies meanwhile can be removed. Throughput in the last third of
    that time (of 60 s by default), against its own without such a session, and against bare `UPDATE`s of
    one row in the same situation. A vacuum after each run makes them independent of one another."""
    figures = []
    for sync in bench.options.sync:
        for clients in bench.clients((32,)):
            runs = {'held': [], 'free': [], 'update': []}
            for order in bench.turns(tuple(runs)):
                for kind in order:
                    side = UPDATE_HOT if kind == 'update' else CONSUME_HOT
                    runs[kind].append(last_third(bench, side, clients, sync, kind != 'free'))
                    say(f'{kind}, {case_of(clients, sync)}: {runs[kind][-1]:,.0f} tps')
            case = case_of(clients, sync)
            figures += [
                Figure(f'{case}: its own without', 'transactions per second', runs['held'], runs['free'],
                       '>= 0.5'),
                Figure(f'{case}: bare `UPDATE`', 'transactions per second', runs['held'], runs['update'],
                       '>= 4', f'hot account, old snapshot, sync {sync}, vs bare UPDATE')]
    return figures


def last_third(bench, side, clients, sync, snapshot):
    third = bench.options.long // 3
    bench.settle()
    with old_snapshot(bench) if snapshot else nullcontext():
        measured = bench.measure(side, clients, {'synchronous_commit': sync},
                                 time=3 * third + 1, progress=third)
    return measured.progress[2]


@contextmanager
def old_snapshot(bench):
    with bench.connect(autocommit=False) as session:
        session.execute('SET TRANSACTION ISOLATION LEVEL REPEATABLE READ')
        session.execute('SELECT count(*) FROM quota.plans')
        yield


@measurement('A connection for each transaction', '`quota_consume`', 'other')
def first_call(bench):
    """Each transaction in a new connection, against a bare `UPDATE` and against `SELECT 1`, which only
    connects; and the time of the first two statements of a connection as the client sees it, without
    the connecting: the first one loads the library, the plans and what PostgreSQL itself caches."""
    figures = []
    for sync in bench.options.sync:
        for clients in bench.clients((8,)):
            for name, other in ('bare `UPDATE`', UPDATE), ('`SELECT 1`', Side('nothing', None)):
                case = f'{case_of(clients, sync)}: {name}'
                sides = (replace(side, arguments=('--connect',)) for side in (CONSUME, other))
                pairs = bench.compare(case, *sides, clients, {'synchronous_commit': sync})
                figures += throughput_and_cpu(case, pairs)
    return figures + latencies(bench)


def latencies(bench):
    """Of the first and the second statement: in each turn the median of twenty connections a side."""
    sides = "SELECT (quota_consume('{account}', 'report')).allowed", BARE_UPDATE
    turns = {side: [] for side in sides}
    for order in bench.turns(sides):
        for side in order:
            connections = [latency(bench, side, FIRST_ACCOUNT + i) for i in range(20)]
            turns[side].append([statistics.median(call) for call in zip(*connections)])
    return [Figure(f'the {name} statement: bare `UPDATE`', 'ms',
                   *([turn[call] for turn in turns[side]] for side in sides))
            for call, name in enumerate(('first', 'second'))]


def latency(bench, statement, account):
    """Milliseconds of the first and the second statement of a connection."""
    with bench.connect() as session:
        session.execute('SET synchronous_commit = off')
        return [timed_ms(session, statement.format(account=account, month=bench.month)) for _ in range(2)]
