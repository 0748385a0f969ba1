"""All ways to charge a few contended counters at once, which have slots, a pool and
holds: what has committed is known, and counters, holds, events and alerts agree.

Each connection adds up what its transactions have committed.  One transaction in
seven is rolled back, some connections are closed in the middle.  A transaction with
several charges may end in a deadlock, as doc/locking.md says; it then counts for
nothing.  One that does not end is a hang, and the end of the test.

QUOTA_SECONDS in the environment: how long each case is run.
"""

import json
import os
import threading
import time
from collections import Counter
from datetime import datetime, timedelta, timezone

import psycopg

from _harness import Crowd, check, connect, equal, finish, seeded

CONNECTIONS = 32
SECONDS = float(os.environ.get("QUOTA_SECONDS") or 7)
HANG_S = 30
LIMITS = (100_000, 1_500, 300, 60)  # far away, and one that is reached, on a busy machine a later one
BEGIN = datetime(2026, 1, 15, 12, tzinfo=timezone.utc)

MEMBERS = ("max", "mia")  # of the pool
ACCOUNTS = ("hot",) * 4 + (*MEMBERS, "warm", "cold")
RESULTS = ("PT429", "40P01")

SETUP = """
    CREATE TABLE jobs (id bigserial PRIMARY KEY, owner text, n int, failed boolean DEFAULT false);
    CREATE TABLE slips (id bigserial PRIMARY KEY, owner text, n int,
        at timestamptz DEFAULT current_setting('quota.now')::timestamptz);
    CREATE TABLE files (id bigserial PRIMARY KEY, owner text, n int);
    SELECT quota_attach('jobs', 'unit', 'owner', 'n', counted_when => 'NOT failed');
    SELECT quota_attach('slips', 'slip', 'owner', 'n', 'skip', time_column => 'at');
    SELECT quota_attach('files', 'byte', 'owner', 'n');
    SELECT quota_set_pool('max', 'hot'), quota_set_pool('mia', 'hot');
"""
CLEAR = """
    DELETE FROM quota.reservations; DELETE FROM quota.holds; DELETE FROM quota.usage;
    TRUNCATE jobs, slips, files;
    TRUNCATE quota.events, quota.alerts;
"""


def catalogue(limit):
    return {
        "features": {
            "unit": {"kind": "counter", "ledger": True}, "slip": {"kind": "counter"},
            "byte": {"kind": "gauge", "ledger": True}},
        "plans": {"free": {"default": True, "limits": {
            "unit": {"day": {"limit": limit}, "month": {"limit": limit}},
            "slip": {"month": {"limit": limit}},
            "byte": {"lifetime": {"limit": limit}}}}},
    }


def payer(name):
    return "hot" if name in MEMBERS else name


# The operations, on a worker

OPERATIONS = []  # (weight, function)


def operation(weight):
    def register(function):
        OPERATIONS.append((weight, function))
        return function
    return register


@operation(30)
def consume(worker, name, n):
    if worker.first("SELECT allowed FROM quota_consume(%s, 'unit', %s)", name, n):
        worker.add(name, "unit", n)


@operation(6)
def record(worker, name, n):
    worker.first("SELECT quota_record(%s, 'unit', %s)", name, n)
    worker.add(name, "unit", n)


@operation(7)
def hold(worker, name, n):
    number = worker.first("SELECT id FROM quota_reserve(%s, 'unit', %s, '1 hour')", name, n)
    if number is not None:
        worker.made.append((number, name, n))


@operation(7)
def hold_briefly(worker, name, n):
    """Nobody settles it."""
    if worker.first("SELECT allowed FROM quota_reserve(%s, 'unit', %s, '20 ms')", name, n):
        worker.lapsing[payer(name)] += n


@operation(12)
def settle(worker, name, n):
    left = [one for one in worker.held if one not in worker.settled]
    if not left:
        return
    number, name, n = one = worker.rng.choice(left)
    actual = worker.rng.choice((0, n, n + 3, None))
    worker.first("SELECT quota_commit(%s, %s)", number, actual)
    worker.settled.append(one)
    worker.add(name, "unit", n if actual is None else actual)


@operation(8)
def insert_jobs(worker, name, n):
    """Of several accounts in one statement."""
    names = [name, *worker.rng.choices(ACCOUNTS, k=worker.rng.choice((0, 0, 2)))]
    worker.run("INSERT INTO jobs (owner, n) SELECT unnest(%s::text[]), %s", names, n)
    for one in names:
        worker.add(one, "unit", n)


@operation(6)
def fail_jobs(worker, name, n):
    for owner, units in worker.run(
            "UPDATE jobs SET failed = true WHERE id IN (SELECT id FROM jobs WHERE NOT failed "
            "ORDER BY id DESC LIMIT 3 FOR UPDATE SKIP LOCKED) RETURNING owner, n"):
        worker.add(owner, "unit", -units)


