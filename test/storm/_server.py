"""Servers that a storm starts itself, in the directory of ./check."""

import os
import signal
import subprocess
import tempfile

from _storm import until

BASE = """
listen_addresses = ''
max_connections = 60
fsync = off
timezone = 'UTC'
log_timezone = 'UTC'
max_prepared_transactions = 40
"""


class Server:
    """One whose socket is in its own directory; the environment then leads clients there."""

    def __init__(self, name, **settings):
        # where ./check ends what is left running
        top = os.path.join(os.environ.get("QUOTA_WORKSPACE") or tempfile.gettempdir(), "tap")
        os.makedirs(top, exist_ok=True)
        self.directory = tempfile.mkdtemp(prefix=name, dir=top)
        self.data = os.path.join(self.directory, "data")
        self.log = os.path.join(self.directory, f"{name}.log")
        self.settings = settings

    def initdb(self):
        run("initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
        self.configure(BASE)
        with open(os.environ["QUOTA_CONF"]) as settings:
            self.configure(settings.read())

    def copy_of(self, primary):
        """A standby."""
        run("pg_basebackup", "-h", primary.directory, "-D", self.data, "-R", "-X", "stream", "-c", "fast", "--no-sync")

    def configure(self, text):
        with open(os.path.join(self.data, "postgresql.conf"), "a") as settings:
            settings.write(text + "\n")

    def start(self):
        self.configure("\n".join(f"{name} = '{value}'" for name, value in
                                 {**self.settings, "unix_socket_directories": self.directory}.items()))
        self.start_again()

    def start_again(self):
        """Also where the processes of one that was killed have not all ended."""
        assert until(lambda: subprocess.run(
            ("pg_ctl", "-D", self.data, "-l", self.log, "-t", "120", "start"),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0), self.tail()

    def lead(self):
        os.environ.update(PGHOST=self.directory, PGDATABASE="postgres")

    def stop(self, mode="fast"):
        run("pg_ctl", "-D", self.data, "-m", mode, "-t", "120", "stop")

    def kill(self):
        """As if its machine had ended it."""
        with open(os.path.join(self.data, "postmaster.pid")) as file:
            os.kill(int(file.readline()), signal.SIGKILL)

    def lines(self, *words):
        """Of its log, those with one of the words."""
        with open(self.log, errors="replace") as log:
            return [line.rstrip() for line in log if any(word in line for word in words)]

    def tail(self):
        with open(self.log, errors="replace") as log:
            return "".join(log.readlines()[-20:])


def run(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise RuntimeError(f"{command}: {done.stdout}")
