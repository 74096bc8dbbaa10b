"""Read what is stored, in the order of storing, from wherever a reader has come to.

There is no queue for readers: the tables are one. A cursor remembers for each source how far the
reader has come (`runs` in the schema); what it has not seen yet it is given, however long it was
away. A batch is visible as a whole or not at all, so nothing can appear behind a cursor.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec

from stream.db import Executor, Row
from stream.errors import TwitterstreamError
from stream.tweet import Field, NetworkName, Part, SourceId, TrackId, TweetId, TweetKind
from stream.tweets import received_at, to_datetime, tweet_key

_RUNS = "SELECT source_id, run, first_id, last_id FROM runs ORDER BY source_id, run"
_COLUMNS = """tweets.id, tweets.received_at, tweets.created_at, tweets.network, tweets.native_id,
    tweets.kind, tweets.lang, tweets.author_id, tweets.author, tweets.url, tweets.text,
    tweets.doc"""
# Flagged as deleted, or withheld everywhere: kept, but not for anybody's eyes.
_SHOWN = "tweets.deleted_at IS NULL AND NOT ('XX' = ANY (coalesce(tweets.withheld, '{}')))"
_STRETCHES = """unnest($1::integer[], $2::bigint[], $3::bigint[]) AS stretch (source, low, high)
    ON tweet_source(tweets.id) = stretch.source
    AND tweets.id > stretch.low AND tweets.id <= stretch.high"""
_AFTER = f"""
SELECT {_COLUMNS} FROM tweets JOIN {_STRETCHES}
WHERE tweets.id > $4 AND tweets.id <= $5
  AND tweets.received_at BETWEEN tweet_received_at($4) AND tweet_received_at($5) AND {_SHOWN}
ORDER BY tweets.id LIMIT $6
"""  # noqa: S608 - constants
_AFTER_OF_TRACKS = f"""
SELECT {_COLUMNS} FROM tweets JOIN {_STRETCHES}
WHERE (tweets.id, tweets.received_at) IN (
        SELECT tweet_id, received_at FROM matches
        WHERE track_id = ANY ($7) AND tweet_id > $4 AND tweet_id <= $5
          AND received_at BETWEEN tweet_received_at($4) AND tweet_received_at($5))
  AND tweets.received_at BETWEEN tweet_received_at($4) AND tweet_received_at($5) AND {_SHOWN}
