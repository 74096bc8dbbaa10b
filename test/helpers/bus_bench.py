"""Journals, a bus and a database, with publishers and writers between them, and a reader."""

import asyncio
import contextlib
import itertools
import random
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import nats
from nats.aio.client import Client
from nats.errors import Error as ClientError
from nats.js import JetStreamContext
from nats.js.errors import APIError

from nats_servers import NatsServer
from stream.bus.connection import Bus
from stream.bus.divisions import divide
from stream.bus.publisher import Publisher
from stream.bus.routing import LaneRouter
from stream.cells.databases import Cells
from stream.config import JournalSettings, Settings
from stream.db import Database
from stream.errors import DatabaseAway
from stream.frame_readers import DirectReader
from stream.incoming_tweets import StorePolicy
from stream.journal import Journal, maintenance
from stream.lane_writers import LaneWriters
from stream.networks.registry import NETWORKS
from stream.reconciler import TrackReconciler
from stream.store import feed, lanes, sources
from stream.store.feed import Cursor
from stream.store.lanes import HOME
from stream.store.locks import LANE_LOCK_CLASS
from stream.tweet import Source
from stream.writer import Writer
from waiting import Eventually
from writer_bench import MAX_FRAME_BYTES, snow
from x_tweets import v1_tweet

STREAM = "twitterstream"
# Small segments: so that the beginning of a journal can be deleted.
ROOMY = JournalSettings(min_free_bytes=0, min_free_percent=0, segment_bytes=1 << 20)


