"""What each network and source delivers of a track: the column tracks.reach, and its view."""

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache

import msgspec

from stream.db import Executor
from stream.tweet import NetworkName, ReachHow, SourceId, TrackId

# With the names of the sources; cheap, since it looks at no gaps.
NAMED = """
(SELECT jsonb_agg(jsonb_build_object('source', sources.name, 'network', sources.network,
        'how', reach.how, 'sentence', reach.sentence, 'since', reach.since)
    ORDER BY sources.network, sources.name)
 FROM jsonb_to_recordset(tracks.reach)
    AS reach (source_id integer, how text, sentence text, since timestamptz)
 JOIN sources ON sources.id = reach.source_id)"""
_NAMED_BY_TRACK = f"SELECT tracks.id, {NAMED} AS reach FROM tracks WHERE reach IS NOT NULL"  # noqa: S608 - constants
_OF_TRACKS = """
SELECT track_id, source_id, source, network, how, sentence, replays, since, complete_since,
    seconds_missing, seconds_refilled
FROM track_reach WHERE track_id = ANY ($1) ORDER BY track_id, network, source
"""


class SourceReach(msgspec.Struct, frozen=True):
    """An element of tracks.reach: how a source delivers a track, as the daemon writes it."""

    source_id: SourceId
    how: ReachHow
    sentence: str
    since: datetime
    replays: bool = False  # the network resends what was missed


class NamedReach(msgspec.Struct, frozen=True):
    """How a source delivers a track, without what is missing."""

    source: str
    network: NetworkName
    how: ReachHow
    sentence: str
    since: datetime


class TrackReach(msgspec.Struct, frozen=True):
    """What a source delivers of a track, and what it has missed since it began."""

    track_id: TrackId
    source_id: SourceId
    source: str
    network: NetworkName
    how: ReachHow
    sentence: str
    replays: bool
    since: datetime
    complete_since: datetime | None  # nothing is missing since then; null: it does not deliver now
    seconds_missing: int
    seconds_refilled: int


_decode = msgspec.json.Decoder(tuple[SourceReach, ...]).decode


@lru_cache(maxsize=4096)  # tracks that were added together have the same
def read_column(body: bytes | None) -> tuple[SourceReach, ...]:
    """The elements of tracks.reach; none if the program has not written it."""
    try:
        return () if body is None else _decode(body)
    except msgspec.MsgspecError:
        return ()


_decode_named = msgspec.json.Decoder(tuple[NamedReach, ...]).decode


def read_named(body: bytes | None) -> Sequence[NamedReach]:
    """The elements of `NAMED`."""
    return () if body is None else _decode_named(body)


def write_column(reach: Sequence[SourceReach]) -> str | None:
    """The text of tracks.reach."""
    return msgspec.json.encode(reach).decode() if reach else None


async def named_by_track(connection: Executor) -> dict[TrackId, Sequence[NamedReach]]:
    """How each source delivers each track; only tracks that any source is asked for."""
    rows = await connection.fetch(_NAMED_BY_TRACK)
    return {TrackId(row["id"]): read_named(row["reach"]) for row in rows}


async def of_tracks(connection: Executor, track_ids: Sequence[TrackId]) -> list[TrackReach]:
    """What each source delivers of these tracks."""
    return [TrackReach(**row) for row in await connection.fetch(_OF_TRACKS, list(track_ids))]
