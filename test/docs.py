"""Run the examples of a Markdown file: test/docs.py FILE, printing TAP.

All ```sql blocks run in order in one psql session.  A block that is followed
by a ```text block must print that; one that is not must not print an error.
A file that starts with <!-- examples: none --> is left out. One that starts with
<!-- examples: after FILE --> goes on from the examples of that file, whose path
is relative to its own.
"""

import difflib
import re
import subprocess
import sys
from pathlib import Path

MARK = "--- example"
BLOCK = re.compile(
    r"^(?P<indent> *)```sql\n(?P<sql>.*?)^ *```\n"
    r"(?:\s*^ *```text\n(?P<output>.*?)^ *```\n)?",
    re.MULTILINE | re.DOTALL,
)
FENCE = re.compile(r"^ *```", re.MULTILINE)
AFTER = re.compile(r"<!-- examples: after (\S+) -->")


def blocks_before(path, document):
    """The examples that those of the document go on from."""
    after = AFTER.match(document)
    if not after:
        return []
    first = Path(path).parent / after[1]
    return list(BLOCK.finditer(first.read_text(encoding="utf-8")))


def lines(text, indent=0):
    """Its lines without indent, space at their ends, and blank ones around."""
    return "\n".join(
        line[indent:].rstrip() for line in text.splitlines()
    ).strip("\n").splitlines()


def run(blocks):
    """The output of each block, or None for one that psql did not reach."""
    script = ""
    for number, block in enumerate(blocks):
        script += f"\\echo '{MARK} {number}'\n{block['sql']}\n"
    psql = subprocess.run(
        ["psql", "-X", "-q"], input=script, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )
    pieces = re.split(rf"^{MARK} \d+\n", psql.stdout, flags=re.MULTILINE)[1:]
    return pieces + [None] * (len(blocks) - len(pieces))


def problem(block, output):
    """What is wrong with a block's output, as lines; empty if nothing is."""
    if output is None:
        return ["psql ended before this example"]
    printed = lines(output)
    if block["output"] is not None:
        expected = lines(block["output"], len(block["indent"]))
        return list(difflib.unified_diff(
            expected, printed, "document", "psql", lineterm=""))
    if any(re.match(r"(ERROR|FATAL|PANIC):", line) for line in printed):
        return printed
    return []


def main(path):
    with open(path, encoding="utf-8") as file:
        document = file.read()
    blocks = list(BLOCK.finditer(document))
    if document.startswith("<!-- examples: none -->") or not blocks:
        print("1..0 # SKIP no examples")
        return 0

    if len(FENCE.findall(document)) % 2:
        print(f"1..1\nnot ok 1 - {path}: the last block of code has no end")
        return 1

    print(f"1..{len(blocks)}")
    failed = False
    before = blocks_before(path, document)
    outputs = run(before + blocks)[len(before):]
    for number, (block, output) in enumerate(zip(blocks, outputs), 1):
        wrong = problem(block, output)
        failed = failed or bool(wrong)
        line = document.count("\n", 0, block.start()) + 1
        print(f"{'not ' if wrong else ''}ok {number} - {path}:{line}")
        for text in wrong:
            print(f"# {text}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
