"""A session: an open connection from the first byte to its end, and its successor if there is one.

Some networks change their filter only on a new connection, and close the older of two connections.
Then the new connection opens while the old one still delivers (X v1.1 reference §12). Duplicates
are stored once: a change of the filter interrupts nothing.
"""

import asyncio
import contextlib

import msgspec

from stream.backoff import Backoff, ConnectBudget, backoff_for
from stream.connection.recorder import DISK_CHECK_INTERVAL, Recorder
from stream.errors import ConnectError, JournalFull
from stream.networks.base import Client, Plan, Stream
from stream.notes import GapCause

STABLE_AFTER = 30.0  # seconds of delivery after which the back-off starts again
STOOD_STILL = 1.0  # seconds; a timer that is later than this means that the process did not run


class SessionEnd(msgspec.Struct, frozen=True):
    """Why a connection ended, or could not be opened."""

    error: ConnectError
    cause: GapCause


class StreamSession:
    """Reads a connection into the journal until it ends."""

    def __init__(
        self, client: Client, recorder: Recorder, backoff: Backoff, attempts: ConnectBudget
    ) -> None:
        self.client = client
        self.recorder = recorder
        self.backoff = backoff
        self.attempts = attempts
        self.clock = recorder.clock
        self.plan: Plan | None = None
        self.delivered = False  # whether this connection has delivered a byte
        self._changed = asyncio.Event()
        self._stream: Stream | None = None
        self._successor: Stream | None = None
        self._settled = asyncio.Event()  # set: no successor is being opened
        self._ending: SessionEnd | None = None
        self._stable_at = 0.0
        self._disk_check_at = 0.0

    # -- the plan ---------------------------------------------------------------------------------

    def set_plan(self, plan: Plan) -> None:
        self.plan = plan
        self._changed.set()

    async def wait_new_plan(self) -> None:
        """Wait for a new plan."""
        self._changed.clear()
        await self._changed.wait()

    async def wait_wanted(self) -> None:
        """Wait for a plan that asks for something."""
        while self.plan is None or not self.plan.asked:
            await self.wait_new_plan()

    def spend_attempt(self) -> None:
        """Count an attempt in the budget, before it is made."""
        self.attempts.use(self.clock.time())
        self.recorder.counters["attempts"] += 1

    # -- one connection ---------------------------------------------------------------------------

    async def run(self, stream: Stream) -> SessionEnd:
        """Read until the end, then close the socket."""
        self._stream, self._successor = stream, None
        self._ending = None
        self._settled.set()
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._sync_filter_loop(), name=f"filter {self.recorder.name}"),
                group.create_task(self._end_when_unwanted(), name=f"plan {self.recorder.name}"),
            ]
            try:
                end = await self._read(stream)
                while (successor := await self._wait_successor()) is not None:
                    end = await self._read(successor)
            finally:
                for task in tasks:
                    task.cancel()
                await self._close()
        ending: SessionEnd | None = self._ending  # set meanwhile, in _end_when_unwanted
        return end if ending is None else ending

    async def _close(self) -> None:
        for stream in (self._stream, self._successor):
            if stream is not None:
                await stream.close()

    async def _end_when_unwanted(self) -> None:
        while self.plan is not None and self.plan.asked:
            await self.wait_new_plan()
        self._ending = SessionEnd(ConnectError("no track needs this source", "drop"), "idle")
        await self._close()

    # -- reading ----------------------------------------------------------------------------------

    async def _read(self, stream: Stream) -> SessionEnd:
        """Read until something ends the connection."""
        self._stable_at = self.clock.monotonic() + STABLE_AFTER
        received, keepalives = stream.received, stream.keepalives
        self.recorder.begin_connection(stream.opened)
        while True:
            try:
                frames = await self._next(stream)
                self.take(frames, stream.received - received, stream.recovered_from)
            except JournalFull as error:
                return SessionEnd(ConnectError(str(error), "drop"), "disk")
            except _Silence as error:
                return self._keep_torn(stream, SessionEnd(error, "silence"))
            except ConnectError as error:
                return self._keep_torn(stream, SessionEnd(error, _cause(error)))
            self.recorder.counters["keepalives"] += stream.keepalives - keepalives
            received, keepalives = stream.received, stream.keepalives
            if (end := self._end_after(frames)) is not None:
                return end

    async def _next(self, stream: Stream) -> list[bytes]:
        """The next messages; `_Silence` when nothing arrives, ConnectError at the end."""
        silence = self.client.connection_limits.silence
        while True:
            due = self.clock.monotonic() + silence
            try:
                async with self.clock.timeout(silence):
                    frames = await stream.read()
            except TimeoutError:
                # A process that stood still has to look first at what arrived meanwhile.
                if self.clock.monotonic() - due < STOOD_STILL:
                    raise _Silence(f"no byte for {silence:g} s", "drop") from None
            else:
                if frames is None:
                    raise ConnectError("the server closed the connection", "drop")
                return frames

    def take(self, frames: list[bytes], number: int, recovered_from: float | None = None) -> None:
        """Put received bytes into the journal, before anything looks at them."""
        self.delivered = True
        self.recorder.record_bytes(frames, number, recovered_from)
        if self.recorder.state.state != "streaming":
            self.recorder.set_state("streaming", "")
        if self.clock.monotonic() >= self._stable_at:
            self.backoff.reset()

    def _end_after(self, frames: list[bytes]) -> SessionEnd | None:
        """Whether one of these messages, or a full disk, ends the connection."""
        for frame in frames:
            error = self.client.fatal_error_in(frame)
            if error is not None:
                return SessionEnd(error, _cause(error))
        now = self.clock.monotonic()
        if now >= self._disk_check_at:
            self._disk_check_at = now + DISK_CHECK_INTERVAL
            why = self.recorder.journal.why_full()
            if why is not None:
                return SessionEnd(ConnectError(why, "drop"), "disk")
        return None

    def _keep_torn(self, stream: Stream, end: SessionEnd) -> SessionEnd:
        """Keep an incomplete last message, unless we closed the connection: it becomes a reject."""
        if self._ending is None and self._successor is None and (rest := stream.rest()):
            with contextlib.suppress(JournalFull):  # then it waits for disk space
                self.recorder.append(rest)
        return end

    # -- its successor ----------------------------------------------------------------------------

    async def _sync_filter_loop(self) -> None:
        while True:
            await self.client.sync_filter()
            await self._open_successor()

    async def _wait_successor(self) -> Stream | None:
        """The successor of a connection that ended, if there is one or one is being opened."""
        if self._ending is None and not self._settled.is_set():
            self.recorder.open_gap("filter_change", "the filter is being changed")
            await self._settled.wait()
        if self._successor is None:
            return None
        self._stream, self._successor = self._successor, None
        return self._stream

    async def _open_successor(self) -> None:
        """Open the successor; the old connection continues until the new one has delivered."""
        reserve = self.client.connection_limits.reserve
        while (seconds := self.attempts.wait(self.clock.time(), reserve)) > 0:
            await self.clock.sleep(seconds)
        self._settled.clear()
        try:
            async with contextlib.AsyncExitStack() as opened:
                self.spend_attempt()
                successor = await self.client.connect()
                opened.push_async_callback(successor.close)
                frames = await self._next(successor)
                # Counts that the network keeps per connection start again with these frames.
                self.recorder.set_state("connecting", "the changed filter is in force")
                self.take(frames, successor.received)
                opened.pop_all()
                self._successor = successor
        except ConnectError as error:
            self._settled.set()
            await self._put_off(error)
        except JournalFull:
            pass  # the old connection will find the same
        finally:
            self._settled.set()
        if self._successor is not None and self._stream is not None:
            await self._stream.close()

    async def _put_off(self, error: ConnectError) -> None:
        """The network refused the new filter: keep the old connection, and retry later."""
        self.recorder.record_event(f"the changed filter is not in force yet: {error.reason}")
        if error.retry == "final":
            await self.wait_new_plan()
            return
        with contextlib.suppress(TimeoutError):
            async with self.clock.timeout(self.backoff.delay(backoff_for(error.retry) or "http")):
                await self.wait_new_plan()


def _cause(error: ConnectError) -> GapCause:
    """The gap's cause after an open stream ended."""
    match error.retry:
        case "final":
            return "refused"
        case "http":
            return "http"
        case _:
            return "network"


class _Silence(ConnectError):
    """No byte arrived for too long on an open connection."""
