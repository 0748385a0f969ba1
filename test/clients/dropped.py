"""Charges, looks and reservations while the extension is dropped and made again: they
go through, or say that it is not there. None fails as if the server were broken.

A slot that was left behind, when somebody deleted the others by hand, counts again
when the counter gets slots.
"""

import json
import threading
import time
from collections import Counter

import psycopg

from _harness import Crowd, check, connect, equal, finish, seeded

# not there, not ready; functions and types that went while PostgreSQL itself looked for them
EXPECTED = ("42P01", "42883", "3F000", "42704", "55000", "40P01", "42501")
ROUNDS = 5
CATALOGUE = {
    "features": {"report": {"kind": "counter", "ledger": True}},
    "plans": {"free": {"default": True, "limits": {"report": {"month": {"limit": 1_000_000}}}}},
}
CALLS = (
    "SELECT quota_consume(%s, 'report')",
    "SELECT quota_consume(%s, 'report', 1, clock_timestamp()::text)",
    "SELECT quota_evaluate(%s, 'report')",
    "SELECT quota_reserve(%s, 'report', 1)",
    "SELECT quota_refund(%s, 'report')",
)


def charge_beside(crowd, stop):
    def work(connection, rng, barrier):
        seen = Counter()
        connection.prepare_threshold = None
        while not stop.is_set():
            try:
                connection.execute(rng.choice(CALLS), (rng.choice("abc"),))
                seen["done"] += 1
            except psycopg.Error as error:
                # PostgreSQL finds functions and types by number without a lock: "cache lookup failed" is its own
                text = str(error)
                seen[error.sqlstate if "could not open relation" in text or error.sqlstate != "XX000" else "gone"] += 1
                if error.sqlstate not in EXPECTED:
                    seen[text.splitlines()[0]] += 1
        return seen
    return work


def drop_and_create(admin, stop):
    try:
        for _ in range(ROUNDS):
            while True:
                try:
                    admin.execute("DROP EXTENSION quota")
                    break
                except psycopg.errors.DeadlockDetected:
                    pass
            admin.execute("CREATE EXTENSION quota")
            admin.execute("SELECT quota_apply(%s)", (json.dumps(CATALOGUE),))
            time.sleep(0.1)  # let them charge
    finally:
        stop.set()


def left_behind(admin, crowd):
    admin.execute("SELECT quota_consume('left', 'report')")
    admin.execute("""
        INSERT INTO quota.usage (account, feature, period, period_start, slot, used)
        SELECT account, feature, period, period_start, s, 10 * s FROM quota.usage, generate_series(2, 3) s WHERE account = 'left'""")
    equal(admin.execute("SELECT used FROM quota_evaluate('left', 'report')").fetchone(), (1,), "a slot that was left behind does not count")
    charged = [0]

    def work(connection, rng, barrier):
        done = 0
        until = time.monotonic() + 60
        while time.monotonic() < until:
            with connection.transaction():
                connection.execute("SELECT quota_consume('left', 'report')")
                slots, = connection.execute("SELECT max(slots) FROM quota.usage WHERE account = 'left'").fetchone()
            done += 1
            if slots > 1:
                break
        return done

    charged = sum(crowd.run(work))
    check(admin.execute("SELECT count(*) > 3 FROM quota.usage WHERE account = 'left'").fetchone()[0] or charged, "the counter got slots")
    equal(admin.execute("SELECT used FROM quota_evaluate('left', 'report')").fetchone(), (1 + charged + 50,), "then it counts again, once")


def main():
    rng = seeded()
    admin = connect()
    admin.execute("SELECT quota_apply(%s)", (json.dumps(CATALOGUE),))
    crowd = Crowd(6, rng)
    left_behind(admin, crowd)
    stop = threading.Event()
    beside = threading.Thread(target=drop_and_create, args=(admin, stop))
    beside.start()
    seen = sum(crowd.run(charge_beside(crowd, stop)), Counter())
    beside.join()
    print(f"# {dict(seen)}")
    check(seen["done"] > 0, "some went through")
    wrong = {what: n for what, n in seen.items() if what not in EXPECTED and what not in ("done", "gone") and "cache lookup failed" not in what}
    equal(wrong, {}, "none fails with an error of the server's insides")
    crowd.close()
    finish()


if __name__ == "__main__":
    main()
