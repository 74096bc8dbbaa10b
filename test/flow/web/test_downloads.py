"""Downloads: what the files hold, how many there may be, and who waits for whom."""

import asyncio
import contextlib
import csv
import io
import re
import socket
import zipfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from stream.cells.databases import Cells
from stream.tweet import TrackId
from waiting import Eventually
from web.accounts.credentials import begin_session, person_of_session
from web.downloads import download
from web.downloads.download import CONTENT_TYPES
from web.limiters import AdmissionLimiter
from web.queries import tweets
from web.queries.tweets import TweetQuery
from web_app import Client, WebApp

TWEETS = 500
LONG = "snow " + "x" * 20_000  # so many of them are more than any buffer of the system
CSV = {"Accept": "text/csv"}
BUFFER = 4096


class Crowd:
    """People with downloads of which they read nothing."""

    def __init__(self, app: WebApp, track: TrackId) -> None:
        self.app = app
        self.files = f"/tracks/{track}/tweets.csv"
        self._stack = contextlib.AsyncExitStack()
        self._people: dict[str, Client] = {}

    async def open(self, name: str, path: str, status: int = 200) -> aiohttp.ClientResponse:
        """Ask for it, and read no more than how it begins."""
        client = self._people.get(name) or await self.app.log_in(name, "admin")
        self._people[name] = client
        http = await self._stack.enter_async_context(
            aiohttp.ClientSession(
                self.app.address,
                connector=aiohttp.TCPConnector(socket_factory=_small),
                cookie_jar=client.http.cookie_jar,
                read_bufsize=BUFFER,
            )
        )
        answer = await http.get(path, headers=CSV)
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
async def crowd(app: WebApp) -> AsyncIterator[Crowd]:
    track = await app.add_track(owner=None)
    at = datetime(2026, 3, 14, 12, tzinfo=UTC)
    await app.store_tweets(*({"text": LONG} for _ in range(TWEETS)), at=at)
    made = Crowd(app, track)
    yield made
    await made.go()


