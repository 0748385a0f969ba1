"""Charges against a model of the rules, in random order, on several connections.

One driver gives out one step at a time: a charge, a change of an account, rows
that go into attached tables, savepoints, commits, rollbacks, a killed
connection, a clock that moves on.  So what comes out is known exactly, though
transactions interleave.  A step that has to wait for another connection's
transaction makes the driver end that one, or cancel the step; then the model
judges what is there by then.

QUOTA_STEPS says how many steps, QUOTA_SEED brings a run back.  An operation is a
function below "The operations"; another kind of charge is another function.
"""

import json
import math
import os
import time
from concurrent.futures import ThreadPoolExecutor, TimeoutError as Busy
from datetime import datetime, timedelta, timezone
from fractions import Fraction

import psycopg

from _harness import check, connect, finish, seeded

STEPS = int(os.environ.get("QUOTA_STEPS") or 4000)
CONNECTIONS = 6
CHECK_EVERY = 20
BEGIN = datetime(2026, 1, 30, 20, tzinfo=timezone.utc)

ACCOUNTS = ["ada", "bob", "cleo", "dan", "eve", "fay", "gus", "boss"]
BYPASS = "boss"

# Every plan has the features of attached tables by the month, so that their rows
# can be counted by the month.
CATALOGUE = {
    "features": {
        "scan": {"kind": "counter"}, "page": {"kind": "counter"},
        "token": {"kind": "counter"}, "extra": {"kind": "counter"},
        "level": {"kind": "gauge"}, "post": {"kind": "counter"},
        "slip": {"kind": "counter"}, "mark": {"kind": "counter"},
    },
    "plans": {
        "free": {"default": True, "limits": {
            "scan": {"day": {"limit": 4}, "month": {"limit": 9}},
            "page": {"hour": {"limit": 3, "block_ratio": 1.5}, "lifetime": {"limit": 60}},
            "token": {"month": {"limit": 30, "on_limit": "warn"}},
            "level": {"lifetime": {"limit": 6}},
            "post": {"month": {"limit": 8}},
            "slip": {"month": {"limit": 8}},
            "mark": {"month": {"limit": 8, "block_ratio": 0.8}}}},
        "pro": {"limits": {
            "scan": {"day": {"limit": 12, "on_limit": "charge", "overage_cap": 5}},
            "page": {"hour": {"limit": 9}, "year": {"limit": None}},
            "token": {"day": {"limit": 40}, "month": {"limit": None}},
            "extra": {"month": {"limit": 5}},
            "level": {"lifetime": {"limit": 12}},
            "post": {"month": {"limit": 20}},
            "slip": {"month": {"limit": 20}},
            "mark": {"month": {"limit": 20, "on_limit": "charge", "overage_cap": 0}}}},
    },
}
COUNTED = ["scan", "page", "token", "extra", "level"]  # by calls
ATTACHED = {"post": "raise", "slip": "skip", "mark": "mark"}  # by rows

SETUP = """
CREATE TABLE {feature}s (
    id serial PRIMARY KEY, owner text, n int DEFAULT 1, status text DEFAULT 'new',
    at timestamptz DEFAULT current_setting('quota.now')::timestamptz);
SELECT quota_attach('{feature}s', '{feature}', 'owner', 'n', '{on_block}' {mark});
"""
MARK = ", status_column => 'status', blocked_status => 'skipped'"


# The rules.  A state is a mapping: ("account", a) -> Account, ("override", a,
# feature, period) -> (limit, expires), ("used", a, feature, period, start) -> units.

class Denied(Exception):
    """What the server must raise: the argument is the SQLSTATE."""


def account_of(state, name):
    """Its plan, the end of that, and whether it is suspended."""
    return state.get(("account", name)) or (None, None, False)


def window_start(period, now):
    """The window's first second since 1970; None: -infinity."""
    if period == "lifetime":
        return None
    first = {"hour": dict(minute=0), "day": dict(hour=0, minute=0),
             "month": dict(day=1, hour=0, minute=0),
             "year": dict(month=1, day=1, hour=0, minute=0)}[period]
    return int(now.replace(second=0, microsecond=0, **first).timestamp())


