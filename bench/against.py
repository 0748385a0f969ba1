"""Two versions of quota against each other; bench/against starts their servers."""

import argparse
import os
import re
import statistics
import subprocess
import time
from pathlib import Path

import psycopg

HERE = Path(__file__).parent
WORK = Path(os.environ['QUOTA_WORKSPACE'])
TREES = {'new': HERE.parent, 'old': Path(os.environ['QUOTA_OTHER'])}
ACCOUNTS = 100_000
FIRST_ACCOUNT = 10_000_000_001

# pgbench: script, clients, accounts
CALLS = {
    'consume': ('consume', 1, ACCOUNTS),
    'consume_8': ('consume', 8, ACCOUNTS),
    'hot': ('consume', 32, 1),
    'denied': ('consume_denied', 2, ACCOUNTS),
    'evaluate': ('evaluate', 2, ACCOUNTS),
    'rate': ('rate', 2, ACCOUNTS),
    'insert': ('insert_attached', 2, ACCOUNTS),
}
# A statement of many rows: the table, the number of accounts, whether it is emptied before.
COPIES = {
    'copy': [('app.bulk_raise', 1), ('app.bulk_raise', 1_000), ('app.bulk_raise', ACCOUNTS)],
    'follow': [('app.bulk_counted', 1_000), ('app.bulk_gauge', 1_000)],
}
ROWS = 100_000
TEAMS = 5_000
# What is done to a table with as many rows, one statement after the other.
ADOPTED = {
    'adopt': "SELECT quota_adopt('app.teams', 'id', 'name')",
    'insert': "DO $$ BEGIN FOR i IN {0} + 1..2 * {0} LOOP INSERT INTO app.teams VALUES ('team-' || i, 'Team'); END LOOP; END $$",
    'insert at once': "INSERT INTO app.teams SELECT 'team-' || i, 'Team' FROM generate_series(2 * {0} + 1, 3 * {0}) i",
    'rename': "UPDATE app.teams SET name = name || '.'",
    'key': "UPDATE app.teams SET id = id || '.' WHERE id LIKE 'team-1%'",
    'delete': "DELETE FROM app.teams",
}


class Server:
    def __init__(self, name, commit):
        self.name = name
        self.environment = {**os.environ, 'PGHOST': str(WORK / name), 'PGOPTIONS': f'-c synchronous_commit={commit}'}
        self.db = psycopg.connect(host=str(WORK / name), dbname='postgres', autocommit=True)
        self.db.execute(f'SET synchronous_commit = {commit}')
        self.postmaster = (WORK / name / 'data/postmaster.pid').read_text().split()[0]
        for script in 'setup.sql', 'bulk.sql':
            self.run('psql', '-Xqo', '/dev/null', '-v', 'ON_ERROR_STOP=1', f'--set=accounts={ACCOUNTS}',
                     '-f', TREES[name] / 'bench' / script)
        for accounts in 1, 1_000, ACCOUNTS:
            self.db.execute(f"COPY (SELECT {FIRST_ACCOUNT} + i % {accounts}, 'Market analysis', now() "
                            f"FROM generate_series(1, {ROWS}) i) TO '{WORK}/{name}/{accounts}.copy'")

    def run(self, *command):
        return subprocess.run(command, env=self.environment, check=True, stdout=subprocess.PIPE, text=True).stdout

    def call(self, script, clients, accounts, seconds):
        """Transactions per second, and the server's CPU for each, in us."""
        cpu = self.cpu_s()
        output = self.run('pgbench', '-n', '--protocol=prepared', f'--time={seconds}', f'--client={clients}',
                          f'--jobs={min(clients, os.cpu_count())}', f'--define=accounts={accounts}',
                          f'--file={HERE}/scripts/{script}.sql')
        transactions = int(re.search(r'actually processed: (\d+)', output)[1])
        return float(re.search(r'^tps = ([\d.]+)', output, re.MULTILINE)[1]), (self.cpu_s() - cpu) / transactions * 1e6

    def copy_ms(self, table, accounts):
        self.db.execute(f'TRUNCATE {table}')
        self.db.execute('CHECKPOINT')
        return self.timed_ms(f"COPY {table} (account_id, title, generated_at) FROM '{WORK}/{self.name}/{accounts}.copy'")

    def create_ms(self):
        """Make 100 tables and drop them."""
        return sum(self.timed_ms(f'CREATE TABLE app.made (id int PRIMARY KEY); DROP TABLE app.made')
                   for _ in range(100)) / 100

    def adopt_ms(self):
        """Of each statement of ADOPTED."""
        self.db.execute(f"""
            DROP TABLE IF EXISTS app.teams;
            DELETE FROM quota.accounts WHERE account LIKE 'team-%';
            CREATE TABLE app.teams (id text COLLATE "C" PRIMARY KEY, name text);
            INSERT INTO app.teams SELECT 'team-' || i, 'Team' FROM generate_series(1, {TEAMS}) i""")
        self.db.execute('VACUUM ANALYZE quota.accounts')
        return [self.timed_ms(statement.format(TEAMS)) for statement in ADOPTED.values()]

    def timed_ms(self, statement):
        start = time.perf_counter()
        self.db.execute(statement)
        return (time.perf_counter() - start) * 1e3

    def cpu_s(self):
        """Of the processes of the server, those that have ended included."""
        while self.db.execute("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'").fetchone()[0] > 1:
            time.sleep(0.01)
        while True:
            try:
                pids = Path(f'/proc/{self.postmaster}/task/{self.postmaster}/children').read_text().split()
                ticks = sum(ticks_of(self.postmaster)) + sum(sum(ticks_of(pid)[:2]) for pid in pids)
                return ticks / os.sysconf('SC_CLK_TCK')
            except (FileNotFoundError, ProcessLookupError):
                pass        # one has ended meanwhile, and its time is the postmaster's now


