"""Sixteen connections make the same call with the same key at once: one of them
charges, whichever it is, and all get its answer.

Some roll back, so that another has to charge in their place.
"""

import json

from _harness import Crowd, connect, equal, finish, seeded

CONNECTIONS = 16
KEYS = 60

CATALOGUE = {
    "features": {"report": {"kind": "counter"}},
    "plans": {"free": {"default": True, "limits": {
        "report": {"day": {"limit": KEYS - 10}, "month": {"limit": None}}}}},
}


def work(connection, rng, barrier):
    answers = []
    for key in range(KEYS):
        barrier.wait()
        while True:
            undo = rng.random() < 0.3
            with connection.transaction(force_rollback=undo):
                answer = connection.execute(
                    "SELECT allowed, used FROM quota_consume('a', 'report', 1, %s)", (f"key {key}",)).fetchone()
            if not undo:
                break
        answers.append(answer)
    return answers


def main():
    rng = seeded()
    admin = connect()
    admin.execute("SELECT quota_apply(%s)", (json.dumps(CATALOGUE),))
    crowd = Crowd(CONNECTIONS, rng)
    crowd.each("SET quota.now = '2026-01-15 12:00+00'")
    answers = crowd.run(work)
    crowd.close()
    expected = [(True, n) for n in range(1, KEYS - 9)] + [(False, KEYS - 10)] * 10
    equal(answers[0], expected, "each key charges once, until the limit")
    equal([a for a in answers if a != answers[0]], [], "all get the same answers")
    equal(admin.execute("SELECT period::text, sum(used) FROM quota.usage GROUP BY 1 ORDER BY 1").fetchall(),
          [("day", KEYS - 10), ("month", KEYS - 10)], "that is what is charged")
    equal(admin.execute("SELECT count(*) FROM quota.keys").fetchone()[0], KEYS, "an answer a key")
    finish()


if __name__ == "__main__":
    main()
