"""What a download says about its tracks: what each source delivers of them."""

from collections.abc import Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from stream.db import Executor
from stream.networks.descriptions import TITLES
from stream.reach import reach_sentence
from stream.store import track_reach, tracks
from stream.tweet import TrackId
from web.queries.tweets import TweetQuery

LINKS_MAX = 10  # tracks that a header names
NOTES = (
    ("look_back", "Ids of the tracks for which a look-back found the tweet, not the stream."),
    ("received_at", "Of a tweet that a look-back found: its original time, or when it was found."),
)  # of columns


async def rows(connection: Executor, query: TweetQuery, zone: ZoneInfo) -> list[tuple[str, str]]:
    """Two columns: when it was made, the tracks, and the reach of each."""
    found = [("Downloaded", f"{datetime.now(UTC).astimezone(zone):%Y-%m-%d %H:%M} ({zone.key})")]
    asked = query.tracks or ()
    reaches = await track_reach.of_tracks(connection, asked)
    for track in await tracks.get_many(connection, asked):
        found.append((f"Track {track.id}", track.value))
        found += [
            (f"{each.source} ({TITLES[each.network]})", reach_sentence(each, zone))
            for each in reaches
            if each.track_id == track.id
        ]
    return [*found, *((f"Column {name}", text) for name, text in NOTES)]


def link_header(tracks: Sequence[TrackId] | None, base: str) -> str:
    """The header `Link` to the reach of these tracks; empty for all tracks, or too many."""
    some = tracks if tracks and len(tracks) <= LINKS_MAX else ()
    return ", ".join(f'<{base}/api/v1/tracks/{each}/reach>; rel="describedby"' for each in some)