def noise(seed: int, size: int) -> str:
    """Text that does not become smaller than half of it when it is compressed."""
    return random.Random(seed).randbytes(size // 2).hex()


class Collecting:
    """A machine that has a journal, and publishes it."""

    def __init__(
        self, journal: Journal, numbers: Iterator[int], keeper: asyncio.Task[None]
    ) -> None:
        self.journal = journal
        self.keeper = keeper
        self._publisher: Publisher | None = None  # without a bus
        self._numbers = numbers

    @property
    def publisher(self) -> Publisher:
        assert self._publisher is not None
        return self._publisher

    def publish(self, publisher: Publisher) -> None:
        self._publisher = publisher

    def stop_syncing(self) -> None:
        """From now on a power loss takes what is appended."""
        self.keeper.cancel()

    def append(self, count: int, size: int = 0) -> list[str]:
        """Append so many tweets of about so many bytes; their ids."""
        ids = list(itertools.islice(self._numbers, count))
        self.journal.append([v1_tweet(each, padding=noise(each, size)) for each in ids])
        return [str(each) for each in ids]

    def repeat(self, ids: Iterable[str]) -> None:
        """Append these tweets again, as networks send them after a reconnection."""
        self.journal.append([v1_tweet(int(each)) for each in ids])

    def all_sent(self) -> bool:
        return self.publisher.sent >= self.journal.end

    def all_stored(self) -> bool:
        return self.journal.stored >= self.journal.end


class Feed:
    """Reads what is stored with a cursor, as the API does."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.ids: Counter[str] = Counter()
        self._cursor = Cursor({})
        self._reading = asyncio.Lock()

    async def run(self) -> None:
        while True:
            with contextlib.suppress(DatabaseAway):
                await self.read()
            await asyncio.sleep(0.02)

    async def read(self) -> None:
        async with self._reading:
            while await self._read_page():
                pass

    async def _read_page(self) -> bool:
        """Read on; whether there is more."""
        async with self.database.acquire() as connection:
            page = await feed.after(connection, self._cursor, 1000, with_doc=False)
        self.ids.update(each.native_id for each in page.tweets)
        self._cursor = page.cursor
        return page.more


class BusBench:
    """One source, whose tweets go from journals over the bus to writers."""

    def __init__(
        self, database: Database, server: NatsServer, folder: Path, source: Source
    ) -> None:
        self.database = database
        self.server = server
        self.folder = folder
        self.source = source
        self.settings = Settings(bus=server.url, bus_replicas=1)
        self.cells = Cells(database)
        self.sent: list[str] = []
        self.feed = Feed(database)
        self._numbers = itertools.count(10**18)

    def use(self, **settings: object) -> None:
        """Change settings of machines that begin after this."""
        self.settings = msgspec.structs.replace(self.settings, **settings)

    # -- machines ---------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def collecting(self, name: str = "first", lanes: int = 1) -> AsyncIterator[Collecting]:
        """A collector's machine; at the end it is gone without a last word."""
        bus = Bus(self.settings)
        async with self._journal(name) as machine, bus.connected(), asyncio.TaskGroup() as group:
            router = await self._router(machine.journal, lanes)
            publisher = Publisher(bus, self.cells, self.source, machine.journal, router)
            machine.publish(publisher)
            running = group.create_task(publisher.run())
            await publisher.started.wait()
            yield machine
            running.cancel()

    @contextlib.asynccontextmanager
    async def storing_alone(self, name: str = "first") -> AsyncIterator[Collecting]:
        """A machine that stores its own journal, without the bus."""
        async with self._journal(name) as machine, asyncio.TaskGroup() as group:
            network = NETWORKS[self.source.network]
            writer = Writer(
                self.database,
                self.source,
                DirectReader(machine.journal, self.source),
                network.decode,
                snow,
                flush_interval=0.01,
                max_frame_bytes=MAX_FRAME_BYTES,
                policy=StorePolicy(network=self.source.network, keep_unmatched=True, erase=True),
            )
            running = group.create_task(writer.run())
            await writer.started.wait()
            yield machine
            running.cancel()

    @contextlib.asynccontextmanager
    async def _journal(self, name: str) -> AsyncIterator[Collecting]:
        with Journal.open(self.folder / name, ROOMY) as journal:
            async with asyncio.TaskGroup() as group:
                keeper = group.create_task(maintenance.run(journal))
                yield Collecting(journal, self._keep_numbers(), keeper)
                keeper.cancel()

    def _keep_numbers(self) -> Iterator[int]:
        for number in self._numbers:
            self.sent.append(str(number))
            yield number

    async def _router(self, journal: Journal, count: int) -> LaneRouter:
        async with self.database.transaction() as connection:
            await connection.execute("UPDATE sources SET lanes = $1", count)
            found = await lanes.lanes_of(connection, self.source.id, self.cells.names, count)
        divided = divide(journal.folder, self.cells.names, journal.start, journal.end)
        return LaneRouter(found, NETWORKS[self.source.network].decode, divided)

    @contextlib.asynccontextmanager
    async def writing(self, cell: str = HOME) -> AsyncIterator[LaneWriters]:
        """A machine that stores lanes of a cell."""
        bus, stop = Bus(self.settings), asyncio.Event()
        database = self.cells.others.get(cell, self.database)
        reconciler = TrackReconciler(
            database,
            self.settings,
            lambda _: None,
            lambda _: None,
            lambda _: None,
            writes_states=False,
        )
        await reconciler.reload()
        writers = LaneWriters(database, self.settings, bus, reconciler, lambda _: None, cell)
        async with bus.connected(), asyncio.TaskGroup() as group:
            group.create_task(writers.run(stop))
            yield writers
            stop.set()

    async def end_locks(self) -> None:
        """End the connections that hold locks of lanes."""
        await self.database.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks"
            " WHERE locktype = 'advisory' AND classid = $1 AND database ="
            " (SELECT oid FROM pg_database WHERE datname = current_database())",
            LANE_LOCK_CLASS,
        )

    # -- what is stored ---------------------------------------------------------------------------

    async def rows(self, query: str, *arguments: Any) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in await self.database.fetch(query, *arguments)]

    async def stored(self) -> list[str]:
        return [row[0] for row in await self.rows("SELECT native_id FROM tweets ORDER BY id")]

    async def has_all(self) -> bool:
        return set(await self.stored()) >= set(self.sent)

    def forget(self, lost: Iterable[str]) -> None:
        """These tweets were lost with the disk."""
        gone = set(lost)
        self.sent = [each for each in self.sent if each not in gone]

    async def frames(self) -> Counter[str]:
        """Outcomes of all frames."""
        query = "SELECT outcome, sum(frames)::bigint FROM source_minutes GROUP BY outcome"
        return Counter(dict(await self.rows(query)))

    async def check(self, eventually: Eventually) -> None:
        """All is stored, nothing twice, and a reader has got each tweet once."""
        await eventually(self.has_all)
        assert sorted(await self.stored()) == sorted(self.sent)
        await self.feed.read()
        assert self.feed.ids == Counter(self.sent)

    async def positions(self) -> dict[tuple[uuid.UUID, int], int]:
        found = await self.rows("SELECT journal, source_id, position FROM positions")
        return {(journal, lane): position for journal, lane, position in found}

    # -- the stream -------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[JetStreamContext]:
        """Another client of the bus, which makes faults."""
        client: Client = await nats.connect(self.server.url)
        try:
            yield client.jetstream()
        finally:
            await client.close()

    async def messages(self) -> int:
        """How many messages the stream has; 0 without a stream."""
        with contextlib.suppress(APIError, ClientError):
            async with self.client() as js:
                return (await js.stream_info(STREAM)).state.messages
        return 0

    async def lose(self, sequences: Iterable[int]) -> None:
        """Let the stream lose these messages."""
        async with self.client() as js:
            for each in sequences:
                assert await js.delete_msg(STREAM, each)

    async def lose_all(self) -> None:
        async with self.client() as js:
            assert await js.purge_stream(STREAM)

    async def recreate(self) -> None:
        """Delete the stream; the machines create it again."""
        async with self.client() as js:
            assert await js.delete_stream(STREAM)


@contextlib.asynccontextmanager
async def bus_bench(
    database: Database, server: NatsServer, folder: Path
) -> AsyncIterator[BusBench]:
    """A bench with a reader that reads all the time."""
    async with database.acquire() as connection:
        source_id = await sources.add(connection, "main", "x_v1")
        await connection.execute("INSERT INTO tracks (value) VALUES ('snow')")
    source = Source(source_id, "main", "x_v1", None, None, {}, enabled=True)
    bench = BusBench(database, server, folder, source)
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(bench.feed.run())
        yield bench
        reading.cancel()
