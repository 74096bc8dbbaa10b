"""Split received bytes into messages. Pure; memory is bounded by the greatest message size.

Networks cut their bytes anywhere, even inside a character or between `\\r` and `\\n`; messages
end at `\\n`, which JSON never holds unescaped. A message over the limit is cut to the limit, and
the rest of it is skipped: decoding finds that it is not valid JSON and keeps it as a reject.
"""

from typing import Protocol


class Framing(Protocol):
    """Splits the bytes of a stream into messages."""

    keepalives: int

    def feed(self, data: bytes) -> list[bytes]: ...

    def rest(self) -> list[bytes]: ...


class Lines:
    """Newline-delimited JSON (NDJSON): one message per line; a blank line is a keep-alive."""

    def __init__(self, longest: int) -> None:
        self.longest = longest
        self.keepalives = 0
        self._parts: list[bytes] = []  # of the line that is not finished
        self._held = 0  # bytes in them
        self._skipping = False

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that these bytes finish."""
        last = data.rfind(b"\n")
        if last < 0:
            return self._hold(data)
        lines = data[:last].split(b"\n")
        messages = self._finish(lines[0])
        for line in lines[1:]:
            messages.extend(self._whole(line))
        return messages + self._hold(data[last + 1 :])

    def rest(self) -> list[bytes]:
        """The beginning of a message that is not complete, if there is one."""
        torn, self._parts, self._held = b"".join(self._parts), [], 0
        return [torn] if torn.strip() else []

    def _finish(self, line: bytes) -> list[bytes]:
        if self._skipping:
            self._skipping = False
            return []
        if self._parts:
            line = b"".join((*self._parts, line))
            self._parts, self._held = [], 0
        return self._whole(line)

    def _whole(self, line: bytes) -> list[bytes]:
        line = line.removesuffix(b"\r")
        if not line.strip():
            self.keepalives += 1
            return []
        return [line[: self.longest]]

    def _hold(self, data: bytes) -> list[bytes]:
        """Keep the beginning of a line; return it when it has become too long."""
        if self._skipping or not data:
            return []
        self._parts.append(data)
        self._held += len(data)
        if self._held < self.longest:
            return []
        cut = b"".join(self._parts)[: self.longest]
        self._parts, self._held, self._skipping = [], 0, True
        return [cut]


class Delimited:
    """Before each message a line with its length in bytes (X v1.1 reference §9).

    The count includes the message's own line end. A line without a number is taken as a message:
    so a server that does not know `delimited` is understood, and a lost count found again.
    """

    def __init__(self, longest: int) -> None:
        self.longest = longest
        self.keepalives = 0
        self._buffer = bytearray()
        self._wanted = 0  # bytes of the message being read; 0: the next is a line
        self._skip = 0  # bytes of a message that is too long

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that these bytes finish."""
        self._buffer += data
        messages: list[bytes] = []
        while (message := self._next()) is not None:
            if message:
                messages.append(message)
        return messages

    def rest(self) -> list[bytes]:
        """The beginning of a message that is not complete, if there is one."""
        torn = bytes(self._buffer)
        self._buffer.clear()
        return [torn] if torn.strip() else []

    def _next(self) -> bytes | None:
        """The next message, empty after anything else; None when more bytes are needed."""
        if self._skip:
            gone = min(self._skip, len(self._buffer))
            del self._buffer[:gone]
            self._skip -= gone
            return None if self._skip else b""
        if self._wanted:
            return self._message()
        end = self._buffer.find(b"\n", 0, self.longest)
        if end < 0:
            # A line without end: the whole of it is one message too long.
            return self._take(self.longest, 0) if len(self._buffer) >= self.longest else None
        line = self._take(end + 1, 0).strip()
        if line.isdigit() and len(line) < 19:
            self._wanted = int(line)
            return b""
        self.keepalives += not line
        return line

    def _message(self) -> bytes | None:
        if len(self._buffer) < min(self._wanted, self.longest):
            return None
        message = self._take(min(self._wanted, self.longest), max(self._wanted - self.longest, 0))
        self._wanted = 0
        return message.removesuffix(b"\n").removesuffix(b"\r")

    def _take(self, length: int, skip: int) -> bytes:
        taken = bytes(self._buffer[:length])
        del self._buffer[:length]
        self._skip = skip
        return taken