def windows(state, name, feature, now):
    """{period: limit} as the plan and the overrides have it, and whether they have it at all."""
    plan, ends, _ = account_of(state, name)
    if plan is None or ends is not None and ends <= now:
        plan = "free"
    limits = {period: dict(limit) for period, limit in
              CATALOGUE["plans"][plan]["limits"].get(feature, {}).items()}
    for period in ("hour", "day", "month", "year", "lifetime"):
        limit, expires = state.get(("override", name, feature, period)) or (None, now)
        if expires is None or expires > now:
            limits.setdefault(period, {})["limit"] = limit
    if not limits:
        return {"lifetime": {"limit": None}}, False
    return limits, True


def most(limit):
    """The greatest use that a window allows; infinite where nothing is refused."""
    if limit["limit"] is None or limit.get("on_limit") == "warn":
        return math.inf
    if limit.get("on_limit") == "charge":
        return limit["limit"] + limit.get("overage_cap", math.inf)
    return math.floor(limit["limit"] * Fraction(str(limit.get("block_ratio", 1))))


def used_key(name, feature, period, now):
    return "used", name, feature, period, window_start(period, now)


def refusal(state, name, feature, n, now, pending=0):
    """The SQLSTATE with which n units are refused; None: there is room."""
    limits, in_plan = windows(state, name, feature, now)
    if account_of(state, name)[2]:
        return "PT403"
    if name == BYPASS:
        return None
    if not in_plan:
        return "PT402"
    full = any((state.get(used_key(name, feature, period, now)) or 0) + pending + n > most(limit)
               for period, limit in limits.items())
    return "PT429" if full else None


def add(state, name, feature, n, now):
    """Charge n units to every window; below 0: give back, but no more than is used."""
    for period in windows(state, name, feature, now)[0]:
        key = used_key(name, feature, period, now)
        state[key] = max(0, (state.get(key) or 0) + n)


# The connections

class State(dict):
    """What one transaction sees: its own changes over what is committed."""

    def __init__(self, committed, own=()):
        super().__init__(own)
        self.committed = committed

    def get(self, key):
        return self[key] if key in self else self.committed.get(key)

    def copy(self):
        return State(self.committed, self)


class Session:
    def __init__(self, committed):
        self.committed = committed
        self.now = BEGIN
        self.open()

    def open(self):
        self.connection = connect()
        self.pid = self.connection.info.backend_pid
        self.set_clock(self.now)
        self.end(False)

    def set_clock(self, now):
        self.now = now
        self.connection.execute("SELECT set_config('quota.now', %s, false)", (str(now),))

    def end(self, keep):
        """Its transaction has ended: what it did is committed, or gone."""
        if keep:
            self.committed.update(self.state)
        self.state = State(self.committed)
        self.savepoints = []
        self.in_transaction = self.failed = False

    def fail(self):
        """A statement has failed: back to the last savepoint, if any."""
        if not self.in_transaction:
            self.end(False)
            return
        self.failed = True
        self.state = self.savepoints[-1].copy() if self.savepoints else State(self.committed)

    def touches(self, name):
        return any(key[1] == name for key in self.state)


class Step:
    """A statement, and what it does to the model.

    model(state, now) returns what read(rows) must make of the result, or raises
    Denied; then nothing of it has happened.
    """

    def __init__(self, model, read, statement, *arguments):
        self.model = model
        self.read = read
        self.statement = statement
        self.arguments = arguments

    def __str__(self):
        return f"{self.statement} {self.arguments}"


