"""A standby that compares each page that it replays with the primary's, under load.

It has wal_consistency_checking on for all kinds of records: replay ends where a page
differs.  Meanwhile it is asked, and afterwards its counters are the primary's.
"""

import os

import _load
from _harness import check, connect, equal, finish, seeded
from _load import LIMITS, Load, amcheck, many_savepoints
from _server import Server
from _storm import seconds, until
from charges import add_indexes, rewrite

SECONDS = seconds(12)
CASES = {"charges": (), "rewrites": (rewrite,), "indexes": (rewrite, add_indexes)}

COUNTERS = "SELECT account, feature, period::text, period_start::text, used FROM quota.counters ORDER BY 1, 2, 3, 4"


def ask(standby):
    """To go on beside the workers: questions to the standby, how many were answered."""
    def beside(load, stop):
        answered = 0
        with connect(host=standby.directory) as connection:
            while not stop.wait(0.01):
                load.clock.set(connection)
                name = load.rng.choice(_load.ACCOUNTS)
                for question in ("SELECT quota_evaluate(%s)", "SELECT quota_status(%s)", "SELECT quota_usage(%s)"):
                    connection.execute(question, (name,))
                    answered += 1
        return answered

    return beside


def catch_up(standby):
    """Replay what the primary has written by now."""
    with connect() as primary, connect(host=standby.directory) as other:
        position, = primary.execute("SELECT pg_current_wal_flush_lsn()").fetchone()
        return until(lambda: other.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", (position,)).fetchone()[0])


def compare(load, standby, name):
    if not check(catch_up(standby), f"{name}: the standby has replayed everything", standby.tail()):
        return
    with connect() as primary, connect(host=standby.directory) as other:
        for connection in (primary, other):
            connection.execute("SET quota.now = '2026-01-15 23:00+00'")
        equal(other.execute(COUNTERS).fetchall(), primary.execute(COUNTERS).fetchall(), f"{name}: its counters are the primary's")
        amcheck(other, f"{name}, standby")


def main():
    rng = seeded()
    os.environ["PGOPTIONS"] = "-c deadlock_timeout=20ms"
    primary = Server("primary", wal_consistency_checking="all", max_wal_senders=4, wal_level="replica", wal_keep_size="1GB")
    primary.initdb()
    primary.start()
    primary.lead()
    with connect() as admin:
        admin.execute("CREATE EXTENSION quota")
        admin.execute("SELECT quota_apply(%s)", (_load.json.dumps(_load.catalogue(LIMITS[0])),))
        admin.execute(_load.SETUP)
    standby = Server("standby", max_standby_streaming_delay=-1)
    standby.copy_of(primary)
    standby.start()
    for name, beside in CASES.items():
        load = Load(rng, LIMITS[0], [(20, many_savepoints)])
        try:
            done = load.round(SECONDS / len(CASES), ask(standby), *beside)
            load.compare(name)
            compare(load, standby, name)
            print(f"# {name}: answers, statements beside {done}: {dict(load.ends())}")
        except Exception as error:
            check(False, name, repr(error), standby.tail())
        load.close()
    wrong = standby.lines("inconsistent", "FATAL", "PANIC", "WARNING", "TRAP", "terminated by signal")
    check(not wrong, "the standby found no page inconsistent", *wrong[:20])
    wrong = primary.lines("PANIC", "TRAP", "terminated by signal")
    check(not wrong, "the primary has not crashed", *wrong[:20])
    for server in (standby, primary):
        try:
            server.stop()
        except RuntimeError as error:
            check(False, "a server stops", error)
    finish()


if __name__ == "__main__":
    main()
