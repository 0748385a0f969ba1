"""What the tests in this directory share: TAP, connections, a crowd of them.

A test is run by Debian's /usr/bin/python3, with the environment of libpq
leading to a database of its own that has the extension, as a superuser.
"""

import os
import random
import sys
import threading

import psycopg

count = 0
failures = 0


def connect(**options):
    options.setdefault("autocommit", True)
    return psycopg.connect("", **options)


def seeded():
    """Random numbers that QUOTA_SEED in the environment brings back."""
    seed = int(os.environ.get("QUOTA_SEED") or random.SystemRandom().randrange(2**32))
    print(f"# QUOTA_SEED={seed}", flush=True)
    return random.Random(seed)


def check(passed, name, *notes):
    global count, failures
    count += 1
    print(f"{'ok' if passed else 'not ok'} {count} - {name}")
    if not passed:
        failures += 1
        for note in notes:
            for line in str(note).splitlines():
                print(f"# {line}")
    sys.stdout.flush()
    return passed


def equal(got, expected, name):
    return check(
        got == expected, name, f"     got: {got!r}", f"expected: {expected!r}"
    )


def raises(sqlstate, name, work):
    """Run work(), which must fail with that SQLSTATE; the error or None."""
    try:
        work()
    except psycopg.Error as error:
        equal(error.sqlstate, sqlstate, name)
        return error
    check(False, name, f"no error, where {sqlstate} was expected")
    return None


def finish():
    print(f"1..{count}")
    sys.exit(1 if failures else 0)


class Crowd:
    """Connections, each with a thread of its own, that start at once."""

    def __init__(self, size, rng):
        self.connections = [connect() for _ in range(size)]
        self.seeds = rng

    def each(self, sql):
        for connection in self.connections:
            connection.execute(sql)

    def run(self, work, size=None):
        """work(connection, rng, barrier) in each; the list of its results."""
        connections = self.connections[:size]
        barrier = threading.Barrier(len(connections), timeout=120)
        results = [None] * len(connections)
        errors = []

        def body(index, connection, rng):
            try:
                barrier.wait()
                results[index] = work(connection, rng, barrier)
            except Exception as error:  # the first one is told below
                errors.append(error)
                barrier.abort()

        threads = [
            threading.Thread(
                target=body, args=(i, c, random.Random(self.seeds.random()))
            )
            for i, c in enumerate(connections)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            told = [
                e for e in errors if not isinstance(e, threading.BrokenBarrierError)
            ]
            raise (told or errors)[0]
        return results

    def replace(self, connection):
        """A new one in place of one that the server ended."""
        connection.close()
        fresh = connect()
        self.connections[self.connections.index(connection)] = fresh
        return fresh

    def close(self):
        for connection in self.connections:
            connection.close()
