"""What an application sees through a driver (psycopg 3): types of accounts,
errors and their details, COPY, pipelines, cancelling, and catalogue changes
under prepared statements.
"""

import json
import logging
import threading
import time
import uuid
from decimal import Decimal

import psycopg

from _harness import check, connect, equal, finish, raises

CATALOGUE = {
    "features": {
        "scan": {"kind": "counter", "unit": "scan"},
        "upload": {"kind": "counter", "unit": "row"},
        "export": {"kind": "counter"},
        "wait": {"kind": "counter"},
        "git": {"kind": "flag"},
    },
    "plans": {
        "free": {
            "default": True, "price": 0,
            "limits": {"scan": {"month": {"limit": 2}},
                       "upload": {"day": {"limit": 10}},
                       "wait": {"month": {"limit": 5}, "day": {"limit": 5}}},
            "features": {"git": False},
        },
        "pro": {
            "price": 9,
            "limits": {"scan": {"month": {"limit": 100}},
                       "export": {"month": {"limit": 10}}},
            "features": {"git": True},
        },
    },
}

NOW = "2026-01-31 23:00+00"  # an hour before the month ends


def used(admin, account, feature):
    """Use by window, in order of the periods."""
    return [row[0] for row in admin.execute(
        "SELECT used FROM quota.usage WHERE account = %s AND feature = %s "
        "ORDER BY period", (account, feature))]


def test_accounts(admin):
    key = uuid.uuid4()
    for binary in (False, True):
        with connect() as connection, connection.cursor(binary=binary) as cursor:
            for account in ("ada", key, 5, 70_000, 3_000_000_000):
                name = f"{type(account).__name__} as account" + (
                    ", binary" if binary else "")
                placeholder = "%b" if binary else "%s"
                row = cursor.execute(
                    "SELECT account, allowed, used "
                    f"FROM quota_record({placeholder}, 'scan')", (account,)
                ).fetchone()
                equal(row, (str(account), True, 1 + binary), name)
    equal(admin.execute("SELECT used FROM quota.usage WHERE account = %s",
                        (str(key),)).fetchone(), (2,),
          "a uuid and its text are one account")

    calls = {
        "quota_evaluate(%s)": "the windows of",
        "quota_evaluate(%s, 'scan')": "evaluate",
        "quota_consume_many(%s, '{\"upload\": 1}')": "consume_many",
        "quota_refund(%s, 'scan')": "refund",
    }
    for account in (key, 5, "ada"):
        for call, name in calls.items():
            rows = admin.execute(f"SELECT account FROM {call}", (account,)).fetchall()
            equal({row[0] for row in rows}, {str(account)},
                  f"{name} {type(account).__name__}")
        equal(admin.execute("SELECT quota_has_feature(%s, 'git')",
                            (account,)).fetchone(), (False,),
              f"has_feature of {type(account).__name__}")

    raises("42883", "no function takes a numeric account", lambda: admin.execute(
        "SELECT quota_consume(%s, 'scan')", (Decimal("1.5"),)))
    raises("22004", "a null account is an error", lambda: admin.execute(
        "SELECT quota_consume(%s, 'scan')", (None,)))
    raises("42704", "an unknown feature is an error", lambda: admin.execute(
        "SELECT quota_consume('ada', %s)", ("nonsense",)))


def test_errors(admin):
    admin.execute(f"SET quota.now = '{NOW}'")
    admin.execute("SELECT quota_consume('eve', 'scan', 2)")
    error = raises("PT429", "a reached limit is PT429", lambda: admin.execute(
        "SELECT quota_enforce('eve', 'scan')"))
    if error:
        diag = error.diag
        equal(diag.message_primary, "Monthly scan limit reached (2/2).",
              "PT429: its message")
        equal(json.loads(diag.message_detail), {
            "error": "quota_exceeded", "feature": "scan", "plan": "free",
            "limit": 2, "used": 2, "remaining": 0, "period": "month",
            "retry_after_s": 3600,
        }, "PT429: its detail is JSON")
        check(diag.message_hint, "PT429: it has a hint")
        check(not diag.internal_query, "PT429: it shows no inner query")
    row = admin.execute(
        "SELECT allowed, decision, reason, retry_after, message "
        "FROM quota_consume('eve', 'scan')").fetchone()
    equal(row[:3], (False, "BLOCK", "limit_reached"),
          "consume returns the same denial")
    equal((row[3].total_seconds(), row[4]),
          (3600, "Monthly scan limit reached (2/2)."), "with the same figures")

    error = raises("PT402", "a feature of another plan is PT402",
                   lambda: admin.execute("SELECT quota_enforce('eve', 'export')"))
    if error:
        detail = json.loads(error.diag.message_detail)
        equal((detail["feature"], detail["plan"]), ("export", "free"),
              "PT402: its detail is JSON")
        check("pro" in (error.diag.message_hint or ""),
              "PT402: its hint names a plan that has it", error.diag.message_hint)
    error = raises("PT402", "so is a gate", lambda: admin.execute(
        "SELECT quota_require_feature('eve', 'git')"))
    if error:
        check("pro" in (error.diag.message_hint or ""),
              "PT402: the hint of a gate names a plan that has it",
              error.diag.message_hint)

    admin.execute("INSERT INTO quota.accounts (account, status) "
                  "VALUES ('mallory', 'suspended')")
    error = raises("PT403", "a suspended account is PT403", lambda: admin.execute(
        "SELECT quota_enforce('mallory', 'scan')"))
    if error:
        equal(json.loads(error.diag.message_detail)["feature"], "scan",
              "PT403: its detail is JSON")
    admin.execute("RESET quota.now")


