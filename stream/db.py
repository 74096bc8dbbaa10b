"""The only file that knows the driver: connections, transactions, and what its errors mean.

Every error of the driver becomes one of three: `DatabaseAway` (the same call may work later),
`RowRefused` (the data is at fault), or `Broken` (we are).
"""

import asyncio
import contextlib
import errno
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Sequence
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import asyncpg
from asyncpg.connect_utils import SessionAttribute

from stream.errors import Broken, ConfigError, DatabaseAway, RowRefused

Executor: TypeAlias = "asyncpg.Connection[Any] | asyncpg.pool.PoolConnectionProxy[Any]"
Row: TypeAlias = "asyncpg.Record"

POOL_SIZE = 6  # one writer a source, control, the status line, commands
CALL_TIMEOUT = 60  # seconds; a server that takes longer counts as away
CONNECT_TIMEOUT = 10  # seconds
PATIENCE = 6 * 3600  # seconds, for one statement of a job that takes long
BELL = "twitterstream"  # the channel that sql/schema.sql rings

_SESSION = {"application_name": "twitterstream", "timezone": "UTC"}
# A machine that dies without a word must lose its locks within 20 s, for the standby to take over.
_NOTICE_DEATH = {
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "2",
}

# Classes and codes of SQLSTATE (PostgreSQL manual, appendix A).
# Connection, rollback, resources, operator, system; and what an administrator may change for a
# while: roles and passwords, databases.
_AWAY_CLASSES = ("08", "28", "3D", "40", "53", "57", "58")
_AWAY_CODES = (
    "25006",  # read-only
    "25P02",  # the transaction has failed already
    "25P03",  # idle for too long
    "42501",  # rights that were taken away for a while
    "42P01",  # a table that was moved away for a while
    "55000",  # not in the state for it
    "55P03",  # locked
    "XX000",  # internal: what a server says that is falling; damaged data have codes of their own
)
# A day's partition that somebody took away after it was made sure of: it is made again. The code is
# that of a refused row, the words depend on the server's language; this does not.
_NO_PARTITION = "ExecFindPartition"
_REFUSED_CLASSES = ("21", "22", "23", "54")  # cardinality, data, integrity, program limit


def _meaning(error: BaseException) -> type[DatabaseAway] | type[RowRefused] | type[Broken]:
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        if state.startswith(_AWAY_CLASSES) or state in _AWAY_CODES:
            return DatabaseAway
        if error.server_source_function == _NO_PARTITION:
            return DatabaseAway
        return RowRefused if state.startswith(_REFUSED_CLASSES) else Broken
    return DatabaseAway


def _words(error: BaseException) -> str:
    """What went wrong; for what is everybody's, in the words of the system."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and (error.errno or 0) in errno.errorcode:
        return os.strerror(error.errno or 0)
    return f"{type(error).__name__}: {error}"


@contextlib.contextmanager
def meaning() -> Iterator[None]:
    """Turn the driver's errors into ours, with the cause kept."""
    try:
        yield
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
        raise _meaning(error)(_words(error)) from error
    except asyncpg.exceptions.InternalClientError as error:
        # The driver's own state is torn, as after a connection lost in the middle of a COPY.
        raise DatabaseAway(f"{type(error).__name__}: {error}") from error


def _check(url: str) -> None:
    """The driver would find a wrong port only when it connects, and call it something else."""
    for host in urlsplit(url).netloc.rpartition("@")[2].split(","):
        port = host.rpartition(":")[2] if ":" in host.rpartition("]")[2] else ""
        if port and not port.isdecimal():
            raise ConfigError(f"`database`: {port!r} is no port; write a number, as in host:5432.")


async def _prepare(connection: Executor) -> None:
    # Binary jsonb is a version byte and the text: so the bytes that came go in as they are.
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        format="binary",
        encoder=lambda body: b"\x01" + body,
        decoder=lambda body: bytes(body[1:]),
    )


