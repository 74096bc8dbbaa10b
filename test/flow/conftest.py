"""The tables seen from outside, an audit of them against the journals, and receivers of alerts."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sized
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import msgspec
import psycopg
import pytest

from alerting import Hook, Mailbox
from postgres_servers import PostgresServers, servers_in
from servers import answering
from stream import batch
from stream.config import JournalSettings, Settings
from stream.errors import Reject
from stream.journal import Journal, JournalReader
from stream.jsontext import sanitize_for_jsonb
from stream.networks.registry import NETWORKS
from stream.store.tracks import Track
from stream.tracking_plan import TrackingPlan, build_plan
from stream.tweet import Frame, NetworkName, Tweet

Rows = list[tuple[Any, ...]]


class Tables:
    """The database, seen from outside."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._connection: psycopg.AsyncConnection[tuple[Any, ...]] | None = None

    async def rows(self, query: str, *arguments: object) -> Rows:
        """The rows of a query, as soon as the server is there; none for a statement without any."""
        async with asyncio.timeout(90):
            while True:
                try:
                    return await self._ask(query, arguments)
                except psycopg.OperationalError:
                    await self.close()
                    await asyncio.sleep(0.1)

    async def _ask(self, query: str, arguments: tuple[object, ...]) -> Rows:
        if self._connection is None:
            self._connection = await psycopg.AsyncConnection.connect(self.url, autocommit=True)
        cursor = await self._connection.execute(query.encode(), arguments or None)
        return await cursor.fetchall() if cursor.description else []

    async def one(self, query: str, *arguments: object) -> Any:
        [[value]] = await self.rows(query, *arguments)
        return value

    async def add_tracks(self, *values: str) -> None:
        for value in values:
            await self.rows("INSERT INTO tracks (value) VALUES (%s)", value)

    async def stored(self) -> int:
        """Tweets that are stored, from the counts of the minutes."""
        outcomes = await self.outcomes()
        return outcomes["stored"] + outcomes["unmatched"]

    async def has_all(self, sent: Sized) -> bool:
        return await self.stored() == len(sent)

    async def outcomes(self) -> Counter[str]:
        rows = await self.rows(
            "SELECT outcome, sum(frames)::bigint FROM source_minutes GROUP BY outcome"
        )
        return Counter(dict(rows))

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()
            self._connection = None


class OpenTables(Protocol):
    def __call__(self, url: str) -> Tables: ...


@pytest.fixture
async def open_tables() -> AsyncIterator[OpenTables]:
    opened: list[Tables] = []

    def make(url: str) -> Tables:
        opened.append(Tables(url))
        return opened[-1]

    yield make
    for tables in opened:
        await tables.close()


@pytest.fixture
async def tables(database: str, open_tables: OpenTables) -> Tables:
    """The test's database on the shared server."""
    return open_tables(database)


class Audit(msgspec.Struct):
    """What the journals took, by what it should have become."""

    frames: list[Frame] = []
    tweets: set[str] = set()
    rejects: Counter[bytes] = msgspec.field(default_factory=Counter)
    control: int = 0

    def add(self, network: NetworkName, folder: Path, refused: AbstractSet[bytes]) -> None:
        """Read the whole journal of a program that has ended."""
        for frame in frames_of(folder):
            self.frames.append(frame)
            if frame.body in refused:
                self.rejects[frame.body] += 1
                continue
            try:
                message = NETWORKS[network].decode(sanitize_for_jsonb(frame.body)[0])
            except Reject:
                self.rejects[frame.body] += 1
            else:
                if isinstance(message, Tweet):
                    self.tweets.add(message.native_id)
                else:
                    self.control += 1


def frames_of(folder: Path) -> Iterator[Frame]:
    settings = JournalSettings(min_free_bytes=0, min_free_percent=0)
    with (
        Journal.open(folder, settings) as journal,
        contextlib.closing(JournalReader(journal, journal.start)) as reader,
        asyncio.Runner() as runner,
    ):
        while found := runner.run(reader.read(1000, 1 << 20)):
            yield from (frame for frame in found if not frame.is_note)


class ReadJournal(Protocol):
    """Read whole journals that no process has open."""

    def __call__(self, network: NetworkName, *folders: Path) -> Audit: ...


@pytest.fixture
def read_journal() -> ReadJournal:
    return _read


