"""A journal of Bluesky in a data_dir, a writer for it, and look-backs of what it holds."""

import contextlib
import random
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

import jetstream_messages as jetstream
from monitor.look_back.run import LookBackRun
from monitor.look_back.slices import Slice, Slices
from monitor.look_back.task import Task
from monitor.look_back.track_matcher import digest, matcher_of
from stream.config import Settings
from stream.db import Database
from stream.frame_readers import DirectReader
from stream.incoming_tweets import StorePolicy
from stream.journal import Journal
from stream.networks.registry import NETWORKS
from stream.store import look_back_queue, look_backs, sources, tracks
from stream.store.look_backs import LookBack, NewLookBack, Place
from stream.store.tracks import NewTrack
from stream.tracking_plan import build_plan
from stream.tweet import Frame, NetworkName, Source, TrackId
from stream.writer import Writer
from writer_bench import ROOMY

FIRST_TRACK = TrackId(1)
WORDS = ("snow", "rain", "sun", "wind", "fog")


# The column `resume_at` as nothing but psql would write it.
WRONG_POSITIONS = (
    b"5",
    b'{"track": 5}',
    *(
        b'{"track": "TRACK", "at": %s}' % at
        for at in (b'"here"', b'[1, "x"]', b"1e40", b"1%s" % (b"0" * 40), b"-7", b'"{}"')
    ),
)


class LookBackBench:
    """A database, a journal on this machine, and what is done with them."""

    def __init__(
        self, database: Database, settings: Settings, journal: Journal, source: Source
    ) -> None:
        self.database = database
        self.settings = settings
        self.journal = journal
        self.source = source
        self.lines: list[str] = []  # reported by look-backs

    def record(self, messages: Iterable[bytes], at: datetime | None = None) -> None:
        """Append messages, as if they were received from then on, a millisecond apart."""
        if at is not None:
            begin = iter(range(round(at.timestamp() * 1e6), 1 << 60, 1000))
            self.journal.clock.clock = lambda: next(begin)
            self.journal.clock.last = 0
        for message in messages:
            self.journal.append([message])

    async def collect(self) -> None:
        """Store what is in the journal, for the tracks that there are."""
        async with self.database.acquire() as connection:
            followed = await tracks.get_all(connection)
        network = NETWORKS[self.source.network]
        matcher = build_plan(followed, [self.source.network], self.settings).matcher
        writer = Writer(
            self.database,
            self.source,
            DirectReader(self.journal, self.source),
            network.decode,
            matcher.match,
            flush_interval=0.01,
            max_frame_bytes=self.settings.max_frame_bytes,
            policy=StorePolicy(
                network=self.source.network,
                keep_unmatched=False,
                erase=self.settings.deletions == "erase",
                names_authors=network.looks_up_handle is not None,
            ),
        )
        writer.drain()
        await writer.run()

    async def track(self, value: str = "snow", **more: Any) -> TrackId:
        """A new track, which the daemon has taken up."""
        async with self.database.acquire() as connection:
            track_id = await tracks.add(connection, NewTrack(value, **more))
            await connection.execute("UPDATE tracks SET state = 'active' WHERE id = $1", track_id)
        return track_id

    async def request(self, track_id: TrackId, place: Place = "recorded", **more: Any) -> int:
        async with self.database.acquire() as connection:
            new = [NewLookBack(place, **more)]
            return (await look_backs.add(connection, track_id, new, None))[0].id

    async def run(self) -> None:
        """Do what waits."""
        await LookBackRun(self.database, self.settings, self.lines.append).run()

    async def look(self, track_id: TrackId, place: Place = "recorded", **more: Any) -> LookBack:
        """Look back, and return the row afterwards."""
        number = await self.request(track_id, place, **more)
        await self.run()
        return await self.row(number)

    async def look_from(
        self, track_id: TrackId, resume_at: bytes, place: Place, **more: Any
    ) -> LookBack:
        """Look back as after an interruption, from this position of TRACK."""
        number = await self.request(track_id, place, **more)
        async with self.database.transaction() as connection:
            track = await look_back_queue.lock_track(connection, track_id)
        assert track is not None
        await self.database.execute(
            "UPDATE look_backs SET state = 'running', looked = 7, resume_at = $2 WHERE id = $1",
            number,
            resume_at.replace(b"TRACK", digest(track).encode()),
        )
        await self.run()
        return await self.row(number)

    async def look_through_network(
        self,
        messages: Sequence[bytes],
        size: int = 0,
        *,
        track_id: TrackId = FIRST_TRACK,
        finish: bool = True,
    ) -> LookBack:
        """Look back for a track as if the network replayed these messages now.

        Each `size` messages are a slice; 0: all together. Without `finish` the next call continues.
        """
        number = await self.request(track_id, "network")
        async with self.database.acquire() as connection:
            row = await look_back_queue.claim(connection)
            track = await look_back_queue.lock_track(connection, track_id)
            assert row is not None
            assert track is not None
            task = Task(self.database, self.settings, row, track)
            task.matcher = await matcher_of(connection, [track_id])
        await task.begin()
        await task.look_through(
            self._slices(messages, size), at_original_time=True, applies_accounts=True
        )
        if finish:
            async with self.database.acquire() as connection:
                await look_back_queue.finish(connection, number, "done", "")
        return await self.row(number)

    async def _slices(self, messages: Sequence[bytes], size: int) -> Slices:
        now = round(datetime.now(UTC).timestamp() * 1e6) - len(messages)
        frames = [Frame(now + number, body, 0) for number, body in enumerate(messages)]
        size = size or len(frames)
        for at in range(0, len(frames), size):
            some = frames[at : at + size]
            yield Slice(self.source.id, self.source.network, some, str(at), 1.0)

    async def row(self, number: int) -> LookBack:
        async with self.database.acquire() as connection:
            found = await look_backs.by_id(connection, number)
        assert found is not None
        return found

    async def rows(self, query: str, *arguments: object) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in await self.database.fetch(query, *arguments)]

    async def found(self, track_id: TrackId) -> dict[str, str]:
        """The posts of a track that are shown: their texts by key."""
        rows = await self.rows(
            "SELECT native_id, text FROM track_tweets WHERE track_id = $1 AND deleted_at IS NULL",
            track_id,
        )
        keys = [native_id.partition("/did:")[0] for native_id, _ in rows]
        assert len(set(keys)) == len(keys)
        return dict(zip(keys, (text for _, text in rows), strict=True))

    async def counts_agree(self) -> bool:
        """Whether the roll-ups are what a count from scratch gives."""
        wrong = [
            await self.rows(
                f"(SELECT track_id, {at}, count(*) FROM matches GROUP BY 1, 2"
                f" EXCEPT SELECT track_id, {cut}, tweets FROM track_{cut}s) UNION ALL"
                f" (SELECT track_id, {cut}, tweets FROM track_{cut}s WHERE tweets > 0"
                f" EXCEPT SELECT track_id, {at}, count(*) FROM matches GROUP BY 1, 2)"
            )
            for cut, at in (
                ("minute", "date_trunc('minute', received_at, 'UTC')"),
                ("hour", "date_trunc('hour', received_at, 'UTC')"),
                ("day", "(received_at AT TIME ZONE 'UTC')::date"),
            )
        ]
        return not any(wrong)


