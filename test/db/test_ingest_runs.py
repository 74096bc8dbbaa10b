"""Runs: what comes late, of another daemon or after a clock was set back, is read by all, once."""

import asyncio
import random
from typing import TYPE_CHECKING

import pytest

from monitor.jobs import Leader
from monitor.maintenance.top_items_job import TopItemsJob
from shelf import NOON, Shelf
from stream.db import Database
from stream.keys import Cursor, Run, overlapping_groups, tweet_key
from stream.store import consumer_cursors, feed, ingest_log, top_items
from stream.store.consumer_cursors import TOP_ITEMS
from stream.store.lanes import first_lane
from stream.tweet import TrackId, TweetId

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from test.conftest import Eventually


@pytest.fixture
def shelf(connected: Database) -> Shelf:
    return Shelf(connected)


async def test_a_run_that_comes_late_is_read_by_those_who_are_further(shelf: Shelf) -> None:
    one, two = await shelf.source("one"), await shelf.source("two")
    await shelf.store(one, range(100, 120))
    await shelf.store(two, range(100, 120))
    _, cursor = await shelf.read(Cursor({}))
    late = await shelf.store(one, range(20)) + await shelf.store(one, range(30, 50))
    now = await shelf.store(two, range(200, 210))
    found, end = await shelf.read(cursor)
    assert sorted(found, key=int) == late + now
    assert (await shelf.read(end))[0] == []
    everything, _ = await shelf.read(Cursor({}))
    assert len(set(everything)) == shelf.number


async def test_two_that_store_at_once_do_it_one_after_the_other(
    shelf: Shelf, eventually: "Eventually"
) -> None:
    """As when a daemon takes over from one whose last transaction is still on its way."""
    lane = first_lane(await shelf.source("main"))
    waits = (
        "SELECT FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event = 'advisory'"
    )
    async with asyncio.TaskGroup() as group, shelf.database.transaction() as first:
        await ingest_log.note_ingest_run(first, lane, TweetId(1), TweetId(100))

        async def late() -> None:
            async with shelf.database.transaction() as second:
                await ingest_log.note_ingest_run(second, lane, TweetId(50), TweetId(60))

        group.create_task(late())

        async def is_waiting() -> bool:
            return bool(await shelf.database.fetch(waits))

        await eventually(is_waiting)
    rows = await shelf.database.fetch("SELECT run, first_id, last_id FROM ingest_runs ORDER BY run")
    assert [tuple(row) for row in rows] == [(1, 1, 100), (2, 50, 60)]


async def test_a_late_run_costs_no_walk_through_what_came_since(shelf: Shelf) -> None:
    """Between it and the present may be millions; they are two groups to read."""
    one, two = await shelf.source("one"), await shelf.source("two")
    await shelf.store(one, range(1000, 1010))
    _, cursor = await shelf.read(Cursor({}))
    await shelf.store(one, [0])
    await shelf.store(two, [2000])
    async with shelf.database.acquire() as connection:
        groups = overlapping_groups(await feed.unread(connection, cursor))
    found = [[each.run.lane for each in group] for group in groups]
    assert found == [[first_lane(one)], [first_lane(two)]]
    assert not groups[0][0].is_first


async def test_readers_at_random_places_see_each_tweet_once(shelf: Shelf) -> None:
    """While one daemon in five brings what it received earlier, and clocks go back."""
    chance = random.Random(7)
    numbers = [await shelf.source(f"s{n}") for n in range(3)]
    clock = dict.fromkeys(numbers, 10_000)
    readers: list[tuple[Cursor, list[str]]] = [(Cursor({}), []) for _ in range(3)]
    for _ in range(40):
        source = chance.choice(numbers)
        size = chance.randint(1, 9)
        begin = chance.randint(9000, 10_200) if chance.random() < 0.2 else clock[source]
        await shelf.store(source, range(begin, begin + size))
        clock[source] = max(clock[source], begin + size)
        at = chance.randrange(len(readers))
        cursor, seen = readers[at]
        found, cursor = await shelf.read(cursor, chance.randint(1, 12))
        readers[at] = cursor, seen + found
    all_of_them = [str(n) for n in range(1, shelf.number + 1)]
    for cursor, seen in [*readers, (Cursor({}), [])]:
        found, _ = await shelf.read(cursor)
        assert sorted(seen + found, key=int) == all_of_them
    found, _ = await shelf.read(Cursor({}), 5, [TrackId(1), TrackId(2)])
    assert sorted(found, key=int) == all_of_them


