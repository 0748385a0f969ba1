"""Instructions executed, which are the same on every machine."""

import re
import shutil

from measure import FIRST_ACCOUNT, HERE, WORK, Figure, Missing, Wrong, measurement, psql, run, say

ACCOUNTS = 1_000
PORT = 5433
DATA = WORK / 'instructions'
UPDATE = ("UPDATE app.counter SET used = used + 1 WHERE account = $1 AND feature = 'report' "
          "AND period = 'month' AND period_start = date_trunc('month', now())")

# What is counted: a C function, once a call, with all that it calls.
CASES = [
    ('`quota_consume`', 'quota_consume', "SELECT (quota_consume('{account}', 'report')).allowed;"),
    ('`quota_consume`, denied', 'quota_consume', "SELECT (quota_consume('{account}', 'export')).allowed;"),
    ('`quota_evaluate`', 'quota_evaluate', "SELECT (quota_evaluate('{account}', 'report')).used;"),
    ('`quota_consume` of a rate', 'quota_consume', "SELECT (quota_consume('{account}', 'request')).allowed;"),
    ('`quota_refund`', 'quota_refund', "SELECT (quota_refund('{account}', 'export')).used;"),
    ('one-row `INSERT` into an attached table: its trigger', 'quota_charge_rows', "INSERT INTO app.attached VALUES ('{account}');"),
    ('bare prepared `UPDATE`, for scale: its `EXECUTE`', 'ExecuteQuery', "EXECUTE bare('{account}');"),
]


@measurement('Instructions', 'a call')
def instructions(bench):
    """Instructions that one call executes, counted by callgrind: the C function with all that it calls,
    without what PostgreSQL does before and after it. They depend on the compiler, hardly on the
    machine, so that a regression is seen on any. A server in single-user mode makes calls of as many
    accounts, then of all of them twice; the difference is what is counted."""
    if not shutil.which('valgrind'):
        raise Missing('valgrind')
    make_cluster()
    figures = []
    for case, function, statement in CASES:
        once, twice = (count(function, statement, rounds) for rounds in (1, 2))
        figures.append(Figure(case, 'instructions', [(twice - once) / ACCOUNTS]))
        say(f'{case}: {figures[-1].values[0]:,.0f} instructions')
    return figures


def make_cluster():
    """The same as the server's, smaller and stopped."""
    run('initdb', '-D', DATA, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--locale=C.UTF-8', '--no-sync')
    with open(DATA / 'postgresql.conf', 'a') as settings:
        settings.write((WORK / 'quota.conf').read_text())
        settings.write(f"port = {PORT}\nunix_socket_directories = '{WORK}'\nlisten_addresses = ''\n"
                       "fsync = off\nautovacuum = off\ntimezone = 'UTC'\n")
    run('pg_ctl', '-D', DATA, '-l', WORK / 'instructions.log', 'start')
    psql(HERE / 'setup.sql', '-p', str(PORT), accounts=ACCOUNTS)
    run('pg_ctl', '-D', DATA, 'stop')


def count(function, statement, rounds):
    """Instructions of the function, for the statement with every account in each round."""
    scratch = WORK / 'scratch'
    shutil.copytree(DATA, scratch)
    calls = [statement.format(account=FIRST_ACCOUNT + i) for i in range(ACCOUNTS)]
    output = run('valgrind', '--tool=callgrind', f'--toggle-collect={function}',
                 f'--callgrind-out-file={WORK}/callgrind.out',
                 'postgres', '--single', '-D', scratch, 'postgres',
                 input='\n'.join([f'PREPARE bare(text) AS {UPDATE};'] + calls * rounds) + '\n')
    shutil.rmtree(scratch)
    if 'ERROR:' in output:
        raise Wrong(output)
    return int(re.search(r'^(?:summary|totals): (\d+)', (WORK / 'callgrind.out').read_text(), re.MULTILINE)[1])