class World:
    def __init__(self, rng):
        self.rng = rng
        self.admin = connect()
        self.committed = {("account", BYPASS): (None, None, False)}
        self.admin.execute("SELECT quota_apply(%s)", (json.dumps(CATALOGUE),))
        self.admin.execute("INSERT INTO quota.accounts (account, bypass) VALUES (%s, true)", (BYPASS,))
        for feature, on_block in ATTACHED.items():
            self.admin.execute(SETUP.format(feature=feature, on_block=on_block,
                                            mark=MARK if on_block == "mark" else ""))
        self.sessions = [Session(self.committed) for _ in range(CONNECTIONS)]
        self.pool = ThreadPoolExecutor(1)
        self.history = []
        self.seen = {}  # what has happened -> how often

    def note(self, session, what):
        self.history.append(f"{self.sessions.index(session)}: {what}")

    def count(self, what):
        self.seen[what] = self.seen.get(what, 0) + 1

    def some_account(self, session):
        """In half of the cases one that no other open transaction has touched."""
        free = [name for name in ACCOUNTS
                if not any(other.touches(name) for other in self.sessions if other is not session)]
        if free and self.rng.random() < 0.5:
            return self.rng.choice(free)
        return self.rng.choice(ACCOUNTS)

    # One step

    def perform(self, session, step):
        """Do it in the server and in the model; what differs is an AssertionError."""
        self.note(session, step)
        got = self.run(session, step)
        if got == "57014":
            self.count("canceled")
            session.fail()
            return
        state = session.state.copy()
        try:
            expected = step.model(state, session.now)
        except Denied as denial:
            expected = str(denial)
        assert got == expected, f"{step}: got {got!r}, expected {expected!r}"
        self.count(f"{step.statement.split('(')[0]}: {'error' if got in ('PT429', 'PT402', 'PT403') else 'done'}")
        if got in ("PT429", "PT402", "PT403"):
            session.fail()
            return
        session.state = state
        if not session.in_transaction:
            session.end(True)

    def run(self, session, step):
        """The result as step.read makes it, or an SQLSTATE; frees the way of who waits."""
        def execute():
            try:
                cursor = session.connection.execute(step.statement, step.arguments)
                return step.read(cursor.fetchall() if cursor.description else [])
            except psycopg.Error as error:
                if error.sqlstate is None:
                    raise
                return error.sqlstate

        future = self.pool.submit(execute)
        deadline = time.monotonic() + 60
        canceled = False
        while True:
            try:
                return future.result(timeout=0.01)
            except Busy:
                assert time.monotonic() < deadline, f"{step} does not end"
            pids = self.admin.execute("SELECT pg_blocking_pids(%s)", (session.pid,)).fetchone()[0]
            blocking = [other for other in self.sessions if other.pid in pids]
            if blocking and not canceled:
                self.count("waited")
                canceled = self.rng.random() < 0.2
                if canceled:
                    self.note(session, "cancel")
                    self.admin.execute("SELECT pg_cancel_backend(%s)", (session.pid,))
                else:
                    self.rng.choice((commit, commit, rollback, kill))(self, blocking[0])

    # What must hold

    def compare(self):
        """Counters and rows as everybody sees them, whatever transactions are open."""
        counters = dict(self.admin.execute(
            "SELECT ARRAY[account, feature, period::text, "
            "CASE WHEN isfinite(period_start) THEN extract(epoch FROM period_start)::bigint::text END]::text, used "
            "FROM quota.counters WHERE used <> 0").fetchall())
        expected = {
            "{" + ",".join("NULL" if part is None else str(part) for part in key[1:]) + "}": used
            for key, used in self.committed.items() if key[0] == "used" and used != 0}
        assert counters == expected, differences(counters, expected)
        for feature in ATTACHED:
            rows = self.admin.execute(
                "SELECT owner, extract(epoch FROM date_trunc('month', at, 'UTC'))::bigint, sum(n) "
                f"FROM {feature}s WHERE status = 'new' GROUP BY 1, 2").fetchall()
            rows = {f"{{{owner},{feature},month,{start}}}": units for owner, start, units in rows}
            counted = {key: used for key, used in counters.items() if f",{feature}," in key}
            assert rows == counted, f"rows of {feature}: {differences(counted, rows)}"


def differences(got, expected):
    return [(key, got.get(key), expected.get(key)) for key in sorted(got.keys() | expected.keys())
            if got.get(key) != expected.get(key)]


# The operations: each returns a step for the session, or does what it does itself

OPERATIONS = []  # (weight, function)


def operation(weight):
    def register(function):
        OPERATIONS.append((weight, function))
        return function
    return register


def some_units(rng):
    return rng.choice((1, 1, 1, 2, 3, 7))


def first(rows):
    return rows[0][0]


@operation(14)
def consume(world, session):
    name, feature, n = world.some_account(session), world.rng.choice(COUNTED), some_units(world.rng)

    def model(state, now):
        if refusal(state, name, feature, n, now):
            return False
        add(state, name, feature, n, now)
        return True

    return Step(model, first, "SELECT allowed FROM quota_consume(%s, %s, %s)", name, feature, n)


