"""Adds what a look-back has found to the top items of its track."""

from collections import defaultdict
from collections.abc import Collection
from datetime import UTC, datetime

from monitor.item_counts import ItemCounts
from stream.db import Executor
from stream.keys import Cursor, lane_of
from stream.store import consumer_cursors, search, top_items
from stream.store.consumer_cursors import TOP_ITEMS
from stream.tweet import LaneId, TrackId, TweetId


async def count_items(connection: Executor, track_id: TrackId, found: Collection[TweetId]) -> None:
    """Count the items of these tweets, but for those that the job of top items is still to read."""
    read = await consumer_cursors.read(connection, TOP_ITEMS)
    if read is None:
        return
    reached: defaultdict[LaneId, TweetId] = defaultdict(lambda: TweetId(0))
    for run, key in Cursor.parse(read).positions.items():
        reached[run.lane] = max(reached[run.lane], key)
    passed = [key for key in found if key <= reached[lane_of(key)]]
    tweets = await search.by_keys(connection, passed)
    counts = ItemCounts(datetime.now(UTC))
    await counts.add(tweets, {each.id: [track_id] for each in tweets})
    async for lines in counts.rows():
        await top_items.add(connection, lines)
