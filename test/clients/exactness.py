"""No over-grant and no unit lost: many connections on the same counters.

A connection stops when a single unit is denied.  A denial rests on what is
committed, so by then nothing is left: every total is exact, whoever rolled
back meanwhile.
"""

import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg

from _harness import Crowd, check, connect, equal, finish, seeded

CONNECTIONS = 32

CATALOGUE = {
    "features": {
        name: {"kind": kind}
        for name, kind in {
            "one": "counter", "some": "counter", "few": "counter",
            "pair": "counter", "post": "counter", "mark": "counter", "mixed": "counter",
            "skip": "counter", "shared": "counter", "left": "counter",
            "right": "counter", "level": "gauge", "strict": "counter",
            "tended": "counter", "moving": "counter",
        }.items()
    },
    "plans": {
        "free": {
            "default": True,
            "limits": {
                "one": {"month": {"limit": 1000}},
                "some": {"month": {"limit": 1000}},
                "few": {"day": {"limit": 5}},
                "pair": {"day": {"limit": 600}, "month": {"limit": 1000}},
                "post": {"month": {"limit": 1000}},
                "mark": {"month": {"limit": 300}},
                "mixed": {"month": {"limit": 300}},
                "skip": {"month": {"limit": 300}},
                "shared": {"month": {"limit": 60}},
                "tended": {"day": {"limit": None}, "month": {"limit": 1600}},
                "moving": {"month": {"limit": 10}},
                "left": {"month": {"limit": 700}},
                "right": {"month": {"limit": 900}},
                "level": {"lifetime": {"limit": 20}},
                "strict": {"month": {"limit": 100}},
            },
        }
    },
}

CONSUME = "SELECT allowed, used, period FROM quota_consume(%s, %s, %s)"


def usage(connection, account, feature):
    """Units used by window, as [(period, used), ...] in order of time."""
    return connection.execute(
        "SELECT period::text, sum(used)::bigint FROM quota.usage "
        "WHERE account = %s AND feature = %s "
        "GROUP BY period, period_start ORDER BY period, period_start",
        (account, feature),
    ).fetchall()


def hammer(account, feature, most):
    """Work for a crowd: consume 1 to `most` units until one is denied.

    A third of the transactions roll back, a few of the others in part.
    Results: the charges (used, n) that committed, the denials (used, period).
    """

    def work(connection, rng, barrier):
        def consume(n):
            return connection.execute(CONSUME, (account, feature, n)).fetchone()

        charges, largest = [], most
        while True:
            n = rng.randint(1, largest)
            fate = rng.randrange(6)
            with connection.transaction() as whole:
                allowed, used, period = consume(n)
                charged = [(used, n)] if allowed else []
                if fate >= 4:
                    with connection.transaction() as part:
                        consume(rng.randint(1, largest))
                        raise psycopg.Rollback(part)
                if fate == 5:
                    again, used_then, _ = consume(1)
                    charged += [(used_then, 1)] if again else []
                if fate < 2:
                    raise psycopg.Rollback(whole)
            if fate >= 2:
                charges += charged
            if not allowed and n == 1:
                return charges, (used, period)
            if not allowed:
                largest = n - 1

    return work


def test_one_account(admin, crowd):
    for feature, most in (("one", 1), ("some", 7)):
        results = crowd.run(hammer("hot", feature, most))
        charges = [charge for part, _ in results for charge in part]
        name = f"{CONNECTIONS} connections, amounts 1 to {most}"
        equal(sum(n for _, n in charges), 1000, f"{name}: 1,000 units committed")
        equal(usage(admin, "hot", feature), [("month", 1000)],
              f"{name}: usage is exact")
        # what a charge reports leaves out others that have not committed
        equal(max(used for used, _ in charges), 1000,
              f"{name}: the last unit is used, and none after it")
        equal({denial for _, denial in results}, {(1000, "month")},
              f"{name}: nobody is denied before the limit")


def test_gauge(admin, crowd):
    def work(connection, rng, barrier):
        held = most = 0
        for _ in range(40):
            if held and rng.random() < 0.5:
                connection.execute("SELECT quota_refund('g', 'level')")
                held -= 1
                continue
            allowed, used, _ = connection.execute(
                CONSUME, ("g", "level", 1)).fetchone()
            held += allowed
            most = max(most, used)
        return held, most

    results = crowd.run(work)
    equal(usage(admin, "g", "level"),
          [("lifetime", sum(held for held, _ in results))],
          "consumed and given back at once: the level is what is held")
    equal(max(most for _, most in results), 20,
          "consumed and given back at once: the limit is reached, never passed")


