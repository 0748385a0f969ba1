"""One counter under 32 connections, until all of them are denied: exact.

A third of the transactions roll back, and some connections are ended in the
middle of whatever they do.  Each transaction also writes down what it charged
in a table of its own, so that what committed is known whoever was ended: it
must be the limit, to the last unit, and so must the counter's rows.

QUOTA_REPEAT and QUOTA_LIMIT in the environment: how often each case is run, up
to which limit.
"""

import json
import logging
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import psycopg

from _harness import Crowd, check, connect, finish, seeded

CONNECTIONS = 32
LIMIT = int(os.environ.get("QUOTA_LIMIT", 1_000))
LARGEST = 7
KILLS = 8
REPEAT = int(os.environ.get("QUOTA_REPEAT", 5))

CATALOGUE = {
    "features": {f: {"kind": "counter"} for f in ("one", "pair", "left", "right")},
    "plans": {"free": {"default": True, "limits": {
        "one": {"month": {"limit": LIMIT}},
        "pair": {"day": {"limit": LIMIT}, "month": {"limit": LIMIT + LIMIT // 4}},
        "left": {"month": {"limit": LIMIT}},
        "right": {"month": {"limit": LIMIT}},
    }}},
}

# charged: by the connection itself; posted: by a trigger, a unit a row
TABLES = """
    CREATE TABLE charged (account text, feature text, units bigint);
    CREATE TABLE posted (account text);
    SELECT quota_attach('posted', 'one', 'account');
"""
COMMITTED = """
    SELECT feature, sum(units) FROM charged WHERE account = %(account)s GROUP BY 1
    UNION ALL
    SELECT 'one', count(*) FROM posted WHERE account = %(account)s HAVING count(*) > 0
"""
USED = """
    SELECT feature, period::text, sum(used) FROM quota.usage
    WHERE account = %(account)s GROUP BY 1, 2
"""


def note(connection, account, feature, units):
    connection.execute("INSERT INTO charged VALUES (%s, %s, %s)",
                       (account, feature, units))


def consume(connection, rng, account, n, feature="one"):
    """The units used by now, or None where it is denied, as of all cases."""
    allowed, used = connection.execute(
        "SELECT allowed, used FROM quota_consume(%s, %s, %s)",
        (account, feature, n)).fetchone()
    if not allowed:
        return None
    note(connection, account, feature, n)
    return used


def two_windows(connection, rng, account, n):
    return consume(connection, rng, account, n, "pair")


def repeatable_read(connection, rng, account, n):
    connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    return consume(connection, rng, account, n)


def by_trigger(connection, rng, account, n):
    try:
        with connection.transaction():
            return connection.execute(
                "INSERT INTO posted SELECT %s FROM generate_series(1, %s)",
                (account, n)).rowcount
    except psycopg.Error as error:
        if error.sqlstate != "PT429":
            raise
        return None


def consume_many(connection, rng, account, n):
    amounts = {"left": n, "right": rng.randint(1, n)}
    rows = connection.execute(
        "SELECT allowed, used FROM quota_consume_many(%s, %s)",
        (account, json.dumps(amounts))).fetchall()
    if not all(allowed for allowed, _ in rows):
        return None
    for feature, units in amounts.items():
        note(connection, account, feature, units)
    return rows[0][1]


def mixed(connection, rng, account, n):
    used = consume(connection, rng, account, n)
    if used is None:
        return None
    if n > 1 and rng.random() < 0.5:
        back = rng.randint(1, n - 1)
        connection.execute("SELECT quota_refund(%s, 'one', %s)", (account, back))
        note(connection, account, "one", -back)
    # which blocks at no limit: only where all together cannot get there
    if used < LIMIT - 2 * CONNECTIONS * LARGEST and rng.random() < 0.5:
        connection.execute("SELECT quota_record(%s, 'one', %s)", (account, n))
        note(connection, account, "one", n)
    return used


def until_blocked(crowd, charge, account):
    """Work for the crowd."""

    def work(connection, rng, barrier):
        largest = LARGEST
        while True:
            n = rng.randint(1, largest)
            undo = rng.randrange(3) == 0
            try:
                with connection.transaction() as whole:
                    used = charge(connection, rng, account, n)
                    if undo:
                        raise psycopg.Rollback(whole)
            except psycopg.errors.SerializationFailure:
                continue
            except (psycopg.OperationalError, psycopg.Rollback):
                # Rollback, where that itself could not be done
                if not connection.closed:
                    raise
                connection = crowd.replace(connection)
                continue
            if used is None and n == 1:
                return
            if used is None:
                largest = n - 1

    return work


def end_some(crowd, account, rng, stop):
    """End connections, one whenever an equal part of the limit is used."""
    with connect() as connection:
        for kill in range(KILLS):
            while not stop.wait(0.002):
                used = connection.execute(
                    "SELECT coalesce(max(used), 0) FROM (SELECT sum(used) AS used "
                    "FROM quota.usage WHERE account = %s GROUP BY feature, period) u",
                    (account,)).fetchone()[0]
                if used >= LIMIT * kill // KILLS:
                    break
            connection.execute("SELECT pg_terminate_backend(%s)", (
                rng.choice(crowd.connections).info.backend_pid,))


def run(admin, crowd, rng, charge, account):
    """What is wrong after all are denied, or None."""
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        ending = pool.submit(end_some, crowd, account, rng, stop)
        try:
            crowd.run(until_blocked(crowd, charge, account))
        finally:
            stop.set()
        ending.result()
    committed = dict(admin.execute(COMMITTED, {"account": account}).fetchall())
    used = admin.execute(USED, {"account": account}).fetchall()
    if max(committed.values()) == LIMIT and used and all(
            units == committed[feature] for feature, _, units in used):
        return None
    return f"{account}: committed {committed}, used {used}"


def main():
    rng = seeded()
    # that a connection was lost
    logging.getLogger("psycopg").setLevel(logging.ERROR)
    # windows that no midnight ends
    os.environ["PGOPTIONS"] = "-c quota.now=2026-01-15T12:00Z"
    admin = connect()
    admin.execute("SELECT quota_apply(%s)", (json.dumps(CATALOGUE),))
    admin.execute(TABLES)
    crowd = Crowd(CONNECTIONS, rng)
    for charge in (consume, by_trigger, consume_many, two_windows, mixed,
                   repeatable_read):
        name = charge.__name__.replace("_", " ")
        try:
            wrong = [run(admin, crowd, rng, charge, f"{name} {turn}")
                     for turn in range(REPEAT)]
            check(not any(wrong), f"{name}: exactly the limit, {REPEAT} times",
                  *filter(None, wrong))
        except Exception as error:
            check(False, name, repr(error))
            crowd.close()
            crowd = Crowd(CONNECTIONS, rng)
    crowd.close()
    finish()


if __name__ == "__main__":
    main()
