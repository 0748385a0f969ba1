"""One transaction against another, by pgbench: a line of text each."""

import json
import shutil
import subprocess
from dataclasses import dataclass, field
from typing import Callable

from measure import (
    ACCOUNTS, COUNTER, HERE, MEASUREMENTS, QUOTA, Measurement, Missing, Side, case_of, run,
    throughput_and_cpu, with_settings)


@dataclass(frozen=True)
class Comparison:
    """To be called with a Bench. `targets` are those of the usual numbers of
    clients, by sync; `bars` are the names in the picture, by case."""
    quota: Side
    other: Side
    clients: tuple = (1, 2, 8)
    syncs: tuple = ('on', 'off')
    settings: dict = field(default_factory=dict)
    targets: dict = field(default_factory=dict)
    bars: dict = field(default_factory=dict)
    prepare: Callable = lambda bench: None

    def __call__(self, bench):
        self.prepare(bench)
        figures = []
        for sync in self.syncs:
            if len(self.syncs) > 1 and sync not in bench.options.sync:
                continue
            for clients in bench.clients(self.clients):
                case = case_of(clients, sync)
                pairs = bench.compare(f'{self.quota.script} / {self.other.script}, {case}',
                                      self.quota, self.other, clients,
                                      {'synchronous_commit': sync, **self.settings})
                target = self.targets.get(sync, '') if clients in self.clients else ''
                figures += throughput_and_cpu(case, pairs, target, self.bars.get(case, ''))
        return figures


@dataclass(frozen=True)
class NodeSide(Side):
    """A mode of bench/limiter/consume.js."""
    def run(self, bench, clients, settings, time):
        output = json.loads(run('node', HERE / 'limiter/consume.js', self.script, str(clients),
                                str(time), str(self.accounts), env=with_settings(settings)))
        return output['transactions'], output['tps'], []


def load_reports(bench):
    bench.load('reports.sql', report_accounts=bench.options.report_accounts)


def load_ledger(bench):
    bench.load('ledger.sql')


def load_limiter(bench):
    if not shutil.which('node') or not shutil.which('npm'):
        raise Missing('node and npm')
    try:
        run('npm', 'install', '--no-audit', '--no-fund', '--no-package-lock',
            '--loglevel=error', cwd=HERE / 'limiter')
    except subprocess.CalledProcessError:
        raise Missing('the packages of bench/limiter')
    run('node', HERE / 'limiter/consume.js', 'prepare', '1', '0', str(ACCOUNTS))


def charged_and_written(counters, events):
    return f'SELECT (SELECT sum(used) FROM {counters})::bigint + (SELECT count(*) FROM {events})'


def comparison(name, title, heads, text, quota, other, **more):
    MEASUREMENTS[name] = Measurement(name, title, heads, text, Comparison(quota, other, **more))


CONSUME = Side('consume', QUOTA)
CONSUME_HOT = Side('consume', QUOTA, accounts=1)
UPDATE = Side('update', COUNTER)
UPDATE_HOT = Side('update', COUNTER, accounts=1)
DENIED = Side('consume_denied', QUOTA, charge=0)
BARE = '`quota_consume`', 'bare `UPDATE`'

comparison(
    'hot', 'One hot account', BARE,
    'All clients charge the same counter, against as many that add 1 to one row by a bare prepared '
    '`UPDATE`, where each waits for the commit of the one before it.',
    CONSUME_HOT, UPDATE_HOT, clients=(32,), targets={'on': '>= 4'},
    bars={'32 clients, sync on': 'hot account, 32 clients, vs bare UPDATE'})
comparison(
    'hot_2ms', 'One hot account, a slow commit', BARE,
    'The same with `commit_delay = 2000` and `commit_siblings = 0`: each commit takes 2 ms more, as it '
    'does with a synchronous standby or a disk far away.',
    CONSUME_HOT, UPDATE_HOT, clients=(32,), syncs=('on',), targets={'on': '>= 16'},
    settings={'commit_delay': 2000, 'commit_siblings': 0},
    bars={'32 clients, sync on': 'hot account, commit of 2 ms, vs bare UPDATE'})
comparison(
    'hot_spread', 'One hot account against 100,000', ('one account', '100,000 accounts'),
    'The same clients charge one account, or accounts drawn at random: what is left of the cost of all '
    'charging the same.',
    CONSUME_HOT, CONSUME, clients=(32,), targets={'on': '>= 0.9'},
    bars={'32 clients, sync on': 'hot account vs 100,000 accounts'})
comparison(
    'update', 'A bare `UPDATE`', BARE,
    '`UPDATE counter SET used = used + 1` by key, which looks up no plan and checks no limit: the least '
    'that counting can cost. Accounts are drawn at random.',
    CONSUME, UPDATE, targets={'on': '>= 1.0', 'off': '>= 1.1'},
    bars={'8 clients, sync on': 'consume vs bare UPDATE',
          '8 clients, sync off': 'consume, async, vs bare UPDATE'})
comparison(
    'statement', 'One statement', ('`quota_consume`', 'statement'),
    'One `UPDATE` that joins account and limit, charges if the limit allows it, and returns the use; it '
    'cannot begin a month, nor tell why it refuses.',
    CONSUME, Side('statement', COUNTER))
