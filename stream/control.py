"""Keep what people wrote into `tracks` and `sources` in force, and tell them so in the rows.

The tables are the truth: they are read again at every ring of the bell, and every `reload_every`
seconds in case a ring was lost. From the tracks come one matcher, one plan for each network, and
one verdict for each row.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TypeAlias

import msgspec

from stream import sources, tracks
from stream.config import Settings
from stream.db import Database, listen
from stream.errors import DatabaseAway, InvalidQuery
from stream.matcher import Matcher
from stream.networks.base import Followed, Plan
from stream.networks.table import NETWORKS
from stream.query import Query, TrackKind, parse
from stream.sources import SourceRow
from stream.tracks import Track, TrackState, Verdict
from stream.tweet import NetworkName, SourceId, TrackId

logger = logging.getLogger(__name__)

LISTEN_AGAIN = 1.0  # seconds between two attempts to hear the bell
SETTLE = 0.05  # seconds; many rows written one by one ring many times

Refusals: TypeAlias = Mapping[TrackId, str]


class Followings(msgspec.Struct, frozen=True):
    """All tracks as they shall be followed now, made once for each change of the table."""

    matcher: Matcher
    plans: Mapping[NetworkName, Plan]
    parsed: Mapping[
        tuple[TrackKind, str], Query | str
    ]  # by kind and value; a str says what is wrong
    refused: Refusals  # values that cannot be understood


class Control:
    """Reads the tables; `followings` is always whole and current."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        use_sources: Callable[[Sequence[SourceRow]], None],
        use_plans: Callable[[Mapping[NetworkName, Plan]], None],
    ) -> None:
        self.database = database
        self.settings = settings
        self.use_sources = use_sources
        self.use_plans = use_plans
        self.followings = Followings(Matcher(()), {}, {}, {})
        self.tracks: Sequence[Track] = ()
        self.sources: Sequence[SourceRow] = ()
        self._wanted: tuple[object, ...] | None = None
        self._refusals: dict[SourceId, Refusals] = {}
        self._held: frozenset[TrackId] = frozenset()
        self._held_why = ""
        self._bell = asyncio.Event()

    async def run(self) -> None:
        """Keep everything current until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._hear(), name="bell")
            group.create_task(self._reload_loop(), name="control")

    async def reload(self) -> None:
        """Read the tables and put into force what has changed. DatabaseAway when it cannot."""
        async with self.database.acquire() as connection:
            self.sources = await sources.everything(connection)
            self.tracks = await tracks.everything(connection)
        self.use_sources(self.sources)
        await self._follow()
        verdicts = list(self._verdicts(datetime.now(UTC)))
        changed = [
            verdict
            for verdict, track in zip(verdicts, self.tracks, strict=True)
            if (verdict.state, verdict.reason) != (track.state, track.reason)
        ]
        if changed:
            async with self.database.acquire() as connection:
                await tracks.write_states(connection, changed)

    def note_refusals(self, source: SourceId, refusals: Refusals) -> None:
        """A network refused tracks that our own reading of its rules had let pass."""
        if self._refusals.get(source, {}) != refusals:
            self._refusals[source] = dict(refusals)
            self._bell.set()

    def hold(self, held: Iterable[TrackId], why: str) -> None:
        """Pause these tracks, and no others, for a reason outside them such as a full disk."""
        self._held, self._held_why = frozenset(held), why
        self._bell.set()

    # -- waiting ----------------------------------------------------------------------------------

    async def _hear(self) -> None:
        while True:
            try:
                async with self.database.dedicated() as connection:
                    await listen(connection, self._bell.set)
            except DatabaseAway:
                await asyncio.sleep(LISTEN_AGAIN)

    async def _reload_loop(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self.settings.reload_every):
                    await self._bell.wait()
                    await asyncio.sleep(SETTLE)
            except TimeoutError:
                pass
            self._bell.clear()
            try:
                await self.reload()
            except DatabaseAway as error:
                logger.info("tracks cannot be read now", extra={"why": str(error)})

    # -- tracks -----------------------------------------------------------------------------------

    async def _follow(self) -> None:
        now = datetime.now(UTC)
        current = [
            track for track in self.tracks if track.id not in self._held and due(track, now) is None
        ]
        networks = frozenset(row.network for row in self.sources if row.enabled)
        wanted = (networks, *((t.id, t.kind, t.value, t.networks) for t in current))
        if wanted != self._wanted:
            # Thousands of rows may come at once: off the loop, so that no socket has to wait.
            self.followings = await asyncio.to_thread(
                follow, current, networks, self.settings, self.followings.parsed
            )
            self._wanted = wanted
            self.use_plans(self.followings.plans)

    # -- verdicts ---------------------------------------------------------------------------------

    def _verdicts(self, now: datetime) -> Iterable[Verdict]:
        networks = {row.network for row in self.sources if row.enabled}
        for track in self.tracks:
            state, reason = self._verdict(track, now, networks)
            yield Verdict(track.id, track.value, state, reason)

    def _verdict(
        self, track: Track, now: datetime, networks: set[NetworkName]
    ) -> tuple[TrackState, str]:
        if (not_due := due(track, now)) is not None:
            return not_due
        if track.id in self._held:
            return "paused", self._held_why
        if track.id in self.followings.refused:
            return "refused", self.followings.refused[track.id]
        asked = networks if track.networks is None else networks.intersection(track.networks)
        if not asked:
            return "pending", "No enabled source can follow this track; add one or enable it."
        refused, caveats = self._objections(track.id, asked)
        reason = " ".join([*refused, *caveats])
        if len(refused) == len(asked):
            return "refused", reason
        return ("partial" if reason else "active"), reason

    def _objections(
        self, track_id: TrackId, asked: set[NetworkName]
    ) -> tuple[list[str], list[str]]:
        """What the networks say against a track: those that refuse it, and those that limit it."""
        refused: dict[NetworkName, str] = {}
        caveats: list[str] = []
        for name in sorted(asked):
            plan = self.followings.plans.get(name)
            if plan is not None and track_id in plan.refused:
                refused[name] = f"{name}: {plan.refused[track_id]}"
            elif plan is not None and track_id in plan.caveats:
                caveats.append(f"{name}: {plan.caveats[track_id]}")
        for row in self.sources:
            sentence = self._refusals.get(row.id, {}).get(track_id)
            if row.enabled and row.network in asked and sentence is not None:
                refused.setdefault(row.network, f"{row.name}: {sentence}")
        return list(refused.values()), caveats


def follow(
    current: Sequence[Track],
    networks: Iterable[NetworkName],
    settings: Settings,
    known: Mapping[tuple[TrackKind, str], Query | str],
) -> Followings:
    """Parse these tracks, unless it is known already, and plan them for these networks. Pure."""
    parsed = {}
    queries: dict[TrackId, Query] = {}
    refused: dict[TrackId, str] = {}
    for track in current:
        key = track.kind, track.value
        query = parsed[key] = known.get(key) or _parse(track)
        if isinstance(query, str):
            refused[track.id] = query
        else:
            queries[track.id] = query
    plans = {name: _plan(name, current, queries, settings) for name in networks}
    return Followings(Matcher(queries.items()), plans, parsed, refused)


def _parse(track: Track) -> Query | str:
    try:
        return parse(track.kind, track.value)
    except InvalidQuery as error:
        return str(error)


def _plan(
    name: NetworkName,
    current: Sequence[Track],
    queries: Mapping[TrackId, Query],
    settings: Settings,
) -> Plan:
    followed = [
        Followed(track.id, queries[track.id])
        for track in current
        if track.id in queries and (track.networks is None or name in track.networks)
    ]
    return NETWORKS[name].plan(followed, settings)


def due(track: Track, now: datetime | None = None) -> tuple[TrackState, str] | None:
    """None when a track is to be followed now; otherwise how it stands, and why."""
    now = now or datetime.now(UTC)
    if not track.enabled:
        return "paused", "Paused; resume it to follow it again."
    if track.starts_at is not None and now < track.starts_at:
        return "scheduled", f"Begins at {track.starts_at:%Y-%m-%d %H:%M} UTC."
    if track.ends_at is not None and now >= track.ends_at:
        return "ended", f"Ended at {track.ends_at:%Y-%m-%d %H:%M} UTC."
    return None
