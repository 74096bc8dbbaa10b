"""The manifest of an archive, and the paths of its files.

    tweets/day=2026-11-20/part=0/manifest.json          written last: it makes the archive complete
                                 tweets-1.parquet       1: the generation
                                 matches-1.parquet
                                 tracks-1.parquet
                                 tweets-1.ndjson.zst    with archive.ndjson

A day that got tweets after it had been dropped has another part.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Literal

import msgspec

from monitor.archive.store import Missing, Store
from stream.errors import TwitterstreamError
from stream.store.day_snapshot import Gap

FORMAT = 1  # of manifests and files
ROOT = "tweets"
NAME = "manifest.json"
_FOLDER = re.compile(rf"{ROOT}/day=(\d{{4}}-\d\d-\d\d)/part=(\d{{1,4}})/(.+)")

Role = Literal["tweets", "matches", "tracks", "ndjson"]


class ArchiveError(TwitterstreamError):
    """An archive is damaged, or cannot be written or found."""


class File(msgspec.Struct, frozen=True):
    """One file of an archive, as it was when it was written."""

    name: str  # in the folder of the manifest
    rows: int
    bytes: int
    sha256: str


class Removal(msgspec.Struct, frozen=True):
    """A removal of rows from an archive by deletions, with its time."""

    at: datetime
    erased: int = 0  # tweets that were removed
    flagged: int = 0  # tweets that were marked as deleted
    scrubbed: int = 0  # tweets that lost their places


class Manifest(msgspec.Struct, frozen=True):
    """The manifest of an archive; `digests` are sums of the hashes of its rows in Postgres."""

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
    tracks: Mapping[str, int]  # tweets by the id of the track
    gaps: Sequence[Gap]
    tombstones: int  # of that day, that the files reflect
    authors_at: datetime  # the files reflect tombstones of authors up to then
    removals: Sequence[Removal] = ()
    format: int = FORMAT

    @property
    def folder(self) -> str:
        return folder(self.day, self.part)

    def path(self, role: Role) -> str:
        """The path of one of its files."""
        return f"{self.folder}/{self.files[role].name}"

    @property
    def bytes(self) -> int:
        """The size of all its files together."""
        return sum(file.bytes for file in self.files.values())


def folder(day: date, part: int) -> str:
    """The folder of a part of a day, below the address of the store."""
    return f"{ROOT}/day={day}/part={part}"


def parse_path(path: str) -> tuple[date, int, str] | None:
    """Day, part and file name of an object; None when it is not of an archive."""
    found = _FOLDER.fullmatch(path)
    return None if found is None else (date.fromisoformat(found[1]), int(found[2]), found[3])


def names_of(manifest: Manifest | None) -> set[str]:
    """The files that belong in the folder of an archive."""
    files = {} if manifest is None else manifest.files
    return {NAME} | {file.name for file in files.values()}


def repair_hint(path: str) -> str:
    """The remedy for a damaged or missing file of an archive."""
    found = parse_path(path)
    day = "DAY" if found is None else found[0]
    return (
        f"Restore it from a copy; while the day is in Postgres, `archive run --day {day}` writes it"
        " again."
    )


def display_name(day: date, part: int) -> str:
    """The name of an archive in messages."""
    return f"{day}" if not part else f"{day}, part {part}"


def quantity(number: int, noun: str) -> str:
    """A number of things, such as "1 tweet" or "1,200 tweets"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def encode(manifest: Manifest) -> bytes:
    """A manifest as it is stored."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def decode(data: bytes, where: str) -> Manifest:
    """Parse a manifest; ArchiveError when it is damaged, or of a newer version."""
    try:
        found = msgspec.json.decode(data, type=Manifest)
    except msgspec.MsgspecError as error:
        raise ArchiveError(f"{where} is damaged: {error}.") from error
    if found.format > FORMAT:
        raise ArchiveError(f"{where} was written by a newer version; upgrade this installation.")
    return found


def read(store: Store, day: date, part: int) -> Manifest | None:
    """The manifest in the store; None when there is none."""
    path = f"{folder(day, part)}/{NAME}"
    try:
        return decode(store.read(path), path)
    except Missing:
        return None


def publish(store: Store, manifest: Manifest) -> None:
    """Write a manifest, which makes its files the archive of that part."""
    store.put(f"{manifest.folder}/{NAME}", encode(manifest))
