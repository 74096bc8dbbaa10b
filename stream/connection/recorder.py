"""Record what a connection delivers and its states, gaps and signs of life, in the journal."""

import contextlib
import logging
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol, TypeAlias

import msgspec

from stream.backoff import Clock
from stream.errors import FailureCode, JournalFull
from stream.networks.base import CoverageGap, SilentReporter
from stream.notes import (
    Alive,
    EventNote,
    GapCause,
    GapClosed,
    GapOpened,
    Note,
    SourceState,
    StateNote,
    StreamOpened,
    TracksCovered,
    TracksLapsed,
)
from stream.text import REASON_LENGTH_MAX, plain
from stream.tweet import TrackId

logger = logging.getLogger(__name__)

ALIVE_INTERVAL = 10.0  # seconds
DISK_CHECK_INTERVAL = 2.0  # seconds between two looks at the free space
NOTES_MAX = 200  # notes that wait for disk space; the oldest are dropped first

ReportKind: TypeAlias = Literal["refused", "reach", "stale"]  # see `base.Reporter`
ReportTracks: TypeAlias = Callable[[ReportKind, Mapping[TrackId, str]], None]


class FrameLog(Protocol):
    """The parts of a journal that a connection uses."""

    last_at: float | None

    def append(self, bodies: Sequence[bytes]) -> None: ...

    def note(self, note: Note) -> None: ...

    def why_full(self) -> str | None: ...


class Recorder:
    """The only way from a connection into its journal.

    A gap begins with the last byte, not with its detection, and ends with the first byte. While the
    disk is full, frames already read and notes wait here, bounded.
    """

    def __init__(self, name: str, journal: FrameLog, clock: Clock) -> None:
        self.name = name
        self.journal = journal
        self.clock = clock
        self.counters: Counter[str] = Counter()
        self.interruptions: Counter[GapCause] = Counter()  # interruptions since the start
        self.state = StateNote("idle", "not started yet", clock.time())
        self.last_byte: float | None = None  # seconds since 1970
        self._started_at = clock.time()
        self._gap: GapOpened | None = None  # the one that is open
        self._closed: GapClosed | None = None  # the one that this connection has ended
        self.on_streaming: list[Callable[[], None]] = []  # called when delivery begins
        self._alive_at = 0.0
        self._notes: deque[Note] = deque(maxlen=NOTES_MAX)
        self._frames: list[bytes] = []  # read, but not yet appended because the disk is full

    def start_run(self, why: str) -> None:
        """Start a run: the time since the last record is a gap, with this reason.

        The writer ignores it when a gap is open already: then the last run ended in order.
        """
        self._started_at = self.clock.time()
        self._gap = None
        self.last_byte = self.journal.last_at
        if self.last_byte is not None:
            self.open_gap("killed", why)

    def set_state(
        self,
        state: SourceState,
        reason: str,
        seconds: float | None = None,
        code: FailureCode = "",
    ) -> None:
        """Record a state of the connection, if it has changed, and for how long it waits."""
        reason = plain(reason)
        unchanged = (state, reason) == (self.state.state, self.state.reason)
        if unchanged and seconds is None and self.state.until is None:
            return
        # Streaming begins with its byte, and not after a gap that may begin with the same one.
        now = self.clock.time()
        at = self.last_byte if state == "streaming" and self.last_byte is not None else now
        until = None if seconds is None else now + seconds
        self.state = StateNote(state, reason, at, until, code)
        logger.info("source is %s", state, extra={"source": self.name, "why": reason})
        self.counters[state] += 1
        self.note(self.state)
        if state == "streaming":
            for call in self.on_streaming:
                call()

    def record_event(self, text: str) -> None:
        """Record an event, for `events` and the log."""
        text = plain(text)
        logger.info("%s", text, extra={"source": self.name})
        self.note(EventNote("plan", text, self.clock.time()))

    def begin_connection(self, opened: StreamOpened | None) -> None:
        """Record that a connection begins; `opened`: of a network that can resume."""
        self._closed = None
        if opened is not None:
            self.note(opened)

    def record_bytes(
        self, frames: Sequence[bytes], count: int, recovered_from: float | None = None
    ) -> None:
        """Record received bytes with their complete messages; on JournalFull these wait here.

        `recovered_from`: see `GapClosed`.
        """
        now = self.clock.time()
        if self._gap is not None:
            self._closed, self._gap = GapClosed(now, recovered_from, self._gap), None
            self.note(self._closed)
        elif (
            recovered_from is not None
            and self._closed is not None
            and self._closed.recovered_from is None
        ):
            # The first bytes held no event: a part of one, or only what the server says itself.
            self._closed = msgspec.structs.replace(self._closed, recovered_from=recovered_from)
            self.note(self._closed)
        self.counters["bytes"] += count
        if frames:
            self.counters["frames"] += len(frames)
            self.append(frames)
        elif now - self._alive_at >= ALIVE_INTERVAL:
            self._alive_at = now
            self.note(Alive(now))
        self.last_byte = now

    def append(self, frames: Sequence[bytes]) -> None:
        """Append messages; on JournalFull they wait here until `flush` succeeds."""
        if self._frames or self._notes:
            self._frames.extend(frames)
            self._flush()
            return
        try:
            self.journal.append(frames)
        except JournalFull:
            self._frames.extend(frames)
            raise

    async def append_later(self, frames: Sequence[bytes]) -> None:
        """Append messages of background work, once there is disk space."""
        await self.wait_for_space()
        with contextlib.suppress(JournalFull):  # they wait here
            self.append(frames)

    async def wait_for_space(self) -> None:
        """Wait until the journal has room, and what waited for it is written."""
        while (self.journal.why_full() or self.flush()) is not None:
            await self.clock.sleep(DISK_CHECK_INTERVAL)

    def open_gap(self, cause: GapCause, detail: str) -> None:
        """Open a gap that began with the last byte; the first cause counts."""
        if self._gap is not None or (self.last_byte is None and cause in ("idle", "stopped")):
            return
        self.interruptions[cause] += 1
        began = self._started_at if self.last_byte is None else self.last_byte
        self._gap = GapOpened(began, cause, plain(detail))
        self.note(self._gap)

    def flush(self) -> str | None:
        """Write what waits for disk space; returns why that fails, or None."""
        try:
            self._flush()
        except JournalFull as error:
            return str(error)
        return None

    def note(self, note: Note) -> None:
        """Record a note, now or when there is disk space."""
        self._notes.append(note)
        self.flush()

    def _flush(self) -> None:
        if self._frames:
            self.journal.append(self._frames)
            self._frames = []
        while self._notes:
            self.journal.note(self._notes[0])
            self._notes.popleft()


