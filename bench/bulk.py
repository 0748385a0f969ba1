"""Many rows in one statement."""

from pathlib import Path

from measure import FIRST_ACCOUNT, WORK, Figure, measurement, plural, say, timed_ms

ROWS = 100_000
GROWTH = 25_000, 50_000, 200_000
TARGETS = {('raise', 1): '<= 1.15', ('raise', 1_000): '<= 1.15', ('raise', 100_000): '<= 2.0',
           ('skip', 1): '<= 1.6', ('skip', 1_000): '<= 1.6', ('skip', 100_000): '<= 1.6',
           ('mark', 1): '<= 1.6', ('mark', 1_000): '<= 1.6', ('mark', 100_000): '<= 1.6'}
CHARGE_BY_HAND = """
UPDATE app.counter c SET used = c.used + r.n
FROM (SELECT account_id, count(*) AS n FROM app.bulk_plain GROUP BY account_id) r
WHERE c.account = r.account_id AND c.feature = 'report' AND c.period = 'month'
    AND c.period_start = date_trunc('month', now())"""
BARS = {('raise', 1_000): 'COPY of 1,000 accounts vs without trigger',
        ('raise', 100_000): 'COPY of 100,000 accounts vs without trigger'}
# the same of a table with keys
KEYED_BARS = {1_000: 'COPY of 1,000 accounts, table with keys',
              100_000: 'COPY of 100,000 accounts, table with keys'}


@measurement('Many rows in one statement', 'with the trigger', 'without')
def copy(bench):
    """`COPY` and `INSERT ... SELECT` into a table with quota's trigger, against the same without, for
    each `on_block`. The tables have no index, so that nothing hides what the trigger costs; "with keys"
    are tables as a product has them (examples/reports.sql): a primary key, a foreign key to the accounts,
    and an index of the account and the time. Where the
    ratio does not rise with the number of rows, growth is linear. Memory is the backend's peak (`VmHWM`)
    less the shared memory that it touched."""
    bench.load('bulk.sql')
    bench.db.execute('SET synchronous_commit = off')
    figures = []
    for statement in copy_from, insert_select:
        for on_block in 'raise', 'skip', 'mark':
            for accounts in 1, 1_000, 100_000:
                more = {'target': TARGETS[on_block, accounts],
                        'bar': BARS.get((on_block, accounts), '')} if statement is copy_from else {}
                figures.append(timed(bench, statement, on_block, accounts, ROWS, **more))
    for accounts in 1, 1_000, 100_000:
        figures.append(timed(bench, copy_from, 'raise', accounts, ROWS, ('app.keyed_raise', 'app.keyed_plain'),
                             ', with keys', target=TARGETS['raise', accounts], bar=KEYED_BARS.get(accounts, '')))
    for accounts in 1, 1_000, 100_000:
        figures += [timed(bench, copy_from, 'raise', accounts, rows) for rows in GROWTH]
    figures += [memory(bench, accounts) for accounts in (1, 1_000, 100_000)]
    return figures


@measurement('Many accounts in one statement', 'with the trigger', '`COPY`, then an `UPDATE`')
def copy_by_hand(bench):
    """`COPY` of 100,000 rows with quota's trigger, against what could be written by hand: `COPY`
    without it, then one `UPDATE` of the counters by the rows' sums, which looks at no limit."""
    bench.load('bulk.sql')
    bench.db.execute('SET synchronous_commit = off')
    figures = []
    for accounts in 1, 1_000, 100_000:
        write_copy_file(bench, accounts, ROWS)
        pairs = []
        for turn in range(-1, bench.options.pairs):
            bench.settle()
            bench.db.execute('TRUNCATE app.bulk_raise, app.bulk_plain')
            pairs.append((timed_ms(bench.db, copy_from(accounts, ROWS, 'app.bulk_raise')),
                          timed_ms(bench.db, copy_from(accounts, ROWS, 'app.bulk_plain'))
                          + timed_ms(bench.db, CHARGE_BY_HAND)))
            say(f'{plural(accounts, "account")}: {pairs[-1][0]:.0f} / {pairs[-1][1]:.0f} ms')
        figures.append(Figure(f'{ROWS:,} rows, {plural(accounts, "account")}', 'ms', *map(list, zip(*pairs[1:]))))
    return figures


