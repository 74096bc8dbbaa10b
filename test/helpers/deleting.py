"""Deletions of tweets as a network reports them, in a transaction of their own."""

from collections.abc import Mapping
from datetime import datetime

from stream.db import Database
from stream.store import deletions
from stream.store.rollups import CountChanges
from stream.tweet import NativeId, NetworkName


async def delete_tweets(
    database: Database,
    network: NetworkName,
    times: Mapping[NativeId, datetime],
    *,
    erase: bool = True,
) -> None:
    async with database.transaction() as connection:
        counts = CountChanges()
        await deletions.delete(connection, network, times, counts, erase=erase)
        await counts.save(connection)
