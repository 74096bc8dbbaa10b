"""Verifies archives: their files against the manifest, and the manifest against Postgres.

The daemon drops and expires days by this, so pyarrow is imported only where it is needed.
"""

from collections.abc import Sequence
from functools import partial

from monitor.archive import catalog
from monitor.archive.catalog import Archive
from monitor.archive.manifest import NAME, ArchiveError, Manifest, Role, repair_hint
from monitor.archive.manifest import read as read_manifest
from monitor.archive.store import Missing, Store
from stream.db import Database
from stream.store import day_snapshot, partitions
from stream.store.day_snapshot import MATCHES, TRACKS, TWEETS, Digest, Digests

_PARQUET_ROLES = {table.name for table in (TWEETS, MATCHES, TRACKS)}


def check_bytes(store: Store, made: Manifest) -> None:
    """Read every file from the store; ArchiveError for one that is not what was written."""
    for role in made.files:
        check_file(store, made, role)


def check_file(store: Store, made: Manifest, role: Role) -> None:
    """Read one file from the store; ArchiveError when it is not what was written."""
    path, file = made.path(role), made.files[role]
    try:
        found = store.hashed(path)
    except Missing as error:
        raise ArchiveError(f"{error} {repair_hint(path)}") from error
    if found.bytes != file.bytes:
        difference = f"it has {found.bytes:,} bytes instead of {file.bytes:,}"
    elif found.sha256 != file.sha256:
        difference = "its SHA-256 differs from that of what was written"
    else:
        return
    raise ArchiveError(f"{path} is damaged: {difference}. {repair_hint(path)}")


def check_published(store: Store, made: Manifest) -> None:
    """ArchiveError unless the manifest in the store is this one."""
    path = f"{made.folder}/{NAME}"
    found = read_manifest(store, made.day, made.part)
    if found is None:
        raise ArchiveError(f"{path} cannot be read: there is no such object. {repair_hint(path)}")
    if found != made:
        raise ArchiveError(
            f"The manifest in {made.folder} differs from the one in the database."
            f" {repair_hint(path)}"
        )


def problems(store: Store, made: Manifest) -> list[str]:
    """Problems of an archive in the store, by file; empty when it is complete.

    StoreError when the store does not answer, which says nothing about the archive.
    """
    found = []
    for check in (
        partial(check_published, store, made),
        *(partial(_check_file_and_rows, store, made, role) for role in made.files),
    ):
        try:
            check()
        except (ArchiveError, Missing) as error:
            found.append(str(error))
    return found


def _check_file_and_rows(store: Store, made: Manifest, role: Role) -> None:
    from monitor.archive.data_files import RowReader  # noqa: PLC0415 - pyarrow

    check_file(store, made, role)
    if role in _PARQUET_ROLES and RowReader(store, made.path(role)).total != made.files[role].rows:
        raise ArchiveError(f"The number of rows in {made.path(role)} differs from its manifest.")


def digests_match(found: Digests, made: Sequence[Manifest]) -> bool:
    """Whether rows in Postgres are exactly those of these archives together."""
    for name, digest in found.items():
        archived = Digest(0, "0")
        for each in made:
            rows = each.tweets if name == "tweets" else each.matches
            archived += Digest(rows, each.digests[name])
        if digest != archived:
            return False
    return True


async def compared_with_postgres(database: Database, archive: Archive) -> str:
    """Describe how a complete archive differs from what Postgres has of the day."""
    day = archive.day
    at_once = f"`archive run --day {day}` does it at once"
    async with database.long_running() as connection:
        live = [each for each in await catalog.rows(connection, day) if each.in_database]
        if not live and await partitions.has_tweets(connection, day):
            return (
                "complete; the day was dropped from Postgres, but late tweets arrived. The daemon"
                f" archives them as another part within an hour; {at_once}"
            )
        if not archive.in_database or not await partitions.exists(connection, day):
            return "complete; no longer in Postgres"
        if any(each.state == "writing" for each in live):
            return "complete, as last verified; the day is being archived again, or will be"
        if any(each.partially_expired_at for each in live):
            return "complete; Postgres has only a part of the day"
        found = await day_snapshot.digests(connection, day)
        if digests_match(found, [each.verified_manifest for each in live]):
            return "complete, and equal to Postgres"
        return (
            "complete; the day has changed in Postgres since. The daemon archives it again within a"
            f" day; {at_once}"
        )
