"""Matchers of single tracks, with the ids of the accounts that they name."""

import hashlib
from collections.abc import Collection, Sequence

import msgspec

from stream.db import Executor
from stream.errors import InvalidQuery
from stream.matcher import Matcher
from stream.networks.registry import NETWORKS
from stream.query import Query, TrackKind, handles_in, parse, with_ids
from stream.store import accounts, tracks
from stream.store.look_back_queue import LookedTrack
from stream.tweet import NETWORK_NAMES, NetworkName, TrackId


def digest(track: LookedTrack) -> str:
    """What changes when the track is edited so that other posts belong to it."""
    networks = None if track.networks is None else sorted(track.networks)
    times = track.starts_at, track.ends_at
    text = msgspec.json.encode((track.kind, track.value, networks, *times))
    return hashlib.sha256(text).hexdigest()[:32]


def networks_of(track: LookedTrack) -> Sequence[NetworkName]:
    """The networks that the track is about."""
    return track.networks or NETWORK_NAMES


class TrackQuery(msgspec.Struct, frozen=True):
    """A parsed track; `complete`: all accounts that it names were looked up."""

    query: Query
    complete: bool


async def query_of(
    connection: Executor, kind: TrackKind, value: str, networks: Collection[NetworkName]
) -> TrackQuery:
    """The query of a track, for posts of these networks; InvalidQuery."""
    query, complete = parse(kind, value), True
    for name in networks:
        is_looked_up = NETWORKS[name].looks_up_handle
        handles = [] if is_looked_up is None else [*filter(is_looked_up, handles_in(query))]
        if handles:
            ids = await accounts.tracked_ids(connection, name, handles)
            complete = complete and len(ids) == len(handles)
            query = with_ids(query, ids)
    return TrackQuery(query, complete)


async def matcher_of(connection: Executor, track_ids: Collection[TrackId]) -> Matcher:
    """A matcher of these tracks, as far as they exist and can be parsed."""
    followed = []
    for track in await tracks.get_many(connection, sorted(track_ids)):
        try:
            found = await query_of(
                connection, track.kind, track.value, track.networks or NETWORK_NAMES
            )
        except InvalidQuery:
            continue
        followed.append((track.id, found.query))
    return Matcher(followed)
