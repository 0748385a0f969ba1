"""What grows with accounts, windows, charges and plans."""

import shutil
import time
from dataclasses import replace

from comparisons import CONSUME
from measure import (
    ACCOUNTS, FIRST_ACCOUNT, WORK, Figure, Missing, case_of, measurement, say, throughput_and_cpu,
    timed_ms)

PAST_WINDOWS = 10
BYTES_A_ROW = 400       # of usage, while it is built: table, index, sorting, WAL
PLANS = 10_000
CLIENTS = 8


@measurement('Size after many charges', 'ten times the charges', 'the charges')
def bloat(bench):
    """Size of the table of counters with its index after 5,000,000 charges of 100,000 accounts drawn at
    random, each in a transaction of its own, with autovacuum on, against its size after 500,000."""
    charges = 50_000 if bench.options.quick else 500_000
    few, many = [], []
    for _ in range(bench.options.pairs):
        bench.db.execute('VACUUM FULL quota.usage')
        bench.settle()
        for sizes, share in (few, 1), (many, 9):
            bench.measure(CONSUME, CLIENTS, {'synchronous_commit': 'off'},
                          transactions=charges * share // CLIENTS)
            sizes.append(size_mb(bench, 'quota.usage'))
            say(f'bloat: {sizes[-1]:.1f} MB')
    return [Figure(f'{charges:,} and {10 * charges:,} charges', 'MB', many, few, '<= 1.3')]


@measurement('Many accounts and windows', 'grown', '100,000 accounts, 1 window')
def growth(bench):
    """A database of many accounts (`--accounts`), each with the counters of ten past months and of this
    one, built by `COPY` with the index made afterwards, against one of 100,000 accounts and this month.
    Accounts are charged at random. The hit rate is that of shared buffers; the last size is that of
    the counters after charging for a while (`--long`) with autovacuum on, against that before it."""
    accounts = bench.options.accounts
    rows = accounts * (PAST_WINDOWS + 1)
    if shutil.disk_usage(WORK).free < rows * BYTES_A_ROW:
        raise Missing(f'{rows * BYTES_A_ROW / (1 << 30):.0f} GB of disk')
    grown = replace(CONSUME, database='growth', accounts=accounts,
                    total=CONSUME.total + " WHERE period_start = date_trunc('month', now())")
    sides = grown, CONSUME
    figures = [Figure(f'building {accounts:,} accounts and {rows:,} counters', 'seconds',
                      [build(bench, accounts)])]
    for unit, figure, relations in (('MB', size_mb, ('quota.usage', 'quota.accounts')),
                                    ('levels', levels, ('quota.usage_pkey', 'quota.accounts_pkey'))):
        figures += [Figure(f'`{relation}`', unit, *([figure(bench, relation, side.database)] for side in sides))
                    for relation in relations]
    figures += cost(bench, *sides)
    hits, sizes = zip(*(wear(bench, side) for side in sides))
    return figures + [
        Figure('shared buffers of the counters and their index', '% found', *([hit] for hit in hits)),
        Figure('`quota.usage` after charging, and before', 'MB', *([size] for size in sizes[0]))]


def build(bench, accounts):
    """Load the database; returns the seconds that it took."""
    start = time.perf_counter()
    bench.new_database('growth', accounts=0)
    with bench.connect('growth', autocommit=False) as db:
        db.execute("SET maintenance_work_mem = '1GB'")
        db.execute('SET session_replication_role = replica')     # nothing for the audit log
        copy_into(db, 'quota.accounts', 'account, plan',
                  f"SELECT {FIRST_ACCOUNT - 1} + i, 'pro' FROM generate_series(1, {accounts}) i")
        key = db.execute("SELECT pg_get_constraintdef(oid) FROM pg_constraint "
                         "WHERE conname = 'usage_pkey'").fetchone()[0]
        db.execute('ALTER TABLE quota.usage DROP CONSTRAINT usage_pkey')
        # In each month accounts come in an order of their own, as their first charges do.
        copy_into(db, 'quota.usage', 'account, feature, period, period_start, used',
                  f"SELECT {FIRST_ACCOUNT} + (i * 7919 + m * 104729) % {accounts}, 'report', 'month', "
                  f"date_trunc('month', now()) - make_interval(months => {PAST_WINDOWS} - m), 1 + i % 1000 "
                  f'FROM generate_series(0, {PAST_WINDOWS}) m, generate_series(1::bigint, {accounts}) i')
        db.execute(f'ALTER TABLE quota.usage ADD CONSTRAINT usage_pkey {key}')
    bench.session('growth').execute('VACUUM ANALYZE')
    return time.perf_counter() - start


def copy_into(db, table, columns, query):
    """Rows that no vacuum has to freeze, since the table is emptied in the same transaction."""
    say(f'building {table}')
    rows = WORK / 'rows.sql'
    rows.write_text(f'COPY ({query}) TO STDOUT')
    db.execute(f'TRUNCATE {table} CASCADE')
    db.execute(f"COPY {table} ({columns}) FROM PROGRAM 'psql -Xqf {rows} postgres' (FREEZE)")


def cost(bench, *sides):
    figures = []
    for sync in bench.options.sync:
        for clients in bench.clients((CLIENTS,)):
            case = case_of(clients, sync)
            pairs = bench.compare(f'{sides[0].database}, {case}', *sides, clients,
                                  {'synchronous_commit': sync})
            figures += throughput_and_cpu(case, pairs)
    return figures


def wear(bench, side):
    """Charge for a while: the hit rate of that, and sizes after and before."""
    before, read_before = size_mb(bench, 'quota.usage', side.database), blocks(bench, side.database)
    side.run(bench, CLIENTS, {'synchronous_commit': 'off'}, time=bench.options.long)
    bench.wait_for_clients()
    hit, read = (now - then for now, then in zip(blocks(bench, side.database), read_before))
    return 100 * hit / (hit + read), (size_mb(bench, 'quota.usage', side.database), before)


def blocks(bench, database):
    """Blocks of the counters and their index found in shared buffers, and not."""
    return bench.session(database).execute(
        'SELECT heap_blks_hit + idx_blks_hit, heap_blks_read + idx_blks_read '
        "FROM pg_statio_all_tables WHERE relid = 'quota.usage'::regclass").fetchone()


def size_mb(bench, relation, database='postgres'):
    return bench.value(f"SELECT pg_total_relation_size('{relation}')", database) / (1 << 20)


def levels(bench, index, database):
    bench.session(database).execute('CREATE EXTENSION IF NOT EXISTS pageinspect')
    return bench.value(f"SELECT level + 1 FROM bt_metap('{index}')", database)


@measurement('Many plans', '10,000 plans', '1 plan')
def catalogue(bench):
    """100,000 accounts spread over 10,000 plans, against accounts of one plan. Memory is what a
    session's cache holds once it has met all of them; a change is an `UPDATE` of one limit, after which
    every session drops its cache. Times are as a client sees them."""
    bench.new_database('plans', accounts=ACCOUNTS)
    bench.load('plans.sql', 'plans', plans=PLANS)
    sides = replace(CONSUME, database='plans'), CONSUME
    figures = cost(bench, *sides)
    memory, changes = zip(*(change(bench, side.database) for side in sides))
    figures.append(Figure('cache of a session', 'kB', *([kb] for kb in memory)))
    figures += [Figure(what, 'ms', *times) for what, *times in
                zip(('the change', 'the next call', 'the call after that'), *changes)]
    return figures


def change(bench, database):
    """Memory of the cache, and times of a change and of the next two calls."""
    ask = f"SELECT (quota_evaluate('{FIRST_ACCOUNT}', 'report')).used"
    update = ('UPDATE quota.plan_limits SET usage_limit = usage_limit + 1 '
              "WHERE plan = 'pro' AND feature = 'report'")
    times = [], [], []
    with bench.connect(database) as session:
        steps = (bench.session(database), update), (session, ask), (session, ask)
        for _ in range(20 * bench.options.pairs):
            for (executing, statement), elapsed in zip(steps, times):
                elapsed.append(timed_ms(executing, statement))
        session.execute("SELECT count(quota_evaluate(account, 'report')) FROM quota.accounts")
        kb = session.execute('SELECT sum(total_bytes)::bigint FROM pg_backend_memory_contexts '
                             "WHERE name LIKE 'quota %'").fetchone()[0] / 1024
    return kb, times
