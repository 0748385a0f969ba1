"""All charging operations at once, with all that can befall a transaction.

Each case adds to the one before: savepoints beyond 64 a transaction; tables that are
rewritten; indexes of an operator's own.  After each round nobody works, and what has
committed must be what is counted.

QUOTA_STORM_CASES in the environment: which cases, in place of all.
"""

import os

import psycopg

import _load
from _harness import check, connect, finish, seeded
from _load import LIMITED, LIMITS, Load, end_some, many_savepoints
from _storm import seconds

SECONDS = seconds(40)
ROUNDS = 2  # at most so many quiet points a case, unless it goes on for long
ROUND_S = 30

REWRITES = [
    "VACUUM quota.usage", "VACUUM FULL quota.usage", "CLUSTER quota.usage USING usage_pkey", "ANALYZE quota.usage",
    "REINDEX TABLE CONCURRENTLY quota.usage", "REINDEX TABLE CONCURRENTLY quota.keys", "REINDEX TABLE CONCURRENTLY quota.holds",
    "VACUUM FULL quota.keys", "VACUUM FULL quota.holds", "VACUUM FULL quota.reservations", "VACUUM FULL quota.alerts",
    "CLUSTER quota.reservations USING reservations_pkey", "REINDEX SCHEMA quota", "SELECT quota_maintain()", "CHECKPOINT",
]
INDEXES = {
    "storm_used": "quota.usage (used)",
    "storm_lower": "quota.usage (lower(account), (used / 10))",
    "storm_some": "quota.usage (feature) WHERE used > 100",
    "storm_brin": "quota.usage USING brin (used)",
    "storm_include": "quota.usage (account) INCLUDE (used)",
    "storm_keys": "quota.keys (lower(account))",
    "storm_some_keys": "quota.keys (key) WHERE n > 1",
    "storm_holds": "quota.holds (amount) WHERE amount > 1",
    "storm_reservations": "quota.reservations (lower(feature), amount)",
    "storm_events": "quota.events (lower(account), amount)",
    "storm_alerts": "quota.alerts (lower(account)) WHERE threshold <> 'warn'",
}
# what somebody else was in the way of; an index that is half made is dropped again
IN_THE_WAY = {"55P03", "40P01", "57014", "40001", "55006"}


def attempt(connection, statement):
    try:
        connection.execute(statement)
        return True
    except psycopg.Error as error:
        # PostgreSQL's answer where two sessions change a row of its catalogue, such as that of an index
        if error.sqlstate not in IN_THE_WAY and "tuple concurrently" not in str(error):
            raise RuntimeError(f"{statement}: {error}") from error
        return False


def rewrite(load, stop):
    """How many statements of those went through."""
    done = 0
    with connect() as connection:
        connection.execute("SET lock_timeout = '1s'")
        while not stop.wait(0.02):
            load.clock.set(connection)
            done += attempt(connection, load.rng.choice(REWRITES))
            drop_invalid(connection)
    return done


def add_indexes(load, stop):
    """Make and drop indexes of an operator's own."""
    done = 0
    with connect() as connection:
        connection.execute("SET lock_timeout = '1s'")
        while not stop.wait(0.02):
            name, definition = load.rng.choice(list(INDEXES.items()))
            how = "" if "events" in definition else load.rng.choice(("", "CONCURRENTLY"))
            if connection.execute("SELECT to_regclass(%s)", (f"quota.{name}",)).fetchone()[0]:
                done += load.rng.random() < 0.5 and attempt(connection, f"DROP INDEX {how} IF EXISTS quota.{name}")
            else:
                done += attempt(connection, f"CREATE INDEX {how} {name} ON {definition}")
            drop_invalid(connection)
    return done


def drop_invalid(connection):
    """What another connection drops at the same time is no error: no regclass, which would print its number."""
    for index, in connection.execute(
            "SELECT format('quota.%I', relname) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
            "WHERE NOT indisvalid AND c.relkind = 'i' AND relnamespace = 'quota'::regnamespace "
            "AND NOT EXISTS (SELECT FROM pg_stat_progress_create_index)").fetchall():
        attempt(connection, f"DROP INDEX IF EXISTS {index}")


def watch_limits(load, stop):
    """At no time does anybody see a counter over its limit."""
    looks = 0
    with connect() as connection:
        while not stop.wait(0.1):
            over = connection.execute(
                "SELECT account, feature, period, sum(used) FROM quota.usage WHERE feature = ANY (%s) "
                "GROUP BY account, feature, period, period_start HAVING sum(used) > %s", (LIMITED, load.limit)).fetchall()
            assert not over, f"limit {load.limit} is passed: {over}"
            looks += 1
    return looks


CASES = {
    "charges": ((), ()),
    "savepoints": ((many_savepoints,), ()),
    "rewrites": ((many_savepoints,), (rewrite,)),
    "indexes": ((many_savepoints,), (rewrite, add_indexes)),
}


def run(rng, name, limit, duration):
    more, beside = CASES[name]
    name = f"{name}, limit {limit}"
    load = Load(rng, limit, [(20, function) for function in more])
    rounds = max(ROUNDS, round(duration / ROUND_S))
    try:
        for number in range(rounds):
            done = load.round(duration / rounds, end_some, watch_limits, *beside)
            print(f"# {name}: kills, looks, statements beside: {done}")
            load.compare(f"{name}, round {number + 1}")
        check("57P02" not in load.ends(), f"{name}: the server has not crashed")
    except Exception as error:
        check(False, name, repr(error))
    finally:
        load.close()
        print(f"# {name}: {dict(load.ends())} {dict(load.server_errors)}")
        with connect() as admin:
            for index in INDEXES:
                admin.execute(f"DROP INDEX IF EXISTS quota.{index}")
            admin.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                          "WHERE datname = current_database() AND pid <> pg_backend_pid()")
            for gid, in admin.execute("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()").fetchall():
                admin.execute(f"ROLLBACK PREPARED '{gid}'")


def main():
    rng = seeded()
    os.environ["PGOPTIONS"] = "-c deadlock_timeout=20ms"
    with connect() as admin:
        admin.execute("SELECT quota_apply(%s)", (_load.json.dumps(_load.catalogue(LIMITS[0])),))
        admin.execute(_load.SETUP)
    cases = (os.environ.get("QUOTA_STORM_CASES") or " ".join(CASES)).split()
    for name in cases:
        for limit in LIMITS:
            run(rng, name, limit, SECONDS / len(cases) / len(LIMITS))
    finish()


if __name__ == "__main__":
    main()
