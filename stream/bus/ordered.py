"""Publish to the bus: many messages in flight, and after an error all of them again, in order."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Mapping

import msgspec

from stream.errors import BusAway
from stream.tweet import LaneId

IN_FLIGHT_BYTES = 4 << 20  # not acknowledged yet
IN_FLIGHT_MESSAGES = 128
ID = "Nats-Msg-Id"  # header, by which the bus recognizes what is published again
RETRY_FIRST, RETRY_MAX = 0.2, 1.0  # seconds between two attempts while the bus is away

logger = logging.getLogger(__name__)


class Outgoing(msgspec.Struct, frozen=True):
    """A message to publish; `end`: the position up to which all is sent with it, 0: none."""

    lane: LaneId
    id: str
    data: bytes
    headers: Mapping[str, str] = {}
    end: int = 0


Publish = Callable[[LaneId, bytes, Mapping[str, str]], Coroutine[None, None, int]]


class OrderedPublisher:
    """Publishes messages in order; each has an id, so that one that is sent again is known.

    After an error some messages may be on the bus and others not. All that are not acknowledged are
    sent again with their ids, and what is there already keeps its place. Where that is before the
    message it should follow, it is sent once more, under another id.
    """

    def __init__(self, publish: Publish, name: str) -> None:
        self._publish = publish
        self._name = name
        self._waiting: deque[tuple[Outgoing, asyncio.Task[int]]] = deque()
        self._bytes = 0
        self.sent = 0  # the last `end` that was acknowledged
        self.newest = 0  # number on the bus of the last message that was acknowledged
        self._attempt = 0  # part of the ids
        self.failing: str | None = None  # why the last attempt failed

    @property
    def waits(self) -> bool:
        """Whether a message is not acknowledged yet."""
        return bool(self._waiting)

    async def send(self, message: Outgoing) -> None:
        """Publish a message; waits while too many are not acknowledged."""
        while self._waiting and (
            self._waiting[0][1].done()
            or self._bytes + len(message.data) > IN_FLIGHT_BYTES
            or len(self._waiting) >= IN_FLIGHT_MESSAGES
        ):
            await self._settle_first()
        self._bytes += len(message.data)
        self._waiting.append((message, self._start(message)))

    async def settle(self) -> None:
        """Wait until all messages are acknowledged."""
        while self._waiting:
            await self._settle_first()

    def abandon(self) -> None:
        """Forget the messages that are not acknowledged."""
        for _, task in self._waiting:
            task.cancel()
        self._waiting.clear()
        self._bytes = 0

    def _start(self, message: Outgoing) -> asyncio.Task[int]:
        headers = {ID: f"{message.id}:{self._attempt}", **message.headers}
        sending = self._publish(message.lane, message.data, headers)
        return asyncio.create_task(sending, name=f"publish {self._name}")

    async def _settle_first(self) -> None:
        pause = RETRY_FIRST
        while True:
            message, task = self._waiting[0]
            if not task.done():
                await asyncio.wait([task])
            error = task.exception()
            if error is None and task.result() > self.newest:
                break
            if error is None:  # it has overtaken the one before
                self.newest = 0
                self._attempt += 1
            elif isinstance(error, BusAway):
                self._note_failure(error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, RETRY_MAX)
            else:
                raise error
            self._start_again()
        self.newest = task.result()
        self.sent = message.end or self.sent
        self._waiting.popleft()
        self._bytes -= len(message.data)
        if self.failing is not None:
            self.failing = None
            logger.warning("publishing to the bus works again", extra={"source": self._name})

    def _note_failure(self, error: BusAway) -> None:
        if self.failing is None:
            extra = {"source": self._name, "why": str(error)}
            logger.warning("publishing to the bus failed; retrying", extra=extra)
        self.failing = str(error)

    def _start_again(self) -> None:
        messages = [message for message, _ in self._waiting]
        for _, task in self._waiting:
            task.cancel()
        self._waiting = deque((each, self._start(each)) for each in messages)
