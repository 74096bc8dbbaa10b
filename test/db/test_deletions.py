"""What networks take back: said twice it changes nothing, and it reaches the tweets of an author
bit by bit, while no reader sees them any more."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stream.batch import Batch, ControlItem
from stream.db import Database
from stream.keys import Cursor
from stream.networks.x_v1.decode import decode
from stream.store import author_tombstones, day_snapshot, deletions, feed, sources
from stream.store.author_tombstones import AuthorRestrictions
from stream.store.deletions import apply_to_authors
from stream.tweet import (
    AuthorDeletion,
    Deletion,
    Frame,
    GeoScrub,
    Match,
    NativeId,
    SourceId,
    TrackId,
    Tweet,
    Withheld,
)
from x_tweets import store_batch

NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)
CREATED = "Sat Mar 14 11:00:00 +0000 2026"
TABLES = (
    *("tweets", "matches", "tweet_ids", "author_tombstones", "archive_changes"),
    *("track_minutes", "track_hours", "track_days"),
)
AGAIN = """
UPDATE author_tombstones SET pending = array_remove(ARRAY[
    CASE WHEN deleted_at IS NOT NULL THEN 'deleted' END,
    CASE WHEN scrubbed_to IS NOT NULL THEN 'scrubbed' END], NULL)
