"""Through pgbouncer."""

import os
import shutil
import subprocess
import time
from dataclasses import dataclass

from comparisons import comparison
from measure import QUOTA, WORK, Missing, Side, Wrong

PORT = 6432
SERVER_CONNECTIONS = 32
CLIENT_CONNECTIONS = 1_000


@dataclass(frozen=True)
class PooledSide(Side):
    """CLIENT_CONNECTIONS to a pgbouncer of its own, which passes no settings on but its own."""
    def run(self, bench, clients, settings, **length):
        config = WORK / 'pgbouncer.ini'
        config.write_text('\n'.join([
            '[databases]',
            f'postgres = host={WORK} user=postgres connect_query=\''
            + '; '.join(f'SET {name} = {value}' for name, value in settings.items()) + "'",
            '[pgbouncer]',
            'pool_mode = transaction', 'auth_type = any',
            f'default_pool_size = {SERVER_CONNECTIONS}', f'max_client_conn = {CLIENT_CONNECTIONS}',
            f'unix_socket_dir = {WORK}', f'listen_port = {PORT}', f'logfile = {WORK}/pgbouncer.log', '']))
        pgbouncer = subprocess.Popen([program(), '--quiet', config])
        try:
            while not (WORK / f'.s.PGSQL.{PORT}').exists():
                if pgbouncer.poll() is not None:
                    raise Wrong((WORK / 'pgbouncer.log').read_text())
                time.sleep(0.01)
            # a thousand take a second or two to connect
            return super().run(bench, CLIENT_CONNECTIONS, {}, **{**length, 'time': max(5, length['time'])})
        finally:
            pgbouncer.terminate()
            pgbouncer.wait()


def program():
    return shutil.which('pgbouncer', path=f'{os.environ["PATH"]}:/usr/sbin')


def require(bench):
    if not program():
        raise Missing('pgbouncer')


# As pgbouncer 1.18 can pass it on, without prepared statements.
EXTENDED = '--protocol=extended'

comparison(
    'pooler', 'A thousand connections through a pooler', ('1,000 through pgbouncer', '32 direct'),
    '`quota_consume` of accounts drawn at random: 1,000 client connections through pgbouncer, in '
    'transaction mode with 32 connections to the server, against 32 direct ones. Neither prepares its '
    'statements. pgbouncer\'s own use of the processor is not in the figures of the server\'s.',
    PooledSide('consume', QUOTA, arguments=(EXTENDED, f'--port={PORT}')),
    Side('consume', QUOTA, arguments=(EXTENDED,)),
    clients=(SERVER_CONNECTIONS,), prepare=require)
