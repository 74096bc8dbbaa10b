"""The active tracks: their parsed queries, and the plan of each network, updated track by track.

Adding a track costs the same however many there are.

Nothing here uses the event loop: `update` may run in a thread, one call at a time.
"""

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime

import msgspec

from stream.config import Settings
from stream.errors import InvalidQuery
from stream.matcher import Matcher, fault_reason
from stream.networks.base import Plan, Planner
from stream.networks.registry import NETWORKS
from stream.query import Query, TrackKind, handles_in, parse, with_ids
from stream.store.tracks import Track, TrackState
from stream.tweet import NetworkName, TrackId

logger = logging.getLogger(__name__)


class TrackingChange(msgspec.Struct, frozen=True):
    """What an update changes: queries for the matcher, and tracks whose state may differ."""

    removed: Sequence[tuple[TrackId, Query]]
    added: Sequence[tuple[TrackId, Query]]
    touched: frozenset[TrackId]
    has_new_plans: bool


class ActiveTrack(msgspec.Struct, frozen=True):
    """An active track as it was planned."""

    kind: TrackKind
    value: str
    networks: frozenset[NetworkName] | None  # None: all
    query: Query | None  # None: refused
    ids: Mapping[str, str | None] = {}  # of the handles in it that are looked up; None: not yet

    def is_same(
        self, track: Track, networks: frozenset[NetworkName] | None, ids: Mapping[str, str]
    ) -> bool:
        """Whether a track would be planned in the same way again."""
        planned = self.kind, self.value, self.networks
        return planned == (track.kind, track.value, networks) and all(
            ids.get(handle) == known for handle, known in self.ids.items()
        )


