"""Many connections that charge in all the ways there are, and know what has committed.

Each transaction writes a row of its own, its token, so that a commit whose answer was
lost can be looked up.  What a worker's transactions have committed is added up; when
nobody works, counters, rows, holds, events and alerts must agree with the sums.

Workers go on over lost connections, kills and crashes of the server.
"""

import itertools
import json
import logging
import os
import threading
import time
from collections import Counter

import psycopg

from _harness import Crowd, check, connect, equal
from _storm import until
from hot_mixed import TOLD_TWICE, WRONG_HOLDS, Clock

CONNECTIONS = 16
HANG_S = 60
LIMITS = (200_000, 1_500)  # far away, and reached

MEMBERS = ("max", "mia")  # of the pool
ACCOUNTS = ("hot",) * 4 + (*MEMBERS, "warm", "cold", "idle")

# feature: its periods
PERIODS = {"strict": ("day", "month"), "second": ("month",), "soft": ("month",), "job": ("month",),
           "slip": ("month",), "mark": ("month",), "byte": ("lifetime",), "level": ("lifetime",)}
GAUGES = ("byte", "level")
LEDGERS = ("strict", "job", "byte")
TABLES = {"jobs": "job", "slips": "slip", "marks": "mark", "files": "byte"}
LIMITED = [feature for feature in PERIODS if feature != "soft"]

SETUP = """
    CREATE EXTENSION IF NOT EXISTS amcheck;
    CREATE TABLE done (token text PRIMARY KEY);
    CREATE TABLE jobs (id bigserial PRIMARY KEY, batch text, owner text, n int, failed boolean DEFAULT false,
        at timestamptz DEFAULT current_setting('quota.now')::timestamptz);
    CREATE TABLE slips (id bigserial PRIMARY KEY, batch text, owner text, n int,
        at timestamptz DEFAULT current_setting('quota.now')::timestamptz);
    CREATE TABLE marks (id bigserial PRIMARY KEY, batch text, owner text, n int, status text DEFAULT 'new',
        at timestamptz DEFAULT current_setting('quota.now')::timestamptz);
    CREATE TABLE files (id bigserial PRIMARY KEY, batch text, owner text, n int);
    SELECT quota_attach('jobs', 'job', 'owner', 'n', counted_when => 'NOT failed', time_column => 'at');
    SELECT quota_attach('slips', 'slip', 'owner', 'n', 'skip', time_column => 'at');
    SELECT quota_attach('marks', 'mark', 'owner', 'n', 'mark', status_column => 'status', blocked_status => 'skipped',
        time_column => 'at');
    SELECT quota_attach('files', 'byte', 'owner', 'n');
    SELECT quota_set_pool('max', 'hot'), quota_set_pool('mia', 'hot');

    /* A charge in a subtransaction for each element, which is rolled back where that is true: how many stay. */
    CREATE FUNCTION batch(account text, undo boolean[]) RETURNS int LANGUAGE plpgsql AS $$
    DECLARE
        kept int := 0;
        one boolean;
    BEGIN
        FOREACH one IN ARRAY undo LOOP
            BEGIN
                IF (quota_consume(account, 'strict')).allowed THEN
                    IF one THEN
                        RAISE EXCEPTION USING ERRCODE = 'UNDO1';
                    END IF;
                    kept := kept + 1;
                END IF;
            EXCEPTION WHEN SQLSTATE 'UNDO1' THEN
            END;
        END LOOP;
        RETURN kept;
    END $$;
"""
CLEAR = """
    DELETE FROM quota.reservations; DELETE FROM quota.holds; DELETE FROM quota.usage; DELETE FROM quota.keys;
    TRUNCATE jobs, slips, marks, files, done;
    TRUNCATE quota.events, quota.alerts;
"""

# A transaction that ends so counts for nothing.
DENIED = {"PT429"}
CONFLICTS = {"40P01", "40001", "57014", "55P03"}
serials = itertools.count()


