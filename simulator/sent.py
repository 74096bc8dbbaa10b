"""What was sent: the ids for comparing, and the last lines for sending them again."""

import re
from array import array
from collections import deque
from collections.abc import Iterable

import msgspec


class _Data(msgspec.Struct):
    id: str | None = None


class _Shape(msgspec.Struct):
    id_str: str | None = None
    data: _Data | None = None


_shape = msgspec.json.Decoder(_Shape)
_DIGITS = re.compile("[0-9]{1,19}")


def id_of(line: bytes) -> int | None:
    """The id of the post in this line; None when the line is no post of X."""
    try:
        line.decode()  # the decoder does not look into values that it skips
        shape = _shape.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    found = shape.id_str or (shape.data.id if shape.data else None)
    return int(found) if found and _DIGITS.fullmatch(found) else None


class SentLog:
    """The id of every post, in the order sent, eight bytes each; resent copies are not repeated."""

    def __init__(self) -> None:
        self._ids = array("Q")
        self.others = 0  # lines without an id: control messages, broken lines

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, number: int | None) -> None:
        if number is None:
            self.others += 1
        else:
            self._ids.append(number)

    def ids(self, start: int = 0) -> list[str]:
        """From the `start`th on."""
        return [str(number) for number in self._ids[start:]]


class Recent:
    """The last lines: at least so many, and at least so many bytes, whichever is more."""

    def __init__(self, count: int, size: int) -> None:
        self.count = count
        self.size = size
        self.lines: deque[bytes] = deque()
        self.held = 0

    def add(self, lines: Iterable[bytes]) -> None:
        for line in lines:
            self.lines.append(line)
            self.held += len(line)
        while len(self.lines) > self.count and self.held - len(self.lines[0]) > self.size:
            self.held -= len(self.lines.popleft())
