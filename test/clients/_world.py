"""The driver of model_charge.py: connections whose transactions interleave, each
with the state that the model says it sees, one step at a time, and what must hold
at any time.
"""

import json
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor, TimeoutError as Busy
from datetime import datetime, timezone

import psycopg

import _model as rules
from _harness import connect
from _model import ATTACHED, CATALOGUE, Denied

CONNECTIONS = 6
BEGIN = datetime(2026, 1, 30, 20, tzinfo=timezone.utc)

POOL = "team"
MEMBERS = ["max", "mia"]
POOLED = {POOL, *MEMBERS}
ACCOUNTS = ["ada", "bob", "cleo", "dan", "eve", "fay", "gus", rules.BYPASS, *sorted(POOLED)]
# not found, settled or expired, a key that stands for another call; denials
ERRORS = {"42704", "55000", "22023", "PT429", "PT402", "PT403"}

TABLE = """
CREATE TABLE {0}s (
    id serial PRIMARY KEY, owner text, n int DEFAULT 1, status text DEFAULT 'new',
    at timestamptz DEFAULT current_setting('quota.now')::timestamptz)
"""
ATTACH = [
    "SELECT quota_attach('posts', 'post', 'owner', 'n', time_column => 'at')",
    "SELECT quota_attach('slips', 'slip', 'owner', 'n', 'skip', time_column => 'at')",
    "SELECT quota_attach('marks', 'mark', 'owner', 'n', 'mark', status_column => 'status', "
    "    blocked_status => 'skipped', time_column => 'at')",
    "SELECT quota_attach('runs', 'run', 'owner', 'n', 'mark', status_column => 'status', "
    "    blocked_status => 'skipped', time_column => 'at', mark_when => $$owner LIKE '%a%'$$)",
    "SELECT quota_attach('jobs', 'job', 'owner', 'n', counted_when => $$status <> 'failed'$$, time_column => 'at')",
    "SELECT quota_attach('disks', 'disk', 'owner', 'n')",
    "SELECT quota_attach('texts', 'text', 'owner', 'n * 2 + 1', 'skip', counted_when => $$status <> 'failed'$$)",
]

# of quota.counters and what has the same columns, as the model names a counter
COUNTER = """account, feature, period::text,
    CASE WHEN isfinite(period_start) THEN extract(epoch FROM period_start)::bigint END"""


# The connections

