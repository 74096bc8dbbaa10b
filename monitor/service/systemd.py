"""What systemd is told, and asks for: sd_notify(3), by hand."""

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable, MutableMapping

logger = logging.getLogger(__name__)

LOOK_EVERY = 1.0  # seconds
LONGEST_STATUS = 500  # characters


class Notifier:
    """Tells systemd that the daemon is ready, how it goes, that it lives, and that it stops.

    `status` says in a sentence how it goes, or None while the start is not over. Without
    NOTIFY_SOCKET there is nobody to tell, and nothing happens.
    """

    def __init__(
        self,
        status: Callable[[], str | None],
        environment: MutableMapping[str, str] = os.environ,
    ) -> None:
        self.status = status
        # Taken out, so that no child of ours speaks in our name.
        self._address = environment.pop("NOTIFY_SOCKET", "")
        self._watched = _watched(environment)
        self._ready = False
        self._said = ""
        self._beat_at = float("-inf")  # monotonic

    async def run(self, stop: asyncio.Event) -> None:
        """Go on until cancelled; say so as soon as `stop` is set."""
        if not self._address:
            return
        try:
            while not stop.is_set():
                self._look()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._pause):
                        await stop.wait()
        finally:
            self._tell("STOPPING=1", "STATUS=Stopping.")

    @property
    def _pause(self) -> float:
        return LOOK_EVERY if self._watched is None else min(LOOK_EVERY, self._watched / 4)

    def _look(self) -> None:
        try:
            self._report(self.status())
        except Exception:  # nothing that watches may stop what it watches
            logger.debug("there is no status for systemd", exc_info=True)
        self._beat()

    def _report(self, status: str | None) -> None:
        if status is not None and not self._ready:
            self._ready = True
            self._tell("READY=1")
        text = " ".join((status or "Starting.").split())[:LONGEST_STATUS]
        if text != self._said:
            self._said = text
            self._tell(f"STATUS={text}")

    def _beat(self) -> None:
        """A sign of life in time: that we come here says that the event loop turns.

        A chore that hangs is no reason to end what collects: that is told by an alert.
        """
        now = time.monotonic()
        if self._watched is None or now - self._beat_at < self._watched / 2 - self._pause:
            return
        self._beat_at = now
        self._tell("WATCHDOG=1")

    def _tell(self, *lines: str) -> None:
        """One datagram. A receiver that is gone or full must not hold us up."""
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.setblocking(False)
                sender.sendto("\n".join(lines).encode(), os.fsencode(address))
        except OSError as error:
            logger.debug("systemd was not reached", extra={"why": str(error)})


def _watched(environment: MutableMapping[str, str]) -> float | None:
    """Within so many seconds systemd wants a sign of life; None: it does not."""
    microseconds = environment.pop("WATCHDOG_USEC", "")
    whose = environment.pop("WATCHDOG_PID", "")
    if whose not in ("", str(os.getpid())) or not microseconds.isdecimal():
        return None
    return int(microseconds) / 1e6 or None