def test_first_use(admin, crowd):
    accounts = 200

    def work(connection, rng, barrier):
        used_by = []
        for i in range(accounts):
            account = f"new-{i}"
            undo = i % 2 == 1 and rng.random() < 0.5
            barrier.wait()
            if undo:
                with connection.transaction() as whole:
                    connection.execute(CONSUME, (account, "few", 1))
                    raise psycopg.Rollback(whole)
            allowed, used, _ = connection.execute(
                CONSUME, (account, "few", 1)).fetchone()
            used_by.append((allowed, used))
        return used_by

    results = crowd.run(work)
    wrong = []
    for i in range(accounts):
        allowed = sorted(part[i][1] for part in results if part[i][0])
        denied = {part[i][1] for part in results if not part[i][0]}
        if (allowed, denied) != ([1, 2, 3, 4, 5], {5}):
            wrong.append((f"new-{i}", allowed, denied))
    check(not wrong, f"first use of {accounts} accounts: five charges each", wrong)
    equal(
        admin.execute(
            "SELECT count(*), min(used), max(used), count(DISTINCT account) "
            "FROM quota.usage WHERE feature = 'few'"
        ).fetchone(),
        (accounts, 5, 5, accounts),
        f"first use of {accounts} accounts: one row of usage each",
    )


def test_two_windows(admin, crowd):
    crowd.each("SET quota.now = '2026-01-02 12:00+00'")
    charges = [c for part, _ in crowd.run(hammer("w", "pair", 7)) for c in part]
    equal(sum(n for _, n in charges), 600, "two windows, first day: 600 units")
    equal(usage(admin, "w", "pair"), [("day", 600), ("month", 600)],
          "two windows, first day: both are charged")

    crowd.each("SET quota.now = '2026-01-03 12:00+00'")
    results = crowd.run(hammer("w", "pair", 7))
    equal(sum(n for part, _ in results for _, n in part), 400,
          "two windows, second day: 400 units")
    equal(usage(admin, "w", "pair"), [("day", 600), ("day", 400), ("month", 1000)],
          "two windows, second day: both are charged")
    equal({denial for _, denial in results}, {(1000, "month")},
          "two windows, second day: it is the month that denies")

    for i, connection in enumerate(crowd.connections):
        connection.execute(f"SET quota.now = '2026-01-0{2 + i % 2} 12:00+00'")
    results = crowd.run(hammer("across", "pair", 7))
    days = [
        sum(n for part, _ in results[day::2] for _, n in part) for day in (0, 1)
    ]
    equal(sum(days), 1000, "two days at once: 1,000 units of the month")
    check(max(days) <= 600, "two days at once: no day passes its limit", days)
    equal(usage(admin, "across", "pair"),
          [("day", days[0]), ("day", days[1]), ("month", 1000)],
          "two days at once: all three rows are exact")
    crowd.each("RESET quota.now")


def test_many(admin, crowd):
    def work(connection, rng, barrier):
        left = right = 0
        largest = 7
        while True:
            amounts = {f: rng.randint(1, largest) for f in ("left", "right")}
            undo = rng.randrange(3) == 0
            with connection.transaction() as whole:
                rows = connection.execute(
                    "SELECT feature, allowed FROM quota_consume_many(%s, %s)",
                    ("m", json.dumps(amounts)),
                ).fetchall()
                if undo:
                    raise psycopg.Rollback(whole)
            assert sorted(f for f, _ in rows) == ["left", "right"], rows
            if not all(allowed for _, allowed in rows):
                if largest == 1:
                    return left, right
                largest -= 1
            elif not undo:
                left += amounts["left"]
                right += amounts["right"]

    results = crowd.run(work, 16)
    left = sum(part[0] for part in results)
    right = sum(part[1] for part in results)
    equal((usage(admin, "m", "left"), usage(admin, "m", "right")),
          ([("month", left)], [("month", right)]),
          "consume_many: both features are charged, or neither")
    check(left == 700 or right == 900,
          "consume_many: it ends where one limit is reached", (left, right))
    check(left <= 700 and right <= 900,
          "consume_many: no limit is passed", (left, right))


def test_raise(admin, crowd):
    admin.execute(
        "CREATE TABLE posts (id bigserial PRIMARY KEY, author text, size int);"
        "SELECT quota_attach('posts', 'post', 'author', 'size')"
    )

    def work(connection, rng, barrier):
        largest = 4
        while True:
            sizes = [rng.randint(1, 4) for _ in range(rng.randint(1, largest))]
            if largest == 1:
                sizes = [1]
            try:
                with connection.transaction() as whole:
                    connection.execute(
                        "INSERT INTO posts (author, size) "
                        "SELECT 'ada', unnest(%s::int[])", (sizes,))
                    if rng.randrange(3) == 0:
                        raise psycopg.Rollback(whole)
            except psycopg.Error as error:
                if error.sqlstate != "PT429":
                    raise
                if largest == 1:
                    return
                largest -= 1

    crowd.run(work)
    equal(admin.execute("SELECT sum(size) FROM posts").fetchone(), (1000,),
          "raise: the rows that went in are worth the limit")
    equal(usage(admin, "ada", "post"), [("month", 1000)], "raise: so says usage")


