"""Look-backs: the places that are offered for a track, requests, and cancelling."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import msgspec

from stream.config import Settings
from stream.db import Database, Executor
from stream.errors import InvalidField
from stream.look_back_requests import SearchScope, accounts_of, require_scope, scope_of
from stream.networks.descriptions import REPLAYED, SERVICES
from stream.networks.registry import NETWORKS
from stream.store import look_backs, sharing, sources
from stream.store.look_backs import LookBack, NewLookBack, Place, Requested
from stream.store.tracks import NewTrack, Track
from stream.text import format_duration
from stream.tweet import NETWORK_NAMES, TrackId
from web.accounts.service import require_look_back_quota
from web.person import Person
from web.problem import Problem
from web.track_editing import service

HOUR, DAY = 3600, 86400  # seconds

TITLES: dict[Place, str] = {
    "stored": "Stored tweets",
    "recorded": "All received posts",
    "network": " and ".join(f"{SERVICES[name]}'s last {back}" for name, back in REPLAYED.items()),
    "author": "All posts of",
}
NO_LOOK_BACK = "This look-back does not exist, or its track is not shared with you."


class Offer(msgspec.Struct, frozen=True):
    """A place that can be searched, in words; `account`: whose posts, empty: the user names it."""

    place: Place
    title: str
    help: str
    account: str = ""


def offers(scope: SearchScope) -> list[Offer]:
    """The places that make sense. Pure."""
    if scope.settings.cells:
        return []
    stored = Offer("stored", TITLES["stored"], "Those that were stored for other tracks.")
    return [stored, *_more(scope)]


def _more(scope: SearchScope) -> Iterator[Offer]:
    able = scope.able_networks
    if any(NETWORKS[name].unfiltered for name in able):
        kept = _kept(scope.settings)
        text = f"Also those that matched no track then. This server keeps them {kept}."
        yield Offer("recorded", TITLES["recorded"], text)
    for name in able:
        if NETWORKS[name].past is not None:
            text = f"{SERVICES[name]} sends them again, free of charge. This takes some minutes."
            yield Offer("network", TITLES["network"], text)
        if NETWORKS[name].author_past is not None:
            text = f"However old, from the account's server on {SERVICES[name]}; free of charge."
            accounts = [] if scope.query is None else accounts_of(scope.query, name)
            for each in accounts:
                yield Offer("author", f"{TITLES['author']} {each}", text, each)
            if not accounts:
                title = f"{TITLES['author']} one account on {SERVICES[name]}"
                yield Offer("author", title, text)


def _kept(settings: Settings) -> str:
    """How long everything that was received is kept, in the journal or in the raw backup."""
    seconds = settings.journal.keep_hours * HOUR
    if settings.archive.url and settings.archive.raw:
        if not settings.archive.raw_days:
            return "for ever"
        seconds = max(seconds, settings.archive.raw_days * DAY)
    return f"for {format_duration(seconds)}"


async def offers_for(
    connection: Executor, track: Track | NewTrack, settings: Settings
) -> list[Offer]:
    """The places that make sense for a track; none if its value is invalid."""
    scope = await scope_of(connection, settings, track)
    return [] if scope is None else offers(scope)


async def offers_for_many(connection: Executor, settings: Settings) -> list[Offer]:
    """The places that make sense for tracks that are added together: no author's posts."""
    scope = await _scope_of_many(connection, settings)
    return [each for each in offers(scope) if each.place != "author"]


async def _scope_of_many(connection: Executor, settings: Settings) -> SearchScope:
    used = await sources.enabled_networks(connection)
    return SearchScope(None, NETWORK_NAMES, used, settings)


@contextmanager
def _field_problems() -> Iterator[None]:
    """Problem for an invalid field."""
    try:
        yield
    except InvalidField as error:
        raise Problem("invalid", str(error), field=error.field) from error


async def add_track(
    database: Database,
    person: Person,
    settings: Settings,
    new: NewTrack,
    wanted: Sequence[NewLookBack],
) -> TrackId:
    """Add a track and its look-backs, or nothing."""
    service.checked(new.kind, new.value)
    with _field_problems():
        async with database.acquire() as connection:
            scope = await require_scope(connection, settings, new)
            wanted = scope.checked(wanted)
    return await service.add(database, person, new, wanted)


async def add_tracks(
    database: Database,
    person: Person,
    settings: Settings,
    new: Sequence[NewTrack],
    wanted: Sequence[NewLookBack],
) -> None:
    """Add tracks with these look-backs of each, or nothing."""
    async with database.acquire() as connection:
        scope = await _scope_of_many(connection, settings)
    with _field_problems():
        wanted = scope.checked(wanted)
    await service.add_many(database, person, new, wanted)


async def request(
    database: Database,
    person: Person,
    settings: Settings,
    track_id: int,
    wanted: Sequence[NewLookBack],
) -> list[Requested]:
    """Look back for a track; an unfinished one of the same place is widened if necessary."""
    async with database.transaction() as connection:
        track = await service.require(connection, person, track_id, change=True, lock=True)
        with _field_problems():
            new = (await require_scope(connection, settings, track)).checked(wanted)
        requested = await look_backs.add(connection, track.id, new, person.name)
        if any(each.how != "covered" for each in requested):
            await require_look_back_quota(connection, person.name)
    return requested


async def require(connection: Executor, person: Person, look_back_id: int) -> LookBack:
    """The look-back, if the person sees its track; else Problem."""
    found = await look_backs.by_id(connection, look_back_id)
    if found is None or not await sharing.visible_among(connection, person.id, [found.track_id]):
        raise Problem("not_found", NO_LOOK_BACK)
    return found


async def cancel(database: Database, person: Person, look_back_id: int) -> TrackId:
    """Cancel a look-back unless it has finished; returns its track. What was found stays."""
    async with database.transaction() as connection:
        found = await require(connection, person, look_back_id)
        await service.require(connection, person, found.track_id, change=True)
        await look_backs.cancel(connection, look_back_id)
    return found.track_id
