"""Supervise one source's connection: the one place that decides when to connect and wait."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from stream.backoff import Backoff, Clock, ConnectBudget, backoff_for
from stream.config import Settings
from stream.connection.deletion_check import DeletionCheck
from stream.connection.gap_records import GapRecords
from stream.connection.gap_repair import GapRepair
from stream.connection.recorder import ConnectionReporter, FrameLog, Recorder, ReportTracks
from stream.connection.refiller import Refiller
from stream.connection.session import SessionEnd, StreamSession
from stream.errors import ConnectError, RetryMode, is_broken, unexpected
from stream.networks.base import Network, NothingAccepted, Plan, RuleOwner
from stream.networks.gap_interface import RefillingClient
from stream.notes import GapCause, SourceState, StateNote
from stream.tweet import Source

logger = logging.getLogger(__name__)

QUOTA_PAUSE = 900.0  # seconds, when a quota is spent and no reset time is known
SLEEP_STEP_MAX = 60.0  # seconds; longer pauses check the wall clock this often

_CAUSES: Mapping[RetryMode, GapCause] = {
    "network": "network",
    "drop": "network",
    "http": "http",
    "connection_limit": "rate_limit",
    "rate_limit": "rate_limit",
    "paused": "quota",
    "final": "refused",
    "fault": "network",
}
_STATES: Mapping[RetryMode, SourceState] = {
    "paused": "paused",
    "final": "failed",
    "fault": "failed",
}  # all others: waiting


class ConnectionSupervisor:
    """Keeps one source connected while `run` runs.

    States: idle (no track needs it), connecting, connected (open, no byte yet), streaming,
    waiting (until, why), paused (no quota, or no disk space), failed (a person must act).
    A failed source is retried now and then, and as soon as its row changes: then it gets a new
    supervisor.
    """

    def __init__(
        self,
        source: Source,
        network: Network,
        journal: FrameLog,
        settings: Settings,
        *,
        attempts_file: Path,
        on_tracks: ReportTracks | None = None,
        clock: Clock | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        self.source = source
        self.clock = clock or Clock()
        self.recorder = Recorder(source.name, journal, self.clock)
        self.reporter = ConnectionReporter(self.recorder, on_tracks)
        self.client = network.client(source, settings, self.clock, self.reporter)
        self.repairs: list[GapRepair] = []
        limits = self.client.connection_limits
        self.attempts = ConnectBudget(attempts_file, limits.attempts, limits.window)
        self.why_began = "the daemon was not running"  # why nothing was received before
        self.why_ended = "the daemon was stopped"
        self.confirm: Callable[[], Awaitable[None]] | None = None  # that no other has the source
        self.is_taken_over = False  # by another daemon: what it records would come in between
        self.no_space: str | None = None  # why it waits for disk space
        self._journal = journal
        self._backoff = backoff or Backoff()
        self._retry_failed = settings.retry_failed_interval
        self._session = StreamSession(self.client, self.recorder, self._backoff, self.attempts)

    # -- public -----------------------------------------------------------------------------------

    @property
    def state(self) -> StateNote:
        """The current state."""
        return self.recorder.state

    @property
    def counters(self) -> Mapping[str, int]:
        """Counts since the start: attempts, bytes, frames, keepalives, changes to each state."""
        return self.recorder.counters

    @property
    def interruptions(self) -> Mapping[GapCause, int]:
        """Interruptions of delivery since the start, by cause."""
        return self.recorder.interruptions

    def set_plan(self, plan: Plan) -> None:
        """Use this plan from now on; may be called at any time, also before `run`."""
        self.client.set_plan(plan)
        self._session.set_plan(plan)

    def repair_gaps(self, records: GapRecords) -> None:
        """Repair gaps during `run`, where the network can be asked about them later."""
        if not isinstance(self.client, RefillingClient):
            return
        refiller = Refiller(self.client, self.recorder, records)
        self.repairs.append(GapRepair("refill", self.recorder, refiller.step))
        if self.client.deletion_lookup is not None:
            check = DeletionCheck(self.client.deletion_lookup, self.recorder, records)
            self.repairs.append(GapRepair("deletion check", self.recorder, check.step))

    def owners_of_rule(self, rule: str) -> tuple[RuleOwner, ...]:
        """The tracks of a rule that the network names, by its tag or id."""
        return self.client.owners_of_rule(rule)

    async def run(self) -> None:
        """Connect and reconnect until cancelled; then the socket is closed."""
        self.recorder.start_run(self.why_began)
        if self.attempts.unreadable:
            self.recorder.record_event(self.attempts.unreadable)
        async with asyncio.TaskGroup() as group:
            repairing = [
                group.create_task(each.run(), name=f"{each.name} {self.source.name}")
                for each in self.repairs
            ]
            try:
                await self._keep_connected()
            finally:
                for task in repairing:
                    task.cancel()

    async def _keep_connected(self) -> None:
        try:
            while True:
                await self._try_to_stream()
        except asyncio.CancelledError:
            if self.is_taken_over:
                raise
            self.recorder.open_gap("stopped", self.why_ended)
            if self.recorder.state.state not in ("failed", "paused"):  # those states stay visible
                self.recorder.set_state("idle", self.why_ended)
            raise

    # -- connecting -------------------------------------------------------------------------------

    async def _try_to_stream(self) -> None:
        """Stream or wait. An unexpected error fails this source only, until the next attempt."""
        try:
            await self._stream_or_wait()
        except Exception as error:
            if is_broken(error):
                raise
            logger.exception(
                "source failed with an unexpected error", extra={"source": self.source.name}
            )
            await self._wait(SessionEnd(ConnectError(unexpected(error), "fault"), _CAUSES["fault"]))

    async def _stream_or_wait(self) -> None:
        """Stream once, if a track needs the source and the disk has space; else wait for that."""
        if self._session.plan is None or not self._session.plan.asked:
            await self._idle()
        elif (why := self._journal.why_full() or self.recorder.flush()) is not None:
            await self._wait_for_space(why)
        else:
            await self._confirm()
            end = await self._stream()
            await self._wait(end)

    async def _confirm(self) -> None:
        """Before a drop is recorded: another daemon may have the source since we stood still."""
        if self.confirm is not None:
            await self.confirm()

    async def _idle(self) -> None:
        """Wait until a track needs the source; meanwhile remove our rules from the network."""
        self.recorder.open_gap("idle", "no track needs this source")
        self.recorder.set_state("idle", "no track needs this source")
        async with asyncio.TaskGroup() as group:
            cleaning = group.create_task(self._clean_up(), name=f"clean up {self.source.name}")
            await self._session.wait_wanted()
            cleaning.cancel()

    async def _clean_up(self) -> None:
        if self._session.plan is not None:
            await self.client.sync_filter()

    async def _wait_for_space(self, why: str) -> None:
        self.recorder.open_gap("disk", why)
        self.recorder.set_state("paused", why)
        self.no_space = why
        await self.recorder.wait_for_space()
        self.no_space = None

    async def _stream(self) -> SessionEnd:
        """Connect, and read the stream until it ends."""
        self._session.delivered = False
        try:
            self._enter_connecting()
            await self._wait_for_budget()
            # Before the first request: preparing reaches the network as well.
            self._session.spend_attempt()
            await self.client.prepare()
            stream = await self.client.connect()
        except ConnectError as error:
            return SessionEnd(error, _CAUSES[error.retry])
        self.recorder.set_state("connected", "waiting for the first byte")
        return await self._session.run(stream)

    def _enter_connecting(self) -> None:
        """Keep the last error visible until something arrives."""
        last = self.recorder.state
        reason = "opening the stream"
        if last.state in ("waiting", "failed", "paused") and last.reason:
            reason = f"retrying; last error: {last.reason}"
        self.recorder.set_state("connecting", reason, code=last.code)

    async def _wait_for_budget(self) -> None:
        """Wait until the network's limit allows another attempt."""
        while (seconds := self.attempts.wait(self.clock.time())) > 0:
            allowed = f"{self.attempts.limit} attempts in {self.attempts.seconds:.0f} s"
            self.recorder.open_gap("rate_limit", f"{allowed} are spent")
            self.recorder.set_state("waiting", f"{allowed} are spent", seconds)
            await self.clock.sleep(seconds)
            await self._confirm()
            self.recorder.set_state("connecting", "opening the stream")

    # -- waiting ----------------------------------------------------------------------------------

    async def _wait(self, end: SessionEnd) -> None:
        """Wait as the end of a connection requires, before the next attempt."""
        error = end.error
        is_own = end.cause in ("idle", "disk")  # this process has ended it
        if not is_own:
            await self._confirm()
        self.recorder.open_gap(end.cause, error.reason)
        if is_own:
            return
        seconds = self._delay(error)
        if seconds > 0:
            state = _STATES.get(error.retry, "waiting")
            self.recorder.set_state(state, error.reason, seconds, error.code)
            # If the plan may be the cause, a new plan ends the wait.
            if isinstance(error, NothingAccepted) or (error.retry == "final" and not error.code):
                with contextlib.suppress(TimeoutError):
                    async with self.clock.timeout(seconds):
                        await self._session.wait_new_plan()
            else:
                await self._sleep(seconds)

    def _delay(self, error: ConnectError) -> float:
        now = self.clock.time()
        asked = 0.0 if error.retry_at is None else self._backoff.jittered(error.retry_at - now)
        if error.retry == "final":
            return max(self._backoff.jittered(self._retry_failed), asked)
        retry = backoff_for(error.retry)
        if retry is not None:
            return max(self._backoff.delay(retry), asked)
        if error.retry == "drop":
            monotonic, delivered = self.clock.monotonic(), self._session.delivered
            policy = self.client.connection_limits.after_drop
            delay = self._backoff.after_drop(monotonic, delivered=delivered, policy=policy)
            return max(delay, asked)
        return asked if asked > 0 else self._backoff.jittered(QUOTA_PAUSE)

    async def _sleep(self, seconds: float) -> None:
        """Sleep; a suspended machine does not make a long pause longer."""
        end, until = self.clock.monotonic() + seconds, self.clock.time() + seconds
        long = seconds > SLEEP_STEP_MAX
        while (left := end - self.clock.monotonic()) > 0:
            if long and self.clock.time() >= until:
                break
            await self.clock.sleep(min(left, SLEEP_STEP_MAX))