def _read(network: NetworkName, *folders: Path, refused: AbstractSet[bytes] = frozenset()) -> Audit:
    """`refused`: frames that Postgres alone does not want."""
    found = Audit()
    for folder in folders:
        found.add(network, folder, refused)
    return found


class AuditBooks(Protocol):
    """Compare the tables with the journals, and every roll-up with a count from scratch."""

    async def __call__(
        self, tables: Tables, *journals: Path, network: NetworkName = "x_v2"
    ) -> Audit: ...


@pytest.fixture
def audit() -> AuditBooks:
    return _audit


async def _audit(tables: Tables, *journals: Path, network: NetworkName = "x_v2") -> Audit:
    bodies = await tables.rows("SELECT body FROM rejects WHERE reason = 'refused'")
    refused = {bytes(body) for (body,) in bodies}
    found = await asyncio.to_thread(_read, network, *journals, refused=refused)
    rows = await tables.rows("SELECT id, received_at, native_id, doc::text FROM tweets ORDER BY id")
    # What the journal took is what is stored, and nothing is there twice.
    ids = [row[2] for row in rows]
    assert len(set(ids)) == len(ids)
    assert set(ids) == found.tweets
    assert await tables.one("SELECT count(*) FROM tweet_ids") == len(ids)
    # Every frame has exactly one outcome.
    outcomes = await tables.outcomes()
    beside = outcomes["repaired"] + outcomes["undelivered"]
    assert outcomes.total() - beside == len(found.frames)
    assert outcomes["stored"] + outcomes["unmatched"] == len(ids)
    assert outcomes["rejected"] == found.rejects.total()
    assert outcomes["control"] == found.control
    assert Counter([body for (body,) in await tables.rows("SELECT body FROM rejects")]) == (
        found.rejects
    )
    await _audit_matches(tables, rows, network)
    return found


async def _audit_matches(tables: Tables, rows: Rows, network: NetworkName) -> None:
    tracking_plan = await _tracking_plan(tables, network)
    owners = tracking_plan.plans[network].rule_owners
    matches: Counter[tuple[object, ...]] = Counter()
    minutes: Counter[tuple[int, datetime]] = Counter()
    for tweet_id, received_at, _, doc in rows:
        tweet = NETWORKS[network].decode(doc.encode())
        assert isinstance(tweet, Tweet)
        for m in batch.credit_tracks(
            tweet, tracking_plan.matcher.match, lambda tag: owners.get(tag, ())
        ):
            matches[tweet_id, m.track_id, m.term, m.field, m.part] += 1
            minutes[m.track_id, received_at.astimezone(UTC).replace(second=0, microsecond=0)] += 1
    stored = await tables.rows("SELECT tweet_id, track_id, term, field, part FROM matches")
    assert Counter(stored) == matches
    counted = await tables.rows("SELECT track_id, minute, tweets FROM track_minutes")
    assert {(track, minute.astimezone(UTC)): n for track, minute, n in counted} == minutes
    for cut in ("hour", "day"):
        wrong = await tables.rows(
            f"SELECT track_id, date_trunc('{cut}', minute, 'UTC'), sum(tweets) FROM track_minutes"
            f" GROUP BY 1, 2 EXCEPT SELECT track_id, {cut}, tweets FROM track_{cut}s"
        )
        assert wrong == [], f"track_{cut}s"
    wrong = await tables.rows(
        "SELECT source_id, outcome, sum(frames) FROM source_minutes GROUP BY 1, 2"
        " EXCEPT SELECT source_id, outcome, sum(frames) FROM source_hours GROUP BY 1, 2"
    )
    assert wrong == []


async def _tracking_plan(tables: Tables, network: NetworkName) -> TrackingPlan:
    names = ", ".join(Track.__struct_fields__)
    rows = await tables.rows(f"SELECT {names} FROM tracks")
    return build_plan([Track(*row) for row in rows], [network], Settings())


@pytest.fixture
async def postgres_servers(tmp_path: Path) -> AsyncIterator[PostgresServers]:
    async with servers_in(tmp_path / "servers") as servers:
        yield servers


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    made = Mailbox()
    made.controller.start()
    yield made
    made.controller.stop()


@pytest.fixture
async def hook() -> AsyncIterator[Hook]:
    made = Hook()
    async with answering(made.take) as address:
        made.port = urlsplit(address).port or 0
        yield made
