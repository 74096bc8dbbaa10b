"""Deletions in archives of dropped days: the files are written again without what was deleted.

Postgres decides what becomes of a row, as stream/tweets.py would have it for one that is still
there, and tells the digest of every row that goes or changes; the others are copied as they are.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from datetime import datetime

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from monitor.archive import book, days, treating, writing
from monitor.archive.book import Archive
from monitor.archive.checking import check_bytes
from monitor.archive.days import Digest
from monitor.archive.files import Rows, TableFile
from monitor.archive.lines import LinesFile
from monitor.archive.manifest import ArchiveError, File, Manifest, Removal, Role, publish
from monitor.archive.store import Store
from monitor.archive.tables import MATCHES, TWEETS
from monitor.archive.treating import Verdicts
from stream.db import Executor

logger = logging.getLogger(__name__)

ROWS = 5000  # looked at at once
LOOKED_AT = ["id", "network", "native_id", "author_id", "created_at", "deleted_at"]


async def rewrite(
    connection: Executor, store: Store, archive: Archive, *, erase: bool
) -> Removal | None:
    """Let what was deleted since leave the files of a day; None: nothing of it is there.

    Files, manifest, then everything that Postgres has to know in one transaction: a kill before
    that has it all done again.
    """
    known = archive.known
    now, authors_at, _ = await days.moment(connection)
    dead = await treating.candidates(connection, archive.day, archive.authors_at)
    async with treating.tables(connection):
        verdicts = await _judge(connection, store, known, dead, erase=erase)
        if archive.in_database:
            # A day of which single tweets went: what was still there has been uncredited already.
            verdicts.counted.clear()
        if not verdicts.any:
            await book.looked(connection, archive.day, archive.part, dead.tombstones, authors_at)
            return None
        work = _Work(connection, store, known, verdicts)
        made = await work.write(now, dead.tombstones, authors_at)
        await asyncio.to_thread(check_bytes, store, made)
        await asyncio.to_thread(_check_kept, store, known, made, verdicts.ids)
        await asyncio.to_thread(publish, store, made)
        async with connection.transaction():
            await treating.settle(connection)
            await book.rewritten(connection, known.generation, made)
    rows = await book.rows(connection, archive.day)
    await asyncio.to_thread(writing.clean, store, archive.day, rows)
    logger.info("rewrote %s for deletions", archive.day, extra={"erased": len(verdicts.erased)})
    return made.removals[-1]


async def _judge(
    connection: Executor, store: Store, known: Manifest, dead: treating.Dead, *, erase: bool
) -> Verdicts:
    """Walk over the few columns that tell which rows may be concerned."""
    found = Verdicts(erase=erase)
    rows = await asyncio.to_thread(Rows, store, known.path("tweets"), LOOKED_AT)
    while True:
        some = await asyncio.to_thread(_concerned, rows, dead)
        if some is None:
            return found
        if some.num_rows:
            await treating.judge(connection, some, found)


def _concerned(rows: Rows, dead: treating.Dead) -> pa.Table | None:
    some = rows.take(ROWS)
    if not some.num_rows:
        return None
    tombstone = pc.is_in(some["id"], dead.ids)
    author = pc.is_in(some["author_id"], dead.authors)
    return some.filter(pc.or_(tombstone, author))


class _Work:
    """One rewriting: the files of the next generation, out of those of the last one."""

    def __init__(
        self, connection: Executor, store: Store, known: Manifest, verdicts: Verdicts
    ) -> None:
        self.connection = connection
        self.store = store
        self.known = known
        self.verdicts = verdicts
        self.generation = known.generation + 1
        self.digests = {
            "tweets": Digest(known.tweets, known.digests["tweets"]),
            "matches": Digest(known.matches, known.digests["matches"]),
        }
        self.lost: Counter[str] = Counter()  # tweets by track
        self.scrubbed = 0

    async def write(self, now: datetime, tombstones: int, authors_at: datetime) -> Manifest:
        files: dict[Role, File] = dict(self.known.files)  # the tracks stay as they were
        await self._write_tweets(files)
        files["matches"] = await self._write_matches()
        for role, digest in self.digests.items():
            if files["tweets" if role == "tweets" else "matches"].rows != digest.rows:
                raise ArchiveError(f"Rewriting {self.known.day} lost {role}; nothing was changed.")
        removal = Removal(now, len(self.verdicts.erased), len(self.verdicts.flagged), self.scrubbed)
        left = Counter(self.known.tracks)
        left.subtract(self.lost)
        return msgspec.structs.replace(
            self.known,
            generation=self.generation,
            written_at=now,
            tweets=files["tweets"].rows,
            matches=files["matches"].rows,
            digests={name: digest.digest for name, digest in self.digests.items()},
            files=files,
            tracks={track: number for track, number in left.items() if number > 0},
            tombstones=tombstones,
            authors_at=authors_at,
            removals=(*self.known.removals, removal),
        )

    def _path(self, name: str) -> str:
        return f"{self.known.folder}/{name.format(self.generation)}"

    async def _write_tweets(self, files: dict[Role, File]) -> None:
        path = self._path("tweets-{}.parquet")
        file = await asyncio.to_thread(TableFile, self.store, path, TWEETS)
        lines = None
        if "ndjson" in self.known.files:
            lines = LinesFile(self.store, self._path("tweets-{}.ndjson.zst"))
        rows = await asyncio.to_thread(Rows, self.store, self.known.path("tweets"))
        while (some := await asyncio.to_thread(rows.take, ROWS)).num_rows:
            concerned = pc.is_in(some["id"], self.verdicts.ids)
            if pc.any(concerned).as_py():
                some = await self._treated(some, concerned)
            await asyncio.to_thread(file.add, some)
            if lines is not None:
                await asyncio.to_thread(lines.add, some)
        files["tweets"] = await asyncio.to_thread(file.close)
        if lines is not None:
            files["ndjson"] = await asyncio.to_thread(lines.close)

    async def _treated(self, some: pa.Table, concerned: pa.ChunkedArray) -> pa.Table:
        before, after, changed, scrubbed = await treating.treat(
            self.connection, some.filter(concerned), self.verdicts
        )
        self.digests["tweets"] = self.digests["tweets"] - before + after
        self.scrubbed += scrubbed
        both = pa.concat_tables([some.filter(pc.invert(concerned)), changed])
        return both.sort_by("id")

    async def _write_matches(self) -> File:
        path = self._path("matches-{}.parquet")
        file = await asyncio.to_thread(TableFile, self.store, path, MATCHES)
        rows = await asyncio.to_thread(Rows, self.store, self.known.path("matches"))
        gone = pa.array(sorted(self.verdicts.erased), pa.int64())
        while (some := await asyncio.to_thread(rows.take, ROWS)).num_rows:
            concerned = pc.is_in(some["tweet_id"], gone)
            if pc.any(concerned).as_py():
                lost = some.filter(concerned)
                self.digests["matches"] -= await treating.uncredit(self.connection, lost)
                self.lost.update(str(track) for track in lost["track_id"].to_pylist())
                some = some.filter(pc.invert(concerned))
            await asyncio.to_thread(file.add, some)
        return await asyncio.to_thread(file.close)


def _check_kept(store: Store, before: Manifest, after: Manifest, concerned: pa.Array) -> None:
    """ArchiveError unless all that no deletion concerns is in the new files, read back, as in the
    old ones."""
    old = Rows(store, before.path("tweets"))
    new = _Others(Rows(store, after.path("tweets")), concerned)
    kept = _Others(old, concerned)
    while (some := kept.take(ROWS)).num_rows:
        if not new.take(some.num_rows).equals(some):
            raise ArchiveError(f"Rewriting {before.day} went wrong; its old files stay.")
    if new.take(1).num_rows:
        raise ArchiveError(f"Rewriting {before.day} went wrong; its old files stay.")


class _Others:
    """The rows of a file without those of some tweets."""

    def __init__(self, rows: Rows, without: pa.Array) -> None:
        self._rows = rows
        self._without = without
        self._held: Sequence[pa.Table] = ()

    def take(self, number: int) -> pa.Table:
        held = list(self._held)
        while sum(each.num_rows for each in held) < number:
            some = self._rows.take(ROWS)
            if not some.num_rows:
                break
            held.append(some.filter(pc.invert(pc.is_in(some["id"], self._without))))
        if not held:
            return self._rows.take(0)
        both = pa.concat_tables(held)
        self._held = (both.slice(number),)
        return both.slice(0, number).combine_chunks()
