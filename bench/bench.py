"""Measure quota against what an application would do without it.

Run by way of bench/run, which starts the server and lists the options.
Progress goes to standard error, the tables to standard output.
"""

import argparse
import datetime
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psycopg

HERE = Path(__file__).parent
WORK = Path(os.environ['QUOTA_WORKSPACE'])

ACCOUNTS = 100_000
COPY_ROWS = [25_000, 50_000, 100_000, 200_000]
COPY_ACCOUNTS = [1, 1_000]

QUOTA = 'SELECT sum(used)::bigint FROM quota.usage'
COUNTER = 'SELECT sum(used)::bigint FROM app.counter'
LIMITER = 'SELECT sum(points)::bigint FROM limiter'


@dataclass(frozen=True)
class Side:
    """One of two things compared: a script of bench/scripts, or, where `node`
    is set, a mode of bench/limiter/consume.js. Each transaction must add
    `charge` to the figure that the query `total` returns."""
    script: str
    total: str | None
    charge: int = 1
    node: bool = False


@dataclass(frozen=True)
class Comparison:
    name: str
    title: str
    quota: Side
    other: Side
    writes: bool = True


CONSUME = Side('consume', QUOTA)
INSERT = Side('insert_charged', QUOTA)

COMPARISONS = [
    Comparison('update', 'bare `UPDATE` of one row by key',
               CONSUME, Side('update', COUNTER)),
    Comparison('statement', 'one SQL statement that checks and charges',
               CONSUME, Side('statement', COUNTER)),
    Comparison('plpgsql', 'PL/pgSQL function',
               CONSUME, Side('plpgsql', COUNTER)),
    Comparison('transaction', 'transaction of five statements in the application',
               CONSUME, Side('transaction', COUNTER)),
    Comparison('count', '`count(*)` of 300 rows, then `INSERT`',
               CONSUME, Side('insert_counted', None)),
    Comparison('count_insert', 'the same, against an `INSERT` charged by trigger',
               INSERT, Side('insert_counted', None)),
    Comparison('limiter', 'rate-limiter-flexible, from node',
               Side('quota', QUOTA, node=True), Side('limiter', LIMITER, node=True)),
    Comparison('denied', 'denied, against an `UPDATE` that the limit refuses',
               Side('consume_denied', QUOTA, charge=0),
               Side('update_denied', COUNTER, charge=0), writes=False),
    Comparison('evaluate', '`quota_evaluate`, against a `SELECT` of one row by key',
               Side('evaluate', QUOTA, charge=0),
               Side('select', COUNTER, charge=0), writes=False),
]


@dataclass(frozen=True)
class Measurement:
    tps: float
    cpu_us: float   # of the whole server, a transaction


def main():
    options = parse_options()
    bench = Bench(options)
    bench.prepare()
    columns = [(sync, clients) for sync in ('on', 'off') for clients in options.clients]
    throughput, cpu = [], []
    for comparison in COMPARISONS:
        if comparison.name not in options.only:
            continue
        why_not = bench.missing if comparison.quota.node else None
        cells = {}
        for column in columns:
            if not why_not and (comparison.writes or column[0] == 'off'):
                cells[column] = bench.compare(comparison, *column)
        throughput.append(row(comparison.title, why_not, columns, cells, lambda m: m.tps))
        cpu.append(row(comparison.title, why_not, columns, cells, lambda m: m.cpu_us))

    output = [bench.describe()]
    if throughput:
        heads = [''] + [f'{clients} client{"s" * (clients > 1)}, sync {sync}'
                        for sync, clients in columns]
        output += ['## Transactions per second, quota / other (more is better)',
                   table(heads, throughput),
                   '## Server CPU a transaction, quota / other (less is better)',
                   table(heads, cpu)]
    if 'copy' in options.only:
        heads = ['rows'] + [f'{n:,} account{"s" * (n > 1)}' for n in COPY_ACCOUNTS]
        output += ['## `COPY`, time with trigger / without (less is better)',
                   table(heads, bench.compare_copy())]

    output = '\n\n'.join(output) + '\n'
    print(output, end='')
    if options.write:
        (HERE / 'results.md').write_text(output)


def parse_options():
    names = [c.name for c in COMPARISONS] + ['copy']

    def some_names(text):
        wanted = text.split(',')
        for name in wanted:
            if name not in names:
                raise argparse.ArgumentTypeError(f'no comparison "{name}"; there are: {", ".join(names)}')
        return wanted

    def numbers(text):
        return [int(n) for n in text.split(',')]

    parser = argparse.ArgumentParser(prog='bench/run', allow_abbrev=False)
    parser.add_argument('--seconds', type=int)
    parser.add_argument('--pairs', type=int)
    parser.add_argument('--clients', type=numbers)
    parser.add_argument('--only', type=some_names, default=names)
    parser.add_argument('--quick', action='store_true')
    parser.add_argument('--write', action='store_true')
    options = parser.parse_args()
    options.seconds = options.seconds or (1 if options.quick else 5)
    options.pairs = options.pairs or (3 if options.quick else 5)
    options.clients = options.clients or ([2] if options.quick else [1, 2, 8])
    options.report_accounts = 1_000 if options.quick else 30_000
    return options


