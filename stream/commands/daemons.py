"""Which daemons run, for the commands that say so."""

import socket

import psutil

from stream.db import Executor
from stream.store import daemons
from stream.store.daemons import DaemonRow


async def running_daemons(connection: Executor) -> list[DaemonRow]:
    """The running daemons, oldest first; none of this machine whose process no longer exists."""
    return [row for row in await daemons.running(connection) if _is_alive(row)]


def _is_alive(row: DaemonRow) -> bool:
    return row.host != socket.gethostname() or psutil.pid_exists(row.pid)
