"""What a look-back reads, and the matches that it adds to stored tweets."""

import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, datetime

import msgspec

from stream.db import Executor
from stream.keys import received_at
from stream.tweet import Match, NativeId, NetworkName, SourceId, TrackId, TweetId

# One day, in the order of the key.
_PAGE = """
SELECT id, network, native_id, doc FROM tweets
WHERE id > $1 AND received_at >= $2 AND received_at < $3 AND network = ANY ($4::text[])
  AND deleted_at IS NULL
ORDER BY id LIMIT $5
"""
# The rows of tweet_ids first, in the order of their key and as deletions take them: so a tweet gets
# no match while it is deleted. $3: when the first was received, $4: the last. $9, $10: when each
# version was received, and its text: the stored one may be a later one.
_CREDIT = """
WITH given AS (
    SELECT * FROM unnest(
        $5::text[], $6::text[], $7::text[], $8::text[], $9::timestamptz[], $10::text[])
        AS given (native_id, term, field, part, at, text)
), known AS MATERIALIZED (
    SELECT tweet_id, given.* FROM tweet_ids JOIN given USING (native_id)
    WHERE network = $1 AND tweet_id IS NOT NULL AND deleted_at IS NULL
    ORDER BY native_id COLLATE "C" FOR SHARE OF tweet_ids
), kept AS MATERIALIZED (
    SELECT tweets.id, tweets.received_at, known.term, known.field, known.part,
        octet_length(doc::text) AS bytes
    FROM known JOIN tweets
        ON tweets.id = tweet_id AND tweets.received_at = tweet_received_at(tweet_id)
    WHERE tweets.received_at BETWEEN $3 AND $4
      AND tweets.deleted_at IS NULL AND coalesce(edited_at <= at, true)
      AND coalesce(tweets.text = known.text, true)
), added AS (
    INSERT INTO matches (tweet_id, track_id, received_at, term, field, part, look_back)
    SELECT id, $2, received_at, term, field, part, true FROM kept ORDER BY id
    ON CONFLICT DO NOTHING RETURNING tweet_id
)
SELECT id, received_at, bytes FROM added JOIN kept ON id = tweet_id
"""
_OUTDATED = """
SELECT id, array_remove(array_agg(track_id), NULL) AS tracks
FROM unnest($1::bigint[], $2::timestamptz[]) AS edit (key, at)
JOIN tweets ON id = key AND received_at = tweet_received_at(key)
LEFT JOIN matches ON tweet_id = id AND matches.received_at = tweets.received_at
    AND matches.received_at BETWEEN $3 AND $4
WHERE tweets.received_at BETWEEN $3 AND $4 AND coalesce(edited_at, tweets.received_at) < at
GROUP BY id
"""
# A transaction has a 32-bit number: it is later than $4 when the difference, which wraps, is small.
# A post whose id was reserved by the transaction that added the match was not stored before.
_FOUND_SINCE = """
SELECT count(DISTINCT matches.tweet_id) AS found,
    count(DISTINCT matches.tweet_id) FILTER (WHERE tweet_ids.xmin = matches.xmin) AS stored
FROM tweet_ids JOIN matches ON matches.tweet_id = tweet_ids.tweet_id
    AND matches.received_at = tweet_received_at(tweet_ids.tweet_id)
WHERE network = $1 AND native_id = ANY ($2::text[]) AND deleted_at IS NULL
  AND track_id = $3 AND look_back
  AND ((matches.xmin::text::bigint - $4::bigint) & 4294967295) < 2147483648
"""
_NEXT_TRANSACTION = """
SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS number
"""
_ARCHIVED = "SELECT DISTINCT day FROM archives WHERE day = ANY ($1::date[])"
_COPIES = """
SELECT path, source_id, journal, position, until, began_at FROM raw_archives
WHERE source_id = ANY ($1::integer[]) ORDER BY source_id, journal, position
"""
# Of a source with several lanes, what all of them have stored.
_POSITIONS = """
SELECT journal, min(position) AS position
FROM positions LEFT JOIN lanes ON lanes.id = positions.source_id
WHERE coalesce(lanes.source_id, positions.source_id) = ANY ($1::integer[]) GROUP BY journal
"""
_TRACK_STATE = """
SELECT state <> 'pending' OR reason <> '' AS known FROM tracks WHERE id = $1
"""
_KNOWN_AUTHORS = """
SELECT author_id FROM accounts WHERE network = $1 AND author_id = ANY ($2::text[])
"""


class StoredDoc(msgspec.Struct, frozen=True, gc=False):
    """A stored tweet, as far as matching needs it."""

    id: TweetId
    network: NetworkName
    native_id: NativeId
    doc: bytes


