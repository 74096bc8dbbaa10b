"""The rows that the program writes for a corpus, to be stored by other means."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime

import msgspec

from pgbench.corpus import Corpus
from stream import batch
from stream.batch import Batch
from stream.matcher import Matcher
from stream.networks.x_v2.decode import decode
from stream.query import parse
from stream.tweet import Frame, SourceId, TrackId

TWEETS = (
    "id", "received_at", "created_at", "network", "native_id", "kind", "lang", "author_id",
    "author", "url", "withheld", "text", "doc",
)  # fmt: skip
IDENTITIES = ("network", "native_id", "tweet_id")
MATCHES = ("tweet_id", "track_id", "received_at", "term", "field", "part")
TRACK_MINUTES = ("track_id", "minute", "tweets")

SOURCE = SourceId(1)
NETWORK = "x_v2"
FRAME_INTERVAL = 100  # microseconds between two frames
FRAME_MAX = 8 << 20  # bytes of a frame

Row = tuple[object, ...]


class Rows(msgspec.Struct, frozen=True):
    """The rows of some tweets, by table."""

    tweets: Sequence[Row]
    identities: Sequence[Row]
    matches: Sequence[Row]
    track_minutes: Sequence[Row]

    def batches(self, size: int) -> Iterator["Rows"]:
        """Split into batches of `size` tweets, each with its matches and counts."""
        of_tweet: dict[object, list[Row]] = {}
        for match in self.matches:
            of_tweet.setdefault(match[0], []).append(match)
        for start in range(0, len(self.tweets), size):
            tweets = self.tweets[start : start + size]
            matches = [match for tweet in tweets for match in of_tweet.get(tweet[0], ())]
            identities = self.identities[start : start + size]
            yield Rows(tweets, identities, matches, _minutes(matches))


def matcher(corpus: Corpus) -> Matcher:
    """A matcher for the tracks of the corpus, numbered from 1."""
    return Matcher(
        (TrackId(number), parse("keyword", value)) for number, value in enumerate(corpus.tracks, 1)
    )


def prepare(corpus: Corpus) -> Rows:
    """Decode and match everything, as the writer does."""
    match = matcher(corpus).match
    # Always within today.
    first = time.time_ns() // 86_400_000_000_000 * 86_400_000_000
    frames = [
        Frame(first + n * FRAME_INTERVAL, body, n + 1) for n, body in enumerate(corpus.bodies)
    ]
    made = Batch(SOURCE, 0, FRAME_MAX)
    made.add(frames, decode, lambda tweet: batch.credit_tracks(tweet, match, lambda _: ()))
    assert len(made.arrivals) == len(corpus.bodies)
    tweets: list[Row] = []
    identities: list[Row] = []
    matches: list[Row] = []
    for arrival in made.arrivals:
        found, at = arrival.tweet, arrival.received_at
        own = found.own
        tweets.append(
            (arrival.id, at, found.created_at, NETWORK, found.native_id, found.kind, found.lang,
             own.author_id, own.author, found.url, found.withheld or None, found.text, arrival.doc)
        )  # fmt: skip
        identities.append((NETWORK, found.native_id, arrival.id))
        matches += [(arrival.id, m.track_id, at, m.term, m.field, m.part) for m in arrival.matches]
    return Rows(tweets, identities, matches, _minutes(matches))


def _minutes(matches: Sequence[Row]) -> list[Row]:
    counts: Counter[tuple[object, datetime]] = Counter()
    for match in matches:
        at = match[2]
        assert isinstance(at, datetime)
        counts[match[1], at.replace(second=0, microsecond=0)] += 1
    return [(track, minute, number) for (track, minute), number in counts.items()]
