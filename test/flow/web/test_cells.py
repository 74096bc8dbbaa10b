"""The tweets of several databases as one, also when one of them does not answer."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from live_app import TIMEOUT
from two_cells import FIRST, LANE, Installation, installation
from web_app import MakeApp, database_away, plain_text

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from collections.abc import AsyncIterator, Callable

    from test.conftest import Eventually


@pytest.fixture
async def two(make_app: MakeApp, make_database: Callable[[], str]) -> AsyncIterator[Installation]:
    async with installation(make_app, make_database()) as made:
        yield made


async def test_lists_are_merged_in_both_orders(two: Installation) -> None:
    await two.both(number=10)
    assert await two.ids("/api/v1/tweets?limit=7") == [20, 19, 18, 17, 16, 15, 14]
    assert await two.ids("/api/v1/tweets?order=oldest&limit=5") == [1, 2, 3, 4, 5]
    path = f"/api/v1/tweets?order=oldest&track={two.track}&limit=20"
    assert await two.ids(path) == list(range(1, 21))


async def test_a_cursor_goes_on_with_what_each_database_has_stored_since(
    two: Installation,
) -> None:
    await two.both(number=2)
    page = await two.get("/api/v1/tweets?order=oldest&limit=3")
    found = [each["native_id"] for each in page["tweets"]]
    await two.both(first=5, number=2)
    for _ in range(3):
        page = await two.get(f"/api/v1/tweets?order=oldest&limit=2&cursor={page['next']}")
        found += [each["native_id"] for each in page["tweets"]]
    assert found == ["1", "2", "3", "4", "5", "6", "7", "8"]


async def test_a_tweet_comes_from_the_database_that_has_it(two: Installation) -> None:
    await two.both(number=1)
    for each in (await two.get("/api/v1/tweets"))["tweets"]:
        one = await two.get(f"/api/v1/tweets/{each['id']}")
        assert one["doc"]["id_str"] == each["native_id"]
        assert one["matches"]


async def test_a_database_that_is_away_is_named_and_nothing_of_it_is_skipped(
    two: Installation, server: str, eventually: Eventually
) -> None:
    await two.both(number=3)
    first = await two.get("/api/v1/tweets?order=oldest&limit=2")
    with database_away(server, two.east_url):
        newest = await two.get("/api/v1/tweets")
        assert newest["incomplete"] == ["east"]
        assert [each["native_id"] for each in newest["tweets"]] == ["5", "3", "1"]
        path = f"/api/v1/tweets?order=oldest&cursor={first['next']}"
        then = await two.get(path)
        assert then["incomplete"] == ["east"]
        assert [each["native_id"] for each in then["tweets"]] == ["3", "5"]
        for address in (f"/tracks/{two.track}", "/", "/health"):
            text = plain_text(await two.client.page(address))
            assert "The database east cannot be used" in text
        assert "east : missing" in plain_text(await two.client.page("/health"))
        status, said = await two.client.get("/api/v1/tweets?format=csv")
        assert status == 503  # a file could not say what it lacks
        assert "Cell east cannot be used, so tweets would be missing" in said
        status, said = await two.client.get(f"/api/v1/tweets/{first['tweets'][1]['id']}")
        assert status == 503
        assert "This tweet is in cell east, which cannot be used" in said

    async def is_back() -> bool:
        return "incomplete" not in await two.get("/api/v1/tweets")

    await eventually(is_back)
    last = await two.get(f"/api/v1/tweets?order=oldest&cursor={then['next']}")
    assert [each["native_id"] for each in last["tweets"]] == ["4", "6"]
    assert "cannot be used" not in await two.client.page(f"/tracks/{two.track}")


async def test_a_reader_that_begins_while_a_database_is_away_gets_what_comes_after(
    two: Installation, server: str
) -> None:
    two.begin = datetime.now(UTC) - timedelta(hours=1)
    await two.both(number=3)
    with database_away(server, two.east_url):
        begin = (two.begin + timedelta(seconds=4)).isoformat().replace("+00:00", "Z")
        first = await two.get(f"/api/v1/tweets?order=oldest&begin={begin}")
        assert [each["native_id"] for each in first["tweets"]] == ["5"]
    path = f"/api/v1/tweets?order=oldest&begin={begin}&cursor={first['next']}"
    assert await two.ids(path) == [4, 6]


async def test_a_reader_that_begins_while_a_database_is_away_gets_nothing_of_before(
    two: Installation, server: str
) -> None:
    """Also of a run that came when a clock was set back."""
    await two.both(number=2)
    two.begin -= timedelta(hours=1)
    await two.store(two.east, LANE, 20, 2)
    assert len(await two.east.fetch("SELECT FROM ingest_runs")) == 2
    async with two.stream("now"):
        pass  # another reader, before
    with database_away(server, two.east_url):
        async with two.stream("now") as read:
            await two.store(two.app.database, FIRST, 5000, 1)
            cursor = (await read())["cursor"]
    async with two.stream(cursor) as read:
        await two.store(two.east, LANE, 6000, 1)
        assert (await read())["tweet"]["native_id"] == "6000"


async def test_programs_read_all_databases_live_and_go_on_where_they_were(
    two: Installation, server: str
) -> None:
    async with two.stream("now") as read:
        await two.both(number=4)
        found = [await read() for _ in range(8)]
    numbers = [int(each["tweet"]["native_id"]) for each in found]
    assert sorted(numbers) == list(range(1, 9))
    # Of each database in its order.
    assert [each for each in numbers if each % 2] == [1, 3, 5, 7]
    assert [each for each in numbers if not each % 2] == [2, 4, 6, 8]
    await two.both(first=9, number=2)
    cursor = found[-1]["cursor"]
    with database_away(server, two.east_url):
        async with two.stream(cursor) as read:
            found = [await read() for _ in range(2)]
        assert [each["tweet"]["native_id"] for each in found] == ["9", "11"]
        async with two.stream(cursor) as read:
            found = [await read() for _ in range(2)]
            cursor = found[-1]["cursor"]
    async with two.stream(cursor) as read:
        found = [await read() for _ in range(2)]
    assert [each["tweet"]["native_id"] for each in found] == ["10", "12"]


async def test_events_name_a_database_that_goes_away(two: Installation, server: str) -> None:
    headers = {"Accept": "text/event-stream", "Origin": two.app.address}
    async with two.client.http.get("/api/v1/stream", headers=headers) as answer:

        async def read_until(words: bytes) -> None:
            async with asyncio.timeout(TIMEOUT):
                while words not in (line := await answer.content.readline()):
                    assert line, "the stream has ended"

        await two.store(two.app.database, FIRST, 1, 1)
        await read_until(b'"native_id":"1"')
        with database_away(server, two.east_url):
            await two.store(two.app.database, FIRST, 3, 1)
            await read_until(b"event: incomplete")
            await read_until(b'"incomplete":["east"]')


async def test_the_live_view_has_all_databases_and_says_which_is_missing(
    two: Installation, server: str
) -> None:
    async with two.viewer() as viewer:
        await viewer.watch()
        await two.both(number=2)
        assert len(await viewer.tweets(4)) == 4
        with database_away(server, two.east_url):
            await viewer.wait_until(lambda message: message.get("incomplete") == ["east"])
            await two.store(two.app.database, FIRST, 101, 1)
            await viewer.tweets(1)
        await viewer.wait_until(lambda message: message.get("incomplete") == [])
        await two.store(two.east, LANE, 102, 1)
        await viewer.tweets(1)


async def test_counts_are_added(two: Installation, server: str) -> None:
    two.begin = datetime.now(UTC) - timedelta(minutes=10)
    await two.both(number=20)
    path = f"/api/v1/tracks/{two.track}"
    for step in ("minute", "hour", "day"):
        counts = (await two.get(f"{path}/counts?step={step}"))["counts"]
        assert sum(each["tweets"] for each in counts) == 40
    track = await two.get(path)
    assert (track["total"], sum(track["minutes"])) == (40, 40)
    for database, items in ((two.app.database, ["a", "b"]), (two.east, ["b", "c"])):
        await database.execute(
            "INSERT INTO track_top_items SELECT $1, '-infinity', 'hashtag', item, 5"
            " FROM unnest($2::text[]) AS item",
            two.track,
            items,
        )
    tops = (await two.get(f"{path}/tops?span=all&limit=2"))["tops"]
    assert [(each["item"], each["tweets"]) for each in tops["hashtag"]] == [("b", 10), ("a", 5)]
    page = plain_text(await two.client.page(f"/tracks/{two.track}"))
    assert "in total 40" in page
    chart = await two.get(f"/tracks/{two.track}/chart?step=minute")
    assert sum(filter(None, chart["series"][0]["values"])) == 40
    [source] = (await two.get("/api/v1/sources"))["sources"]
    assert source["last_day"] == 40
    with database_away(server, two.east_url):
        track = await two.get(path)
        assert (track["total"], track["incomplete"]) == (20, ["east"])
        assert (await two.get(f"{path}/counts"))["incomplete"] == ["east"]
        assert (await two.get(f"{path}/tops"))["incomplete"] == ["east"]
        assert (await two.get("/api/v1/tracks"))["incomplete"] == ["east"]
        for each in ("/api/v1/status", "/api/v1/sources", "/stream/status"):
            assert (await two.get(each))["incomplete"] == ["east"]


async def test_a_list_of_tracks_is_sorted_by_the_counts_of_all_databases(
    two: Installation,
) -> None:
    other, third = [await two.app.add_track(word) for word in ("hail", "rain")]
    await two.copy()
    await two.both(number=1)
    # In each database another one is first.
    for database, counts in ((two.app.database, (9, 1)), (two.east, (1, 12))):
        for track, tweets in zip((other, third), counts, strict=True):
            await database.execute(
                "SELECT add_track_counts(ARRAY[$1::bigint], ARRAY[now()], ARRAY[$2::integer],"
                " ARRAY[1::bigint])",
                track,
                tweets,
            )
    for sort in ("now", "today", "total"):
        found = (await two.get(f"/api/v1/tracks?sort={sort}"))["tracks"]
        assert [(each["id"], each["total"]) for each in found] == [
            (third, 13),
            (other, 10),
            (two.track, 2),
        ]
        page = await two.get(f"/api/v1/tracks?sort={sort}&limit=1&offset=1")
        assert [each["id"] for each in page["tracks"]] == [other]
    assert "hail" in await two.client.page("/?sort=total")


async def test_deletions_of_each_database_are_read_once(two: Installation, server: str) -> None:
    await two.both(number=3)
    path = "/api/v1/deletions"
    assert (await two.get(path))["deletions"] == []
    await two.delete(two.app.database, FIRST, 1)
    await two.delete(two.east, LANE, 2)
    first = await two.get(f"{path}?limit=1")
    rest = await two.get(f"{path}?after={first['next']}")
    keys = [each["id"] for each in (*first["deletions"], *rest["deletions"])]
    assert len(set(keys)) == 2
    with database_away(server, two.east_url):
        await two.delete(two.app.database, FIRST, 3)
        then = await two.get(f"{path}?after={rest['next']}")
        assert (len(then["deletions"]), then["incomplete"]) == (1, ["east"])
        begun = await two.get(path)  # of one who begins meanwhile
        assert len(begun["deletions"]) == 2
    await two.delete(two.east, LANE, 4)
    assert len((await two.get(f"{path}?after={then['next']}"))["deletions"]) == 1
    assert len((await two.get(f"{path}?after={begun['next']}"))["deletions"]) == 2
    assert await two.ids("/api/v1/tweets") == [6, 5]


async def test_what_would_miss_tweets_of_other_databases_is_refused(two: Installation) -> None:
    for path, body, words in (
        ("/api/v1/exports", {"tracks": [str(two.track)], "format": "csv"}, "Exports are off"),
        ("/api/v1/webhooks", {"name": "x", "url": "https://example.org/"}, "none can be added"),
        (f"/api/v1/tracks/{two.track}/look-backs", {"place": "stored"}, "Look-backs are off"),
    ):
        status, answer = await two.client.json("POST", path, body)
        assert status in (409, 422), answer
        assert words in answer["error"]["message"]
    assert "Exports are off" in await two.client.page("/exports")
    assert "none can be added" in await two.client.page("/webhooks")
