"""Calls about the collector itself: state, sources, events, users."""

from datetime import datetime
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

import msgspec
from aiohttp import web
from msgspec import UNSET, UnsetType

from stream import __version__
from stream.cells import counts
from stream.notes import EventKind
from stream.replica import ReplicaStatus
from stream.store import daemons, events, server, track_list, users
from stream.store.events import EventFilter
from stream.store.server import OverallHealth
from stream.store.sessions import Scope
from stream.store.statistics import IngestRate
from stream.store.tracks import TrackState
from stream.store.users import Role, User
from stream.tweet import NetworkName
from web.api.operations import operation
from web.api.stats import SourceName
from web.api.tracks import Below, Limit
from web.context import app_context, person
from web.queries.sources import ConnectionAttempts, SourceView, overview


class Me(msgspec.Struct, frozen=True):
    """The user who makes the call, and how they authenticated."""

    name: str
    role: Role
    scopes: list[Scope]
    by: Literal["token", "session"]


class Daemon(msgspec.Struct, frozen=True):
    """A running daemon."""

    host: str
    pid: int
    role: Literal["collecting", "standby", "other"]
    roles: list[str]
    started_at: datetime
    seen_at: datetime


class CollectorStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """Whether tweets arrive; `tracks`: how many of yours are in each state.

    `incomplete` is only there when databases did not answer, and names them: their tweets are not
    counted. The rest is for admins.
    """

    version: str
    collecting: bool
    arriving: IngestRate
    tracks: dict[TrackState, int]
    incomplete: tuple[str, ...] = ()
    daemons: list[Daemon] | UnsetType = UNSET
    health: OverallHealth | UnsetType = UNSET
    replica: ReplicaStatus | UnsetType | None = UNSET


class ApiSource(msgspec.Struct, frozen=True):
    """A source. Only name, network, state and `collected` are for users who are not admins."""

    name: str
    network: NetworkName
    state: str
    collected: bool  # by a running daemon
    id: int | UnsetType = UNSET
    url: str | UnsetType | None = UNSET
    proxy: str | UnsetType | None = UNSET
    has_keys: bool | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    state_at: datetime | UnsetType | None = UNSET
    retry_at: datetime | UnsetType | None = UNSET
    last_at: datetime | UnsetType | None = UNSET
    per_minute: float | UnsetType = UNSET
    last_hour: int | UnsetType = UNSET
    last_day: int | UnsetType = UNSET
    rejected: int | UnsetType = UNSET
    gaps: int | UnsetType = UNSET
    gap_seconds: int | UnsetType = UNSET
    attempts: ConnectionAttempts | UnsetType = UNSET


class SourceList(msgspec.Struct, frozen=True, omit_defaults=True):
    """The sources, by name.

    `incomplete` is only there when databases did not answer, and names them: their tweets are not
    counted.
    """

    sources: list[ApiSource]
    incomplete: tuple[str, ...] = ()


class EventListQuery(msgspec.Struct, frozen=True):
    """Which events."""

    source: SourceName | None = None
    kind: EventKind | None = None
    limit: Limit = 100
    below: Below | None = None


class Event(msgspec.Struct, frozen=True):
    """What a daemon did or found."""

    id: int
    at: datetime
    source: str | None
    kind: EventKind
    text: str


class EventPage(msgspec.Struct, frozen=True):
    """Events, the newest first; `next` is the `below` of the following page."""

    events: list[Event]
    next: int | None


class UserList(msgspec.Struct, frozen=True):
    """The users, by name."""

    users: list[User]


@operation("GET", "/api/v1/me", "getMe", "Collector")
async def get_me(request: web.Request) -> Me:
    """Your name, role and scopes."""
    who = person(request)
    return Me(who.name, who.role, sorted(who.usable), "token" if who.session is None else "session")


@operation("GET", "/api/v1/status", "getStatus", "Collector")
async def get_status(request: web.Request) -> CollectorStatus:
    """Whether tweets arrive, and your tracks by state.

    Admins also get the running daemons, the overall health, and how far the replica of Postgres
    is behind, if there is one.
    """
    here, who = app_context(request), person(request)
    async with here.database.acquire() as connection:
        found = [
            msgspec.convert(row, Daemon, from_attributes=True)
            for row in await daemons.running(connection)
        ]
        arriving = await counts.ingest_rate(here.cells, connection)
        return CollectorStatus(
            __version__,
            any(each.role == "collecting" for each in found),
            arriving.value,
            (await track_list.tally(connection, who.id)).states,
            arriving.missing,
            found if who.is_admin else UNSET,
            await server.overall_health(connection) if who.is_admin else UNSET,
            here.replica.status if who.is_admin else UNSET,
        )


@operation("GET", "/api/v1/sources", "listSources", "Collector")
async def list_sources(request: web.Request) -> SourceList:
    """The connections to networks. Admins see all but the keys, others names and states."""
    here = app_context(request)
    async with here.database.acquire() as connection:
        found = await overview(here.cells, connection, here.settings)
    shown = _for_admins if person(request).is_admin else _for_all
    return SourceList([shown(each) for each in found.value], found.missing)


def _for_all(source: SourceView) -> ApiSource:
    return ApiSource(source.name, source.network, source.state, source.collected)


def _for_admins(source: SourceView) -> ApiSource:
    whole = msgspec.convert(source, ApiSource, from_attributes=True)
    url, proxy = _without_keys(source.url), _without_keys(source.proxy)
    return msgspec.structs.replace(whole, url=url, proxy=proxy)


def _without_keys(address: str | None) -> str | None:
    """Hide the user name, the password and the query of an address."""
    if address is None:
        return None
    try:
        parts = urlsplit(address)
    except ValueError:
        return ""
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


@operation("GET", "/api/v1/events", "listEvents", "Collector", access="admin", scope="admin")
async def list_events(request: web.Request, query: EventListQuery) -> EventPage:
    """What the daemons did, and why, the newest first. For admins."""
    wanted = EventFilter(source=query.source, kind=query.kind, below=query.below)
    async with app_context(request).database.acquire() as connection:
        found = await events.newest(connection, wanted, query.limit)
    following = found[-1].id if len(found) == query.limit else None
    return EventPage(msgspec.convert(found, list[Event], from_attributes=True), following)


@operation("GET", "/api/v1/users", "listUsers", "Collector", access="admin", scope="admin")
async def list_users(request: web.Request) -> UserList:
    """All users. For admins."""
    async with app_context(request).database.acquire() as connection:
        return UserList(await users.all(connection))


OPERATIONS = (get_me, get_status, list_sources, list_events, list_users)
