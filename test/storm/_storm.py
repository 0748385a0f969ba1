"""What the storms share.

A storm is a test that does random things for a while.  It runs like those of
test/clients, whose modules it finds by PYTHONPATH, and prints its QUOTA_SEED.

QUOTA_STORM_SECONDS in the environment: for how long, in place of its own time.
"""

import os
import time


def seconds(default):
    """How long this storm goes on."""
    return float(os.environ.get("QUOTA_STORM_SECONDS") or default)


class Faults:
    """What went wrong: each kind once, with the first input that showed it."""

    def __init__(self):
        self.first = {}
        self.times = {}

    def add(self, kind, note):
        self.first.setdefault(kind, note)
        self.times[kind] = self.times.get(kind, 0) + 1

    def notes(self):
        return [f"{kind} ({self.times[kind]} times): {note}" for kind, note in self.first.items()]


def until(condition, seconds=60):
    """Poll; the last value of condition()."""
    deadline = time.monotonic() + seconds
    while not (value := condition()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return value
