"""What the measurements share: the registry, runs of pgbench in interleaved
pairs, the CPU of the server, and the check that the counters grew by exactly
what was charged.
"""

import os
import re
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import cleandoc
from pathlib import Path
from typing import Callable

import psycopg

HERE = Path(__file__).parent
WORK = Path(os.environ['QUOTA_WORKSPACE'])

ACCOUNTS = 100_000
FIRST_ACCOUNT = 10_000_000_001

QUOTA = 'SELECT sum(used)::bigint FROM quota.usage'
COUNTER = 'SELECT sum(used)::bigint FROM app.counter'


class Missing(Exception):
    """A program that a measurement needs is not there."""


class Wrong(Exception):
    """Something did not do the work that was measured."""


@dataclass(frozen=True)
class Figure:
    """A line of a table: a value for every turn. Those of `other`, if any, are
    of the same turns, and the figure is `values / other`; `target` ('>= 4')
    is what its median should be, `bar` its name in the picture."""
    case: str
    unit: str
    values: list
    other: list | None = None
    target: str = ''
    bar: str = ''

    def ratios(self):
        return [value / other for value, other in zip(self.values, self.other)]


@dataclass(frozen=True)
class Measurement:
    """`text` is its paragraph in doc/performance.md, `heads` name what the
    values and the others are of. `run`, called with a Bench, returns figures."""
    name: str
    title: str
    heads: tuple
    text: str
    run: Callable


MEASUREMENTS = {}


def measurement(title, *heads):
    """Register a function under its name, with its docstring as the text."""
    def register(function):
        name = function.__name__
        MEASUREMENTS[name] = Measurement(name, title, heads, cleandoc(function.__doc__), function)
        return function
    return register


@dataclass(frozen=True)
class Side:
    """A script of bench/scripts, drawing from so many accounts. Each
    transaction must add `charge` to the figure that the query `total` returns."""
    script: str
    total: str | None
    charge: int = 1
    accounts: int = ACCOUNTS
    arguments: tuple = ()       # of pgbench
    database: str = 'postgres'

    def run(self, bench, clients, settings, **length):
        """Transactions done, their number per second, and the same for each
        interval, if length asks for `progress`."""
        output = run('pgbench', '--no-vacuum', '--protocol=prepared',
                     *(f'--{name}={value}' for name, value in length.items()),
                     f'--client={clients}', f'--jobs={min(clients, os.cpu_count())}',
                     f'--define=accounts={self.accounts}', f'--define=month={bench.month}',
                     f'--define=report_accounts={bench.options.report_accounts}',
                     *self.arguments, f'--file={HERE}/scripts/{self.script}.sql', self.database,
                     env=with_settings(settings))
        return (int(re.search(r'actually processed: (\d+)', output)[1]),
                float(re.search(r'^tps = ([\d.]+)', output, re.MULTILINE)[1]),
                [float(tps) for tps in re.findall(r'^progress: .* ([\d.]+) tps', output, re.MULTILINE)])


@dataclass(frozen=True)
class Run:
    tps: float
    cpu_us: float       # of the whole server, a transaction
    progress: list      # tps of each interval


