"""What every handler needs: the application's parts, the user, the form, and ways to answer."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from string import punctuation
from typing import TypeAlias
from urllib.parse import quote
from zoneinfo import ZoneInfo

from aiohttp import web
from multidict import MultiDict, MultiDictProxy

from stream.cells.databases import Cells
from stream.config import Settings, exposure
from stream.db import Database
from stream.guarded_database import GuardedDatabase
from stream.replica import Replica
from stream.vault import Vault
from web.accounts.credentials import Passwords
from web.limiters import LoginLimiter
from web.local_time import UTC_ZONE, find_zone
from web.person import Person
from web.problem import Problem
from web.proxies import Caller, Proxies, is_ours, public_origin
from web.templating import Pages

ZONE_COOKIE = "time_zone"  # static/page.js sets it


class AppContext:
    """The parts of one running web application. `database` is a pool of its own.

    `cells` has that database, too: it answers for the tweets of all databases.
    """

    def __init__(
        self,
        database: Database,
        settings: Settings,
        vault: Vault,
        config_file: Path | None = None,
        other_cells: Mapping[str, GuardedDatabase] | None = None,
    ) -> None:
        self.address: str | None = None  # while it is served
        self.config_file = config_file
        self.database = GuardedDatabase(database)
        # For tweets and statistics, which need not be of this moment.
        self.replica = Replica(self.database, settings.web.replica, settings.web.replica_max_lag)
        self.cells = Cells(self.database, other_cells, self.replica)
        self.settings = settings
        self.vault = vault
        self.base = settings.web.base_path
        scheme = settings.web.public_url.partition(":")[0].lower()
        self.proxies = Proxies(settings.web.trusted_proxies, scheme)
        self.passwords = Passwords()
        self.logins = LoginLimiter()
        self.pages = Pages(self.base)
        self.data_dir = Path(settings.data_dir)

    @property
    def origin(self) -> str:
        """Scheme, host and port that links begin with."""
        return public_origin(self.settings, self.address)

    @property
    def warnings(self) -> list[str]:
        """What the settings expose to the network."""
        return exposure.warnings(self.settings, self.config_file)


APP_CONTEXT: web.AppKey[AppContext] = web.AppKey("app_context", AppContext)
CALLER: web.RequestKey[Caller] = web.RequestKey("caller", Caller)
RESPONSE_TIMEOUT: web.RequestKey[asyncio.Timeout] = web.RequestKey("limit", asyncio.Timeout)
PERSON: web.RequestKey[Person] = web.RequestKey("person", Person)
Form: TypeAlias = MultiDictProxy[str | bytes | bytearray | web.FileField]
FORM: web.RequestKey[Form] = web.RequestKey("form", MultiDictProxy)


def app_context(request: web.Request) -> AppContext:
    return request.config_dict[APP_CONTEXT]


def person(request: web.Request) -> Person:
    """The user who makes the request, on routes that are not public."""
    if PERSON not in request:
        raise Problem("login_needed", "Log in first.")
    return request[PERSON]


def form_fields(request: web.Request) -> Form:
    """The fields of the form that was sent; none for any other body."""
    return request[FORM] if FORM in request else MultiDictProxy(MultiDict())


def is_foreign(request: web.Request) -> bool:
    """Whether the browser says that a page of another site makes the request."""
    origin = request.headers.get("Origin")
    here, asked = app_context(request), request[CALLER].origin
    return origin is not None and not is_ours(here.settings, origin, asked)


def zone_of(request: web.Request) -> ZoneInfo:
    """The time zone to show times in: the user's own, else the browser's (a cookie), else UTC."""
    who = request.get(PERSON)
    if who is not None and who.session is None:
        return UTC_ZONE  # programs get UTC
    chosen = None if who is None else who.time_zone
    return find_zone(chosen or request.cookies.get(ZONE_COOKIE, "")) or UTC_ZONE


def allow(request: web.Request, seconds: float) -> None:
    """Allow the answer to take `seconds` from now until its first byte."""
    if RESPONSE_TIMEOUT in request:
        request[RESPONSE_TIMEOUT].reschedule(asyncio.get_running_loop().time() + seconds)


def caller(request: web.Request) -> Caller:
    return request[CALLER]


def render(
    request: web.Request, template: str, *, status: int = 200, **values: object
) -> web.Response:
    """A page, or a part of one for htmx."""
    here, person = app_context(request), request.get(PERSON)
    text = here.pages.text(
        template,
        person=person,
        csrf=person.csrf if person is not None else "",
        path=request.path.removeprefix(here.base),
        now=datetime.now(UTC),
        zone=zone_of(request),
        missing_cells=sorted(here.cells.why_missing),
        **values,
    )
    return web.Response(text=text, status=status, content_type="text/html")


def is_part(request: web.Request) -> bool:
    """Whether htmx requests a part of a page."""
    return "HX-Request" in request.headers and "HX-Boosted" not in request.headers


def render_part(
    request: web.Request, template: str, title: str, style: str, **values: object
) -> web.Response:
    """A part of a page for htmx; a page of its own when the address is opened directly."""
    if not is_part(request):
        values |= {"part": template, "title": title, "style": style}
        template = "part.html"
    return render(request, template, status=200, **values)


def see_other(request: web.Request, path: str) -> web.Response:
    """Redirect to one of our paths, also for htmx."""
    location = quote(app_context(request).pages.url(path), safe=punctuation)
    if is_part(request):
        return web.Response(headers={"HX-Redirect": location})
    return web.Response(status=303, headers={"Location": location})