class SegmentCopy(msgspec.Struct, frozen=True):
    """A segment of a journal in the raw backup."""

    path: str  # below archive.url
    source_id: SourceId
    journal: uuid.UUID
    position: int  # of its first byte
    until: int  # the position after its last byte
    began_at: datetime  # of its first frame


class Found(msgspec.Struct, frozen=True, gc=False):
    """A version of a stored tweet that a track matches."""

    id: TweetId
    native_id: NativeId
    match: Match
    version_at: datetime  # when this version was received
    text: str | None = None  # of this version; None: it is the stored one


class Credited(msgspec.Struct, frozen=True, gc=False):
    """A stored tweet that has got a match."""

    id: TweetId
    received_at: datetime
    bytes: int  # of its document


class Added(msgspec.Struct, frozen=True):
    """Posts that the track has got, and how many of these were not stored before."""

    found: int
    stored: int

    def __sub__(self, before: "Added") -> "Added":
        return Added(self.found - before.found, self.stored - before.stored)


async def page(
    connection: Executor,
    after: TweetId,
    bounds: tuple[datetime, datetime],
    networks: Sequence[NetworkName],
    limit: int,
) -> list[StoredDoc]:
    """The next stored tweets of a day after this key."""
    rows = await connection.fetch(_PAGE, after, *bounds, networks, limit)
    return [StoredDoc(**row) for row in rows]


async def credit(
    connection: Executor, network: NetworkName, track_id: TrackId, found: Sequence[Found]
) -> list[Credited]:
    """Credit stored tweets to a track; returns those that it did not have before.

    Left out are those of which a later version is stored.
    """
    rows = await connection.fetch(
        _CREDIT,
        network,
        track_id,
        *_bounds(each.id for each in found),
        [each.native_id for each in found],
        [each.match.term for each in found],
        [each.match.field for each in found],
        [each.match.part for each in found],
        [each.version_at for each in found],
        [each.text for each in found],
    )
    return [Credited(**row) for row in rows]


async def next_transaction(connection: Executor) -> int:
    """A number that no transaction has had yet, and all later ones reach."""
    [row] = await connection.fetch(_NEXT_TRANSACTION)
    return int(row["number"])


async def found_since(
    connection: Executor,
    network: NetworkName,
    native_ids: Collection[NativeId],
    track_id: TrackId,
    transaction: int,
) -> Added:
    """Which of these posts a track has from look-backs since this transaction; none deleted."""
    rows = await connection.fetch(_FOUND_SINCE, network, list(native_ids), track_id, transaction)
    return Added(**rows[0])


async def outdated(
    connection: Executor, edits: Mapping[TweetId, datetime]
) -> dict[TweetId, list[TrackId]]:
    """The tracks of those tweets of which an older version is stored than was received then."""
    rows = await connection.fetch(_OUTDATED, list(edits), list(edits.values()), *_bounds(edits))
    return {TweetId(row["id"]): [TrackId(each) for each in row["tracks"]] for row in rows}


def _bounds(keys: Iterable[TweetId]) -> tuple[datetime, datetime]:
    """When the first and the last of these tweets were received."""
    every = list(keys)
    return received_at(min(every)), received_at(max(every))


async def archived_days(connection: Executor, days: Sequence[date]) -> set[date]:
    """Which of these days have an archive."""
    return {row["day"] for row in await connection.fetch(_ARCHIVED, days)}


async def copies(connection: Executor, source_ids: Sequence[SourceId]) -> list[SegmentCopy]:
    """The copied segments of these sources' journals, each journal's in order."""
    return [SegmentCopy(**row) for row in await connection.fetch(_COPIES, source_ids)]


async def positions(connection: Executor, source_ids: Sequence[SourceId]) -> dict[uuid.UUID, int]:
    """How far the journals of these sources are stored."""
    return {
        row["journal"]: row["position"] for row in await connection.fetch(_POSITIONS, source_ids)
    }


async def is_matched(connection: Executor, track_id: TrackId) -> bool:
    """Whether the daemon has taken up the track as it is now, or the track is gone."""
    rows = await connection.fetch(_TRACK_STATE, track_id)
    return not rows or bool(rows[0]["known"])


async def known_authors(
    connection: Executor, network: NetworkName, author_ids: Sequence[str]
) -> set[str]:
    """Which of these authors have a stored tweet, on networks whose authors are all listed."""
    rows = await connection.fetch(_KNOWN_AUTHORS, network, author_ids)
    return {row["author_id"] for row in rows}
