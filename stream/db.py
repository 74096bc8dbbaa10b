"""Connection pools, transactions and COPY; only this module and the two below it import asyncpg.

Every error is one of three: `DatabaseAway` (the same call may work later), `RowRefused` (the data
is invalid), or `Broken` (a bug in this program).
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from typing import Any, TypeAlias, TypeVar, cast

import asyncpg

from stream import database_url, driver
from stream.connector import Connector, parse_address
from stream.driver import DatabaseConnection
from stream.errors import ConfigError, DatabaseAway

Executor: TypeAlias = "asyncpg.Connection[Any] | asyncpg.pool.PoolConnectionProxy[Any]"
Row: TypeAlias = "asyncpg.Record"

T = TypeVar("T")

logger = logging.getLogger(__name__)

translated_errors = driver.translated_errors  # for statements on an acquired connection

POOL_SIZE = 6  # one writer a source, control, the status line, commands
CALL_TIMEOUT = 60  # seconds; a server that takes longer counts as away
CONNECT_TIMEOUT = 10  # seconds
IDLE_IN_TRANSACTION = 15.0  # seconds; then the server ends a session of the pool
ROLLBACK_TIMEOUT = 10  # seconds; then the end of the connection does the same
LISTEN_RETRY = 1.0  # seconds between two attempts to listen for notifications
PROBE_INTERVAL = 10.0  # seconds between two checks that a silent listening connection is alive
LONG_STATEMENT_TIMEOUT = 6 * 3600  # seconds, for one statement of a job that takes long
NOTIFY_CHANNEL = "twitterstream"  # the channel that sql/schema/functions.sql notifies

POOLED = (
    "`database` is the address of a connection pooler such as PgBouncer. Only the command `web`"
    " can use one, and not `run --role web`: this needs sessions of its own, for locks and LISTEN."
    " Set `database` to the address of Postgres itself here, and to that of the pooler only for"
    " the command `web`."
)

# A machine that dies silently must lose its locks within 20 s, for the standby to take over.
_KEEPALIVES = {
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "2",
}


async def _prepare(connection: Executor) -> None:
    # Binary jsonb is a version byte and the text: so messages are stored byte by byte as received.
    async with _session(connection):
        await connection.set_type_codec(
            "jsonb",
            schema="pg_catalog",
            format="binary",
            encoder=lambda body: b"\x01" + body,
            decoder=lambda body: bytes(body[1:]),
        )


def _terminate(connection: Executor) -> None:
    """Close a connection at once, also one that is lost and back in its pool already."""
    with contextlib.suppress(asyncpg.InterfaceError):
        connection.terminate()


@contextlib.asynccontextmanager
async def transaction(connection: Executor) -> AsyncIterator[None]:
    """A transaction on this connection; a savepoint inside another transaction.

    A server that does not answer gets no ROLLBACK: closing the connection ends the transaction.
    """
    block = connection.transaction()
    await block.start()
    try:
        yield
    except (asyncio.CancelledError, TimeoutError):
        _terminate(connection)
        raise
    except BaseException:
        try:
            async with asyncio.timeout(ROLLBACK_TIMEOUT):
                await block.rollback()
        except Exception:  # noqa: BLE001 - the first error is the one that matters
            _terminate(connection)
        raise
    else:
        await block.commit()


@contextlib.asynccontextmanager
async def _session(connection: Executor) -> AsyncIterator[None]:
    """What statements need that belong together: behind a pooler, a transaction with its limits."""
    # A connection of the pool is a proxy of ours.
    own = cast("DatabaseConnection", connection)
    if not own.is_pooled:
        yield
        return
    async with transaction(connection):
        await own.limit_transaction()
        yield


class Database:
    """A connection pool that survives restarts of the server: calls reconnect when needed."""

    def __init__(
        self, pool: "asyncpg.Pool[Any]", url: str, call_timeout: float, connector: Connector
    ) -> None:
        self.pool = pool
        self.url = url
        self.call_timeout = call_timeout
        self.connector = connector

    @contextlib.asynccontextmanager
    async def acquire(self) -> AsyncIterator[Executor]:
        """A connection, for single statements."""
        with translated_errors():
            connection = await self.pool.acquire(timeout=CONNECT_TIMEOUT)
            try:
                async with _session(connection):
                    yield connection
            except (asyncio.CancelledError, TimeoutError):
                # The driver would wait for the server to confirm, and a server that hangs does not:
                # closing the connection ends the statement.
                _terminate(connection)
                raise
            finally:
                await self._release(connection)

    async def _release(self, connection: "asyncpg.pool.PoolConnectionProxy[Any]") -> None:
        """Give a connection back to the pool, which resets it.

        In a task of its own: the pool's shielded one would log an error if we were cancelled here
        and the connection were lost meanwhile.
        """
        releasing = asyncio.ensure_future(self.pool.release(connection))
        releasing.add_done_callback(lambda task: task.cancelled() or task.exception())
        await asyncio.shield(releasing)

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Executor]:
        """A connection inside a transaction: all or nothing."""
        async with self.acquire() as connection, transaction(connection):
            yield connection

    async def fetch(self, query: str, *arguments: object) -> list[Row]:
        async with self.acquire() as connection:
            return await connection.fetch(query, *arguments)

    async def execute(self, query: str, *arguments: object) -> str:
        async with self.acquire() as connection:
            return await connection.execute(query, *arguments)

    async def ping(self) -> None:
        """Ask for nothing: DatabaseAway when there is no answer."""
        await self.execute("SELECT 1")

    @contextlib.asynccontextmanager
    async def separate_pool(self, size: int) -> AsyncIterator["Database"]:
        """Another pool on the same server, for work that must not use up these connections."""
        standby = self.connector.wants_standby
        async with connect(self.url, size, self.call_timeout, standby=standby) as database:
            yield database

    def address_for(self, user: str, password: str, name: str) -> str:
        """The URL of the database of this name on the same server for another user."""
        return database_url.with_login(self.url, user, password, name)

    async def require_direct(self) -> None:
        """ConfigError when a pooler is in between."""
        async with self.dedicated():
            pass

    @contextlib.asynccontextmanager
    async def dedicated(self) -> AsyncIterator[Executor]:
        """A connection outside the pool, for notifications and locks."""
        async with self._own(CONNECT_TIMEOUT, {}) as connection:
            yield connection

    @contextlib.asynccontextmanager
    async def long_running(self, **settings: str) -> AsyncIterator[Executor]:
        """A connection outside the pool for long statements, with these server settings."""
        async with self._own(LONG_STATEMENT_TIMEOUT, settings) as connection:
            await _prepare(connection)
            yield connection

    @contextlib.asynccontextmanager
    async def _own(self, call_timeout: float, settings: dict[str, str]) -> AsyncIterator[Executor]:
        with translated_errors():
            connection = await self.connector.open(
                call_timeout, CONNECT_TIMEOUT, _KEEPALIVES | settings
            )
            if connection.is_pooled:
                connection.terminate()
                raise ConfigError(POOLED)
            try:
                yield connection
            finally:
                connection.terminate()


def _no_idle_transactions() -> dict[str, str]:
    """A machine that stops inside a transaction must lose its locks: others wait for them."""
    return {"idle_in_transaction_session_timeout": f"{round(IDLE_IN_TRANSACTION * 1000)}"}


@contextlib.asynccontextmanager
async def connect(
    url: str, size: int = POOL_SIZE, call_timeout: float = CALL_TIMEOUT, *, standby: bool = False
) -> AsyncIterator[Database]:
    """A Database on this URL; with several hosts, the one that can be written to.

    `standby`: the one that cannot be.
    """
    parse_address(url)
    connector = Connector(url, standby=standby)

    async def open_one(*_: Any, **__: Any) -> DatabaseConnection:
        return await connector.open(call_timeout, CONNECT_TIMEOUT, _no_idle_transactions())

    with translated_errors():
        pool = await asyncpg.create_pool(
            connect=open_one,
            min_size=0,
            max_size=size,
            init=_prepare,
            connection_class=DatabaseConnection,
        )
    try:
        yield Database(pool, url, call_timeout, connector)
    finally:
        pool.terminate()


async def listen(connection: Executor, on_notify: Callable[[], None]) -> None:
    """Call `on_notify` at every notification; DatabaseAway when the connection is lost."""
    lost = asyncio.Event()
    connection.add_termination_listener(lambda _: lost.set())
    await connection.add_listener(NOTIFY_CHANNEL, lambda *_: on_notify())
    on_notify()  # for notifications sent before
    while not lost.is_set():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PROBE_INTERVAL):
                await lost.wait()
        if not lost.is_set():
            # A machine that dies silently does not close the connection.
            await connection.execute("SELECT 1")
    raise DatabaseAway("the connection that listens for notifications is lost")


async def keep_listening(
    database: Database,
    on_notify: Callable[[], None],
    on_lost: Callable[[], None] = lambda: None,
) -> None:
    """Call `on_notify` at every notification, until cancelled; `on_lost` when some are missed."""
    while True:
        try:
            async with database.dedicated() as connection:
                await listen(connection, on_notify)
        except DatabaseAway:
            on_lost()
            await asyncio.sleep(LISTEN_RETRY)


async def copy(
    connection: Executor, table: str, columns: Sequence[str], rows: Iterable[tuple[object, ...]]
) -> None:
    """Insert rows by binary COPY, the fastest way that pgbench/ measured."""
    await connection.copy_records_to_table(table, records=rows, columns=list(columns))


async def copy_out(
    connection: Executor,
    query: str,
    *arguments: object,
    output: Callable[[bytes], Coroutine[Any, Any, None]],
    delimiter: str,
    quote: str,
) -> int:
    """COPY the rows of a query to `output` as CSV, some whole rows at a time; returns how many."""
    done: str = await connection.copy_from_query(
        query, *arguments, output=output, format="csv", delimiter=delimiter, quote=quote
    )
    return row_count(done)


def row_count(status: str) -> int:
    """How many rows a statement changed, by the command tag that `execute` returns."""
    return int(status.rpartition(" ")[2])