def test_leave_out(admin, crowd):
    """on_block mark and skip"""
    for feature in ("mark", "skip"):
        admin.execute(
            f"CREATE TABLE {feature}s (id bigserial PRIMARY KEY, owner int, "
            f"status text NOT NULL DEFAULT 'new')")
        admin.execute(
            f"SELECT quota_attach('{feature}s', '{feature}', 'owner', "
            f"on_block => '{feature}'" +
            (", status_column => 'status', blocked_status => 'skipped')"
             if feature == "mark" else ")"))

        def work(connection, rng, barrier):
            while True:
                rows = rng.choice((1, 1, 2, 5))
                undo = rng.randrange(3) == 0
                with connection.transaction() as whole:
                    went_in = connection.execute(
                        f"INSERT INTO {feature}s (owner) "
                        "SELECT 7 FROM generate_series(1, %s) "
                        "RETURNING status", (rows,)).fetchall()
                    if undo:
                        raise psycopg.Rollback(whole)
                if rows == 1 and went_in in ([], [("skipped",)]):
                    return

        crowd.run(work)
        equal(
            admin.execute(
                f"SELECT count(*) FROM {feature}s WHERE status = 'new'"
            ).fetchone(),
            (300,), f"{feature}: as many rows as the limit")
        equal(usage(admin, "7", feature), [("month", 300)],
              f"{feature}: so says usage")


def test_leave_out_some(admin, crowd):
    """on_block mark with mark_when, several rows of either kind at once"""
    admin.execute(
        "CREATE TABLE mixed (id bigserial PRIMARY KEY, owner int, "
        "scheduled boolean, status text NOT NULL DEFAULT 'new');"
        "SELECT quota_attach('mixed', 'mixed', 'owner', on_block => 'mark', "
        "status_column => 'status', blocked_status => 'skipped', "
        "mark_when => 'scheduled')")

    def work(connection, rng, barrier):
        full = False
        while not full:
            kinds = [rng.randrange(2) == 0 for _ in range(rng.choice((1, 1, 2, 5)))]
            undo = rng.randrange(3) == 0
            try:
                with connection.transaction() as whole:
                    statuses = connection.execute(
                        "INSERT INTO mixed (owner, scheduled) "
                        "SELECT 7, unnest(%s::boolean[]) RETURNING status",
                        (kinds,)).fetchall()
                    if undo:
                        raise psycopg.Rollback(whole)
                full = kinds == [True] and statuses == [("skipped",)]
            except psycopg.Error as error:
                if error.sqlstate != "PT429":
                    raise
                full = kinds == [False]

    crowd.run(work)
    equal(
        admin.execute(
            "SELECT count(*), count(*) FILTER (WHERE NOT scheduled AND status = 'skipped')"
            " FROM mixed WHERE status = 'new' OR NOT scheduled").fetchone(),
        (300, 0), "mixed: as many rows as the limit, of which none is marked that is not to be")
    equal(usage(admin, "7", "mixed"), [("month", 300)], "mixed: so says usage")


def test_several_accounts(admin, crowd):
    accounts = [f"team-{i}" for i in range(100, 140)]
    admin.execute(
        "CREATE TABLE messages (id bigserial PRIMARY KEY, team varchar(20));"
        "SELECT quota_attach('messages', 'shared', 'team')")

    def work(connection, rng, barrier):
        rest = list(accounts)
        while rest:
            teams = rng.sample(rest, rng.randint(1, min(len(rest), rng.choice((3, 40)))))
            try:
                with connection.transaction() as whole:
                    connection.execute(
                        "INSERT INTO messages (team) SELECT unnest(%s::text[])",
                        (teams * rng.randint(1, 2),))
                    if rng.randrange(3) == 0:
                        raise psycopg.Rollback(whole)
            except psycopg.Error as error:
                if error.sqlstate != "PT429":
                    raise
                # which of them it was, one row tells
                for team in teams:
                    try:
                        connection.execute(
                            "INSERT INTO messages (team) VALUES (%s)", (team,))
                    except psycopg.Error as denial:
                        if denial.sqlstate != "PT429":
                            raise
                        rest.remove(team)

    crowd.run(work)
    expected = [(account, 60) for account in accounts]
    equal(admin.execute(
        "SELECT team, count(*) FROM messages GROUP BY 1 ORDER BY 1").fetchall(),
        expected, "rows of several accounts: each has as many as its limit")
    equal(admin.execute(
        "SELECT account, used FROM quota.usage WHERE feature = 'shared' "
        "ORDER BY 1").fetchall(),
        expected, "rows of several accounts: so says usage, without a deadlock")


