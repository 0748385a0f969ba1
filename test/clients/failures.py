"""What failed stands again at the end of ./check's output, above the last line."""

import subprocess
import tempfile

from _harness import equal, finish

# tests that print what they are given and die, by the function of ./check that runs all but regress and isolation
CALL = """
    . ./check
    work=$1 log=$1/log
    for output in "${@:2}"; do
        prove_file clients/dies sh -c 'echo "$1"; exit 3' - "$output"
    done
    prove_file clients/passes echo "ok 1"
    finished=1
    finish
"""


def end(*outputs):
    """What ./check prints at its end, after tests that print these outputs."""
    with tempfile.TemporaryDirectory() as work:
        output = subprocess.run(["bash", "-c", CALL, "./failures", work, *outputs],
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout
    lines = [line.strip() for line in output.splitlines()]
    return lines[lines.index(""):]


def numbered(text, count):
    return [f"{text} {n}" for n in range(1, count + 1)]


def main():
    equal(end(), ["", "1 passed, 0 failed"], "nothing, where all passed")
    notes = numbered("# note", 11)
    equal(end("\n".join(["ok 1", "not ok 2", *notes, "ok 3", "# beside", "not ok 4 # TODO", "# why"])),
          ["", "== failed", "FAIL  clients/dies (1)", "not ok 2", *notes[:10], "", "4 passed, 1 failed"],
          "a test that failed, with ten lines of its diagnostics")
    bad = numbered("not ok", 5)
    equal(end("\n".join(bad)),
          ["", "== failed", "FAIL  clients/dies (5)", *bad[:3], "and 2 more", "", "1 passed, 5 failed"],
          "three tests of a file")
    messages = numbered("message", 21)
    equal(end("\n".join(messages)),
          ["", "== failed", "FAIL  clients/dies (1)", *messages[:20], "", "1 passed, 1 failed"],
          "twenty lines of a file that fails without a test that does")
    equal(end(*["not ok 1"] * 21)[-4:],
          ["not ok 1", "FAIL  clients/dies (1)", "", "1 passed, 21 failed"],
          "only the name, where many files have failed")
    finish()


if __name__ == "__main__":
    main()
