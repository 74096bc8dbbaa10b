"""Send one lane of a journal to the bus, in blocks and in order."""

import asyncio
import contextlib
import logging
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from stream.bus import blocks
from stream.bus.blocks import Block
from stream.bus.messages import BLOCK, PART, WAKE, block_header
from stream.bus.ordered import OrderedPublisher, Outgoing
from stream.bus.routing import LaneRouter
from stream.errors import BusAway
from stream.journal import Journal, JournalReader
from stream.store.lanes import Lane
from stream.tweet import Frame, LaneId

if TYPE_CHECKING:
    from stream.bus.connection import Bus

RANGE_BYTES = 4 << 20  # of the journal in one block at most: most of it may belong to other lanes
SLICE_FRAMES = 32  # read at once, before the event loop serves the sockets
# Bytes of the journal that are sent before the first of them is stored: so a lane whose writer or
# database is away does not fill the bus for the others. The rest waits in the journal.
AHEAD_MAX = 256 << 20
PASSED_INTERVAL = 1.0  # seconds between two blocks of a lane without frames of its own
RESEND_INTERVAL = 5.0  # seconds between two times that blocks are sent again, at least
ROUTES_KEPT = 20_000  # of the newest frames: a source's lanes read them at nearly the same time

logger = logging.getLogger(__name__)


class Routes:
    """The lanes of frames, found once for all lanes that read them."""

    def __init__(self, router: LaneRouter) -> None:
        self.router = router
        self.lanes = [each.id for each in router.lanes]
        self._known: OrderedDict[int, Sequence[int]] = OrderedDict()  # by position after a frame

    def has(self, index: int, frame: Frame) -> bool:
        """Whether a frame belongs to the lane with this index."""
        if len(self.lanes) == 1:
            return True
        found = self._known.get(frame.after)
        if found is None:
            found = self._known[frame.after] = self.router.route(frame)
            if len(self._known) > ROUTES_KEPT:
                self._known.popitem(last=False)
        return index in found


