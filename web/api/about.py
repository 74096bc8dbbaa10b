"""Calls about the collector itself: how it is, its sources, what it did, who uses it."""

from typing import Annotated
from urllib.parse import urlsplit, urlunsplit

import msgspec
from aiohttp import web
from msgspec import Meta

from stream import __version__, sources
from web.accounts import users
from web.api.asking import RowNumber, parameters
from web.api.calling import answer, call, fields, takes_nothing
from web.reading import books
from web.reading.books import EventKind
from web.reading.sources import SourceLine, overview
from web.reading.tracks import arriving, found
from web.site import person, site


class Wish(msgspec.Struct, frozen=True):
    """Which events."""

    source: Annotated[str, Meta(min_length=1, max_length=63)] | None = None
    kind: EventKind | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    below: RowNumber | None = None


async def me(request: web.Request) -> web.StreamResponse:
    takes_nothing(request)
    who = person(request)
    by = "token" if who.session is None else "session"
    said = {"name": who.name, "role": who.role, "scopes": sorted(who.usable), "by": by}
    return answer(request, said)


async def status(request: web.Request) -> web.StreamResponse:
    """Whether tweets come in, and the person's tracks by state; admins learn the rest, too."""
    takes_nothing(request)
    who = person(request)
    async with site(request).database.acquire() as connection:
        daemons = await sources.daemons(connection)
        said = {
            "version": __version__,
            "collecting": any(row["role"] == "collecting" for row in daemons),
            "arriving": await arriving(connection),
            "tracks": (await found(connection, who)).states,
        }
        if who.is_admin:
            names = ("host", "pid", "role", "started_at", "seen_at")
            said["daemons"] = [{name: row[name] for name in names} for row in daemons]
            said["health"] = await books.health(connection)
    return answer(request, said)


async def all_sources(request: web.Request) -> web.StreamResponse:
    """Admins see all but the keys; others names and states."""
    takes_nothing(request)
    here = site(request)
    async with here.database.acquire() as connection:
        collected = await sources.collected(connection)
        lines = await overview(connection, here.settings, list(collected))
    shown = _for_admins if person(request).is_admin else _for_all
    return answer(request, {"sources": [shown(line) for line in lines]})


def _for_all(line: SourceLine) -> dict[str, object]:
    return {
        "name": line.name,
        "network": line.network,
        "state": line.state,
        "collected": line.collected,
    }


def _for_admins(line: SourceLine) -> dict[str, object]:
    bare = {"url": _without_keys(line.url), "proxy": _without_keys(line.proxy)}
    return fields(line) | bare


def _without_keys(address: str | None) -> str | None:
    """An address may carry a name and a password, or a key behind the question mark."""
    if address is None:
        return None
    try:
        parts = urlsplit(address)
    except ValueError:
        return ""
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


async def events(request: web.Request) -> web.StreamResponse:
    wish = parameters(request, Wish)
    async with site(request).database.acquire() as connection:
        happened = await books.events(connection, **msgspec.structs.asdict(wish))
    following = happened[-1].id if len(happened) == wish.limit else None
    return answer(request, {"events": happened, "next": following})


async def all_users(request: web.Request) -> web.StreamResponse:
    takes_nothing(request)
    async with site(request).database.acquire() as connection:
        return answer(request, {"users": await users.everybody(connection)})


ROUTES = (
    call("GET", "/api/v1/me", me),
    call("GET", "/api/v1/status", status),
    call("GET", "/api/v1/sources", all_sources),
    call("GET", "/api/v1/events", events, "admin", "admin"),
    call("GET", "/api/v1/users", all_users, "admin", "admin"),
)
