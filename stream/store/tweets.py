"""Tweets and their matches."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from stream.db import Executor, copy, row_count
from stream.tweet import Match, NativeId, NetworkName, Tweet, TweetId

_NAME_AUTHOR = """
UPDATE tweets SET author = $3
WHERE network = $1 AND author_id = $2 AND received_at >= $4 AND author IS DISTINCT FROM $3
"""
_OF_AUTHOR = """
SELECT native_id, coalesce(doc #>> '{payload,cid}', doc #>> '{commit,cid}') AS version FROM tweets
WHERE network = $1 AND author_id = $2 AND received_at >= $3 AND deleted_at IS NULL
"""
_TWEET_COLUMNS = (
    "id",
    "received_at",
    "created_at",
    "network",
    "native_id",
    "kind",
    "lang",
    "author_id",
    "author",
    "url",
    "withheld",
    "text",
    "doc",
)
_MATCH_COLUMNS = ("tweet_id", "track_id", "received_at", "term", "field", "part", "look_back")


class IncomingTweet(msgspec.Struct, gc=False):
    """A tweet to be stored, and the tracks that it is credited to."""

    id: TweetId
    received_at: datetime
    minute: datetime  # of received_at
    tweet: Tweet
    doc: bytes
    matches: Sequence[Match]
    repaired: bool
    withheld: Sequence[str] | None = None


async def insert(
    connection: Executor,
    network: NetworkName,
    arrivals: Sequence[IncomingTweet],
    run: int | None,
    *,
    look_back: bool = False,
) -> None:
    """Store tweets with reserved ids, and their matches; `run`: None for the source's first."""
    columns, of_run = (_TWEET_COLUMNS, ()) if run is None else ((*_TWEET_COLUMNS, "run"), (run,))
    # Made while they are sent, so that Postgres works in parallel.
    rows = ((*_tweet_row(network, arrival), *of_run) for arrival in arrivals)
    await copy(connection, "tweets", columns, rows)
    if any(arrival.matches for arrival in arrivals):
        matches = ((*row, look_back) for arrival in arrivals for row in _match_rows(arrival))
        await copy(connection, "matches", _MATCH_COLUMNS, matches)


def _tweet_row(network: NetworkName, arrival: IncomingTweet) -> tuple[object, ...]:
    tweet = arrival.tweet
    return (
        arrival.id,
        arrival.received_at,
        tweet.created_at,
        network,
        tweet.native_id,
        tweet.kind,
        tweet.lang,
        tweet.own.author_id,
        tweet.own.author,
        tweet.url,
        arrival.withheld or tweet.withheld or None,
        tweet.text,
        arrival.doc,
    )


def _match_rows(arrival: IncomingTweet) -> list[tuple[object, ...]]:
    return [
        (arrival.id, match.track_id, arrival.received_at, match.term, match.field, match.part)
        for match in arrival.matches
    ]


async def name_author(
    connection: Executor, network: NetworkName, author_id: str, handle: str, since: datetime
) -> int:
    """Write an author's handle into the tweets received since then; returns how many had none."""
    return row_count(await connection.execute(_NAME_AUTHOR, network, author_id, handle, since))


async def versions_of_author(
    connection: Executor, network: NetworkName, author_id: str, since: datetime
) -> dict[NativeId, str | None]:
    """The tweets of an author received since then, each with its version as Bluesky names it."""
    rows = await connection.fetch(_OF_AUTHOR, network, author_id, since)
    return {NativeId(row["native_id"]): row["version"] for row in rows}
