"""HTTP as the networks need it: short questions, and one answer that never ends.

Every request has a session and a socket of its own. After a failure nothing of the old transport is
left that the next attempt could stumble over, and addresses are looked up anew.
"""

import asyncio
import contextlib
import errno
import os
import ssl
from collections.abc import AsyncIterator, Iterable, Mapping
from email.utils import parsedate_to_datetime
from importlib import metadata
from urllib.parse import quote, urlsplit

import aiohttp
import msgspec

from stream.backoff import Clock
from stream.errors import ConnectError
from stream.networks.framing import Framing
from stream.tweet import Source

CONNECT_TIMEOUT = 30.0  # seconds, from the lookup of the address to the head of the answer
TCP_TIMEOUT = 10.0  # seconds
LONGEST_ANSWER = 32 << 20  # bytes; 25,000 rules are less
ERROR_BODY = 1024  # bytes of an error's body that are read for a person
LATEST_RETRY = 3600.0  # seconds; no server may send us away for longer
HIDDEN = "***"
SHORTEST_SECRET = 5  # characters


def user_agent() -> str:
    """Who we are, with the version."""
    try:
        return f"twitterstream/{metadata.version('twitterstream')}"
    except metadata.PackageNotFoundError:  # run from a working copy
        return "twitterstream/0"


class Answer(msgspec.Struct, frozen=True):
    """A whole answer, or the beginning of one that is an error."""

    status: int
    headers: Mapping[str, str]  # keys in lower case
    body: bytes

    def text(self) -> str:
        """The body for a person: one line, HTML and all."""
        return " ".join(self.body[:ERROR_BODY].decode("utf-8", "replace").split())

    def skew(self, now: float) -> float | None:
        """Seconds by which our clock is ahead of the server's; None when it does not say."""
        try:
            return now - parsedate_to_datetime(self.headers["date"]).timestamp()
        except (KeyError, ValueError, TypeError):
            return None

    def retry_at(self, now: float) -> float | None:
        """When the server wants to see us again, by our own clock; None when it does not say."""
        waits = []
        with contextlib.suppress(KeyError, ValueError):
            waits.append(float(self.headers["retry-after"]))
        with contextlib.suppress(KeyError, ValueError, TypeError):
            date = parsedate_to_datetime(self.headers["retry-after"]).timestamp()
            waits.append(date - now + (self.skew(now) or 0))
        with contextlib.suppress(KeyError, ValueError):
            reset = float(self.headers["x-rate-limit-reset"])
            waits.append(reset - now + (self.skew(now) or 0))
        later = [wait for wait in waits if wait > 0]  # also leaves out NaN
        return now + min(max(later), LATEST_RETRY) if later else None


class HttpStream:
    """An answer that goes on and on, cut into messages."""

    def __init__(
        self, session: aiohttp.ClientSession, response: aiohttp.ClientResponse, framing: Framing
    ) -> None:
        self._session = session
        self._response = response
        self._framing = framing
        self.received = 0
        self.headers = _headers(response)

    @property
    def keepalives(self) -> int:
        return self._framing.keepalives

    async def read(self) -> list[bytes] | None:
        """See `base.Stream`."""
        try:
            data = await self._response.content.readany()
        except (aiohttp.ClientError, OSError) as error:
            raise ConnectError(f"the connection broke: {describe(error)}", "drop") from error
        if not data:
            return None
        self.received += len(data)
        return self._framing.feed(data)

    def rest(self) -> list[bytes]:
        """See `base.Stream`."""
        return self._framing.rest()

    async def close(self) -> None:
        """See `base.Stream`."""
        self._response.close()
        await self._session.close()