class ConnectionReporter(SilentReporter):
    """Passes on what a client reports: to the journal, the reconciler and the monitor."""

    def __init__(self, recorder: Recorder, on_tracks: ReportTracks | None) -> None:
        self.recorder = recorder
        self.on_tracks = on_tracks
        self.not_in_force = ""  # how the network differs from the plan, for an alert
        self._lapsed: float | None = None  # the latest beginning of a gap of tracks

    def record_event(self, text: str) -> None:
        self.recorder.record_event(text)

    def report_refused(self, tracks: Mapping[TrackId, str]) -> None:
        if self.on_tracks is not None:
            self.on_tracks("refused", _plain(tracks))

    def report_reach(self, tracks: Mapping[TrackId, str]) -> None:
        if self.on_tracks is not None:
            self.on_tracks("reach", _plain(tracks))

    def report_stale(self, tracks: Mapping[TrackId, str]) -> None:
        if self.on_tracks is not None:
            self.on_tracks("stale", _plain(tracks))

    def report_mismatch(self, sentence: str) -> None:
        self.not_in_force = sentence

    def report_uncovered(self, gap: CoverageGap) -> None:
        self._lapsed = max(self._lapsed or gap.began, gap.began)
        self.recorder.note(TracksLapsed(gap.tracks, gap.began, gap.why))

    def report_covered(self, tracks: Sequence[TrackId] | None, at: float) -> None:
        covered = None if tracks is None else tuple(tracks)
        self.recorder.note(TracksCovered(covered, at, self._lapsed))


def _plain(tracks: Mapping[TrackId, str]) -> dict[TrackId, str]:
    """A server's sentences about tracks, made safe for their rows."""
    return {track: plain(sentence, REASON_LENGTH_MAX) for track, sentence in tracks.items()}
