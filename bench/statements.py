"""Calls within one statement, where the way over the wire does not hide what they cost."""

from measure import FIRST_ACCOUNT, QUOTA, Figure, measurement, say, timed_ms

DENIALS = 20_000
LOOP = 'SELECT count({function}({account}::text, {feature!r})) FROM generate_series(1, {calls})'


@measurement('Denials in one statement', '`quota_consume`', 'PL/pgSQL')
def denied_statement(bench):
    """Denials of one account, again and again within one statement, by `quota_consume` and by the two
    PL/pgSQL functions, one of which looks up the limit and charges with a guarded `UPDATE`. Over the wire
    an empty function is but two to three times as fast as a denial by PL/pgSQL: what the functions
    themselves cost is seen here."""
    figures = []
    for case, function in (('it looks up the limit and updates', 'app.consume'),
                           ('it locks the counter, then judges', 'app.consume_locking')):
        ours, theirs = [], []
        for order in bench.turns((('quota_consume', ours), (function, theirs))):
            for name, values in order:
                values.append(us_a_denial(bench, name))
        figures.append(Figure(case, 'µs a denial', ours, theirs, target='<= 0.2'))
    return figures


def us_a_denial(bench, function):
    with bench.charging(function, 0, QUOTA):
        ms = timed_ms(bench.db, LOOP.format(function=function, account=FIRST_ACCOUNT, feature='export', calls=DENIALS))
    us = ms * 1000 / DENIALS
    say(f'{function}: {us:.2f} us')
    return us
