"""Redis and Valkey: the connection of the sinks, and what its errors mean."""

import contextlib
import re
from collections.abc import AsyncIterator

from redis import exceptions
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.client import Pipeline
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

__all__ = ["Pipeline", "Redis", "RedisError", "explain", "opened", "queue"]

CLIENT_NAME = "twitterstream"  # in CLIENT LIST
CONNECTIONS = 3  # of channels and Streams, and one more
TIMEOUT = 5.0  # seconds, for one answer; then the server counts as away
_WAITING = "Tweets wait in Postgres; none is lost."
_CODE = re.compile(r"(?:^|caused error: )([A-Z]{3,})\b")
_NO_DATABASE = "DB index is out of range"  # of Redis and Valkey
_DATABASE_REMEDY = (
    "Correct the number at the end of sinks.redis.url, or raise `databases` in the settings of"
    f" Redis. {_WAITING}"
)
_TLS_REMEDY = (
    "sinks.redis.url begins with rediss://: check that this port of Redis has TLS, with a"
    " certificate that this machine trusts; without TLS it is redis://. "
)
# The first one that fits.
_EXPLANATIONS: tuple[tuple[type[RedisError], str, str], ...] = (
    (
        exceptions.AuthenticationError,
        "Redis refuses the login",
        "Correct user and password in sinks.redis.url.",
    ),
    (
        exceptions.NoPermissionError,
        "Redis does not allow its user a command",
        "Allow it the commands and keys that docs/operations.md lists (sinks).",
    ),
    (
        exceptions.OutOfMemoryError,
        "Redis has no memory left (maxmemory)",
        f"Raise its maxmemory, or lower sinks.redis.stream_bytes. {_WAITING}",
    ),
    (
        exceptions.ReadOnlyError,
        "Redis is a replica",
        "Give the address of the primary in sinks.redis.url.",
    ),
    (exceptions.BusyLoadingError, "Redis loads its data", f"Wait. {_WAITING}"),
    (
        exceptions.InvalidResponse,
        "What answers there is no Redis",
        "Correct the address in sinks.redis.url.",
    ),
    (
        exceptions.TimeoutError,
        "Redis does not answer",
        f"Check whether it is overloaded or frozen. {_WAITING}",
    ),
    (
        exceptions.ConnectionError,
        "Redis cannot be reached",
        f"Start it, or correct sinks.redis.url. {_WAITING}",
    ),
)


@contextlib.asynccontextmanager
async def opened(url: str) -> AsyncIterator[Redis]:
    """A client; it connects when needed, and repeats nothing by itself.

    A repeated XADD would append an entry twice: after an error the sink reads its position first.
    """
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=CONNECTIONS,
        timeout=TIMEOUT,
        socket_timeout=TIMEOUT,
        socket_connect_timeout=TIMEOUT,
        client_name=CLIENT_NAME,
        retry=Retry(NoBackoff(), 0),
    )
    client: Redis = Redis.from_pool(pool)
    try:
        yield client
    finally:
        with contextlib.suppress(RedisError):
            await client.aclose()


def queue(pipeline: Pipeline, *command: str | bytes | int) -> None:
    """Add a command to a pipeline."""
    pipeline.pipeline_execute_command(*command)  # type: ignore[no-untyped-call]  # of redis-py


def explain(error: RedisError, url: str = "") -> tuple[str, str]:
    """What is wrong, and the remedy. Without texts of the server: they may quote a command."""
    for kind, reason, remedy in _EXPLANATIONS:
        if isinstance(error, kind):
            return reason, (_TLS_REMEDY if _concerns_tls(error, url) else "") + remedy
    if _NO_DATABASE in str(error):
        return "Redis has no database with this number", _DATABASE_REMEDY
    found = _CODE.search(str(error))
    code = found[1] if found else type(error).__name__
    if code == "WRONGTYPE":
        return (
            "A key of the sink is used for something else",
            "Delete or rename the keys that begin with {tweets}: and are not Streams.",
        )
    return f"Redis refuses a command ({code})", "See the log of Redis."


def _concerns_tls(error: RedisError, url: str) -> bool:
    """Whether TLS may be the reason: a server without it waits for more, or hangs up."""
    return url.startswith("rediss:") and type(error) in (
        exceptions.ConnectionError,
        exceptions.TimeoutError,
    )
