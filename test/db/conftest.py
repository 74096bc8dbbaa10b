"""A database with one old day and a store to archive it in; a cluster of the embedded server."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest

from embedded import ask
from monitor.archive import catalog
from monitor.archive.manifest import Manifest, decode
from monitor.archive.restore import RestoredDay, restore_day
from monitor.archive.run import ArchiveRun
from monitor.archive.store import Store
from stream import db
from stream.config import Settings
from stream.db import Database
from stream.journal import Journal
from stream.keys import to_datetime, tweet_key
from stream.postgres import Embedded
from stream.store import archives, partitions, sources
from stream.tweet import LaneId, NetworkName, Source
from writer_bench import ROOMY, WriterBench

DAY = date(2026, 3, 14)
NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)
NUMBER = 300

# Texts that exist, and that have broken exports before.
WEIRD: list[str] = [
    "",
    "\\N",
    "NULL",
    " \"quoted\", and 'quoted' ",
    "a\nb\r\nc\rd",
    "tab\there, comma, semicolon; pipe|",
    "\x01\x1f\x02 control \x7f",
    "line\u2028paragraph\u2029 nel\x85",
    "\ufeffbom \u200d👩‍👩‍👧 مرحبا 雪",
    "back\\slash \\n \\x01",
    "\x01",
    "\x1f",
    '""',
    "\\.",
]
COMPARED = {
    "tweets": "SELECT tweets.*, doc::text FROM tweets ORDER BY id",
    "matches": "SELECT * FROM matches ORDER BY tweet_id, track_id",
    "tweet_ids": "SELECT * FROM tweet_ids ORDER BY network, native_id",
    "minutes": "SELECT * FROM track_minutes ORDER BY 1, 2",
    "hours": "SELECT * FROM track_hours ORDER BY 1, 2",
    "days": "SELECT * FROM track_days ORDER BY 1, 2",
}

Picture = dict[str, list[tuple[Any, ...]]]


class ArchiveBench:
    """What tests of archives do with a day, and how they look at it."""

    def __init__(self, url: str, database: Database, store_url: str) -> None:
        self.url = url
        self.database = database
        self.settings = Settings()
        self.lines: list[str] = []  # that were printed
        self.set(archive={"url": store_url})

    def set(self, **sections: dict[str, object]) -> None:
        """Change settings."""
        for section, values in sections.items():
            changed = msgspec.structs.replace(getattr(self.settings, section), **values)
            self.settings = msgspec.structs.replace(self.settings, **{section: changed})

    @property
    def store(self) -> Store:
        return Store(self.settings.archive.url)

    async def run(self, day: date | None = None, *, drop: bool = False) -> None:
        archive_run = ArchiveRun(self.database, self.settings, self.store, self.lines.append)
        await archive_run.run(day, drop=drop)

    async def restore(self, day: date = DAY) -> RestoredDay:
        async with archives.day_lock(self.database, day) as connection:
            assert connection is not None
            archive_run = ArchiveRun(self.database, self.settings, self.store, self.lines.append)
            await archive_run.refresh_catalog(connection, day)
            erase = self.settings.deletions == "erase"
            return await restore_day(connection, self.store, day, erase=erase)

    async def archives(self) -> list[catalog.Archive]:
        async with self.database.acquire() as connection:
            return await catalog.rows(connection)

    async def archive(self) -> catalog.Archive:
        [found] = await self.archives()
        return found

    def rows(self, query: str, *arguments: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(query.encode(), arguments or None)
            return cursor.fetchall() if cursor.description else []

    def manifest(self) -> Manifest:
        """The one in the store."""
        return decode(self.file("manifest.json").read_bytes(), "it")

    def picture(self) -> Picture:
        """Everything that must be equal after a drop and a restore."""
        return {name: self.rows(query) for name, query in COMPARED.items()}

    def file(self, name: str) -> Path:
        folder = self.store.folder
        assert folder is not None
        [found] = folder.glob(f"tweets/day={DAY}/part=*/{name}")
        return found

    async def fill(self, number: int = NUMBER, day: date = DAY, first: int = 0) -> None:
        """Store so many tweets with up to two tracks each, and count them."""
        start = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(seconds=first)
        async with self.database.transaction() as connection:
            await partitions.ensure_days(connection, [day])
            rows = [_tweet(start + timedelta(seconds=n), first + n) for n in range(number)]
            matches = [m for row in rows for m in _matches(row)]
            await db.copy(connection, "tweets", list(rows[0]), [tuple(r.values()) for r in rows])
            columns = ("tweet_id", "track_id", "received_at", "term", "field", "part")
            await db.copy(connection, "matches", columns, matches)
            claims = [(r["network"], r["native_id"], r["id"]) for r in rows]
            names = ("network", "native_id", "tweet_id")
            await db.copy(connection, "tweet_ids", names, claims)
        self._count(start, start + timedelta(seconds=number))

    def _count(self, since: datetime, until: datetime) -> None:
        """Add the matches of some time to the roll-ups."""
        columns = {"minute": "", "hour": ", sum(octet_length(doc::text))"}
        columns["day"] = columns["hour"]
        for cut, size in columns.items():
            at = "received_at::date" if cut == "day" else f"date_trunc('{cut}', received_at, 'UTC')"
            both = f"bytes = track_{cut}s.bytes + excluded.bytes, " if size else ""
            self.rows(
                f"INSERT INTO track_{cut}s SELECT track_id, {at}, count(*){size} FROM track_tweets"
                " WHERE received_at >= %s AND received_at < %s GROUP BY 1, 2"
                f" ON CONFLICT (track_id, {cut})"
                f" DO UPDATE SET {both}tweets = track_{cut}s.tweets + excluded.tweets",
                since,
                until,
            )

    def counts_agree(self) -> bool:
        """Whether roll-ups and matches agree."""
        wrong = [
            self.rows(
                f"(SELECT track_id, {at}, count(*) FROM matches GROUP BY 1, 2"
                f" EXCEPT SELECT track_id, {cut}, tweets FROM track_{cut}s) UNION ALL"
                f" (SELECT track_id, {cut}, tweets FROM track_{cut}s WHERE tweets > 0"
                f" EXCEPT SELECT track_id, {at}, count(*) FROM matches GROUP BY 1, 2)"
            )
            for cut, at in (
                ("minute", "date_trunc('minute', received_at, 'UTC')"),
                ("hour", "date_trunc('hour', received_at, 'UTC')"),
                ("day", "received_at::date"),
            )
        ]
        return not any(wrong)


def _tweet(at: datetime, n: int) -> dict[str, object]:
    weird = WEIRD[n % len(WEIRD)]
    received = round(at.timestamp() * 1e6) + n % 1000
    doc = {
        "n": n, "text": weird, "big": 12345678901234567890, "small": 1.10, "place": {"id": n},
        "deep": [None, True, {"": weird}], "data": {"geo": {"x": 1.5}, "id": str(n)},
    }  # fmt: skip
    return {
        "id": tweet_key(received, LaneId(1 + n % 3)),
        "received_at": to_datetime(received),
        "created_at": None if n % 7 == 0 else at - timedelta(days=n, microseconds=n),
        "network": "x_v2" if n % 2 else "x_v1",
        "native_id": str(10**18 + n),
        "kind": ("original", "reply", "repost", "quote")[n % 4],
        "lang": (None, "", "de", "日")[n % 4],
        "author_id": str(n % 11) if n % 5 else None,
        "author": weird if n % 3 else None,
        "url": f"https://x.com/i/{n}" if n % 2 else None,
        "withheld": (None, [], ["XX"], ["DE", 'a"b,c', "", "NULL", None])[n % 4],
        "text": weird,
        "doc": json.dumps(doc, ensure_ascii=n % 2 == 0).encode(),
    }


def _matches(row: dict[str, object]) -> list[tuple[object, ...]]:
    n = int(str(row["native_id"])) % 1000
    tracks = [(1, "text"), (7, "hashtag")][: n % 3]  # none, one or two
    return [
        (row["id"], track, row["received_at"], WEIRD[n % len(WEIRD)], field, "own")
        for track, field in tracks
    ]


@pytest.fixture
async def archive_bench(database: str, connected: Database, tmp_path: Path) -> ArchiveBench:
    made = ArchiveBench(database, connected, str(tmp_path / "archive"))
    made.rows("INSERT INTO tracks (owner, value, networks) VALUES ('a\"b', 'snow', '{x_v1}')")
    made.rows("INSERT INTO tracks (value) VALUES (%s)", "one\ntwo,\x01three")
    await made.fill()
    return made


@pytest.fixture
def new_data(tmp_path: Path) -> Path:
    """A data_dir that does not exist yet, below a folder that only we may enter."""
    tmp_path.chmod(0o700)
    return tmp_path / "data"


@pytest.fixture(scope="session")
def made_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data_dir with a cluster that has run, and a table in it: to make one takes seconds."""
    folder = tmp_path_factory.mktemp("embedded") / "data"

    async def make() -> None:
        async with Embedded(folder).lease() as url:
            ask(url, "CREATE TABLE kept AS SELECT 7 AS number")

    asyncio.run(make())
    return folder


