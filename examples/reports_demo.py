"""A real-estate reporting product on quota, played for a person to watch.

Run it by way of ./demo, or against any empty database on a server that has
the extension, with PGHOST, PGDATABASE and so on set for a superuser.
"""

import os
import sys
import threading
import time
import uuid

import psycopg

SQL_SETUP = """
CREATE EXTENSION quota;
SELECT quota_apply(quota_preset('reports'));

CREATE TABLE report_generations (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id    uuid NOT NULL,
    schedule_id   bigint,
    status        text NOT NULL DEFAULT 'processing',
    error_message text,
    generated_at  timestamptz NOT NULL DEFAULT now()
);
SELECT quota_attach('report_generations', 'report', 'account_id');

CREATE ROLE reports_app LOGIN;
GRANT SELECT, INSERT ON report_generations TO reports_app;
"""

SQL_SCHEDULED = """
SELECT quota_attach('report_generations', 'report', 'account_id',
    on_block => 'mark', mark_when => 'schedule_id IS NOT NULL',
    status_column => 'status', blocked_status => 'skipped_limit',
    message_column => 'error_message');
"""

SQL_PLANS = """
SELECT p.plan, p.is_default, l.usage_limit, l.on_limit::text, l.block_ratio,
       l.overage_price
FROM quota.plans p JOIN quota.plan_limits l USING (plan)
WHERE l.feature = 'report' AND l.period::text = 'month'
ORDER BY l.usage_limit
"""

INSERT = "INSERT INTO report_generations (account_id) VALUES (%s)"
CLIENTS = 8

#
# Printing
#

TTY = sys.stdout.isatty()
COLOUR = TTY and not os.environ.get("NO_COLOR")
CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33"}
VERDICTS = {"ALLOW": "green", "ALLOW_WITH_WARNING": "yellow", "BLOCK": "red"}


def paint(text, style):
    return f"\033[{CODES[style]}m{text}\033[0m" if COLOUR else text


def say(text="", style=None, end="\n"):
    print(paint(text, style) if style else text, end=end, flush=True)


def heading(text):
    say()
    say(text, "bold")
    say()


def show_sql(text):
    for line in text.strip().splitlines():
        say(f"    {line}", "dim")


#
# The two sides: the operator, who may look at quota, and the app, which may
# only read and write its own tables.
#

def app():
    return psycopg.connect(user="reports_app", autocommit=True)


def verdict(operator, account):
    """What quota says about one more report, with the figures as they stand."""
    return operator.execute(
        "SELECT decision::text, used, usage_limit, message"
        " FROM quota_evaluate(%s, 'report')", (account,)
    ).fetchone()


def show_usage(operator, account, passing=False):
    """A meter; a passing one is only for terminals, and soon overwritten."""
    decision, used, limit, message = verdict(operator, account)
    filled = "#" * min(used, limit)
    over = "#" * max(0, used - limit)
    meter = paint(f"{filled:.<{limit}}|{over:.<5}", VERDICTS[decision])
    say(f"  {used:3}/{limit} [{meter}] {paint(decision, VERDICTS[decision])}",
        end="\r" if passing else "\n")
    if decision != "ALLOW" and not passing:
        say(f"         {message}", "dim")


def show_error(error):
    say("  the app gets:")
    say(f"    SQLSTATE  {error.sqlstate}", "red")
    say(f"    message   {error.diag.message_primary}", "red")
    say(f"    detail    {error.diag.message_detail}")
    say(f"    hint      {error.diag.message_hint}")


#
# The scenes
#

def plans(operator):
    heading("1. Plans are rows, the limit hangs on the app's own table")
    show_sql(SQL_SETUP)
    operator.execute(SQL_SETUP)
    say()
    for plan, default, limit, on_limit, block_ratio, price in operator.execute(SQL_PLANS):
        if on_limit == "block":
            end = f"blocked above {int(limit * block_ratio)}"
        else:
            end = f"then {price:.2f} USD a report" if price else "then free of charge"
        note = "   <- accounts without a plan" if default else ""
        say(f"  {plan:16} {limit:5} reports a month, {end}{note}")


