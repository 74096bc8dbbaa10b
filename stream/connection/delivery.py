"""What becomes of a connection, written into its journal: frames, states, gaps, signs of life."""

import logging
from collections import Counter, deque
from collections.abc import Sequence
from typing import Protocol

from stream.backoff import Clock
from stream.errors import FailureCode, JournalFull
from stream.tweet import (
    Alive,
    EventNote,
    GapCause,
    GapClosed,
    GapOpened,
    Note,
    SourceState,
    StateNote,
)

logger = logging.getLogger(__name__)

LONGEST_REASON = 500  # characters
ALIVE_EVERY = 10.0  # seconds
UNWRITTEN = 200  # notes that wait for room on the disk; the oldest go first


class Journal(Protocol):
    """What the connection needs of its journal."""

    last_at: float | None

    def append(self, bodies: Sequence[bytes]) -> None: ...

    def note(self, note: Note) -> None: ...

    def room(self) -> str | None: ...


class Delivery:
    """The only way from a connection into its journal.

    A gap begins with the last byte, not with its detection, and ends with the first byte. While the
    disk is full, what was read already and what there is to say waits here, bounded.
    """

    def __init__(self, name: str, journal: Journal, clock: Clock) -> None:
        self.name = name
        self.journal = journal
        self.clock = clock
        self.counters: Counter[str] = Counter()
        self.losses: Counter[GapCause] = Counter()  # interruptions since the start
        self.state = StateNote("idle", "not started yet", clock.time())
        self.last_byte: float | None = None  # seconds since 1970
        self._began = clock.time()
        self._in_gap = False
        self._alive_at = 0.0
        self._notes: deque[Note] = deque(maxlen=UNWRITTEN)
        self._frames: list[bytes] = []  # read, but refused by a full disk

    def begin(self) -> None:
        """A run starts: what was not delivered since the last record is a gap.

        The writer ignores it when a gap is open already: then the last run ended in good order.
        """
        self._began = self.clock.time()
        self._in_gap = False
        self.last_byte = self.journal.last_at
        if self.last_byte is not None:
            self.lost("killed", "the daemon was not running")

    def enter(
        self,
        state: SourceState,
        reason: str,
        until: float | None = None,
        code: FailureCode = "",
    ) -> None:
        """The connection is now so."""
        reason = plain(reason)
        if (state, reason, until) == (self.state.state, self.state.reason, self.state.until):
            return
        self.state = StateNote(state, reason, self.clock.time(), until, code)
        logger.info("source is %s", state, extra={"source": self.name, "why": reason})
        self.counters[state] += 1
        self._note(self.state)

    def say(self, text: str) -> None:
        """Something for `events`."""
        text = plain(text)
        logger.info("%s", text, extra={"source": self.name})
        self._note(EventNote("plan", text, self.clock.time()))

    def arrived(self, frames: Sequence[bytes], number: int) -> None:
        """So many bytes came, and these whole messages among them. JournalFull keeps them here."""
        now = self.clock.time()
        if self._in_gap:
            self._in_gap = False
            self._note(GapClosed(now))
        self.counters["bytes"] += number
        if frames:
            self.counters["frames"] += len(frames)
            self.append(frames)
        elif now - self._alive_at >= ALIVE_EVERY:
            self._alive_at = now
            self._note(Alive(now))
        self.last_byte = now

    def append(self, frames: Sequence[bytes]) -> None:
        """Keep these messages; JournalFull keeps them here until `flush` succeeds."""
        if self._frames or self._notes:
            self._frames.extend(frames)
            self._flush()
            return
        try:
            self.journal.append(frames)
        except JournalFull:
            self._frames.extend(frames)
            raise

    def lost(self, cause: GapCause, detail: str) -> None:
        """Nothing is delivered any more, since the last byte; the first cause counts."""
        if self._in_gap or (self.last_byte is None and cause in ("idle", "stopped")):
            return
        self._in_gap = True
        self.losses[cause] += 1
        began = self._began if self.last_byte is None else self.last_byte
        self._note(GapOpened(began, cause, plain(detail)))

    def flush(self) -> str | None:
        """Write what waits for room; why it cannot be, or None."""
        try:
            self._flush()
        except JournalFull as error:
            return str(error)
        return None

    def _note(self, note: Note) -> None:
        self._notes.append(note)
        self.flush()

    def _flush(self) -> None:
        if self._frames:
            self.journal.append(self._frames)
            self._frames = []
        while self._notes:
            self.journal.note(self._notes[0])
            self._notes.popleft()


def plain(text: str) -> str:
    """What a server said, fit for a row and a terminal: one line, no control characters, short."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= LONGEST_REASON else line[: LONGEST_REASON - 1] + "…"
