"""Rates: what is admitted, against a model in exact fractions, and by many
connections at once.

The model is the virtual scheduling form of the Generic Cell Rate Algorithm, of
which quota has the leaky bucket: the two must decide alike.
"""

import json
import time
from datetime import datetime, timedelta, timezone
from fractions import Fraction
from math import ceil

from _harness import Crowd, check, connect, equal, finish, seeded

CONNECTIONS = 32
NOON = datetime(2026, 3, 10, 12, tzinfo=timezone.utc)
PERIODS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}


class Rate:
    """Virtual scheduling: the time at which the next unit is due in theory."""

    def __init__(self, limit, period, burst):
        self.increment = Fraction(PERIODS[period] * 10**6, limit)
        self.burst = burst
        self.due = Fraction(0)

    def used(self, now):
        return ceil(max(self.due - now, 0) / self.increment)

    def wait_us(self, now, n):
        """Until n units are admitted; None: they never are."""
        if n > self.burst:
            return None
        return max(0, ceil(self.due - (self.burst - n) * self.increment - now))

    def take(self, now, n):
        self.due = max(self.due, now) + n * self.increment

    def give(self, now, n):
        self.due = max(self.due - n * self.increment, now)


def apply(connection, features):
    connection.execute(
        "SELECT quota_apply(%s)",
        (json.dumps({
            "features": {name: {"kind": "rate"} for name in features},
            "plans": {"free": {"default": True, "limits": features}},
        }),),
    )


