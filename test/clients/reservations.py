"""Reservations by 16 connections, whose clocks differ: nothing is lost, nothing
is granted twice.

Each connection reserves, commits with some other amount, releases, lets
expire, consumes, repeats calls with a key, and rolls back.  In the same
transaction it writes down what it settled.  Whatever the clocks were, of a
reservation that somebody else has returned nothing may be settled.  In the end
the counters must be the sum of what was settled and of what is still held, and
without what is held exactly what was settled.

QUOTA_ROUNDS in the environment: how many calls each connection makes.
"""

import json
import os

import psycopg

from _harness import Crowd, check, connect, equal, finish, seeded

CONNECTIONS = 16
ROUNDS = int(os.environ.get("QUOTA_ROUNDS", 150))
ACCOUNTS = ("one", "two", "three")
LIMIT = 300
TTL_SECONDS = 60

CATALOGUE = {
    "features": {"token": {"kind": "counter"}, "open": {"kind": "counter"}},
    "plans": {"free": {"default": True, "limits": {
        # strict: nobody settles more than was held
        "token": {"day": {"limit": LIMIT}, "month": {"limit": LIMIT + 50}},
        "open": {"day": {"limit": None}, "month": {"limit": 10**9}},
    }}},
}
USED = """
    SELECT account, feature, period::text, sum(used) FROM quota.usage
    GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""
EXPECTED = """
    SELECT account, feature, period, sum(units) FROM (
        SELECT account, feature, p AS period, units FROM settled, unnest('{day,month}'::text[]) p
        UNION ALL
        SELECT account, feature, period::text, amount FROM quota.holds) x
    GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""
CURRENT = """
    SELECT account, feature, period::text, used FROM quota.counters ORDER BY 1, 2, 3
"""
SETTLED = """
    SELECT c.account, c.feature, c.period::text, coalesce(sum(s.units), 0)
    FROM quota.counters c LEFT JOIN settled s USING (account, feature)
    GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""
HOLDS = """
    SELECT count(*) FROM (
        SELECT account, feature, period, period_start, sum(holds) AS holds FROM quota.usage GROUP BY 1, 2, 3, 4) u
    LEFT JOIN (SELECT account, feature, period, period_start, count(*) AS holds FROM quota.holds GROUP BY 1, 2, 3, 4) h
        USING (account, feature, period, period_start)
    WHERE u.holds <> coalesce(h.holds, 0)
"""


def note(connection, account, feature, units):
    connection.execute("INSERT INTO settled VALUES (%s, %s, %s)",
                       (account, feature, units))


def settle(connection, rng, reservation):
    """Commit or release; False where it has expired, for this clock or another."""
    number, account, feature, n = reservation
    try:
        with connection.transaction() as whole:
            if rng.random() < 0.2:
                connection.execute("SELECT quota_release(%s)", (number,))
                actual = 0
            else:
                actual = rng.randint(0, n if feature == "token" else 2 * n)
                connection.execute("SELECT quota_commit(%s, %s)", (number, actual))
            note(connection, account, feature, actual)
            if rng.random() < 0.2:
                raise psycopg.Rollback(whole)
    except psycopg.errors.ObjectNotInPrerequisiteState:
        return False
    return True


def reserve(connection, rng, account, feature, n, key):
    number = connection.execute(
        "SELECT id FROM quota_reserve(%s, %s, %s, make_interval(secs => %s), %s)",
        (account, feature, n, TTL_SECONDS, key)).fetchone()[0]
    if key is not None:
        again = connection.execute(
            "SELECT id FROM quota_reserve(%s, %s, %s, key => %s)",
            (account, feature, n, key)).fetchone()[0]
        assert again == number, f"key {key}: {number}, then {again}"
    return number and (number, account, feature, n)


def consume(connection, rng, account, feature, n, key):
    """With a key of few, which other connections have as well: whoever is first charges."""
    with connection.transaction():
        before = key and connection.execute(
            "SELECT count(*) FROM used_keys WHERE account = %s AND key = %s", (account, key)).fetchone()[0]
        allowed = connection.execute(
            "SELECT allowed FROM quota_consume(%s, %s, %s, %s)", (account, feature, n, key)).fetchone()[0]
        if key is None:
            first = True
        else:
            # a unique key: of those that got the answer one writes it down
            first = connection.execute(
                "INSERT INTO used_keys VALUES (%s, %s) ON CONFLICT DO NOTHING", (account, key)).rowcount == 1
            assert not (before and first)
        if allowed and first:
            note(connection, account, feature, n)


def work(connection, rng, barrier):
    seconds = rng.randint(0, 200)
    mine = []
    for turn in range(ROUNDS):
        seconds += rng.randint(0, 10)
        connection.execute("SELECT set_config('quota.now', (timestamptz '2026-01-15 12:00Z' "
                           "+ make_interval(secs => %s))::text, false)", (seconds,))
        account = rng.choice(ACCOUNTS)
        feature = rng.choice(("token", "open"))
        choice = rng.random()
        if choice < 0.45:
            n = rng.randint(1, 20)
            key = f"{id(mine)} {turn}" if rng.random() < 0.3 else None
            reservation = reserve(connection, rng, account, feature, n, key)
            if reservation:
                mine.append(reservation)
        elif choice < 0.6:
            key = f"shared {rng.randint(1, 5)}" if rng.random() < 0.5 else None
            # the same call for everybody with the key
            n, feature = (1, "open") if key else (rng.randint(1, 5), feature)
            consume(connection, rng, account, feature, n, key)
        elif choice < 0.65:
            # a reservation that is forgotten: it returns by itself
            if mine:
                mine.pop(rng.randrange(len(mine)))
        elif mine:
            number = mine.pop(rng.randrange(len(mine)))
            try:
                settle(connection, rng, number)
            except psycopg.errors.UndefinedObject:
                return f"{number}: gone"
    return None


def main():
    rng = seeded()
    admin = connect()
    admin.execute("SELECT quota_apply(%s)", (json.dumps(CATALOGUE),))
    admin.execute("CREATE TABLE settled (account text, feature text, units bigint)")
    admin.execute("CREATE TABLE used_keys (account text, key text, PRIMARY KEY (account, key))")
    crowd = Crowd(CONNECTIONS, rng)
    wrong = crowd.run(work)
    crowd.close()
    check(not any(wrong), "no reservation vanishes", *filter(None, wrong))
    equal(admin.execute(USED).fetchall(), admin.execute(EXPECTED).fetchall(),
          "counters are what was settled, and what is held")
    equal(admin.execute(HOLDS).fetchone()[0], 0, "each knows how many hold of it")
    check(admin.execute("SELECT count(*) FROM quota.holds").fetchone()[0] > 0, "some are still held")

    admin.execute("SET quota.now = '2026-01-15 23:59+00'")
    equal(admin.execute(CURRENT).fetchall(), admin.execute(SETTLED).fetchall(),
          "when all has expired, counters are what was settled")
    settled = admin.execute("SELECT max(units) FROM (SELECT sum(units) AS units FROM settled "
                            "WHERE feature = 'token' GROUP BY account) s").fetchone()[0]
    check(LIMIT // 2 < settled <= LIMIT, "up to the limit, and never more", settled)
    admin.execute("SELECT quota_maintain()")
    equal(admin.execute(USED).fetchall(), admin.execute(SETTLED).fetchall(), "quota_maintain writes it down")
    equal(admin.execute("SELECT count(*) FROM quota.holds").fetchone()[0], 0, "nothing is held any more")
    finish()


if __name__ == "__main__":
    main()
