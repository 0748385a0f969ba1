"""Many charges of one counter in one transaction: each costs as much as the first,
and so do those of others meanwhile, whatever is rolled back to savepoints.

What a charge costs is counted in pages of the shared buffers, which does not depend
on the machine. What others may do is compared with all that the open transaction
can yet become.
"""

import json
import os
import re

import psycopg

from _harness import check, connect, equal, finish, seeded

LIMIT = 1_000_000
MANY, FEW = 20_000, 2_000
STEPS = int(os.environ.get("QUOTA_STEPS") or 120)

CATALOGUE = {
    "features": {"report": {"kind": "counter"}},
    "plans": {"free": {"default": True, "limits": {"report": {"month": {"limit": LIMIT}}}}},
}
SETUP = """
    CREATE FUNCTION charge(name text, times int, savepoints boolean) RETURNS void LANGUAGE plpgsql AS $$
    BEGIN
        FOR i IN 1..times LOOP
            IF savepoints THEN
                BEGIN
                    PERFORM quota_consume(name, 'report');
                EXCEPTION WHEN division_by_zero THEN
                END;
            ELSE
                PERFORM quota_consume(name, 'report');
            END IF;
        END LOOP;
    END $$;
    CREATE FUNCTION split(name text) RETURNS void LANGUAGE sql AS $$
        UPDATE quota.usage SET slots = 4 WHERE account = name;
        INSERT INTO quota.usage (account, feature, period, period_start, slot, used)
        SELECT account, feature, period, period_start, s, 0 FROM quota.usage, generate_series(1, 3) s WHERE account = name;
    $$;
"""


def pages(connection, statement):
    """How many pages a statement looks at."""
    plan = "\n".join(line for line, in connection.execute(f"EXPLAIN (ANALYZE, BUFFERS, COSTS OFF, TIMING OFF) {statement}"))
    return sum(int(n) for n in re.findall(r"^  Buffers: shared.*?hit=(\d+)", plan, re.M)) or \
        sum(int(n) for n in re.findall(r"Buffers: shared hit=(\d+)", plan)[:1])


def is_linear(admin, name, slots, savepoints):
    one, two = connect(), connect()
    beside = "SELECT quota_consume('%s', 'report')" % name
    look = "SELECT quota_evaluate('%s', 'report')" % name
    what = f"{'a counter with slots' if slots else 'a counter'}{', a savepoint each' if savepoints else ''}"
    admin.execute("SELECT quota_consume(%s, 'report')", (name,))
    if slots:
        admin.execute("SELECT split(%s)", (name,))
        # who has a slot keeps the others from merging them
        two.execute(f"BEGIN; {beside}")
    for connection in (one, admin):
        connection.execute(beside), connection.execute(look)
    one.execute("BEGIN")
    costs = [pages(one, f"SELECT charge('{name}', {times}, {savepoints})") / times for times in (FEW, MANY)]
    check(costs[1] < 1.5 * costs[0] + 2, f"{what}: {MANY} charges cost as much each as {FEW}", costs)
    for statement in [look] + [beside] * slots:
        admin.execute(statement)
        seen = [pages(admin, statement) for _ in range(5)]
        check(min(seen) < 100, f"{what}: nobody walks what is open: {statement}", seen)
    one.execute("COMMIT")
    admin.execute(beside)
    check(pages(admin, beside) < 100, f"{what}: nor what was")
    two.execute("COMMIT" if slots else "SELECT")
    used, = admin.execute("SELECT sum(used) FROM quota.usage WHERE account = %s", (name,)).fetchone()
    equal(used, FEW + MANY + (12 if slots else 5), f"{what}: nothing is lost")


# What others may do beside an open transaction