def test_isolation(admin, crowd):
    for level in ("repeatable read", "serializable"):
        crowd.each(f"SET default_transaction_isolation = '{level}'")

        def work(connection, rng, barrier):
            committed = retries = 0
            while True:
                undo = rng.randrange(3) == 0
                try:
                    with connection.transaction() as whole:
                        # the snapshot
                        connection.execute("SELECT 1 FROM quota.plans")
                        allowed, used, _ = connection.execute(
                            CONSUME, (level, "strict", 1)).fetchone()
                        if undo and allowed:
                            raise psycopg.Rollback(whole)
                except psycopg.errors.SerializationFailure:
                    retries += 1
                    continue
                if not allowed:
                    return committed, retries, used
                committed += not undo

        results = crowd.run(work, 8)
        equal(sum(part[0] for part in results), 100,
              f"{level}: 100 units committed")
        equal(usage(admin, level, "strict"), [("month", 100)],
              f"{level}: usage is exact")
        check(sum(part[1] for part in results) > 0,
              f"{level}: some had to try again")
        equal({part[2] for part in results}, {100},
              f"{level}: nobody is denied before the limit")
    crowd.each("RESET default_transaction_isolation")


def test_tended(admin, crowd):
    """What an administrator does to the table of counters meanwhile."""
    stop = threading.Event()

    def tend(connection):
        taken = 0
        while not stop.is_set():
            for sql in ("VACUUM quota.usage",
                        "DELETE FROM quota.usage WHERE feature = 'tended' "
                        "AND period = 'day' RETURNING used",
                        "REINDEX TABLE CONCURRENTLY quota.usage",
                        "VACUUM FULL quota.usage", "ANALYZE quota.usage"):
                cursor = connection.execute(sql)
                if cursor.description:
                    taken += sum(row[0] for row in cursor)
        return taken

    def work(connection, rng, barrier):
        committed = 0
        while True:
            with connection.transaction() as whole:
                allowed, _, _ = connection.execute(
                    CONSUME, ("t", "tended", 1)).fetchone()
                undo = rng.randrange(3) == 0
                if undo and allowed:
                    raise psycopg.Rollback(whole)
            if not allowed:
                return committed
            committed += not undo

    with ThreadPoolExecutor(1) as pool, connect() as connection:
        tending = pool.submit(tend, connection)
        try:
            committed = sum(crowd.run(work, 8))
        finally:
            stop.set()
        taken = tending.result()
    rows = dict(usage(admin, "t", "tended"))
    equal((committed, rows["month"]), (1600, 1600),
          "vacuum, reindex and rewrite: usage is exact")
    equal(taken + rows.get("day", 0), 1600,
          "rows deleted meanwhile: what was deleted and what is left add up")


def test_rising_limit(admin, crowd):
    limits = (10, 50, 200, 400)
    deadline = time.monotonic() + 60

    def work(connection, rng, barrier):
        committed = []
        while time.monotonic() < deadline:
            allowed, used, _ = connection.execute(
                CONSUME, ("l", "moving", 1)).fetchone()
            if allowed:
                committed.append(used)
            elif used == limits[-1]:
                return committed
            else:
                time.sleep(0.001)
        raise TimeoutError(f"the limit stays at {used}")

    def raise_limit():
        for reached, limit in zip(limits, limits[1:]):
            while usage(admin, "l", "moving") != [("month", reached)]:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{reached} is not reached")
                time.sleep(0.001)
            admin.execute("UPDATE quota.plan_limits SET usage_limit = %s "
                          "WHERE feature = 'moving'", (limit,))

    with ThreadPoolExecutor(1) as pool:
        raising = pool.submit(raise_limit)
        results = crowd.run(work)
        raising.result()
    charges = [used for part in results for used in part]
    equal((len(charges), max(charges)), (limits[-1], limits[-1]),
          "a limit raised meanwhile is reached each time, and not passed")


def main():
    rng = seeded()
    # windows that no midnight ends
    os.environ["PGOPTIONS"] = "-c quota.now=2026-01-15T12:00Z"
    admin = connect()
    admin.execute("SELECT quota_apply(%s)", (json.dumps(CATALOGUE),))
    crowd = Crowd(CONNECTIONS, rng)
    for test in (test_one_account, test_gauge, test_first_use, test_two_windows,
                 test_many, test_raise, test_leave_out, test_leave_out_some,
                 test_several_accounts, test_isolation, test_tended, test_rising_limit):
        try:
            test(admin, crowd)
        except Exception as error:
            check(False, test.__name__, repr(error))
            crowd.close()
            crowd = Crowd(CONNECTIONS, rng)
    crowd.close()
    finish()


if __name__ == "__main__":
    main()
