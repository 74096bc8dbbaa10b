"""Preview how many tweets a query would have matched: counted, or estimated from an even sample.

However much is stored, a limited number of tweets is read and decoded. They are kept for a while:
typing must not cause that for every letter.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple
from weakref import WeakKeyDictionary

import msgspec

from stream.cells import feed as merged
from stream.cells.databases import Cells
from stream.db import Executor
from stream.matcher import Matcher
from stream.networks.registry import decode_stored
from stream.query import Query
from stream.store import search
from stream.store.feed import StoredTweet
from stream.store.search import SampleRange
from stream.tweet import Match, TrackId, Tweet, TweetId, UserId
from web.limiters import AdmissionLimiter
from web.problem import Problem

Span = Literal["hour", "day"]

EXACT_MAX = 5000  # tweets of a span that are all examined; of more, only a sample
COUNTED_MAX = 5000  # tweets of a stratum; of more, the number is estimated
SAMPLE_SIZE = 1500  # tweets
YIELD_EVERY = 25  # decoded or matched tweets, then other tasks run
STATEMENT_ROWS = 125
RUN_LENGTH = 5  # tweets in a row that are read at each sampled point in time
SAMPLE_SECONDS, EXACT_SECONDS = 60.0, 15.0  # for which a sample, or all tweets, are kept
RUNNING_PER_USER = 2  # previews
WAITING_PER_USER = 4  # previews; a page asks again at every pause in typing
_FULL = "Several of your previews are already running: try again in a moment."
EXAMPLES = 6
OVERLAP_MIN = 5  # hits; of fewer, the overlap with other tracks says nothing
OVERLAP_SAMPLE = 200  # hits that are compared

_LENGTHS: dict[Span, timedelta] = {"hour": timedelta(hours=1), "day": timedelta(days=1)}
_STRATA: dict[Span, int] = {"hour": 60, "day": 96}  # whole minutes each
_NUMBER = TrackId(0)  # of the query, which is not a track yet


class _SampledTweet(NamedTuple):
    stratum: int
    stored: StoredTweet  # without its doc
    tweet: Tweet


class _Sample(msgspec.Struct, frozen=True):
    """Evenly chosen tweets of a span, or all of them, and how many there are in each stratum."""

    counts: dict[int, int]
    tweets: Sequence[_SampledTweet]
    exact: bool


class _Samples(NamedTuple):
    """Both spans as of one moment, so that they do not contradict each other."""

    hour: _Sample
    day: _Sample
    until: float  # monotonic; too old after that


class SpanPreview(msgspec.Struct, frozen=True):
    """How many tweets of the last hour or day the query matches."""

    span: Span
    tweets: int  # that match: exact, or estimated
    stored: int  # in all
    examined: int
    exact: bool

    @property
    def share(self) -> float:
        return self.tweets / self.stored if self.stored else 0.0


class Example(NamedTuple):
    tweet: StoredTweet
    match: Match


class Preview(msgspec.Struct, frozen=True):
    """What a query would have matched. `examples`: the newest first."""

    hour: SpanPreview
    day: SpanPreview
    examples: Sequence[Example]
    covered: dict[TrackId, float]  # the share of its tweets that a track has already

    @property
    def per_hour(self) -> float:
        return max(self.hour.tweets, self.day.tweets / 24)


class _SampleCache:
    """The samples of all databases; callers wait while they are read."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells
        self._samples: _Samples | None = None
        self._reading = asyncio.Lock()

    async def get(self) -> _Samples:
        async with self._reading:
            if self._samples is None or self._samples.until < time.monotonic():
                self._samples = await self._read(datetime.now(UTC))
            return self._samples

    async def _read(self, end: datetime) -> _Samples:
        """Each tweet is read once where one sample serves both spans."""
        hourly, daily = [await self._counts(span, end) for span in _LENGTHS]
        if sum(hourly.values()) == sum(daily.values()):  # nothing is older
            hour = day = await self._sample("hour", end, hourly)
        elif sum(daily.values()) <= EXACT_MAX:
            day = await self._sample("day", end, daily)
            since = search.first_key_at(_begin("hour", end))
            hour = _Sample(hourly, [each for each in day.tweets if each.stored.id >= since], True)
        else:
            hour = await self._sample("hour", end, hourly)
            day = await self._sample("day", end, daily)
        seconds = EXACT_SECONDS if hour.exact or day.exact else SAMPLE_SECONDS
        return _Samples(hour, day, time.monotonic() + seconds)

    async def _counts(self, span: Span, end: datetime) -> dict[int, int]:
        """Tweets in each stratum: exactly of few, else estimated by their rate."""
        begin, length = _begin(span, end), _LENGTHS[span] / _STRATA[span]
        strata = range(_STRATA[span] + 1)  # the last one has just begun
        keys = [search.first_key_at(min(begin + n * length, end)) for n in (*strata, len(strata))]
        ranges = [SampleRange(n, keys[n], keys[n + 1], COUNTED_MAX) for n in strata]

        async def read(own: Executor, _: str) -> dict[int, int]:
            written = await search.count_strata(own, begin, length.total_seconds(), end)
            counted = await search.count_ranges(own, ranges)
            counts = {}
            for n, found in counted.items():
                counts[n] = found.tweets
                if found.tweets == COUNTED_MAX:
                    rate = found.tweets / (found.last + 1 - keys[n])
                    counts[n] = max(round(rate * (keys[n + 1] - keys[n])), written.get(n, 0))
            return counts

        async with self._cells.home.acquire() as connection:
            answers = await self._cells.ask(connection, read)
        total: Counter[int] = Counter()
        for counts in answers.by_cell.values():
            total.update(counts)
        return dict(sorted(total.items()))

    async def _sample(self, span: Span, end: datetime, counts: dict[int, int]) -> _Sample:
        exact = sum(counts.values()) <= EXACT_MAX
        tweets: list[_SampledTweet] = []
        for some in _batches(_ranges(span, end, counts, everything=exact)):
            rows = await self._rows(some)
            tweets += await _decoded(rows)
        return _Sample(counts, tweets, exact)

    async def _rows(self, ranges: Sequence[SampleRange]) -> list[tuple[int, StoredTweet]]:
        async with self._cells.home.acquire() as connection:
            answers = await self._cells.ask(connection, lambda own, _: search.sample(own, ranges))
        return [row for rows in answers.by_cell.values() for row in rows]