class Database:
    """A pool that survives the server: each call connects anew when it has to."""

    def __init__(self, pool: "asyncpg.Pool[Any]", url: str) -> None:
        self._pool = pool
        self._url = url

    @contextlib.asynccontextmanager
    async def acquire(self) -> AsyncIterator[Executor]:
        """A connection, for single statements."""
        with meaning():
            async with self._pool.acquire(timeout=CONNECT_TIMEOUT) as connection:
                try:
                    yield connection
                except asyncio.CancelledError:
                    # The driver would wait for the server's consent, and a server that hangs gives
                    # none: the end of the connection ends what it was doing.
                    connection.terminate()
                    raise

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Executor]:
        """A connection inside a transaction: all or nothing."""
        async with self.acquire() as connection:
            transaction = connection.transaction()
            await transaction.start()
            try:
                yield connection
            except asyncio.CancelledError:
                raise  # `acquire` closes the connection, and with it the transaction is gone
            except BaseException:
                await transaction.rollback()
                raise
            else:
                await transaction.commit()

    async def fetch(self, query: str, *arguments: object) -> list[Row]:
        async with self.acquire() as connection:
            return await connection.fetch(query, *arguments)

    async def execute(self, query: str, *arguments: object) -> str:
        async with self.acquire() as connection:
            return await connection.execute(query, *arguments)

    @contextlib.asynccontextmanager
    async def beside(self, size: int) -> AsyncIterator["Database"]:
        """Another pool on the same server, for work that must not take these connections."""
        async with connect(self._url, size) as database:
            yield database

    @contextlib.asynccontextmanager
    async def dedicated(self) -> AsyncIterator[Executor]:
        """A connection of its own, for bells and locks that live as long as it does."""
        with meaning():
            connection = await asyncpg.connect(
                self._url,
                timeout=CONNECT_TIMEOUT,
                command_timeout=CONNECT_TIMEOUT,
                target_session_attrs=SessionAttribute.read_write,
                server_settings=_SESSION | _NOTICE_DEATH,
            )
            try:
                yield connection
            finally:
                connection.terminate()

    @contextlib.asynccontextmanager
    async def patient(self, **settings: str) -> AsyncIterator[Executor]:
        """A connection of its own for statements that take long, with these server settings."""
        with meaning():
            connection = await asyncpg.connect(
                self._url,
                timeout=CONNECT_TIMEOUT,
                command_timeout=PATIENCE,
                target_session_attrs=SessionAttribute.read_write,
                server_settings=_SESSION | _NOTICE_DEATH | settings,
            )
            try:
                await _prepare(connection)
                yield connection
            finally:
                connection.terminate()


@contextlib.asynccontextmanager
async def connect(url: str, size: int = POOL_SIZE) -> AsyncIterator[Database]:
    """A Database on this URL; with several hosts, the one that can be written to."""
    _check(url)
    with meaning():
        pool = await asyncpg.create_pool(
            url,
            min_size=0,
            max_size=size,
            command_timeout=CALL_TIMEOUT,
            timeout=CONNECT_TIMEOUT,
            target_session_attrs=SessionAttribute.read_write,
            init=_prepare,
            server_settings=_SESSION,
        )
    try:
        yield Database(pool, url)
    finally:
        pool.terminate()


async def listen(connection: Executor, heard: Callable[[], None]) -> None:
    """Call `heard` at every ring, until the connection is lost (then DatabaseAway)."""
    lost = asyncio.Event()
    connection.add_termination_listener(lambda _: lost.set())
    await connection.add_listener(BELL, lambda *_: heard())
    heard()  # what rang while nobody listened
    await lost.wait()
    raise DatabaseAway("the connection that listens for the bell is lost")


async def copy(
    connection: Executor, table: str, columns: Sequence[str], rows: Iterable[tuple[object, ...]]
) -> None:
    """COPY rows into a table in binary: the fastest of the ways that pgbench/ compares."""
    await connection.copy_records_to_table(table, records=rows, columns=list(columns))


async def copy_out(
    connection: Executor,
    query: str,
    *arguments: object,
    output: Callable[[bytes], Coroutine[Any, Any, None]],
    delimiter: str,
    quote: str,
) -> None:
    """COPY the rows of a query to `output` as CSV, some whole rows at a time."""
    await connection.copy_from_query(
        query, *arguments, output=output, format="csv", delimiter=delimiter, quote=quote
    )
