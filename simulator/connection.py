"""One open stream: what waits to be written to it, framed, and how far it is behind."""

import asyncio
import uuid
from collections.abc import Callable, Sequence
from typing import TypeAlias

Json: TypeAlias = dict[str, object]
Ear: TypeAlias = Callable[[Json], bytes | None]
"""What this connection gets of a post's payload: a line without its end, or None."""

ROOMY = 512 * 1024  # bytes; with fewer waiting there is room for more


class Connection:
    """Filled by the pump and the control page, emptied by the request that it belongs to."""

    def __init__(self, ear: Ear, opened: float, *, delimited: bool = False) -> None:
        self.id = str(uuid.uuid4())
        self.ear = ear
        self.opened = opened
        self.delimited = delimited
        self.deaf = True  # until its head is written, and while a fault keeps it silent
        self.posts = 0
        self.limited = 0  # v1: posts that a limit message has spoken of
        self.waiting: list[bytes] = []
        self.size = 0
        self.over = False  # when everything waiting is written, the stream ends
        self.torn = False  # and it ends by a reset
        self.wake = asyncio.Event()
        self.roomy = asyncio.Event()
        self.roomy.set()

    def put(self, lines: Sequence[bytes]) -> None:
        """Append whole messages."""
        if self.delimited:
            framed = b"".join(b"%d\n%b\r\n" % (len(line) + 2, line) for line in lines)
        else:
            framed = b"\r\n".join((*lines, b""))
        self.put_bytes(framed)

    def put_bytes(self, data: bytes) -> None:
        """Append bytes exactly as they are."""
        self.waiting.append(data)
        self.size += len(data)
        if self.size >= ROOMY:
            self.roomy.clear()
        self.wake.set()

    def take(self) -> bytes:
        """Everything that waits."""
        data = b"".join(self.waiting)
        self.waiting.clear()
        self.size = 0
        self.wake.clear()
        self.roomy.set()
        return data

    def end(self, *, torn: bool = False) -> None:
        """End the stream when what waits is written, cleanly or by a reset."""
        self.over = True
        self.torn = torn
        self.wake.set()
        self.roomy.set()

    def silence(self, *, on: bool) -> None:
        """A deaf connection is given nothing, and nobody waits for it."""
        self.deaf = on
        self.roomy.set()
