"""Applies deletions to archives whose rows are not in Postgres: their files are written again.

Postgres decides by the same rules as for stored tweets (stream/store/deletions.py), and computes
the digest of every row that is deleted or changes. All other rows are copied as they are.
"""

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import datetime

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from monitor.archive import catalog, write
from monitor.archive.catalog import Archive
from monitor.archive.data_files import (
    NdjsonWriter,
    RowReader,
    TableWriter,
    copy_rows,
    records,
    schema,
    with_added_columns,
)
from monitor.archive.manifest import ArchiveError, File, Manifest, Removal, Role, publish
from monitor.archive.store import Store
from monitor.archive.verify import check_bytes
from stream.db import Executor, transaction
from stream.store import archived_deletions, archives, day_snapshot, deletion_log, rollups
from stream.store.archived_deletions import Deletions, Outcome
from stream.store.day_snapshot import MATCHES, TWEETS, Digest, Moment
from stream.store.deletion_log import ArchivedDeletion
from stream.tweet import TrackId, TweetId

logger = logging.getLogger(__name__)

BATCH_ROWS = 5000
DECIDING_COLUMNS = ["id", "network", "native_id", "author_id", "created_at", "deleted_at"]


async def apply_deletions(
    connection: Executor, store: Store, archive: Archive, *, erase: bool
) -> Removal | None:
    """Write the files of an archive again without what was deleted; None when nothing was.

    First the files, then the manifest, then all that Postgres has to know in one transaction. After
    a kill before its end, all of it is done again.
    """
    known = archive.verified_manifest
    moment = await day_snapshot.moment(connection)
    deletions = await archived_deletions.candidates(connection, archive.day, archive.authors_at)
    async with archived_deletions.temporary_tables(connection):
        # Of a day that is partially in Postgres, the counts follow what was deleted there already.
        changes = Changes(erase=erase, counts=not archive.in_database)
        await _classify(connection, store, known, deletions, changes)
        tombstones = len(deletions.tweet_ids)
        if not changes.outcomes:
            which = archive.day, archive.part
            checked = tombstones, moment.authors_at
            await archives.mark_deletions_checked(connection, *which, *checked)
            return None
        rewrite = _Rewrite(connection, store, known, changes)
        made = await rewrite.write(moment, tombstones)
        await asyncio.to_thread(check_bytes, store, made)
        await asyncio.to_thread(_check_unchanged_rows, store, known, made, changes.ids)
        await asyncio.to_thread(publish, store, made)
        async with transaction(connection):
            await archived_deletions.save_tombstones(connection)
            await deletion_log.add_archived(connection, rewrite.deletions())
            if rewrite.uncredited:
                await rollups.subtract_track_counts(connection, rewrite.uncredited)
            await catalog.mark_rewritten(connection, known.generation, made)
    rows = await catalog.rows(connection, archive.day)
    await asyncio.to_thread(write.remove_leftovers, store, archive.day, rows)
    logger.info(
        "rewrote an archive for deletions",
        extra={"day": str(archive.day), "erased": len(changes.erased)},
    )
    return made.removals[-1]


class Changes:
    """Changes that deletions make to an archive: the outcome for each tweet that is concerned."""

    def __init__(self, *, erase: bool, counts: bool) -> None:
        self.erase = erase
        self._counts = counts  # whether the roll-ups lose what is erased
        self.outcomes: dict[int, Outcome] = {}

    def add(self, outcome: Outcome, *, flagged_already: bool) -> None:
        if flagged_already and not self.erase:
            outcome = msgspec.structs.replace(outcome, deleted_at=None)
        if not self._counts:
            outcome = msgspec.structs.replace(outcome, counted=False)
        if outcome.deleted_at is not None or outcome.scrubbed:
            self.outcomes[outcome.id] = outcome

    @property
    def erased(self) -> list[int]:
        """The tweets that are removed from the files."""
        return self._deleted() if self.erase else []

    @property
    def flagged(self) -> list[int]:
        """The tweets that are marked as deleted."""
        return [] if self.erase else self._deleted()

    def _deleted(self) -> list[int]:
        return [each.id for each in self.outcomes.values() if each.deleted_at is not None]

    @property
    def ids(self) -> pa.Array:
        """Ids of all tweets that the deletions concern."""
        return pa.array(sorted(self.outcomes), pa.int64())


