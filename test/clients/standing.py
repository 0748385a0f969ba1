"""Whoever asks after a change of an account has committed sees it, however many
ask and change at once.

Each account has one connection that changes it, through versions that never come
back: by its plan, by an override, by deleting its row, in savepoints, in prepared
transactions, and with changes that are rolled back. The others ask, and each
answer must be of a version between the one that had committed before the question
and the one that was being committed when the answer was there.
"""

import json
import os
import threading

from _harness import Crowd, check, connect, equal, finish, seeded

READERS = 10
WRITERS = 6
VERSIONS = int(os.environ.get("QUOTA_REPEAT", 1)) * 120
ACCOUNTS = [f"account {n}" for n in range(WRITERS)]

CATALOGUE = {
    "features": {"report": {"kind": "counter"}},
    "plans": {"free": {"default": True, "limits": {"report": {"lifetime": {"limit": 0}}}}} | {
        f"v{n}": {"limits": {"report": {"lifetime": {"limit": n}}}} for n in range(1, VERSIONS + 1)},
}
ASK = [
    "SELECT usage_limit FROM quota_evaluate(%s, 'report')",
    "SELECT usage_limit FROM quota_consume(%s, 'report')",
    "SELECT usage_limit FROM quota_evaluate(%s) WHERE feature = 'report'",
]

committed = {account: 0 for account in ACCOUNTS}
committing = {account: 0 for account in ACCOUNTS}


def set_version(connection, rng, account, version):
    """Either a plan or an override, so that one takes the other's place."""
    if rng.random() < 0.3:
        connection.execute("DELETE FROM quota.accounts WHERE account = %s", (account,))
    if rng.random() < 0.7:
        connection.execute("DELETE FROM quota.limit_overrides WHERE account = %s", (account,))
        connection.execute("SELECT quota_set_plan(%s, %s)", (account, f"v{version}"))
    else:
        connection.execute("SELECT quota_set_override(%s, 'report', 'lifetime', %s)", (account, version))


def write(connection, rng, account):
    for version in range(1, VERSIONS + 1):
        while rng.random() < 0.4:
            with connection.transaction(force_rollback=True):
                set_version(connection, rng, account, rng.randint(1, VERSIONS))
        connection.execute("BEGIN")
        if rng.random() < 0.3:
            with connection.transaction(force_rollback=True):
                set_version(connection, rng, account, rng.randint(1, VERSIONS))
        set_version(connection, rng, account, version)
        if rng.random() < 0.2:
            connection.execute(f"PREPARE TRANSACTION '{account}'")
            committing[account] = version
            connection.execute(f"COMMIT PREPARED '{account}'")
        else:
            committing[account] = version
            connection.execute("COMMIT")
        committed[account] = version


def read(connection, rng, wrong):
    asked = 0
    while any(committed[account] < VERSIONS for account in ACCOUNTS):
        account = rng.choice(ACCOUNTS)
        statement = rng.choice(ASK)
        least = committed[account]
        version = connection.execute(statement, (account,)).fetchone()[0]
        most = committing[account]
        asked += 1
        if not least <= version <= most:
            wrong.append(f"{statement}: version {version} of {account}, not within {least} and {most}")
    return asked


def main():
    rng = seeded()
    admin = connect()
    admin.execute("SELECT quota_apply(%s)", (json.dumps(CATALOGUE),))
    crowd = Crowd(READERS + WRITERS, rng)
    crowd.each("SET synchronous_commit = off")
    turn = iter(ACCOUNTS + [None] * READERS)
    lock = threading.Lock()
    wrong = []

    def work(connection, rng, barrier):
        with lock:
            account = next(turn)
        if account is None:
            return read(connection, rng, wrong)
        try:
            write(connection, rng, account)
        finally:
            committed[account] = max(committed[account], VERSIONS)  # for the readers to end
        return 0

    asked = sum(crowd.run(work))
    crowd.close()
    equal(wrong[:5], [], f"every answer of {asked} is of its time")
    check(asked > VERSIONS, "they were asked meanwhile")
    equal([row[0] for row in admin.execute("SELECT usage_limit FROM unnest(%s::text[]) a, quota_evaluate(a, 'report')", (ACCOUNTS,))],
          [VERSIONS] * len(ACCOUNTS), "the last version of each")
    finish()


if __name__ == "__main__":
    main()