@measurement('Rows that are followed', 'with the triggers', 'without')
def copy_followed(bench):
    """`COPY` of 100,000 rows into a table that is attached to a gauge by an expression, and into one
    attached to a counter by `counted_when`, against the same without. The second has a primary
    key on both sides, which `counted_when` needs."""
    bench.load('bulk.sql')
    bench.db.execute('SET synchronous_commit = off')
    figures = []
    for case, attached, plain in (('gauge', 'app.bulk_gauge', 'app.bulk_plain'),
                                  ('counted_when', 'app.bulk_counted', 'app.bulk_keyed')):
        for accounts in 1, 1_000, 100_000:
            write_copy_file(bench, accounts, ROWS)
            sides = [], []
            for turn in range(-1, bench.options.pairs):
                bench.settle()
                for side, table in zip(sides, (attached, plain)):
                    bench.db.execute(f'TRUNCATE {table}')
                    side.append(timed_ms(bench.db, copy_from(accounts, ROWS, table)))
                say(f'{case}, {plural(accounts, "account")}: {sides[0][-1]:.0f} / {sides[1][-1]:.0f} ms')
            figures.append(Figure(f'{case}, {ROWS:,} rows, {plural(accounts, "account")}', 'ms',
                                  *(side[1:] for side in sides), '<= 1.3' if accounts < ROWS else ''))
    return figures


def copy_from(accounts, rows, target):
    return f"COPY {target} (account_id, title, generated_at) FROM '{copy_file(accounts, rows)}'"


def copy_file(accounts, rows):
    return WORK / f'{accounts}-{rows}.copy'


def insert_select(accounts, rows, target):
    return (f'INSERT INTO {target} (account_id, title, generated_at) '
            f"SELECT {FIRST_ACCOUNT} + i % {accounts}, 'Market analysis', now() "
            f'FROM generate_series(1, {rows}) i')


def timed(bench, statement, on_block, accounts, rows, tables=None, suffix='', **more):
    """tables: that with the trigger, and that without."""
    write_copy_file(bench, accounts, rows)
    tables = tables or (f'app.bulk_{on_block}', 'app.bulk_plain')
    case = (f'{"COPY" if statement is copy_from else "INSERT ... SELECT"}, {on_block}, '
            f'{rows:,} rows, {plural(accounts, "account")}{suffix}')
    pairs = []
    for turn in range(-1, bench.options.pairs):     # the first fills the caches
        charged, plain = pair(bench, statement, tables, accounts, rows)
        say(f'{case}: {charged:.0f} / {plain:.0f} ms = {charged / plain:.2f}')
        if turn >= 0:
            pairs.append((charged, plain))
    return Figure(case, 'ms', *map(list, zip(*pairs)), **more)


def write_copy_file(bench, accounts, rows):
    if not copy_file(accounts, rows).exists():
        bench.db.execute(
            f"COPY (SELECT {FIRST_ACCOUNT} + i % {accounts}, 'Market analysis', now() "
            f"FROM generate_series(1, {rows}) i) TO '{copy_file(accounts, rows)}'")


def pair(bench, statement, tables, accounts, rows):
    """Milliseconds that the statement takes with and without the trigger: means
    of as many, in turn, as come to 200,000 rows."""
    bench.settle()
    elapsed, times = [0, 0], 200_000 // rows
    with bench.charging(statement.__name__, rows * times):
        for _ in range(times):
            for side, table in enumerate(tables):
                bench.db.execute(f'TRUNCATE {table}')
                elapsed[side] += timed_ms(bench.db, statement(accounts, rows, table))
    return [ms / times for ms in elapsed]


def memory(bench, accounts):
    peaks = [[peak_mb(bench, accounts, table) for _ in range(bench.options.pairs)]
             for table in ('app.bulk_raise', 'app.bulk_plain')]
    return Figure(f'COPY, raise, {ROWS:,} rows, {plural(accounts, "account")}', 'MB of memory', *peaks)


def peak_mb(bench, accounts, table):
    with bench.connect() as session:
        session.execute(copy_from(accounts, ROWS, table))
        status = Path(f'/proc/{session.info.backend_pid}/status').read_text()
    kb = {line.split(':')[0]: int(line.split()[1]) for line in status.splitlines() if line.endswith(' kB')}
    return (kb['VmHWM'] - kb['RssShmem']) / 1024