class Bench:
    def __init__(self, options):
        self.options = options
        self.db = psycopg.connect(autocommit=True)
        self.month = self.value("SELECT date_trunc('month', now())::text")
        self.postmaster = int((WORK / 'data/postmaster.pid').read_text().split()[0])
        self.missing = None     # why there is nothing to run in node

    def value(self, query):
        return self.db.execute(query).fetchone()[0]

    def prepare(self):
        if os.getloadavg()[0] > 1:
            say(f'something else uses this machine: the load is {os.getloadavg()[0]:.1f}')
        say(f'loading {ACCOUNTS:,} accounts and twice {self.options.report_accounts * 300:,} reports')
        run('psql', '-Xqo', '/dev/null', '-v', 'ON_ERROR_STOP=1', '-v', f'accounts={ACCOUNTS}',
            '-v', f'report_accounts={self.options.report_accounts}', '-f', HERE / 'setup.sql')
        if 'limiter' in self.options.only:
            self.prepare_node()

    def prepare_node(self):
        if not shutil.which('node') or not shutil.which('npm'):
            self.missing = 'skipped: node not found'
            return
        try:
            run('npm', 'install', '--no-audit', '--no-fund', '--no-package-lock',
                '--loglevel=error', cwd=HERE / 'limiter')
        except subprocess.CalledProcessError:
            self.missing = 'skipped: npm install failed'
            return
        run('node', HERE / 'limiter/consume.js', 'prepare', '1', '0', str(ACCOUNTS))

    def compare(self, comparison, sync, clients):
        """Run both sides in turn; returns a pair of measurements for each turn."""
        what = f'{comparison.name}, {clients} client(s), synchronous_commit {sync}'
        sides = comparison.quota, comparison.other
        os.environ['PGOPTIONS'] = f'-c synchronous_commit={sync}'
        self.db.execute('VACUUM')
        self.db.execute('CHECKPOINT')
        for side in sides:
            self.measure(side, clients, 1)      # not counted: fills the caches
        pairs = []
        for turn in range(self.options.pairs):
            # Each side is the first one as often as the other.
            order = sides if turn % 2 == 0 else sides[::-1]
            measured = {side: self.measure(side, clients, self.options.seconds) for side in order}
            quota, other = pair = tuple(measured[side] for side in sides)
            pairs.append(pair)
            say(f'{what}: {quota.tps:,.0f} / {other.tps:,.0f} tps = {quota.tps / other.tps:.2f}, '
                f'CPU {quota.cpu_us:.1f} / {other.cpu_us:.1f} us = {quota.cpu_us / other.cpu_us:.2f}')
        return pairs

    def measure(self, side, clients, seconds):
        charged = self.value(side.total) if side.total else None
        cpu = self.server_cpu_s()
        transactions, tps = (self.node if side.node else self.pgbench)(side.script, clients, seconds)
        cpu = self.server_cpu_s() - cpu
        if side.total:
            self.expect(side.script, self.value(side.total) - charged, transactions * side.charge)
        return Measurement(tps, cpu / transactions * 1e6)

    def expect(self, what, charged, expected):
        """A figure for something that did not do its work would be none."""
        if charged != expected:
            sys.exit(f'{what}: charged {charged} units instead of {expected}')

    def pgbench(self, script, clients, seconds):
        output = run('pgbench', '--no-vacuum', '--protocol=prepared', f'--time={seconds}',
                     f'--client={clients}', f'--jobs={min(clients, os.cpu_count())}',
                     f'--define=accounts={ACCOUNTS}', f'--define=month={self.month}',
                     f'--define=report_accounts={self.options.report_accounts}',
                     f'--file={HERE}/scripts/{script}.sql')
        return (int(re.search(r'actually processed: (\d+)', output)[1]),
                float(re.search(r'tps = ([\d.]+)', output)[1]))

    def node(self, mode, clients, seconds):
        output = json.loads(run('node', HERE / 'limiter/consume.js', mode,
                                str(clients), str(seconds), str(ACCOUNTS)))
        return output['transactions'], output['tps']

    def server_cpu_s(self):
        """CPU time of all processes of the server, also of those that ended."""
        while self.value("SELECT count(*) FROM pg_stat_activity "
                         "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"):
            time.sleep(0.01)
        while True:
            # A process that ends meanwhile moves its time to the postmaster.
            before = self.processes()
            postmaster = sum(cpu_ticks(self.postmaster))
            after = self.processes()
            if before.keys() == after.keys():
                return (postmaster + sum(after.values())) / os.sysconf('SC_CLK_TCK')

    def processes(self):
        """Ticks used by each process of the server but the postmaster."""
        ticks = {}
        for pid in Path(f'/proc/{self.postmaster}/task/{self.postmaster}/children').read_text().split():
            try:
                ticks[pid] = sum(cpu_ticks(pid)[:2])
            except (FileNotFoundError, ProcessLookupError):
                pass
        return ticks

    def compare_copy(self):
        """Rows of the table of COPY."""
        os.environ['PGOPTIONS'] = ''
        self.db.execute('SET synchronous_commit = off')
        self.db.execute('VACUUM')
        self.db.execute('CHECKPOINT')
        ratios = {}
        for turn in range(-1, self.options.pairs):      # the first fills the caches
            for accounts in COPY_ACCOUNTS:
                for rows in COPY_ROWS:
                    charged, plain = self.copy_pair(accounts, rows)
                    say(f'copy, {rows:,} rows, {accounts:,} account(s): {charged * 1e3:.0f} / '
                        f'{plain * 1e3:.0f} ms = {charged / plain:.2f}')
                    if turn >= 0:
                        ratios.setdefault((accounts, rows), []).append(charged / plain)

        return [[f'{rows:,}'] + [spread(ratios[accounts, rows]) for accounts in COPY_ACCOUNTS]
                for rows in COPY_ROWS]

    def copy_pair(self, accounts, rows):
        """Seconds that COPY of so many rows takes with and without the trigger:
        means of as many, in turn, as come to twice the largest number of rows."""
        source = WORK / f'{accounts}-{rows}.copy'
        if not source.exists():
            self.db.execute(
                f"COPY (SELECT 10000000001 + i % {accounts}, 'Market analysis', now() "
                f"FROM generate_series(1, {rows}) i) TO '{source}'")
        self.db.execute('CHECKPOINT')
        used = self.value(QUOTA)
        elapsed, times = [0, 0], 2 * COPY_ROWS[-1] // rows
        for _ in range(times):
            for side, target in enumerate(['app.copy_charged', 'app.copy_plain']):
                self.db.execute(f'TRUNCATE {target}')
                start = time.perf_counter()
                self.db.execute(f"COPY {target} (account_id, title, generated_at) FROM '{source}'")
                elapsed[side] += time.perf_counter() - start
        self.expect('COPY', self.value(QUOTA) - used, rows * times)
        return [seconds / times for seconds in elapsed]

    def describe(self):
        names = ['fsync', 'full_page_writes', 'wal_level', 'shared_buffers', 'autovacuum',
                 'checkpoint_timeout', 'max_wal_size']
        settings = ', '.join(f'{name} = {self.value(f"SHOW {name}")}' for name in names)
        date = datetime.datetime.now(datetime.timezone.utc)
        return '\n'.join([
            '# What quota costs', '',
            f'- quota {self.value("SELECT extversion FROM pg_extension WHERE extname = $$quota$$")}, '
            f'PostgreSQL {self.value("SHOW server_version")}',
            f'- {os.cpu_count()} cores ({processor()})',
            f'- {settings}',
            f'- {ACCOUNTS:,} accounts, drawn at random; median (lowest..highest) of the ratios of '
            f'{self.options.pairs} pairs of runs of {self.options.seconds} s',
            f'- measured on {date:%Y-%m-%d}; `bench/run` repeats it, `bench/README.md` explains it'])


