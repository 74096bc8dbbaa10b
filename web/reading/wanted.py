"""Which tweets somebody wants, whose eyes they are for, and what is asked of each of them."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime

import msgspec

from stream.db import Executor
from stream.errors import InvalidQuery, Reject
from stream.matcher import Matcher
from stream.networks.table import NETWORKS
from stream.query import TrackKind, parse
from stream.stored import StoredTweet
from stream.tweet import Match, TrackId, Tweet, TweetId, TweetKind
from web.person import Person
from web.problem import Problem
from web.reading import cursors

PATIENCE = 0.15  # seconds after which a page answers with what it has
MOST_LOOKED = 20_000  # tweets that one page looks at
FIRST_SLICE, SLICE, SLICE_OF_DOCS = 500, 4000, 400  # rows at a time, if not every one is wanted
_BREATH = 25  # messages decoded before others have their turn

_SEEN = "SELECT track_id FROM tracks_seen_by($1)"
_SEEN_OF = f"{_SEEN} WHERE track_id = ANY ($2)"


class Asked(msgspec.Struct, frozen=True):
    """A query as somebody wrote it."""

    kind: TrackKind
    value: str


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which tweets, and for whose eyes.

    Without `tracks` and without a query: the tweets of all tracks that the person sees; of an
    admin, everything. A query looks at everything that is stored; for a viewer, who sees only what
    is shared with him, at the tweets of his tracks.
    """

    person: Person
    tracks: Sequence[TrackId] | None = None
    query: Asked | None = None
    begin: datetime | None = None  # of received_at
    end: datetime | None = None  # exclusive
    lang: str | None = None
    kind: TweetKind | None = None
    words: str = ""  # each of them stands in the text


class Found(msgspec.Struct):
    """A page in the making."""

    limit: int
    deadline: float = msgspec.field(default_factory=lambda: time.monotonic() + PATIENCE)
    tweets: list[StoredTweet] = []
    why: dict[TweetId, Match] = {}  # what of the query was met
    looked: int = 0
    looked_until: TweetId | None = None

    @property
    def is_full(self) -> bool:
        return len(self.tweets) >= self.limit

    @property
    def is_late(self) -> bool:
        return self.looked >= MOST_LOOKED or time.monotonic() > self.deadline


def fingerprint(wanted: Wanted) -> bytes:
    """Of the question: written down field by field, so that cursors of today fit in ten years."""
    query = None if wanted.query is None else [wanted.query.kind, wanted.query.value]
    tracks = None if wanted.tracks is None else sorted(wanted.tracks)
    times = [wanted.begin, wanted.end]
    return cursors.fingerprint([tracks, query, times, wanted.lang, wanted.kind, wanted.words])


async def scope_of(connection: Executor, wanted: Wanted) -> list[TrackId] | None:
    """Among the tweets of which tracks to look; None: among all."""
    if wanted.tracks is not None:
        seen = await seen_of(connection, wanted.person, wanted.tracks)
        if hidden := set(wanted.tracks) - seen:
            sentence = f"There is no track {min(hidden)}, or you do not see it."
            raise Problem("not_found", sentence, field="track")
        return sorted(seen)
    role = wanted.person.role
    if role == "admin" or (role == "user" and wanted.query is not None):
        return None
    return [TrackId(row["track_id"]) for row in await connection.fetch(_SEEN, wanted.person.id)]


async def seen_of(connection: Executor, person: Person, tracks: Iterable[TrackId]) -> set[TrackId]:
    """Those of these tracks that the person sees."""
    asked = list(tracks)
    rows = await connection.fetch(_SEEN_OF, person.id, asked) if asked else []
    return {TrackId(row["track_id"]) for row in rows}


class Sieve:
    """What Postgres is not asked: words of the text, and the query."""

    def __init__(self, wanted: Wanted) -> None:
        self.words = wanted.words.casefold().split()
        self.matcher: Matcher | None = None
        if wanted.query is not None:
            try:
                query = parse(wanted.query.kind, wanted.query.value, may_only_narrow=True)
            except InvalidQuery as error:
                raise Problem("invalid", str(error), field="query") from error
            self.matcher = Matcher([(TrackId(0), query)])

    def slices(self, wanted: Wanted, limit: int, *, all_fit: bool = True) -> tuple[int, int]:
        """How many rows to look at, at first and at most at a time."""
        if self.matcher is not None:
            return SLICE_OF_DOCS, SLICE_OF_DOCS
        is_open = all_fit and not self.words and wanted.lang is None and wanted.kind is None
        return limit + 1 if is_open else FIRST_SLICE, max(limit + 1, SLICE)

    async def through(
        self, tweets: Iterable[StoredTweet], found: Found
    ) -> AsyncIterator[StoredTweet]:
        """Those that pass; why is noted in `found`."""
        for number, tweet in enumerate(tweets):
            text = tweet.text.casefold() if self.words else ""
            if not all(word in text for word in self.words):
                continue
            if self.matcher is not None:
                if number % _BREATH == 0:
                    await asyncio.sleep(0)
                match = _matched(self.matcher, tweet)
                if match is None:
                    continue
                found.why[tweet.id] = match
            yield tweet


def _matched(matcher: Matcher, tweet: StoredTweet) -> Match | None:
    try:
        message = NETWORKS[tweet.network].decode(tweet.doc)
    except Reject:
        return None
    matches = matcher.match(message) if isinstance(message, Tweet) else []
    return matches[0] if matches else None
