"""Lists of the files of archives, for programs that read no manifests: Athena, BigQuery, Trino.

    lists/tweets/day=2026-11-20/part-0.txt      the address of the file of tweets
          matches/…
          tracks/…

The folder of an archive is no table for them: it has three of them, and after a rewrite also the
files of the last generation for a moment. A list changes at once, before those are removed.
"""

import re
from datetime import date

from monitor.archive.manifest import Manifest, Role
from monitor.archive.store import Store

ROOT = "lists"
_LISTED: tuple[Role, ...] = ("tweets", "matches", "tracks")
_PATH = re.compile(rf"{ROOT}/(\w+)/day=(\d{{4}}-\d\d-\d\d)/part-(\d{{1,4}})\.txt")


def _path(role: Role, day: date, part: int) -> str:
    return f"{ROOT}/{role}/day={day}/part-{part}.txt"


def listed(store: Store) -> set[tuple[date, int]]:
    """Day and part of the archives whose files are listed."""
    found = [match for entry in store.list(ROOT) if (match := _PATH.fullmatch(entry.path))]
    of_role = {
        role: {(date.fromisoformat(each[2]), int(each[3])) for each in found if each[1] == role}
        for role in _LISTED
    }
    return set.intersection(*of_role.values())


def write(store: Store, manifest: Manifest) -> None:
    """List the files of an archive instead of those of its last generation."""
    for role in _LISTED:
        line = f"{store.name.rstrip('/')}/{manifest.path(role)}\n"
        store.put(_path(role, manifest.day, manifest.part), line.encode())


def remove(store: Store, day: date, part: int) -> None:
    """Remove the lists of an archive, before its files."""
    for role in _LISTED:
        store.delete(_path(role, day, part))
