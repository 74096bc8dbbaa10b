"""New versions of stored tweets, matched again."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from stream.db import Executor, row_count
from stream.keys import received_at
from stream.store.tweets import IncomingTweet
from stream.tweet import TrackId, TweetId

# $1: the tweet; $2: when it was received. The later of two versions stays.
_REPLACE = """
UPDATE tweets SET kind = $4, lang = $5, url = $6, text = $7, doc = $8, edited_at = $3
WHERE id = $1 AND received_at = $2 AND coalesce(edited_at, received_at) < $3
"""
_UNMATCH = """
DELETE FROM matches WHERE tweet_id = $1 AND received_at = $2 AND track_id <> ALL ($3::bigint[])
RETURNING track_id
"""
_MATCH_AGAIN = """
INSERT INTO matches (tweet_id, track_id, received_at, term, field, part)
SELECT $1, track_id, $2, term, field, part
FROM unnest($3::bigint[], $4::text[], $5::text[], $6::text[]) AS new (track_id, term, field, part)
ON CONFLICT DO NOTHING RETURNING track_id
"""


class Rematched(msgspec.Struct, frozen=True):
    """Which tracks a new version of a tweet matches now, and which no longer."""

    received_at: datetime  # of the first version
    added: Sequence[TrackId]
    removed: Sequence[TrackId]


async def replace(connection: Executor, key: TweetId, arrival: IncomingTweet) -> Rematched | None:
    """Store a new version of a tweet under its key, with its matches; None: nothing to replace."""
    tweet, at = arrival.tweet, received_at(key)
    done = await connection.execute(
        _REPLACE,
        key,
        at,
        arrival.received_at,
        tweet.kind,
        tweet.lang,
        tweet.url,
        tweet.text,
        arrival.doc,
    )
    if not row_count(done):
        return None
    tracks = [match.track_id for match in arrival.matches]
    removed = await connection.fetch(_UNMATCH, key, at, tracks)
    added = await connection.fetch(
        _MATCH_AGAIN,
        key,
        at,
        tracks,
        [match.term for match in arrival.matches],
        [match.field for match in arrival.matches],
        [match.part for match in arrival.matches],
    )
    return Rematched(
        at,
        [TrackId(row["track_id"]) for row in added],
        [TrackId(row["track_id"]) for row in removed],
    )