@operation(6)
def enforce(world, session):
    name, feature, n = world.some_account(session), world.rng.choice(COUNTED), some_units(world.rng)

    def model(state, now):
        if error := refusal(state, name, feature, n, now):
            raise Denied(error)
        add(state, name, feature, n, now)
        return True

    return Step(model, first, "SELECT allowed FROM quota_enforce(%s, %s, %s)", name, feature, n)


@operation(4)
def record(world, session):
    name, feature, n = world.some_account(session), world.rng.choice(COUNTED), some_units(world.rng)

    def model(state, now):
        add(state, name, feature, n, now)
        return True

    return Step(model, first, "SELECT allowed FROM quota_record(%s, %s, %s)", name, feature, n)


@operation(7)
def refund(world, session):
    name, feature, n = world.some_account(session), world.rng.choice(COUNTED), some_units(world.rng)
    back = world.rng.choice((None, None, timedelta(hours=1), timedelta(days=1), timedelta(days=31)))
    at = None if back is None else session.now - back

    def model(state, now):
        # the plan is that of now, the windows are those of then
        for period in windows(state, name, feature, now)[0]:
            key = used_key(name, feature, period, at or now)
            if state.get(key):
                state[key] = max(0, state.get(key) - n)
        return True

    return Step(model, first, "SELECT allowed FROM quota_refund(%s, %s, %s, %s)", name, feature, n, at)


@operation(6)
def consume_many(world, session):
    name = world.some_account(session)
    amounts = {feature: some_units(world.rng) for feature in world.rng.sample(COUNTED, world.rng.randint(2, 3))}

    def model(state, now):
        refused = {feature: refusal(state, name, feature, n, now) for feature, n in amounts.items()}
        if not any(refused.values()):
            for feature, n in amounts.items():
                add(state, name, feature, n, now)
        return [(feature, not refused[feature]) for feature in sorted(amounts)]

    return Step(model, list, "SELECT feature, allowed FROM quota_consume_many(%s, %s)",
                name, json.dumps(amounts))


@operation(6)
def evaluate(world, session):
    """Waits for nobody, and sees what is committed and its own."""
    name, feature, n = world.rng.choice(ACCOUNTS), world.rng.choice(COUNTED), some_units(world.rng)

    def model(state, now):
        return not refusal(state, name, feature, n, now)

    return Step(model, first, "SELECT allowed FROM quota_evaluate(%s, %s, %s)", name, feature, n)


@operation(12)
def insert_rows(world, session):
    """Rows of several accounts in one statement, by whichever way they are refused."""
    feature = world.rng.choice(list(ATTACHED))
    names = [world.some_account(session) for _ in range(world.rng.choice((1, 1, 2, 3)))]
    owners = [world.rng.choice(names) for _ in range(world.rng.choice((1, 1, 2, 5)))]
    n = world.rng.choice((1, 1, 2))

    def raises(state, now):
        # in the order of accounts, each with its sum
        for name in sorted(set(owners)):
            if error := refusal(state, name, feature, n * owners.count(name), now):
                raise Denied(error)
            add(state, name, feature, n * owners.count(name), now)
        return [(name, "new") for name in owners]

    def judges(state, now):
        results = []
        for name in owners:
            refused = refusal(state, name, feature, n, now)
            if not refused:
                add(state, name, feature, n, now)
            if not refused or feature == "mark":
                results.append((name, "skipped" if refused else "new"))
        return results

    return Step(raises if feature == "post" else judges, list,
                f"INSERT INTO {feature}s (owner, n) SELECT unnest(%s::text[]), %s RETURNING owner, status", owners, n)


@operation(2)
def set_plan(world, session):
    name, plan = world.some_account(session), world.rng.choice(("free", "pro"))
    duration = world.rng.choice((None, None, timedelta(hours=5), timedelta(days=2)))

    def model(state, now):
        ends = None if duration is None else now + duration
        state["account", name] = plan, ends, account_of(state, name)[2]

    return Step(model, lambda rows: None, "SELECT quota_set_plan(%s, %s, %s)", name, plan, duration)


@operation(1)
def suspend(world, session):
    name, suspended = world.some_account(session), world.rng.random() < 0.4

    def model(state, now):
        state["account", name] = (*account_of(state, name)[:2], suspended)

    return Step(model, lambda rows: None,
                f"SELECT quota_{'suspend' if suspended else 'activate'}(%s)", name)


