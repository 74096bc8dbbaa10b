"""Start, share and stop the embedded server."""

import asyncio
import errno
import fcntl
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from stream.errors import TwitterstreamError
from stream.postgres import account, cluster, folders, process, programs

logger = logging.getLogger(__name__)

State = Literal["dead", "silent", "starting", "ready"]

START_WITHIN = 300.0  # seconds; after a crash it first replays max_wal_size
SILENT = 10.0  # seconds that a server may be there and say nothing
LAUNCHES = 3  # a server that was killed while it started comes up the next time
REJECTING = 1  # what pg_isready ends with when the server says that it is not ready yet
POLL = 0.05  # seconds
# Fast shutdown waits for its checkpoint; immediate leaves the work to the next start's recovery.
STOP = ((signal.SIGINT, 3.0), (signal.SIGQUIT, 6.0), (signal.SIGKILL, 5.0))  # signal, seconds
CLEAR = ((signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))


class Embedded:
    """One PostgreSQL server in data_dir, shared by all processes that hold a lease on it.

    A lease is a lock on a file, so that of a killed process is gone with it. The last one to leave
    stops the server; it lives in a session of its own, out of reach of a terminal's Ctrl-C.

    `settings` are server settings that replace ours; tests use them.
    """

    def __init__(self, data_dir: Path, settings: Mapping[str, str] | None = None) -> None:
        self._at = folders.Folders(data_dir)
        self._settings = settings or {}
        self._account: account.Account | None = None

    @property
    def psql_path(self) -> Path:
        """The psql that fits the server."""
        return programs.installed() / "psql"

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[str]:
        """Have the server running while inside; gives its URL, password included."""
        self._at.make()
        async with folders.locked(self._at.users_lock, fcntl.LOCK_SH) as users:
            try:
                await self.ensure_running()
                yield self._url()
            finally:
                if folders.take(users, fcntl.LOCK_EX):
                    await self._stop()

    async def ensure_running(self) -> None:
        """Start the server if it is not running; for the holder of a lease.

        Raises TwitterstreamError with the end of the server's log when it does not start.
        """
        if self._account is not None and await self._state() == "ready":
            return
        async with folders.locked(self._at.start_lock, fcntl.LOCK_EX):
            await self._start()

    async def revive(self) -> None:
        """Start the server if it has died; when it does not start, the next call tries again."""
        try:
            await self.ensure_running()
        except TwitterstreamError as error:
            logger.warning("the embedded database does not start", extra={"why": str(error)})

    async def _start(self) -> None:
        at = self._at
        self._account = await account.choose(at.data_dir, at.base, at.cluster)
        if await self._state() == "ready":
            return
        bin_dir = await programs.runnable_by(self._account, at.base)
        if not at.cluster.exists():
            logger.info("making the embedded database", extra={"folder": str(at.cluster)})
            await cluster.make(bin_dir, self._account, at.cluster, at.password())
        cluster.check_version(at.cluster)
        launches, clock = 0, asyncio.get_running_loop().time
        heard_at = clock()
        try:
            async with asyncio.timeout(START_WITHIN):
                while (state := await self._state()) != "ready":
                    if state != "silent":
                        heard_at = clock()
                    elif clock() - heard_at > SILENT:
                        raise self._failure("does not answer")
                    if state == "dead":
                        launches += 1
                        await self._launch(self._account, bin_dir, last=launches >= LAUNCHES)
                    await asyncio.sleep(POLL)
        except TimeoutError:
            raise self._failure(f"is not ready after {START_WITHIN:.0f} s") from None
        logger.info("the embedded database runs", extra={"folder": str(at.cluster)})

    async def _launch(self, server: account.Account, bin_dir: Path, *, last: bool) -> None:
        at = self._at
        await self._clear()
        server.own(at.cluster)
        folders.make_socket(self._socket, server)
        cluster.configure(at.cluster, server, self._socket, self._settings)
        log = at.cluster / "start.log"
        cluster.write(log, "", server)
        # pg_ctl leaves the server without a parent, in its own session, and waits until it answers.
        pg_ctl = [*server.prefix, str(bin_dir / "pg_ctl"), f"--pgdata={at.cluster}"]
        result = await process.run([*pg_ctl, "start", "--wait", "--timeout=60", f"--log={log}"])
        if last and result.code != 0 and await self._state() == "dead":
            raise self._failure("does not start", result.output)

    async def _clear(self) -> None:
        """End what a killed server left: its children hold the shared memory of the cluster.

        A server that lives but whose socket was removed is of no use either, and ends here too.
        """
        left = await asyncio.to_thread(process.inhabitants, self._at.cluster)
        if left:
            logger.warning("ending what a dead database server left", extra={"count": len(left)})
        if not await process.end(left, CLEAR):
            raise self._failure("left processes behind that cannot be ended")
        # The number in these may by now belong to another process, or to a zombie: the new server
        # would take that for its predecessor and refuse to start.
        for stale in (self._at.cluster / "postmaster.pid", *self._socket.glob(".s.PGSQL.*")):
            stale.unlink(missing_ok=True)

    async def _stop(self) -> None:
        server = process.postmaster(self._at.cluster)
        if server is None:
            return
        if not await process.end([server], STOP):
            raise self._failure("cannot be stopped")
        if self._socket.parent != self._at.base:
            with suppress(OSError):  # in /tmp; what else lies there is not ours
                self._socket.rmdir()
        logger.info("the embedded database has stopped", extra={"folder": str(self._at.cluster)})

    async def _state(self) -> State:
        path = self._socket / folders.SOCKET_NAME
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)
            if probe.connect_ex(os.fsencode(path)) not in (0, errno.EAGAIN, errno.EINPROGRESS):
                return "dead"
        # Somebody listens; a busy one may be slow to answer, and must not be taken for dead.
        command = [str(programs.installed() / "pg_isready"), "--quiet", f"--host={self._socket}"]
        code = (await process.run(command)).code
        return "ready" if code == 0 else "starting" if code == REJECTING else "silent"

    @property
    def _socket(self) -> Path:
        uid = os.geteuid() if self._account is None else self._account.uid
        return self._at.socket(uid)

    def _url(self) -> str:
        who = f"{cluster.ROLE}:{self._at.password()}"
        return f"postgresql://{who}@/{cluster.ROLE}?host={quote(str(self._socket), safe='/')}"

    def _failure(self, what: str, output: str = "") -> TwitterstreamError:
        at = self._at.cluster
        said = cluster.complaint(at) or cluster.last_lines(output) or "nothing"
        return TwitterstreamError(f"The embedded PostgreSQL in {at} {what}; it says: {said}")


def client_environment(url: str) -> dict[str, str]:
    """A database URL as the variables that psql and pg_dump read.

    On a command line the password would show in everybody's list of processes.
    """
    parts = urlsplit(url)
    named = {
        "PGHOST": parts.hostname or "",
        "PGPORT": str(parts.port or ""),
        "PGUSER": unquote(parts.username or ""),
        "PGPASSWORD": unquote(parts.password or ""),
        "PGDATABASE": unquote(parts.path.removeprefix("/")),
    }
    unusual = {"application_name": "PGAPPNAME", "user": "PGUSER", "dbname": "PGDATABASE"}
    for key, value in parse_qsl(parts.query):
        named[unusual.get(key, "PG" + key.upper().replace("_", ""))] = value
    return {name: value for name, value in named.items() if value}
