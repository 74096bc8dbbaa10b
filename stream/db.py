"""Connection pools, transactions and COPY; only this module and the two below it import asyncpg.

Every error is one of three: `DatabaseAway` (the same call may work later), `RowRefused` (the data
is invalid), or `Broken` (a bug in this program).
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any, TypeAlias, TypeVar, cast

import asyncpg

from stream import database_url, driver
from stream.connector import Connector, parse_address
from stream.driver import DatabaseConnection
from stream.errors import ConfigError, DatabaseAway, TwitterstreamError

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
# Of a GuardedDatabase, in seconds: together the time until its callers learn of a frozen server.
SLOW_CALL = 1.5  # a call that lasts longer makes it check whether the server answers
CHECK_TIMEOUT = 5.0  # for the answer; a machine with much else to do needs seconds
CHECK_INTERVAL = 1.0
TIMEOUT_LATE = 0.5  # seconds; a timeout that comes so much later than due is none
LONG_STATEMENT_TIMEOUT = 6 * 3600  # seconds, for one statement of a job that takes long
NOTIFY_CHANNEL = "twitterstream"  # the channel that sql/schema/functions.sql notifies

POOLED = (
    "`database` is the address of a connection pooler such as PgBouncer. Only the command `web`"
    " can use one, and not `run --role web`: this needs sessions of its own, for locks and LISTEN."
    " Set `database` to the address of Postgres itself here, and to that of the pooler only for"
    " the command `web`."
)

_FROZEN = "it does not answer"
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
        self._pool = pool
        self._url = url
        self._call_timeout = call_timeout
        self._connector = connector

    @contextlib.asynccontextmanager
    async def acquire(self) -> AsyncIterator[Executor]:
        """A connection, for single statements."""
        with translated_errors():
            connection = await self._pool.acquire(timeout=CONNECT_TIMEOUT)
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
        releasing = asyncio.ensure_future(self._pool.release(connection))
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

    @contextlib.asynccontextmanager
    async def separate_pool(self, size: int) -> AsyncIterator["Database"]:
        """Another pool on the same server, for work that must not use up these connections."""
        standby = self._connector.wants_standby
        async with connect(self._url, size, self._call_timeout, standby=standby) as database:
            yield database

    def address_for(self, user: str, password: str, name: str) -> str:
        """The URL of the database of this name on the same server for another user."""
        return database_url.with_login(self._url, user, password, name)

    def guarded(self, name: str = "Postgres") -> "GuardedDatabase":
        """The same pool for callers that must not wait for a server that stands still.

        `name`: what the log calls it.
        """
        return GuardedDatabase(self._pool, self._url, self._call_timeout, self._connector, name)

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
            connection = await self._connector.open(
                call_timeout, CONNECT_TIMEOUT, _KEEPALIVES | settings
            )
            if connection.is_pooled:
                connection.terminate()
                raise ConfigError(POOLED)
            try:
                yield connection
            finally:
                connection.terminate()


class GuardedDatabase(Database):
    """A circuit breaker: calls fail soon while the server does not answer anyone.

    A slow call proves nothing: it may be a large search. So a statement on a separate connection
    decides: without an answer all calls end, and new ones fail at once until the server is back.
    """

    def __init__(
        self,
        pool: "asyncpg.Pool[Any]",
        url: str,
        call_timeout: float,
        connector: Connector,
        name: str,
    ) -> None:
        super().__init__(pool, url, call_timeout, connector)
        self._name = name
        self._is_frozen = False
        self._calls: dict[asyncio.Timeout, float] = {}  # since when each runs
        self._called = asyncio.Event()

    @contextlib.asynccontextmanager
    async def acquire(self) -> AsyncIterator[Executor]:
        if self._is_frozen:
            raise DatabaseAway(_FROZEN)
        limit = asyncio.timeout(None)
        try:
            async with limit:
                self._calls[limit] = asyncio.get_running_loop().time()
                self._called.set()
                try:
                    async with super().acquire() as connection:
                        yield connection
                finally:
                    del self._calls[limit]
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise DatabaseAway(_FROZEN) from error

    async def watch(self) -> None:
        """Guard the calls until cancelled."""
        async with self.separate_pool(1) as separate:
            while True:
                await self._slow_call()
                if await _is_frozen(separate):
                    self._end_calls()
                elif self._is_frozen:
                    self._is_frozen = False
                    logger.info("%s answers again", self._name)
                await asyncio.sleep(CHECK_INTERVAL)

    async def _slow_call(self) -> None:
        """Wait until a call has lasted so long that the server may be frozen."""
        clock = asyncio.get_running_loop().time
        while not self._is_frozen:
            if not self._calls:
                self._called.clear()
                await self._called.wait()
            rest = min(self._calls.values(), default=clock()) + SLOW_CALL - clock()
            if self._calls and rest <= 0:
                return
            await asyncio.sleep(max(rest, 0.0))

    def _end_calls(self) -> None:
        if not self._is_frozen:
            self._is_frozen = True
            logger.warning("%s does not answer; requests fail at once until it does", self._name)
        for limit in self._calls:
            with contextlib.suppress(RuntimeError):  # it is about to end
                limit.reschedule(asyncio.get_running_loop().time())


async def answer_within(seconds: float, ask: Callable[[], Awaitable[T]]) -> T:
    """The answer of a server; TimeoutError when it takes longer.

    A timeout that comes late proves nothing: this machine stood still as well. So it asks again.
    """
    clock = asyncio.get_running_loop().time
    while True:
        late = clock() + seconds + TIMEOUT_LATE
        try:
            async with asyncio.timeout(seconds):
                return await ask()
        except TimeoutError:
            if clock() < late:
                raise


async def _is_frozen(database: Database) -> bool:
    """Whether the server gives no answer at all; a refusal is one, and reaches callers as well."""
    try:
        await answer_within(CHECK_TIMEOUT, lambda: database.fetch("SELECT 1"))
    except TimeoutError:
        return True
    except TwitterstreamError as error:
        # A server that is frozen for long accepts no connection on its Unix socket either.
        return isinstance(error.__cause__, TimeoutError | BlockingIOError)
    return False


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
