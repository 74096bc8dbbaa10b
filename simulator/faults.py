"""Faults by name: which there are, which are armed now."""

import re
import time
from collections.abc import Mapping
from typing import Literal

import msgspec


class Fault(msgspec.Struct, frozen=True):
    """`door`: an answer instead of a stream. `wire`: once, on an open stream. `mode`: lasting."""

    kind: Literal["door", "wire", "mode"]
    sentence: str
    network: Literal["x_v1", "x_v2", "both"] = "both"


_TABLE: Mapping[str, Fault] = {
    "401": Fault("door", "Answer 401, as for wrong credentials."),
    "402": Fault("door", "Answer 402: the credits are used up.", "x_v2"),
    "403": Fault("door", "Answer 403: this account may not use the stream."),
    "410": Fault("door", "Answer 410: the endpoint was removed."),
    "420": Fault("door", "Answer 420: connecting too often.", "x_v1"),
    "429-connections": Fault("door", "Answer 429 TooManyConnections.", "x_v2"),
    "429-quota": Fault("door", "Answer 429 UsageCapExceeded, as when the month is spent.", "x_v2"),
    "429-rate": Fault("door", "Answer 429: too many requests in this window."),
    "503": Fault("door", "Answer 503 with a page of HTML."),
    "accept-close": Fault("door", "Accept the stream and close it before the first byte."),
    "stall": Fault("wire", "Send nothing for SECONDS (v2 40, v1 100), then go on."),
    "half-open": Fault("wire", "Never send anything again, and leave the socket open."),
    "reset": Fault("wire", "Reset the connection in the middle of a message."),
    "cut": Fault("wire", "Close the connection in the middle of a message."),
    "close": Fault("wire", "End the stream between two messages."),
    "garbage": Fault("wire", "Send N (3) lines that are no JSON."),
    "torn-utf8": Fault("wire", "Send a post that ends inside a UTF-8 sequence of its text."),
    "unknown-kinds": Fault("wire", "Send messages of kinds that nobody has described."),
    "burst": Fault("wire", "Send N (300) posts at once."),
    "operational-disconnect": Fault(
        "wire", "Say operational-disconnect, then silence with the socket left open.", "x_v2"
    ),
    "bare-problem": Fault(
        "wire", "The same as a bare object, without the errors array around it.", "x_v2"
    ),
    "data-errors": Fault("wire", "Send a post that carries data and errors together.", "x_v2"),
    "disconnect": Fault("wire", "Send a disconnect message with code N (4), then close.", "x_v1"),
    "stall-warning": Fault("wire", "Warn that the reader is falling behind.", "x_v1"),
    "duplicates": Fault("mode", "Send every post N (2) times."),
    "resend": Fault("mode", "Begin every connection with the last posts that were sent."),
    "clock-skew": Fault("mode", "The server's clock is SECONDS (600) fast."),
    "gzip": Fault("mode", "Compress the stream for clients that accept it."),
    "split-chunks": Fault("mode", "Cut chunks inside messages, characters and line ends."),
    "slot-busy": Fault("mode", "The slot stays taken SECONDS (60) after a client went.", "x_v2"),
    "quota": Fault("mode", "After N (100) posts the month is spent.", "x_v2"),
    "edits": Fault("mode", "Every Nth (5th) post is edited afterwards.", "x_v2"),
    "new-names": Fault("mode", "Every other post uses the newer names of the fields.", "x_v2"),
    "deletes": Fault("mode", "Delete every Nth (10th) post, in turn before and after it.", "x_v1"),
    "limit": Fault("mode", "After every N (50) posts, say how many were withheld.", "x_v1"),
}
FAULTS: Mapping[str, str] = {name: fault.sentence for name, fault in _TABLE.items()}
"""Name → what happens, for people."""

_FLAG = re.compile(r"(?P<name>[a-z0-9-]+)(?::(?P<times>\d+))?(?:@(?P<every>\d+(?:\.\d+)?))?")


class Armed(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A fault that waits for its moment: the body of POST /sim/faults.

    A door or wire fault happens `times` times, or with `every` for ever, so many seconds apart.
    A mode lasts until it is removed.
    """

    fault: str
    times: int = 1
    every: float | None = None
    seconds: float | None = None
    n: int | None = None
    due: float = 0  # monotonic


class UnknownFault(ValueError):
    """There is no such fault, or not on this network."""


def from_flag(flag: str) -> Armed:
    """`NAME`, `NAME:TIMES`, `NAME@SECONDS` (again and again); for the command line."""
    found = _FLAG.fullmatch(flag)
    if found is None or found["name"] not in FAULTS:
        raise UnknownFault(f"There is no fault {flag}; there are {', '.join(FAULTS)}.")
    every = float(found["every"]) if found["every"] else None
    return Armed(
        fault=found["name"],
        times=int(found["times"] or 1),
        every=every,
        due=time.monotonic() + (every or 0),
    )


class FaultBox:
    """The armed faults of one simulator."""

    def __init__(self, network: str) -> None:
        self.network = network
        self.armed: dict[str, Armed] = {}

    def arm(self, armed: Armed) -> None:
        """From now on; the same fault armed before is replaced."""
        fault = _TABLE.get(armed.fault)
        if fault is None or fault.network not in {"both", self.network}:
            raise UnknownFault(f"{self.network} has no fault {armed.fault}.")
        self.armed[armed.fault] = armed

    def clear(self, name: str | None = None) -> None:
        """Disarm one fault, or all."""
        if name is None:
            self.armed.clear()
        else:
            self.armed.pop(name, None)

    def mode(self, name: str) -> Armed | None:
        """The lasting fault of this name, if it is on."""
        return self.armed.get(name)

    def take(self, kind: Literal["door", "wire"], *names: str) -> Armed | None:
        """The next fault of this kind (and one of these names), which thereby happens."""
        now = time.monotonic()
        for name, armed in self.armed.items():
            if _TABLE[name].kind != kind or armed.due > now or (names and name not in names):
                continue
            if armed.every is not None:
                armed.due = now + armed.every
            else:
                armed.times -= 1
                if armed.times <= 0:
                    del self.armed[name]
            return armed
        return None

    def next_due(self, *names: str) -> float | None:
        """Seconds until one of these is due again; None when none of them repeats."""
        due = [armed.due for name, armed in self.armed.items() if armed.every and name in names]
        return max(0.0, min(due) - time.monotonic()) if due else None