comparison(
    'plpgsql', 'A PL/pgSQL function', ('`quota_consume`', 'PL/pgSQL'),
    'A function that looks up the limit, charges with a guarded `UPDATE`, makes the month\'s row if there '
    'is none, and returns a decision.',
    CONSUME, Side('plpgsql', COUNTER), targets={'off': '>= 1.5'},
    bars={'8 clients, sync off': 'consume, async, vs PL/pgSQL function'})
comparison(
    'transaction', 'A transaction of five statements', ('`quota_consume`', 'transaction'),
    'The same by the application: `BEGIN`, limit, `SELECT ... FOR UPDATE`, `UPDATE`, `COMMIT`.',
    CONSUME, Side('transaction', COUNTER), targets={'off': '>= 3'},
    bars={'8 clients, sync off': 'consume, async, vs five statements'})
comparison(
    'count', 'Counting rows', ('`quota_consume`', 'count, then `INSERT`'),
    '`SELECT count(*)` of the account\'s 300 rows of the month that are processing or completed, then '
    '`INSERT` of another: 30,000 accounts, 9,000,000 rows, an index on (account, time), rows in the order '
    'of time. It admits too many when two clients count at the same time.',
    CONSUME, Side('insert_counted', None), prepare=load_reports, targets={'off': '>= 10'})
comparison(
    'count_insert', 'Counting rows, against the trigger', ('charged `INSERT`', 'count, then `INSERT`'),
    'The same against an `INSERT` into the same table with quota\'s trigger: one statement that does all '
    'of it, and admits none too many.',
    Side('insert_charged', QUOTA), Side('insert_counted', None), prepare=load_reports,
    bars={'8 clients, sync off': 'charged INSERT, async, vs count(*) and INSERT'})
comparison(
    'limiter', 'rate-limiter-flexible', ('`quota_consume`', '`consume`'),
    '`consume` of the npm package on PostgreSQL, against `quota_consume` through the same driver, each '
    'from one node program, and each asking for the same four figures. With several clients node itself '
    'is what limits both.',
    NodeSide('quota', QUOTA), NodeSide('limiter', 'SELECT sum(points)::bigint FROM limiter'),
    prepare=load_limiter)
comparison(
    'ledger', 'A ledger', ('`quota_consume`', 'statement'),
    'A feature whose every charge is an event of the ledger, against one statement that adds 1 to the counter '
    'and inserts into a table of the same columns, partitions and indexes. It looks up no plan and checks no '
    'limit.',
    Side('consume_ledger', charged_and_written('quota.usage', 'quota.events'), charge=2),
    Side('ledger', charged_and_written('app.counter', 'app.events'), charge=2),
    prepare=load_ledger, targets={'off': '>= 1.0'},
    bars={'8 clients, sync off': 'consume with ledger, async, vs UPDATE and INSERT'})
comparison(
    'denied', 'A denial', ('`quota_consume`', '`UPDATE`'),
    '`quota_consume` at its limit, against an `UPDATE` by key that finds the counter full and changes '
    'nothing. Neither writes, so `synchronous_commit` is no matter.',
    DENIED, Side('update_denied', COUNTER, charge=0), syncs=('off',), targets={'off': '>= 1.0'},
    bars={'8 clients, sync off': 'denial vs UPDATE that finds no row'})
comparison(
    'denied_plpgsql', 'A denial by PL/pgSQL', ('`quota_consume`', 'PL/pgSQL'),
    'The same against the denial of the function above: its guarded `UPDATE` finds no row, and it has to '
    'find out why. Most of a denial is the way over the wire here: what the functions themselves cost is '
    'measured by `denied_statement`.',
    DENIED, Side('plpgsql_denied', COUNTER, charge=0), syncs=('off',),
    bars={'8 clients, sync off': 'denial vs PL/pgSQL function'})
comparison(
    'denied_locking', 'A denial by PL/pgSQL that locks', ('`quota_consume`', 'PL/pgSQL'),
    'The same against a function that reads the counter with `FOR UPDATE`, then judges: its denials write '
    'to the disk.',
    DENIED, Side('locking_denied', COUNTER, charge=0),
    bars={'8 clients, sync off': 'denial, async, vs PL/pgSQL with FOR UPDATE'})
comparison(
    'evaluate', 'Asking', ('`quota_evaluate`', '`SELECT`'),
    '`quota_evaluate` of one feature, against a bare prepared `SELECT used` of one row by key.',
    Side('evaluate', QUOTA, charge=0), Side('select', COUNTER, charge=0), syncs=('off',),
    targets={'off': '>= 0.9'},
    bars={'8 clients, sync off': 'evaluate vs bare SELECT'})
comparison(
    'late', 'Charging last', ('charge last', 'charge first'),
    'A transaction with 2 ms of the application\'s own work, which charges one account: at its end, or at '
    'its beginning, where the charge stays locked until the commit.',
    Side('consume_last', QUOTA, accounts=1), Side('consume_first', QUOTA, accounts=1), clients=(16,))
