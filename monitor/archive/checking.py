"""Whether an archive is what it should be: against its manifest, and against Postgres."""

from collections.abc import Sequence
from datetime import date

from monitor.archive.days import Digest, Digests
from monitor.archive.manifest import NAME, ArchiveError, Manifest, Role, mending
from monitor.archive.manifest import read as read_manifest
from monitor.archive.store import Missing, Store


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
        raise ArchiveError(f"{error} {mending(path)}") from error
    if found.bytes != file.bytes:
        has = f"it has {found.bytes:,} bytes, and {file.bytes:,} were written"
    elif found.sha256 != file.sha256:
        has = "its SHA-256 is not the one that was written"
    else:
        return
    raise ArchiveError(f"{path} is damaged: {has}. {mending(path)}")


def check_published(store: Store, made: Manifest) -> None:
    """ArchiveError unless the manifest in the store is this one."""
    found = read_manifest(store, made.day, made.part)
    if found is None:
        path = f"{made.folder}/{NAME}"
        raise ArchiveError(f"{path} cannot be read: there is no such object. {mending(path)}")
    if found != made:
        raise ArchiveError(
            f"The manifest in {made.folder} is not the one that this database knows."
            f" {mending(f'{made.folder}/{NAME}')}"
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


def counted(number: int, thing: str) -> str:
    """A number of things as people write it."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
