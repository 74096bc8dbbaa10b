"""What the API can do: openapi.yaml for programs, and the same as a page for people."""

from functools import lru_cache
from typing import Any

import yaml
from aiohttp import web

from stream.db import Executor
from web.api.calling import raw, takes_nothing
from web.api.described import Description
from web.environment import HERE
from web.person import Person
from web.reading import tweets
from web.reading.tracks import Listing, overview
from web.reading.tweets import Wanted
from web.rendering import render
from web.routing import Route
from web.site import caller, person, site
from web.tracking import desk

FILE = HERE / "openapi.yaml"
KIND = "application/yaml"


@lru_cache(maxsize=1)
def text() -> bytes:
    return FILE.read_bytes()


@lru_cache(maxsize=1)
def document() -> dict[str, Any]:
    """The file, understood."""
    found: dict[str, Any] = yaml.load(text(), Loader=yaml.CSafeLoader)
    return found


async def openapi(request: web.Request) -> web.StreamResponse:
    takes_nothing(request)
    return raw(request, text(), KIND)


async def page(request: web.Request) -> web.StreamResponse:
    """A page with every call, and examples that work as they stand there."""
    here = site(request)
    async with here.database.acquire() as connection:
        numbers = await _numbers(connection, person(request))
    description = Description(document(), caller(request).origin + here.base, numbers)
    return render(request, "api.html", words=description.words, sections=description.sections())


async def _numbers(connection: Executor, who: Person) -> dict[str, int]:
    """Of a track, a tweet and an entry of the history that are there, for the examples."""
    lines = await overview(connection, who, Listing(limit=1))
    page = await tweets.page(connection, Wanted(person=who), "newest", None, 1)
    entries = await desk.history(connection, who, None, 1)
    return {
        "track": lines[0].id if lines else 1,
        "getTweet": int(page.tweets[0].id) if page.tweets else 1,
        "undo": entries[0].id if entries else 1,
    }


ROUTES = (
    Route("GET", "/api", page, "viewer"),
    Route("GET", "/api/v1/openapi.yaml", openapi, "public"),
)
