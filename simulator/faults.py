"""Faults by name: what each does, and which are armed."""

import re
import time
from collections.abc import Mapping
from typing import Literal

import msgspec

from simulator.settings import NetworkName

_X: tuple[NetworkName, ...] = ("x_v1", "x_v2")
_STREAMS: tuple[NetworkName, ...] = (*_X, "bluesky")
_V1: tuple[NetworkName, ...] = ("x_v1",)
_V2: tuple[NetworkName, ...] = ("x_v2",)
_OPEN: tuple[NetworkName, ...] = ("x_v2", "bluesky", "mastodon")
_DELETING: tuple[NetworkName, ...] = ("x_v1", "bluesky", "mastodon")
_BLUESKY: tuple[NetworkName, ...] = ("bluesky",)
_MASTODON: tuple[NetworkName, ...] = ("mastodon",)
_ALL: tuple[NetworkName, ...] = (*_STREAMS, "mastodon")
FaultKind = Literal["connect", "stream", "rules", "mode"]


class Fault(msgspec.Struct, frozen=True):
    """When it happens.

    `connect`: an answer instead of a stream. `stream`: once, on an open stream. `rules`: once, when
    rules are changed or listed. `mode`: lasting.
    """

    kind: FaultKind
    sentence: str
    networks: tuple[NetworkName, ...] = _X


_TABLE: Mapping[str, Fault] = {
    "401": Fault("connect", "Answer 401, as for wrong credentials.", (*_X, "mastodon")),
    "402": Fault("connect", "Answer 402: the credits are used up.", _V2),
    "403": Fault("connect", "Answer 403: this account cannot use the stream.", _ALL),
    "410": Fault("connect", "Answer 410: the endpoint was removed."),
    "420": Fault("connect", "Answer 420: connecting too often.", _V1),
    "429-connections": Fault("connect", "Answer 429 TooManyConnections.", _V2),
    "429-quota": Fault("connect", "Answer 429 UsageCapExceeded: monthly quota used up.", _V2),
    "429-rate": Fault("connect", "Answer 429: too many requests in this window.", _ALL),
    "503": Fault("connect", "Answer 503 with a page of HTML.", _ALL),
    "accept-close": Fault("connect", "Accept the stream and close it before the first byte.", _ALL),
    "stall": Fault(
        "stream", "Send nothing for SECONDS (v2 40, v1 100, others 60), then continue.", _ALL
    ),
    "half-open": Fault("stream", "Stop sending for good and leave the socket open.", _ALL),
    "reset": Fault("stream", "Reset the connection in the middle of a message.", _ALL),
    "cut": Fault("stream", "Close the connection in the middle of a message.", _STREAMS),
    "close": Fault("stream", "End the stream between two messages.", _ALL),
    "garbage": Fault("stream", "Send N (3) lines that are not JSON.", _ALL),
    "torn-utf8": Fault(
        "stream", "Send a post that ends inside a UTF-8 sequence of its text.", _STREAMS
    ),
    "unknown-kinds": Fault("stream", "Send messages of undocumented kinds.", _ALL),
    "burst": Fault("stream", "Send N (300) posts at once.", _ALL),
    "operational-disconnect": Fault(
        "stream", "Send operational-disconnect, then nothing, and leave the socket open.", _V2
    ),
    "bare-problem": Fault("stream", "The same as a bare object instead of an errors array.", _V2),
    "data-errors": Fault("stream", "Send a post that carries data and errors together.", _V2),
    "disconnect": Fault("stream", "Send a disconnect message with code N (4), then close.", _V1),
    "stall-warning": Fault("stream", "Warn that the reader is falling behind.", _V1),
    "delete-refused": Fault("rules", "Answer 400 to a deletion and list its rules.", _V2),
    "delete-ignored": Fault("rules", "Answer 200 to a deletion but delete nothing.", _V2),
    "delete-partly": Fault("rules", "Delete only every other rule.", _V2),
    "delete-forgotten": Fault("rules", "Report rules as deleted but keep them.", _V2),
    "add-refused": Fault("rules", "Answer 400 to an addition and list its first rule.", _V2),
    "add-partly": Fault("rules", "Add only every other rule, without a reason.", _V2),
    "add-forgotten": Fault("rules", "Report rules as added but discard them.", _V2),
    "add-duplicated": Fault("rules", "Add each rule twice.", _V2),
    "rules-meddled": Fault("rules", "Before a listing, remove, change and retag rules.", _V2),
    "duplicates": Fault("mode", "Send every post N (2) times.", _ALL),
    "resend": Fault("mode", "Start every connection with the posts sent last."),
    "clock-skew": Fault("mode", "The server's clock is SECONDS (600) fast.", _ALL),
    "gzip": Fault("mode", "Compress the stream for clients that accept it."),
    "split-chunks": Fault("mode", "Cut chunks inside messages, characters and line ends."),
    "slot-busy": Fault("mode", "Keep the slot taken SECONDS (60) after a client leaves.", _V2),
    "quota": Fault("mode", "Use up the monthly quota after N (100) posts.", _V2),
    "edits": Fault("mode", "Send an edited version of every Nth (5th) post.", _OPEN),
    "new-names": Fault("mode", "Use the newer field names in every other post.", _V2),
    "deletes": Fault(
        "mode",
        "Delete every Nth (10th) post, in turn before and after it; Mastodon: after.",
        _DELETING,
    ),
    "limit": Fault("mode", "Send a limit message after every N (50) posts.", _V1),
    "cursor-too-old": Fault("connect", "Refuse a v2 sequence as too old (400).", _BLUESKY),
    "warming-up": Fault("connect", "Answer 503 as while the host starts.", _BLUESKY),
    "close-1001": Fault("stream", "Close as for a shutdown (1001).", _BLUESKY),
    "close-1006": Fault("stream", "Close without a close frame, between two messages.", _BLUESKY),
    "close-1008": Fault("stream", "Close for a violated policy (1008).", _BLUESKY),
    "too-slow": Fault(
        "stream", "Send ConsumerTooSlow (v2) and close without a close frame.", _BLUESKY
    ),
    "error-frame": Fault("stream", "Send InternalError (v2) and close.", _BLUESKY),
    "bad-zstd": Fault("stream", "Send a binary frame that does not decompress.", _BLUESKY),
    "dictionary-change": Fault(
        "stream", "Change the dictionary as at a deployment and close with 1001.", _BLUESKY
    ),
    "no-dictionary": Fault("mode", "Answer 503 to requests for the dictionary.", _BLUESKY),
    "bad-dictionary": Fault("mode", "Give out a dictionary that is none.", _BLUESKY),
    "wrong-dictionary": Fault("mode", "Compress with another dictionary than named.", _BLUESKY),
    "v1-only": Fault("mode", "Answer 404 to v2, as an old host (only host N).", _BLUESKY),
    "silent-host": Fault("mode", "Accept streams but send nothing (only host N).", _BLUESKY),
    "short-memory": Fault("mode", "Keep only the last N (100) events for replay.", _BLUESKY),
    "accounts": Fault("mode", "Change an account's status after every Nth (50th) post.", _BLUESKY),
    "identities": Fault("mode", "Change a handle after every Nth (50th) post.", _BLUESKY),
    "syncs": Fault("mode", "Break an author's chain after every Nth (50th) post.", _BLUESKY),
    "likes": Fault("mode", "Add N (3) likes, reposts and follows for each post.", _BLUESKY),
    "wrong-types": Fault("mode", "A field of every Nth (5th) post has a wrong type.", _BLUESKY),
    "bad-facets": Fault("mode", "Facets of every Nth (5th) post lie about the text.", _BLUESKY),
    "bad-clocks": Fault("mode", "createdAt of every Nth (5th) post is nonsense.", _BLUESKY),
    "escapes": Fault("mode", "Write records in ASCII with many JSON escapes.", _BLUESKY),
    "same-time": Fault("mode", "N (5) events in turn share one time.", _BLUESKY),
    "pds-busy": Fault("mode", "Answer 429 to all requests to a PDS.", _BLUESKY),
    "pds-errors": Fault("mode", "Answer 502 to every Nth (3rd) request to a PDS.", _BLUESKY),
    "silence": Fault("mode", "Send neither posts nor heartbeats.", _MASTODON),
    "token-revoked": Fault("mode", "Accept no token, and end all streams.", _MASTODON),
    "feeds-off": Fault("mode", "Switch the public feeds off, as the instance says.", _MASTODON),
    "only-deletes": Fault(
        "mode", "Send a deletion for every Nth (10th) post, no posts.", _MASTODON
    ),
    "paging-429": Fault("mode", "Answer 429 to all requests for timelines.", _MASTODON),
}
FAULTS: Mapping[str, str] = {name: fault.sentence for name, fault in _TABLE.items()}
"""Description of each fault, by name."""


