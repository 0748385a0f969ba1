"""No two statements that commit on their own deadlock through quota.

Each case is one way in which statements once locked the same counters in
different orders.  Its statements run at random from several connections, each a
transaction of its own, on few accounts, far below their limits; none may fail.
"""

import json
import os
import time

from _harness import Crowd, connect, equal, finish, seeded

CONNECTIONS = 8
SECONDS = float(os.environ.get("QUOTA_SECONDS") or 3)

MONTH = {"month": {"limit": 10**9}}
CATALOGUE = {
    "features": {f: {"kind": "counter"} for f in ("page", "report", "run")} | {"byte": {"kind": "gauge"}},
    "plans": {
        "free": {"default": True, "limits": {
            "page": MONTH | {"day": {"limit": 10**9}}, "report": MONTH, "run": MONTH, "byte": {"lifetime": {"limit": 10**9}}}},
        "one": {"limits": {"run": MONTH}},
        "two": {"limits": {"report": MONTH, "run": MONTH}},
    },
}

SETUP = """
    CREATE TABLE mixed (owner text, ok boolean DEFAULT true);
    SELECT quota_attach('mixed', 'report', 'owner'), quota_attach('mixed', 'run', 'owner', on_block => 'skip');
    CREATE TABLE reversed (owner text);
    SELECT quota_attach('reversed', 'report', 'owner', on_block => 'skip'), quota_attach('reversed', 'run', 'owner');
    CREATE TABLE two_owners (a text, b text);
    SELECT quota_attach('two_owners', 'report', 'a'), quota_attach('two_owners', 'run', 'b');
    CREATE TABLE files (id bigserial PRIMARY KEY, owner text, n int, failed boolean DEFAULT false,
        at timestamptz DEFAULT current_setting('quota.now')::timestamptz);
    SELECT quota_attach('files', 'byte', 'owner', 'n'),
        quota_attach('files', 'page', 'owner', counted_when => 'NOT failed', time_column => 'at');
    INSERT INTO files (owner, n) SELECT (ARRAY['max', 'mia'])[1 + i % 2], 1 FROM generate_series(1, 200) i;
"""
POOL = """
    SELECT quota_set_plan('team', 'one'), quota_set_plan('max', 'two'), quota_set_plan('mia', 'two');
    SELECT quota_set_pool('max', 'team'), quota_set_pool('mia', 'team');
"""

MANY = "SELECT * FROM quota_consume_many(%(one)s, '{\"report\": 1, \"run\": 1, \"page\": 1}')"
TWO = "SELECT * FROM quota_consume_many(%(one)s, '{\"report\": 1, \"run\": 1}')"
# Rows of the application are locked by id: in the order of the table, which VACUUM and
# ANALYZE change, such statements deadlock on its rows without the extension, too.
MINE = "WITH mine AS (SELECT id FROM files WHERE id %% 50 = %(n)s ORDER BY id FOR UPDATE)"
CASES = {
    "raise and skip on one table": [TWO, "INSERT INTO mixed VALUES (%(one)s)"],
    "skip and raise on another": [
        "INSERT INTO mixed VALUES (%(one)s)", "INSERT INTO reversed VALUES (%(one)s)", MANY],
    "two columns that name accounts": [
        "INSERT INTO two_owners VALUES (%(one)s, %(other)s), (%(other)s, %(one)s)", MANY,
        "INSERT INTO mixed VALUES (%(one)s)"],
    "rows of several accounts, several features": [
        "INSERT INTO files (owner, n) VALUES (%(one)s, 1), (%(other)s, 1)",
        f"{MINE} UPDATE files SET n = n + 1, failed = NOT failed FROM mine WHERE files.id = mine.id",
        f"{MINE} UPDATE files SET owner = %(one)s FROM mine WHERE files.id = mine.id",
        f"{MINE} DELETE FROM files USING mine WHERE files.id = mine.id AND files.id > 200", MANY],
}
POOLED = {
    "a pool that limits one feature, and its members two": [
        TWO, "INSERT INTO mixed VALUES (%(one)s)", "INSERT INTO reversed VALUES (%(one)s)",
        "SELECT * FROM quota_consume('team', 'run')"],
}


def statements_of(case):
    def work(connection, rng, barrier):
        """How many statements succeeded, and what the others failed with, where."""
        done, failed = 0, {}
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            one, other = rng.sample(["max", "mia"], 2)
            try:
                connection.execute(rng.choice(case), {"one": one, "other": other, "n": rng.randrange(50)})
                done += 1
            except Exception as error:
                what = f"{error.sqlstate} {error.diag.context}"
                failed[what] = failed.get(what, 0) + 1
        return done, failed
    return work


def main():
    rng = seeded()
    os.environ["PGOPTIONS"] = "-c quota.now=2026-01-15T12:00Z -c client_min_messages=warning"
    admin = connect()
    admin.execute("SELECT quota_apply(%s)", (json.dumps(CATALOGUE),))
    admin.execute(SETUP)
    crowd = Crowd(CONNECTIONS, rng)
    crowd.each("SET deadlock_timeout = '20ms'")
    for cases in (CASES, POOLED):
        if cases is POOLED:
            admin.execute(POOL)
        for name, case in cases.items():
            results = crowd.run(statements_of(case))
            print(f"# {name}: {sum(done for done, _ in results)} statements")
            equal([failed for _, failed in results if failed], [], name)
    crowd.close()
    finish()


if __name__ == "__main__":
    main()
