"""What a query would have brought: looked up in an even sample of what is stored.

However much is stored, so many tweets are read and decoded and no more; they are kept for a while,
so that somebody who types does not cause that for every letter.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple
from weakref import WeakKeyDictionary

import msgspec

from stream import stored
from stream.db import Database, Row
from stream.errors import Reject
from stream.matcher import Matcher
from stream.networks.table import NETWORKS
from stream.query import Query
from stream.stored import StoredTweet
from stream.tweet import Match, SourceId, TrackId, Tweet, TweetId
from stream.tweets import to_datetime, tweet_key

Span = Literal["hour", "day"]

LOOKED_AT = 1500  # tweets of a span; when there are no more, all of them
BREATH = 25  # decoded or matched tweets before others have their turn
AT_ONCE = 125  # rows of one statement
TOGETHER = 5  # tweets in a row; each point in time gives so many
FRESH, FRESH_EXACT = 60.0, 5.0  # seconds for which a sample is kept
EXAMPLES = 6
ENOUGH = 5  # hits from which on it can be said what they have in common
COMPARED = 200  # hits

_LENGTHS: dict[Span, timedelta] = {"hour": timedelta(hours=1), "day": timedelta(days=1)}
_STRATA: dict[Span, int] = {"hour": 60, "day": 96}  # whole minutes each
_NUMBER = TrackId(0)  # of the track that is not one yet

_COUNTS = """
SELECT floor(extract(epoch FROM minute - $1)::float8 / $2)::integer AS stratum,
    sum(frames)::bigint AS tweets
FROM (SELECT DISTINCT source_id FROM runs) AS sources JOIN source_minutes USING (source_id)
WHERE minute >= $1 AND minute < $3 AND outcome IN ('stored', 'unmatched')
GROUP BY 1 ORDER BY 1
"""
_TWEETS = f"""
SELECT stratum, tweets.* FROM unnest($1::integer[], $2::bigint[], $3::bigint[], $4::integer[])
    AS wanted (stratum, low, high, most)
