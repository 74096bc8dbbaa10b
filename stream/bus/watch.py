"""Watch the bus: its state for the report, and in the log what only a person can repair."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import msgspec

from stream.bus import advice
from stream.bus.messages import StreamState
from stream.config import Settings
from stream.daemon_report import CONNECTING, REASON_MAX, BusReport, ServerReport
from stream.errors import BusAway
from stream.tweet import BusPosition, LaneId

if TYPE_CHECKING:
    from stream.bus.connection import Bus

INTERVAL = 2.0  # seconds between two looks at the stream
SERVERS_INTERVAL = 30.0  # seconds between two looks at the servers
GRACE = 5.0  # seconds for connecting, before that is worth a line in the log

logger = logging.getLogger(__name__)

Stored = Callable[[], Mapping[LaneId, BusPosition | None]]


class BusWatch:
    """Asks the bus how it is, again and again.

    `creates`: the stream is created if there is none. `stored`: the block that
    each lane of this daemon has stored last. `why_useless`: why a stream that works does not help
    this daemon, or nothing.
    """

    def __init__(
        self,
        bus: "Bus",
        settings: Settings,
        stored: Stored,
        why_useless: Callable[[], str],
        *,
        creates: bool,
    ) -> None:
        self.bus = bus
        self.settings = settings
        self.stored = stored
        self.why_useless = why_useless
        self.creates = creates
        self.report = BusReport(failing=CONNECTING, since=time.time())
        self.blocks: dict[LaneId, int] = {}  # that wait on the bus, by lane; as far as known
        self._servers: Mapping[str, ServerReport] = {}
        self._servers_at = -SERVERS_INTERVAL  # loop time
        self._said = ""

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            found = await self._look()
            if bool(found.failing) == bool(self.report.failing):
                found = msgspec.structs.replace(found, since=self.report.since)
            self.report = found
            self._log(found)
            await asyncio.sleep(INTERVAL)

    async def _look(self) -> BusReport:
        now = time.time()
        failing, state = self.bus.away_because or "", None
        if not failing:
            try:
                state = await (self.bus.ensure_stream if self.creates else self.bus.find_stream)()
                if state is None:
                    failing = f"it has no stream {self.settings.bus_stream} yet"
                else:
                    await self._look_further(state)
                    self.bus.forbidden = ""  # it was allowed since
            except BusAway as error:
                failing = self.bus.forbidden or str(error)
        if state is not None and state.leader is None:
            failing = "the stream has no leader, as most of its servers are away: no quorum"
        if failing:
            self.blocks = {}
        failing = failing or self.why_useless()
        remedy = advice.remedy(failing, self.settings) if failing else ""
        found = BusReport(failing=failing[:REASON_MAX], remedy=remedy, since=now)
        return found if state is None else self._with_state(found, state)

    def _with_state(self, found: BusReport, state: StreamState) -> BusReport:
        return msgspec.structs.replace(
            found,
            created=state.created.isoformat(),
            messages=state.messages,
            bytes=state.bytes,
            max_bytes=state.max_bytes,
            leader=state.leader or "",
            replicas={**state.replicas, **({state.leader: True} if state.leader else {})},
            wanted=self.settings.bus_replicas,
            servers=self._servers,
        )

    async def _look_further(self, state: StreamState) -> None:
        """Look at the lanes of this daemon, and now and then at the servers."""
        blocks = {}
        for lane, position in self.stored().items():
            known = position is not None and position.created == state.created
            sequence = position.sequence if position is not None and known else 0
            blocks[lane] = await self.bus.count_after(lane, sequence)
        self.blocks = blocks
        clock = asyncio.get_running_loop().time
        if clock() - self._servers_at >= SERVERS_INTERVAL:
            self._servers = await self.bus.servers()
            self._servers_at = clock()

    def _log(self, found: BusReport) -> None:
        """Say once what keeps the bus from working, and what to do."""
        if found.failing and time.time() - found.since < GRACE:
            return
        if found.failing != self._said:
            self._said = found.failing
            extra = {"why": found.failing, "remedy": found.remedy}
            if not found.failing:
                logger.info("the bus works")
            elif advice.needs_person(found.failing, self.settings):
                logger.error("the bus cannot be used; this needs a person", extra=extra)
            else:
                logger.warning("the bus cannot be used; retrying", extra=extra)