class ActiveTracks:
    """All tracks that are active now."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.plans: Mapping[NetworkName, Plan] = {}
        self.refused: dict[TrackId, str] = {}  # tracks that cannot be parsed or planned
        self._planners: dict[NetworkName, Planner] = {}
        self._active: dict[TrackId, ActiveTrack] = {}
        self._ids: Mapping[str, str] = {}  # of handles; empty: no account has it
        self._by_handle: defaultdict[str, set[TrackId]] = defaultdict(set)
        self._not_from: defaultdict[NetworkName, set[TrackId]] = defaultdict(set)

    def not_from(self, network: NetworkName) -> AbstractSet[TrackId]:
        """Active tracks for which others than this network were chosen."""
        return self._not_from[network]

    def handles_of(self, network: NetworkName) -> list[str]:
        """Handles in active tracks whose ids this network has to look up."""
        is_looked_up = NETWORKS[network].looks_up_handle
        return sorted(filter(is_looked_up, self._by_handle)) if is_looked_up is not None else []

    def use_ids(self, ids: Mapping[str, str]) -> set[TrackId]:
        """Use these ids of handles from now on; returns the tracks to update."""
        before, self._ids = self._ids, ids
        changed = [each for each in self._by_handle if before.get(each) != ids.get(each)]
        return {track_id for handle in changed for track_id in self._by_handle[handle]}

    def __contains__(self, track_id: TrackId) -> bool:
        return track_id in self._active

    def update(
        self,
        wanted: Iterable[Track],
        unwanted: Iterable[TrackId],
        networks: frozenset[NetworkName],
    ) -> TrackingChange:
        """Add or change the wanted tracks, drop the unwanted; all others stay as they are."""
        removed: list[tuple[TrackId, Query]] = []
        added: list[tuple[TrackId, Query]] = []
        touched: set[TrackId] = set()
        for track_id in unwanted:
            if track_id in self._active:
                touched.add(track_id)
                removed.extend(self._drop(track_id))
        for track in wanted:
            new = _networks(track)
            old = self._active.get(track.id)
            if old and old.is_same(track, new, self._ids):
                continue
            touched.add(track.id)
            if old is not None:
                removed.extend(self._drop(track.id))
            added.extend(self._activate(track, new))
        has_new_plans = bool(touched) or networks != self._planners.keys()
        if has_new_plans:
            self._use_networks(networks)
            self._plan(touched)
        return TrackingChange(removed, added, frozenset(touched), has_new_plans)

    def _activate(
        self, track: Track, networks: frozenset[NetworkName] | None
    ) -> list[tuple[TrackId, Query]]:
        query = self._parse(track)
        handles: list[str] = []
        if query is not None:
            handles = [each for each in handles_in(query) if _is_looked_up(each, networks)]
            query = with_ids(
                query, {each: self._ids[each] for each in handles if each in self._ids}
            )
            for name, planner in self._planners.items():
                if networks is None or name in networks:
                    query = (
                        self._plan_track(planner, track.id, query) if query is not None else None
                    )
        ids = {handle: self._ids.get(handle) for handle in handles}
        for handle in handles:
            self._by_handle[handle].add(track.id)
        self._active[track.id] = ActiveTrack(track.kind, track.value, networks, query, ids)
        for name in NETWORKS.keys() - (NETWORKS.keys() if networks is None else networks):
            self._not_from[name].add(track.id)
        return [] if query is None else [(track.id, query)]

    def _parse(self, track: Track) -> Query | None:
        try:
            return parse(track.kind, track.value)
        except InvalidQuery as error:
            self.refused[track.id] = str(error)
        except Exception as error:
            logger.exception("parsing a track failed", extra={"track": track.id})
            self.refused[track.id] = fault_reason(error)
        return None

    def _plan_track(self, planner: Planner, track_id: TrackId, query: Query) -> Query | None:
        """Add a track to a plan; on an error it is dropped from all, and None is returned."""
        try:
            planner.follow(track_id, query)
        except Exception as error:
            logger.exception("planning a track failed", extra={"track": track_id})
            self.refused[track_id] = fault_reason(error)
            for each in self._planners.values():
                each.drop(track_id)
            return None
        return query

    def _drop(self, track_id: TrackId) -> list[tuple[TrackId, Query]]:
        dropped = self._active.pop(track_id)
        self.refused.pop(track_id, None)
        for tracks in self._not_from.values():
            tracks.discard(track_id)
        for handle in dropped.ids:
            self._by_handle[handle].discard(track_id)
            if not self._by_handle[handle]:
                del self._by_handle[handle]
        if dropped.query is None:
            return []
        for planner in self._planners.values():
            planner.drop(track_id)
        return [(track_id, dropped.query)]

    def _use_networks(self, networks: frozenset[NetworkName]) -> None:
        for name in self._planners.keys() - networks:
            del self._planners[name]
        for name in networks - self._planners.keys():
            planner = self._planners[name] = NETWORKS[name].planner(self.settings)
            for track_id, each in sorted(self._active.items()):
                asked = each.networks is None or name in each.networks
                if asked and each.query is not None:
                    self._plan_track(planner, track_id, each.query)

    def _plan(self, touched: set[TrackId]) -> None:
        self.plans = {name: planner.plan() for name, planner in self._planners.items()}
        for planner in self._planners.values():
            touched |= planner.news()


def _networks(track: Track) -> frozenset[NetworkName] | None:
    return None if track.networks is None else frozenset(track.networks)


def _is_looked_up(handle: str, networks: frozenset[NetworkName] | None) -> bool:
    """Whether one of these networks needs the id of an account with this handle."""
    return any(
        network.looks_up_handle is not None and network.looks_up_handle(handle)
        for name, network in NETWORKS.items()
        if networks is None or name in networks
    )


class TrackingPlan(msgspec.Struct, frozen=True):
    """The matcher and the plans for a set of tracks."""

    matcher: Matcher
    plans: Mapping[NetworkName, Plan]
    refused: Mapping[TrackId, str]  # values that cannot be parsed


def build_plan(
    current: Iterable[Track], networks: Iterable[NetworkName], settings: Settings
) -> TrackingPlan:
    """Parse tracks, and plan them for networks."""
    active = ActiveTracks(settings)
    active.update((), (), frozenset(networks))
    change = active.update(current, (), frozenset(networks))
    return TrackingPlan(Matcher(change.added), active.plans, active.refused)


def inactive_reason(track: Track, now: datetime | None = None) -> tuple[TrackState, str] | None:
    """State and reason of a track that is not active now; None when it is active."""
    now = now or datetime.now(UTC)
    if not track.enabled:
        return "paused", "Paused. Resume it to collect again."
    if track.starts_at is not None and now < track.starts_at:
        return "scheduled", f"Starts at {track.starts_at:%Y-%m-%d %H:%M} UTC."
    if track.ends_at is not None and now >= track.ends_at:
        return "ended", f"Ended at {track.ends_at:%Y-%m-%d %H:%M} UTC."
    return None
