"""What a rate costs, against a function that does nothing."""

from measure import (
    FIRST_ACCOUNT, HERE, QUOTA, WORK, Figure, Side, case_of, measurement, run, say, throughput_and_cpu, timed_ms)

CALLS = 200_000
IN_A_STATEMENT = {
    'rate': f"SELECT count(quota_consume('{FIRST_ACCOUNT}', 'request')) FROM generate_series(1, {CALLS})",
    'empty': f"SELECT count(app.empty('{FIRST_ACCOUNT}', 'request')) FROM generate_series(1, {CALLS})",
}


@measurement('A rate', '`quota_consume`', 'empty function')
def rate(bench):
    """A rate, which is in shared memory and writes nothing, against a C function of the same arguments and
    the same result that does nothing: over the wire, for accounts drawn at random, and called again and
    again within one statement, for one account, as the difference of the two."""
    library = WORK / 'empty.so'
    run('cc', '-O2', '-fPIC', '-shared', '-I', run('pg_config', '--includedir-server').strip(),
        HERE / 'empty.c', '-o', library)
    bench.load('rate.sql', library=library)
    sides = Side('rate', QUOTA, charge=0), Side('empty', None)
    figures = []
    for clients in bench.clients((1, 2, 8)):
        case = case_of(clients, 'off')
        figures += throughput_and_cpu(case, bench.compare(f'rate / empty, {case}', *sides, clients,
                                                          {'synchronous_commit': 'off'}), '>= 0.95')
    return figures + [above_empty(bench)]


def above_empty(bench):
    """Microseconds that a call within a statement takes more than the empty function."""
    taken = {name: [] for name in IN_A_STATEMENT}
    for order in bench.turns(tuple(IN_A_STATEMENT)):
        for name in order:
            taken[name].append(timed_ms(bench.db, IN_A_STATEMENT[name]) * 1000 / CALLS)
    values = [rate - empty for rate, empty in zip(taken['rate'], taken['empty'])]
    say(f'within one statement: {", ".join(f"{value:.2f}" for value in values)} us')
    return Figure('within one statement, more than the empty function', 'µs a call', values, target='<= 1')
