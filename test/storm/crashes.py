"""A server that crashes under load, and comes back: what was acknowledged is there.

It is killed in turn as a whole, by the end of one backend, and by an immediate
shutdown.  After each crash nobody works, and what workers know to have committed must
be what is counted; a commit whose answer was lost is looked up.

QUOTA_CRASHES in the environment: how many.
"""

import os
import signal
import time

import _load
from _harness import check, connect, finish, seeded
from _load import LIMITS, Load, many_savepoints
from _server import Server

CRASHES = int(os.environ.get("QUOTA_CRASHES") or 3)
ROUND_S = 4


def kill_server(server, load):
    server.kill()
    server.start_again()


def kill_backend(server, load):
    """The server then ends all others, and recovers by itself."""
    os.kill(load.rng.choice(load.workers).pid, signal.SIGKILL)


def stop_server(server, load):
    server.stop("immediate")
    server.start_again()


KINDS = (kill_server, kill_backend, stop_server)


def crash(server, kind):
    """To go on beside the workers: crash it once, with some checkpoints before."""
    def beside(load, stop):
        time.sleep(load.rng.uniform(0.5, ROUND_S - 1.5))
        if load.rng.random() < 0.5:
            with connect() as connection:
                connection.execute("CHECKPOINT")
            time.sleep(load.rng.uniform(0, 0.3))
        try:
            kind(server, load)
        except ProcessLookupError:
            pass  # that one was just being replaced

    return beside


def main():
    rng = seeded()
    os.environ["PGOPTIONS"] = "-c deadlock_timeout=20ms"
    server = Server("crashes", checkpoint_timeout="30s", autovacuum_naptime="1s")
    server.initdb()
    server.start()
    server.lead()
    with connect() as admin:
        admin.execute("CREATE EXTENSION quota")
        admin.execute("SELECT quota_apply(%s)", (_load.json.dumps(_load.catalogue(LIMITS[0])),))
        admin.execute(_load.SETUP)
    load = Load(rng, LIMITS[0], [(8, many_savepoints)])
    for number in range(CRASHES):
        kind = KINDS[number % len(KINDS)]
        name = f"crash {number + 1}, {kind.__name__}"
        try:
            load.round(ROUND_S, crash(server, kind))
            load.compare(name)
        except Exception as error:
            check(False, name, repr(error), server.tail())
            break
    load.close()
    recoveries = server.lines("redo starts", "redo is not required")
    print(f"# {len(recoveries)} recoveries: {dict(load.ends())} {dict(load.server_errors)}")
    check(len(recoveries) >= CRASHES - 1, "the server crashed")
    own = [line for line in server.lines("was terminated by signal", "PANIC", "TRAP") if "signal 9:" not in line]
    check(not own, "nothing but what was asked for ended a process", *own)
    server.stop()
    finish()


if __name__ == "__main__":
    main()
