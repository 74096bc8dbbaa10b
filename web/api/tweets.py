"""Calls for tweets: pages with cursors, whole streams of lines, and single ones as they came."""

from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import Meta

from stream.query import TrackKind
from stream.tweet import TrackId, TweetId, TweetKind
from web.api.asking import Moment, RowNumber, parameters, row_number
from web.api.calling import answer, call, raw, takes_nothing
from web.person import Person
from web.problem import Problem
from web.reading import downloads, looks, tweets
from web.reading.cursors import PATTERN as CURSOR
from web.reading.cursors import Order
from web.reading.export import TYPES, Format
from web.reading.tweets import Asked, Wanted
from web.site import person, site

LIMIT = 100  # tweets of a page, when nobody says how many
MOST = 1000


class Wish(msgspec.Struct, frozen=True):
    """Which tweets, and how they come."""

    track: Annotated[list[RowNumber], Meta(max_length=100)] = []
    query: Annotated[str, Meta(min_length=1, max_length=1000)] | None = None
    query_kind: TrackKind = "keyword"
    begin: Moment | None = None
    end: Moment | None = None
    lang: Annotated[str, Meta(pattern=r"^[A-Za-z-]{1,35}$")] | None = None
    kind: TweetKind | None = None
    words: Annotated[str, Meta(max_length=500)] = ""
    order: Order = "newest"
    cursor: Annotated[str, Meta(pattern=CURSOR)] | None = None
    limit: Annotated[int, Meta(ge=1, le=MOST)] | None = None


async def listed(request: web.Request) -> web.StreamResponse:
    wish = parameters(request, Wish)
    wanted = _wanted(person(request), wish)
    form = _form(request)
    async with site(request).database.acquire() as connection:
        if form is not None and wish.cursor is not None:
            words = "NDJSON and CSV begin at one end: say from when on by `begin`, not by `cursor`."
            raise Problem("invalid", words, field="cursor")
        # Also of a stream of lines a first page: what is wrong must be said before it begins.
        limit = 1 if form is not None else wish.limit or LIMIT
        page = await tweets.page(connection, wanted, wish.order, wish.cursor, limit)
        for track_id in wish.track:
            await looks.note(connection, TrackId(track_id))
    if form is None:
        return answer(request, page)
    return await downloads.send(request, wanted, form, order=wish.order, limit=wish.limit)


def _wanted(who: Person, wish: Wish) -> Wanted:
    return Wanted(
        person=who,
        tracks=[TrackId(number) for number in wish.track] or None,
        query=None if wish.query is None else Asked(wish.query_kind, wish.query),
        begin=wish.begin,
        end=wish.end,
        lang=wish.lang,
        kind=wish.kind,
        words=wish.words,
    )


def _form(request: web.Request) -> Format | None:
    """What the caller would like best of what there is; None: JSON."""
    for part in request.headers.get("Accept", "").split(","):
        kind = part.partition(";")[0].strip().lower()
        for form, its_type in TYPES.items():
            if kind == its_type:
                return form
        if kind in ("application/json", "*/*", "application/*"):
            return None
    return None


async def one(request: web.Request) -> web.StreamResponse:
    """With its message as it came: put into the answer as it is, without a look at it."""
    takes_nothing(request)
    async with site(request).database.acquire() as connection:
        found = await tweets.one(connection, person(request), TweetId(row_number(request)))
    if found is None:
        raise Problem("not_found", "There is no such tweet, or not for you.")
    tweet, doc = found
    fields = msgspec.structs.asdict(tweet) | {"doc": msgspec.Raw(doc)}
    return raw(request, msgspec.json.encode(fields), "application/json")


ROUTES = (
    call("GET", "/api/v1/tweets", listed),
    call("GET", "/api/v1/tweets/{id:[0-9]+}", one),
)