def catalogue(limit):
    return {
        "features": {name: {"kind": "gauge" if name in GAUGES else "counter", "ledger": name in LEDGERS} for name in PERIODS},
        "plans": {"free": {"default": True, "limits": {
            name: {period: {"limit": limit} for period in periods} for name, periods in PERIODS.items()}}},
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


@operation(20)
def consume(worker, name, n):
    feature = worker.rng.choice(("strict", "strict", "second", "level"))
    if worker.first("SELECT allowed FROM quota_consume(%s, %s, %s)", name, feature, n):
        worker.add(name, feature, n)
        # never more than this transaction charged, so that no refund ends at 0
        if n > 1 and worker.rng.random() < 0.3:
            worker.run("SELECT quota_refund(%s, %s, %s)", name, feature, n - 1)
            worker.add(name, feature, 1 - n)


@operation(6)
def enforce(worker, name, n):
    worker.run("SELECT quota_enforce(%s, 'strict', %s)", name, n)
    worker.add(name, "strict", n)


@operation(6)
def record(worker, name, n):
    worker.run("SELECT quota_record(%s, 'soft', %s)", name, n)
    worker.add(name, "soft", n)


@operation(4)
def refund(worker, name, n):
    """Of what the worker itself has charged before."""
    if worker.used[payer(name), "soft"] + min(0, worker.effects.charged[payer(name), "soft"]) >= n:
        worker.run("SELECT quota_refund(%s, 'soft', %s)", name, n)
        worker.add(name, "soft", -n)


@operation(6)
def consume_many(worker, name, n):
    amounts = {"second": n, "strict": worker.rng.randint(1, 3), "level": 1}
    rows = worker.run("SELECT allowed FROM quota_consume_many(%s, %s)", name, json.dumps(amounts))
    if all(allowed for allowed, in rows):
        for feature, units in amounts.items():
            worker.add(name, feature, units)


@operation(6)
def keyed(worker, name, n):
    """Once with a key, and sometimes at once again."""
    key = f"{worker.token}-{next(serials)}"
    for turn in range(worker.rng.choice((1, 1, 2))):
        if not worker.first("SELECT allowed FROM quota_consume(%s, 'strict', %s, %s)", name, n, key):
            return
        if turn == 0:
            worker.add(name, "strict", n)
            worker.effects.keys.append((name, n, key))


@operation(3)
def again(worker, name, n):
    """A call that has committed, by its key: charges nothing."""
    if worker.keys:
        name, n, key = worker.rng.choice(worker.keys[-50:])
        allowed = worker.first("SELECT allowed FROM quota_consume(%s, 'strict', %s, %s)", name, n, key)
        assert allowed, f"the answer of key {key} is another"


@operation(7)
def hold(worker, name, n):
    feature = worker.rng.choice(("strict", "soft"))
    number = worker.first("SELECT id FROM quota_reserve(%s, %s, %s, '10 hours')", name, feature, n)
    if number is not None:
        worker.effects.made.append((number, name, feature, n))


@operation(4)
def hold_briefly(worker, name, n):
    """Nobody settles it."""
    if worker.first("SELECT allowed FROM quota_reserve(%s, 'strict', %s, '20 ms')", name, n):
        worker.effects.lapsing[payer(name)] += n


@operation(8)
def settle(worker, name, n):
    left = [one for one in worker.held if one not in worker.effects.settled]
    if not left:
        return
    number, name, feature, n = one = worker.rng.choice(left)
    # only where no limit holds can more come to be used than was held
    actual = worker.rng.choice((0, n, n + 3 if feature == "soft" else 1, None, "release"))
    if actual == "release":
        worker.run("SELECT quota_release(%s)", number)
        actual = 0
    else:
        worker.run("SELECT quota_commit(%s, %s)", number, actual)
    worker.effects.settled.append(one)
    worker.add(name, feature, n if actual is None else actual)


@operation(10)
def insert(worker, name, n):
    """Rows of several accounts in one statement; what went in is what RETURNING says."""
    table = worker.rng.choice(list(TABLES))
    names = [name, *worker.rng.choices(ACCOUNTS, k=worker.rng.choice((0, 0, 2, 20)))]
    condition = "status <> 'skipped'" if table == "marks" else "true"
    for owner, units, counts in worker.run(
            f"INSERT INTO {table} (owner, n) SELECT unnest(%s::text[]), %s RETURNING owner, n, {condition}", names, n):
        worker.add(owner, TABLES[table], units if counts else 0)


@operation(4)
def copy(worker, name, n):
    table, batch = worker.rng.choice(list(TABLES)), f"{worker.token}-{next(serials)}"
    with worker.connection.cursor() as cursor:
        with cursor.copy(f"COPY {table} (batch, owner, n) FROM STDIN") as rows:
            for owner in (name, *worker.rng.choices(ACCOUNTS, k=worker.rng.choice((1, 5, 60)))):
                rows.write_row((batch, owner, 1))
    condition = "status <> 'skipped'" if table == "marks" else "true"
    for owner, units in worker.run(f"SELECT owner, sum(n) FROM {table} WHERE batch = %s AND {condition} GROUP BY 1", batch):
        worker.add(owner, TABLES[table], units)


@operation(6)
def fail_jobs(worker, name, n):
    for owner, units in worker.run(
            "UPDATE jobs SET failed = true WHERE id IN (SELECT id FROM jobs WHERE NOT failed "
            "ORDER BY id DESC LIMIT 3 FOR UPDATE SKIP LOCKED) RETURNING owner, n"):
        worker.add(owner, "job", -units)


@operation(4)
def delete_files(worker, name, n):
    for owner, units in worker.run(
            "DELETE FROM files WHERE id IN (SELECT id FROM files ORDER BY id "
            "LIMIT 2 FOR UPDATE SKIP LOCKED) RETURNING owner, n"):
        worker.add(owner, "byte", -units)


@operation(4)
def change_files(worker, name, n):
    """Another owner and another size at once."""
    for owner, before in worker.run(
            "WITH f AS (SELECT id, owner, n FROM files ORDER BY id DESC LIMIT 2 FOR UPDATE SKIP LOCKED) "
            "UPDATE files SET owner = %s, n = %s FROM f WHERE files.id = f.id RETURNING f.owner, f.n", name, n):
        worker.add(owner, "byte", -before)
        worker.add(name, "byte", n)


@operation(2)
def lock(worker, name, n):
    """Counters by hand, which changes nothing."""
    strength = worker.rng.choice(("KEY SHARE", "SHARE SKIP LOCKED", "UPDATE SKIP LOCKED"))
    worker.run(f"SELECT FROM quota.usage WHERE account = %s AND feature = 'strict' FOR {strength}", payer(name))


def many_savepoints(worker, name, n):
    """More than 64, which no longer fit into what others see at once; some aborted, some kept."""
    share = worker.rng.choice((0, 0.3, 1))
    undo = [worker.rng.random() < share for _ in range(worker.rng.choice((3, 70, 90)))]
    worker.add(name, "strict", worker.first("SELECT batch(%s, %s)", name, undo))
    # a charge that is gone, while the transaction stays open; with it the limit would be near
    if worker.rng.random() < 0.7:
        worker.run("SAVEPOINT deep")
        worker.run("SELECT quota_consume(%s, 'strict', %s)", name, worker.rng.choice((1, 40, worker.load.limit * 4 // 5)))
        worker.run("ROLLBACK TO deep")
        time.sleep(worker.rng.choice((0, 0.02, 0.1)))


# The crowd

class Effects:
    """What a transaction does if it commits."""

    def __init__(self):
        self.charged, self.lapsing = Counter(), Counter()
        self.made, self.settled, self.keys = [], [], []

    def copy(self):
        other = Effects()
        other.charged, other.lapsing = self.charged.copy(), self.lapsing.copy()
        other.made, other.settled, other.keys = self.made[:], self.settled[:], self.keys[:]
        return other


class Worker:
    """What a connection has committed, and its transaction."""

    def __init__(self, load, rng, connection):
        self.load, self.rng, self.connection = load, rng, connection
        self.used = Counter()  # by account and feature
        self.lapsed = Counter()  # of holds that nobody settles, by account
        self.held = []  # (number, account, feature, units) of reservations that are open
        self.keys = []
        self.ends = Counter()
        self.since = None  # when its transaction began

    def add(self, name, feature, n):
        self.effects.charged[payer(name), feature] += int(n)

    def run(self, statement, *arguments):
        cursor = self.connection.execute(statement, arguments or None)
        return cursor.fetchall() if cursor.description else []

    def first(self, statement, *arguments):
        return self.run(statement, *arguments)[0][0]

    def transact(self):
        self.effects = Effects()
        self.token = f"t{next(serials)}"
        self.ending = False
        self.since = time.monotonic()
        try:
            end = self.attempt()
        except psycopg.Error as error:
            end = error.sqlstate or "lost"
            if not self.connection.broken and not self.connection.closed and end not in DENIED | CONFLICTS:
                raise
            end = self.recover(end)
        self.ends[end] += 1
        if end.startswith("committed"):
            self.keep()
        self.since = None

    def attempt(self):
        """How it ended."""
        isolation = self.rng.choices(("READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"), (80, 12, 8))[0]
        self.load.clock.set(self.connection)
        self.run(f"BEGIN ISOLATION LEVEL {isolation}")
        if self.rng.random() < 0.1:
            self.run(self.rng.choice(("SET LOCAL statement_timeout = '30ms'", "SET LOCAL lock_timeout = '10ms'")))
        early = self.rng.random() < 0.5
        if early:
            self.run("INSERT INTO done VALUES (%s)", self.token)
        for _ in range(self.rng.choice((1,) * 12 + (2, 4))):
            self.operate()
        if not early:
            self.run("INSERT INTO done VALUES (%s)", self.token)
        if self.rng.random() < 0.05:
            time.sleep(self.rng.choice((0.001, 0.05)))
        return self.end()

    def operate(self):
        """One operation, sometimes in a savepoint."""
        weights, functions = zip(*self.load.operations)
        function, = self.rng.choices(functions, weights)
        name, n = self.rng.choice(ACCOUNTS), self.rng.choice((1, 1, 2, 5))
        if self.rng.random() < 0.75:
            function(self, name, n)
            return
        before = self.effects.copy()
        self.run("SAVEPOINT s")
        try:
            function(self, name, n)
            undo = self.rng.random() < 0.5
        except psycopg.Error as error:
            if error.sqlstate not in DENIED | {"55P03", "57014"} or self.connection.broken:
                raise
            undo = True
        if undo:
            self.effects = before
            self.run("ROLLBACK TO s")
        else:
            self.run("RELEASE s")

    def end(self):
        end = self.rng.choices(("committed", "rolled back", "closed", "committed prepared", "rolled back prepared"),
                               (80, 10, 1, 6, 3))[0]
        self.ending = True
        if end == "closed":
            self.connection.close()
            return self.recover(end)
        if end.endswith("prepared"):
            self.run(f"PREPARE TRANSACTION '{self.token}'")
            if self.rng.random() < 0.5:
                time.sleep(self.rng.choice((0.001, 0.03)))
            self.run(f"{'COMMIT' if end.startswith('committed') else 'ROLLBACK'} PREPARED '{self.token}'")
        else:
            self.run("COMMIT" if end == "committed" else "ROLLBACK")
        return end

    def recover(self, end):
        """After an error: end the transaction; how it has ended where that was not told."""
        if not self.connection.closed and not self.ending:
            try:
                self.run("ROLLBACK")
                return end
            except psycopg.OperationalError:
                pass  # it has been killed meanwhile
        pid = self.connection.info.backend_pid if not self.connection.closed else self.pid
        self.connection.close()

        def is_known():
            try:
                with connect() as other:
                    if other.execute("SELECT FROM pg_stat_activity WHERE pid = %s", (pid,)).rowcount:
                        return None
                    if other.execute("SELECT FROM pg_prepared_xacts WHERE gid = %s", (self.token,)).rowcount:
                        other.execute(f"{self.rng.choice(('COMMIT', 'ROLLBACK'))} PREPARED '{self.token}'")
                    found = other.execute("SELECT FROM done WHERE token = %s", (self.token,)).rowcount
                return f"committed, {end}" if found else end
            except psycopg.OperationalError as error:
                self.load.server_errors[error.sqlstate or str(error)[:60]] += 1
                return None

        known = until(is_known)
        if known is None:
            raise TimeoutError(f"cannot find out about {self.token}")
        self.reconnect()
        return known

    def reconnect(self):
        def is_back():
            try:
                self.connection = connect()
                self.pid = self.connection.info.backend_pid
                return True
            except psycopg.OperationalError:
                return False

        if not until(is_back):
            raise TimeoutError("the server does not come back")

    def keep(self):
        effects = self.effects
        self.used.update(effects.charged)
        self.lapsed.update(effects.lapsing)
        self.held = [one for one in self.held if one not in effects.settled] + effects.made
        self.keys += effects.keys


class Load:
    """Workers, in rounds with a quiet point after each."""

    def __init__(self, rng, limit, operations=()):
        logging.getLogger("psycopg").setLevel(logging.ERROR)  # that a connection was lost
        self.rng, self.limit = rng, limit
        self.operations = [*OPERATIONS, *operations]
        self.clock = Clock()
        self.server_errors = Counter()
        with connect() as admin:
            admin.execute(CLEAR)
            admin.execute("SELECT quota_apply(%s)", (json.dumps(catalogue(limit)),))
        self.crowd = Crowd(CONNECTIONS, rng)
        self.workers = [Worker(self, rng, connection) for connection in self.crowd.connections]

    def round(self, seconds, *beside):
        """beside: functions of (load, stop), each run in a thread meanwhile; what they return."""
        stop, results, deadline = threading.Event(), {}, time.monotonic() + seconds
        workers = iter(self.workers)
        taken = threading.Lock()

        def work(connection, rng, barrier):
            with taken:
                worker = next(workers)
            worker.rng = rng
            worker.pid = worker.connection.info.backend_pid
            while time.monotonic() < deadline:
                worker.transact()

        def guard(function):
            try:
                results[function] = function(self, stop)
            except Exception as error:
                results[function] = error

        threads = [threading.Thread(target=guard, args=(function,)) for function in (watch, *beside)]
        for thread in threads:
            thread.start()
        try:
            self.crowd.run(work)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        for result in results.values():
            if isinstance(result, Exception):
                raise result
        return [results[function] for function in beside]

    def close(self):
        for worker in self.workers:
            worker.connection.close()

    def ends(self):
        return sum((worker.ends for worker in self.workers), Counter())

    # What must hold when nobody works

    def compare(self, name):
        used, held, lapsed = Counter(), Counter(), Counter()
        for worker in self.workers:
            used.update(worker.used)
            lapsed.update(worker.lapsed)
            for _, account, feature, n in worker.held:
                held[payer(account), feature] += n
        used.update(held)
        with connect() as admin:
            self.clock.set(admin, ahead_s=1)
            slots, = admin.execute("SELECT max(slots) FROM quota.usage").fetchone()
            print(f"# {name}: a counter has {slots} slots")
            self.compare_counters(admin, name, used)
            self.compare_events(admin, name, used, lapsed)
            amcheck(admin, name)

    def compare_counters(self, admin, name, used):
        counters = {tuple(key): n for *key, n in admin.execute(
            "SELECT account, feature, period::text, sum(used)::bigint FROM quota.counters "
            "GROUP BY 1, 2, 3 HAVING sum(used) <> 0")}
        expected = {(account, feature, period): n for (account, feature), n in used.items() if n
                    for period in PERIODS[feature]}
        check(counters == expected, f"{name}: counters are what has committed, and what is held",
              *((key, counters.get(key), expected.get(key)) for key in sorted(counters.keys() | expected.keys())
                if counters.get(key) != expected.get(key)))
        over = [(key, n) for key, n in counters.items() if key[1] in LIMITED and n > self.limit]
        equal(over, [], f"{name}: no limit is passed")
        drift = [row for table, feature in TABLES.items()
                 for row in admin.execute("SELECT %s, * FROM quota_reconcile(%s, %s)", (table, table, feature))]
        equal(drift, [], f"{name}: counters are what the rows come to")
        equal(admin.execute(WRONG_HOLDS).fetchall(), [], f"{name}: each counter knows how many hold of it")

    def compare_events(self, admin, name, used, lapsed):
        expected = Counter({feature: 0 for feature in LEDGERS})
        for (_, feature), n in used.items():
            if feature in LEDGERS:
                expected[feature] += n
        expected["strict"] += sum(lapsed.values())
        events = Counter({feature: 0 for feature in LEDGERS})
        events.update(dict(admin.execute(
            "SELECT feature, sum(amount)::bigint FROM quota.events WHERE decision <> 'BLOCK' GROUP BY 1").fetchall()))
        equal(dict(events), dict(expected), f"{name}: events add up to it, and to what has expired")
        told = [row for row in admin.execute(TOLD_TWICE) if row[1] not in GAUGES]
        equal(told, [], f"{name}: no threshold is told of twice")


def amcheck(connection, name):
    """Every B-tree of schema quota holds every row, every table is sound."""
    wrong = []
    for index, in connection.execute("""
            SELECT c.oid::regclass::text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam
            WHERE c.relnamespace = 'quota'::regnamespace AND c.relkind = 'i' AND a.amname = 'btree' AND indisvalid""").fetchall():
        try:
            connection.execute("SELECT bt_index_check(%s::regclass, true)", (index,))
        except psycopg.Error as error:
            wrong.append(f"{index}: {error}")
    for table, in connection.execute("""
            SELECT oid::regclass::text FROM pg_class
            WHERE relnamespace = 'quota'::regnamespace AND relkind IN ('r', 'm')""").fetchall():
        wrong += [(table, *row) for row in connection.execute("SELECT * FROM verify_heapam(%s::regclass)", (table,))]
    check(not wrong, f"{name}: amcheck finds every index and table sound", *wrong[:20])


# What goes on beside the workers

def watch(load, stop):
    """A transaction that does not end cannot be waited for, nor can its thread: so the test ends here."""
    while not stop.wait(0.5):
        began = min((worker.since for worker in load.workers if worker.since), default=time.monotonic())
        if time.monotonic() - began <= HANG_S:
            continue
        waiting = ["the server does not answer"]
        try:
            with connect(connect_timeout=5) as connection:
                waiting = connection.execute(
                    "SELECT pid, wait_event_type, wait_event, left(query, 90) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND state <> 'idle' AND pid <> pg_backend_pid()").fetchall()
        except psycopg.Error:
            pass
        check(False, "no transaction hangs", *waiting)
        os._exit(1)


def end_some(load, stop):
    """End or cancel a backend now and then: how many."""
    kills = 0
    with connect() as connection:
        while not stop.wait(0.05):
            act = load.rng.choice(("pg_terminate_backend", "pg_cancel_backend", "pg_cancel_backend"))
            worker = load.rng.choice(load.workers)
            if not worker.connection.closed:
                connection.execute(f"SELECT {act}(%s)", (worker.pid,))
                kills += act == "pg_terminate_backend"
    return kills