def test_copy(admin):
    admin.execute("CREATE TABLE uploads (id bigserial PRIMARY KEY, owner uuid);"
                  "SELECT quota_attach('uploads', 'upload', 'owner')")
    owner = uuid.uuid4()

    def upload(rows):
        with admin.cursor() as cursor:
            with cursor.copy("COPY uploads (owner) FROM STDIN") as copy:
                for _ in range(rows):
                    copy.write_row((owner,))

    def stored():
        count, = admin.execute(
            "SELECT count(*) FROM uploads WHERE owner = %s", (owner,)).fetchone()
        return count, used(admin, str(owner), "upload")

    error = raises("PT429", "COPY over the limit is PT429", lambda: upload(11))
    if error:
        detail = json.loads(error.diag.message_detail)
        equal((detail["feature"], detail["limit"], detail["used"]),
              ("upload", 10, 0), "COPY over the limit: its detail is JSON")
    equal(stored(), (0, []), "COPY over the limit leaves nothing")
    upload(10)
    equal(stored(), (10, [10]), "COPY up to the limit is charged")
    raises("PT429", "COPY of one more row is PT429", lambda: upload(1))
    equal(stored(), (10, [10]), "COPY of one more row leaves nothing")

    rows = [(uuid.uuid4(),) for _ in range(50)]
    with admin.cursor() as cursor:
        cursor.executemany("INSERT INTO uploads (owner) VALUES (%s)", rows)
    equal(admin.execute(
        "SELECT count(*) FROM quota.usage u JOIN uploads p "
        "ON u.account = p.owner::text WHERE u.feature = 'upload' AND used = 1"
    ).fetchone(), (50,), "executemany is charged a row each")


def test_pipeline(admin):
    admin.execute("CREATE TABLE scans (id int)")
    with connect(autocommit=False) as connection:
        with connection.pipeline():
            cursor = connection.execute("SELECT allowed FROM quota_consume('pip', 'scan')")
            connection.execute("INSERT INTO scans VALUES (1)")
            connection.commit()
        equal((cursor.fetchone(), used(admin, "pip", "scan")), ((True,), [1]),
              "a charge and a row in one pipeline")

        # it would tell of the end of the pipeline as well
        logging.getLogger("psycopg").disabled = True

        def over():
            with connection.pipeline():
                connection.execute("INSERT INTO scans VALUES (2)")
                connection.execute("SELECT quota_enforce('pip', 'scan', 2)")
                connection.commit()

        raises("PT429", "a denial in a pipeline is PT429", over)
        connection.rollback()
    equal((admin.execute("SELECT count(*) FROM scans").fetchone(),
           used(admin, "pip", "scan")), ((1,), [1]),
          "a denial in a pipeline leaves nothing")


def test_prepared(admin):
    with connect() as connection:
        def limit():
            return connection.execute(
                "SELECT usage_limit FROM quota_evaluate('pre', 'scan')",
                prepare=True).fetchone()[0]

        before = limit()
        admin.execute("UPDATE quota.plan_limits SET usage_limit = 3 "
                      "WHERE (plan, feature) = ('free', 'scan')")
        equal((before, limit()), (2, 3),
              "a prepared statement sees a limit that changed")
        admin.execute(
            "INSERT INTO quota.limit_overrides (account, feature, period, usage_limit) "
            "VALUES ('pre', 'scan', 'month', 7)")
        equal(limit(), 7, "and an override")
        admin.execute("INSERT INTO quota.accounts (account, plan) VALUES ('pre', 'pro')")
        admin.execute("DELETE FROM quota.limit_overrides")
        equal(limit(), 100, "and another plan")
        admin.execute("UPDATE quota.plan_limits SET usage_limit = 2 "
                      "WHERE (plan, feature) = ('free', 'scan')")


