"""Notify systemd of start, status and stop, and feed its watchdog: sd_notify(3)."""

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable, MutableMapping

logger = logging.getLogger(__name__)

REPORT_INTERVAL = 1.0  # seconds
STATUS_MAX = 500  # characters


class SystemdNotifier:
    """Sends READY, STATUS, WATCHDOG and STOPPING.

    `status` returns the status in a sentence, or None before the start is over. Without
    NOTIFY_SOCKET nothing is sent.
    """

    def __init__(
        self,
        status: Callable[[], str | None],
        environment: MutableMapping[str, str] = os.environ,
    ) -> None:
        self.status = status
        # Removed, so that no child process can notify in our name.
        self._address = environment.pop("NOTIFY_SOCKET", "")
        self._watchdog_seconds = _watchdog_seconds(environment)
        self._ready = False
        self._sent_status = ""
        self._watchdog_sent_at = float("-inf")  # monotonic

    async def run(self, stop: asyncio.Event) -> None:
        """Notify until cancelled; announce the stop as soon as `stop` is set."""
        if not self._address:
            return
        try:
            while not stop.is_set():
                self._notify()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._pause):
                        await stop.wait()
        finally:
            self._send("STOPPING=1", "STATUS=Stopping.")

    @property
    def _pause(self) -> float:
        return (
            REPORT_INTERVAL
            if self._watchdog_seconds is None
            else min(REPORT_INTERVAL, self._watchdog_seconds / 4)
        )

    def _notify(self) -> None:
        try:
            self._report(self.status())
        except Exception:  # the monitor must not stop the daemon
            logger.debug("no status for systemd", exc_info=True)
        self._feed_watchdog()

    def _report(self, status: str | None) -> None:
        if status is not None and not self._ready:
            self._ready = True
            self._send("READY=1")
        text = " ".join((status or "Starting.").split())[:STATUS_MAX]
        if text != self._sent_status:
            self._sent_status = text
            self._send(f"STATUS={text}")

    def _feed_watchdog(self) -> None:
        """Send WATCHDOG=1 in time: being called means that the event loop runs.

        A job that hangs does not end the collector; an alert reports it.
        """
        now = time.monotonic()
        if (
            self._watchdog_seconds is None
            or now - self._watchdog_sent_at < self._watchdog_seconds / 2 - self._pause
        ):
            return
        self._watchdog_sent_at = now
        self._send("WATCHDOG=1")

    def _send(self, *lines: str) -> None:
        """Send one datagram, without waiting for a receiver that is gone or full."""
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.setblocking(False)
                sender.sendto("\n".join(lines).encode(), os.fsencode(address))
        except OSError as error:
            logger.debug("systemd could not be notified", extra={"why": str(error)})


def _watchdog_seconds(environment: MutableMapping[str, str]) -> float | None:
    """The watchdog's timeout; None when systemd set none for this process."""
    microseconds = environment.pop("WATCHDOG_USEC", "")
    pid = environment.pop("WATCHDOG_PID", "")
    if pid not in ("", str(os.getpid())) or not microseconds.isdecimal():
        return None
    return int(microseconds) / 1e6 or None