@operation(6)
def insert_slips(worker, name, n):
    for owner, units in worker.run(
            "INSERT INTO slips (owner, n) VALUES (%s, %s), (%s, 1) RETURNING owner, n", name, n, name):
        worker.add(owner, "slip", units)


@operation(6)
def insert_files(worker, name, n):
    worker.run("INSERT INTO files (owner, n) VALUES (%s, %s)", name, n)
    worker.add(name, "byte", n)


@operation(4)
def delete_files(worker, name, n):
    for owner, units in worker.run(
            "DELETE FROM files WHERE id IN (SELECT id FROM files ORDER BY id "
            "LIMIT 2 FOR UPDATE SKIP LOCKED) RETURNING owner, n"):
        worker.add(owner, "byte", -units)


@operation(3)
def move_files(worker, name, n):
    for owner, units in worker.run(
            "WITH f AS (SELECT id, owner FROM files ORDER BY id DESC LIMIT 2 FOR UPDATE SKIP LOCKED) "
            "UPDATE files SET owner = %s FROM f WHERE files.id = f.id RETURNING f.owner, n", name):
        worker.add(owner, "byte", -units)
        worker.add(name, "byte", units)


@operation(5)
def undo(worker, name, n):
    """Locks of counters that end before the transaction."""
    worker.run("SAVEPOINT s")
    worker.run("SELECT quota_consume(%s, 'unit', 7)", name)
    worker.run("INSERT INTO slips (owner, n) VALUES (%s, 3)", name)
    worker.run("ROLLBACK TO s")


@operation(2)
def lock(worker, name, n):
    """Counters by hand, which changes nothing."""
    strength = worker.rng.choice(("KEY SHARE", "SHARE SKIP LOCKED", "UPDATE SKIP LOCKED"))
    worker.run(f"SELECT FROM quota.usage WHERE account = %s AND feature = 'unit' FOR {strength}", payer(name))


# The crowd

class Clock:
    """Goes on, but comes to no midnight."""

    def __init__(self):
        self.began = time.monotonic()

    def seconds(self):
        return time.monotonic() - self.began

    def set(self, connection, ahead_s=0):
        now = BEGIN + timedelta(seconds=self.seconds() + ahead_s)
        connection.execute("SELECT set_config('quota.now', %s, false)", (str(now),))


class Worker:
    """What a connection has committed, and its transaction."""

    def __init__(self, connection, rng):
        self.connection, self.rng = connection, rng
        self.used = Counter()  # by account and feature
        self.lapsed = Counter()  # of holds that nobody settles, by account
        self.held = []  # (number, account, units) of reservations that are open
        self.ends = Counter()
        self.begin()

    def begin(self):
        self.charged, self.lapsing = Counter(), Counter()
        self.made, self.settled = [], []

    def add(self, name, feature, n):
        self.charged[payer(name), feature] += n

    def run(self, statement, *arguments):
        cursor = self.connection.execute(statement, arguments)
        return cursor.fetchall() if cursor.description else []

    def first(self, statement, *arguments):
        return self.run(statement, *arguments)[0][0]

    def transact(self, crowd):
        """How it ended."""
        self.begin()
        weights, functions = zip(*OPERATIONS)
        try:
            self.run("BEGIN")
            for function in self.rng.choices(functions, weights, k=self.rng.choice((1,) * 12 + (2, 4))):
                function(self, self.rng.choice(ACCOUNTS), self.rng.choice((1, 1, 2, 5)))
            end = self.rng.choices(("committed", "rolled back", "closed"), (84, 15, 1))[0]
            if end == "closed":
                self.connection = crowd.replace(self.connection)
                return end
            self.run("COMMIT" if end == "committed" else "ROLLBACK")
        except psycopg.Error as error:
            if error.sqlstate not in RESULTS:
                raise
            self.run("ROLLBACK")
            return error.sqlstate
        if end == "committed":
            self.used.update(self.charged)
            self.lapsed.update(self.lapsing)
            self.held = [one for one in self.held if one not in self.settled] + self.made
        return end


# A case

def watch(begun, stop):
    """A transaction that does not end cannot be waited for, nor can its thread: so the test ends here."""
    with connect() as connection:
        while not stop.wait(0.5):
            oldest = min(list(begun.values()), default=time.monotonic())
            if time.monotonic() - oldest > HANG_S:
                waiting = connection.execute(
                    "SELECT pid, wait_event_type, wait_event, left(query, 90) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND state = 'active' AND pid <> pg_backend_pid()").fetchall()
                check(False, "no transaction hangs", *waiting)
                connection.execute("SELECT pg_terminate_backend(pid) FROM unnest(%s::int[]) pid",
                                   ([pid for pid, *_ in waiting],))
                os._exit(1)