class LaneSender:
    """Sends the frames of one lane from a position on, until all are sent after `drain()`."""

    def __init__(self, bus: "Bus", journal: Journal, routes: Routes, index: int, name: str) -> None:
        self.bus = bus
        self.journal = journal
        self.lane: Lane = routes.router.lanes[index]
        self.name = name
        self.stored = 0  # position that the lane has stored
        self.moved_at = 0.0  # loop time when that changed last, or something was sent
        self.resent = 0  # how often blocks were sent again because they were missing
        self._routes = routes
        self._index = index
        self._end = 0  # position after the newest block
        self._published_at = 0.0  # loop time of the newest block
        self._restart_at: int | None = None
        self._restarted_at = -RESEND_INTERVAL  # loop time
        self._interrupt = asyncio.Event()
        self._stored_changed = asyncio.Event()
        self._generation = 0
        self._draining = False
        self.sender = OrderedPublisher(self._publish_message, name)

    def note_stored(self, position: int) -> None:
        """The lane has stored everything before this position."""
        if position != self.stored:
            self.moved_at = asyncio.get_running_loop().time()
        self.stored = position
        self._stored_changed.set()

    def drain(self) -> None:
        """Send what is in the journal without waiting, then end."""
        self._draining = True
        self._stored_changed.set()
        self.journal.notify()

    @property
    def sent(self) -> int:
        """Position up to which the bus has acknowledged everything, or all is stored already."""
        return max(self.sender.sent, self.stored)

    def has_sent(self, position: int) -> bool:
        """Whether blocks after this position were given to the bus."""
        return position < self._end

    @property
    def waits_for_writer(self) -> bool:
        """Whether the bus has taken everything, but not all of it is stored."""
        return self.stored < self.sent == self._end

    @property
    def has_just_restarted(self) -> bool:
        """Whether blocks are sent again since a moment ago."""
        return self._time_to_restart() > 0

    def _time_to_restart(self) -> float:
        return self._restarted_at + RESEND_INTERVAL - asyncio.get_running_loop().time()

    def send_again(self, position: int, why: str) -> None:
        """Send blocks again from this position on, but not too often."""
        self.resent += 1
        extra = {"source": self.name, "lane": self.lane.id, "position": position, "why": why}
        logger.warning("sending again what the bus does not have", extra=extra)
        self._restart_at = position
        self._interrupt.set()

    async def run(self) -> None:
        """Send from the stored position on; begin again elsewhere when that is asked for."""
        position = self.stored
        while True:
            self._restart_at = None
            self._interrupt.clear()
            async with asyncio.TaskGroup() as group:
                both = [
                    group.create_task(self._send_from(position), name=f"send {self.name}"),
                    group.create_task(self._until_restart(), name="interrupt"),
                ]
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
                for task in both:
                    task.cancel()
            self.sender.abandon()
            if self._restart_at is None:
                return
            position = self._restart_at
            self._restarted_at = asyncio.get_running_loop().time()
            self._generation += 1

    async def _until_restart(self) -> None:
        await self._interrupt.wait()
        await asyncio.sleep(self._time_to_restart())

    async def _send_from(self, position: int) -> None:
        """Send the frames from this position on; ends only while draining."""
        self._end = self.sender.sent = position
        after_hole = position < self.journal.start
        with contextlib.closing(JournalReader(self.journal, position)) as reader:
            await reader.find_start()
            while await self._may_go_on(reader.position):
                frames = await self._read(reader)
                own = [each for each in frames if self._routes.has(self._index, each)]
                if own or after_hole or (reader.position > self._end and self._is_passed_due()):
                    await self._publish(self._block(reader.position, frames, own, after_hole))
                    after_hole = False
                elif not frames and self.sender.waits:
                    await self.sender.settle()
                elif not frames:
                    if self._draining:
                        return
                    await self._wait_frames()

    async def _may_go_on(self, position: int) -> bool:
        """Wait until the lane has stored enough of what it was sent; False while draining."""
        while position - self.stored > AHEAD_MAX:
            if self._draining:
                return False
            await self.sender.settle()
            self._stored_changed.clear()
            await self._stored_changed.wait()
        return True

    async def _read(self, reader: JournalReader) -> list[Frame]:
        """The next frames that are safe on the disk, of all lanes: enough for one block of ours."""
        frames: list[Frame] = []
        begin, own, size = reader.position, 0, 0
        while own < blocks.FRAMES_MAX and size < blocks.BYTES_MAX:
            if reader.position - begin >= RANGE_BYTES:
                break
            some = await reader.read(min(SLICE_FRAMES, blocks.FRAMES_MAX - own), blocks.BYTES_MAX)
            if not some:
                break
            frames += some
            for each in some:
                if self._routes.has(self._index, each):
                    own += 1
                    size += len(each.body)
            await asyncio.sleep(0)
        if frames:
            await self.journal.wait_synced(frames[-1].after)
        return frames

    def _is_passed_due(self) -> bool:
        return asyncio.get_running_loop().time() - self._published_at >= PASSED_INTERVAL

    async def _wait_frames(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PASSED_INTERVAL):
                await self.journal.wait_changed()

    def _block(
        self, end: int, frames: Sequence[Frame], own: Sequence[Frame], after_hole: bool
    ) -> Block:
        """The block up to this position; one without frames says that there are none."""
        if not own:
            own = [blocks.passed(frames[-1].received if frames else time.time_ns() // 1000, end)]
        return Block(
            self.journal.id, self.lane.id, self._routes.lanes, self._end, end, own, after_hole
        )

    async def _publish(self, block: Block) -> None:
        self.journal.note_given(block.end)
        self._end = block.end
        self._published_at = self.moved_at = asyncio.get_running_loop().time()
        parts = blocks.encode(block)
        for number, data in enumerate(parts):
            headers = {BLOCK: block_header(block.journal, block.end)}
            if len(parts) > 1:
                headers[PART] = f"{number}/{len(parts)}"
            name = f"{block.id(self._generation)}:{number}"
            end = block.end if number == len(parts) - 1 else 0
            await self.sender.send(Outgoing(block.lane, name, data, headers, end))
        await asyncio.sleep(0)

    async def _publish_message(self, lane: LaneId, data: bytes, headers: Mapping[str, str]) -> int:
        """Publish a message, and tell the writer its number once the bus has it."""
        number = await self.bus.publish(lane, data, headers)
        with contextlib.suppress(BusAway):
            await self.bus.notify(WAKE, str(lane), str(number).encode())
        return number