CROSS JOIN LATERAL (
    SELECT {", ".join(StoredTweet.__struct_fields__)} FROM tweets
    WHERE id >= low AND id < high
      AND received_at >= tweet_received_at(low) AND received_at < tweet_received_at(high)
      AND deleted_at IS NULL AND NOT ('XX' = ANY (coalesce(withheld, '{{}}')))
    ORDER BY id LIMIT most
) AS tweets
"""  # noqa: S608 - constants


class _Wish(NamedTuple):
    """Of a stretch of keys, the first so many tweets."""

    stratum: int
    low: TweetId
    high: TweetId
    most: int


class _Sampled(NamedTuple):
    stratum: int
    stored: StoredTweet  # without its doc
    tweet: Tweet


class _Sample(msgspec.Struct, frozen=True):
    """Tweets evenly out of a span, and how many there were in each stratum of it."""

    counts: dict[int, int]
    tweets: Sequence[_Sampled]
    exact: bool
    until: float  # monotonic; too old from then on


class SpanPreview(msgspec.Struct, frozen=True):
    """What would have come in the last hour or day."""

    span: Span
    tweets: int  # that would have come: exact, or estimated
    stored: int  # in all
    looked_at: int
    exact: bool

    @property
    def share(self) -> float:
        return self.tweets / self.stored if self.stored else 0.0


class Example(NamedTuple):
    tweet: StoredTweet
    match: Match


class Preview(msgspec.Struct, frozen=True):
    """What a query would have brought. `examples`: the newest first."""

    hour: SpanPreview
    day: SpanPreview
    examples: Sequence[Example]
    covered: dict[TrackId, float]  # the share of it that a track has already

    @property
    def per_hour(self) -> float:
        return max(self.hour.tweets, self.day.tweets / 24)


class _Samples:
    """The samples of one database; who comes while one is taken waits for it."""

    def __init__(self, database: Database) -> None:
        self._read = database.fetch
        self._kept: dict[Span, _Sample] = {}
        self._taking = asyncio.Lock()

    async def of(self, span: Span) -> _Sample:
        async with self._taking:
            kept = self._kept.get(span)
            if kept is None or kept.until < time.monotonic():
                kept = self._kept[span] = await self._take(span)
            return kept

    async def _take(self, span: Span) -> _Sample:
        end = datetime.now(UTC)
        begin = (end - _LENGTHS[span]).replace(second=0, microsecond=0)
        length = _LENGTHS[span] / _STRATA[span]
        rows = await self._read(_COUNTS, begin, length.total_seconds(), end)
        counts: dict[int, int] = {row["stratum"]: row["tweets"] for row in rows}
        exact = sum(counts.values()) <= LOOKED_AT
        wishes = list(_wishes(counts, begin, length, everything=exact))
        tweets: list[_Sampled] = []
        for some in _batches(wishes):
            columns = ([wish[place] for wish in some] for place in range(len(_Wish._fields)))
            tweets += await _decoded(await self._read(_TWEETS, *columns))
        until = time.monotonic() + (FRESH_EXACT if exact else FRESH)
        return _Sample(counts, tweets, exact, until)


_of_database: WeakKeyDictionary[Database, _Samples] = WeakKeyDictionary()


def _wishes(
    counts: dict[int, int], begin: datetime, length: timedelta, *, everything: bool
) -> Iterator[_Wish]:
    """Which tweets to read: of a full stratum some at even distances, of another one all."""
    share = max(LOOKED_AT // max(len(counts), 1), TOGETHER)
    for stratum, count in counts.items():
        low = begin + stratum * length
        if everything or count <= share:
            yield _Wish(stratum, _key(low), _key(low + length), LOOKED_AT if everything else share)
            continue
        points = -(-share // TOGETHER)
        for point in range(points):
            here, there = (low + length * place / points for place in (point, point + 1))
            yield _Wish(stratum, _key(here), _key(there), TOGETHER)


def _key(moment: datetime) -> TweetId:
    microseconds = round((moment - to_datetime(0)).total_seconds() * 1e6)
    return TweetId(max(tweet_key(microseconds, SourceId(0)), 0))


def _batches(wishes: Sequence[_Wish]) -> Iterator[list[_Wish]]:
    """As many as one statement shall answer."""
    batch: list[_Wish] = []
    rows = 0
    for wish in wishes:
        batch.append(wish)
        rows += wish.most
        if rows >= AT_ONCE:
            yield batch
            batch, rows = [], 0
    if batch:
        yield batch


async def _decoded(rows: Sequence[Row]) -> list[_Sampled]:
    found = []
    for place, row in enumerate(rows):
        if place % BREATH == 0:
            await asyncio.sleep(0)
        fields = dict(row)
        stratum, doc = fields.pop("stratum"), fields.pop("doc")
        try:
            message = NETWORKS[row["network"]].decode(doc)
        except Reject:
            continue
        if isinstance(message, Tweet):
            found.append(_Sampled(stratum, StoredTweet(**fields, doc=b""), message))
    return found


async def preview(database: Database, query: Query, mine: Collection[TrackId] = ()) -> Preview:
    """What the query would have brought. `mine`: the tracks that may have it already."""
    samples = _of_database.setdefault(database, _Samples(database))
    matcher = Matcher([(_NUMBER, query)])
    spans: dict[Span, SpanPreview] = {}
    examples: dict[TweetId, Example] = {}
    for span in _LENGTHS:
        sample = await samples.of(span)
        hits = await _hits(matcher, sample.tweets)
        spans[span] = _counted(span, sample, [sampled.stratum for sampled, _ in hits])
        examples |= {hit.stored.id: Example(hit.stored, match) for hit, match in hits}
    newest = sorted(examples.values(), key=lambda each: each.tweet.id, reverse=True)
    covered = await _covered(database, newest[:COMPARED], mine) if mine else {}
    hour, day = spans["hour"], spans["day"]
    if day.tweets < hour.tweets:  # two estimates; the day has the hour in it
        day = msgspec.structs.replace(day, tweets=hour.tweets)
    return Preview(hour, day, newest[:EXAMPLES], covered)


async def _hits(matcher: Matcher, tweets: Iterable[_Sampled]) -> list[tuple[_Sampled, Match]]:
    hits = []
    for place, sampled in enumerate(tweets):
        if place % BREATH == 0:
            await asyncio.sleep(0)
        if matches := matcher.match(sampled.tweet):
            hits.append((sampled, matches[0]))
    return hits


def _counted(span: Span, sample: _Sample, hits: Iterable[int]) -> SpanPreview:
    """From the hits in each stratum to how many there would have been in all of it."""
    total = sum(sample.counts.values())
    met = Counter(hits)
    if sample.exact:
        return SpanPreview(span, met.total(), total, len(sample.tweets), exact=True)
    looked_at = Counter(sampled.stratum for sampled in sample.tweets)
    estimate = sum(
        sample.counts[stratum] * hits / looked_at[stratum] for stratum, hits in met.items()
    )
    return SpanPreview(span, round(estimate), total, len(sample.tweets), exact=False)


async def _covered(
    database: Database, hits: Sequence[Example], mine: Collection[TrackId]
) -> dict[TrackId, float]:
    """Which share of the hits belongs to these tracks already."""
    if len(hits) < ENOUGH:
        return {}
    async with database.acquire() as connection:
        matches = await stored.matches(connection, [hit.tweet for hit in hits])
    credited = Counter(match.track_id for found in matches.values() for match in found)
    return {
        track_id: count / len(hits)
        for track_id, count in credited.most_common()
        if track_id in mine
    }
