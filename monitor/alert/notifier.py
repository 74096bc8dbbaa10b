"""Notify people: one channel per address, with fallbacks and retries, and a heartbeat."""

import asyncio
import logging
import re
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import aiohttp
import msgspec

from monitor.alert.engine import Engine, Muted, PendingNotification
from monitor.alert.messages import Message, outgoing_messages
from monitor.alert.text import Redactor
from monitor.jobs import Busy, DetachedCall, PeriodicJob
from stream.config import AlertSettings
from stream.errors import TwitterstreamError

logger = logging.getLogger(__name__)

CHANNEL_TIMEOUT = 30.0  # seconds
HEARTBEAT_TIMEOUT = 15.0  # seconds
RETRY_MIN, RETRY_MAX = 15.0, 900.0  # seconds between two attempts when no channel works
BAD_ADDRESS = "apprise does not support this URL"
# Where the host is a host, and not a token as with tgram:// or slack://.
_HOSTS = ("mailto", "mailtos", "json", "jsons", "xml", "xmls", "form", "forms")
_PLAIN = re.compile(r"[A-Za-z0-9.-]{1,100}")
# These libraries log addresses that contain tokens.
_LEAKY_LOGGERS = ("apprise", "urllib3", "requests")
# The only part of their log lines that is certainly no secret: a status code of HTTP or SMTP.
_STATUS = re.compile(r"(?:\berror=|\(|\b)([45]\d\d)\b")
_NO_CONNECTION = re.compile(r"connection|refused|resolve|timed out", re.IGNORECASE)


class Plugin(Protocol):
    """The interface of an apprise service, as far as this module uses it."""

    def notify(self, *, body: str, title: str, notify_type: str, body_format: str) -> bool: ...


class Outcome(msgspec.Struct, frozen=True):
    """The result of sending through one channel."""

    name: str
    fallback: bool
    problem: str | None  # None: it was sent