class Waiter:
    """A statement in a thread of its own, on a connection of its own."""

    def __init__(self, sql):
        self.connection = connect()
        self.pid = self.connection.info.backend_pid
        self.error = None
        self.row = None
        self.thread = threading.Thread(target=self.body, args=(sql,))
        self.thread.start()

    def body(self, sql):
        try:
            cursor = self.connection.execute(sql)
            self.row = cursor.fetchone() if cursor.description else None
        except psycopg.Error as error:
            self.error = error

    def wait_for_lock(self, admin):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            waits = admin.execute(
                "SELECT wait_event_type = 'Lock' FROM pg_stat_activity "
                "WHERE pid = %s", (self.pid,)).fetchone()
            if waits and waits[0]:
                return
            if not self.thread.is_alive():
                break
            time.sleep(0.002)
        raise AssertionError(f"does not wait for a lock: {self.row} {self.error}")

    def result(self):
        """Its SQLSTATE, or None and the row."""
        self.thread.join(60)
        assert not self.thread.is_alive()
        self.connection.close()
        return self.error.sqlstate if self.error else None, self.row


def test_cancel(admin):
    admin.execute("CREATE TABLE waits (id bigserial, owner text);"
                  "SELECT quota_attach('waits', 'wait', 'owner')")
    consume = "SELECT allowed, used FROM quota_consume('{}', 'wait')"
    insert = "INSERT INTO waits (owner) VALUES ('{}')"
    many = "SELECT allowed, used FROM quota_consume_many('{}', '{{\"wait\": 1}}')"
    backend = lambda waiter: admin.execute(
        "SELECT pg_cancel_backend(%s)", (waiter.pid,))
    driver = lambda waiter: waiter.connection.cancel()

    # the counter has a row already, or the holder makes it
    number = 0
    for first_use in (False, True):
        for sql, what in ((consume, "consume"), (insert, "insert"),
                          (many, "consume_many")):
            for cancel, how in ((backend, "by the server"), (driver, "by the driver")):
                number += 1
                account = f"wait-{number}"
                name = f"{what} cancelled {how}" + (
                    ", first use" if first_use else "")
                if not first_use:
                    admin.execute(consume.format(account))
                with connect(autocommit=False) as holder:
                    holder.execute(consume.format(account))
                    waiter = Waiter(sql.format(account))
                    waiter.wait_for_lock(admin)
                    cancel(waiter)
                    equal(waiter.result()[0], "57014", f"{name}: 57014")
                    holder.commit()
                n = 1 + (not first_use)
                equal(used(admin, account, "wait"), [n, n],
                      f"{name}: nothing is charged")
    equal(admin.execute("SELECT count(*) FROM waits").fetchone(), (0,),
          "a cancelled insert leaves no row")

    with connect(autocommit=False) as holder:
        holder.execute(consume.format("queue"))
        waiters = []
        for _ in range(3):
            waiters.append(Waiter(consume.format("queue")))
            waiters[-1].wait_for_lock(admin)
        backend(waiters[0])
        equal(waiters[0].result()[0], "57014", "the first of a queue is cancelled")
        holder.rollback()
    equal(sorted(w.result()[1][1] for w in waiters[1:]), [1, 2],
          "the others of the queue are served")
    equal(used(admin, "queue", "wait"), [2, 2], "the queue is charged exactly")

    with connect(autocommit=False) as holder:
        holder.execute(consume.format("late"))
        with connect() as other:
            other.execute("SET lock_timeout = '10ms'")
            raises("55P03", "lock_timeout is 55P03",
                   lambda: other.execute(consume.format("late")))
            other.execute("SET lock_timeout = 0; SET statement_timeout = '30ms'")
            raises("57014", "statement_timeout is 57014",
                   lambda: other.execute(consume.format("late")))
            # what was cancelled in part of a transaction leaves the rest
            other.execute("SET statement_timeout = 0; SET lock_timeout = '10ms'")
            with other.transaction():
                other.execute(consume.format("calm"))
                raises("55P03", "lock_timeout in a savepoint is 55P03", lambda: (
                    savepoint(other, consume.format("late"))))
        waiter = Waiter(consume.format("late"))
        waiter.wait_for_lock(admin)
        admin.execute("SELECT pg_terminate_backend(%s)", (waiter.pid,))
        waiter.result()
        check(isinstance(waiter.error, psycopg.OperationalError),
              "a terminated one has lost its connection", repr(waiter.error))
        holder.rollback()
    equal((used(admin, "late", "wait"), used(admin, "calm", "wait")), ([], [1, 1]),
          "timeouts and termination leave nothing charged, and the rest as it was")


def savepoint(connection, sql):
    with connection.transaction():
        connection.execute(sql)


def main():
    admin = connect()
    admin.execute("SELECT quota_apply(%s)", (json.dumps(CATALOGUE),))
    for test in (test_accounts, test_errors, test_copy, test_pipeline,
                 test_prepared, test_cancel):
        try:
            test(admin)
        except Exception as error:
            check(False, test.__name__, repr(error))
    finish()


if __name__ == "__main__":
    main()
