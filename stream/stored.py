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

NO_KEY = 2**63 - 1  # behind every tweet

_RUNS = "SELECT source_id, run, first_id, last_id FROM runs ORDER BY source_id, run"
_COLUMNS = """tweets.id, tweets.received_at, tweets.created_at, tweets.network, tweets.native_id,
    tweets.kind, tweets.lang, tweets.author_id, tweets.author, tweets.url, tweets.text,
    tweets.doc"""
# Flagged as deleted, or withheld everywhere: kept, but not for anybody's eyes.
SHOWN = "tweets.deleted_at IS NULL AND NOT ('XX' = ANY (coalesce(tweets.withheld, '{}')))"
# By source: behind which key a reader wants it, and up to which. No join: so rows come in the order
# of the index, and only as many as are wanted.
_WANTED = """id > ($1::bigint[])[tweet_source(id)] AND id <= ($2::bigint[])[tweet_source(id)]
    AND id > $3 AND id <= $4"""
_BETWEEN = "received_at BETWEEN tweet_received_at($3) AND tweet_received_at($4)"
_AFTER = f"""
SELECT {_COLUMNS} FROM tweets WHERE {_WANTED} AND {_BETWEEN} AND {SHOWN} ORDER BY id LIMIT $5
"""  # noqa: S608 - constants
# Of each track as many as are wanted, by its own index; then the first of them all.
_AFTER_OF_TRACKS = f"""
WITH found AS (
    SELECT DISTINCT tweet_id, received_at
    FROM unnest($6::bigint[]) AS wanted (track_id)
    CROSS JOIN LATERAL (
        SELECT id AS tweet_id, received_at
        FROM (SELECT tweet_id AS id, received_at, track_id FROM matches) AS matches
        WHERE matches.track_id = wanted.track_id AND {_WANTED} AND {_BETWEEN}
        ORDER BY received_at, id LIMIT $5) AS first
    ORDER BY received_at, tweet_id LIMIT $5
)
SELECT found.tweet_id AS key, {_COLUMNS}
FROM found LEFT JOIN tweets
    ON tweets.id = found.tweet_id AND tweets.received_at = found.received_at AND {SHOWN}
ORDER BY key
"""  # noqa: S608 - constants
_COUNT = f"""
SELECT count(*) AS number
FROM (SELECT FROM tweets WHERE {_WANTED} AND {_BETWEEN} LIMIT $5) AS counted
"""  # noqa: S608 - constants
_NEWEST = f"""
SELECT id FROM tweets WHERE {_WANTED} AND {_BETWEEN} ORDER BY id DESC OFFSET $5 LIMIT 1
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


class Stretch(NamedTuple):
    """What there is to read of one source: keys of one run."""

    source: SourceId
    run: int
    low: TweetId  # exclusive
    high: TweetId
    last: bool  # of its source's runs


class Page(msgspec.Struct, frozen=True):
    """Tweets in order of their keys, the cursor behind them, and whether there are more now."""

    tweets: Sequence[StoredTweet]
    cursor: Cursor
    more: bool
    stretches: Sequence[Stretch] = ()

    def behind(self, key: TweetId) -> Cursor:
        """The cursor of a reader who has come as far as this tweet."""
        return Cursor({s.source: Place(s.run, _within(s, key)) for s in self.stretches})


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
    stretches = _stretches(await connection.fetch(_RUNS), cursor)
    found: list[StoredTweet] = []
    read = 0
    reached = TweetId(max((each.high for each in stretches), default=0))
    for group in _groups(stretches):
        if tracks is None:
            rows = await connection.fetch(_AFTER, *_wanted(group), limit - read)
        else:
            wanted = (*_wanted(group), limit - read, list(tracks))
            rows = await connection.fetch(_AFTER_OF_TRACKS, *wanted)
        read += len(rows)
        found += [_tweet(row) for row in rows if row["id"] is not None]
        if read == limit:
            reached = TweetId(rows[-1]["id" if tracks is None else "key"])
            break
    behind = any(_within(each, reached) < each.high or not each.last for each in stretches)
    page = Page(found, cursor, read == limit or behind, stretches)
    return msgspec.structs.replace(page, cursor=page.behind(reached)) if stretches else page


async def count(connection: Executor, cursor: Cursor, most: int) -> int:
    """How many tweets are stored behind the cursor, in the run that is read; counted up to most."""
    number = 0
    for group in _groups(_stretches(await connection.fetch(_RUNS), cursor)):
        [row] = await connection.fetch(_COUNT, *_wanted(group), most - number)
        number += row["number"]
    return number


async def newest(connection: Executor, cursor: Cursor, number: int) -> Cursor:
    """Behind all but the newest so many tweets, if there are more behind the cursor."""
    runs = await connection.fetch(_RUNS)
    for group in reversed(_groups(_stretches(runs, cursor))):
        rows = await connection.fetch(_NEWEST, *_wanted(group), number)
        if rows:
            key = TweetId(rows[0]["id"])
            last = {SourceId(row["source_id"]): row for row in runs}
            return Cursor(
                {
                    source: Place(row["run"], min(max(key, row["first_id"] - 1), row["last_id"]))
                    for source, row in last.items()
                }
            )
    return cursor


def _stretches(runs: Iterable[Row], cursor: Cursor) -> list[Stretch]:
    """Of each source the first run in which there is something to read, else the last one."""
    of_source: dict[SourceId, list[Row]] = {}
    for row in runs:
        of_source.setdefault(SourceId(row["source_id"]), []).append(row)
    return [_stretch(source, rows, cursor.places.get(source)) for source, rows in of_source.items()]


def _stretch(source: SourceId, runs: Sequence[Row], place: Place | None) -> Stretch:
    newest_run = runs[-1]["run"]
    # A cursor may know a run that a restored database does not: then it is in the last one.
    at = 0 if place is None else min(place.run, newest_run)
    for row in runs:
        run, low, high = row["run"], row["first_id"] - 1, row["last_id"]
        if place is not None and run == at:
            low = min(place.key, high)
        if (run >= at and low < high) or run == newest_run:
            return Stretch(source, run, TweetId(low), TweetId(high), run == newest_run)
    raise AssertionError("the last run is always one to be in")


def _within(stretch: Stretch, key: TweetId) -> TweetId:
    return max(stretch.low, min(stretch.high, key))


def _groups(stretches: Iterable[Stretch]) -> list[list[Stretch]]:
    """Those that have something to read, together when they overlap, oldest first.

    Between a run that came late and what is stored now may be millions of tweets of others.
    """
    groups: list[list[Stretch]] = []
    high = TweetId(0)
    for each in sorted((each for each in stretches if each.low < each.high), key=lambda e: e.low):
        if groups and each.low < high:
            groups[-1].append(each)
        else:
            groups.append([each])
        high = max(high, each.high)
    return groups


def _wanted(group: Sequence[Stretch]) -> tuple[list[int], list[int], int, int]:
    """The parameters of _WANTED."""
    sources = max(each.source for each in group)
    lows, highs = [NO_KEY] * sources, [0] * sources
    for each in group:
        lows[each.source - 1], highs[each.source - 1] = each.low, each.high
    return lows, highs, min(each.low for each in group), max(each.high for each in group)


def _tweet(row: Row) -> StoredTweet:
    return StoredTweet(*(row[name] for name in StoredTweet.__struct_fields__))


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
