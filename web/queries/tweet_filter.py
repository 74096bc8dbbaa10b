"""Which tweets a page of results holds: the filter, what its user may see, and the page itself."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime

import msgspec

from stream.db import Executor
from stream.errors import InvalidQuery
from stream.matcher import Matcher
from stream.networks.registry import decode_stored
from stream.query import Query, TrackKind, parse
from stream.store import sharing
from stream.store.feed import StoredTweet
from stream.text import folded_words, has_words
from stream.tweet import Match, TrackId, TweetId, TweetKind
from web.person import Person
from web.problem import Problem
from web.queries import cursors

PAGE_SECONDS_MAX = 0.15  # after which a page answers with what it has found
PAGE_SCAN_MAX = 20_000  # tweets that are examined for one page
FIRST_SLICE, SLICE, SLICE_WITH_DOCS = 500, 4000, 400  # rows at a time, if not every one passes
_YIELD_EVERY = 25  # decoded messages, then other tasks run


class QueryText(msgspec.Struct, frozen=True):
    """A query as its user typed it."""

    kind: TrackKind
    value: str


class TweetQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Filters for stored tweets, and the user who will see them.

    Without `tracks` and `query`: the tweets of all tracks that the user sees; for an admin, all
    tweets. A query searches everything that is stored; for a viewer, the tweets of the tracks that
    are shared with them.
    """

    person: Person
    tracks: Sequence[TrackId] | None = None
    query: QueryText | None = None
    begin: datetime | None = None  # of received_at
    end: datetime | None = None  # exclusive
    lang: str | None = None
    kind: TweetKind | None = None
    words: str = ""  # all of them must be in the text


class PageBuilder(msgspec.Struct):
    """Collects the tweets of one page, and knows when to stop."""

    limit: int
    deadline: float = msgspec.field(default_factory=lambda: time.monotonic() + PAGE_SECONDS_MAX)
    tweets: list[StoredTweet] = []
    why: dict[TweetId, Match] = {}  # which term of the query matched
    scanned: int = 0
    scanned_until: TweetId | None = None

    @property
    def is_full(self) -> bool:
        return len(self.tweets) >= self.limit

    @property
    def is_late(self) -> bool:
        return self.scanned >= PAGE_SCAN_MAX or time.monotonic() > self.deadline


def fingerprint(query: TweetQuery) -> bytes:
    """Fingerprint of the filters for cursors: field by field, so that old cursors stay valid."""
    text = None if query.query is None else [query.query.kind, query.query.value]
    tracks = None if query.tracks is None else sorted(query.tracks)
    times = [query.begin, query.end]
    return cursors.fingerprint([tracks, text, times, query.lang, query.kind, query.words])


async def scope_of(connection: Executor, query: TweetQuery) -> list[TrackId] | None:
    """The tracks whose tweets are searched; None: all tweets. Problem for an invisible track."""
    if query.tracks is not None:
        seen = await sharing.visible_among(connection, query.person.id, query.tracks)
        if hidden := set(query.tracks) - seen.keys():
            sentence = f"There is no track {min(hidden)}, or you do not see it."
            raise Problem("not_found", sentence, field="track")
        return sorted(seen)
    role = query.person.role
    if role == "admin" or (role == "user" and query.query is not None):
        return None
    return list(await sharing.visible_tracks(connection, query.person.id))


class PostFilter:
    """The filters that Postgres does not apply: words of the text, and the query."""

    def __init__(self, query: TweetQuery) -> None:
        self.query = query
        self.words = folded_words(query.words)
        self.matcher: Matcher | None = None
        if query.query is not None:
            self.matcher = matcher_of(parse_query(query.query.value, query.query.kind))

    def slices(self, limit: int, *, all_pass: bool = True) -> tuple[int, int]:
        """How many rows to read first, and at most at a time."""
        if self.matcher is not None:
            return SLICE_WITH_DOCS, SLICE_WITH_DOCS
        is_open = not self.words and self.query.lang is None and self.query.kind is None
        return limit + 1 if all_pass and is_open else FIRST_SLICE, max(limit + 1, SLICE)

    async def passing(
        self, tweets: Iterable[StoredTweet], page: PageBuilder
    ) -> AsyncIterator[StoredTweet]:
        """The tweets that pass; which term matched is noted in `page`."""
        for number, tweet in enumerate(tweets):
            if not has_words(tweet.text, self.words):
                continue
            if self.matcher is not None:
                if number % _YIELD_EVERY == 0:
                    await asyncio.sleep(0)
                match = first_match(self.matcher, tweet)
                if match is None:
                    continue
                page.why[tweet.id] = match
            yield tweet


# -- one query ------------------------------------------------------------------------------------


def parse_query(text: str, kind: TrackKind = "query") -> Query:
    """Parse a query that filters stored tweets. Problem when it is invalid."""
    try:
        return parse(kind, text, may_only_narrow=True)
    except InvalidQuery as error:
        raise Problem("invalid", str(error), field="query") from error


def matcher_of(query: Query) -> Matcher:
    """A matcher for one query; its matches are those of track 0."""
    return Matcher([(TrackId(0), query)])


def first_match(matcher: Matcher, tweet: StoredTweet) -> Match | None:
    """Why a stored tweet matches; None when it does not, or cannot be decoded any more."""
    message = decode_stored(tweet.network, tweet.doc)
    return None if message is None else next(iter(matcher.match(message)), None)
