"""What a query would have brought: counted in what is stored, or estimated from an even sample.

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

COUNTED = 5000  # tweets of a span that are all looked at; of more only a sample
LOOKED_AT = 1500  # tweets of a sample
BREATH = 25  # decoded or matched tweets before others have their turn
AT_ONCE = 125  # rows of one statement
TOGETHER = 5  # tweets in a row; each point in time gives so many
FRESH, FRESH_EXACT = 60.0, 15.0  # seconds for which samples are kept
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
      AND {stored.SHOWN}
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
    """Tweets evenly out of a span, or all, and how many there were in each stratum of it."""

    counts: dict[int, int]
    tweets: Sequence[_Sampled]
    exact: bool


class _Kept(NamedTuple):
    """What both spans hold at one moment, so that they do not contradict each other."""

    hour: _Sample
    day: _Sample
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
    """The samples of one database; who comes while they are taken waits for them."""

    def __init__(self, database: Database) -> None:
        self._read = database.fetch
        self._kept: _Kept | None = None
        self._taking = asyncio.Lock()

    async def now(self) -> _Kept:
        async with self._taking:
            if self._kept is None or self._kept.until < time.monotonic():
                self._kept = await self._take(datetime.now(UTC))
            return self._kept

    async def _take(self, end: datetime) -> _Kept:
        """Each tweet is read once where one span can tell of the other, too."""
        hourly, daily = [await self._counts(span, end) for span in _LENGTHS]
        if sum(hourly.values()) == sum(daily.values()):  # nothing is older
            hour = day = await self._sample("hour", end, hourly)
        elif sum(daily.values()) <= COUNTED:
            day = await self._sample("day", end, daily)
            since = _key(_begin("hour", end))
            hour = _Sample(hourly, [each for each in day.tweets if each.stored.id >= since], True)
        else:
            hour = await self._sample("hour", end, hourly)
            day = await self._sample("day", end, daily)
        fresh = FRESH_EXACT if hour.exact or day.exact else FRESH
        return _Kept(hour, day, time.monotonic() + fresh)

    async def _counts(self, span: Span, end: datetime) -> dict[int, int]:
        length = _LENGTHS[span] / _STRATA[span]
        rows = await self._read(_COUNTS, _begin(span, end), length.total_seconds(), end)
        return {row["stratum"]: row["tweets"] for row in rows}

    async def _sample(self, span: Span, end: datetime, counts: dict[int, int]) -> _Sample:
        exact = sum(counts.values()) <= COUNTED
        tweets: list[_Sampled] = []
        for some in _batches(list(_wishes(span, end, counts, everything=exact))):
            columns = ([wish[place] for wish in some] for place in range(len(_Wish._fields)))
            tweets += await _decoded(await self._read(_TWEETS, *columns))
        return _Sample(counts, tweets, exact)


_of_database: WeakKeyDictionary[Database, _Samples] = WeakKeyDictionary()


def _begin(span: Span, end: datetime) -> datetime:
    """With a whole minute, as the counts do."""
    return (end - _LENGTHS[span]).replace(second=0, microsecond=0)


def _wishes(
    span: Span, end: datetime, counts: dict[int, int], *, everything: bool
) -> Iterator[_Wish]:
    """Which tweets to read: of a full stratum some at even distances, of another one all."""
    begin, length = _begin(span, end), _LENGTHS[span] / _STRATA[span]
    share = max(LOOKED_AT // max(len(counts), 1), TOGETHER)
    for stratum, count in counts.items():
        low = begin + stratum * length
        all_of_it = everything or count <= share
        points = -(-count // AT_ONCE) if all_of_it else -(-share // TOGETHER)
        most = COUNTED if everything else share if all_of_it else TOGETHER
        for point in range(points):
            here, there = (low + length * place / points for place in (point, point + 1))
            yield _Wish(stratum, _key(here), _key(there), most)


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
    kept = await _of_database.setdefault(database, _Samples(database)).now()
    found = await _found(Matcher([(_NUMBER, query)]), [*kept.hour.tweets, *kept.day.tweets])
    hour, day = _counted("hour", kept.hour, found), _counted("day", kept.day, found)
    if day.tweets < hour.tweets:  # of two samples; the day has the hour in it
        day = msgspec.structs.replace(day, tweets=hour.tweets)
    newest = [found[key] for key in sorted(found, reverse=True)]
    covered = await _covered(database, newest[:COMPARED], mine) if mine else {}
    return Preview(hour, day, newest[:EXAMPLES], covered)


async def _found(matcher: Matcher, tweets: Iterable[_Sampled]) -> dict[TweetId, Example]:
    """Those that fit; each is asked once, though it be in both samples."""
    asked: dict[TweetId, Example | None] = {}
    for place, sampled in enumerate(tweets):
        if place % BREATH == 0:
            await asyncio.sleep(0)
        if sampled.stored.id not in asked:
            matches = matcher.match(sampled.tweet)
            example = Example(sampled.stored, matches[0]) if matches else None
            asked[sampled.stored.id] = example
    return {key: example for key, example in asked.items() if example is not None}


def _counted(span: Span, sample: _Sample, found: Collection[TweetId]) -> SpanPreview:
    """From the hits in each stratum to how many there would have been in all of it."""
    total, looked_at = sum(sample.counts.values()), len(sample.tweets)
    met = Counter(each.stratum for each in sample.tweets if each.stored.id in found)
    if sample.exact:  # what is stored just now may not be in the counts yet
        return SpanPreview(span, met.total(), max(total, looked_at), looked_at, exact=True)
    of_stratum = Counter(each.stratum for each in sample.tweets)
    estimate = sum(
        sample.counts[stratum] * hits / of_stratum[stratum] for stratum, hits in met.items()
    )
    tweets = max(round(estimate), met.total())
    return SpanPreview(span, tweets, max(total, tweets), looked_at, exact=False)


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