_caches: WeakKeyDictionary[Cells, _SampleCache] = WeakKeyDictionary()


def _begin(span: Span, end: datetime) -> datetime:
    """At a whole minute, as the counts do."""
    return (end - _LENGTHS[span]).replace(second=0, microsecond=0)


def _ranges(
    span: Span, end: datetime, counts: dict[int, int], *, everything: bool
) -> Iterator[SampleRange]:
    """Which tweets to read: of a full stratum some at even distances, of others all."""
    begin, length = _begin(span, end), _LENGTHS[span] / _STRATA[span]
    share = max(SAMPLE_SIZE // max(len(counts), 1), RUN_LENGTH)
    for stratum, count in counts.items():
        low = begin + stratum * length
        all_of_it = everything or count <= share
        points = -(-count // STATEMENT_ROWS) if all_of_it else -(-share // RUN_LENGTH)
        most = EXACT_MAX if everything else share if all_of_it else RUN_LENGTH
        for point in range(points):
            here, there = (low + length * place / points for place in (point, point + 1))
            yield SampleRange(stratum, search.first_key_at(here), search.first_key_at(there), most)


def _batches(ranges: Iterable[SampleRange]) -> Iterator[list[SampleRange]]:
    """Group ranges into batches for one statement each."""
    batch: list[SampleRange] = []
    rows = 0
    for each in ranges:
        batch.append(each)
        rows += each.limit
        if rows >= STATEMENT_ROWS:
            yield batch
            batch, rows = [], 0
    if batch:
        yield batch


async def _decoded(rows: Sequence[tuple[int, StoredTweet]]) -> list[_SampledTweet]:
    """The rows whose messages can be decoded, without these messages."""
    found = []
    for place, (stratum, stored) in enumerate(rows):
        if place % YIELD_EVERY == 0:
            await asyncio.sleep(0)
        tweet = decode_stored(stored.network, stored.doc)
        if tweet is not None:
            found.append(_SampledTweet(stratum, msgspec.structs.replace(stored, doc=b""), tweet))
    return found


_limiters: WeakKeyDictionary[Cells, AdmissionLimiter] = WeakKeyDictionary()


async def preview(
    cells: Cells, user: UserId, query: Query, mine: Collection[TrackId] = ()
) -> Preview:
    """What the query would have matched. `mine`: tracks that may have the same tweets already.

    Problem when the user has too many previews running already.
    """
    limiter = _limiters.setdefault(cells, AdmissionLimiter(RUNNING_PER_USER, WAITING_PER_USER))
    async with limiter.admit(Problem("too_many", _FULL, retry_after=2), user):
        return await _preview(cells, query, mine)


async def _preview(cells: Cells, query: Query, mine: Collection[TrackId]) -> Preview:
    samples = await _caches.setdefault(cells, _SampleCache(cells)).get()
    found = await _found(Matcher([(_NUMBER, query)]), [*samples.hour.tweets, *samples.day.tweets])
    hour, day = _counted("hour", samples.hour, found), _counted("day", samples.day, found)
    if day.tweets < hour.tweets:  # of two samples; the day has the hour in it
        day = msgspec.structs.replace(day, tweets=hour.tweets)
    newest = [found[key] for key in sorted(found, reverse=True)]
    covered = await _covered(cells, newest[:OVERLAP_SAMPLE], mine) if mine else {}
    return Preview(hour, day, newest[:EXAMPLES], covered)


async def _found(matcher: Matcher, tweets: Iterable[_SampledTweet]) -> dict[TweetId, Example]:
    """The tweets that match; each is matched once, even if it is in both samples."""
    matched: dict[TweetId, Example | None] = {}
    for place, sampled in enumerate(tweets):
        if place % YIELD_EVERY == 0:
            await asyncio.sleep(0)
        if sampled.stored.id not in matched:
            matches = matcher.match(sampled.tweet)
            example = Example(sampled.stored, matches[0]) if matches else None
            matched[sampled.stored.id] = example
    return {key: example for key, example in matched.items() if example is not None}


def _counted(span: Span, sample: _Sample, found: Collection[TweetId]) -> SpanPreview:
    """Scale the hits in each stratum of a sample up to all tweets of it."""
    total, examined = sum(sample.counts.values()), len(sample.tweets)
    hits_of = Counter(each.stratum for each in sample.tweets if each.stored.id in found)
    if sample.exact:  # what is stored just now may not be in the counts yet
        return SpanPreview(span, hits_of.total(), max(total, examined), examined, exact=True)
    of_stratum = Counter(each.stratum for each in sample.tweets)
    estimate = sum(
        sample.counts[stratum] * hits / of_stratum[stratum] for stratum, hits in hits_of.items()
    )
    tweets = max(round(estimate), hits_of.total())
    return SpanPreview(span, tweets, max(total, tweets), examined, exact=False)


async def _covered(
    cells: Cells, hits: Sequence[Example], mine: Collection[TrackId]
) -> dict[TrackId, float]:
    """The share of the hits that each of these tracks has already."""
    if len(hits) < OVERLAP_MIN:
        return {}
    async with cells.home.acquire() as connection:
        matches = await merged.matches(cells, connection, [hit.tweet for hit in hits])
    credited = Counter(match.track_id for found in matches.values() for match in found)
    return {
        track_id: count / len(hits)
        for track_id, count in credited.most_common()
        if track_id in mine
    }
