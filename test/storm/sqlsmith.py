"""Random statements by sqlsmith against a database that uses the extension.

sqlsmith reads the catalogue, makes statements of whatever functions and tables are
there, and rolls each back.  The server has no crash, and no internal error (class XX)
that comes from our code or through it.
"""

import json
import os
import re
import signal
import subprocess
import time

from _harness import check, connect, finish, seeded
from _model import CATALOGUE
from _server import Server
from _storm import Faults, seconds
from arguments import SETUP

SECONDS = seconds(15)
SOURCES = os.path.join(os.path.dirname(__file__), "..", "..", "src")


def sources():
    return {name for _, _, names in os.walk(SOURCES) for name in names if name.endswith(".c")}


def smith(server, rng):
    """How many statements it made, how often it ended by itself, and what it said last.

    It crashes now and then, which is no matter of the server: it begins again then.
    """
    end, statements, ended, told = time.monotonic() + SECONDS, 0, 0, ""
    while ended < 10 and end - time.monotonic() > 1:
        process, told = smith_once(server, rng.randrange(2**31), end - time.monotonic())
        # a character a statement
        statements += sum(len(line) for line in told.splitlines() if re.fullmatch("[.SCte]+", line))
        ended += process.returncode != -signal.SIGTERM
    return statements, ended, told[-600:]


def smith_once(server, seed, most):
    # each error tells its SQLSTATE and where it comes from
    options = "-c log_error_verbosity=verbose -c log_min_error_statement=error"
    command = ("sqlsmith", f"--target=host={server.directory} dbname=postgres user=postgres", f"--seed={seed}",
               "--exclude-catalog", "--verbose")
    with open(os.path.join(server.directory, "sqlsmith"), "w+") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env={**os.environ, "PGOPTIONS": options})
        try:
            process.wait(most)
        except subprocess.TimeoutExpired:
            process.terminate()
            process.wait()
        output.seek(0)
        return process, output.read()


def errors(server):
    """(severity, SQLSTATE, lines) of each message of its log."""
    with open(server.log, errors="replace") as log:
        entries = re.split(r"^(?=\d{4}-\d\d-\d\d .*?(?:ERROR|FATAL|PANIC|WARNING|LOG): )", log.read(), flags=re.M)
    for entry in entries:
        match = re.search(r"(ERROR|FATAL|PANIC|WARNING):  (\w{5}): ", entry)
        if match:
            yield match.group(1), match.group(2), entry


def is_ours(entry, names):
    """It comes from our source, or our code was on the way to it."""
    place = re.search(r"LOCATION:.*, (\S+):\d+", entry)
    context = re.search(r"CONTEXT:.*?(?=^\S+ \S+ \S+ \[|\Z)", entry, re.M | re.S)
    return bool(place and place.group(1) in names or context and "quota" in context.group(0))


def main():
    rng = seeded()
    server = Server("smith")
    server.initdb()
    server.start()
    server.lead()
    with connect() as admin:
        admin.execute("CREATE EXTENSION quota")
        admin.execute("SELECT quota_apply(%s)", (json.dumps(CATALOGUE),))
        admin.execute(SETUP)
    statements, ended, told = smith(server, rng)
    names, faults, states, other = sources(), Faults(), {}, 0
    for severity, state, entry in errors(server):
        states[state] = states.get(state, 0) + 1
        if state[:2] != "XX":
            continue
        if is_ours(entry, names):
            faults.add(re.sub(r"\d+", "N", entry.splitlines()[0].split(state)[1])[:80], entry[:1500])
        else:
            other += 1
    print(f"# {statements} statements, sqlsmith ended by itself {ended} times; internal errors of PostgreSQL's own {other}; "
          + ", ".join(f"{state} {n}" for state, n in sorted(states.items(), key=lambda one: -one[1])[:12]))
    check(ended < 10 and statements > 0, "sqlsmith went on to the end", told)
    check(not faults.first, "no internal error comes from our code", *faults.notes())
    crashes = server.lines("was terminated by signal", "PANIC: ", "TRAP: ")
    check(not crashes, "no crash", *crashes)
    server.stop("immediate")
    finish()


if __name__ == "__main__":
    main()
