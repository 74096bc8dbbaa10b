"""Stored tweets are read in order, from any cursor, and none is missed."""

import asyncio
import json
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from monitor.jobs import Leader
from monitor.maintenance.top_items_job import TopItemsJob
from stream.db import Database, Executor
from stream.errors import TwitterstreamError
from stream.keys import Cursor, KeyRange, Run, bounds_by_source, overlapping_groups, tweet_key
from stream.store import consumer_cursors, feed, ingest_log, sources, top_items
from stream.store.consumer_cursors import TOP_ITEMS
from stream.tweet import Frame, Match, SourceId, TrackId, Tweet, TweetId
from x_tweets import store_frames, v1_tweet

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from test.conftest import Eventually

START = datetime(2026, 3, 14, 12, tzinfo=UTC)
NOON = round(START.timestamp() * 1e6)


def snow(found: Tweet) -> Sequence[Match]:
    """Track 1 follows snow, track 2 every tenth tweet."""
    tracks = [1] if "snow" in found.text else []
    tracks += [2] if found.native_id.endswith("0") else []
    return [Match(TrackId(track), "snow", "text") for track in tracks]


class Shelf:
    """A database that is filled as the writer fills it."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.number = 0
        self.clock_digits = True  # no two frames have the same microsecond

    async def source(self, name: str) -> SourceId:
        async with self.database.acquire() as connection:
            return await sources.add(connection, name, "x_v1")

    async def store(
        self, source: SourceId, times: Sequence[float], text: str = "a snow day"
    ) -> list[str]:
        """A batch of tweets received at so many seconds after noon; their native ids."""
        frames, ids = [], []
        for time in times:
            self.number += 1
            ids.append(str(self.number))
            at = NOON + round(time * 1e6) + (self.number % 1000 if self.clock_digits else 0)
            frames.append(Frame(at, v1_tweet(self.number, text), self.number))
        await store_frames(self.database, source, frames, snow)
        return ids

    async def read(
        self, cursor: Cursor, limit: int = 7, tracks: Sequence[TrackId] | None = None
    ) -> tuple[list[str], Cursor]:
        """Everything behind the cursor, page by page, and the cursor at the end."""
        found: list[str] = []
        async with self.database.acquire() as connection:
            while True:
                page = await feed.after(connection, cursor, limit, tracks)
                assert len(page.tweets) <= limit
                keys = [each.id for each in page.tweets]
                assert keys == sorted(keys)
                found += [each.native_id for each in page.tweets]
                cursor = Cursor.parse(str(page.cursor))
                if not page.more:
                    return found, cursor


@pytest.fixture
def shelf(connected: Database) -> Shelf:
    return Shelf(connected)


async def test_everything_is_read_once_and_in_order(shelf: Shelf) -> None:
    one, two = await shelf.source("one"), await shelf.source("two")
    ids = await shelf.store(one, range(0, 20, 2))
    ids += await shelf.store(two, range(1, 20, 2))
    found, cursor = await shelf.read(Cursor({}))
    assert sorted(found, key=int) == ids
    more = await shelf.store(two, [30, 31]) + await shelf.store(one, [25])
    assert await shelf.read(cursor) == ([more[2], *more[:2]], (await shelf.read(cursor))[1])


async def test_nothing_is_behind_the_head(shelf: Shelf) -> None:
    one = await shelf.source("one")
    await shelf.store(one, range(20))
    async with shelf.database.acquire() as connection:
        head = await feed.head(connection)
    assert (await shelf.read(head))[0] == []
    ids = await shelf.store(one, [100])
    assert (await shelf.read(head))[0] == ids
    ids += await shelf.store(await shelf.source("new"), [50])  # one that the cursor does not know
    assert sorted((await shelf.read(head))[0], key=int) == ids


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
    source = await shelf.source("main")
    waits = (
        "SELECT FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event = 'advisory'"
    )
    async with asyncio.TaskGroup() as group, shelf.database.transaction() as first:
        await ingest_log.note_ingest_run(first, source, TweetId(1), TweetId(100))

        async def late() -> None:
            async with shelf.database.transaction() as second:
                await ingest_log.note_ingest_run(second, source, TweetId(50), TweetId(60))

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
    assert [[each.run.source for each in group] for group in groups] == [[one], [two]]
    assert not groups[0][0].is_first


async def test_the_cursor_of_every_tweet_goes_on_behind_it(shelf: Shelf) -> None:
    one, two = await shelf.source("one"), await shelf.source("two")
    await shelf.store(one, range(100, 110))
    await shelf.store(one, range(10))  # a run of its own
    await shelf.store(two, range(95, 105))
    everything, _ = await shelf.read(Cursor({}))
    async with shelf.database.acquire() as connection:
        page = await feed.after(connection, Cursor({}), 100)
    for n, each in enumerate(page.tweets):
        rest, _ = await shelf.read(page.cursor_after(each.id))
        assert rest == everything[n + 1 :]


async def test_a_time_is_a_cursor(shelf: Shelf) -> None:
    one, two = await shelf.source("one"), await shelf.source("two")
    await shelf.store(one, range(100))
    await shelf.store(two, [10])
    async with shelf.database.acquire() as connection:
        at = await feed.since(connection, START + timedelta(seconds=95))
        early = await feed.since(connection, datetime(1990, 1, 1, tzinfo=UTC))
        late = await feed.since(connection, datetime(2150, 1, 1, tzinfo=UTC))
    assert (await shelf.read(at))[0] == ["96", "97", "98", "99", "100"]
    assert len((await shelf.read(early))[0]) == 101
    assert (await shelf.read(late))[0] == []


async def test_of_some_tracks_only(shelf: Shelf) -> None:
    one = await shelf.source("one")
    await shelf.store(one, range(30), "rain")
    await shelf.store(one, range(30, 45))
    snow_days = [str(n) for n in range(31, 46)]
    of_first, end = await shelf.read(Cursor({}), tracks=[TrackId(1)])
    assert of_first == snow_days
    assert (await shelf.read(Cursor({}), tracks=[TrackId(2)]))[0] == ["10", "20", "30", "40"]
    both, _ = await shelf.read(Cursor({}), 3, tracks=[TrackId(1), TrackId(2), TrackId(3)])
    assert both == ["10", "20", "30", *snow_days]
    assert (await shelf.read(end))[0] == []  # it has passed those of other tracks, too


async def test_what_is_deleted_or_withheld_is_not_read_and_stops_nobody(shelf: Shelf) -> None:
    one = await shelf.source("one")
    await shelf.store(one, range(30))
    await shelf.database.execute("UPDATE tweets SET deleted_at = now() WHERE native_id < '2'")
    await shelf.database.execute("UPDATE tweets SET withheld = '{XX}' WHERE native_id = '25'")
    kept = [str(n) for n in range(1, 31) if str(n) >= "2" and n != 25]
    assert (await shelf.read(Cursor({}), 3))[0] == kept
    assert (await shelf.read(Cursor({}), 3, [TrackId(1)]))[0] == kept


async def test_how_many_and_only_the_newest(shelf: Shelf) -> None:
    one, two = await shelf.source("one"), await shelf.source("two")
    await shelf.store(one, range(20))
    await shelf.store(two, range(100, 120))
    async with shelf.database.acquire() as connection:
        assert await feed.count(connection, Cursor({}), 1000) == 40
        assert await feed.count(connection, Cursor({}), 25) == 25
        some = await feed.newest(connection, Cursor({}), 5)
        at_most = await feed.newest(connection, some, 30)
    assert (await shelf.read(some))[0] == [str(n) for n in range(36, 41)]
    assert at_most == some


async def test_matches_say_why(shelf: Shelf) -> None:
    one = await shelf.source("one")
    await shelf.store(one, range(10))
    async with shelf.database.acquire() as connection:
        page = await feed.after(connection, Cursor({}), 10)
        found = await feed.matches(connection, page.tweets)
        assert await feed.matches(connection, []) == {}
    assert [len(found[each.id]) for each in page.tweets] == [1] * 9 + [2]
    assert found[page.tweets[0].id][0].term == "snow"


@pytest.mark.parametrize("text", ["", "1", "1.2", "a.b.c", "1.2.3.4", "-1.2.3", "5000.1.1", "1.1."])
def test_a_cursor_that_was_never_given_out_is_refused(text: str) -> None:
    with pytest.raises(TwitterstreamError):
        Cursor.parse(text)


def test_a_cursor_is_text() -> None:
    cursor = Cursor({Run(SourceId(2), 1): TweetId(7), Run(SourceId(1), 3): TweetId(9)})
    assert str(cursor) == "1.3.9~2.1.7"
    assert Cursor.parse(str(cursor)) == cursor
    assert Cursor.parse(str(Cursor({}))) == Cursor({})


async def test_a_cursor_of_a_database_that_was_restored_goes_on(shelf: Shelf) -> None:
    """It knows a run that is not there any more."""
    one = await shelf.source("one")
    await shelf.store(one, range(5))
    ahead = Cursor({Run(one, 9): tweet_key(NOON + 3_000_000, one)})
    found, cursor = await shelf.read(ahead)
    assert found == ["4", "5"]
    assert [run.number for run in cursor.positions] == [1]


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
    key = [tweet_key(NOON + n * 1_000_000, source) for n in range(200)]
    add = "INSERT INTO ingest_runs VALUES ($1, $2, $3, $4, $5)"
    await shelf.database.execute(add, source, 2, key[120], key[150], True)
    await shelf.database.execute(add, source, 3, low, high, False)
    for number, at, left in (
        (1, key[110], first[10:]),  # in the middle of the first one
        (1, high, first[20:]),  # the second one was still to come
        (2, key[130], first[30:]),
        (2, key[150], []),  # everything was seen
    ):
        assert (await shelf.read(Cursor({Run(source, number): at})))[0] == left


MANY = 40_000
FILL = """
WITH new AS (
    SELECT tweet_key($1::timestamptz + n * interval '5 s', 1) AS id, n
    FROM generate_series(1, $2::integer) AS n
), kept AS (
    INSERT INTO tweets (id, received_at, network, native_id, kind, text, doc)
    SELECT id, tweet_received_at(id), 'x_v1', n::text, 'original', 'snow', $3 FROM new
), matched AS (
    INSERT INTO matches (tweet_id, track_id, received_at, term, field, part)
    SELECT id, CASE WHEN n % 1000 = 0 THEN 2 ELSE 1 END, tweet_received_at(id), 'snow', 'text',
        'own' FROM new
)
INSERT INTO ingest_runs SELECT 1, 1, min(id), max(id) FROM new
"""


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
async def test_reading_on_touches_only_what_is_read(shelf: Shelf, mode: str) -> None:
    """However much is stored: some pages of an index, whichever way Postgres plans."""
    async with shelf.database.acquire() as connection:
        for day in range(4):
            await connection.execute("SELECT ensure_day($1)", (START + timedelta(days=day)).date())
        await connection.execute(FILL, START, MANY, b"{}")
        await connection.execute("ANALYZE tweets, matches, ingest_runs")
        await connection.execute(f"SET plan_cache_mode = {mode}")
        [row] = await connection.fetch(
            "SELECT (array_agg(id ORDER BY id))[20000] AS middle, max(id) AS last FROM tweets"
        )
        for low in (0, row["middle"]):
            wanted = bounds_by_source(
                [KeyRange(Run(SourceId(1), 1), TweetId(low), row["last"], True)]
            )
            assert await pages_read(connection, feed._AFTER[0], *wanted, 100) < 100
            for track in (1, 2):
                args = (*wanted, 20, [track])
                assert await pages_read(connection, feed._AFTER_OF_TRACKS[0], *args) < 400
            assert await pages_read(connection, feed._COUNT[0], *wanted, 100) < 100
            assert await pages_read(connection, feed._NEWEST[0], *wanted, 100) < 100


async def pages_read(connection: Executor, query: str, *arguments: object) -> int:
    """How many of its pages Postgres looks at, also when it plans for any arguments."""
    types = ["bigint[]", "bigint[]", "bigint", "bigint", "bigint", "bigint[]"][: len(arguments)]
    await connection.execute(f"PREPARE asked ({', '.join(types)}) AS {query}")
    shown = [
        f"'{{{','.join(map(str, each))}}}'" if isinstance(each, list) else str(each)
        for each in arguments
    ]
    [row] = await connection.fetch(
        f"EXPLAIN (ANALYZE, BUFFERS, FORMAT json) EXECUTE asked ({', '.join(shown)})"
    )
    await connection.execute("DEALLOCATE asked")
    plan = json.loads(row[0])[0]["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])
