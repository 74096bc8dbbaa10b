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
from urllib.parse import quote

import psutil

from stream import database_url
from stream.errors import TwitterstreamError
from stream.postgres import cluster, process, unprivileged

logger = logging.getLogger(__name__)

State = Literal["dead", "silent", "starting", "ready"]

START_WITHIN = 300.0  # seconds; after a crash it first replays max_wal_size
NO_ANSWER_TIMEOUT = 10.0  # seconds that a running server may not answer
START_ATTEMPTS_MAX = 3  # a server killed during start-up usually starts the next time
REJECTING = 1  # exit code of pg_isready while the server starts
POLL = 0.05  # seconds
# Fast shutdown waits for its checkpoint; immediate leaves the work to the next start's recovery.
STOP = ((signal.SIGINT, 3.0), (signal.SIGQUIT, 6.0), (signal.SIGKILL, 5.0))  # signal, seconds
CLEAR = ((signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))


class Embedded:
    """One PostgreSQL server in data_dir, shared by all processes that hold a lease on it.

    A lease is a lock on a file, so that a killed process loses its own. The last one to leave
    stops the server; it lives in a session of its own, out of reach of a terminal's Ctrl-C.

    `settings` are server settings that replace ours; tests use them.
    """

    def __init__(self, data_dir: Path, settings: Mapping[str, str] | None = None) -> None:
        self._at = cluster.Folders(data_dir)
        self._settings = settings or {}
        self._account: unprivileged.Account | None = None

    @property
    def psql_path(self) -> Path:
        """The psql that fits the server."""
        return unprivileged.installed_programs() / "psql"

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[str]:
        """Keep the server running during the block; yields its URL, with the password."""
        self._at.make()
        async with cluster.locked(self._at.users_lock, fcntl.LOCK_SH) as users:
            self._require_unsuspended()  # and leave a suspended one alone: do not stop it
            try:
                await self.ensure_running()
                yield self._url()
            finally:
                if cluster.take(users, fcntl.LOCK_EX):
                    await self._stop()

    def _require_unsuspended(self) -> None:
        """Refuse a server that is suspended (SIGSTOP): waiting for its answer would be useless."""
        with suppress(psutil.NoSuchProcess):
            server = process.postmaster(self._at.cluster)
            if server is not None and server.status() == psutil.STATUS_STOPPED:
                raise TwitterstreamError(
                    f"The embedded PostgreSQL in {self._at.cluster} is suspended (SIGSTOP):"
                    f" continue it with `kill -CONT {server.pid}`"
                )

    async def ensure_running(self) -> None:
        """Start the server if it is not running; for the holder of a lease.

        Raises TwitterstreamError with the end of the server's log when it does not start.
        """
        if self._account is not None and await self._state() == "ready":
            return
        async with cluster.locked(self._at.start_lock, fcntl.LOCK_EX):
            await self._start()

    async def revive(self) -> None:
        """Start the server if it has died; when it does not start, the next call tries again."""
        try:
            await self.ensure_running()
        except TwitterstreamError as error:
            logger.warning("the embedded database does not start", extra={"why": str(error)})

    async def _start(self) -> None:
        at = self._at
        self._account = await unprivileged.choose(at.data_dir, at.base, at.cluster)
        if await self._state() == "ready":
            return
        bin_dir = await unprivileged.runnable_programs(self._account, at.base)
        if not at.cluster.exists():
            logger.info("creating the embedded database", extra={"folder": str(at.cluster)})
            at.keep_password(at.password() or cluster.new_password())
            await cluster.make(bin_dir, self._account, at.cluster, self._password())
        cluster.check_version(at.cluster)
        launches, clock = 0, asyncio.get_running_loop().time
        answered_at = clock()
        try:
            async with asyncio.timeout(START_WITHIN):
                while (state := await self._state()) != "ready":
                    if state != "silent":
                        answered_at = clock()
                    elif clock() - answered_at > NO_ANSWER_TIMEOUT:
                        # Its log is about what it did before, and may contain data of users.
                        raise TwitterstreamError(
                            f"The embedded PostgreSQL in {at.cluster} is running, but does not"
                            f" answer: see {at.cluster / 'log'}, and whether it is stopped or the"
                            " disk hangs"
                        )
                    if state == "dead":
                        launches += 1
                        await self._launch(
                            self._account, bin_dir, last=launches >= START_ATTEMPTS_MAX
                        )
                    await asyncio.sleep(POLL)
        except TimeoutError:
            raise self._failure(f"is not ready after {START_WITHIN:.0f} s") from None
        logger.info("the embedded database is running", extra={"folder": str(at.cluster)})

    async def _launch(self, server: unprivileged.Account, bin_dir: Path, *, last: bool) -> None:
        at = self._at
        await self._clear()
        server.own(at.cluster)
        cluster.make_socket(self._socket, server)
        cluster.configure(at.cluster, server, self._socket, self._settings)
        if at.password() is None:
            await self._replace_password(server, bin_dir)
        log = at.cluster / "start.log"
        cluster.write(log, "", server)
        # pg_ctl leaves the server without a parent, in its own session, and waits until it answers.
        pg_ctl = [*server.prefix, str(bin_dir / "pg_ctl"), f"--pgdata={at.cluster}"]
        result = await process.run([*pg_ctl, "start", "--wait", "--timeout=60", f"--log={log}"])
        if last and result.code != 0 and await self._state() == "dead":
            raise self._failure("does not start", result.output)

    async def _replace_password(self, server: unprivileged.Account, bin_dir: Path) -> None:
        """Set a new password when its file is lost or damaged; runs as the server's account."""
        password = cluster.new_password()
        await cluster.set_password(bin_dir, server, self._at.cluster, password)
        self._at.keep_password(password)
        logger.warning(
            "the password of the embedded database was missing or damaged; it has a new one",
            extra={"path": str(self._at.password_file)},
        )

    async def _clear(self) -> None:
        """End the children of a killed server: they keep the shared memory of the cluster.

        A server that lives but whose socket was removed is of no use either, and ends here too.
        """
        left = await asyncio.to_thread(process.processes_in, self._at.cluster)
        if left:
            logger.warning(
                "ending processes of a killed database server",
                extra={"count": len(left)},
            )
        if not await process.end(left, CLEAR):
            raise self._failure("left processes that cannot be ended")
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
        path = self._socket / cluster.SOCKET_NAME
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)
            if probe.connect_ex(os.fsencode(path)) not in (0, errno.EAGAIN, errno.EINPROGRESS):
                return "dead"
        # A server listens: a busy one may be slow to answer, and must not be taken for dead.
        command = [
            str(unprivileged.installed_programs() / "pg_isready"),
            "--quiet",
            f"--host={self._socket}",
        ]
        code = (await process.run(command)).code
        return "ready" if code == 0 else "starting" if code == REJECTING else "silent"

    @property
    def _socket(self) -> Path:
        uid = os.geteuid() if self._account is None else self._account.uid
        return self._at.socket(uid)

    def _password(self) -> str:
        found = self._at.password()
        if found is None:
            raise TwitterstreamError(
                f"{self._at.password_file} is missing or damaged, and the server is running:"
                " stop all processes of this program that use it, such as the daemon; the next"
                " start sets a new password"
            )
        return found

    def _url(self) -> str:
        who = f"{cluster.ROLE}:{self._password()}"
        return f"postgresql://{who}@/{cluster.ROLE}?host={quote(str(self._socket), safe='/')}"

    def _failure(self, what: str, output: str = "") -> TwitterstreamError:
        at = self._at.cluster
        last_output = cluster.log_tail(at) or cluster.last_lines(output) or "nothing"
        return TwitterstreamError(
            f"The embedded PostgreSQL in {at} {what}. Its output: {last_output}"
        )


# The variables that are not called as the parameters of an address are.
_UNUSUAL = {
    "application_name": "PGAPPNAME",
    "connect_timeout": "PGCONNECT_TIMEOUT",
    "database": "PGDATABASE",
    "dbname": "PGDATABASE",
    "servicefile": "PGSERVICEFILE",
}


def client_environment(url: str) -> dict[str, str]:
    """A database URL as the variables that psql and pg_dump read.

    On a command line the password would be visible to all users in the list of processes.
    """
    address = database_url.parse(url)
    named = {
        "PGHOST": ",".join(address.hosts),
        "PGPORT": ",".join(address.ports) if any(address.ports) else "",
        "PGUSER": address.user,
        "PGPASSWORD": address.password,
        "PGDATABASE": address.name,
    }
    for key, value in address.parameters.items():
        named[_UNUSUAL.get(key, "PG" + key.upper().replace("_", ""))] = value
    return {name: value for name, value in named.items() if value}