async def test_so_many_of_one_user_and_so_many_of_all(
    crowd: Crowd, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    """Of the API and of the page together; unread ones hold no connection to the database."""
    monkeypatch.setattr(
        crowd.app.application[download.DOWNLOADS].all, "running", download.DOWNLOADS_PER_USER + 2
    )
    ways = ("/api/v1/tweets", crowd.files)
    of_ana = [await crowd.open("ana", ways[n % 2]) for n in range(download.DOWNLOADS_PER_USER)]
    for path in ways:
        refused = await crowd.open("ana", path, 429)
        assert int(refused.headers["Retry-After"]) > 0
    await crowd.open("ben", ways[0])
    await crowd.open("ben", ways[1])
    refused = await crowd.open("eva", ways[0], 429)
    assert (await refused.json())["error"]["code"] == "too_many"
    assert (await (await crowd.app.log_in("eva")).get("/"))[0] == 200
    assert (await (await crowd.app.log_in("ana")).get("/api/v1/tweets?limit=1"))[0] == 200
    of_ana[0].close()

    async def there_is_room() -> bool:
        eva = await crowd.app.log_in("eva")
        async with eva.http.get(ways[0], headers=CSV) as answer:
            return answer.status == 200

    await eventually(there_is_room)


async def test_downloads_leave_connections_to_the_database_for_the_pages(
    crowd: Crowd, eventually: Eventually
) -> None:
    database = crowd.app.database

    async def reading() -> int:
        [row] = await database.fetch(
            "SELECT count(*) AS waiting FROM pg_locks"
            " WHERE NOT granted AND relation = 'matches'::regclass"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        return int(row["waiting"])

    mary = await crowd.app.log_in("mary")
    async with database.separate_pool(1) as other, other.transaction() as connection:
        await connection.execute("LOCK TABLE matches IN ACCESS EXCLUSIVE MODE")
        for name in ("ana", "ben"):
            for _ in range(download.DOWNLOADS_PER_USER):
                await crowd.open(name, crowd.files)

        async def all_that_may_read_do() -> bool:
            return await reading() >= download.READING_MAX

        await eventually(all_that_may_read_do)
        assert (await mary.get("/account"))[0] == 200
        assert await reading() == download.READING_MAX


async def test_what_was_read_at_once_is_handed_on_in_slices(crowd: Crowd) -> None:
    """Others have their turn between two of them."""
    user_id = await crowd.app.user("ana", "admin")
    async with crowd.app.database.acquire() as connection:
        ana = await person_of_session(
            connection, await begin_session(connection, user_id, "", "", 1), 1
        )
    assert ana is not None
    every = tweets.every(Cells(crowd.app.database), TweetQuery(person=ana), AdmissionLimiter(1))
    sizes = [len(some) async for some in every]
    assert sum(sizes) == TWEETS
    assert max(sizes) == tweets.SLICE


ENDS = {
    "logged out": "DELETE FROM sessions",
    "disabled": "UPDATE users SET enabled = false WHERE name = 'ben'",
    "another role": "UPDATE users SET role = 'viewer' WHERE name = 'ben'",
    "no longer shared": "DELETE FROM track_shares",
    "taken away": "DELETE FROM tracks",
}


@pytest.mark.parametrize("change", ENDS.values(), ids=ENDS.keys())
async def test_a_running_download_ends_when_it_may_no_longer_be_seen(
    crowd: Crowd, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of what was read before; what is missing is seen to be missing."""
    monkeypatch.setattr(tweets, "RECHECK_AFTER", 0.0)
    await crowd.app.log_in("ben", "user")
    await crowd.app.execute(
        "INSERT INTO track_shares SELECT tracks.id, users.id FROM tracks, users"
    )
    crowd._people["ben"] = await crowd.app.log_in("ben", "user")
    answer = await crowd.open("ben", crowd.files)
    await crowd.app.execute(change)
    with pytest.raises(aiohttp.ClientPayloadError):
        async with asyncio.timeout(60):
            await answer.read()


@pytest.mark.parametrize("change", [ENDS["no longer shared"], ENDS["taken away"]])
async def test_a_download_of_all_tweets_ends_when_one_of_its_tracks_is_lost(
    crowd: Crowd, change: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise it would end early and look complete."""
    monkeypatch.setattr(tweets, "BATCH", 100)
    database = crowd.app.database
    crowd._people["ben"] = await crowd.app.log_in("ben", "user")
    await database.execute("INSERT INTO tracks (value) VALUES ('ice')")
    await database.execute("INSERT INTO track_shares SELECT tracks.id, users.id FROM tracks, users")
    answer = await crowd.open("ben", "/api/v1/tweets")
    await answer.content.readexactly(len(LONG))  # it has begun
    await crowd.app.execute(f"{change} WHERE {'track_' if 'shares' in change else ''}id = 1")
    with pytest.raises(aiohttp.ClientPayloadError):
        async with asyncio.timeout(60):
            await answer.read()
    assert "a download failed and was cut off" in caplog.text
    assert "Track 1 was deleted, or you no longer see it." in [
        getattr(record, "why", "") for record in caplog.records
    ]


async def test_a_download_by_a_token_ends_with_it(
    crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tweets, "RECHECK_AFTER", 0.0)
    program = await crowd.app.api_client("ana", "admin")
    async with program.http.get("/api/v1/tweets", headers=CSV) as answer:
        await answer.content.readany()
        await crowd.app.execute("DELETE FROM tokens")
        with pytest.raises(aiohttp.ClientPayloadError):
            async with asyncio.timeout(60):
                await answer.read()


# -- the files of a track -------------------------------------------------------------------------


async def test_a_file_opens_in_a_spreadsheet_as_it_was_written(app: WebApp, ana: Client) -> None:
    one = await app.add_track("Snow/../день,snow")
    formula = '=HYPERLINK("http://evil","snow")'
    await app.store_tweets({"text": formula}, {"text": 'snow, "quoted"\nand more'})
    async with ana.http.get(f"/tracks/{one}/tweets.excel.csv") as answer:
        body, headers = await answer.read(), answer.headers
    assert body.startswith(b"\xef\xbb\xbf")
    rows = list(csv.DictReader(io.StringIO(body.decode("utf-8-sig"), newline="")))
    assert [row["text"] for row in rows] == ['snow, "quoted"\nand more', "'" + formula]
    assert [row["tracks"] for row in rows] == [str(one)] * 2
    name = re.fullmatch(r'attachment; filename="([\w.-]+)"', headers["Content-Disposition"])
    assert name
    assert name[1].startswith(f"track-{one}-snow-snow-20")
    assert name[1].endswith(".csv")


async def test_each_button_gives_its_own_kind_of_file(app: WebApp, ana: Client) -> None:
    one = await app.add_track()
    await app.store_tweets({"text": "=1+1 snow"}, {"text": "<r>snow</r>"})
    await app.execute("UPDATE users SET time_zone = 'Asia/Kolkata'")
    page = (await ana.get(f"/tracks/{one}?words=snow"))[1]
    links = re.findall(r'href="([^"]*/tweets\.[^"]*)" download', page)
    assert [link.split("/")[-1] for link in links] == [
        f"tweets.{kind}?words=snow" for kind in ("xlsx", "excel.csv", "csv", "ndjson")
    ]
    bodies = []
    for link in links:
        async with ana.http.get(link) as answer:
            assert answer.status == 200
            bodies.append(await answer.read())
    with zipfile.ZipFile(io.BytesIO(bodies[0])) as file:
        sheet = file.read("xl/worksheets/sheet1.xml").decode()
    assert "<t>=1+1 snow</t>" in sheet
    assert "&lt;r&gt;snow&lt;/r&gt;</t>" in sheet
    assert "received_at (Asia/Kolkata)" in sheet
    assert b"received_at (Asia/Kolkata)" in bodies[1]
    assert b",'=1+1 snow," in bodies[1]
    assert b",=1+1 snow," in bodies[2]


async def test_nothing_is_left_of_a_workbook(
    app: WebApp,
    ana: Client,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    eventually: Eventually,
) -> None:
    """Whether it was taken or refused, or its reader had left."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    one = await app.add_track()
    await app.store_tweets(*({"text": f"snow {n}" + "x" * 500} for n in range(3000)))
    address = f"/tracks/{one}/tweets.xlsx"
    async with ana.http.get(address) as answer:
        assert answer.status == 200
        assert await answer.read()
    with contextlib.suppress(TimeoutError):
        async with ana.http.get(address, timeout=aiohttp.ClientTimeout(0.05)) as answer:
            await answer.read()
    monkeypatch.setattr("web.downloads.xlsx.DISK_RESERVE", 1 << 60)  # of which the disk has less
    status, text = await ana.get(address)
    assert status == 413
    assert "Too many tweets for one Excel workbook" in text
    async with ana.http.head(address) as answer:
        assert answer.status == 200, "a HEAD request builds no workbook"
        assert answer.content_type == CONTENT_TYPES["xlsx"]
        assert ".xlsx" in answer.headers["Content-Disposition"]
    await eventually(lambda: not list(folder.iterdir()))


async def test_a_file_holds_everything_also_what_takes_many_batches(
    app: WebApp, ana: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.queries.tweets.BATCH", 7)
    one = await app.add_track()
    await app.store_tweets(*({"text": f"snow {n}"} for n in range(40)))
    file = await ana.page(f"/tracks/{one}/tweets.ndjson")
    lines = [msgspec.json.decode(line) for line in file.splitlines()]
    assert [line["text"] for line in lines] == [f"snow {n}" for n in range(39, -1, -1)]


async def test_a_file_that_breaks_off_does_not_look_whole(
    app: WebApp, ana: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("web.queries.tweets.BATCH", 20)
    one = await app.add_track()
    await app.store_tweets(*({"text": LONG} for _ in range(TWEETS)))
    async with ana.http.get(f"/tracks/{one}/tweets.ndjson") as answer:
        assert answer.status == 200
        await answer.content.readany()
        await app.execute("ALTER TABLE matches RENAME TO elsewhere")
        with pytest.raises((aiohttp.ClientPayloadError, aiohttp.ClientOSError)):
            await answer.content.read()
    assert "a download failed and was cut off" in caplog.text
    assert (await ana.get("/account"))[0] == 200
