"""The tweets of a delivery that a webhook is sent again, from Postgres and from archives."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from itertools import groupby

import msgspec

from monitor.archive.store import Store
from monitor.export.source import Source
from stream.config import Settings
from stream.db import Database
from stream.keys import received_at
from stream.sinks.webhook_messages import tweet_item
from stream.sinks.webhook_worker import followed_tracks
from stream.store import export_rows, webhook_deliveries, webhooks
from stream.store.export_rows import Selection
from stream.tweet import TweetId


async def tweets_of(
    database: Database, settings: Settings, delivery_id: int
) -> AsyncGenerator[bytes, None]:
    """What is left of a delivery, from Postgres and archives, as JSON, the oldest first."""
    async with database.acquire() as connection:
        delivery = await webhook_deliveries.by_id(connection, delivery_id)
        hook = await webhooks.by_id(connection, delivery.webhook_id) if delivery else None
        if delivery is None or hook is None:
            return
        selection = Selection(sorted(await followed_tracks(connection, hook)))
    url = settings.archive.url
    store = await asyncio.to_thread(Store, url) if url else None
    async with database.long_running(**export_rows.SESSION) as connection:
        await export_rows.prepare(connection)
        source = Source(database, connection, store, selection)
        for _, of_day in groupby(sorted(delivery.tweets), lambda key: received_at(key).date()):
            keys = list(of_day)
            ranges = source.ranges(TweetId(keys[0] - 1), TweetId(keys[-1] + 1))
            async with contextlib.aclosing(ranges):
                async for each in ranges:
                    chosen = msgspec.structs.replace(each, chosen=keys)
                    for found in await export_rows.stored(connection, selection, chosen):
                        yield tweet_item(*found)