class Open:
    """A transaction with many charges of a slot, and all that it can become."""

    def __init__(self, connection):
        self.connection = connection
        self.versions = [0]  # what each version adds to what was committed
        self.writers = [None]  # the subtransaction that has written it
        self.savepoints = []  # of each the number of versions before it, and its subtransaction
        self.subtransactions = 0

    def run(self, statement, *arguments):
        return self.connection.execute(statement, arguments)

    def subtransaction(self):
        self.subtransactions += 1
        return self.subtransactions

    def outcomes(self):
        """What may be left: no version that its own subtransaction has written over."""
        return [version for version, writer, following in zip(self.versions, self.writers, self.writers[1:] + [None])
                if writer is None or writer != following]

    def step(self, rng, up):
        kind = rng.random()
        if kind < 0.12:
            self.run(f"SAVEPOINT s{len(self.savepoints)}")
            self.savepoints.append((len(self.versions), self.subtransaction()))
        elif kind < 0.2 and self.savepoints:
            number = rng.randrange(len(self.savepoints))
            self.run(f"ROLLBACK TO s{number}")
            versions = self.savepoints[number][0]
            del self.savepoints[number:], self.versions[versions:], self.writers[versions:]
            self.savepoints.append((versions, self.subtransaction()))
        elif kind < 0.25 and self.savepoints:
            number = rng.randrange(len(self.savepoints))
            self.run(f"RELEASE s{number}")
            del self.savepoints[number:]
        else:
            n = rng.choice((1, 10, 100))
            self.run(f"SELECT quota_{'record' if rng.random() < up else 'refund'}('open', 'report', %s)", n)
            used, = self.run("SELECT used FROM quota.counters WHERE account = 'open'").fetchone()
            self.versions.append(used - self.base)
            self.writers.append(self.savepoints[-1][1] if self.savepoints else 0)


def may(connection, statement):
    """Whether a charge goes through: None where it waits."""
    try:
        with connection.transaction(force_rollback=True):
            connection.execute("SET LOCAL lock_timeout = '10ms'")
            return connection.execute(statement).fetchone()[0]
    except psycopg.errors.LockNotAvailable:
        return None


def beside_an_open_one(admin, rng, up):
    base = 300_000
    admin.execute("DELETE FROM quota.usage WHERE account = 'open'")
    admin.execute("SELECT quota_record('open', 'report', %s), split('open')", (base,))
    admin.execute("UPDATE quota.usage SET used = %s / 4 WHERE account = 'open'", (base,))
    holder, writer, other = connect(), connect(), connect()
    holder.execute("BEGIN; SELECT quota_record('open', 'report', 0 + 1)")
    writer.execute("BEGIN")
    one = Open(writer)
    one.base = base
    wrong, jumps = [], 0
    for number in range(STEPS):
        one.step(rng, up)
        # the holder may add one
        most, least = base + 1 + max(one.outcomes()), base + min(one.outcomes())
        for n, expected in ((least, True), (least + 1, None if least < base else True)):
            got = may(other, f"SELECT allowed FROM quota_refund('open', 'report', {n})")
            if n <= base and got != expected:
                wrong.append((number, "refund", n, got, expected, len(one.versions), most, least))
        room = LIMIT - most
        n = room + 1
        got = may(other, f"SELECT allowed FROM quota_consume('open', 'report', {n})")
        expected = False if base + n > LIMIT else None
        if got != expected:
            wrong.append((number, "consume", n, got, expected, len(one.versions), most, least))
        if wrong:
            break
    writer.execute("COMMIT")
    holder.execute("COMMIT")
    used, = admin.execute("SELECT sum(used) FROM quota.usage WHERE account = 'open'").fetchone()
    check(not wrong, f"beside {len(one.versions)} open versions others wait where it depends on them, rising {up}", *wrong)
    equal(used, base + 1 + one.versions[-1], "and in the end it is what is left of them")


def main():
    rng = seeded()
    admin = connect()
    admin.execute("SELECT quota_apply(%s)", (json.dumps(CATALOGUE),))
    admin.execute(SETUP)
    for slots in (False, True):
        for savepoints in (False, True):
            is_linear(admin, f"{slots} {savepoints}", slots, savepoints)
    for up in (1, 0, 0.5, 0.95):
        beside_an_open_one(admin, rng, up)
    finish()


if __name__ == "__main__":
    main()