class Wire:
    """Requests of one source: by its address, its proxy and its clock; no secret comes out."""

    def __init__(self, source: Source, clock: Clock, default: str) -> None:
        self.base = (source.url or default).rstrip("/")
        self.clock = clock
        self._proxy = source.proxy
        self._hidden = _secrets(source)

    def scrub(self, text: str) -> str:
        """The text without the source's credentials, however they came into it."""
        for secret in self._hidden:
            text = text.replace(secret, HIDDEN)
        return text

    async def ask(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
    ) -> Answer:
        """A short request and its whole answer, whatever its status. ConnectError `network`."""
        async with (
            self._trouble(),
            self._session() as session,
            self._request(session, method, path, headers, body) as response,
        ):
            return await _answer(response, LONGEST_ANSWER)

    async def open(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        framing: Framing,
        body: bytes | None = None,
    ) -> HttpStream | Answer:
        """The endless answer, or the error. ConnectError `network` when there is no answer."""
        async with contextlib.AsyncExitStack() as opened, self._trouble():
            session = await opened.enter_async_context(self._session())
            request = self._request(session, method, path, headers, body)
            response = await opened.enter_async_context(request)
            if response.status != 200:
                return await _answer(response, ERROR_BODY)
            opened.pop_all()  # the stream closes both
            return HttpStream(session, response, framing)
        raise AssertionError("one of the two was returned")

    def _session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(force_close=True, use_dns_cache=False),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=TCP_TIMEOUT),
            headers={"User-Agent": user_agent(), "Accept-Encoding": "gzip, deflate"},
        )

    def _request(
        self,
        session: aiohttp.ClientSession,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None,
    ) -> contextlib.AbstractAsyncContextManager[aiohttp.ClientResponse]:
        # Never to another host with our credentials: redirects are answers like any other.
        return session.request(
            method,
            self.base + path,
            headers=headers,
            data=body,
            proxy=self._proxy,
            allow_redirects=False,
        )

    @contextlib.asynccontextmanager
    async def _trouble(self) -> AsyncIterator[None]:
        """Whatever keeps us from an answer is a ConnectError."""
        try:
            async with self.clock.timeout(CONNECT_TIMEOUT):
                yield
        except (aiohttp.InvalidURL, ValueError) as error:
            reason = f"the address {self.base} cannot be used: {describe(error)}"
            raise ConnectError(self.scrub(reason), "final") from error
        except TimeoutError as error:
            reason = f"{self.base} did not answer within {CONNECT_TIMEOUT:.0f} s"
            raise ConnectError(self.scrub(reason), "network") from error
        except (aiohttp.ClientError, OSError, asyncio.IncompleteReadError) as error:
            reason = f"no connection to {self.base}: {describe(error)}"
            raise ConnectError(self.scrub(reason), "network") from error


def describe(error: BaseException) -> str:
    """An exception in words; some have none of their own, and some too many."""
    if isinstance(error, aiohttp.ClientConnectorError):
        cause = error.os_error
        # The event loop says in brackets which call it was; the error's own name is for people.
        # TLS and the lookup of names have numbers of their own.
        other = isinstance(cause, ssl.SSLError) or (cause.errno or 0) not in errno.errorcode
        return (cause.strerror or str(error)) if other else os.strerror(cause.errno or 0)
    return str(error) or type(error).__name__


async def _answer(response: aiohttp.ClientResponse, longest: int) -> Answer:
    body = bytearray()
    try:
        while len(body) < longest and (data := await response.content.read(longest - len(body))):
            body += data
    except aiohttp.ClientPayloadError:
        if response.status == 200:
            raise
        # The status of an error says enough, also when its body is torn.
    return Answer(response.status, _headers(response), bytes(body))


def _headers(response: aiohttp.ClientResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}


def _secrets(source: Source) -> list[str]:
    """Everything that must not appear in a message, as it is and as it stands in an address."""
    secrets: Iterable[str | None] = source.secrets.values()
    for address in (source.url, source.proxy):
        with contextlib.suppress(ValueError):
            secrets = (*secrets, urlsplit(address or "").password)
    # Real ones are long; to hide a letter or two would only make messages unreadable.
    plain = {secret for secret in secrets if secret and len(secret) >= SHORTEST_SECRET}
    return sorted(plain | {quote(secret, safe="") for secret in plain}, key=len, reverse=True)