class Committed(dict):
    """What is committed, and what of it has changed since it was looked at."""

    def __init__(self):
        super().__init__()
        self.parts = defaultdict(dict)  # the same by the first two of each key
        self.changed = set()  # such pairs

    def update(self, state):
        super().update(state)
        for key, what in state.items():
            self.parts[key[:2]][key] = what
            self.changed.add(key[:2])

    def part(self, *pair):
        """The keys and what is there, of what is something."""
        return [(key, what) for key, what in self.parts[pair].items() if what]


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

    A statement about several accounts judges one, and may then wait for another.
    So that what it has judged stays so, it is not made to wait for a commit.
    """

    def __init__(self, model, read, statement, *arguments, several=False):
        self.model = model
        self.several = several
        self.read = read
        self.statement = statement
        self.arguments = arguments

    def __str__(self):
        return f"{self.statement} {self.arguments}"


class World:
    def __init__(self, rng):
        self.rng = rng
        self.admin = connect()
        self.committed = Committed()
        self.admin.execute("SELECT quota_apply(%s)", (json.dumps(CATALOGUE),))
        self.admin.execute("INSERT INTO quota.accounts (account, bypass) VALUES (%s, true)", (rules.BYPASS,))
        for feature in ATTACHED:
            self.admin.execute(TABLE.format(feature))
        for statement in ATTACH:
            self.admin.execute(statement)
        self.sessions = [Session(self.committed) for _ in range(CONNECTIONS)]
        self.pool = ThreadPoolExecutor(1)
        self.history = []
        self.seen = Counter()  # what has happened, how often
        self.reservations = [("nobody", 0)]  # who has made it, its number; also such as were rolled back
        self.ids = {feature: [] for feature in ATTACHED}  # of rows that ever went in
        self.rows_changed = set()  # features whose rows have, since they were counted again

    def note(self, session, what):
        self.history.append(f"{self.sessions.index(session)}: {what}")

    def some_account(self, session):
        """In a quarter of the cases one that no other open transaction has touched."""
        free = [name for name in ACCOUNTS
                if not any(other.touches(name) for other in self.sessions if other is not session)]
        if free and self.rng.random() < 0.25:
            return self.rng.choice(free)
        return self.rng.choice(ACCOUNTS)

    # One step

    def perform(self, session, step):
        """Do it in the server and in the model; what differs is an AssertionError."""
        self.note(session, step)
        got = self.run(session, step)
        if got == "57014":
            self.seen["canceled"] += 1
            session.fail()
            return
        state = session.state.copy()
        try:
            expected = step.model(state, session.now)
        except Denied as denial:
            expected = str(denial)
        assert got == expected, f"{step}: got {got!r}, expected {expected!r}"
        failed = isinstance(got, str) and got in ERRORS
        self.seen[f"{step.statement.split('(')[0]}: {got if failed else 'done'}"] += 1
        if failed:
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
                self.seen["waited"] += 1
                canceled = self.rng.random() < 0.2
                if canceled:
                    self.note(session, "cancel")
                    self.admin.execute("SELECT pg_cancel_backend(%s)", (session.pid,))
                else:
                    ends = (self.rollback, self.kill) if step.several else (self.commit, self.commit, self.rollback, self.kill)
                    self.rng.choice(ends)(blocking[0])

    # The ends of a transaction

    def commit(self, session):
        if session.in_transaction:
            self.note(session, "commit")
            session.connection.execute("COMMIT")
            session.end(not session.failed)

    def rollback(self, session):
        if session.in_transaction:
            self.note(session, "rollback")
            session.connection.execute("ROLLBACK")
            session.end(False)

    def kill(self, session):
        self.note(session, "kill")
        self.admin.execute("SELECT pg_terminate_backend(%s, 60000)", (session.pid,))
        session.connection.close()
        session.open()
        self.seen["killed"] += 1

    # What must hold

    def look_at_changes(self):
        """Whatever has been committed since the last look: counters, and what the rows come to."""
        changed, self.committed.changed = self.committed.changed, set()
        names = sorted({name for what, name in changed if what in ("used", "holds")})
        if names:
            self.compare(names)
        self.rows_changed.update(feature for what, feature in changed if what == "row")
        for feature in sorted(self.rows_changed):
            # nobody else can read a table that is being truncated
            if not any(("truncated", feature) in session.state for session in self.sessions):
                self.recount_rows(feature)

    def compare(self, names):
        """Counters of accounts as everybody sees them, whatever transactions are open, by any of their clocks."""
        now = self.some_time()
        counters = {tuple(key): used for *key, used in self.admin.execute(
            f"SELECT {COUNTER}, used FROM quota.counters WHERE used <> 0 AND account = ANY (%s)", (list(names),))}
        self.agree("counters", counters, {
            counter: rules.level(self.committed, counter, now) for name in names for counter in self.counters(name)})

    def some_time(self):
        now = self.rng.choice(self.sessions).now
        self.admin.execute("SELECT set_config('quota.now', %s, false)", (str(now),))
        return now

    def recount(self):
        """Whatever else has been written down, and counters against the rows that they count."""
        for session in self.sessions:
            if any(key[0] == "truncated" for key in session.state):
                self.commit(session)
        committed = self.committed

        def sums(query):
            return Counter({tuple(key): int(n) for *key, n in self.admin.execute(query)})

        holds = {(*key[1:], number): units for key, held in committed.items() if key[0] == "holds"
                 for number, (units, _) in held.items()}
        self.agree("holds", sums(f"SELECT {COUNTER}, reservation, amount FROM quota.holds"), holds)
        self.agree("holds of counters", sums(f"SELECT {COUNTER}, holds FROM quota.usage"),
                   Counter(key[:4] for key in holds))
        self.agree("reservations", sums("SELECT account, id, amount FROM quota.reservations"), {
            key[1:]: made.units for key, made in committed.items() if key[0] == "reservation" and made})

        keys, events, alerts = Counter(), Counter(), Counter()
        for key, what in committed.items():
            if key[0] == "key":
                (function, feature, n), _ = what
                keys[(*key[1:], function, feature)] = n
            elif key[0] == "event":
                events[key[1], key[2], what[1]] += what[0]
            elif key[0] == "alert":
                alerts[(*key[1:5], what)] += 1
        self.agree("keys", sums("SELECT account, key, function, feature, n FROM quota.keys"), keys)
        self.agree("events", sums("SELECT account, feature, decision = 'BLOCK', sum(amount) "
                                  "FROM quota.events GROUP BY 1, 2, 3"), events)
        self.agree("alerts", sums(f"SELECT {COUNTER}, threshold, count(*) FROM quota.alerts GROUP BY 1, 2, 3, 4, 5"), alerts)
        for feature in ATTACHED:
            self.recount_rows(feature)

    def recount_rows(self, feature):
        """Those of a pool's members are counted as its own, and as theirs."""
        self.rows_changed.discard(feature)
        rows = dict(self.committed.part("row", feature))
        self.agree(f"rows of {feature}", {
            ("row", feature, id): tuple(row)
            for id, *row in self.admin.execute(f"SELECT id, owner, n, status FROM {feature}s")
        }, {key: tuple(row[:3]) for key, row in rows.items()})
        now = self.some_time()
        windows = {(name, window.owner, window.period) for name in ACCOUNTS
                   for window in rules.windows(self.committed, name, feature, now)[0]}
        for account, period in self.admin.execute(
                "SELECT DISTINCT account, period::text FROM quota.counters WHERE feature = %s", (feature,)):
            windows.update((name, account, period) for name in ACCOUNTS
                           if account in (name, rules.account_of(self.committed, name).pool))
        counted = rules.counted_rows(rows.values(), feature, windows)
        drift = {tuple(key): drift for *key, drift in self.admin.execute(
            "SELECT account, %s, period::text, CASE WHEN isfinite(period_start) THEN extract(epoch FROM period_start)::bigint END, "
            "drift FROM quota_reconcile(%s, %s)", (feature, f"{feature}s", feature))}
        known = {counter for name in ACCOUNTS for counter in self.counters(name) if counter[1] == feature}
        self.agree(f"drift of {feature}", drift, {
            counter: rules.level(self.committed, counter, None) - counted.get(counter, 0)
            for counter in counted.keys() | known})

    def counters(self, name):
        """Those of an account that were ever charged."""
        return {key[1:] for what in ("used", "holds") for key in self.committed.parts[what, name]}

    def agree(self, what, got, expected):
        """What is nothing need not be there."""
        got, expected = ({key: n for key, n in side.items() if n != 0} for side in (got, expected))
        assert got == expected, f"{what}: {differences(got, expected)}"


def differences(got, expected):
    """(what, how it is, how it should be)"""
    return [(key, got.get(key), expected.get(key)) for key in sorted(got.keys() | expected.keys(), key=str)
            if got.get(key) != expected.get(key)]