ORDER BY tweets.id LIMIT $6
"""  # noqa: S608 - constants
_MATCHES = """
SELECT tweet_id, track_id, term, field, part FROM matches
WHERE tweet_id = ANY ($1) AND received_at BETWEEN $2 AND $3
ORDER BY tweet_id, track_id
"""


class Place(NamedTuple):
    """How far a reader has come in one source."""

    run: int
    key: TweetId


class Cursor(msgspec.Struct, frozen=True):
    """How far a reader has come; as text it fits into a URL. Sources it does not know are new."""

    places: Mapping[SourceId, Place]

    def __str__(self) -> str:
        return "~".join(f"{s}.{run}.{key}" for s, (run, key) in sorted(self.places.items())) or "0"

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """TwitterstreamError for anything that was never given out."""
        try:
            places = {
                SourceId(_number(source, 4095)): Place(
                    _number(run, 2**31 - 1), TweetId(_number(key, 2**63 - 1))
                )
                for source, run, key in (part.split(".") for part in text.split("~") if text != "0")
            }
        except ValueError as error:
            raise TwitterstreamError(
                "This cursor is none of ours: begin without one, or with a time."
            ) from error
        return cls(places)


def _number(text: str, greatest: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= greatest):
        raise ValueError(text)
    return int(text)


class StoredTweet(msgspec.Struct, frozen=True):
    """A row of tweets; `doc` is the message as it came."""

    id: TweetId
    received_at: datetime
    created_at: datetime | None
    network: NetworkName
    native_id: str
    kind: TweetKind
    lang: str | None
    author_id: str | None
    author: str | None
    url: str | None
    text: str
    doc: bytes


class StoredMatch(msgspec.Struct, frozen=True):
    """A row of matches: why a tweet belongs to a track."""

    tweet_id: TweetId
    track_id: TrackId
    term: str
    field: Field
    part: Part


class Page(msgspec.Struct, frozen=True):
    """Tweets in order of their keys, the cursor behind them, and whether there are more now."""

    tweets: Sequence[StoredTweet]
    cursor: Cursor
    more: bool


class _Stretch(NamedTuple):
    source: SourceId
    run: int
    low: TweetId  # exclusive
    high: TweetId
    last: bool  # of its source's runs


async def head(connection: Executor) -> Cursor:
    """Behind everything that is stored now."""
    return Cursor(
        {
            SourceId(row["source_id"]): Place(row["run"], TweetId(row["last_id"]))
            for row in await connection.fetch(_RUNS)
        }
    )


async def since(connection: Executor, time: datetime) -> Cursor:
    """Before everything that was received at this time or later."""
    microseconds = round((time - to_datetime(0)).total_seconds() * 1e6)
    key = TweetId(max(0, tweet_key(microseconds, SourceId(0)) - 1))
    places: dict[SourceId, Place] = {}
    found: set[SourceId] = set()  # those that have something as new as that
    for row in await connection.fetch(_RUNS):
        source = SourceId(row["source_id"])
        if source not in found:
            places[source] = Place(row["run"], min(key, TweetId(row["last_id"])))
            if row["last_id"] > key:
                found.add(source)
    return Cursor(places)


async def after(
    connection: Executor, cursor: Cursor, limit: int, tracks: Sequence[TrackId] | None = None
) -> Page:
    """The next tweets behind the cursor, at most so many; of these tracks only, or of all."""
    stretches = list(_stretches(await connection.fetch(_RUNS), cursor))
    ahead = [each for each in stretches if each.low < each.high]
    if not ahead:
        return Page((), cursor, more=False)
    low, high = min(each.low for each in ahead), max(each.high for each in ahead)
    arguments: list[object] = [
        [each.source for each in ahead],
        [each.low for each in ahead],
        [each.high for each in ahead],
        low,
        high,
        limit,
    ]
    if tracks is None:
        rows = await connection.fetch(_AFTER, *arguments)
    else:
        rows = await connection.fetch(_AFTER_OF_TRACKS, *arguments, list(tracks))
    full = len(rows) == limit
    reached = TweetId(rows[-1]["id"]) if full else high
    places = {
        each.source: Place(each.run, max(each.low, min(each.high, reached))) for each in stretches
    }
    behind = any(places[each.source].key < each.high or not each.last for each in stretches)
    return Page([StoredTweet(**row) for row in rows], Cursor(places), full or behind)


def _stretches(runs: Iterable[Row], cursor: Cursor) -> Iterable[_Stretch]:
    """Of each source the first run in which there is something to read, else the last one."""
    chosen: dict[SourceId, _Stretch] = {}
    for row in runs:
        source, run = SourceId(row["source_id"]), row["run"]
        place = cursor.places.get(source)
        before = chosen.get(source)
        if place is not None and run < place.run:
            continue
        if before is not None and before.low < before.high:
            chosen[source] = before._replace(last=False)
            continue
        low = place.key if place is not None and run == place.run else row["first_id"] - 1
        high = TweetId(row["last_id"])
        chosen[source] = _Stretch(source, run, TweetId(min(low, high)), high, last=True)
    return chosen.values()


async def matches(
    connection: Executor, tweets: Sequence[StoredTweet]
) -> dict[TweetId, list[StoredMatch]]:
    """Why these tweets belong to which tracks; tweets of no track are not in it."""
    if not tweets:
        return {}
    keys = [tweet.id for tweet in tweets]
    begin, end = received_at(min(keys)), received_at(max(keys))
    found: dict[TweetId, list[StoredMatch]] = {}
    for row in await connection.fetch(_MATCHES, keys, begin, end):
        found.setdefault(TweetId(row["tweet_id"]), []).append(StoredMatch(**row))
    return found