async def test_after_six_takeovers_everything_is_listed_and_counted_once(shelf: Shelf) -> None:
    """Two daemons take over from each other; the returning one brings late frames each time."""
    source = await shelf.source("main")
    leader = Leader(shelf.database)
    leader.leads = True
    counter = TopItemsJob(shelf.database, leader)
    async with shelf.database.acquire() as connection:
        await consumer_cursors.start_at(connection, TOP_ITEMS, "0")
    live, polling = Cursor({}), Cursor({})
    seen: list[str] = []
    polled: list[str] = []
    for turn in range(6):
        clock = turn * 100
        await shelf.store(source, range(clock, clock + 60))
        found, live = await shelf.read(live, 50)
        seen += found
        # What the other one received at the same time, and had in its journal when it was killed.
        await shelf.store(source, [n + 0.5 for n in range(clock + 20, clock + 70, 2)])
        found, live = await shelf.read(live, 50)
        seen += found
        await counter.count()
        if turn % 2:
            found, polling = await shelf.read(polling, 7, [TrackId(1)])
            polled += found
    all_of_them = [str(n) for n in range(1, shelf.number + 1)]
    late, _ = await shelf.read(Cursor({}), 50)
    for each in (seen, polled, late):
        assert sorted(each, key=int) == all_of_them
    async with shelf.database.acquire() as connection:
        top = await top_items.most_frequent_by_aspect(connection, TrackId(1), "all", 5)
    [author] = top["author"]
    assert author.tweets == shelf.number
    runs = await shelf.database.fetch("SELECT run FROM ingest_runs")
    assert len(runs) == 2  # however often they take over


async def test_a_clock_that_was_set_back_needs_one_more_run(shelf: Shelf) -> None:
    source = await shelf.source("main")
    await shelf.store(source, [*range(10), *range(3600, 3610), *range(10, 20)])  # in one batch
    _, cursor = await shelf.read(Cursor({}))
    ids = []
    for minute in range(1, 70, 5):
        ids += await shelf.store(source, range(minute * 60, minute * 60 + 20))
    found, cursor = await shelf.read(cursor)
    assert found == ids
    assert {run.number for run in cursor.positions} == {1, 2}
    rows = await shelf.database.fetch("SELECT DISTINCT run FROM tweets")
    assert {row["run"] for row in rows} == {None, 2}


async def test_two_tweets_of_the_same_microsecond_are_both_stored(shelf: Shelf) -> None:
    source = await shelf.source("main")
    await shelf.store(source, [1, 2, 3])
    shelf.clock_digits = False
    await shelf.store(source, [5, 6, 7])
    ids = await shelf.store(source, [6, 7, 7])  # of another daemon, and of a clock set back
    found, _ = await shelf.read(Cursor({}))
    assert sorted(found) == [str(n) for n in range(1, 10)]
    rows = await shelf.database.fetch(
        "SELECT FROM tweet_ids JOIN tweets ON tweets.id = tweet_id"
        " AND tweets.native_id = tweet_ids.native_id WHERE tweet_ids.native_id = ANY ($1)",
        ids,
    )
    assert len(rows) == 3
    [run] = await shelf.database.fetch("SELECT last_id FROM ingest_runs WHERE run = 2")
    [last] = await shelf.database.fetch("SELECT max(id) AS id FROM tweets WHERE run = 2")
    assert run["last_id"] == last["id"]


async def test_cursors_of_before_runs_were_disjoint_miss_nothing(shelf: Shelf) -> None:
    """They say one run and key of each source, and its runs were read one after the other."""
    source = await shelf.source("main")
    first = await shelf.store(source, range(100, 200))
    await shelf.database.execute("UPDATE ingest_runs SET former = true")
    [row] = await shelf.database.fetch("SELECT * FROM ingest_runs")
    low, high = row["first_id"], row["last_id"]
    key = [tweet_key(NOON + n * 1_000_000, first_lane(source)) for n in range(200)]
    add = "INSERT INTO ingest_runs VALUES ($1, $2, $3, $4, $5)"
    await shelf.database.execute(add, source, 2, key[120], key[150], True)
    await shelf.database.execute(add, source, 3, low, high, False)
    for number, at, left in (
        (1, key[110], first[10:]),  # in the middle of the first one
        (1, high, first[20:]),  # the second one was still to come
        (2, key[130], first[30:]),
        (2, key[150], []),  # everything was seen
    ):
        assert (await shelf.read(Cursor({Run(first_lane(source), number): at})))[0] == left
