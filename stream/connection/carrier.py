"""One open connection, from the first byte to its end, and its successor where there is one.

A network that can change its filter only by connecting anew, and that closes the older of two
connections, gets its new connection while the old one still delivers (X v1.1 reference §12). What
comes twice is stored once; so a change of the filter costs no second of delivery.
"""

import asyncio
import contextlib

import msgspec

from stream.backoff import Attempts, Backoff, rung
from stream.connection.delivery import Delivery
from stream.errors import ConnectError, JournalFull
from stream.networks.base import Client, Plan, Stream
from stream.tweet import GapCause

PROOF = 30.0  # seconds of life after which the ladders begin at the bottom again
ROOM_EVERY = 2.0  # seconds between two looks whether the disk has room


class End(msgspec.Struct, frozen=True):
    """Why a connection ended, or did not come about."""

    error: ConnectError
    cause: GapCause


class Carrier:
    """Carries what the connection brings into the journal."""

    def __init__(
        self, client: Client, delivery: Delivery, backoff: Backoff, attempts: Attempts
    ) -> None:
        self.client = client
        self.delivery = delivery
        self.backoff = backoff
        self.attempts = attempts
        self.clock = delivery.clock
        self.plan: Plan | None = None
        self.delivered = False  # whether the connection of this round has brought a byte
        self._changed = asyncio.Event()
        self._stream: Stream | None = None
        self._successor: Stream | None = None
        self._settled = asyncio.Event()  # set: no successor is on its way
        self._ending: End | None = None
        self._proof_at = 0.0
        self._look_at = 0.0

    # -- the plan ---------------------------------------------------------------------------------

    def set_plan(self, plan: Plan) -> None:
        self.plan = plan
        self._changed.set()

    async def next_plan(self) -> None:
        """Wait for another plan than the one of now."""
        self._changed.clear()
        await self._changed.wait()

    async def wanted(self) -> None:
        """Wait until there is something to follow."""
        while self.plan is None or not self.plan.asked:
            await self.next_plan()

    def spend(self) -> None:
        """Pay for an attempt, before it is made."""
        self.attempts.use(self.clock.time())
        self.delivery.counters["attempts"] += 1

    # -- one connection ---------------------------------------------------------------------------

    async def carry(self, stream: Stream) -> End:
        """Read until the end; the socket is closed then, completely."""
        self._stream, self._successor = stream, None
        self._ending = None
        self._settled.set()
        async with asyncio.TaskGroup() as group:
            beside = [
                group.create_task(self._tend(), name=f"tend {self.delivery.name}"),
                group.create_task(self._end_when_unwanted(), name=f"plan {self.delivery.name}"),
            ]
            try:
                end = await self._read(stream)
                while (successor := await self._succeeded()) is not None:
                    end = await self._read(successor)
            finally:
                for task in beside:
                    task.cancel()
                await self._close()
        ending: End | None = self._ending  # set beside us, in _end_when_unwanted
        return end if ending is None else ending

    async def _close(self) -> None:
        for stream in (self._stream, self._successor):
            if stream is not None:
                await stream.close()

    async def _end_when_unwanted(self) -> None:
        while self.plan is not None and self.plan.asked:
            await self.next_plan()
        self._ending = End(ConnectError("nothing to follow", "drop"), "idle")
        await self._close()

    # -- reading ----------------------------------------------------------------------------------

    async def _read(self, stream: Stream) -> End:
        """Take what comes until something ends it."""
        self._proof_at = self.clock.monotonic() + PROOF
        received, keepalives = stream.received, stream.keepalives
        while True:
            try:
                frames = await self._next(stream)
                self.take(frames, stream.received - received)
            except JournalFull as error:
                return End(ConnectError(str(error), "drop"), "disk")
            except _Silence as error:
                return self._torn(stream, End(error, "silence"))
            except ConnectError as error:
                return self._torn(stream, End(error, "network"))
            self.delivery.counters["keepalives"] += stream.keepalives - keepalives
            received, keepalives = stream.received, stream.keepalives
            if (end := self._verdict(frames)) is not None:
                return end

    async def _next(self, stream: Stream) -> list[bytes]:
        """What comes next; `_Silence` when nothing does, ConnectError at the end."""
        silence = self.client.pace.silence
        while True:
            due = self.clock.monotonic() + silence
            try:
                async with self.clock.timeout(silence):
                    frames = await stream.read()
            except TimeoutError:
                # A process that was itself suspended heard nothing: it listens once more.
                if self.clock.monotonic() - due < silence:
                    raise _Silence(f"no byte for {silence:g} s", "drop") from None
            else:
                if frames is None:
                    raise ConnectError("the server closed the connection", "drop")
                return frames

    def take(self, frames: list[bytes], number: int) -> None:
        """Bytes have come: into the journal, before anything looks at them."""
        self.delivered = True
        self.delivery.arrived(frames, number)
        if self.delivery.state.state != "streaming":
            self.delivery.enter("streaming", "")
        if self.clock.monotonic() >= self._proof_at:
            self.backoff.reset()

    def _verdict(self, frames: list[bytes]) -> End | None:
        """Whether one of these messages ends the connection, or the disk does."""
        for frame in frames:
            error = self.client.verdict(frame)
            if error is not None:
                cause: GapCause = "refused" if error.ladder == "final" else "network"
                return End(error, cause)
        now = self.clock.monotonic()
        if now >= self._look_at:
            self._look_at = now + ROOM_EVERY
            why = self.delivery.journal.room()
            if why is not None:
                return End(ConnectError(why, "drop"), "disk")
        return None

    def _torn(self, stream: Stream, end: End) -> End:
        """Keep what came of a message that was cut off, unless by us: it becomes a reject."""
        if self._ending is None and self._successor is None and (rest := stream.rest()):
            with contextlib.suppress(JournalFull):  # then it waits for room
                self.delivery.append(rest)
        return end

    # -- its successor ----------------------------------------------------------------------------

    async def _tend(self) -> None:
        while True:
            await self.client.tend()
            await self._replace()

    async def _succeeded(self) -> Stream | None:
        """The successor of a connection that ended, if it has one or one is on its way."""
        if self._ending is None and not self._settled.is_set():
            self.delivery.lost("filter_change", "the filter is being changed")
            await self._settled.wait()
        if self._successor is None:
            return None
        self._stream, self._successor = self._successor, None
        return self._stream

    async def _replace(self) -> None:
        """Open the successor; the old connection goes on until it has brought its first byte."""
        reserve = self.client.pace.reserve
        while (seconds := self.attempts.wait(self.clock.time(), reserve)) > 0:
            await self.clock.sleep(seconds)
        self._settled.clear()
        try:
            async with contextlib.AsyncExitStack() as opened:
                self.spend()
                successor = await self.client.connect()
                opened.push_async_callback(successor.close)
                frames = await self._next(successor)
                # What the network counts since it connected begins anew with these frames.
                self.delivery.enter("connecting", "the changed filter is in force")
                self.take(frames, successor.received)
                opened.pop_all()
                self._successor = successor
        except ConnectError as error:
            self._settled.set()
            await self._put_off(error)
        except JournalFull:
            pass  # the old connection finds the same
        finally:
            self._settled.set()
        if self._successor is not None and self._stream is not None:
            await self._stream.close()

    async def _put_off(self, error: ConnectError) -> None:
        """The new filter is refused, the old one still delivers: keep it, and try again later."""
        self.delivery.say(f"the changed filter is not in force yet: {error.reason}")
        if error.ladder == "final":
            await self.next_plan()
        else:
            await self.clock.sleep(self.backoff.delay(rung(error.ladder) or "http"))


class _Silence(ConnectError):
    """An open connection without a byte."""
