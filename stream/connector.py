"""Opens connections to Postgres: at which of several hosts, and directly or through a pooler.

Behind a pooler such as PgBouncer, a session lasts as long as a transaction: no setting and no
prepared statement outlives it, and the pooler refuses `options` or ignores them.
"""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Any
from weakref import WeakSet

import asyncpg
from asyncpg.connect_utils import SessionAttribute

from stream import database_url
from stream.database_url import DatabaseURL
from stream.driver import DatabaseConnection, reason
from stream.errors import ConfigError, DatabaseAway

HOSTS_SHARE = 0.9  # of the time for connecting, for all hosts: a dead machine does not answer

_SESSION = {"application_name": "twitterstream", "timezone": "UTC"}
_NEXT_HOST = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    DatabaseAway,
)
_REFUSED_PARAMETER = "startup parameter"  # in PgBouncer's error
_READ_ONLY = "it is read-only, as a standby is"
_WRITABLE = "it can be written to, so it is no standby"
_POOLED: dict[str, Any] = {"server_settings": _SESSION, "statement_cache_size": 0}


class Connector:
    """Opens connections to the server of one address; of several hosts, to the first that fits.

    `standby`: one that replays what a primary sends fits; otherwise one that can be written to.
    """

    def __init__(self, url: str, *, standby: bool = False) -> None:
        self._url = url
        self.wants_standby = standby
        self._host = 0  # the number of the host that was connected to last
        self._opened: WeakSet[DatabaseConnection] = WeakSet()  # to that host
        self._is_pooled = False  # as far as is known

    async def open(
        self, statement_timeout: float, timeout: float, settings: dict[str, str]
    ) -> DatabaseConnection:
        """A connection whose statements may take `statement_timeout` seconds.

        `timeout`: seconds for connecting, unless the address says otherwise; `settings`: of the
        server, which a pooler does not get.
        """
        address = parse_address(self._url)
        limit, hosts = address.connect_timeout or timeout, address.host_list
        if len(hosts) > 1:
            limit = min(limit, timeout * HOSTS_SHARE / len(hosts))
        failed: dict[int, Exception] = {}
        for number in [*range(self._host, len(hosts)), *range(self._host)]:
            try:
                async with asyncio.timeout(limit):
                    connection = await self._connect(
                        address, hosts[number], limit, statement_timeout, settings
                    )
            except _NEXT_HOST as error:
                failed[number] = error
            else:
                self._use_host(number)
                self._opened.add(connection)
                return connection
        raise _together(failed, hosts)

    def _use_host(self, number: int) -> None:
        """Give up the connections to another host: it may never answer what they wait for."""
        if number != self._host:
            self._host = number
            given_up, self._opened = self._opened, WeakSet()
            for each in given_up:
                with contextlib.suppress(asyncpg.InterfaceError):
                    each.terminate()

    async def _connect(
        self,
        address: DatabaseURL,
        where: tuple[str, str],
        timeout: float,
        statement_timeout: float,
        settings: dict[str, str],
    ) -> DatabaseConnection:
        """A connection to one host, in the way that was right last, or else in the other one."""
        host, port = where
        direct = _direct(address, statement_timeout, settings)
        for is_pooled in (self._is_pooled, not self._is_pooled):
            try:
                connection: DatabaseConnection = await asyncpg.connect(
                    address.driver_url,
                    host=host or None,
                    port=int(port) if port else None,
                    timeout=timeout,
                    command_timeout=statement_timeout,
                    target_session_attrs=SessionAttribute.any,
                    connection_class=DatabaseConnection,
                    **(_POOLED if is_pooled else direct),
                )
            except asyncpg.ProtocolViolationError as error:
                if is_pooled or _REFUSED_PARAMETER not in str(error):
                    raise
            else:
                if await self._fits(connection, is_pooled=is_pooled):
                    self._is_pooled = connection.is_pooled = is_pooled
                    return connection
        raise DatabaseAway("the server changed while it was connected to")

    async def _fits(self, connection: DatabaseConnection, *, is_pooled: bool) -> bool:
        """Whether it was connected to in the right way; DatabaseAway for a wrong server."""
        fits = False
        try:
            peer = await connection.peer()
            if peer.is_read_only != self.wants_standby:
                raise DatabaseAway(_READ_ONLY if peer.is_read_only else _WRITABLE)
            fits = peer.is_pooler == is_pooled
        finally:
            if not fits:
                connection.terminate()
        return fits


def _together(failed: Mapping[int, Exception], hosts: Sequence[tuple[str, str]]) -> Exception:
    """The error of the only host, or one that says what is the matter with each."""
    if len(hosts) == 1:
        return failed[0]
    texts = (
        f"{hosts[number][0] or 'the local server'}: {reason(error)}"
        for number, error in sorted(failed.items())
    )
    together = DatabaseAway("; ".join(texts))
    # One that does not answer tells more of the state than one that is no primary.
    silent = (each for each in failed.values() if not isinstance(each, DatabaseAway))
    together.__cause__ = next(silent, None)
    return together


def _direct(
    address: DatabaseURL, statement_timeout: float, settings: dict[str, str]
) -> dict[str, Any]:
    """The parameters of a session.

    The server has to enforce the limit, too: while it waits for a lock it does not notice that a
    client has given up, and each attempt would keep a connection. Options of the address win.
    """
    limit = f"-c statement_timeout={round(statement_timeout * 1000)}"
    options = f"{limit} {address.parameters.get('options', '')}".rstrip()
    return {"server_settings": _SESSION | {"options": options} | settings}


def parse_address(url: str) -> DatabaseURL:
    """Read the address; the text of a ConfigError is a whole sentence."""
    try:
        return database_url.parse(url)
    except ConfigError as error:
        raise ConfigError(f"`database` {error}.") from None