@pytest.fixture
def data(made_data: Path) -> Iterator[Path]:
    """This data_dir, without a server; afterwards its settings are again as they were."""
    cluster = made_data / "postgres" / "cluster"
    kept = {
        path: path.read_bytes() for path in (cluster / "postgresql.conf", cluster / "PG_VERSION")
    }
    yield made_data
    for path, content in kept.items():
        path.write_bytes(content)


@pytest.fixture
async def writer_bench(connected: Database, tmp_path: Path) -> AsyncIterator[WriterBench]:
    async with _writer_bench(connected, tmp_path, "x_v1") as bench:
        yield bench


@pytest.fixture
async def bluesky_bench(connected: Database, tmp_path: Path) -> AsyncIterator[WriterBench]:
    async with _writer_bench(connected, tmp_path, "bluesky") as bench:
        yield bench


@pytest.fixture
async def mastodon_benches(
    connected: Database, tmp_path: Path
) -> AsyncIterator[tuple[WriterBench, WriterBench]]:
    """Two servers of one network."""
    async with _two_writer_benches(connected, tmp_path, "mastodon") as both:
        yield both


@pytest.fixture
async def x_benches(
    connected: Database, tmp_path: Path
) -> AsyncIterator[tuple[WriterBench, WriterBench]]:
    """Two sources of X."""
    async with _two_writer_benches(connected, tmp_path, "x_v1") as both:
        yield both


@contextlib.asynccontextmanager
async def _two_writer_benches(
    database: Database, folder: Path, network: NetworkName
) -> AsyncIterator[tuple[WriterBench, WriterBench]]:
    async with (
        _writer_bench(database, folder / "1", network) as first,
        _writer_bench(database, folder / "2", network) as second,
    ):
        yield first, second


@contextlib.asynccontextmanager
async def _writer_bench(
    database: Database, folder: Path, network: NetworkName
) -> AsyncIterator[WriterBench]:
    async with database.acquire() as connection:
        source_id = await sources.add(connection, folder.name, network)
    source = Source(source_id, "test", network, None, None, {}, enabled=True)
    with Journal.open(folder / "journal", ROOMY) as journal:
        yield WriterBench(database, journal, source)
