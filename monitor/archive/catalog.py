"""The archives that this database knows: rows of the table `archives` with their manifests."""

from datetime import date, datetime

import msgspec

from monitor.archive import manifest as manifests
from monitor.archive.manifest import ArchiveError, Manifest
from stream.db import Executor, Row
from stream.store import archives
from stream.store.archives import ArchiveFiles, State


class Archive(msgspec.Struct, frozen=True):
    """One part of an archived day."""

    day: date
    part: int
    state: State
    generation: int
    tweets: int
    matches: int
    bytes: int
    tombstones: int
    manifest: Manifest | None  # the last one that was verified
    started_at: datetime
    verified_at: datetime | None
    dropped_at: datetime | None
    restored_at: datetime | None
    authors_at: datetime | None
    partially_expired_at: datetime | None
    problem: str | None

    @property
    def in_database(self) -> bool:
        """Whether its rows are in Postgres, all or some of them."""
        return self.state != "dropped"

    @property
    def is_authoritative(self) -> bool:
        """Whether its files have rows that Postgres does not have any more."""
        return not self.in_database or (
            self.partially_expired_at is not None and self.state == "verified"
        )

    @property
    def verified_manifest(self) -> Manifest:
        """The manifest of a finished archive; ArchiveError when it was never finished."""
        if self.manifest is None:
            raise ArchiveError(
                f"The archive of {self.day} is not finished; run `archive run --day {self.day}`."
            )
        return self.manifest


def _archive(row: Row) -> Archive:
    found = row["manifest"]
    where = f"The manifest of {row['day']} in the table archives"
    return Archive(
        **{key: value for key, value in row.items() if key != "manifest"},
        manifest=None if found is None else manifests.decode(found.encode(), where),
    )


async def rows(connection: Executor, day: date | None = None) -> list[Archive]:
    """Read the catalog: all archives, or those of one day, ordered by day and part."""
    return [_archive(row) for row in await archives.rows(connection, day)]


def _files(made: Manifest) -> ArchiveFiles:
    return ArchiveFiles(
        made.day,
        made.part,
        made.generation,
        made.tweets,
        made.matches,
        made.bytes,
        made.tombstones,
        manifests.encode(made).decode(),
        made.authors_at,
    )


async def mark_verified(connection: Executor, made: Manifest) -> None:
    """Note that a day is archived as a whole: other parts of what is stored are replaced by it."""
    if not await archives.mark_verified(connection, _files(made)):
        raise _taken_over(made.day)


async def mark_rewritten(connection: Executor, before: int, made: Manifest) -> None:
    """Note that these files have replaced those of generation `before`."""
    if not await archives.mark_rewritten(connection, before, _files(made)):
        raise _taken_over(made.day)


def _taken_over(day: date) -> ArchiveError:
    return ArchiveError(f"Another process is archiving {day}; skipped here.")


async def adopt(connection: Executor, found: Manifest, *, stored: bool) -> None:
    """Add an archive that is in the store and that this database does not know.

    `stored`: its rows are in Postgres, so it is written again, which verifies it.
    """
    state: State = "writing" if stored else "dropped"
    await archives.adopt(connection, _files(found), state, found.folder)


async def mark_lost_partitions(connection: Executor, archive: Archive) -> None:
    """Note that a day was dropped: only its archive is left."""
    if archive.manifest is None:
        await archives.delete_row(connection, archive.day, archive.part)
    else:
        generation = archive.manifest.generation
        await archives.mark_lost_partitions(connection, archive.day, archive.part, generation)


async def mark_checked(connection: Executor, archive: Archive, problem: str | None) -> bool:
    """Note what is wrong with the files; False when they were written again since."""
    which = archive.day, archive.part, archive.generation
    return await archives.mark_checked(connection, *which, problem)
