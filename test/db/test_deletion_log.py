"""Deletions of stored tweets are read in an order in which none is missed."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from stream.db import Database
from stream.keys import received_at, tweet_key
from stream.store import author_tombstones, deletion_log, deletions, sources
from stream.store.author_tombstones import AuthorRestrictions
from stream.store.lanes import first_lane
from stream.store.rollups import CountChanges
from stream.tweet import Frame, Match, NativeId, TrackId, Tweet, TweetId
from x_tweets import store_frames, v1_tweet

NOW = datetime.now(UTC)
NOON = round(datetime(2026, 3, 14, 12, tzinfo=UTC).timestamp() * 1e6)


def both(_: Tweet) -> Sequence[Match]:
    return [Match(TrackId(track), "snow", "text") for track in (2, 1)]


@pytest.fixture
async def keys(connected: Database) -> list[TweetId]:
    """Three stored tweets of author 5."""
    async with connected.acquire() as connection:
        source = await sources.add(connection, "main", "x_v1")
    frames = [Frame(NOON + n, v1_tweet(n), n) for n in (1, 2, 3)]
    await store_frames(connected, source, frames, both)
    return [tweet_key(frame.received, first_lane(source)) for frame in frames]


async def read(database: Database, number: int = 0) -> list[deletion_log.LoggedDeletion]:
    async with database.acquire() as connection:
        return await deletion_log.after(connection, number, 10)


@pytest.mark.parametrize("erase", [True, False])
async def test_a_deletion_is_logged_once_with_the_tracks_of_its_tweet(
    connected: Database, keys: list[TweetId], *, erase: bool
) -> None:
    for _ in range(2):
        async with connected.transaction() as connection:
            times = {NativeId("1"): NOW, NativeId("never stored"): NOW}
            await deletions.delete(connection, "x_v1", times, CountChanges(), erase=erase)
    [found] = await read(connected)
    assert (found.tweet_id, found.deleted_at, found.tracks) == (keys[0], NOW, [1, 2])
    assert await read(connected, found.number) == []


async def test_the_deletion_of_an_author_is_one_of_each_tweet(
    connected: Database, keys: list[TweetId]
) -> None:
    async with connected.transaction() as connection:
        limits = {"5": AuthorRestrictions(deleted_at=NOW)}
        await author_tombstones.restrict_authors(connection, "x_v1", limits)
    await deletions.apply_to_authors(connected, erase=True, chunk=2)
    assert {each.tweet_id for each in await read(connected)} == set(keys)


async def test_a_deletion_that_commits_later_has_the_higher_number(
    connected: Database, keys: list[TweetId]
) -> None:
    async with connected.transaction() as late:
        await deletion_log.add(late, {keys[0]: NOW}, (received_at(keys[0]), received_at(keys[0])))
        async with connected.transaction() as connection:
            bounds = received_at(keys[1]), received_at(keys[1])
            await deletion_log.add(connection, {keys[1]: NOW}, bounds)
        [first] = await read(connected)
        assert first.tweet_id == keys[1]
    [second] = await read(connected, first.number)
    assert second.tweet_id == keys[0]


async def test_readers_at_once_number_each_deletion_once(
    connected: Database, keys: list[TweetId]
) -> None:
    number, seen = 0, list[TweetId]()
    for key in keys:
        async with connected.transaction() as connection:
            await deletion_log.add(connection, {key: NOW}, (received_at(key), received_at(key)))
        found, *others = await asyncio.gather(*(read(connected, number) for _ in range(4)))
        assert others == [found] * 3
        number, seen = found[-1].number, seen + [each.tweet_id for each in found]
    assert seen == keys


async def test_old_deletions_are_pruned_also_when_nobody_reads_them(
    connected: Database, keys: list[TweetId]
) -> None:
    async with connected.transaction() as connection:
        await deletion_log.add(
            connection, {keys[0]: NOW}, (received_at(keys[0]), received_at(keys[0]))
        )
        assert await deletion_log.prune(connection, NOW - timedelta(days=1), 10) == 0
        assert await deletion_log.prune(connection, NOW + timedelta(days=1), 10) == 1
