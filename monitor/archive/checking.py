"""Whether an archive is what it should be: against its manifest, and against Postgres."""

from collections.abc import Sequence
from datetime import date

from monitor.archive.days import Digest, Digests
from monitor.archive.manifest import ArchiveError, Manifest
from monitor.archive.manifest import read as read_manifest
from monitor.archive.store import Store


def check_bytes(store: Store, made: Manifest) -> None:
    """Read every file from the store; ArchiveError for one that is not what was written."""
    for role, file in made.files.items():
        path = made.path(role)
        found = store.hashed(path)
        if (found.bytes, found.sha256) != (file.bytes, file.sha256):
            raise ArchiveError(
                f"{path} is damaged: it has {found.bytes:,} bytes with another SHA-256 than its"
                f" manifest says ({file.bytes:,} bytes)."
            )


def check_published(store: Store, made: Manifest) -> None:
    """ArchiveError unless the manifest in the store is this one."""
    if read_manifest(store, made.day, made.part) != made:
        raise ArchiveError(
            f"The manifest in {made.folder} is not the one that this database knows."
        )


def agree(found: Digests, made: Sequence[Manifest]) -> bool:
    """Whether rows in Postgres are exactly those of these archives together."""
    for name, digest in found.items():
        known = Digest(0, "0")
        for each in made:
            rows = each.tweets if name == "tweets" else each.matches
            known += Digest(rows, each.digests[name])
        if digest != known:
            return False
    return True


def describe(day: date, part: int) -> str:
    """How an archive is called in front of people."""
    return f"{day}" if not part else f"{day}, part {part}"
