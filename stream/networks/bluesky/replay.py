"""Replay of Bluesky's last hours for look-backs, over a socket of its own.

The hosts keep 36 hours of all posts. What one host has delivered is not asked for again: on the
same host reading goes on after the last event, on another one 10 s before it.
"""

from datetime import UTC, datetime

import msgspec

from stream.backoff import Clock
from stream.config import Settings
from stream.errors import ConnectError
from stream.networks.base import (
    PastPage,
    PastPages,
    ReportRetry,
    SilentReporter,
    decoded_progress,
)
from stream.networks.bluesky.client import BlueskyClient, JetstreamStream
from stream.networks.bluesky.event_position import event_position
from stream.networks.retries import Retries
from stream.tweet import NetworkCursor, Source

PAGE_MESSAGES = 2000
PAGE_SECONDS = 0.5  # until a page is complete, however few messages it has
FAILURES_MAX = 8  # in a row, and at least two of each host
SILENT_MAX = 2  # silent connections in a row after which there is nothing more to come
MISSING_MIN = 60.0  # seconds; the hosts' clocks and the rewind differ by less


class _ReplayProgress(msgspec.Struct):
    """How far a replay has come; kept with each page. Times are in microseconds since 1970."""

    until: int  # when the look-back began
    cursor: NetworkCursor
    began: int | None = None  # time of the first event


class Silence(ConnectError):
    """An open connection on which nothing arrives."""


async def read_past(
    source: Source,
    settings: Settings,
    clock: Clock,
    since: float,
    resume: str | None,
    report: ReportRetry,
) -> PastPages:
    """See `base.PastReader`."""
    replay = _Replay(source, settings, clock, since, resume, report)
    try:
        while not replay.is_complete:
            yield await replay.page()
    finally:
        await replay.close()


class _Replay:
    def __init__(
        self,
        source: Source,
        settings: Settings,
        clock: Clock,
        since: float,
        resume: str | None,
        report: ReportRetry,
    ) -> None:
        self._clock = clock
        self._since = max(int(since * 1e6), 1)
        if resume is None:
            cursor = NetworkCursor("", "", None, self._since)
            self._progress = _ReplayProgress(int(clock.time() * 1e6), cursor)
        else:
            self._progress = decoded_progress(resume, _ReplayProgress)
        self._newest = self._progress.cursor.time
        self._client = BlueskyClient(source, settings, clock, SilentReporter())
        self._client.resume_after(self._progress.cursor)
        failures_max = max(FAILURES_MAX, 2 * len(self._client.hosts) + 1)
        self._retries = Retries(clock, failures_max, report, "resumable")
        self._stream: JetstreamStream | None = None
        self._asked: int | None = None  # of the connection, until its first event
        self._silent = 0  # connections in a row
        self._ended = False

    @property
    def is_complete(self) -> bool:
        """Whether everything up to the beginning of the look-back was read."""
        return self._ended or self._newest >= self._progress.until

    async def page(self) -> PastPage:
        """The next page. Raises ConnectError when no host delivers it."""
        while True:
            try:
                return await self._read_page()
            except ConnectError as error:
                await self.close()
                self._silent = self._silent + 1 if isinstance(error, Silence) else 0
                if self._silent >= SILENT_MAX:
                    self._ended = True
                    self._retries.reset()
                    return self._page([], f"{error.reason} after {_date(self._newest)}")
                await self._retries.wait_after(error)

    async def close(self) -> None:
        """Close the connection, if there is one."""
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.close()

    async def _read_page(self) -> PastPage:
        if self._stream is None:
            self._asked = self._newest
            self._stream = await self._client.connect()
        bodies = await self._gather(self._stream)
        return self._page(bodies, self._missing(self._stream))

    async def _gather(self, stream: JetstreamStream) -> list[bytes]:
        """The messages of one page."""
        limit = self._client.connection_limits.silence
        try:
            async with self._clock.timeout(limit):
                bodies = await stream.read() or []
        except TimeoutError:
            raise Silence(f"{stream.opened.host} sent nothing", "drop") from None
        try:
            async with self._clock.timeout(PAGE_SECONDS):
                while len(bodies) < PAGE_MESSAGES:
                    bodies += await stream.read() or []
        except (TimeoutError, ConnectError):
            pass  # an error is raised again by the next read
        return bodies

    def _missing(self, stream: JetstreamStream) -> str:
        """A sentence when the first event is later than what was asked for; else empty."""
        asked, first = self._asked, stream.recovered_from
        if asked is None or first is None:
            return ""
        self._asked = None
        if first - asked / 1e6 < MISSING_MIN:
            return ""
        text = f"{stream.opened.host} has no posts from before {_date(int(first * 1e6))}"
        known = self._progress.began is not None
        return f"{text}; those since {_date(asked)} are missing" if known else text

    def _page(self, bodies: list[bytes], note: str) -> PastPage:
        progress = self._progress
        time = newest = self._newest
        messages: list[tuple[int, bytes]] = []
        for body in bodies:
            position = event_position(body)
            time = position.time if position is not None else time  # an error, or not readable
            newest = max(newest, time)
            if self._since <= time <= progress.until:
                messages.append((time, body))
            if position is not None and progress.began is None:
                progress.began = max(time, self._since)
        if newest > self._newest:
            self._retries.reset()
            self._silent = 0
            self._newest = newest
        assert self._client.cursor is not None
        progress.cursor = self._client.cursor
        return PastPage(messages, msgspec.json.encode(progress).decode(), self._share(), note)

    def _share(self) -> float | None:
        """How much was read, from 0 to 1."""
        progress = self._progress
        if self.is_complete:
            return 1.0
        if progress.began is None:
            return None
        read, whole = self._newest - progress.began, progress.until - progress.began
        return min(max(read / whole, 0.0), 1.0) if whole > 0 else None


def _date(time: int) -> str:
    """A time in microseconds, for people."""
    return f"{datetime.fromtimestamp(time / 1e6, UTC):%Y-%m-%d %H:%M} UTC"
