"""Stored tweets are read in order, from any cursor, and none is missed."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from shelf import NOON, START, Shelf
from stream.db import Database, Executor, Row, copy
from stream.errors import TwitterstreamError
from stream.keys import Cursor, KeyRange, Run, bounds_by_lane, tweet_key
from stream.store import feed
from stream.store.lanes import first_lane
from stream.tweet import LaneId, TrackId, TweetId


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
    cursor = Cursor({Run(LaneId(2), 1): TweetId(7), Run(LaneId(1), 3): TweetId(9)})
    assert str(cursor) == "1.3.9~2.1.7"
    assert Cursor.parse(str(cursor)) == cursor
    assert Cursor.parse(str(Cursor({}))) == Cursor({})


async def test_a_cursor_of_a_database_that_was_restored_goes_on(shelf: Shelf) -> None:
    """It knows a run that is not there, and stays past what it has read of it."""
    one = await shelf.source("one")
    await shelf.store(one, range(5))
    lane = first_lane(one)
    ahead = Cursor({Run(lane, 9): tweet_key(NOON + 3_000_000, lane)})
    found, cursor = await shelf.read(ahead)
    assert found == ["4", "5"]
    assert [run.number for run in cursor.positions] == [1, 9]


async def test_a_reader_that_has_seen_more_than_a_server_has_waits_and_reads_nothing_twice(
    shelf: Shelf,
) -> None:
    """A replica that lags or was promoted has fewer tweets of a run, fewer runs, and no source."""
    one, two = await shelf.source("one"), await shelf.source("two")
    await shelf.store(one, range(100, 105))
    await shelf.read(Cursor({}))
    behind = await shelf.database.fetch("SELECT * FROM ingest_runs")
    await shelf.store(one, range(105, 110))
    await shelf.store(one, [0, 1])  # a run of its own
    await shelf.store(two, [107])
    seen, cursor = await shelf.read(Cursor({}))
    assert len(seen) == 13
    now = await shelf.database.fetch("SELECT * FROM ingest_runs")

    async def runs_are(rows: Sequence[Row]) -> None:
        await shelf.database.execute("DELETE FROM ingest_runs")
        async with shelf.database.acquire() as connection:
            await copy(connection, "ingest_runs", list(rows[0].keys()), map(tuple, rows))

    await runs_are(behind)
    assert await shelf.read(cursor) == ([], cursor)
    async with shelf.database.acquire() as connection:
        assert await feed.newest(connection, cursor, 3) == cursor
        assert await feed.count(connection, cursor, 10) == 0
    await runs_are(now)
    ids = await shelf.store(one, range(110, 112))
    assert (await shelf.read(cursor))[0] == ids


async def test_a_cursor_forgets_runs_that_were_deleted(shelf: Shelf) -> None:
    first, second = await shelf.source("one"), await shelf.source("two")
    await shelf.store(second, range(5))
    await shelf.store(second, [-1])
    await shelf.store(second, [-2])
    one, two = first_lane(first), first_lane(second)
    gone = Cursor({Run(one, 1): TweetId(7), Run(two, 2): TweetId(7), Run(two, 3): TweetId(8)})
    await shelf.database.execute("DELETE FROM ingest_runs WHERE run = 2")
    _, cursor = await shelf.read(gone)
    assert sorted(cursor.positions) == [Run(two, 1), Run(two, 3)]


async def test_the_newest_are_none_that_the_reader_knows(shelf: Shelf) -> None:
    one, two = await shelf.source("one"), await shelf.source("two")
    await shelf.store(one, range(100, 110))
    _, cursor = await shelf.read(Cursor({}))
    await shelf.store(two, range(50, 60))
    async with shelf.database.acquire() as connection:
        some = await feed.newest(connection, cursor, 3)
    assert (await shelf.read(some))[0] == ["18", "19", "20"]


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
            wanted = bounds_by_lane([KeyRange(Run(LaneId(1), 1), TweetId(low), row["last"], True)])
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