@operation(2)
def set_override(world, session):
    """A limit of its own; sometimes one that is over already."""
    name, feature = world.some_account(session), world.rng.choice(COUNTED + list(ATTACHED))
    periods = {period for plan in CATALOGUE["plans"].values() for period in plan["limits"].get(feature, ())}
    period, limit = world.rng.choice(sorted(periods)), world.rng.choice((None, 0, 3, 10, 25))
    expires = world.rng.choice((None, session.now - timedelta(hours=1), session.now + timedelta(hours=9)))

    def model(state, now):
        state["override", name, feature, period] = limit, expires

    return Step(model, lambda rows: None, "SELECT quota_set_override(%s, %s, %s, %s, %s)",
                name, feature, period, limit, expires)


@operation(1)
def clear_override(world, session):
    """By hand, since the function refuses what is not there."""
    name = world.some_account(session)

    def model(state, now):
        for key in {*state, *state.committed}:
            if key[:2] == ("override", name) and state.get(key):
                state[key] = None

    return Step(model, lambda rows: None, "DELETE FROM quota.limit_overrides WHERE account = %s", name)


@operation(10)
def begin(world, session):
    if not session.in_transaction:
        world.note(session, "begin")
        session.connection.execute("BEGIN")
        session.in_transaction = True


@operation(6)
def commit(world, session):
    if session.in_transaction:
        world.note(session, "commit")
        session.connection.execute("COMMIT")
        session.end(not session.failed)


@operation(3)
def rollback(world, session):
    if session.in_transaction:
        world.note(session, "rollback")
        session.connection.execute("ROLLBACK")
        session.end(False)


@operation(8)
def savepoint(world, session):
    if session.in_transaction and not session.failed and len(session.savepoints) < 4:
        world.note(session, "savepoint")
        session.connection.execute(f"SAVEPOINT s{len(session.savepoints)}")
        session.savepoints.append(session.state.copy())


@operation(5)
def rollback_to(world, session):
    if session.savepoints:
        number = world.rng.randrange(len(session.savepoints))
        world.note(session, f"rollback to s{number}")
        session.connection.execute(f"ROLLBACK TO s{number}")
        del session.savepoints[number + 1:]
        session.state = session.savepoints[number].copy()
        session.failed = False


@operation(3)
def release(world, session):
    if session.savepoints and not session.failed:
        number = world.rng.randrange(len(session.savepoints))
        world.note(session, f"release s{number}")
        session.connection.execute(f"RELEASE s{number}")
        del session.savepoints[number:]


@operation(1)
def kill(world, session):
    world.note(session, "kill")
    world.admin.execute("SELECT pg_terminate_backend(%s, 60000)", (session.pid,))
    session.connection.close()
    session.open()
    world.count("killed")


@operation(2)
def move_clock(world, session):
    """Each connection has a clock of its own: they charge different windows."""
    if not session.in_transaction:
        step = world.rng.choice((timedelta(minutes=25), timedelta(hours=3), timedelta(hours=14), timedelta(days=4)))
        session.set_clock(session.now + step)
        world.note(session, f"clock {session.now}")


# The run

def step(world, session):
    """One random operation; a transaction that has failed can only go back."""
    if session.failed:
        chosen = world.rng.choice((rollback, commit, rollback_to, rollback_to, rollback_to))
    else:
        weights, functions = zip(*OPERATIONS)
        chosen, = world.rng.choices(functions, weights)
    made = chosen(world, session)
    if made is not None:
        world.perform(session, made)


def main():
    world = World(seeded())
    try:
        for number in range(STEPS):
            step(world, world.rng.choice(world.sessions))
            if number % CHECK_EVERY == 0:
                world.compare()
        for session in world.sessions:
            world.rng.choice((commit, rollback))(world, session)
        world.compare()
    except AssertionError as wrong:
        check(False, f"step {len(world.history)}", wrong, "before that:", *world.history[-60:])
    else:
        check(True, f"{STEPS} steps: results, counters and rows agree with the model")
    if STEPS >= 3000:
        check(world.seen.get("waited", 0) > 0, "some have waited for others")
        check(world.seen.get("killed", 0) > 0, "some connections were killed")
    for what, times in sorted(world.seen.items()):
        print(f"# {times:6} {what}")
    finish()


if __name__ == "__main__":
    main()
