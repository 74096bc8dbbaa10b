"""The sinks of Redis that the settings turn on."""

import contextlib
from collections.abc import AsyncIterator

from stream.config.settings import RedisSettings
from stream.db import Database
from stream.loop_budget import LoopBudget
from stream.sinks import redis, redis_channels, redis_streams
from stream.sinks.reader import Reader
from stream.sinks.redis_channels import ChannelSink
from stream.sinks.redis_streams import StreamSink
from stream.sinks.status import Sink, SinkError, SinkStatus, Work


@contextlib.asynccontextmanager
async def opened(
    database: Database, settings: RedisSettings, budget: LoopBudget
) -> AsyncIterator[list[Sink]]:
    """The sinks, each with its status and its work."""
    async with redis.opened(settings.url) as client:
        status = SinkStatus(redis_channels.NAME)
        channels = ChannelSink(client, database, Reader(database, budget), status)
        found: list[Sink] = [(status, _explained(channels.work, settings.url))]
        if settings.streams:
            status = SinkStatus(redis_streams.NAME)
            reader = Reader(database, budget)
            streams = StreamSink(client, database, reader, status, settings)
            found.append((status, _explained(streams.work, settings.url)))
        yield found


def _explained(work: Work, url: str) -> Work:
    """The same work; errors of Redis say what is wrong, and the remedy."""

    async def explained() -> None:
        try:
            await work()
        except redis.RedisError as error:
            raise SinkError(*redis.explain(error, url)) from error

    return explained