def faults_of(network: NetworkName) -> Mapping[str, str]:
    """Description of each fault that a network has, by name."""
    return {name: fault.sentence for name, fault in _TABLE.items() if network in fault.networks}


def kind_of(fault: str) -> FaultKind:
    """When a fault happens; see `Fault`."""
    return _TABLE[fault].kind


_FLAG = re.compile(r"(?P<name>[a-z0-9-]+)(?::(?P<times>\d+))?(?:@(?P<every>\d+(?:\.\d+)?))?")


class Armed(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A fault that will happen: the body of POST /sim/faults.

    A connect or stream fault happens `times` times; with `every`, again and again at that interval
    in seconds. A mode lasts until it is removed.
    """

    fault: str
    times: int = 1
    every: float | None = None
    seconds: float | None = None
    n: int | None = None
    due: float = 0  # monotonic


class UnknownFault(ValueError):
    """No such fault exists on this network."""


def from_flag(flag: str) -> Armed:
    """Parse `NAME`, `NAME:TIMES` or `NAME@SECONDS` (repeated at that interval)."""
    found = _FLAG.fullmatch(flag)
    if found is None or found["name"] not in FAULTS:
        raise UnknownFault(f"Unknown fault {flag}. Known: {', '.join(FAULTS)}.")
    every = float(found["every"]) if found["every"] else None
    return Armed(
        fault=found["name"],
        times=int(found["times"] or 1),
        every=every,
        due=time.monotonic() + (every or 0),
    )


class Faults:
    """The armed faults of one simulator."""

    def __init__(self, network: NetworkName) -> None:
        self.network = network
        self.armed: dict[str, Armed] = {}

    def arm(self, armed: Armed) -> None:
        """Arm a fault now; it replaces one of the same name."""
        fault = _TABLE.get(armed.fault)
        if fault is None or self.network not in fault.networks:
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

    def take(self, kind: Literal["connect", "stream", "rules"], *names: str) -> Armed | None:
        """Consume the next due fault of this kind and, if given, one of these names."""
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