def as_the_model(connection, rng):
    """Random rates and calls at random times: what is decided, to the microsecond."""
    cases = {}
    for i in range(40):
        period = rng.choice(list(PERIODS))
        limit = rng.choice([rng.randint(1, 20), rng.randint(1, 10**4), rng.randint(1, 10**12)])
        burst = rng.choice([limit, rng.randint(1, 2 * limit)])
        cases[f"rate{i}"] = (limit, period, burst)
    apply(connection, {name: {period: {"limit": limit, "burst": burst}} for name, (limit, period, burst) in cases.items()})

    wrong = []
    for name, case in cases.items():
        rate, now = Rate(*case), 0
        for step in range(100):
            # often the very moment at which there is room, or the one before
            wait = rate.wait_us(now, rng.randint(1, rate.burst))
            now += rng.choice([0, max(0, wait - 1), wait, rng.randint(0, 3 * int(rate.increment) + 1)])
            n = rng.choice([1, rng.randint(1, rate.burst), rate.burst + 1])
            act = rng.choice(["consume", "consume", "evaluate", "refund"])
            wait = rate.wait_us(now, n)
            if act == "refund":
                rate.give(now, n)
            elif act == "consume" and wait == 0:
                rate.take(now, n)
            expected = (
                act == "refund" or wait == 0,
                rate.used(now),
                None if act == "refund" or not wait else -(-wait // 1000),
            )
            with connection.transaction():
                connection.execute("SELECT set_config('quota.now', %s, true)", (str(NOON + timedelta(microseconds=now)),))
                got = connection.execute(
                    f"SELECT allowed, used, round(EXTRACT(epoch FROM retry_after) * 1000)::bigint FROM quota_{act}('model', %s, %s)",
                    (name, n),
                ).fetchone()
            if got != expected:
                wrong.append(f"{name} {case} at {now}: {act} {n}: got {got}, expected {expected}")
                break
    check(not wrong, "4,000 calls of 40 rates decide as the model does", *wrong[:5])


def at_once(crowd, connection):
    """With a fixed clock exactly the burst is admitted."""
    apply(connection, {"burst": {"minute": {"limit": 1000}}, "pair": {"second": {"limit": 700}, "minute": {"limit": 900}},
                       "batch": {"minute": {"limit": 1000}}})
    crowd.each("SET quota.now = '2026-03-10 12:00+00'")

    def takes(feature, most):
        def work(connection, rng, barrier):
            taken, refused = 0, 0
            while refused < 20:
                n = rng.randint(1, most) if refused == 0 else 1
                if connection.execute("SELECT allowed FROM quota_consume('hot', %s, %s)", (feature, n)).fetchone()[0]:
                    taken += n
                else:
                    refused += 1
            return taken
        return work

    equal(sum(crowd.run(takes("burst", 1))), 1000, "32 connections, one bucket: exactly the burst")
    equal(sum(crowd.run(takes("batch", 7))), 1000, "several units at once: exactly the burst")
    equal(sum(crowd.run(takes("pair", 3))), 700, "two windows: exactly what both admit")
    equal(rates_of(connection, "pair"), [("second", 700), ("minute", 700)],
          "what one window refused was not taken from the other")


def rates_of(connection, feature):
    with connection.transaction():
        connection.execute("SET LOCAL quota.now = '2026-03-10 12:00+00'")
        return connection.execute("SELECT period::text, used FROM quota_rates('hot') r WHERE feature = %s ORDER BY r.period", (feature,)).fetchall()


def in_real_time(crowd, connection):
    """By the real clock never more than the burst and what the time brings."""
    limit, burst = 5000, 100
    apply(connection, {"flow": {"second": {"limit": limit, "burst": burst}}})
    crowd.each("RESET quota.now")

    def work(connection, rng, barrier):
        taken, last = 0, time.clock_gettime(time.CLOCK_REALTIME) + 2
        first = time.clock_gettime(time.CLOCK_REALTIME)
        while time.clock_gettime(time.CLOCK_REALTIME) < last:
            taken += connection.execute("SELECT count(*) FILTER (WHERE (quota_consume('flow', 'flow')).allowed) FROM generate_series(1, 20)").fetchone()[0]
        return taken, first, time.clock_gettime(time.CLOCK_REALTIME)

    results = crowd.run(work)
    taken = sum(r[0] for r in results)
    elapsed_s = max(r[2] for r in results) - min(r[1] for r in results)
    check(burst < taken <= burst + limit * elapsed_s, "32 connections, the real clock: not more than burst and limit",
          f"{taken} units in {elapsed_s:.3f} s")


def with_counters(crowd, connection):
    """A counter and a rate together: both or none, whoever comes first."""
    connection.execute(
        "SELECT quota_apply(%s)",
        (json.dumps({
            "features": {"both_rate": {"kind": "rate"}, "both_count": {"kind": "counter"}},
            "plans": {"free": {"default": True, "limits": {"both_rate": {"minute": {"limit": 150}}, "both_count": {"month": {"limit": 100000}}}}},
        }),),
    )
    crowd.each("SET quota.now = '2026-03-10 12:00+00'")

    def work(connection, rng, barrier):
        taken, refused = 0, 0
        while refused < 3:
            rows = connection.execute("""SELECT bool_and(allowed) FROM quota_consume_many('hot', '{"both_rate": 1, "both_count": 3}')""").fetchone()
            taken, refused = taken + rows[0], refused + (not rows[0])
        return taken

    equal(sum(crowd.run(work)), 150, "a rate and a counter: as often as the rate admits")
    equal(connection.execute("SELECT sum(used)::bigint FROM quota.usage WHERE account = 'hot' AND feature = 'both_count'").fetchone()[0],
          450, "and the counter counted just that")


def writes_nothing(connection):
    """No transaction id, no WAL."""
    apply(connection, {"quiet": {"minute": {"limit": 1000}}})
    connection.execute("SELECT quota_consume('quiet', 'quiet')")
    written = []
    # others on the server may write meanwhile, but not each time
    while len(written) < 20 and 0 not in written:
        with connection.transaction():
            before = connection.execute("SELECT pg_current_wal_insert_lsn()").fetchone()[0]
            taken = connection.execute("SELECT count(*) FILTER (WHERE (quota_record('quiet', 'quiet')).allowed) FROM generate_series(1, 100)").fetchone()[0]
            xid, after = connection.execute("SELECT pg_current_xact_id_if_assigned(), pg_current_wal_insert_lsn()").fetchone()
        written.append(connection.execute("SELECT %s::pg_lsn - %s::pg_lsn", (after, before)).fetchone()[0])
    equal((taken, xid), (100, None), "a hundred units, no transaction id")
    check(0 in written, "and no WAL", written)


def account_changes(connection):
    """A row of quota.accounts that has changed holds for the next call, though a backend remembers the last one."""
    connection.execute(
        "SELECT quota_apply(%s)",
        (json.dumps({
            "features": {"move": {"kind": "rate"}},
            "plans": {name: {"default": name == "free", "limits": {"move": {"minute": {"limit": limit}}}}
                      for name, limit in {"free": 10, "mid": 20, "top": 30}.items()},
        }),),
    )

    def limits(session):
        return [session.execute(f"SELECT usage_limit FROM quota_{act}('mover', 'move')").fetchone()[0]
                for act in ("consume", "consume", "evaluate")]

    change = "INSERT INTO quota.accounts (account, plan) VALUES ('mover', %s) ON CONFLICT (account) DO UPDATE SET plan = excluded.plan"
    with connect() as session:
        for level in ("READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"):
            connection.execute("DELETE FROM quota.accounts WHERE account = 'mover'")
            with session.transaction(force_rollback=True):
                session.execute(f"SET TRANSACTION ISOLATION LEVEL {level}")
                equal(limits(session), [10, 10, 10], f"{level}: an account without a row")
                connection.execute(change, ("mid",))
                equal(limits(session), [20, 20, 20], f"{level}: the row that another session made")
            with session.transaction(force_rollback=True):
                session.execute(change, ("top",))
                equal(limits(session), [30, 30, 30], f"{level}: the session's own change")
            equal(limits(session), [20, 20, 20], f"{level}: which was rolled back")
            with session.transaction():
                session.execute("SELECT pg_current_xact_id()")
                limits(session)
                session.execute(change, ("top",))
                equal(limits(session), [30, 30, 30], f"{level}: or committed")
            equal(limits(session), [30, 30, 30], f"{level}: and stays")
            connection.execute("UPDATE quota.accounts SET timezone = 'Asia/Tokyo', plan = 'mid' WHERE account = 'mover'")
            equal(limits(session), [20, 20, 20], f"{level}: one with a time zone")
    connection.execute("DELETE FROM quota.accounts WHERE account = 'mover'")


def other_databases(connection):
    """The same account in another database has a bucket of its own."""
    apply(connection, {"quiet": {"minute": {"limit": 3}}})
    connection.execute("SELECT quota_rate_clear('quiet')")
    equal(connection.execute("SELECT allowed FROM quota_consume('quiet', 'quiet', 3)").fetchone()[0], True, "all is used here")
    connection.execute("CREATE DATABASE quota_rates_other")
    with connect(dbname="quota_rates_other") as other:
        other.execute("CREATE EXTENSION quota")
        apply(other, {"quiet": {"minute": {"limit": 3}}})
        equal(other.execute("SELECT used FROM quota_consume('quiet', 'quiet')").fetchone()[0], 1, "and nothing there")
    connection.execute("DROP DATABASE quota_rates_other")


def main():
    rng = seeded()
    connection = connect()
    crowd = Crowd(CONNECTIONS, rng)
    as_the_model(connection, rng)
    at_once(crowd, connection)
    in_real_time(crowd, connection)
    writes_nothing(connection)
    other_databases(connection)
    account_changes(connection)
    with_counters(crowd, connection)
    crowd.close()
    finish()


if __name__ == "__main__":
    main()