def ticks_of(pid):
    fields = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
    return [int(field) for field in fields[11:15]]


def in_turn(servers, pairs, measure):
    """measure(server) for both, alternating which is first: a list for each."""
    values = {server: [] for server in servers}
    for server in servers:
        measure(server)         # fills the caches
    for turn in range(pairs):
        for server in servers if turn % 2 == 0 else servers[::-1]:
            values[server].append(measure(server))
    return [values[server] for server in servers]


def show(what, new, old, unit):
    ratios = sorted(one / other for one, other in zip(new, old))
    print(f'{what:34} {statistics.median(new):12,.1f} {statistics.median(old):12,.1f} {unit:8} '
          f'{statistics.median(ratios):6.3f}  ({ratios[0]:.2f}..{ratios[-1]:.2f})', flush=True)


def main():
    parser = argparse.ArgumentParser(prog='bench/against COMMIT')
    parser.add_argument('names', nargs='*')
    parser.add_argument('--seconds', type=int, default=4)
    parser.add_argument('--pairs', type=int, default=7)
    parser.add_argument('--sync', action='store_true')
    options = parser.parse_args()
    servers = [Server(name, 'on' if options.sync else 'off') for name in ('new', 'old')]
    known = [*CALLS, *COPIES, 'create', 'adopt']
    print(f'{"":34} {"new":>12} {"old":>12} {"":8} {"ratio":>6}  (least..most)')
    for name in options.names or known:
        if name in CALLS:
            pairs = in_turn(servers, options.pairs, lambda server: server.call(*CALLS[name], options.seconds))
            for i, unit in enumerate(('tps', 'us CPU')):
                show(name, *([pair[i] for pair in side] for side in pairs), unit)
        elif name in COPIES:
            for table, accounts in COPIES[name]:
                show(f'{table}, {accounts:,} accounts',
                     *in_turn(servers, options.pairs, lambda server: server.copy_ms(table, accounts)), 'ms')
        elif name == 'adopt':
            pairs = in_turn(servers, options.pairs, Server.adopt_ms)
            for i, what in enumerate(ADOPTED):
                show(f'adopted: {what}', *([pair[i] for pair in side] for side in pairs), 'ms')
        elif name == 'create':
            show('CREATE and DROP TABLE', *in_turn(servers, options.pairs, Server.create_ms), 'ms')
        else:
            parser.error(f'no measurement "{name}"; there are: {", ".join(known)}')


if __name__ == '__main__':
    main()