async def _classify(
    connection: Executor, store: Store, known: Manifest, deletions: Deletions, changes: Changes
) -> None:
    """Read the columns that decide what deletions mean for each row."""
    rows = await asyncio.to_thread(RowReader, store, known.path("tweets"), DECIDING_COLUMNS)
    tweet_ids = pa.array(deletions.tweet_ids, pa.int64())
    author_ids = pa.array(deletions.author_ids, pa.string())

    def next_candidates() -> pa.Table | None:
        batch = rows.take(BATCH_ROWS)
        if not batch.num_rows:
            return None
        deleted = pc.is_in(batch["id"], tweet_ids)
        of_author = pc.is_in(batch["author_id"], author_ids)
        return batch.filter(pc.or_(deleted, of_author))

    while (found := await asyncio.to_thread(next_candidates)) is not None:
        if found.num_rows:
            columns = found.to_pydict()
            flagged = dict(zip(columns["id"], columns["deleted_at"], strict=True))
            for outcome in await archived_deletions.classify(connection, columns):
                changes.add(outcome, flagged_already=flagged[outcome.id] is not None)


class _Rewrite:
    """Writes the files of the next generation from those of the last one."""

    def __init__(
        self, connection: Executor, store: Store, known: Manifest, changes: Changes
    ) -> None:
        self.connection = connection
        self.store = store
        self.known = known
        self.changes = changes
        self.generation = known.generation + 1
        self.digests = {
            "tweets": Digest(known.tweets, known.digests["tweets"]),
            "matches": Digest(known.matches, known.digests["matches"]),
        }
        self.uncredited: Counter[tuple[TrackId, datetime]] = Counter()  # by track and minute
        self._removed_matches: Counter[str] = Counter()  # by track
        self._tracks: defaultdict[TweetId, list[TrackId]] = defaultdict(list)  # of deleted tweets
        self._scrubbed = 0

    async def write(self, moment: Moment, tombstones: int) -> Manifest:
        files: dict[Role, File] = dict(self.known.files)  # the tracks stay as they were
        await self._write_tweets(files)
        files["matches"] = await self._write_matches()
        for role, digest in self.digests.items():
            if files["tweets" if role == "tweets" else "matches"].rows != digest.rows:
                raise ArchiveError(
                    f"Rewriting the archive of {self.known.day} lost {role}; nothing was changed."
                )
        changes = self.changes
        removal = Removal(moment.now, len(changes.erased), len(changes.flagged), self._scrubbed)
        left = Counter(self.known.tracks)
        left.subtract(self._removed_matches)
        return msgspec.structs.replace(
            self.known,
            generation=self.generation,
            written_at=moment.now,
            tweets=files["tweets"].rows,
            matches=files["matches"].rows,
            digests={name: digest.digest for name, digest in self.digests.items()},
            files=files,
            tracks={track: number for track, number in left.items() if number > 0},
            tombstones=tombstones,
            authors_at=moment.authors_at,
            removals=(*self.known.removals, removal),
        )

    def _path(self, name: str) -> str:
        return f"{self.known.folder}/{name.format(self.generation)}"

    async def _write_tweets(self, files: dict[Role, File]) -> None:
        path = self._path("tweets-{}.parquet")
        file = await asyncio.to_thread(TableWriter, self.store, path, TWEETS)
        lines = None
        if "ndjson" in self.known.files:
            lines = NdjsonWriter(self.store, self._path("tweets-{}.ndjson.zst"))
        rows = await asyncio.to_thread(RowReader, self.store, self.known.path("tweets"))
        ids = self.changes.ids
        while (batch := await asyncio.to_thread(rows.take, BATCH_ROWS)).num_rows:
            concerned = pc.is_in(batch["id"], ids)
            if pc.any(concerned).as_py():
                changed = await self._changed(batch.filter(concerned))
                batch = pa.concat_tables([batch.filter(pc.invert(concerned)), changed])
                batch = batch.sort_by("id")
            await asyncio.to_thread(file.add, batch)
            if lines is not None:
                await asyncio.to_thread(lines.add, batch)
        files["tweets"] = await asyncio.to_thread(file.close)
        if lines is not None:
            files["ndjson"] = await asyncio.to_thread(lines.close)

    async def _changed(self, concerned: pa.Table) -> pa.Table:
        """Rows of tweets after the deletions were applied."""
        outcomes = [self.changes.outcomes[id_] for id_ in concerned["id"].to_pylist()]
        done = await archived_deletions.apply(
            self.connection, records(concerned), outcomes, erase=self.changes.erase
        )
        self.digests["tweets"] = self.digests["tweets"] - done.before + done.after
        self._scrubbed += done.scrubbed
        left = [schema(TWEETS).empty_table()]
        await copy_rows(self.connection, archived_deletions.TWEETS, (), left.append)
        return pa.concat_tables(left)

    async def _write_matches(self) -> File:
        path = self._path("matches-{}.parquet")
        file = await asyncio.to_thread(TableWriter, self.store, path, MATCHES)
        rows = await asyncio.to_thread(RowReader, self.store, self.known.path("matches"))
        erased = pa.array(sorted(self.changes.erased), pa.int64())
        flagged = pa.array(sorted(self.changes.flagged), pa.int64())
        while (batch := await asyncio.to_thread(rows.take, BATCH_ROWS)).num_rows:
            batch = with_added_columns(MATCHES, batch)
            concerned = pc.is_in(batch["tweet_id"], erased)
            self._note_tracks(batch.filter(pc.or_(concerned, pc.is_in(batch["tweet_id"], flagged))))
            if pc.any(concerned).as_py():
                removed = batch.filter(concerned)
                digest, uncredited = await archived_deletions.remove_matches(
                    self.connection, records(removed)
                )
                self.digests["matches"] -= digest
                self.uncredited += uncredited
                self._removed_matches.update(map(str, removed["track_id"].to_pylist()))
                batch = batch.filter(pc.invert(concerned))
            await asyncio.to_thread(file.add, batch)
        return await asyncio.to_thread(file.close)

    def _note_tracks(self, matches: pa.Table) -> None:
        columns = matches.select(["tweet_id", "track_id"]).to_pydict()
        for tweet, track in zip(columns["tweet_id"], columns["track_id"], strict=True):
            self._tracks[tweet].append(track)

    def deletions(self) -> list[ArchivedDeletion]:
        """The deletions of tweets that have tracks."""
        times = {tweet: self.changes.outcomes[tweet].deleted_at for tweet in self._tracks}
        return [
            ArchivedDeletion(tweet, at, self._tracks[tweet])
            for tweet, at in sorted(times.items())
            if at is not None
        ]


