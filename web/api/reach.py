"""The call that says what each network and source delivers of a track."""

from datetime import datetime

import msgspec
from aiohttp import web

from stream.reach import reach_sentence
from stream.store import track_reach
from stream.tweet import NetworkName, ReachHow
from web.api.operations import operation
from web.api.params import row_number
from web.context import app_context, person
from web.track_editing import service


class ReachLine(msgspec.Struct, frozen=True):
    """What a source delivers of a track.

    `how`: pushed to the network as a filter, decided here, both, or cannot. `text`: the sentence
    that pages show. `complete_since` null: it does not deliver at the moment.
    """

    source: str
    network: NetworkName
    how: ReachHow
    text: str
    since: datetime
    complete_since: datetime | None
    seconds_missing: int
    seconds_refilled: int


class ReachOfTrack(msgspec.Struct, frozen=True):
    """What each source that is asked for a track delivers of it."""

    reach: list[ReachLine]


@operation(
    "GET",
    "/api/v1/tracks/{id:[0-9]+}/reach",
    "getTrackReach",
    "Tracks",
    path_help="Id of the track.",
)
async def get_track_reach(request: web.Request) -> ReachOfTrack:
    """What each network and source delivers of a track, and what is missing."""
    async with app_context(request).database.acquire() as connection:
        track = await service.require(connection, person(request), row_number(request))
        found = await track_reach.of_tracks(connection, [track.id])
    return ReachOfTrack(
        [
            ReachLine(
                each.source,
                each.network,
                each.how,
                reach_sentence(each),
                each.since,
                each.complete_since,
                each.seconds_missing,
                each.seconds_refilled,
            )
            for each in found
        ]
    )


OPERATIONS = (get_track_reach,)
