"""Counters follow the rows of attached tables, whoever changes them at once.

Many connections insert, change, move and delete rows of a few accounts at
random.  Then the levels are the sums of the rows, and no statement has left an
account above its limit.
"""

import os

import psycopg

from _harness import Crowd, check, connect, equal, finish, seeded

CONNECTIONS = 12
TRANSACTIONS = 120
LIMIT = 60
ACCOUNTS = ["a", "b", "c", "d"]
# what may happen to one of several; nothing else may
RETRIED = {"40P01", "40001"}
REFUSED = {"PT429"}

SETUP = f"""
SET client_min_messages = warning;
INSERT INTO quota.plans (plan, is_default) VALUES ('free', true);
INSERT INTO quota.features (feature, kind) VALUES ('mb', 'gauge'), ('job', 'counter');
INSERT INTO quota.plan_limits (plan, feature, period, usage_limit) VALUES
    ('free', 'mb', 'lifetime', {LIMIT}), ('free', 'job', 'day', {LIMIT}), ('free', 'job', 'month', {LIMIT});
CREATE SEQUENCE ids;
CREATE TABLE files (id int DEFAULT nextval('ids'), account text, mb int, PRIMARY KEY (id)) PARTITION BY HASH (id);
CREATE TABLE files_0 PARTITION OF files FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE files_1 PARTITION OF files FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE jobs (id int PRIMARY KEY DEFAULT nextval('ids'), account text, status text DEFAULT 'new',
    made timestamptz DEFAULT now());
SELECT quota_attach('files', 'mb', 'account', 'mb');
SELECT quota_attach('jobs', 'job', 'account', counted_when => $$status <> 'failed'$$);
"""


def statement(rng):
    """One change of rows, and its parameters."""
    account, other = rng.choice(ACCOUNTS), rng.choice(ACCOUNTS)
    some = f"SELECT id FROM {{}} WHERE mod(id, 7) = {rng.randrange(7)}"
    files, jobs = some.format("files"), some.format("jobs")
    return rng.choice([
        ("INSERT INTO files (account, mb) SELECT (%s::text[])[1 + mod(i, 2)], i FROM generate_series(1, 4) i",
         ([account, other],)),
        (f"UPDATE files SET mb = {rng.randint(0, 9)} WHERE id IN ({files})", ()),
        (f"UPDATE files SET account = %s WHERE id IN ({files})", (account,)),
        (f"UPDATE files SET id = nextval('ids'), mb = mb + 1 WHERE id IN ({files})", ()),
        (f"DELETE FROM files WHERE id IN ({files})", ()),
        (f"TRUNCATE files_{rng.randrange(2)}" if rng.randrange(20) == 0 else "DELETE FROM files WHERE mb = 3", ()),
        ("INSERT INTO jobs (account) VALUES (%s), (%s)", (account, other)),
        ("INSERT INTO jobs (account, made) VALUES (%s, '2020-01-01')", (account,)),
        (f"UPDATE jobs SET status = 'failed' WHERE id IN ({jobs})", ()),
        (f"UPDATE jobs SET status = 'new' WHERE id IN ({jobs})", ()),
        (f"UPDATE jobs SET account = %s WHERE id IN ({jobs})", (account,)),
        (f"UPDATE jobs SET id = nextval('ids'), made = made - interval '1 year' WHERE id IN ({jobs})", ()),
    ])


def work(connection, rng, barrier):
    """Random transactions; how many committed, were refused and failed otherwise."""
    told = {"committed": 0, "refused": 0, "retried": 0}
    for _ in range(TRANSACTIONS):
        try:
            with connection.transaction():
                for _ in range(rng.randint(1, 3)):
                    connection.execute(*statement(rng))
                if rng.randrange(4) == 0:
                    raise psycopg.Rollback()
            told["committed"] += 1
        except psycopg.Error as error:
            if error.sqlstate in REFUSED:
                told["refused"] += 1
            elif error.sqlstate in RETRIED:
                told["retried"] += 1
            else:
                raise
    return told


def main():
    rng = seeded()
    # windows that no midnight ends
    os.environ["PGOPTIONS"] = "-c quota.now=2026-01-15T12:00Z"
    owner = connect()
    owner.execute(SETUP)
    crowd = Crowd(CONNECTIONS, rng)
    crowd.each("SET deadlock_timeout = '50ms'")
    results = crowd.run(work)
    told = {key: sum(r[key] for r in results) for key in results[0]}
    print(f"# {told}")
    check(told["committed"] > CONNECTIONS * TRANSACTIONS / 4, "transactions commit", told)
    check(told["refused"] > 0, "some are refused", told)

    equal(
        owner.execute("SELECT account, used FROM quota.counters WHERE feature = 'mb' AND used <> 0 ORDER BY 1").fetchall(),
        owner.execute("SELECT account, sum(mb)::bigint FROM files GROUP BY 1 HAVING sum(mb) <> 0 ORDER BY 1").fetchall(),
        "levels are the sums of the rows",
    )
    equal(owner.execute("SELECT * FROM quota_reconcile('files', 'mb')").fetchall(), [], "nothing differs")
    equal(owner.execute("SELECT * FROM quota_reconcile('jobs', 'job')").fetchall(), [],
          "rows count where they were charged, and are refunded there")
    equal(owner.execute(f"SELECT * FROM quota.counters WHERE used > {LIMIT}").fetchall(), [], "no limit was passed")
    crowd.close()
    finish()


main()
