"""Server-sent events of Mastodon as frames: for servers whose WebSocket does not work.

Mastodon reference §3. An event becomes the same object that the WebSocket sends, so that nothing
after this knows the difference. One response carries one channel; several are read together.
"""

import asyncio
import re
from collections.abc import Sequence

import msgspec

from stream.errors import ConnectError
from stream.networks.http_stream import HttpStream
from stream.notes import StreamOpened

BEGINNING = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?::|event:|data:|id:|retry:)")


class EventFraming:
    """See `framing.Framing`: the events of one channel. A comment is a keep-alive."""

    def __init__(self, longest: int, channel: Sequence[str]) -> None:
        self.longest = longest
        self.keepalives = 0
        self._channel = msgspec.json.encode(channel)
        self._line = bytearray()  # that is not finished
        self._event = b""
        self._data = bytearray()  # lines of the event, each with its end

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that these bytes finish."""
        frames: list[bytes] = []
        first, *others = data.split(b"\n")
        self._hold(first)
        for line in others:
            frames += self._finish_line()
            self._hold(line)
        return frames

    def rest(self) -> list[bytes]:
        """See `framing.Framing`."""
        torn = bytes(self._line)
        self._line.clear()
        self._data.clear()
        return [torn] if torn.startswith(b"data:") else []

    def _hold(self, part: bytes) -> None:
        # What is cut here makes a frame that decoding finds too large.
        self._line += part[: max(self.longest - len(self._line), 0)]

    def _finish_line(self) -> list[bytes]:
        line = bytes(self._line).removesuffix(b"\r")
        self._line.clear()
        if not line:
            return self._finish_event()
        name, _, value = line.partition(b":")
        if not name:
            self.keepalives += 1
        elif name == b"event":
            self._event = value.strip()
        elif name == b"data" and len(self._data) < self.longest:  # cut as well, see `_hold`
            self._data += value.removeprefix(b" ") + b"\n"
        return []

    def _finish_event(self) -> list[bytes]:
        event, data = self._event or b"message", bytes(self._data)
        self._event = b""
        self._data.clear()
        return [self._frame(event, data.removesuffix(b"\n"))] if data else []

    def _frame(self, event: bytes, data: bytes) -> bytes:
        try:
            named = msgspec.json.encode(event.decode())
            payload = msgspec.json.encode(data.decode())
        except UnicodeDecodeError:
            return data  # kept as a reject
        frame = b'{"stream":%b,"event":%b,"payload":%b}' % (self._channel, named, payload)
        return frame[: self.longest]


class MergedStreams:
    """Several responses read as one `base.Stream`; it ends when one of them does."""

    def __init__(self, streams: Sequence[HttpStream]) -> None:
        self.opened: StreamOpened | None = None
        self.recovered_from: float | None = None
        self._streams = streams
        self._reads: dict[asyncio.Task[list[bytes] | None], HttpStream] = {}
        self._is_closed = False

    @property
    def received(self) -> int:
        return sum(stream.received for stream in self._streams)

    @property
    def keepalives(self) -> int:
        return sum(stream.keepalives for stream in self._streams)

    async def read(self) -> list[bytes] | None:
        """See `base.Stream`."""
        if self._is_closed:
            raise ConnectError("the connection was closed", "drop")
        reading = set(self._reads.values())
        for stream in self._streams:
            if stream not in reading:
                self._reads[asyncio.create_task(stream.read(), name="events")] = stream
        done, _ = await asyncio.wait(self._reads, return_when=asyncio.FIRST_COMPLETED)
        frames: list[bytes] = []
        ended: ConnectError | None = None
        for task in done:
            self._reads.pop(task, None)
            if task.cancelled():
                ended = ConnectError("the connection was closed", "drop")
                continue
            try:
                found = task.result()
            except ConnectError as error:
                ended = error
                continue
            if found is None:
                ended = ConnectError("the server closed the connection", "drop")
            else:
                frames += found
        if ended is not None and not frames:
            raise ended
        return frames

    def rest(self) -> list[bytes]:
        """See `base.Stream`."""
        return [torn for stream in self._streams for torn in stream.rest()]

    async def close(self) -> None:
        """See `base.Stream`."""
        self._is_closed = True
        tasks, self._reads = [*self._reads], {}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for stream in self._streams:
            await stream.close()
