"""The supervisor of one source's connection: one place that decides when to connect and to wait."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path

from stream.backoff import Attempts, Backoff, Clock, rung
from stream.config import Settings
from stream.connection.carrier import Carrier, End
from stream.connection.delivery import Delivery, Journal
from stream.errors import ConnectError, Ladder
from stream.networks.base import Claim, Network, NothingAccepted, Plan, Reporter
from stream.tweet import GapCause, Source, SourceState, StateNote, TrackId

ROOM_EVERY = 2.0  # seconds between two looks whether the disk has room again
PAUSE = 900.0  # seconds; a quota is spent, and nobody says until when
LONG = 60.0  # seconds; a longer pause looks at the wall clock this often: the machine may sleep

_CAUSES: Mapping[Ladder, GapCause] = {
    "network": "network",
    "drop": "network",
    "http": "http",
    "slot": "rate_limit",
    "rate_limit": "rate_limit",
    "paused": "quota",
    "final": "refused",
}


def _nobody_minds(_: Mapping[TrackId, str]) -> None:
    """Refusals are also in `events`."""


class Connection:
    """Keeps one source connected for as long as `run` runs.

    States: idle (nothing to follow), connecting, proving (open, no byte yet), streaming,
    waiting (until, why), paused (no quota, or no room on the disk), failed (a person must act).
    A failed source stays so until its row changes: then it gets a new Connection.
    """

    def __init__(
        self,
        source: Source,
        network: Network,
        journal: Journal,
        settings: Settings,
        *,
        attempts_file: Path,
        on_refused: Callable[[Mapping[TrackId, str]], None] = _nobody_minds,
        clock: Clock | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        self.source = source
        self.clock = clock or Clock()
        self.delivery = Delivery(source.name, journal, self.clock)
        reporter = Reporter(self.delivery.say, on_refused)
        self.client = network.client(source, settings, self.clock, reporter)
        pace = self.client.pace
        self.attempts = Attempts(attempts_file, pace.attempts, pace.window)
        self._journal = journal
        self._backoff = backoff or Backoff()
        self._carrier = Carrier(self.client, self.delivery, self._backoff, self.attempts)

    # -- for others -------------------------------------------------------------------------------

    @property
    def state(self) -> StateNote:
        """How it is now."""
        return self.delivery.state

    @property
    def counters(self) -> Mapping[str, int]:
        """Since the start: attempts, bytes, frames, keepalives, and how often each state."""
        return self.delivery.counters

    @property
    def losses(self) -> Mapping[GapCause, int]:
        """How often delivery was interrupted since the start, by cause."""
        return self.delivery.losses

    def set_plan(self, plan: Plan) -> None:
        """Follow this from now on; may be called at any time, also before `run`."""
        self.client.set_plan(plan)
        self._carrier.set_plan(plan)

    def believed(self, rule: str) -> tuple[Claim, ...]:
        """To whom a tweet belongs that the network sent for this rule, by its tag or id."""
        return self.client.believed(rule)

    async def run(self) -> None:
        """Connect, and connect again, until cancelled; then the socket is closed."""
        self.delivery.begin()
        try:
            while True:
                await self._once()
        except asyncio.CancelledError:
            self.delivery.lost("stopped", "the connection was stopped in good order")
            if self.delivery.state.state not in ("failed", "paused"):  # that stays worth knowing
                self.delivery.enter("idle", "stopped")
            raise

    # -- one round --------------------------------------------------------------------------------

    async def _once(self) -> None:
        if self._carrier.plan is None or not self._carrier.plan.asked:
            await self._idle()
        elif (why := self._journal.room() or self.delivery.flush()) is not None:
            await self._without_room(why)
        else:
            end = await self._connect()
            await self._wait(end)

    async def _idle(self) -> None:
        """Nothing to follow: what the network still has of ours is removed meanwhile."""
        self.delivery.lost("idle", "nothing to follow")
        self.delivery.enter("idle", "nothing to follow")
        async with asyncio.TaskGroup() as group:
            tending = group.create_task(self._tidy(), name=f"tidy {self.source.name}")
            await self._carrier.wanted()
            tending.cancel()

    async def _tidy(self) -> None:
        if self._carrier.plan is not None:
            await self.client.tend()

    async def _without_room(self, why: str) -> None:
        self.delivery.lost("disk", why)
        self.delivery.enter("paused", why)
        while (self._journal.room() or self.delivery.flush()) is not None:
            await self.clock.sleep(ROOM_EVERY)

    async def _connect(self) -> End:
        self._carrier.delivered = False
        try:
            self.delivery.enter("connecting", "opening the stream")
            await self.client.prepare()
            await self._afford()
            self._carrier.spend()
            stream = await self.client.connect()
        except ConnectError as error:
            return End(error, _CAUSES[error.ladder])
        self.delivery.enter("proving", "connected, waiting for the first byte")
        return await self._carrier.carry(stream)

    async def _afford(self) -> None:
        """Wait until the network's limit of attempts allows another one."""
        while (seconds := self.attempts.wait(self.clock.time())) > 0:
            allowed = f"{self.attempts.limit} attempts in {self.attempts.seconds:.0f} s"
            self.delivery.lost("rate_limit", f"{allowed} are spent")
            until = self.clock.time() + seconds
            self.delivery.enter("waiting", f"{allowed} are spent", until)
            await self.clock.sleep(seconds)
            self.delivery.enter("connecting", "opening the stream")

    # -- waiting ----------------------------------------------------------------------------------

    async def _wait(self, end: End) -> None:
        """Do what the end of a connection asks for before the next round."""
        error = end.error
        self.delivery.lost(end.cause, error.reason)
        if end.cause in ("idle", "disk"):
            return
        if error.ladder == "final":
            self.delivery.enter("failed", error.reason, code=error.code)
            await asyncio.Event().wait()
        seconds = self._delay(error)
        if seconds > 0:
            state: SourceState = "paused" if error.ladder == "paused" else "waiting"
            until = self.clock.time() + seconds
            self.delivery.enter(state, error.reason, until, error.code)
            if isinstance(error, NothingAccepted):
                with contextlib.suppress(TimeoutError):
                    async with self.clock.timeout(seconds):
                        await self._carrier.next_plan()
            else:
                await self._sleep(seconds, until)

    def _delay(self, error: ConnectError) -> float:
        now = self.clock.time()
        asked = 0.0 if error.retry_at is None else self._backoff.jittered(error.retry_at - now)
        ladder = rung(error.ladder)
        if ladder is not None:
            return max(self._backoff.delay(ladder), asked)
        if error.ladder == "drop":
            monotonic, delivered = self.clock.monotonic(), self._carrier.delivered
            return max(self._backoff.after_drop(monotonic, delivered=delivered), asked)
        return asked if asked > 0 else self._backoff.jittered(PAUSE)

    async def _sleep(self, seconds: float, until: float) -> None:
        """Sleep; a long pause is not made longer by a machine that sleeps too."""
        end = self.clock.monotonic() + seconds
        long = seconds > LONG
        while (left := end - self.clock.monotonic()) > 0:
            if long and self.clock.time() >= until:
                break
            await self.clock.sleep(min(left, LONG))