@contextlib.asynccontextmanager
async def look_back_bench(
    database: Database,
    data_dir: Path,
    settings: Settings | None = None,
    network: NetworkName = "bluesky",
) -> AsyncIterator[LookBackBench]:
    settings = settings or Settings()
    settings = msgspec.structs.replace(settings, data_dir=str(data_dir))
    async with database.acquire() as connection:
        source_id = await sources.add(connection, "main", network)
    source = Source(source_id, "main", network, None, None, {}, enabled=True)
    with Journal.open(data_dir / "journal" / str(source_id), ROOMY) as journal:
        yield LookBackBench(database, settings, journal, source)


class Recorded:
    """Invented messages: posts, new versions, deletions; and what is left of them in the end."""

    def __init__(self, number: int, *, edits: bool = True) -> None:
        chance = random.Random(1)
        self.messages: list[bytes] = []
        self.left: dict[str, str] = {}  # the texts of all posts that were not deleted, by key
        for seq in range(number):
            kind = chance.choices(("create", "update", "delete"), (20, int(edits), 2))[0]
            if kind == "create" or not self.left:
                rkey, operation = f"3lpost{seq:08d}", "create"
            else:
                rkey, operation = chance.choice(list(self.left)[-200:]), kind
            if operation == "delete":
                del self.left[rkey]
                self.messages.append(jetstream.deletion(seq, rkey))
                continue
            self.left[rkey] = text = f"{chance.choice(WORDS)} {chance.choice(WORDS)} {seq}"
            self.messages.append(jetstream.post(seq, text, rkey=rkey, operation=operation))

    def matching(self, *words: str) -> dict[str, str]:
        """The posts that a naive search finds."""
        return {
            rkey: text for rkey, text in self.left.items() if any(word in text for word in words)
        }


def hours_ago(hours: float) -> datetime:
    return datetime.now(UTC) - timedelta(hours=hours)


def split(messages: Sequence[bytes], number: int) -> list[Sequence[bytes]]:
    """Messages in this number of parts."""
    size = -(-len(messages) // number)
    return [messages[begin : begin + size] for begin in range(0, len(messages), size)]
