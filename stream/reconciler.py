"""Put the rows of `tracks` and `sources` into effect, and write their states back.

The tables are authoritative: changed rows are read at every notification, and every `poll_interval`
seconds in case one was lost. The tracks yield one matcher, one plan for each network, and one state
for each row; the cost depends on what has changed only.
"""

import asyncio
import contextlib
import gc
import heapq
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TypeAlias, TypeVar

from stream.config import Settings
from stream.connection.recorder import ReportKind
from stream.db import Database, keep_listening
from stream.errors import DatabaseAway
from stream.matcher import Matcher
from stream.networks.base import Plan, RuleOwner
from stream.networks.registry import NETWORKS
from stream.reach import Reached
from stream.store import accounts, cells, snapshot, sources, tracks, webhooks
from stream.store.sources import SourceRow
from stream.store.track_changes import ChangeReader, TrackChanges
from stream.store.tracks import Track, TrackState, TrackStatus
from stream.text import storable
from stream.track_status import Deliveries, outages
from stream.tracking_plan import ActiveTracks, TrackingChange, inactive_reason
from stream.tweet import Match, NetworkName, SourceId, TrackId, Tweet

logger = logging.getLogger(__name__)

COPY_RETRY = 0.5  # seconds between two looks at copies that are too old
DEBOUNCE = 0.05  # seconds; many rows written one by one notify many times
# Tracks that are new, have changed, or are planned for another network, at once.
GC_PAUSE_TRACKS = 1000
# Tracks that the matcher takes up, or whose state is found, before other tasks have their turn.
SLICE_TRACKS = 100

T = TypeVar("T")

Sentences: TypeAlias = Mapping[TrackId, str]  # what a source reports of each track