"""
AUTHORS = ("5", "6", "7")


def snow(_: Tweet) -> Sequence[Match]:
    return [Match(TrackId(1), "snow", "text")]


class Bench:
    """Tweets of some authors, and what is said about them."""

    def __init__(self, database: Database, source: SourceId, *, erase: bool = True) -> None:
        self.database = database
        self.source = source
        self.erase = erase

    async def fill(self, number: int, authors: Sequence[str] = AUTHORS) -> None:
        """Tweets with places, one a minute, by each author in turn."""
        frames = []
        for n in range(1, number + 1):
            author = authors[n % len(authors)]
            body = {
                "id": n, "id_str": str(n), "text": "a snow day", "created_at": CREATED,
                "user": {"id": int(author), "id_str": author, "screen_name": f"ann{author}"},
                "coordinates": {"type": "Point", "coordinates": [10.7, 59.9]},
            }  # fmt: skip
            at = NOON + timedelta(minutes=n % 2000, microseconds=n)
            frames.append(Frame(round(at.timestamp() * 1e6), json.dumps(body).encode(), n))
        batch = Batch(self.source, 0, 1 << 20)
        batch.add(frames, decode, snow)
        await self.commit(batch)

    async def say(self, what: Deletion | AuthorDeletion | GeoScrub | Withheld) -> None:
        """As the writer hears it."""
        batch = Batch(self.source, 0, 1 << 20)
        batch.control_items.append(ControlItem(what, NOON + timedelta(days=1)))
        await self.commit(batch)

    async def commit(self, batch: Batch) -> None:
        await store_batch(self.database, batch, erase=self.erase)

    async def read(self) -> list[str]:
        async with self.database.acquire() as connection:
            page = await feed.after(connection, Cursor({}), 1000)
            of_track = await feed.after(connection, Cursor({}), 1000, [TrackId(1)])
        assert [each.id for each in page.tweets] == [each.id for each in of_track.tweets]
        return [each.native_id for each in page.tweets]

    async def rows(self, query: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in await self.database.fetch(query)]

    async def picture(self) -> dict[str, list[tuple[Any, ...]]]:
        """All rows, and which transaction wrote each."""
        return {
            table: await self.rows(f"SELECT t.xmin::text, t::text FROM {table} AS t ORDER BY 2")
            for table in TABLES
        }

    async def counts_agree(self) -> bool:
        [[matches]] = await self.rows("SELECT count(*) FROM matches")
        sums = [
            await self.rows(f"SELECT coalesce(sum(tweets), 0) FROM {table}")
            for table in TABLES[-3:]
        ]
        return sums == [[(matches,)]] * 3


@pytest.fixture
async def bench(connected: Database) -> Bench:
    async with connected.acquire() as connection:
        return Bench(connected, await sources.add(connection, "test", "x_v1"))


native_ids = st.integers(1, 12).map(lambda n: NativeId(str(n)))  # also some that are not there
authors = st.sampled_from([*AUTHORS, "9"])
countries = st.lists(st.sampled_from(["DE", "FR", "XX", "XY"]), max_size=2).map(tuple)
messages = st.one_of(
    st.builds(Deletion, native_ids),
    st.builds(AuthorDeletion, authors),
    st.builds(GeoScrub, authors, st.integers(0, 12)),
    st.builds(Withheld, native_ids, st.none(), countries),
    st.builds(Withheld, st.none(), authors, countries),
)


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(messages, min_size=1, max_size=4), st.booleans())
async def test_saying_anything_twice_changes_nothing_the_second_time(
    bench: Bench, said: list[Deletion | AuthorDeletion | GeoScrub | Withheld], erase: bool
) -> None:
    for table in TABLES:
        await bench.database.execute(f"TRUNCATE {table}")
    bench.erase = erase
    await bench.fill(9)
    await bench.database.execute("SELECT archive_watch('2026-03-14')")
    once: dict[str, list[tuple[Any, ...]]] = {}
    for what in said:
        await bench.say(what)
        await apply_to_authors(bench.database, erase=erase)
        once = await bench.picture()
        await bench.say(what)
        await apply_to_authors(bench.database, erase=erase)
        assert await bench.picture() == once
    assert await bench.counts_agree()
    # And after a kill just before it was noted that an author is done.
    await bench.database.execute(AGAIN)
    await apply_to_authors(bench.database, erase=erase)
    again = await bench.picture()
    assert {**again, "author_tombstones": None} == {**once, "author_tombstones": None}


async def test_later_tweets_of_a_scrubbed_author_leave_the_older_ones_alone(bench: Bench) -> None:
    await bench.fill(9)
    await bench.say(GeoScrub("5", 100))
    await apply_to_authors(bench.database, erase=True)
    await bench.database.execute("SELECT archive_watch('2026-03-14')")
    once = await bench.picture()
    await bench.fill(12)  # three new ones, one of them hers
    again = await bench.picture()
    assert not await bench.rows("SELECT FROM tweets WHERE author_id = '5' AND doc ? 'coordinates'")
    assert set(once["tweets"]) < set(again["tweets"])
    assert once["author_tombstones"] == again["author_tombstones"]


@pytest.mark.parametrize("erase", [True, False])
async def test_readers_do_not_see_what_an_author_lost_while_it_is_removed_bit_by_bit(
    bench: Bench, erase: bool
) -> None:
    await bench.fill(90)
    bench.erase = erase
    others = [str(n) for n in range(1, 91) if n % 3]
    await bench.say(AuthorDeletion("5"))
    assert len(await bench.rows("SELECT FROM tweets")) == 90
    assert await bench.read() == others
    # A kill in the middle of it: some transactions are done, others not.
    async with bench.database.acquire() as connection:
        [author] = await author_tombstones.pending(connection, (), 10)
    await deletions._apply(bench.database, author, 0, 10, erase=erase)
    left = await bench.rows("SELECT FROM tweets WHERE deleted_at IS NULL")
    assert len(left) == 80
    assert await bench.read() == others
    assert await apply_to_authors(bench.database, erase=erase, chunk=7) == 1
    assert await apply_to_authors(bench.database, erase=erase) == 0
    assert await bench.read() == others
    gone = await bench.rows("SELECT FROM tweet_ids WHERE deleted_at IS NOT NULL")
    assert len(gone) == 30
    if erase:
        assert len(await bench.rows("SELECT FROM tweets")) == 60
        assert await bench.counts_agree()
    await bench.fill(93)
    assert await bench.read() == [*others, "91", "92"]


async def test_withheld_everywhere_is_hidden_at_once(bench: Bench) -> None:
    await bench.fill(9)
    await bench.say(Withheld(None, "5", ("XX",)))
    assert await bench.read() == ["1", "2", "4", "5", "7", "8"]
    await apply_to_authors(bench.database, erase=True)
    assert await bench.read() == ["1", "2", "4", "5", "7", "8"]
    await bench.say(Withheld(None, "5", ()))
    await apply_to_authors(bench.database, erase=True)
    assert len(await bench.read()) == 9


async def test_what_an_author_came_back_for_stays(bench: Bench) -> None:
    await bench.fill(9)
    async with bench.database.transaction() as connection:
        lost = AuthorRestrictions(
            deleted_at=datetime(2026, 3, 14, 10, tzinfo=UTC)
        )  # before they were made
        await author_tombstones.restrict_authors(connection, "x_v1", {"5": lost})
    assert len(await bench.read()) == 9
    await apply_to_authors(bench.database, erase=True)
    assert len(await bench.read()) == 9


async def test_an_archive_does_not_believe_in_what_has_not_reached_the_tweets_yet(
    bench: Bench,
) -> None:
    await bench.fill(9)
    await bench.say(AuthorDeletion("5"))
    await bench.database.execute("UPDATE author_tombstones SET changed_at = '2026-03-14'")
    async with bench.database.acquire() as connection:
        [row] = await connection.fetch("SELECT changed_at FROM author_tombstones")
        authors_at = (await day_snapshot.moment(connection)).authors_at
        assert authors_at < row["changed_at"]
        await apply_to_authors(bench.database, erase=True)
        authors_at = (await day_snapshot.moment(connection)).authors_at
        assert authors_at > row["changed_at"]
