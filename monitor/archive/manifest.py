"""What a manifest says, and where things lie.

    tweets/day=2026-11-20/part=0/manifest.json          written last: it makes the archive whole
                                 tweets-1.parquet       1: the generation
                                 matches-1.parquet
                                 tracks-1.parquet
                                 tweets-1.ndjson.zst    by setting

A day that got tweets after it had been dropped has another part.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Literal

import msgspec

from monitor.archive.store import Missing, Store
from stream.errors import TwitterstreamError

FORMAT = 1  # of manifests and files
ROOT = "tweets"
NAME = "manifest.json"
_FOLDER = re.compile(rf"{ROOT}/day=(\d{{4}}-\d\d-\d\d)/part=(\d{{1,4}})/(.+)")

Role = Literal["tweets", "matches", "tracks", "ndjson"]


class ArchiveError(TwitterstreamError):
    """An archive that is not what it should be, or cannot be made."""


class File(msgspec.Struct, frozen=True):
    """One file of an archive, as it was when it was written."""

    name: str  # in the folder of the manifest
    rows: int
    bytes: int
    sha256: str


class Gap(msgspec.Struct, frozen=True):
    """A time of that day in which a source could not deliver."""

    source_id: int
    source: str | None  # its name; none when it has been removed
    began_at: datetime
    ended_at: datetime | None
    cause: str
    detail: str


class Removal(msgspec.Struct, frozen=True):
    """What deletions took out of an archive, and when."""

    at: datetime
    erased: int = 0  # tweets that went
    flagged: int = 0  # tweets that say since then that they are deleted
    scrubbed: int = 0  # tweets that lost their place


class Manifest(msgspec.Struct, frozen=True):
    """What an archive holds. `digests` are what Postgres makes of the rows of each table."""

    day: date
    part: int
    generation: int
    written_at: datetime
    migration: str  # the newest one of the database
    tweets: int
    matches: int
    first_received_at: datetime | None
    last_received_at: datetime | None
    digests: Mapping[str, str]
    files: Mapping[Role, File]
    tracks: Mapping[str, int]  # tweets by the number of the track
    gaps: Sequence[Gap]
    tombstones: int  # of that day, that the files know of
    authors_at: datetime  # tombstones of authors until then are heeded
    removals: Sequence[Removal] = ()
    format: int = FORMAT

    @property
    def folder(self) -> str:
        return folder(self.day, self.part)

    def path(self, role: Role) -> str:
        """Where one of its files lies."""
        return f"{self.folder}/{self.files[role].name}"

    @property
    def bytes(self) -> int:
        """Of all its files."""
        return sum(file.bytes for file in self.files.values())


def folder(day: date, part: int) -> str:
    """Where a part of a day lies, below the address of the store."""
    return f"{ROOT}/day={day}/part={part}"


def placed(path: str) -> tuple[date, int, str] | None:
    """Day, part and name of an object; None for what is none of ours."""
    found = _FOLDER.fullmatch(path)
    return None if found is None else (date.fromisoformat(found[1]), int(found[2]), found[3])


def names_of(manifest: Manifest | None) -> set[str]:
    """What belongs into the folder of an archive."""
    files = {} if manifest is None else manifest.files
    return {NAME} | {file.name for file in files.values()}


def mending(path: str) -> str:
    """What to do about a file of an archive that is broken, or lost."""
    found = placed(path)
    day = "DAY" if found is None else found[0]
    return (
        f"Bring it back from a copy; while the day is in Postgres, `archive run --day {day}` writes"
        " it anew."
    )


def day_bounds(day: date) -> tuple[datetime, datetime]:
    """When a day begins, and when the next one does (UTC)."""
    since = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return since, since + timedelta(days=1)


def encode(manifest: Manifest) -> bytes:
    """As it stands in the store."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def decode(data: bytes, where: str) -> Manifest:
    """Read one; ArchiveError when it is damaged, or of a later program."""
    try:
        found = msgspec.json.decode(data, type=Manifest)
    except msgspec.MsgspecError as error:
        raise ArchiveError(f"{where} is damaged: {error}.") from error
    if found.format > FORMAT:
        raise ArchiveError(f"{where} was written by a newer version; upgrade this one.")
    return found


def read(store: Store, day: date, part: int) -> Manifest | None:
    """The manifest in the store; None when there is none."""
    path = f"{folder(day, part)}/{NAME}"
    try:
        return decode(store.read(path), path)
    except Missing:
        return None


def publish(store: Store, manifest: Manifest) -> None:
    """Write it, which makes its files the archive of that part."""
    store.put(f"{manifest.folder}/{NAME}", encode(manifest))