def one_account(operator):
    heading("2. A free account makes reports, one INSERT each")
    account = uuid.uuid4()
    with app() as connection:
        for number in range(1, 56):
            connection.execute(INSERT, (account,))
            if number in (1, 20, 39, 40, 44, 50, 54, 55):
                show_usage(operator, account)
            elif TTY:
                show_usage(operator, account, passing=True)
                time.sleep(0.05)
            if number == 44:
                rolled_back(operator, connection, account)
        say()
        say("  The 56th INSERT is refused:")
        try:
            connection.execute(INSERT, (account,))
        except psycopg.Error as error:
            show_error(error)


def rolled_back(operator, connection, account):
    say()
    say("         Five more in a transaction that fails halfway, and rolls back:")
    with connection.transaction(force_rollback=True):
        connection.cursor().executemany(INSERT, [(account,)] * 5)
    show_usage(operator, account)
    say("         Work that did not happen costs nothing; no refund was needed.")
    say()


def many_clients(operator):
    heading(f"3. {CLIENTS} connections at once on a fresh account")
    account = uuid.uuid4()
    counts = {"committed": 0, "rolled back": 0, "refused": 0}
    guard = threading.Lock()
    start = threading.Barrier(CLIENTS)

    def client():
        """Insert until refused; every third transaction changes its mind."""
        with app() as connection:
            start.wait()
            number, outcome = 0, None
            while outcome != "refused":
                number += 1
                outcome = "rolled back" if number % 3 == 0 else "committed"
                try:
                    with connection.transaction(
                            force_rollback=outcome == "rolled back"):
                        connection.execute(INSERT, (account,))
                except psycopg.Error as error:
                    if error.sqlstate != "PT429":
                        raise
                    outcome = "refused"
                with guard:
                    counts[outcome] += 1

    began = time.monotonic()
    threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.monotonic() - began

    rows = operator.execute(
        "SELECT count(*) FROM report_generations WHERE account_id = %s",
        (account,)).fetchone()[0]
    used = verdict(operator, account)[1]
    total = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
    say(f"  {sum(counts.values())} transactions in {took:.2f} s: {total}")
    show_usage(operator, account)
    exact = rows == used == counts["committed"] == 55
    say(f"  rows in the table: {rows}    units charged: {used}    "
        + (paint("exact", "green") if exact else paint("WRONG", "red")))
    return exact


def scheduled(operator):
    heading("4. Scheduled work is not refused but marked, and never started")
    show_sql(SQL_SCHEDULED)
    operator.execute(SQL_SCHEDULED)
    account = uuid.uuid4()
    say()
    say("  One statement schedules 57 reports:")
    with app() as connection:
        connection.execute(
            "INSERT INTO report_generations (account_id, schedule_id)"
            " SELECT %s::uuid, 7 FROM generate_series(1, 57)", (account,))
        outcome = connection.execute(
            "SELECT status, count(*), min(error_message)"
            " FROM report_generations WHERE schedule_id = 7"
            " GROUP BY status ORDER BY count(*) DESC")
        for status, count, message in outcome:
            style = "yellow" if message else "green"
            say(f"  {count:4}  {paint(f'{status:15}', style)} {message or ''}")
    show_usage(operator, account)


def main():
    began = time.monotonic()
    with psycopg.connect(autocommit=True) as operator:
        plans(operator)
        one_account(operator)
        exact = many_clients(operator)
        scheduled(operator)

    heading(f"That was quota, in {time.monotonic() - began:.1f} seconds:")
    say("  The limit and the row commit together or not at all.")
    say("  Everything up to the limit could be used, and nothing above it, by any number of clients.")
    say("  The app held rights on its own tables only. What else there is: README.md")
    say()
    return 0 if exact else 1


if __name__ == "__main__":
    sys.exit(main())
