"""A database with one old day in it, and a store to archive it in."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest

from monitor.archive import book
from monitor.archive.restoring import Restored, restore_day
from monitor.archive.running import Archivist
from monitor.archive.store import Store
from stream import db, tweets
from stream.config import Settings
from stream.db import Database
from stream.tweet import SourceId
from stream.tweets import tweet_key

DAY = date(2026, 3, 14)
NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)
NUMBER = 300

# What people and networks write, and what has broken exports before.
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
    "identities": "SELECT * FROM identities ORDER BY network, native_id",
    "minutes": "SELECT * FROM track_minutes ORDER BY 1, 2",
    "hours": "SELECT * FROM track_hours ORDER BY 1, 2",
    "days": "SELECT * FROM track_days ORDER BY 1, 2",
}

Picture = dict[str, list[tuple[Any, ...]]]


class ArchiveBench:
    """What the tests of archives do and see."""

    def __init__(self, url: str, database: Database, store_url: str) -> None:
        self.url = url
        self.database = database
        self.settings = Settings()
        self.said: list[str] = []
        self.set(archive={"url": store_url})

    def set(self, **sections: dict[str, object]) -> None:
        """Other settings."""
        for section, values in sections.items():
            changed = msgspec.structs.replace(getattr(self.settings, section), **values)
            self.settings = msgspec.structs.replace(self.settings, **{section: changed})

    @property
    def store(self) -> Store:
        return Store(self.settings.archive.url)

    async def run(self, day: date | None = None, *, drop: bool = False) -> None:
        archivist = Archivist(self.database, self.settings, self.store, self.said.append)
        await archivist.run(day, drop=drop)

    async def restore(self, day: date = DAY) -> Restored:
        async with book.locked(self.database, day) as connection:
            assert connection is not None
            archivist = Archivist(self.database, self.settings, self.store, self.said.append)
            await archivist.take_up(connection, day)
            erase = self.settings.deletions == "erase"
            return await restore_day(connection, self.store, day, erase=erase)

    async def archives(self) -> list[book.Archive]:
        async with self.database.acquire() as connection:
            return await book.rows(connection)

    async def archive(self) -> book.Archive:
        [found] = await self.archives()
        return found

    def rows(self, query: str, *arguments: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(query.encode(), arguments or None)
            return cursor.fetchall() if cursor.description else []

    def picture(self) -> Picture:
        """Everything that a drop and a restore must leave as it was."""
        return {name: self.rows(query) for name, query in COMPARED.items()}

    def file(self, name: str) -> Path:
        folder = self.store.folder
        assert folder is not None
        [found] = folder.glob(f"tweets/day={DAY}/part=*/{name}")
        return found

    async def fill(self, number: int = NUMBER, day: date = DAY, first: int = 0) -> None:
        """So many tweets, each credited to one or two tracks and counted."""
        start = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(seconds=first)
        async with self.database.transaction() as connection:
            await tweets.ensure_days(connection, [day])
            rows = [_tweet(start + timedelta(seconds=n), first + n) for n in range(number)]
            matches = [m for row in rows for m in _matches(row)]
            await db.copy(connection, "tweets", list(rows[0]), [tuple(r.values()) for r in rows])
            columns = ("tweet_id", "track_id", "received_at", "term", "field", "part")
            await db.copy(connection, "matches", columns, matches)
            claims = [(r["network"], r["native_id"], r["id"]) for r in rows]
            names = ("network", "native_id", "tweet_id")
            await db.copy(connection, "identities", names, claims)
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
        """Whether roll-ups and matches say the same."""
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
        "id": tweet_key(received, SourceId(1 + n % 3)),
        "received_at": tweets.to_datetime(received),
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
async def archive_bench(database: str, tmp_path: Path) -> AsyncIterator[ArchiveBench]:
    async with db.connect(database) as connected:
        made = ArchiveBench(database, connected, str(tmp_path / "archive"))
        made.rows("INSERT INTO tracks (owner, value, networks) VALUES ('a\"b', 'snow', '{x_v1}')")
        made.rows("INSERT INTO tracks (value) VALUES (%s)", "one\ntwo,\x01three")
        await made.fill()
        yield made