class _LogCapture(logging.Handler):
    """Captures what apprise logs in a thread, and keeps only what is not secret."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.why: dict[int, str] = {}  # by thread

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if code := _STATUS.search(text):
            self.why[record.thread or 0] = f"the response was {code[1]}"
        elif _NO_CONNECTION.search(text):
            self.why.setdefault(record.thread or 0, "no connection")

    def take(self) -> str:
        return self.why.pop(threading.get_ident(), "")


_captured = _LogCapture()


class Channel:
    """A channel for alert messages. At most one is being sent, in a detached thread.

    The apprise service is created there, too: it imports a hundred modules.
    """

    def __init__(self, url: str, number: int, *, fallback: bool = False) -> None:
        self.fallback = fallback
        self.name = f"{_name(url)} ({'fallback' if fallback else 'channel'} {number})"
        self._url = url
        self._plugin: Plugin | None = None
        self._detached = DetachedCall("message")

    async def is_valid(self) -> bool:
        """Whether apprise supports the URL."""
        return await self._try(self._create_plugin) != BAD_ADDRESS

    async def send(self, message: Message) -> Outcome:
        """Send a message; never raises. The outcome holds what failed, without the address."""
        problem = await self._try(lambda: self._notify(message))
        if problem is not None:
            logger.warning("alert channel failed", extra={"channel": self.name, "why": problem})
        return Outcome(self.name, self.fallback, problem)

    async def _try(self, work: Callable[[], str | None]) -> str | None:
        """Send a message, in a detached thread; returns what failed."""
        try:
            return await self._detached.run(work, CHANNEL_TIMEOUT)
        except Busy as error:
            return str(error)
        except Exception as error:  # noqa: BLE001 - plugins of others; their messages may contain tokens
            return f"failed with {type(error).__name__}"

    def _create_plugin(self) -> str | None:
        import apprise  # noqa: PLC0415 - large, and needed only where there are channels

        if self._plugin is None:
            asset = apprise.AppriseAsset(storage_mode="memory", app_id="twitterstream")
            self._plugin = apprise.Apprise.instantiate(self._url, asset=asset)
        return BAD_ADDRESS if self._plugin is None else None

    def _notify(self, message: Message) -> str | None:
        self._create_plugin()
        if self._plugin is None:
            return BAD_ADDRESS
        _captured.take()
        sent = self._plugin.notify(
            body=message.body,
            title=message.title,
            notify_type=message.kind,
            body_format="text",
        )
        why = _captured.take()
        return None if sent else "message not accepted" + (f": {why}" if why else "")


class Channels:
    """The alert channels of the settings, and the fallbacks."""

    def __init__(self, settings: AlertSettings) -> None:
        capture_library_logs()
        self.primary = [Channel(url, n) for n, url in enumerate(settings.channels, 1)]
        self.fallbacks = [
            Channel(url, n, fallback=True) for n, url in enumerate(settings.fallback, 1)
        ]

    def __bool__(self) -> bool:
        return bool(self.primary or self.fallbacks)

    async def send(self, message: Message) -> bool:
        """Send through every channel; if one fails, through the fallbacks, too.

        Whether any channel worked. Without channels the message is logged.
        """
        if not self:
            logger.warning("%s: %s", message.title, " ".join(message.body.split()))
            return True
        outcomes = await _all(self.primary, message)
        failed = [outcome.name for outcome in outcomes if outcome.problem is not None]
        if failed or not self.primary:
            outcomes += await _all(self.fallbacks, _with_failures(message, failed))
        return any(outcome.problem is None for outcome in outcomes)

    async def check(self) -> None:
        """TwitterstreamError when the address of a channel is invalid."""
        found = [
            each.name for each in (*self.primary, *self.fallbacks) if not await each.is_valid()
        ]
        if found:
            raise TwitterstreamError(
                f"apprise does not support the URL of {', '.join(found)}, so no alert is sent"
                " there; correct alerts.channels or alerts.fallback"
            )

    async def test(self, message: Message) -> list[Outcome]:
        """Send through every channel and every fallback."""
        return await _all([*self.primary, *self.fallbacks], message)


async def _all(channels: Sequence[Channel], message: Message) -> list[Outcome]:
    return list(await asyncio.gather(*(channel.send(message) for channel in channels)))


def _with_failures(message: Message, failed: Sequence[str]) -> Message:
    if not failed:
        return message
    note = f"Sent through a fallback, because these channels failed: {', '.join(failed)}."
    return msgspec.structs.replace(message, body=f"{message.body}\n\n{note}")


def capture_library_logs() -> None:
    """Keep what libraries log about addresses out of our log."""
    for name in _LEAKY_LOGGERS:
        library = logging.getLogger(name)
        library.propagate = False
        library.handlers = [_captured]


def _name(url: str) -> str:
    """Scheme and host, if those are certainly no secret."""
    scheme, _, rest = url.partition("://")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    host = authority.rpartition("@")[2].partition(":")[0]
    # An @ further on may be that of a password with a slash in it.
    ambiguous = "@" in rest.partition("?")[0].removeprefix(authority)
    if scheme.lower() in _HOSTS and not ambiguous and _PLAIN.fullmatch(host):
        return f"{scheme.lower()}://{host}"
    return scheme.lower()


class Notifier:
    """Sends the messages that are due, in order; after a failure it retries later."""

    def __init__(self, channels: Channels, safe: Redactor) -> None:
        self.channels = channels
        self.safe = safe
        self._failures = 0
        self._retry_at = float("-inf")  # monotonic

    async def send(self, message: Message) -> bool:
        """Send a message without credentials; returns whether any channel worked."""
        clean = msgspec.structs.replace(
            message, title=self.safe(message.title), body=self.safe(message.body)
        )
        return await self.channels.send(clean)

    async def notify(self, engine: Engine, muted: Muted, *, only: frozenset[str] | None) -> None:
        """Send what is due; `only` of these rules, when the rest is not known yet."""
        now = time.time()
        notifications = engine.due(now, muted)
        sendable = [each for each in notifications if only is None or each.alert.rule in only]
        if time.monotonic() < self._retry_at:
            sendable = []
        engine.mark_undelivered([each for each in notifications if each not in sendable])
        for outgoing in outgoing_messages(sendable, now):
            if not await self.send(outgoing.message):
                engine.mark_undelivered(sendable)
                self._postpone(sendable)
                return
            self._failures, self._retry_at = 0, float("-inf")
            engine.delivered(outgoing.notifications, time.time())

    def _postpone(self, notifications: list[PendingNotification]) -> None:
        wait = min(RETRY_MIN * 2.0**self._failures, RETRY_MAX)
        self._failures = min(self._failures + 1, 20)
        self._retry_at = time.monotonic() + wait
        logger.warning(
            "no alert channel works; will retry",
            extra={"waiting": len(notifications), "retry_in": wait},
        )


class Heartbeat:
    """Calls the heartbeat URL, which is a secret and never logged."""

    def __init__(self, settings: AlertSettings, is_well: Callable[[], bool]) -> None:
        self.settings = settings
        self.is_well = is_well
        self.problem: str | None = None  # why the last call failed

    def jobs(self) -> list[PeriodicJob]:
        """The job that calls the heartbeat address; none without an address."""
        if not self.settings.heartbeat_url:
            return []
        return [PeriodicJob("heartbeat", self.settings.heartbeat_interval, self.beat)]

    async def beat(self) -> None:
        """Call the heartbeat URL if there are no problems."""
        if not self.is_well():
            return
        problem = await self._call()
        if problem is not None and self.problem is None:
            logger.warning("heartbeat failed", extra={"why": problem})
        if problem is None and self.problem is not None:
            logger.info("heartbeat works again")
        self.problem = problem

    async def _call(self) -> str | None:
        try:
            async with (
                asyncio.timeout(HEARTBEAT_TIMEOUT),
                aiohttp.ClientSession() as session,
                session.get(self.settings.heartbeat_url) as answer,
            ):
                return None if answer.ok else f"HTTP status {answer.status}"
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            # The text of the error would contain the address.
            return type(error).__name__
