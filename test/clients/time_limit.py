"""A test that never ends is ended by ./check, and has failed: by its own time limit,
also where it loops in the server.
"""

import subprocess
import tempfile

from _harness import check, connect, equal, finish

# a program that goes on for ever after a test that passed, by the function of ./check that runs all but regress and isolation
CALL = """
    . ./check
    seconds=2 work=$1 log=$1/log
    shift
    prove_file "$@"
    echo "passed $passed, failed $failed"
"""


def run(test, *command):
    with tempfile.TemporaryDirectory() as work:
        output = subprocess.run(["timeout", "--kill-after=5", "90", "bash", "-c", CALL, "./time_limit", work, test, *command],
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout
        equal(output.splitlines()[-1:], ["passed 1, failed 1"], f"{test} has failed")
        check(f"{test} took longer than 2 s and was ended" in output, f"{test} is named")


def main():
    run("clients/loops", "sh", "-c", "echo ok 1; while :; do :; done")
    run("clients/ignores", "sh", "-c", "trap '' TERM; echo ok 1; while :; do sleep 1; done")
    admin = connect()
    admin.execute("CREATE DATABASE pgtap_loops")
    run("pgtap/loops", "sh", "-c", "echo ok 1; psql -Xqd pgtap_loops -c 'DO $$BEGIN LOOP END LOOP; END$$'")
    equal(admin.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = 'pgtap_loops'").fetchone(), (0,), "nothing of it runs in the server")
    admin.execute("DROP DATABASE pgtap_loops")
    finish()


if __name__ == "__main__":
    main()
