"""What people do to tracks: each call asks who may, writes down who did, and does it or not at all.

Every change of a track by a page or a program goes through here.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

import msgspec
from msgspec import UNSET, UnsetType

from stream import tracks
from stream.db import Database, Executor
from stream.errors import InvalidQuery
from stream.query import Query, TrackKind, parse
from stream.tracks import NewTrack, Said
from stream.tweet import NetworkName, TrackId
from web.person import Person
from web.problem import Problem
from web.tracking import records, shares
from web.tracking.records import Entry
from web.tracking.rights import (
    GREATEST,
    NO_TRACK,
    NOT_YOURS,
    removals_of,
    require,
    seen,
    seen_of,
)
from web.tracking.undoing import undo

__all__ = [
    "Changes",
    "add",
    "add_many",
    "change",
    "checked",
    "enable",
    "history",
    "remove",
    "require",
    "seen",
    "share",
    "undo",
]

LONGEST_KEPT = 36_500  # days
PRIORITIES = range(-32_768, 32_768)


class Changes(msgspec.Struct, frozen=True):
    """What to say anew in a track; what is left out stays as it is."""

    owner: str | UnsetType | None = UNSET
    kind: TrackKind | UnsetType = UNSET
    value: str | UnsetType = UNSET
    networks: Sequence[NetworkName] | UnsetType | None = UNSET
    enabled: bool | UnsetType = UNSET
    starts_at: datetime | UnsetType | None = UNSET
    ends_at: datetime | UnsetType | None = UNSET
    priority: int | UnsetType = UNSET
    keep_days: int | UnsetType | None = UNSET


def checked(kind: TrackKind, value: str) -> Query:
    """The value, understood. Problem where it cannot be."""
    try:
        return parse(kind, value)
    except InvalidQuery as error:
        raise Problem("invalid", str(error), field="value") from error


async def add(database: Database, person: Person, new: NewTrack) -> TrackId:
    """Follow something new; it belongs to the person, unless an admin gives it to somebody."""
    [track_id] = await add_many(database, person, [new])
    return track_id


async def add_many(database: Database, person: Person, new: Sequence[NewTrack]) -> list[TrackId]:
    """All of them, or none."""
    owned = [
        msgspec.structs.replace(
            each, owner=each.owner or person.name, networks=_once(each.networks)
        )
        for each in new
    ]
    for each in owned:
        _check(each)
    async with database.transaction() as connection:
        await records.act(connection, person)
        for owner in {each.owner or "" for each in owned}:
            await _check_owner(connection, person, person.name, owner)
        return [await tracks.add(connection, each) for each in owned]


async def change(
    database: Database,
    person: Person,
    track_id: int,
    changes: Changes,
    *,
    version: int | None = None,
) -> None:
    """Change what is said. `version`: the last edit that the person knows of; Problem `conflict`
    when there is a newer one by now."""
    async with database.transaction() as connection:
        await records.act(connection, person)
        track = await require(connection, person, track_id, change=True, lock=True)
        if version is not None and (last := await records.last_edit(connection, track.id)):
            _check_version(version, last)
        before = tracks.said(track)
        after = msgspec.structs.replace(before, **_given(changes))
        if changes.networks is not UNSET:
            after = msgspec.structs.replace(after, networks=_once(after.networks))
        _check(after, before)
        if after.owner != before.owner:
            await _check_owner(connection, person, before.owner, after.owner or "")
        await tracks.change(connection, track.id, before, after)


def _once(networks: Sequence[NetworkName] | None) -> Sequence[NetworkName] | None:
    """Each of them once."""
    return None if networks is None else list(dict.fromkeys(networks))


def _given(changes: Changes) -> dict[str, object]:
    return {
        name: value
        for name in changes.__struct_fields__
        if (value := getattr(changes, name)) is not UNSET
    }


def _check_version(version: int, last: Entry) -> None:
    if last.id != version:
        who = last.actor or "Somebody"
        raise Problem("conflict", f"{who} has changed this track meanwhile.")


def _check(new: NewTrack | Said, before: Said | None = None) -> None:
    """Problem for what cannot be; a value that stays as it was is let be."""
    if before is None or (new.kind, new.value) != (before.kind, before.value):
        checked(new.kind, new.value)
    if new.starts_at is not None and new.ends_at is not None and new.starts_at >= new.ends_at:
        raise Problem("invalid", "The end must lie after the begin.", field="ends_at")
    if new.networks is not None and not new.networks:
        raise Problem("invalid", "Choose at least one network.", field="networks")
    days = None if before is not None and new.keep_days == before.keep_days else new.keep_days
    if days is not None and not 0 < days <= LONGEST_KEPT:
        words = f"Tweets are kept for 1 to {LONGEST_KEPT:,} days."
        raise Problem("invalid", words, field="keep_days")
    if new.priority not in PRIORITIES:
        words = f"The priority is a number from {PRIORITIES[0]} to {PRIORITIES[-1]}."
        raise Problem("invalid", words, field="priority")


async def _check_owner(
    connection: Executor, person: Person, before: str | None, owner: str
) -> None:
    if not person.reaches("user"):
        raise Problem("forbidden", "Viewers look at tracks that are shared with them, no more.")
    if owner == before == person.name:
        return
    if not person.is_admin:
        raise Problem("forbidden", "Only admins give tracks to somebody else.", field="owner")
    if owner not in await shares.known(connection, [owner]):
        raise Problem("invalid", "There is no user of this name.", field="owner")


async def enable(
    database: Database, person: Person, track_ids: Collection[int], *, enabled: bool
) -> list[TrackId]:
    """Pause or resume all of them, or none; those that were not so already."""
    wanted = sorted({each for each in track_ids if 0 < each <= GREATEST})
    async with database.transaction() as connection:
        await records.act(connection, person)
        await tracks.some(connection, wanted, lock=True)
        may = await seen_of(connection, person, wanted)
        if len(may) < len(set(track_ids)):
            raise Problem("not_found", NO_TRACK)
        if not all(may.values()):
            raise Problem("forbidden", NOT_YOURS)
        return await tracks.enable_some(connection, wanted, enabled=enabled)


async def remove(database: Database, person: Person, track_id: int) -> None:
    """Follow it no more; what was collected stays, and it can be undone."""
    async with database.transaction() as connection:
        await records.act(connection, person)
        track = await require(connection, person, track_id, change=True, lock=True)
        await tracks.remove(connection, track.id)


async def share(database: Database, person: Person, track_id: int, names: Iterable[str]) -> None:
    """Let these see the track, and nobody else beside its owner and the admins."""
    wanted = {name.strip().lower() for name in names if name.strip()}
    async with database.transaction() as connection:
        await records.act(connection, person)
        track = await require(connection, person, track_id, change=True, lock=True)
        unknown = wanted - await shares.known(connection, wanted)
        if unknown:
            named = ", ".join(sorted(unknown)[:3])[:200].replace("\0", "\ufffd")
            raise Problem("invalid", f"There is no user of this name: {named}.", field="names")
        wanted.discard(track.owner or "")
        present = set(await shares.shared_with(connection, track.id))
        await shares.unshare(connection, track.id, present - wanted)
        await shares.share(connection, track.id, wanted - present)


async def history(
    connection: Executor,
    person: Person,
    track_id: int | None,
    limit: int,
    below: int | None = None,
) -> list[Entry]:
    """What was done to a track, or (None) to all that the person sees; the newest first.

    A track that is gone still has its history, for whom it belonged to and for admins.
    """
    if track_id is None:
        return await records.of_all(connection, person, limit, below)
    try:
        track = await require(connection, person, track_id)
    except Problem:
        known = [TrackId(track_id)] if 0 < track_id <= GREATEST else []
        if not await removals_of(connection, person, known):
            raise
        return await records.of_track(connection, TrackId(track_id), limit, below)
    return await records.of_track(connection, track.id, limit, below)
