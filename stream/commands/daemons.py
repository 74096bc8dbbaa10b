"""Which daemons run, for the commands that say so."""

import socket
from collections.abc import Sequence

import psutil

from stream.db import Executor, Row
from stream.store import sources


async def running_daemons(connection: Executor) -> Sequence[Row]:
    """The running daemons, oldest first; none of this machine whose process no longer exists."""
    return [row for row in await sources.daemons(connection) if _is_alive(row)]


def _is_alive(row: Row) -> bool:
    return bool(row["host"] != socket.gethostname() or psutil.pid_exists(row["pid"]))
