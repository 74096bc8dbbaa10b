"""Translates asyncpg's errors and adds the time limits that asyncpg lacks.

Every error becomes one of three: `DatabaseAway` (the same call may work later), `RowRefused` (the
data is invalid), or `Broken` (a bug in this program).
"""

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import asyncpg

from stream.errors import Broken, ConfigError, DatabaseAway, RowRefused, TwitterstreamError

# A statement that may take hours must not wait that long for a dead machine.
_KEEPALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 2),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 20_000),  # milliseconds
)

# In bytes, of a Unix socket. The kernel reports room for more only when three quarters are free:
# with its default, Postgres waits for rows while frames are decoded. TCP adapts its own.
_SEND_BUFFER = 1 << 20

# Classes and codes of SQLSTATE (PostgreSQL manual, appendix A).
# Connection, rollback, resources, operator, system; and what an administrator may change for a
# while: roles and passwords, databases.
_AWAY_CLASSES = ("08", "28", "3D", "40", "53", "57", "58")
# What the schema lacks while it is older than this program, as during a migration; or a table that
# was renamed for a while.
_OLDER_SCHEMA = (
    "42P01",  # a table
    "42P10",  # a key, of ON CONFLICT
    "42703",  # a column
    "42704",  # a type or another object
    "42883",  # a function
)
_AWAY_CODES = (
    "25006",  # read-only
    "25P02",  # the transaction has failed already
    "25P03",  # idle for too long
    "42501",  # permissions that were revoked for a while
    *_OLDER_SCHEMA,
    "55000",  # an object is not in the required state
    "55P03",  # locked
    "XX000",  # internal error, as of a server that crashes; damaged data have other codes
)
# A day's partition that was dropped after it was ensured: it is created again. Its code is that of
# a refused row, and the message depends on the server's language; the function's name does not.
_NO_PARTITION = "ExecFindPartition"
# While connecting: an invalid server setting among the address's `options`.
_BAD_OPTIONS = ("42601", "42704", "22023")
_REFUSED_CLASSES = ("21", "22", "23", "54")  # cardinality, data, integrity, program limit


def _error_type(
    error: BaseException,
) -> type[DatabaseAway] | type[RowRefused] | type[Broken] | type[ConfigError]:
    if isinstance(error, asyncpg.exceptions.ClientConfigurationError):
        return ConfigError
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        if error.severity_en == "FATAL" and state in _BAD_OPTIONS:
            return ConfigError
        if state.startswith(_AWAY_CLASSES) or state in _AWAY_CODES:
            return DatabaseAway
        # A statement prepared before a migration: asyncpg repeats it, but not inside a transaction.
        is_outdated = isinstance(error, asyncpg.InvalidCachedStatementError)
        if is_outdated or error.server_source_function == _NO_PARTITION:
            return DatabaseAway
        return RowRefused if state.startswith(_REFUSED_CLASSES) else Broken
    return DatabaseAway


def _is_closed(error: BaseException) -> bool:
    """Whether uvloop complains about a socket that was just lost; its error has no other field."""
    return isinstance(error, RuntimeError) and "the handler is closed" in str(error)


def reason(error: BaseException) -> str:
    """The text of a driver's error; for an error of the operating system, its own text."""
    if isinstance(error, TwitterstreamError):
        return str(error)
    # BlockingIOError: connections wait at the server's Unix socket, and it accepts none.
    if isinstance(error, TimeoutError | BlockingIOError):
        return "no answer in time"
    if isinstance(error, OSError) and (error.errno or 0) in errno.errorcode:
        return os.strerror(error.errno or 0)
    text = f"{type(error).__name__}: {error}"
    if getattr(error, "sqlstate", None) in _OLDER_SCHEMA:
        text += " (the schema is of another version: run `migrate`)"
    return text


@contextlib.contextmanager
def translated_errors() -> Iterator[None]:
    """Raise the driver's errors as ours, with their cause."""
    try:
        yield
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
        translated = _error_type(error)(reason(error))
        if isinstance(translated, RowRefused):
            translated.constraint = getattr(error, "constraint_name", None) or ""
        raise translated from error
    except asyncpg.exceptions.InternalClientError as error:
        # The driver's own state is inconsistent, as after a connection lost during a COPY.
        raise DatabaseAway(f"{type(error).__name__}: {error}") from error
    except RuntimeError as error:
        if not _is_closed(error):
            raise
        raise DatabaseAway("the connection was lost") from error


# The number of its rows is the answer. A pooler gives clients numbers of its own as those of the
# server's processes.
_PEER = """
SELECT FROM generate_series(1,
    (pg_backend_pid() <> {pid})::integer
    + 2 * (pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean)::integer)
"""


class Peer(NamedTuple):
    """The other end of a connection."""

    is_pooler: bool
    is_read_only: bool


if TYPE_CHECKING:
    _AsyncpgConnection = asyncpg.Connection[Any]
else:
    _AsyncpgConnection = asyncpg.Connection


class DatabaseConnection(_AsyncpgConnection):
    """asyncpg's connection, with time limits where asyncpg waits for ever."""

    __slots__ = ("_limit", "is_pooled")

    def __init__(
        self,
        protocol: Any,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        address: Any,
        config: Any,
        parameters: Any,
    ) -> None:
        super().__init__(protocol, transport, loop, address, config, parameters)
        self._limit: float = config.command_timeout
        self.is_pooled = False  # a session lasts as long as a transaction
        own = transport.get_extra_info("socket")
        if own is None:
            return
        if own.family == socket.AF_UNIX:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        else:
            for option in _KEEPALIVE:
                own.setsockopt(*option)

    async def peer(self) -> Peer:
        """What is at the other end; in one simple query, which every pooler can pass on."""
        done = await self.execute(_PEER.format(pid=self.get_server_pid()))
        number = int(done.rpartition(" ")[2])
        return Peer(is_pooler=bool(number & 1), is_read_only=bool(number & 2))

    async def limit_transaction(self) -> None:
        """Limit the statements of a transaction, where the session cannot."""
        await self.execute(f"SET LOCAL statement_timeout = {round(self._limit * 1000)}")

    def get_reset_query(self) -> str:
        """What the pool sends when a connection is released.

        Behind a pooler the next transaction may be on another server: there is nothing to reset,
        and RESET ALL would make the pooler forget our time zone.
        """
        return "" if self.is_pooled else super().get_reset_query()

    async def copy_records_to_table(self, table_name: str, **options: Any) -> str:
        """COPY within the connection's time limit, or until it is lost.

        When its buffer is full the driver waits for room, whatever its own timeout is, and a lost
        connection never gives room.
        """
        lost = False
        clock = asyncio.get_running_loop().time

        def note_loss(_: object) -> None:
            nonlocal lost
            lost = True
            with contextlib.suppress(RuntimeError):  # the COPY has ended meanwhile
                limit.reschedule(clock())

        self.add_termination_listener(note_loss)
        try:
            async with asyncio.timeout(self._limit) as limit:
                return await super().copy_records_to_table(table_name, **options)
        except (TimeoutError, RuntimeError) as error:
            self.terminate()
            if lost or _is_closed(error):
                raise ConnectionResetError(errno.ECONNRESET, "lost during a COPY") from error
            raise
        finally:
            self.remove_termination_listener(note_loss)
