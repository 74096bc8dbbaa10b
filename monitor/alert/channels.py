"""The ways to people: each address one channel, and others for when one fails."""

import asyncio
import logging
import re
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

import apprise
import msgspec

from monitor.alert.messages import Message
from monitor.aside import Aside, StillBusy
from stream.config import AlertSettings
from stream.errors import TwitterstreamError

logger = logging.getLogger(__name__)

PATIENCE = 30.0  # seconds for one channel
NOT_UNDERSTOOD = "apprise does not understand this address"
# Where the host is a host, and not a token as with tgram:// or slack://.
_HOSTS = ("mailto", "mailtos", "json", "jsons", "xml", "xmls", "form", "forms")
_PLAIN = re.compile(r"[A-Za-z0-9.-]{1,100}")
# They write addresses with tokens into their logs.
_TALKATIVE = ("apprise", "urllib3", "requests")
# Of what they say only this much is certainly no secret: the code of an answer of HTTP or SMTP.
_CODE = re.compile(r"(?:\berror=|\(|\b)([45]\d\d)\b")
_NO_CONNECTION = re.compile(r"connection|refused|resolve|timed out", re.IGNORECASE)


class Plugin(Protocol):
    """What we use of apprise's services."""

    def notify(self, *, body: str, title: str, notify_type: str, body_format: str) -> bool: ...


class Outcome(msgspec.Struct, frozen=True):
    """How it went with one channel."""

    name: str
    fallback: bool
    problem: str | None  # None: it took the message


class _Overheard(logging.Handler):
    """Hears what apprise says in a thread, and keeps of it only what can be told."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.why: dict[int, str] = {}  # by thread; each asks for its own, and takes it away

    def emit(self, record: logging.LogRecord) -> None:
        said = record.getMessage()
        if code := _CODE.search(said):
            self.why[record.thread or 0] = f"the answer was {code[1]}"
        elif _NO_CONNECTION.search(said):
            self.why.setdefault(record.thread or 0, "no connection")

    def take(self) -> str:
        return self.why.pop(threading.get_ident(), "")


_overheard = _Overheard()


class Channel:
    """One address. At most one message is on its way, in a thread that nobody waits for.

    The service is made there, too: apprise reads a hundred modules for it.
    """

    def __init__(self, url: str, number: int, *, fallback: bool = False) -> None:
        self.fallback = fallback
        self.name = f"{_name(url)} ({'fallback' if fallback else 'channel'} {number})"
        self._url = url
        self._plugin: Plugin | None = None
        self._aside = Aside("a message")

    async def understood(self) -> bool:
        """Whether apprise can make anything of the address."""
        return await self._do(self._understand) != NOT_UNDERSTOOD

    async def send(self, message: Message) -> Outcome:
        """Never raises; what goes wrong is in the outcome, without the address."""
        problem = await self._do(lambda: self._notify(message))
        if problem is not None:
            logger.warning("an alert channel fails", extra={"channel": self.name, "why": problem})
        return Outcome(self.name, self.fallback, problem)

    async def _do(self, work: Callable[[], str | None]) -> str | None:
        """Do this aside; what goes wrong."""
        try:
            return await self._aside.do(work, PATIENCE)
        except StillBusy as error:
            return str(error)
        except Exception as error:  # noqa: BLE001 - plugins of others; their words may hold tokens
            return f"it failed with {type(error).__name__}"

    def _understand(self) -> str | None:
        if self._plugin is None:
            asset = apprise.AppriseAsset(storage_mode="memory", app_id="twitterstream")
            self._plugin = apprise.Apprise.instantiate(self._url, asset=asset)
        return NOT_UNDERSTOOD if self._plugin is None else None

    def _notify(self, message: Message) -> str | None:
        self._understand()
        if self._plugin is None:
            return NOT_UNDERSTOOD
        _overheard.take()
        took = self._plugin.notify(
            body=message.body,
            title=message.title,
            notify_type=message.kind,
            body_format=apprise.NotifyFormat.TEXT,
        )
        why = _overheard.take()
        return None if took else "it did not take the message" + (f": {why}" if why else "")


class Channels:
    """All channels of the settings."""

    def __init__(self, settings: AlertSettings) -> None:
        silence()
        self.first = [Channel(url, n) for n, url in enumerate(settings.channels, 1)]
        self.second = [Channel(url, n, fallback=True) for n, url in enumerate(settings.fallback, 1)]

    def __bool__(self) -> bool:
        return bool(self.first or self.second)

    async def send(self, message: Message) -> bool:
        """Tell it through every channel; where one fails, through the fallback, too.

        Whether anybody got it. Without any channel the log is all there is.
        """
        if not self:
            logger.warning("%s: %s", message.title, " ".join(message.body.split()))
            return True
        outcomes = await _all(self.first, message)
        failed = [outcome.name for outcome in outcomes if outcome.problem is not None]
        if failed or not self.first:
            outcomes += await _all(self.second, _with_failures(message, failed))
        return any(outcome.problem is None for outcome in outcomes)

    async def check(self) -> None:
        """TwitterstreamError when there is a channel that nothing can go through."""
        found = [each.name for each in (*self.first, *self.second) if not await each.understood()]
        if found:
            raise TwitterstreamError(
                f"apprise does not understand the address of {', '.join(found)}: no alert goes"
                " that way; mend alerts.channels or alerts.fallback"
            )

    async def test(self, message: Message) -> list[Outcome]:
        """Tell it through every channel and every fallback."""
        return await _all([*self.first, *self.second], message)


async def _all(channels: Sequence[Channel], message: Message) -> list[Outcome]:
    return list(await asyncio.gather(*(channel.send(message) for channel in channels)))


def _with_failures(message: Message, failed: Sequence[str]) -> Message:
    if not failed:
        return message
    said = f"This comes here because it could not be sent by {', '.join(failed)}."
    return msgspec.structs.replace(message, body=f"{message.body}\n\n{said}")


def silence() -> None:
    """Let nothing that others log about addresses reach our log."""
    for name in _TALKATIVE:
        talkative = logging.getLogger(name)
        talkative.propagate = False
        talkative.handlers = [_overheard]


def _name(url: str) -> str:
    """Scheme and host, as far as those are certainly no secret."""
    scheme, _, rest = url.partition("://")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    host = authority.rpartition("@")[2].partition(":")[0]
    # An @ further on may be that of a password with a slash in it.
    torn = "@" in rest.partition("?")[0].removeprefix(authority)
    if scheme.lower() in _HOSTS and not torn and _PLAIN.fullmatch(host):
        return f"{scheme.lower()}://{host}"
    return scheme.lower()