def cpu_ticks(pid):
    """User and system time of a process, and those of its dead children."""
    fields = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
    return [int(field) for field in fields[11:15]]


def processor():
    return re.search(r'^model name\s*: (.*)', Path('/proc/cpuinfo').read_text() + '\nmodel name: unknown',
                     re.MULTILINE)[1]


def run(*command, **arguments):
    """Standard output of a command that must succeed."""
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **arguments)
    if result.returncode != 0:
        say(result.stdout + result.stderr)
        result.check_returncode()
    return result.stdout


def row(title, why_not, columns, cells, figure):
    """A comparison's line of a table: the ratios of one figure of its pairs."""
    line = [title]
    for column in columns:
        ratios = [figure(quota) / figure(other) for quota, other in cells.get(column, [])]
        line.append(spread(ratios) if ratios else why_not or '')
    return line


def spread(ratios):
    def short(ratio):
        return f'{ratio:.2f}' if ratio < 10 else f'{ratio:.1f}'
    return f'{short(statistics.median(ratios))} ({short(min(ratios))}..{short(max(ratios))})'


def table(heads, lines):
    lines = [heads, ['---'] + ['---:'] * (len(heads) - 1)] + lines
    return '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines)


def say(text):
    print(text, file=sys.stderr, flush=True)


if __name__ == '__main__':
    main()
