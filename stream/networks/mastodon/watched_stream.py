"""An open connection to Mastodon that is watched for a public feed that was switched off.

Such a feed connects and keeps alive, but sends only deletions (Mastodon reference, first section).
"""

import re
from collections.abc import Callable

from stream.backoff import Clock
from stream.networks.base import Reporter
from stream.networks.mastodon.server_sent_events import MergedStreams
from stream.networks.websocket import WebSocketStream
from stream.notes import StreamOpened

ONLY_DELETES_FOR = 600.0  # seconds
# Inside a payload the quotes are escaped.
_EVENT = re.compile(rb'(?<!\\)"event"\s*:\s*"(update|status\.update|delete)"')


class WatchedStream:
    """See `base.Stream`. `has_feed`: whether the public feed is followed, not hashtags alone."""

    def __init__(
        self,
        stream: WebSocketStream | MergedStreams,
        clock: Clock,
        reporter: Reporter,
        server: str,
        has_feed: Callable[[], bool],
    ) -> None:
        self.opened: StreamOpened | None = None
        self.recovered_from: float | None = None
        self._stream = stream
        self._clock = clock
        self._reporter = reporter
        self._server = server
        self._has_feed = has_feed
        self._post_at = clock.monotonic()  # of the last post, at first of connecting
        self._is_reported = False
        reporter.report_mismatch("")

    @property
    def received(self) -> int:
        return self._stream.received

    @property
    def keepalives(self) -> int:
        return self._stream.keepalives

    async def read(self) -> list[bytes] | None:
        """See `base.Stream`."""
        frames = await self._stream.read()
        for frame in frames or ():
            self._note(frame)
        return frames

    def rest(self) -> list[bytes]:
        """See `base.Stream`."""
        return self._stream.rest()

    async def close(self) -> None:
        """See `base.Stream`."""
        await self._stream.close()

    def _note(self, frame: bytes) -> None:
        event = _EVENT.search(frame)
        if event is None:
            return
        if event[1] != b"delete":
            self._post_at = self._clock.monotonic()
            if self._is_reported:
                self._is_reported = False
                self._reporter.report_mismatch("")
        elif not self._is_reported and self._has_feed():
            seconds = self._clock.monotonic() - self._post_at
            if seconds >= ONLY_DELETES_FOR:
                self._is_reported = True
                self._reporter.report_mismatch(
                    f"{self._server} has sent only deletions for {seconds / 60:.0f} minutes: its"
                    " public feed seems to be switched off"
                )