class Bench:
    def __init__(self, options):
        self.options = options
        self.sessions = {}
        self.db = self.session('postgres')
        self.month = self.value("SELECT date_trunc('month', now())::text")
        self.postmaster = int((WORK / 'data/postmaster.pid').read_text().split()[0])
        self.loaded = set()

    def connect(self, database='postgres', **options):
        options.setdefault('autocommit', True)
        return psycopg.connect(dbname=database, application_name='bench', **options)

    def session(self, database):
        """The one that is kept for each database."""
        if database not in self.sessions:
            self.sessions[database] = self.connect(database)
        return self.sessions[database]

    def value(self, query, database='postgres'):
        return self.session(database).execute(query).fetchone()[0]

    def load(self, script, database='postgres', **variables):
        """Run a script of bench/, unless that has been done."""
        if (script, database) not in self.loaded:
            say(f'{script} in database {database}')
            psql(HERE / script, '-d', database, **variables)
            self.loaded.add((script, database))

    def new_database(self, name, accounts):
        """One with what setup.sql makes."""
        self.db.execute(f'CREATE DATABASE {name}')
        self.load('setup.sql', name, accounts=accounts)

    def clients(self, usual):
        """The numbers of clients to measure with."""
        quick = (2,) if len(usual) > 1 else usual
        return self.options.clients or (quick if self.options.quick else usual)

    def turns(self, sides):
        """The sides in the order of each turn: each is first as often as the others."""
        for turn in range(self.options.pairs):
            first = turn % len(sides)
            yield sides[first:] + sides[:first]

    def settle(self):
        self.db.execute('VACUUM')
        self.db.execute('CHECKPOINT')

    def compare(self, what, quota, other, clients, settings):
        """Run both sides in turn: a pair of runs for each turn."""
        sides = quota, other
        self.settle()
        for side in sides:
            self.measure(side, clients, settings, time=1)     # fills the caches
        pairs = []
        for order in self.turns(sides):
            runs = {side: self.measure(side, clients, settings, time=self.options.seconds)
                    for side in order}
            one, two = pair = [runs[side] for side in sides]
            pairs.append(pair)
            say(f'{what}: {one.tps:,.0f} / {two.tps:,.0f} tps = {one.tps / two.tps:.2f}, '
                f'CPU {one.cpu_us:.1f} / {two.cpu_us:.1f} us = {one.cpu_us / two.cpu_us:.2f}')
        return pairs

    def measure(self, side, clients, settings, **length):
        charged = self.value(side.total, side.database) if side.total else None
        cpu = self.server_cpu_s()
        transactions, tps, progress = side.run(self, clients, settings, **length)
        cpu = self.server_cpu_s() - cpu
        if side.total:
            self.expect(side.script, self.value(side.total, side.database) - charged,
                        transactions * side.charge)
        return Run(tps, cpu / transactions * 1e6, progress)

    def expect(self, what, charged, expected):
        """A figure for something that did not do its work would be none."""
        if charged != expected:
            raise Wrong(f'{what}: charged {charged} units instead of {expected}')

    @contextmanager
    def charging(self, what, units, total=QUOTA):
        """Expect that the total grows by so many units meanwhile."""
        charged = self.value(total)
        yield
        self.expect(what, self.value(total) - charged, units)

    def server_cpu_s(self):
        """CPU time of all processes of the server, also of those that ended."""
        self.wait_for_clients()
        while True:
            # A process that ends meanwhile moves its time to the postmaster.
            before = self.processes()
            postmaster = sum(cpu_ticks(self.postmaster))
            after = self.processes()
            if before.keys() == after.keys():
                return (postmaster + sum(after.values())) / os.sysconf('SC_CLK_TCK')

    def wait_for_clients(self):
        """Until their sessions have ended."""
        while self.value("SELECT count(*) FROM pg_stat_activity "
                         "WHERE backend_type = 'client backend' AND application_name <> 'bench'"):
            time.sleep(0.01)

    def processes(self):
        """Ticks used by each process of the server but the postmaster."""
        ticks = {}
        for pid in Path(f'/proc/{self.postmaster}/task/{self.postmaster}/children').read_text().split():
            try:
                ticks[pid] = sum(cpu_ticks(pid)[:2])
            except (FileNotFoundError, ProcessLookupError):
                pass
        return ticks


def cpu_ticks(pid):
    """User and system time of a process, and those of its dead children."""
    fields = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
    return [int(field) for field in fields[11:15]]


def throughput_and_cpu(case, pairs, target='', bar=''):
    """The two figures of the pairs that compare() returns."""
    return [Figure(case, unit, *([getattr(run, name) for run in side] for side in zip(*pairs)), **more)
            for unit, name, more in (('transactions per second', 'tps', dict(target=target, bar=bar)),
                                     ('µs of server CPU a transaction', 'cpu_us', {}))]


def timed_ms(session, statement):
    start = time.perf_counter()
    session.execute(statement)
    return (time.perf_counter() - start) * 1e3


def case_of(clients, sync):
    return f'{plural(clients, "client")}, sync {sync}'


def plural(n, noun):
    return f'{n:,} {noun}{"s" * (n != 1)}'


def with_settings(settings):
    """An environment that gives every session the settings."""
    return {**os.environ, 'PGOPTIONS': ' '.join(f'-c {name}={value}' for name, value in settings.items())}


def psql(script, *arguments, **variables):
    run('psql', '-Xqo', '/dev/null', '-v', 'ON_ERROR_STOP=1', '-f', script, *arguments,
        *(f'--set={name}={value}' for name, value in variables.items()))


def run(*command, **arguments):
    """What a command, which must succeed, writes."""
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **arguments)
    if result.returncode != 0:
        say(result.stdout)
        result.check_returncode()
    return result.stdout


def say(text):
    print(text, file=sys.stderr, flush=True)
