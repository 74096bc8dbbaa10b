"""Downloads cost nobody else anything: how many there may be, and who waits for whom."""

import asyncio
import contextlib
import json
import socket
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from stream import ledger, sources
from stream.batch import Batch
from stream.commit import Terms, commit
from stream.networks.x_v1.decode import decode
from stream.tweet import Frame, Match, TrackId
from web.person import SCOPES, Person
from web.reading import downloads, tweets
from web.reading.tweets import Wanted

if TYPE_CHECKING:  # there is a `test` in the standard library: at run time it would be that one
    from test.conftest import Eventually
    from test.flow.web.conftest import Pages, Visitor

TERMS = Terms(network="x_v1", keep_unmatched=True, erase=True)
TWEETS = 500
LONG = "snow " + "x" * 20_000  # so many of them are more than any buffer of the system
CSV = {"Accept": "text/csv"}
BUFFER = 4096


class Crowd:
    """People with downloads of which they read nothing."""

    def __init__(self, pages: "Pages", track: TrackId) -> None:
        self.pages = pages
        self.files = f"/tracks/{track}/tweets.csv"
        self._stack = contextlib.AsyncExitStack()
        self._people: dict[str, Visitor] = {}

    async def open(self, name: str, path: str, status: int = 200) -> aiohttp.ClientResponse:
        """Ask for it, and read no more than how it begins."""
        visitor = self._people.get(name) or await self.pages.enter(name, "admin")
        self._people[name] = visitor
        client = await self._stack.enter_async_context(
            aiohttp.ClientSession(
                self.pages.address,
                connector=aiohttp.TCPConnector(socket_factory=_small),
                cookie_jar=visitor.client.cookie_jar,
                read_bufsize=BUFFER,
            )
        )
        answer = await client.get(path, headers=CSV)
        self._stack.callback(answer.close)
        assert answer.status == status
        return answer

    async def go(self) -> None:
        await self._stack.aclose()


def _small(address: tuple[Any, ...]) -> socket.socket:
    made = socket.socket(*address[:3])
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
    made.setblocking(False)
    return made


@pytest.fixture
async def crowd(pages: "Pages") -> AsyncIterator[Crowd]:
    database = pages.database
    [row] = await database.fetch("INSERT INTO tracks (value) VALUES ('snow') RETURNING id")
    track = TrackId(row["id"])
    async with database.acquire() as connection:
        source = await sources.add(connection, "main", "x_v1")
    begin = round(datetime(2026, 3, 14, 12, tzinfo=UTC).timestamp() * 1e6)
    body = {
        "text": LONG, "lang": "en", "created_at": "Tue Nov 14 22:13:20 +0000 2023",
        "user": {"id": 5, "id_str": "5", "screen_name": "ann"},
    }  # fmt: skip
    frames = [
        Frame(begin + n, json.dumps(body | {"id": n, "id_str": str(n)}).encode(), n)
        for n in range(1, TWEETS + 1)
    ]
    batch, journal = Batch(source, 0, 1 << 26), uuid.uuid4()
    batch.add(frames, decode, lambda _: [Match(track, "snow", "text")])
    async with database.transaction() as connection:
        await ledger.position(connection, journal, source, 0)
        await commit(connection, batch, TERMS, journal, 0)
    made = Crowd(pages, track)
    yield made
    await made.go()


async def test_so_many_of_one_user_and_so_many_of_all(
    crowd: Crowd, monkeypatch: pytest.MonkeyPatch, eventually: "Eventually"
) -> None:
    """Of the API and of the page together; unread ones hold no connection to the database."""
    monkeypatch.setattr(downloads, "MOST", downloads.MOST_OF_ONE + 2)
    ways = ("/api/v1/tweets", crowd.files)
    of_ana = [await crowd.open("ana", ways[n % 2]) for n in range(downloads.MOST_OF_ONE)]
    for path in ways:
        refused = await crowd.open("ana", path, 429)
        assert int(refused.headers["Retry-After"]) > 0
    await crowd.open("ben", ways[0])
    await crowd.open("ben", ways[1])
    refused = await crowd.open("eva", ways[0], 429)
    assert (await refused.json())["error"]["code"] == "too_many"
    assert (await (await crowd.pages.enter("eva")).get("/"))[0] == 200
    assert (await (await crowd.pages.enter("ana")).get("/api/v1/tweets?limit=1"))[0] == 200
    of_ana[0].close()

    async def there_is_room() -> bool:
        eva = await crowd.pages.enter("eva")
        async with eva.client.get(ways[0], headers=CSV) as answer:
            return answer.status == 200

    await eventually(there_is_room)


async def test_downloads_leave_connections_to_the_database_for_the_pages(
    crowd: Crowd, eventually: "Eventually"
) -> None:
    database = crowd.pages.database

    async def reading() -> int:
        [row] = await database.fetch("SELECT count(*) AS waiting FROM pg_locks WHERE NOT granted")
        return int(row["waiting"])

    mary = await crowd.pages.enter("mary")
    async with database.beside(1) as other, other.transaction() as connection:
        await connection.execute("LOCK TABLE matches IN ACCESS EXCLUSIVE MODE")
        for name in ("ana", "ben"):
            for _ in range(downloads.MOST_OF_ONE):
                await crowd.open(name, crowd.files)

        async def all_that_may_read_do() -> bool:
            return await reading() >= downloads.AT_ONCE

        await eventually(all_that_may_read_do)
        assert (await mary.get("/account"))[0] == 200
        assert await reading() == downloads.AT_ONCE


async def test_what_was_read_at_once_is_handed_on_in_slices(crowd: Crowd) -> None:
    """Others have their turn between two of them."""
    ana = Person(await crowd.pages.user("ana", "admin"), "ana", "admin", frozenset(SCOPES))
    every = tweets.every(crowd.pages.database, Wanted(person=ana), asyncio.Semaphore(1))
    sizes = [len(some) async for some in every]
    assert sum(sizes) == TWEETS
    assert max(sizes) == tweets.SLICE