def _check_unchanged_rows(
    store: Store, before: Manifest, after: Manifest, concerned: pa.Array
) -> None:
    """ArchiveError unless all rows that no deletion concerns are in the new files, read back."""
    old = _UnchangedRows(RowReader(store, before.path("tweets")), concerned)
    new = _UnchangedRows(RowReader(store, after.path("tweets")), concerned)
    while (batch := old.take(BATCH_ROWS)).num_rows:
        if not new.take(batch.num_rows).equals(batch):
            break
    else:
        if not new.take(1).num_rows:
            return
    raise ArchiveError(
        f"Rewriting the archive of {before.day} changed other rows; its old files stay."
    )


class _UnchangedRows:
    """The rows of a file except those of some tweets."""

    def __init__(self, rows: RowReader, without: pa.Array) -> None:
        self._rows = rows
        self._without = without
        self._buffered: Sequence[pa.Table] = ()

    def take(self, number: int) -> pa.Table:
        buffered = list(self._buffered)
        while sum(each.num_rows for each in buffered) < number:
            batch = self._rows.take(BATCH_ROWS)
            if not batch.num_rows:
                break
            buffered.append(batch.filter(pc.invert(pc.is_in(batch["id"], self._without))))
        if not buffered:
            return self._rows.take(0)
        both = pa.concat_tables(buffered)
        self._buffered = (both.slice(number),)
        return both.slice(0, number).combine_chunks()
