"""Calls for stored tweets: pages with cursors, downloads, and single tweets as received."""

from typing import Annotated, Literal

import msgspec
from aiohttp import web
from msgspec import Meta

from stream.query import TrackKind
from stream.store import tracks
from stream.tweet import TrackId, TweetId, TweetKind
from stream.tweet_view import TweetView
from web.api.operations import operation
from web.api.params import PLAIN, RowNumber, row_number
from web.api.stats import Begin, End
from web.context import app_context, person
from web.downloads import download
from web.downloads.download import CONTENT_TYPES, Format
from web.person import Person
from web.problem import Problem
from web.queries import tweets
from web.queries.cursors import CURSOR_PATTERN, Order
from web.queries.tweets import QueryText, TweetPage, TweetQuery

LIMIT_DEFAULT, LIMIT_MAX = 100, 1000  # tweets of a page
ACCEPTED: dict[str, Format] = {
    CONTENT_TYPES[form]: form for form in ("csv", "ndjson", "xlsx")
}  # fmt: skip


class TweetListQuery(msgspec.Struct, frozen=True):
    """Which tweets, and in which format."""

    track: Annotated[
        list[RowNumber],
        Meta(max_length=100, description="Id of a track; repeat it for several.", examples=[[1]]),
    ] = []
    query: (
        Annotated[
            str,
            Meta(
                min_length=1,
                max_length=1000,
                description="Only tweets that match this, written as a track's value.",
            ),
        ]
        | None
    ) = None
    query_kind: Annotated[TrackKind, Meta(description="How to parse `query`.")] = "keyword"
    begin: Begin | None = None
    end: End | None = None
    lang: (
        Annotated[
            str,
            Meta(pattern=r"^[A-Za-z-]{1,35}$", description="Language, as the network reports it."),
        ]
        | None
    ) = None
    kind: TweetKind | None = None
    words: Annotated[
        str,
        Meta(
            max_length=500, pattern=PLAIN, description="Only tweets whose text has all these words."
        ),
    ] = ""
    order: Annotated[
        Order, Meta(description="Newest first, or oldest first in the order of storing.")
    ] = "newest"
    cursor: (
        Annotated[str, Meta(pattern=CURSOR_PATTERN, description="`next` of the previous page.")]
        | None
    ) = None
    limit: (
        Annotated[
            int,
            Meta(
                ge=1,
                le=LIMIT_MAX,
                description="Maximum number. Default: a page of JSON has 100, a file has all.",
                examples=[20],
            ),
        ]
        | None
    ) = None
    format: (
        Annotated[
            Literal["json", "ndjson", "csv", "excel", "xlsx"],
            Meta(description="Format of the answer; default: by the header `Accept`."),
        ]
        | None
    ) = None


class WholeTweet(TweetView, frozen=True, kw_only=True):
    """A tweet, and in `doc` the message as the network sent it."""

    doc: msgspec.Raw


@operation(
    "GET",
    "/api/v1/tweets",
    "listTweets",
    "Tweets",
    files={
        "application/x-ndjson": {"type": "string"},
        "text/csv": {"type": "string"},
        CONTENT_TYPES["xlsx"]: {"type": "string", "format": "binary"},
    },
    errors=(404,),
)
async def list_tweets(
    request: web.Request, query: TweetListQuery
) -> TweetPage | web.StreamResponse:
    """Stored tweets, by track, query, time, language, kind and words.

    Without `track` and `query`: the tweets of all tracks that you see; for admins, all tweets.

    A page never takes long. When few of the tweets it searched match, it may be short or empty;
    `looked_until` says how far it searched, and `more` whether to continue now. `next` is the
    cursor for that. It is null at the end, which only `order=newest` has.

    A `format` other than `json` returns all tweets in one file, unless there is a `limit`:

    - `ndjson`: one line of JSON per tweet.
    - `csv`, for programs (RFC 4180, UTF-8): texts and ids as they are, times in UTC.
    - `excel`, CSV for spreadsheets: it starts with a byte order mark, and an apostrophe protects
      long numbers and what looks like a formula.
    - `xlsx`, an Excel workbook: ids are texts, times are dates in UTC, and there is another sheet
      after 1,048,576 rows. The answer starts when the whole file is written.

    The header `Accept` (`application/x-ndjson`, `text/csv` or the type of XLSX) chooses where
    there is no `format`. You may download 4 files at once.
    """
    wanted = _wanted(person(request), query)
    form = _form(request, query)
    here = app_context(request)
    async with here.database.acquire() as connection:
        if form is not None and query.cursor is not None:
            words = "Downloads do not accept `cursor`: use `begin` instead."
            raise Problem("invalid", words, field="cursor")
        # A first page also of a download: an error must be found before the file starts.
        limit = 1 if form is not None else query.limit or LIMIT_DEFAULT
        page = await tweets.page(here.cells, connection, wanted, query.order, query.cursor, limit)
        for track_id in query.track:
            await tracks.note_viewed(connection, TrackId(track_id))
    if form is None:
        return page
    return await download.send(request, wanted, form, order=query.order, limit=query.limit)


def _wanted(who: Person, query: TweetListQuery) -> TweetQuery:
    return TweetQuery(
        person=who,
        tracks=[TrackId(number) for number in query.track] or None,
        query=None if query.query is None else QueryText(query.query_kind, query.query),
        begin=query.begin,
        end=query.end,
        lang=query.lang,
        kind=query.kind,
        words=query.words,
    )


def _form(request: web.Request, query: TweetListQuery) -> Format | None:
    """The format by name, else by the header Accept; None: JSON."""
    if query.format is not None:
        return None if query.format == "json" else query.format
    for part in request.headers.get("Accept", "").split(","):
        kind = part.partition(";")[0].strip().lower()
        if kind in ACCEPTED:
            return ACCEPTED[kind]
        if kind in ("application/json", "*/*", "application/*"):
            return None
    return None


@operation("GET", "/api/v1/tweets/{id:[0-9]+}", "getTweet", "Tweets", path_help="Id of the tweet.")
async def get_tweet(request: web.Request) -> WholeTweet:
    """One tweet, with its message as received."""
    here, key = app_context(request), TweetId(row_number(request))
    async with here.database.acquire() as connection:
        found = await tweets.one(here.cells, connection, person(request), key)
    if found is None:
        raise Problem("not_found", "This tweet does not exist, or you cannot see it.")
    tweet, doc = found
    return WholeTweet(**msgspec.structs.asdict(tweet), doc=msgspec.Raw(doc))


OPERATIONS = (list_tweets, get_tweet)
