"""What each source delivers of a track, in one plain sentence."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from functools import lru_cache

import msgspec

from stream.networks.base import Network, Plan
from stream.store.track_reach import SourceReach, TrackReach
from stream.store.tracks import Track
from stream.text import format_duration, plain
from stream.tweet import NetworkName, ReachHow, SourceId, TrackId

SOURCES_MAX = 100  # in one row of tracks
CANNOT = "Cannot be collected here."

Reports = Mapping[SourceId, Mapping[TrackId, str]]


class Reached(msgspec.Struct, frozen=True):
    """What is known about the sources: their plans, and what they report about tracks."""

    networks: Mapping[NetworkName, Network]
    plans: Mapping[NetworkName, Plan]
    sources: Sequence[tuple[SourceId, str, NetworkName]]  # the enabled ones
    refused: Reports
    reach: Reports  # of networks whose servers differ

    def of_track(self, track: Track, now: datetime) -> Sequence[SourceReach]:
        """The value of tracks.reach; `since` is when a source began to deliver, or stopped."""
        before = {each.source_id: each for each in track.reach}
        found: list[SourceReach] = []
        for source_id, network, how, note in self._asked(track):
            old = before.get(source_id)
            goes_on = old is not None and (old.how == "cannot") == (how == "cannot")
            since = old.since if old is not None and goes_on else now
            own = self.reach.get(source_id, {}).get(track.id, "")
            basis = CANNOT if how == "cannot" else own or self.networks[network].delivers[how]
            replays = self.networks[network].event_position is not None
            found.append(
                SourceReach(source_id, how, _joined(basis, note), since, replays and not note)
            )
        return tuple(found[:SOURCES_MAX])

    def _asked(self, track: Track) -> Iterator[tuple[SourceId, NetworkName, ReachHow, str]]:
        """The sources that are asked for a track: how they deliver it, and limitations."""
        for source_id, _, network in self.sources:
            plan = self.plans.get(network)
            if plan is None or (track.networks is not None and network not in track.networks):
                continue
            if (why := plan.refused.get(track.id)) is not None:
                yield source_id, network, "cannot", why
            elif (how := plan.how.get(track.id)) is not None:  # None: it is not active
                # A server that delivers a part says so itself.
                partly = track.id in self.reach.get(source_id, {})
                if (why := self.refused.get(source_id, {}).get(track.id)) is None or partly:
                    yield source_id, network, how, plan.caveats.get(track.id, "")
                else:
                    yield source_id, network, "cannot", why


@lru_cache(maxsize=4096)  # most tracks have the same sentences
def _joined(basis: str, note: str) -> str:
    return plain(f"{basis} {note}")


def reach_sentence(reach: TrackReach, zone: tzinfo = UTC, now: datetime | None = None) -> str:
    """What a source delivers of a track, since when, and what is missing; times in this zone."""
    if reach.how == "cannot":
        return reach.sentence
    parts = [reach.sentence]
    if reach.complete_since is None:
        parts.append("It does not deliver at the moment.")
    else:
        what = "Complete" if reach.replays else "No gaps"
        parts.append(f"{what} since {_time(reach.complete_since, zone, now)}.")
    if reach.seconds_missing:
        parts.append(f"Missing: {format_duration(reach.seconds_missing)}.")
    if reach.seconds_refilled:
        parts.append(f"Refilled: {format_duration(reach.seconds_refilled)}.")
    return " ".join(parts)


def _time(moment: datetime, zone: tzinfo, now: datetime | None) -> str:
    """21 Nov 14:02; with the year if it is another one, and with UTC."""
    local, today = moment.astimezone(zone), (now or datetime.now(UTC)).astimezone(zone)
    year = f" {local.year}" if local.year != today.year else ""
    suffix = " UTC" if zone is UTC else ""
    return f"{local.day} {local:%b}{year} {local:%H:%M}{suffix}"