def charge_for_a_while(crowd, clock, begun):
    """Work for the crowd; begun: when each worker's transaction did."""

    def work(connection, rng, barrier):
        worker = Worker(connection, rng)
        try:
            while clock.seconds() < SECONDS:
                begun[worker] = time.monotonic()
                clock.set(worker.connection)
                worker.ends[worker.transact(crowd)] += 1
        finally:
            begun.pop(worker, None)
        return worker

    return work


def maintain(clock, stop):
    with connect() as connection:
        while not stop.wait(0.3):
            clock.set(connection)
            connection.execute("SELECT quota_maintain()")


# What must hold

USED = """
    SELECT account, feature, period::text, sum(used)::bigint FROM quota.counters
    GROUP BY 1, 2, 3 HAVING sum(used) <> 0
"""
WRONG_HOLDS = """
    SELECT account, feature, period, u.holds, h.holds
    FROM (SELECT account, feature, period, sum(holds) AS holds FROM quota.usage GROUP BY 1, 2, 3) u
        FULL JOIN (SELECT account, feature, period, count(*) AS holds FROM quota.holds GROUP BY 1, 2, 3) h
        USING (account, feature, period)
    WHERE coalesce(u.holds, 0) <> coalesce(h.holds, 0)
"""
EVENTS = "SELECT feature, sum(amount)::bigint FROM quota.events WHERE decision <> 'BLOCK' GROUP BY 1"
TOLD_TWICE = """
    SELECT account, feature, period, threshold, count(*) FROM quota.alerts
    WHERE feature <> 'byte' GROUP BY 1, 2, 3, 4 HAVING count(*) > 1
"""
PERIODS = (("unit", "day"), ("unit", "month"), ("slip", "month"), ("byte", "lifetime"))


def compare(admin, workers, name):
    used, held, lapsed = Counter(), Counter(), Counter()
    for worker in workers:
        used.update(worker.used)
        lapsed.update(worker.lapsed)
        for _, account, n in worker.held:
            held[payer(account), "unit"] += n
    used.update(held)
    expected = {(account, feature, period): n for (account, feature), n in used.items()
                for of, period in PERIODS if of == feature and n != 0}
    equal({tuple(key): n for *key, n in admin.execute(USED)}, expected,
          f"{name}: counters are what has committed, and what is held")
    for table, feature in (("files", "byte"), ("slips", "slip")):
        equal(admin.execute("SELECT * FROM quota_reconcile(%s, %s)", (table, feature)).fetchall(), [],
              f"{name}: and what the rows of {table} come to")
    equal(admin.execute(WRONG_HOLDS).fetchall(), [], f"{name}: each knows how many hold of it")
    events = Counter()
    for (_, feature), n in used.items():
        events[feature] += n
    events["unit"] += sum(lapsed.values())
    equal(dict(admin.execute(EVENTS).fetchall()), {feature: events[feature] for feature in ("unit", "byte")},
          f"{name}: events add up to it, and to what has expired")
    equal(admin.execute(TOLD_TWICE).fetchall(), [], f"{name}: no threshold is told of twice")


def run(admin, crowd, limit):
    name = f"limit {limit}"
    admin.execute(CLEAR)
    admin.execute("SELECT quota_apply(%s)", (json.dumps(catalogue(limit)),))
    clock, begun, stop = Clock(), {}, threading.Event()
    beside = [threading.Thread(target=watch, args=(begun, stop)), threading.Thread(target=maintain, args=(clock, stop))]
    for thread in beside:
        thread.start()
    try:
        workers = crowd.run(charge_for_a_while(crowd, clock, begun))
    finally:
        stop.set()
        for thread in beside:
            thread.join()
    slots, = admin.execute("SELECT max(slots) FROM quota.usage").fetchone()
    ends = sum((worker.ends for worker in workers), Counter())
    print(f"# {name}: {dict(ends)}, {slots} slots")
    clock.set(admin, ahead_s=1)
    compare(admin, workers, name)
    return slots, ends


def main():
    rng = seeded()
    os.environ["PGOPTIONS"] = "-c deadlock_timeout=10ms"
    admin = connect()
    admin.execute("SELECT quota_apply(%s)", (json.dumps(catalogue(LIMITS[0])),))
    admin.execute(SETUP)
    crowd = Crowd(CONNECTIONS, rng)
    slots = [run(admin, crowd, LIMITS[0])[0]]
    for limit in LIMITS[1:]:
        near = run(admin, crowd, limit)
        slots.append(near[0])
        if near[1]["PT429"]:
            break
    # those of one run may have been merged by its end
    check(max(slots) > 1, "counters had slots", slots)
    check(near[1]["PT429"] > 0, "a limit was reached", near)
    crowd.close()
    finish()


if __name__ == "__main__":
    main()
