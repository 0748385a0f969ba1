"""Resets and changes of plan beside charges: nothing is lost, nothing halved.

What a reset took away is in the audit log.  So what has been charged and
committed is what all resets took and what is left, in every window; and since
a charge is in both windows or in none, so is each reset.

Charges of contended counters that run while a plan with lower limits comes can end
in a deadlock (doc/locking.md), and are tried again.
"""

import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg

from _harness import Crowd, connect, check, equal, finish, seeded

CONNECTIONS = 16
RESETS = 150

CATALOGUE = {
    "features": {name: {"kind": "counter"} for name in ("left", "right")},
    "plans": {
        plan: {
            "default": plan == "free",
            "limits": {
                feature: {"day": {"limit": limit}, "month": {"limit": limit}}
                for feature in ("left", "right")
            },
        }
        for plan, limit in (("free", 40), ("pro", 400))
    },
}


def charge(stop, lowered):
    """Work for a crowd: consume one feature, or both, until told to stop; lowered: limits are."""

    def work(connection, rng, barrier):
        committed = {"left": 0, "right": 0}
        while not stop.is_set():
            amounts = {f: rng.randint(1, 3) for f in ("left", "right")}
            if rng.random() < 0.5:
                del amounts[rng.choice(("left", "right"))]
            undo = rng.randrange(4) == 0
            try:
                with connection.transaction() as whole:
                    rows = connection.execute(
                        "SELECT allowed FROM quota_consume_many('a', %s)",
                        (json.dumps(amounts),)).fetchall()
                    if undo:
                        raise psycopg.Rollback(whole)
            except psycopg.errors.DeadlockDetected:
                if not lowered:
                    raise
                continue
            if all(allowed for allowed, in rows) and not undo:
                for feature, n in amounts.items():
                    committed[feature] += n
        return committed

    return work


def manage(rng, plans):
    """Resets, each when there is something to take."""
    deadline = time.monotonic() + 60
    with connect() as connection:
        for _ in range(RESETS):
            if plans:
                connection.execute(
                    "SELECT quota_set_plan('a', %s)", (rng.choice(("free", "pro")),))
            while connection.execute(
                    "SELECT count(*) FROM quota.counters WHERE used > 0").fetchone() == (0,):
                assert time.monotonic() < deadline, "nobody charges"
            connection.execute("SELECT quota_reset('a')")


def test_reset(admin, crowd, rng):
    for plans in (False, True):
        admin.execute("DELETE FROM quota.usage; TRUNCATE quota.audit_log")
        stop = threading.Event()
        with ThreadPoolExecutor(1) as pool:
            managing = pool.submit(manage, rng, plans)
            managing.add_done_callback(lambda _: stop.set())
            results = crowd.run(charge(stop, lowered=plans))
            managing.result()
        name = "resets and changes of plan" if plans else "resets"
        resets = admin.execute(
            "SELECT l.id, c->>'feature', c->>'period', sum((c->>'used')::bigint)::bigint "
            "FROM quota.audit_log l, jsonb_array_elements(l.before) c "
            "WHERE act = 'quota_reset' GROUP BY 1, 2, 3").fetchall()
        left = admin.execute(
            "SELECT feature, period::text, used FROM quota.counters").fetchall()
        totals, windows = {}, {}
        for at, feature, period, used in resets + [(None, *row) for row in left]:
            totals[feature, period] = totals.get((feature, period), 0) + used
            windows.setdefault((at, feature), {})[period] = used
        committed = {
            (feature, period): sum(part[feature] for part in results)
            for feature in ("left", "right") for period in ("day", "month")
        }
        equal(totals, committed,
              f"{name}: what they took and what is left is what was charged")
        halved = {
            at: used for at, used in windows.items()
            if used.get("day", 0) != used.get("month", 0)
        }
        check(not halved, f"{name}: each took a charge from both windows or from none", halved)
        check(len({at for at, *_ in resets}) > RESETS / 3 and min(committed.values()) > RESETS / 3,
              f"{name}: they met", committed)


def main():
    rng = seeded()
    # windows that no midnight ends
    os.environ["PGOPTIONS"] = "-c quota.now=2026-01-15T12:00Z"
    admin = connect()
    admin.execute("SELECT quota_apply(%s)", (json.dumps(CATALOGUE),))
    crowd = Crowd(CONNECTIONS, rng)
    test_reset(admin, crowd, rng)
    crowd.close()
    finish()


if __name__ == "__main__":
    main()
