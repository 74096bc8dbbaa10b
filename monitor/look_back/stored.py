"""The place `stored`: tweets in the tables get matches of the track, in the order of their keys."""

import time
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime

from monitor.look_back import store_found
from monitor.look_back.found_items import count_items
from monitor.look_back.slices import JSON
from monitor.look_back.task import Task, Work
from stream.db import Executor
from stream.errors import InvalidPosition
from stream.keys import tweet_key
from stream.networks.registry import NETWORKS, decode_stored
from stream.store import look_back_rows, partitions
from stream.store.look_back_rows import Added, Found, StoredDoc
from stream.store.rollups import CountChanges
from stream.tweet import LaneId, NetworkName, TweetId

PAGE_TWEETS = 1000


def _key(microseconds: int) -> TweetId:
    return tweet_key(microseconds, LaneId(0))


async def look_through_stored(task: Task) -> None:
    """Credit all stored tweets that the track matches and that it does not have yet."""
    async with task.database.acquire() as connection:
        bounds = [partitions.day_bounds(day) for day in await partitions.days(connection)]
    if not bounds or task.has_nothing(max(task.since, _microseconds(bounds[0][0]))):
        return
    until = _key(int(time.time() * 1e6))  # later ones are matched when they are received
    if task.track.ends_at is not None:
        until = min(until, _key(_microseconds(task.track.ends_at)))
    first = _key(max(task.since, _microseconds(bounds[0][0])))
    after = _after(task.at) if task.at is not None else TweetId(first - 1)
    for since, end in bounds:
        if _key(_microseconds(end)) <= after or _key(_microseconds(since)) >= until:
            continue
        more = True
        while more and after < until:
            read_at = datetime.now(UTC)
            async with task.database.acquire() as connection:
                page = await look_back_rows.page(
                    connection, after, (since, end), task.networks, PAGE_TWEETS
                )
            more = len(page) == PAGE_TWEETS
            page = [each for each in page if each.id < until]
            if not page:
                break
            after = page[-1].id
            progress = max(0.0, min(1.0, (after - first) / max(until - first, 1)))
            found = _matching(task, page, read_at)
            await task.commit(after, progress, len(page), _crediting(task, found))


def _microseconds(at: datetime) -> int:
    return round(at.timestamp() * 1e6)


def _after(at: JSON) -> TweetId:
    if not isinstance(at, int) or not -1 <= at < 1 << 63:
        raise InvalidPosition("not the key of a tweet")
    return TweetId(at)


def _matching(
    task: Task, page: Sequence[StoredDoc], read_at: datetime
) -> dict[NetworkName, list[Found]]:
    """The tweets of a page that match, by network."""
    found: defaultdict[NetworkName, list[Found]] = defaultdict(list)
    for stored in page:
        network = NETWORKS[stored.network]
        if network.may_match is not None and not network.may_match(stored.doc, task.matcher):
            continue
        tweet = decode_stored(stored.network, stored.doc)
        for match in [] if tweet is None else task.matcher.match(tweet):
            found[stored.network].append(Found(stored.id, stored.native_id, match, read_at))
    return found


def _crediting(task: Task, found: dict[NetworkName, list[Found]]) -> Work:
    async def credit(connection: Executor, track_counts: CountChanges) -> Added:
        credited: list[TweetId] = []
        for network, some in sorted(found.items()):
            credited += await store_found.credit(
                connection, network, task.row.track_id, some, track_counts
            )
        await count_items(connection, task.row.track_id, credited)
        return Added(len(credited), 0)

    return credit