class TrackReconciler:
    """Reads the tables, and keeps the matcher and the plans current."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        use_sources: Callable[[Sequence[SourceRow]], None],
        use_plans: Callable[[Mapping[NetworkName, Plan]], None],
        use_webhooks: Callable[[bool], None],
        *,
        writes_states: bool = True,
    ) -> None:
        self.database = database
        self.settings = settings
        self.use_sources = use_sources
        self.use_plans = use_plans
        self.use_webhooks = use_webhooks  # whether there are any
        self.writes_states = writes_states  # False: another daemon, which collects, does that
        self.matcher = Matcher()
        self.sources: Sequence[SourceRow] = ()
        self.matched_sources: Sequence[SourceRow] = ()  # with their tracks, which the matcher has
        self._active = ActiveTracks(settings)
        self._reader = ChangeReader()
        self._tracks: dict[TrackId, Track] = {}
        self._schedule: list[tuple[datetime, TrackId]] = []  # when tracks start or end; a heap
        self._outdated: set[TrackId] = set()  # tracks whose state may be outdated
        self._reports: dict[ReportKind, dict[SourceId, Sentences]] = {
            "refused": {},
            "reach": {},
            "stale": {},
        }
        self._enabled: Sequence[tuple[SourceId, str, NetworkName]] = ()
        self._outages: dict[SourceId, str] = {}
        self.paused: frozenset[TrackId] = frozenset()
        self.paused_because = ""
        self._changed = asyncio.Event()
        self._reloading = asyncio.Lock()
        self._read_at = 0.0  # as of when the matcher has the tracks; home's clock
        self._has_added = False  # to the matcher, in this reload
        self.tracks_at = 0.0  # as of when the newest tracks in it are at the latest; home's clock
        self.on_matched: Callable[[], None] = lambda: None  # it has new tracks, and plans follow

    @property
    def tracks(self) -> Sequence[Track]:
        """All tracks whose rows can be read."""
        return list(self._tracks.values())

    def rule_owners(self, network: NetworkName, rule: str) -> Sequence[RuleOwner]:
        """The tracks of a rule that a network names, by the plan for it."""
        plan = self._active.plans.get(network)
        return () if plan is None else plan.rule_owners.get(rule, ())

    def match(self, tweet: Tweet, network: NetworkName) -> list[Match]:
        """The tracks that a tweet of a network belongs to at the moment, with why."""
        found = self.matcher.match(tweet)
        if found and (others := self._active.not_from(network)):
            found = [each for each in found if each.track_id not in others]
        return found

    async def run(self) -> None:
        """Keep everything current until cancelled."""
        async with asyncio.TaskGroup() as group:
            listening = keep_listening(self.database, self._changed.set, self._reader.forget)
            group.create_task(listening, name="listen")
            group.create_task(self._poll_loop(), name="reconciler")

    async def until_read(self, at: float) -> None:
        """Wait until the matcher has all tracks as they were at this time, by home's clock."""
        while self._read_at < at:
            with contextlib.suppress(DatabaseAway):
                await self.reload()
            if self._read_at < at:  # home's tables are not copied into this cell yet
                await asyncio.sleep(COPY_RETRY)

    async def reload(self) -> None:
        """Put changed rows into effect; DatabaseAway when they cannot be read."""
        async with self._reloading:
            await self._reload()

    async def _reload(self) -> None:
        self._has_added = False
        try:
            async with self.database.acquire() as connection:
                read_at = await cells.read_at(connection)
                self.sources = await sources.get_all(connection)
                has_webhooks = await webhooks.any_exist(connection)
            changes = await self._reader.read(self.database)
            if changes.unreadable and self.writes_states:
                async with self.database.acquire() as connection:
                    await tracks.refuse(connection, changes.unreadable)
        except DatabaseAway:
            self._reader.forget()
            raise
        self.use_sources(self.sources)
        self.use_webhooks(has_webhooks)
        now, self.tracks_at = datetime.now(UTC), changes.at
        affected = self._apply_changes(changes, now)
        with _gc_paused(len(affected)):
            replanned = await self._replan(affected, now)
            self.matched_sources, self._read_at = self.sources, read_at
            try:
                if found := await self._find_accounts():
                    async with self.database.acquire() as connection:
                        self.tracks_at = await snapshot.clock(connection)
                    replanned |= await self._replan(found, now)
            finally:
                if self._has_added:
                    self.on_matched()
                if replanned:
                    self.use_plans(self._active.plans)
            if self.writes_states:
                await self._write_statuses()

    def note_network_report(self, source: SourceId, kind: ReportKind, tracks: Sentences) -> None:
        """Take over what a client reports about tracks; see `base.Reporter`."""
        before = self._reports[kind].get(source, {})
        if before != tracks:
            self._reports[kind][source] = dict(tracks)
            self._outdated |= before.keys() | tracks.keys()
            self._changed.set()

    def pause_tracks(self, paused: Iterable[TrackId], why: str) -> None:
        """Pause exactly these tracks for an external reason, such as a full disk."""
        before, self.paused, self.paused_because = self.paused, frozenset(paused), why
        self._outdated |= before | self.paused
        self._changed.set()

    # -- waiting ----------------------------------------------------------------------------------

    async def _poll_loop(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self.settings.poll_interval):
                    await self._changed.wait()
                    await asyncio.sleep(DEBOUNCE)
            except TimeoutError:
                pass
            self._changed.clear()
            try:
                await self.reload()
            except DatabaseAway as error:
                logger.info("tracks cannot be read; retrying", extra={"why": str(error)})

    # -- tracks -----------------------------------------------------------------------------------

    def _apply_changes(self, changes: TrackChanges, now: datetime) -> set[TrackId]:
        """Take over changed rows; returns the tracks to plan and report again."""
        for track_id in changes.gone | changes.unreadable.keys():
            self._tracks.pop(track_id, None)
        for track in changes.tracks:
            self._tracks[track.id] = track
            for moment in (track.starts_at, track.ends_at):
                if moment is not None and moment > now:
                    heapq.heappush(self._schedule, (moment, track.id))
        self._outdated.update(track.id for track in changes.tracks)
        while self._schedule and self._schedule[0][0] <= now:
            self._outdated.add(heapq.heappop(self._schedule)[1])
        enabled = [(row.id, row.name, row.network) for row in self.sources if row.enabled]
        out = outages(self.sources, self._outages, now)
        if (enabled, out) != (self._enabled, self._outages):
            self._enabled, self._outages = enabled, out
            self._outdated.update(self._tracks)
        return {*self._outdated, *changes.gone, *changes.unreadable}

    async def _find_accounts(self) -> set[TrackId]:
        """Use the current ids of tracked accounts; returns the tracks for which one has changed.

        Ids that are not known are looked up later.
        """
        ids: dict[str, str] = {}
        for network in sorted({network for _, _, network in self._enabled}):
            if handles := self._active.handles_of(network):
                async with self.database.acquire() as connection:
                    ids |= await accounts.tracked_ids(connection, network, handles)
        return self._active.use_ids(ids)

    async def _replan(self, affected: set[TrackId], now: datetime) -> bool:
        """Update matcher and plans for these tracks; whether the plans have changed."""
        # There may be thousands of changed rows: in a thread, so that no socket waits.
        change = await asyncio.to_thread(self._update, affected, self.paused, now)
        await self._rematch(change)
        self._outdated |= change.touched
        return change.has_new_plans

    def _update(
        self, affected: set[TrackId], paused: frozenset[TrackId], now: datetime
    ) -> TrackingChange:
        """Plan those of the affected tracks that are active now, and drop the others."""
        wanted = [
            track
            for track in map(self._tracks.get, sorted(affected))
            if track is not None and track.id not in paused and inactive_reason(track, now) is None
        ]
        unwanted = affected.difference(track.id for track in wanted)
        networks = frozenset(network for _, _, network in self._enabled)
        return self._active.update(wanted, unwanted, networks)

    async def _rematch(self, change: TrackingChange) -> None:
        """Update the matcher, which is in use on this event loop, a few tracks at a time."""
        for some in _slices(change.removed):
            for track_id, query in some:
                self.matcher.remove(track_id, query)
            await asyncio.sleep(0)
        self._has_added |= bool(change.added)
        for some in _slices(change.added):
            self.matcher.add(some)
            await asyncio.sleep(0)

    # -- states -----------------------------------------------------------------------------------

    async def _write_statuses(self) -> None:
        """Update the states and reasons of the rows."""
        now = datetime.now(UTC)
        reports, plans = self._reports, self._active.plans
        reached = Reached(NETWORKS, plans, self._enabled, reports["refused"], reports["reach"])
        deliveries = Deliveries(plans, self._enabled, self._outages, **reports)
        judged = self._outdated | self.matcher.faults.keys()
        changed: list[TrackStatus] = []
        for some in _slices(sorted(judged)):
            for track in filter(None, map(self._tracks.get, some)):
                state, reason = self._status_of(track, now, deliveries)
                # A network's text may contain characters that Postgres cannot store.
                reason = storable(reason)
                reach = () if track.id in self.matcher.faults else reached.of_track(track, now)
                if (state, reason, reach) != (track.state, track.reason, track.reach):
                    changed.append(TrackStatus(track.id, track.value, state, reason, reach))
            await asyncio.sleep(0)
        for page in _slices(changed, tracks.WRITE_BATCH):
            async with self.database.acquire() as connection:
                await tracks.write_states(connection, page)
        self._outdated -= judged

    def _status_of(
        self, track: Track, now: datetime, deliveries: Deliveries
    ) -> tuple[TrackState, str]:
        stale = deliveries.stale_sentences(track.id)
        if (inactive := inactive_reason(track, now)) is not None:
            return inactive[0], " ".join([inactive[1], *stale])
        if track.id in self.paused:
            return "paused", " ".join([self.paused_because, *stale])
        faults = self.matcher.faults
        if (why := self._active.refused.get(track.id) or faults.get(track.id)) is not None:
            return "refused", why
        return deliveries.status_of(track)


@contextlib.contextmanager
def _gc_paused(number: int) -> Iterator[None]:
    """Suspend garbage collection while many tracks are processed: it would block for seconds.

    It scans all objects repeatedly while many are created; none of them is garbage.
    """
    if number < GC_PAUSE_TRACKS:
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _slices(items: Sequence[T], size: int = SLICE_TRACKS) -> Iterator[Sequence[T]]:
    return (items[begin : begin + size] for begin in range(0, len(items), size))
