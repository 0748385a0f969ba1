"""What reports cost among many accounts."""

import json

from measure import FIRST_ACCOUNT, Figure, Missing, measurement, say

FEATURES = 50
EVERY = 1000        # accounts.sql: so many accounts apart are those that have used every feature
DATABASE = 'reporting'

# The time of a call is the server's own: neither the connection nor the client is in it.
LOOP = """
CREATE OR REPLACE FUNCTION pg_temp.ms_a_call(calls integer, accounts bigint) RETURNS float8 LANGUAGE plpgsql AS $$
DECLARE
    began timestamptz;
    account text;
BEGIN
    FOR i IN 0..calls LOOP
        IF i = 1 THEN
            began := clock_timestamp();     -- the first call fills the caches
        END IF;
        account := {before} + {every} * (1 + i % (accounts / {every}));
        PERFORM {call};
    END LOOP;
    RETURN extract(epoch FROM clock_timestamp() - began) * 1000 / calls;
END $$"""

ONE_ACCOUNT = (
    ('quota_usage', 'quota_usage(account)', '<= 1'),
    ('quota_status', 'quota_status(account)', ''),
    ('quota_evaluate', 'count(*) FROM quota_evaluate(account)', ''))
ALL_ACCOUNTS = 'near_limit', 'plan_stats', 'totals', 'stats', 'metrics'


@measurement('Reports', 'time')
def reports(bench):
    """Reports in a database of many accounts (`--accounts`) on plans with 50 features, each with a counter
    of this month and one of the last. Those of one account are of accounts that have used every feature,
    and the time is the server's alone. Those of all accounts are one pass over the counters; theirs is
    the execution time of `EXPLAIN ANALYZE`."""
    accounts = bench.options.accounts
    if accounts < EVERY:
        raise Missing(f'account that uses every feature among {accounts}')
    bench.db.execute(f'CREATE DATABASE {DATABASE}')
    bench.load('accounts.sql', DATABASE, accounts=accounts)
    calls = 200 if bench.options.quick else 2000
    figures = [Figure(f'`{name}`, {FEATURES} features', 'ms of server time a call',
                      [ms_a_call(bench, call, calls, accounts) for _ in range(bench.options.pairs)], target=target)
               for name, call, target in ONE_ACCOUNT]
    return figures + [
        Figure(f'`quota_{name}`, {accounts:,} accounts', 'seconds',
               [seconds(bench, f'quota_{name}()') for _ in range(bench.options.pairs)])
        for name in ALL_ACCOUNTS]


def ms_a_call(bench, call, calls, accounts):
    session = bench.session(DATABASE)
    session.execute(LOOP.format(call=call, before=FIRST_ACCOUNT - 1, every=EVERY))
    ms = session.execute('SELECT pg_temp.ms_a_call(%s, %s)', (calls, accounts)).fetchone()[0]
    say(f'{call}: {ms:.3f} ms')
    return ms


def seconds(bench, report):
    query = f'EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) SELECT * FROM {report}'
    plan = bench.session(DATABASE).execute(query).fetchone()[0]
    time = (plan if isinstance(plan, list) else json.loads(plan))[0]['Execution Time'] / 1000
    say(f'{report}: {time:.2f} s')
    return time
