"""Changes of tracks: each call checks permissions, records the actor, and is one transaction.

All changes of tracks by pages and the API: checks, quotas, history.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

import msgspec
from msgspec import UNSET, UnsetType

from stream.db import Database, Executor
from stream.errors import InvalidQuery
from stream.query import Query, TrackKind, parse
from stream.store import look_backs, sharing, track_history, tracks, users
from stream.store.look_backs import NewLookBack
from stream.store.track_history import Entry
from stream.store.tracks import NewTrack, Track, TrackSpec
from stream.tweet import NetworkName, TrackId
from web.accounts.service import require_look_back_quota, require_track_quota
from web.person import Person
from web.problem import Problem
from web.routing import ROW_ID_MAX

KEEP_DAYS_MAX = 36_500
PRIORITIES = range(-32_768, 32_768)
YEARS = range(1970, 2200)
NO_TRACK = "This track does not exist, or is not shared with you."
NOT_YOURS = "Only the owner and admins can change this track."


async def require(
    connection: Executor,
    person: Person,
    track_id: int,
    *,
    change: bool = False,
    lock: bool = False,
) -> Track:
    """The track, if the person may see it (or change it); else Problem."""
    if not 0 < track_id <= ROW_ID_MAX:
        raise Problem("not_found", NO_TRACK)
    may = await sharing.visible_among(connection, person.id, [track_id])
    found = await tracks.get_many(connection, [track_id], lock=lock) if may else []
    if not found:
        raise Problem("not_found", NO_TRACK)
    if change and not may[TrackId(track_id)]:
        raise Problem("forbidden", NOT_YOURS)
    return found[0]


def require_priority(person: Person, priority: int, before: int) -> None:
    """Problem for a user who raises a priority above the default."""
    if priority > max(before, 0) and not person.is_admin:
        words = "Only admins can set a priority above 0."
        raise Problem("forbidden", words, field="priority")


async def removals_of(
    connection: Executor, person: Person, track_ids: Collection[int]
) -> dict[TrackId, Entry]:
    """The removals that the person may undo: of those of these tracks that they owned last."""
    return {
        removal.track_id: removal
        for removal in await track_history.last_removals(connection, track_ids)
        if _owned(person, removal)
    }


def _owned(person: Person, removal: Entry) -> bool:
    owner = (removal.before or {}).get("owner")
    return person.is_admin or (person.reaches("user") and owner == person.name)


class Changes(msgspec.Struct, frozen=True):
    """The fields of a track to change; omitted fields stay as they are."""

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
    """The parsed value. Problem when it is invalid."""
    try:
        return parse(kind, value)
    except InvalidQuery as error:
        raise Problem("invalid", str(error), field="value", span=error.span) from error


async def add(
    database: Database, person: Person, new: NewTrack, wanted: Sequence[NewLookBack] = ()
) -> TrackId:
    """Add a track; it belongs to the person, unless an admin names another owner.

    `wanted`: its look-backs, as `web.track_editing.look_back` has checked them.
    """
    [track_id] = await add_many(database, person, [new], wanted)
    return track_id


async def add_many(
    database: Database,
    person: Person,
    new: Sequence[NewTrack],
    wanted: Sequence[NewLookBack] = (),
) -> list[TrackId]:
    """Add all of these tracks with these look-backs each, or none."""
    owned = [
        msgspec.structs.replace(
            each, owner=each.owner or person.name, networks=_once(each.networks)
        )
        for each in new
    ]
    for each in owned:
        _check(each)
        require_priority(person, each.priority, 0)
    async with database.transaction() as connection:
        await track_history.set_actor(connection, person.name)
        for owner, number in sorted(Counter(each.owner or "" for each in owned).items()):
            await _check_owner(connection, person, person.name, owner)
            await require_track_quota(connection, owner, number)
        if wanted:
            await require_look_back_quota(connection, person.name, len(wanted) * len(owned))
        added = [await tracks.add(connection, each) for each in owned]
        for track_id in added if wanted else ():
            await look_backs.add(connection, track_id, wanted, person.name)
        return added


async def change(
    database: Database,
    person: Person,
    track_id: int,
    changes: Changes,
    *,
    version: int | None = None,
) -> None:
    """Change some fields. `version`: the last edit that the person has seen; Problem `conflict`
    when there is a newer one."""
    async with database.transaction() as connection:
        await track_history.set_actor(connection, person.name)
        track = await require(connection, person, track_id, change=True, lock=True)
        if version is not None and (last := await track_history.last_edit(connection, track.id)):
            _check_version(version, last)
        before = tracks.spec_of(track)
        after = msgspec.structs.replace(before, **_given(changes))
        if changes.networks is not UNSET:
            after = msgspec.structs.replace(after, networks=_once(after.networks))
        _check(after, before)
        require_priority(person, after.priority, before.priority)
        if after.owner != before.owner:
            await _check_owner(connection, person, before.owner, after.owner or "")
            await require_track_quota(connection, after.owner or "", 1)
        await tracks.change(connection, track.id, before, after)


def _once(networks: Sequence[NetworkName] | None) -> Sequence[NetworkName] | None:
    """Remove duplicates from the networks."""
    return None if networks is None else list(dict.fromkeys(networks))


def _given(changes: Changes) -> dict[str, object]:
    return {
        name: value
        for name in changes.__struct_fields__
        if (value := getattr(changes, name)) is not UNSET
    }


def _check_version(version: int, last: Entry) -> None:
    if last.id != version:
        who = last.actor or "Someone"
        raise Problem("conflict", f"{who} changed this track in the meantime.")


def _check(new: NewTrack | TrackSpec, before: TrackSpec | None = None) -> None:
    """Problem for an invalid field; fields that do not change are not checked."""
    if before is None or (new.kind, new.value) != (before.kind, before.value):
        checked(new.kind, new.value)
    for name in ("starts_at", "ends_at"):
        date: datetime | None = getattr(new, name)
        kept = before is not None and date == getattr(before, name)
        if date is not None and not kept and date.year not in YEARS:
            words = f"Dates must be between {YEARS[0]} and {YEARS[-1]}."
            raise Problem("invalid", words, field=name)
    if new.starts_at is not None and new.ends_at is not None and new.starts_at >= new.ends_at:
        raise Problem("invalid", "The end must be after the start.", field="ends_at")
    if new.networks is not None and not new.networks:
        raise Problem("invalid", "Choose at least one network.", field="networks")
    days = None if before is not None and new.keep_days == before.keep_days else new.keep_days
    if days is not None and not 0 < days <= KEEP_DAYS_MAX:
        words = f"Retention must be 1 to {KEEP_DAYS_MAX:,} days."
        raise Problem("invalid", words, field="keep_days")
    if new.priority not in PRIORITIES:
        words = f"The priority must be a number from {PRIORITIES[0]} to {PRIORITIES[-1]}."
        raise Problem("invalid", words, field="priority")


async def _check_owner(
    connection: Executor, person: Person, before: str | None, owner: str
) -> None:
    if not person.reaches("user"):
        raise Problem("forbidden", "Viewers cannot change tracks.")
    if owner == before == person.name:
        return
    if not person.is_admin:
        raise Problem("forbidden", "Only admins can change the owner.", field="owner")
    if owner not in await users.existing_names(connection, [owner]):
        raise Problem("invalid", "There is no user with this name.", field="owner")


async def enable(
    database: Database, person: Person, track_ids: Collection[int], *, enabled: bool
) -> list[TrackId]:
    """Pause or resume all of these tracks, or none; returns those that changed."""
    wanted = sorted({each for each in track_ids if 0 < each <= ROW_ID_MAX})
    async with database.transaction() as connection:
        await track_history.set_actor(connection, person.name)
        await tracks.get_many(connection, wanted, lock=True)
        may = await sharing.visible_among(connection, person.id, wanted)
        if len(may) < len(set(track_ids)):
            raise Problem("not_found", NO_TRACK)
        if not all(may.values()):
            raise Problem("forbidden", NOT_YOURS)
        return await tracks.enable_some(connection, wanted, enabled=enabled)


async def remove(database: Database, person: Person, track_id: int) -> None:
    """Remove a track; its tweets stay, and the removal can be undone."""
    async with database.transaction() as connection:
        await track_history.set_actor(connection, person.name)
        track = await require(connection, person, track_id, change=True, lock=True)
        await tracks.remove(connection, track.id)


async def share(
    database: Database,
    person: Person,
    track_id: int,
    names: Iterable[str],
    was: Iterable[str] | None = None,
) -> None:
    """Share the track with exactly these users.

    `was`: the users that a form showed; only differences from it are applied.
    """
    wanted = {name.strip().lower() for name in names if name.strip()}
    async with database.transaction() as connection:
        await track_history.set_actor(connection, person.name)
        track = await require(connection, person, track_id, change=True, lock=True)
        unknown = wanted - await users.existing_names(connection, wanted)
        if unknown:
            named = ", ".join(sorted(unknown)[:3])[:200].replace("\0", "\ufffd")
            raise Problem("invalid", f"There is no user with this name: {named}.", field="names")
        wanted.discard(track.owner or "")
        present = set(await sharing.shared_with(connection, track.id))
        if was is not None:
            shown = set(was)
            wanted = (present | (wanted - shown)) - (shown - wanted)
        await sharing.unshare(connection, track.id, present - wanted)
        await sharing.share(connection, track.id, wanted - present)


async def history_entries(
    connection: Executor,
    person: Person,
    track_id: int | None,
    limit: int,
    below: int | None = None,
) -> list[Entry]:
    """Changes of a track, or (None) of all tracks that the person sees; the newest first.

    A removed track keeps its history, for its last owner and for admins.
    """
    if track_id is None:
        if person.is_admin:
            return await track_history.of_all(connection, limit, below)
        return await track_history.of_user(connection, person.id, person.name, limit, below)
    try:
        await require(connection, person, track_id)
    except Problem:
        known = [TrackId(track_id)] if 0 < track_id <= ROW_ID_MAX else []
        if not await removals_of(connection, person, known):
            raise
    return await track_history.of_track(
        connection, TrackId(track_id), person.name, limit, below, sees_all=person.is_admin
    )
